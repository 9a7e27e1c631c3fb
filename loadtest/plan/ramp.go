package plan

import (
	"math"
	"time"
)

// rampTime is when n have begun at a rate that rises from rate to to within over seconds, n being reached by then.
func rampTime(rate, to, over, n float64) float64 {
	slope := (to - rate) / over
	if slope == 0 {
		return n / rate
	}
	return (math.Sqrt(rate*rate+2*slope*n) - rate) / slope
}

// Begun is how many connections are to have been begun t after the first.
func (c *Connections) Begun(t time.Duration) float64 {
	s, over := t.Seconds(), c.Over.Seconds()
	if c.To <= 0 || over <= 0 {
		return c.Rate * s
	}
	if s <= over {
		return c.Rate*s + (c.To-c.Rate)*s*s/(2*over)
	}
	return (c.Rate+c.To)/2*over + c.To*(s-over)
}

// Step is a part of a phase with a rate of its own.
type Step struct {
	Rate float64
	For  time.Duration
}

// Ramp are the steps of a phase with a rate that rises or falls: from Rate to To, equally far apart and equally long. Without To
// it is one step for Duration.
func (f *Phase) Ramp() []Step {
	if f.To == 0 {
		return []Step{{f.Rate, f.Duration}}
	}
	n := max(f.Steps, 2)
	steps := make([]Step, n)
	for i := range steps {
		steps[i] = Step{f.Rate + (f.To-f.Rate)*float64(i)/float64(n-1), f.Duration / time.Duration(n)}
	}
	return steps
}

func seconds(s float64) time.Duration {
	if s > math.MaxInt64/1e9/2 {
		return math.MaxInt64 / 2
	}
	return time.Duration(s * float64(time.Second))
}
