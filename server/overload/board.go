package overload

import (
	"math"
	"sync/atomic"
)

// Board is what was decided, for whoever has to act by it. Any goroutine; a nil one is calm,
// and so is the zero value.
type Board struct {
	level   atomic.Uint32
	held    atomic.Uint32 // part of the new connections that is refused, of 2³²−1
	rest    atomic.Uint32 // fractions of connections that were not let in yet
	changes [levels][levels][Recovered + 1]atomic.Uint64
}

// Post tells the level and the share of connections that is to be let in.
func (b *Board) Post(l Level, share float64) {
	b.level.Store(uint32(l))
	b.held.Store(uint32(math.MaxUint32 * (1 - min(max(share, 0), 1))))
}

// Count counts a transition.
func (b *Board) Count(t Transition) { b.changes[t.From][t.To][t.Reason].Add(1) }

// Level is the present one.
func (b *Board) Level() Level {
	if b == nil {
		return Calm
	}
	return Level(b.level.Load())
}

// Share is the part of the new connections that is let in.
func (b *Board) Share() float64 {
	if b == nil {
		return 1
	}
	return 1 - float64(b.held.Load())/math.MaxUint32
}

// Admits says whether a new connection is let in, and counts it with those that were not. Of
// many in a row exactly the share is, and evenly.
func (b *Board) Admits() bool {
	if b == nil {
		return true
	}
	held := b.held.Load()
	if held == 0 {
		return true
	}
	open := math.MaxUint32 - held
	return b.rest.Add(open) < open // it went round: a whole one is full
}

// Refuses says whether work of low priority is to be left undone now: low says that this is
// some.
func (b *Board) Refuses(low bool) bool { return low && b.Level() >= Sparing }

// EachChange calls f with every transition there was and how often.
func (b *Board) EachChange(f func(t Transition, n uint64)) {
	if b == nil {
		return
	}
	for from := range b.changes {
		for to := range b.changes[from] {
			for why := range b.changes[from][to] {
				if n := b.changes[from][to][why].Load(); n > 0 {
					f(Transition{From: Level(from), To: Level(to), Reason: Signal(why)}, n)
				}
			}
		}
	}
}
