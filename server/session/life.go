package session

import "shoal/server/channel"

// firstPing sets the first ping at a random moment of the second half of the interval,
// so that clients that came at once are not pinged at once.
func (m *machine) firstPing() {
	if interval := m.cfg.PingTicks; interval > 0 {
		half := interval / 2
		m.pingAt = m.in.Now + interval - half + Tick(m.in.Rand%uint32(half))
	}
}

// alive notes that the client lives: whatever it sent counts. A pong that is awaited no
// longer is; it may still come and is then no fault.
func (m *machine) alive() {
	switch m.state {
	case StateActive:
		m.limitAt = 0
		m.setBeats(0, m.owed())
	case StateDormant:
		m.state, m.limitAt = StateActive, 0
		m.setBeats(0, m.owed())
		interval, _ := m.cfg.heartbeat(m.idle())
		m.pingAt = m.in.Now + interval
		m.emit(Effect{Kind: EffectAwake})
	}
}

// listening follows an outcome: from now on the client is certainly read again, and a
// pong that is awaited has its whole time.
func (m *machine) listening() {
	if m.state == StateActive && m.limitAt != 0 {
		m.limitAt = m.in.Now + m.cfg.PongTicks
	}
}

// idle returns how long no command was answered.
func (m *machine) idle() Tick { return m.in.Now - m.activeAt }

// pong is the protocol's pong. One that nobody asked for is a fault.
func (m *machine) pong() {
	owed := m.owed()
	if owed == 0 {
		m.disconnect(channel.DisconnectBadRequest)
		return
	}
	m.setBeats(m.Missed(), owed-1)
}

// pingDue sends a ping unless a command was answered within the last half interval:
// then both sides know of each other and the ping is put off by half an interval. So a
// client never waits longer than the interval it was told, and the pings of clients
// that came and subscribed at once stay spread.
func (m *machine) pingDue() {
	interval, _ := m.cfg.heartbeat(m.idle())
	if idle := m.idle(); idle < interval/2 {
		m.pingAt = m.in.Now + interval/2
		return
	}
	if m.in.Pressed && m.mode&modeLate == 0 && m.cfg.LateTicks > 0 {
		m.mode |= modeLate // once: it comes then, whatever goes on
		m.pingAt = m.in.Now + m.cfg.LateTicks
		return
	}
	m.ping()
}

// ping sends one. After a miss its pong is awaited at one-way levels too.
func (m *machine) ping() {
	interval, twoWay := m.cfg.heartbeat(m.idle())
	m.pingAt = m.in.Now + interval
	m.mode &^= modeLate
	if twoWay || m.Missed() > 0 {
		m.limitAt = m.in.Now + m.cfg.PongTicks
	}
	if m.native() {
		m.emit(Effect{Kind: EffectPingFrame})
		return
	}
	m.setBeats(m.Missed(), m.owed()+1)
	m.emit(Effect{Kind: EffectPing})
}

// missed handles a pong that did not come in time.
func (m *machine) missed() {
	misses := m.Missed() + 1
	m.limitAt = 0
	m.setBeats(misses, m.owed())
	switch {
	case m.cfg.DormantMisses > 0 && misses >= m.cfg.DormantMisses:
		m.state, m.pingAt = StateDormant, 0
		m.limitAt = m.in.Now + m.cfg.ObservationTicks
		m.emit(Effect{Kind: EffectDormant})
	case misses >= m.cfg.missesMax():
		m.disconnect(channel.DisconnectNoPong)
	default:
		m.ping()
	}
}
