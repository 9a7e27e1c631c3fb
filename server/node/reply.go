package node

import (
	"shoal/codec/delta"
	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// replies are the values that a loop's replies are made in, one after the other.
type replies struct {
	reply         proto.Reply
	push          proto.Push
	connect       proto.ConnectResult
	subscribe     proto.SubscribeResult
	unsubscribe   proto.UnsubscribeResult
	publish       proto.PublishResult
	refresh       proto.RefreshResult
	rpc           proto.RPCResult
	subRefresh    proto.SubRefreshResult
	presence      proto.PresenceResult
	presenceStats proto.PresenceStatsResult
	answer        answer

	history []channel.Publication // what was read last
	pubs    []proto.Publication
	infos   []proto.ClientInfo
	refs    []*proto.Publication

	added hub.Sub // the membership that KindAdded is about
	pub   channel.Publication
	info  channel.ClientInfo
}

// answer is the result of the last EffectAsk; one is set.
type answer struct {
	presence map[string]channel.ClientInfo
	stats    *proto.PresenceStatsResult
	history  *proto.HistoryResult
	rpc      *proto.RPCResult
}

// answer appends the reply or push that an effect asks for.
func (s *Shard) answer(slot uint32, ses *session.Session, e *session.Effect) {
	r := &s.reply
	r.reply.Reset()
	r.reply.Id = e.ID
	switch e.Kind {
	case session.EffectReplyError:
		s.node.stats.countError(e.Err)
		s.out = proto.AppendError(s.separated(ses), s.payloadOf(ses), e.ID, e.Err.Code, e.Err.Message, e.Err.Temporary)
		return
	case session.EffectReplyConnect:
		s.connectResult(slot, ses, e)
		r.reply.Connect = &r.connect
		if s.append(ses, proto.Text) {
			s.opened(slot, ses)
			s.supplant(slot, ses)
		}
		return
	case session.EffectReplySubscribe:
		s.subscribeReply(slot, ses, e)
		return
	case session.EffectReplyUnsubscribe:
		r.reply.Unsubscribe = &r.unsubscribe
	case session.EffectReplyPublish:
		r.reply.Publish = &r.publish
	case session.EffectReplyRefresh:
		r.refresh.Reset()
		r.refresh.Expires, r.refresh.Ttl = e.Expires, e.TTL
		r.reply.Refresh = &r.refresh
	case session.EffectReplySubRefresh:
		r.subRefresh.Reset()
		r.subRefresh.Expires, r.subRefresh.Ttl = e.Expires, e.TTL
		r.reply.SubRefresh = &r.subRefresh
	case session.EffectReplyAnswer:
		r.answerInto()
	default:
		s.push(slot, ses, e)
		return
	}
	s.append(ses, 0)
	r.answer = answer{}
}

// push appends what the server says unasked.
func (s *Shard) push(slot uint32, ses *session.Session, e *session.Effect) {
	r := &s.reply
	r.push.Reset()
	r.push.Channel = e.Channel
	r.reply.Push = &r.push
	switch e.Kind {
	case session.EffectPushSubscribe:
		res := &r.subscribe
		r.push.Subscribe = &proto.Subscribe{
			Recoverable: res.Recoverable, Positioned: res.Positioned, Epoch: res.Epoch, Offset: res.Offset, Data: res.Data,
		}
		if s.append(ses, 0) {
			s.pushRecovered(ses, e.Channel, res)
			s.settled(slot, ses, r.added)
		}
		return
	case session.EffectPushUnsubscribe:
		s.node.stats.Unsubscribed.Add(1)
		s.removed(slot, e.Channel, e.Unsubscribe)
		r.push.Unsubscribe = &proto.Unsubscribe{Code: e.Unsubscribe.Code, Reason: e.Unsubscribe.Reason}
	case session.EffectPushRefresh:
		r.push.Refresh = &proto.Refresh{Expires: e.Expires, Ttl: e.TTL}
	}
	s.append(ses, 0)
}

// append appends the reply that was made. JSON that cannot carry it, such as the data
// of a token or a publication, ends the session as it does with publications.
func (s *Shard) append(ses *session.Session, how proto.Payloads) bool {
	out, err := proto.AppendReplyWith(s.separated(ses), s.payloadOf(ses), &s.reply.reply, how)
	if err != nil {
		s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: channel.DisconnectInappropriate.Disconnect()})
		return false
	}
	s.out = out
	return true
}

// separated is the buffer of this message's replies, ready for another one.
func (s *Shard) separated(ses *session.Session) []byte {
	if len(s.out) == 0 {
		return s.out
	}
	return proto.AppendSep(s.out, s.payloadOf(ses))
}

func (s *Shard) subscribeReply(slot uint32, ses *session.Session, e *session.Effect) {
	res := &s.reply.subscribe
	res.Expires, res.Ttl, res.Resume = e.Expires, e.TTL, s.resumeToken(slot, ses)
	s.reply.reply.Subscribe = res
	ok := s.append(ses, proto.Text)
	sub := s.hub.Find(hub.List(ses.Subs), bytesOf(e.Channel))
	if ok && sub != 0 {
		s.settled(slot, ses, sub)
	}
	res.Reset()
}

// pushRecovered pushes what a subscription made by the API recovered: its push has no
// room for publications.
func (s *Shard) pushRecovered(ses *session.Session, name string, res *proto.SubscribeResult) {
	var how proto.Payloads
	if res.Delta {
		how = proto.Text
	}
	for _, p := range res.Publications {
		out, err := proto.AppendPublicationPushWith(s.separated(ses), s.payloadOf(ses), name, p, how)
		if err != nil {
			s.queue = append(s.queue, session.Input{Kind: session.KindDisconnect, Disconnect: channel.DisconnectInappropriate.Disconnect()})
			return
		}
		s.out = out
	}
}

// resultFor is the empty result of an admission, until it is told.
func (s *Shard) resultFor(slot uint32, a *admission) *proto.SubscribeResult {
	if a.origin != byConnect {
		s.reply.subscribe.Reset()
		return &s.reply.subscribe
	}
	o := s.opening(slot)
	if o.taken == len(o.room) { // results point into what was there before
		o.room, o.taken = make([]proto.SubscribeResult, max(1, len(o.restored)-len(o.results))), 0
	}
	r := &o.room[o.taken]
	o.taken++
	o.results[a.name] = r
	return r
}

// publications fills a result with what was recovered, as differences if it has them.
// They alias pubs, and live until the next call if the result is the reply's own.
func (r *replies) publications(res *proto.SubscribeResult, pubs []channel.Publication) {
	if len(pubs) == 0 {
		return
	}
	own := res == &r.subscribe
	var b replies
	if own {
		b = replies{pubs: r.pubs, infos: r.infos, refs: r.refs}
	}
	res.Publications = b.list(pubs)
	if own {
		r.pubs, r.infos, r.refs = b.pubs, b.infos, b.refs
	}
	if !res.Delta {
		return
	}
	for i := len(pubs) - 1; i > 0; i-- { // from the end: each builds on the one before
		if patch := delta.Append(nil, pubs[i-1].Data, pubs[i].Data); len(patch) < len(pubs[i].Data) {
			res.Publications[i].Data, res.Publications[i].Delta = patch, true
		}
	}
}

// list makes protocol publications in the scratch memory of r.
func (r *replies) list(pubs []channel.Publication) []*proto.Publication {
	if cap(r.pubs) < len(pubs) {
		r.pubs = make([]proto.Publication, len(pubs))
		r.infos = make([]proto.ClientInfo, len(pubs))
		r.refs = make([]*proto.Publication, len(pubs))
		for i := range r.refs {
			r.refs[i] = &r.pubs[i]
		}
	}
	r.pubs, r.infos, r.refs = r.pubs[:cap(r.pubs)], r.infos[:cap(r.infos)], r.refs[:cap(r.refs)]
	for i := range pubs {
		p, q := &pubs[i], &r.pubs[i]
		q.Reset()
		q.Data, q.Offset, q.Tags, q.Time = p.Data, p.Offset, p.Tags, p.Time
		if p.Info != nil {
			info := &r.infos[i]
			info.Reset()
			fillInfo(info, p.Info)
			q.Info = info
		}
	}
	return r.refs[:len(pubs)]
}

func fillInfo(to *proto.ClientInfo, from *channel.ClientInfo) {
	to.User, to.Client, to.ConnInfo, to.ChanInfo = from.User, from.Client, from.ConnInfo, from.ChanInfo
}

// answerInto puts the result of EffectAsk into the reply.
func (r *replies) answerInto() {
	switch a := &r.answer; {
	case a.presence != nil:
		r.presence.Reset()
		r.presence.Presence = make(map[string]*proto.ClientInfo, len(a.presence))
		for client, info := range a.presence {
			to := &proto.ClientInfo{}
			fillInfo(to, &info)
			r.presence.Presence[client] = to
		}
		r.reply.Presence = &r.presence
	case a.stats != nil:
		r.reply.PresenceStats = a.stats
	case a.history != nil:
		r.reply.History = a.history
	case a.rpc != nil:
		r.reply.Rpc = a.rpc
	}
}
