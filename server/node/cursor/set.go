package cursor

import (
	"hash/maphash"
	"sync"
)

const (
	parts      = 16
	ofUserPart = 4 // a user has no more than this part of a table
)

// Set is a bounded number of cursors, those of a user together in one of 16 tables with a
// lock each. Use [NewSet]. Safe for concurrent use.
type Set struct {
	seed   maphash.Seed
	shards [parts]shard
}

type shard struct {
	mu    sync.Mutex
	table *Table
	_     [48]byte // a cache line of its own
}

// NewSet returns an empty set of about max cursors, and at most ofUserMax of one user, or a
// 64th of max if that is less; each at least 1.
func NewSet(max, ofUserMax int) *Set {
	s, each := &Set{seed: maphash.MakeSeed()}, (max+parts-1)/parts
	for i := range s.shards {
		s.shards[i].table = New(each, min(ofUserMax, (each+ofUserPart-1)/ofUserPart))
	}
	return s
}

// of locks the table that has a user's cursors.
func (s *Set) of(user string) *shard {
	h := &s.shards[maphash.String(s.seed, user)%parts]
	h.mu.Lock()
	return h
}

// Get is [Table.Get].
func (s *Set) Get(channel, user string, now int64) (Place, bool) {
	h := s.of(user)
	defer h.mu.Unlock()
	return h.table.Get(channel, user, now)
}

// Move is [Table.Move].
func (s *Set) Move(channel, user string, to Place, ttl uint32, now int64) Place {
	h := s.of(user)
	defer h.mu.Unlock()
	return h.table.Move(channel, user, to, ttl, now)
}

// Each calls f for every table, locked.
func (s *Set) Each(f func(t *Table)) {
	for i := range s.shards {
		h := &s.shards[i]
		h.mu.Lock()
		f(h.table)
		h.mu.Unlock()
	}
}

// Validate is [Table.Validate] of all tables. Slow.
func (s *Set) Validate() (err error) {
	s.Each(func(t *Table) {
		if err == nil {
			err = t.Validate()
		}
	})
	return err
}
