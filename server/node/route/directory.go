package route

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"

	"shoal/pool/intern"
	"shoal/server/broker"
	"shoal/server/hub"
)

// LoopsMax is the number of loops a node can have: its directory keeps a bit for each.
const LoopsMax = 64

// Audience says which loops have members of a channel, and in which wire forms it is
// read on the node. The zero value is nobody.
type Audience struct {
	Loops  uint64 // a bit for each loop
	Forms  uint16 // a bit for each wire form; it stays until the last member leaves
	Deltas uint16 // those of them that are also read as differences
	// Signals: joins and leaves are read; it stays until the last member leaves.
	Signals bool
}

// Reader is what a member of a channel reads.
type Reader struct {
	Form    hub.Form
	Delta   bool // differences
	Signals bool // joins and leaves
}

// Directory maps channels to their audiences. Loops write when their first member of
// a form joins and their last member leaves; publishers read. Safe for concurrent
// use; no pointers, so the collector does not walk it.
type Directory struct {
	broker   broker.Broker
	wildcard func(name string) bool
	seed     maphash.Seed
	shards   [16]shard
	patterns patterns
}

type shard struct {
	mu        sync.RWMutex
	names     *intern.Table
	audiences []Audience // by interned name
}

// Wildcards is what a directory must know of names; channel.Rules has it.
type Wildcards interface {
	Wildcard(name string) bool // the name stands for many
	Head(name string) string   // the part of a name before its segments
}

// New returns an empty directory; w may be nil: then no channel is a wildcard.
func New(b broker.Broker, w Wildcards) *Directory {
	d := &Directory{broker: b, seed: maphash.MakeSeed()}
	if w != nil {
		d.wildcard, d.patterns.head = w.Wildcard, w.Head
	}
	for i := range d.shards {
		d.shards[i].names = intern.New()
	}
	return d
}

func (d *Directory) shard(channel []byte) *shard {
	return &d.shards[maphash.Bytes(d.seed, channel)%uint64(len(d.shards))]
}

// Join records that a loop has such a member.
// The first of the node makes the broker send the channel here; the lock is held
// meanwhile, so that the broker hears of joins and departures in the order in which
// they happened. occupied tells that it was the first of the node.
func (d *Directory) Join(channel []byte, loop int, r Reader) (occupied bool, err error) {
	s := d.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, known := s.names.Lookup(channel)
	if !known {
		if err := d.broker.Subscribe(string(channel)); err != nil {
			return false, fmt.Errorf("node: broker did not subscribe to %q: %w", channel, err)
		}
		id = s.names.Acquire(channel)
		for int(id) >= len(s.audiences) {
			s.audiences = append(s.audiences, Audience{})
		}
		s.audiences[id] = Audience{}
		d.pattern(string(channel), true)
	}
	a := &s.audiences[id]
	a.Loops |= 1 << loop
	a.Forms |= 1 << r.Form
	if r.Delta {
		a.Deltas |= 1 << r.Form
	}
	a.Signals = a.Signals || r.Signals
	return !known, nil
}

// Leave records that a loop has no member any more. With the last loop the node
// leaves the channel at the broker; vacated tells that.
func (d *Directory) Leave(channel []byte, loop int) (vacated bool, err error) {
	s := d.shard(channel)
	s.mu.Lock()
	defer s.mu.Unlock()
	id, known := s.names.Lookup(channel)
	if !known {
		return false, nil
	}
	a := &s.audiences[id]
	if a.Loops &^= 1 << loop; a.Loops != 0 {
		return false, nil
	}
	d.pattern(string(channel), false)
	s.names.Release(id)
	if err := d.broker.Unsubscribe(string(channel)); err != nil {
		return true, fmt.Errorf("node: broker did not unsubscribe from %q: %w", channel, err)
	}
	return true, nil
}

// Lookup returns the channel's audience.
func (d *Directory) Lookup(channel []byte) Audience {
	s := d.shard(channel)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if id, known := s.names.Lookup(channel); known {
		return s.audiences[id]
	}
	return Audience{}
}

// AppendPatterns appends to dst the wildcard channels with members that name may fit by
// the syntax; the rules say which really cover it.
func (d *Directory) AppendPatterns(dst []string, name string) []string {
	return d.patterns.appendFitting(dst, name)
}

// pattern adds or removes a channel if it is a wildcard.
func (d *Directory) pattern(name string, add bool) {
	switch {
	case d.wildcard == nil || strings.IndexByte(name, '*') < 0 || !d.wildcard(name):
	case add:
		d.patterns.add(name)
	default:
		d.patterns.remove(name)
	}
}

// Patterns lists all wildcard channels with members, in no order. Slow.
func (d *Directory) Patterns() []string { return d.patterns.all() }

// Trim gives memory back that channels without members left.
func (d *Directory) Trim() {
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		s.names.Trim()
		n := len(s.audiences)
		for n > 0 && s.audiences[n-1].Loops == 0 {
			n--
		}
		if cap(s.audiences) > 2*n {
			s.audiences = append(make([]Audience, 0, n), s.audiences[:n]...)
		}
		s.mu.Unlock()
	}
}

// Channels is the number of channels with members.
func (d *Directory) Channels() int {
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
func (d *Directory) Validate() error {
	for i := range d.shards {
		if err := d.shards[i].validate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *shard) validate() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var err error
	s.names.Each(func(id uint32, name []byte, _ int) bool {
		if s.audiences[id].Loops == 0 {
			err = fmt.Errorf("node: directory keeps channel %q without members", name)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return s.names.Validate()
}
