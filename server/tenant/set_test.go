package tenant

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

var epoch = time.Unix(1_000_000_000, 0)

func newSet(t testing.TB, cfg Config) *Set {
	t.Helper()
	if faults := cfg.Faults("$"); len(faults) > 0 {
		t.Fatal(faults[0])
	}
	rules, err := channel.Compile(channel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Host{Rules: rules, Epoch: epoch, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func named(name string, prefixes ...string) Options {
	return Options{Name: name, ChannelPrefixes: prefixes}
}

func TestAChannelIsOfTheTenantWithItsPrefix(t *testing.T) {
	s := newSet(t, Config{Claim: "tenant", List: []Options{
		named("acme", "acme:", "acme-eu:"), named("blue", "a:", "shop.blue."), named("none"), named("utf", "é"),
	}})
	for name, want := range map[string]ID{
		"acme:": 1, "acme:room": 1, "acme-eu:x": 1, "$acme:room": 1, "acme:*": 1, "acme:#42": 1,
		"acme": 0, "acme-": 0, "acm": 0, "ac": 0, "": 0, "$": 0, "b:": 0, "$$acme:x": 0, ":acme:x": 0,
		"a:": 2, "a:b": 2, "shop.blue.cart": 2, "shop.*.cart": 0, "shop.blue": 0, "**": 0, "zzz": 0, "éa": 4, "e": 0,
	} {
		if got := s.OfChannel(name); got != want {
			t.Errorf("%q is of %d, want %d", name, got, want)
		}
	}
}

// The search is right for any set of prefixes that is valid.
func TestAChannelIsFoundAmongManyPrefixes(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab:."[rng.IntN(4)]
		}
		return string(b)
	}
	for range 200 {
		var cfg Config
		owner := map[string]ID{}
		for i := range 1 + rng.IntN(20) {
			o := Options{Name: fmt.Sprint("t", i)}
			for range rng.IntN(3) {
				p := text(1 + rng.IntN(5))
				for other := range owner {
					if strings.HasPrefix(p, other) || strings.HasPrefix(other, p) {
						p = ""
						break
					}
				}
				if p != "" {
					owner[p] = ID(i + 1)
					o.ChannelPrefixes = append(o.ChannelPrefixes, p)
				}
			}
			cfg.List = append(cfg.List, o)
		}
		cfg.Claim = "t"
		s := newSet(t, cfg)
		for range 200 {
			name, want := text(rng.IntN(8)), ID(0)
			for p, id := range owner {
				if strings.HasPrefix(name, p) {
					want = id
				}
			}
			if got := s.OfChannel(name); got != want {
				t.Fatalf("seed %d: %q is of %d, want %d, among %v", seed, name, got, want, owner)
			}
		}
	}
}

func TestAWildcardStaysWithItsTenant(t *testing.T) {
	s := newSet(t, Config{List: []Options{named("blue", "shop.blue."), named("red", "shop.red.")}})
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"shop.**", "shop.blue.cart", false}, {"shop.*.cart", "shop.blue.cart", false}, {"shop.**", "shop.green.cart", true},
		{"shop.blue.*", "shop.blue.cart", true}, {"**", "shop.red.x", false}, {"**", "x", true},
	} {
		if got := s.Covers(c.pattern, c.name); got != c.want {
			t.Errorf("%s covers %s: %t", c.pattern, c.name, got)
		}
	}
}

func TestClassesHaveWeightsAndDefaults(t *testing.T) {
	s := newSet(t, Config{
		Default: Limits{Class: "basic"},
		List: []Options{
			{Name: "a", ChannelPrefixes: []string{"a:"}, Limits: Limits{Class: "premium"}}, named("b", "b:"),
			{Name: "c", ChannelPrefixes: []string{"c:"}, Limits: Limits{Class: "basic", HookLimit: 7, HookTimeout: time.Minute}},
		},
	})
	for id, want := range []struct {
		weight, hooks int
		timeout       time.Duration
	}{{1, 20, 2 * time.Second}, {8, 500, 200 * time.Millisecond}, {4, 80, 800 * time.Millisecond}, {1, 7, time.Minute}} {
		if one := s.tenants[id]; s.Weight(ID(id)) != want.weight || one.queued.max != want.hooks || one.timeout != want.timeout {
			t.Errorf("%s: weight %d, %d questions, %s", one.name, s.Weight(ID(id)), one.queued.max, one.timeout)
		}
	}
	if s.Len() != 4 {
		t.Errorf("%d tenants", s.Len())
	}
}

// Whoever configures nothing has no set, and nil serves.
func TestWithoutTenantsNothingIsLimited(t *testing.T) {
	s := newSet(t, Config{Claim: ClaimDefault})
	if s != nil {
		t.Fatal("there is a set")
	}
	d := s.Desk()
	if d != nil || s.OfChannel("x") != 0 || s.Weight(0) != 1 || s.Len() != 1 || !s.Covers("a", "b") || s.Claim() != "" ||
		s.Admit("x", 1, epoch) != nil || s.Validate(nil) != nil {
		t.Error("nil refuses")
	}
	s.Report(epoch)
	s.Each(func(Stats) { t.Error("nil has a tenant") })
	if b := s.Broker(broker.Broker(nil)); b != nil {
		t.Error("the broker is wrapped")
	}
	if !d.May(1, "x") || !d.MayAs("a", "x") || !d.Knows("a", false) || d.Join(1) != nil || d.Name(1) != "" || d.ID(1) != 0 || d.Moved(1, "a") ||
		d.Named([]byte(`{"tenant":"a"}`)) != "" || d.Enter(1, "a", nil, channel.Refusal{}).Refused() {
		t.Error("nil refuses")
	}
	d.Leave(1)
	d.Left(1)
	d.Trim(nil)
	if s := newSet(t, Config{Default: Limits{ConnectionLimit: 1}}); s == nil || s.Claim() != "" {
		t.Error("limits of the default tenant alone make no set")
	}
}

func TestFindingAChannelsTenantDoesNotAllocate(t *testing.T) {
	s := newSet(t, Config{List: []Options{named("acme", "acme:")}})
	if n := testing.AllocsPerRun(100, func() { s.OfChannel("$acme:room") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOfChannel(b *testing.B) {
	for _, n := range []int{1, 16, 254} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var cfg Config
			for i := range n {
				cfg.List = append(cfg.List, named(fmt.Sprint("tenant", i), fmt.Sprintf("tenant-%03d:", i)))
			}
			s := newSet(b, cfg)
			name := fmt.Sprintf("tenant-%03d:room", n/2)
			for b.Loop() {
				s.OfChannel(name)
			}
		})
	}
}
