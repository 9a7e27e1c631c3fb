package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/server/auth"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/recovery"
	"shoal/server/session"
)

// Target picks sessions: those of a user, or the one with the client id, or both
// must fit; never one whose client id is in Spare.
type Target struct {
	User   string
	Client string
	Spare  []string
}

// matches says whether the session is one of those.
func (s *Shard) matches(who *Target, slot uint32, ses *session.Session) bool {
	if who.User != "" && s.user(ses) != who.User {
		return false
	}
	return len(who.Spare) == 0 || !slices.Contains(who.Spare, s.clientID(slot))
}

// each calls f for every session that fits, on its loop, and returns how many there
// were.
func (n *Node) each(ctx context.Context, who Target, f func(s *Shard, slot uint32, ses *session.Session)) (int, error) {
	var count atomic.Int64
	act := func(s *Shard, slot uint32, ses *session.Session) (acted bool) {
		defer s.l.Caught(slot)
		if !s.matches(&who, slot, ses) {
			return false
		}
		f(s, slot, ses)
		count.Add(1)
		return true
	}
	all := eachSession(act)
	part := func(s *Shard, from uint32) (uint32, bool) {
		if who.User != "" {
			if _, here := s.users.LookupString(who.User); !here {
				return 0, false
			}
		}
		return all(s, from)
	}
	if who.Client != "" {
		id, ok := n.ids.Parse(strings.ToLower(who.Client))
		if !ok {
			return 0, nil // of another node, or invented
		}
		part = func(s *Shard, _ uint32) (uint32, bool) {
			if slot, ok := s.l.Lookup(id); ok {
				if ses := s.sessions.Peek(slot); ses != nil && s.isOpen(ses) {
					act(s, slot, ses)
				}
			}
			return 0, false
		}
	}
	err := n.ask(ctx, part)
	return int(count.Load()), err
}

// Disconnect ends the sessions that fit. It returns their number when the close
// frames are on their way.
func (n *Node) Disconnect(ctx context.Context, who Target, d channel.Disconnect) (int, error) {
	n.revokeUser(ctx, &who, "", false)
	return n.each(ctx, who, func(s *Shard, slot uint32, _ *session.Session) {
		s.revoke(slot)
		s.disconnect(slot, &d)
	})
}

// Refresh sets when the credentials of the sessions that fit end, Unix seconds, 0 never;
// expired ends the sessions. Info replaces theirs unless it is nil.
func (n *Node) Refresh(ctx context.Context, who Target, expired bool, expireAt int64, info []byte) (int, error) {
	n.revokeUser(ctx, &who, "", false) // their tokens say something else
	return n.each(ctx, who, func(s *Shard, slot uint32, ses *session.Session) {
		s.revoke(slot)
		s.granted(slot, expireAt)
		if info != nil && !expired {
			s.identify(ses, slices.Clone(bytesOf(s.user(ses))), info)
		}
		s.run(slot, session.Input{Kind: session.KindExtended, Expired: expired, ExpireAt: expireAt, Unix: s.l.Clock().Unix()})
	})
}

// Unsubscribe ends the subscription to a channel, or all if it is empty, of the
// sessions that fit.
func (n *Node) Unsubscribe(ctx context.Context, who Target, name string, u channel.Unsubscribe) (int, *channel.Error) {
	if name != "" {
		if _, e := n.cfg.Session.Rules.Resolve(name); e != nil {
			return 0, e
		}
	}
	count, err := n.unsubscribe(ctx, who, name, u)
	if err != nil {
		return count, n.failure("unsubscribe failed", err)
	}
	return count, nil
}

func (n *Node) unsubscribe(ctx context.Context, who Target, name string, u channel.Unsubscribe) (int, error) {
	n.revokeUser(ctx, &who, name, true)
	return n.each(ctx, who, func(s *Shard, slot uint32, ses *session.Session) {
		var names []string
		s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
			if name == "" || name == string(s.hub.Name(sub)) {
				names = append(names, string(s.hub.Name(sub)))
			}
			return true
		})
		for _, each := range names {
			s.remove(slot, ses, each, &u)
		}
	})
}

// remove ends a membership by the server's decision; one that is being made, when it
// has been.
func (s *Shard) remove(slot uint32, ses *session.Session, name string, u *channel.Unsubscribe) {
	sub := s.hub.Find(hub.List(ses.Subs), bytesOf(name))
	if sub == 0 {
		return
	}
	if w := s.waits[sub]; w != nil {
		w.removed = u
		return
	}
	s.run(slot, session.Input{Kind: session.KindRemoved, Channel: name, Unsubscribe: u})
}

// Subscription is one that the server makes.
type Subscription struct {
	Channel  string
	Info     []byte // chan_info; nil none
	Data     []byte // of the push; nil none
	Since    *channel.Position
	ExpireAt int64 // Unix seconds; 0 never
	Override *channel.Override
}

// Subscribe subscribes the sessions that fit and are connected.
func (n *Node) Subscribe(ctx context.Context, who Target, sub Subscription) (int, *channel.Error) {
	opts, e := n.cfg.Session.Rules.Resolve(sub.Channel)
	if e != nil {
		return 0, e
	}
	count, err := n.each(ctx, who, func(s *Shard, slot uint32, ses *session.Session) {
		if st := ses.State(); st != session.StateActive && st != session.StateDormant {
			return
		}
		s.outcome(slot, func(ses *session.Session) {
			a := &admission{
				origin: byServer, name: sub.Channel, opts: opts,
				grant: auth.Grant{Info: sub.Info, Data: sub.Data, Override: sub.Override, ExpireAt: sub.ExpireAt},
			}
			if sub.Since != nil {
				a.since, a.recovers = *sub.Since, true
			}
			if r := s.admit(slot, ses, a); r.Refused() {
				s.failed(slot, ses, a, r)
			}
		})
	})
	if err != nil {
		return count, n.failure("subscribe failed", err)
	}
	return count, nil
}

// historyBytesMax bounds what one call of the API reads of a history: it is made on a
// goroutine of its own, for a caller that is trusted, but in memory.
const historyBytesMax = 64 << 20

// History reads what a channel keeps, 64 MiB at most: who asks on behind the last
// publication gets the rest.
func (n *Node) History(ctx context.Context, name string, q broker.HistoryQuery) ([]channel.Publication, channel.Position, *channel.Error) {
	opts, e := n.hasHistory(name)
	if e != nil {
		return nil, channel.Position{}, e
	}
	if q.Since != nil && q.Reverse && q.Since.Offset == 0 {
		return nil, channel.Position{}, channel.ErrBadRequest.Err() // nothing can be before it
	}
	q.Limit, q.Peek, q.MetaTTL = limited(q.Limit, n.cfg.HistoryMax), true, opts.HistoryMetaTTL
	pubs, top, err := n.broker.History(ctx, name, q, nil)
	if err != nil {
		return nil, channel.Position{}, n.failure("history was not read", err)
	}
	return recovery.Page(pubs, historyBytesMax), top, nil
}

// RemoveHistory forgets what a channel keeps.
func (n *Node) RemoveHistory(ctx context.Context, name string) *channel.Error {
	if _, e := n.hasHistory(name); e != nil {
		return e
	}
	if err := n.broker.RemoveHistory(ctx, name); err != nil {
		return n.failure("history was not removed", err)
	}
	return nil
}

func (n *Node) hasHistory(name string) (*channel.Options, *channel.Error) {
	opts, e := n.cfg.Session.Rules.Resolve(name)
	if e == nil && opts.HistorySize == 0 {
		e = channel.ErrNotAvailable.Err()
	}
	return opts, e
}

// Connection is one session as it is now.
type Connection struct {
	Client   string
	User     string
	Encoding string
	Remote   string
	State    string
	Info     []byte
	Channels []string
	Backlog  int // bytes
}

// Connections lists sessions that fit, in order of their client ids, behind the id
// after, at most limit; with a channel only its members.
func (n *Node) Connections(ctx context.Context, who Target, name, after string, limit int) ([]Connection, error) {
	var mu sync.Mutex
	var found []Connection
	prune := func() {
		slices.SortFunc(found, func(a, b Connection) int { return strings.Compare(a.Client, b.Client) })
		found = found[:min(len(found), limit)]
	}
	_, err := n.each(ctx, who, func(s *Shard, slot uint32, ses *session.Session) {
		id := s.clientID(slot)
		if id <= after || name != "" && !s.hub.Subscribed(hub.List(ses.Subs), bytesOf(name)) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if len(found) >= 4*limit {
			prune()
		}
		found = append(found, s.connection(slot, ses, strings.Clone(id)))
	})
	if err != nil { // loops may still be at it
		return nil, err
	}
	prune()
	return found, nil
}

// connection describes a session; nothing of it aliases.
func (s *Shard) connection(slot uint32, ses *session.Session, id string) Connection {
	c := Connection{
		Client: id, User: strings.Clone(s.user(ses)), Encoding: s.encodingOf(ses).String(), State: ses.State().String(),
		Info: slices.Clone(s.info(ses)), Backlog: s.l.Backlog(slot),
	}
	if peer, err := s.l.Peer(slot); err == nil {
		c.Remote = peer.String()
	}
	s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
		c.Channels = append(c.Channels, string(s.hub.Name(sub)))
		return true
	})
	slices.Sort(c.Channels)
	return c
}
