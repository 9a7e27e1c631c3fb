package ws

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/codec/ws"
	"shoal/loop"
	"shoal/loop/sim"
)

func text(payload string) []byte { return ws.AppendMasked(nil, ws.Text, mask, []byte(payload)) }

// waitFor keeps every session waiting for one message of that number.
func waitFor(n int, d time.Duration) func(uint32, int) time.Duration {
	return func(_ uint32, i int) time.Duration {
		if i == n {
			return d
		}
		return 0
	}
}

// A peer may send as much as it likes: one read of the loop is kept for it, the rest
// stays in the kernel.
func TestInputOfABusySessionIsBounded(t *testing.T) {
	s := newStage(t, 3, sim.Faults{}, Config{})
	s.office.patience = waitFor(0, 20*time.Second)
	const each = 1000
	flood := bytes.Repeat(text(strings.Repeat("f", each)), 60) // more than one read holds in two of them
	for _, first := range [][]byte{text("wait"), slices.Concat(text("wait"), flood), text("wait")[:3]} {
		pieces := [][]byte{first}
		if len(first) == 3 {
			pieces = append(pieces, slices.Concat(text("wait")[3:], flood))
		}
		a := s.actor(pieces, false, false)
		for i := range 20 {
			s.w.After(time.Duration(100+i)*time.Millisecond, func() { _, _ = a.p.Send(flood) })
		}
	}
	kept := int64(0)
	s.w.After(10*time.Second, func() { _, kept = s.buffers.InUse() })
	s.play(40 * time.Second)
	if most := int64(3 * 128 << 10); s.peakIn > most || kept == 0 {
		t.Errorf("%d bytes were kept for 3 busy conns, %d at most, want up to %d", kept, s.peakIn, most)
	}
	for i, a := range s.actors {
		if n := bytes.Count(a.got, []byte("text 1000 ")); n < 100 {
			t.Errorf("peer %d: %d answers after the wait", i, n)
		}
	}
}

// A client that waits for its answer before it sends costs no buffer and no pause.
func TestPatientClientsCostNothing(t *testing.T) {
	s := newStage(t, 4, sim.Faults{}, Config{})
	s.office.patience = waitFor(0, 5*time.Second)
	s.actor([][]byte{text("wait")}, false, false)
	looked := false
	s.w.After(2*time.Second, func() {
		looked = true
		s.l.Each(func(slot uint32, _ loop.Kind) bool {
			if c := s.tr.conns.At(slot); c.flags&(flagBusy|flagPaused) != flagBusy || c.tail|c.body != 0 {
				t.Errorf("flags %#x, buffers %d and %d", c.flags, c.tail, c.body)
			}
			return true
		})
	})
	s.play(10 * time.Second)
	if !looked || s.peakIn != 0 {
		t.Errorf("looked %t, %d bytes were borrowed", looked, s.peakIn)
	}
}

// Many messages of which each waits: what is behind them is moved into a smaller buffer
// for each halving, not each time.
func TestWhatWaitsIsMovedSeldom(t *testing.T) {
	s := newStage(t, 5, sim.Faults{}, Config{})
	s.office.patience = func(uint32, int) time.Duration { return time.Millisecond }
	const messages = 2000
	a := s.actor([][]byte{bytes.Repeat(text("small"), messages)}, false, false)
	moves, last := 0, uint32(0)
	look := func() {
		s.l.Each(func(slot uint32, _ loop.Kind) bool {
			if c := s.tr.conns.At(slot); c.tail != last {
				moves, last = moves+1, c.tail
			}
			return true
		})
	}
	for i := range 8000 {
		s.w.After(time.Duration(10+i)*time.Millisecond, look)
	}
	s.play(10 * time.Second)
	if n := bytes.Count(a.got, []byte("text 5 ")); n != messages || moves < 5 || moves > 20 {
		t.Errorf("%d of %d answers, %d moves", n, messages, moves)
	}
}

// The time for a message does not run while its session is busy.
func TestMessageTimeoutDoesNotCountTheWait(t *testing.T) {
	s := newStage(t, 6, sim.Faults{}, Config{MessageTicks: 5})
	s.office.patience = waitFor(0, 30*time.Second)
	whole := text("in two pieces")
	quick := s.actor([][]byte{slices.Concat(text("wait"), whole[:4])}, false, false)
	slow := s.actor([][]byte{slices.Concat(text("wait"), whole[:4])}, false, false)
	s.w.After(30*time.Second+200*time.Millisecond, func() { quick.send(whole[4:]) })
	s.w.After(30*time.Second+900*time.Millisecond, func() { slow.send(whole[4:]) })
	s.play(50 * time.Second)
	if !bytes.Contains(quick.got, []byte("1: text 13 ")) {
		t.Errorf("the message behind the wait was not taken: %q", quick.got)
	}
	if !bytes.Contains(slow.got, []byte("message took too long")) {
		t.Errorf("a message that trickles in after the wait was taken: %q", slow.got)
	}
}

// Release finds nothing partial in what waits, whatever it is.
func TestReleaseKeepsWhatWaits(t *testing.T) {
	s := newStage(t, 7, sim.Faults{}, Config{})
	s.office.patience = waitFor(0, 5*time.Second)
	half := text("second half")
	a := s.actor([][]byte{slices.Concat(text("wait"), text("behind"), half[:5])}, false, false)
	s.w.After(time.Second, func() {
		s.l.Each(func(slot uint32, _ loop.Kind) bool { s.tr.Release(slot); return true })
	})
	s.w.After(2*time.Second, func() { a.send(half[5:]) })
	s.play(20 * time.Second)
	if !bytes.Contains(a.got, []byte("1: text 6 ")) || !bytes.Contains(a.got, []byte("2: text 11 ")) {
		t.Errorf("got %q", a.got)
	}
}

// The end of a busy conn, whoever ends it, gives the buffer back, and the outcome that
// comes later finds nobody. What was kept is not looked at any more.
func TestBusyConnsEnd(t *testing.T) {
	for name, end := range map[string]func(s *stage, a *actor, slot uint32){
		"closed by the server": func(s *stage, _ *actor, slot uint32) { s.tr.Close(slot, 3503, "go", loop.ReasonServer) },
		"closed at once":       func(s *stage, _ *actor, slot uint32) { s.tr.Close(slot, 3000, "", loop.ReasonServer) },
		"shutdown":             func(s *stage, _ *actor, slot uint32) { s.tr.Shutdown(slot) },
		"reset by the peer":    func(_ *stage, a *actor, _ uint32) { a.p.Reset() },
	} {
		s := newStage(t, 8, sim.Faults{}, Config{})
		s.office.patience = waitFor(0, 5*time.Second)
		a := s.actor([][]byte{slices.Concat(text("wait"), text("behind"), text("half")[:3])}, false, false)
		busy, after := 0, 0
		s.w.After(time.Second, func() {
			var slots []uint32
			s.l.Each(func(slot uint32, _ loop.Kind) bool { slots = append(slots, slot); return true })
			for _, slot := range slots {
				busy = s.tr.buffers.Len()
				end(s, a, slot)
				if s.tr.conns.At(slot).flags&flagEnded != 0 { // the reset is still on its way
					s.tr.Resume(slot)
				}
			}
		})
		s.w.After(2*time.Second, func() { after = s.tr.buffers.Len() })
		s.play(20 * time.Second)
		if busy != 1 || after != 0 {
			t.Errorf("%s: %d buffers while busy, %d after the end", name, busy, after)
		}
		if bytes.Contains(a.got, []byte("1: ")) {
			t.Errorf("%s: a message behind the wait was answered: %q", name, a.got)
		}
	}
}

// A panic over kept input closes the conn alone, wherever Resume is called from.
func TestAPanicInKeptInputEndsTheConn(t *testing.T) {
	r := newRig(t, Config{})
	r.panics = 1
	waiting := make(chan uint32, 8)
	r.on(func() {
		r.journal.busy = func(slot uint32, payload string) bool {
			switch payload {
			case "wait":
				waiting <- slot
				return true
			case "panic":
				panic("on purpose")
			}
			return false
		}
	})
	p := r.dial("/")
	other := r.dial("/")
	p.write(slices.Concat(text("wait"), text("panic"), text("more")))
	slot := <-waiting
	r.on(func() { r.tr.Resume(slot) })
	if _, err := p.in.ReadByte(); err == nil {
		t.Error("the conn that panicked lives")
	}
	r.on(func() { r.tr.Resume(slot) }) // late, and nobody's
	other.send(ws.Text, "unharmed")
	other.send(ws.CloseOp, "\x03\xe8")
	if code, _ := other.closed(); code != 1000 {
		t.Errorf("the other conn was closed with %d", code)
	}
	other.conn.Close()
	got := r.settle()
	if !slices.Contains(got, "closed panic") || !slices.Contains(got, `text 8 "unharmed"`) || slices.Contains(got, `text 4 "more"`) {
		t.Errorf("the landing was told %q", got)
	}
}

// The kernel pushes back on a real peer, and nothing is lost or out of order.
func TestABusyConnOnTheKernel(t *testing.T) {
	r := newRig(t, Config{})
	const messages, each = 2000, 1000
	waiting, seen := make(chan uint32, messages), make([]int, 0, messages)
	r.on(func() {
		r.journal.busy = func(slot uint32, payload string) bool {
			n, err := strconv.Atoi(strings.TrimLeft(payload, " "))
			if err != nil {
				t.Error(err)
			}
			if seen = append(seen, n); n%100 == 0 {
				waiting <- slot
			}
			return n%100 == 0
		}
	})
	p := r.dial("/")
	go func() {
		for n := range messages {
			p.send(ws.Text, fmt.Sprintf("%*d", each, n))
		}
		p.send(ws.CloseOp, "\x03\xe8")
	}()
	most := 0
	for range messages / 100 {
		slot := <-waiting
		r.on(func() {
			_, n := r.buffers.InUse()
			most = max(most, int(n))
			if err := r.tr.Validate(); err != nil {
				t.Error(err)
			}
			r.tr.Resume(slot)
		})
	}
	if code, _ := p.closed(); code != 1000 {
		t.Errorf("closed with %d", code)
	}
	p.conn.Close()
	r.settle()
	if len(seen) != messages || !slices.IsSorted(seen) || most > 128<<10 {
		t.Errorf("%d of %d messages, sorted %t, %d bytes kept", len(seen), messages, slices.IsSorted(seen), most)
	}
}

// What a session says while it is closed does not count, and Resume needs no reason.
func TestBusyMeansNothingToAnEndedConn(t *testing.T) {
	r := newRig(t, Config{})
	r.on(func() {
		r.journal.busy = func(slot uint32, payload string) bool {
			if payload == "close" {
				r.tr.Close(slot, 3503, "go", loop.ReasonServer)
				return true
			}
			r.tr.Resume(slot) // not busy: does nothing
			return false
		}
	})
	p := r.dial("/")
	p.write(slices.Concat(text("calm"), text("close"), text("ignored")))
	if code, reason := p.closed(); code != 3503 || reason != "go" {
		t.Errorf("closed with %d %q", code, reason)
	}
	p.conn.Close()
	if got := r.settle(); !slices.Equal(got, []string{"open json native=false deflated=false", `text 4 "calm"`, `text 5 "close"`, "closed server"}) {
		t.Errorf("the landing was told %q", got)
	}
}

// Waiting and going on costs no allocation.
func TestResumeDoesNotAllocate(t *testing.T) {
	r := newRig(t, Config{})
	silent := &silence{}
	p := r.dial("/")
	p.send(ws.Text, "here I am")
	input := bytes.Repeat(text("small"), 50)
	work := make([]byte, len(input))
	r.on(func() {
		r.tr.land = silent
		r.l.Each(func(slot uint32, _ loop.Kind) bool {
			if n := testing.AllocsPerRun(100, func() {
				copy(work, input) // parsing unmasks in place
				for r.tr.Data(slot, work); r.tr.conns.At(slot).flags&flagBusy != 0; {
					r.tr.Resume(slot)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
			return true
		})
		if silent.n < 5000 {
			t.Errorf("only %d messages", silent.n)
		}
		r.tr.land = r.journal
	})
}

// silence keeps every session busy after every message.
type silence struct {
	Echo
	n int
}

func (s *silence) Message(uint32, ws.Op, []byte) bool { s.n++; return true }

func TestValidateSeesWhatCannotBe(t *testing.T) {
	r := newRig(t, Config{})
	r.dial("/").conn.Close()
	r.on(func() {
		for name, c := range map[string]conn{
			"ended with a buffer":  {flags: flagEnded, tail: 1},
			"paused, not busy":     {flags: flagPaused},
			"half-closed, at work": {flags: flagHalfClosed},
			"busy in a message":    {flags: flagBusy, body: 1},
			"busy and late":        {flags: flagBusy, since: 1},
			"kept, but reading":    {flags: flagBusy, tail: 1},
		} {
			if c.validate(r.tr) == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
