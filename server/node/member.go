package node

import (
	"bytes"
	"time"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/loop/wheel"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/fan"
	"shoal/server/node/route"
	"shoal/server/node/track"
	"shoal/server/node/wire"
	"shoal/server/session"
)

// What the node keeps in hub.Membership.Flags.
const (
	flagServerSide    = 1 << iota // the server made it: when it cannot go on the session ends
	flagPositioned                // it follows the stream without a gap
	flagRecoverable               // and says so
	flagSignals                   // it gets joins and leaves
	flagPresent                   // it is counted as present
	flagTells                     // its own join and leave are told
	flagDelta                     // it reads differences
	flagBased                     // and has a publication that they build on
	flagBehind                    // publications up to extra.floor are not for it
	flagWaiting                   // publications are kept until its result has been sent
	flagFiltered                  // extra.filter says which publications it wants
	flagServerRefresh             // the backend renews it when it ends
	flagFromToken                 // the connection token names it
	flagTold                      // its join was told, and so will be its leave
)

// flagsSpecial are those for which a publication is not simply sent on.
const flagsSpecial = flagDelta | flagBehind | flagWaiting | flagFiltered

// extra is what few memberships need.
type extra struct {
	floor    track.Place // of flagBehind
	expireAt int64       // Unix seconds at which the grant ends; 0 never
	links    wheel.Links // in Shard.expiries
	sub      hub.Sub
	info     uint32 // interned: chan_info
	filter   uint32 // interned: program of flagFiltered
}

// Links implements [wheel.Store] for expiries.
func (s *Shard) Links(slot uint32) *wheel.Links { return &s.extras.At(slot).links }

// extraOf is the membership's extra, made if it has none. Index 0 is none, so the
// number kept is one more.
func (s *Shard) extraOf(sub hub.Sub) *extra {
	m := s.hub.At(sub)
	if m.Extra == 0 {
		i, x := s.extras.Alloc()
		if i == 0 { // never given back: 0 stands for none
			i, x = s.extras.Alloc()
		}
		x.sub, m.Extra = sub, i
	}
	return s.extras.At(m.Extra)
}

// dropExtra gives the membership's extra back once nothing needs it.
func (s *Shard) dropExtra(sub hub.Sub) {
	m := s.hub.At(sub)
	if m.Extra == 0 {
		return
	}
	x := s.extras.At(m.Extra)
	s.expiries.Cancel(m.Extra)
	if x.info != 0 {
		s.infos.Release(x.info)
	}
	if x.filter != 0 {
		s.filters.Release(x.filter)
		s.node.filtered.Add(-1)
	}
	s.extras.Free(m.Extra)
	m.Extra = 0
}

// tidy drops the extra if all that it was for has passed.
func (s *Shard) tidy(sub hub.Sub) {
	m := s.hub.At(sub)
	if m.Extra == 0 || m.Flags&flagBehind != 0 {
		return
	}
	if x := s.extras.At(m.Extra); x.info == 0 && x.filter == 0 && x.expireAt == 0 {
		s.dropExtra(sub)
	}
}

// join makes the session a member; sub is 0 when it is one already, or the broker did
// not let it.
func (s *Shard) join(slot uint32, ses *session.Session, name string, flags uint16) (sub hub.Sub, e *channel.Error) {
	if e := s.tenants.Join(slot); e != nil {
		return 0, e
	}
	defer func() {
		if sub == 0 {
			s.tenants.Leave(slot)
		}
	}()
	list, form := hub.List(ses.Subs), s.formOf(ses)
	sub, first := s.hub.Subscribe(slot, &list, bytesOf(name), form)
	if sub == 0 {
		return 0, channel.ErrAlreadySubscribed.Err()
	}
	if first || flags&(flagDelta|flagSignals) != 0 {
		occupied, err := s.node.dir.Join(bytesOf(name), s.l.Index(), route.Reader{Form: form, Delta: flags&flagDelta != 0, Signals: flags&flagSignals != 0})
		if err != nil {
			s.hub.Leave(&list, sub)
			ses.Subs = uint32(list)
			return 0, s.node.failure("subscribe failed", err)
		}
		if occupied {
			s.node.occupancy.Changed(name)
		}
	}
	ses.Subs = uint32(list)
	s.hub.At(sub).Flags = flags
	s.node.stats.Subscriptions.Add(1)
	if flags&flagPresent != 0 {
		s.node.presence.join(bytesOf(name), bytesOf(s.user(ses)))
	}
	return sub, nil
}

// leave ends a membership.
func (s *Shard) leave(slot uint32, ses *session.Session, sub hub.Sub) {
	flags, ch, last := s.hub.At(sub).Flags, s.hub.ChannelOf(sub), s.hub.Alone(sub)
	s.leaving = append(s.leaving[:0], s.hub.Name(sub)...)
	name, gone := s.leaving, channel.Signal{Leave: true}
	if flags&flagTold != 0 {
		name = bytes.Clone(name)
		gone.Info = s.clientInfo(slot, ses, sub).Clone()
	}
	// Out of the hub first: whatever goes wrong after that, the conn that comes next on
	// this slot must not inherit a membership.
	w, waiting := s.waits[sub]
	delete(s.waits, sub)
	s.dropExtra(sub)
	if flags&flagPositioned != 0 && !waiting {
		s.tracks.Leave(ch)
	}
	list := hub.List(ses.Subs)
	s.hub.Leave(&list, sub)
	ses.Subs = uint32(list)
	s.node.stats.Subscriptions.Add(-1)
	s.tenants.Leave(slot)
	if waiting {
		s.unhold(w)
	}
	if flags&flagPresent != 0 {
		s.node.presence.leave(name, bytesOf(s.user(ses)))
	}
	if last {
		s.vacate(string(name))
	}
	if flags&flagTold != 0 {
		s.announce(name, gone)
	}
}

// vacate notes that a channel has no member on this loop any more.
func (s *Shard) vacate(name string) {
	vacated, err := s.node.dir.Leave(bytesOf(name), s.l.Index())
	if err != nil {
		_ = s.node.failure("unsubscribe failed", err)
	}
	if vacated {
		s.node.broker.Vacated(name)
		s.node.occupancy.Changed(name)
	}
}

// leaveAll ends all memberships of a session; a panic over one spares the others.
func (s *Shard) leaveAll(slot uint32, ses *session.Session) {
	for ses.Subs != 0 {
		func() {
			defer s.l.Caught(slot)
			s.leave(slot, ses, s.hub.First(hub.List(ses.Subs)))
		}()
	}
}

// clientInfo is what others are told of a member. It lives as long as the session's
// identity and the membership; the client id until the next call.
func (s *Shard) clientInfo(slot uint32, ses *session.Session, sub hub.Sub) channel.ClientInfo {
	info := channel.ClientInfo{User: s.user(ses), Client: s.clientID(slot), ConnInfo: s.info(ses)}
	if sub != 0 {
		if x := s.hub.At(sub).Extra; x != 0 && s.extras.At(x).info != 0 {
			info.ChanInfo = s.infos.Bytes(s.extras.At(x).info)
		}
	}
	return info
}

// wait is what came for a membership whose result has not been sent yet.
type wait struct {
	kept    []kept
	bytes   int
	over    bool                 // more came than is kept
	place   track.Place          // what its result says
	removed *channel.Unsubscribe // the server has ended it meanwhile; nil: not
}

// kept is one publication of a wait; the shard holds its bytes.
type kept struct {
	ref   shared.Ref
	place track.Place
}

// What is kept for one membership at most.
const (
	waitBytesMax = 1 << 20
	waitCountMax = 1 << 14
)

// keep keeps a push for a membership that waits; false when that cannot go on.
func (s *Shard) keep(m *hub.Member, h *fan.Held) bool {
	w := s.waits[m.Sub]
	form, v := m.Form, wire.Plain
	if m.Flags&flagDelta != 0 && !h.Signal && s.node.cfg.Forms[form].Payload() == proto.JSON {
		v = wire.Full // not there if the membership is younger than the publication
	}
	b, wanted := h.Forms.Bytes[v][form], !h.Spares(m.Slot)
	if wanted && m.Flags&flagFiltered != 0 && !h.Signal {
		wanted = s.fits(m, h)
	}
	switch {
	case wanted && b == nil && h.Bars(form):
		s.drop(m.Slot, channel.DropNotJSON, channel.DisconnectInappropriate)
		return false
	case w == nil:
	case len(w.kept) == waitCountMax:
		w.over = true
	case !wanted || b == nil:
		w.kept = append(w.kept, kept{place: h.Place}) // its place counts
	case w.bytes+b.Len() > waitBytesMax:
		w.over = true
	default:
		w.bytes += b.Len()
		b.Retain()
		w.kept = append(w.kept, kept{ref: s.l.Hold(b), place: h.Place})
	}
	return true
}

func (s *Shard) unhold(w *wait) {
	for _, k := range w.kept {
		if k.ref != 0 {
			s.l.Unhold(k.ref)
		}
	}
	w.kept = nil
}

// enter puts a positioned membership that has read the stream up to p into tracks.
func (s *Shard) enter(sub hub.Sub, p track.Place) {
	ch := s.hub.ChannelOf(sub)
	_, followed := s.tracks.At(ch)
	behind := s.tracks.Join(ch, p)
	if s.fan.Follow(ch, !followed) { // the round under way may still reach the member
		behind = true
	}
	if behind {
		s.extraOf(sub).floor = p
		s.hub.At(sub).Flags |= flagBehind
	}
}

// caughtUp notes that a member is where its channel is.
func (s *Shard) caughtUp(m *hub.Member, x *extra) {
	m.Flags &^= flagBehind
	x.floor = track.Place{}
	s.hub.At(m.Sub).Flags &^= flagBehind
	s.tidy(m.Sub)
}

// settled ends the waiting of a membership whose result has been queued: what was kept
// follows it, and others are told of it.
func (s *Shard) settled(slot uint32, ses *session.Session, sub hub.Sub) {
	m := s.hub.At(sub)
	if w := s.waits[sub]; w != nil {
		if s.flush(slot); !s.isOpen(ses) {
			return // writing failed, and with the conn the membership went
		}
		ok := s.sendKept(slot, sub, w)
		if !s.isOpen(ses) {
			return
		}
		delete(s.waits, sub)
		m.Flags &^= flagWaiting
		s.unhold(w)
		if !ok {
			m.Flags &^= flagPositioned // it was not entered in tracks
			s.node.stats.Insufficient.Add(1)
			s.expelLater(sub, channel.UnsubscribeInsufficientState, channel.DisconnectInsufficientState)
			return
		}
		if w.removed != nil {
			s.queue = append(s.queue, session.Input{Kind: session.KindRemoved, Channel: string(s.hub.Name(sub)), Unsubscribe: w.removed})
		}
	}
	if m.Flags&flagTells != 0 {
		m.Flags |= flagTold
		s.signal(slot, ses, sub, false)
	}
}

// sendKept sends what was kept in order and enters the membership in tracks; false
// when there is a gap.
func (s *Shard) sendKept(slot uint32, sub hub.Sub, w *wait) bool {
	if w.over {
		return false
	}
	m, at := s.hub.At(sub), w.place
	positioned := m.Flags&flagPositioned != 0
	for _, k := range w.kept {
		if positioned && k.place.Offset != 0 {
			switch {
			case k.place.Epoch == at.Epoch && k.place.Offset <= at.Offset:
				continue
			case k.place.Epoch != at.Epoch || k.place.Offset != at.Offset+1:
				return false
			}
			at = k.place
		}
		m.Flags &^= flagBased // by what was recovered: this came after it
		if k.ref == 0 {
			continue
		}
		got := s.l.Send(slot, k.ref)
		if got == loop.Gone {
			return true
		}
		if got == loop.OverLimit {
			s.node.stats.Dropped[channel.DropSlow].Add(1)
			s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: channel.DisconnectSlow.Disconnect()})
			break
		}
	}
	if positioned {
		s.enter(sub, at)
	}
	return true
}

// lost ends a membership that missed a publication: the client subscribes again and
// recovers, or comes back if the server made the membership.
func (s *Shard) lost(slot uint32, sub hub.Sub) {
	s.node.stats.Insufficient.Add(1)
	s.expel(slot, sub, channel.UnsubscribeInsufficientState, channel.DisconnectInsufficientState)
}

// expel ends a membership with the code, or the session when the server made it.
func (s *Shard) expel(slot uint32, sub hub.Sub, u channel.UnsubscribeCode, d channel.DisconnectCode) {
	if s.hub.At(sub).Flags&flagServerSide != 0 {
		s.disconnect(slot, d.Disconnect())
		return
	}
	s.run(slot, session.Input{Kind: session.KindRemoved, Channel: string(s.hub.Name(sub)), Unsubscribe: u.Unsubscribe()})
}

// expelLater is expel for a membership of the session being stepped.
func (s *Shard) expelLater(sub hub.Sub, u channel.UnsubscribeCode, d channel.DisconnectCode) {
	in := session.Input{Kind: session.KindRemoved, Channel: string(s.hub.Name(sub)), Unsubscribe: u.Unsubscribe()}
	if s.hub.At(sub).Flags&flagServerSide != 0 {
		in = session.Input{Kind: session.KindDisconnect, Disconnect: d.Disconnect()}
	}
	s.queue = append(s.queue, in)
}

// expires sets when the grant of a membership ends; 0 never.
func (s *Shard) expires(sub hub.Sub, at int64) {
	if at == 0 && s.hub.At(sub).Extra == 0 {
		return
	}
	x := s.extraOf(sub)
	if x.expireAt = at; at == 0 {
		s.expiries.Cancel(s.hub.At(sub).Extra)
		s.tidy(sub)
		return
	}
	seconds := min(max(at-s.l.Clock().Unix(), 0), expirySecondsMax)
	if s.hub.At(sub).Flags&flagServerRefresh == 0 {
		seconds += int64(s.node.cfg.ExpiredSubWait / time.Second)
	}
	seconds = max(seconds, 1)
	s.expiries.Set(s.hub.At(sub).Extra, s.expiries.Now()+wheel.Tick(seconds))
}

// expirySecondsMax is a year: what lasts longer is looked at again then.
const expirySecondsMax = 365 * 24 * 3600
