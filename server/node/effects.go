package node

import (
	"shoal/codec/proto"
	"shoal/loop"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// perform carries out one effect; the package documentation of session says what
// each asks for. Outcomes are appended to the queue.
func (s *Shard) perform(slot uint32, ses *session.Session, e *session.Effect) {
	if s.tenants != nil {
		if in, refused := s.tenants.Refuses(slot, e, s.l.Clock()); refused {
			s.queue = append(s.queue, in)
			return
		}
	}
	switch e.Kind {
	case session.EffectArm:
		s.l.Arm(slot, loop.Tick(e.After))
	case session.EffectDisconnect:
		s.close(slot, e.Disconnect)
	case session.EffectAuthenticate:
		s.authenticate(slot, ses, e)
	case session.EffectRefresh:
		s.refresh(slot, ses, e)
	case session.EffectRenew:
		s.renew(slot, ses)
	case session.EffectSubscribe:
		s.subscribe(slot, ses, e)
	case session.EffectSubRefresh:
		s.subRefresh(slot, ses, e)
	case session.EffectUnsubscribe:
		if sub := s.hub.Find(hub.List(ses.Subs), bytesOf(e.Channel)); sub != 0 {
			s.leave(slot, ses, sub)
		}
	case session.EffectUnsubscribeAll:
		s.leaveAll(slot, ses)
		delete(s.openings, slot)
	case session.EffectPublish:
		s.publish(slot, ses, e)
	case session.EffectAsk:
		s.ask(slot, ses, e)
	case session.EffectSend:
		s.message(slot, ses, e)
	case session.EffectPing:
		s.node.stats.Pings.Add(1)
		s.out = proto.AppendPing(s.separated(ses), s.payloadOf(ses))
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
