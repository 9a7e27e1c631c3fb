package entry

import (
	"fmt"
	"hash/maphash"
	"sync"
)

const userShards = 64

// users counts connections by user. Any goroutine. A user is known by a hash of 64 bits
// with a seed that nobody knows: two who share one, share a limit.
type users struct {
	max    uint32 // 0: nobody is counted
	seed   maphash.Seed
	shards [userShards]userShard
}

type userShard struct {
	mu sync.Mutex
	of map[uint64]uint32 // guarded by mu; connections, at least one
}

// enter counts a connection, false when the user has as many as may be. The anonymous have
// no limit.
func (u *users) enter(user string) bool {
	if u.max == 0 || user == "" {
		return true
	}
	key := maphash.String(u.seed, user)
	s := &u.shards[key%userShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[key] >= u.max {
		return false
	}
	if s.of == nil {
		s.of = map[uint64]uint32{}
	}
	s.of[key]++
	return true
}

func (u *users) leave(user string) {
	if u.max == 0 || user == "" {
		return
	}
	key := maphash.String(u.seed, user)
	s := &u.shards[key%userShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	switch n := s.of[key]; n {
	case 0:
		panic(fmt.Sprintf("entry: user %q has no connection and one of them closes", user))
	case 1:
		if delete(s.of, key); len(s.of) == 0 {
			s.of = nil // a map does not shrink by itself
		}
	default:
		s.of[key] = n - 1
	}
}

// open is the number of connections counted.
func (u *users) open() (n int) {
	for i := range u.shards {
		s := &u.shards[i]
		s.mu.Lock()
		for _, conns := range s.of {
			n += int(conns)
		}
		s.mu.Unlock()
	}
	return n
}
