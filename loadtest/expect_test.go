package loadtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/observe"
)

func TestExpectationsAreReadAsPeopleWriteThem(t *testing.T) {
	all, err := parseExpectations("p99=20ms, lag=5ms,gc=300us,back=3s,rss_growth=64MB,p99_ratio=2,cpu=500ns,rate=2e6,")
	want := []Expectation{
		{Name: "p99", Limit: 20_000}, {Name: "lag", Limit: 5000}, {Name: "gc", Limit: 300}, {Name: "back", Limit: 3e6}, {Name: "rss_growth", Limit: 64e6},
		{Name: "p99_ratio", Limit: 2}, {Name: "cpu", Limit: 0.5}, {Name: "rate", Limit: 2e6},
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%+v %v, want %+v", all, err, want)
	}
	if len(want) != len(figures()) {
		t.Error("a figure is missing in this test")
	}
	for text, part := range map[string]string{"p98=1ms": "there are p99, ", "p99": "write a limit", "lag=soon": "write a limit", "gc=0": "above zero", "rate=-1": "above zero"} {
		if _, err := parseExpectations(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want …%s…", text, err, part)
		}
	}
}

// measured is a report with every figure at 100 (of whatever unit).
func measured() *Report {
	q := func(p99 float64) *Quantiles { return &Quantiles{P99: p99, Max: 100} }
	return &Report{
		OK: true, Cost: &Cost{MessageUS: 100}, Observed: &observe.Observed{Lag: &observe.Stops{Count: 1, P999: 100, Max: 200, Waits: 150}, GC: &observe.Stops{Count: 1, P999: 50, Max: 100}},
		Pressure: &Pressure{
			Latency: q(100), PerSecond: 100, Memory: &Memory{Before: 50, Peak: 150},
			Slow: &SlowResult{Before: q(1), During: q(100)}, Storm: &Storming{Own: q(1)},
		},
	}
}

func TestAFigureBeyondWhatIsExpectedFails(t *testing.T) {
	for _, f := range figures() {
		for _, c := range []struct {
			limit float64
			met   bool
		}{{99, f.least}, {100, true}, {101, !f.least}} {
			r := measured()
			r.expect([]Expectation{{Name: f.name, Limit: c.limit}})
			e := r.Expectations[0]
			if r.OK != c.met || e.Met != c.met || e.Value == nil || *e.Value != 100 {
				t.Errorf("%s at 100 and a limit of %g: %+v %q", f.name, c.limit, e, r.Failures)
			}
			if !c.met && (len(r.Failures) != 1 || !strings.Contains(r.Failures[0], f.what)) {
				t.Errorf("%s: %q", f.name, r.Failures)
			}
		}
		r := &Report{OK: true}
		if r.expect([]Expectation{{Name: f.name, Limit: 1}}); r.OK || r.Expectations[0].Value != nil || !strings.Contains(r.Failures[0], "was not measured; it takes "+f.needs) {
			t.Errorf("%s, not measured: %q", f.name, r.Failures)
		}
	}
}

func TestExpectationsDecideTheOutcomeOfATest(t *testing.T) {
	addr, _ := serve(t, long)
	for _, c := range []struct {
		scenario Scenario
		expect   string
		fails    []string
	}{
		{Channels, "p99=1h,cpu=1h,rate=1,rss_growth=100GB,gc=1h", nil},
		{Channels, "p99=1ns,rate=1e12,cpu=1ns", []string{"p99 of all receipts at most 0 µs", "deliveries a second at least", "processor time"}},
		{Channels, "back=3s", []string{"was not measured; it takes --scenario storm"}},
		{Fanout, "gc=1h,cpu=1h,rate=1,p99=1ns", []string{"p99 of all receipts"}},
		{Echo, "p99=1h", nil},
	} {
		cfg := small(addr, c.scenario)
		cfg.ServerPIDs, cfg.Expect = []int{self()}, c.expect
		r, err := try(t, t.Context(), cfg, Surroundings{})
		if r == nil || r.OK != (len(c.fails) == 0) || (err == nil) != r.OK || len(r.Failures) != len(c.fails) || len(r.Expectations) == 0 {
			t.Fatalf("%s, --expect %s: %v %+v", c.scenario, c.expect, err, r)
		}
		for i, part := range c.fails {
			if !strings.Contains(r.Failures[i], part) {
				t.Errorf("%q, want …%s…", r.Failures[i], part)
			}
		}
	}
}

func TestSamplesAreThinnedOutNotCutOff(t *testing.T) {
	var s sampler
	now := time.Unix(0, 0)
	for i := range 2 * samplesMax {
		for !s.due(now) {
			now = now.Add(10 * time.Millisecond)
		}
		s.add(now, Sample{Seconds: now.Sub(time.Unix(0, 0)).Seconds(), Ready: i, RSS: int64(i)})
	}
	if len(s.all) > samplesMax || len(s.all) < samplesMax/2 || s.peak != 2*samplesMax-1 || s.all[0].Ready != 0 || s.period != 4*samplePeriod {
		t.Errorf("%d samples, from %+v, every %s, peak %d", len(s.all), s.all[0], s.period, s.peak)
	}
	if !slices.IsSortedFunc(s.all, func(a, b Sample) int { return a.Ready - b.Ready }) {
		t.Error("they are out of order")
	}
}
