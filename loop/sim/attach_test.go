package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
)

// guest echoes, greets what was attached, and keeps the books of one world.
type guest struct {
	l *loop.Loop
	b *books
}

type books struct {
	opened, greeted, closed, panics int
	open                            map[loop.ConnID]bool
}

func (h guest) Open(slot uint32) {
	h.b.opened++
	h.b.open[h.l.ID(slot)] = true
}
func (h guest) Data(slot uint32, p []byte) { h.l.Commit(slot, append(h.l.Begin(slot), p...)) }
func (h guest) EOF(slot uint32)            { h.l.CloseAfter(slot, nil, loop.ReasonPeer) }
func (h guest) Timer(uint32)               {}
func (h guest) Closed(slot uint32, _ loop.Reason, _ error) {
	h.b.closed++
	delete(h.b.open, h.l.ID(slot))
}

// visitor is a foreign connection and what became of it.
type visitor struct {
	p         *sim.Peer
	fd        int
	sent, got []byte
	given     bool
	ended     bool
}

func (v *visitor) step(rng *rand.Rand) {
	if out := fmt.Appendf(nil, "<%d>", rng.IntN(1000)); rng.IntN(2) == 0 {
		if n, err := v.p.Send(out); err == nil {
			v.sent = append(v.sent, out[:n]...)
		}
	}
	buf := make([]byte, 1+rng.IntN(64))
	n, err := v.p.Recv(buf)
	v.got = append(v.got, buf[:n]...)
	v.ended = v.ended || err != nil
	if rng.IntN(25) == 0 || errors.Is(err, io.EOF) {
		v.p.Close()
	}
}

// TestAttachedDescriptorsAreClosedOnce gives loops under faults connections that were opened elsewhere, before and
// while they shut down, with full mailboxes, few descriptors and a limit of conns.
func TestAttachedDescriptorsAreClosedOnce(t *testing.T) {
	taken, refused := 0, 0
	for seed := range uint64(200) {
		a, r, err := playAttach(seed)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		taken, refused = taken+a, refused+r
	}
	if taken < 1000 || refused < 100 {
		t.Errorf("%d attached and %d refused: the worlds prove little", taken, refused)
	}
	t.Logf("%d attached, %d refused", taken, refused)
}

func playAttach(seed uint64) (taken, refused int, err error) {
	rng := rand.New(rand.NewPCG(seed, 0xa77ac4))
	loops := 1 + rng.IntN(3)
	w := sim.New(sim.Config{Seed: seed, Loops: loops, Descriptors: 3 + loops + 4 + rng.IntN(60), Faults: sim.RandomFaults(rng), StepsMax: 200_000})
	b := &books{open: map[loop.ConnID]bool{}}
	cfg := loop.Config{Loops: loops, NewPoller: w.Loop, MailboxMax: 1 + rng.IntN(4), CloseWait: time.Second, OnPanic: func(any, []byte) { b.panics++ }}
	if rng.IntN(2) == 0 {
		cfg.ConnsMax = 1 + rng.IntN(10)
	}
	g, err := loop.New(cfg, func(l *loop.Loop) []loop.Handler { return []loop.Handler{guest{l, b}} })
	if err != nil {
		return 0, 0, err
	}
	var all []*visitor
	arrive := func() {
		fd, p, err := w.Foreign()
		if err != nil {
			return // the table is full
		}
		v := &visitor{p: p, fd: fd}
		if rng.IntN(10) == 0 {
			p.Reset() // before anybody looks
		}
		switch err := g.Attach(fd, 0, func(l *loop.Loop, slot uint32) {
			b.greeted++
			l.Commit(slot, append(l.Begin(slot), "hello "...))
		}); {
		case err == nil:
			v.given = true
			taken++
			all = append(all, v)
		default:
			refused++
			w.CloseForeign(fd) // still ours: the world would notice a second close
		}
	}
	end := time.Duration(200+rng.IntN(2000)) * time.Millisecond
	for range 30 {
		w.After(time.Duration(rng.Int64N(int64(end+end/8))), func() {
			for range 1 + rng.IntN(4) {
				arrive()
			}
		})
	}
	for at := time.Duration(0); at < 2*end; at += 10 * time.Millisecond {
		w.After(at, func() {
			for _, v := range all {
				v.step(rng)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.After(end, func() { w.Outside(1, cancel) })
	if err := errors.Join(g.Run(ctx), w.Err()); err != nil {
		return taken, refused, err
	}
	return taken, refused, judge(w, b, all)
}

// judge looks at what is left of a world that has ended.
func judge(w *sim.World, b *books, all []*visitor) error {
	if n := w.OpenFiles(); n != 0 {
		return fmt.Errorf("%d descriptors are open after the end", n)
	}
	if b.opened != b.greeted || b.opened != b.closed || len(b.open) != 0 || b.panics != 0 {
		return fmt.Errorf("%d opened, %d greeted, %d closed, %d left, %d panics", b.opened, b.greeted, b.closed, len(b.open), b.panics)
	}
	for i, v := range all {
		if !v.p.ClosedByLoop() {
			return fmt.Errorf("visitor %d: never closed", i)
		}
		want := "hello " + string(v.sent)
		if len(v.got) > len(want) || string(v.got) != want[:len(v.got)] {
			return fmt.Errorf("visitor %d: got %q, want a beginning of %q", i, v.got, want)
		}
	}
	return nil
}
