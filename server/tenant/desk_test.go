package tenant

import (
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/session"
)

// two is a set with a tenant of small limits, "acme", and one without, "blue".
func two(t testing.TB) *Set {
	return newSet(t, Config{Claim: "tenant", List: []Options{
		{Name: "acme", ChannelPrefixes: []string{"acme:"}, Limits: Limits{
			ConnectionLimit: 2, ChannelLimit: 2, SubscriptionLimit: 3, MessageRateLimit: 5, ByteRateLimit: 100,
		}},
		{Name: "blue", ChannelPrefixes: []string{"blue:"}},
	}})
}

// enter has a session enter that must be let in.
func enter(t *testing.T, d *Desk, slot uint32, name string) {
	t.Helper()
	if r := d.Enter(slot, name, nil, channel.Refusal{}); r.Refused() {
		t.Fatalf("%s is refused: %+v", name, r)
	}
}

func (s *Set) refusals(id ID, l Limit) uint64 { return s.tenants[id].refused[l].Load() }

func TestASessionIsOfTheTenantThatItsCredentialsName(t *testing.T) {
	s := two(t)
	d := s.Desk()
	enter(t, d, 1, "acme")
	enter(t, d, 2, "")
	if d.Name(1) != "acme" || d.ID(1) != 1 || d.Name(2) != "" || d.ID(2) != 0 || !d.Entered(2) || d.Entered(3) || d.ID(9000) != 0 {
		t.Errorf("slot 1 is of %q, slot 2 of %q", d.Name(1), d.Name(2))
	}
	for _, name := range []string{"default", "ACME", "acm", "\xff", string(make([]byte, 1000))} {
		r := d.Enter(3, name, nil, channel.Refusal{})
		if r.Err != nil || r.Disconnect == nil || r.Disconnect.Code != 3507 || d.Entered(3) {
			t.Errorf("%.10q: %+v", name, r)
		}
	}
	if n := s.refusals(0, Unknown); n != 5 {
		t.Errorf("%d unknown names are counted", n)
	}
	before := channel.RefuseError(channel.ErrTokenExpired)
	if r := d.Enter(3, "acme", nil, before); r != before || d.Entered(3) {
		t.Errorf("what is refused already becomes %+v", r)
	}
	if d.Moved(1, "acme") || !d.Moved(1, "") || !d.Moved(1, "blue") || d.Moved(2, "") || !d.Moved(2, "acme") {
		t.Error("credentials of another tenant are not told apart")
	}
	if !d.Knows("acme", true) || !d.Knows("", true) || d.Knows("", false) || d.Knows("red", true) {
		t.Error("tenants of resume tokens are not told apart")
	}
}

func TestOneConnectionTooManyIsToComeBackLater(t *testing.T) {
	s := two(t)
	a, b := s.Desk(), s.Desk() // of two loops
	enter(t, a, 1, "acme")
	enter(t, b, 1, "acme")
	for range 3 {
		r := a.Enter(2, "acme", nil, channel.Refusal{})
		if r.Err == nil || r.Err.Code != 111 || r.Disconnect == nil || r.Disconnect.Code != 3013 {
			t.Errorf("%+v", r)
		}
	}
	a.Left(2) // it had not entered
	enter(t, a, 2, "blue")
	enter(t, a, 3, "")
	b.Left(1)
	b.Left(1)
	enter(t, a, 4, "acme")
	enter(t, a, 4, "acme") // the slot was not given back: somebody's mistake
	if n := s.refusals(1, Connections); n != 3 {
		t.Errorf("%d refusals are counted", n)
	}
	if err := s.Validate([]Actual{{1, 0, 0}, {2, 0, 0}, {1, 0, 0}}); err != nil {
		t.Error(err)
	}
}

func TestASessionMayEnterItsOwnChannelsAndTheCommonOnes(t *testing.T) {
	s := two(t)
	d := s.Desk()
	enter(t, d, 1, "acme")
	enter(t, d, 2, "")
	for _, c := range []struct {
		name            string
		acme, byDefault bool
	}{{"acme:x", true, false}, {"$acme:x", true, false}, {"blue:x", false, false}, {"$blue:x", false, false}, {"acme:*", true, false}, {"news", true, true}} {
		if d.May(1, c.name) != c.acme || d.May(2, c.name) != c.byDefault || d.May(3, c.name) != c.byDefault || d.MayAs("acme", c.name) != c.acme {
			t.Errorf("%s: acme %t, default %t", c.name, d.May(1, c.name), d.May(2, c.name))
		}
	}
	r := d.Enter(3, "acme", []channel.ServerSub{{Channel: "news"}, {Channel: "blue:x"}}, channel.Refusal{})
	if r.Disconnect == nil || r.Disconnect.Code != 3507 || d.Entered(3) || s.refusals(1, Foreign) != 1 {
		t.Errorf("credentials with another's channel: %+v", r)
	}
}

func effect(kind session.EffectKind, name string, cmd *proto.Command) *session.Effect {
	return &session.Effect{Kind: kind, ID: 7, Channel: name, Command: cmd}
}

func TestCommandsInAnothersChannelAreRefused(t *testing.T) {
	s := two(t)
	d := s.Desk()
	enter(t, d, 1, "acme")
	for _, c := range []struct {
		name string
		e    *session.Effect
		want session.Kind
	}{
		{"subscribe", effect(session.EffectSubscribe, "blue:x", &proto.Command{Subscribe: &proto.SubscribeRequest{}}), session.KindSubscribed},
		{"publish", effect(session.EffectPublish, "blue:x", &proto.Command{Publish: &proto.PublishRequest{}}), session.KindPublished},
		{"history", effect(session.EffectAsk, "blue:x", &proto.Command{History: &proto.HistoryRequest{}}), session.KindAnswered},
		{"presence", effect(session.EffectAsk, "blue:x", &proto.Command{Presence: &proto.PresenceRequest{}}), session.KindAnswered},
	} {
		in, refused := d.Refuses(1, c.e, epoch)
		if !refused || in.Kind != c.want || in.ID != 7 || in.Channel != "blue:x" || in.Refusal.Err == nil || in.Refusal.Err.Code != 103 {
			t.Errorf("%s: %t, %+v", c.name, refused, in)
		}
		own := *c.e
		own.Channel = "acme:x"
		if in, refused := d.Refuses(1, &own, epoch); refused {
			t.Errorf("%s in its own: %+v", c.name, in)
		}
	}
	if n := s.refusals(1, Foreign); n != 4 {
		t.Errorf("%d refusals are counted", n)
	}
	if n := s.tenants[1].taken.Load(); n != 3 {
		t.Errorf("%d messages are counted, want those that were taken: 3", n)
	}
	for _, e := range []*session.Effect{
		{Kind: session.EffectPing}, {Kind: session.EffectSubscribe, Channel: "blue:x", Sub: &channel.ServerSub{}}, {Kind: session.EffectUnsubscribe, Channel: "blue:x"},
	} {
		if _, refused := d.Refuses(1, e, epoch); refused {
			t.Errorf("%s is refused", e.Kind)
		}
	}
}

func TestMessagesAndBytesPerSecondAreTheTenantsTogether(t *testing.T) {
	s := two(t)
	a, b := s.Desk(), s.Desk()
	enter(t, a, 1, "acme")
	enter(t, b, 1, "acme")
	enter(t, b, 2, "blue")
	say := func(d *Desk, slot uint32, bytes int, at time.Time) uint32 {
		e := effect(session.EffectAsk, "", &proto.Command{Rpc: &proto.RPCRequest{Data: make([]byte, bytes)}})
		if in, refused := d.Refuses(slot, e, at); refused {
			return in.Refusal.Err.Code
		}
		return 0
	}
	send := effect(session.EffectSend, "", &proto.Command{Send: &proto.SendRequest{Data: []byte("x")}})
	for i, c := range []struct {
		d     *Desk
		slot  uint32
		bytes int
		after int // milliseconds
		want  uint32
	}{
		{a, 1, 60, 0, 0}, {b, 1, 60, 0, 111}, {b, 1, 40, 0, 0}, {a, 1, 1, 0, 111}, {a, 1, 0, 0, 0}, {a, 1, 0, 0, 0}, {a, 1, 0, 0, 0},
		{a, 1, 0, 0, 111},   // five messages, 100 bytes
		{b, 2, 1000, 0, 0},  // the other's are no concern of it
		{a, 9, 1000, 0, 0},  // nor are those of a session that is nobody's
		{a, 1, 20, 200, 0},  // a fifth of a second later: one message, 20 bytes
		{a, 1, 0, 200, 111}, // and no more
	} {
		if got := say(c.d, c.slot, c.bytes, epoch.Add(time.Duration(c.after)*time.Millisecond)); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	if in, refused := a.Refuses(1, send, epoch); !refused || in.Kind != session.KindSent || in.Refusal.Refused() {
		t.Errorf("a message over the limit: %t, %+v", refused, in)
	}
	if e := s.Admit("acme:x", 1, epoch); e == nil || e.Code != 111 {
		t.Errorf("the API: %v", e)
	}
	if e := s.Admit("news", 1000, epoch); e != nil {
		t.Errorf("the API in a common channel: %v", e)
	}
	if m, b := s.refusals(1, Messages), s.refusals(1, Bytes); m != 4 || b != 2 {
		t.Errorf("refused for messages: %d, for bytes: %d", m, b)
	}
	if m, b := s.tenants[1].taken.Load(), s.tenants[1].takenBytes.Load(); m != 6 || b != 120 {
		t.Errorf("%d messages of %d bytes are counted", m, b)
	}
}

// While a node has too much to do it serves no basic tenants; what they have they keep.
func TestBasicTenantsAreSparedUnderOverload(t *testing.T) {
	var over bool
	rules, _ := channel.Compile(channel.Config{})
	s, err := New(Config{Claim: "tenant", List: []Options{
		{Name: "cheap", ChannelPrefixes: []string{"c:"}, Limits: Limits{Class: "basic"}}, {Name: "dear", Limits: Limits{Class: "premium"}}, {Name: "some"},
	}}, Host{Rules: rules, Logger: slog.New(slog.DiscardHandler), Spares: func() bool { return over }})
	if err != nil {
		t.Fatal(err)
	}
	d := s.Desk()
	for slot, name := range []string{"cheap", "dear", "some"} {
		enter(t, d, uint32(slot), name)
	}
	for _, over = range []bool{false, true, false} {
		for slot := range uint32(3) {
			want := over && slot == 0
			for _, e := range []*session.Effect{
				effect(session.EffectSubscribe, "x", &proto.Command{Subscribe: &proto.SubscribeRequest{}}),
				effect(session.EffectAsk, "", &proto.Command{Rpc: &proto.RPCRequest{}}),
			} {
				in, refused := d.Refuses(slot, e, epoch)
				if refused != want || refused && in.Refusal.Err.Code != 111 {
					t.Errorf("overload %t, %s of %s: %t, %+v", over, e.Kind, d.Name(slot), refused, in.Refusal)
				}
			}
			if e := d.Join(slot); e != nil { // what the server subscribes it to, and what it has asked for before
				t.Error(e)
			}
		}
		if e := s.Admit("c:x", 1, epoch); (e != nil) != over || s.Admit("x", 1, epoch) != nil {
			t.Errorf("overload %t, the API: %v", over, e)
		}
	}
	if n := s.refusals(1, Overload); n != 3 {
		t.Errorf("%d refusals are counted", n)
	}
}

func TestMembershipsAreCountedWithTheSession(t *testing.T) {
	s := two(t)
	d := s.Desk()
	enter(t, d, 1, "acme")
	enter(t, d, 2, "acme")
	for i, slot := range []uint32{1, 1, 2} {
		if e := d.Join(slot); e != nil {
			t.Fatalf("%d: %v", i, e)
		}
	}
	if e := d.Join(2); e == nil || e.Code != 106 || s.refusals(1, Subscriptions) != 1 {
		t.Errorf("one too many: %v", e)
	}
	d.Leave(1)
	if e := d.Join(2); e != nil {
		t.Error(e)
	}
}

func TestAConnectProxyNamesTheTenantInMeta(t *testing.T) {
	d := two(t).Desk()
	for meta, want := range map[string]string{
		`{"tenant":"acme","x":{"y":1}}`: "acme", `{"x":1}`: "", ``: "", `[]`: "", `nonsense`: "", `{"tenant":7}`: "7", `{"tenant":null}`: "",
	} {
		if got := d.Named([]byte(meta)); got != want {
			t.Errorf("%s names %q, want %q", meta, got, want)
		}
	}
}

func BenchmarkRefuses(b *testing.B) {
	s := newSet(b, Config{Claim: "tenant", List: []Options{
		{Name: "acme", ChannelPrefixes: []string{"acme:"}, Limits: Limits{MessageRateLimit: 1e9, ByteRateLimit: 1e12}},
	}})
	d := s.Desk()
	d.Enter(1, "acme", nil, channel.Refusal{})
	e := effect(session.EffectPublish, "acme:room", &proto.Command{Publish: &proto.PublishRequest{Data: make([]byte, 128)}})
	now := epoch
	for b.Loop() {
		now = now.Add(time.Microsecond)
		if _, refused := d.Refuses(1, e, now); refused {
			b.Fatal("refused")
		}
	}
}

func TestJudgingACommandDoesNotAllocate(t *testing.T) {
	s := two(t)
	d := s.Desk()
	enter(t, d, 1, "acme")
	e := effect(session.EffectPublish, "acme:room", &proto.Command{Publish: &proto.PublishRequest{Data: make([]byte, 10)}})
	if n := testing.AllocsPerRun(100, func() { d.Refuses(1, e, epoch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever sessions do, in the end nothing is left, and at every moment what is counted is
// what there is.
func TestWhatIsCountedIsWhatThereIs(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	s := two(t)
	desks := []*Desk{s.Desk(), s.Desk()}
	type one struct {
		d    *Desk
		slot uint32
		id   ID
		in   bool
		subs int
	}
	sessions := make([]one, 40)
	for i := range sessions {
		sessions[i] = one{d: desks[i%2], slot: uint32(i / 2)}
	}
	leave := func(x *one) {
		for ; x.subs > 0; x.subs-- {
			x.d.Leave(x.slot)
		}
		x.d.Left(x.slot)
		x.in, x.id = false, 0
	}
	for step := range 5000 {
		x := &sessions[rng.IntN(len(sessions))]
		switch d := rng.IntN(10); {
		case !x.in:
			name := []string{"acme", "blue", "", "red"}[rng.IntN(4)]
			if r := x.d.Enter(x.slot, name, nil, channel.Refusal{}); !r.Refused() {
				x.in, x.id = true, s.ids[name]
			}
		case d < 5:
			if x.d.Join(x.slot) == nil {
				x.subs++
			}
		case d < 8 && x.subs > 0:
			x.d.Leave(x.slot)
			x.subs--
		case d == 9:
			leave(x)
		}
		actual := make([]Actual, s.Len())
		for _, x := range sessions {
			if x.in {
				actual[x.id].Connections++
				actual[x.id].Subscriptions += x.subs
			}
		}
		if err := s.Validate(actual); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, step, err)
		}
	}
	for i := range sessions {
		leave(&sessions[i])
	}
	if err := s.Validate(make([]Actual, s.Len())); err != nil {
		t.Error(err)
	}
	if s.refusals(1, Connections) == 0 || s.refusals(1, Subscriptions) == 0 {
		t.Error("no limit was met")
	}
}
