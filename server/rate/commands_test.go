package rate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/pool/slab"
)

var start = time.Unix(1_700_000_000, 0)

func guard(t *testing.T, rules []Rule, errors Limit) (*Commands, *Guard) {
	t.Helper()
	c, err := NewCommands(rules, errors)
	if err != nil {
		t.Fatal(err)
	}
	return c, c.Guard()
}

func kinds(t *testing.T, names ...string) Kinds {
	t.Helper()
	k, err := KindsOf(names)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Two rules, one about all commands: each is counted with those it is about, and what one
// refuses costs the other nothing.
func TestRulesAreAppliedTogether(t *testing.T) {
	c, g := guard(t, []Rule{
		{kinds(t, "publish", "rpc"), Limit{Count: 2, Interval: time.Minute}},
		{kinds(t, "all"), Limit{Count: 5, Interval: time.Minute}},
	}, Limit{})
	for i, ask := range []struct {
		method proto.Method
		after  time.Duration
		want   bool
	}{
		{proto.MethodPublish, 0, true}, {proto.MethodRPC, 0, true}, // both of the first rule
		{proto.MethodPublish, 0, false}, {proto.MethodRPC, 0, false}, {proto.MethodPublish, 0, false}, // which cost the second nothing
		{proto.MethodHistory, 0, true}, {proto.MethodSend, 0, true}, {proto.MethodSubscribe, 0, true},
		{proto.MethodUnsubscribe, 0, false},
		{proto.MethodConnect, 0, true}, {proto.MethodPing, 0, true}, {proto.MethodNone, 0, true}, // are never limited
		{proto.MethodPresence, 11 * time.Second, false}, {proto.MethodPresence, 12 * time.Second, true},
		{proto.MethodRPC, 30 * time.Second, true}, {proto.MethodRPC, 30 * time.Second, false},
	} {
		g.Watch(9, start.Add(ask.after))
		if got := g.Admits(ask.method); got != ask.want {
			t.Errorf("%d: %s after %s: admitted %t", i, ask.method, ask.after, got)
		}
	}
	got := map[string]uint64{}
	c.EachRefused(func(m string, n uint64) { got[m] = n })
	if len(got) != 4 || got["publish"] != 2 || got["rpc"] != 2 || got["unsubscribe"] != 1 || got["presence"] != 1 {
		t.Errorf("refused: %v", got)
	}
}

func TestSessionsAreLimitedEachForItself(t *testing.T) {
	_, g := guard(t, []Rule{{kinds(t, "rpc"), Limit{Count: 1, Interval: time.Hour}}}, Limit{Count: 2, Interval: time.Hour})
	for slot := range uint32(3 * slab.ChunkSlots) {
		g.Watch(slot, start)
		if !g.Admits(proto.MethodRPC) || g.Admits(proto.MethodRPC) || !g.Tolerates() || !g.Tolerates() || g.Tolerates() {
			t.Fatalf("slot %d has not its own limits", slot)
		}
	}
	g.Forget(7)
	if g.Watch(7, start); !g.Admits(proto.MethodRPC) || !g.Tolerates() {
		t.Error("slot 7 has a session of its own, and the limits of the former one")
	}
	g.Trim(func(chunk int) bool { return chunk == 0 })
	if g.Watch(8, start); g.Admits(proto.MethodRPC) || g.Tolerates() {
		t.Error("slot 8 was forgotten though its chunk is in use")
	}
	if g.Watch(slab.ChunkSlots, start); !g.Admits(proto.MethodRPC) {
		t.Error("a chunk that is not in use was kept")
	}
	for _, m := range append(g.meters, g.errors) {
		if err := m.levels.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// Memory is there for those who are limited, and 4 bytes for each limit.
func TestWhatLimitsCost(t *testing.T) {
	_, g := guard(t, []Rule{{kinds(t, "rpc"), Limit{Count: 1, Interval: time.Hour}}, {kinds(t, "send"), Limit{Count: 1, Interval: time.Hour}}},
		Limit{Count: 2, Interval: time.Hour})
	bytes := func() (n int) { g.each(func(m *Meter) { n += m.Bytes() }); return n }
	for slot := range uint32(10_000) {
		g.Watch(slot, start)
		g.Admits(proto.MethodPublish)
		g.Forget(slot)
	}
	if n := bytes(); n != 0 {
		t.Errorf("%d bytes for sessions that did nothing limited", n)
	}
	g.Watch(slab.ChunkSlots-1, start)
	if g.Admits(proto.MethodRPC); bytes() > 4*slab.ChunkSlots+64 {
		t.Errorf("%d bytes for a chunk of slots", bytes())
	}
	if n := testing.AllocsPerRun(1000, func() {
		g.Watch(3, start)
		g.Admits(proto.MethodRPC)
		g.Tolerates()
	}); n > 0.01 {
		t.Errorf("%v allocations per command", n)
	}
}

func TestNothingIsLimitedWithoutLimits(t *testing.T) {
	c, g := guard(t, nil, Limit{})
	if g != nil {
		t.Error("a guard of nothing is kept")
	}
	for _, g := range []*Guard{g, (*Commands)(nil).Guard()} {
		g.Watch(1, start)
		g.Forget(1)
		g.Trim(func(int) bool { return false })
		if !g.Admits(proto.MethodPublish) || !g.Tolerates() {
			t.Error("something is limited")
		}
	}
	for _, c := range []*Commands{c, nil} {
		c.EachRefused(func(m string, _ uint64) { t.Errorf("%s was refused", m) })
	}
	if _, g := guard(t, nil, Limit{Count: 1, Interval: time.Second}); !g.Admits(proto.MethodPublish) {
		t.Error("a limit of errors limits commands")
	}
}

// A clock that goes back, which the loop's does not, gives a conn more and never less.
func TestAClockThatGoesBackRefusesNobody(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 12))
		m := NewMeter(Limit{Count: 10, Interval: time.Second})
		now := start
		for range 100 {
			now = now.Add(time.Duration(r.IntN(300)) * time.Millisecond)
			m.Take(1, now)
		}
		if m.Take(1, now.Add(2*time.Second)); !m.Take(1, start.Add(-time.Hour)) && !m.Take(1, start.Add(-time.Hour).Add(time.Second)) {
			t.Fatal("refused for longer than a burst takes")
		}
	}
}

func TestNamesOfKinds(t *testing.T) {
	if got := kinds(t, "all"); got != kinds(t, "publish", "subscribe", "unsubscribe", "presence", "presence_stats", "history", "rpc", "send", "refresh", "sub_refresh") {
		t.Errorf("all is %b", got)
	}
	for name, k := range map[string]Kinds{"publish": 1 << proto.MethodPublish, "sub_refresh": 1 << proto.MethodSubRefresh, "send": 1 << proto.MethodSend} {
		if got := kinds(t, name); got != k {
			t.Errorf("%s is %b, want %b", name, got, k)
		}
	}
	for _, names := range [][]string{nil, {"connect"}, {"publish", "ping"}, {"none"}, {""}, {"Publish"}, {"unknown"}} {
		if _, err := KindsOf(names); err == nil || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func TestRulesMustBeValid(t *testing.T) {
	ok := Rule{1, Limit{Count: 1, Interval: time.Second}}
	if _, err := NewCommands([]Rule{ok, ok, ok, ok, ok}, Limit{}); err == nil {
		t.Error("five rules were taken")
	}
	if _, err := NewCommands([]Rule{ok, {}}, Limit{}); err == nil || !strings.Contains(err.Error(), "rule 1") {
		t.Errorf("an empty rule: %v", err)
	}
	if _, err := NewCommands([]Rule{ok, ok, ok, ok}, Limit{Count: 1}); err == nil || !strings.Contains(err.Error(), "errors") {
		t.Errorf("errors in no time: %v", err)
	}
}

func BenchmarkAdmits(b *testing.B) {
	c, err := NewCommands([]Rule{{1 << proto.MethodPublish, Limit{Count: 100, Interval: time.Second}}}, Limit{})
	if err != nil {
		b.Fatal(err)
	}
	g, now := c.Guard(), start
	for b.Loop() {
		now = now.Add(time.Microsecond)
		g.Watch(1, now)
		g.Admits(proto.MethodPublish)
	}
}
