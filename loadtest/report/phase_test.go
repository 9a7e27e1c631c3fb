package report

import (
	"strings"
	"testing"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
)

// mixed is a report of a plan with every kind of phase.
func mixed() *Report {
	q := &Quantiles{Count: 3, Min: 1, Mean: 2, P50: 2, P90: 900, P99: 1500, P999: 2_500_000, Max: 3_000_000}
	whole := func(n int) Verified { return Verified{Expected: n, Received: n} }
	cost := &PhaseCost{CPU: 1.5, Percent: 12.34, MessageUS: 4.567, RSSBefore: 30e6, RSSAfter: 31e6}
	return &Report{
		Scenario: Mixed, Plan: "a day", Target: "ws://h/c", Encoding: "json", Channel: "news", Payload: 128, Seconds: 100,
		Connections: Connections{Asked: 1000, Ready: 1000, AtEnd: 1000, Seconds: 2, PerSecond: 500, AskedRate: 100, AskedTo: 900, Setup: q, Steps: []Step{
			{0, 1, 300, 299}, {1, 1, 700, 650},
		}},
		Heartbeat: Heartbeat{Pings: 5, Pongs: 5},
		Accept:    &Queue{Overflows: 1},
		Phases: []Phase{
			{Name: "idle", Scenario: plan.Idle, From: 2, Seconds: 10, Ready: 1000, Pings: 5, Others: 7},
			{
				Name: "news", Scenario: plan.Channels, From: 12, Seconds: 20, Ready: 998, Died: 2, Published: 100, Answered: 100, Verified: whole(5000),
				PerSecond: 250, Latency: q, Cost: cost, AskedRate: 5, ReachedRate: 4.99, MayTell: true,
			},
			{Name: "churn", Scenario: plan.Churn, Beside: "news", From: 13, Seconds: 5, Ready: 1000, AskedRate: 10, ReachedRate: 9.6, Churn: &Churning{Left: 48, Replaced: 47, Parted: 6, Replace: q}},
			{
				Name: "storm", Scenario: plan.Storm, Beside: "news", From: 18, Seconds: 5, Ready: 1000, Interrupted: true,
				Storm: &Storming{Cut: 500, Back: 499, Recovered: 498, Unrecovered: 1, RecoveredPublications: 77, Own: q, Away: q, CPU: 33},
			},
			{
				Name: "rise", Scenario: plan.Channels, From: 32, Seconds: 13, Ready: 1000, Published: 10, Answered: 10, PerSecond: 1,
				Verified: Verified{Expected: 20, Received: 17, Lost: 1, LostDead: 1, Duplicates: 1, Reordered: 1, Altered: 1, Misrouted: 1}, Told: 1, Refused: 1,
				Steps: []Step{
					{0, 1, 10, 10}, {1, 1, 20, 20}, {2, 1, 30, 30}, {3, 1, 40, 40}, {4, 1, 50, 50}, {5, 1, 60, 60}, {6, 1, 70, 70}, {7, 1, 80, 80},
					{8, 1, 90, 80}, {9, 1, 100, 80}, {10, 1, 110, 80}, {11, 1, 120, 80}, {12, 1, 130, 80},
				},
			},
			{Name: "echo", Scenario: plan.Echo, From: 50, Seconds: 5, Ready: 1000, Sent: 30, Verified: whole(30), AskedRate: 6, ReachedRate: 6, PerSecond: 6, Latency: q},
			{Name: "all", Scenario: plan.Fanout, From: 60, Seconds: 5, Ready: 1000, Published: 2, Answered: 2, Verified: whole(2000), PerSecond: 400, First: q, Last: q, Latency: q},
			{
				Name: "slow", Scenario: plan.Slow, From: 70, Seconds: 5, Ready: 1000, Published: 2, Answered: 2, Verified: whole(2000), PerSecond: 400, MayTell: true, Told: 3,
				Slow: &Slow{Stalled: 10, Seconds: 2, Whole: 9, Silent: 1, Before: q, During: q},
			},
		},
	}
}

func TestAPlanHasATableForEachPhase(t *testing.T) {
	r := mixed()
	r.Judge()
	r.Expect([]plan.Expectation{{Phase: "news", Name: "p99", Limit: 2000}, {Name: "pace", Limit: 0.9}})
	golden(t, "mixed", r)
}

func TestWhatGoesWrongInAPhaseIsSaidWithItsName(t *testing.T) {
	r := mixed()
	r.Judge()
	for _, want := range []string{
		"phase churn: connections that left and were not replaced: 1", "phase storm: connections that did not come back: 1",
		"phase storm: subscriptions that came back and did not recover: 1", "phase rise: messages lost: 1", "phase rise: messages lost with connections that died: 1",
		"phase rise: messages that came twice: 1", "phase rise: messages out of order: 1", "phase rise: messages altered: 1", "phase rise: messages at the wrong connection: 1",
		"phase rise: publications or messages refused: 1", "phase rise: messages lost, though the clients know: 1", "phase slow: messages lost silently by those who did not read: 1",
		"connections that found the accept queue full (ListenOverflows): 1",
	} {
		found := 0
		for _, f := range r.Failures {
			if f == want {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%q is said %d times: %s", want, found, strings.Join(r.Failures, "\n"))
		}
	}
	if len(r.Failures) != 13 || r.OK {
		t.Errorf("%d failures: %s", len(r.Failures), strings.Join(r.Failures, "\n"))
	}
	sum, _ := total(lost)(r)
	if sum != 1+1+1+3+1 {
		t.Errorf("%g lost in all", sum)
	}
}

func TestMarksOfOnePhaseAreNotThoseOfAnother(t *testing.T) {
	marks := func(cut, back float64) []Mark {
		server := func(ms int64) *observe.Process { return &observe.Process{CPU: time.Duration(ms) * time.Millisecond} }
		return []Mark{{Name: MarkCut, Seconds: cut, Server: server(100)}, {Name: MarkBack, Seconds: back, Server: server(150)}}
	}
	for _, c := range []struct {
		name  string
		marks []Mark
		want  float64
	}{
		{"during the phase", marks(11, 12), 25_000},
		{"of a phase before", marks(5, 6), 0},
		{"cut and never back", marks(11, 6), 0},
		{"none", nil, 0},
	} {
		r := &Report{Marks: c.marks}
		p := Phase{From: 10, Storm: &Storming{Back: 2}}
		if p.Marked(r); p.Storm.CPU != c.want {
			t.Errorf("%s: %g µs, want %g", c.name, p.Storm.CPU, c.want)
		}
	}
}

func TestWhatIsLostBesideAPhaseIsThatPhases(t *testing.T) {
	r := &Report{Phases: []Phase{
		{Name: "a", Verified: Verified{Expected: 9, Lost: 2, Duplicates: 3}}, {Name: "b", Beside: "a", Verified: Verified{Received: 1, Lost: 2, Duplicates: 3}},
		{Name: "c", Verified: Verified{Expected: 9, Lost: 5}}, {Name: "d"},
	}}
	for _, c := range []struct {
		of   func(*Phase) (float64, bool)
		want float64
	}{{lost, 7}, {twice, 3}, {late, 0}} {
		if got, known := total(c.of)(r); got != c.want || !known {
			t.Errorf("%g, known %v, want %g", got, known, c.want)
		}
	}
}
