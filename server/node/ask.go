package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"shoal/loop"
	"shoal/server/hub"
	"shoal/server/session"
	"shoal/server/tenant"
)

// question is something to find out or do on every loop. A loop works on it in
// slices until part returns false.
type question struct {
	node   *Node
	part   func(s *Shard, from uint32) (next uint32, more bool)
	left   atomic.Int32
	failed atomic.Bool // a part panicked
	done   chan struct{}
}

// asked is a question on one loop.
type asked struct {
	*question
	at uint32
}

// Deliver implements [loop.Message].
func (a *asked) Deliver(l *loop.Loop) { l.Work(a) }

// Slice implements [loop.Work].
func (a *asked) Slice(l *loop.Loop) (more bool) {
	whole := false
	defer func() {
		if !whole {
			a.failed.Store(true)
		}
		if !more && a.left.Add(-1) == 0 {
			close(a.done)
		}
	}()
	a.at, more = a.part(a.node.shards[l.Index()], a.at)
	whole = true
	return more
}

// ask has part run on every loop and waits for all of them. part runs on several
// loops at the same time; what it shares between them it must guard. It is called
// again with what it returned as next until more is false.
func (n *Node) ask(ctx context.Context, part func(s *Shard, from uint32) (next uint32, more bool)) error {
	q := &question{node: n, part: part, done: make(chan struct{})}
	q.left.Store(int32(len(n.shards)))
	for i, s := range n.shards {
		if err := s.l.Post(&asked{question: q}); err != nil {
			return fmt.Errorf("node: loop %d does not answer: %w", i, err)
		}
	}
	select {
	case <-q.done:
	case <-n.shards[0].l.Ended(): // with whatever they had left to do
	case <-ctx.Done():
		return fmt.Errorf("node: loops did not answer in time: %w", ctx.Err())
	}
	switch {
	case q.left.Load() > 0:
		return errors.New("node: the loops ended before they answered")
	case q.failed.Load():
		return errors.New("node: a loop panicked over the question; its log has the stack")
	}
	return nil
}

const (
	scanSlice    = 8192 // sessions looked at per slice
	actSlice     = 128  // of which something is done to at most so many
	channelSlice = 2048 // channels looked at per slice
)

// eachSession makes a part that calls f for every open session, in slices; f tells
// whether it did something to the session.
func eachSession(f func(s *Shard, slot uint32, ses *session.Session) (acted bool)) func(s *Shard, from uint32) (uint32, bool) {
	return func(s *Shard, slot uint32) (uint32, bool) {
		acted := 0
		for end := min(slot+scanSlice, s.slots); slot < end && acted < actSlice; slot++ {
			if ses := s.sessions.Peek(slot); ses != nil && s.isOpen(ses) && f(s, slot, ses) {
				acted++
			}
		}
		return slot, slot < s.slots
	}
}

// Subscribers returns the channels for which match is true and their numbers of
// members on this node; match is called by several loops at the same time. A
// channel that comes or goes meanwhile may be in it or not.
func (n *Node) Subscribers(ctx context.Context, match func(name string) bool) (map[string]int, error) {
	answers := make([]map[string]int, len(n.shards))
	for i := range answers {
		answers[i] = map[string]int{}
	}
	err := n.ask(ctx, func(s *Shard, from uint32) (uint32, bool) {
		found := answers[s.l.Index()]
		return s.hub.Each(from, channelSlice, func(name []byte, members int) {
			if match(stringOf(name)) {
				found[string(name)] = members
			}
		})
	})
	if err != nil {
		return nil, err
	}
	sum := answers[0]
	for _, more := range answers[1:] {
		for name, members := range more {
			sum[name] += members
		}
	}
	return sum, nil
}

// Drain waits until every publication that was delivered to the node before the call
// is queued to its receivers. For shutting down, after the broker has stopped.
func (n *Node) Drain(ctx context.Context) error {
	return n.ask(ctx, func(s *Shard, _ uint32) (uint32, bool) { return 0, s.fan.Busy() })
}

// Validate checks every shard against itself. The loops must not be running.
func (n *Node) Validate() error {
	if err := n.dir.Validate(); err != nil {
		return err
	}
	if err := errors.Join(n.tokens.Validate(), n.cursors.Validate()); err != nil {
		return err
	}
	for i, s := range n.shards {
		if err := s.validate(); err != nil {
			return fmt.Errorf("node: loop %d: %w", i, err)
		}
	}
	return n.validateTenants()
}

// validateTenants counts anew what each has.
func (n *Node) validateTenants() error {
	if n.cfg.Tenants == nil {
		return nil
	}
	actual, names := make([]tenant.Actual, n.cfg.Tenants.Len()), map[string]bool{}
	for _, s := range n.shards {
		for slot := range s.slots {
			if ses := s.sessions.Peek(slot); ses != nil && s.isOpen(ses) && s.tenants.Entered(slot) {
				of := &actual[s.tenants.ID(slot)]
				of.Connections++
				s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
					of.Subscriptions++
					names[string(s.hub.Name(sub))] = true
					return true
				})
			}
		}
	}
	for name := range names {
		actual[n.cfg.Tenants.OfChannel(name)].Channels++
	}
	return n.cfg.Tenants.Validate(actual)
}

func (s *Shard) validate() error {
	for slot := range s.slots {
		ses := s.sessions.Peek(slot)
		if ses == nil || !s.isOpen(ses) {
			continue
		}
		if err := ses.Validate(&s.node.cfg.Session); err != nil {
			return fmt.Errorf("slot %d: %w", slot, err)
		}
	}
	if err := errors.Join(s.fan.Validate(), s.validateMembers(), s.validateLatest(), s.recoveries.Validate()); err != nil {
		return err
	}
	return s.hub.Validate()
}

// validateMembers compares the memberships with what is kept for them.
func (s *Shard) validateMembers() error {
	extras, positioned := 0, map[uint32]int{}
	for slot := range s.slots {
		ses := s.sessions.Peek(slot)
		if ses == nil || !s.isOpen(ses) {
			continue
		}
		s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
			m := s.hub.At(sub)
			if m.Extra != 0 {
				extras++
			}
			if m.Flags&flagPositioned != 0 && m.Flags&flagWaiting == 0 {
				positioned[s.hub.ChannelOf(sub)]++
			}
			return true
		})
	}
	if n := s.extras.Len(); n != extras && n != extras+1 { // the first one stands for none
		return fmt.Errorf("%d memberships have extras, %d are kept", extras, n)
	}
	return s.tracks.Validate(func(ch uint32) int { return positioned[ch] })
}
