package node

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/loop/wheel"
	"shoal/pool/intern"
	"shoal/pool/slab"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/clientid"
	"shoal/server/node/evict"
	"shoal/server/node/fan"
	"shoal/server/node/pace"
	"shoal/server/node/recovery"
	"shoal/server/node/track"
	"shoal/server/rate"
	"shoal/server/session"
	"shoal/server/tenant"
)

// Shard is one loop's part of the node: the landing of the loop's conns and, with the
// guard of their commands and errors, the view of their sessions. It belongs to the loop.
type Shard struct {
	// Immutable after Use.
	node *Node
	l    *loop.Loop
	wire Wire
	*rate.Guard
	tenants *tenant.Desk // nil: there are none

	// Per conn, membership and channel, pointer-free.
	sessions *slab.Column[session.Session]
	slots    uint32 // sessions beyond are not in use
	users    *intern.Table
	infos    *intern.Table
	details  *slab.Column[detail] // of the few sessions that have some
	resuming resuming             // sessions that want to come back by a token
	latest   *slab.Column[latest] // by number of the user; with Config.SingleConn only
	hub      *hub.Hub
	extras   *slab.Slab[extra]
	filters  *intern.Table
	expiries *wheel.Wheel // of extras, in seconds
	tracks   *track.Tracks
	evict    *evict.Evictor

	// Sessions that wait for something.
	rests      map[uint32][]byte   // commands not looked at yet, by slot
	openings   map[uint32]*opening // connects with subscriptions or data, by slot
	waits      map[hub.Sub]*wait   // memberships that publications are kept for
	pace       *pace.Pace          // commands whose clients are to read first
	recoveries *recovery.Gate      // who recovers now

	fan      *fan.Out
	matching int // what filters cost the member being served

	// Scratch of one step.
	decoder   proto.Decoder
	command   proto.Command
	queue     []session.Input
	effects   []session.Effect
	out       []byte // replies of the present message
	inbound   []byte // the present message, transcoded
	outbound  []byte // its replies, transcoded
	viewing   *session.Session
	reply     replies
	callback  int64    // when it began, for spent
	parcels   uint64   // of the node, then
	leaving   []byte   // the channel of the membership that ends
	left      *opening // of a session that has connected; nil none
	ownData   []byte   // of the answer to an rpc of the node's own
	admission admission
	text      [clientid.Bytes]byte
	block     [16]byte
}

// What of the reply buffers is kept: between messages as much as a recovery of some length
// needs, for they come in rows; between two trims little.
const (
	outBytesKept = 1 << 20
	outBytesIdle = 64 << 10
)

// open marks a slot whose session is in use, in session.Session.Mark; the lower
// bits are its wire form.
const open = 0x80

func newShard(n *Node, l *loop.Loop) *Shard {
	s := &Shard{
		node: n, l: l, Guard: n.cfg.Rates.Guard(), tenants: n.cfg.Tenants.Desk(),
		sessions: slab.NewColumn[session.Session](),
		users:    intern.New(), infos: intern.New(), filters: intern.New(),
		details: slab.NewColumn[detail](), resuming: resuming{sessions: slab.NewColumn[resumption]()},
		latest:     slab.NewColumn[latest](),
		hub:        hub.New(),
		extras:     slab.New[extra](),
		tracks:     track.New(),
		rests:      map[uint32][]byte{},
		openings:   map[uint32]*opening{},
		waits:      map[hub.Sub]*wait{},
		recoveries: recovery.New(l, n.cfg.RecoveryBytesMax, &n.stats.Recoveries),
	}
	s.pace = pace.New(l)
	s.fan = fan.New(l, s.hub, s.tracks, n.cfg.Bytes, receivers{s})
	s.expiries, s.evict = wheel.New(0, s), evict.New(l, costs{s}, &n.stats.Evicted)
	return s
}

// Use sets the transport that the shard sends through. Before the loop runs.
func (s *Shard) Use(w Wire) { s.wire = w }

// Open begins a session for a conn that a transport opened.
func (s *Shard) Open(slot uint32, enc proto.Encoding, nativePing, deflated bool) {
	s.slots = max(s.slots, slot+1)
	ses := s.sessions.At(slot)
	if ses.Subs != 0 { // somebody's mistake left them; they are not this conn's
		s.leaveAll(slot, ses)
	}
	*ses = session.Session{Mark: open | uint8(s.form(enc, deflated))}
	s.Guard.Forget(slot)
	s.node.stats.Sessions.Add(1)
	s.run(slot, session.Input{Kind: session.KindOpened, Native: nativePing})
}

// form is the wire form of sessions with this encoding; without a deflated form
// the plain one serves.
func (s *Shard) form(enc proto.Encoding, deflated bool) hub.Form {
	best := -1
	for i, f := range s.node.cfg.Forms {
		if f.Encoding == enc && (f.Deflated == deflated || best < 0 && !f.Deflated) {
			best = i
		}
	}
	if best < 0 {
		panic(fmt.Sprintf("node: no wire form for encoding %s", enc))
	}
	return hub.Form(best)
}

func (s *Shard) formOf(ses *session.Session) hub.Form { return hub.Form(ses.Mark &^ open) }

func (s *Shard) encodingOf(ses *session.Session) proto.Encoding {
	return s.node.cfg.Forms[s.formOf(ses)].Encoding
}

// payloadOf is the encoding that the session's replies are made in.
func (s *Shard) payloadOf(ses *session.Session) proto.Encoding {
	return s.node.cfg.Forms[s.formOf(ses)].Payload()
}

// Alive notes that bytes arrived.
func (s *Shard) Alive(slot uint32) { s.run(slot, session.Input{Kind: session.KindBytes}) }

// Pong notes a pong frame.
func (s *Shard) Pong(slot uint32) { s.run(slot, session.Input{Kind: session.KindPong}) }

// Timer passes the conn's timer on.
func (s *Shard) Timer(slot uint32) {
	s.run(slot, session.Input{Kind: session.KindTimer, Pressed: s.fan.Pressed()})
}

// Shutdown ends the session because the server stops.
func (s *Shard) Shutdown(slot uint32) { s.disconnect(slot, channel.DisconnectShutdown.Disconnect()) }

// Flooded ends the session of a conn that sent too many control frames.
func (s *Shard) Flooded(slot uint32) {
	s.disconnect(slot, channel.DisconnectTooManyErrors.Disconnect())
}

// Cut ends the session of a conn with one of the largest backlogs.
func (s *Shard) Cut(slot uint32) { s.drop(slot, channel.DropLargest, channel.DisconnectSlow) }

// disconnect ends a session by the server's decision.
func (s *Shard) disconnect(slot uint32, d *channel.Disconnect) {
	if s.isOpen(s.sessions.At(slot)) {
		s.run(slot, session.Input{Kind: session.KindDisconnect, Disconnect: d})
	}
}

// Closed ends the session of a conn that is gone.
func (s *Shard) Closed(slot uint32, _ loop.Reason) {
	ses := s.sessions.At(slot)
	if !s.isOpen(ses) {
		return
	}
	s.parted(slot, ses, ses.State(), channel.DisconnectClosed.Disconnect())
	s.note(ses.State(), session.StateClosing)
	s.leaveAll(slot, ses)
	s.retire(slot, ses)
	s.node.cfg.Entry.Leave(s.user(ses))
	s.identify(ses, nil, nil)
	s.forget(slot)
	*ses = session.Session{}
	s.node.stats.Sessions.Add(-1)
}

func (s *Shard) isOpen(ses *session.Session) bool { return ses.Mark&open != 0 }

// Subscribed implements [session.View] for the session being stepped.
func (s *Shard) Subscribed(name string) bool {
	sub := s.hub.Find(hub.List(s.viewing.Subs), bytesOf(name))
	// One that the API is making is not there yet: the session hears of it by KindAdded.
	return sub != 0 && s.hub.At(sub).Flags&(flagServerSide|flagWaiting) != flagServerSide|flagWaiting
}

// ServerRefreshed implements [session.View].
func (s *Shard) ServerRefreshed(name string) bool {
	sub := s.hub.Find(hub.List(s.viewing.Subs), bytesOf(name))
	return sub != 0 && s.hub.At(sub).Flags&(flagServerRefresh|flagServerSide) != 0
}

// run steps a session and sends what it replied.
func (s *Shard) run(slot uint32, in session.Input) {
	s.out = s.out[:0]
	s.step(slot, in)
	s.flush(slot)
}

// step feeds an input to the session and performs the effects.
func (s *Shard) step(slot uint32, in session.Input) {
	s.queue = append(s.queue[:0], in)
	s.settle(slot)
}

// settle feeds what is queued to the session; outcomes of the effects are queued
// behind it and follow.
func (s *Shard) settle(slot uint32) {
	ses := s.sessions.At(slot)
	for i := 0; i < len(s.queue) && s.isOpen(ses); i++ {
		next := &s.queue[i]
		next.Now = session.Tick(s.l.Now())
		if next.Kind != session.KindBytes {
			next.Rand, next.View = rand.Uint32(), s
			s.Guard.Watch(slot, s.l.Clock())
		}
		s.viewing = ses
		before, missed := ses.State(), ses.Missed()
		s.effects = ses.Step(&s.node.cfg.Session, next, s.effects[:0])
		s.note(before, ses.State())
		noPong := false
		if n := len(s.effects); n > 0 && s.effects[n-1].Kind == session.EffectDisconnect {
			why := s.effects[n-1].Disconnect
			noPong = before == session.StateActive && why.Code == uint32(channel.DisconnectNoPong)
			s.parted(slot, ses, before, why)
			s.closing(slot, next, why)
		}
		if noPong || ses.Missed() > missed {
			s.node.stats.PongsMissed.Add(1)
		}
		for j := 0; j < len(s.effects) && s.isOpen(ses); j++ {
			s.perform(slot, ses, &s.effects[j])
		}
	}
}

// note keeps the gauges of states.
func (s *Shard) note(from, to session.State) {
	if from == to {
		return
	}
	change(&s.node.stats.Connected, connected(from), connected(to))
	change(&s.node.stats.Dormant, from == session.StateDormant, to == session.StateDormant)
}

func connected(st session.State) bool { return st == session.StateActive || st == session.StateDormant }

// parted tells of a session that ends now and was in state before.
func (s *Shard) parted(slot uint32, ses *session.Session, before session.State, why *channel.Disconnect) {
	if s.node.cfg.Ended != nil && connected(before) {
		s.node.cfg.Ended(s.client(slot, ses), *why)
	}
}

// change counts one more, one less, or none.
func change(gauge *atomic.Int64, was, is bool) {
	switch {
	case is && !was:
		gauge.Add(1)
	case was && !is:
		gauge.Add(-1)
	}
}

// identify gives the session another user and info; nil releases them.
func (s *Shard) identify(ses *session.Session, user, info []byte) {
	set := func(t *intern.Table, id *uint32, v []byte) {
		old := *id
		*id = 0
		if len(v) > 0 {
			*id = t.Acquire(v)
		}
		if old != 0 {
			t.Release(old)
		}
	}
	users, infos := s.users.Len(), s.infos.Len()
	set(s.users, &ses.User, user)
	set(s.infos, &ses.Info, info)
	users, infos = s.users.Len()-users, s.infos.Len()-infos
	s.node.stats.Users.Add(int64(users))
	s.node.stats.Interned.Add(int64(users + infos))
}

// user is the session's user, empty for the anonymous; valid until it is released.
func (s *Shard) user(ses *session.Session) string { return view(s.users, ses.User) }

func (s *Shard) info(ses *session.Session) []byte { return bytesOf(view(s.infos, ses.Info)) }

func view(t *intern.Table, id uint32) string {
	if id == 0 {
		return ""
	}
	return stringOf(t.Bytes(id))
}

// clientID is the conn's client id, valid until the next call.
func (s *Shard) clientID(slot uint32) string {
	return stringOf(s.node.ids.Append(s.text[:0], &s.block, s.l.ID(slot)))
}

// Trim gives memory back that a burst of conns, channels or publications left.
func (s *Shard) Trim() {
	s.hub.Trim()
	s.tracks.Trim()
	s.extras.Trim()
	s.filters.Trim()
	s.users.Trim()
	s.infos.Trim()
	s.trimScratch()
	s.sessions.Trim(s.l.HoldsChunk)
	s.details.Trim(s.l.HoldsChunk)
	s.resuming.sessions.Trim(s.l.HoldsChunk)
	s.latest.Trim(s.holdsLatest)
	s.Guard.Trim(s.l.HoldsChunk)
	s.tenants.Trim(s.l.HoldsChunk)
	for s.slots > 0 && s.sessions.Peek(s.slots-1) == nil {
		s.slots = (s.slots - 1) &^ (slab.ChunkSlots - 1)
	}
}

// trimScratch drops what idle fan-outs and the longest message left.
func (s *Shard) trimScratch() {
	s.fan.Trim()
	s.recoveries.Trim()
	if len(s.rests) == 0 {
		s.rests = map[uint32][]byte{}
	}
	if len(s.openings) == 0 {
		s.openings = map[uint32]*opening{}
	}
	if len(s.waits) == 0 {
		s.waits = map[hub.Sub]*wait{}
	}
	if cap(s.queue) > scratchKept || cap(s.effects) > scratchKept {
		s.queue, s.effects = nil, nil
	}
	if cap(s.out)+cap(s.outbound)+cap(s.inbound) > outBytesIdle {
		s.out, s.outbound, s.inbound = nil, nil, nil
	}
	s.reply, s.admission, s.left = replies{}, admission{}, nil
}

// scratchKept is the length of a step's scratch lists that is never given back.
const scratchKept = 64
