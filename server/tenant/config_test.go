package tenant

import (
	"strings"
	"testing"
	"time"
)

func TestWrongConfigurationsAreNamed(t *testing.T) {
	list := func(o ...Options) Config { return Config{Claim: "tenant", List: o} }
	with := func(l Limits) Config { return list(Options{Name: "a", Limits: l}) }
	many := func(n int) (c Config) {
		c.Claim = "tenant"
		for i := range n {
			c.List = append(c.List, named(strings.Repeat("a", i%60+1)+strings.Repeat("b", i/60)))
		}
		return c
	}
	for _, c := range []struct {
		name string
		cfg  Config
		want []string // of the one error; none: it is valid
	}{
		{"nothing", Config{}, nil},
		{"two", list(named("a", "a:"), named("b")), nil},
		{"a claim that is a URL", Config{Claim: "https://example.com/tenant", List: []Options{named("a")}}, nil},
		{"a claim with a space", Config{Claim: "ten ant"}, []string{"tenants.claim", "not the name of a claim"}},
		{"no name", list(named("")), []string{"tenants.list[0].name", "not a name"}},
		{"a name with a space", list(named("a b")), []string{"tenants.list[0].name", "letters, digits"}},
		{"the default's name", list(named("default")), []string{"tenants.list[default].name", "tenants.default"}},
		{"the same name twice", list(named("a"), named("a")), []string{"tenants.list[a].name", "twice"}},
		{"nothing that it has", Config{List: []Options{named("a")}}, []string{"tenants.list[a].channel_prefixes", "set tenants.claim"}},
		{"a prefix of all", list(named("a", "")), []string{"channel_prefixes", "every channel"}},
		{"a prefix with a star", list(named("a", "a.*.")), []string{"channel_prefixes", "star"}},
		{"a private prefix", list(named("a", "$a:")), []string{"channel_prefixes", "without $"}},
		{"the same prefix twice", list(named("a", "x:"), named("b", "x:")), []string{"tenants.list[b].channel_prefixes", `"x:" of a`}},
		{"a prefix that begins another", list(named("a", "x:y:"), named("b", "x:")), []string{"tenants.list[b].channel_prefixes", `"x:y:" of a`}},
		{"a prefix that another begins", list(named("a", "x:"), named("b", "x:y:")), []string{"tenants.list[b].channel_prefixes", "could be of both"}},
		{"its own prefixes", list(named("a", "x", "xy")), []string{"channel_prefixes", `"x" of a`}},
		{"an unknown class", with(Limits{Class: "gold"}), []string{"tenants.list[a].class", "premium, standard or basic"}},
		{"an unknown default class", Config{Default: Limits{Class: "Basic"}}, []string{"tenants.default.class"}},
		{"a negative limit", with(Limits{ConnectionLimit: -1}), []string{"tenants.list[a].connection_limit", "outside its bounds"}},
		{"a burst without a rate", with(Limits{ByteRateBurst: 1}), []string{"byte_rate_burst", "nothing to exceed"}},
		{"a burst of days", with(Limits{MessageRateLimit: 1, MessageRateBurst: 3600}), []string{"message_rate_burst", "an hour"}},
		{"a burst of a while", with(Limits{MessageRateLimit: 1, MessageRateBurst: 3599}), nil},
		{"too many questions", with(Limits{HookLimit: 5000}), []string{"hook_limit", "4096"}},
		{"a negative timeout", with(Limits{HookTimeout: -time.Second}), []string{"hook_timeout"}},
		{"as many as there may be", many(254), nil},
		{"too many", many(255), []string{"tenants.list", "254 at most"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := c.cfg.Faults("$")
			if len(c.want) == 0 {
				if len(faults) > 0 {
					t.Error(faults[0])
				}
				return
			}
			if len(faults) != 1 {
				t.Fatalf("%d faults: %v", len(faults), faults)
			}
			for _, want := range c.want {
				if text := faults[0].Error(); !strings.Contains(text, want) {
					t.Errorf("%s: says nothing of %q", text, want)
				}
			}
		})
	}
}
