package node

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"shoal/codec/proto"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// opening is a session that connects: what its reply will say.
type opening struct {
	data    []byte
	wishes  map[string]wish // positions of server-side subscriptions, by channel
	token   []string        // channels that the token names
	results map[string]*proto.SubscribeResult

	recovered int  // bytes of publications in results
	turn      bool // it recovers

	room  []proto.SubscribeResult // for results
	taken int                     // of room

	resumed  bool                // who it is, and its subscriptions, come from a resume token
	lineage  uint64              // of that token, as the next two
	issuedAt int64               //
	tenant   string              //
	restored []restored          // what it says
	names    []byte              // of restored
	subs     []channel.ServerSub // of restored
	made     int                 // of restored
}

// openingSubsKept bounds the room that an opening leaves for the next: in a storm they
// come in rows.
const openingSubsKept = 64

func (s *Shard) opening(slot uint32) *opening {
	o := s.openings[slot]
	if o == nil {
		o = s.takeOpening()
		s.openings[slot] = o
	}
	return o
}

// takeOpening makes an opening, if it can of what another left.
func (s *Shard) takeOpening() *opening {
	o := s.left
	if s.left = nil; o == nil {
		o = &opening{results: map[string]*proto.SubscribeResult{}}
	}
	return o
}

// leaveOpening leaves what an opening that is over had room for.
func (s *Shard) leaveOpening(o *opening) {
	if len(o.room) > openingSubsKept || len(o.restored) > openingSubsKept {
		return
	}
	clear(o.results)
	clear(o.room)
	clear(o.restored)
	clear(o.subs)
	*o = opening{results: o.results, room: o.room, restored: o.restored[:0], names: o.names[:0], subs: o.subs[:0]}
	s.left = o
}

// identity is who a session turned out to be.
type identity struct {
	cred    auth.Credentials
	data    []byte // for the connect result
	refusal channel.Refusal
	failed  *auth.Error
	token   string
	renewed bool // the backend renews the credentials when they end
	asks    bool // channels that the client names by itself may be subscribed to
}

// authenticate performs session.EffectAuthenticate.
func (s *Shard) authenticate(slot uint32, ses *session.Session, e *session.Effect) {
	r, id := e.Command.Connect, e.ID
	s.emulate(slot, r.Headers)
	if s.resume(slot, ses, e) {
		return
	}
	who := identity{token: r.Token, renewed: s.asks(backend.Refresh, "", nil), asks: true}
	refusal := s.node.cfg.Entry.Connect(s.l.Clock(), false)
	switch {
	case refusal.Refused():
	case r.Token != "" && s.node.cfg.Auth.SlowConnect(r.Token):
		refusal.Err = s.authenticateLater(slot, r, id, who)
	case r.Token == "" && s.asks(backend.Connect, "", nil):
		refusal.Err = s.askConnect(slot, ses, r, id, who)
	default:
		if user := s.headerUser(slot); r.Token == "" && user != "" {
			who.cred.User = user
		} else {
			who.cred, who.refusal, who.failed = s.node.cfg.Auth.Connect(r.Token, s.l.Clock())
		}
		s.identified(slot, ses, id, &who, r.Subs)
	}
	if refusal.Refused() {
		s.queue = append(s.queue, session.Input{Kind: session.KindAuthenticated, ID: id, Refusal: refusal})
	}
}

// authenticateLater has a token verified on a worker.
func (s *Shard) authenticateLater(slot uint32, r *proto.ConnectRequest, id uint32, who identity) *channel.Error {
	who.token = strings.Clone(r.Token)
	who.refusal = channel.RefuseDisconnect(channel.DisconnectServerError)
	subs, now := cloneSubs(r.Subs), s.l.Clock()
	return s.later(slot, func(context.Context) {
		who.cred, who.refusal, who.failed = s.node.cfg.Auth.Connect(who.token, now)
	}, func(slot uint32, ses *session.Session) { s.identified(slot, ses, id, &who, subs) })
}

// askConnect asks the backend who a client without a token is.
func (s *Shard) askConnect(slot uint32, ses *session.Session, r *proto.ConnectRequest, id uint32, who identity) *channel.Error {
	q := &backend.ConnectRequest{
		Client: s.client(slot, ses), Data: bytes.Clone(r.Data), Name: strings.Clone(r.Name), Version: strings.Clone(r.Version),
	}
	subs := cloneSubs(r.Subs)
	q.Channels = slices.Sorted(maps.Keys(subs))
	var reply *backend.ConnectReply
	var tenant string
	return s.later(slot, func(ctx context.Context) {
		if reply, _ = s.node.cfg.Backend.Connect(ctx, q); reply != nil {
			tenant = s.tenants.Named(reply.Meta)
		}
	}, func(slot uint32, ses *session.Session) {
		switch {
		case reply == nil:
			who.refusal = channel.RefuseDisconnect(channel.DisconnectServerError)
		case reply.Unknown:
			who.cred, who.refusal, who.failed = s.node.cfg.Auth.Connect("", s.l.Clock())
		default:
			who.refusal, who.data, who.asks = reply.Refusal, reply.Data, false
			who.cred = auth.Credentials{User: reply.User, ExpireAt: reply.ExpireAt, Info: reply.Info, Meta: reply.Meta, Subs: reply.Subs, Tenant: tenant}
		}
		s.identified(slot, ses, id, &who, subs)
	})
}

// cloneSubs is the subs of a connect command, for later.
func cloneSubs(subs map[string]*proto.SubscribeRequest) map[string]*proto.SubscribeRequest {
	if len(subs) == 0 {
		return nil
	}
	out := make(map[string]*proto.SubscribeRequest, len(subs))
	for name, r := range subs {
		out[strings.Clone(name)] = &proto.SubscribeRequest{
			Recover: r.GetRecover(), Offset: r.GetOffset(), Epoch: strings.Clone(r.GetEpoch()), Delta: strings.Clone(r.GetDelta()),
		}
	}
	return out
}

// identified goes on with a connect whose sender is known or refused.
func (s *Shard) identified(slot uint32, ses *session.Session, id uint32, who *identity, asked map[string]*proto.SubscribeRequest) {
	s.countToken(who.token, who.failed)
	cred, refusal := who.cred, who.refusal
	if !refusal.Refused() && !utf8.ValidString(cred.User) { // no wire form could tell it to others
		refusal = channel.RefuseDisconnect(channel.DisconnectBadRequest)
	}
	var named []string // by the token
	if who.token != "" {
		for i := range cred.Subs {
			named = append(named, cred.Subs[i].Channel)
		}
	}
	if refusal = s.tenants.Enter(slot, cred.Tenant, cred.Subs, refusal); !refusal.Refused() {
		cred.Subs, refusal = s.connectSubs(slot, cred, who, asked)
	}
	if refusal = s.node.cfg.Entry.Enter(cred.User, refusal); refusal.Refused() {
		s.tenants.Left(slot)
	} else {
		s.identify(ses, bytesOf(cred.User), cred.Info)
		s.setMeta(slot, cred.Meta)
		s.granted(slot, cred.ExpireAt)
		if len(cred.Subs) > 0 || len(who.data) > 0 {
			o := s.opening(slot)
			o.data, o.token = who.data, named
			for name, r := range asked {
				if o.wishes == nil {
					o.wishes = map[string]wish{}
				}
				w, _ := wishOf(&proto.SubscribeRequest{Recover: r.GetRecover(), Offset: r.GetOffset(), Epoch: strings.Clone(r.GetEpoch()), Delta: strings.Clone(r.GetDelta())})
				o.wishes[strings.Clone(name)] = w
			}
		}
	}
	s.enters(slot, ses, &session.Input{
		Kind: session.KindAuthenticated, ID: id, Refusal: refusal, ServerRefresh: who.renewed,
		Unix: s.l.Clock().Unix(), ExpireAt: cred.ExpireAt, Subs: cred.Subs,
	})
}

// enters goes on with a session whose user is known. One that recovers by its connect has
// its turn for all its subscriptions together.
func (s *Shard) enters(slot uint32, ses *session.Session, in *session.Input) {
	o := s.openings[slot]
	if !in.Refusal.Refused() && o != nil && s.recovers(ses, o, in.Subs) {
		if o.turn = true; !s.recoveries.Enter(slot) {
			s.entersLater(slot, o, *in)
			return
		}
	}
	s.queue = append(s.queue, *in)
}

func (s *Shard) entersLater(slot uint32, o *opening, in session.Input) {
	s.awaitTurn(slot, o.resumed, func(ses *session.Session, ok bool) {
		in.Unix = s.l.Clock().Unix()
		if !ok {
			in.Refusal = channel.RefuseForNow()
		} else if o.resumed {
			s.resumesLater(ses, o)
			in.Subs = o.asked()
		}
		s.queue = append(s.queue, in)
	})
}

// recovers says whether a connect may recover something.
func (s *Shard) recovers(ses *session.Session, o *opening, subs []channel.ServerSub) bool {
	for i := range subs {
		if o.wishes[subs[i].Channel].recovers || o.resumed && o.restored[i].recovers {
			return true
		}
		if opts, e := s.node.cfg.Session.Rules.Resolve(subs[i].Channel); e == nil && opts.Acknowledge && ses.User != 0 {
			return true
		}
	}
	return false
}

// connectSubs adds to the subscriptions of the credentials the user's personal channel
// and, in order of their names, the channels that a connect command names by itself.
// Nothing is written behind the backend's subscriptions, which many clients may share.
func (s *Shard) connectSubs(slot uint32, cred auth.Credentials, who *identity, asked map[string]*proto.SubscribeRequest) ([]channel.ServerSub, channel.Refusal) {
	subs, names := slices.Clip(cred.Subs), make(map[string]bool, len(cred.Subs)+1)
	for i := range subs {
		names[subs[i].Channel] = true
	}
	if name, ok := s.node.cfg.Auth.PersonalChannel(cred.User); ok && !names[name] {
		subs, names[name] = append(subs, channel.ServerSub{Channel: name}), true
	}
	if !who.asks {
		return subs, channel.Refusal{}
	}
	if limit := s.node.cfg.Session.ChannelsMax; limit > 0 && len(asked) > limit {
		return nil, channel.RefuseDisconnect(channel.DisconnectChannelLimit)
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if names[name] || !s.tenants.May(slot, name) {
			continue
		}
		ok, refusal := s.node.cfg.Auth.Requested(cred.User, name)
		if refusal.Refused() {
			return nil, refusal
		}
		if ok {
			subs = append(subs, channel.ServerSub{Channel: strings.Clone(name)})
		}
	}
	return subs, channel.Refusal{}
}

// subscribeConnecting makes a subscription that comes with the connect.
func (s *Shard) subscribeConnecting(slot uint32, ses *session.Session, e *session.Effect) {
	if o := s.opening(slot); o.resumed {
		s.restore(slot, ses, e, o)
		return
	}
	a := &s.admission
	*a = admission{
		origin: byConnect, id: e.ID, name: e.Channel, opts: e.Options, wish: s.opening(slot).wishes[e.Channel],
		grant: auth.Grant{Info: e.Sub.Info, Data: e.Sub.Data, Override: e.Sub.Override},
		token: slices.Contains(s.opening(slot).token, e.Channel),
	}
	if r := s.admit(slot, ses, a); r.Refused() {
		s.failed(slot, ses, a, r)
	}
}

// connectResult fills the connect result.
func (s *Shard) connectResult(slot uint32, ses *session.Session, e *session.Effect) {
	c := &s.reply.connect
	c.Reset()
	c.Client, c.Version = s.clientID(slot), s.node.cfg.Version
	c.Expires, c.Ttl, c.Ping, c.Pong = e.Expires, e.TTL, e.Ping, e.Pong
	if s.node.cfg.ServerTime {
		c.Time = s.l.Clock().UnixMilli()
	}
	c.Resume = s.resumeToken(slot, ses)
	if o := s.openings[slot]; o != nil {
		c.Data, c.Resumed = o.data, o.resumed
		if len(o.results) > 0 {
			c.Subs = o.results
		}
	}
}

// opened ends the waiting of what came with the connect, now that its reply is queued.
func (s *Shard) opened(slot uint32, ses *session.Session) {
	o := s.openings[slot]
	if o == nil {
		return
	}
	if o.turn {
		s.recoveries.Done(slot, nil) // also when it found nothing to recover
	}
	delete(s.openings, slot)
	s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
		s.settled(slot, ses, sub)
		return s.isOpen(ses)
	})
	s.leaveOpening(o)
}

// refresh performs session.EffectRefresh.
func (s *Shard) refresh(slot uint32, ses *session.Session, e *session.Effect) {
	token, id, now := e.Command.Refresh.Token, e.ID, s.l.Clock()
	if !s.node.cfg.Auth.SlowConnect(token) {
		cred, refusal, failed := s.node.cfg.Auth.Refresh(s.user(ses), token, now)
		s.refreshed(slot, ses, id, token, cred, refusal, failed)
		return
	}
	user, refusal := strings.Clone(s.user(ses)), channel.RefuseDisconnect(channel.DisconnectServerError)
	token = strings.Clone(token)
	var cred auth.Credentials
	var failed *auth.Error
	if err := s.later(slot, func(context.Context) {
		cred, refusal, failed = s.node.cfg.Auth.Refresh(user, token, now)
	}, func(slot uint32, ses *session.Session) {
		s.refreshed(slot, ses, id, token, cred, refusal, failed)
	}); err != nil {
		s.queue = append(s.queue, session.Input{Kind: session.KindRefreshed, ID: id, Refusal: channel.Refusal{Err: err}})
	}
}

func (s *Shard) refreshed(slot uint32, ses *session.Session, id uint32, token string, cred auth.Credentials, refusal channel.Refusal, failed *auth.Error) {
	s.countToken(token, failed)
	if !refusal.Refused() && (s.tenants.Moved(slot, cred.Tenant) || s.outdated(ses, cred.Subs)) {
		refusal = channel.RefuseDisconnect(channel.DisconnectInsufficientState)
	}
	if !refusal.Refused() {
		s.identify(ses, bytesOf(cred.User), cred.Info)
		if len(cred.Meta) > 0 {
			s.setMeta(slot, cred.Meta)
		}
		s.granted(slot, cred.ExpireAt)
	}
	s.queue = append(s.queue, session.Input{
		Kind: session.KindRefreshed, ID: id, Refusal: refusal, Unix: s.l.Clock().Unix(), ExpireAt: cred.ExpireAt,
	})
}

// outdated says whether a new token names other channels than the session has by its
// token: the client comes back and has them then.
func (s *Shard) outdated(ses *session.Session, named []channel.ServerSub) bool {
	found := slices.ContainsFunc(named, func(one channel.ServerSub) bool {
		return !s.hub.Subscribed(hub.List(ses.Subs), bytesOf(one.Channel))
	})
	s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
		if s.hub.At(sub).Flags&flagFromToken != 0 {
			name := stringOf(s.hub.Name(sub))
			found = found || !slices.ContainsFunc(named, func(one channel.ServerSub) bool { return one.Channel == name })
		}
		return !found
	})
	return found
}

// renew performs session.EffectRenew: the backend says whether a session may go on.
func (s *Shard) renew(slot uint32, ses *session.Session) {
	r := &backend.RefreshRequest{Client: s.client(slot, ses)}
	var reply *backend.RefreshReply
	told := func(slot uint32, ses *session.Session) {
		in := session.Input{Kind: session.KindRenewed, Unix: s.l.Clock().Unix()}
		if reply == nil {
			in.Refusal = channel.RefuseDisconnect(channel.DisconnectServerError)
		} else {
			in.Refusal, in.Expired, in.ExpireAt = reply.Refusal, reply.Expired, reply.ExpireAt
			s.regranted(slot, ses, reply)
			if reply.Info != nil {
				s.identify(ses, bytes.Clone(bytesOf(s.user(ses))), reply.Info)
			}
			if reply.Meta != nil {
				s.setMeta(slot, reply.Meta)
			}
		}
		s.queue = append(s.queue, in)
	}
	if s.later(slot, func(ctx context.Context) { reply, _ = s.node.cfg.Backend.Refresh(ctx, r) }, told) != nil {
		now := s.l.Clock().Unix()
		s.queue = append(s.queue, session.Input{Kind: session.KindRenewed, Unix: now, ExpireAt: now + s.postponed()})
	}
}

// countToken counts the outcome of a token, if there was one.
func (s *Shard) countToken(token string, err *auth.Error) {
	switch {
	case err != nil:
		s.node.stats.Tokens[err.Reason].Add(1)
	case token != "":
		s.node.stats.Tokens[auth.ReasonNone].Add(1)
	}
}
