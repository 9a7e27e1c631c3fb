package handshake

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// requestHeads returns the heads in testdata/requests: what real clients and proxies send.
func requestHeads(tb testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/requests/*.http")
	if err != nil || len(files) == 0 {
		tb.Fatal("no testdata/requests", err)
	}
	heads := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		heads[filepath.Base(f)] = b
	}
	return heads
}

func TestUpgradesOfRealClientsPass(t *testing.T) {
	all := &Config{Origins: &Origins{any: true}}
	for name, in := range requestHeads(t) {
		if got := sameEverywhere(t, string(in), Limits{}, all); got.status != Done {
			t.Errorf("%s: %v", name, got.status)
		}
		agreeWithNetHTTP(t, in, decide(t, in, Limits{}, all))
	}
}

// FuzzRequest checks three properties: no panic, any cut gives the same outcome, and net/http reads every upgrade that passed as we do.
func FuzzRequest(f *testing.F) {
	for _, in := range requestHeads(f) {
		f.Add(in, uint16(100), uint16(200))
	}
	for _, in := range []string{
		browser, head(), head("-Host"), head("+Host: x"), head("Content-Length: 0"), head("Transfer-Encoding: chunked"), head("GET http://h/ws?x HTTP/1.1"),
		"GET / HTTP/1.1\n\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\nA : b\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"CONNECT h:1 HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
	} {
		f.Add([]byte(in), uint16(7), uint16(40))
	}
	lim := Limits{HeadBytesMax: 1000, TargetBytesMax: 100, HeadersMax: 20} // reachable by mutation
	f.Fuzz(func(t *testing.T, in []byte, a, b uint16) {
		if len(in) > 4096 {
			return
		}
		cfg := &Config{Origins: &Origins{any: true}}
		whole := decide(t, in, lim, cfg)
		first, second := min(int(a), len(in)), min(max(int(a), int(b)), len(in))
		if got := decide(t, in, lim, cfg, first, second); !reflect.DeepEqual(got, whole) {
			t.Fatalf("cut at %d and %d: got %v, whole %v", first, second, got.status, whole.status)
		}
		each := make([]int, len(in))
		for i := range each {
			each[i] = i
		}
		if got := decide(t, in, lim, cfg, each...); !reflect.DeepEqual(got, whole) {
			t.Fatalf("byte by byte: got %v, whole %v", got.status, whole.status)
		}
		if whole.status == Done {
			agreeWithNetHTTP(t, in, whole)
		}
	})
}

// agreeWithNetHTTP reads an upgrade that passed with net/http and compares what both understood: where two readers differ, requests are smuggled.
func agreeWithNetHTTP(t *testing.T, in []byte, o outcome) {
	t.Helper()
	rd := bytes.NewReader(in)
	br := bufio.NewReader(rd)
	r, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("we pass what net/http refuses: %v", err)
	}
	if n := len(in) - rd.Len() - br.Buffered(); n != o.n {
		t.Errorf("the head has %d bytes for net/http, %d for us", n, o.n)
	}
	q := &o.req
	headers := 0
	for _, v := range r.Header {
		headers += len(v)
	}
	for _, c := range []struct{ what, we, they string }{
		{"method", string(q.Method), r.Method},
		{"target", string(q.Target), r.RequestURI},
		{"path", string(q.Path), r.URL.EscapedPath()},
		{"query", string(q.Query), r.URL.RawQuery},
		{"host", strings.ToLower(string(q.Host)), strings.ToLower(r.Host)},
		{"origin", string(q.Origin), r.Header.Get("Origin")},
		{"key", string(q.Key), r.Header.Get("Sec-WebSocket-Key")},
		{"version", string(q.Version), r.Header.Get("Sec-WebSocket-Version")},
		{"authorization", string(q.Authorization), r.Header.Get("Authorization")},
		{"protocols", string(q.Protocols.Join(nil)), strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ", ")},
		{"extensions", string(q.Extensions.Join(nil)), strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ", ")},
		{"cookie", string(q.Header("Cookie")), r.Header.Get("Cookie")},
	} {
		same := c.we == c.they
		if c.what == "path" && !same { // EscapedPath may escape again what a client left raw; compare what both mean
			p, err := url.PathUnescape(c.we)
			same = err == nil && p == r.URL.Path
		}
		if !same {
			t.Errorf("%s: we read %q, net/http %q", c.what, c.we, c.they)
		}
	}
	if q.KeepAlive == r.Close {
		t.Errorf("keep-alive: we read %v, net/http %v", q.KeepAlive, !r.Close)
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		t.Errorf("an upgrade with a body passed: %d %v", r.ContentLength, r.TransferEncoding)
	}
	if r.Header.Get("Pragma") == "" && q.Headers != headers+1 { // net/http moves Host out, and makes a Cache-Control of Pragma
		t.Errorf("we count %d headers, net/http %d and Host", q.Headers, headers)
	}
}

// FuzzResponse checks: no panic, any cut gives the same outcome, and net/http reads what passed.
func FuzzResponse(f *testing.F) {
	o := offer()
	f.Add(AppendResponse(nil, o.Key[:], NoSubprotocol, nil))
	f.Add(AppendResponse(nil, o.Key[:], MessagePack, nil))
	f.Add(AppendResponse(nil, o.Key[:], Protobuf, []byte("permessage-deflate; a=b")))
	for s := range Status(statusesCount) {
		f.Add(AppendRefusal(nil, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1024 { // every boundary is tried: quadratic
			return
		}
		_, status, r := parseResponseEverywhere(t, string(in), o)
		if status != Done {
			return
		}
		got, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
		if err != nil {
			if bytes.Contains(bytes.ToLower(in), []byte("content-length")) || bytes.Contains(bytes.ToLower(in), []byte("transfer-encoding")) {
				return // RFC 9110 §15.2: a 101 has no content whatever these say; net/http judges them all the same
			}
			t.Fatalf("we pass what net/http refuses: %v", err)
		}
		if got.StatusCode != r.Code || got.Header.Get("Sec-Websocket-Extensions") != string(r.Extensions) || got.Header.Get("Sec-Websocket-Protocol") != r.Subprotocol.String() {
			t.Errorf("we read %+v, net/http %+v", r, got)
		}
	})
}

// FuzzProxy checks: no panic, any cut gives the same outcome, and what was read, written again, is read the same.
func FuzzProxy(f *testing.F) {
	for _, in := range []string{
		"PROXY TCP4 1.2.3.4 127.0.0.1 8080 443\r\n", "PROXY TCP6 2001:db8::1 ::1 8080 443\r\n", "PROXY UNKNOWN x\r\n",
		proxyV2(0x21, 0x11, addrs4), proxyV2(0x21, 0x21, addrs6+tls), proxyV2(0x20, 0, ""), withSum(0x21, 0x11, addrs4+tls), withLength(proxyV2(0x21, 0x11, addrs4), 65535),
		proxyV2(0x21, 0x31, strings.Repeat("x", 216)), proxyV2(0x21, 0x11, addrs4+"\x20\xff\xff"),
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, src, dst, status := parseProxyEverywhere(t, string(in))
		if status != Done {
			return
		}
		if src.IsValid() != dst.IsValid() || n > len(in) || n > proxyV2BytesMax {
			t.Fatalf("%d %v %v", n, src, dst)
		}
		if !src.IsValid() {
			return
		}
		for _, again := range []string{writeProxyV1(src, dst), writeProxyV2(src, dst)} {
			m, s, d, st := ParseProxy([]byte(again))
			if m != len(again) || s != src || d != dst || st != Done {
				t.Errorf("%q: got %d %v %v %v, want %v %v", again, m, s, d, st, src, dst)
			}
		}
	})
}

func writeProxyV1(src, dst netip.AddrPort) string {
	family := "TCP6"
	if src.Addr().Is4() {
		family = "TCP4"
	}
	p := netip.AddrPort.Port
	b := append([]byte("PROXY "+family+" "+src.Addr().String()+" "+dst.Addr().String()+" "), []byte(netip.AddrPortFrom(netip.IPv4Unspecified(), p(src)).String()[len("0.0.0.0:"):])...)
	b = append(b, ' ')
	b = append(b, netip.AddrPortFrom(netip.IPv4Unspecified(), p(dst)).String()[len("0.0.0.0:"):]...)
	return string(b) + "\r\n"
}

func writeProxyV2(src, dst netip.AddrPort) string {
	kind := byte(0x21)
	if src.Addr().Is4() {
		kind = 0x11
	}
	body := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	body = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(body, src.Port()), dst.Port())
	return proxyV2(0x21, kind, string(body))
}

// FuzzOrigin checks the policy with net/url as the oracle: what an exact entry allows has its scheme, host and port and nothing else.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"https://example.com", "https://EXAMPLE.com:443", "https://example.com@evil.com", "https://example.com/", "null", "file://", "https://example.com.evil.com", "https://example.com:8443"} {
		f.Add(s, "example.com")
	}
	exact, err := NewOrigins([]string{"https://example.com"})
	if err != nil {
		f.Fatal(err)
	}
	wild, err := NewOrigins([]string{"https://*.example.com"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, origin, host string) {
		u, err := url.Parse(strings.ToLower(origin))
		plain := err == nil && u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && !u.ForceQuery
		secure := plain && u.Scheme == "https" && (u.Port() == "" || u.Port() == "443")
		if exact.Allows([]byte(origin), []byte(host)) && !(secure && u.Hostname() == "example.com") {
			t.Errorf("https://example.com allows %q", origin)
		}
		if wild.Allows([]byte(origin), []byte(host)) && !(secure && strings.HasSuffix(u.Hostname(), ".example.com")) {
			t.Errorf("https://*.example.com allows %q", origin)
		}
		if (*Origins)(nil).Allows([]byte(origin), []byte(host)) {
			h, herr := url.Parse(u.Scheme + "://" + strings.ToLower(host))
			if !plain || herr != nil || u.Hostname() != h.Hostname() {
				t.Errorf("the same-host policy allows %q at %q", origin, host)
			}
		}
	})
}
