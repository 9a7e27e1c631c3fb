package rate

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Pace is how fast a bucket fills and what it holds. Its time is in nanoseconds. The zero
// value lets everything through.
type Pace struct {
	perSecond uint64 // 0 = no limit
	burst     int64  // nanoseconds from empty to full
}

// PaceOf is a pace of so many per second, so many of them at once, at least one.
func PaceOf(perSecond, burst int) Pace {
	if perSecond <= 0 {
		return Pace{}
	}
	p := Pace{perSecond: uint64(perSecond)}
	p.burst = p.cost(max(burst, 1))
	return p
}

// On says whether it limits anything.
func (p Pace) On() bool { return p.perSecond > 0 }

// cost is the time that n take to come back.
func (p Pace) cost(n int) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(time.Second))
	if hi >= p.perSecond {
		return math.MaxInt64 / 4 // longer than a century
	}
	ns, _ := bits.Div64(hi, lo, p.perSecond)
	return int64(min(ns, math.MaxInt64/4))
}

// Part says how far somebody may empty a bucket.
type Part uint8

// The parts.
const (
	Whole Part = iota
	Half       // only while more than half is left
)

// Spend takes n from a bucket that is full again at full, and returns when it is then.
// What is more than the bucket holds is taken from a full one, and paid for afterwards.
// GCRA, ITU-T I.371 appendix I: the virtual scheduling algorithm.
func (p Pace) Spend(full, now int64, n int, part Part) (int64, bool) {
	full = max(full, now)
	debt, cost := full-now, p.cost(n)
	if debt > 0 && debt+cost > p.burst || part == Half && debt >= p.burst/2 {
		return full, false
	}
	return full + cost, true
}

// Shared is one bucket for all loops. Any goroutine may use it; the zero value lets
// everything through.
type Shared struct {
	Pace
	full atomic.Int64 // when it is full again
}

// Take takes n, if it holds as many.
func (s *Shared) Take(now int64, n int, part Part) bool {
	if !s.On() {
		return true
	}
	for {
		old := s.full.Load()
		full, ok := s.Spend(old, now, n, part)
		if !ok {
			return false
		}
		if s.full.CompareAndSwap(old, full) {
			return true
		}
	}
}

// Return gives back what Take took for something that did not happen.
func (s *Shared) Return(n int) {
	if s.On() {
		s.full.Add(-s.cost(n))
	}
}
