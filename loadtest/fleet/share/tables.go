package share

import (
	"context"
	"fmt"
	"time"

	"shoal/loop"
)

// probeTime bounds the look whether a loop can have descriptors of its own; it takes a millisecond.
const probeTime = 5 * time.Second

// OwnTables tries whether a loop of this process can have a table of descriptors of its own; the error says why not. A process then holds
// as many connections as its engines together have descriptors, without workers.
func OwnTables() error {
	g, err := loop.New(loop.Config{Loops: 1, OwnDescriptors: true}, func(*loop.Loop) []loop.Handler { return nil })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	ran, parted := make(chan error, 1), make(chan struct{})
	go func() { ran <- g.Run(context.Background()) }()
	if err := g.Loop(0).Post(probe(parted)); err == nil {
		select {
		case err := <-ran:
			return fmt.Errorf("engines cannot have descriptors of their own: %w", err)
		case <-parted:
		case <-ctx.Done():
		}
	}
	err = g.Shutdown(ctx)
	<-ran
	return err
}

// probe is closed on a loop.
type probe chan struct{}

// Deliver implements loop.Message.
func (p probe) Deliver(*loop.Loop) { close(p) }
