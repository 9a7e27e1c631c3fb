package plan

import (
	"slices"
	"time"
)

// field is a key of the YAML form and the value it stands for: *string, *Scenario, *int, *float64, *bool, *time.Duration,
// *Connections or *[]Phase.
type field struct {
	key    string
	value  any
	secret bool // is read and never written
}

func (p *Plan) fields() []field {
	return []field{
		{key: "name", value: &p.Name},
		{key: "connections", value: &p.Connections},
		{key: "payload", value: &p.Payload},
		{key: "keys", value: &p.Keys},
		{key: "settle", value: &p.Settle},
		{key: "grace", value: &p.Grace},
		{key: "expect", value: &p.Expect},
		{key: "phases", value: &p.Phases},
	}
}

func (c *Connections) fields() []field {
	return []field{
		{key: "count", value: &c.Count},
		{key: "rate", value: &c.Rate},
		{key: "to", value: &c.To},
		{key: "over", value: &c.Over},
		{key: "jitter", value: &c.Jitter},
		{key: "window", value: &c.Window},
		{key: "encoding", value: &c.Encoding},
		{key: "token", value: &c.Token, secret: true},
		{key: "secret", value: &c.Secret, secret: true},
		{key: "resume", value: &c.Resume},
		{key: "channel", value: &c.Channel},
		{key: "channels", value: &c.Channels},
		{key: "subscriptions", value: &c.Subscriptions},
		{key: "own", value: &c.Own},
		{key: "echo_path", value: &c.EchoPath},
	}
}

func (f *Phase) fields() []field {
	return []field{
		{key: "scenario", value: &f.Scenario},
		{key: "name", value: &f.Name},
		{key: "duration", value: &f.Duration},
		{key: "rate", value: &f.Rate},
		{key: "to", value: &f.To},
		{key: "steps", value: &f.Steps},
		{key: "count", value: &f.Count},
		{key: "burst", value: &f.Burst},
		{key: "via", value: &f.Via},
		{key: "random", value: &f.Random},
		{key: "active", value: &f.Active},
		{key: "method", value: &f.Method},
		{key: "share", value: &f.Share},
		{key: "away", value: &f.Away},
		{key: "stuck", value: &f.Stuck},
		{key: "stall", value: &f.Stall},
		{key: "settle", value: &f.Settle},
		{key: "expect", value: &f.Expect},
		{key: "meanwhile", value: &f.Meanwhile},
	}
}

// Options are the keys a scenario has beside those every phase has: name, scenario, settle and expect.
func (s Scenario) Options() []string {
	switch s {
	case Idle:
		return []string{"duration"}
	case Fanout:
		return []string{"count", "burst", "rate", "via"}
	case Channels, Users:
		return []string{"duration", "rate", "to", "steps", "count", "random", "meanwhile"}
	case Echo:
		return []string{"duration", "rate", "active"}
	case RPC:
		return []string{"duration", "rate", "active", "method"}
	case Churn:
		return []string{"duration", "rate"}
	case Storm:
		return []string{"duration", "rate", "random", "share"}
	case Slow:
		return []string{"duration", "rate", "random", "stuck", "stall"}
	case Recover:
		return []string{"duration", "rate", "random", "share", "away"}
	}
	return nil
}

// has says whether a phase of the scenario has the key.
func (s Scenario) has(key string) bool {
	return slices.Contains([]string{"name", "scenario", "settle", "expect"}, key) || slices.Contains(s.Options(), key)
}

// scenariosWith are those that have the key.
func scenariosWith(key string) (all []string) {
	for _, s := range Scenarios() {
		if s.has(key) {
			all = append(all, string(s))
		}
	}
	return all
}

// zero says whether a field has the value it has when it is left out.
func (f *field) zero() bool {
	switch v := f.value.(type) {
	case *string:
		return *v == ""
	case *Scenario:
		return *v == ""
	case *int:
		return *v == 0
	case *float64:
		return *v == 0
	case *bool:
		return !*v
	case *time.Duration:
		return *v == 0
	case *Connections:
		return *v == Connections{}
	case *[]Phase:
		return len(*v) == 0
	}
	return false
}

func keysOf(fields []field) (keys []string) {
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	return keys
}
