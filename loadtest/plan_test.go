package loadtest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/plan"
)

// planned reads a plan.
func planned(t *testing.T, text string) *plan.Plan {
	t.Helper()
	p, err := plan.Read("plan.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// in is a test of a plan against a server.
func in(addr string, p *plan.Plan) Config {
	return Config{Plan: p, Target: addr, APIKey: "dev", Timeout: patience, ServerPIDs: []int{self()}}
}

const everything = `
connections: {count: 200, channels: 10, subscriptions: 2}
grace: 5s
phases:
  - {scenario: idle, duration: 100ms}
  - {scenario: fanout, count: 5}
  - scenario: channels
    rate: 200
    meanwhile:
      - {scenario: churn, rate: 50, duration: 500ms}
      - {scenario: storm, duration: 100ms, share: 0.5}
  - {scenario: users, rate: 500, count: 250}
  - {scenario: echo, rate: 300, duration: 500ms}
  - {scenario: recover, away: 500ms, duration: 200ms, rate: 50}
  - {scenario: slow, stall: 300ms, duration: 200ms}
  - {name: last, scenario: churn, rate: 100, duration: 300ms}
`

func TestAPlanGoesThroughItsPhasesAndReportsEach(t *testing.T) {
	addr, _ := serve(t, long)
	events := newLines()
	r, err := try(t, t.Context(), in(addr, planned(t, everything)), Surroundings{Events: events})
	well(t, r, err)
	if r.Scenario != Mixed || r.Delivery != nil || r.Pressure != nil || r.Echo != nil || r.Latency == nil || r.Accept == nil {
		t.Errorf("%+v", r)
	}
	var names []string
	for i := range r.Phases {
		p := &r.Phases[i]
		names = append(names, p.Name)
		if p.Seconds <= 0 || p.Ready != 200 || p.Failed+p.Died+p.Duplicates+p.Reordered+p.Lost+p.Told != 0 || len(p.Failures) > 0 || p.Cost == nil {
			t.Errorf("%+v", p)
		}
		if p.Beside == "" && p.Received != p.Expected {
			t.Errorf("%s: %d of %d", p.Name, p.Received, p.Expected)
		}
	}
	if got := strings.Join(names, " "); got != "idle fanout channels churn storm users echo recover slow last" {
		t.Fatal(got)
	}
	// Latency is of those who never stop reading: 133 of the 200.
	if p := r.Phase("fanout"); p.Published != 5 || p.Received != 5*2*200/10 || p.Last == nil || p.First == nil || p.Latency.Count == 0 || p.Latency.Count >= int64(p.Received) {
		t.Errorf("%+v", p)
	}
	if p := r.Phase("channels"); p.Published < 50 || p.Answered != p.Published || p.Latency == nil || p.Received == 0 {
		t.Errorf("%+v", p)
	}
	if p := r.Phase("churn"); p.Beside != "channels" || p.Churn.Left == 0 || p.Churn.Replaced != p.Churn.Left || p.AskedRate != 50 || p.ReachedRate <= 0 {
		t.Errorf("%+v %+v", p, p.Churn)
	}
	if p := r.Phase("storm"); p.Beside != "channels" || p.Storm.Cut != 100 || p.Storm.Back != 100 || p.Storm.Own.Count != 100 || p.Storm.CPU <= 0 {
		t.Errorf("%+v %+v", p, p.Storm)
	}
	if p := r.Phase("users"); p.Published != 250 || p.Received != 250 || p.Latency.Count == 0 || p.Latency.Count >= 250 {
		t.Errorf("%+v", p)
	}
	if p := r.Phase("echo"); p.Sent < 10 || p.Received != p.Sent || p.Published != 0 {
		t.Errorf("%+v", p)
	}
	if p := r.Phase("recover"); p.Storm.Cut != 20 || p.Storm.Back != 20 || p.Storm.Away.Min < 500_000 || p.Storm.RecoveredPublications == 0 {
		t.Errorf("%+v %+v", p, p.Storm)
	}
	if p := r.Phase("slow"); p.Slow.Stalled != 67 || p.Slow.Seconds < 0.2 || p.Slow.During == nil {
		t.Errorf("%+v %+v", p, p.Slow)
	}
	events.until(t, `"phase":"storm"`)
}

func TestOneScenarioIsAPlanOfOnePhase(t *testing.T) {
	addr, _ := serve(t, long)
	for _, c := range []struct {
		scenario Scenario
		change   func(*Config)
		check    func(*Report) bool
	}{
		{Users, func(c *Config) { c.PublishRate, c.Publications, c.Duration = 1000, 300, 0 }, func(r *Report) bool {
			return r.Pressure.Received == 300 && r.Pressure.Published == 300 && r.Pressure.Latency.Count == 300
		}},
		{Users, func(c *Config) { c.Random, c.Encoding, c.Secret = true, "protobuf", "" }, func(r *Report) bool { return r.Pressure.Received > 10 }},
		{RPC, func(*Config) {}, func(r *Report) bool {
			return r.Echo.Sent > 300 && r.Echo.Received == r.Echo.Sent && r.Echo.Latency.Count == int64(r.Echo.Sent)
		}},
		{RPC, func(c *Config) { c.MessageRate, c.Encoding, c.Active = 1000, "protobuf", 50 }, func(r *Report) bool { return r.Echo.Received == r.Echo.Sent }},
		{Churn, func(c *Config) { c.ChurnRate = 100 }, func(r *Report) bool { return r.Phases[0].Churn.Replaced > 10 }},
		{Recover, func(c *Config) { c.Away, c.Share = 300*time.Millisecond, 0.5 }, func(r *Report) bool { return r.Pressure.Storm.Back == 150 }},
		{Channels, func(c *Config) { c.PublishRate, c.PublishTo, c.Steps = 100, 300, 3 }, func(r *Report) bool {
			return len(r.Pressure.Steps) == 3 && len(r.Phases[0].Steps) == 3
		}},
		{Idle, func(c *Config) { c.ConnectRate, c.ConnectTo, c.Jitter = 300, 600, 0.5 }, func(r *Report) bool {
			return len(r.Connections.Steps) >= 1 && r.Connections.AskedTo == 600
		}},
	} {
		cfg := small(addr, c.scenario)
		c.change(&cfg)
		r, err := try(t, t.Context(), cfg, Surroundings{})
		well(t, r, err)
		if len(r.Phases) != 1 || r.Phases[0].Name != string(c.scenario) || !c.check(r) {
			t.Errorf("%s: %+v\n%+v", c.scenario, r, r.Phases)
		}
	}
}

func TestTheExamplePlanRuns(t *testing.T) {
	text, err := os.ReadFile("docs/plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Read("docs/plan.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	// As it is, it takes minutes: it is played with everything a hundredth as long, and figures that depend on the machine left out.
	p.Connections.Count, p.Connections.Rate, p.Connections.To, p.Expect, p.Settle = 200, 1000, 2000, "loss=0", 0
	var shorten func([]plan.Phase)
	shorten = func(all []plan.Phase) {
		for i := range all {
			f := &all[i]
			f.Duration, f.Stall, f.Away, f.Expect = f.Duration/100, f.Stall/100, f.Away/100, ""
			f.Stuck, f.Count = min(f.Stuck, 50), f.Count/max(1, f.Count/100)
			if f.Scenario.Returns() && f.Duration == 0 {
				f.Duration = 50 * time.Millisecond
			}
			shorten(f.Meanwhile)
		}
	}
	shorten(p.Phases)
	addr, _ := serve(t, long)
	r, err := try(t, t.Context(), in(addr, &p), Surroundings{})
	well(t, r, err)
	n := 0
	for range p.All() {
		n++
	}
	if len(r.Phases) != n || r.Plan != p.Name {
		t.Errorf("%d phases of %d: %+v", len(r.Phases), n, r.Phases)
	}
}

func TestAPlanThatIsCutShortKeepsWhatThereWas(t *testing.T) {
	text := `
connections: {count: 100}
phases:
  - {scenario: fanout, count: 3}
  - {scenario: channels, duration: 1h, rate: 50}
  - {scenario: users}
`
	addr, stop := serve(t, nil)
	events := newLines()
	cfg := in(addr, planned(t, text))
	cfg.ServerPIDs = nil
	go func() {
		events.until(t, `"phase":"channels"`)
		events.until(t, `"publishing"`)
		stop()
	}()
	r, err := try(t, t.Context(), cfg, Surroundings{Events: events})
	if !errors.Is(err, ErrFailed) || r.OK || len(r.Phases) != 2 || r.Phase("fanout").Received != 300 || len(r.Phase("fanout").Failures) != 0 {
		t.Fatalf("%v %+v", err, r)
	}
	if p := r.Phase("channels"); p.Seconds <= 0 || p.Died == 0 && p.Refused == 0 {
		t.Errorf("%+v", p)
	}
}

func TestOrdersAreThoseOfThePlan(t *testing.T) {
	addr, _ := serve(t, nil)
	p := newPuppet(10)
	flows := 0
	p.flow = func(f engine.Flow, s *engine.Snapshot) {
		flows++
		s.Published += f.Count
	}
	cfg := in(addr, planned(t, `
connections: {count: 10, rate: 50, to: 100, over: 2s, jitter: 0.25}
grace: 3s
phases:
  - {scenario: rpc, method: m, active: 4, duration: 5s, rate: 7}
  - {scenario: users, count: 20, rate: 30, random: true}
  - {scenario: channels, rate: 10, to: 30, steps: 3, duration: 60ms, meanwhile: [{scenario: storm, share: 0.5, duration: 10ms}]}
  - {scenario: recover, away: 4s, duration: 10ms}
`))
	if r, err := try(t, t.Context(), cfg, p.driving()); err != nil || !r.OK {
		t.Fatal(err)
	}
	grace := 3 * time.Second
	want := []engine.Order{
		{Connect: &engine.Connect{Rate: 50, To: 100, Over: 2 * time.Second, Jitter: 0.25}},
		{Echo: &engine.Echo{Via: engine.ViaRPC, Method: "m", Active: 4, Duration: 5 * time.Second, Rate: 7, Grace: grace}},
		{Flow: &engine.Flow{To: engine.Own, Rate: 30, Random: true, Count: 20}},
		{Drain: &engine.Drain{Grace: grace}},
		{Flow: &engine.Flow{To: engine.Shared, Rate: 10}},
		{Storm: &engine.Storm{Share: 0.5, Grace: grace}},
		{Flow: &engine.Flow{To: engine.Shared, Rate: 20}},
		{Flow: &engine.Flow{To: engine.Shared, Rate: 30}},
		{Drain: &engine.Drain{Grace: grace}},
		{Flow: &engine.Flow{To: engine.Shared, Rate: 10}},
		{Storm: &engine.Storm{Share: 0.1, Away: 4 * time.Second, Grace: grace}},
		{Drain: &engine.Drain{Grace: grace}},
	}
	got := p.given()
	if len(got) != len(want) {
		t.Fatalf("%d orders, want %d: %s", len(got), len(want), written(got))
	}
	// The steps of a flow go on beside the storm, so that their order among each other is all that is certain.
	for _, kind := range []func(engine.Order) bool{
		func(o engine.Order) bool { return o.Flow != nil }, func(o engine.Order) bool { return o.Flow == nil },
	} {
		if a, b := written(only(got, kind)), written(only(want, kind)); a != b {
			t.Errorf("got\n%s\nwant\n%s", a, b)
		}
	}
}

func TestADriverThatRefusesEndsTheTest(t *testing.T) {
	addr, _ := serve(t, nil)
	for _, c := range []struct {
		name   string
		change func(*puppet)
	}{
		{"an order", func(p *puppet) { p.refuse = errors.New("no such thing") }},
		{"a task", func(p *puppet) {
			p.task = func(o engine.Order) error {
				if o.Storm != nil {
					return errors.New("no such thing")
				}
				return nil
			}
		}},
	} {
		p := newPuppet(10)
		c.change(p)
		cfg := in(addr, planned(t, "phases: [{scenario: storm, duration: 10ms}, {scenario: idle, duration: 1h}]"))
		r, err := try(t, t.Context(), cfg, p.driving())
		if !errors.Is(err, ErrFailed) || !strings.Contains(r.Failures[0], "no such thing") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
