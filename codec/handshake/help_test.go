package handshake

import (
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata; then read the diff")

// browser is the upgrade a browser sends.
const browser = "GET /connection/websocket?cf_ws_frame_ping_pong=true HTTP/1.1\r\n" +
	"Host: push.example.com:8000\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: https://push.example.com:8000\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"Sec-WebSocket-Protocol: centrifuge-protobuf\r\n\r\n"

// head makes an upgrade from changes to a minimal valid one: "Name: value" replaces or adds a header, "-Name" removes it, "+Name: value" adds a
// line beside the one there is, "GET …" replaces the request line.
func head(changes ...string) string {
	start := "GET /ws HTTP/1.1"
	lines := []string{"Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, c := range changes {
		if strings.Contains(c, " HTTP/1.") {
			start = c
			continue
		}
		name, _, _ := strings.Cut(c, ":")
		add := strings.HasPrefix(c, "+")
		kept := lines[:0:0]
		for _, l := range lines {
			have, _, _ := strings.Cut(l, ":")
			if add || !strings.EqualFold(have, strings.TrimLeft(name, "-")) {
				kept = append(kept, l)
			}
		}
		if c[0] != '-' {
			kept = append(kept, strings.TrimPrefix(c, "+"))
		}
		lines = kept
	}
	return start + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// outcome is all that a parse of a request and the check after it gives.
type outcome struct {
	n      int
	status Status // of the parser, or of the check when the parser was Done
	req    Request
}

// decide parses and checks in, presented in growing pieces that end at the given offsets and at the end of in.
func decide(tb testing.TB, in []byte, lim Limits, cfg *Config, ends ...int) outcome {
	tb.Helper()
	var (
		p Parser
		o outcome
	)
	for i := 0; ; i++ {
		end := len(in)
		if i < len(ends) {
			end = ends[i]
		}
		fresh := append(make([]byte, 0, end), in[:end]...) // moved at every call, as a growing buffer is
		o.req = Request{Method: []byte("left over"), Headers: 99}
		o.n, o.status = p.Parse(fresh, lim, &o.req)
		if err := p.Validate(); err != nil {
			tb.Fatal(err)
		}
		if o.status != NeedMore || i >= len(ends) {
			break
		}
	}
	if o.status != Done {
		if o.n != 0 {
			tb.Fatalf("n = %d with status %v", o.n, o.status)
		}
		o.req = Request{}
		return o
	}
	if p != (Parser{}) {
		tb.Fatalf("the parser is not ready for another request after Done: %+v", p)
	}
	if cfg != nil {
		o.status = CheckUpgrade(&o.req, cfg)
	}
	return o
}

// sameEverywhere fails unless in gives the same outcome whole, cut in two at every boundary, and byte by byte. It returns that outcome.
func sameEverywhere(t *testing.T, in string, lim Limits, cfg *Config) outcome {
	t.Helper()
	whole := decide(t, []byte(in), lim, cfg)
	var each []int
	for i := range len(in) {
		each = append(each, i)
		if got := decide(t, []byte(in), lim, cfg, i); !reflect.DeepEqual(got, whole) {
			t.Fatalf("cut at %d of %q:\n got %v %+v\nwant %v %+v", i, in, got.status, got, whole.status, whole)
		}
	}
	if got := decide(t, []byte(in), lim, cfg, each...); !reflect.DeepEqual(got, whole) {
		t.Fatalf("byte by byte of %q:\n got %v\nwant %v", in, got.status, whole.status)
	}
	return whole
}

// golden compares got with testdata/name, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -rewrite and read the diff. got:\n%s", path, got)
	}
}
