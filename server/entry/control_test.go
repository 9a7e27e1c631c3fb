package entry

import (
	"net/netip"
	"testing"
	"time"

	"shoal/codec/handshake"
	"shoal/server/channel"
	"shoal/server/overload"
)

var epoch = time.Unix(1_700_000_000, 0)

// at is a time after the epoch.
func at(d time.Duration) time.Time { return epoch.Add(d) }

func from(text string) func() netip.Addr {
	return func() netip.Addr {
		if text == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(text)
	}
}

func newControl(t *testing.T, cfg Config) *Control {
	t.Helper()
	cfg.Epoch = epoch
	if cfg.Sessions == nil {
		cfg.Sessions = func() (int64, int64) { return 0, 0 }
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNothingConfiguredLetsEverythingIn(t *testing.T) {
	for _, c := range []*Control{nil, newControl(t, Config{Sessions: func() (int64, int64) { return 1 << 40, 0 }})} {
		for range 1000 {
			if c != nil {
				if key, s := c.arrive(epoch, func() netip.Addr { t.Fatal("nobody needs the address"); return netip.Addr{} }); key != 0 || s != handshake.Done {
					t.Fatalf("%d %v", key, s)
				}
			}
			if r := c.Enter("42", c.Connect(epoch, false)); r.Refused() {
				t.Fatal(r)
			}
		}
		c.Leave("42")
	}
}

func TestANodeWithTooMuchToDoLetsInAShare(t *testing.T) {
	board := &overload.Board{}
	c := newControl(t, Config{Overload: board, AddressConns: 1000})
	for _, each := range []struct {
		level overload.Level
		share float64
		in    int
	}{{overload.Calm, 1, 100}, {overload.Refusing, 0, 0}, {overload.Shedding, 0, 0}, {overload.Calm, 0.1, 10}, {overload.Calm, 1, 100}} {
		board.Post(each.level, each.share)
		in := 0
		for range 100 {
			switch _, s := c.arrive(epoch, from("192.0.2.1")); s {
			case handshake.Done:
				in++
			case handshake.Overburdened:
			default:
				t.Fatal(s)
			}
		}
		if in < each.in-1 || in > each.in {
			t.Errorf("level %v, share %.1f: %d of 100 are in", each.level, each.share, in)
		}
	}
	if n := c.addresses.open(); n != 210 && n != 209 {
		t.Errorf("%d connections are counted by address: a refused one costs nothing", n)
	}
	board.Post(overload.Shedding, 0)
	if r := c.Connect(epoch, false); r.Refused() {
		t.Errorf("a connect command: %v; who is in is served", r)
	}
}

func TestANodeIsFull(t *testing.T) {
	for _, c := range []struct {
		name            string
		open, connected int64
		conns, shakes   int
		want            handshake.Status
	}{
		{"room", 9, 9, 10, 10, handshake.Done},
		{"no room", 10, 10, 10, 10, handshake.Overloaded},
		{"handshakes", 9, 4, 10, 5, handshake.TooManyHandshakes},
		{"one fewer", 9, 5, 10, 5, handshake.Done},
		{"both", 10, 0, 10, 5, handshake.Overloaded},
		{"no limits", 10, 0, 0, 0, handshake.Done},
		{"counted at different moments", 4, 5, 0, 1, handshake.Done},
	} {
		e := newControl(t, Config{ConnsMax: c.conns, HandshakesMax: c.shakes, Sessions: func() (int64, int64) { return c.open, c.connected }})
		if _, got := e.arrive(epoch, from("")); got != c.want || e.Full() != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if n := e.Pending(); n != max(c.open-c.connected, 0) {
			t.Errorf("%s: %d handshakes", c.name, n)
		}
	}
}

func TestAnAddressOverItsLimitsTakesNothingFromOthers(t *testing.T) {
	e := newControl(t, Config{ConnRate: 10, AddressConns: 2})
	for range 100 {
		e.arrive(epoch, from("192.0.2.1"))
	}
	for i := range 8 {
		if _, s := e.arrive(epoch, from(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())); s != handshake.Done {
			t.Fatalf("connection %d from elsewhere: %v", i, s)
		}
	}
	if _, s := e.arrive(epoch, from("10.0.1.1")); s != handshake.TooFast {
		t.Errorf("the eleventh of the node: %v", s)
	}
	if n := e.addresses.open(); n != 10 {
		t.Errorf("%d are counted, want those 10 that were let in", n)
	}
	if _, s := e.arrive(at(100*time.Millisecond), from("10.0.1.1")); s != handshake.Done {
		t.Errorf("a tenth of a second later: %v", s)
	}
}

func TestExemptAndUnknownAddressesHaveNoLimit(t *testing.T) {
	e := newControl(t, Config{AddressConns: 1, AddressRate: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10")}})
	for _, text := range []string{"127.0.0.1", "::ffff:127.0.0.2", "::1", "fe80::1%eth0", ""} {
		for range 3 {
			if key, s := e.arrive(epoch, from(text)); key != 0 || s != handshake.Done {
				t.Errorf("%q: %v", text, s)
			}
		}
	}
	strict := newControl(t, Config{AddressConns: 1})
	strict.arrive(epoch, from("127.0.0.1"))
	if _, s := strict.arrive(epoch, from("127.0.0.1")); s != handshake.AddressFull {
		t.Errorf("loopback without an exemption: %v", s)
	}
}

func TestWhoCannotBeRememberedIsLetInAndCounted(t *testing.T) {
	e := newControl(t, Config{AddressConns: 1, AddressesMax: 1})
	seen := uint64(0)
	for i := range 2000 {
		key, s := e.arrive(epoch, from(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()))
		if s != handshake.Done {
			t.Fatal(s)
		}
		if key == 0 {
			seen++
		}
	}
	if n := e.Stats().Untracked.Load(); n != seen || n < 2000-addressShards {
		t.Errorf("%d untracked, want %d", n, seen)
	}
	if n := e.Addresses(); n > addressShards {
		t.Errorf("%d addresses are remembered", n)
	}
}

func TestConnectsAreRefusedSoThatSDKsComeBack(t *testing.T) {
	e := newControl(t, Config{ConnectRate: 4})
	var got []bool
	for _, back := range []bool{false, false, false, true, true, true} {
		r := e.Connect(epoch, back)
		if r.Refused() && (r.Disconnect == nil || r.Disconnect.Code != uint32(channel.DisconnectTooManyRequests) || r.Disconnect.Terminal() || r.Err == nil || !r.Err.Temporary) {
			t.Errorf("refused with %+v", r)
		}
		got = append(got, !r.Refused())
	}
	if want := [6]bool{true, true, false, true, true, false}; [6]bool(got) != want {
		t.Errorf("let in %v, want %v", got, want)
	}
	e.Stats().EachRefusal(func(why Reason, n uint64) {
		if want := map[string]uint64{"connect-rate": 2, "user-connections": 0}[why.String()]; n != want {
			t.Errorf("%s: %d, want %d", why, n, want)
		}
	})
}

func TestAUserHasSoManyConnections(t *testing.T) {
	e := newControl(t, Config{UserConns: 2})
	none := channel.Refusal{}
	for i, want := range []bool{false, false, true, true} {
		r := e.Enter("42", none)
		if r.Refused() != want || want && r.Disconnect.Code != uint32(channel.DisconnectConnectionLimit) {
			t.Errorf("connection %d: %+v", i, r)
		}
	}
	for range 5 {
		if r := e.Enter("", none); r.Refused() {
			t.Errorf("the anonymous: %+v", r)
		}
	}
	if r := e.Enter("43", none); r.Refused() {
		t.Errorf("another user: %+v", r)
	}
	before := channel.RefuseError(channel.ErrExpired)
	if r := e.Enter("44", before); r != before {
		t.Errorf("what was refused before: %+v", r)
	}
	if err := e.Validate(3); err != nil {
		t.Error(err)
	}
	e.Leave("42")
	if r := e.Enter("42", none); r.Refused() {
		t.Errorf("after one left: %+v", r)
	}
	for _, user := range []string{"42", "42", "43", ""} {
		e.Leave(user)
	}
	if err := e.Validate(0); err != nil {
		t.Error(err)
	}
}

func TestRetryIsSpread(t *testing.T) {
	seen := map[int]bool{}
	for range 1000 {
		n := RetrySeconds()
		if n < 1 || n > retrySecondsMax {
			t.Fatalf("%d seconds", n)
		}
		seen[n] = true
	}
	if len(seen) < retrySecondsMax/2 {
		t.Errorf("only %d different ones", len(seen))
	}
}

func TestAdmittingAllocatesNothing(t *testing.T) {
	e := newControl(t, Config{ConnsMax: 10, ConnRate: 1_000_000, AddressConns: 5, AddressRate: 1_000_000, ConnectRate: 1_000_000, UserConns: 5})
	addr, now := netip.MustParseAddr("192.0.2.1"), at(0)
	turn := func() {
		now = now.Add(time.Second)
		key, s := e.arrive(now, func() netip.Addr { return addr })
		if s.Failed() || e.Enter("42", e.Connect(now, false)).Refused() {
			t.Fatal("refused")
		}
		e.addresses.leave(key)
		e.Leave("42")
	}
	stay, _ := e.arrive(now, func() netip.Addr { return addr }) // the maps are there
	e.Enter("42", channel.Refusal{})
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("%v allocations per connection", n)
	}
	e.addresses.leave(stay)
}

func BenchmarkArrive(b *testing.B) {
	e, err := New(Config{ConnRate: 1_000_000, AddressConns: 1 << 30, Epoch: epoch, Sessions: func() (int64, int64) { return 0, 0 }})
	if err != nil {
		b.Fatal(err)
	}
	addr := netip.MustParseAddr("192.0.2.1")
	now, kept := epoch, 0
	for b.Loop() {
		now = now.Add(time.Millisecond)
		key, _ := e.arrive(now, func() netip.Addr { return addr })
		e.addresses.leave(key)
		kept++
	}
	if e.addresses.open() != 0 {
		b.Errorf("%d of %d are counted still", e.addresses.open(), kept)
	}
}

// BenchmarkSweep is a call with a million addresses, of which none can be forgotten yet.
func BenchmarkSweep(b *testing.B) {
	a := newAddresses(0, 1, 1, 1<<20)
	for key := range uint64(1 << 20) {
		a.arrive(key+1, 0)
	}
	for b.Loop() {
		a.sweep(0)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/sweepShards, "µs/shard")
	b.ReportMetric(float64(a.count()), "addresses")
}
