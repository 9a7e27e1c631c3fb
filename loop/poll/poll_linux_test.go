package poll

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// actor is a Handler made of functions. The transcript of a test is what its functions note.
type actor struct {
	ready func(fd int, ev Events)
	woken func()
	tick  func()
	again func()
	alarm func()

	began, ended func() // may be nil
}

func (a *actor) PassBegins()             { call(a.began) }
func (a *actor) PassEnds()               { call(a.ended) }
func (a *actor) Ready(fd int, ev Events) { a.ready(fd, ev) }
func (a *actor) Woken()                  { a.woken() }
func (a *actor) Tick()                   { a.tick() }
func (a *actor) Again()                  { a.again() }
func (a *actor) Alarm()                  { a.alarm() }

func call(f func()) {
	if f != nil {
		f()
	}
}

type bench struct {
	testing.TB
	p   Poller
	sys Sys
	lfd int
	at  netip.AddrPort
}

func setup(t testing.TB, opts Options) *bench {
	t.Helper()
	p, sys, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	lfd, at, err := sys.Listen("127.0.0.1:0", 0, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sys.Close(lfd) })
	return &bench{TB: t, p: p, sys: sys, lfd: lfd, at: at}
}

// pair makes a connection: our end and the peer's.
func (b *bench) pair() (ours, peer int) {
	b.Helper()
	peer, err := b.sys.Connect(netip.AddrPort{}, b.at)
	if err != nil {
		b.Fatal(err)
	}
	ours, err = b.sys.Accept(b.lfd)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = b.sys.Close(ours); _ = b.sys.Close(peer) })
	return ours, peer
}

// run runs until stop is called by one of the actor's functions.
func (b *bench) run(a *actor) {
	b.Helper()
	def := func(f *func(), what string) {
		if *f == nil {
			*f = func() { b.Errorf("unexpected %s", what); b.p.Stop() }
		}
	}
	def(&a.woken, "Woken")
	def(&a.tick, "Tick")
	def(&a.again, "Again")
	if a.ready == nil {
		a.ready = func(fd int, ev Events) { b.Errorf("unexpected Ready(%d, %b)", fd, ev); b.p.Stop() }
	}
	if err := b.p.Run(a); err != nil {
		b.Fatal(err)
	}
}

func TestWakeFromAnotherGoroutineIsHeard(t *testing.T) {
	b := setup(t, Options{})
	go func() { _ = b.p.Wake() }()
	b.run(&actor{woken: b.p.Stop})
}

func TestAPassIsFromWaitingToWaiting(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	other, otherPeer := b.pair()
	for _, fd := range []int{ours, other} {
		if err := b.p.Add(fd, Read); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = b.sys.Write(peer, []byte("x"))
	_, _ = b.sys.Write(otherPeer, []byte("x"))
	var story []string
	tell := func(line string) func() { return func() { story = append(story, line) } }
	var buf [1]byte
	b.run(&actor{
		began: tell("begins"), ended: tell("ends"),
		ready: func(fd int, _ Events) {
			story = append(story, "ready")
			_, _ = b.sys.Read(fd, buf[:])
			if fd == other {
				b.p.SetAgain(true)
			}
		},
		again: func() {
			story = append(story, "again")
			if len(story) > 5 {
				b.p.Stop()
			}
			b.p.SetAgain(true)
		},
	})
	if got, want := strings.Join(story, " "), "begins ready ready again ends begins again ends"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Where more descriptors are ready than a pass serves, Again comes after all of them.
func TestAgainWaitsForMoreThanABatch(t *testing.T) {
	b := setup(t, Options{})
	const many = 2*batchEvents + 10
	for range many {
		ours, peer := b.pair()
		if err := b.p.Add(ours, Read); err != nil {
			t.Fatal(err)
		}
		_, _ = b.sys.Write(peer, []byte("x"))
	}
	passes, served := 0, 0
	var buf [1]byte
	b.run(&actor{
		began: func() { passes++ },
		ready: func(fd int, _ Events) {
			_, _ = b.sys.Read(fd, buf[:])
			served++
			b.p.SetAgain(true)
		},
		again: b.p.Stop,
	})
	if served != many || passes != 3 {
		t.Errorf("Again came in pass %d, after %d of %d descriptors", passes, served, many)
	}
}

func TestAnotherGnetIsRefusedWithAReason(t *testing.T) {
	p := &epoll{waitFD: -1}
	if err := p.open(); !errors.Is(err, errWaitFD) {
		t.Errorf("got %v", err)
	}
}

func TestWakeAfterCloseIsAnError(t *testing.T) {
	p, _, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if p.Wake() == nil {
		t.Error("a closed poller was woken")
	}
}

func TestAgainComesAfterWhatIsReadyAndOncePerRequest(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	if err := b.p.Add(ours, Read); err != nil {
		t.Fatal(err)
	}
	var story []string
	_, _ = b.sys.Write(peer, []byte("x"))
	b.p.SetAgain(true)
	passes := 0
	b.run(&actor{
		ready: func(int, Events) { // level-triggered: comes in every pass
			story = append(story, "ready")
			if passes == 3 {
				b.p.Stop()
			}
		},
		again: func() {
			story = append(story, "again")
			if passes++; passes < 3 {
				b.p.SetAgain(true)
				b.p.SetAgain(true)
			} else {
				b.p.SetAgain(true)
				b.p.SetAgain(false)
			}
		},
	})
	if got, want := strings.Join(story, " "), "ready again ready again ready again ready"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTickComesUntilSwitchedOff(t *testing.T) {
	b := setup(t, Options{})
	if err := b.p.SetTick(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	n := 0
	b.run(&actor{tick: func() {
		if n++; n == 3 {
			if err := b.p.SetTick(0); err != nil {
				t.Error(err)
			}
			_ = b.p.Wake()
		}
	}, woken: b.p.Stop})
	if n != 3 {
		t.Errorf("%d ticks", n)
	}
}

// An alarm set anew takes the former's place, and rings once.
func TestAlarmRingsOnceForTheLastThatWasSet(t *testing.T) {
	b := setup(t, Options{})
	set := func(after time.Duration) {
		if err := b.p.SetAlarm(after); err != nil {
			t.Error(err)
		}
	}
	start, rung := time.Now(), 0
	set(time.Hour)
	set(2 * time.Millisecond)
	b.run(&actor{alarm: func() {
		switch rung++; rung {
		case 1:
			if took := time.Since(start); took < 2*time.Millisecond {
				t.Errorf("it rang after %v", took)
			}
			set(0) // at once
		case 2:
			set(-time.Second)
		case 3: // no other comes until the tick does
			_ = b.p.SetTick(10 * time.Millisecond)
		}
	}, tick: b.p.Stop})
	if rung != 3 {
		t.Errorf("it rang %d times, want 3", rung)
	}
}

func TestNothingIsDeliveredAfterStop(t *testing.T) {
	b := setup(t, Options{})
	for range 5 {
		ours, peer := b.pair()
		_ = b.p.Add(ours, Read)
		_, _ = b.sys.Write(peer, []byte("x"))
	}
	n := 0
	b.run(&actor{ready: func(int, Events) { n++; b.p.Stop() }})
	if n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestInterests(t *testing.T) {
	b := setup(t, Options{})
	for _, c := range []struct {
		name string
		want Interest
		sent bool
		get  Events
	}{
		{"read, nothing sent", Read, false, 0},
		{"read", Read, true, Readable},
		{"write", Write, true, Writable},
		{"both", Read | Write, true, Readable | Writable},
	} {
		ours, peer := b.pair()
		if err := b.p.Add(ours, None); err != nil {
			t.Fatal(err)
		}
		if c.sent {
			_, _ = b.sys.Write(peer, []byte("x"))
		}
		if err := b.p.Mod(ours, c.want); err != nil {
			t.Fatal(err)
		}
		if got := b.once(ours); got != c.get {
			t.Errorf("%s: events %b, want %b", c.name, got, c.get)
		}
		if err := b.p.Del(ours); err != nil {
			t.Fatal(err)
		}
	}
}

// once returns the events of one pass over what is ready now.
func (b *bench) once(fd int) (got Events) {
	b.p.SetAgain(true)
	p := b.p.(*epoll)
	b.run(&actor{
		ready: func(f int, ev Events) {
			if f == fd {
				got |= ev
			}
		},
		again: b.p.Stop,
	})
	p.stopped = false
	return got
}

func TestInterestInNothingStillTellsOfAReset(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	if err := b.p.Add(ours, Read); err != nil {
		t.Fatal(err)
	}
	if err := b.p.Mod(ours, None); err != nil {
		t.Fatal(err)
	}
	b.once(ours) // the spurious Writable
	_, _ = b.sys.Write(peer, []byte("unread"))
	if got := b.once(ours); got&Readable != 0 {
		t.Errorf("events %b for a descriptor nobody reads", got)
	}
	_ = unix.SetsockoptLinger(peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Shutdown(peer, unix.SHUT_RDWR)
	fd, _ := unix.Open("/dev/null", unix.O_RDONLY, 0)
	_ = unix.Dup2(fd, peer) // closes it, and keeps the number for the cleanup
	_ = unix.Close(fd)
	if got := b.once(ours); got&Error == 0 {
		t.Errorf("events %b, want Error", got)
	}
	if err := b.sys.ConnectErr(ours); err == nil {
		t.Error("a reset connection counts as connected")
	}
}

func TestAcceptedSocketsInheritTheListenersOptions(t *testing.T) {
	b := setup(t, Options{KeepAliveIdle: 300 * time.Second, KeepAliveInterval: 15 * time.Second, KeepAliveCount: 3,
		UserTimeout: 345 * time.Second, UnsentBytes: 128 << 10, SharePort: true})
	ours, _ := b.pair()
	for _, o := range []struct {
		name             string
		level, opt, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 345_000},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 128 << 10},
	} {
		if got, err := unix.GetsockoptInt(ours, o.level, o.opt); err != nil || got != o.want {
			t.Errorf("%s is %d (%v), want %d", o.name, got, err, o.want)
		}
	}
	if fl, _ := unix.FcntlInt(uintptr(ours), unix.F_GETFL, 0); fl&unix.O_NONBLOCK == 0 {
		t.Error("an accepted socket blocks")
	}
	if fl, _ := unix.FcntlInt(uintptr(ours), unix.F_GETFD, 0); fl&unix.FD_CLOEXEC == 0 {
		t.Error("an accepted socket survives exec")
	}
}

func TestErrnosComeBare(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	var buf [16]byte
	if _, err := b.sys.Read(ours, buf[:]); err != syscall.EAGAIN {
		t.Errorf("read of nothing: %v", err)
	}
	if _, err := b.sys.Accept(b.lfd); err != syscall.EAGAIN {
		t.Errorf("accept of nobody: %v", err)
	}
	if err := b.sys.ConnectErr(ours); err != nil {
		t.Errorf("a connected socket: %v", err)
	}
	full := make([]byte, 1<<20)
	var err error
	for err == nil {
		_, err = b.sys.Write(ours, full)
	}
	if err != syscall.EAGAIN {
		t.Errorf("write to a full socket: %v", err)
	}
	_ = b.sys.ShutdownWrite(peer)
	if n, err := b.sys.Read(ours, buf[:]); n != 0 || err != nil {
		t.Errorf("read at the end of stream: %d, %v", n, err)
	}
	_ = b.sys.ShutdownWrite(ours)
	if _, err := b.sys.Write(ours, []byte("x")); err != syscall.EPIPE {
		t.Errorf("write after shutdown: %v", err)
	}
	if _, err := b.sys.Writev(ours, [][]byte{[]byte("x"), []byte("y")}); err != syscall.EPIPE {
		t.Errorf("writev after shutdown: %v", err)
	}
}

func TestWritevWritesTheConcatenation(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	n, err := b.sys.Writev(ours, [][]byte{[]byte("one"), nil, []byte("two"), {}, []byte("three")})
	if n != 11 || err != nil {
		t.Fatal(n, err)
	}
	var buf [32]byte
	if n, _ := b.sys.Read(peer, buf[:]); string(buf[:n]) != "onetwothree" {
		t.Errorf("got %q", buf[:n])
	}
	if n, err := b.sys.Writev(ours, nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	for _, v := range b.sys.(*kernel).iov {
		if v.Base != nil {
			t.Error("the array keeps bytes alive")
		}
	}
}

func TestConnectFromAChosenAddress(t *testing.T) {
	b := setup(t, Options{})
	fd, err := b.sys.Connect(netip.MustParseAddrPort("127.0.0.9:0"), b.at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.sys.Close(fd) }()
	ours, err := b.sys.Accept(b.lfd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.sys.Close(ours) }()
	peer, _ := b.sys.Peer(ours)
	local, _ := b.sys.Local(fd)
	if peer != local || peer.Addr().String() != "127.0.0.9" {
		t.Errorf("peer is %v, local is %v", peer, local)
	}
	if _, err := b.sys.Connect(netip.MustParseAddrPort("[::1]:0"), b.at); err == nil {
		t.Error("an IPv6 socket was connected to an IPv4 address")
	}
}

func TestConnectErrOfASocketThatIsNotConnected(t *testing.T) {
	b := setup(t, Options{})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := b.sys.ConnectErr(fd); err != syscall.ENOTCONN {
		t.Errorf("got %v", err)
	}
}

func TestListenNamesWhatIsWrong(t *testing.T) {
	b := setup(t, Options{})
	if _, _, err := b.sys.Listen(b.at.String(), 0, Options{SharePort: true}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
	if _, _, err := b.sys.Listen("192.0.2.1:0", 0, Options{}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("foreign address: %v", err)
	}
	if _, _, err := b.sys.Listen("nonsense", 0, Options{}); err == nil {
		t.Error("nonsense was accepted")
	}
	for _, addr := range []string{":0", "[::1]:0"} {
		fd, at, err := b.sys.Listen(addr, 10, Options{})
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			continue // no IPv6 here
		}
		if err != nil || at.Port() == 0 {
			t.Errorf("%s: %v, %v", addr, at, err)
			continue
		}
		_ = b.sys.Close(fd)
	}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	b := setup(t, Options{})
	ours, peer := b.pair()
	buf := make([]byte, 1024)
	iov := [][]byte{[]byte("head"), []byte("tail")}
	if err := b.p.Add(ours, Read); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		_, _ = b.sys.Write(ours, buf[:100])
		_, _ = b.sys.Writev(ours, iov)
		_, _ = b.sys.Read(peer, buf)
		_, _ = b.sys.Read(peer, buf)
		_, _ = b.sys.Accept(b.lfd)
		_ = b.p.Mod(ours, Read|Write)
		_ = b.p.Mod(ours, Read)
		_ = b.p.Del(ours)
		_ = b.p.Add(ours, Read)
		_ = b.p.Wake()
		b.p.SetAgain(true)
		b.p.(*epoll).asked = false
		_ = b.sys.ConnectErr(ours)
		b.sys.Yield()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
