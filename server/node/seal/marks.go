package seal

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
)

// Marks say which tokens ended early: those of a subject that were made no later than its
// mark. A mark is kept for a window, which is how long a token lives anyway. When there
// would be too many, every token made so far ends instead: then clients come back the
// ordinary way, and nothing that was revoked is good again.
//
// Subjects are kept as numbers, so that nothing is scanned by the collector; two with the
// same number share a mark, which at worst costs one a token. Use [NewMarks]. Not safe for
// concurrent use.
type Marks struct {
	seed    maphash.Seed
	max     int
	window  int64
	turned  int64            // when old became old
	present map[uint64]int64 // microseconds, by subject
	old     map[uint64]int64 // of the window before
	floor   int64            // all tokens made until then have ended
}

// NewMarks keeps at most max marks, at least 2, for a window in microseconds each.
func NewMarks(max int, window int64) *Marks {
	return &Marks{seed: maphash.MakeSeed(), max: max, window: window, present: map[uint64]int64{}, old: map[uint64]int64{}}
}

// Subject says whose tokens, or what of them, a mark is about. The zero value is nobody.
type Subject struct {
	User    string
	Lineage uint64 // of a session; counts where there is no User
	// Channel limits it to the subscription; All to all of them, but not the session.
	Channel string
	All     bool
}

func (m *Marks) number(s *Subject) uint64 {
	const end = 0xff // in no user id and no channel name: they are UTF-8
	var h maphash.Hash
	h.SetSeed(m.seed)
	_, _ = h.WriteString(s.User)
	_ = h.WriteByte(end)
	if s.User == "" {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], s.Lineage)
		_, _ = h.Write(b[:])
	}
	_, _ = h.WriteString(s.Channel)
	if s.All {
		_ = h.WriteByte(end)
	}
	return h.Sum64()
}

// Revoke ends the tokens made until now.
func (m *Marks) Revoke(s Subject, now int64) {
	m.turn(now)
	if len(m.present) >= max(m.max/2, 1) {
		clear(m.present)
		clear(m.old)
		m.floor = max(m.floor, now)
	}
	id := m.number(&s)
	m.present[id] = max(m.present[id], now)
}

// turn forgets marks that are older than a window.
func (m *Marks) turn(now int64) {
	if now-m.turned < m.window {
		return
	}
	m.present, m.old = m.old, m.present
	clear(m.present)
	if now-m.turned >= 2*m.window {
		clear(m.old)
	}
	m.turned = now
}

// Revoked says whether a token made at issued has ended for the subject.
func (m *Marks) Revoked(s Subject, issued int64) bool {
	if issued <= m.floor {
		return true
	}
	if len(m.present)+len(m.old) == 0 {
		return false
	}
	id := m.number(&s)
	at, ok := m.present[id]
	if before, was := m.old[id]; was && before > at {
		at, ok = before, true
	}
	return ok && issued <= at
}

// Empty says that no token has ended early but by the floor.
func (m *Marks) Empty() bool { return len(m.present)+len(m.old) == 0 }

// Len is the number of marks.
func (m *Marks) Len() int { return len(m.present) + len(m.old) }

// markBytes is what a mark takes in a map, about: key, value, control byte and the room
// that a map of this kind leaves.
const markBytes = 24

// HeldBytes is the memory held, about.
func (m *Marks) HeldBytes() int { return m.Len() * markBytes }

// Trim forgets what no token can have any more, and gives its memory back.
func (m *Marks) Trim(now int64) {
	m.turn(now)
	if len(m.old) == 0 {
		m.old = map[uint64]int64{}
	}
	if len(m.present) == 0 {
		m.present = map[uint64]int64{}
	}
}

// Validate checks the bounds.
func (m *Marks) Validate() error {
	if half := max(m.max/2, 1); len(m.present) > half || len(m.old) > half {
		return fmt.Errorf("seal: %d and %d marks, at most %d each", len(m.present), len(m.old), half)
	}
	for id, at := range m.present {
		if at < m.turned {
			return fmt.Errorf("seal: mark %x is of %d, before its window began at %d", id, at, m.turned)
		}
	}
	return nil
}
