package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"shoal/pool/shared"
)

// patience is how long a test waits for what must happen; it bounds a broken run and decides nothing else.
const patience = 20 * time.Second

// script is a Handler made of functions; nil ones do nothing, but EOF closes.
type script struct {
	l        *Loop
	open     func(l *Loop, slot uint32)
	data     func(l *Loop, slot uint32, p []byte)
	eof      func(l *Loop, slot uint32)
	timer    func(l *Loop, slot uint32)
	closed   func(l *Loop, slot uint32, why Reason, err error)
	shutdown func(l *Loop, slot uint32)
}

func (s *script) Open(slot uint32) {
	if s.open != nil {
		s.open(s.l, slot)
	}
}

func (s *script) Data(slot uint32, p []byte) {
	if s.data != nil {
		s.data(s.l, slot, p)
	}
}

func (s *script) EOF(slot uint32) {
	if s.eof != nil {
		s.eof(s.l, slot)
		return
	}
	s.l.CloseAfter(slot, nil, ReasonPeer)
}

func (s *script) Timer(slot uint32) {
	if s.timer != nil {
		s.timer(s.l, slot)
	}
}

func (s *script) Closed(slot uint32, why Reason, err error) {
	if s.closed != nil {
		s.closed(s.l, slot, why, err)
	}
}

func (s *script) Shutdown(slot uint32) {
	if s.shutdown != nil {
		s.shutdown(s.l, slot)
		return
	}
	s.l.CloseAfter(slot, nil, ReasonShutdown)
}

// rig is a running group with one listener of kind 0.
type rig struct {
	t      testing.TB
	g      *Group
	addr   string
	panics int // expected
	cancel context.CancelFunc
	done   chan error
}

func start(t testing.TB, cfg Config, rows ...script) *rig {
	t.Helper()
	r := &rig{t: t, done: make(chan error, 1)}
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	def(&cfg.TickPeriod, 5*time.Millisecond)
	if cfg.Shared == nil {
		cfg.Shared = shared.NewPool(shared.Config{Poison: true})
	}
	g, err := New(cfg, func(l *Loop) []Handler {
		var table []Handler
		for _, row := range rows {
			row.l = l
			table = append(table, &row)
		}
		return table
	})
	if err != nil {
		t.Fatal(err)
	}
	r.g = g
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- g.Run(ctx) }()
	bound, err := g.Listen(ownAddr()+":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = bound.String()
	t.Cleanup(r.stop)
	return r
}

// ownAddr is a loopback address of this process alone: other programs' clients that still try a port which the kernel
// has given to us since (tests that run beside this one reconnect to servers they stopped) do not find us.
func ownAddr() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, 1+pid&0x7f)
}

// stop ends the group and looks for what was left behind.
func (r *rig) stop() {
	defer r.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	shut := make(chan error, 1)
	go func() { shut <- r.g.Shutdown(ctx) }()
	select {
	case err := <-r.done:
		if err = errors.Join(err, <-shut); err != nil {
			r.t.Errorf("run and shutdown: %v", err)
		}
	case <-time.After(2 * patience):
		panic("a loop hangs: " + r.t.Name()) // with all stacks
	}
	s := r.g.Stats()
	if int(s.Panics) != r.panics || s.Conns != 0 || s.Descriptors != 0 || s.BacklogBytes != 0 {
		r.t.Errorf("after the end: %d panics (want %d), %d conns, %d descriptors, %d bytes of backlog",
			s.Panics, r.panics, s.Conns, s.Descriptors, s.BacklogBytes)
	}
	if n := r.g.conns.Load(); n != 0 {
		r.t.Errorf("after the end: the group counts %d conns", n)
	}
	if n := r.g.backlog.Load(); n != 0 {
		r.t.Errorf("after the end: the group counts %d bytes of backlog", n)
	}
	if n, bytes := r.g.cfg.Shared.InUse(); n != 0 {
		r.t.Errorf("after the end: %d shared runs of %d bytes are still held", n, bytes)
	}
}

// deliverFunc is a Message that runs a function.
type deliverFunc func(l *Loop)

func (f deliverFunc) Deliver(l *Loop) { f(l) }

// on runs f on a loop and waits for it; the loop must be valid before and after.
func (r *rig) on(i int, f func(l *Loop)) {
	r.t.Helper()
	done := make(chan error, 1)
	err := r.g.Loop(i).Post(deliverFunc(func(l *Loop) {
		err := l.Validate()
		if f != nil {
			f(l)
			l.uncork()
		}
		if err == nil {
			err = l.Validate()
		}
		done <- err
	}))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := receive(r.t, done, "a posted message"); err != nil {
		r.t.Fatal(err)
	}
}

// dial connects a client.
func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.DialTimeout("tcp", r.addr, patience)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		panic("unreachable")
	}
}

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		t.Fatalf("got %q and %v, want %q", got[:n], err, want)
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func expectEOF(t testing.TB, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Fatalf("got %q and %v, want the end of stream", b, err)
	}
}

// reply corks s for slot.
func reply(l *Loop, slot uint32, s string) {
	l.Commit(slot, append(l.Begin(slot), s...))
}

// bytesOf makes shared bytes.
func bytesOf(l *Loop, s string) *shared.Bytes {
	b := l.cfg.Shared.New(len(s))
	b.Buf = append(b.Buf[:0], s...)
	return b
}

// send sends s once to slot.
func send(l *Loop, slot uint32, s string) SendResult {
	ref := l.Hold(bytesOf(l, s))
	defer l.Unhold(ref)
	return l.Send(slot, ref)
}

// closings collects calls of Closed.
type closings struct {
	mu  sync.Mutex
	all []string
	c   chan string
}

func newClosings() *closings { return &closings{c: make(chan string, 1<<16)} }

func (c *closings) note(l *Loop, slot uint32, why Reason, err error) {
	s := why.String()
	c.mu.Lock()
	c.all = append(c.all, fmt.Sprintf("%v %s %v", l.ID(slot), s, err))
	c.mu.Unlock()
	c.c <- s
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
