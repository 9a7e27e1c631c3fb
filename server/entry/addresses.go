package entry

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"shoal/codec/handshake"
	"shoal/server/rate"
)

const (
	addressShards = 256
	sweepShards   = 32 // looked at by one sweep
)

// addresses remembers what addresses have open and how fast they come. Any goroutine.
type addresses struct {
	openMax  uint32
	pace     rate.Pace
	shardMax int
	seed     uint64

	next   int // the shard to be swept next; only one sweep runs at a time
	shards [addressShards]addressShard
}

type addressShard struct {
	mu   sync.Mutex
	of   map[uint64]address // guarded by mu; no pointers
	peak int                // the most it had since it was made anew
}

// address is what is remembered of one.
type address struct {
	full int64 // when its bucket is full again
	open uint32
}

// keyOf is an IPv4 address, or the /64 of an IPv6 one, which is what a subscriber gets; never
// 0. IPv4 has the place of ffff::/16, from which nobody can connect (multicast, RFC 4291 §2.7).
func keyOf(addr netip.Addr) uint64 {
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return 0xffff<<48 | uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return max(binary.BigEndian.Uint64(b[:8]), 1) // ::1 is of ::/64
}

func (a *addresses) on() bool { return a.openMax > 0 || a.pace.On() }

// of spreads keys with a factor nobody knows, so that nobody can fill one shard.
func (a *addresses) of(key uint64) *addressShard { return &a.shards[key*a.seed>>56] }

// arrive counts a connection; tracked is false when it was let in uncounted.
func (a *addresses) arrive(key uint64, now int64) (tracked bool, status handshake.Status) {
	s := a.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.of[key]
	if !known && len(s.of) >= a.shardMax {
		return false, handshake.Done
	}
	if a.openMax > 0 && was.open >= a.openMax {
		return true, handshake.AddressFull
	}
	if a.pace.On() {
		full, ok := a.pace.Spend(was.full, now, 1, rate.Whole)
		if !ok {
			return true, handshake.AddressTooFast
		}
		was.full = full
	}
	if a.openMax > 0 {
		was.open++
	}
	if s.of == nil {
		s.of = map[uint64]address{}
	}
	s.of[key] = was
	s.peak = max(s.peak, len(s.of))
	return true, handshake.Done
}

// leave counts a connection off.
func (a *addresses) leave(key uint64) {
	s := a.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	one, known := s.of[key]
	if !known || one.open == 0 {
		panic(fmt.Sprintf("entry: address %x has %d connections open and one of them closes", key, one.open))
	}
	one.open--
	if one.open == 0 && !a.pace.On() {
		delete(s.of, key)
		return
	}
	s.of[key] = one
}

// sweep looks at some shards.
func (a *addresses) sweep(now int64) {
	for range sweepShards {
		a.shards[a.next].sweep(now)
		a.next = (a.next + 1) % addressShards
	}
}

// sweep forgets addresses with nothing open and a full bucket, and gives memory back when
// few are left of many.
func (s *addressShard) sweep(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, one := range s.of {
		if one.open == 0 && one.full <= now {
			delete(s.of, key)
		}
	}
	if len(s.of) > s.peak/4 {
		return
	}
	left := make(map[uint64]address, len(s.of)) // a map does not shrink by itself
	for key, one := range s.of {
		left[key] = one
	}
	if s.of, s.peak = left, len(left); s.peak == 0 {
		s.of = nil
	}
}

func (a *addresses) count() (n int) {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		n += len(s.of)
		s.mu.Unlock()
	}
	return n
}

// open is the number of connections counted.
func (a *addresses) open() (n int) {
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		for _, one := range s.of {
			n += int(one.open)
		}
		s.mu.Unlock()
	}
	return n
}
