package loop

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"shoal/loop/poll"
)

// faulty is the real kernel with faults switched on and off. (Random ones, by the thousand, are loop/sim's.)
type faulty struct {
	poll.Sys
	acceptErr  atomic.Value // syscall.Errno
	noReserve  atomic.Bool
	refuseMods atomic.Bool
}

func (f *faulty) Accept(lfd int) (int, error) {
	if e, ok := f.acceptErr.Load().(syscall.Errno); ok && e != 0 {
		return -1, e
	}
	return f.Sys.Accept(lfd)
}

func (f *faulty) Reserve() (int, error) {
	if f.noReserve.Load() {
		return -1, syscall.EMFILE
	}
	return f.Sys.Reserve()
}

type faultyPoller struct {
	poll.Poller
	f *faulty
}

func (p faultyPoller) Mod(fd int, want poll.Interest) error {
	if p.f.refuseMods.Load() {
		return syscall.ENOMEM
	}
	return p.Poller.Mod(fd, want)
}

func (f *faulty) config() Config {
	return Config{NewPoller: func(int) (poll.Poller, poll.Sys, error) {
		p, sys, err := poll.Open()
		f.Sys = sys
		return faultyPoller{p, f}, f, err
	}}
}

func TestListenerRestsWhileNothingHelpsAndComesBack(t *testing.T) {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		f := new(faulty)
		r := start(t, f.config(), script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "ok") }})
		f.acceptErr.Store(e)
		f.noReserve.Store(true)
		c := r.dial() // the kernel answers; the loop cannot
		write(t, c, "x")
		r.until("the listener rests", func(l *Loop) bool { return len(l.listeners) > 0 && l.listeners[0].retry > 0 })
		f.noReserve.Store(false)
		f.acceptErr.Store(syscall.Errno(0))
		expect(t, c, "ok")
		r.on(0, func(l *Loop) {
			if l.reserve < 0 {
				t.Errorf("%v: no reserve descriptor afterwards", e)
			}
		})
	}
}

func TestConnIsClosedWhenThePollerRefusesIt(t *testing.T) {
	f := new(faulty)
	ends := newClosings()
	cfg := f.config()
	r := start(t, cfg, script{data: func(l *Loop, slot uint32, p []byte) { l.Pause(slot) }, closed: ends.note})
	c := r.dial()
	f.refuseMods.Store(true)
	write(t, c, "x")
	if why := receive(t, ends.c, "closing"); why != "read-error" {
		t.Errorf("closed for %s", why)
	}
	expectReset(t, c)
}

// expectReset accepts the end of stream too: input may or may not have been read before the close.
func expectReset(t *testing.T, c interface{ Read([]byte) (int, error) }) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// about is a message that serves one conn.
type about struct {
	id ConnID
	f  func(l *Loop)
}

func (m about) Deliver(l *Loop) { m.f(l) }
func (m about) Conn() ConnID    { return m.id }

func TestPanicInAMessageClosesTheConnItIsAbout(t *testing.T) {
	ids := make(chan ConnID, 1000)
	ends := newClosings()
	r := start(t, Config{}, script{open: func(l *Loop, slot uint32) { ids <- l.ID(slot) }, closed: ends.note})
	r.panics = 1
	r.dial()
	r.dial()
	id := receive(t, ids, "open")
	_ = r.g.Loop(0).Post(about{id, func(*Loop) { panic("on purpose") }})
	if why := receive(t, ends.c, "closing"); why != "panic" {
		t.Errorf("closed for %s", why)
	}
	r.on(0, func(l *Loop) {
		if _, ok := l.Lookup(id); ok || l.Conns() != 1 {
			t.Errorf("%d conns are left", l.Conns())
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{}, script{closed: ends.note})
	c := r.dial()
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	r.cancel()
	expectEOF(t, c)
	_ = c.Close()
	if why := receive(t, ends.c, "closing"); why != "shutdown" {
		t.Errorf("closed for %s", why)
	}
	receive(t, r.g.ended, "end")
	if err := r.g.Loop(0).Post(about{}); !errors.Is(err, ErrClosed) {
		t.Errorf("post after the end: %v", err)
	}
	if _, err := r.g.Listen("127.0.0.1:0", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("listen after the end: %v", err)
	}
	if err := r.g.Shutdown(context.Background()); err != nil {
		t.Errorf("shutdown after the end: %v", err)
	}
}

func TestDialDuringShutdownIsRefused(t *testing.T) {
	got := make(chan error, 1000)
	r := start(t, Config{}, script{shutdown: func(l *Loop, slot uint32) {
		_, err := l.Dial(netip.AddrPort{}, addrPort("127.0.0.1:9"), 0)
		got <- err
		l.Close(slot, ReasonShutdown)
	}})
	r.dial()
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	if err := r.g.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, got, "answer"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestValidateSeesWhatIsBroken breaks one thing at a time.
func TestValidateSeesWhatIsBroken(t *testing.T) {
	opened := make(chan uint32, 1000)
	r := start(t, Config{}, script{open: func(l *Loop, slot uint32) { opened <- slot }})
	r.dial()
	slot := receive(t, opened, "open")
	// Each breaks the loop and returns what mends it.
	breaks := map[string]func(l *Loop, c *conn) func(){
		"open":  func(l *Loop, c *conn) func() { l.open++; return func() { l.open-- } },
		"bytes": func(l *Loop, c *conn) func() { l.backlog++; return func() { l.backlog-- } },
		"holds": func(l *Loop, c *conn) func() { c.backlogBytes++; return func() { c.backlogBytes-- } },
		"index": func(l *Loop, c *conn) func() {
			l.group.index.Clear(int(c.fd))
			return func() { l.group.index.Set(int(c.fd), slot+1) }
		},
		"dirty":   func(l *Loop, c *conn) func() { c.flags |= flagDirty; return func() { c.flags &^= flagDirty } },
		"state":   func(l *Loop, c *conn) func() { c.state = 9; return func() { c.state = stateOpen } },
		"kind":    func(l *Loop, c *conn) func() { c.kind = 9; return func() { c.kind = 0 } },
		"dead":    func(l *Loop, c *conn) func() { c.state = stateDead; return func() { c.state = stateOpen } },
		"pass":    func(l *Loop, c *conn) func() { l.late = 1; return func() { l.late = 0 } },
		"list":    func(l *Loop, c *conn) func() { l.dirtyAt = 1; return func() { l.dirtyAt = 0 } },
		"wait":    func(l *Loop, c *conn) func() { l.dead = append(l.dead, slot); return func() { l.dead = l.dead[:0] } },
		"written": func(l *Loop, c *conn) func() { c.head = 1; return func() { c.head = 0 } },
	}
	r.on(0, func(l *Loop) {
		c := l.conns.At(slot)
		for name, f := range breaks {
			mend := f(l, c)
			if err := l.Validate(); err == nil || !strings.Contains(err.Error(), "loop 0") {
				t.Errorf("%s: Validate says %v", name, err)
			}
			mend()
			if err := l.Validate(); err != nil {
				t.Fatalf("%s, mended: %v", name, err)
			}
		}
	})
}
