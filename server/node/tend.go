package node

import (
	"bytes"
	"context"
	"math/rand/v2"

	"shoal/loop"
	"shoal/loop/wheel"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/track"
	"shoal/server/session"
)

// Tend is to be called on the loop about once a second: it ends subscriptions whose
// grants ran out, and sessions of tenants for whose slow clients too much waits. backlog is
// what waits for all of the node.
func (s *Shard) Tend(backlog int64) {
	s.recoveries.Tend()
	s.tenants.Relieve(s.l, backlog, func(slot uint32) bool {
		if ses := s.sessions.Peek(slot); ses == nil || !s.isOpen(ses) {
			return false
		}
		defer s.l.Caught(slot)
		s.Cut(slot)
		return true
	})
	var due []due
	s.expiries.Advance(s.expiries.Now()+1, func(x uint32) { due = append(due, dueOf(s, x)) })
	for _, d := range due { // one may end others
		if s.extras.Live(d.extra, d.generation) {
			s.ranOut(s.extras.At(d.extra).sub)
		}
	}
}

// due is a membership whose time has come.
type due struct{ extra, generation uint32 }

func dueOf(s *Shard, x uint32) due { return due{x, s.extras.Generation(x)} }

// ranOut asks the backend whether a membership may go on, or ends it.
func (s *Shard) ranOut(sub hub.Sub) {
	slot := s.hub.Slot(sub)
	defer s.l.Caught(slot)
	if s.waits[sub] != nil { // when it has been made
		s.expiries.Set(s.hub.At(sub).Extra, s.expiries.Now()+1)
		return
	}
	x := s.extras.At(s.hub.At(sub).Extra)
	if now := s.l.Clock().Unix(); x.expireAt > now {
		s.expires(sub, x.expireAt) // more than a year
		return
	}
	opts, e := s.node.cfg.Session.Rules.Resolve(stringOf(s.hub.Name(sub)))
	if s.hub.At(sub).Flags&flagServerRefresh != 0 && e == nil && s.asks(backend.SubRefresh, "", opts) {
		s.renewSub(slot, sub)
		return
	}
	s.expel(slot, sub, channel.UnsubscribeExpired, channel.DisconnectSubExpired)
}

// renewSub asks the backend; without an answer, once it was asked, the membership ends.
func (s *Shard) renewSub(slot uint32, sub hub.Sub) {
	name := string(s.hub.Name(sub))
	asked := dueOf(s, s.hub.At(sub).Extra)
	r := &backend.SubRefreshRequest{Client: s.client(slot, s.sessions.At(slot)), Channel: name}
	var reply *backend.SubRefreshReply
	told := func(slot uint32, ses *session.Session) {
		sub := s.hub.Find(hub.List(ses.Subs), bytesOf(name))
		switch {
		case sub == 0 || dueOf(s, s.hub.At(sub).Extra) != asked: // ended, and subscribed anew perhaps
		case reply != nil && reply.Disconnect != nil:
			s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: reply.Disconnect})
		case reply == nil || reply.Refused() || reply.Expired || reply.ExpireAt > 0 && reply.ExpireAt <= s.l.Clock().Unix():
			s.expelLater(sub, channel.UnsubscribeExpired, channel.DisconnectSubExpired)
		default:
			info := reply.Info
			if x := s.hub.At(sub).Extra; info == nil && x != 0 && s.extras.At(x).info != 0 {
				info = bytes.Clone(s.infos.Bytes(s.extras.At(x).info))
			}
			s.extend(sub, info, max(reply.ExpireAt, 0))
		}
	}
	if s.later(slot, func(ctx context.Context) { reply, _ = s.node.cfg.Backend.SubRefresh(ctx, r) }, told) != nil {
		s.expiries.Set(s.hub.At(sub).Extra, s.expiries.Now()+wheel.Tick(s.postponed()))
	}
}

// postponed counts a question about what ended that no worker had time for, and says in
// how many seconds it is asked again: until then all goes on, and not all come together.
func (s *Shard) postponed() int64 {
	s.node.stats.RenewalsPostponed.Add(1)
	return 2 + rand.Int64N(4)
}

// TellSignals tells the joins and leaves that were collected for big channels. To be
// called about once a second, on any goroutine but a loop's.
func (n *Node) TellSignals() { n.presence.flush(n.tell) }

// CheckPositions compares the streams of the loops with those of the broker, so that
// members learn of publications that were lost on the way although no other follows.
// What was missing at the check before and still is counts. To be called once in a
// while, on any goroutine but a loop's.
func (n *Node) CheckPositions(ctx context.Context) error {
	tops := make([]tops, len(n.shards))
	if err := n.ask(ctx, func(s *Shard, from uint32) (uint32, bool) {
		return s.tracks.Each(from, checkSlice, func(ch uint32) {
			tops[s.l.Index()].names = append(tops[s.l.Index()].names, string(s.hub.NameOf(ch)))
		})
	}); err != nil {
		return err
	}
	for i := range tops {
		tops[i].read(ctx, n)
	}
	return n.ask(ctx, func(s *Shard, from uint32) (uint32, bool) {
		return tops[s.l.Index()].compare(s, from)
	})
}

// tops are the streams of one loop's channels, as the broker has them.
type tops struct {
	names []string
	at    []track.Place // Offset 0 and Epoch 0: not known
}

// checkSlice is the number of channels compared per slice.
const checkSlice = 512

func (t *tops) read(ctx context.Context, n *Node) {
	t.at = make([]track.Place, len(t.names))
	for i, name := range t.names {
		opts, e := n.cfg.Session.Rules.Resolve(name)
		if e != nil {
			continue
		}
		_, top, err := n.broker.History(ctx, name, broker.HistoryQuery{Peek: true, MetaTTL: opts.HistoryMetaTTL}, nil)
		if err == nil {
			t.at[i] = track.Place{Offset: top.Offset, Epoch: track.Epoch(n.seed, top.Epoch)}
		}
	}
}

func (t *tops) compare(s *Shard, from uint32) (next uint32, more bool) {
	end := min(int(from)+checkSlice, len(t.names))
	for i := int(from); i < end; i++ {
		ch, here := s.hub.ID(bytesOf(t.names[i]))
		if !here || t.at[i] == (track.Place{}) {
			continue
		}
		all, some := s.tracks.Check(ch, t.at[i]), s.tracks.Laggards(ch)
		if !all && !some {
			continue
		}
		if c, ok := s.hub.Begin(bytesOf(t.names[i])); ok {
			s.l.Work(&losing{s, c, t.at[i], all})
		}
	}
	return uint32(end), end < len(t.names)
}

// losing ends the positioned memberships of a channel, in slices, but for those that
// have read the stream to its top by themselves.
type losing struct {
	s      *Shard
	cursor hub.Cursor
	top    track.Place
	all    bool // else only those that are not where the channel is
}

func (w *losing) has(m *hub.Member) bool {
	if m.Flags&flagPositioned == 0 || m.Flags&flagWaiting != 0 {
		return true
	}
	if m.Flags&flagBehind == 0 {
		return !w.all
	}
	floor := w.s.extras.At(w.s.hub.At(m.Sub).Extra).floor
	return floor.Epoch == w.top.Epoch && floor.Offset >= w.top.Offset
}

// Slice implements [loop.Work].
func (w *losing) Slice(*loop.Loop) (more bool) {
	members := w.s.hub.Next(&w.cursor, nil, actSlice)
	for _, m := range members {
		if !w.has(&m) {
			w.s.lostOne(m)
		}
	}
	if len(members) < actSlice {
		w.s.hub.End(&w.cursor)
		return false
	}
	return true
}

func (s *Shard) lostOne(m hub.Member) {
	defer s.l.Caught(m.Slot)
	s.lost(m.Slot, m.Sub)
}
