package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"shoal/loadtest/engine/message"
)

// The bounds of a plan. They are what the load test itself bears; what a host bears is found out before it runs.
const (
	connectionsMax  = 50_000_000
	rateMax         = 10_000_000
	durationMax     = 30 * 24 * time.Hour
	channelsMax     = 1 << 20
	subscribedMax   = 1 << 26 // subscriptions over all connections
	phasesMax       = 1000
	publicationsMax = 1_000_000 // of a fanout: each has a record
	stepsMax        = 1000
	windowMax       = 20_000
	keysMax         = 1 << 16
)

// Validate says all that is wrong with a plan whose defaults are filled in. The error is Problems.
func (p Plan) Validate() error {
	v := &validation{plan: &p}
	v.top()
	v.connections(&p.Connections)
	v.phases("phases", p.Phases, "")
	if len(v.all) == 0 {
		return nil
	}
	return v.all
}

type validation struct {
	plan  *Plan
	all   Problems
	names map[string]string // of phases, and where
	stuck int               // of the first phase that has some
	where string
}

func (v *validation) check(ok bool, path, format string, args ...any) {
	if !ok {
		v.all.add(path, format, args...)
	}
}

// count checks that a number is at least 0 and at most most.
func (v *validation) count(path string, n, most int) {
	v.check(n >= 0 && n <= most, path, "%d is out of range; write a number from 0 to %d", n, most)
}

func (v *validation) rate(path string, r float64) {
	v.check(r >= 0 && r <= rateMax && !math.IsNaN(r), path, "%s a second is out of range; write a number from 0 to %d", number(r), rateMax)
}

func (v *validation) share(path string, s float64) {
	v.check(s >= 0 && s <= 1, path, "%s is no share; write a number from 0 to 1, as in 0.25 for a quarter", number(s))
}

func (v *validation) duration(path string, d time.Duration) {
	v.check(d >= 0 && d <= durationMax, path, "%s is out of range; write a duration up to %s, as in 30s", span(d), span(durationMax))
}

func (v *validation) top() {
	p := v.plan
	v.check(p.Payload >= message.PayloadBytesMin && p.Payload <= message.PayloadBytesMax, "payload",
		"a message of %d bytes cannot be; write %d to %d, since it carries its number and time", p.Payload, message.PayloadBytesMin, message.PayloadBytesMax)
	v.count("keys", p.Keys, keysMax)
	v.duration("settle", p.Settle)
	v.duration("grace", p.Grace)
	v.expect("expect", p.Expect, "")
	v.check(len(p.Phases) > 0, "phases", "there are none; write at least one, as in «phases: [{scenario: idle, duration: 30s}]»")
	v.check(len(p.Phases) <= phasesMax, "phases", "there are %d; write at most %d", len(p.Phases), phasesMax)
}

// expect checks the figures to reach; phase is whose they are, "" = the plan's.
func (v *validation) expect(path, text, phase string) {
	all, err := ParseExpect(text)
	if err != nil {
		v.all.add(path, "%s", err)
	}
	var names []string
	for f := range v.plan.All() {
		names = append(names, f.Name)
	}
	for _, e := range all {
		f, _ := FigureOf(e.Name)
		v.check(phase == "" || !f.Whole, path, "%s is a figure of the whole test and no phase has it; write it in the plan's expect", e.Name)
		v.check(phase == "" || e.Phase == "", path, "the figures here are those of phase %s; write %s without «phase.»", phase, e.Name)
		v.check(e.Phase == "" || slices.Contains(names, e.Phase), path, "there is no phase %q; %s", e.Phase, didYouMean(e.Phase, names))
	}
}

func (v *validation) connections(c *Connections) {
	const at = "connections."
	v.check(c.Count >= 1 && c.Count <= connectionsMax, at+"count", "%d connections cannot be; write a number from 1 to %d", c.Count, connectionsMax)
	v.rate(at+"rate", c.Rate)
	v.rate(at+"to", c.To)
	v.check(c.To == 0 || c.Rate > 0, at+"to", "a rate to end with needs one to begin with; write rate, too")
	v.duration(at+"over", c.Over)
	v.check(c.Over == 0 || c.To > 0, at+"over", "a rate that rises over a time needs one to end with; write to, too")
	v.share(at+"jitter", c.Jitter)
	v.check(c.Jitter == 0 || c.Rate > 0, at+"jitter", "it moves connections about their time, and without a rate they have none; write rate, too")
	v.count(at+"window", c.Window, windowMax)
	v.check(c.Window == 0 || c.Rate == 0, at+"window", "with a rate there is no window; leave one of the two out")
	v.check(c.Encoding == "json" || c.Encoding == "protobuf", at+"encoding", "there is no encoding %q; write json or protobuf", c.Encoding)
	v.check(c.Token == "" || c.Secret == "", at+"secret", "all connect with the one token, or each with its own; leave token or secret out")
	v.check(!strings.ContainsAny(c.Channel, " \t\r\n"), at+"channel", "%q has a space or a line break in it; write a name without", c.Channel)
	least := 1
	if !v.plan.shared() {
		least = 0
	}
	v.check(c.Channels >= least && c.Channels <= channelsMax, at+"channels", "%d channels cannot be; write a number from %d to %d", c.Channels, least, channelsMax)
	v.check(c.Subscriptions >= min(c.Channels, 1) && c.Subscriptions <= c.Channels, at+"subscriptions",
		"%d subscriptions of each connection to %d channels cannot be; write a number from 1 to that of channels", c.Subscriptions, c.Channels)
	v.check(c.Subscriptions <= 0 || c.Count <= 0 || c.Count <= subscribedMax/c.Subscriptions, at+"subscriptions",
		"%d connections with %d subscriptions each are more than the %d a load test bears; write fewer of either", c.Count, c.Subscriptions, subscribedMax)
	if c.EchoPath == "" {
		return
	}
	v.check(strings.HasPrefix(c.EchoPath, "/"), at+"echo_path", "%q is no path; write it as in /echo", c.EchoPath)
	for f := range v.plan.All() {
		v.check(f.Scenario == Echo || f.Scenario == Idle || f.Scenario == "", at+"echo_path",
			"a bare echo endpoint has no channels, and phase %s is %s; leave echo_path out, or have only phases of echo and idle", f.Name, f.Scenario)
	}
}

// phases checks a list; around is the scenario whose Meanwhile they are.
func (v *validation) phases(at string, phases []Phase, around Scenario) {
	if v.names == nil {
		v.names = map[string]string{}
	}
	for i := range phases {
		f, path := &phases[i], fmt.Sprintf("%s[%d]", at, i)
		if f.Scenario.Options() == nil {
			v.scenario(path, f.Scenario)
			continue
		}
		v.named(path, f.Name)
		v.applies(path, f)
		v.phase(path+".", f, around)
		if len(f.Meanwhile) > 0 && f.Scenario.Flows() {
			v.phases(path+".meanwhile", f.Meanwhile, f.Scenario)
		}
	}
}

func (v *validation) scenario(path string, s Scenario) {
	names := make([]string, 0, len(Scenarios()))
	for _, s := range Scenarios() {
		names = append(names, string(s))
	}
	if s == "" {
		v.all.add(path, "a phase needs a scenario; write scenario: %s", oneOf(names))
		return
	}
	v.all.add(path+".scenario", "there is no scenario %q; %s", string(s), didYouMean(string(s), names))
}

func (v *validation) named(path, name string) {
	ok := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
	v.check(ok, path+".name", "%q is no name for a phase; write letters, digits, - and _", name)
	if other, taken := v.names[name]; taken {
		v.all.add(path+".name", "%s is called %q, too; write another name", other, name)
	}
	v.names[name] = path
}

// applies refuses what the scenario does not have.
func (v *validation) applies(path string, f *Phase) {
	for _, field := range f.fields() {
		if field.zero() || f.Scenario.has(field.key) {
			continue
		}
		v.all.add(path+"."+field.key, "%s has no %s; leave it out (it is for %s)", f.Scenario, field.key, oneOf(scenariosWith(field.key)))
	}
}

func (v *validation) phase(at string, f *Phase, around Scenario) {
	n := v.plan.Connections.Count
	v.duration(at+"duration", f.Duration)
	v.duration(at+"settle", f.Settle)
	v.duration(at+"away", f.Away)
	v.duration(at+"stall", f.Stall)
	v.expect(at+"expect", f.Expect, f.Name)
	v.rate(at+"rate", f.Rate)
	v.rate(at+"to", f.To)
	v.share(at+"share", f.Share)
	v.count(at+"count", f.Count, publicationsMax)
	v.count(at+"burst", f.Burst, publicationsMax)
	v.check(f.Via == "" || f.Via == "api" || f.Via == "client", at+"via", "there is no way %q to publish; write api or client", f.Via)
	n = max(n, 1) // fewer are refused already
	v.check(f.Active >= 0 && f.Active <= n, at+"active", "%d of %d connections cannot send; write at most as many as there are", f.Active, n)
	v.check(f.Stuck >= 0 && f.Stuck <= n, at+"stuck", "%d of %d connections cannot stop reading; write at most as many as there are", f.Stuck, n)
	v.check(f.Steps == 0 || f.To > 0, at+"steps", "a rate that does not change has no steps; write to, too")
	v.check(f.To == 0 || f.Steps >= 2 && f.Steps <= stepsMax, at+"steps", "%d steps are none from one rate to another; write 2 to %d", f.Steps, stepsMax)
	v.check(f.To == 0 || f.Count == 0, at+"count", "with a rate that changes the duration is the end; leave count or to out")
	v.check(!f.Scenario.Flows() || f.Rate > 0, at+"rate", "publications have no end without a rate; write one")
	if f.Stuck > 0 {
		v.check(v.stuck == 0 || v.stuck == f.Stuck, at+"stuck", "%d stop reading here and %d in %s, and they are the same connections; write the same number", f.Stuck, v.stuck, v.where)
		v.stuck, v.where = f.Stuck, strings.TrimSuffix(at, ".")
	}
	if around != "" {
		v.beside(at, f, around)
	}
}

// beside checks a phase that goes on while another publishes.
func (v *validation) beside(at string, f *Phase, around Scenario) {
	may := []Scenario{Idle, RPC, Churn, Storm, Slow, Recover}
	if around == Channels {
		may = append(may, Echo) // users publishes to the channels that echo needs
	}
	var names []string
	for _, s := range may {
		names = append(names, string(s))
	}
	v.check(slices.Contains(may, f.Scenario), at+"scenario", "%s cannot go on while %s publishes; write it as a phase of its own (meanwhile takes %s)",
		f.Scenario, around, oneOf(names))
	v.check(!f.Scenario.Returns() || f.Rate == 0, at+"rate", "the publications are those of the phase around it; leave it out")
	v.check(f.Settle == 0, at+"settle", "there is no rest while the phase around it publishes; leave it out")
}

// number writes a number as a person would.
func number(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%g", v), ".0") }
