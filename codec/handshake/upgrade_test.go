package handshake

import (
	"strings"
	"testing"
)

func TestUpgradeRulesClauseByClause(t *testing.T) {
	listed, err := NewOrigins([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	key := func(k string) string { return "Sec-WebSocket-Key: " + k }
	for _, c := range []struct {
		clause string
		in     string
		want   Status
	}{
		{"4.2.1 minimal", head(), Done},
		{"4.2.1-1 HTTP/1.0", head("GET /ws HTTP/1.0"), HTTP10},
		{"4.2.1-1 higher minor", head("GET /ws HTTP/1.2"), Done},
		{"4.2.1-1 POST", head("POST /ws HTTP/1.1"), MethodNotGET},
		{"4.2.1-1 HEAD", head("HEAD /ws HTTP/1.1"), MethodNotGET},
		{"4.2.1-1 methods have case", head("get /ws HTTP/1.1"), MethodNotGET},
		{"4.2.1-1 CONNECT", head("CONNECT h:80 HTTP/1.1"), MethodNotGET},
		{"4.2.1-2 no Host", head("-Host"), NoHost},
		{"4.2.1-2 empty Host", head("Host:"), NoHost},
		{"9112 3.2 two Hosts", head("+Host: h"), TwoHosts},
		{"9112 3.2 two Hosts, other", head("+host: evil"), TwoHosts},
		{"9112 3.2 list", head("Host: h, h"), BadHost},
		{"9112 3.2 user", head("Host: u@h"), BadHost},
		{"9112 3.2 path", head("Host: h/x"), BadHost},
		{"9112 3.2 port", head("Host: h:65536"), BadHost},
		{"9112 3.2 port", head("Host: h:8a"), BadHost},
		{"9112 3.2 port", head("Host: h:-1"), BadHost},
		{"9112 3.2 port only", head("Host: :80"), BadHost},
		{"9112 3.2 open bracket", head("Host: [::1"), BadHost},
		{"9112 3.2 empty brackets", head("Host: []"), BadHost},
		{"9112 3.2 zone", head("Host: [fe80::1%25eth0]"), BadHost},
		{"9112 3.2 behind bracket", head("Host: [::1]x"), BadHost},
		{"9112 3.2 IPv6", head("Host: [::1]:8000"), Done},
		{"9112 3.2 empty port", head("Host: h:"), Done},
		{"9112 3.2 underscore", head("Host: my_service.local:1"), Done},
		{"9112 3.2.2 same", head("GET http://H/ws HTTP/1.1"), Done},
		{"9112 3.2.2 other", head("GET http://evil/ws HTTP/1.1"), HostMismatch},
		{"4.2.1-3 no Upgrade", head("-Upgrade"), NoUpgrade},
		{"4.2.1-3 other", head("Upgrade: h2c"), NoUpgrade},
		{"4.2.1-3 part", head("Upgrade: websocketx"), NoUpgrade},
		{"4.2.1-3 version", head("Upgrade: websocket/13"), NoUpgrade},
		{"4.2.1-3 case", head("Upgrade: WebSocket"), Done},
		{"4.2.1-3 list", head("Upgrade: h2c ,\twebsocket"), Done},
		{"4.2.1-3 Kelvin sign is no k", head("Upgrade: websoc\u212Aet"), NoUpgrade},
		{"4.2.1-4 no Connection", head("-Connection"), NoConnection},
		{"4.2.1-4 other", head("Connection: keep-alive"), NoConnection},
		{"4.2.1-4 part", head("Connection: upgrades"), NoConnection},
		{"4.2.1-4 list", head("Connection: keep-alive,upgrade"), Done},
		{"4.2.1-4 lines", head("Connection: keep-alive", "+Connection: UPGRADE"), Done},
		{"4.2.1-5 no Key", head("-Sec-WebSocket-Key"), NoKey},
		{"11.3.1 two Keys", head("+" + key("dGhlIHNhbXBsZSBub25jZQ==")), TwoKeys},
		{"4.2.1-5 empty", head(key("")), BadKey},
		{"4.2.1-5 15 bytes", head(key("dGhlIHNhbXBsZSBub25j")), BadKey},
		{"4.2.1-5 17 bytes", head(key("dGhlIHNhbXBsZSBub25jZWU=")), BadKey},
		{"4.2.1-5 18 bytes", head(key("dGhlIHNhbXBsZSBub25jZWVl")), BadKey},
		{"4.2.1-5 no padding", head(key("dGhlIHNhbXBsZSBub25jZQ")), BadKey},
		{"4.2.1-5 URL alphabet", head(key("dGhlIHNhbXBsZSBub25jZ_==")), BadKey},
		{"4.2.1-5 space inside", head(key("dGhlIHNhbXBs SBub25jZQ==")), BadKey},
		{"4.2.1-5 two in a list", head(key("dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==")), BadKey},
		{"4.2.1-5 padding inside", head(key("dGhlIHNhbXBsZSBub25=ZQ==")), BadKey},
		{"4.2.1-5 spare bits", head(key("dGhlIHNhbXBsZSBub25jZZ==")), Done},
		{"4.2.1-5 padded by white space", head(key("\t dGhlIHNhbXBsZSBub25jZQ== \t")), Done},
		{"4.2.1-6 no Version", head("-Sec-WebSocket-Version"), NoVersion},
		{"4.4 Version 8", head("Sec-WebSocket-Version: 8"), WrongVersion},
		{"4.4 Version 777", head("Sec-WebSocket-Version: 777"), WrongVersion},
		{"4.4 Version 013", head("Sec-WebSocket-Version: 013"), WrongVersion},
		{"4.4 Version empty", head("Sec-WebSocket-Version:"), WrongVersion},
		{"4.4 Version list", head("Sec-WebSocket-Version: 13, 8"), WrongVersion},
		{"11.3.5 two Versions", head("+Sec-WebSocket-Version: 13"), TwoVersions},
		{"4.1 Content-Length 0", head("Content-Length: 0"), Done},
		{"4.1 Content-Length 5", head("Content-Length: 5") + "hello", BodyOnUpgrade},
		{"4.1 Content-Length huge", head("Content-Length: 99999999999999999999999"), BodyOnUpgrade},
		{"9112 6.3 negative", head("Content-Length: -1"), BadContentLength},
		{"9112 6.3 signed", head("Content-Length: +0"), BadContentLength},
		{"9112 6.3 hex", head("Content-Length: 0x0"), BadContentLength},
		{"9112 6.3 empty", head("Content-Length:"), BadContentLength},
		{"9112 6.3 list", head("Content-Length: 0, 0"), BadContentLength},
		{"9112 6.3 twice", head("Content-Length: 0", "+Content-Length: 0"), BadContentLength},
		{"9112 6.3 zeros", head("Content-Length: 00"), BadContentLength},
		{"9112 6.1 chunked", head("Transfer-Encoding: chunked"), TransferOnUpgrade},
		{"9112 6.1 chunked and length", head("Transfer-Encoding: chunked", "Content-Length: 0"), TransferOnUpgrade},
		{"9112 6.1 identity", head("transfer-encoding: identity"), TransferOnUpgrade},
		{"9112 6.1 empty", head("Transfer-Encoding:"), TransferOnUpgrade},
		{"10.2 no Origin", head("-Origin"), Done},
		{"10.2 listed", head("Origin: https://app.example.com"), Done},
		{"10.2 other", head("Origin: https://evil.example"), OriginDenied},
		{"10.2 empty", head("Origin:"), OriginDenied},
		{"6454 7.3 two", head("Origin: https://app.example.com", "+Origin: https://app.example.com"), TwoOrigins},
		{"6454 7.3 list", head("Origin: https://app.example.com https://app.example.com"), OriginDenied},
		{"9110 5.3 one Authorization", head("Authorization: Bearer x"), Done},
		{"9110 5.3 two", head("Authorization: Bearer x", "+Authorization: Bearer y"), TwoAuthorizations},
	} {
		if got := sameEverywhere(t, c.in, Limits{}, &Config{Origins: listed}); got.status != c.want {
			t.Errorf("%s: %q: got %v, want %v", c.clause, c.in, got.status, c.want)
		}
	}
}

func TestSubprotocolListAndChoice(t *testing.T) {
	const name = "Sec-WebSocket-Protocol: "
	many := strings.TrimSuffix(strings.Repeat("p%,", 16), ",")
	for i := range 16 {
		many = strings.Replace(many, "%", string(rune('a'+i)), 1)
	}
	for _, c := range []struct {
		in     string
		want   Status
		choice Subprotocol
	}{
		{head(), Done, NoSubprotocol},
		{head(name + "centrifuge-json"), Done, JSON},
		{head(name + "centrifuge-protobuf"), Done, Protobuf},
		{head(name + "chat, centrifuge-protobuf , centrifuge-json"), Done, Protobuf},
		{head(name+"centrifuge-json", "+"+name+"centrifuge-protobuf"), Done, JSON},
		{head(name + "shoal-msgpack"), Done, MessagePack},
		{head(name + "centrifuge-cbor, shoal-msgpack, centrifuge-json"), Done, MessagePack},
		{head(name + "Centrifuge-JSON"), Done, NoSubprotocol},
		{head(name + "chat"), Done, NoSubprotocol},
		{head(name + many), Done, NoSubprotocol},
		{head(name + many + ",q"), BadSubprotocol, 0},
		{head(name), BadSubprotocol, 0},
		{head(name + ","), BadSubprotocol, 0},
		{head(name + "a,,centrifuge-json"), Done, JSON}, // RFC 9110 §5.6.1.2: empty elements count for nothing
		{head(name + "a,"), Done, NoSubprotocol},
		{head(name + "a, a"), BadSubprotocol, 0},
		{head(name+"a", "+"+name+"a"), BadSubprotocol, 0},
		{head(name + "a b"), BadSubprotocol, 0},
		{head(name + "a/b"), BadSubprotocol, 0},
		{head(name + "\"a\""), BadSubprotocol, 0},
		{head(name + "centrifuge-json\xc3\xa9"), BadSubprotocol, 0},
		{head(name+"a", "+"+name+"b", "+"+name+"c", "+"+name+"d"), Done, NoSubprotocol},
		{head(name+"a", "+"+name+"b", "+"+name+"c", "+"+name+"d", "+"+name+"e"), BadSubprotocol, 0},
	} {
		o := sameEverywhere(t, c.in, Limits{}, &Config{})
		if o.status != c.want {
			t.Errorf("%q: got %v, want %v", c.in, o.status, c.want)
		} else if got := ChooseSubprotocol(&o.req); o.status == Done && got != c.choice {
			t.Errorf("%q: chose %q, want %q", c.in, got, c.choice)
		}
	}
}

func TestExtensionGrammar(t *testing.T) {
	for _, c := range []struct {
		value string
		want  Status
	}{
		{"permessage-deflate", Done},
		{"permessage-deflate; client_max_window_bits", Done},
		{"permessage-deflate;client_max_window_bits=10 ; server_no_context_takeover, x", Done},
		{`foo; a="b"`, Done},
		{`foo ; a = "b" , bar;c = d`, Done},
		{`foo; a="\b\c"`, Done},
		{"permessage-deflate; nonsense=99", Done}, // to be declined, not refused: RFC 7692 §7.1
		{"", BadExtensions},
		{",", BadExtensions},
		{" , ,", BadExtensions},
		{"a,", Done}, // RFC 9110 §5.6.1.2: empty elements count for nothing
		{",a, ,b;c", Done},
		{"a;", BadExtensions},
		{";a", BadExtensions},
		{"a; =b", BadExtensions},
		{"a; b=", BadExtensions},
		{"a; b=;c", BadExtensions},
		{"a b", BadExtensions},
		{`a; b="`, BadExtensions},
		{`a; b=""`, BadExtensions},
		{`a; b="c d"`, BadExtensions}, // RFC 6455 §9.1: a token after unescaping
		{`a; b="c\`, BadExtensions},
		{`a; b="c"d`, BadExtensions},
		{`a; b="c,d"`, BadExtensions},
		{"a/b", BadExtensions},
		{"a=b", BadExtensions},
	} {
		in := head("Sec-WebSocket-Extensions: " + c.value)
		if got := sameEverywhere(t, in, Limits{}, &Config{}); got.status != c.want {
			t.Errorf("%q: got %v, want %v", c.value, got.status, c.want)
		}
	}
	name := "+Sec-WebSocket-Extensions: "
	if got := decide(t, []byte(head(name+"a", name+"b;c")), Limits{}, &Config{}); got.status != Done || string(got.req.Extensions.Join(nil)) != "a, b;c" {
		t.Errorf("two lines: %v", got.status)
	}
	if got := decide(t, []byte(head(name+"a", name+"b;")), Limits{}, &Config{}); got.status != BadExtensions {
		t.Errorf("bad second line: %v", got.status)
	}
	if got := decide(t, []byte(head(name+"a", name+"b", name+"c", name+"d", name+"e")), Limits{}, &Config{}); got.status != BadExtensions {
		t.Errorf("five lines: %v", got.status)
	}
}
