package sim

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/loop/poll"
)

// plain is a handler made of functions; a nil one does nothing.
type plain struct {
	ready       func(fd int, ev poll.Events)
	woken, tick func()
	again       func()
	alarm       func()
}

func (h *plain) Ready(fd int, ev poll.Events) {
	if h.ready != nil {
		h.ready(fd, ev)
	}
}
func (h *plain) PassBegins() {}
func (h *plain) PassEnds()   {}
func (h *plain) Woken()      { call(h.woken) }
func (h *plain) Tick()       { call(h.tick) }
func (h *plain) Again()      { call(h.again) }
func (h *plain) Alarm()      { call(h.alarm) }

func call(f func()) {
	if f != nil {
		f()
	}
}

func newSys(t *testing.T, w *World, i int) (poll.Poller, poll.Sys) {
	t.Helper()
	p, s, err := w.Loop(i)
	if err != nil {
		t.Fatal(err)
	}
	return p, s
}

// listenOn listens and watches the listener.
func listenOn(t *testing.T, p poll.Poller, s poll.Sys) (int, netip.AddrPort) {
	t.Helper()
	fd, addr, err := s.Listen(":0", 16, poll.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Add(fd, poll.Read); err != nil {
		t.Fatal(err)
	}
	return fd, addr
}

// accepted is a world with one listener and n accepted connections, reached without running.
func accepted(t *testing.T, w *World, n int) (poll.Poller, poll.Sys, []int, []*Peer) {
	t.Helper()
	p, s := newSys(t, w, 0)
	lfd, addr := listenOn(t, p, s)
	var fds []int
	var peers []*Peer
	for range n {
		peers = append(peers, w.Connect(addr))
		fd, err := s.Accept(lfd)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return p, s, fds, peers
}

func TestDescriptorsAreGivenOutLowestFirst(t *testing.T) {
	_, s, fds, _ := accepted(t, New(Config{}), 3) // 3 is the listener
	if !slices.Equal(fds, []int{4, 5, 6}) {
		t.Fatalf("descriptors %v, want 4 5 6", fds)
	}
	_ = s.Close(5)
	_ = s.Close(4)
	for _, want := range []int{4, 5, 7} {
		if fd, err := s.Reserve(); fd != want || err != nil {
			t.Errorf("reserve got %d, %v, want %d", fd, err, want)
		}
	}
}

func TestFullTableIsEMFILEAndKeepsTheConnection(t *testing.T) {
	w := New(Config{Descriptors: 4})
	p, s := newSys(t, w, 0)
	lfd, addr := listenOn(t, p, s)
	peer := w.Connect(addr)
	if _, err := s.Accept(lfd); err != syscall.EMFILE {
		t.Fatalf("accept: %v, want EMFILE", err)
	}
	if peer.Broken() || p.(*poller).ready(lfd) != poll.Readable {
		t.Error("the connection left the queue")
	}
}

func TestDataThenErrorThenEndOfStream(t *testing.T) {
	w := New(Config{BufferBytes: wide})
	_, s, fds, peers := accepted(t, w, 1)
	peers[0].Send([]byte("abc"))
	w.rng = nil // cut must not be needed: reset below keeps everything
	peers[0].link.broken, peers[0].link.err = true, syscall.ECONNRESET
	buf := make([]byte, 8)
	for i, want := range []struct {
		n   int
		err error
	}{{3, nil}, {0, syscall.ECONNRESET}, {0, nil}, {0, nil}} {
		if n, err := s.Read(fds[0], buf); n != want.n || err != want.err {
			t.Errorf("read %d: %d, %v, want %d, %v", i, n, err, want.n, want.err)
		}
	}
	if _, err := s.Write(fds[0], buf); err != syscall.EPIPE {
		t.Errorf("write: %v, want EPIPE", err)
	}
}

func TestResetAfterEndOfStreamIsEPIPE(t *testing.T) {
	w := New(Config{BufferBytes: wide})
	_, s, fds, peers := accepted(t, w, 1)
	peers[0].Close()
	buf := make([]byte, 8)
	if n, err := s.Read(fds[0], buf); n != 0 || err != nil {
		t.Fatalf("read: %d, %v, want the end of stream", n, err)
	}
	if n, err := s.Write(fds[0], []byte("into the void")); n != 13 || err != nil {
		t.Fatalf("first write: %d, %v: the kernel takes it", n, err)
	}
	if _, err := s.Write(fds[0], []byte("x")); err != syscall.EPIPE {
		t.Errorf("second write: %v, want EPIPE", err)
	}
}

func TestCloseWithInputUnreadResetsThePeer(t *testing.T) {
	for _, unread := range []bool{false, true} {
		w := New(Config{BufferBytes: wide})
		_, s, fds, peers := accepted(t, w, 1)
		_, _ = s.Write(fds[0], []byte("bye"))
		if unread {
			peers[0].Send([]byte("x"))
		}
		_ = s.Close(fds[0])
		got, err := drain(peers[0])
		if unread && !errors.Is(err, syscall.ECONNRESET) || !unread && (err != io.EOF || got != "bye") {
			t.Errorf("unread %t: peer got %q, %v", unread, got, err)
		}
	}
}

func wide(*rand.Rand) int { return 1 << 16 }

func drain(p *Peer) (string, error) {
	var all []byte
	buf := make([]byte, 2)
	for {
		n, err := p.Recv(buf)
		if all = append(all, buf[:n]...); err != nil || n == 0 {
			return string(all), err
		}
	}
}

func TestReadinessFollowsTheBuffers(t *testing.T) {
	w := New(Config{BufferBytes: func(*rand.Rand) int { return 9 }})
	pl, s, fds, peers := accepted(t, w, 1)
	p, fd, peer := pl.(*poller), fds[0], peers[0]
	_ = p.Add(fd, poll.Read|poll.Write)
	expect := func(when string, want poll.Events) {
		t.Helper()
		if got := p.ready(fd); got != want {
			t.Errorf("%s: %03b, want %03b", when, got, want)
		}
	}
	expect("fresh", poll.Writable)
	_, _ = s.Write(fd, make([]byte, 9))
	expect("full", 0)
	_, _ = peer.Recv(make([]byte, 2))
	expect("2 of 9 free", 0)
	_, _ = peer.Recv(make([]byte, 1))
	expect("a third free", poll.Writable)
	peer.Send([]byte("x"))
	_ = p.Mod(fd, poll.None)
	expect("no interest", 0)
	_ = p.Mod(fd, poll.Read)
	expect("input", poll.Readable)
	peer.ShutdownWrite()
	_ = p.Mod(fd, poll.None)
	expect("one end of stream, no interest", 0)
	_ = s.ShutdownWrite(fd)
	expect("both ends of stream", poll.Error)
	if err := s.ConnectErr(fd); err != syscall.ENOTCONN {
		t.Errorf("ConnectErr: %v, want ENOTCONN", err)
	}
}

func TestDialledConnectionsAcceptRefuseOrWait(t *testing.T) {
	w := New(Config{})
	p, s := newSys(t, w, 0)
	addr := netip.MustParseAddrPort("10.9.0.1:80")
	var dialled []*Peer
	w.Serve(addr, func(p *Peer) { dialled = append(dialled, p) })
	var fds []int
	for range 3 {
		fd, err := s.Connect(netip.AddrPort{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Add(fd, poll.Write)
		fds = append(fds, fd)
	}
	dialled[0].Accept()
	dialled[1].Refuse(syscall.ETIMEDOUT)
	for i, want := range []struct {
		ev  poll.Events
		err error
	}{{poll.Writable, nil}, {poll.Writable | poll.Error, syscall.ETIMEDOUT}, {0, syscall.ENOTCONN}} {
		if ev, err := p.(*poller).ready(fds[i]), s.ConnectErr(fds[i]); ev != want.ev || err != want.err {
			t.Errorf("dial %d: %03b, %v, want %03b, %v", i, ev, err, want.ev, want.err)
		}
	}
	_ = s.Close(fds[2])
	if dialled[2].Accept() {
		t.Error("a connection given up could be accepted")
	}
	fd, err := s.Connect(netip.AddrPort{}, netip.MustParseAddrPort("10.9.0.2:80"))
	if err != nil || s.ConnectErr(fd) != syscall.ECONNREFUSED {
		t.Errorf("dial of nobody: %v", err)
	}
}

func TestWorldRefusesWhatNoLoopShouldDo(t *testing.T) {
	for want, do := range map[string]func(p, q poll.Poller, s, other poll.Sys, fd int){
		"not open":            func(_, _ poll.Poller, s, _ poll.Sys, _ int) { _, _ = s.Read(99, nil) },
		"Close of descriptor": func(_, _ poll.Poller, s, _ poll.Sys, fd int) { _ = s.Close(fd); _ = s.Close(fd) },
		"belongs to loop 0":   func(_, _ poll.Poller, _, other poll.Sys, fd int) { _, _ = other.Write(fd, []byte("x")) },
		"watches already":     func(p, _ poll.Poller, _, _ poll.Sys, fd int) { _ = p.Add(fd, 0); _ = p.Add(fd, 0) },
		"does not watch":      func(p, _ poll.Poller, _, _ poll.Sys, fd int) { _ = p.Mod(fd, 0) },
		"Add of descriptor":   func(_, q poll.Poller, _, _ poll.Sys, fd int) { _ = q.Add(fd, 0) },
		"no connection":       func(_, _ poll.Poller, s, _ poll.Sys, _ int) { _, _ = s.Read(3, nil) },
		"closed twice":        func(p, _ poll.Poller, _, _ poll.Sys, _ int) { _ = p.Close(); _ = p.Close() },
	} {
		w := New(Config{Loops: 2})
		p, s, fds, _ := accepted(t, w, 1)
		q, other := newSys(t, w, 1)
		do(p, q, s, other, fds[0])
		if err := w.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("finding %v, want one with %q", err, want)
		}
	}
}

func TestEventNobodyReactsToIsABusyLoop(t *testing.T) {
	w := New(Config{})
	p, s := newSys(t, w, 0)
	_, addr := listenOn(t, p, s)
	w.Connect(addr)
	if err := p.Run(&plain{}); err == nil || !strings.Contains(err.Error(), "busy loop") {
		t.Errorf("run: %v, want a busy loop", err)
	}
}

func TestStaleEventReachesTheReusedDescriptor(t *testing.T) {
	w := New(Config{Faults: Faults{InOrder: true}})
	p, s, fds, peers := accepted(t, w, 2)
	for i, fd := range fds {
		_ = p.Add(fd, poll.Read)
		peers[i].Send([]byte("x"))
	}
	var got []int
	err := p.Run(&plain{ready: func(fd int, _ poll.Events) {
		if got = append(got, fd); len(got) == 1 {
			_ = s.Close(fds[1])
			if fd, _ := s.Reserve(); fd != fds[1] {
				t.Errorf("reused %d, want %d", fd, fds[1])
			}
		}
		if len(got) == 2 {
			p.Stop()
		}
	}})
	if err != nil || !slices.Equal(got, fds) {
		t.Errorf("events for %v, %v, want %v", got, err, fds)
	}
}

func TestAgainComesOncePerRequestInTheNextPass(t *testing.T) {
	w := New(Config{})
	p, _ := newSys(t, w, 0)
	var passes []int
	p.SetAgain(true)
	err := p.Run(&plain{again: func() {
		if passes = append(passes, w.Passes()); len(passes) == 3 {
			p.Stop()
		}
		p.SetAgain(true)
	}})
	if err != nil || !slices.Equal(passes, []int{1, 2, 3}) {
		t.Errorf("Again in passes %v, %v, want 1 2 3", passes, err)
	}
}

func TestAlarmsRingOnceAtTheirTime(t *testing.T) {
	w := New(Config{})
	p, _ := newSys(t, w, 0)
	start := p.Now()
	_ = p.SetAlarm(time.Hour)
	_ = p.SetAlarm(3 * time.Millisecond)
	var rung []time.Duration
	err := p.Run(&plain{alarm: func() {
		if rung = append(rung, p.Now().Sub(start).Truncate(time.Millisecond)); len(rung) == 2 {
			_ = p.SetTick(50 * time.Millisecond)
			return
		}
		_ = p.SetAlarm(10 * time.Millisecond)
	}, tick: p.Stop})
	if err != nil || !slices.Equal(rung, []time.Duration{3 * time.Millisecond, 13 * time.Millisecond}) {
		t.Errorf("rang after %v, %v", rung, err)
	}
}

func TestTicksFollowTheVirtualClockWithoutFaults(t *testing.T) {
	w := New(Config{})
	p, _ := newSys(t, w, 0)
	_ = p.SetTick(100 * time.Millisecond)
	n := 0
	start := p.Now()
	if err := p.Run(&plain{tick: func() {
		if n++; n == 50 {
			p.Stop()
		}
		if off := p.Now().Sub(start) - time.Duration(n)*100*time.Millisecond; off < 0 || off > time.Millisecond {
			t.Errorf("tick %d is off by %v", n, off)
		}
	}}); err != nil {
		t.Fatal(err)
	}
}

func TestTickFaultsMakeTicksLateEarlyAndLost(t *testing.T) {
	w := New(Config{Seed: 3, Faults: Faults{LateTick: 0.3, EarlyTick: 0.3, LostTick: 0.3}})
	p, _ := newSys(t, w, 0)
	_ = p.SetTick(100 * time.Millisecond)
	var early, late, n int
	last := p.Now()
	if err := p.Run(&plain{tick: func() {
		switch d := p.Now().Sub(last); {
		case d < 95*time.Millisecond:
			early++
		case d > 195*time.Millisecond:
			late++
		}
		if last = p.Now(); n == 300 {
			p.Stop()
		}
		n++
	}}); err != nil || early == 0 || late == 0 {
		t.Errorf("early %d, late or lost %d, %v", early, late, err)
	}
}

func TestSeveralLoopsTakeTurnsDeterministically(t *testing.T) {
	run := func() (order []int, history uint64) {
		w := New(Config{Loops: 3, Seed: 9})
		errs := make(chan error, 3)
		for i := range 3 {
			p, _ := newSys(t, w, i)
			_ = p.SetTick(time.Duration(10+i) * time.Millisecond)
			n := 0
			go func() {
				errs <- p.Run(&plain{tick: func() { // no lock: one runs at a time, -race watches
					order = append(order, i)
					if n++; n == 20+i {
						p.Stop()
					}
				}})
			}()
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		return order, w.History()
	}
	order1, history1 := run()
	order2, history2 := run()
	if !slices.Equal(order1, order2) || history1 != history2 || len(order1) != 63 {
		t.Errorf("two runs differ:\n%v %x\n%v %x", order1, history1, order2, history2)
	}
}

func TestWakeFromOutsideEndsAnIdleWorld(t *testing.T) {
	w := New(Config{})
	p, _ := newSys(t, w, 0)
	go func() { _ = p.Wake() }()
	if err := p.Run(&plain{woken: p.Stop}); err != nil {
		t.Error(err)
	}
}

func TestEndlessWorldIsGivenUp(t *testing.T) {
	w := New(Config{StepsMax: 50})
	p, _ := newSys(t, w, 0)
	_ = p.SetTick(time.Second)
	if err := p.Run(&plain{}); err == nil || !strings.Contains(err.Error(), "did not end in 50 passes") {
		t.Errorf("run: %v", err)
	}
}
