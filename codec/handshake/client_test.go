package handshake

import (
	"reflect"
	"strings"
	"testing"
)

func offer() *Offer {
	return &Offer{Host: "h:8000", Target: "/ws?x=y", Origin: "http://h:8000", Key: NewKey([16]byte([]byte("the sample nonce"))),
		Subprotocol: Protobuf, Extensions: "permessage-deflate; client_max_window_bits, x-foo", Headers: "X-Test: 1\r\n"}
}

func TestNewKeyOfTheRFCsExample(t *testing.T) { // RFC 6455 §1.3
	if k := NewKey([16]byte([]byte("the sample nonce"))); string(k[:]) != "dGhlIHNhbXBsZSBub25jZQ==" {
		t.Errorf("%s", k)
	}
}

func TestClientAndServerUnderstandEachOther(t *testing.T) {
	o := offer()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	got := sameEverywhere(t, string(AppendRequest(nil, o)), Limits{}, &Config{})
	if got.status != Done || string(got.req.Target) != o.Target || string(got.req.Origin) != o.Origin || string(got.req.Header("x-test")) != "1" {
		t.Fatalf("%+v", got)
	}
	b := AppendResponse(nil, got.req.Key, ChooseSubprotocol(&got.req), []byte("permessage-deflate; server_no_context_takeover"))
	var r Response
	n, status := ParseResponse(append(b, "\x81\x01a"...), o, &r)
	if n != len(b) || status != Done || r.Code != 101 || r.Subprotocol != Protobuf || string(r.Extensions) != "permessage-deflate; server_no_context_takeover" {
		t.Errorf("got %d %v %+v", n, status, r)
	}
	plain := &Offer{Host: "h", Target: "/", Key: o.Key}
	if err := plain.Validate(); err != nil {
		t.Error(err)
	}
	if strings.Count(string(AppendRequest(nil, plain)), "\r\n") != 7 {
		t.Errorf("%q", AppendRequest(nil, plain))
	}
}

func TestOffersAServerWouldRefuse(t *testing.T) {
	for _, c := range []struct {
		spoil func(*Offer)
		say   string
	}{
		{func(o *Offer) { o.Key = Key{} }, "NewKey"},
		{func(o *Offer) { o.Host = "" }, "no-host"},
		{func(o *Offer) { o.Target = "ws" }, "bad-target"},
		{func(o *Offer) { o.Extensions = "a;" }, "bad-extensions"},
		{func(o *Offer) { o.Headers = "X: 1\n" }, "bare-lf"},
		{func(o *Offer) { o.Headers = "Host: x\r\n" }, "two-hosts"},
	} {
		o := offer()
		c.spoil(o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("got %v, want %s", err, c.say)
		}
	}
}

// parseResponseEverywhere parses in whole and cut at every boundary.
func parseResponseEverywhere(t *testing.T, in string, o *Offer) (int, Status, Response) {
	t.Helper()
	var want Response
	n, status := ParseResponse([]byte(in), o, &want)
	for i := range len(in) {
		var r Response
		m, s := ParseResponse([]byte(in[:i]), o, &r)
		if s == NeedMore {
			continue
		}
		if m != n || s != status || !reflect.DeepEqual(r, want) {
			t.Fatalf("%q cut at %d: got %d %v, whole %d %v", in, i, m, s, n, status)
		}
	}
	return n, status, want
}

func TestResponseRulesClauseByClause(t *testing.T) {
	reply := func(changes ...string) string {
		in := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
		for i := 0; i+1 < len(changes); i += 2 {
			in = strings.Replace(in, changes[i], changes[i+1], 1)
		}
		return in
	}
	add := func(line string) string { return reply("\r\n\r\n", "\r\n"+line+"\r\n\r\n") }
	for _, c := range []struct {
		clause, in string
		want       Status
	}{
		{"4.1", reply(), Done},
		{"9112 4 no reason", reply(" Switching Protocols", ""), Done},
		{"9112 4 empty reason", reply("Switching Protocols", ""), Done},
		{"4.1-1 status", reply("101", "200"), Refused},
		{"4.1-1 status", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n", Refused},
		{"9112 4", reply("HTTP/1.1", "HTTP/2.0"), BadStatusLine},
		{"9112 4", reply("HTTP/1.1", "ICY"), BadStatusLine},
		{"9112 4", reply("101", "1010"), BadStatusLine},
		{"9112 4", reply("101", "10x"), BadStatusLine},
		{"9112 4", reply("101", "001"), BadStatusLine},
		{"9112 4", "HTTP/1.1\r\n\r\n", BadStatusLine},
		{"9112 4 control", reply("Switching", "Swi\x07ching"), ControlByte},
		{"garbage", "SSH-2.0-OpenSSH_9.2\r\n", BadStatusLine},
		{"9112 2.2", reply("websocket\r\n", "websocket\n"), BareLF},
		{"9112 5.2", reply("websocket\r\n", "websocket\r\n x\r\n"), ObsFold},
		{"4.1-2 none", reply("Upgrade: websocket\r\n", ""), BadUpgradeReply},
		{"4.1-2 other", reply("websocket", "h2c"), BadUpgradeReply},
		{"4.1-2 case", reply("websocket", "WebSocket"), Done},
		{"4.1-3 none", reply("Connection: Upgrade\r\n", ""), BadUpgradeReply},
		{"4.1-3 list", reply("Connection: Upgrade", "Connection: keep-alive, upgrade"), Done},
		{"4.1-4 none", reply("Sec-WebSocket-Accept", "X-Accept"), BadAccept},
		{"4.1-4 other", reply("s3p", "S3p"), BadAccept},
		{"4.1-4 white space", reply("s3p", "\t s3p"), Done},
		{"4.1-4 twice", add("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), BadUpgradeReply},
		{"4.1-5 offered", add("Sec-WebSocket-Extensions: permessage-deflate; a=b"), Done},
		{"4.1-5 both", add("Sec-WebSocket-Extensions: X-Foo, permessage-deflate"), Done},
		{"4.1-5 foreign", add("Sec-WebSocket-Extensions: x-bar"), ForeignExtension},
		{"4.1-5 part of a name", add("Sec-WebSocket-Extensions: x-fo"), ForeignExtension},
		{"4.1-5 a parameter's name", add("Sec-WebSocket-Extensions: client_max_window_bits"), ForeignExtension},
		{"4.1-5 empty", add("Sec-WebSocket-Extensions:"), ForeignExtension},
		{"4.1-5 malformed", add("Sec-WebSocket-Extensions: x-foo;"), ForeignExtension},
		{"11.3.2 twice", add("Sec-WebSocket-Extensions: x-foo\r\nSec-WebSocket-Extensions: x-foo"), BadUpgradeReply},
		{"4.1-6 offered", add("Sec-WebSocket-Protocol: centrifuge-protobuf"), Done},
		{"4.1-6 other", add("Sec-WebSocket-Protocol: centrifuge-json"), ForeignProtocol},
		{"4.1-6 unknown", add("Sec-WebSocket-Protocol: chat"), ForeignProtocol},
		{"4.1-6 empty", add("Sec-WebSocket-Protocol:"), ForeignProtocol},
		{"11.3.4 twice", add("Sec-WebSocket-Protocol: centrifuge-protobuf\r\nSec-WebSocket-Protocol: centrifuge-protobuf"), BadUpgradeReply},
		{"limit", add("X: " + strings.Repeat("x", responseBytesMax)), HeadTooLarge},
		{"limit without end", "HTTP/1.1 200 " + strings.Repeat("x", responseBytesMax), HeadTooLarge},
	} {
		n, status, _ := parseResponseEverywhere(t, c.in, offer())
		wantN := 0
		if status == Done || status == Refused || status >= BadUpgradeReply && status <= ForeignProtocol {
			wantN = strings.Index(c.in, "\r\n\r\n") + 4
		}
		if status != c.want || n != wantN {
			t.Errorf("%s: %q: got %d %v, want %d %v", c.clause, c.in, n, status, wantN, c.want)
		}
	}
	nothing := &Offer{Host: "h", Target: "/", Key: offer().Key}
	for line, want := range map[string]Status{
		"Sec-WebSocket-Extensions: permessage-deflate": ForeignExtension,
		"Sec-WebSocket-Protocol: centrifuge-json":      ForeignProtocol,
	} {
		if _, status, _ := parseResponseEverywhere(t, add(line), nothing); status != want {
			t.Errorf("nothing was offered, %s: got %v, want %v", line, status, want)
		}
	}
}

func TestARefusalIsParsedWithItsCode(t *testing.T) {
	in := AppendRefusal(nil, Overloaded)
	n, status, r := parseResponseEverywhere(t, string(in), offer())
	if status != Refused || r.Code != 503 || string(in[n:]) != Overloaded.Text()+"\n" {
		t.Errorf("got %d %v %+v", n, status, r)
	}
}
