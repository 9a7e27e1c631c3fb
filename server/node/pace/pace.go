package pace

import (
	"time"

	"shoal/loop"
)

// Work is a work that may have to wait. Waits is asked on the loop, every few milliseconds.
type Work interface {
	loop.Work
	Waits() bool
}

// pause is the time between two looks.
const pause = 20 * time.Millisecond

// Loop is what is needed of a [loop.Loop].
type Loop interface {
	Work(w loop.Work)
	WorkAfter(w loop.Work, after time.Duration)
}

// Pace is one loop's. Use [New]. Loop-owned.
type Pace struct {
	l  Loop
	of []Work
}

// New returns one without works.
func New(l Loop) *Pace { return &Pace{l: l} }

// Add has a work begin once it need not wait any more.
func (p *Pace) Add(w Work) {
	if p.of = append(p.of, w); len(p.of) == 1 {
		p.l.WorkAfter(p, pause)
	}
}

// Slice implements [loop.Work].
func (p *Pace) Slice(*loop.Loop) (more bool) {
	left := p.of[:0]
	for _, w := range p.of {
		if w.Waits() {
			left = append(left, w)
		} else {
			p.l.Work(w)
		}
	}
	clear(p.of[len(left):])
	if p.of = left; len(left) > 0 {
		p.l.WorkAfter(p, pause)
	} else {
		p.of = nil
	}
	return false
}
