package report

import (
	"strconv"

	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
	"shoal/loadtest/units"
)

// measure is how a figure is taken from a report.
type measure struct {
	name, what string
	write      func(float64) string
	needs      string // what it takes to be measured
	of         func(*Report) (value float64, known bool)
	ofPhase    func(*Phase) (value float64, known bool) // nil = no phase has it
}

func measures() []measure {
	const pid, target = "--server-pid", "metrics of the target (--metrics)"
	fine := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " µs" }
	times := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " times" }
	whole := func(v float64) string { return units.Grouped(int(v)) }
	share := func(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }
	return []measure{
		{"p50", "p50 of all receipts", micros, "deliveries", latency((*Quantiles).p50), phaseLatency((*Quantiles).p50)},
		{"p99", "p99 of all receipts", micros, "deliveries", latency((*Quantiles).p99), phaseLatency((*Quantiles).p99)},
		{"p999", "p99.9 of all receipts", micros, "deliveries", latency((*Quantiles).p999), phaseLatency((*Quantiles).p999)},
		{"p99_ratio", "p99 of those who read, against before the others stopped", times, "a phase of slow", first(slowRatio), slowRatio},
		{"loss", "messages lost", whole, "messages", total(lost), lost},
		{"duplicates", "messages that came twice", whole, "messages", total(twice), twice},
		{"reorder", "messages out of order", whole, "messages", total(late), late},
		{"rate", "deliveries a second", whole, "deliveries", (*Report).rate, func(p *Phase) (float64, bool) { return p.PerSecond, p.Received > 0 }},
		{"pace", "least share of an asked rate that was reached", share, "a rate", (*Report).pace, func(p *Phase) (float64, bool) { return pace(p.Steps) }},
		{"broadcast", "last receipt of a publication to all", micros, "a phase of fanout", first(broadcast), broadcast},
		{"back", "longest own time of who came back", micros, "a phase of storm or recover", first(back), back},
		{"lag", "p99.9 of the passes of the loops", micros, target, (*Report).lag, nil},
		{"gc", "longest stop for the collector", micros, target, (*Report).gc, nil},
		{"cpu", "processor time for a delivery", fine, pid, func(r *Report) (float64, bool) {
			if r.Cost == nil {
				return 0, false
			}
			return r.Cost.MessageUS, r.Cost.MessageUS > 0
		}, func(p *Phase) (float64, bool) {
			if p.Cost == nil {
				return 0, false
			}
			return p.Cost.MessageUS, p.Cost.MessageUS > 0
		}},
		{"rss_growth", "growth of the process", size, pid, (*Report).growth, func(p *Phase) (float64, bool) {
			if p.Cost == nil {
				return 0, false
			}
			return float64(max(p.Cost.RSSAfter-p.Cost.RSSBefore, 0)), true
		}},
		{"connect_rate", "connections a second", whole, "connections", func(r *Report) (float64, bool) {
			return r.Connections.PerSecond, r.Connections.PerSecond > 0
		}, nil},
		{"connect_time", "time to open all connections", micros, "connections, all of them", func(r *Report) (float64, bool) {
			return 1e6 * r.Connections.Seconds, r.Connections.Ready == r.Connections.Asked
		}, nil},
		{"rss_per_conn", "resident memory of the target for a connection", size, pid, figure(observe.FigureRSS), nil},
		{"rss", "most resident memory of the target", size, pid, most(func(s *timeline.Sample) int64 { return s.RSS }), nil},
		{"loadtest_rss", "most resident memory of the load test", size, "a host with /proc", most(func(s *timeline.Sample) int64 { return s.SelfRSS }), nil},
		{"heap_per_conn", "heap of the target for a connection", size, target, figure(observe.FigureHeap), nil},
		{"kernel_per_conn", "memory of the kernel for a connection", size, "a host whose /proc tells it, see figures in the JSON report", figure(observe.FigureKernel), nil},
	}
}

func (q *Quantiles) p50() float64 { return q.P50 }

func (q *Quantiles) p99() float64 { return q.P99 }

func (q *Quantiles) p999() float64 { return q.P999 }

// figure takes one of those observed from outside.
func figure(name string) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) { return observe.Value(r.Figures, name) }
}

// most takes the most of the whole timeline.
func most(of func(*timeline.Sample) int64) func(*Report) (float64, bool) {
	return func(r *Report) (v float64, known bool) {
		if r.Timeline == nil {
			return 0, false
		}
		for i := range r.Timeline.Samples {
			v = max(v, float64(of(&r.Timeline.Samples[i])))
		}
		return v, v > 0
	}
}

// latency takes a quantile of all receipts.
func latency(of func(*Quantiles) float64) func(*Report) (float64, bool) {
	return func(r *Report) (float64, bool) {
		q := r.Receipts()
		if q == nil {
			return 0, false
		}
		return of(q), true
	}
}

func phaseLatency(of func(*Quantiles) float64) func(*Phase) (float64, bool) {
	return func(p *Phase) (float64, bool) {
		if p.Latency == nil {
			return 0, false
		}
		return of(p.Latency), true
	}
}

// Receipts is the latency of all receipts; nil when there were none.
func (r *Report) Receipts() *Quantiles {
	switch {
	case r.Pressure != nil:
		return r.Pressure.Latency
	case r.Delivery != nil:
		return r.Delivery.Latency
	case r.Echo != nil:
		return r.Echo.Latency
	}
	return r.Latency
}

// first takes the worst of all phases that have it.
func first(of func(*Phase) (float64, bool)) func(*Report) (float64, bool) {
	return func(r *Report) (most float64, known bool) {
		for i := range r.Phases {
			if v, ok := of(&r.Phases[i]); ok {
				most, known = max(most, v), true
			}
		}
		return most, known
	}
}

// total adds up all phases that have it.
func total(of func(*Phase) (float64, bool)) func(*Report) (float64, bool) {
	return func(r *Report) (sum float64, known bool) {
		for i := range r.Phases {
			if v, ok := of(&r.Phases[i]); ok && r.Phases[i].Beside == "" { // those beside are in those around them
				sum, known = sum+v, true
			}
		}
		return sum, known
	}
}

// messages says whether a phase had any.
func (p *Phase) messages() bool { return p.Expected > 0 || p.Received > 0 }

// lost are all that did not arrive, whether or not anybody was told.
func lost(p *Phase) (float64, bool) {
	n := p.Lost + p.LostDead + p.Told
	if s := p.Slow; s != nil {
		n += s.Silent + s.Unseen + s.LostGone
	}
	return float64(n), p.messages()
}

func twice(p *Phase) (float64, bool) { return float64(p.Duplicates), p.messages() }

func late(p *Phase) (float64, bool) { return float64(p.Reordered), p.messages() }

func slowRatio(p *Phase) (float64, bool) {
	if p.Slow == nil || p.Slow.Before == nil || p.Slow.During == nil || p.Slow.Before.P99 == 0 {
		return 0, false
	}
	return p.Slow.During.P99 / p.Slow.Before.P99, true
}

func broadcast(p *Phase) (float64, bool) {
	if p.Last == nil {
		return 0, false
	}
	return p.Last.Max, true
}

func back(p *Phase) (float64, bool) {
	if p.Storm == nil || p.Storm.Own == nil {
		return 0, false
	}
	return p.Storm.Own.Max, true
}

// pace is the least share of what was asked that was reached in a step.
func pace(steps []Step) (least float64, known bool) {
	for i, s := range steps {
		if i == 0 || s.Share() < least {
			least = s.Share()
		}
	}
	return least, len(steps) > 0
}

func (r *Report) pace() (float64, bool) {
	all := r.Connections.Steps
	for i := range r.Phases {
		all = append(all[:len(all):len(all)], r.Phases[i].Steps...)
	}
	return pace(all)
}

// rate is that of the test's one phase, or of the busiest of several.
func (r *Report) rate() (float64, bool) {
	switch {
	case r.Pressure != nil:
		return r.Pressure.PerSecond, true
	case r.Delivery != nil:
		return r.Delivery.PerSecond, true
	}
	return first(func(p *Phase) (float64, bool) { return p.PerSecond, p.Received > 0 })(r)
}

func (r *Report) lag() (float64, bool) {
	if r.Observed == nil || r.Observed.Lag == nil {
		return 0, false
	}
	return r.Observed.Lag.P999, true
}

func (r *Report) gc() (float64, bool) {
	if r.Observed == nil || r.Observed.GC == nil {
		return 0, false
	}
	return r.Observed.GC.Max, true
}

// growth is from before the stall, the cut or the traffic to the most there was; of several phases, of the one that grew most.
func (r *Report) growth() (float64, bool) {
	if r.Pressure != nil && r.Pressure.Memory != nil {
		return float64(r.Pressure.Memory.Growth()), true
	}
	return first(func(p *Phase) (float64, bool) {
		if p.Cost == nil {
			return 0, false
		}
		return float64(max(p.Cost.RSSAfter-p.Cost.RSSBefore, 0)), true
	})(r)
}

func measureOf(name string) (measure, bool) {
	for _, m := range measures() {
		if m.name == name {
			return m, true
		}
	}
	return measure{}, false
}
