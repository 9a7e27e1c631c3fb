package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shoal/codec/handshake"
	"shoal/loop"
	"shoal/pool/buffer"
)

const patience = 20 * time.Second

// guest is a transport that takes every conn and echoes what comes behind the head.
type guest struct {
	l      *loop.Loop
	answer handshake.Status
}

func (g *guest) Upgrade(slot uint32, req *handshake.Request, rest []byte) handshake.Status {
	if g.answer != handshake.Done {
		return g.answer
	}
	g.l.Commit(slot, append(append(g.l.Begin(slot), "welcome "+string(req.Query)+"\n"...), rest...))
	g.l.Adopt(slot, 1)
	return handshake.Done
}
func (g *guest) Open(uint32)                       {}
func (g *guest) Data(slot uint32, p []byte)        { g.l.Commit(slot, append(g.l.Begin(slot), p...)) }
func (g *guest) EOF(slot uint32)                   { g.l.Close(slot, loop.ReasonPeer) }
func (g *guest) Timer(uint32)                      {}
func (g *guest) Closed(uint32, loop.Reason, error) {}

type rig struct {
	t     *testing.T
	door  *Door
	l     *loop.Loop
	stats Stats
	addr  string
	stop  func()
}

func newRig(t *testing.T, cfg Config, answer handshake.Status) *rig {
	t.Helper()
	r := &rig{t: t}
	pool := buffer.New(buffer.Config{})
	group, err := loop.New(loop.Config{Loops: 1, TickPeriod: 20 * time.Millisecond, CloseWait: time.Second}, func(l *loop.Loop) []loop.Handler {
		r.l, r.door = l, New(l, buffer.NewTable(pool), cfg, &r.stats)
		g := &guest{l, answer}
		r.door.Route("/guest", g)
		return []loop.Handler{r.door, g}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := group.Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addr.String()
	ended := make(chan error, 1)
	go func() { ended <- group.Run(context.Background()) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(group.Shutdown(ctx), <-ended); err != nil {
			t.Error(err)
		}
		if n, _ := pool.InUse(); n != 0 || len(r.door.partial) != 0 || group.Stats().Panics != 0 {
			t.Errorf("left: %d buffers, %d partial requests, %d panics", n, len(r.door.partial), group.Stats().Panics)
		}
	}
	t.Cleanup(r.stop)
	return r
}

func (r *rig) dial() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// say sends text in pieces of n bytes (0 = whole) and reads all that comes.
func (r *rig) say(text string, n int) string {
	r.t.Helper()
	conn, in := r.dial()
	if n == 0 {
		n = len(text)
	}
	for at := 0; at < len(text); at += n {
		conn.Write([]byte(text[at:min(at+n, len(text))]))
	}
	conn.(*net.TCPConn).CloseWrite()
	out, _ := io.ReadAll(in)
	conn.Close()
	return string(out)
}

const head = "GET /guest?q HTTP/1.1\r\nHost: h\r\n\r\n"

func TestRoutedRequestsGoToTheirTransportWithWhatFollows(t *testing.T) {
	r := newRig(t, Config{}, handshake.Done)
	for _, chop := range []int{0, 1, 2, 7, len(head), len(head) + 1} {
		conn, in := r.dial()
		text := head + "bytes behind"
		n := chop
		if n == 0 {
			n = len(text)
		}
		for at := 0; at < len(text); at += n {
			conn.Write([]byte(text[at:min(at+n, len(text))]))
		}
		want := "welcome q\nbytes behind"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
			t.Errorf("chop %d: got %q %v", chop, got, err)
		}
		conn.Close()
	}
}

func TestRefusalOfATransportIsAnswered(t *testing.T) {
	r := newRig(t, Config{}, handshake.Overloaded)
	for _, chop := range []int{0, 3} {
		if got := r.say(head, chop); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("got %q", got)
		}
	}
	if n := r.stats.Refusals(handshake.Overloaded); n != 2 {
		t.Errorf("%d refusals were counted", n)
	}
}

func TestOtherRequestsWithoutAServerAreNotFound(t *testing.T) {
	r := newRig(t, Config{}, handshake.Done)
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET /guests HTTP/1.1\r\nHost: h\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n"} {
		if got := r.say(text, 0); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestPartialRequestsEndAtTheDeadline(t *testing.T) {
	r := newRig(t, Config{HeadTicks: 5}, handshake.Done)
	for _, text := range []string{"", "G", head[:len(head)-1]} {
		conn, in := r.dial()
		conn.Write([]byte(text))
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 408 || !res.Close {
			t.Errorf("%q: %v %v", text, res, err)
		}
	}
	if n := r.stats.Refusals(handshake.SlowHead); n != 3 {
		t.Errorf("%d were counted", n)
	}
}

func TestPartialRequestsEndWithTheirPeer(t *testing.T) {
	r := newRig(t, Config{}, handshake.Done)
	for _, text := range []string{"", "GET", head[:20]} {
		if got := r.say(text, 1); got != "" {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestShutdownRefusesPartialRequests(t *testing.T) {
	r := newRig(t, Config{}, handshake.Done)
	conn, in := r.dial()
	conn.Write([]byte("GET /"))
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		done, n := make(chan struct{}), 0
		if err := r.l.Post(visit{func() { n = len(r.door.partial); close(done) }}); err != nil {
			t.Fatal(err)
		}
		if <-done; n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the request did not arrive")
		}
	}
	ended := make(chan struct{})
	go func() { defer close(ended); r.stop() }()
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 503 {
		t.Errorf("%v %v", res, err)
	}
	conn.Close()
	<-ended
}

type visit struct{ f func() }

func (v visit) Deliver(*loop.Loop) { v.f() }

func TestHandedOverConnsReplayWhatWasRead(t *testing.T) {
	out := NewListener(8, 100)
	r := newRig(t, Config{Out: out}, handshake.Done)
	request := "POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
	for _, chop := range []int{0, 1, 10, len(request) - 4, len(request) - 2} {
		conn, _ := r.dial()
		n := chop
		if n == 0 {
			n = len(request)
		}
		for at := 0; at < len(request); at += n {
			conn.Write([]byte(request[at:min(at+n, len(request))]))
		}
		c, err := out.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(request))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != request {
			t.Errorf("chop %d: the server reads %q %v", chop, got, err)
		}
		if c.RemoteAddr().String() != conn.LocalAddr().String() {
			t.Errorf("the peer is %s, want %s", c.RemoteAddr(), conn.LocalAddr())
		}
		c.Close()
		if n, err := conn.Read(got); n != 0 || err == nil {
			t.Errorf("after the server's Close: %d bytes, %v", n, err)
		}
		conn.Close()
	}
	r.stop() // it is counted after the conn was given away
	if n := r.stats.HandedOver.Load(); n != 5 {
		t.Errorf("%d were counted", n)
	}
}

func TestOpenRequestsAreBounded(t *testing.T) {
	out := NewListener(8, 1)
	r := newRig(t, Config{Out: out}, handshake.Done)
	const request = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	first, _ := r.dial()
	first.Write([]byte(request))
	c, err := out.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got := r.say(request, 0); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a second one while the first is open got %q", got)
	}
	c.Close()
	c.Close() // counts once
	second, _ := r.dial()
	second.Write([]byte(request))
	if c, err = out.Accept(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := out.open.Load(); n != 0 {
		t.Errorf("%d counted as open", n)
	}
}

func TestFullListenerAnswers503(t *testing.T) {
	out := NewListener(1, 100)
	r := newRig(t, Config{Out: out}, handshake.Done)
	waiting, _ := r.dial()
	waiting.Write([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	for end := time.Now().Add(patience); r.stats.HandedOver.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the first was not handed over")
		}
	}
	if got := r.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("got %q", got)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	if n, err := waiting.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a conn nobody accepted is still open")
	}
	if _, err := out.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := out.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if got := r.say("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("with a closed listener: got %q", got)
	}
}

func TestProxyHeaders(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	far := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		trusted []netip.Prefix
		text    string
		want    string
		counted handshake.Status
	}{
		"v1":           {local, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head, "welcome q\n", 0},
		"anybody":      {nil, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head, "welcome q\n", 0},
		"none":         {local, head, "", handshake.NotProxy},
		"not trusted":  {far, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head, "", handshake.NotProxy},
		"bad address":  {local, "PROXY TCP4 1.2.3.x 5.6.7.8 1 2\r\n" + head, "", handshake.BadProxyAddr},
		"bad head":     {local, "PROXY UNKNOWN\r\nGET /\r\n\r\n", "HTTP/1.1 400 ", handshake.BadRequestLine},
		"twice proxy":  {local, "PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n" + head, "HTTP/1.1 ", 0},
		"nothing more": {local, "PROXY UNKNOWN\r\n", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chop := range []int{0, 1, 5} {
				r := newRig(t, Config{Proxy: true, Trusted: c.trusted}, handshake.Done)
				got := r.say(c.text, chop)
				if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
					t.Errorf("chop %d: got %q, want %q…", chop, got, c.want)
				}
				if c.counted != 0 && r.stats.Refusals(c.counted) != 1 {
					t.Errorf("chop %d: %s was not counted", chop, c.counted)
				}
			}
		})
	}
}

func TestHeadsAreBounded(t *testing.T) {
	r := newRig(t, Config{Limits: handshake.Limits{HeadBytesMax: 8192, HeadersMax: 10}}, handshake.Done)
	for _, c := range []struct {
		text string
		want string
	}{
		{"GET /guest HTTP/1.1\r\nX: " + strings.Repeat("x", 20_000), "431"},
		{"GET /guest HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 11) + "\r\n", "431"},
		{"GET /" + strings.Repeat("g", 6000) + " HTTP/1.1\r\n\r\n", "414"},
	} {
		for _, chop := range []int{0, 1000} {
			if got := r.say(c.text, chop); !strings.HasPrefix(got, "HTTP/1.1 "+c.want) {
				t.Errorf("%.30q…: got %.40q, want %s", c.text, got, c.want)
			}
		}
	}
}
