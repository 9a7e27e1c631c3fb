package hooks

import (
	"sync"
	"time"
)

// BreakerState says how a breaker treats the next call.
type BreakerState uint8

// The states. Closed goes to Open on too many failures; Open to HalfOpen when its
// cooldown is over and the next call comes; HalfOpen to Closed after enough good probes,
// and back to Open on a bad one.
const (
	Closed   BreakerState = iota // every call goes through
	Open                         // no call does
	HalfOpen                     // a few do, as probes
)

// String returns the metric label.
func (s BreakerState) String() string {
	if s <= HalfOpen {
		return [...]string{"closed", "open", "half-open"}[s]
	}
	return "unknown"
}

const (
	breakerProbes      = 3                // good probes that close it; as many run at once
	breakerRatio       = 0.5              // of the verdicts of a window
	breakerVerdictsMin = 20               // in a window, before the ratio counts
	breakerWindow      = 10 * time.Second // windows follow each other and do not slide
	breakerGrowth      = 2                // of the cooldown, from one failed probing to the next
	breakerCooldownMax = 12               // times the first cooldown
)

// breaker keeps calls from a backend that fails. It opens after failuresMax failures in
// a row, or when half of a window's verdicts are failures. sony/gobreaker was looked at:
// its clock cannot be given and its cooldown neither grows nor spreads.
type breaker struct {
	failuresMax int           // immutable; 0: it never opens
	cooldown    time.Duration // immutable
	now         func() time.Time
	random      func() float64 // [0, 1)

	mu       sync.Mutex // guards the rest
	state    BreakerState
	term     uint64 // counts changes of state; a verdict of another term is not heard
	opened   uint64
	streak   int // failures in a row
	verdicts int // in the window
	failures int // of them
	window   time.Time
	wait     time.Duration // cooldown before jitter
	until    time.Time     // end of the cooldown
	probing  int
	good     int
}

// verdict is what a call says about its backend.
type verdict uint8

const (
	verdictNone verdict = iota // nothing: the caller gave up, or the question was bad
	verdictGood
	verdictBad
)

// ask says whether a call may go through. The term is for tell, which must follow.
func (b *breaker) ask() (term uint64, ok bool) {
	if b.failuresMax == 0 {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Open && !b.now().Before(b.until) {
		b.turn(HalfOpen)
	}
	switch b.state {
	case Open:
		return 0, false
	case HalfOpen:
		if b.probing+b.good >= breakerProbes {
			return 0, false
		}
		b.probing++
	}
	return b.term, true
}

// tell gives the verdict of a call and says whether it changed the state, and to what.
func (b *breaker) tell(term uint64, v verdict) (state BreakerState, changed bool) {
	if b.failuresMax == 0 {
		return Closed, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if term != b.term {
		return b.state, false
	}
	switch b.state {
	case HalfOpen:
		b.probing--
		b.probe(v)
	case Closed:
		b.count(v)
	}
	return b.state, term != b.term
}

func (b *breaker) probe(v verdict) {
	switch v {
	case verdictGood:
		if b.good++; b.good >= breakerProbes {
			b.wait = 0
			b.turn(Closed)
		}
	case verdictBad:
		b.open()
	}
}

func (b *breaker) count(v verdict) {
	if v == verdictNone {
		return
	}
	if now := b.now(); now.Sub(b.window) >= breakerWindow {
		b.window, b.verdicts, b.failures = now, 0, 0
	}
	b.verdicts++
	if v == verdictGood {
		b.streak = 0
		return
	}
	b.streak++
	b.failures++
	if b.streak >= b.failuresMax ||
		b.verdicts >= max(breakerVerdictsMin, b.failuresMax) && float64(b.failures) >= breakerRatio*float64(b.verdicts) {
		b.open()
	}
}

// open begins a cooldown between half of wait and all of it, so that the nodes of a
// cluster do not come back together.
func (b *breaker) open() {
	b.wait = min(max(b.cooldown, b.wait*breakerGrowth), b.cooldown*breakerCooldownMax)
	b.until = b.now().Add(b.wait/2 + time.Duration(b.random()*float64(b.wait/2)))
	b.opened++
	b.turn(Open)
}

func (b *breaker) turn(s BreakerState) {
	b.state = s
	b.term++
	b.streak, b.verdicts, b.failures, b.probing, b.good = 0, 0, 0, 0, 0
	b.window = time.Time{}
}

// report gives the state and how often it opened.
func (b *breaker) report() (BreakerState, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.opened
}

func breakerOf(ep *endpoint, c *Config) breaker {
	return breaker{failuresMax: ep.BreakerFailures, cooldown: ep.BreakerCooldown, now: c.Now, random: c.Random}
}
