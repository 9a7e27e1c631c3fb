package presence

import (
	"fmt"
	"hash/maphash"

	"shoal/pool/intern"
)

// Counts knows how many clients and how many distinct users each channel has. It must
// be made by [NewCounts] and is not safe for concurrent use.
//
// A member whose user has no other client in the channel costs 18 to 23 B (a cell of 16
// in a table at least 70 % full); a further client of the same user in the same channel
// costs nothing. A channel costs its interned name and 4 to 8 B. Users are told apart by
// 64 bits of a seeded hash rather than by name: a name kept here would cost 40 B and more
// per user in every Counts that meets it. Two users of one channel are taken for one with
// a probability of n²/2⁶⁵, 3 in 100 million for a million users, and nobody can look for
// such a pair without the seed; the number of clients is always exact.
type Counts struct {
	seed  maphash.Seed
	names *intern.Table // one reference per client
	users []uint32      // by channel id: distinct users; 0 = nobody there
	pairs pairs         // (channel id, hash of user) -> clients
	total int           // clients
}

// NewCounts returns empty counts, which hold no memory.
func NewCounts() *Counts {
	seed := maphash.MakeSeed()
	return &Counts{seed: seed, names: intern.New(), pairs: newPairs(seed)}
}

// Join counts a client of user in channel and returns how many clients the channel has
// now: 1 says that it was empty. The empty user counts as one user. It allocates nothing
// in the steady state and keeps neither argument.
func (c *Counts) Join(channel, user []byte) (clients int) {
	id := c.names.Acquire(channel)
	key := maphash.Bytes(c.seed, user)
	if p := c.pairs.get(id, key); p != nil {
		p.value++ // conns, so far below 1<<32
	} else {
		c.pairs.insert(id, key, 1)
		for int(id) >= len(c.users) {
			c.users = append(c.users, 0)
		}
		c.users[id]++
	}
	c.total++
	return c.names.Refs(id)
}

// Leave takes back one Join and returns how many clients the channel has left: 0 says
// that it became empty. A Leave without its Join is a bug of the caller: it panics and
// changes nothing.
func (c *Counts) Leave(channel, user []byte) (clients int) {
	id, _ := c.names.Lookup(channel)
	key := maphash.Bytes(c.seed, user)
	p := c.pairs.get(id, key)
	if p == nil {
		panic(fmt.Sprintf("presence: user %q leaves channel %q without having joined it (channel id %d, %d clients in all)", user, channel, id, c.total))
	}
	if p.value--; p.value == 0 {
		p.value = 1 // remove wants it whole
		c.pairs.remove(id, key)
		c.users[id]--
	}
	c.total--
	if c.names.Release(id) {
		return 0
	}
	return c.names.Refs(id)
}

// Stats returns how many clients and distinct users a channel has.
func (c *Counts) Stats(channel []byte) (clients, users int) {
	id, ok := c.names.Lookup(channel)
	if !ok {
		return 0, 0
	}
	return c.names.Refs(id), int(c.users[id])
}

// Channels returns the number of channels that have a client.
func (c *Counts) Channels() int { return c.names.Len() }

// Clients returns the clients of all channels together; one that is in two channels
// counts twice.
func (c *Counts) Clients() int { return c.total }

// Each calls f for every channel until f returns false. The name is good during the
// call; f must not call Join, Leave or Trim.
func (c *Counts) Each(f func(channel []byte, clients, users int) bool) {
	c.names.Each(func(id uint32, name []byte, refs int) bool { return f(name, refs, int(c.users[id])) })
}

// HeldBytes returns the heap bytes held, free places included.
func (c *Counts) HeldBytes() int { return c.names.HeldBytes() + c.pairs.heldBytes() + cap(c.users)*4 }

// Trim gives back memory that what is left does not need, and returns how many bytes
// that were. For housekeeping: it looks at every block of names and every 1,000 pairs.
func (c *Counts) Trim() int {
	n := c.names.Trim() + c.pairs.trim()
	last := len(c.users)
	for last > 0 && c.users[last-1] == 0 {
		last--
	}
	if last == 0 {
		n += cap(c.users) * 4
		c.users = nil
	} else if cap(c.users) > 2*last {
		n += (cap(c.users) - last) * 4
		c.users = append(make([]uint32, 0, last), c.users[:last]...)
	}
	return n
}

// Validate checks the counts against each other. It is slow and for tests, the
// simulation and debug pages.
func (c *Counts) Validate() error {
	if err := c.names.Validate(); err != nil {
		return err
	}
	type sum struct{ clients, users int }
	sums := map[uint32]sum{}
	err := c.pairs.validate(func(p *cell) error {
		s := sums[p.group]
		sums[p.group] = sum{s.clients + int(p.value), s.users + 1}
		return nil
	})
	if err != nil {
		return err
	}
	total, channels := 0, 0
	for id, users := range c.users {
		s := sums[uint32(id)]
		if s.users != int(users) || s.clients != c.names.Refs(uint32(id)) {
			return fmt.Errorf("presence: channel id %d counts %d clients of %d users, has pairs for %d of %d",
				id, c.names.Refs(uint32(id)), users, s.clients, s.users)
		}
		total += s.clients
		if users > 0 {
			channels++
		}
	}
	if total != c.total || channels != c.names.Len() || channels != len(sums) {
		return fmt.Errorf("presence: %d clients in %d channels (%d names), counted %d in %d", total, channels, c.names.Len(), c.total, len(sums))
	}
	return nil
}
