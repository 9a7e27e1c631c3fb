package session

import "shoal/server/channel"

// live says whether the client was told that it is connected.
func (m *machine) live() bool { return m.state == StateActive || m.state == StateDormant }

// added counts a membership that the server made.
func (m *machine) added() {
	switch {
	case !m.live():
		m.emit(Effect{Kind: EffectUnsubscribe, Channel: m.in.Channel})
	case int(m.subCount) >= m.cfg.channelsMax():
		m.disconnect(channel.DisconnectChannelLimit)
	default:
		m.subCount++
		m.emit(Effect{Kind: EffectPushSubscribe, Channel: m.in.Channel})
	}
}

// removed ends a membership by the server's decision.
func (m *machine) removed() {
	made := m.subCount
	if m.await() == awaitSubscribed {
		made-- // the one being made is not there to be removed
	}
	if !m.live() || made == 0 {
		return
	}
	why := m.in.Unsubscribe
	if why == nil {
		why = channel.UnsubscribeServer.Unsubscribe()
	}
	m.subCount--
	m.emit(Effect{Kind: EffectUnsubscribe, Channel: m.in.Channel})
	m.emit(Effect{Kind: EffectPushUnsubscribe, Channel: m.in.Channel, Unsubscribe: why})
}

// extended grants what the server's API says.
func (m *machine) extended() {
	if !m.live() && m.await() != awaitConnectSubs || m.state == StateUnusable {
		return // there is nothing to be extended
	}
	seconds, expires := m.ttl()
	if m.in.Expired || expires && seconds <= 0 {
		m.disconnect(channel.DisconnectExpired)
		return
	}
	m.grant(seconds, expires)
	if m.live() {
		m.emit(Effect{Kind: EffectPushRefresh, Expires: expires, TTL: uint32(seconds)})
	}
}

// expired handles the end of the credentials; false when it is the end of the session.
// While the server is asked whether the session may go on, they have no other end.
func (m *machine) expired() bool {
	if !m.has(modeServerRefresh) {
		m.disconnect(channel.DisconnectExpired)
		return false
	}
	m.expireAt = 0
	if !m.has(modeRenewing) {
		m.mode |= modeRenewing
		m.emit(Effect{Kind: EffectRenew})
	}
	return true
}

// renewed takes the answer. The client hears nothing of it: it was never told that its
// credentials end.
func (m *machine) renewed() {
	switch {
	case m.state == StateUnusable:
		return // the connect failed meanwhile
	case !m.has(modeRenewing):
		m.disconnect(channel.DisconnectServerError) // the performer broke its rule
		return
	}
	m.mode &^= modeRenewing
	seconds, expires := m.ttl()
	switch r := m.in.Refusal; {
	case r.Disconnect != nil:
		m.end(r.Disconnect)
	case r.Err != nil:
		m.disconnect(channel.DisconnectServerError)
	case m.in.Expired || expires && seconds <= 0:
		m.disconnect(channel.DisconnectExpired)
	default:
		m.grant(seconds, expires)
	}
}
