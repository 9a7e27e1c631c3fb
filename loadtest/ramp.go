package loadtest

import (
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/plan"
	"shoal/loadtest/report"
)

// flow is a stream of publications under way, whose rate may change in steps. A nil one does nothing.
type flow struct {
	phase *plan.Phase
	steps []plan.Step
	next  int // of steps
	until time.Time
	begun time.Time
	first int // published before all
	since int // published before the present step
	done  []report.Step
}

func newFlow(f *plan.Phase, now time.Time, d engine.Driver) *flow {
	n := d.Snapshot().Published
	return &flow{phase: f, steps: f.Ramp(), begun: now, until: now, first: n, since: n}
}

// made is how many publications have been made.
func (f *flow) made(d engine.Driver) int { return d.Snapshot().Published - f.first }

// tick begins the next step when it is time to. The last one goes on.
func (f *flow) tick(now time.Time, d engine.Driver) error {
	if f == nil || f.next == len(f.steps) || now.Before(f.until) {
		return nil
	}
	if f.next > 0 {
		f.close(now, d)
	}
	s := f.steps[f.next]
	f.next++
	f.until = f.until.Add(s.For) // by the plan: a tick that was late does not make all others late
	to := engine.Shared
	if f.phase.Scenario == Users {
		to = engine.Own
	}
	return d.Order(engine.Order{Flow: &engine.Flow{Rate: s.Rate, Random: f.phase.Random, To: to, Count: f.phase.Count}})
}

// close notes how the present step went.
func (f *flow) close(now time.Time, d engine.Driver) {
	begun, n := f.begun, d.Snapshot().Published
	from := 0.0
	if k := len(f.done); k > 0 {
		from = f.done[k-1].From + f.done[k-1].Seconds
	}
	if took := now.Sub(begun).Seconds() - from; took > 0 {
		f.done = append(f.done, report.Step{From: from, Seconds: took, Asked: f.steps[f.next-1].Rate, Reached: float64(n-f.since) / took})
	}
	f.since = n
}

// end is how all steps went.
func (f *flow) end(now time.Time, d engine.Driver) []report.Step {
	if f.next > 0 {
		f.close(now, d)
	}
	return f.done
}

// ramp watches connections being opened at a rate. A nil one does nothing.
type ramp struct {
	conns *plan.Connections
	begun time.Time
	last  time.Time
	full  time.Time // when the last one was begun
	since int
	done  []report.Step
}

func newRamp(c *plan.Connections, now time.Time) *ramp { return &ramp{conns: c, begun: now, last: now} }

// The steps of opening connections: seconds, and ten at least. What is counted may be a tick old, so that a step that is shorter than
// a quarter of a second would be off by more than two percent; and a ramp of hours has no more than steps that can be looked at.
const (
	rampStepsMin = 10
	rampStepsMax = 120
	rampStepLow  = time.Second / 4
)

func (r *ramp) step() time.Duration {
	takes := r.conns.Takes()
	return max(rampStepLow, min(time.Second, takes/rampStepsMin), takes/rampStepsMax)
}

func (r *ramp) tick(now time.Time, d engine.Driver) {
	if r == nil || r.conns.Rate == 0 || !r.full.IsZero() {
		return
	}
	switch n := d.Snapshot().Dialed; {
	case n >= r.conns.Count:
		r.full = now
	case now.Sub(r.last) >= r.step():
		r.close(now, n)
	}
}

// close notes how the time since the last step went; n have begun until now.
func (r *ramp) close(now time.Time, n int) {
	from, to := r.last.Sub(r.begun), now.Sub(r.begun)
	asked := r.conns.Begun(min(to, r.conns.Takes())) - r.conns.Begun(from)
	planned := (min(to, r.conns.Takes()) - from).Seconds() // what is begun later was asked for before
	if took := (to - from).Seconds(); planned > 0 {
		r.done = append(r.done, report.Step{From: from.Seconds(), Seconds: took, Asked: asked / planned, Reached: float64(n-r.since) / took})
	}
	r.last, r.since = now, n
}

// end is how all steps went; nil without a rate. A last step that is much shorter than the others says
// little and is left out.
func (r *ramp) end(now time.Time, d engine.Driver) []report.Step {
	if r.conns.Rate == 0 {
		return nil
	}
	if !r.full.IsZero() {
		now = r.full
	}
	if now.Sub(r.last) >= r.step()/2 || len(r.done) == 0 {
		r.close(now, d.Snapshot().Dialed)
	}
	return r.done
}
