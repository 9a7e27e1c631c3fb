package entry

import (
	"sync/atomic"
	"time"
)

// rate is how fast a bucket fills and what it holds, both as time. The zero value lets
// everything through.
type rate struct {
	interval int64 // nanoseconds for one; 0 = no limit
	burst    int64 // nanoseconds from empty to full
}

// rateOf is a rate of so many per second, so many of them at once.
func rateOf(perSecond, burst int) rate {
	if perSecond <= 0 {
		return rate{}
	}
	interval := int64(time.Second) / int64(perSecond)
	return rate{interval, interval * int64(max(burst, 1))}
}

// part says how far somebody may empty a bucket.
type part uint8

const (
	whole part = iota
	half       // only while more than half is left
)

// spend takes one from a bucket that is full again at full, and returns when it is then.
// GCRA, ITU-T I.371 appendix I: the virtual scheduling algorithm.
func (r rate) spend(full, now int64, p part) (int64, bool) {
	full = max(full, now)
	debt := full - now
	if debt+r.interval > r.burst || p == half && debt >= r.burst/2 {
		return full, false
	}
	return full + r.interval, true
}

// bucket is one for all loops.
type bucket struct {
	rate
	full atomic.Int64 // when it is full again
}

// take takes one, if there is one.
func (b *bucket) take(now int64, p part) bool {
	if b.interval == 0 {
		return true
	}
	for {
		old := b.full.Load()
		full, ok := b.spend(old, now, p)
		if !ok {
			return false
		}
		if b.full.CompareAndSwap(old, full) {
			return true
		}
	}
}
