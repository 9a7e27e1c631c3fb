package loop

import "shoal/loop/relief"

// Cutter is a Handler that ends a conn itself when the node's backlog comes near its limit and the conn's is one of the
// largest: it shall close it by CloseAfter or Close with ReasonSlow, which is recorded as ReasonNodeBacklog. Conns of other
// handlers are closed for them.
type Cutter interface {
	Cut(slot uint32)
}

const (
	reliefSlots = 16 << 10 // looked at per slice, some 0.1 ms
	reliefCuts  = 16       // conns cut per slice, the same
	reliefTicks = 3        // a step is waited for
	grainPart   = 64       // of the limit: what the loops together may queue before the group knows
)

// reliever does the loop's part of a round of relief, as a Work. It keeps no list of the conns that are blocked: rounds
// are rare, a look at a conn takes some nanoseconds, and a list would cost every conn that is ever blocked.
type reliever struct {
	step  relief.Step // the last one begun
	phase relief.Phase
	began Tick   // the step
	at    uint32 // slot to go on from
	sums  relief.Sums
}

// relieve begins the loop's part of the present step, once.
func (l *Loop) relieve() {
	r := &l.relief
	step := l.group.relief.Step()
	if step == r.step {
		return
	}
	*r = reliever{step: step, phase: step.Phase(), began: l.Now()}
	if r.phase != relief.Idle {
		l.Work(r)
	}
}

// relieving says whether who sends much had better wait: room is being made. It begins a round itself, for a slice of a
// fan-out may send more than there is between the mark and the limit. A loop that does not do its part, because it hangs,
// holds up the others no longer than reliefTicks.
func (l *Loop) relieving() bool {
	r := &l.group.relief
	if !r.Asks(l.group.backlog.Load() + l.backlog - l.backlogPublished) {
		return false
	}
	l.publishBacklog()
	step := r.Step()
	return step.Phase() != relief.Idle && (step != l.relief.step || l.Now() < l.relief.began+reliefTicks)
}

// Slice implements Work.
func (r *reliever) Slice(l *Loop) (more bool) {
	g := &l.group.relief
	if r.phase == relief.Measuring {
		r.at = l.conns.EachFrom(r.at, reliefSlots, func(_ uint32, c *conn) bool {
			if c.has(flagBlocked) {
				r.sums[relief.Class(c.backlogBytes)] += int64(c.backlogBytes)
			}
			return true
		})
		if r.at == 0 && g.Report(&r.sums, int64(l.Now())) {
			l.group.wake()
		}
	} else {
		cut := 0
		r.at = l.conns.EachFrom(r.at, reliefSlots, func(slot uint32, c *conn) bool {
			if c.has(flagBlocked) && c.backlogBytes > 0 && g.Takes(c.backlogBytes) {
				l.cut(slot, c)
				cut++
			}
			return cut < reliefCuts
		})
		if r.at == 0 {
			g.Done()
		}
	}
	return r.at != 0
}

// cut ends a conn with one of the largest backlogs. One that was closed and flushes has been told before.
func (l *Loop) cut(slot uint32, c *conn) {
	c.flags |= flagNodeLimit
	switch h, ok := l.handler(slot).(Cutter); {
	case c.state != stateOpen:
		l.counters.ShedBytes += uint64(c.backlogBytes)
		l.destroy(slot, c)
	case ok:
		l.callCut(slot, h)
		l.uncork()
	default:
		l.CloseAfter(slot, nil, ReasonSlow)
	}
}

// EachBlocked calls f for the open conns that wait until their peers have read, with the bytes that wait for them, until
// f returns false: for a Work that goes over them in slices. It looks at about n slots, some 5 ns each, from slot from on; next is where
// to go on, 0 when all conns were looked at. f may close conns.
func (l *Loop) EachBlocked(from uint32, n int, f func(slot uint32, backlog int) bool) (next uint32) {
	return l.conns.EachFrom(from, n, func(slot uint32, c *conn) bool {
		return c.state != stateOpen || !c.has(flagBlocked) || f(slot, int(c.backlogBytes))
	})
}

// wake has all loops look at what the group wants of them.
func (g *Group) wake() {
	for _, l := range g.loops {
		_ = l.poller.Wake() // fails only when the loop has ended
	}
}
