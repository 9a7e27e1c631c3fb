package session

import (
	"shoal/server/channel"
)

// machine is one step: the session, what it is given, and the effects so far.
type machine struct {
	*Session
	cfg *Config
	in  *Input
	out []Effect
}

// Step takes one input and appends the effects to out, which it returns. It does not
// allocate while out has room; four effects are enough for all but a connect with
// server-side subscriptions. cfg must be valid and the same in every step.
func (s *Session) Step(cfg *Config, in *Input, out []Effect) []Effect {
	if s.state == StateClosing || in.Kind == KindBytes && s.calm() {
		return out
	}
	m := machine{Session: s, cfg: cfg, in: in, out: out}
	waited := s.Busy()
	m.step()
	if waited && !s.Busy() {
		m.listening()
	}
	m.arm()
	return m.out
}

func (m *machine) step() {
	switch m.in.Kind {
	case KindBytes, KindPong:
		m.alive()
	case KindOpened:
		m.opened()
	case KindCommand:
		m.command()
	case KindMalformed:
		m.disconnect(channel.DisconnectBadRequest)
	case KindTimer:
		m.timer()
	case KindAuthenticated:
		m.authenticated()
	case KindSubscribed:
		m.subscribed()
	case KindPublished:
		m.published()
	case KindRefreshed:
		m.refreshed()
	case KindSent:
		m.sent()
	case KindAnswered:
		m.answered()
	case KindSubRefreshed:
		m.subRefreshed()
	case KindRenewed:
		m.renewed()
	case KindDisconnect:
		m.end(m.in.Disconnect)
	case KindAdded:
		m.added()
	case KindRemoved:
		m.removed()
	case KindExtended:
		m.extended()
	}
}

// calm says that bytes change nothing: no pong is awaited, none was missed.
func (s *Session) calm() bool {
	return s.state == StateActive && s.limitAt == 0 && s.Missed() == 0
}

func (m *machine) emit(e Effect) { m.out = append(m.out, e) }

func (m *machine) opened() {
	if m.in.Native {
		m.mode |= modeNative
	}
	if m.state == StateIdle && m.limitAt == 0 {
		m.limitAt = m.in.Now + m.cfg.StaleTicks
	}
}

// disconnect ends the session with a code of the table.
func (m *machine) disconnect(c channel.DisconnectCode) { m.end(c.Disconnect()) }

// end is the only way to StateClosing.
func (m *machine) end(d *channel.Disconnect) {
	if m.state == StateClosing {
		return
	}
	if d == nil {
		d = channel.DisconnectServerError.Disconnect()
	}
	*m.Session = Session{User: m.User, Info: m.Info, Subs: m.Subs, Mark: m.Mark, state: StateClosing}
	m.emit(Effect{Kind: EffectDisconnect, Disconnect: d})
}

// arm asks for the timer when it would fire too late. One that fires too early is left
// alone: moving it with every message costs more than one needless timer in a while.
func (m *machine) arm() {
	next := m.nextDeadline()
	if next == 0 || m.armedAt != 0 && m.armedAt <= next {
		return
	}
	m.armedAt = next
	after := Tick(1)
	if next > m.in.Now {
		after = next - m.in.Now
	}
	m.emit(Effect{Kind: EffectArm, After: after})
}

// timer does what is due. The checks do not depend on when the timer really fires.
func (m *machine) timer() {
	m.armedAt = 0
	now := m.in.Now
	due := func(t Tick) bool { return t != 0 && t <= now }
	if due(m.expireAt) && !m.expired() {
		return
	}
	switch m.state {
	case StateIdle, StateUnusable:
		if due(m.limitAt) {
			m.disconnect(channel.DisconnectStale)
		}
	case StateDormant:
		if due(m.limitAt) {
			m.disconnect(channel.DisconnectNoPong)
		}
	case StateActive:
		if due(m.limitAt) && !m.Busy() {
			m.missed()
		} else if due(m.pingAt) {
			m.pingDue()
		}
	}
}
