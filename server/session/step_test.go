package session

import (
	"reflect"
	"testing"
	"time"
	"unsafe"

	"shoal/codec/proto"
	"shoal/server/channel"
)

func TestSessionHoldsNoPointer(t *testing.T) {
	typ := reflect.TypeFor[Session]()
	for i := range typ.NumField() {
		switch f := typ.Field(i); f.Type.Kind() {
		case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		default:
			t.Errorf("%s is a %s; slots hold fixed-size numbers only", f.Name, f.Type)
		}
	}
	if got := unsafe.Sizeof(Session{}); got > 40 {
		t.Errorf("%d bytes, budget 40", got)
	}
}

func TestStepLeavesThePerformersFieldsAlone(t *testing.T) {
	w := newWorld(t)
	w.s.User, w.s.Info, w.s.Subs, w.s.Mark = 1, 2, 3, 4
	for _, line := range []string{"0 opened", `1 command {"id":1,"connect":{}}`, "1 authenticated id=1", "9000 wait"} {
		if err := w.line(line); err != nil {
			t.Fatal(err)
		}
		if w.s.User != 1 || w.s.Info != 2 || w.s.Subs != 3 || w.s.Mark != 4 {
			t.Fatalf("after %q: %+v", line, w.s)
		}
	}
	if w.s.State() != StateClosing {
		t.Errorf("state %s", w.s.State())
	}
}

func TestARefusedConnectMayBeAnsweredAndEnded(t *testing.T) {
	w := newWorld(t)
	for _, line := range []string{"0 opened", `1 command {"id":7,"connect":{}}`} {
		if err := w.line(line); err != nil {
			t.Fatal(err)
		}
	}
	effects := w.s.Step(&w.cfg, &Input{Kind: KindAuthenticated, ID: 7, Now: 1, Refusal: channel.Refusal{
		Err: channel.ErrTooManyRequests.Err(), Disconnect: channel.DisconnectTooManyRequests.Disconnect(),
	}}, nil)
	if len(effects) != 2 || effects[0].Kind != EffectReplyError || effects[0].ID != 7 || effects[1].Kind != EffectDisconnect || w.s.State() != StateClosing {
		t.Errorf("effects %+v, state %s", effects, w.s.State())
	}
}

func TestFirstPingsAreSpread(t *testing.T) {
	seen := map[Tick]int{}
	for rand := uint32(0); rand < 1000; rand++ {
		w := newWorld(t)
		w.rand = rand * 2654435761
		connect(t, w)
		seen[w.s.pingAt]++
	}
	for at := range seen {
		if at < 125 || at >= 250 {
			t.Errorf("a first ping at %d, outside [125, 250)", at)
		}
	}
	if len(seen) < 120 {
		t.Errorf("only %d of 125 moments used", len(seen))
	}
}

// connect brings a world to StateActive at tick 0.
func connect(t testing.TB, w *world) {
	t.Helper()
	for _, line := range []string{"0 opened", `0 command {"id":1,"connect":{}}`, "0 authenticated id=1"} {
		if err := w.line(line); err != nil {
			t.Fatal(err)
		}
	}
	if w.s.State() != StateActive {
		t.Fatalf("state %s", w.s.State())
	}
}

// While the performer is pressed a ping is put off once, and the next one again.
func TestPingsGiveWayToPublicationsForATime(t *testing.T) {
	w := newWorld(t)
	w.cfg.LateTicks = 50
	connect(t, w)
	w.now = w.s.pingAt
	for round := range 3 {
		due := w.now
		w.armed = 0
		w.step(Input{Kind: KindTimer, Pressed: true})
		if len(w.effects) != 1 || w.effects[0].Kind != EffectArm || w.s.pingAt != due+50 {
			t.Fatalf("round %d: got %v, the ping at %d, want it at %d", round, w.effects, w.s.pingAt, due+50)
		}
		w.now, w.armed = w.s.pingAt, 0
		w.step(Input{Kind: KindTimer, Pressed: true})
		if w.effects[0].Kind != EffectPing || w.s.pingAt != w.now+w.cfg.PingTicks {
			t.Fatalf("round %d: got %v, the next at %d", round, w.effects, w.s.pingAt)
		}
		w.step(Input{Kind: KindBytes})
		w.now = w.s.pingAt
	}
	w.armed = 0
	w.step(Input{Kind: KindTimer})
	if w.effects[0].Kind != EffectPing {
		t.Errorf("not pressed: got %v", w.effects)
	}
}

func TestLateTimersLoseNothing(t *testing.T) {
	w := newWorld(t)
	connect(t, w)
	w.now, w.armed = 100_000, 0 // the loop stood still for hours
	w.step(Input{Kind: KindTimer})
	if len(w.effects) != 2 || w.effects[0].Kind != EffectPing {
		t.Errorf("got %v, want one ping and its timer", w.effects)
	}
}

func TestNeedlessTimersOnlyRearm(t *testing.T) {
	w := newWorld(t)
	connect(t, w)
	for now := Tick(1); now < 125; now++ {
		w.now, w.armed = now, 0
		w.step(Input{Kind: KindTimer})
		if len(w.effects) != 1 || w.effects[0].Kind != EffectArm || w.armed < 125 {
			t.Fatalf("at %d: got %v", now, w.effects)
		}
	}
}

func TestABusySessionIsNotWokenForAPong(t *testing.T) {
	w := newWorld(t)
	connect(t, w)
	if err := w.line(`124 command {"id":2,"rpc":{}}`); err != nil {
		t.Fatal(err)
	}
	timers := 0
	for ; w.now < 1000; w.now++ {
		if w.armed <= w.now {
			w.armed = 0
			w.step(Input{Kind: KindTimer})
			timers++
		}
	}
	if timers > 5 {
		t.Errorf("%d timers for the 4 pings of 90 s", timers)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	rules, _ := channel.Compile(channel.Config{})
	good := Default(100*time.Millisecond, rules)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := good.Attentive().validated(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"rules":            func(c *Config) { c.Rules = nil },
		"no tick":          func(c *Config) { c.TicksPerSecond = 0 },
		"short tick":       func(c *Config) { c.TicksPerSecond = 61 },
		"stale":            func(c *Config) { c.StaleTicks = 0 },
		"ping of one":      func(c *Config) { c.PingTicks, c.PongTicks = 1, 0 },
		"pong too long":    func(c *Config) { c.PongTicks = c.PingTicks },
		"levels alone":     func(c *Config) { c.PingTicks, c.Levels = 0, []Level{{1, 100, false}} },
		"misses":           func(c *Config) { c.MissesMax = 16 },
		"negative misses":  func(c *Config) { c.MissesMax = -1 },
		"dormant too late": func(c *Config) { c.DormantMisses = 2 },
		"no observation":   func(c *Config) { c.DormantMisses, c.ObservationTicks = 1, 0 },
		"channels":         func(c *Config) { c.ChannelsMax = 65_536 },
		"levels unordered": func(c *Config) { c.Levels = []Level{{10, 100, true}, {10, 100, true}} },
		"level's ping":     func(c *Config) { c.Levels = []Level{{10, 1, true}} },
		"level's pong":     func(c *Config) { c.Levels = []Level{{10, 80, false}} },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func (c Config) validated() error { return c.Validate() }

func TestDurationsBecomeTicks(t *testing.T) {
	c := Config{TicksPerSecond: 10}
	for d, want := range map[time.Duration]Tick{
		-1: 0, 0: 0, 1: 1, 100 * time.Millisecond: 1, 101 * time.Millisecond: 2, time.Second: 10,
		25 * time.Second: 250, 1 << 62: 1<<31 - 1,
	} {
		if got := c.Ticks(d); got != want {
			t.Errorf("%v: got %d, want %d", d, got, want)
		}
	}
}

func TestNamesOfKinds(t *testing.T) {
	if KindDisconnect.String() != "disconnect" || KindExtended.String() != "extended" || kindCount.String() != "unknown" ||
		EffectAwake.String() != "awake" || EffectPushRefresh.String() != "push-refresh" || effectCount.String() != "unknown" ||
		StateClosing.String() != "closing" || stateCount.String() != "unknown" {
		t.Error("the name tables are out of step with the constants")
	}
}

// allocView is a View without a map.
type allocView bool

func (v allocView) Subscribed(string) bool      { return bool(v) }
func (v allocView) ServerRefreshed(string) bool { return false }
func (v allocView) Admits(proto.Method) bool    { return true }
func (v allocView) Tolerates() bool             { return true }

// busyRounds steps what an active session sees most, with the outcomes; it returns the
// number of steps.
func busyRounds(s *Session, cfg *Config, out []Effect, in []Input) int {
	for i := range in {
		out = s.Step(cfg, &in[i], out[:0])
	}
	return len(in)
}

func busy(t testing.TB) (*Session, *Config, []Input) {
	w := newWorld(t)
	w.cfg.Send = true
	connect(t, w)
	var free, member View = allocView(false), allocView(true)
	pub := &proto.Command{Id: 5, Publish: &proto.PublishRequest{Channel: "news:a", Data: []byte("1")}}
	sub := &proto.Command{Id: 6, Subscribe: &proto.SubscribeRequest{Channel: "news:a"}}
	unsub := &proto.Command{Id: 7, Unsubscribe: &proto.UnsubscribeRequest{Channel: "news:a"}}
	return &w.s, &w.cfg, []Input{
		{Kind: KindBytes}, {Kind: KindCommand, Command: sub, View: free},
		{Kind: KindSubscribed, ID: 6, Channel: "news:a"},
		{Kind: KindCommand, Command: pub, View: member}, {Kind: KindPublished, ID: 5, Channel: "news:a"},
		{Kind: KindCommand, Command: unsub, View: member}, {Kind: KindTimer}, {Kind: KindPong},
	}
}

// rare is the rest of what an active session may see.
func rare() []Input {
	var free, member View = allocView(false), allocView(true)
	command := func(v View, c *proto.Command) Input { return Input{Kind: KindCommand, Command: c, View: v} }
	return []Input{
		command(free, &proto.Command{Id: 1, Presence: &proto.PresenceRequest{Channel: "news:a"}}), {Kind: KindAnswered, ID: 1},
		command(free, &proto.Command{Id: 2, PresenceStats: &proto.PresenceStatsRequest{Channel: "a"}}), {Kind: KindAnswered, ID: 2},
		command(free, &proto.Command{Id: 3, History: &proto.HistoryRequest{Channel: "news:a"}}),
		{Kind: KindAnswered, ID: 3, Refusal: channel.RefuseError(channel.ErrPermissionDenied), View: free},
		command(free, &proto.Command{Id: 4, Rpc: &proto.RPCRequest{}}), {Kind: KindAdded, Channel: "a"},
		{Kind: KindExtended, Unix: 1, ExpireAt: 100}, {Kind: KindAnswered, ID: 4},
		command(member, &proto.Command{Id: 5, SubRefresh: &proto.SubRefreshRequest{Channel: "a", Token: "t"}}),
		{Kind: KindSubRefreshed, ID: 5, Channel: "a", Unix: 1, ExpireAt: 100}, {Kind: KindRemoved, Channel: "a"},
		command(free, &proto.Command{Send: &proto.SendRequest{}}), {Kind: KindSent},
		command(free, &proto.Command{Id: 6, Refresh: &proto.RefreshRequest{Token: "t"}}), {Kind: KindRefreshed, ID: 6},
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	s, cfg, in := busy(t)
	out := make([]Effect, 0, 8)
	for _, round := range [][]Input{in, rare()} {
		if n := testing.AllocsPerRun(100, func() { busyRounds(s, cfg, out, round) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
		if s.State() != StateActive || s.SubCount() != 0 || s.Busy() {
			t.Errorf("state %s, %d subscriptions, busy %t: the rounds were not what they should be", s.State(), s.SubCount(), s.Busy())
		}
	}
}

func BenchmarkStep(b *testing.B) {
	s, cfg, in := busy(b)
	out := make([]Effect, 0, 8)
	steps := 0
	for b.Loop() {
		steps += busyRounds(s, cfg, out, in)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}

func BenchmarkBytes(b *testing.B) {
	s, cfg, _ := busy(b)
	in := Input{Kind: KindBytes}
	out := make([]Effect, 0, 8)
	for b.Loop() {
		out = s.Step(cfg, &in, out[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/step")
}

func TestValidateSeesEveryContradiction(t *testing.T) {
	w := newWorld(t)
	for name, s := range map[string]Session{
		"no such state":       {state: stateCount},
		"closing but awaits":  {state: StateClosing, mode: awaitAuth},
		"closing but armed":   {state: StateClosing, expireAt: 5, armedAt: 5},
		"deadline, no timer":  {limitAt: 5},
		"timer too late":      {limitAt: 5, armedAt: 6},
		"pending for nothing": {pending: 1},
		"unusable, member":    {state: StateUnusable, subCount: 1},
		"renewal not asked":   {state: StateActive, mode: modeRenewing},
		"unusable, renewing":  {state: StateUnusable, mode: modeRenewing | modeServerRefresh},
		"too many members":    {state: StateActive, subCount: 129},
		"dormant for ever":    {state: StateDormant},
		"misses over limit":   {state: StateActive, beats: 1},
	} {
		if s.Validate(&w.cfg) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var zero Session
	if err := zero.Validate(&w.cfg); err != nil {
		t.Error(err)
	}
}
