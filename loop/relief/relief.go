package relief

import (
	"math/bits"
	"sync/atomic"
)

// Classes is the number of classes of backlogs: class c holds those from 2^(c-1) to 2^c-1 bytes.
const Classes = 33

// Sums are the bytes of backlogs by class.
type Sums [Classes]int64

// Class is the class of a backlog.
func Class(bytes uint32) int { return bits.Len32(bytes) }

// Phase says what a round of relief asks of every loop.
type Phase uint8

// The phases. Any loop may begin a round; each further phase begins when all loops have finished the one before it.
//
//	idle ─Begin─▶ measuring ─all reported─▶ cutting ─all done─▶ idle
//	                  └──── there is room ─────────────────────▶┘
const (
	Idle      Phase = iota
	Measuring       // add up the backlogs of blocked conns and Report
	Cutting         // cut the conns that Takes says, then Done
	phases
)

// Step counts the phases of all rounds, so that a loop knows which it has seen. It begins at 0, idle.
type Step uint64

// Phase is the phase of a step.
func (s Step) Phase() Phase { return Phase(s % Step(phases)) }

// Relief is shared by the loops of a group: after Init all its methods are for any goroutine.
type Relief struct {
	mark, room int64 // bytes: a round begins above mark, and leaves room at most
	loops      int32

	step    atomic.Uint64
	quiet   atomic.Int64          // no round begins before this time
	pending atomic.Int32          // loops that have not finished the phase; all of them while idle
	sums    [Classes]atomic.Int64 // zero but while measuring
	line    atomic.Int32          // class: all above it go, and of it as many as rest says
	rest    atomic.Int64          // bytes
	rounds  atomic.Uint64
}

// Init makes it the relief of a node whose backlogs may take limit bytes, for a number of loops. A round begins when seven
// eighths are taken, and leaves three quarters: so far apart that under lasting pressure looking at all conns costs
// little, and so near that hardly more are cut than have to be.
func (r *Relief) Init(limit int64, loops int) {
	r.mark, r.room, r.loops = limit-limit/8, limit-limit/4, int32(loops)
	r.pending.Store(r.loops)
}

// Step is the present step.
func (r *Relief) Step() Step { return Step(r.step.Load()) }

// Rounds is the number of rounds in which conns were cut.
func (r *Relief) Rounds() uint64 { return r.rounds.Load() }

// Asks says whether that much backlog asks for a round.
func (r *Relief) Asks(backlog int64) bool { return backlog > r.mark }

// Begin begins a round if that much backlog asks for one, none is under way and none was fruitless just before. now is a
// time of any unit. When it returns true the caller wakes the loops.
func (r *Relief) Begin(backlog, now int64) bool {
	s := r.Step()
	return r.Asks(backlog) && s.Phase() == Idle && now >= r.quiet.Load() && r.step.CompareAndSwap(uint64(s), uint64(s)+1)
}

// Report adds what a loop has measured, at time now. When it returns true the cutting has begun, and the caller wakes the
// loops.
func (r *Relief) Report(sums *Sums, now int64) bool {
	for c, n := range sums {
		r.sums[c].Add(n)
	}
	if r.pending.Add(-1) > 0 {
		return false
	}
	r.pending.Store(r.loops)
	if !r.draw() { // what lifted the backlog over the mark is on its way to peers that read, and is so again in no time
		r.quiet.Store(now + 1)
		r.step.Add(uint64(phases - Measuring))
		return false
	}
	r.rounds.Add(1)
	r.step.Add(1)
	return true
}

// draw draws the line; false when there is room.
func (r *Relief) draw() bool {
	var sums Sums
	need := -r.room
	for c := range r.sums {
		sums[c] = r.sums[c].Swap(0)
		need += sums[c]
	}
	if need <= 0 {
		return false
	}
	c := Classes - 1
	for ; sums[c] < need; c-- {
		need -= sums[c]
	}
	r.line.Store(int32(c))
	r.rest.Store(need)
	return true
}

// Takes says whether a blocked conn with that backlog has to go, in the phase Cutting.
func (r *Relief) Takes(bytes uint32) bool {
	switch c, line := int32(Class(bytes)), r.line.Load(); {
	case c != line:
		return c > line
	case r.rest.Load() <= 0:
		return false
	}
	r.rest.Add(-int64(bytes))
	return true
}

// Done says that a loop has cut all it had to.
func (r *Relief) Done() {
	if r.pending.Add(-1) == 0 {
		r.pending.Store(r.loops)
		r.step.Add(1)
	}
}
