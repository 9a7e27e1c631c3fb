package overload

import (
	"fmt"
	"strconv"
	"time"
)

// Level is how much of its work the node leaves undone.
type Level uint8

// The levels, each with what those before it leave undone.
const (
	Calm     Level = iota
	Refusing       // of new connections
	Sparing        // work of low priority
	Shedding       // connections are closed
	levels   = iota
)

// String is the metric label, a digit.
func (l Level) String() string { return strconv.Itoa(int(l)) }

// Signal is something that tells of overload. Its name is the metric label.
type Signal uint8

// The signals.
const (
	Lag     Signal = iota // for how long what arrives waits for its loop, 99 of 100 since the last sample
	Stall                 // for how long a loop has not answered now
	GC                    // the part of the processors' time that the collector took
	Memory                // the part of the memory limit that is used
	signals = iota
)

// Recovered is not a signal but the reason of a transition downwards.
const Recovered Signal = signals

// String is the metric label.
func (s Signal) String() string {
	return [...]string{"lag", "stall", "gc", "memory", "recovered"}[min(s, Recovered)]
}

// Format writes a value of the signal as people read it.
func (s Signal) Format(value float64) string {
	if s == Lag || s == Stall {
		d := time.Duration(value * float64(time.Second))
		if d < 10*time.Millisecond {
			return d.Round(time.Microsecond).String()
		}
		return d.Round(time.Millisecond).String()
	}
	return strconv.FormatFloat(100*value, 'f', 1, 64) + "%"
}

// falls is the part of a threshold that a signal must be below for the level to fall. What
// loops and collector do varies by factors from one second to the next; memory does not, and
// connections that stay keep theirs: it need only have turned round.
func (s Signal) falls() float64 {
	if s == Memory {
		return 0.95
	}
	return 0.5
}

// Sample is what was measured, by signal: seconds, or parts of one. What is not known is 0.
type Sample [signals]float64

// Thresholds are the values from which on a level is called for, by signal; 0 = the signal
// does not call for it.
type Thresholds [signals]float64

// Config is fixed for the life of a machine.
type Config struct {
	Levels    [levels]Thresholds // by level; that of Calm is ignored
	RiseAfter time.Duration      // how long signals must have called for a level; 0 = at once
	FallAfter time.Duration      // how long they must have been low for it to fall; 0 = at once
	SlowStart time.Duration      // from a tenth of the new connections to all; 0 = all at once
}

// Validate says what is wrong and, behind "; ", what to change.
func (c *Config) Validate() error {
	if c.RiseAfter < 0 || c.FallAfter < 0 || c.SlowStart < 0 {
		return fmt.Errorf("overload: a time is negative; write 0 or more")
	}
	for s := range Signal(signals) {
		low := 0.0
		for l := Refusing; l < levels; l++ {
			t := c.Levels[l][s]
			switch {
			case t < 0:
				return fmt.Errorf("overload: the threshold of %s for level %s is negative; write 0 for none", s, l)
			case t == 0:
			case t < low:
				return fmt.Errorf("overload: %s calls for level %s from %s on and for a lower one from %s on; raise the former", s, l, s.Format(t), s.Format(low))
			default:
				low = t
			}
		}
	}
	return nil
}

// reached is the highest level of which a signal is at the threshold, scaled by the part that
// of gives for it.
func (c *Config) reached(s *Sample, of func(Signal) float64) Level {
	for l := Level(levels - 1); l > Calm; l-- {
		for sig := range Signal(signals) {
			if t := c.Levels[l][sig]; t > 0 && s[sig] >= t*of(sig) {
				return l
			}
		}
	}
	return Calm
}

// upper is for thresholds as they are.
func upper(Signal) float64 { return 1 }
