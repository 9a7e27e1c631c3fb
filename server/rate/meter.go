package rate

import (
	"time"

	"shoal/pool/slab"
)

// Meter applies a limit to each conn of one loop. It belongs to the loop.
type Meter struct {
	bucket bucket
	epoch  time.Time // of the first event; nothing happened before
	levels *slab.Column[uint32]
}

// NewMeter returns a meter of a valid limit.
func NewMeter(l Limit) *Meter {
	return &Meter{bucket: newBucket(l), levels: slab.NewColumn[uint32]()}
}

// Take says whether the conn may do one more now, and counts it if so. It costs
// memory from the first event of a neighbourhood of slots on.
func (m *Meter) Take(slot uint32, now time.Time) bool {
	next, ok := m.look(slot, now)
	if ok {
		m.set(slot, next)
	}
	return ok
}

// look is Take that counts nothing: set does, with what it returns.
func (m *Meter) look(slot uint32, now time.Time) (next uint32, ok bool) {
	if m.epoch.IsZero() {
		m.epoch = now
	}
	level := uint32(0)
	if p := m.levels.Peek(slot); p != nil {
		level = *p
	}
	return m.bucket.take(level, uint64(max(now.Sub(m.epoch), 0)/time.Millisecond))
}

func (m *Meter) set(slot, level uint32) { *m.levels.At(slot) = level }

// Forget begins anew for a slot, which another conn has now.
func (m *Meter) Forget(slot uint32) {
	if p := m.levels.Peek(slot); p != nil {
		*p = 0
	}
}

// Trim drops the chunks of slots for which keep returns false.
func (m *Meter) Trim(keep func(chunk int) bool) { m.levels.Trim(keep) }

// Bytes returns the heap bytes held for conns.
func (m *Meter) Bytes() int { return m.levels.Bytes() }
