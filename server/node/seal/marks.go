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
	spared  int64            // the last mark that spared a lineage
}

// NewMarks keeps at most max marks, at least 2, for a window in microseconds each.
func NewMarks(max int, window int64) *Marks {
	return &Marks{seed: maphash.MakeSeed(), max: max, window: window, present: map[uint64]int64{}, old: map[uint64]int64{}}
}

// Subject says whose tokens, or what of them, a mark is about. The zero value is nobody.
type Subject struct {
	User    string
	Lineage uint64 // of a session; with a User it only says what was spared
	// Channel limits it to the subscription; All to all of them, but not the session.
	Channel string
	All     bool
}

const end = 0xff // in no user id and no channel name: they are UTF-8

func (m *Marks) number(s *Subject) uint64 {
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

// pardon is the number under which the mark is kept that counts for a lineage instead of
// that of its user, as long as that one is of the time at.
func (m *Marks) pardon(lineage uint64, at int64) uint64 {
	b := [18]byte{0: end, 9: end}
	binary.LittleEndian.PutUint64(b[1:], lineage)
	binary.LittleEndian.PutUint64(b[10:], uint64(at))
	return maphash.Bytes(m.seed, b[:])
}

// Revoke ends the tokens made until now, but for those of lineages that are spared: of
// them it changes nothing. If there are too many marks, it spares nobody.
func (m *Marks) Revoke(s Subject, now int64, spared ...uint64) {
	m.turn(now)
	if len(spared) > 0 || now <= m.spared { // no two marks of one time, one of which spares
		now = max(now, m.spared+1, m.at(m.number(&s))+1)
	}
	if len(m.present)+len(spared) >= max(m.max/2, 1) {
		clear(m.present)
		clear(m.old)
		m.floor, spared = max(m.floor, now), nil
	}
	for _, lineage := range spared {
		s.Lineage, m.spared = lineage, now
		m.present[m.pardon(lineage, now)] = m.of(&s)
	}
	id := m.number(&s)
	m.present[id] = max(m.present[id], now)
}

// at is a mark as it is kept, 0 for none.
func (m *Marks) at(id uint64) int64 { return max(m.present[id], m.old[id]) }

// of is the mark that counts for a subject, 0 for none.
func (m *Marks) of(s *Subject) int64 {
	at := m.at(m.number(s))
	if at == 0 || s.User == "" || s.Lineage == 0 {
		return at
	}
	id := m.pardon(s.Lineage, at)
	if _, is := m.present[id]; is {
		return m.present[id]
	}
	if _, is := m.old[id]; is {
		return m.old[id]
	}
	return at
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
	return issued <= m.of(&s)
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
	return nil
}
