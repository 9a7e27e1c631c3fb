package node

import (
	"fmt"
	"hash/maphash"
	"sync"

	"shoal/pool/intern"
	"shoal/server/broker"
	"shoal/server/hub"
)

// LoopsMax is the number of loops a node can have: its directory keeps a bit for each.
const LoopsMax = 64

// audience says, for each wire form, which loops have members that use it.
type audience [hub.FormsMax]uint64

// loops is the set of loops with any member.
func (a *audience) loops() uint64 {
	var all uint64
	for _, m := range a {
		all |= m
	}
	return all
}

// directory maps channels to the loops that have members. Loops write when their
// first member of a form joins and their last member leaves; publishers read. Safe
// for concurrent use; no pointers, so the collector does not walk it.
type directory struct {
	broker broker.Broker
	seed   maphash.Seed
	shards [16]dirShard
}

type dirShard struct {
	mu        sync.RWMutex
	names     *intern.Table
	audiences []audience // by interned name
}

func newDirectory(b broker.Broker) *directory {
	d := &directory{broker: b, seed: maphash.MakeSeed()}
	for i := range d.shards {
		d.shards[i].names = intern.New()
	}
	return d
}

func (d *directory) shard(channel []byte) *dirShard {
	return &d.shards[maphash.Bytes(d.seed, channel)%uint64(len(d.shards))]
}

// join records that a loop has a member of the form. The first of the node makes
// the broker send the channel here; the lock is held meanwhile, so that the broker
// hears of joins and departures in the order in which they happened.
func (d *directory) join(channel []byte, loop int, form hub.Form) error {
	s := d.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, known := s.names.Lookup(channel)
	if !known {
		if err := d.broker.Subscribe(string(channel)); err != nil {
			return fmt.Errorf("node: broker did not subscribe to %q: %w", channel, err)
		}
		id = s.names.Acquire(channel)
		for int(id) >= len(s.audiences) {
			s.audiences = append(s.audiences, audience{})
		}
		s.audiences[id] = audience{}
	}
	s.audiences[id][form] |= 1 << loop
	return nil
}

// leave records that a loop has no member of any form any more. With the last loop
// the node leaves the channel at the broker.
func (d *directory) leave(channel []byte, loop int) error {
	s := d.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, known := s.names.Lookup(channel)
	if !known {
		return nil
	}
	a := &s.audiences[id]
	for form := range a {
		a[form] &^= 1 << loop
	}
	if a.loops() != 0 {
		return nil
	}
	s.names.Release(id)
	if err := d.broker.Unsubscribe(string(channel)); err != nil {
		return fmt.Errorf("node: broker did not unsubscribe from %q: %w", channel, err)
	}
	return nil
}

// lookup returns the channel's audience; the zero value when there is none.
func (d *directory) lookup(channel []byte) audience {
	s := d.shard(channel)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id, known := s.names.Lookup(channel); known {
		return s.audiences[id]
	}
	return audience{}
}

// trim gives memory back that channels without members left.
func (d *directory) trim() {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		s.names.Trim()
		n := len(s.audiences)
		for n > 0 && s.audiences[n-1].loops() == 0 {
			n--
		}
		if cap(s.audiences) > 2*n {
			s.audiences = append(make([]audience, 0, n), s.audiences[:n]...)
		}
		s.mu.Unlock()
	}
}

// channels is the number of channels with members.
func (d *directory) channels() int {
	n := 0
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.RLock()
		n += s.names.Len()
		s.mu.RUnlock()
	}
	return n
}

// Validate checks that no channel is kept without members. Slow.
func (d *directory) Validate() error {
	for i := range d.shards {
		if err := d.shards[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *dirShard) validate() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var err error
	s.names.Each(func(id uint32, name []byte, _ int) bool {
		if s.audiences[id].loops() == 0 {
			err = fmt.Errorf("node: directory keeps channel %q without members", name)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return s.names.Validate()
}
