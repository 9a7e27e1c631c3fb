package node

import (
	"bytes"
	"context"
	"strings"

	"shoal/codec/proto"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/recovery"
	"shoal/server/session"
)

// publish performs session.EffectPublish.
func (s *Shard) publish(slot uint32, ses *session.Session, e *session.Effect) {
	asked := s.asks(backend.Publish, e.Channel, e.Options)
	var refused *channel.Error
	switch sub := s.hub.Find(hub.List(ses.Subs), bytesOf(e.Channel)); {
	case s.spares(e.Options):
		refused = channel.ErrTooManyRequests.Err()
	case asked:
	case s.node.cfg.Auth.MayPublish(e.Options, ses.User == 0, sub != 0) != nil:
		refused = channel.ErrPermissionDenied.Err()
	case !s.node.broker.Blocking():
		s.reply.info = s.clientInfo(slot, ses, sub)
		s.reply.pub = channel.Publication{Data: e.Command.Publish.Data, Info: &s.reply.info}
		_, refused = s.node.Publish(context.Background(), e.Channel, &s.reply.pub, PublishOptions{})
	}
	if refused == nil && (asked || s.node.broker.Blocking()) {
		refused = s.publishLater(slot, ses, e, asked)
		if refused == nil {
			return
		}
	}
	s.published(e.ID, e.Channel, channel.Refusal{Err: refused})
}

func (s *Shard) published(id uint32, name string, r channel.Refusal) {
	s.queue = append(s.queue, session.Input{Kind: session.KindPublished, ID: id, Channel: name, Refusal: r})
}

// publishLater publishes on a worker, after the backend if it is to be asked.
func (s *Shard) publishLater(slot uint32, ses *session.Session, e *session.Effect, asked bool) *channel.Error {
	id, name, data := e.ID, strings.Clone(e.Channel), bytes.Clone(e.Command.Publish.Data)
	info := s.clientInfo(slot, ses, s.hub.Find(hub.List(ses.Subs), bytesOf(e.Channel)))
	info = info.Clone()
	var who backend.Client
	if asked {
		who = s.client(slot, ses)
	}
	refusal := channel.RefuseError(channel.ErrInternal)
	return s.later(slot, func(ctx context.Context) {
		refusal = s.node.publishFor(ctx, who, asked, name, data, &info)
	}, func(uint32, *session.Session) { s.published(id, name, refusal) })
}

// publishFor publishes for a client, if the backend lets it.
func (n *Node) publishFor(ctx context.Context, who backend.Client, asked bool, name string, data []byte, info *channel.ClientInfo) channel.Refusal {
	o, tags := PublishOptions{}, map[string]string(nil)
	if asked {
		r, err := n.cfg.Backend.Publish(ctx, &backend.PublishRequest{Client: who, Channel: name, Data: data})
		switch {
		case err != nil:
			return channel.RefuseError(channel.ErrInternal)
		case r.Refused() || r.Done:
			return r.Refusal
		case r.Data != nil:
			data = r.Data
		}
		tags = r.Tags
		o = PublishOptions{
			SkipHistory: r.SkipHistory, Delta: r.Delta, IdempotencyKey: r.IdempotencyKey, Version: r.Version, VersionEpoch: r.VersionEpoch,
		}
	}
	_, e := n.Publish(ctx, name, &channel.Publication{Data: data, Info: info, Tags: tags}, o)
	return channel.Refusal{Err: e}
}

// ask performs session.EffectAsk.
func (s *Shard) ask(slot uint32, ses *session.Session, e *session.Effect) {
	var refused *channel.Error
	later := false
	s.reply.answer = answer{}
	switch subscribed := e.Channel != "" && s.hub.Subscribed(hub.List(ses.Subs), bytesOf(e.Channel)); {
	case e.Command.Rpc != nil:
		later, refused = true, s.askRPC(slot, ses, e)
	case e.Command.History != nil:
		later, refused = s.askHistory(slot, ses, e, subscribed)
	default:
		refused = s.node.cfg.Auth.MayPresence(e.Options, ses.User == 0, subscribed)
		if refused == nil && e.Command.PresenceStats != nil {
			clients, users := s.node.presence.stats(bytesOf(e.Channel))
			s.reply.answer.stats = &s.reply.presenceStats
			s.reply.presenceStats = proto.PresenceStatsResult{NumClients: uint32(clients), NumUsers: uint32(users)}
		} else if refused == nil {
			later, refused = true, s.askPresence(slot, e)
		}
	}
	if !later || refused != nil {
		s.answered(e.ID, channel.Refusal{Err: refused})
	}
}

func (s *Shard) answered(id uint32, r channel.Refusal) {
	s.queue = append(s.queue, session.Input{Kind: session.KindAnswered, ID: id, Refusal: r})
}

func (s *Shard) askPresence(slot uint32, e *session.Effect) *channel.Error {
	id, name := e.ID, strings.Clone(e.Channel)
	found, failed := map[string]channel.ClientInfo(nil), channel.ErrInternal.Err()
	return s.later(slot, func(ctx context.Context) {
		found, failed = s.node.Presence(ctx, name)
	}, func(uint32, *session.Session) {
		s.reply.answer.presence = found
		s.answered(id, channel.Refusal{Err: failed})
	})
}

func (s *Shard) askHistory(slot uint32, ses *session.Session, e *session.Effect, subscribed bool) (later bool, refused *channel.Error) {
	if refused = s.node.cfg.Auth.MayHistory(e.Options, ses.User == 0, subscribed); refused != nil {
		return false, refused
	}
	r := e.Command.History
	q := broker.HistoryQuery{Limit: limited(int(r.Limit), s.node.cfg.HistoryMax), Reverse: r.Reverse, Peek: true, MetaTTL: e.Options.HistoryMetaTTL}
	if r.Since != nil {
		if r.Reverse && r.Since.Offset == 0 {
			return false, channel.ErrBadRequest.Err() // nothing can be before it
		}
		q.Since = &channel.Position{Offset: r.Since.Offset, Epoch: r.Since.Epoch}
	}
	id, name := e.ID, e.Channel
	if r.Limit == 0 || s.recoveries.Enter(slot) {
		return s.readHistory(slot, id, name, &q)
	}
	name = strings.Clone(name)
	if q.Since != nil {
		q.Since.Epoch = strings.Clone(q.Since.Epoch)
	}
	s.awaitTurn(slot, false, func(_ *session.Session, ok bool) {
		later, refused := false, channel.ErrTooManyRequests.Err()
		if ok {
			later, refused = s.readHistory(slot, id, name, &q)
		}
		if !later || refused != nil {
			s.answered(id, channel.Refusal{Err: refused})
		}
	})
	return true, nil
}

// readHistory answers a history command, now or later.
func (s *Shard) readHistory(slot, id uint32, name string, q *broker.HistoryQuery) (later bool, refused *channel.Error) {
	if !s.node.broker.Blocking() {
		pubs, top, err := s.node.broker.History(context.Background(), name, *q, s.reply.history[:0])
		s.reply.history = pubs
		return false, s.historyAnswer(slot, pubs, top, err)
	}
	name = strings.Clone(name)
	if q.Since != nil {
		q.Since.Epoch = strings.Clone(q.Since.Epoch)
	}
	var pubs []channel.Publication
	var top channel.Position
	var err error = channel.ErrInternal.Err()
	return true, s.later(slot, func(ctx context.Context) {
		pubs, top, err = s.node.broker.History(ctx, name, *q, nil)
	}, func(slot uint32, _ *session.Session) {
		s.answered(id, channel.Refusal{Err: s.historyAnswer(slot, pubs, top, err)})
	})
}

func (s *Shard) historyAnswer(slot uint32, pubs []channel.Publication, top channel.Position, err error) *channel.Error {
	if err != nil {
		pubs = nil
	}
	pubs = recovery.Page(pubs, streamBytesMax)
	s.recoveries.Done(slot, pubs)
	if err != nil {
		return s.node.failure("history was not read", err)
	}
	s.reply.answer.history = &proto.HistoryResult{Publications: s.reply.list(pubs), Offset: top.Offset, Epoch: top.Epoch}
	return nil
}

func (s *Shard) askRPC(slot uint32, ses *session.Session, e *session.Effect) *channel.Error {
	r := e.Command.Rpc
	if s.ownRPC(slot, ses, e.ID, r) {
		return nil
	}
	switch {
	case s.node.cfg.Backend == nil:
		return channel.ErrMethodNotFound.Err()
	case !s.asks(backend.RPC, r.Method, nil):
		return channel.ErrNotAvailable.Err()
	}
	id, q := e.ID, &backend.RPCRequest{Client: s.client(slot, ses), Method: strings.Clone(r.Method), Data: bytes.Clone(r.Data)}
	var reply *backend.RPCReply
	return s.later(slot, func(ctx context.Context) {
		reply, _ = s.node.cfg.Backend.RPC(ctx, q)
	}, func(uint32, *session.Session) {
		if reply == nil {
			s.answered(id, channel.RefuseError(channel.ErrInternal))
			return
		}
		s.reply.answer.rpc = &proto.RPCResult{Data: reply.Data}
		s.answered(id, reply.Refusal)
	})
}

// message performs session.EffectSend. A message that nobody has time for is lost: its
// sender asked for no answer.
func (s *Shard) message(slot uint32, ses *session.Session, e *session.Effect) {
	r := &backend.SendRequest{Client: s.client(slot, ses), Data: bytes.Clone(e.Command.Send.Data)}
	var refusal channel.Refusal
	sent := func(uint32, *session.Session) {
		s.queue = append(s.queue, session.Input{Kind: session.KindSent, Refusal: refusal})
	}
	if failed := s.later(slot, func(ctx context.Context) { refusal, _ = s.node.cfg.Backend.Send(ctx, r) }, sent); failed != nil {
		s.node.stats.MessagesDropped.Add(1)
		sent(slot, ses)
	}
}

// subRefresh performs session.EffectSubRefresh.
func (s *Shard) subRefresh(slot uint32, ses *session.Session, e *session.Effect) {
	id, name, token, now := e.ID, e.Channel, e.Command.SubRefresh.Token, s.l.Clock()
	user, client, opts := s.user(ses), s.clientID(slot), e.Options
	if !s.node.cfg.Auth.SlowSubscribe(token) {
		g, refusal, failed := s.node.cfg.Auth.SubRefresh(opts, user, client, name, token, now)
		s.subRefreshed(slot, ses, id, name, token, g, refusal, failed)
		return
	}
	name, token, user, client = strings.Clone(name), strings.Clone(token), strings.Clone(user), strings.Clone(client)
	g, refusal, failed := auth.Grant{}, channel.RefuseError(channel.ErrInternal), (*auth.Error)(nil)
	if err := s.later(slot, func(context.Context) {
		g, refusal, failed = s.node.cfg.Auth.SubRefresh(opts, user, client, name, token, now)
	}, func(slot uint32, ses *session.Session) {
		s.subRefreshed(slot, ses, id, name, token, g, refusal, failed)
	}); err != nil {
		s.subRefreshed(slot, ses, id, name, "", g, channel.Refusal{Err: err}, nil)
	}
}

func (s *Shard) subRefreshed(slot uint32, ses *session.Session, id uint32, name, token string, g auth.Grant, refusal channel.Refusal, failed *auth.Error) {
	s.countToken(token, failed)
	sub := s.hub.Find(hub.List(ses.Subs), bytesOf(name))
	if !refusal.Refused() && sub != 0 {
		s.extend(sub, g.Info, g.ExpireAt)
	}
	s.queue = append(s.queue, session.Input{
		Kind: session.KindSubRefreshed, ID: id, Channel: name, Refusal: refusal, Unix: s.l.Clock().Unix(), ExpireAt: g.ExpireAt,
	})
}

// extend gives a membership a new end and info.
func (s *Shard) extend(sub hub.Sub, info []byte, expireAt int64) {
	if len(info) > 0 || s.hub.At(sub).Extra != 0 {
		s.setDetail(&s.extraOf(sub).info, info)
	}
	s.expires(sub, expireAt)
	s.tidy(sub)
}
