package handshake

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

func TestParserIsSmallEnoughForASlot(t *testing.T) {
	if got := unsafe.Sizeof(Parser{}); got != 6 {
		t.Errorf("Parser has %d bytes, its comment says 6", got)
	}
}

func TestEveryFieldOfABrowsersUpgrade(t *testing.T) {
	o := sameEverywhere(t, browser+"frame bytes", Limits{}, &Config{})
	if o.status != Done || o.n != len(browser) {
		t.Fatalf("got %v with n %d, want done with %d", o.status, o.n, len(browser))
	}
	r := &o.req
	for _, c := range []struct{ name, got, want string }{
		{"Head", string(r.Head), browser},
		{"Method", string(r.Method), "GET"},
		{"Target", string(r.Target), "/connection/websocket?cf_ws_frame_ping_pong=true"},
		{"Path", string(r.Path), "/connection/websocket"},
		{"Query", string(r.Query), "cf_ws_frame_ping_pong=true"},
		{"Host", string(r.Host), "push.example.com:8000"},
		{"Origin", string(r.Origin), "https://push.example.com:8000"},
		{"Key", string(r.Key), "dGhlIHNhbXBsZSBub25jZQ=="},
		{"Version", string(r.Version), "13"},
		{"UserAgent", string(r.UserAgent), "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"},
		{"Protocols", string(r.Protocols.Join(nil)), "centrifuge-protobuf"},
		{"Extensions", string(r.Extensions.Join(nil)), "permessage-deflate; client_max_window_bits"},
		{"Header", string(r.Header("accept-LANGUAGE")), "en-GB,en;q=0.9"},
		{"absent", fmt.Sprint(r.Header("Cookie") == nil, r.Authorization == nil, r.Authority == nil), "true true true"},
		{"flags", fmt.Sprint(r.Upgrade, r.KeepAlive, r.Minor, r.Headers), "true true 1 13"},
		{"String", r.String(), `"GET" "/connection/websocket"`},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestHeadsThatAnyServerReads(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // method path query authority minor keep-alive upgrade headers
	}{
		{"GET / HTTP/1.1\r\n\r\n", "GET / - - 1 true false 0"},
		{"GET / HTTP/1.0\r\n\r\n", "GET / - - 0 false false 0"},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / - - 0 true false 1"},
		{"GET / HTTP/1.1\r\nConnection: foo , CLOSE\r\n\r\n", "GET / - - 1 false false 1"},
		{"GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", "GET / - - 1 false false 2"},
		{"GET / HTTP/1.9\r\n\r\n", "GET / - - 9 true false 0"},
		{"POST /api/publish?x=1?y HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "POST /api/publish x=1?y - 1 true false 1"},
		{"GET /? HTTP/1.1\r\n\r\n", "GET /  - 1 true false 0"},
		{"GET //a//b HTTP/1.1\r\n\r\n", "GET //a//b - - 1 true false 0"},
		{"GET /%41%ff?% HTTP/1.1\r\n\r\n", "GET /%41%ff % - 1 true false 0"},
		{"GET http://h:1/p?q HTTP/1.1\r\nHost: h:1\r\n\r\n", "GET /p q h:1 1 true false 1"},
		{"GET HTTPS://[::1]:1 HTTP/1.1\r\n\r\n", "GET  - [::1]:1 1 true false 0"},
		{"GET http://h?q HTTP/1.1\r\n\r\n", "GET  q h 1 true false 0"},
		{"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS * - - 1 true false 0"},
		{"CONNECT h:443 HTTP/1.1\r\n\r\n", "CONNECT  - h:443 1 true false 0"},
		{"GET / HTTP/1.1\r\nUpgrade: h2c, WebSocket\r\n\r\n", "GET / - - 1 true true 1"},
		{"GET / HTTP/1.1\r\nUpgrade: websocket/13\r\n\r\n", "GET / - - 1 true false 1"},
		{"GET / HTTP/1.1\r\nA:\t tab\tinside \t\r\nB:\r\nC:\x80\xff obs-text\r\n\r\n", "GET / - - 1 true false 3"},
		{"!#$%&'*+-.^_`|~09Az / HTTP/1.1\r\n!#$%&'*+-.^_`|~09Az:\r\n\r\n", "!#$%&'*+-.^_`|~09Az / - - 1 true false 1"},
	} {
		o := sameEverywhere(t, c.in, Limits{}, nil)
		r := &o.req
		or := func(b []byte) string {
			if b == nil {
				return "-"
			}
			return string(b)
		}
		got := fmt.Sprintf("%s %s %s %s %d %v %v %d", r.Method, r.Path, or(r.Query), or(r.Authority), r.Minor, r.KeepAlive, r.Upgrade, r.Headers)
		if o.status != Done || got != c.want {
			t.Errorf("%q:\n got %v %s\nwant done %s", c.in, o.status, got, c.want)
		}
	}
}

func TestHeadsThatNoServerMayRead(t *testing.T) {
	for _, c := range []struct {
		clause, in string
		want       Status
	}{
		{"RFC 8446 5.1", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", PlainTLS},
		{"RFC 9112 2.2 empty line first", "\r\nGET / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 2.2 LF first", "\nGET / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3.1 no method", " / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3.1 not a token", "G(T / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3.1 NUL", "G\x00T / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3.1 8-bit", "G\xc9T / HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3.1 no end", strings.Repeat("G", 21), BadMethod},
		{"RFC 9112 3.1 too long", strings.Repeat("G", 20) + " / HTTP/1.1\r\n\r\n", BadMethod},
		{"MT magic", "TM\x01\x00\x05\x00\x00\x00hello", BadMethod},
		{"a WebSocket frame", "\x81\x85\x00\x00\x00\x00hello", BadMethod},
		{"method only", "GET\r\n\r\n", BadMethod},
		{"RFC 9112 3 two spaces", "GET  / HTTP/1.1\r\n\r\n", BadRequestLine},
		{"RFC 9112 3 tab", "GET\t/ HTTP/1.1\r\n\r\n", BadMethod},
		{"RFC 9112 3 HTTP/0.9", "GET /\r\n\r\n", BadRequestLine},
		{"RFC 9112 3 space behind", "GET / HTTP/1.1 \r\n\r\n", BadRequestLine},
		{"RFC 9112 3 three parts", "GET /a b HTTP/1.1\r\n\r\n", BadRequestLine},
		{"RFC 9112 3 empty target", "GET  HTTP/1.1\r\n\r\n", BadRequestLine},
		{"RFC 9112 2.3 lower case", "GET / http/1.1\r\n\r\n", BadRequestLine},
		{"RFC 9112 2.3 two digits", "GET / HTTP/1.10\r\n\r\n", BadRequestLine},
		{"RFC 9112 2.3 no digit", "GET / HTTP/1.x\r\n\r\n", BadRequestLine},
		{"RFC 9112 2.3 short", "GET / HTTP/1\r\n\r\n", BadRequestLine},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BadHTTPVersion},
		{"RFC 9110 15.6.6", "GET / HTTP/3.0\r\n\r\n", BadHTTPVersion},
		{"HTTP/0.9 by name", "GET / HTTP/0.9\r\n\r\n", BadHTTPVersion},
		{"RFC 9112 3.2 relative", "GET ws HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2 query only", "GET ?q HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 6455 3 fragment", "GET /ws#f HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 3986 2 raw UTF-8", "GET /\xc3\xa9 HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 3986 2.1", "GET /%4 HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 3986 2.1", "GET /%zz HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.4 star", "GET * HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.3 no port", "CONNECT h HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.3 path", "CONNECT /x HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.2 user", "GET http://u@h/ HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.2 no host", "GET http:/// HTTP/1.1\r\n\r\n", BadTarget},
		{"RFC 9112 3.2.2 scheme", "GET gopher://h/ HTTP/1.1\r\n\r\n", BadTarget},
		{"target NUL", "GET /\x00 HTTP/1.1\r\n\r\n", NULByte},
		{"target CR", "GET /\r HTTP/1.1\r\n\r\n", BareCR},
		{"target DEL", "GET /\x7f HTTP/1.1\r\n\r\n", ControlByte},
		{"target tab", "GET /\t HTTP/1.1\r\n\r\n", ControlByte},
		{"CR CR LF", "GET / HTTP/1.1\r\r\n\r\n", BadRequestLine},

		{"RFC 9112 2.2 LF ends request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", BareLF},
		{"RFC 9112 2.2 LF ends header", "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", BareLF},
		{"RFC 9112 2.2 LF ends head", "GET / HTTP/1.1\r\nHost: h\r\n\n", BareLF},
		{"RFC 9112 2.2 LF everywhere", "GET / HTTP/1.1\n\n", BareLF},
		{"RFC 9112 2.2 CR in value", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", BareCR},
		{"RFC 9112 2.2 CR before CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BareCR},
		{"RFC 9112 2.2 CR in name", "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", BareCR},
		{"RFC 9112 2.2 CR begins line", "GET / HTTP/1.1\r\n\rHost: a\r\n\r\n", BareCR},
		{"RFC 9110 5.5 NUL in value", "GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", NULByte},
		{"RFC 9110 5.5 NUL in name", "GET / HTTP/1.1\r\nHo\x00st: b\r\n\r\n", NULByte},
		{"RFC 9110 5.5 control, far", "GET / HTTP/1.1\r\nA: 0123456789abcdef\x1b[2J\r\n\r\n", ControlByte},
		{"RFC 9110 5.5 DEL, in a word with a tab", "GET / HTTP/1.1\r\nA: \"\t34567\x7f\r\n\r\n", ControlByte},
		{"RFC 9110 5.5 DEL in name", "GET / HTTP/1.1\r\nA\x7f: b\r\n\r\n", ControlByte},
		{"RFC 9112 5.2 fold by space", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", ObsFold},
		{"RFC 9112 5.2 fold by tab", "GET / HTTP/1.1\r\nA: b\r\n\tc: d\r\n\r\n", ObsFold},
		{"RFC 9112 2.2 space before first header", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", ObsFold},
		{"RFC 9112 5.2 fold to nothing", "GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n", ObsFold},
		{"RFC 9112 5.1", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", SpaceBeforeColon},
		{"RFC 9112 5.1 tab", "GET / HTTP/1.1\r\nHost\t \t: h\r\n\r\n", SpaceBeforeColon},
		{"RFC 9110 5.1 space inside", "GET / HTTP/1.1\r\nHo st: h\r\n\r\n", BadHeaderName},
		{"RFC 9110 5.1 empty", "GET / HTTP/1.1\r\n: h\r\n\r\n", BadHeaderName},
		{"RFC 9110 5.1 separator", "GET / HTTP/1.1\r\nHo(st: h\r\n\r\n", BadHeaderName},
		{"RFC 9110 5.1 8-bit", "GET / HTTP/1.1\r\nH\xf6st: h\r\n\r\n", BadHeaderName},
		{"RFC 9112 5 no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", BadHeaderLine},
		{"a second request line", "GET / HTTP/1.1\r\nGET / HTTP/1.1\r\n\r\n", BadHeaderName},
	} {
		if got := sameEverywhere(t, c.in, Limits{}, nil); got.status != c.want {
			t.Errorf("%s: %q: got %v, want %v", c.clause, c.in, got.status, c.want)
		}
	}
}

func TestOnlyTokenBytesStandInNamesAndOnlyTextInValues(t *testing.T) {
	const separators = "\"(),/:;<=>?@[\\]{} \t"
	for c := range 256 {
		token := c > ' ' && c < 0x7f && !strings.ContainsRune(separators, rune(c))
		if got := isToken(byte(c)); got != token {
			t.Errorf("isToken(%#x) = %v", c, got)
		}
		text := c >= ' ' && c != 0x7f || c == '\t'
		for _, pad := range []int{0, 3, 8, 13} { // byte-wise, in the first word, in the second
			v := strings.Repeat("x", pad) + string([]byte{byte(c)}) + "0123456789"
			if got := checkValue([]byte(v)) == Done; got != text {
				t.Errorf("checkValue(%q) passed: %v", v, got)
			}
		}
	}
}

func TestHeadLimits(t *testing.T) {
	exactly := func(n int) string { // a head of n bytes
		const rest = "GET / HTTP/1.1\r\nA: \r\n\r\n"
		return strings.Replace(rest, "A: ", "A: "+strings.Repeat("x", n-len(rest)), 1)
	}
	target := func(n int) string { return "GET /" + strings.Repeat("x", n-1) + " HTTP/1.1\r\n\r\n" }
	headers := func(n int) string { return "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", n) + "\r\n" }
	small := Limits{HeadBytesMax: 200, TargetBytesMax: 50, HeadersMax: 4}
	for _, c := range []struct {
		name string
		in   string
		lim  Limits
		want Status
	}{
		{"head at limit", exactly(200), small, Done},
		{"head at limit with body", exactly(200) + "body", small, Done},
		{"head over limit", exactly(201), small, HeadTooLarge},
		{"head far over limit", exactly(1000), small, HeadTooLarge},
		{"empty line crosses limit", exactly(202), small, HeadTooLarge},
		{"no end", exactly(300)[:250], small, HeadTooLarge},
		{"no end, at limit", exactly(300)[:200], small, NeedMore},
		{"target at limit", target(50), small, Done},
		{"target over limit", target(51), small, TargetTooLong},
		{"target without end", target(300)[:60], small, TargetTooLong},
		{"target over limit of HTTP/0.9", "GET /" + strings.Repeat("x", 60) + "\r\n", small, TargetTooLong},
		{"target under limit of HTTP/0.9", "GET /" + strings.Repeat("x", 30) + "\r\n", small, BadRequestLine},
		{"headers at limit", headers(4), small, Done},
		{"headers over limit", headers(5), small, TooManyHeaders},
		{"headers over limit, last is bad", headers(4)[:len(headers(4))-2] + "bad\r\n\r\n", small, TooManyHeaders},
		{"default headers at limit", headers(64), Limits{}, Done},
		{"default headers over limit", headers(65), Limits{}, TooManyHeaders},
	} {
		if got := sameEverywhere(t, c.in, c.lim, nil); got.status != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got.status, c.want)
		}
	}
	for _, c := range []struct { // too long to cut everywhere: every 97th boundary
		name string
		in   string
		want Status
	}{
		{"default head at limit", exactly(8192), Done},
		{"default head over limit", exactly(8193), HeadTooLarge},
		{"default target at limit", target(4096), Done},
		{"default target over limit", target(4097), TargetTooLong},
		{"flood", exactly(1 << 20), HeadTooLarge},
	} {
		for cut := 0; cut < min(len(c.in), 9000); cut += 97 {
			if got := decide(t, []byte(c.in), Limits{}, nil, cut); got.status != c.want {
				t.Errorf("%s cut at %d: got %v, want %v", c.name, cut, got.status, c.want)
			}
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	for _, c := range []struct {
		lim Limits
		ok  bool
	}{
		{Limits{}, true},
		{Limits{HeadBytesMax: 65535, TargetBytesMax: 65534, HeadersMax: 255}, true},
		{Limits{HeadBytesMax: 65536}, false},
		{Limits{HeadBytesMax: -1}, false},
		{Limits{HeadersMax: 256}, false},
		{Limits{TargetBytesMax: 8192}, false},
		{Limits{HeadBytesMax: 4096}, false}, // the default target does not fit
		{Limits{TargetBytesMax: -1}, false},
	} {
		if err := c.lim.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.lim, err)
		}
	}
	if got := (Limits{HeadBytesMax: 1 << 20, HeadersMax: 1 << 20}).orDefaults(); got.HeadBytesMax != headBytesHard || got.HeadersMax != 255 {
		t.Errorf("limits the parser cannot count to are clamped; got %+v", got)
	}
}

func TestAHeadByteByByteIsLookedAtTwice(t *testing.T) {
	// Not timed: the parser's offsets show that no line is begun again.
	var p Parser
	var req Request
	for i := range len(browser) - 1 {
		line := p.line
		if _, status := p.Parse([]byte(browser[:i+1]), Limits{}, &req); status != NeedMore {
			t.Fatalf("byte %d: %v", i, status)
		}
		if p.line < line || int(p.seen) != i+1 {
			t.Fatalf("after byte %d the parser stands at line %d, seen %d; before, line %d", i, p.line, p.seen, line)
		}
	}
}

func TestParsePanicsWhenBytesWereLost(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var p Parser
	var req Request
	p.Parse([]byte("GET / HTT"), Limits{}, &req)
	p.Parse([]byte("P/1.1"), Limits{}, &req)
}

func TestParserTakesTheNextRequestAfterDone(t *testing.T) {
	in := []byte("GET /1 HTTP/1.1\r\nA: b\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
	var p Parser
	var req Request
	for _, want := range []string{"/1", "/2"} {
		n, status := p.Parse(in, Limits{}, &req)
		if status != Done || string(req.Path) != want {
			t.Fatalf("got %v %q, want done %q", status, req.Path, want)
		}
		in = in[n:]
	}
	if _, status := p.Parse(in, Limits{}, &req); status != NeedMore {
		t.Errorf("nothing: got %v", status)
	}
}

func TestListHeadersOverSeveralLines(t *testing.T) {
	var l Lines
	if l.Join(nil) != nil || l.Len() != 0 {
		t.Error("an absent header is not nil")
	}
	for i, want := range []string{"a", "a, b", "a, b, c", "a, b, c, d", "a, b, c, d"} {
		l.add([]byte{byte('a' + i)})
		if got := string(l.Join(make([]byte, 3, 64))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if l.Len() != 4 || string(l.Line(3)) != "d" || !l.more {
		t.Errorf("got %d lines, more %v", l.Len(), l.more)
	}
}

func TestEachWalksHeadersInOrder(t *testing.T) {
	o := decide(t, []byte("GET / HTTP/1.1\r\nA: 1\r\nb:\r\nA: 2\r\n\r\n"), Limits{}, nil)
	var got []string
	o.req.Each(func(n, v []byte) bool {
		got = append(got, string(n)+"="+string(v))
		return len(got) < 3
	})
	if fmt.Sprint(got) != "[A=1 b= A=2]" {
		t.Error(got)
	}
	if v := o.req.Header("a"); string(v) != "1" {
		t.Errorf("first of two: %q", v)
	}
	if v := o.req.Header("B"); v == nil || len(v) != 0 {
		t.Errorf("present and empty: %v", v)
	}
}

func TestForwardedForIsTheNearestProxys(t *testing.T) {
	o := decide(t, []byte(head("X-Forwarded-For: 6.6.6.6", "+X-Forwarded-For: 10.0.0.1")), Limits{}, &Config{})
	if o.status != Done || string(o.req.ForwardedFor) != "10.0.0.1" {
		t.Errorf("got %v %q", o.status, o.req.ForwardedFor)
	}
}

func TestParserValidateFindsImpossibleOffsets(t *testing.T) {
	for _, p := range []Parser{{line: 9, seen: 3}, {line: 3, seen: 9, count: 1}} {
		if p.Validate() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}
