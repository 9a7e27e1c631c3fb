package cursor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"shoal/pool/intern"
	"shoal/pool/slab"
)

// Place is a position in a stream; Epoch is a number that stands for the epoch's text.
type Place struct {
	Offset uint64
	Epoch  uint64
}

// cursor is what is kept for one user in one channel, by the number of their names.
type cursor struct {
	at     Place
	usedAt uint32 // Unix seconds
	ttl    uint32 // seconds; 0: it has no end
}

const cursorBytes = 24

var _ = [1]struct{}{}[cursorBytes-unsafe.Sizeof(cursor{})]

// Table is a bounded set of cursors. Use [New]. Not safe for concurrent use.
type Table struct {
	max     int
	names   *intern.Table
	cursors *slab.Column[cursor] // by the number of the name
	top     uint32               // numbers in use are below
	hand    uint32               // where the search for the unused goes on
	key     []byte               // scratch
	evicted uint64
}

// New returns an empty table of at most max cursors, at least 1. It holds next to nothing.
func New(max int) *Table {
	return &Table{max: max, names: intern.New(), cursors: slab.NewColumn[cursor]()}
}

// name joins channel and user: no other pair gives the same.
func (t *Table) name(channel, user string) []byte {
	t.key = binary.AppendUvarint(t.key[:0], uint64(len(channel)))
	t.key = append(append(t.key, channel...), user...)
	return t.key
}

// Get gives a user's place in a channel, which counts as a use; ok is false when there is
// none, or it was not used for its time to live. now is in Unix seconds. It does not
// allocate.
func (t *Table) Get(channel, user string, now int64) (at Place, ok bool) {
	id, ok := t.names.Lookup(t.name(channel, user))
	if !ok {
		return Place{}, false
	}
	c := t.cursors.At(id)
	if c.ended(uint32(now)) {
		t.drop(id)
		return Place{}, false
	}
	c.usedAt = uint32(now)
	return c.at, true
}

// Move sets a user's place in a channel and returns it as it then is: within one epoch it
// never goes back. It lives for ttl seconds after the last use, 0 for ever. It allocates
// nothing for a cursor that is there.
func (t *Table) Move(channel, user string, to Place, ttl uint32, now int64) Place {
	name := t.name(channel, user)
	id, ok := t.names.Lookup(name)
	if !ok {
		if t.names.Len() >= t.max {
			t.evict(uint32(now))
		}
		id = t.names.Acquire(name)
		t.top = max(t.top, id+1)
		*t.cursors.At(id) = cursor{at: to}
	}
	c := t.cursors.At(id)
	if c.ended(uint32(now)) || c.at.Epoch != to.Epoch || c.at.Offset < to.Offset {
		c.at = to
	}
	c.usedAt, c.ttl = uint32(now), ttl
	return c.at
}

func (c *cursor) ended(now uint32) bool {
	return c.ttl > 0 && now > c.usedAt && now-c.usedAt >= c.ttl
}

func (t *Table) drop(id uint32) {
	*t.cursors.At(id) = cursor{}
	t.names.Release(id)
}

// sampled is the number of cursors of which the one goes that was used least lately.
const sampled = 16

// evict makes room for one.
func (t *Table) evict(now uint32) {
	oldest, at := uint32(0), uint32(0)
	t.scan(sampled, func(id uint32, c *cursor) {
		switch {
		case c.ended(now):
			t.drop(id)
			oldest = 0
		case oldest == 0 || c.usedAt < at:
			oldest, at = id, c.usedAt
		}
	})
	if t.names.Len() >= t.max && oldest != 0 {
		t.drop(oldest)
		t.evicted++
	}
}

// scan calls f for the next n cursors, round and round; f may drop the one it gets.
func (t *Table) scan(n int, f func(id uint32, c *cursor)) {
	n = min(n, t.names.Len())
	for looked := uint32(0); n > 0 && looked <= t.top; looked++ {
		if t.hand++; t.hand >= t.top {
			t.hand = 1
		}
		if t.names.Refs(t.hand) > 0 {
			f(t.hand, t.cursors.At(t.hand))
			n--
		}
	}
}

// Expire looks at the next n cursors and drops those that ended; their number.
func (t *Table) Expire(n int, now int64) (dropped int) {
	t.scan(n, func(id uint32, c *cursor) {
		if c.ended(uint32(now)) {
			t.drop(id)
			dropped++
		}
	})
	return dropped
}

// Len is the number of cursors.
func (t *Table) Len() int { return t.names.Len() }

// Evicted counts the cursors that went to make room although they had not ended.
func (t *Table) Evicted() uint64 { return t.evicted }

// HeldBytes is the memory held.
func (t *Table) HeldBytes() int { return t.names.HeldBytes() + t.cursors.Bytes() + cap(t.key) }

// Trim gives back memory that no cursor needs; bytes released.
func (t *Table) Trim() int {
	n := t.names.Trim()
	for t.top > 1 && t.names.Refs(t.top-1) == 0 {
		t.top--
	}
	if t.names.Len() == 0 {
		t.top, t.hand = 0, 0
	}
	return n + t.cursors.Trim(func(chunk int) bool {
		for id := uint32(chunk) * slab.ChunkSlots; id < uint32(chunk+1)*slab.ChunkSlots; id++ {
			if t.names.Refs(id) > 0 {
				return true
			}
		}
		return false
	})
}

// Validate compares the names with the cursors. Slow.
func (t *Table) Validate() error {
	if n := t.names.Len(); n > t.max {
		return fmt.Errorf("cursor: %d cursors, at most %d", n, t.max)
	}
	count, fault := 0, error(nil)
	t.names.Each(func(id uint32, name []byte, refs int) bool {
		count++
		length, n := binary.Uvarint(name)
		switch c := t.cursors.Peek(id); {
		case n <= 0 || length > uint64(len(name)-n):
			fault = fmt.Errorf("cursor: the name %q is no channel and user", name)
		case refs != 1:
			fault = fmt.Errorf("cursor: %q is referred to %d times", name, refs)
		case id >= t.top:
			fault = fmt.Errorf("cursor: number %d in use, the top is %d", id, t.top)
		case c == nil || c.usedAt == 0:
			fault = fmt.Errorf("cursor: %q has no cursor", name)
		}
		return fault == nil
	})
	if fault == nil && count != t.names.Len() {
		fault = errors.New("cursor: the names are not all there")
	}
	return errors.Join(fault, t.cursors.Validate())
}
