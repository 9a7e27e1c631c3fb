package memory

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/history"
)

// shards is the number of locks; publications of channels that fall on different
// ones are delivered side by side.
const shards = 64

// Config is fixed for the life of a broker.
type Config struct {
	// Clock returns the time. Required; called from any goroutine.
	Clock func() time.Time
	// IdempotencyBytesMax bounds the memory of idempotency keys, about 90 bytes and
	// the key and channel name each. 0: 128 MiB, about 800,000 keys.
	IdempotencyBytesMax int
}

const idempotencyBytesDefault = 128 << 20

// Broker delivers to its own node only. Use [New]. Safe for concurrent use.
type Broker struct {
	clock    func() time.Time
	seed     maphash.Seed
	to       atomic.Pointer[target]
	idem     budget
	expireAt atomic.Uint32 // the shard where Expire goes on
	shards   [shards]shard
}

type target struct{ broker.Deliverer }

var _ broker.Broker = (*Broker)(nil)

// New returns a broker that starts to deliver with Run. It panics without a clock.
func New(cfg Config) *Broker {
	if cfg.Clock == nil {
		panic("memory: Config.Clock is nil; give it time.Now or that of a test")
	}
	if cfg.IdempotencyBytesMax <= 0 {
		cfg.IdempotencyBytesMax = idempotencyBytesDefault
	}
	b := &Broker{clock: cfg.Clock, seed: maphash.MakeSeed()}
	b.idem.bytesMax = int64(cfg.IdempotencyBytesMax)
	for i := range b.shards {
		b.shards[i].init(&b.idem)
	}
	return b
}

func (b *Broker) shard(name string) *shard { return &b.shards[maphash.String(b.seed, name)%shards] }

func (b *Broker) now() int64 { return b.clock().UnixMilli() }

// Blocking implements [broker.Broker]: everything is in memory.
func (b *Broker) Blocking() bool { return false }

// Publish delivers the publication before it returns. See [broker.Broker].
func (b *Broker) Publish(_ context.Context, name string, pub *channel.Publication, o broker.PublishOptions) (broker.Result, error) {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	to := b.to.Load()
	if to == nil {
		return broker.Result{}, broker.ErrNotRunning
	}
	kept := o.HistorySize > 0 && o.HistoryTTL > 0
	if !kept && o.IdempotencyKey == "" {
		return broker.Result{}, s.deliver(to, name, pub, channel.Position{}, nil)
	}
	now := b.now()
	if o.IdempotencyKey != "" {
		if pos, seen := s.keys.find(name, o.IdempotencyKey, now); seen {
			return broker.Result{Position: pos, Suppressed: true}, nil
		}
	}
	var r broker.Result
	var err error
	if kept {
		r, err = s.keep(to, now, name, pub, &o)
	} else {
		err = s.deliver(to, name, pub, channel.Position{}, nil)
	}
	if err == nil && o.IdempotencyKey != "" && !r.Suppressed {
		s.keys.add(name, o.IdempotencyKey, r.Position, now, o.IdempotencyTTL)
	}
	return r, err
}

// Signal delivers joins and leaves. See [broker.Broker].
func (b *Broker) Signal(_ context.Context, name string, signals []channel.Signal) error {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	to := b.to.Load()
	if to == nil {
		return broker.ErrNotRunning
	}
	return to.DeliverSignals(name, signals)
}

// History implements [broker.Broker].
func (b *Broker) History(_ context.Context, name string, q broker.HistoryQuery, dst []channel.Publication) ([]channel.Publication, channel.Position, error) {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.Peek {
		if _, r := s.streams.find(name); r == nil {
			top := channel.Position{Epoch: s.newEpoch()}
			if q.Since != nil && q.Since.Epoch != "" { // of a stream that is forgotten
				return dst, top, channel.ErrUnrecoverablePosition.Err()
			}
			return dst, top, nil
		}
	}
	id, r := s.use(name, b.now(), q.MetaTTL)
	s.settle(id, r)
	dst, ok := r.Read(history.Query{Since: q.Since, Limit: q.Limit, Reverse: q.Reverse}, dst)
	if !ok {
		return dst, r.Top(), channel.ErrUnrecoverablePosition.Err()
	}
	return dst, r.Top(), nil
}

// RemoveHistory implements [broker.Broker].
func (b *Broker) RemoveHistory(_ context.Context, name string) error {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(name)
	return nil
}

// Subscribe has nothing to do: the only node gets everything.
func (b *Broker) Subscribe(string) error { return nil }

// Vacated drops a stream that only served those who were subscribed. Should somebody
// have subscribed meanwhile, it comes back with the same epoch, unless a stream of the
// shard has ended since: then they begin anew.
func (b *Broker) Vacated(name string) {
	s := b.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, r := s.streams.find(name); r != nil && r.Top().Offset == 0 {
		s.unsettle(r)
		s.streams.drop(id)
		s.tidyDue()
	}
}

// Unsubscribe has nothing to do.
func (b *Broker) Unsubscribe(string) error { return nil }

// Run delivers to to until ctx ends and no Deliver is under way any more.
func (b *Broker) Run(ctx context.Context, to broker.Deliverer) error {
	b.Start(to)
	<-ctx.Done()
	b.to.Store(nil)
	for i := range b.shards { // who holds one may have seen to before
		b.shards[i].mu.Lock()
		b.shards[i].mu.Unlock() //nolint:staticcheck // the empty section is the point
	}
	return nil
}

// Start makes the broker deliver from now on; Run does it too. A program that
// must publish before its Run goroutine was scheduled calls Start first.
func (b *Broker) Start(to broker.Deliverer) { b.to.Store(&target{to}) }
