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
	user   uint32
	newer  uint32 // the cursor of the same user that was used next; 0: none
	older  uint32 // the one used before
}

// owned are the ends of the list of one user's cursors.
type owned struct{ newest, oldest uint32 }

const (
	cursorBytes = 40
	ownedBytes  = 8
)

var (
	_ = [1]struct{}{}[cursorBytes-unsafe.Sizeof(cursor{})]
	_ = [1]struct{}{}[ownedBytes-unsafe.Sizeof(owned{})]
)

// Table is a bounded set of cursors. Use [New]. Not safe for concurrent use.
type Table struct {
	max, ofUserMax int
	users          *intern.Table // one reference for each cursor
	owned          *slab.Column[owned]
	names          *intern.Table        // number of the user and channel
	cursors        *slab.Column[cursor] // by the number of the name
	top            uint32               // numbers of names in use are below
	hand           uint32               // where the search for the unused goes on
	key            []byte               // scratch
	evicted        uint64
}

// New returns an empty table of at most max cursors, and at most ofUserMax of one user, each
// at least 1. It holds next to nothing.
func New(max, ofUserMax int) *Table {
	return &Table{max: max, ofUserMax: ofUserMax, users: intern.New(), owned: slab.NewColumn[owned](),
		names: intern.New(), cursors: slab.NewColumn[cursor]()}
}

// name joins user and channel: no other pair gives the same.
func (t *Table) name(channel string, user uint32) []byte {
	t.key = append(binary.BigEndian.AppendUint32(t.key[:0], user), channel...)
	return t.key
}

func (t *Table) find(channel, user string) (id uint32, ok bool) {
	u, ok := t.users.LookupString(user)
	if !ok {
		return 0, false
	}
	return t.names.Lookup(t.name(channel, u))
}

// Get gives a user's place in a channel, which counts as a use; ok is false when there is
// none, or it was not used for its time to live. now is in Unix seconds. It does not
// allocate.
func (t *Table) Get(channel, user string, now int64) (at Place, ok bool) {
	id, ok := t.find(channel, user)
	if !ok {
		return Place{}, false
	}
	c := t.cursors.At(id)
	if c.ended(uint32(now)) {
		t.drop(id)
		return Place{}, false
	}
	t.use(id, now)
	return c.at, true
}

// Move sets a user's place in a channel and returns it as it then is: within one epoch it
// never goes back. It lives for ttl seconds after the last use, 0 for ever. It allocates
// nothing for a cursor that is there.
func (t *Table) Move(channel, user string, to Place, ttl uint32, now int64) Place {
	id, ok := t.find(channel, user)
	if !ok {
		id = t.begin(channel, user, to, now)
	}
	c := t.cursors.At(id)
	if c.ended(uint32(now)) || c.at.Epoch != to.Epoch || c.at.Offset < to.Offset {
		c.at = to
	}
	c.ttl = ttl
	t.use(id, now)
	return c.at
}

// begin makes a cursor. Who has as many as a user may have gives up the one of their own
// that was not used for longest: nobody else pays for it.
func (t *Table) begin(channel, user string, at Place, now int64) (id uint32) {
	u := t.users.AcquireString(user)
	switch {
	case t.users.Refs(u) > t.ofUserMax:
		oldest := t.owned.At(u).oldest
		if !t.cursors.At(oldest).ended(uint32(now)) {
			t.evicted++
		}
		t.drop(oldest)
	case t.names.Len() >= t.max:
		t.evict(uint32(now))
	}
	id = t.names.Acquire(t.name(channel, u))
	t.top = max(t.top, id+1)
	*t.cursors.At(id) = cursor{at: at, usedAt: uint32(now), user: u}
	t.link(id)
	return id
}

// use makes a cursor its user's newest.
func (t *Table) use(id uint32, now int64) {
	t.cursors.At(id).usedAt = uint32(now)
	if t.owned.At(t.cursors.At(id).user).newest != id {
		t.unlink(id)
		t.link(id)
	}
}

func (t *Table) link(id uint32) {
	c := t.cursors.At(id)
	o := t.owned.At(c.user)
	if c.newer, c.older = 0, o.newest; c.older != 0 {
		t.cursors.At(c.older).newer = id
	} else {
		o.oldest = id
	}
	o.newest = id
}

func (t *Table) unlink(id uint32) {
	c := t.cursors.At(id)
	o := t.owned.At(c.user)
	if c.newer != 0 {
		t.cursors.At(c.newer).older = c.older
	} else {
		o.newest = c.older
	}
	if c.older != 0 {
		t.cursors.At(c.older).newer = c.newer
	} else {
		o.oldest = c.newer
	}
}

func (c *cursor) ended(now uint32) bool {
	return c.ttl > 0 && now > c.usedAt && now-c.usedAt >= c.ttl
}

func (t *Table) drop(id uint32) {
	t.unlink(id)
	user := t.cursors.At(id).user
	*t.cursors.At(id) = cursor{}
	t.names.Release(id)
	t.users.Release(user)
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
func (t *Table) HeldBytes() int {
	return t.users.HeldBytes() + t.owned.Bytes() + t.names.HeldBytes() + t.cursors.Bytes() + cap(t.key)
}

// Trim gives back memory that no cursor needs; bytes released.
func (t *Table) Trim() int {
	n := t.users.Trim() + t.names.Trim()
	for t.top > 1 && t.names.Refs(t.top-1) == 0 {
		t.top--
	}
	if t.names.Len() == 0 {
		t.top, t.hand = 0, 0
	}
	return n + t.owned.Trim(inUse(t.users)) + t.cursors.Trim(inUse(t.names))
}

// inUse says whether any of the numbers in a chunk is in use.
func inUse(names *intern.Table) func(chunk int) bool {
	return func(chunk int) bool {
		for id := uint32(chunk) * slab.ChunkSlots; id < uint32(chunk+1)*slab.ChunkSlots; id++ {
			if names.Refs(id) > 0 {
				return true
			}
		}
		return false
	}
}

// Validate compares the names with the cursors, and those with the lists of their users.
// Slow.
func (t *Table) Validate() error {
	if n := t.names.Len(); n > t.max {
		return fmt.Errorf("cursor: %d cursors, at most %d", n, t.max)
	}
	count, fault := 0, error(nil)
	t.names.Each(func(id uint32, name []byte, refs int) bool {
		count++
		switch c := t.cursors.Peek(id); {
		case refs != 1:
			fault = fmt.Errorf("cursor: %q is referred to %d times", name, refs)
		case id >= t.top:
			fault = fmt.Errorf("cursor: number %d in use, the top is %d", id, t.top)
		case c == nil || c.usedAt == 0:
			fault = fmt.Errorf("cursor: %q has no cursor", name)
		case len(name) < 4 || binary.BigEndian.Uint32(name) != c.user || t.users.Refs(c.user) == 0:
			fault = fmt.Errorf("cursor: the name %q is not of user number %d, or there is none", name, c.user)
		}
		return fault == nil
	})
	if fault == nil && count != t.names.Len() {
		fault = errors.New("cursor: the names are not all there")
	}
	return errors.Join(fault, t.validateLists(count), t.cursors.Validate(), t.owned.Validate())
}

func (t *Table) validateLists(count int) (fault error) {
	listed := 0
	t.users.Each(func(u uint32, user []byte, refs int) bool {
		n, newer := 0, uint32(0)
		for id := t.owned.At(u).newest; id != 0 && n <= refs; newer, id = id, t.cursors.At(id).older {
			if c := t.cursors.At(id); c.user != u || c.newer != newer {
				fault = fmt.Errorf("cursor: number %d in the list of %q is of user number %d, behind %d", id, user, c.user, c.newer)
			}
			n++
		}
		if n != refs || n > t.ofUserMax || t.owned.At(u).oldest != newer {
			fault = fmt.Errorf("cursor: the list of %q has %d cursors of %d, at most %d, and ends with %d", user, n, refs, t.ofUserMax, newer)
		}
		listed += n
		return fault == nil
	})
	if fault == nil && listed != count {
		fault = fmt.Errorf("cursor: %d cursors, %d in lists", count, listed)
	}
	return fault
}
