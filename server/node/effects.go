package node

import (
	"context"
	"maps"
	"slices"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// perform carries out one effect; the package documentation of session says what
// each asks for. Outcomes are appended to the queue.
func (s *Shard) perform(slot uint32, ses *session.Session, e *session.Effect) {
	switch e.Kind {
	case session.EffectArm:
		s.l.Arm(slot, loop.Tick(e.After))
	case session.EffectDisconnect:
		s.close(slot, e.Disconnect)
	case session.EffectAuthenticate:
		s.authenticate(ses, e)
	case session.EffectRefresh:
		s.refresh(ses, e)
	case session.EffectSubscribe:
		s.subscribe(slot, ses, e)
	case session.EffectUnsubscribe:
		s.unsubscribe(ses, e.Channel)
	case session.EffectUnsubscribeAll:
		s.unsubscribeAll(ses)
	case session.EffectPublish:
		s.publish(slot, ses, e)
	case session.EffectPing:
		s.node.stats.Pings.Add(1)
		s.out = proto.AppendPing(s.separated(ses), s.encodingOf(ses))
	case session.EffectPingFrame:
		s.node.stats.Pings.Add(1)
		s.wire.Ping(slot)
	case session.EffectDormant:
		s.wire.Release(slot)
	case session.EffectAwake:
	default:
		s.answer(slot, ses, e)
	}
}

// close sends what was replied so far, then ends the conn with the code.
func (s *Shard) close(slot uint32, d *channel.Disconnect) {
	s.flush(slot)
	s.node.stats.countDisconnect(d)
	s.wire.Close(slot, d.Code, d.Reason, reasonOf(d))
}

// reasonOf is the loop's reason for a disconnect.
func reasonOf(d *channel.Disconnect) loop.Reason {
	switch channel.DisconnectCode(d.Code) {
	case channel.DisconnectShutdown:
		return loop.ReasonShutdown
	case channel.DisconnectSlow:
		return loop.ReasonSlow
	case channel.DisconnectNoPong, channel.DisconnectStale:
		return loop.ReasonTimeout
	case channel.DisconnectBadRequest, channel.DisconnectInappropriate:
		return loop.ReasonProtocol
	case channel.DisconnectConnectionLimit, channel.DisconnectChannelLimit, channel.DisconnectTooManyRequests, channel.DisconnectTooManyErrors:
		return loop.ReasonLimit
	default:
		return loop.ReasonServer
	}
}

func (s *Shard) authenticate(ses *session.Session, e *session.Effect) {
	now := s.l.Clock()
	cred, refusal, err := s.node.cfg.Auth.Connect(e.Command.Connect.Token, now)
	s.countToken(e.Command.Connect.Token, err)
	if !refusal.Refused() {
		cred.Subs, refusal = s.requested(cred, e.Command.Connect.Subs)
	}
	if !refusal.Refused() {
		s.identify(ses, bytesOf(cred.User), cred.Info)
	}
	s.queue = append(s.queue, session.Input{
		Kind: session.KindAuthenticated, ID: e.ID, Refusal: refusal,
		Unix: now.Unix(), ExpireAt: cred.ExpireAt, Subs: cred.Subs,
	})
}

// requested adds the channels that a connect command names by itself, in order of
// their names, to those of its token.
func (s *Shard) requested(cred auth.Credentials, asked map[string]*proto.SubscribeRequest) ([]channel.ServerSub, channel.Refusal) {
	subs := cred.Subs
	if len(asked) == 0 {
		return subs, channel.Refusal{}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if slices.ContainsFunc(cred.Subs, func(sub channel.ServerSub) bool { return sub.Channel == name }) {
			continue
		}
		ok, refusal := s.node.cfg.Auth.Requested(cred.User, name)
		if refusal.Refused() {
			return nil, refusal
		}
		if ok {
			subs = append(subs, channel.ServerSub{Channel: name})
		}
	}
	return subs, channel.Refusal{}
}

func (s *Shard) refresh(ses *session.Session, e *session.Effect) {
	now := s.l.Clock()
	cred, refusal, err := s.node.cfg.Auth.Refresh(s.user(ses), e.Command.Refresh.Token, now)
	s.countToken(e.Command.Refresh.Token, err)
	if !refusal.Refused() {
		s.identify(ses, bytesOf(cred.User), cred.Info)
	}
	s.queue = append(s.queue, session.Input{
		Kind: session.KindRefreshed, ID: e.ID, Refusal: refusal, Unix: now.Unix(), ExpireAt: cred.ExpireAt,
	})
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

func (s *Shard) subscribe(slot uint32, ses *session.Session, e *session.Effect) {
	in := session.Input{Kind: session.KindSubscribed, ID: e.ID, Channel: e.Channel, Unix: s.l.Clock().Unix()}
	if e.Sub == nil {
		token, client := e.Command.Subscribe.Token, ""
		if token != "" {
			client = s.clientID(slot)
		}
		grant, refusal, err := s.node.cfg.Auth.Subscribe(e.Options, s.user(ses), client, e.Channel, token, s.l.Clock())
		s.countToken(token, err)
		in.Refusal, in.ExpireAt = refusal, grant.ExpireAt
		s.reply.subData = grant.Data
	}
	if !in.Refusal.Refused() && !s.member(slot, ses, e.Channel) {
		in.Refusal = channel.RefuseError(channel.ErrInternal)
	}
	s.queue = append(s.queue, in)
}

// member makes the session a member; false when the broker did not let it.
func (s *Shard) member(slot uint32, ses *session.Session, name string) bool {
	list, form := hub.List(ses.Subs), s.formOf(ses)
	first, ok := s.hub.Subscribe(slot, &list, bytesOf(name), form)
	if !ok {
		return true
	}
	if first {
		if err := s.node.dir.join(bytesOf(name), s.l.Index(), form); err != nil {
			s.node.cfg.Logger.Error("subscribe failed", "error", err)
			s.hub.Unsubscribe(&list, bytesOf(name))
			ses.Subs = uint32(list)
			return false
		}
	}
	ses.Subs = uint32(list)
	s.node.stats.Subscriptions.Add(1)
	return true
}

func (s *Shard) unsubscribe(ses *session.Session, name string) {
	list := hub.List(ses.Subs)
	last, ok := s.hub.Unsubscribe(&list, bytesOf(name))
	ses.Subs = uint32(list)
	if ok {
		s.node.stats.Subscriptions.Add(-1)
	}
	if last {
		s.left(bytesOf(name))
	}
}

func (s *Shard) unsubscribeAll(ses *session.Session) {
	before := s.hub.Subscriptions()
	list := hub.List(ses.Subs)
	s.hub.UnsubscribeAll(&list, s.left)
	ses.Subs = uint32(list)
	s.node.stats.Subscriptions.Add(int64(s.hub.Subscriptions() - before))
}

// left tells the directory that the channel has no member on this loop.
func (s *Shard) left(name []byte) {
	if err := s.node.dir.leave(name, s.l.Index()); err != nil {
		s.node.cfg.Logger.Error("unsubscribe failed", "error", err)
	}
}

func (s *Shard) publish(slot uint32, ses *session.Session, e *session.Effect) {
	in := session.Input{Kind: session.KindPublished, ID: e.ID, Channel: e.Channel}
	subscribed := s.hub.Subscribed(hub.List(ses.Subs), bytesOf(e.Channel))
	err := s.node.cfg.Auth.MayPublish(e.Options, ses.User == 0, subscribed)
	if err == nil {
		s.reply.pub = channel.Publication{Data: e.Command.Publish.Data, Info: &s.reply.info}
		s.reply.info = channel.ClientInfo{User: s.user(ses), Client: s.clientID(slot), ConnInfo: s.info(ses)}
		_, err = s.node.Publish(context.Background(), e.Channel, &s.reply.pub)
	}
	if err != nil {
		in.Refusal = channel.Refusal{Err: err}
	}
	s.queue = append(s.queue, in)
}
