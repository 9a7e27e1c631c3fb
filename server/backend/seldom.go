package backend

import (
	"sync"
	"time"
)

// SeldomInterval is the time between two log lines about the same kind of failure.
const SeldomInterval = 10 * time.Second

// Seldom says which failures are logged: of each kind the first, and then one every
// [SeldomInterval], so that a client that can make something fail cannot fill the log. The
// zero value is good; it keeps something for every kind, so there must be few. Safe for
// concurrent use.
type Seldom struct {
	mu    sync.Mutex
	kinds map[string]*logged
}

type logged struct {
	at     time.Time
	silent int // failures since, that were not logged
}

// Due says whether a failure of the kind is to be logged now, and how many before it were
// not.
func (s *Seldom) Due(kind string, now time.Time) (due bool, unlogged int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kinds[kind]
	if k == nil {
		if s.kinds == nil {
			s.kinds = map[string]*logged{}
		}
		s.kinds[kind] = &logged{at: now}
		return true, 0
	}
	if now.Sub(k.at).Abs() < SeldomInterval { // a clock that was set back silences nothing
		k.silent++
		return false, 0
	}
	unlogged = k.silent
	k.at, k.silent = now, 0
	return true, unlogged
}
