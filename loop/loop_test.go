package loop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestReplyReachesThePeer(t *testing.T) {
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) {
		reply(l, slot, strings.ToUpper(string(p)))
	}})
	c := r.dial()
	write(t, c, "hello")
	expect(t, c, "HELLO")
	r.on(0, nil)
}

func TestRepliesOfOneCallbackAreOneWrite(t *testing.T) {
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) {
		for range 100 {
			reply(l, slot, "x")
		}
	}})
	c := r.dial()
	write(t, c, "go")
	expect(t, c, strings.Repeat("x", 100))
	r.on(0, func(l *Loop) {
		if l.counters.Writes != 1 {
			t.Errorf("%d writes, want 1", l.counters.Writes)
		}
	})
}

func TestSentBytesOfOneTurnAreOneWritev(t *testing.T) {
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) {
		for range 10 {
			send(l, slot, "abc")
		}
	}})
	c := r.dial()
	write(t, c, "go")
	expect(t, c, strings.Repeat("abc", 10))
	r.on(0, func(l *Loop) {
		if l.counters.Writes != 0 || l.counters.Writevs != 1 {
			t.Errorf("%d writes and %d writevs, want 0 and 1", l.counters.Writes, l.counters.Writevs)
		}
	})
}

func TestCorkedAndSentKeepTheirOrder(t *testing.T) {
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) {
		reply(l, slot, "1")
		send(l, slot, "2")
		reply(l, slot, "3")
		send(l, slot, "4")
		send(l, slot, "5")
		reply(l, slot, "6")
	}})
	c := r.dial()
	for range 20 {
		write(t, c, "go")
		expect(t, c, "123456")
	}
	r.on(0, nil)
}

func TestBacklogOfManyPiecesArrivesWholeAndInOrder(t *testing.T) {
	const pieces = 3000
	r := start(t, Config{BacklogBytesMax: 1 << 28}, script{data: func(l *Loop, slot uint32, p []byte) {
		for i := range pieces {
			if res := send(l, slot, strings.Repeat(string(rune('a'+i%26)), i)); res != Sent {
				t.Errorf("piece %d: %v", i, res)
			}
		}
	}})
	c := r.dial()
	write(t, c, "go")
	r.on(0, nil)
	for i := range pieces {
		expect(t, c, strings.Repeat(string(rune('a'+i%26)), i))
	}
	r.on(0, func(l *Loop) {
		if l.backlog != 0 || l.table.Len() != 0 {
			t.Errorf("%d bytes in %d runs are left", l.backlog, l.table.Len())
		}
	})
}

func TestSlowConnIsToldAtItsLimitAndOthersAreNot(t *testing.T) {
	slots := make(chan uint32, 1000)
	ends := newClosings()
	r := start(t, Config{BacklogBytesMax: 64 << 10}, script{
		open:   func(l *Loop, slot uint32) { slots <- slot },
		closed: ends.note,
	})
	slow := r.dial()
	slowSlot := receive(t, slots, "open")
	quick := r.dial()
	quickSlot := receive(t, slots, "open")
	piece := strings.Repeat("s", 16<<10)
	limited := false
	for i := 0; i < 10_000 && !limited; i++ {
		r.on(0, func(l *Loop) {
			limited = send(l, slowSlot, piece) == OverLimit
			if l.Backlog(slowSlot) > 64<<10 {
				t.Errorf("backlog of %d bytes", l.Backlog(slowSlot))
			}
			if res := send(l, quickSlot, "q"); res != Sent {
				t.Errorf("quick conn: %v", res)
			}
		})
		expect(t, quick, "q")
	}
	if !limited {
		t.Fatal("the limit was never reached")
	}
	r.on(0, func(l *Loop) {
		l.CloseAfter(slowSlot, []byte("bye"), ReasonSlow)
		if got := l.Backlog(slowSlot); got > 16<<10+3 {
			t.Errorf("%d bytes still queued for a slow conn that was closed", got)
		}
	})
	if why := receive(t, ends.c, "closing"); why != "slow" {
		t.Errorf("closed for %s", why)
	}
	all, err := io.ReadAll(slow)
	if err != nil || !bytes.HasSuffix(all, []byte("sbye")) || (len(all)-3)%len(piece) != 0 {
		t.Errorf("read %d bytes and %v; want whole pieces and the last bytes", len(all), err)
	}
}

func TestTwoRepliesAreTakenHoweverLarge(t *testing.T) {
	slots := make(chan uint32, 1000)
	ends := newClosings()
	r := start(t, Config{BacklogBytesMax: 64 << 10}, script{
		open:   func(l *Loop, slot uint32) { slots <- slot },
		closed: ends.note,
	})
	peer := r.dial()
	slot := receive(t, slots, "open")
	large := strings.Repeat("l", 16<<20) // more than the kernel's buffers and the limit hold
	r.on(0, func(l *Loop) { l.Commit(slot, append(l.Begin(slot), large...)) })
	r.on(0, func(l *Loop) {
		if l.Backlog(slot) < 64<<10 {
			t.Errorf("backlog of %d bytes: the kernel took it all, and nothing was tried", l.Backlog(slot))
		}
	})
	expect(t, peer, large)

	for range 2 {
		r.on(0, func(l *Loop) { l.Commit(slot, append(l.Begin(slot), large...)) })
	}
	r.on(0, func(l *Loop) {
		if l.Backlog(slot) < 16<<20 {
			t.Errorf("backlog of %d bytes behind the second", l.Backlog(slot))
		}
		l.Commit(slot, append(l.Begin(slot), large...))
	})
	if why := receive(t, ends.c, "closing"); why != "slow" {
		t.Errorf("a third one behind them closed for %s", why)
	}
}

func TestNodeLimitIsForThoseWhoDoNotRead(t *testing.T) {
	slots := make(chan uint32, 1000)
	ends := newClosings()
	r := start(t, Config{BacklogBytesMax: 1 << 30, NodeBacklogBytesMax: 100 << 10}, script{
		open:   func(l *Loop, slot uint32) { slots <- slot },
		closed: ends.note,
	})
	_ = r.dial()
	slow := receive(t, slots, "open")
	reader := r.dial()
	quick := receive(t, slots, "open")
	limited := false
	for i := 0; i < 10_000 && !limited; i++ {
		r.on(0, func(l *Loop) { limited = send(l, slow, strings.Repeat("s", 16<<10)) == OverLimit })
	}
	r.on(0, func(l *Loop) {
		if res := send(l, quick, "q"); res != Sent {
			t.Errorf("quick conn: %v", res)
		}
		l.Close(slow, ReasonSlow)
	})
	expect(t, reader, "q")
	if why := receive(t, ends.c, "closing"); why != "node-backlog" {
		t.Errorf("closed for %s", why)
	}
}

func TestUnreadRepliesEndTheConn(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{BacklogBytesMax: 1 << 20}, script{
		data:   func(l *Loop, slot uint32, p []byte) { reply(l, slot, strings.Repeat("r", 64<<10)) },
		closed: ends.note,
	})
	c := r.dial()
	_ = c.SetReadBuffer(4096)
	go func() {
		for { // ends with the conn
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
		}
	}()
	if why := receive(t, ends.c, "closing"); why != "slow" {
		t.Errorf("closed for %s", why)
	}
}

func TestCloseAfterFlushesThenEndsTheStream(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{}, script{
		data: func(l *Loop, slot uint32, p []byte) {
			reply(l, slot, "reply,")
			l.CloseAfter(slot, []byte("last"), ReasonServer)
			l.CloseAfter(slot, []byte("twice"), ReasonServer)
			reply(l, slot, "lost")
		},
		closed: ends.note,
	})
	c := r.dial()
	write(t, c, "go")
	expect(t, c, "reply,last")
	expectEOF(t, c)
	write(t, c, strings.Repeat("discarded", 1000))
	_ = c.Close()
	if why := receive(t, ends.c, "closing"); why != "server" {
		t.Errorf("closed for %s", why)
	}
	r.until("the descriptor is closed", func(l *Loop) bool { return l.conns.Len() == 0 })
	if len(ends.c) != 0 {
		t.Error("Closed was called twice")
	}
}

// until waits until a condition on loop 0 holds.
func (r *rig) until(what string, ok func(l *Loop) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		holds := false
		r.on(0, func(l *Loop) { holds = ok(l) })
		if holds {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

func TestCloseNowSendsWhatItCanAndKeepsNothing(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{CloseWait: time.Hour}, script{data: func(l *Loop, slot uint32, p []byte) {
		reply(l, slot, "corked ")
		l.CloseNow(slot, []byte("goodbye"), ReasonLimit)
		l.CloseNow(slot, []byte("again"), ReasonLimit)
	}, closed: ends.note})
	c := r.dial()
	write(t, c, "x")
	expect(t, c, "corked goodbye")
	expectEOF(t, c)
	if why := receive(t, ends.c, "closing"); why != "limit" {
		t.Errorf("closed for %s", why)
	}
	r.on(0, func(l *Loop) { // the peer has not closed
		if n := l.conns.Len(); n != 0 {
			t.Errorf("%d slots are held", n)
		}
	})
}

func TestCloseAfterWithABigBacklogFlushesItAll(t *testing.T) {
	const size = 8 << 20
	r := start(t, Config{BacklogBytesMax: 1 << 28, CloseWait: time.Minute}, script{data: func(l *Loop, slot uint32, p []byte) {
		send(l, slot, strings.Repeat("a", size))
		l.CloseAfter(slot, []byte("last"), ReasonServer)
	}})
	c := r.dial()
	write(t, c, "go")
	all, err := io.ReadAll(c)
	if err != nil || len(all) != size+4 || string(all[size:]) != "last" {
		t.Errorf("read %d bytes and %v", len(all), err)
	}
	_ = c.Close()
}

func TestPeerThatNeverClosesIsCutAfterCloseWait(t *testing.T) {
	r := start(t, Config{CloseWait: 20 * time.Millisecond}, script{data: func(l *Loop, slot uint32, p []byte) {
		l.CloseAfter(slot, []byte("bye"), ReasonServer)
	}})
	c := r.dial()
	write(t, c, "go")
	expect(t, c, "bye")
	r.until("the descriptor is closed", func(l *Loop) bool { return l.conns.Len() == 0 })
}

func TestHalfClosedPeerStillGetsItsAnswer(t *testing.T) {
	r := start(t, Config{}, script{
		eof:   func(l *Loop, slot uint32) { l.Arm(slot, 3) },
		timer: func(l *Loop, slot uint32) { reply(l, slot, "answer"); l.CloseAfter(slot, nil, ReasonPeer) },
	})
	c := r.dial()
	write(t, c, "question")
	_ = c.CloseWrite()
	expect(t, c, "answer")
	expectEOF(t, c)
	r.until("the descriptor is closed", func(l *Loop) bool { return l.conns.Len() == 0 })
}

func TestResetIsNamed(t *testing.T) {
	ends := newClosings()
	opened := make(chan uint32, 1000)
	r := start(t, Config{}, script{closed: ends.note, open: func(_ *Loop, slot uint32) { opened <- slot }})
	for _, paused := range []bool{false, true} {
		c := r.dial()
		slot := receive(t, opened, "open")
		if paused {
			r.on(0, func(l *Loop) { l.Pause(slot) })
		}
		_ = c.SetLinger(0)
		_ = c.Close()
		if why := receive(t, ends.c, "closing"); why != "reset" {
			t.Errorf("paused %v: closed for %s", paused, why)
		}
	}
}

func TestPausedConnIsNotReadUntilResumed(t *testing.T) {
	got := make(chan string, 1000)
	var slot uint32
	r := start(t, Config{}, script{
		open: func(l *Loop, s uint32) { slot = s; l.Pause(s) },
		data: func(l *Loop, _ uint32, p []byte) { got <- string(p) },
	})
	c := r.dial()
	write(t, c, "early")
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	for range 5 {
		r.on(0, func(l *Loop) { send(l, slot, "x") })
		expect(t, c, "x")
	}
	if len(got) != 0 {
		t.Fatal("a paused conn was read")
	}
	r.on(0, func(l *Loop) { l.Resume(slot) })
	if s := receive(t, got, "data"); s != "early" {
		t.Errorf("got %q", s)
	}
}

func TestAdoptedConnSpeaksToItsNewHandler(t *testing.T) {
	second := make(chan string, 1000)
	ends := newClosings()
	r := start(t, Config{},
		script{data: func(l *Loop, slot uint32, p []byte) {
			l.Adopt(slot, 1)
			reply(l, slot, "101")
		}, closed: func(*Loop, uint32, Reason, error) { t.Error("the old handler was told") }},
		script{data: func(l *Loop, slot uint32, p []byte) { second <- string(p) }, closed: ends.note})
	c := r.dial()
	write(t, c, "upgrade")
	expect(t, c, "101")
	write(t, c, "frame")
	if s := receive(t, second, "data"); s != "frame" {
		t.Errorf("got %q", s)
	}
	_ = c.Close()
	receive(t, ends.c, "closing")
}

func TestClosingOthersAndOneselfInsideACallback(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{}, script{
		data: func(l *Loop, slot uint32, p []byte) {
			l.Each(func(other uint32, _ Kind) bool {
				l.Close(other, ReasonServer)
				return true
			})
			if got := l.Conns(); got != 0 {
				t.Errorf("%d conns after closing all", got)
			}
			if l.Backlog(slot) != 0 {
				t.Error("a closed conn has a backlog")
			}
			reply(l, slot, "lost")
			l.Close(slot, ReasonServer)
			if _, ok := l.Detach(slot); ok {
				t.Error("a closed conn was detached")
			}
		},
		closed: ends.note,
	})
	const n = 50
	conns := make([]net.Conn, n)
	for round := range 5 {
		for i := range conns {
			conns[i] = r.dial()
		}
		r.until("all open", func(l *Loop) bool { return l.Conns() == n })
		for _, c := range conns { // all at once: one pass has events of many that the first closes
			_, _ = io.WriteString(c, "x")
		}
		for range n {
			receive(t, ends.c, "closing")
		}
		r.on(0, nil)
		if len(ends.c) != 0 {
			t.Fatalf("round %d: Closed was called more than once per conn", round)
		}
	}
}

func TestStaleIDIsRefused(t *testing.T) {
	ids := make(chan ConnID, 1000)
	r := start(t, Config{}, script{open: func(l *Loop, slot uint32) { ids <- l.ID(slot) }})
	first := r.dial()
	old := receive(t, ids, "open")
	_ = first.Close()
	r.until("closed", func(l *Loop) bool { return l.conns.Len() == 0 })
	r.dial()
	present := receive(t, ids, "open")
	if old.Slot() != present.Slot() || old.Generation() == present.Generation() {
		t.Fatalf("ids %v and %v, want the same slot and another generation", old, present)
	}
	r.on(0, func(l *Loop) {
		if _, ok := l.Lookup(old); ok {
			t.Error("the old id was found")
		}
		if slot, ok := l.Lookup(present); !ok || slot != present.Slot() {
			t.Error("the present id was not found")
		}
	})
}

func TestPanicClosesThatConnAlone(t *testing.T) {
	ends := newClosings()
	var told atomic.Int32
	r := start(t, Config{OnPanic: func(any, []byte) { told.Add(1) }}, script{
		data: func(l *Loop, slot uint32, p []byte) {
			if string(p) == "panic" {
				reply(l, slot, "half a re")
				panic("on purpose")
			}
			reply(l, slot, string(p))
		},
		closed: ends.note,
	})
	r.panics = 3
	good, bad := r.dial(), r.dial()
	write(t, bad, "panic")
	expectEOF(t, bad)
	if why := receive(t, ends.c, "closing"); why != "panic" {
		t.Errorf("closed for %s", why)
	}
	_ = r.g.Loop(0).Post(deliverFunc(func(*Loop) { panic("in a message") }))
	r.on(0, func(l *Loop) { l.Work(workFunc(func(*Loop) bool { panic("in a work") })) })
	write(t, good, "still here")
	expect(t, good, "still here")
	r.until("three panics are told", func(*Loop) bool { return told.Load() == 3 })
}

type workFunc func(l *Loop) bool

func (f workFunc) Slice(l *Loop) bool { return f(l) }

// Delayed works begin in the order of their times, none before its own, and at once when
// the loop stops.
func TestDelayedWorksBeginInTheirOrder(t *testing.T) {
	type begun struct {
		name string
		at   time.Time
	}
	begins := make(chan begun, 8)
	t.Cleanup(func() { // after the loop has stopped
		if got := receive(t, begins, "work"); got.name != "at the end" {
			t.Errorf("%s at the end", got.name)
		}
	})
	r := start(t, Config{}, script{})
	var from time.Time
	after := func(l *Loop, name string, d time.Duration) {
		l.WorkAfter(workFunc(func(l *Loop) bool { begins <- begun{name, time.Now()}; return false }), d)
	}
	delays := map[string]time.Duration{"now": 0, "soon": time.Millisecond, "later": 3 * time.Millisecond, "last": 5 * time.Millisecond}
	r.on(0, func(l *Loop) {
		from = l.Clock()
		for _, name := range []string{"last", "soon", "now", "later"} {
			after(l, name, delays[name])
		}
		after(l, "at the end", time.Hour)
	})
	for _, want := range []string{"now", "soon", "later", "last"} {
		if got := receive(t, begins, "work"); got.name != want || got.at.Sub(from) < delays[want] {
			t.Errorf("%s after %v, want %s after %v", got.name, got.at.Sub(from), want, delays[want])
		}
	}
}

func TestPanicInClosedIsCountedAndTheConnIsGone(t *testing.T) {
	r := start(t, Config{}, script{closed: func(*Loop, uint32, Reason, error) { panic("in Closed") }})
	r.panics = 1
	c := r.dial()
	write(t, c, "x")
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	_ = c.Close()
	r.until("gone", func(l *Loop) bool { return l.conns.Len() == 0 })
}

func TestTimerFiresOnceUnlessDisarmed(t *testing.T) {
	fired := make(chan uint32, 1000)
	opened := make(chan uint32, 1000)
	r := start(t, Config{}, script{
		open:  func(l *Loop, slot uint32) { opened <- slot; l.Arm(slot, 2) },
		timer: func(l *Loop, slot uint32) { fired <- slot },
	})
	r.dial()
	a := receive(t, opened, "open")
	if got := receive(t, fired, "timer"); got != a {
		t.Errorf("slot %d fired, want %d", got, a)
	}
	r.dial()
	b := receive(t, opened, "open")
	r.on(0, func(l *Loop) { l.Arm(b, 1000); l.Disarm(b); l.Arm(a, 1) })
	if got := receive(t, fired, "timer"); got == b && len(fired) == 0 {
		receive(t, fired, "timer") // b had fired before it was disarmed
	}
}

func TestWorkIsSlicedAndOthersAreServedBetween(t *testing.T) {
	const receivers = 300
	r := start(t, Config{FlushSlice: 16}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "pong") }})
	conns := make([]net.Conn, receivers)
	for i := range conns {
		conns[i] = r.dial()
	}
	r.until("all open", func(l *Loop) bool { return l.Conns() == receivers })
	passes := 0
	r.on(0, func(l *Loop) {
		var slots []uint32
		l.Each(func(slot uint32, _ Kind) bool { slots = append(slots, slot); return true })
		ref := l.Hold(bytesOf(l, "news"))
		l.Work(workFunc(func(l *Loop) bool {
			passes++
			for _, s := range slots[:min(16, len(slots))] {
				l.Send(s, ref)
			}
			if slots = slots[min(16, len(slots)):]; len(slots) > 0 {
				return true
			}
			l.Unhold(ref)
			return false
		}))
	})
	for _, c := range conns {
		expect(t, c, "news")
	}
	r.on(0, func(l *Loop) {
		if passes != (receivers+15)/16 {
			t.Errorf("%d passes", passes)
		}
	})
}

func TestMailboxPushesBack(t *testing.T) {
	r := start(t, Config{MailboxMax: 4}, script{})
	hold, held := make(chan struct{}), make(chan struct{})
	_ = r.g.Loop(0).Post(deliverFunc(func(*Loop) { close(held); <-hold }))
	<-held
	var full error
	delivered := make(chan int, 1000)
	accepted := 0
	for i := range 6 {
		if err := r.g.Loop(0).Post(deliverFunc(func(*Loop) { delivered <- i })); err == nil {
			accepted++
		} else {
			full = err
		}
	}
	close(hold)
	if accepted != 4 || !errors.Is(full, ErrMailboxFull) {
		t.Errorf("%d taken, then %v", accepted, full)
	}
	for want := range accepted {
		if got := receive(t, delivered, "message"); got != want {
			t.Errorf("message %d, want %d", got, want)
		}
	}
}

func TestMessagesFromManyGoroutinesKeepTheirOrder(t *testing.T) {
	const senders, each = 8, 2000
	r := start(t, Config{}, script{})
	last := make([]int, senders)
	done := make(chan struct{}, senders)
	for s := range senders {
		go func() {
			for i := 1; i <= each; {
				n := i
				err := r.g.Loop(0).Post(deliverFunc(func(*Loop) {
					if last[s]++; last[s] != n {
						t.Errorf("sender %d: message %d came as number %d", s, n, last[s])
					}
					if n == each {
						done <- struct{}{}
					}
				}))
				if err == nil {
					i++
				}
			}
		}()
	}
	for range senders {
		receive(t, done, "end of a sender")
	}
}

func TestDialOpensAndTalks(t *testing.T) {
	answers := make(chan string, 1000)
	ends := newClosings()
	r := start(t, Config{},
		script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "re:"+string(p)) }},
		script{
			open:   func(l *Loop, slot uint32) { reply(l, slot, "hi") },
			data:   func(l *Loop, slot uint32, p []byte) { answers <- string(p); l.Close(slot, ReasonServer) },
			closed: ends.note,
		})
	for _, local := range []netip.AddrPort{{}, addrPort("127.0.0.7:0")} {
		r.on(0, func(l *Loop) {
			if _, err := l.Dial(local, addrPort(r.addr), 1); err != nil {
				t.Error(err)
			}
		})
		if s := receive(t, answers, "answer"); s != "re:hi" {
			t.Errorf("got %q", s)
		}
		receive(t, ends.c, "closing")
	}
}

func TestDialToNobodyIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := addrPort(ln.Addr().String())
	_ = ln.Close()
	errs := make(chan error, 1000)
	r := start(t, Config{}, script{
		open: func(*Loop, uint32) { t.Error("opened") },
		closed: func(_ *Loop, _ uint32, why Reason, err error) {
			if why != ReasonDial {
				t.Errorf("closed for %v", why)
			}
			errs <- err
		},
	})
	r.on(0, func(l *Loop) {
		if _, err := l.Dial(netip.AddrPort{}, nobody, 0); err != nil {
			errs <- err
		}
	})
	if err := receive(t, errs, "failure"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestDetachedDescriptorIsTheCallers(t *testing.T) {
	left := make(chan Parting, 1000)
	ends := newClosings()
	r := start(t, Config{}, script{
		data: func(l *Loop, slot uint32, p []byte) {
			reply(l, slot, "before,")
			gone, _ := l.Detach(slot)
			left <- gone
		},
		closed: ends.note,
	})
	c := r.dial()
	write(t, c, "GET /")
	fd, err := receive(t, left, "descriptor").FD()
	if err != nil {
		t.Fatal(err)
	}
	if why := receive(t, ends.c, "closing"); why != "detached" {
		t.Errorf("closed for %s", why)
	}
	write(t, c, "more")
	if _, err := syscall.Write(fd, []byte("after")); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "before,after")
	_ = syscall.Close(fd)
}

func TestConnsMaxRefusesTheNext(t *testing.T) {
	r := start(t, Config{ConnsMax: 2}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "ok") }})
	a, b := r.dial(), r.dial()
	r.until("two open", func(l *Loop) bool { return l.Conns() == 2 })
	expectEOF(t, r.dial())
	for _, c := range []net.Conn{a, b} {
		write(t, c, "x")
		expect(t, c, "ok")
	}
	_ = a.Close()
	r.until("one open", func(l *Loop) bool { return l.conns.Len() == 1 })
	c := r.dial()
	write(t, c, "x")
	expect(t, c, "ok")
}

func TestShutdownFlushesGoodbyes(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{Loops: 2, FlushSlice: 8}, script{
		shutdown: func(l *Loop, slot uint32) { l.CloseAfter(slot, []byte("goodbye"), ReasonShutdown) },
		closed:   ends.note,
	})
	const n = 100
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = r.dial()
		write(t, conns[i], "x")
	}
	for r.g.Stats().Conns != n {
		r.on(0, nil)
	}
	go func() { _ = r.g.Shutdown(context.Background()) }()
	for _, c := range conns {
		expect(t, c, "goodbye")
		expectEOF(t, c)
		_ = c.Close()
	}
	for range n {
		if why := receive(t, ends.c, "closing"); why != "shutdown" {
			t.Errorf("closed for %s", why)
		}
	}
	if _, err := net.DialTimeout("tcp", r.addr, time.Second); err == nil {
		t.Error("a connection was accepted after shutdown")
	}
	if err := r.g.Loop(0).Post(deliverFunc(func(*Loop) {})); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestShutdownIsForcedWhenItsContextEnds(t *testing.T) {
	ends := newClosings()
	r := start(t, Config{}, script{shutdown: func(*Loop, uint32) {}, closed: ends.note})
	r.dial()
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.g.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if why := receive(t, ends.c, "closing"); why != "shutdown" {
		t.Errorf("closed for %s", why)
	}
}

func TestShutdownBeforeRun(t *testing.T) {
	g, err := New(Config{Loops: 2}, func(l *Loop) []Handler { return []Handler{&script{l: l}} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Listen("127.0.0.1:0", 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := g.Run(context.Background()); err != nil {
		t.Errorf("run after shutdown: %v", err)
	}
	if err := g.Shutdown(context.Background()); err != nil {
		t.Errorf("second shutdown: %v", err)
	}
}

func TestPortInUseSaysWhatToChange(t *testing.T) {
	r := start(t, Config{}, script{})
	other := start(t, Config{}, script{})
	_, err := other.g.Listen(r.addr, 0)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "in use; stop") {
		t.Errorf("got %v", err)
	}
	if _, err := r.g.Listen("127.0.0.1:0", 7); err == nil {
		t.Error("a kind without a handler got a listener")
	}
}

func TestLoopsShareAPortAndAnIPv6Listener(t *testing.T) {
	where := make(chan int, 1000)
	r := start(t, Config{Loops: 2}, script{open: func(l *Loop, slot uint32) {
		if a, err := l.Peer(slot); err != nil || !a.Addr().IsLoopback() {
			t.Errorf("peer %v, %v", a, err)
		}
		where <- l.Index()
	}})
	seen := map[int]bool{}
	for range 200 {
		r.dial()
		if seen[receive(t, where, "open")] = true; len(seen) == 2 {
			break
		}
	}
	if len(seen) != 2 {
		t.Errorf("all of 200 connections went to one loop")
	}
	bound, err := r.g.Listen("[::1]:0", 0)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skip("no IPv6 on this machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", bound.String())
	if err != nil {
		t.Fatal(err)
	}
	receive(t, where, "open")
	_ = c.Close()
}

func TestConnIsSmallAndPointerFree(t *testing.T) {
	var walk func(reflect.Type) bool
	walk = func(x reflect.Type) bool {
		switch x.Kind() {
		case reflect.Struct:
			for i := range x.NumField() {
				if !walk(x.Field(i).Type) {
					return false
				}
			}
			return true
		case reflect.Array:
			return walk(x.Elem())
		case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32,
			reflect.Uint64, reflect.Bool, reflect.Int, reflect.Uint:
			return true
		}
		return false
	}
	typ := reflect.TypeFor[conn]()
	if !walk(typ) || typ.Size() > 56 {
		t.Errorf("conn is %d bytes, or holds a pointer", typ.Size())
	}
}

func TestReasonNames(t *testing.T) {
	want := "peer-closed reset read-error write-error slow node-backlog protocol timeout limit server shutdown panic detached dial"
	var got []string
	for _, r := range Reasons() {
		got = append(got, r.String())
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got %s", s)
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, c := range []Config{{Loops: 257}, {TickPeriod: 1}, {BacklogBytesMax: 2 << 30}, {FlushSlice: -1}, {AcceptBatch: -1}} {
		if c.Validate() == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestDirtyListStaysShortUnderConstantSending(t *testing.T) {
	const receivers = 100
	r := start(t, Config{FlushSlice: 64}, script{})
	conns := make([]net.Conn, receivers)
	for i := range conns {
		conns[i] = r.dial()
	}
	r.until("open", func(l *Loop) bool { return l.Conns() == receivers })
	const rounds = 400
	r.on(0, func(l *Loop) {
		for range rounds {
			l.Each(func(slot uint32, _ Kind) bool { send(l, slot, "x"); return true })
			(*reactor)(l).Again()
			if len(l.dirty) > dirtyGrain+2*receivers {
				t.Fatalf("a dirty list of %d for %d conns", len(l.dirty), receivers)
			}
			if err := l.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, c := range conns {
		expect(t, c, strings.Repeat("x", rounds))
	}
}

func TestSlowConnGetsTheRestOfACorkedReplyItBeganToGet(t *testing.T) {
	slots := make(chan uint32, 1000)
	r := start(t, Config{}, script{open: func(_ *Loop, slot uint32) { slots <- slot }})
	c := r.dial()
	slot := receive(t, slots, "open")
	const size = 250 << 10
	replies := 0
	r.until("a reply is written in part", func(l *Loop) bool {
		reply(l, slot, strings.Repeat("r", size))
		l.uncork()
		replies++
		return l.Backlog(slot) > 0
	})
	r.on(0, func(l *Loop) {
		send(l, slot, "dropped")
		reply(l, slot, "dropped too")
		l.CloseAfter(slot, []byte("last"), ReasonSlow)
	})
	all, err := io.ReadAll(c)
	if err != nil || len(all) != replies*size+4 || string(all[replies*size:]) != "last" {
		t.Errorf("read %d bytes and %v, want %d replies and the last bytes", len(all), err, replies)
	}
}
