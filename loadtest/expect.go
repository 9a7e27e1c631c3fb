package loadtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"shoal/loadtest/units"
)

// Expectation is a figure the test is to reach, beside the promises that always hold, and what it was.
type Expectation struct {
	Name  string   `json:"name"`
	Limit float64  `json:"limit"` // in microseconds, bytes, or a number, as the name demands
	Value *float64 `json:"value"` // nil = not measured
	Met   bool     `json:"met"`
}

// Words are what the expectation is of, its limit and its value, as people read them; value is empty when it was not measured.
func (e Expectation) Words() (what, limit, value string) {
	f := figureOf(e.Name)
	if f == nil { // of another version
		f = &figure{what: e.Name, write: units.Number}
	}
	if limit = "at most " + f.write(e.Limit); f.least {
		limit = "at least " + f.write(e.Limit)
	}
	if e.Value != nil {
		value = f.write(*e.Value)
	}
	return f.what, limit, value
}

// figure is something that can be expected.
type figure struct {
	name, what string
	write      func(float64) string
	least      bool   // the limit is the lowest allowed, not the highest
	needs      string // what it takes to be measured
	of         func(*Report) (value float64, known bool)
}

// figures are all there are.
func figures() []figure {
	const pid, metrics = "--server-pid", "metrics of the target (--metrics)"
	fine := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " µs" }
	times := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + " times" }
	return []figure{
		{"p99", "p99 of all receipts", micros, false, "deliveries", func(r *Report) (float64, bool) { return r.latency().p99() }},
		{"p99_ratio", "p99 of those who read, against before the others stopped", times, false, "--scenario slow", func(r *Report) (float64, bool) {
			if r.Pressure == nil || r.Pressure.Slow == nil {
				return 0, false
			}
			during, known := r.Pressure.Slow.During.p99()
			before, also := r.Pressure.Slow.Before.p99()
			return during / before, known && also && before > 0
		}},
		{"lag", "p99.9 of the passes of the loops", micros, false, metrics, func(r *Report) (float64, bool) {
			if r.Observed == nil || r.Observed.Lag == nil {
				return 0, false
			}
			return r.Observed.Lag.P999, true
		}},
		{"gc", "longest stop for the collector", micros, false, metrics, func(r *Report) (float64, bool) {
			if r.Observed == nil || r.Observed.GC == nil {
				return 0, false
			}
			return r.Observed.GC.Max, true
		}},
		{"cpu", "processor time for a delivery", fine, false, pid, func(r *Report) (float64, bool) {
			if r.Cost == nil {
				return 0, false
			}
			return r.Cost.MessageUS, r.Cost.MessageUS > 0
		}},
		{"rate", "deliveries a second", func(v float64) string { return grouped(int(v)) }, true, "deliveries", func(r *Report) (float64, bool) {
			switch {
			case r.Pressure != nil:
				return r.Pressure.PerSecond, true
			case r.Delivery != nil:
				return r.Delivery.PerSecond, true
			}
			return 0, false
		}},
		{"rss_growth", "growth of the process", size, false, pid, func(r *Report) (float64, bool) {
			if r.Pressure == nil || r.Pressure.Memory == nil {
				return 0, false
			}
			return float64(r.Pressure.Memory.Growth()), true
		}},
		{"back", "longest own time of who came back", micros, false, "--scenario storm", func(r *Report) (float64, bool) {
			if r.Pressure == nil || r.Pressure.Storm == nil || r.Pressure.Storm.Own == nil {
				return 0, false
			}
			return r.Pressure.Storm.Own.Max, true
		}},
	}
}

// p99 of a distribution, if there is one.
func (q *Quantiles) p99() (float64, bool) {
	if q == nil {
		return 0, false
	}
	return q.P99, true
}

// latency is that of all receipts.
func (r *Report) latency() *Quantiles {
	switch {
	case r.Pressure != nil:
		return r.Pressure.Latency
	case r.Delivery != nil:
		return r.Delivery.Latency
	case r.Echo != nil:
		return r.Echo.Latency
	}
	return nil
}

// parseExpectations reads «name=limit,…».
func parseExpectations(text string) (all []Expectation, err error) {
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, value, _ := strings.Cut(one, "=")
		f := figureOf(name)
		if f == nil {
			var names []string
			for _, f := range figures() {
				names = append(names, f.name)
			}
			return nil, fmt.Errorf("--expect %q: there is no figure %q; there are %s", text, name, strings.Join(names, ", "))
		}
		limit, ok := parseLimit(value)
		if !ok || limit <= 0 {
			return nil, fmt.Errorf("--expect %s=%q: write a limit above zero as in p99=20ms, rss_growth=64MB or p99_ratio=2", name, value)
		}
		all = append(all, Expectation{Name: name, Limit: limit})
	}
	return all, nil
}

func figureOf(name string) *figure {
	for _, f := range figures() {
		if f.name == name {
			return &f
		}
	}
	return nil
}

// parseLimit reads a duration as microseconds, a size as bytes, or a number.
func parseLimit(text string) (float64, bool) {
	if d, err := time.ParseDuration(text); err == nil {
		return us(d), true
	}
	factor := 1.0
	for _, unit := range [...]struct {
		name   string
		factor float64
	}{{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}} {
		if rest, is := strings.CutSuffix(text, unit.name); is {
			text, factor = rest, unit.factor
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err == nil
}

// expect compares the report with what was expected of it; what was not measured is not met.
func (r *Report) expect(all []Expectation) {
	for _, e := range all {
		f := figureOf(e.Name)
		v, known := f.of(r)
		sign, over := "at most", v > e.Limit
		if f.least {
			sign, over = "at least", v < e.Limit
		}
		if e.Met = known && !over; known {
			e.Value = &v
		}
		r.Expectations = append(r.Expectations, e)
		switch {
		case !known:
			r.Failures = append(r.Failures, fmt.Sprintf("expected: %s %s %s, and it was not measured; it takes %s", f.what, sign, f.write(e.Limit), f.needs))
		case over:
			r.Failures = append(r.Failures, fmt.Sprintf("expected: %s %s %s, and it was %s", f.what, sign, f.write(e.Limit), f.write(v)))
		}
	}
	r.OK = len(r.Failures) == 0
}
