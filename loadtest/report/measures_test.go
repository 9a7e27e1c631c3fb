package report

import (
	"strings"
	"testing"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/timeline"
)

// measured is a report with every figure at 100 (of whatever unit); messages are lost, twice and out of order as often.
func measured() *Report {
	q := func(p99 float64) *Quantiles { return &Quantiles{P50: p99, P99: p99, P999: p99, Max: 100} }
	hundred := 100.0
	r := &Report{
		OK: true, Cost: &Cost{MessageUS: 100}, Observed: &observe.Observed{Lag: &observe.Stops{Count: 1, P999: 100, Max: 200, Waits: 150}, GC: &observe.Stops{Count: 1, P999: 50, Max: 100}},
		Connections: Connections{PerSecond: 100, Seconds: 100e-6},
		Timeline:    &Timeline{Samples: []timeline.Sample{{RSS: 50, SelfRSS: 100}, {RSS: 100, SelfRSS: 60}, {}}},
		Pressure:    &Pressure{Latency: q(100), PerSecond: 100, Memory: &Memory{Before: 50, Peak: 150}},
		Phases: []Phase{{
			Name: "x", Verified: Verified{Received: 1, Lost: 50, LostDead: 20, Duplicates: 100, Reordered: 100}, Told: 30, PerSecond: 100, Latency: q(100), Last: q(1),
			Slow: &Slow{Before: q(1), During: q(100)}, Storm: &Storming{Own: q(1)}, Cost: &PhaseCost{MessageUS: 100, RSSBefore: 50, RSSAfter: 150},
			Steps: []Step{{Asked: 1, Reached: 300}, {Asked: 2, Reached: 200}},
		}},
	}
	for _, name := range []string{observe.FigureRSS, observe.FigureHeap, observe.FigureKernel} {
		r.Figures = append(r.Figures, observe.Figure{Name: name, Value: &hundred})
	}
	return r
}

func TestAFigureBeyondWhatIsExpectedFails(t *testing.T) {
	for _, f := range plan.Figures() {
		m, ok := measureOf(f.Name)
		if !ok || f.Whole != (m.ofPhase == nil) {
			t.Fatalf("%s is taken from no report, or from a phase that has none: %+v", f.Name, m)
		}
		for _, phase := range []string{"", "x"} {
			if phase != "" && f.Whole {
				continue
			}
			for _, c := range []struct {
				limit float64
				met   bool
			}{{99, f.Least}, {100, true}, {101, !f.Least}} {
				r := measured()
				r.Expect([]plan.Expectation{{Phase: phase, Name: f.Name, Limit: c.limit}})
				e := r.Expectations[0]
				if r.OK != c.met || e.Met != c.met || e.Value == nil || *e.Value < 99.999 || *e.Value > 100.001 {
					t.Errorf("%s at 100 and a limit of %g: %+v %q", f.Name, c.limit, e, r.Failures)
				}
				if !c.met && (len(r.Failures) != 1 || !strings.Contains(r.Failures[0], m.what) || strings.Contains(r.Failures[0], "phase x") != (phase != "")) {
					t.Errorf("%s: %q", f.Name, r.Failures)
				}
			}
			r := &Report{OK: true, Connections: Connections{Asked: 1}}
			needs := m.needs
			if phase != "" {
				needs = "a test that gets that far"
			}
			r.Expect([]plan.Expectation{{Phase: phase, Name: f.Name, Limit: 1}})
			if r.OK || r.Expectations[0].Value != nil || !strings.Contains(r.Failures[0], "was not measured; it takes "+needs) {
				t.Errorf("%s, not measured: %+v", f.Name, r)
			}
		}
	}
	if len(plan.Figures()) != len(measures()) {
		t.Errorf("%d figures and %d measures", len(plan.Figures()), len(measures()))
	}
}
