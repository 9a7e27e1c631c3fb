package steer

import (
	"fmt"
	"time"
)

// Config is fixed for the life of a Steer. Zero fields mean what is said beside them.
type Config struct {
	HeadroomMax  int64   // bytes of garbage that are worth no collection, unless they come too often; 0 = 64 MiB
	PerSecondMax float64 // collections; 0 = 2
	ShareMax     float64 // of the processors' time; 0 = 0.03
}

const (
	headroomMin     = 4 << 20 // Go's own: it begins with a heap of 4 MiB
	headroomDefault = 64 << 20
	perSecond       = 2
	shareOfTime     = 0.03 // a busy host makes a collection look ten times as dear as it is
	pointerFree     = 8    // the part of memory without pointers that is given as room
	doublingsMax    = 8    // from headroomMin beyond any headroom
	changeMin       = 0.1  // of the percentage: smaller changes are not made
	spanMin         = 5 * time.Second
	rare            = 4 // the part of the bounds below which collections are rare
	rareFor         = 30 * time.Second
)

// Validate says what is wrong and, behind "; ", what to change.
func (c *Config) Validate() error {
	switch {
	case c.HeadroomMax != 0 && c.HeadroomMax < headroomMin:
		return fmt.Errorf("steer: %d bytes of headroom are less than Go begins with; give %d at least", c.HeadroomMax, headroomMin)
	case c.PerSecondMax < 0 || c.ShareMax < 0:
		return fmt.Errorf("steer: a bound is negative; give 0 for the default")
	}
	return nil
}

// Sample is what was measured.
type Sample struct {
	Live        int64         // bytes that the last collection found alive
	Scanned     int64         // of which had to be looked at for pointers
	Roots       int64         // bytes of stacks and globals, which Go's percentage is of too
	Ledger      int64         // bytes without pointers that the server counts now
	Collections uint64        // since the process began
	Busy        float64       // the part of the processors' time that they took, since the last sample
	Over        time.Duration // the time since the last sample
}

// Decision is what to do.
type Decision struct {
	Percent int  // for debug.SetGCPercent; 0 = leave it
	Collect bool // run a collection: it will find at least the headroom
}

// Steer turns samples into decisions. Use [New].
type Steer struct {
	cfg       Config
	percent   int // in force
	doublings int
	quiet     time.Duration // for how long collections have been rare
	span      span          // the present one

	collections uint64 // as of the last sample
	ledger      int64  // the most since the last collection
}

// span is the time from one collection to another, some seconds later: what they cost is to
// be seen in proportion to the whole of it.
type span struct {
	over        time.Duration
	collections uint64
	busy        time.Duration
}

// New returns a Steer for a process in which percent is in force.
func New(cfg Config, percent int) (*Steer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.HeadroomMax == 0 {
		cfg.HeadroomMax = headroomDefault
	}
	if cfg.PerSecondMax == 0 {
		cfg.PerSecondMax = perSecond
	}
	if cfg.ShareMax == 0 {
		cfg.ShareMax = shareOfTime
	}
	return &Steer{cfg: cfg, percent: percent}, nil
}

// Step takes a sample.
func (s *Steer) Step(m Sample) (d Decision) {
	fresh := m.Collections - s.collections
	s.collections = m.Collections
	if fresh > 0 || m.Ledger > s.ledger {
		s.ledger = m.Ledger
	}
	s.adapt(fresh, &m)
	room := s.headroom(&m)
	if s.ledger-m.Ledger >= room {
		d.Collect = true
		s.ledger = m.Ledger // once
	}
	percent := int(max(room*100/max(m.Live+m.Roots, headroomMin), 1))
	if change := float64(percent - s.percent); change > changeMin*float64(s.percent) || -change > changeMin*float64(s.percent) {
		s.percent, d.Percent = percent, percent
	}
	return d
}

// adapt doubles the room when there are too many collections, and halves it when they have
// been rare for a while.
func (s *Steer) adapt(fresh uint64, m *Sample) {
	s.span.over += m.Over
	s.span.collections += fresh
	s.span.busy += time.Duration(m.Busy * float64(m.Over))
	s.quiet += m.Over
	if fresh > 0 && s.span.over >= spanMin {
		if s.often(1) && s.headroom(m) < s.most(m) {
			s.doublings = min(s.doublings+1, doublingsMax)
		}
		if s.often(rare) {
			s.quiet = 0
		}
		s.span = span{}
	}
	if s.quiet >= rareFor {
		s.quiet, s.doublings = 0, max(s.doublings-1, 0)
	}
}

// often says whether the span exceeds a bound, divided by part.
func (s *Steer) often(part float64) bool {
	over := s.span.over.Seconds() / part
	return float64(s.span.collections) > s.cfg.PerSecondMax*over || s.span.busy.Seconds() > s.cfg.ShareMax*over
}

// headroom is the garbage that may gather, in bytes.
func (s *Steer) headroom(m *Sample) int64 {
	scanned := min(m.Scanned, m.Live)
	base := min(max(scanned+(m.Live-scanned)/pointerFree, headroomMin), s.cfg.HeadroomMax)
	return min(base<<s.doublings, s.most(m))
}

// most is the headroom that is never exceeded.
func (s *Steer) most(m *Sample) int64 { return max(s.cfg.HeadroomMax, m.Live) }
