package loadtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"shoal/loadtest/plan"
)

// option is a field of Config that belongs to a plan: how its flag is called, and where in a plan it goes.
type option struct {
	flag  string
	path  string // in the plan; of a phase only the key
	given bool
	only  []Scenario // that have it; nil = all, for options of a phase those that have its key
	set   func(*plan.Plan, *plan.Phase)
}

// options are all of them.
func (c *Config) options() []option {
	type (
		P = plan.Plan
		F = plan.Phase
	)
	publish := []Scenario{Fanout, Channels, Users, Storm, Slow, Recover}
	return []option{
		{"rate", "connections.rate", c.ConnectRate != 0, nil, func(p *P, _ *F) { p.Connections.Rate = c.ConnectRate }},
		{"ramp-to", "connections.to", c.ConnectTo != 0, nil, func(p *P, _ *F) { p.Connections.To = c.ConnectTo }},
		{"ramp-over", "connections.over", c.ConnectOver != 0, nil, func(p *P, _ *F) { p.Connections.Over = c.ConnectOver }},
		{"jitter", "connections.jitter", c.Jitter != 0, nil, func(p *P, _ *F) { p.Connections.Jitter = c.Jitter }},
		{"window", "connections.window", c.Window != 0, nil, func(p *P, _ *F) { p.Connections.Window = c.Window }},
		{"channels", "connections.channels", c.Channels != 0, nil, func(p *P, _ *F) { p.Connections.Channels = c.Channels }},
		{"subscriptions", "connections.subscriptions", c.Subscriptions != 0, nil, func(p *P, _ *F) { p.Connections.Subscriptions = c.Subscriptions }},
		{"own", "connections.own", c.Own, nil, func(p *P, _ *F) { p.Connections.Own = true }},
		{"resume", "connections.resume", c.Resume, []Scenario{Storm, Slow, Recover}, func(p *P, _ *F) { p.Connections.Resume = true }},
		{"echo-path", "connections.echo_path", c.EchoPath != "", []Scenario{Echo, Idle}, func(p *P, _ *F) { p.Connections.EchoPath = c.EchoPath }},
		{"payload", "payload", c.PayloadBytes != 0, nil, func(p *P, _ *F) { p.Payload = c.PayloadBytes }},
		{"keys", "keys", c.Keys != 0, []Scenario{Channels, Users, Storm, Slow, Recover}, func(p *P, _ *F) { p.Keys = c.Keys }},
		{"settle", "settle", c.Settle != 0, nil, func(p *P, _ *F) { p.Settle = c.Settle }},
		{"grace", "grace", c.Grace != 0, nil, func(p *P, _ *F) { p.Grace = c.Grace }},
		{"duration", "duration", c.Duration != 0, nil, func(_ *P, f *F) { f.Duration = c.Duration }},
		{"publications", "count", c.Publications != 0, nil, func(_ *P, f *F) { f.Count = c.Publications }},
		{"burst", "burst", c.Burst != 0, nil, func(_ *P, f *F) { f.Burst = c.Burst }},
		{"publish-rate", "rate", c.PublishRate != 0, publish, func(_ *P, f *F) { f.Rate = c.PublishRate }},
		{"message-rate", "rate", c.MessageRate != 0, []Scenario{Echo, RPC}, func(_ *P, f *F) { f.Rate = c.MessageRate }},
		{"churn-rate", "rate", c.ChurnRate != 0, []Scenario{Churn}, func(_ *P, f *F) { f.Rate = c.ChurnRate }},
		{"publish-to", "to", c.PublishTo != 0, nil, func(_ *P, f *F) { f.To = c.PublishTo }},
		{"steps", "steps", c.Steps != 0, nil, func(_ *P, f *F) { f.Steps = c.Steps }},
		{"via", "via", c.Via != "", nil, func(_ *P, f *F) { f.Via = c.Via }},
		{"random", "random", c.Random, nil, func(_ *P, f *F) { f.Random = true }},
		{"active", "active", c.Active != 0, nil, func(_ *P, f *F) { f.Active = c.Active }},
		{"method", "method", c.Method != "", nil, func(_ *P, f *F) { f.Method = c.Method }},
		{"share", "share", c.Share != 0, nil, func(_ *P, f *F) { f.Share = c.Share }},
		{"away", "away", c.Away != 0, nil, func(_ *P, f *F) { f.Away = c.Away }},
		{"stuck", "stuck", c.Stuck != 0, nil, func(_ *P, f *F) { f.Stuck = c.Stuck }},
		{"stall", "stall", c.Stall != 0, nil, func(_ *P, f *F) { f.Stall = c.Stall }},
	}
}

// scenarios are those that have the option; nil = all.
func (o *option) scenarios() []Scenario {
	if o.only != nil || strings.HasPrefix(o.path, "connections.") || slices.Contains([]string{"payload", "keys", "settle", "grace"}, o.path) {
		return o.only
	}
	var all []Scenario
	for _, s := range plan.Scenarios() {
		if slices.Contains(s.Options(), o.path) {
			all = append(all, s)
		}
	}
	return all
}

// AsPlan is what is asked for as a plan, without defaults: the Plan, with what is said beside it, or what the fields make.
func (c Config) AsPlan() (plan.Plan, error) {
	if c.Plan != nil {
		return c.overridden(*c.Plan)
	}
	return c.made()
}

// plan is what is to be done, complete and valid.
func (c *Config) plan() (plan.Plan, error) {
	p, err := c.AsPlan()
	if len(p.Phases) == 0 && err != nil {
		return p, err
	}
	p = p.WithDefaults()
	return p, errors.Join(err, c.inFlags(p.Validate()))
}

// made is the plan of one phase that the fields make.
func (c *Config) made() (plan.Plan, error) {
	scenario := cmp.Or(c.Scenario, Idle)
	if scenario == Mixed {
		return plan.Plan{}, errors.New("--scenario mixed: it needs a plan; give --plan FILE, or a --preset")
	}
	p, f := plan.Plan{Expect: c.Expect}, plan.Phase{Scenario: scenario}
	p.Connections = plan.Connections{Count: c.Connections, Token: c.Token, Secret: c.Secret, Encoding: c.Encoding, Channel: c.Channel}
	var errs []error
	for _, o := range c.options() {
		has := o.scenarios()
		switch {
		case !o.given:
		case scenario == Churn && (o.flag == "publish-rate" || o.flag == "random"): // see below
		case scenario.Options() != nil && has != nil && !slices.Contains(has, scenario):
			errs = append(errs, fmt.Errorf("--%s is for --scenario %s; leave it out", o.flag, alternatives(has)))
		default:
			o.set(&p, &f)
		}
	}
	if scenario == Idle && c.Hold && f.Duration == 0 {
		f.Duration = 1 // what is held has its own end
	}
	p.Phases = []plan.Phase{f}
	if scenario == Churn && c.PublishRate != 0 { // beside publications
		p.Phases = []plan.Phase{{Scenario: Channels, Rate: c.PublishRate, Random: c.Random, Meanwhile: p.Phases}}
	}
	return p, errors.Join(errs...)
}

// overridden is a plan that was given, with what may be said beside it.
func (c *Config) overridden(p plan.Plan) (plan.Plan, error) {
	var errs []error
	if c.Scenario != "" && c.Scenario != Mixed {
		errs = append(errs, fmt.Errorf("--scenario %s: a plan has scenarios of its own; leave it out", c.Scenario))
	}
	for _, o := range c.options() {
		if o.given {
			errs = append(errs, fmt.Errorf("--%s: a plan says it itself; write it there (%s)", o.flag, o.path))
		}
	}
	conns := &p.Connections
	override(&conns.Count, c.Connections)
	override(&conns.Encoding, c.Encoding)
	override(&conns.Channel, c.Channel)
	if c.Token != "" || c.Secret != "" {
		conns.Token, conns.Secret = c.Token, c.Secret
	}
	if c.Expect != "" {
		p.Expect = strings.Trim(p.Expect+","+c.Expect, ",")
	}
	return p, errors.Join(errs...)
}

func override[T comparable](p *T, v T) {
	var zero T
	if v != zero {
		*p = v
	}
}

// inFlags says what is wrong with a plan in terms of the flags it was made of, where it was made of flags.
func (c *Config) inFlags(err error) error {
	var all plan.Problems
	if !errors.As(err, &all) {
		return err
	}
	flags := map[string]string{
		"connections.count": "connections", "connections.token": "token", "connections.secret": "secret", "connections.encoding": "encoding",
		"connections.channel": "channel", "expect": "expect", "phases[0].scenario": "scenario",
	}
	for _, o := range c.options() {
		flags[o.path] = o.flag
		if has := o.scenarios(); c.Plan == nil && (o.only == nil || slices.Contains(has, c.Scenario)) {
			flags["phases[0]."+o.path] = o.flag
		}
	}
	errs := make([]error, len(all))
	for i, p := range all {
		if errs[i] = p; flags[p.Path] != "" {
			errs[i] = fmt.Errorf("--%s: %s", flags[p.Path], p.Text)
		}
	}
	return errors.Join(errs...)
}

// alternatives writes scenarios.
func alternatives(all []Scenario) string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = string(s)
	}
	if n := len(texts); n > 1 {
		return strings.Join(texts[:n-1], ", ") + " or " + texts[n-1]
	}
	return strings.Join(texts, "")
}
