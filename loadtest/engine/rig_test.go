package engine

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/ws"
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

// drive runs an engine until the test ends, with a Tick every few milliseconds, and connects it.
func drive(t *testing.T, cfg Config) *Engine {
	t.Helper()
	cfg.Run, cfg.Host, cfg.Path = testRun, "test", "/"
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
		shut(t, e)
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := e.wire.Validate(); err != nil || e.wire.Borrowed() != 0 {
			t.Errorf("%d buffers borrowed at the end, %v", e.wire.Borrowed(), err)
		}
	})
	return e
}

func shut(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// do starts a task and waits for its end.
func do(t *testing.T, e *Engine, start error) error {
	t.Helper()
	if start != nil {
		t.Fatal(start)
	}
	select {
	case err := <-e.Done():
		return err
	case <-time.After(patience):
		t.Fatalf("the task did not end: %+v", e.Snapshot())
		return nil
	}
}
