package loadtest

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/plan"
)

func TestEveryOptionGoesIntoThePlan(t *testing.T) {
	second := time.Second
	for _, c := range []struct {
		cfg  Config
		want plan.Plan
	}{
		{
			Config{
				Scenario: Channels, Connections: 5, ConnectRate: 10, ConnectTo: 20, ConnectOver: second, Jitter: 0.5, Channels: 4, Subscriptions: 2, Own: true, Encoding: "protobuf",
				Secret: "s", Channel: "c", PayloadBytes: 100, Keys: 3, Settle: second, Grace: 2 * second, PublishRate: 7, PublishTo: 9, Steps: 3, Duration: 4 * second, Random: true, Expect: "loss=0",
			},
			plan.Plan{
				Connections: plan.Connections{Count: 5, Rate: 10, To: 20, Over: second, Jitter: 0.5, Channels: 4, Subscriptions: 2, Own: true, Encoding: "protobuf", Secret: "s", Channel: "c"},
				Payload:     100, Keys: 3, Settle: second, Grace: 2 * second, Expect: "loss=0",
				Phases: []plan.Phase{{Scenario: Channels, Rate: 7, To: 9, Steps: 3, Duration: 4 * second, Random: true}},
			},
		},
		{Config{}, plan.Plan{Phases: []plan.Phase{{Scenario: Idle}}}},
		{Config{Hold: true, Window: 5}, plan.Plan{Connections: plan.Connections{Window: 5}, Phases: []plan.Phase{{Scenario: Idle, Duration: 1}}}},
		{Config{Scenario: Fanout, Publications: 3, Burst: 2, Via: "client"}, plan.Plan{Phases: []plan.Phase{{Scenario: Fanout, Count: 3, Burst: 2, Via: "client"}}}},
		{Config{Scenario: Echo, EchoPath: "/e", Active: 2, MessageRate: 8}, plan.Plan{Connections: plan.Connections{EchoPath: "/e"}, Phases: []plan.Phase{{Scenario: Echo, Active: 2, Rate: 8}}}},
		{Config{Scenario: RPC, Method: "m"}, plan.Plan{Phases: []plan.Phase{{Scenario: RPC, Method: "m"}}}},
		{Config{Scenario: Churn, ChurnRate: 6}, plan.Plan{Phases: []plan.Phase{{Scenario: Churn, Rate: 6}}}},
		{Config{Scenario: Churn, ChurnRate: 6, PublishRate: 5, Random: true}, plan.Plan{Phases: []plan.Phase{{Scenario: Channels, Rate: 5, Random: true, Meanwhile: []plan.Phase{{Scenario: Churn, Rate: 6}}}}}},
		{Config{Scenario: Storm, Share: 0.5, Resume: true}, plan.Plan{Connections: plan.Connections{Resume: true}, Phases: []plan.Phase{{Scenario: Storm, Share: 0.5}}}},
		{Config{Scenario: Recover, Away: second}, plan.Plan{Phases: []plan.Phase{{Scenario: Recover, Away: second}}}},
		{Config{Scenario: Slow, Connections: 9, Stuck: 2, Stall: second}, plan.Plan{Connections: plan.Connections{Count: 9}, Phases: []plan.Phase{{Scenario: Slow, Stuck: 2, Stall: second}}}},
	} {
		got, err := c.cfg.AsPlan()
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %v\ngot  %+v\nwant %+v", c.cfg, err, got, c.want)
		}
		if err := c.cfg.Validate(); err != nil {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestWhatIsSaidBesideAPlanGoesBefore(t *testing.T) {
	p := &plan.Plan{Connections: plan.Connections{Count: 7, Token: "a.b.c", Encoding: "json"}, Expect: "loss=0", Phases: []plan.Phase{{Scenario: Slow}}}
	cfg := Config{Plan: p, Connections: 30, Secret: "s", Encoding: "protobuf", Channel: "x", Expect: "p99=1s", Scenario: Mixed}
	got, err := cfg.plan()
	c := got.Connections
	if err != nil || c.Count != 30 || c.Secret != "s" || c.Token != "" || c.Encoding != "protobuf" || c.Channel != "x" || got.Expect != "loss=0,p99=1s" || got.Phases[0].Stuck != 10 {
		t.Errorf("%v %+v", err, got)
	}
	if p.Connections.Count != 7 || p.Phases[0].Stuck != 0 {
		t.Errorf("the plan that was given is changed: %+v", p)
	}
}

func TestWhatDoesNotGoTogetherIsRefusedInFlags(t *testing.T) {
	idle := &plan.Plan{Phases: []plan.Phase{{Scenario: Idle}}}
	for want, cfg := range map[string]Config{
		"--scenario mixed: it needs a plan":                           {Scenario: Mixed},
		"--scenario idle: a plan has scenarios of its own":            {Plan: idle, Scenario: Idle},
		"--stall: a plan says it itself; write it there (stall)":      {Plan: idle, Stall: 1},
		"--rate: a plan says it itself; write it there (connections.": {Plan: idle, ConnectRate: 1},
		"--ramp-to: a rate to end with needs one":                     {ConnectTo: 5},
		"--jitter: 2 is no share":                                     {ConnectRate: 5, Jitter: 2},
		"--payload: a message of 3 bytes":                             {PayloadBytes: 3},
		"--publish-rate: -1 a second is out of range":                 {Scenario: Channels, PublishRate: -1},
		"--message-rate: -1 a second is out of range":                 {Scenario: Echo, MessageRate: -1},
		"--churn-rate is for --scenario churn":                        {Scenario: Echo, ChurnRate: 1},
		"--publish-to is for --scenario channels or users":            {Scenario: Storm, PublishTo: 1},
		"--expect: there is no figure \"p98\"; did you mean p99?":     {Expect: "p98=1s"},
		"--expect: there is no phase \"x\"":                           {Expect: "phase.x.p99=1s"},
		"--scenario: there is no scenario \"stom\"; did you mean":     {Scenario: "stom"},
		"--encoding: there is no encoding \"xml\"":                    {Encoding: "xml"},
		"--connections: -1 connections cannot be":                     {Connections: -1},
		"--sources: -1 is out of range":                               {Sources: -1},
		"--server-pid 0 is no process id":                             {ServerPIDs: []int{0}},
		"--secret: all connect with the one token":                    {Token: "t", Secret: "s"},
	} {
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
}

func TestConnectionsAreComparedWithTheirRamp(t *testing.T) {
	c := plan.Connections{Count: 300, Rate: 100, To: 200, Over: 2 * time.Second}
	for _, slow := range []bool{false, true} {
		p, now := newPuppet(0), time.Unix(1000, 0)
		r := newRamp(&c, now)
		for at := time.Duration(0); at <= 4*time.Second && r.full.IsZero(); at += 5 * time.Millisecond {
			p.snap.Dialed = min(int(c.Begun(min(at, 2*time.Second))), c.Count)
			if slow {
				p.snap.Dialed = int(75 * at.Seconds())
			}
			r.tick(now.Add(at), p)
		}
		steps := r.end(now.Add(4*time.Second), p)
		if len(steps) < 7 {
			t.Fatalf("%d steps: %+v", len(steps), steps)
		}
		for i, s := range steps {
			if good := s.Share() > 0.97 && s.Share() < 1.03; good == slow || i > 0 && s.Asked <= steps[i-1].Asked {
				t.Errorf("slow %v, step %d: %+v", slow, i, s)
			}
		}
	}
	var none *ramp
	none.tick(time.Now(), nil)
	if steps := newRamp(&plan.Connections{Count: 5}, time.Now()).end(time.Now(), nil); steps != nil {
		t.Errorf("steps without a rate: %+v", steps)
	}
}

func TestAStepOfPublicationsBeginsWhenItIsTimeTo(t *testing.T) {
	p, now := newPuppet(1), time.Unix(1000, 0)
	f := newFlow(&plan.Phase{Scenario: Channels, Rate: 10, To: 30, Steps: 3, Duration: 3 * time.Second}, now, p)
	for at := time.Duration(0); at <= 4*time.Second; at += 50 * time.Millisecond {
		p.snap.Published = int(10 * at.Seconds())
		if err := f.tick(now.Add(at), p); err != nil {
			t.Fatal(err)
		}
		if got, want := len(p.given()), min(int(at/time.Second), 2)+1; got != want {
			t.Fatalf("%d orders after %s, want %d", got, at, want)
		}
	}
	steps := f.end(now.Add(4*time.Second), p)
	if len(steps) != 3 || steps[1].Asked != 20 || steps[1].Reached != 10 || steps[2].From != 2 || steps[2].Seconds != 2 || f.made(p) != 40 {
		t.Errorf("%+v", steps)
	}
	var none *flow
	if err := none.tick(now, p); err != nil {
		t.Error(err)
	}
}
