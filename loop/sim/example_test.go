package sim_test

import (
	"context"
	"fmt"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
)

// echo answers everything and says goodbye when the peer has finished.
type echo struct{ l *loop.Loop }

func (h echo) Open(uint32)                       {}
func (h echo) Data(slot uint32, p []byte)        { h.l.Commit(slot, append(h.l.Begin(slot), p...)) }
func (h echo) EOF(slot uint32)                   { h.l.CloseAfter(slot, []byte(" bye"), loop.ReasonPeer) }
func (h echo) Timer(uint32)                      {}
func (h echo) Closed(uint32, loop.Reason, error) {}

// A world with one peer, on a kernel that reads and writes a few bytes at a time.
func Example() {
	w := sim.New(sim.Config{Seed: 1, Faults: sim.Faults{ShortRead: 1, ShortWrite: 0.9, Again: 0.2}})
	g, err := loop.New(loop.Config{Loops: 1, NewPoller: w.Loop}, func(l *loop.Loop) []loop.Handler {
		return []loop.Handler{echo{l}}
	})
	if err != nil {
		panic(err)
	}
	addr, err := g.Listen(":0", 0)
	if err != nil {
		panic(err)
	}

	p := w.Connect(addr)
	_, _ = p.Send([]byte("hello"))
	w.After(time.Second, p.ShutdownWrite)
	var got []byte
	ctx, cancel := context.WithCancel(context.Background())
	w.After(2*time.Second, func() { // everything has come by now
		buf := make([]byte, 64)
		for n, err := p.Recv(buf); err == nil; n, err = p.Recv(buf) {
			got = append(got, buf[:n]...)
		}
		w.Outside(1, cancel) // Run ends when its context does
	})
	if err := g.Run(ctx); err != nil {
		panic(err)
	}
	fmt.Printf("%s after %v\n", got, w.Elapsed().Round(time.Second))
	// Output: hello bye after 2s
}
