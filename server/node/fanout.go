package node

import (
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
)

// fanout is one publication on its way to one loop. Pooled.
type fanout struct {
	node  *Node
	name  []byte
	forms [hub.FormsMax]*shared.Bytes // a reference each
	size  int64                       // of forms, and fanoutBytes
	bar   uint8                       // see encoded.barred
}

// fanoutBytes is what a fanout, its name and the headers of its shared bytes take, so
// that a backlog of tiny publications is not taken for a small one.
const fanoutBytes = 256

// Deliver implements [loop.Message].
func (f *fanout) Deliver(l *loop.Loop) { f.node.shards[l.Index()].enqueue(f) }

// done gives everything back.
func (f *fanout) done() {
	for i, b := range f.forms {
		if b != nil {
			b.Release()
			f.forms[i] = nil
		}
	}
	f.node.inflight.Add(-f.size)
	f.size = 0
	f.node.fanouts.put(f)
}

// job is one channel with publications on their way to its members on this loop.
type job struct {
	cursor hub.Cursor
	run    []held        // what the present round delivers
	next   fifo[*fanout] // arrived since; the next round
}

// held is a publication whose bytes the loop holds: Send takes references.
type held struct {
	refs [hub.FormsMax]shared.Ref
	f    *fanout
}

const (
	sliceMembers = 128 // members per slice: writes between two looks at everything else
	turnMembers  = 32  // of which a job gets in one go: a small one need not wait for the next slice
	runMax       = 32  // publications per round
)

// enqueue adds a publication to its channel's job.
func (s *Shard) enqueue(f *fanout) {
	if id, ok := s.hub.ID(f.name); ok {
		if j, busy := s.jobs[id]; busy {
			j.next.push(f)
			return
		}
	}
	c, ok := s.hub.Begin(f.name)
	if !ok {
		s.node.stats.Dropped[channel.DropUnsubscribed].Add(1)
		f.done()
		return
	}
	j := s.newJob()
	j.cursor = c
	j.next.push(f)
	s.jobs[c.Channel()] = j
	s.turns.push(j) // its first round begins with its first turn: what arrives until then goes out together
	if !s.working {
		s.working = true
		s.l.Work(s)
	}
}

// Slice implements [loop.Work]: the jobs take turns until a slice is full.
func (s *Shard) Slice(*loop.Loop) (more bool) {
	s.working = false // should this slice panic, the next publication brings the work back
	sent := 0
	for budget := sliceMembers; budget > 0 && s.turns.len() > 0; {
		j := s.turns.pop()
		if len(j.run) == 0 {
			s.advance(j)
		}
		s.members = s.hub.Next(&j.cursor, s.members[:0], min(budget, turnMembers))
		for _, m := range s.members {
			sent += s.send(m, j.run)
		}
		budget -= len(s.members)
		if len(s.members) > 0 || s.advance(j) {
			s.turns.push(j)
		} else {
			s.finish(j)
		}
	}
	s.node.stats.Delivered.Add(uint64(sent))
	s.working = s.turns.len() > 0
	return s.working
}

// send queues a run to one member and returns how many publications it took. The
// first that does not fit is the last: the policy acts. A panic is this member's
// alone.
func (s *Shard) send(m hub.Member, run []held) (sent int) {
	defer s.l.Caught(m.Slot)
	for i := range run {
		ref := run[i].refs[m.Form]
		if ref == 0 {
			if run[i].f.bar>>m.Form&1 != 0 {
				s.drop(m.Slot, channel.DropNotJSON, channel.DisconnectInappropriate)
				return sent
			}
			continue // the first member of its form, and it joined after the publish
		}
		switch s.l.Send(m.Slot, ref) {
		case loop.Sent:
			sent++
		case loop.OverLimit:
			s.drop(m.Slot, channel.DropSlow, channel.DisconnectSlow)
			return sent
		case loop.Gone:
			s.node.stats.Dropped[channel.DropClosing].Add(1)
			return sent
		}
	}
	return sent
}

// drop counts a publication that did not reach its receiver and ends the session,
// so that the client knows and recovers.
func (s *Shard) drop(slot uint32, d channel.Drop, code channel.DisconnectCode) {
	s.node.stats.Dropped[d].Add(1)
	s.disconnect(slot, code.Disconnect())
}

// advance begins the job's next round; false when nothing has arrived for it.
func (s *Shard) advance(j *job) bool {
	s.releaseRun(j)
	if j.next.len() == 0 {
		return false
	}
	for range min(j.next.len(), runMax) {
		f := j.next.pop()
		h := held{f: f}
		for i, b := range f.forms {
			if b != nil {
				b.Retain()
				h.refs[i] = s.l.Hold(b)
			}
		}
		j.run = append(j.run, h)
	}
	s.hub.Rewind(&j.cursor)
	return true
}

func (s *Shard) releaseRun(j *job) {
	for i := range j.run {
		for _, ref := range j.run[i].refs {
			if ref != 0 {
				s.l.Unhold(ref)
			}
		}
		j.run[i].f.done()
		j.run[i] = held{}
	}
	j.run = j.run[:0]
}

// finish ends a job that has delivered everything.
func (s *Shard) finish(j *job) {
	delete(s.jobs, j.cursor.Channel())
	s.hub.End(&j.cursor)
	if len(s.spare) < sparesMax {
		s.spare = append(s.spare, j)
	}
}

func (s *Shard) newJob() *job {
	if n := len(s.spare); n > 0 {
		j := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return j
	}
	return &job{}
}
