package wheel

import (
	"math/bits"
	"unsafe"
)

// Tick counts steps of the wheel. It may wrap around: a is before b when int32(b-a) > 0.
type Tick uint32

// Before says whether t comes before u, provided they are less than 1<<31 ticks apart.
func (t Tick) Before(u Tick) bool { return int32(u-t) > 0 }

// Links is the part of a timer that lies in the owner's slot. The zero value is a timer that is not armed. Only the
// wheel changes it; a slot must be cancelled before its memory is given to somebody else.
type Links struct {
	next     uint32 // slot+1 of the next timer in the bucket, 0 at the end
	prev     uint32 // slot+1 of the previous one, headMark+bucket for the first, 0 when not armed
	deadline Tick
}

// LinksBytes is the price of a timer.
const LinksBytes = 12

var _ = [1]struct{}{}[LinksBytes-unsafe.Sizeof(Links{})]

// Armed says whether the timer is set.
func (l *Links) Armed() bool { return l.prev != 0 }

// Deadline is the tick at which the timer fires; meaningful only while Armed.
func (l *Links) Deadline() Tick { return l.deadline }

// Store finds the links of a slot. It is called once or a few times by every operation and must always answer with
// the same address while the slot's timer is armed.
type Store interface{ Links(slot uint32) *Links }

const (
	levels      = 5
	stepBits    = 6   // a bucket is as wide as 1<<stepBits buckets of the level below
	levelSize   = 512 // buckets in levels 0…3
	topSize     = 256 // 256 buckets of 1<<24 ticks: the whole of uint32
	topShift    = stepBits * (levels - 1)
	topBase     = levelSize * (levels - 1)
	bucketCount = topBase + topSize
	headMark    = 1<<32 - 4096 // prev of a first timer is headMark+bucket

	// SlotMax is the first number that is no slot: values above it mark bucket heads.
	SlotMax = headMark - 1
)

var _ = [1]struct{}{}[32-(topShift+8)] // 256 = 1<<8 top buckets cover a Tick exactly

// Wheel holds the timers of one loop. Make it with New; it belongs to one goroutine.
type Wheel struct {
	store Store
	now   Tick
	len   int
	// occupied has one bit per bucket, so that an empty stretch of time is crossed in one step.
	occupied [bucketCount / 64]uint64
	head     [bucketCount]uint32 // slot+1, 0 = empty
}

// New makes an empty wheel that stands at now. The store must outlive it.
func New(now Tick, store Store) *Wheel { return &Wheel{store: store, now: now} }

// Now is the tick up to which the wheel has fired. Inside fire it is the tick being fired.
func (w *Wheel) Now() Tick { return w.now }

// Len is the number of armed timers.
func (w *Wheel) Len() int { return w.len }

// Set arms the slot's timer, or moves it when it is armed. A deadline that is not after Now fires at the next tick.
func (w *Wheel) Set(slot uint32, deadline Tick) {
	if slot >= SlotMax {
		panic("wheel: slot out of range: SlotMax and above mark bucket heads")
	}
	if !w.now.Before(deadline) {
		deadline = w.now + 1
	}
	l := w.store.Links(slot)
	b := bucketOf(w.now, deadline)
	if l.prev != 0 {
		if l.prev == headMark+b { // first of the very bucket it goes to: a heartbeat postponed within one tick or step
			l.deadline = deadline
			return
		}
		w.unlink(l)
		w.len--
	}
	w.link(slot, l, b, deadline)
	w.len++
}

// Cancel disarms the slot's timer and says whether it was armed.
func (w *Wheel) Cancel(slot uint32) bool {
	l := w.store.Links(slot)
	if l.prev == 0 {
		return false
	}
	w.unlink(l)
	w.len--
	return true
}

// bucketOf is the bucket for a timer at deadline, which is not before now. Levels overlap: the lowest one that
// reaches wins. A level reaches one bucket less than it has, so that no timer lands in the bucket the wheel stands on
// (it would wait a whole turn).
func bucketOf(now, deadline Tick) uint32 {
	switch ahead := uint32(deadline - now); {
	case ahead < (levelSize - 1):
		return uint32(deadline) & (levelSize - 1)
	case ahead < (levelSize-1)<<stepBits:
		return levelSize + uint32(deadline)>>stepBits&(levelSize-1)
	case ahead < (levelSize-1)<<(2*stepBits):
		return 2*levelSize + uint32(deadline)>>(2*stepBits)&(levelSize-1)
	case ahead < (levelSize-1)<<(3*stepBits):
		return 3*levelSize + uint32(deadline)>>(3*stepBits)&(levelSize-1)
	}
	return topBase + uint32(deadline)>>topShift
}

// link puts an unlinked timer first in bucket b. First, because that touches one other timer; last would touch two.
func (w *Wheel) link(slot uint32, l *Links, b uint32, deadline Tick) {
	first := w.head[b]
	l.next, l.prev, l.deadline = first, headMark+b, deadline
	if first != 0 {
		w.store.Links(first - 1).prev = slot + 1
	} else {
		w.occupied[b/64] |= 1 << (b % 64)
	}
	w.head[b] = slot + 1
}

// unlink takes an armed timer out of its bucket. Len is the caller's business.
func (w *Wheel) unlink(l *Links) {
	next, prev := l.next, l.prev
	if next != 0 {
		w.store.Links(next - 1).prev = prev
	}
	if prev >= headMark {
		b := prev - headMark
		w.head[b] = next
		if next == 0 {
			w.occupied[b/64] &^= 1 << (b % 64)
		}
	} else {
		w.store.Links(prev - 1).next = next
	}
	l.next, l.prev = 0, 0
}

// Advance moves the wheel to a tick and calls fire for every timer whose deadline has come, tick by tick in order.
// The timer is disarmed before fire is called; fire may Set and Cancel any slot, also its own: what it sets fires at
// a later tick. Advance to a tick that is not after Now fires nothing new. Should fire panic, the wheel stays valid
// and the next Advance goes on where this one stopped.
func (w *Wheel) Advance(to Tick, fire func(slot uint32)) {
	w.drain(fire) // what a panic left behind
	for w.now.Before(to) {
		t := w.now + 1
		if t != to { // behind by more than a tick: go to where something happens
			if w.len == 0 {
				w.now = to
				return
			}
			if t = w.nextStop(); to.Before(t) {
				w.now = to
				return
			}
		}
		w.now = t
		if t&(1<<stepBits-1) == 0 {
			w.cascade()
		}
		w.drain(fire)
	}
}

// drain fires the bucket of level 0 the wheel stands on. Nothing can enter it meanwhile: Set goes at least one tick
// ahead.
func (w *Wheel) drain(fire func(slot uint32)) {
	at := w.now
	b := uint32(at) & (levelSize - 1)
	for w.now == at && w.head[b] != 0 {
		slot := w.head[b] - 1
		w.unlink(w.store.Links(slot))
		w.len--
		fire(slot)
	}
}

// cascade refiles the buckets that begin at now, highest level first: each timer goes to a lower level, strictly
// ahead of the bucket the wheel stands on, or to level 0.
func (w *Wheel) cascade() {
	for level := uint32(levels - 1); level > 0; level-- {
		shift := level * stepBits
		if uint32(w.now)&(1<<shift-1) != 0 {
			continue
		}
		mask := uint32(levelSize - 1)
		if level == levels-1 {
			mask = topSize - 1
		}
		b := level*levelSize + uint32(w.now)>>shift&mask
		slotPlus := w.head[b]
		w.head[b] = 0
		w.occupied[b/64] &^= 1 << (b % 64)
		for slotPlus != 0 {
			l := w.store.Links(slotPlus - 1)
			next := l.next
			w.link(slotPlus-1, l, bucketOf(w.now, l.deadline), l.deadline)
			slotPlus = next
		}
	}
}

// Next is the first tick at which Advance has something to do (to fire, or only to cascade), so that an owner with
// nothing to do before it may sleep. ok is false when no timer is armed.
func (w *Wheel) Next() (t Tick, ok bool) {
	if w.len == 0 {
		return 0, false
	}
	return w.nextStop(), true
}

// nextStop is the start of the nearest occupied bucket of any level. At least one timer is armed.
func (w *Wheel) nextStop() Tick {
	best := uint32(1<<32 - 1) // ticks ahead
	for level := uint32(0); level < levels; level++ {
		size, shift := uint32(levelSize), level*stepBits
		if level == levels-1 {
			size = topSize
		}
		stand := uint32(w.now) >> shift
		dist, ok := w.nextOccupied(level*levelSize, size, stand&(size-1))
		if !ok {
			continue
		}
		if ahead := (stand+dist)<<shift - uint32(w.now); ahead < best {
			best = ahead
		}
	}
	return w.now + Tick(best)
}

// nextOccupied is the distance, 1…size-1, from bucket stand to the next occupied one of the level that begins at
// base, going round.
func (w *Wheel) nextOccupied(base, size, stand uint32) (dist uint32, ok bool) {
	words := w.occupied[base/64 : (base+size)/64]
	for i := uint32(0); i <= uint32(len(words)); i++ {
		at := (stand/64 + i) % uint32(len(words))
		word := words[at]
		switch i {
		case 0:
			word &= ^uint64(1) << (stand % 64) // only after stand
		case uint32(len(words)):
			word &= 1<<(stand%64) - 1 // once round: only before stand
		}
		if word != 0 {
			return (at*64 + uint32(bits.TrailingZeros64(word)) - stand) & (size - 1), true
		}
	}
	return 0, false
}
