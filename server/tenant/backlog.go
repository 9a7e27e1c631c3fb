package tenant

import (
	"time"

	"shoal/loop"
	"shoal/loop/relief"
)

const (
	backlogSizeable = 1 << 20  // bytes of a node that are worth a look at whose they are
	backlogSlots    = 16 << 10 // looked at per slice, some 0.1 ms
	backlogCuts     = 16       // sessions ended per slice, the same
	backlogLooks    = 4        // in a second with sizeable backlogs
	backlogPause    = time.Second / backlogLooks
)

// backlogs is what a loop knows of its tenants' backlogs: what waits for their slow clients.
// Where a tenant's, of all loops together, comes near its limit its largest go; [relief]
// says which, in rounds that all loops take part in. A look at all slots is a step of every
// round that is under way.
type backlogs struct {
	cut    func(slot uint32) bool
	looks  int // still to be made
	active bool
	at     uint32 // slot to go on from
	of     []backlog
}

// backlog is one tenant's on one loop.
type backlog struct {
	sums  relief.Sums
	told  int64        // what of the tenant's sum is this loop's
	step  relief.Step  // of the present look
	done  relief.Step  // the last one that the loop has done its part of
	phase relief.Phase // of this look
}

// relieved makes the tenants' reliefs ready for one loop more. Before any loop runs.
func (s *Set) relieved() {
	s.loops++
	for _, t := range s.tenants {
		if limit := int64(t.limits.BacklogLimit); limit > 0 {
			t.relief.Init(limit, s.loops)
			s.sizeable = min(s.sizeable, limit/2)
		}
	}
}

// Relieve has the loop look at what waits for the sessions of each tenant, and end the largest
// of those that are over their limit: cut ends a session as slow, and says whether there was
// one. total is the backlog of the node; where that is small nothing is looked at. To be
// called on the loop, about once a second.
func (d *Desk) Relieve(l *loop.Loop, total int64, cut func(slot uint32) bool) {
	if d == nil || total <= d.set.sizeable && !d.set.relieving() && d.backlogs.of == nil {
		return
	}
	b := &d.backlogs
	if b.of == nil {
		b.of = make([]backlog, len(d.set.tenants))
	}
	b.cut, b.looks = cut, backlogLooks
	if total <= d.set.sizeable {
		b.looks = 1
	}
	if !b.active {
		b.active = true
		d.begin()
		l.Work(d)
	}
}

// relieving says whether a round is under way.
func (s *Set) relieving() bool {
	for _, t := range s.tenants {
		if t.limits.BacklogLimit > 0 && t.relief.Step().Phase() != relief.Idle {
			return true
		}
	}
	return false
}

// begin begins a look: what of each round is to be done by it.
func (d *Desk) begin() {
	b := &d.backlogs
	b.at = 0
	for id := range b.of {
		of, t := &b.of[id], d.set.tenants[id]
		of.sums, of.phase = relief.Sums{}, relief.Idle
		if t.limits.BacklogLimit > 0 {
			if of.step = t.relief.Step(); of.step != of.done {
				of.phase = of.step.Phase()
			}
		}
	}
}

// Slice implements [loop.Work].
func (d *Desk) Slice(l *loop.Loop) (more bool) {
	b := &d.backlogs
	b.active = false // should this panic
	cuts := 0
	b.at = l.EachBlocked(b.at, backlogSlots, func(slot uint32, bytes int) bool {
		of, t := &b.of[d.ID(slot)], d.set.tenants[d.ID(slot)]
		if of.phase == relief.Cutting && t.relief.Takes(uint32(bytes)) && b.cut(slot) {
			t.refuse(Backlog)
			cuts++
		} else {
			of.sums[relief.Class(uint32(bytes))] += int64(bytes)
		}
		return cuts < backlogCuts
	})
	if b.at != 0 {
		b.active = true
		return true
	}
	empty := d.looked(int64(l.Now()))
	switch b.looks--; {
	case b.looks > 0:
		b.active = true
		d.begin()
		l.WorkAfter(d, backlogPause)
	case empty && !d.set.relieving():
		b.of = nil // until there is something again
	}
	return false
}

// looked tells the others what the loop found, and that it has done its part of the rounds;
// empty says that nothing waits.
func (d *Desk) looked(now int64) (empty bool) {
	empty = true
	for id := range d.backlogs.of {
		of, t := &d.backlogs.of[id], d.set.tenants[id]
		is := int64(0)
		for _, n := range of.sums {
			is += n
		}
		all := t.backlog.Add(is - of.told)
		of.told = is
		empty = empty && is == 0
		switch {
		case t.limits.BacklogLimit == 0:
		case of.phase == relief.Measuring:
			of.done = of.step
			t.relief.Report(&of.sums, now)
		case of.phase == relief.Cutting:
			of.done = of.step
			t.relief.Done()
		default:
			t.relief.Begin(all, now)
		}
	}
	return empty
}
