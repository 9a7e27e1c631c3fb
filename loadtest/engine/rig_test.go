package engine

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/ws"
	"shoal/loadtest/engine/tally"
)

// patience bounds every wait of a test; nothing is measured by it.
const patience = 20 * time.Second

// fault decides what is sent back for the n-th message (from 1) of connection i (from 0, in the order of arrival).
type fault func(i, n int, p []byte) (back [][]byte, hangUp bool)

func faithful(_, _ int, p []byte) ([][]byte, bool) { return [][]byte{p}, false }

// evilServer is a WebSocket server that sends messages back with faults.
func evilServer(t *testing.T, f fault) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveEvil(c, i, f)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func serveEvil(c net.Conn, i int, f fault) {
	defer c.Close()
	in := make([]byte, 0, 64<<10)
	more := func() bool {
		n, err := c.Read(in[len(in):cap(in)])
		in = in[:len(in)+n]
		return err == nil
	}
	var hp handshake.Parser
	var req handshake.Request
	for upgraded := false; !upgraded; {
		if !more() {
			return
		}
		if n, status := hp.Parse(in, handshake.Limits{}, &req); status == handshake.Done {
			if _, err := c.Write(handshake.AppendResponse(nil, req.Key, 0, nil)); err != nil {
				return
			}
			in = in[:copy(in, in[n:])]
			upgraded = true
		}
	}
	var p ws.Parser
	var message []byte
	for n := 0; ; {
		used, ev := p.Next(in, &ws.Limits{})
		if used == 0 && ev.Kind == ws.None {
			if !more() {
				return
			}
			continue
		}
		if ev.Kind == ws.Data {
			message = append(message, ev.Payload...)
		}
		if ev.Kind == ws.Data && ev.Final {
			n++
			back, hangUp := f(i, n, bytes.Clone(message))
			message = message[:0]
			var out []byte
			for _, b := range back {
				out = ws.AppendFrame(out, ev.Op, true, false, b)
			}
			if _, err := c.Write(out); err != nil || hangUp {
				return
			}
		}
		if ev.Kind == ws.Close || ev.Kind == ws.Fail {
			return
		}
		in = in[:copy(in, in[used:])]
	}
}

// testRun is the number of the run of every test.
const testRun = 0xabc

// drive runs an engine until the test ends, with a Tick every few milliseconds.
func drive(t *testing.T, cfg Config) *Engine {
	t.Helper()
	cfg.Run, cfg.Host = testRun, "test"
	def(&cfg.Path, "/")
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := make(chan error, 1), make(chan struct{})
	go func() { ended <- e.Run() }()
	go func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-tick.C:
				e.Tick()
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := e.wire.Validate(); err != nil || e.wire.Borrowed() != 0 {
			t.Errorf("%d buffers borrowed at the end, %v", e.wire.Borrowed(), err)
		}
	})
	return e
}

// meet runs an engine against a server of the protocol and has it connected.
func meet(t *testing.T, remote netip.AddrPort, cfg Config) *Engine {
	t.Helper()
	cfg.Remote, cfg.Path, cfg.Channel = remote, "/ws", "room"
	cfg.API = API{Remote: remote, Host: "test", Path: "/api/publish"}
	e := drive(t, cfg)
	do(t, e, nil, Order{Connect: &Connect{Window: 1}}) // in order: members of the server are numbered as they come
	return e
}

// tell has an order begin.
func tell(t *testing.T, e *Engine, o Order) {
	t.Helper()
	if err := e.Order(o); err != nil {
		t.Fatal(err)
	}
}

// await waits for the end of a task.
func await(t *testing.T, e *Engine) error {
	t.Helper()
	select {
	case err := <-e.Done():
		return err
	case <-time.After(patience):
		t.Fatalf("the task did not end: %+v", e.Snapshot())
		return nil
	}
}

// do has a task done, which is to end with want.
func do(t *testing.T, e *Engine, want error, o Order) {
	t.Helper()
	tell(t, e, o)
	if err := await(t, e); want == nil && err != nil || want != nil && (err == nil || !strings.Contains(err.Error(), want.Error())) {
		t.Errorf("the task ended with %v, want %v", err, want)
	}
}

// until waits for a condition of the counters.
func until(t *testing.T, e *Engine, what string, cond func(Snapshot) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(e.Snapshot()); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s: %+v", what, e.Snapshot())
		}
	}
}

func published(n int) func(Snapshot) bool { return func(s Snapshot) bool { return s.Answered >= n } }

// finish takes the census and the results.
func finish(t *testing.T, e *Engine) (Snapshot, Census, Results) {
	t.Helper()
	census, err := e.Census()
	if err != nil {
		t.Fatal(err)
	}
	results, err := e.Results()
	if err != nil {
		t.Fatal(err)
	}
	e.Tick()
	if _, err := ask(e, func(*Engine) tally.Status { return e.status }); err != nil { // behind the tick
		t.Fatal(err)
	}
	return e.Snapshot(), census, results
}
