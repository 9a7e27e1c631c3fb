package handshake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAcceptOfTheRFCsExample(t *testing.T) { // RFC 6455 §1.3
	if got := string(appendAccept(nil, []byte("dGhlIHNhbXBsZSBub25jZQ=="))); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Error(got)
	}
}

func TestResponsesByteForByte(t *testing.T) {
	var b strings.Builder
	fmt.Fprint(&b, "The answers of this package, byte for byte. A 101 carries constants only; a refusal closes, says what to change,\n"+
		"and repeats nothing of the request.\n")
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	show := func(name string, out []byte) {
		fmt.Fprintf(&b, "\n## %s\n%s", name, strings.ReplaceAll(string(out), "\r\n", "\\r\\n\n"))
	}
	show("101 bare", AppendResponse(nil, key, NoSubprotocol, nil))
	show("101 JSON", AppendResponse(nil, key, JSON, nil))
	show("101 Protobuf with extension", AppendResponse(nil, key, Protobuf, []byte("permessage-deflate; server_no_context_takeover")))
	for s := range Status(statusesCount) {
		if out := AppendRefusal(nil, s); out != nil {
			show(s.String(), out)
		}
	}
	golden(t, "answers.txt", b.String())
}

func TestTableOfOutcomes(t *testing.T) {
	var b strings.Builder
	fmt.Fprint(&b, "Every outcome: its number, its name (a metric label: renaming one breaks dashboards), the HTTP code of its answer (0: none).\n\n")
	seen := map[string]Status{}
	for i, s := range Statuses() {
		if int(s) != i {
			t.Errorf("%v stands at %d", s, i)
		}
		fmt.Fprintf(&b, "%d %s %d\n", s, s, s.Code())
		if other, twice := seen[s.String()]; twice {
			t.Errorf("%d and %d are both %s", other, s, s)
		}
		seen[s.String()] = s
		if strings.Trim(s.String(), "abcdefghijklmnopqrstuvwxyz-.0123456789") != "" {
			t.Errorf("%q is no metric label", s)
		}
		if s.Failed() != (s > Done) || s.Failed() != (s.Text() != "") {
			t.Errorf("%v: failed %v, text %q", s, s.Failed(), s.Text())
		}
		if s.Code() != 0 && http.StatusText(s.Code()) != "" && reason(s.Code()) == "" {
			t.Errorf("%v: no reason phrase for %d", s, s.Code())
		}
	}
	golden(t, "outcomes.txt", b.String())
	if got := Status(statusesCount); got.String() != "unknown" || got.Code() != 500 {
		t.Errorf("a status past the table: %v", got)
	}
}

func TestRefusalsAreReadByAnOrdinaryClientAndClose(t *testing.T) {
	for s := range Status(statusesCount) {
		out := AppendRefusal([]byte("kept"), s)
		if s.Code() == 0 {
			if string(out) != "kept" {
				t.Errorf("%v: wrote %q", s, out)
			}
			continue
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out[len("kept"):])), nil)
		if err != nil {
			t.Errorf("%v: %v", s, err)
			continue
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != s.Text()+"\n" || r.StatusCode != s.Code() || !r.Close || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v: %v %d %v %q", s, err, r.StatusCode, r.Close, body)
		}
		for header, code := range map[string]int{"Sec-Websocket-Version": 426, "Upgrade": 426, "Allow": 405, "Retry-After": 503} {
			if has := r.Header.Get(header) != ""; has != (s.Code() == code) {
				t.Errorf("%v: header %s there: %v", s, header, has)
			}
		}
		if r.Header.Get("Server") != "" {
			t.Errorf("%v tells who we are", s)
		}
		if len(out) > 1024 {
			t.Errorf("%v: %d bytes", s, len(out))
		}
	}
}

func TestARefusalSaysWhenToComeBack(t *testing.T) {
	for s := range Status(statusesCount) {
		if s.Code() != 503 {
			continue
		}
		out := string(AppendRefusalRetry(nil, s, 7))
		if !strings.Contains(out, "\r\nRetry-After: 7\r\n") {
			t.Errorf("%v: %q", s, out)
		}
		if strings.Count(strings.TrimSpace(s.Text()), "\n") != 0 {
			t.Errorf("%v: the body has more than one line", s)
		}
	}
}

func TestAnswersNeverRepeatTheRequest(t *testing.T) {
	const canary = "canary\u00a7"
	for _, in := range []string{
		head("Origin: https://" + canary), head("Sec-WebSocket-Protocol: " + canary), head("Sec-WebSocket-Version: " + canary),
		head("Sec-WebSocket-Extensions: " + canary), head("Host: " + canary), head("GET /" + canary + " HTTP/1.1"), head("Upgrade: " + canary),
	} {
		o := decide(t, []byte(in), Limits{}, &Config{})
		if !o.status.Failed() {
			t.Fatalf("%q: %v", in, o.status)
		}
		if strings.Contains(string(AppendRefusal(nil, o.status)), "canary") {
			t.Errorf("%q: the refusal repeats the request", in)
		}
	}
	o := decide(t, []byte(head("Sec-WebSocket-Protocol: canary", "Sec-WebSocket-Extensions: canary; x=y")), Limits{}, &Config{})
	if o.status != Done || strings.Contains(string(AppendResponse(nil, o.req.Key, ChooseSubprotocol(&o.req), nil)), "canary") {
		t.Error("the 101 repeats the request")
	}
}

func TestResponsePanicsOnACallersBug(t *testing.T) {
	key := "dGhlIHNhbXBsZSBub25jZQ=="
	for _, c := range []struct{ key, extension string }{
		{"short", ""}, {key + "x", ""}, {key, "a\r\nSet-Cookie: x"}, {key, "a\x00"}, {key, "a\tb"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic for %q", c)
				}
			}()
			AppendResponse(nil, []byte(c.key), JSON, []byte(c.extension))
		}()
	}
}
