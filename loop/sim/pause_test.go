package sim_test

import (
	"context"
	"testing"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
)

// alive closes a conn that was silent for a second, as a heartbeat does.
type alive struct {
	l             *loop.Loop
	open, timeout int
}

const aliveTicks = 10 // of 100 ms

func (h *alive) Open(slot uint32)           { h.open++; h.l.Arm(slot, aliveTicks) }
func (h *alive) Data(slot uint32, _ []byte) { h.l.Arm(slot, aliveTicks) }
func (h *alive) EOF(slot uint32)            { h.l.Close(slot, loop.ReasonPeer) }
func (h *alive) Timer(slot uint32)          { h.timeout++; h.l.Close(slot, loop.ReasonTimeout) }

func (h *alive) Closed(uint32, loop.Reason, error) {}

// TestStoppedProcessCutsNobodyWhoWrote: a process that did not run for half a minute finds the bytes of the living
// and the deadlines of all at once; the bytes count first, whatever the order in which the poller reports.
func TestStoppedProcessCutsNobodyWhoWrote(t *testing.T) {
	for seed := range uint64(100) {
		w := sim.New(sim.Config{Seed: seed, Faults: sim.Faults{BatchMax: int(seed % 10)}})
		var h *alive
		g, err := loop.New(loop.Config{Loops: 1, NewPoller: w.Loop}, func(l *loop.Loop) []loop.Handler {
			h = &alive{l: l}
			return []loop.Handler{h}
		})
		if err != nil {
			t.Fatal(err)
		}
		addr, err := g.Listen(":0", 0)
		if err != nil {
			t.Fatal(err)
		}
		const peers, silent = 40, 3
		for i := range peers {
			p := w.Connect(addr)
			for at := time.Duration(0); at < 10*time.Second; at += 500 * time.Millisecond {
				if at == 5*time.Second && i < silent {
					break
				}
				w.After(at, func() { _, _ = p.Send([]byte("x")) })
			}
		}
		w.After(5*time.Second, func() { w.Jump(30 * time.Second) })
		cut := -1
		w.After(5*time.Second+30*time.Second+900*time.Millisecond, func() { cut = h.timeout })
		ctx, cancel := context.WithCancel(t.Context())
		w.After(40*time.Second, func() { w.Outside(1, cancel) })
		if err := g.Run(ctx); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if h.open != peers || cut != silent {
			t.Fatalf("seed %d: %d of %d conns were cut after the stop, want the %d silent ones", seed, cut, h.open, silent)
		}
	}
}

// TestLagIsThatOfTheWorldsClock: what time a handler lets pass is what its pass took, to the nanosecond.
func TestLagIsThatOfTheWorldsClock(t *testing.T) {
	w := sim.New(sim.Config{Seed: 1})
	g, err := loop.New(loop.Config{Loops: 1, NewPoller: w.Loop}, func(l *loop.Loop) []loop.Handler {
		return []loop.Handler{&sluggish{alive: alive{l: l}, w: w}}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen(":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	p := w.Connect(addr)
	for i := range 10 {
		w.After(time.Duration(i)*100*time.Millisecond, func() { _, _ = p.Send([]byte{byte(i)}) })
	}
	var stalled time.Duration
	w.After(1500*time.Millisecond, func() { stalled = g.Stalled(time.Now()) })
	ctx, cancel := context.WithCancel(t.Context())
	w.After(2*time.Second, func() { w.Outside(1, cancel) })
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	lag := g.Stats().Lag
	if lag.Sum() != 45*time.Millisecond || lag.Max() != 9*time.Millisecond {
		t.Errorf("%d passes took %v, the longest %v; ten handlers took 0, 1, 2 … 9 ms", lag.Count(), lag.Sum(), lag.Max())
	}
	if stalled != 0 {
		t.Errorf("stalled for %v between two passes", stalled)
	}
}

// sluggish takes as many milliseconds as it is told.
type sluggish struct {
	alive
	w *sim.World
}

func (h *sluggish) Data(slot uint32, p []byte) {
	h.w.Jump(time.Duration(p[0]) * time.Millisecond)
	h.alive.Data(slot, p)
}
