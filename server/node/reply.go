package node

import (
	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// replies are the values that a loop's replies are made in, one after the other.
type replies struct {
	reply       proto.Reply
	connect     proto.ConnectResult
	subscribe   proto.SubscribeResult
	unsubscribe proto.UnsubscribeResult
	publish     proto.PublishResult
	refresh     proto.RefreshResult

	subData []byte // of the subscription being made
	pub     channel.Publication
	info    channel.ClientInfo
}

// answer appends the reply that an effect asks for.
func (s *Shard) answer(slot uint32, ses *session.Session, e *session.Effect) {
	r := &s.reply
	r.reply.Reset()
	r.reply.Id = e.ID
	switch e.Kind {
	case session.EffectReplyError:
		s.node.stats.countError(e.Err)
		s.out = proto.AppendError(s.separated(ses), s.encodingOf(ses), e.ID, e.Err.Code, e.Err.Message, e.Err.Temporary)
		return
	case session.EffectReplyConnect:
		s.connectResult(slot, ses, e)
		r.reply.Connect = &r.connect
	case session.EffectReplySubscribe:
		r.subscribe.Reset()
		r.subscribe.Expires, r.subscribe.Ttl, r.subscribe.Data = e.Expires, e.TTL, r.subData
		r.subData = nil
		r.reply.Subscribe = &r.subscribe
	case session.EffectReplyUnsubscribe:
		r.reply.Unsubscribe = &r.unsubscribe
	case session.EffectReplyPublish:
		r.reply.Publish = &r.publish
	case session.EffectReplyRefresh:
		r.refresh.Reset()
		r.refresh.Client, r.refresh.Version = s.clientID(slot), s.node.cfg.Version
		r.refresh.Expires, r.refresh.Ttl = e.Expires, e.TTL
		r.reply.Refresh = &r.refresh
	}
	out, err := proto.AppendReply(s.separated(ses), s.encodingOf(ses), &r.reply)
	if err != nil { // JSON cannot carry the data of a token: as with publications
		s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: channel.DisconnectInappropriate.Disconnect()})
		return
	}
	s.out = out
}

// connectResult fills the connect result.
func (s *Shard) connectResult(slot uint32, ses *session.Session, e *session.Effect) {
	c := &s.reply.connect
	c.Reset()
	c.Client, c.Version = s.clientID(slot), s.node.cfg.Version
	c.Expires, c.Ttl, c.Ping, c.Pong = e.Expires, e.TTL, e.Ping, e.Pong
	if ses.Subs == 0 {
		return
	}
	c.Subs = map[string]*proto.SubscribeResult{}
	s.hub.EachOf(hub.List(ses.Subs), func(name []byte) bool {
		c.Subs[string(name)] = &proto.SubscribeResult{}
		return true
	})
}

// separated is the buffer of this message's replies, ready for another one.
func (s *Shard) separated(ses *session.Session) []byte {
	if len(s.out) == 0 {
		return s.out
	}
	return proto.AppendSep(s.out, s.encodingOf(ses))
}
