package rate

import (
	"fmt"
	"time"
)

// Limit allows Count events per Interval in the long run, and Burst of them at once.
type Limit struct {
	Count    int           // at least 1
	Interval time.Duration // 1 ms to a day
	Burst    int           // 0 means Count
}

const (
	countMax    = 1_000_000
	intervalMax = 24 * time.Hour
)

// Validate checks the values; the error says why, and behind "; " what to change.
func (l Limit) Validate() error {
	switch {
	case l.Count < 1 || l.Count > countMax:
		return fmt.Errorf("a limit of %d is outside its bounds; choose 1 to %d", l.Count, countMax)
	case l.Interval < time.Millisecond || l.Interval > intervalMax || l.Interval%time.Millisecond != 0:
		return fmt.Errorf("an interval of %s cannot be kept; choose 1ms to %s, in whole milliseconds", l.Interval, intervalMax)
	case l.Burst < 0 || l.Burst > countMax:
		return fmt.Errorf("a burst of %d is outside its bounds; choose 1 to %d, or 0 for the limit itself", l.Burst, countMax)
	case int64(l.burst())*l.Interval.Milliseconds() > int64(l.Count)*intervalMax.Milliseconds():
		return fmt.Errorf("the burst takes longer than %s to come back; lower the burst, or allow more per interval", intervalMax)
	}
	return nil
}

func (l Limit) burst() int {
	if l.Burst == 0 {
		return l.Count
	}
	return l.Burst
}

// bucket is a limit made ready. Its time runs in units, of which an event costs a whole
// number: milliseconds where events are that rare, and else a 64th of an event, so that
// no rate is rounded to whole milliseconds.
type bucket struct {
	interval uint64 // milliseconds
	units    uint64 // in an interval
	cost     uint32 // units of an event
	room     uint32 // units of a burst
}

// costMin bounds what rounding to units gives away: less than a 64th of an event.
const costMin = 64

func newBucket(l Limit) bucket {
	b := bucket{interval: uint64(l.Interval.Milliseconds())}
	count := uint64(l.Count)
	b.cost = uint32(max((b.interval+count-1)/count, costMin))
	b.units = uint64(b.cost) * count
	b.room = b.cost * uint32(l.burst())
	return b
}

// at is a time in units. It wraps after the time of 2^26 events, such as 18 hours of a
// thousand per second, and where they are rarer than 15 per second after 49 days.
func (b *bucket) at(ms uint64) uint32 {
	return uint32(ms/b.interval*b.units + ms%b.interval*b.units/b.interval)
}

// take decides about one event at ms. level is when the bucket is full again, in units, 0
// while it is full; next is the level after the event, if ok.
//
// A level further ahead than a burst is one of the past. After a silence that ends within
// the time of a burst before the wrap it looks like one of the present: such a conn does
// not have all of its burst at once, and nothing else is wrong with it.
func (b *bucket) take(level uint32, ms uint64) (next uint32, ok bool) {
	now := b.at(ms)
	ahead := level - now
	if level == 0 || ahead > b.room {
		ahead = 0
	}
	if ahead+b.cost > b.room {
		return level, false
	}
	if next = now + ahead + b.cost; next == 0 {
		next-- // 0 is taken; a unit less is to the conn's advantage
	}
	return next, true
}
