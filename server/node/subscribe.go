package node

import (
	"bytes"
	"context"
	"slices"
	"strings"

	"shoal/codec/proto"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/filter"
	"shoal/server/hub"
	"shoal/server/node/cursor"
	"shoal/server/node/recovery"
	"shoal/server/node/track"
	"shoal/server/session"
)

// origin is who wants a subscription.
type origin uint8

const (
	byClient  origin = iota // a subscribe command
	byConnect               // the session's token or backend, before the connect reply
	byServer                // the API
)

// wish is what a client asks of a subscription beyond the channel.
type wish struct {
	since       channel.Position
	filter      []byte // program of a tags filter; nil none
	data        []byte
	flag        int64
	recovers    bool
	positioned  bool
	recoverable bool
	signals     bool
	delta       bool
}

// flagRejectUnrecovered in a subscribe command asks for error 112 instead of a
// subscription that could not recover.
const flagRejectUnrecovered = 2

// wishOf reads a request; what it returns aliases it.
func wishOf(r *proto.SubscribeRequest) (w wish, e *channel.Error) {
	if r.Tf != nil {
		program, err := filter.Compile(r.Tf)
		if err != nil {
			return w, channel.ErrBadRequest.Err()
		}
		w.filter = program
	}
	w.since = channel.Position{Offset: r.Offset, Epoch: r.Epoch}
	w.recovers, w.positioned, w.recoverable = r.Recover, r.Positioned, r.Recoverable
	w.signals, w.delta, w.flag, w.data = r.JoinLeave, r.Delta == "fossil", r.Flag, r.Data
	return w, nil
}

// clone is a wish that does not alias its request.
func (w *wish) clone() wish {
	c := *w
	c.since.Epoch, c.data = strings.Clone(w.since.Epoch), bytes.Clone(w.data)
	return c
}

// admission is a subscription that has been granted and is being made.
type admission struct {
	wish
	origin  origin
	id      uint32 // of the command
	name    string
	opts    *channel.Options
	grant   auth.Grant
	renewed bool // the backend renews the grant when it ends
	token   bool // the connection token names it
	recover bool // the wish asks for what was missed, and it may be had
	turn    bool // it had to wait to be made
	sub     hub.Sub

	restored     *restored // a resume token has it; nil: none
	acknowledges bool      // its user may have a cursor
	hasCursor    bool      // and has one, at cursor
	redelivers   bool      // it recovers from there, although the client did not ask
	cursor       cursor.Place
}

// subscribe performs session.EffectSubscribe.
func (s *Shard) subscribe(slot uint32, ses *session.Session, e *session.Effect) {
	if e.Sub != nil {
		s.subscribeConnecting(slot, ses, e)
		return
	}
	r := e.Command.Subscribe
	w, refused := wishOf(r)
	if s.spares(e.Options) {
		refused = channel.ErrTooManyRequests.Err()
	}
	if refused != nil {
		s.refuse(e.ID, e.Channel, channel.Refusal{Err: refused})
		return
	}
	a := &s.admission
	*a = admission{wish: w, id: e.ID, name: e.Channel, opts: e.Options}
	switch {
	case r.Token != "" && s.node.cfg.Auth.SlowSubscribe(r.Token):
		s.verifyLater(slot, ses, a, strings.Clone(r.Token))
	case r.Token == "" && s.asks(backend.Subscribe, e.Channel, e.Options) && s.node.cfg.Auth.NeedsBackend(e.Options, e.Channel):
		s.askSubscribe(slot, ses, a)
	default:
		g, refusal, err := s.node.cfg.Auth.Subscribe(e.Options, s.user(ses), s.clientID(slot), e.Channel, r.Token, s.l.Clock())
		s.countToken(r.Token, err)
		a.renewed = s.renews(e.Options)
		s.decided(slot, ses, a, g, refusal)
	}
}

// renews says whether the backend, not the client, renews subscriptions.
func (s *Shard) renews(opts *channel.Options) bool { return s.asks(backend.SubRefresh, "", opts) }

// asks says whether there is a backend for the event.
func (s *Shard) asks(e backend.Event, subject string, opts *channel.Options) bool {
	return s.node.cfg.Backend != nil && s.node.cfg.Backend.Handles(e, subject, opts)
}

// refuse queues the outcome of a subscribe command that is refused.
func (s *Shard) refuse(id uint32, name string, r channel.Refusal) {
	s.queue = append(s.queue, session.Input{Kind: session.KindSubscribed, ID: id, Channel: name, Refusal: r})
}

// cloned is an admission that outlives the command.
func (a *admission) cloned() *admission {
	c := *a
	c.wish, c.name = a.clone(), strings.Clone(a.name)
	return &c
}

// verifyLater has a token verified on a worker.
func (s *Shard) verifyLater(slot uint32, ses *session.Session, a *admission, token string) {
	c, now := a.cloned(), s.l.Clock()
	user, client := strings.Clone(s.user(ses)), strings.Clone(s.clientID(slot))
	g, refusal, failed := auth.Grant{}, channel.RefuseError(channel.ErrInternal), (*auth.Error)(nil)
	e := s.later(slot, func(context.Context) {
		g, refusal, failed = s.node.cfg.Auth.Subscribe(c.opts, user, client, c.name, token, now)
	}, func(slot uint32, ses *session.Session) {
		s.countToken(token, failed)
		c.renewed = s.renews(c.opts)
		s.decided(slot, ses, c, g, refusal)
	})
	if e != nil {
		s.refuse(a.id, a.name, channel.Refusal{Err: e})
	}
}

// askSubscribe asks the backend.
func (s *Shard) askSubscribe(slot uint32, ses *session.Session, a *admission) {
	c := a.cloned()
	r := &backend.SubscribeRequest{Client: s.client(slot, ses), Channel: c.name, Data: c.data}
	var reply *backend.SubscribeReply
	e := s.later(slot, func(ctx context.Context) {
		reply, _ = s.node.cfg.Backend.Subscribe(ctx, r)
	}, func(slot uint32, ses *session.Session) {
		if reply == nil {
			s.decided(slot, ses, c, auth.Grant{}, channel.RefuseError(channel.ErrInternal))
			return
		}
		if reply.Disconnect != nil { // it judged the session, not a token
			s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: reply.Disconnect})
			return
		}
		c.renewed = s.renews(c.opts)
		s.decided(slot, ses, c, auth.Grant{ExpireAt: reply.ExpireAt, Info: reply.Info, Data: reply.Data, Override: reply.Override}, reply.Refusal)
	})
	if e != nil {
		s.refuse(a.id, a.name, channel.Refusal{Err: e})
	}
}

// decided goes on with a subscription that was granted or refused.
func (s *Shard) decided(slot uint32, ses *session.Session, a *admission, g auth.Grant, refusal channel.Refusal) {
	a.grant = g
	a.grant.ExpireAt = max(g.ExpireAt, 0)
	if !refusal.Refused() {
		refusal = s.admit(slot, ses, a)
	}
	if refusal.Refused() {
		s.failed(slot, ses, a, refusal)
	}
}

// failed ends an admission that could not be made.
func (s *Shard) failed(slot uint32, ses *session.Session, a *admission, r channel.Refusal) {
	if a.recover {
		s.recoveries.Done(slot, nil)
	}
	if a.sub != 0 {
		s.hub.At(a.sub).Flags &^= flagPositioned // it was not entered in tracks
		s.leave(slot, ses, a.sub)
		a.sub = 0
	}
	if a.origin == byConnect && r.Err == channel.ErrLimitExceeded.Err() { // its tenant's: 106 would keep stock SDKs away for good
		r = channel.RefuseForNow()
	}
	switch {
	case a.origin != byServer:
		s.refuse(a.id, a.name, r)
	case r.Disconnect != nil:
		s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: r.Disconnect})
	}
}

// admit makes the session a member and finds its place in the stream, now or later.
func (s *Shard) admit(slot uint32, ses *session.Session, a *admission) channel.Refusal {
	if a.grant.ExpireAt > 0 && a.grant.ExpireAt <= s.l.Clock().Unix() {
		return channel.RefuseError(channel.ErrExpired)
	}
	flags, e := s.flagsFor(ses, a)
	if e != nil {
		return channel.Refusal{Err: e}
	}
	s.redeliver(ses, a, flags)
	if a.recover && a.origin == byClient && !a.turn && !s.recoveries.Enter(slot) {
		c := a.cloned()
		c.turn = true
		s.awaitTurn(slot, false, func(ses *session.Session, ok bool) {
			r := channel.RefuseError(channel.ErrTooManyRequests)
			if ok {
				r = s.admit(slot, ses, c)
			}
			if r.Refused() {
				s.failed(slot, ses, c, r)
			}
		})
		return channel.Refusal{}
	}
	blocking := flags&flagPositioned != 0 && s.node.broker.Blocking()
	// What a token restores without asking anybody is told before this callback ends.
	if blocking || a.origin == byConnect && (a.restored == nil || s.node.broker.Blocking()) {
		flags |= flagWaiting
	}
	if a.sub, e = s.join(slot, ses, a.name, flags); e != nil {
		return channel.Refusal{Err: e}
	}
	if flags&flagWaiting != 0 {
		s.waits[a.sub] = &wait{}
	}
	s.furnish(a)
	switch {
	case flags&flagPositioned == 0:
		return s.admitted(slot, ses, a, nil, channel.Position{}, false)
	case blocking:
		return s.readLater(slot, a)
	}
	pubs, top, err := s.node.read(context.Background(), a, s.reply.history[:0])
	s.reply.history = pubs
	return s.placed(slot, ses, a, pubs, top, err)
}

// furnish writes what the membership needs beyond its flags.
func (s *Shard) furnish(a *admission) {
	if len(a.grant.Info) > 0 {
		s.extraOf(a.sub).info = s.infos.Acquire(a.grant.Info)
	}
	if s.hub.At(a.sub).Flags&flagFiltered != 0 {
		s.extraOf(a.sub).filter = s.filters.Acquire(a.filter)
		s.node.filtered.Add(1)
	}
	s.expires(a.sub, a.grant.ExpireAt)
}

// flagsFor decides what the membership is, from the channel's options, the grant and
// the wish.
func (s *Shard) flagsFor(ses *session.Session, a *admission) (flags uint16, e *channel.Error) {
	if a.restored != nil {
		return a.flagsAgain(), nil
	}
	o, over := a.opts, a.grant.Override
	if over == nil {
		over = &channel.Override{}
	}
	set := func(flag uint16, on bool) {
		if on {
			flags |= flag
		}
	}
	wild := s.node.cfg.Session.Rules.Wildcard(a.name)
	anonymous := ses.User == 0
	tells := overridden(o.JoinLeave, over.JoinLeave)
	recoverable := overridden(o.ForceRecovery, over.ForceRecovery)
	positioned := overridden(o.ForcePositioning, over.ForcePositioning)
	positioned = positioned || o.Acknowledge && !anonymous
	signals := overridden(o.ForcePushJoinLeave, over.ForcePushJoinLeave)
	if a.origin == byClient {
		history := s.node.cfg.Auth.MayHistory(o, anonymous, true) == nil
		positioned = positioned || a.wish.positioned && (o.AllowPositioning || history)
		recoverable = recoverable || a.wish.recoverable && (o.AllowRecovery || history)
		signals = signals || a.signals && tells && s.node.cfg.Auth.MayPresence(o, anonymous, true) == nil
	}
	if a.filter != nil {
		if !o.AllowTagsFilter {
			return 0, channel.ErrBadRequest.Err()
		}
		flags |= flagFiltered
	}
	a.recover = (a.recovers || o.AutoCacheRecover && o.Caching()) && recoverable && !wild
	set(flagServerSide, a.origin != byClient)
	set(flagPositioned, (positioned || recoverable) && !wild)
	set(flagRecoverable, recoverable && !wild)
	set(flagTells, tells)
	set(flagSignals, signals)
	set(flagPresent, overridden(o.Presence, over.Presence))
	set(flagServerRefresh, a.renewed)
	set(flagFromToken, a.token)
	// A filter would take away what the next difference builds on.
	set(flagDelta, a.delta && a.filter == nil && !wild && slices.Contains(o.AllowedDeltaTypes, "fossil"))
	return flags, nil
}

func overridden(value bool, by *bool) bool {
	if by != nil {
		return *by
	}
	return value
}

// read asks the broker for the top of the stream, and for what is to be recovered.
func (n *Node) read(ctx context.Context, a *admission, dst []channel.Publication) ([]channel.Publication, channel.Position, error) {
	q := broker.HistoryQuery{MetaTTL: a.opts.HistoryMetaTTL}
	switch {
	case !a.recover:
	case a.opts.ForceRecoveryMode == "cache":
		q.Limit, q.Reverse = 1, true
		if a.filter != nil {
			q.Limit = -1 // the latest that fits
		}
	default:
		q.Limit, q.Since = limited(-1, n.cfg.RecoveryMax), &a.since
	}
	return n.broker.History(ctx, a.name, q, dst)
}

// readLater is read for a broker that may block; publications are kept meanwhile.
func (s *Shard) readLater(slot uint32, a *admission) channel.Refusal {
	c := a
	if a == &s.admission {
		c = a.cloned()
	}
	var pubs []channel.Publication
	var top channel.Position
	var err error = channel.ErrInternal.Err()
	w := s.waits[c.sub]
	e := s.later(slot, func(ctx context.Context) {
		pubs, top, err = s.node.read(ctx, c, nil)
	}, func(slot uint32, ses *session.Session) {
		if s.waits[c.sub] != w {
			// The membership has ended meanwhile: another attempt is not this one's.
			if c.sub = 0; c.origin != byServer {
				s.failed(slot, ses, c, channel.RefuseDisconnect(channel.DisconnectServerError))
			}
			return
		}
		if r := s.placed(slot, ses, c, pubs, top, err); r.Refused() {
			s.failed(slot, ses, c, r)
		}
	})
	if e != nil {
		return channel.Refusal{Err: e}
	}
	return channel.Refusal{}
}

// placed goes on with the place in the stream known.
func (s *Shard) placed(slot uint32, ses *session.Session, a *admission, pubs []channel.Publication, top channel.Position, err error) channel.Refusal {
	recovered := false
	switch e := s.node.unrecoverable(err); {
	case e != nil:
		return channel.Refusal{Err: e}
	case err != nil || !a.recover:
	case a.opts.ForceRecoveryMode == "cache":
		pubs, recovered = cacheRecovered(a, pubs, top)
	default:
		recovered = recovery.Stream(a.since, pubs, top)
		pubs = a.filtered(pubs)
	}
	recovered = recovered && s.affordable(slot, a, pubs)
	if a.acknowledges {
		recovered = s.acknowledged(ses, a, top, recovered)
	}
	if !recovered {
		pubs = nil
	}
	if a.recover {
		s.recoveries.Done(slot, pubs)
		s.node.stats.countRecovery(recovered, len(pubs))
		if !recovered && a.flag&flagRejectUnrecovered != 0 && a.origin == byClient && !a.redelivers {
			return channel.RefuseError(channel.ErrUnrecoverablePosition)
		}
	}
	p := track.Place{Offset: top.Offset, Epoch: track.Epoch(s.node.seed, top.Epoch)}
	if w := s.waits[a.sub]; w != nil {
		w.place = p // entered in tracks behind what is kept
	} else {
		s.enter(a.sub, p)
	}
	return s.admitted(slot, ses, a, pubs, top, recovered)
}

// streamBytesMax bounds the publications that one command is answered with, all its
// subscriptions together: a small one must not be answered with gigabytes. Who missed
// more begins anew; who asks for history asks on.
const streamBytesMax = 8 << 20

// affordable says whether what was missed is within the bound.
func (s *Shard) affordable(slot uint32, a *admission, pubs []channel.Publication) bool {
	bytes := recovery.Bytes(pubs)
	if a.origin == byConnect {
		o := s.opening(slot)
		o.recovered += bytes
		bytes = o.recovered
	}
	return bytes <= streamBytesMax
}

// unrecoverable passes an error of the history on, unless it only says that the client
// cannot recover from where it is.
func (n *Node) unrecoverable(err error) *channel.Error {
	if err == nil {
		return nil
	}
	if e := n.failure("history was not read", err); e.Code != uint32(channel.ErrUnrecoverablePosition) {
		return e
	}
	return nil
}

// cacheRecovered gives the client the latest publication, unless it has it. pubs are
// newest first.
func cacheRecovered(a *admission, pubs []channel.Publication, top channel.Position) ([]channel.Publication, bool) {
	recovered, news := recovery.Latest(a.since, pubs, top)
	if !news {
		return nil, recovered
	}
	if pubs = a.filtered(pubs); len(pubs) > 0 {
		pubs = pubs[:1]
	}
	return pubs, recovered
}

// filtered keeps what fits the tags filter.
func (a *admission) filtered(pubs []channel.Publication) []channel.Publication {
	if a.filter == nil {
		return pubs
	}
	return slices.DeleteFunc(pubs, func(p channel.Publication) bool { return !filter.Match(a.filter, p.Tags) })
}

// admitted makes the result and tells the session.
func (s *Shard) admitted(slot uint32, ses *session.Session, a *admission, pubs []channel.Publication, top channel.Position, recovered bool) channel.Refusal {
	m := s.hub.At(a.sub)
	r := s.resultFor(slot, a)
	r.Positioned, r.Recoverable = m.Flags&flagPositioned != 0, m.Flags&flagRecoverable != 0
	r.Epoch, r.Offset, r.Data = top.Epoch, top.Offset, a.grant.Data
	r.WasRecovering, r.Recovered, r.Delta = a.recovers, recovered, m.Flags&flagDelta != 0
	if recovered {
		if len(pubs) > 0 || !a.opts.Caching() { // else the filter takes nothing of what it missed
			r.Offset = a.since.Offset // the client gets to the top by what it is given
		}
		s.reply.publications(r, pubs)
		if len(pubs) > 0 && r.Delta {
			m.Flags |= flagBased
		}
	}
	in := session.Input{ID: a.id, Channel: a.name, Unix: s.l.Clock().Unix(), ExpireAt: a.grant.ExpireAt, ServerRefresh: a.renewed}
	if a.restored != nil {
		s.again(a, r)
		in.ExpireAt = 0 // it ends by itself: the connect goes on
	}
	switch a.origin {
	case byServer:
		in.Kind = session.KindAdded
		s.reply.added = a.sub
	default:
		in.Kind = session.KindSubscribed
	}
	s.queue = append(s.queue, in)
	return channel.Refusal{}
}
