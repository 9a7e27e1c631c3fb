package plan

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAPhaseOfEachScenarioIsValidByItsDefaultsAlone(t *testing.T) {
	for _, s := range Scenarios() {
		for _, n := range []int{1, 2, 1000, 1_000_000} {
			p := Plan{Connections: Connections{Count: n}, Phases: []Phase{{Scenario: s}}}.WithDefaults()
			if err := p.Validate(); err != nil {
				t.Errorf("%s with %d connections: %v", s, n, err)
			}
			if again := p.WithDefaults(); !reflect.DeepEqual(again, p) {
				t.Errorf("%s: the defaults of a plan with defaults change it: %+v, %+v", s, p, again)
			}
			if p.Takes() <= 0 && s != Fanout {
				t.Errorf("%s takes no time", s)
			}
			if own := s == Users || s == Echo; p.Connections.Own != own {
				t.Errorf("%s has own channels: %v", s, p.Connections.Own)
			}
		}
	}
}

func TestEveryPresetIsValidAtEverySize(t *testing.T) {
	for _, name := range Presets() {
		for _, n := range []int{0, 1, 2, 3, 9, 10, 99, 100, 1000, 15_000, 1_000_000, 40_000_000} {
			given, err := Preset(name, n)
			if err != nil {
				t.Fatal(err)
			}
			p := given.WithDefaults()
			if err := p.Validate(); err != nil {
				t.Errorf("%s of %d: %v", name, n, err)
			}
			if p.Name != name || p.Takes() > 30*time.Minute {
				t.Errorf("%s of %d takes %s", name, n, p.Takes())
			}
		}
	}
	baseline, _ := Preset("baseline", 1_000_000)
	load, _ := Preset("load", 1000)
	peak, _ := Preset("peak", 1000)
	if n := [3]int{baseline.Connections.Count, load.Connections.Count, peak.Connections.Count}; n != [3]int{1000, 1000, 1200} {
		t.Errorf("%d connections", n)
	}
	for text, want := range map[string]string{"pek": "did you mean peak?", "x": "baseline, load or peak"} {
		if _, err := Preset(text, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Preset("load", -1); err == nil {
		t.Error("fewer than none")
	}
}

func TestTheCallersPlanIsNotChanged(t *testing.T) {
	p := Plan{Phases: []Phase{{Scenario: Channels, Meanwhile: []Phase{{Scenario: Churn}}}}}
	if q := p.WithDefaults(); q.Phases[0].Name == "" || q.Phases[0].Meanwhile[0].Name == "" {
		t.Errorf("%+v", q)
	}
	if p.Phases[0].Name != "" || p.Phases[0].Meanwhile[0].Name != "" {
		t.Errorf("%+v", p)
	}
}

func TestPhasesOfOneScenarioAreTold(t *testing.T) {
	p := Plan{Phases: []Phase{{Scenario: Idle}, {Scenario: Channels, Meanwhile: []Phase{{Scenario: Idle}}}, {Scenario: Idle, Name: "x"}, {Scenario: Idle}}}.WithDefaults()
	var names []string
	for f := range p.All() {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "idle channels idle-2 x idle-4" {
		t.Error(got)
	}
	for range p.All() {
		break // nothing more is given
	}
}

func TestConnectionsBeginAsTheirRampSays(t *testing.T) {
	for _, c := range []Connections{
		{Count: 1000, Rate: 100},
		{Count: 1000, Rate: 100, To: 300, Over: 2 * time.Second},
		{Count: 1000, Rate: 300, To: 100, Over: 20 * time.Second},
		{Count: 1000, Rate: 100, To: 100, Over: time.Second},
		{Count: 1000, Rate: 1, To: 20_000, Over: time.Hour},
		{Count: 10_500, Rate: 1000, To: 20_000, Over: time.Second},
	} {
		took := c.Takes()
		if got := c.Begun(took); math.Abs(got-float64(c.Count)) > 0.01 {
			t.Errorf("%+v: %g have begun after %s", c, got, took)
		}
		// The oracle adds up the rate in small steps.
		sum, last := 0.0, 0.0
		const dt = 1e-4
		for s := 0.0; s < min(took.Seconds(), 5); s += dt {
			rate := c.Rate
			if over := c.Over.Seconds(); c.To > 0 {
				rate += (c.To - c.Rate) * min(s/over, 1)
			}
			sum += rate * dt
			last = s + dt
		}
		if got := c.Begun(time.Duration(last * 1e9)); math.Abs(got-sum) > 0.001*sum+2 {
			t.Errorf("%+v: %g after %g s, the sum is %g", c, got, last, sum)
		}
	}
	if c := (Connections{Count: 5}); c.Takes() != 0 {
		t.Error("a time without a rate")
	}
	if c := (Connections{Count: 1 << 40, Rate: 1e-9}); c.Takes() <= 0 {
		t.Error("an overflow")
	}
	p := Plan{Connections: Connections{Count: 300, Rate: 100, To: 200}}.WithDefaults()
	if p.Connections.Over != 2*time.Second || p.Connections.Takes() != 2*time.Second {
		t.Errorf("%+v takes %s", p.Connections, p.Connections.Takes())
	}
}

func TestARateRisesInEqualSteps(t *testing.T) {
	second := time.Second
	for _, c := range []struct {
		f    Phase
		want []Step
	}{
		{Phase{Rate: 5, Duration: second}, []Step{{5, second}}},
		{Phase{Rate: 100, To: 300, Steps: 3, Duration: 3 * second}, []Step{{100, second}, {200, second}, {300, second}}},
		{Phase{Rate: 30, To: 10, Steps: 2, Duration: 4 * second}, []Step{{30, 2 * second}, {10, 2 * second}}},
	} {
		if got := c.f.Ramp(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.f, got, c.want)
		}
	}
}

func TestATimeIsThatOfItsLongestPart(t *testing.T) {
	second := time.Second
	for _, c := range []struct {
		f    Phase
		want time.Duration
	}{
		{Phase{Scenario: Idle, Duration: 5 * second}, 5 * second},
		{Phase{Scenario: Fanout, Count: 10, Rate: 5}, 2 * second},
		{Phase{Scenario: Users, Count: 10, Rate: 5}, 2 * second},
		{Phase{Scenario: Users, Count: 100, Rate: 5, Duration: 3 * second}, 3 * second},
		{Phase{Scenario: Storm, Duration: 3 * second}, 6 * second},
		{Phase{Scenario: Recover, Duration: 3 * second, Away: second}, 7 * second},
		{Phase{Scenario: Slow, Duration: 3 * second, Stall: second}, 7 * second},
		{Phase{Scenario: Channels, Rate: 1, Meanwhile: []Phase{{Scenario: Churn, Duration: second}, {Scenario: Idle, Duration: second}}}, 2 * second},
	} {
		if got := c.f.Takes(); got != c.want {
			t.Errorf("%+v takes %s, want %s", c.f, got, c.want)
		}
	}
}

func TestExpectationsAreReadAsPeopleWriteThem(t *testing.T) {
	all, err := ParseExpect("p99=20ms, phase.top.back=5ms,loss=0,rss_growth=64MB,heap_per_conn=256,p99_ratio=2,cpu=500ns,rate=2e6,broadcast=1m,kernel_per_conn=4.5KiB,rss_per_conn=10B,")
	want := []Expectation{
		{Name: "p99", Limit: 20_000}, {Phase: "top", Name: "back", Limit: 5000}, {Name: "loss"}, {Name: "rss_growth", Limit: 64e6},
		{Name: "heap_per_conn", Limit: 256}, {Name: "p99_ratio", Limit: 2}, {Name: "cpu", Limit: 0.5}, {Name: "rate", Limit: 2e6},
		{Name: "broadcast", Limit: 60e6}, {Name: "kernel_per_conn", Limit: 4608}, {Name: "rss_per_conn", Limit: 10},
	}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%+v %v, want %+v", all, err, want)
	}
	for text, part := range map[string]string{
		"p98=1ms": "did you mean p99?", "los=1": "did you mean loss?", "broacst=1ms": "did you mean broadcast?", "party=1": "there is p50, ", "p99": "write figure=limit", "lag=soon": "a duration, as in 20ms",
		"p99=20": "a duration", "gc=0s": "above zero", "rate=-1": "above zero", "rss_growth=5ms": "a size", "loss=0.5x": "a number of messages",
		"phase.x=3": "phase.news.p99", "phase..p99=3ms": "phase.news.p99", "phase.a.connect_rate=5": "write connect_rate=5", "rate=NaN": "above zero", "rate=1e30": "above zero",
	} {
		if _, err := ParseExpect(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want …%s…", text, err, part)
		}
	}
}
