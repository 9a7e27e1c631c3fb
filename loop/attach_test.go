package loop

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"shoal/loop/poll"
)

// foreign opens a connection that no loop knows of: both its ends.
func foreign(t testing.TB) (ours, theirs *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", ownAddr()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	c, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// openFiles counts the process's sockets by inode: two descriptors of one socket are two.
func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	return len(all)
}

func TestAttachedConnIsServedLikeAnAcceptedOne(t *testing.T) {
	opened := make(chan int, 100)
	ends := newClosings()
	r := start(t, Config{Loops: 3}, script{
		open: func(l *Loop, slot uint32) { opened <- l.Index() },
		data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "echo "+string(p)) }, closed: ends.note,
	})
	seen := map[int]int{}
	for range 6 {
		ours, theirs := foreign(t)
		want := ours.RemoteAddr().String()
		err := r.g.AttachConn(ours, 0, func(l *Loop, slot uint32) {
			if peer, err := l.Peer(slot); err != nil || peer.String() != want {
				t.Errorf("peer is %v, %v, want %s", peer, err, want)
			}
			reply(l, slot, "hello,")
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the conn of package net gives %v, want closed", err)
		}
		expect(t, theirs, "hello,")
		write(t, theirs, "x")
		expect(t, theirs, "echo x")
		seen[receive(t, opened, "Open")]++
		_ = theirs.CloseWrite()
		expectEOF(t, theirs)
		if why := receive(t, ends.c, "closing"); why != "peer-closed" {
			t.Errorf("closed for %s", why)
		}
	}
	for i := range 3 {
		if seen[i] != 2 {
			t.Errorf("loop %d got %d of 6 conns: %v", i, seen[i], seen)
		}
	}
	r.until("counted", func(l *Loop) bool { l.publish(); return r.g.Stats().Accepted == 6 })
}

func TestAttachedConnGetsTheOptionsOfTheGroup(t *testing.T) {
	got := make(chan [4]int, 1)
	r := start(t, Config{KeepAlive: KeepAlive{Idle: 77e9, Interval: 11e9, Count: 4}, UserTimeout: 99e9, UnsentBytesMax: 12345}, script{})
	ours, theirs := foreign(t)
	_ = ours.SetNoDelay(false)
	if err := r.g.AttachConn(ours, 0, func(l *Loop, slot uint32) {
		option := func(level, name int) int {
			v, err := syscall.GetsockoptInt(int(l.conns.At(slot).fd), level, name)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		const userTimeout, notSentLowat = 18, 25
		got <- [4]int{
			option(syscall.IPPROTO_TCP, syscall.TCP_NODELAY), option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE),
			option(syscall.IPPROTO_TCP, userTimeout), option(syscall.IPPROTO_TCP, notSentLowat),
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := receive(t, got, "options"), [4]int{1, 77, 99000, 12345}; got != want {
		t.Errorf("NODELAY, KEEPIDLE, USER_TIMEOUT, NOTSENT_LOWAT are %v, want %v", got, want)
	}
	_ = theirs.Close()
}

// hidden is a conn whose descriptor cannot be had.
type hidden struct{ net.Conn }

// exposed is a wrapper that gives the descriptor out and wants to know of Close.
type exposed struct {
	*net.TCPConn
	closed *atomic.Bool
}

func (e exposed) Close() error { e.closed.Store(true); return e.TCPConn.Close() }

func TestWhatIsNoSocketIsNotAttached(t *testing.T) {
	r := start(t, Config{}, script{})
	before := openFiles(t)
	ours, theirs := foreign(t)
	dir := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", dir)
	if err != nil {
		t.Fatal(err)
	}
	local, err := net.Dial("unix", dir)
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	closed, other := foreign(t)
	_ = closed.Close()
	for name, c := range map[string]net.Conn{"wrapper": hidden{ours}, "unix": local, "udp": udp, "pipe": a, "closed": closed} {
		if err := r.g.AttachConn(c, 0, nil); !errors.Is(err, ErrNoSocket) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := r.g.Attach(-1, 0, nil); !errors.Is(err, ErrNoSocket) {
		t.Errorf("descriptor -1: got %v", err)
	}
	if err := r.g.AttachConn(ours, 7, nil); err == nil {
		t.Error("a kind without handler was taken")
	}
	write(t, ours, "still the caller's")
	expect(t, theirs, "still the caller's")

	told := new(atomic.Bool)
	if err := r.g.AttachConn(exposed{ours, told}, 0, func(l *Loop, slot uint32) { reply(l, slot, "!") }); err != nil || !told.Load() {
		t.Errorf("a wrapper that gives its descriptor out: %v, its Close was called: %t", err, told.Load())
	}
	expect(t, theirs, "!")
	for _, c := range []interface{ Close() error }{theirs, unix, local, udp, a, b, other} {
		_ = c.Close()
	}
	r.until("no descriptor is left", func(l *Loop) bool { return openFiles(t) <= before })
}

func TestAttachKeepsTheLimits(t *testing.T) {
	f := new(faulty)
	cfg := f.config()
	cfg.ConnsMax, cfg.MailboxMax = 1, 1
	r := start(t, cfg, script{})
	before := openFiles(t)

	// A full mailbox: nothing was done.
	hold, held := make(chan struct{}), make(chan struct{})
	if err := r.g.Loop(0).Post(deliverFunc(func(*Loop) { close(held); <-hold })); err != nil {
		t.Fatal(err)
	}
	<-held
	first, client := foreign(t)
	second, refused := foreign(t)
	if err := r.g.AttachConn(first, 0, func(l *Loop, slot uint32) { reply(l, slot, "in") }); err != nil {
		t.Fatal(err)
	}
	if err := r.g.AttachConn(second, 0, nil); !errors.Is(err, ErrMailboxFull) {
		t.Errorf("with a full mailbox: %v", err)
	}
	close(hold)
	expect(t, client, "in")

	// One conn is open: the next is refused before anything is done.
	if err := r.g.AttachConn(second, 0, nil); !errors.Is(err, ErrConnsMax) {
		t.Errorf("at the limit: %v", err)
	}
	write(t, second, "mine")
	expect(t, refused, "mine")

	// Two race for the last place: the loser is closed by the loop.
	_ = client.Close()
	r.until("none open", func(l *Loop) bool { return l.conns.Len() == 0 })
	hold, held = make(chan struct{}), make(chan struct{})
	if err := r.g.Loop(0).Post(deliverFunc(func(l *Loop) { close(held); <-hold; l.group.conns.Add(1) })); err != nil {
		t.Fatal(err)
	}
	<-held
	if err := r.g.AttachConn(second, 0, func(*Loop, uint32) { t.Error("a refused conn was handed over") }); err != nil {
		t.Fatal(err)
	}
	close(hold)
	expectEOF(t, refused)
	r.on(0, func(l *Loop) { l.group.conns.Add(-1) })
	_, _ = refused.Close(), first.Close()
	r.until("no descriptor is left", func(*Loop) bool { return openFiles(t) <= before })
	r.on(0, func(l *Loop) {
		if l.counters.Refused != 1 {
			t.Errorf("%d conns count as refused, want the one the loop closed", l.counters.Refused)
		}
	})
}

// deaf refuses to watch anything new.
type deaf struct {
	poll.Poller
	on *atomic.Bool
}

func (d deaf) Add(fd int, want poll.Interest) error {
	if d.on.Load() {
		return syscall.ENOSPC // max_user_watches
	}
	return d.Poller.Add(fd, want)
}

func TestAttachedConnIsClosedWhenNobodyCanServeIt(t *testing.T) {
	on := new(atomic.Bool)
	cfg := Config{NewPoller: func(int) (poll.Poller, poll.Sys, error) {
		p, sys, err := poll.Open()
		return deaf{p, on}, sys, err
	}}
	ends := newClosings()
	r := start(t, cfg, script{open: func(l *Loop, slot uint32) {
		if l.Conns() == 2 {
			l.Close(slot, ReasonServer)
		}
	}, closed: ends.note})
	r.panics = 1
	before := openFiles(t)
	on.Store(true)
	ours, theirs := foreign(t)
	if err := r.g.AttachConn(ours, 0, func(*Loop, uint32) { t.Error("a conn that is not watched was handed over") }); err != nil {
		t.Fatal(err)
	}
	expectEOF(t, theirs)
	on.Store(false)

	stays, client := foreign(t)
	if err := r.g.AttachConn(stays, 0, nil); err != nil {
		t.Fatal(err)
	}
	ours, theirs = foreign(t) // the second: Open closes it
	if err := r.g.AttachConn(ours, 0, func(*Loop, uint32) { t.Error("a conn that Open closed was handed over") }); err != nil {
		t.Fatal(err)
	}
	expectEOF(t, theirs)
	if why := receive(t, ends.c, "closing"); why != "server" {
		t.Errorf("closed for %s", why)
	}
	_ = client.Close()
	receive(t, ends.c, "closing")

	ours, theirs = foreign(t)
	if err := r.g.AttachConn(ours, 0, func(*Loop, uint32) { panic("in first") }); err != nil {
		t.Fatal(err)
	}
	expectEOF(t, theirs)
	if why := receive(t, ends.c, "closing"); why != "panic" {
		t.Errorf("closed for %s", why)
	}
	r.until("no descriptor is left", func(*Loop) bool { return openFiles(t) <= before+4 }) // the clients' ends
}

func TestAttachBeforeRunAndAfterTheEnd(t *testing.T) {
	before := openFiles(t)
	for _, runs := range []bool{true, false} {
		g, err := New(Config{Loops: 2}, func(l *Loop) []Handler {
			return []Handler{&script{l: l, data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "ok") }}}
		})
		if err != nil {
			t.Fatal(err)
		}
		var clients []*net.TCPConn
		for range 4 {
			ours, theirs := foreign(t)
			if err := g.AttachConn(ours, 0, nil); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, theirs)
		}
		done := make(chan error, 1)
		if runs {
			go func() { done <- g.Run(context.Background()) }()
			for _, c := range clients {
				write(t, c, "x")
				expect(t, c, "ok")
				_ = c.CloseWrite()
			}
		}
		if err := g.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for _, c := range clients {
			expectEOF(t, c)
			_ = c.Close()
		}
		if runs {
			if err := receive(t, done, "end of Run"); err != nil {
				t.Error(err)
			}
		}
		ours, theirs := foreign(t)
		if err := g.AttachConn(ours, 0, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		write(t, ours, "mine")
		expect(t, theirs, "mine")
		_, _ = ours.Close(), theirs.Close()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors more than before", after-before)
	}
}

// Whoever loses the race between Attach and Shutdown, every client sees an end and every descriptor is closed once:
// a second close would hit another test conn's number.
func TestAttachRacesWithShutdown(t *testing.T) {
	before := openFiles(t)
	for range 20 {
		g, err := New(Config{Loops: 2, MailboxMax: 8}, func(l *Loop) []Handler { return []Handler{&script{l: l}} })
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- g.Run(context.Background()) }()
		const n = 16
		var wg sync.WaitGroup
		var clients [n]*net.TCPConn
		var ours [n]*net.TCPConn
		for i := range n {
			ours[i], clients[i] = foreign(t)
		}
		for i := range n {
			wg.Go(func() {
				if err := g.AttachConn(ours[i], 0, nil); err != nil {
					if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrMailboxFull) {
						t.Errorf("attach: %v", err)
					}
					if err := ours[i].Close(); err != nil {
						t.Errorf("the caller's conn was closed for it: %v", err)
					}
				}
			})
		}
		wg.Go(func() { _ = g.Shutdown(context.Background()) })
		for _, c := range clients {
			wg.Go(func() {
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			})
		}
		wg.Wait()
		if err := receive(t, done, "end of Run"); err != nil {
			t.Error(err)
		}
		if n := g.conns.Load(); n != 0 {
			t.Errorf("%d conns counted after the end", n)
		}
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors more than before", after-before)
	}
}
