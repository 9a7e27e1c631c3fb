package sim_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
	"shoal/pool/shared"
)

// stuck is a loop whose conns' peers read nothing. What it closes for their backlogs it notes.
type stuck struct {
	l    *loop.Loop
	cuts []int // backlogs of the conns cut since the last look
	open []uint32
	over int // sends refused
}

func (h *stuck) Open(slot uint32)    { h.open = append(h.open, slot) }
func (h *stuck) Data(uint32, []byte) {}
func (h *stuck) EOF(slot uint32)     { h.l.Close(slot, loop.ReasonPeer) }
func (h *stuck) Timer(uint32)        {}
func (h *stuck) Closed(slot uint32, _ loop.Reason, _ error) {
	for i, s := range h.open {
		if s == slot {
			h.open = append(h.open[:i], h.open[i+1:]...)
			return
		}
	}
}

func (h *stuck) Cut(slot uint32) {
	h.cuts = append(h.cuts, h.l.Backlog(slot))
	h.l.Close(slot, loop.ReasonSlow)
}

// load sends so many bytes to conn i of those that are open.
type load struct {
	h     *stuck
	i     int
	bytes int
}

func (m load) Deliver(l *loop.Loop) {
	if len(m.h.open) == 0 {
		return
	}
	b := shared.NewPool(shared.Config{}).New(m.bytes)
	b.Buf = b.Buf[:m.bytes]
	r := l.Hold(b)
	if l.Send(m.h.open[m.i%len(m.h.open)], r) == loop.OverLimit {
		m.h.over++
	}
	l.Unhold(r)
}

// total is the backlog of the open conns of all loops, and the largest of them.
func total(hs []*stuck) (sum, largest int) {
	for _, h := range hs {
		for _, slot := range h.open {
			sum += h.l.Backlog(slot)
			largest = max(largest, h.l.Backlog(slot))
		}
	}
	return sum, largest
}

// TestTheLargestBacklogsOfAllLoopsAreCutFirst sends bursts of all sizes to conns of two loops, which read nothing. Whenever
// the node's backlog came near its limit, everybody cut had at least half the backlog of everybody spared, there is
// room afterwards, and hardly more were cut than that took. The limit is kept meanwhile.
func TestTheLargestBacklogsOfAllLoopsAreCutFirst(t *testing.T) {
	rounds, over := 0, 0
	for seed := range uint64(60) {
		r, o, err := playStuck(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		rounds, over = rounds+r, over+o
	}
	if t.Logf("%d rounds, %d sends over the limit", rounds, over); rounds < 100 || over == 0 {
		t.Errorf("%d rounds, %d sends over the limit: too few to show anything", rounds, over)
	}
}

func playStuck(seed uint64) (rounds, over int, err error) {
	const loops, peers, slack = 2, 60, 256
	rng := rand.New(rand.NewPCG(seed, 1))
	limit := 16<<10 + rng.IntN(1<<20)
	var hs []*stuck
	ending := false
	w := sim.New(sim.Config{
		Seed: seed, Loops: loops, BufferBytes: func(*rand.Rand) int { return 64 },
		AfterPass: func(int) error {
			if ending { // each loop by itself
				return nil
			}
			sum := 0
			for _, h := range hs {
				if err := h.l.Validate(); err != nil {
					return err
				}
				h.l.Each(func(slot uint32, _ loop.Kind) bool { sum += h.l.Backlog(slot); return true })
			}
			if sum > limit+peers*slack+limit/64 { // the first slack bytes of each were sent when it was not blocked
				return fmt.Errorf("a backlog of %d bytes, limit %d", sum, limit)
			}
			return nil
		},
	})
	g, err := loop.New(loop.Config{Loops: loops, NewPoller: w.Loop, BacklogBytesMax: 1 << 30, NodeBacklogBytesMax: int64(limit)}, func(l *loop.Loop) []loop.Handler {
		hs = append(hs, &stuck{l: l})
		return []loop.Handler{hs[len(hs)-1]}
	})
	if err != nil {
		return 0, 0, err
	}
	addr, err := g.Listen(":0", 0)
	if err != nil {
		return 0, 0, err
	}
	for range peers {
		w.Connect(addr)
	}
	post := func(h *stuck, bytes int) { _ = h.l.Post(load{h: h, i: rng.IntN(1 << 20), bytes: bytes}) }
	w.After(100*time.Millisecond, func() {
		for i := range peers {
			for _, h := range hs {
				_ = h.l.Post(load{h: h, i: i, bytes: slack})
			}
		}
	})
	before := 0 // rounds, while everybody became blocked
	w.After(900*time.Millisecond, func() {
		before = int(g.Stats().Reliefs)
		rounds = before
		for _, h := range hs {
			h.cuts = nil
		}
	})
	at := time.Second
	for range 80 {
		w.After(at, func() {
			for range 1 + rng.IntN(20) {
				post(hs[rng.IntN(loops)], 1+rng.IntN(1<<rng.UintN(15)))
			}
		})
		at += 50 * time.Millisecond
		w.After(at, func() {
			if err := judgeRound(hs, g, limit, &rounds); err != nil {
				w.Fail("%w", err)
			}
		})
		at += 50 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.After(at, func() { ending = true; w.Outside(1, cancel) })
	err = g.Run(ctx)
	for _, h := range hs {
		over += h.over
	}
	return rounds - before, over, err
}

// judgeRound looks at what the round did that came since the last look, if any.
func judgeRound(hs []*stuck, g *loop.Group, limit int, rounds *int) error {
	n := int(g.Stats().Reliefs)
	if n == *rounds {
		return nil
	}
	once := n == *rounds+1
	*rounds = n
	smallest, cuts := 1<<40, 0
	for _, h := range hs {
		for _, b := range h.cuts {
			smallest, cuts = min(smallest, b), cuts+1
		}
		h.cuts = nil
	}
	sum, largest := total(hs)
	room := limit - limit/4
	switch {
	case !once:
		return nil // what is left of the first took part in the second
	case cuts == 0:
		return fmt.Errorf("a round cut nobody")
	case largest > 2*smallest:
		return fmt.Errorf("a conn with %d bytes was cut, one with %d spared", smallest, largest)
	case sum > room:
		return fmt.Errorf("%d bytes are left of %d, want %d at most", sum, limit, room)
	case sum < room-2*len(hs)*smallest:
		return fmt.Errorf("only %d bytes are left of %d: more were cut than for %d", sum, limit, room)
	}
	return nil
}

// flood sends to everybody again and again, as long as Unwritten lets it.
type flood struct {
	h     *stuck
	at    int
	left  int // sends
	bytes int
}

func (f *flood) Slice(l *loop.Loop) bool {
	for f.left > 0 && len(f.h.open) > 0 {
		if n, slice := l.Unwritten(); n >= slice {
			break
		}
		for range 8 {
			if f.left--; len(f.h.open) > 0 {
				f.at++
				load{h: f.h, i: f.at, bytes: f.bytes}.Deliver(l)
			}
		}
	}
	return f.left > 0 && len(f.h.open) > 0
}

// TestAFanoutThatAsksUnwrittenDoesNotMeetTheLimit: it waits while room is made, so that none of its members has to go
// because it happens to come next, not even when one slice could send more than there is between the mark and the limit.
func TestAFanoutThatAsksUnwrittenDoesNotMeetTheLimit(t *testing.T) {
	for seed := range uint64(20) {
		const loops, peers, limit = 2, 300, 400 << 10
		w := sim.New(sim.Config{Seed: seed, Loops: loops, BufferBytes: func(*rand.Rand) int { return 64 }})
		var hs []*stuck
		g, err := loop.New(loop.Config{Loops: loops, NewPoller: w.Loop, BacklogBytesMax: 1 << 30, NodeBacklogBytesMax: limit}, func(l *loop.Loop) []loop.Handler {
			hs = append(hs, &stuck{l: l})
			return []loop.Handler{hs[len(hs)-1]}
		})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := g.Listen(":0", 0)
		if err != nil {
			t.Fatal(err)
		}
		for range peers {
			w.Connect(addr)
		}
		for i, at := range []time.Duration{time.Second, 2 * time.Second} { // once to block them all
			w.After(at, func() {
				for _, h := range hs {
					_ = h.l.Post(begin{&flood{h: h, left: []int{peers, 5000}[i], bytes: []int{100, 1 << 10}[i]}})
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		w.After(5*time.Second, func() { w.Outside(1, cancel) })
		if err := g.Run(ctx); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if over := hs[0].over + hs[1].over; over > 0 || g.Stats().Reliefs == 0 {
			t.Fatalf("seed %d: %d sends over the limit, %d rounds", seed, over, g.Stats().Reliefs)
		}
	}
}

// begin begins a work.
type begin struct{ w loop.Work }

func (m begin) Deliver(l *loop.Loop) { l.Work(m.w) }
