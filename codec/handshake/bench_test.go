package handshake

import (
	"testing"
)

// answerUpgrade is what a server does with a complete upgrade: parse, check, choose, answer.
func answerUpgrade(p *Parser, in []byte, req *Request, cfg *Config, out []byte) ([]byte, Status) {
	if _, status := p.Parse(in, Limits{}, req); status != Done {
		return out, status
	}
	if status := CheckUpgrade(req, cfg); status != Done {
		return AppendRefusal(out, status), status
	}
	return AppendResponse(out, req.Key, ChooseSubprotocol(req), nil), Done
}

func mustOrigins(tb testing.TB, entries ...string) *Origins {
	o, err := NewOrigins(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

func TestNothingIsAllocated(t *testing.T) {
	var (
		p    Parser
		req  Request
		resp Response
		out  = make([]byte, 0, 1024)
		off  = offer()
	)
	reply := AppendResponse(nil, off.Key[:], Protobuf, []byte("permessage-deflate"))
	two := []byte(head("Sec-WebSocket-Extensions: a", "+Sec-WebSocket-Extensions: b"))
	whole, plain, noEnd := []byte(browser), []byte("GET / HTTP/1.1\r\n\r\n"), two[:len(two)-10]
	v1, v2 := []byte("PROXY TCP4 1.2.3.4 127.0.0.1 8080 443\r\n"), []byte(proxyV2Fixture)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"upgrade, same host", func() { answerUpgrade(&p, whole, &req, &Config{}, out) }},
		{"upgrade in two pieces", func() {
			p.Parse(whole[:300], Limits{}, &req)
			answerUpgrade(&p, whole, &req, &Config{}, out)
		}},
		{"no end yet", func() { answerUpgrade(&p, noEnd, &req, &Config{}, out); p = Parser{} }},
		{"refusal", func() { answerUpgrade(&p, plain, &req, &Config{}, out) }},
		{"lists over two lines", func() {
			answerUpgrade(&p, two, &req, &Config{}, out)
			req.Extensions.Join(out)
		}},
		{"client", func() {
			AppendRequest(out, off)
			ParseResponse(reply, off, &resp)
		}},
		{"PROXY v1 TCP4", func() { ParseProxy(v1) }},
		{"PROXY v2", func() { ParseProxy(v2) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	cfg := &Config{Origins: mustOrigins(t, "https://app.example.com", "https://*.example.com:8000")}
	if n := testing.AllocsPerRun(100, func() { answerUpgrade(&p, whole, &req, cfg, out) }); n != 0 {
		t.Errorf("upgrade, list of origins: %v allocations", n)
	}
}

const proxyV2Fixture = proxyV2Signature + "\x21\x11\x00\x19" + addrs4 + tls

// benchUpgrade reports the time of one handshake and fails when one is not accepted.
func benchUpgrade(b *testing.B, in string, cfg *Config) {
	var (
		p    Parser
		req  Request
		out  = make([]byte, 0, 1024)
		data = []byte(in)
	)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	accepted := 0
	for b.Loop() {
		if _, status := answerUpgrade(&p, data, &req, cfg, out); status == Done {
			accepted++
		}
	}
	if accepted != b.N {
		b.Fatalf("%d of %d accepted", accepted, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/handshake")
}

func BenchmarkUpgradeOfABrowser(b *testing.B) { benchUpgrade(b, browser, &Config{}) }
func BenchmarkUpgradeMinimal(b *testing.B)    { benchUpgrade(b, head(), &Config{}) }
func BenchmarkUpgradeOriginPattern(b *testing.B) {
	benchUpgrade(b, browser, &Config{Origins: mustOrigins(b, "https://app.example.com", "https://*.example.com:8000")})
}

func BenchmarkParse(b *testing.B) {
	var p Parser
	var req Request
	data := []byte(browser)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		p.Parse(data, Limits{}, &req)
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	out := make([]byte, 0, 1024)
	key := offer().Key
	b.ReportAllocs()
	for b.Loop() {
		AppendResponse(out, key[:], JSON, nil)
	}
}

func BenchmarkAppendRefusal(b *testing.B) {
	out := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendRefusal(out, WrongVersion)
	}
}

func BenchmarkHeadByteByByte(b *testing.B) { // what slowloris costs: bytes, not bytes squared
	data := []byte(browser)
	var req Request
	b.ReportAllocs()
	for b.Loop() {
		var p Parser
		for i := range data {
			p.Parse(data[:i+1], Limits{}, &req)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(data)), "ns/byte")
}

func BenchmarkClient(b *testing.B) {
	var r Response
	o := offer()
	out := make([]byte, 0, 1024)
	reply := AppendResponse(nil, o.Key[:], Protobuf, nil)
	b.ReportAllocs()
	for b.Loop() {
		AppendRequest(out, o)
		if _, status := ParseResponse(reply, o, &r); status != Done {
			b.Fatal(status)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/handshake")
}

func BenchmarkParseProxyV2(b *testing.B) {
	in := []byte(proxyV2Fixture)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, status := ParseProxy(in); status != Done {
			b.Fatal(status)
		}
	}
}
