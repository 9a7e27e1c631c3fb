package report

import (
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
)

// Phase is what one phase asked for and what came of it. Its counts are those of its own time; those of a phase beside another
// are of the publications of both, and what was lost is told by the one around it, which waits for them.
type Phase struct {
	Name        string        `json:"name"`
	Scenario    plan.Scenario `json:"scenario"`
	Beside      string        `json:"beside,omitempty"` // the phase around it
	From        float64       `json:"from_seconds"`     // since the start
	Seconds     float64       `json:"seconds"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Ready       int           `json:"ready"` // connections, at its end
	Failed      int           `json:"failed"`
	Died        int           `json:"died"`

	AskedRate   float64 `json:"asked_per_second,omitempty"` // publications, messages or connections; of a ramp see steps
	ReachedRate float64 `json:"reached_per_second,omitempty"`
	Steps       []Step  `json:"steps,omitempty"` // of publications

	Published int `json:"published"`
	Answered  int `json:"answered"`
	Refused   int `json:"refused"`
	Sent      int `json:"sent"`
	Others    int `json:"others"`
	Pings     int `json:"pings"`
	Verified
	Told      int        `json:"lost_and_told"`         // the clients know of these losses; not among lost
	PerSecond float64    `json:"deliveries_per_second"` // or echoes, or answers
	Latency   *Quantiles `json:"latency,omitempty"`     // of those who never stop reading, in no phase of slow
	Answer    *Quantiles `json:"answer,omitempty"`
	First     *Quantiles `json:"first_receipt,omitempty"` // fanout
	Last      *Quantiles `json:"last_receipt,omitempty"`  // fanout

	Slow  *Slow      `json:"slow,omitempty"`
	Storm *Storming  `json:"storm,omitempty"` // also of recover
	Churn *Churning  `json:"churn,omitempty"`
	Cost  *PhaseCost `json:"server_cost,omitempty"`

	Failures []string `json:"failures,omitempty"`

	MayTell bool `json:"-"` // some stop reading in it: the target may leave things out if the clients know
}

// Churning is how connections were replaced.
type Churning struct {
	Left     int        `json:"left"` // ended in good order
	Replaced int        `json:"replaced"`
	Parted   int        `json:"parted"`              // messages made meanwhile that nobody was promised
	Replace  *Quantiles `json:"replacing,omitempty"` // from the time it was due to ready
}

// PhaseCost is what the server's process used in a phase.
type PhaseCost struct {
	CPU       float64 `json:"cpu_seconds"`
	Percent   float64 `json:"cpu_percent"`              // of one processor
	MessageUS float64 `json:"message_cpu_us,omitempty"` // per delivery or echo, everything else it did included
	RSSBefore int64   `json:"rss_before_bytes"`
	RSSAfter  int64   `json:"rss_after_bytes"`
}

// Phase finds the result of a phase.
func (r *Report) Phase(name string) *Phase {
	for i := range r.Phases {
		if r.Phases[i].Name == name {
			return &r.Phases[i]
		}
	}
	return nil
}

// Marked takes over what the marks say that were taken during the phase.
func (p *Phase) Marked(r *Report) {
	span := func(from, to string) (a, b *Mark) {
		if a, b = r.At(from), r.At(to); a == nil || b == nil || a.Seconds < p.From || b.Seconds < a.Seconds {
			return nil, nil
		}
		return a, b
	}
	if before, stalled := span(MarkBefore, MarkStalled); p.Slow != nil && before != nil {
		p.Slow.Seconds = stalled.Seconds - before.Seconds
	}
	if cut, back := span(MarkCut, MarkBack); p.Storm != nil && cut != nil && cut.Server != nil && back.Server != nil && p.Storm.Back > 0 {
		p.Storm.CPU = us(back.Server.CPU-cut.Server.CPU) / float64(p.Storm.Back)
	}
}

// judge fills in what went wrong in the phase. o is what the target counted over the whole test, nil when it does not tell.
func (p *Phase) judge(o *observe.Observed) {
	fail := failing(&p.Failures)
	p.Verified.failures(fail)
	fail(p.Refused, "publications or messages refused: %s")
	if p.Beside == "" && !p.MayTell {
		fail(p.Told, "messages lost, though the clients know: %s")
	}
	if p.Slow != nil {
		p.Slow.failures(fail)
		p.Failures = append(p.Failures, p.Slow.uncounted(o)...)
	}
	if p.Storm != nil {
		p.Storm.failures(fail)
	}
	if c := p.Churn; c != nil {
		fail(c.Left-c.Replaced, "connections that left and were not replaced: %s")
	}
}

// Step is a part of a phase in which something was to be done at a rate, and what it was done at. A second each where the rate
// changes all the time.
type Step struct {
	From    float64 `json:"from_seconds"` // since the first of them began
	Seconds float64 `json:"seconds"`
	Asked   float64 `json:"asked_per_second"` // the mean over the step
	Reached float64 `json:"reached_per_second"`
}

// Share is how much of what was asked was reached.
func (s Step) Share() float64 { return s.Reached / s.Asked }
