package session

import (
	"math"

	"shoal/server/channel"
)

// ttlSecondsMax bounds what is granted: more than a year is taken for a year.
const ttlSecondsMax = 365 * 24 * 3600

// expect checks that the outcome is awaited and, if so, ends the waiting.
func (m *machine) expect(what mode) bool {
	if m.await() != what {
		m.disconnect(channel.DisconnectServerError) // the performer broke its rule
		return false
	}
	m.setAwait(awaitNothing)
	return true
}

// ttl returns the seconds that are left of what the input grants, at most a year and
// negative when it is over; expires is false when it has no end.
func (m *machine) ttl() (seconds int64, expires bool) {
	if m.in.ExpireAt <= 0 {
		return 0, false
	}
	if m.in.Unix < 0 || m.in.ExpireAt < m.in.Unix {
		return -1, true
	}
	return min(m.in.ExpireAt-m.in.Unix, ttlSecondsMax), true
}

// grant sets the deadline of credentials that are good for so many seconds.
func (m *machine) grant(seconds int64, expires bool) {
	m.expireAt = 0
	if expires {
		ticks := uint64(seconds)*uint64(m.cfg.TicksPerSecond) + uint64(m.grace())
		m.expireAt = max(m.in.Now+Tick(min(ticks, math.MaxInt32)), 1)
	}
}

// grace is the time a client has to refresh ended credentials; the server needs none.
func (m *machine) grace() Tick {
	if m.has(modeServerRefresh) {
		return 0
	}
	return m.cfg.ExpireGraceTicks
}

func (m *machine) authenticated() {
	if !m.expect(awaitAuth) {
		return
	}
	if m.refusedConnect(m.in.Refusal) {
		return
	}
	seconds, expires := m.ttl()
	if seconds < 0 {
		m.refusedConnect(channel.RefuseError(channel.ErrExpired))
		return
	}
	if len(m.in.Subs) > m.cfg.channelsMax() {
		m.disconnect(channel.DisconnectChannelLimit)
		return
	}
	for i := range m.in.Subs {
		if _, err := m.cfg.Rules.Resolve(m.in.Subs[i].Channel); err != nil {
			m.refusedConnect(channel.Refusal{Err: err})
			return
		}
	}
	if m.in.ServerRefresh {
		m.mode |= modeServerRefresh
	}
	m.grant(seconds, expires)
	m.firstPing()
	m.connectSubs()
}

// connectSubs asks for the subscriptions that the token names; the connect reply comes
// after them.
func (m *machine) connectSubs() {
	if len(m.in.Subs) == 0 {
		m.connected()
		return
	}
	m.setAwait(awaitConnectSubs)
	m.pending, m.subCount = uint16(len(m.in.Subs)), uint16(len(m.in.Subs))
	for i := range m.in.Subs {
		sub := &m.in.Subs[i]
		opts, _ := m.cfg.Rules.Resolve(sub.Channel)
		m.emit(Effect{Kind: EffectSubscribe, ID: m.in.ID, Channel: sub.Channel, Options: opts, Sub: sub})
	}
}

// connected is the only way to StateActive from StateIdle.
func (m *machine) connected() {
	m.state, m.limitAt = StateActive, 0
	e := Effect{Kind: EffectReplyConnect, ID: m.in.ID}
	if m.expireAt != 0 && !m.has(modeServerRefresh) {
		e.Expires = true
		if end := m.expireAt - m.grace(); end > m.in.Now {
			e.TTL = uint32(end-m.in.Now) / m.cfg.TicksPerSecond
		}
	}
	// A client pinged by frames is told of no protocol pings, so that it expects none.
	if m.cfg.PingTicks > 0 && !m.native() {
		e.Ping, e.Pong = m.cfg.pingSeconds(), m.cfg.PongTicks > 0
	}
	m.reply(e)
}

// refusedConnect performs a refusal, if it is one: after an error the session is
// unusable and the deadline to connect in goes on. With both, the error is told before the
// end: some SDKs wait for an answer until their own deadline otherwise.
func (m *machine) refusedConnect(r channel.Refusal) bool {
	switch {
	case r.Disconnect != nil && r.Err != nil:
		m.replyError(m.in.ID, r.Err)
		m.end(r.Disconnect)
	case r.Disconnect != nil:
		m.end(r.Disconnect)
	case r.Err != nil:
		m.state = StateUnusable
		m.pingAt, m.expireAt = 0, 0
		m.mode &^= modeRenewing
		if m.subCount > 0 {
			m.subCount = 0
			m.emit(Effect{Kind: EffectUnsubscribeAll})
		}
		m.replyError(m.in.ID, r.Err)
	default:
		return false
	}
	return true
}

func (m *machine) subscribed() {
	switch m.await() {
	case awaitConnectSubs:
		m.connectSubscribed()
	case awaitSubscribed:
		m.clientSubscribed()
	default:
		m.disconnect(channel.DisconnectServerError) // the performer broke its rule
	}
}

// connectSubscribed counts one subscription made for a token. When one fails the
// connect fails; outcomes that come after that are undone.
func (m *machine) connectSubscribed() {
	m.pending--
	if m.pending == 0 {
		m.setAwait(awaitNothing)
	}
	refusal := m.in.Refusal
	if seconds, expires := m.ttl(); expires && seconds <= 0 && !refusal.Refused() && m.state != StateUnusable {
		refusal = channel.RefuseError(channel.ErrExpired)
	}
	switch {
	case m.state == StateUnusable:
		if !refusal.Refused() {
			m.emit(Effect{Kind: EffectUnsubscribe, Channel: m.in.Channel})
		}
	case m.refusedConnect(refusal):
	case m.pending == 0:
		m.connected()
	}
}

func (m *machine) clientSubscribed() {
	m.setAwait(awaitNothing)
	seconds, expires := m.ttl()
	switch {
	case m.in.Refusal.Disconnect != nil:
		m.end(m.in.Refusal.Disconnect)
	case m.in.Refusal.Err != nil:
		m.subCount--
		m.replyError(m.in.ID, m.in.Refusal.Err)
	case expires && seconds <= 0:
		m.subCount--
		m.emit(Effect{Kind: EffectUnsubscribe, Channel: m.in.Channel})
		m.replyError(m.in.ID, channel.ErrExpired.Err())
	case m.in.ServerRefresh:
		m.reply(Effect{Kind: EffectReplySubscribe, ID: m.in.ID, Channel: m.in.Channel})
	default:
		m.reply(Effect{Kind: EffectReplySubscribe, ID: m.in.ID, Channel: m.in.Channel, Expires: expires, TTL: uint32(seconds)})
	}
}

func (m *machine) published() {
	if m.expect(awaitPublished) && !m.refused() {
		m.reply(Effect{Kind: EffectReplyPublish, ID: m.in.ID, Channel: m.in.Channel})
	}
}

func (m *machine) answered() {
	if m.expect(awaitAnswered) && !m.refused() {
		m.reply(Effect{Kind: EffectReplyAnswer, ID: m.in.ID})
	}
}

// sent ends the waiting for whoever takes messages; there is no reply that could say
// anything but a disconnect.
func (m *machine) sent() {
	if m.expect(awaitSent) && m.in.Refusal.Disconnect != nil {
		m.end(m.in.Refusal.Disconnect)
	}
}

func (m *machine) refreshed() {
	if !m.expect(awaitRefreshed) || m.refused() {
		return
	}
	seconds, expires := m.ttl()
	if expires && seconds <= 0 {
		m.replyError(m.in.ID, channel.ErrExpired.Err())
		return
	}
	m.grant(seconds, expires)
	m.reply(Effect{Kind: EffectReplyRefresh, ID: m.in.ID, Expires: expires, TTL: uint32(seconds)})
}

func (m *machine) subRefreshed() {
	if !m.expect(awaitSubRefreshed) || m.refused() {
		return
	}
	seconds, expires := m.ttl()
	if seconds < 0 {
		m.replyError(m.in.ID, channel.ErrExpired.Err())
		return
	}
	m.reply(Effect{Kind: EffectReplySubRefresh, ID: m.in.ID, Channel: m.in.Channel, Expires: expires, TTL: uint32(seconds)})
}

// refused performs the refusal of a command that changed nothing, if it is one.
func (m *machine) refused() bool {
	switch r := m.in.Refusal; {
	case r.Disconnect != nil:
		m.end(r.Disconnect)
	case r.Err != nil:
		m.replyError(m.in.ID, r.Err)
	default:
		return false
	}
	return true
}
