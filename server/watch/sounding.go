package watch

import (
	"errors"
	"sync/atomic"
	"time"

	"shoal/loop"
)

// sounding is a message that goes to a loop again and again, to see how long it takes to arrive.
// Only one is under way.
type sounding struct {
	l       *loop.Loop
	clock   func() time.Time
	epoch   time.Time
	refused bool         // the mailbox was full: it is still to be posted
	sent    atomic.Int64 // when, in nanoseconds since epoch and one more; 0 = it has arrived
	took    atomic.Int64 // the last time
}

// send sends it unless it is under way. It returns how long it took the last time, and how
// long it has been under way.
func (s *sounding) send(now time.Time) (took, waits time.Duration) {
	at := s.since(now)
	took = time.Duration(s.took.Load()) // before it is sent again: it may be back at once
	if s.sent.CompareAndSwap(0, at) || s.refused {
		s.refused = errors.Is(s.l.Post(s), loop.ErrMailboxFull)
	}
	if sent := s.sent.Load(); sent != 0 {
		waits = time.Duration(at - sent)
	}
	return took, waits
}

// Deliver implements [loop.Message].
func (s *sounding) Deliver(*loop.Loop) {
	s.took.Store(max(s.since(s.clock())-s.sent.Load(), 0))
	s.sent.Store(0)
}

func (s *sounding) since(now time.Time) int64 { return int64(now.Sub(s.epoch)) + 1 }
