package node

import (
	"shoal/codec/proto"
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/filter"
	"shoal/server/hub"
	"shoal/server/node/fan"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// receivers are the shard's members, for the fan-out.
type receivers struct{ *Shard }

// Treat implements [fan.Shard].
func (s receivers) Treat(name []byte) (t fan.Treatment) {
	if o, e := s.node.cfg.Session.Rules.Resolve(stringOf(name)); e == nil {
		t.Slow, t.Keep = o.Slow()
		t.Delay, t.Full = o.Batch()
	}
	of := s.node.cfg.Tenants.OfChannel(stringOf(name))
	t.Lane, t.Weight = uint16(of), s.node.cfg.Tenants.Weight(of)
	return t
}

// Sent implements [fan.Shard].
func (s receivers) Sent(pushes int) { s.node.stats.Delivered.Add(uint64(pushes)) }

// Lost implements [fan.Shard].
func (s receivers) Lost(d channel.Drop, pushes int) { s.node.stats.Dropped[d].Add(uint64(pushes)) }

// Send implements [fan.Shard]. The first push that does not fit is the last: the policy
// acts. A panic is this member's alone.
func (s receivers) Send(m hub.Member, j *fan.Job) (sent, cost int) {
	defer s.l.Caught(m.Slot)
	s.matching = 0
	sent = s.send(&m, j)
	return sent, s.matching
}

// send queues a round to one member and returns how many pushes it took.
func (s *Shard) send(m *hub.Member, j *fan.Job) (sent int) {
	slow := j.Slow != channel.SlowDisconnect && s.l.Blocked(m.Slot)
	special := slow || !j.Plain || m.Flags&flagsSpecial != 0
	if len(j.Run) > 1 && !special {
		if ref := j.Together(m.Form); ref != 0 && s.l.Send(m.Slot, ref) == loop.Sent {
			return len(j.Run)
		}
	}
	for i := range j.Run {
		h := &j.Run[i]
		ref := h.Refs[wire.Plain][m.Form]
		if special {
			var on bool
			if ref, on = s.pick(m, h, slow); slow && ref != 0 {
				ref, on = s.thin(m, j, h, ref)
			}
			if !on {
				return sent
			}
			if ref == 0 {
				continue
			}
		}
		if ref == 0 {
			if h.Bars(m.Form) {
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

// pick decides what a member gets of a push whose receivers are not simply all: 0 for
// nothing. on is false when the member cannot go on with this run. What one that is slow
// gets is whole, for what it builds on may be dropped.
func (s *Shard) pick(m *hub.Member, h *fan.Held, slow bool) (ref shared.Ref, on bool) {
	if h.Signal && m.Flags&flagSignals == 0 {
		return 0, true
	}
	if m.Flags&flagWaiting != 0 {
		return 0, s.keep(m, h)
	}
	if h.Signal {
		return h.Refs[wire.Plain][m.Form], true
	}
	if m.Flags&flagPositioned != 0 && h.Verdict != track.Free {
		switch fits, lost := s.follows(m, h); {
		case lost:
			s.lost(m.Slot, m.Sub)
			return 0, false
		case !fits:
			return 0, true
		}
	}
	if h.Spares(m.Slot) || m.Flags&flagFiltered != 0 && !s.fits(m, h) {
		s.bases(m, false)
		return 0, true
	}
	ref = h.Refs[wire.Plain][m.Form]
	if ref == 0 && h.Bars(m.Form) {
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
func (s *Shard) thin(m *hub.Member, j *fan.Job, h *fan.Held, ref shared.Ref) (_ shared.Ref, on bool) {
	if j.Slow == channel.SlowLatest || j.Slow == channel.SlowConflate {
		if !h.Signal && (h.Key != 0 || j.Slow == channel.SlowLatest) {
			s.node.stats.Dropped[channel.DropSuperseded].Add(uint64(s.l.Thin(m.Slot, j.Label(h.Key), 0)))
		}
		return ref, true
	}
	room := j.Keep - s.l.Size(ref)
	if s.l.Backlog(m.Slot) <= room {
		return ref, true
	}
	if m.Flags&flagPositioned != 0 { // it begins anew, with who is there too
		s.node.stats.Dropped[channel.DropNewest].Add(1)
		s.lost(m.Slot, m.Sub)
		return 0, false
	}
	if j.Slow == channel.SlowDropOldest && !h.Signal {
		keep := max(room, 0)
		if m.Flags&flagDelta != 0 { // what stays must not build on what goes
			keep = 0
		}
		s.node.stats.Dropped[channel.DropOldest].Add(uint64(s.l.Thin(m.Slot, j.Label(0), keep)))
		if s.l.Backlog(m.Slot) <= room {
			return ref, true
		}
	}
	s.node.stats.Dropped[channel.DropNewest].Add(1) // what waits is of other channels, or partly written
	if !h.Signal {
		s.bases(m, false)
	}
	return 0, true
}

// follows says whether a publication comes next for a positioned member, or that one
// before it never will.
func (s *Shard) follows(m *hub.Member, h *fan.Held) (fits, lost bool) {
	if m.Flags&flagBehind == 0 {
		return h.Verdict == track.Next, h.Verdict == track.Gap
	}
	x := s.extras.At(s.hub.At(m.Sub).Extra)
	p := h.Place
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
func (s *Shard) variant(m *hub.Member, h *fan.Held, slow bool) shared.Ref {
	based := !slow && m.Flags&flagBased != 0 && (m.Flags&flagPositioned != 0 || !s.node.broker.Blocking())
	s.bases(m, h.Place.Offset != 0) // no difference builds on what is not in the history
	if ref := h.Refs[wire.Delta][m.Form]; ref != 0 && based {
		return ref
	}
	if ref := h.Refs[wire.Full][m.Form]; ref != 0 {
		return ref
	}
	if s.node.cfg.Forms[m.Form].Payload() == proto.JSON {
		s.bases(m, false) // the membership is younger than the publication
		return 0
	}
	return h.Refs[wire.Plain][m.Form]
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
func (s *Shard) fits(m *hub.Member, h *fan.Held) bool {
	id := s.extras.At(s.hub.At(m.Sub).Extra).filter
	if h.Memo.Filter != id {
		program := s.filters.Bytes(id)
		h.Memo = fan.Memo{Filter: id, Fits: filter.Match(program, h.Tags)}
		s.matching += filter.Cost(program)
	}
	return h.Memo.Fits
}

// drop counts a publication that did not reach its receiver and ends the session,
// so that the client knows and recovers.
func (s *Shard) drop(slot uint32, d channel.Drop, code channel.DisconnectCode) {
	s.node.stats.Dropped[d].Add(1)
	s.disconnect(slot, code.Disconnect())
}
