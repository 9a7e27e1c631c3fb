package engine

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
)

// echoOf has n connections echo for a moment against a server with faults.
func echoOf(t *testing.T, n int, f fault) (Counters, Census, error) {
	t.Helper()
	e := drive(t, Config{Remote: evilServer(t, f), BareEcho: true, Connections: n, PayloadBytes: 300})
	do(t, e, nil, Order{Connect: &Connect{}})
	tell(t, e, Order{Echo: &Echo{Via: ViaBare, Duration: 100 * time.Millisecond, Rate: 2000, Grace: 300 * time.Millisecond}})
	err := await(t, e)
	census, cerr := e.Census()
	if cerr != nil {
		t.Fatal(cerr)
	}
	return e.Snapshot().Counters, census, err
}

func TestEchoesOfAFaithfulServerAreAllWell(t *testing.T) {
	c, census, err := echoOf(t, 20, faithful)
	if err != nil || c.Sent < 100 || c.Received != c.Sent || census.Lost+census.Short+c.Late+c.Ahead+c.Duplicates+c.Altered+c.Misrouted+c.Died != 0 {
		t.Errorf("%v\n%+v\n%+v", err, c, census)
	}
}

func TestInjectedFaultsAreFoundAndNamed(t *testing.T) {
	var held []byte
	for _, c := range []struct {
		name  string
		fault fault
		grace bool
		check func(Counters, Census) bool
	}{
		{"loss", func(i, n int, p []byte) ([][]byte, bool) {
			if n == 3 {
				return nil, false
			}
			return [][]byte{p}, false
		}, true, func(c Counters, s Census) bool {
			return s.Lost == 2 && s.Short == 2 && c.Ahead == 2 && c.Late+c.Duplicates+c.Altered+c.Misrouted == 0
		}},
		{"loss of the last ones", func(i, n int, p []byte) ([][]byte, bool) {
			if n > 5 {
				return nil, false
			}
			return [][]byte{p}, false
		}, true, func(c Counters, s Census) bool {
			return s.Lost == c.Sent-c.Received && s.Short == 2 && s.GotMax == 5 && c.Ahead+c.Late+c.Duplicates == 0
		}},
		{"duplication", func(i, n int, p []byte) ([][]byte, bool) {
			if n == 3 {
				return [][]byte{p, p}, false
			}
			return [][]byte{p}, false
		}, false, func(c Counters, s Census) bool {
			return c.Duplicates == 2 && c.Received == c.Sent && s.Lost+c.Late+c.Ahead+c.Altered == 0
		}},
		{"reordering", func(i, n int, p []byte) ([][]byte, bool) {
			switch {
			case i == 0 && n == 3:
				held = p
				return nil, false
			case i == 0 && n == 4:
				return [][]byte{p, held}, false
			}
			return [][]byte{p}, false
		}, false, func(c Counters, s Census) bool {
			return c.Late == 1 && c.Ahead == 1 && c.Received == c.Sent && s.Lost+c.Duplicates+c.Altered == 0
		}},
		{"alteration", func(i, n int, p []byte) ([][]byte, bool) {
			if n == 3 {
				p[200] ^= 1
			}
			return [][]byte{p}, false
		}, false, func(c Counters, s Census) bool {
			return c.Altered == 2 && c.Received == c.Sent && s.Lost+c.Duplicates+c.Late == 0
		}},
		{"crosstalk", func(i, n int, p []byte) ([][]byte, bool) {
			if n == 3 {
				copy(p[len(`{"lt":"`)+8:], "00000077")
			}
			return [][]byte{p}, false
		}, true, func(c Counters, s Census) bool {
			return c.Misrouted == 2 && s.Lost == 2 && c.Duplicates+c.Late+c.Altered == 0
		}},
		{"hanging up", func(i, n int, p []byte) ([][]byte, bool) { return nil, i == 0 && n == 3 }, true, func(c Counters, s Census) bool {
			return c.Died == 1 && s.Ready == 1 && c.LostDead >= 3
		}},
	} {
		counters, census, err := echoOf(t, 2, c.fault)
		if errors.Is(err, ErrGrace) != c.grace || !c.check(counters, census) {
			t.Errorf("%s: %v\n%+v\n%+v", c.name, err, counters, census)
		}
	}
}

func TestClosedLoopKeepsOneMessageUnderWay(t *testing.T) {
	e := drive(t, Config{Remote: evilServer(t, faithful), BareEcho: true, Connections: 8, Encoding: proto.Protobuf})
	do(t, e, nil, Order{Connect: &Connect{}})
	do(t, e, nil, Order{Echo: &Echo{Via: ViaBare, Duration: 50 * time.Millisecond, Active: 3}})
	c := e.Snapshot()
	census, err := e.Census()
	if err != nil || c.Sent < 3 || c.Received != c.Sent || census.GotMin != 0 || census.Lost != 0 {
		t.Errorf("%v\n%+v\n%+v", err, c, census)
	}
}

func TestStopEndsATaskEarly(t *testing.T) {
	e := drive(t, Config{Remote: evilServer(t, faithful), BareEcho: true, Connections: 2, BusyPoll: true})
	do(t, e, nil, Order{Connect: &Connect{}})
	tell(t, e, Order{Echo: &Echo{Via: ViaBare, Duration: time.Hour}})
	if err := errors.Join(e.Stop(), await(t, e)); err != nil {
		t.Fatal(err)
	}
	if c := e.Snapshot(); c.Received != c.Sent {
		t.Errorf("%+v", c)
	}
}

func TestOneTaskAtATime(t *testing.T) {
	e := drive(t, Config{Remote: evilServer(t, faithful), BareEcho: true, Connections: 1})
	do(t, e, nil, Order{Connect: &Connect{}})
	tell(t, e, Order{Echo: &Echo{Via: ViaBare, Duration: time.Hour}})
	if err := e.Order(Order{Connect: &Connect{}}); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("a second task: %v", err)
	}
	if err := errors.Join(e.Stop(), await(t, e)); err != nil {
		t.Error(err)
	}
}

func TestTargetsThatAreNoneEndConnectAtOnce(t *testing.T) {
	serve := func(answer string) netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 1024))
				_, _ = c.Write([]byte(answer))
				if answer != "" {
					c.Close()
				}
			}
		}()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	shutPort := func() netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().(*net.TCPAddr).AddrPort()
	}
	for _, c := range []struct {
		name   string
		remote netip.AddrPort
		want   string
	}{
		{"nobody", shutPort(), "connection refused"},
		{"a web server", serve("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "HTTP status 200: hi"},
		{"no HTTP", serve("SSH-2.0-OpenSSH_9.2\r\n"), "none of a WebSocket server"},
		{"a wrong key", serve("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"), "none of a WebSocket server"},
		{"hanging up", serve("\r"), "none of a WebSocket server"},
		{"silence", serve(""), "no answer within 200ms"},
	} {
		e := drive(t, Config{Remote: c.remote, Connections: 5, StepTimeout: 200 * time.Millisecond})
		tell(t, e, Order{Connect: &Connect{}})
		if err := await(t, e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
		}
		if s := e.Snapshot(); s.Failed == 0 || s.Ready != 0 || len(s.Causes) == 0 {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

func TestServersThatBreakTheProtocolAreNamed(t *testing.T) {
	const connected = `{"id":1,"connect":{"client":"x","ping":1,"pong":true}}`
	for _, c := range []struct {
		name    string
		replies []string // to connect
		want    string
	}{
		{"error", []string{`{"id":1,"error":{"code":109,"message":"token expired"}}`}, "connect was answered by error 109: token expired"},
		{"out of turn", []string{`{"id":2,"subscribe":{}}`}, "what it was not asked"},
		{"connected twice", []string{connected, connected}, "what it was not asked"},
		{"no JSON", []string{"hello"}, "no reply of the client protocol"},
		{"bad text", []string{"\xff"}, "broke the WebSocket protocol"},
		{"unsubscribed", []string{connected, `{"push":{"channel":"c","unsubscribe":{"code":2000,"reason":"gone"}}}`}, "unsubscribed by the target: 2000 gone"},
		{"error without a command", []string{connected, `{"error":{"code":100,"message":"oh"}}`}, "error 100: oh"},
		{"silence", []string{connected}, "sent none"},
		{"pings, then silence", []string{connected, "{}", "{}"}, "sent none"},
	} {
		e := drive(t, Config{Connections: 1, PingGrace: 100 * time.Millisecond, Remote: evilServer(t, func(_, n int, _ []byte) (back [][]byte, _ bool) {
			if n == 1 {
				for _, r := range c.replies {
					back = append(back, []byte(r))
				}
			}
			return back, false
		})})
		tell(t, e, Order{Connect: &Connect{}})
		s := ended(t, e)
		for text := range s.Causes {
			if !strings.Contains(text, c.want) || len(s.Causes) != 1 {
				t.Errorf("%s: %v, want …%s…", c.name, s.Causes, c.want)
			}
		}
		if want := strings.Count(strings.Join(c.replies, "\n"), "\n{}"); s.Pings != want || s.Pongs != want {
			t.Errorf("%s: %d pings and %d pongs, want %d", c.name, s.Pings, s.Pongs, want)
		}
	}
}

// ended waits until the only connection has ended.
func ended(t *testing.T, e *Engine) Snapshot {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if s := e.Snapshot(); s.Died+s.Failed > 0 {
			return s
		}
	}
	t.Fatal("the connection lives")
	return Snapshot{}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	good := Config{Remote: netip.MustParseAddrPort("127.0.0.1:80"), Host: "h", Path: "/", Connections: 1, Run: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"address": func(c *Config) { c.Remote = netip.AddrPort{} }, "connections": func(c *Config) { c.Connections = 0 },
		"first": func(c *Config) { c.First = -1 }, "all": func(c *Config) { c.First, c.All = 5, 5 }, "member": func(c *Config) { c.Of, c.Index = 2, 2 },
		"subscriptions": func(c *Config) { c.Channel, c.Channels, c.Subscriptions = "c", 2, 3 }, "channels": func(c *Config) { c.Channel, c.Channels = "c", -1 },
		"stuck": func(c *Config) { c.Stuck = 4 }, "no name": func(c *Config) { c.Channels = 2 }, "two tokens": func(c *Config) { c.Token, c.Secret = "a", "b" },
		"posters": func(c *Config) { c.Posters = -1 }, "keys": func(c *Config) { c.Keys = -1 }, "run": func(c *Config) { c.Run = 0 }, "own": func(c *Config) { c.Own = true },
		"payload": func(c *Config) { c.PayloadBytes = 3 }, "host": func(c *Config) { c.Host = "a\r\nb" }, "path": func(c *Config) { c.Path = "x y" },
		"channel": func(c *Config) { c.BareEcho, c.Channel = true, "x" }, "sources": func(c *Config) { c.Sources = 1 << 20 },
		"limit": func(c *Config) { c.StepTimeout = 1 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestConnHoldsNoPointers(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(ty reflect.Type) {
		switch ty.Kind() {
		case reflect.Struct:
			for i := range ty.NumField() {
				walk(ty.Field(i).Type)
			}
		case reflect.Array:
			walk(ty.Elem())
		case reflect.Pointer, reflect.Slice, reflect.String, reflect.Map, reflect.Chan, reflect.Func, reflect.Interface, reflect.UnsafePointer:
			t.Errorf("%s is a pointer", ty)
		}
	}
	for _, ty := range []reflect.Type{
		reflect.TypeFor[conn](), reflect.TypeFor[peer](),
	} {
		walk(ty)
	}
}

// quiet is an engine that does not run, with n connections that are ready.
func quiet(tb testing.TB, n int) *Engine {
	tb.Helper()
	e, err := New(Config{
		Remote: netip.MustParseAddrPort("127.0.0.1:9"), Host: "h", Path: "/", Channel: "news", Connections: n, Run: testRun,
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range e.peers {
		e.peers[i].at = uint32(i) + 1
		*e.conns.At(uint32(i)) = conn{number: uint32(i), step: stepReady}
		e.books.Joined(uint32(i), 0, &proto.SubscribeResult{}, nil)
		e.count.Ready++
	}
	return e
}

// bill has so many publications made, so that all that comes is owed.
func bill(e *Engine, n int) {
	for range n {
		e.books.Publish(0, 1)
	}
}

// frameOf is the message with a publication of this run.
func frameOf(tb testing.TB, e *Engine, enc proto.Encoding, seq uint32) []byte {
	tb.Helper()
	data := e.filler.Append(nil, message.Header{Run: testRun, Conn: 1, Seq: seq, Sent: 1})
	b, err := proto.AppendPublicationPush(nil, enc, "news", &proto.Publication{Data: data})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestReceivingAllocatesNothing(t *testing.T) {
	const conns = 100
	e := quiet(t, conns)
	bill(e, 1000)
	seq := uint32(0)
	frames := make([][]byte, 300)
	for i := range frames {
		frames[i] = frameOf(t, e, proto.JSON, uint32(i+1))
	}
	all := func() {
		for slot := range uint32(conns) {
			e.message(slot, e.conns.At(slot), frames[seq])
		}
		seq++
	}
	for range 70 {
		all()
	}
	if n := testing.AllocsPerRun(100, all); n != 0 {
		t.Errorf("%.1f allocations for %d receipts", n, conns)
	}
	if c := e.count; c.Received != int(seq)*conns || c.Late+c.Ahead+c.Duplicates+c.Altered != 0 {
		t.Errorf("%+v after %d publications", c, seq)
	}
}

func TestOthersInAnotherOrderAreNotAlike(t *testing.T) {
	e := quiet(t, 2)
	frame := func(data string) []byte {
		b, err := proto.AppendPublicationPush(nil, proto.JSON, "news", &proto.Publication{Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b, c := frame(`{"x":1}`), frame(`{"x":2}`), frame(`{"x":3}`)
	send := func(slot uint32, frames ...[]byte) {
		for _, f := range frames {
			e.message(slot, e.conns.At(slot), f)
		}
	}
	send(0, a, b)
	send(1, a, b)
	if s := e.census(); !s.Alike || s.OthersMin != 2 || s.OthersMax != 2 || e.books.Whole() != 2 {
		t.Errorf("the same publications: %+v, %d whole", s, e.books.Whole())
	}
	send(0, a, c)
	send(1, c, a)
	if s := e.census(); s.Alike || e.books.Whole() != 4 {
		t.Errorf("another order: %+v, %d whole", s, e.books.Whole())
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, enc := range []proto.Encoding{proto.JSON, proto.Protobuf} {
		b.Run(enc.String(), func(b *testing.B) {
			const conns = 1000
			e := quiet(b, conns)
			e.cfg.Encoding = enc
			seq := uint32(0)
			for b.Loop() {
				seq++
				bill(e, 1)
				frame := frameOf(b, e, enc, seq)
				for slot := range uint32(conns) {
					e.message(slot, e.conns.At(slot), frame)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/conns, "ns/receipt")
		})
	}
}

// What an idle connection costs in the loop is told by loop.conn, its generation and the index of descriptors: 36 + 4.14 + 4 B.
func TestAnIdleConnectionIsSmall(t *testing.T) {
	const n, inLoop, most = 100_000, 45, 250
	for _, own := range []bool{false, true} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		e, err := New(Config{
			Remote: netip.MustParseAddrPort("127.0.0.1:9"), Host: "h", Path: "/", Channel: "news", Channels: 1, Own: own, Connections: n, Run: testRun,
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint32(n) {
			*e.conns.At(i) = conn{number: i, step: stepReady}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/n + inLoop
		if t.Logf("own channels %t: %.0f B", own, each); each > most {
			t.Errorf("with own channels %t: %.0f B, want at most %d", own, each, most)
		}
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
