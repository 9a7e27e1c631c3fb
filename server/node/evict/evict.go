package evict

import (
	"cmp"
	"slices"
	"sync/atomic"

	"shoal/loop"
	"shoal/server/channel"
)

// Reason says why a conn was closed. Its name is the metric label.
type Reason uint8

// The reasons.
const (
	Backlog     Reason = iota // much waits for a peer that does not read
	Idle                      // no command came for long
	reasonCount = iota
)

// String is the metric label.
func (r Reason) String() string { return [reasonCount]string{"backlog", "idle"}[r] }

// Disconnect is what the client is told. Both have it come back: 3008 lets go of the backlog
// at once, 3013 asks for fewer requests; the SDKs' waiting grows with each refused upgrade.
func (r Reason) Disconnect() *channel.Disconnect {
	if r == Backlog {
		return channel.DisconnectSlow.Disconnect()
	}
	return channel.DisconnectTooManyRequests.Disconnect()
}

// Stats counts the conns closed. Any goroutine may read.
type Stats struct{ closed [reasonCount]atomic.Uint64 }

// Each calls f with every reason and how many conns were closed for it.
func (s *Stats) Each(f func(why Reason, n uint64)) {
	for why := range s.closed {
		f(Reason(why), s.closed[why].Load())
	}
}

// Loop is what is needed of a [loop.Loop].
type Loop interface {
	Conns() int
	ID(slot uint32) loop.ConnID
	Lookup(id loop.ConnID) (slot uint32, ok bool)
	Work(w loop.Work)
}

// Sessions are those of the loop.
type Sessions interface {
	// Slots is the number of slots that may have a session.
	Slots() uint32
	// Look tells for how long no command came from a connected session, and how many bytes
	// wait for its peer to read; ok is false when there is none in the slot.
	Look(slot uint32) (silent loop.Tick, backlog int, ok bool)
	// End ends the session in a slot.
	End(slot uint32, why *channel.Disconnect)
}

const (
	lookSlice    = 4096 // slots looked at per slice
	endSlice     = 16   // sessions ended per slice
	backlogBytes = 4096 // what is worth a conn
	mostMax      = 1000 // conns at a time
)

// Evictor is the work on one loop. Use [New].
type Evictor struct {
	l        Loop
	sessions Sessions
	stats    *Stats

	running bool
	most    int
	idle    loop.Tick // 0: idle ones are left alone
	from    uint32    // where the looking began
	looked  uint32    // slots, of slots
	slots   uint32
	next    uint32 // where it begins the next time
	found   [reasonCount][]find
}

// find is a conn that may be closed.
type find struct {
	id      loop.ConnID
	backlog int
}

// New returns the work of a loop. stats may be shared by all loops of a node.
func New(l Loop, sessions Sessions, stats *Stats) *Evictor {
	return &Evictor{l: l, sessions: sessions, stats: stats}
}

// Begin closes so many percent of the loop's conns, at least one and at most a thousand: the
// most expensive, and those that have been idle for so many ticks, 0 none. It does nothing
// while what was begun before goes on.
func (s *Evictor) Begin(percent int, idle loop.Tick) {
	if s.running || percent <= 0 {
		return
	}
	s.running, s.idle, s.found = true, idle, [reasonCount][]find{}
	s.most = min(max(s.l.Conns()*percent/100, 1), mostMax)
	s.slots, s.looked, s.from = s.sessions.Slots(), 0, s.next
	s.l.Work(s)
}

// Slice implements [loop.Work].
func (s *Evictor) Slice(*loop.Loop) (more bool) {
	defer func() { s.running = more }() // also when it panics
	if s.looked < s.slots {
		s.look()
		return true
	}
	return s.end()
}

// look looks at some slots.
func (s *Evictor) look() {
	for range min(lookSlice, s.slots-s.looked) {
		slot := (s.from + s.looked) % s.slots
		s.looked++
		silent, backlog, ok := s.sessions.Look(slot)
		switch {
		case !ok:
		case backlog >= backlogBytes:
			s.keep(find{s.l.ID(slot), backlog})
		case s.idle > 0 && silent >= s.idle && len(s.found[Idle]) < s.most:
			s.found[Idle] = append(s.found[Idle], find{s.l.ID(slot), 0})
			s.next = slot + 1
		}
	}
	if s.looked == s.slots {
		s.prune()
	}
}

// keep notes a conn with a backlog, if there are not enough with a larger one.
func (s *Evictor) keep(f find) {
	s.found[Backlog] = append(s.found[Backlog], f)
	if len(s.found[Backlog]) >= 2*s.most {
		s.prune()
	}
}

// prune leaves the largest backlogs, in order.
func (s *Evictor) prune() {
	all := s.found[Backlog]
	slices.SortFunc(all, func(a, b find) int { return cmp.Compare(b.backlog, a.backlog) })
	s.found[Backlog] = all[:min(len(all), s.most)]
}

// end ends some of those found.
func (s *Evictor) end() (more bool) {
	n := 0
	for why := range s.found {
		for len(s.found[why]) > 0 && s.most > 0 {
			if n++; n > endSlice {
				return true
			}
			f := s.found[why][0]
			s.found[why] = s.found[why][1:]
			if slot, ok := s.l.Lookup(f.id); ok { // it is still there
				s.most--
				s.stats.closed[why].Add(1)
				s.sessions.End(slot, Reason(why).Disconnect())
			}
		}
	}
	s.found = [reasonCount][]find{}
	return false
}
