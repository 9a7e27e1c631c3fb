package overload

import (
	"fmt"
	"time"
)

// Transition is a change of the level, and why.
type Transition struct {
	From, To Level
	Reason   Signal  // the signal that is farthest beyond its threshold; [Recovered] downwards
	Value    float64 // of that signal
	Limit    float64 // its threshold for the level To
}

// String tells of a transition in a line.
func (t Transition) String() string {
	if t.Reason == Recovered {
		return fmt.Sprintf("level %s → %s: recovered", t.From, t.To)
	}
	return fmt.Sprintf("level %s → %s: %s %s, threshold %s", t.From, t.To, t.Reason, t.Reason.Format(t.Value), t.Reason.Format(t.Limit))
}

// Machine turns samples into levels. Use [New].
type Machine struct {
	cfg   Config
	level Level
	above [levels]time.Time // since when samples have called for the level or a higher one; zero = the last did not
	below time.Time         // since when samples have allowed the level to fall, and the last transition at the earliest; zero = the last did not

	opened  time.Time // when the level became Calm; zero = the slow start and as long again are over
	caution int       // how many times the length of the slow start is doubled
}

// cautionMax bounds the doublings.
const cautionMax = 4

// New returns a machine that is calm.
func New(cfg Config) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Machine{cfg: cfg}, nil
}

// Level is the present one.
func (m *Machine) Level() Level { return m.level }

// Step takes a sample of the time now, which must not be before that of the last one. changed
// says that t tells of another level.
func (m *Machine) Step(now time.Time, s Sample) (t Transition, changed bool) {
	from := m.level
	called := m.cfg.reached(&s, upper)
	for l := Refusing; l < levels; l++ {
		keep(&m.above[l], l <= called, now)
	}
	keep(&m.below, m.level > Calm && m.cfg.reached(&s, Signal.falls) < m.level, now)
	for l := Level(levels - 1); l > m.level; l-- {
		if since := m.above[l]; !since.IsZero() && now.Sub(since) >= m.cfg.RiseAfter {
			m.rise(now, l)
			return m.because(from, &s), true
		}
	}
	if since := m.below; !since.IsZero() && now.Sub(since) >= m.cfg.FallAfter {
		m.fall(now)
		return Transition{From: from, To: m.level, Reason: Recovered}, true
	}
	return Transition{}, false
}

// keep notes since when something holds.
func keep(since *time.Time, holds bool, now time.Time) {
	switch {
	case !holds:
		*since = time.Time{}
	case since.IsZero():
		*since = now
	}
}

// rise goes to a higher level.
func (m *Machine) rise(now time.Time, to Level) {
	if m.level == Calm {
		if m.settled(now) {
			m.caution = 0
		} else {
			m.caution = min(m.caution+1, cautionMax)
		}
		m.opened = time.Time{}
	}
	m.level = to
}

// fall goes to the next lower level.
func (m *Machine) fall(now time.Time) {
	m.level--
	if m.below = now; m.level == Calm {
		m.opened = now
	}
}

// because finds the reason for the level that was reached.
func (m *Machine) because(from Level, s *Sample) Transition {
	t, most := Transition{From: from, To: m.level}, 0.0
	for sig := range Signal(signals) {
		if limit := m.cfg.Levels[m.level][sig]; limit > 0 && s[sig]/limit > most {
			most = s[sig] / limit
			t.Reason, t.Value, t.Limit = sig, s[sig], limit
		}
	}
	return t
}

// shareFirst is the share of connections that is let in at first.
const shareFirst = 0.1

// Share is the part of the new connections that is to be let in: 0 unless calm, 0.1 to 1
// during the slow start, then 1.
func (m *Machine) Share(now time.Time) float64 {
	switch {
	case m.level > Calm:
		return 0
	case m.opened.IsZero() || m.Opening() == 0:
		return 1
	}
	part := float64(now.Sub(m.opened)) / float64(m.Opening())
	return min(shareFirst+(1-shareFirst)*max(part, 0), 1)
}

// Opening is how long the present slow start takes, or would take.
func (m *Machine) Opening() time.Duration { return m.cfg.SlowStart << m.caution }

// settled says that the last overload is long over.
func (m *Machine) settled(now time.Time) bool {
	return m.opened.IsZero() || now.Sub(m.opened) >= 2*m.Opening()
}
