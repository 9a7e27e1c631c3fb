package loadtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/report"
)

func TestExpectationsDecideTheOutcomeOfATest(t *testing.T) {
	addr, _ := serve(t, long)
	for _, c := range []struct {
		scenario Scenario
		expect   string
		fails    []string
	}{
		{Channels, "p99=1h,cpu=1h,rate=1,rss_growth=100GB,gc=1h", nil},
		{Channels, "p99=1ns,rate=1e12,cpu=1ns", []string{"p99 of all receipts at most 0 µs", "deliveries a second at least", "processor time"}},
		{Channels, "back=3s", []string{"was not measured; it takes a phase of storm"}},
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
		s.add(now, report.Sample{Seconds: now.Sub(time.Unix(0, 0)).Seconds(), Ready: i, RSS: int64(i)})
	}
	if len(s.all) > samplesMax || len(s.all) < samplesMax/2 || s.peak != 2*samplesMax-1 || s.all[0].Ready != 0 || s.period != 4*samplePeriod {
		t.Errorf("%d samples, from %+v, every %s, peak %d", len(s.all), s.all[0], s.period, s.peak)
	}
	if !slices.IsSortedFunc(s.all, func(a, b report.Sample) int { return a.Ready - b.Ready }) {
		t.Error("they are out of order")
	}
}
