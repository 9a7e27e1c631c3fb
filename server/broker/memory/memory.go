package memory

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"shoal/server/broker"
	"shoal/server/channel"
)

// shards is the number of locks; publications of channels that fall on different
// ones are delivered side by side.
const shards = 64

// Broker delivers to its own node only. Use [New]. Safe for concurrent use.
type Broker struct {
	seed  maphash.Seed
	to    atomic.Pointer[target]
	locks [shards]struct {
		sync.Mutex
		_ [56]byte // a cache line of its own
	}
}

type target struct{ broker.Deliverer }

var _ broker.Broker = (*Broker)(nil)

// New returns a broker that starts to deliver with Run.
func New() *Broker { return &Broker{seed: maphash.MakeSeed()} }

// Publish delivers the publication before it returns. See [broker.Broker].
func (b *Broker) Publish(_ context.Context, name string, pub *channel.Publication) (channel.Position, error) {
	lock := &b.locks[maphash.String(b.seed, name)%shards]
	lock.Lock()
	defer lock.Unlock()
	to := b.to.Load()
	if to == nil {
		return channel.Position{}, broker.ErrNotRunning
	}
	if err := to.Deliver(name, pub); err != nil {
		return channel.Position{}, err
	}
	return pub.Position, nil
}

// Subscribe has nothing to do: the only node gets everything.
func (b *Broker) Subscribe(string) error { return nil }

// Unsubscribe has nothing to do.
func (b *Broker) Unsubscribe(string) error { return nil }

// Run delivers to to until ctx ends and no Deliver is under way any more.
func (b *Broker) Run(ctx context.Context, to broker.Deliverer) error {
	b.Start(to)
	<-ctx.Done()
	b.to.Store(nil)
	for i := range b.locks { // who holds one may have seen to before
		b.locks[i].Lock()
		b.locks[i].Unlock() //nolint:staticcheck // the empty section is the point
	}
	return nil
}

// Start makes the broker deliver from now on; Run does it too. A program that
// must publish before its Run goroutine was scheduled calls Start first.
func (b *Broker) Start(to broker.Deliverer) { b.to.Store(&target{to}) }
