package sim_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"shoal/loop"
	"shoal/loop/poll"
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

// TestFlushingEndsWhenItTakesLong: a kernel in which each write takes 0.3 ms does not make others wait for a whole slice.
func TestFlushingEndsWhenItTakesLong(t *testing.T) {
	const peers, write = 500, 300 * time.Microsecond
	w := sim.New(sim.Config{Seed: 1, BufferBytes: func(*rand.Rand) int { return 1 << 10 }})
	var h *stuck
	g, err := loop.New(loop.Config{Loops: 1, NewPoller: func(i int) (poll.Poller, poll.Sys, error) {
		p, s, err := w.Loop(i)
		return p, slowly{s, w, write}, err
	}}, func(l *loop.Loop) []loop.Handler {
		h = &stuck{l: l}
		return []loop.Handler{h}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen(":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	var clients []*sim.Peer
	for range peers {
		clients = append(clients, w.Connect(addr))
	}
	w.After(time.Second, func() {
		for i := range peers {
			_ = h.l.Post(load{h: h, i: i, bytes: 100})
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	w.After(3*time.Second, func() {
		for i, p := range clients {
			if p.Waiting() != 100 {
				t.Errorf("peer %d has %d bytes", i, p.Waiting())
			}
		}
		w.Outside(1, cancel)
	})
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if lag := g.Stats().Lag; lag.Max() > 5*time.Millisecond || lag.Sum() < peers*write {
		t.Errorf("passes took %v, the longest %v", lag.Sum(), lag.Max())
	}
}

// TestThoseWhoBeginToReadAtOnceTakeTurns: 200 peers with 400 KB waiting for each read at the same time, and others wait
// for some of them only.
func TestThoseWhoBeginToReadAtOnceTakeTurns(t *testing.T) {
	const peers, pieces, size = 200, 4, 100 << 10
	w := sim.New(sim.Config{Seed: 1, BufferBytes: func(*rand.Rand) int { return size }})
	var h *stuck
	g, err := loop.New(loop.Config{Loops: 1, BacklogBytesMax: 1 << 30, NewPoller: func(i int) (poll.Poller, poll.Sys, error) {
		p, s, err := w.Loop(i)
		return p, slowly{s, w, 0}, err
	}}, func(l *loop.Loop) []loop.Handler {
		h = &stuck{l: l}
		return []loop.Handler{h}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen(":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	var clients []*sim.Peer
	for range peers {
		clients = append(clients, w.Connect(addr))
	}
	w.After(time.Second, func() {
		for i := range peers * pieces {
			_ = h.l.Post(load{h: h, i: i, bytes: size})
		}
	})
	got, buf := 0, make([]byte, pieces*size)
	for i := range 100 {
		w.After(5*time.Second+time.Duration(i)*10*time.Millisecond, func() {
			for _, p := range clients {
				n, _ := p.Recv(buf)
				got += n
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.After(10*time.Second, func() { w.Outside(1, cancel) })
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got != peers*pieces*size {
		t.Errorf("the peers got %d bytes, want %d", got, peers*pieces*size)
	}
	if lag := g.Stats().Lag; lag.Max() > 5*time.Millisecond {
		t.Errorf("the longest pass took %v of %v", lag.Max(), lag.Sum())
	}
}

// slowly is a kernel that takes its time to write, and a microsecond for each KiB.
type slowly struct {
	poll.Sys
	w    *sim.World
	time time.Duration
}

func (s slowly) Write(fd int, p []byte) (int, error) {
	n, err := s.Sys.Write(fd, p)
	s.w.Jump(s.time + time.Duration(max(n, 0))*time.Microsecond>>10)
	return n, err
}

func (s slowly) Writev(fd int, iov [][]byte) (int, error) {
	n, err := s.Sys.Writev(fd, iov)
	s.w.Jump(s.time + time.Duration(max(n, 0))*time.Microsecond>>10)
	return n, err
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
