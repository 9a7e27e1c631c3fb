package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// MemberStatus is how a member is.
type MemberStatus struct {
	Name        string `json:"name"`
	PID         int    `json:"pid,omitempty"`
	Engines     int    `json:"engines"`
	Connections int    `json:"connections"` // it is to hold
	Ready       int    `json:"ready"`
	Died        int    `json:"died"`
	RSS         int64  `json:"rss_bytes"` // of its process; 0 = not known
	Clock       Offset `json:"clock"`
	Gone        string `json:"gone,omitempty"` // why it carries nothing any more; empty while it does, and when it was closed
}

// Offset is how far a member's clock is from this host's.
type Offset struct {
	Ahead       time.Duration `json:"ahead_ns"`       // this host's clock less the member's
	Uncertainty time.Duration `json:"uncertainty_ns"` // either way; 0 = the clock is the same
}

// assignment is what a member is to carry.
type assignment struct {
	Config  engine.Config  `json:"config"` // of all; what is each engine's own is below
	Engines []share.Engine `json:"engines"`
	Of      int            `json:"of"` // engines of all members
	Ahead   time.Duration  `json:"ahead_ns"`
}

// config is that of one engine.
func (a *assignment) config(e share.Engine) engine.Config {
	c := a.Config
	c.All, c.First, c.Connections, c.Index, c.Of = c.Connections, e.First, e.Connections, e.Index, a.Of
	c.ClockOffset = a.Ahead
	c.Stuck = min(max(a.Config.Stuck-e.First, 0), e.Connections) // the first of all
	return c
}

func (a *assignment) connections() (sum int) {
	for _, e := range a.Engines {
		sum += e.Connections
	}
	return sum
}

// Fleet is many engines behind one engine.Driver. Use Open.
type Fleet struct {
	g        *group
	channels int // shared ones
	remotes  []*remote
	done     chan error
	busy     atomic.Bool
	stopping atomic.Bool // the order under way
	closing  context.CancelFunc
	life     context.Context // until Close
}

var _ engine.Driver = (*Fleet)(nil)

func newFleet(members []member, channels int) *Fleet {
	f := &Fleet{g: newGroup(members), channels: channels, done: make(chan error, 4)}
	f.life, f.closing = context.WithCancel(context.Background())
	for _, m := range members {
		if r, ok := m.(*remote); ok {
			f.remotes = append(f.remotes, r)
		}
	}
	return f
}

// Run serves until Close, also when no member is left.
func (f *Fleet) Run() error {
	err := f.g.Run()
	<-f.life.Done()
	return err
}

// Done implements engine.Driver.
func (f *Fleet) Done() <-chan error { return f.done }

// Order begins an order at all members.
//
// What is published to a shared channel is published by one engine, which knows what its own connections are owed. So a drain ends the
// flow everywhere and asks how much was published, for everybody to wait for; and a fan-out ends with a drain, without a rate after
// every burst.
func (f *Fleet) Order(o engine.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if !o.Task() {
		return f.g.Order(o)
	}
	if !f.busy.CompareAndSwap(false, true) {
		return errBusy
	}
	f.stopping.Store(false)
	rest, err := f.begin(o)
	if err != nil {
		f.busy.Store(false)
		return err
	}
	go func() {
		err := rest(<-f.g.Done())
		f.busy.Store(false)
		f.done <- err
	}()
	return nil
}

// begin begins the first step of an order. The rest is what follows on its end, given how that was.
func (f *Fleet) begin(o engine.Order) (rest func(error) error, err error) {
	rest = func(err error) error { return err }
	switch {
	case f.single():
	case o.Fanout != nil:
		if err := f.g.bereft(); err != nil {
			return nil, fmt.Errorf("a channel has lost the member that publishes to it: %w", err)
		}
		if o.Fanout.Rate == 0 {
			o, rest = f.bursts(*o.Fanout)
		} else {
			grace := o.Fanout.Grace
			rest = func(err error) error { return f.arrive(err, grace) }
		}
	case o.Drain != nil && o.Drain.Published == nil:
		if err := f.g.Stop(); err != nil {
			return nil, err
		}
		if o, err = f.drain(o.Drain.Grace); err != nil {
			return nil, err
		}
	}
	return rest, f.g.Order(o)
}

// single says whether there is one engine only, which knows all there is to know.
func (f *Fleet) single() bool {
	return len(f.g.members) == 1 && len(f.remotes) == 0 && f.g.members[0].statuses()[0].Engines == 1
}

// step carries out one step of an order.
func (f *Fleet) step(o engine.Order) error {
	if err := f.g.Order(o); err != nil {
		return err
	}
	if f.stopping.Load() {
		f.g.hurry()
	}
	return <-f.g.Done()
}

// drain is the order to await all that was published.
func (f *Fleet) drain(grace time.Duration) (engine.Order, error) {
	published, err := f.g.Published()
	return engine.Order{Drain: &engine.Drain{Grace: grace, Published: published}}, err
}

// arrive is the step after publications were made, which ended with err: everybody awaits them. What was missing then may come yet.
func (f *Fleet) arrive(err error, grace time.Duration) error {
	if err != nil && !errors.Is(err, engine.ErrGrace) {
		return err
	}
	o, err := f.drain(grace)
	if err != nil {
		return err
	}
	return f.step(o)
}

// bursts is a fan-out at nobody's pace but its own: the next burst is made when everybody has received the one before.
func (f *Fleet) bursts(plan engine.Fanout) (first engine.Order, rest func(error) error) {
	made, burst := 0, max(plan.Burst, 1)
	if n := f.channels; n > 1 { // they take turns, and every step begins with the first
		burst = (burst + n - 1) / n * n
	}
	next := func() engine.Order {
		p := plan
		p.Count = min(burst, plan.Count-made)
		p.Burst = min(max(plan.Burst, 1), p.Count)
		made += p.Count
		return engine.Order{Fanout: &p}
	}
	return next(), func(err error) error {
		for {
			if err = f.arrive(err, plan.Grace); err != nil || made >= plan.Count || f.stopping.Load() {
				return err
			}
			if err = f.step(next()); err != nil && !errors.Is(err, engine.ErrGrace) {
				return err
			}
		}
	}
}

// Stop ends the present order, and the flow, early. What is under way is awaited, for minutes at most.
func (f *Fleet) Stop() error {
	f.stopping.Store(true)
	return f.g.Stop()
}

// Tick implements engine.Driver.
func (f *Fleet) Tick() { f.g.Tick() }

// Snapshot is the sum of all members. What a member held that is gone counts as died, or as failed what was still under way.
func (f *Fleet) Snapshot() engine.Snapshot { return f.g.Snapshot() }

// Census looks at everybody who is left.
func (f *Fleet) Census() (engine.Census, error) { return f.g.Census() }

// Results are those of all members; of a worker that is gone those it told when they were last asked for.
func (f *Fleet) Results() (engine.Results, error) { return f.g.Results() }

// Members says how each member is. The engines of this process are one.
func (f *Fleet) Members() (all []MemberStatus) {
	for _, m := range f.g.members {
		all = append(all, m.statuses()...)
	}
	return all
}

// Close ends all connections in good order, all workers, and Run. When ctx is done before, the rest is cut.
func (f *Fleet) Close(ctx context.Context) error {
	defer f.closing()
	err := f.g.Close(ctx)
	var all sync.WaitGroup
	for _, r := range f.remotes {
		all.Go(r.dismiss)
	}
	all.Wait()
	return err
}
