package node

import (
	"time"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/pool/queue"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/filter"
	"shoal/server/hub"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// fanout is one push on its way to one loop. Pooled.
type fanout struct {
	node     *Node
	name     []byte
	forms    [wire.Variants][hub.FormsMax]*shared.Bytes // a reference each
	size     int64                                      // of forms, and fanoutBytes
	place    track.Place                                // zero: it has none
	key      uint64                                     // of its conflate_tag; 0 none
	exclude  loop.ConnID                                // of excludes: the conn that does not get it
	tags     map[string]string                          // nil: none, or nobody asks
	bar      uint16                                     // see wire.Encoded.Barred
	signal   bool                                       // joins and leaves
	excludes bool
}

// fanoutBytes is what a fanout, its name and the headers of its shared bytes take, so
// that a backlog of tiny publications is not taken for a small one.
const fanoutBytes = 512

// Deliver implements [loop.Message].
func (f *fanout) Deliver(l *loop.Loop) { f.node.shards[l.Index()].enqueue(f) }

// done gives everything back.
func (f *fanout) done() {
	for v := range f.forms {
		for i, b := range f.forms[v] {
			if b != nil {
				b.Release()
				f.forms[v][i] = nil
			}
		}
	}
	f.node.inflight.Add(-f.size)
	f.size, f.tags = 0, nil
	f.node.fanouts.Put(f)
}

// job is one channel with publications on their way to its members on this loop.
type job struct {
	cursor hub.Cursor
	run    []held // what the present round delivers
	plain  bool   // of it: all members get all of it, but for what their flags say
	joined joined // of it, when it is plain
	slow   channel.SlowPolicy
	keep   int                 // bytes that may wait for a member under slow
	next   queue.FIFO[*fanout] // arrived since; the next round
	delay  time.Duration       // before a round, for more to arrive
	full   int                 // publications that are not waited with
	waits  bool                // for the delay, and has no turn
}

// Slice implements [loop.Work]: the delay is over.
func (j *job) Slice(l *loop.Loop) (more bool) {
	if j.waits { // and was not begun before, because it was full
		(*j.next.First()).node.shards[l.Index()].begin(j)
	}
	return false
}

// held is a push whose bytes the loop holds: Send takes references.
type held struct {
	refs    [wire.Variants][hub.FormsMax]shared.Ref
	f       *fanout
	verdict track.Verdict
	spared  bool // exclude is a conn of this loop
	slot    uint32
	memo    memo
}

// joined is a round's publications as one run of bytes, for each wire form that was
// asked for: a receiver then costs one entry in its backlog and one piece of a write.
type joined struct {
	refs  [hub.FormsMax]shared.Ref // 0: there is none
	asked uint16                   // a bit per form
}

// memo is the last answer of a filter: members that ask for the same come in rows.
type memo struct {
	filter uint32
	fits   bool
}

const (
	sliceMembers   = 2048     // members per slice, or as much filtering (filter.Cost): some 0.1 ms between two looks at everything else
	turnMembers    = 32       // of which a job gets in one go: a small one need not wait for the next slice
	wideMax        = 16       // times as many conns wait to be written when many channels are busy
	runMax         = 32       // publications per round
	joinedBytesMax = 64 << 10 // of a round that is joined
)

// enqueue adds a push to its channel's job.
func (s *Shard) enqueue(f *fanout) {
	if id, ok := s.hub.ID(f.name); ok {
		if j, busy := s.jobs[id]; busy {
			j.next.Push(f)
			if j.waits && j.next.Len() >= j.full {
				s.begin(j)
			}
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
	j.slow, j.keep, j.delay = channel.SlowDisconnect, 0, 0
	if o, e := s.node.cfg.Session.Rules.Resolve(stringOf(f.name)); e == nil {
		j.slow, j.keep = o.Slow()
		j.delay, j.full = o.Batch()
	}
	j.next.Push(f)
	s.jobs[c.Channel()] = j
	s.await(j)
}

// await begins the job's next round, or waits with it for more to arrive: until the next
// whole multiple of the delay, when those of other channels begin too.
func (s *Shard) await(j *job) {
	if j.waits = j.delay > 0 && j.next.Len() < j.full; j.waits {
		s.l.WorkAfter(j, j.delay-time.Duration(s.l.Clock().UnixNano())%j.delay)
	} else {
		s.begin(j)
	}
}

// begin gives the job a turn; its round begins with that, so that what arrives until then
// goes out together.
func (s *Shard) begin(j *job) {
	j.waits = false
	s.turns.Push(j)
	if !s.working {
		s.working = true
		s.l.Work(s)
	}
}

// Slice implements [loop.Work]: the jobs take turns until the slice is full, or enough
// conns wait to be written. The more channels are busy, the more conns may wait: who is
// in many of them then gets what all have by one write.
func (s *Shard) Slice(l *loop.Loop) (more bool) {
	var j *job
	defer func() {
		if j == nil {
			return
		}
		if s.working = s.turns.Len() > 0; s.working { // the loop drops what panicked
			s.l.Work(s)
		}
		s.abandon(j)
	}()
	sent, wide := 0, min(s.turns.Len(), wideMax)
	for budget := sliceMembers; budget > 0 && s.turns.Len() > 0; budget-- { // a turn without members counts too
		if n, slice := l.Unwritten(); n >= wide*slice {
			break
		}
		j = s.turns.Pop()
		if len(j.run) == 0 {
			s.advance(j)
		}
		s.members = s.hub.Next(&j.cursor, s.members[:0], min(budget, turnMembers))
		for _, m := range s.members {
			sent += s.send(m, j)
		}
		budget -= len(s.members) + s.matching
		s.matching = 0
		if len(s.members) > 0 {
			s.turns.Push(j)
		} else if s.releaseRun(j); j.next.Len() > 0 {
			s.await(j)
		} else {
			s.finish(j)
		}
		j = nil
	}
	s.node.stats.Delivered.Add(uint64(sent))
	s.working = s.turns.Len() > 0
	return s.working
}

// send queues a run to one member and returns how many publications it took. The
// first that does not fit is the last: the policy acts. A panic is this member's
// alone.
func (s *Shard) send(m hub.Member, j *job) (sent int) {
	defer s.l.Caught(m.Slot)
	slow := j.slow != channel.SlowDisconnect && s.l.Blocked(m.Slot)
	special := slow || !j.plain || m.Flags&flagsSpecial != 0
	if len(j.run) > 1 && !special {
		if ref := s.together(j, m.Form); ref != 0 && s.l.Send(m.Slot, ref) == loop.Sent {
			return len(j.run)
		}
	}
	for i := range j.run {
		h := &j.run[i]
		ref := h.refs[wire.Plain][m.Form]
		if special {
			var on bool
			if ref, on = s.pick(&m, h, slow); slow && ref != 0 {
				ref, on = s.thin(&m, j, h, ref)
			}
			if !on {
				return sent
			}
			if ref == 0 {
				continue
			}
		}
		if ref == 0 {
			if h.f.bar>>m.Form&1 != 0 {
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

// together is the run as one in a wire form, made for the first member that asks; 0 when a
// publication has no such form or all are too long to be copied.
func (s *Shard) together(j *job, form hub.Form) shared.Ref {
	if bit := uint16(1) << form; j.joined.asked&bit == 0 {
		j.joined.asked |= bit
		size := 0
		for i := range j.run {
			b := j.run[i].f.forms[wire.Plain][form]
			if b == nil {
				return 0
			}
			size += b.Len()
		}
		if size > joinedBytesMax {
			return 0
		}
		all := s.node.cfg.Bytes.New(size)
		for i := range j.run {
			all.Buf = append(all.Buf, j.run[i].f.forms[wire.Plain][form].Bytes()...)
		}
		j.joined.refs[form] = s.l.Hold(all)
	}
	return j.joined.refs[form]
}

// pick decides what a member gets of a push whose receivers are not simply all: 0 for
// nothing. on is false when the member cannot go on with this run. What one that is slow
// gets is whole, for what it builds on may be dropped.
func (s *Shard) pick(m *hub.Member, h *held, slow bool) (ref shared.Ref, on bool) {
	if h.f.signal && m.Flags&flagSignals == 0 {
		return 0, true
	}
	if m.Flags&flagWaiting != 0 {
		return 0, s.keep(m, h)
	}
	if h.f.signal {
		return h.refs[wire.Plain][m.Form], true
	}
	if m.Flags&flagPositioned != 0 && h.verdict != track.Free {
		switch fits, lost := s.follows(m, h); {
		case lost:
			s.lost(m.Slot, m.Sub)
			return 0, false
		case !fits:
			return 0, true
		}
	}
	if h.spared && h.slot == m.Slot || m.Flags&flagFiltered != 0 && !s.fits(m, h) {
		s.bases(m, false)
		return 0, true
	}
	ref = h.refs[wire.Plain][m.Form]
	if ref == 0 && h.f.bar>>m.Form&1 != 0 {
		s.drop(m.Slot, channel.DropNotJSON, channel.DisconnectInappropriate)
		return 0, false
	}
	if m.Flags&flagDelta != 0 {
		ref = s.variant(m, h, slow)
	}
	return ref, true
}

// thin makes room, by the channel's policy, in the backlog of a member that does not
// read; 0 when the publication itself is what is dropped. on is false when the
// membership ended over it.
func (s *Shard) thin(m *hub.Member, j *job, h *held, ref shared.Ref) (_ shared.Ref, on bool) {
	label := shared.Label{Group: j.cursor.Channel() + 1}
	if j.slow == channel.SlowLatest || j.slow == channel.SlowConflate {
		if label.Key = h.f.key; !h.f.signal && (label.Key != 0 || j.slow == channel.SlowLatest) {
			s.node.stats.Dropped[channel.DropSuperseded].Add(uint64(s.l.Thin(m.Slot, label, 0)))
		}
		return ref, true
	}
	room := j.keep - s.l.Size(ref)
	if s.l.Backlog(m.Slot) <= room {
		return ref, true
	}
	if m.Flags&flagPositioned != 0 { // it begins anew, with who is there too
		s.node.stats.Dropped[channel.DropNewest].Add(1)
		s.lost(m.Slot, m.Sub)
		return 0, false
	}
	if j.slow == channel.SlowDropOldest && !h.f.signal {
		keep := max(room, 0)
		if m.Flags&flagDelta != 0 { // what stays must not build on what goes
			keep = 0
		}
		s.node.stats.Dropped[channel.DropOldest].Add(uint64(s.l.Thin(m.Slot, label, keep)))
		if s.l.Backlog(m.Slot) <= room {
			return ref, true
		}
	}
	s.node.stats.Dropped[channel.DropNewest].Add(1) // what waits is of other channels, or partly written
	if !h.f.signal {
		s.bases(m, false)
	}
	return 0, true
}

// follows says whether a publication comes next for a positioned member, or that one
// before it never will.
func (s *Shard) follows(m *hub.Member, h *held) (fits, lost bool) {
	if m.Flags&flagBehind == 0 {
		return h.verdict == track.Next, h.verdict == track.Gap
	}
	x := s.extras.At(s.hub.At(m.Sub).Extra)
	p := h.f.place
	switch {
	case p.Epoch == x.floor.Epoch && p.Offset <= x.floor.Offset:
		return false, false
	case p.Epoch != x.floor.Epoch || p.Offset > x.floor.Offset+1:
		return false, true
	}
	if at, _ := s.tracks.At(s.hub.ChannelOf(m.Sub)); at == p {
		s.caughtUp(m, x)
	} else {
		x.floor = p // others are ahead: what is stale for them is not for this one
	}
	return true, false
}

// variant is what of the publication a member gets that reads differences: a difference
// where there is one and the member has what it builds on, else the whole. On a broker
// that may lose publications only positioned members are sure to have it.
func (s *Shard) variant(m *hub.Member, h *held, slow bool) shared.Ref {
	based := !slow && m.Flags&flagBased != 0 && (m.Flags&flagPositioned != 0 || !s.node.broker.Blocking())
	s.bases(m, h.f.place.Offset != 0) // no difference builds on what is not in the history
	if ref := h.refs[wire.Delta][m.Form]; ref != 0 && based {
		return ref
	}
	if ref := h.refs[wire.Full][m.Form]; ref != 0 {
		return ref
	}
	if s.node.cfg.Forms[m.Form].Payload() == proto.JSON {
		s.bases(m, false) // the membership is younger than the publication
		return 0
	}
	return h.refs[wire.Plain][m.Form]
}

// bases notes whether the next difference builds on what the member got last.
func (s *Shard) bases(m *hub.Member, on bool) {
	switch {
	case m.Flags&flagDelta == 0 || on == (m.Flags&flagBased != 0):
		return
	case on:
		m.Flags |= flagBased
	default:
		m.Flags &^= flagBased
	}
	s.hub.At(m.Sub).Flags = m.Flags
}

// fits asks the member's tags filter.
func (s *Shard) fits(m *hub.Member, h *held) bool {
	id := s.extras.At(s.hub.At(m.Sub).Extra).filter
	if h.memo.filter != id {
		program := s.filters.Bytes(id)
		h.memo = memo{filter: id, fits: filter.Match(program, h.f.tags)}
		s.matching += filter.Cost(program)
	}
	return h.memo.fits
}

// drop counts a publication that did not reach its receiver and ends the session,
// so that the client knows and recovers.
func (s *Shard) drop(slot uint32, d channel.Drop, code channel.DisconnectCode) {
	s.node.stats.Dropped[d].Add(1)
	s.disconnect(slot, code.Disconnect())
}

// advance begins the job's next round.
func (s *Shard) advance(j *job) {
	j.plain = true
	for range min(j.next.Len(), runMax) {
		f := j.next.Pop()
		h := held{f: f, verdict: s.tracks.Advance(j.cursor.Channel(), f.place)}
		if f.excludes {
			h.slot, h.spared = s.l.Lookup(f.exclude)
		}
		if f.signal || h.spared || h.verdict > track.Next {
			j.plain = false
		}
		label := shared.Label{}
		if j.slow != channel.SlowDisconnect && !f.signal {
			label = shared.Label{Group: j.cursor.Channel() + 1, Key: f.key}
		}
		for v := range f.forms {
			for i, b := range f.forms[v] {
				if b != nil {
					b.Retain()
					h.refs[v][i] = s.l.HoldAs(b, label)
				}
			}
		}
		j.run = append(j.run, h)
	}
	s.hub.Rewind(&j.cursor)
}

func (s *Shard) releaseRun(j *job) {
	for i := range j.run {
		for v := range j.run[i].refs {
			for _, ref := range j.run[i].refs[v] {
				if ref != 0 {
					s.l.Unhold(ref)
				}
			}
		}
		j.run[i].f.done()
		j.run[i] = held{}
	}
	j.run = j.run[:0]
	for _, ref := range j.joined.refs {
		if ref != 0 {
			s.l.Unhold(ref)
		}
	}
	j.joined = joined{}
}

// abandon ends a job over which a slice panicked. What it had is lost: the positioned
// members find out.
func (s *Shard) abandon(j *job) {
	delete(s.jobs, j.cursor.Channel())
	s.hub.End(&j.cursor)
	n := len(j.run)
	s.releaseRun(j)
	for ; j.next.Len() > 0; n++ {
		j.next.Pop().done()
	}
	s.node.stats.Dropped[channel.DropPanic].Add(uint64(n))
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
