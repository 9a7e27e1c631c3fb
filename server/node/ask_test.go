package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/slab"
	"shoal/server/channel"
	"shoal/server/session"
)

// A question that a loop has begun to work on when it ends gets an error, not silence: an
// API call must not hold up a shutdown.
func TestQuestionsOfEndedLoopsAreAnswered(t *testing.T) {
	r := newRig(t, 1)
	hold, held := make(chan struct{}), make(chan struct{})
	answer := make(chan error, 1)
	go func() {
		answer <- r.node.ask(context.Background(), func(_ *Shard, from uint32) (uint32, bool) {
			if from == 0 {
				close(held)
				<-hold
			}
			return from + 1, true
		})
	}()
	<-held
	now, cancel := context.WithCancel(context.Background())
	cancel()
	go func() {
		time.Sleep(10 * time.Millisecond) // the shutdown is forced by then
		close(hold)
	}()
	if err := r.loops.Shutdown(now); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case err := <-answer:
		if err == nil {
			t.Error("a question was answered that was dropped")
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

func TestAPanicOverAQuestionIsAnError(t *testing.T) {
	r := newRig(t, 2)
	r.panics = 1
	err := r.node.ask(context.Background(), func(s *Shard, _ uint32) (uint32, bool) {
		if s.l.Index() == 1 {
			panic("on purpose")
		}
		return 0, false
	})
	if err == nil {
		t.Error("no error")
	}
}

// Looking for sessions brings no memory back that Trim gave away.
func TestLookingAtSessionsTakesNoMemory(t *testing.T) {
	r := newRig(t, 1)
	r.client()
	r.on(0, func(s *Shard) {
		const burst = 10 * slab.ChunkSlots
		for slot := range uint32(burst) {
			s.sessions.At(slot)
		}
		s.slots = burst
		s.Trim()
		if got := s.slots; got != slab.ChunkSlots {
			t.Errorf("%d slots are looked at after the burst, want one chunk", got)
		}
		s.slots = burst
		before, seen := s.sessions.Bytes(), 0
		look := eachSession(func(*Shard, uint32, *session.Session) bool { seen++; return false })
		for at, more := uint32(0), true; more; {
			at, more = look(s, at)
		}
		if seen != 1 || s.sessions.Bytes() != before {
			t.Errorf("%d sessions seen; %d bytes of sessions, then %d", seen, before, s.sessions.Bytes())
		}
	})
}

// A slice that ends sessions is short, one that only looks is long.
func TestSlicesOfAScanAreBounded(t *testing.T) {
	r := newRig(t, 1)
	const n = actSlice + 10
	for range n {
		r.client()
	}
	r.on(0, func(s *Shard) {
		for _, acts := range []bool{false, true} {
			seen, slices := 0, 0
			look := eachSession(func(*Shard, uint32, *session.Session) bool { seen++; return acts })
			for at, more := uint32(0), true; more; slices++ {
				at, more = look(s, at)
			}
			if want := map[bool]int{false: 1, true: 2}[acts]; seen != n || slices != want {
				t.Errorf("acting %v: %d sessions seen in %d slices, want %d in %d", acts, seen, slices, n, want)
			}
		}
	})
}

// touchy panics over one conn, once.
type touchy struct {
	Wire
	slot uint32
}

func (w *touchy) check(slot uint32) {
	if slot == w.slot {
		w.slot = ^uint32(0)
		panic("on purpose")
	}
}

func (w *touchy) Frame(slot uint32, op ws.Op, payload []byte) {
	w.check(slot)
	w.Wire.Frame(slot, op, payload)
}

func (w *touchy) Close(slot uint32, code uint32, reason string, why loop.Reason) {
	w.check(slot)
	w.Wire.Close(slot, code, reason, why)
}

// touch makes the shard of a rig with one loop panic over its only conn.
func (r *rig) touch() {
	r.on(0, func(s *Shard) {
		s.l.Each(func(slot uint32, _ loop.Kind) bool {
			s.wire = &touchy{s.wire, slot}
			return true
		})
	})
}

func TestRepliesOfAPanicReachNobodyElse(t *testing.T) {
	r := newRig(t, 1)
	r.panics = 1
	bad := r.client()
	r.touch()
	good := r.client()
	bad.say(`{"id":77,"subscribe":{"channel":"secret"}}`)
	if _, err := bad.in.ReadString('\n'); err == nil {
		t.Error("the conn that panicked lives")
	}
	good.say(`{"id":3,"subscribe":{"channel":"news"}}`)
	if got, want := good.line(), `{"id":3,"subscribe":{}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r.publish("news", "1")
	if got := good.pub(); got != "1" {
		t.Errorf("got %s", got)
	}
}

// A panic over one member of a fan-out is that member's end, and nobody else's.
func TestPanicOverOneMemberLeavesTheOthersTheirs(t *testing.T) {
	r := newRig(t, 1)
	r.panics = 1
	bad := r.client("news")
	r.touch()
	good := r.client("news")
	r.publish("news", "no JSON") // ends both: the form of JSON cannot carry it
	if got, want := good.line(), fmt.Sprintf("closed %d", channel.DisconnectInappropriate); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := bad.in.ReadString('\n'); err == nil {
		t.Error("the conn that panicked lives")
	}
	next := r.client("news")
	r.publish("news", "2")
	if got := next.pub(); got != "2" {
		t.Errorf("got %s", got)
	}
}
