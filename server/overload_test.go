package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/proto"
	"shoal/loop"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/overload"
	"shoal/server/tenant"
)

// gauge is a measurement that a test sets.
type gauge struct {
	mu sync.Mutex
	s  overload.Sample
}

func (g *gauge) set(s overload.Sample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.s = s
}

func (g *gauge) read() overload.Sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.s
}

// burdened runs a program that believes a gauge and acts on it at once.
func burdened(t *testing.T, changes ...func(*config.Config)) (*rig, *gauge) {
	t.Helper()
	g := &gauge{}
	prompt := func(c *config.Config) {
		c.Overload.Enabled, c.Overload.Interval = true, 100*time.Millisecond
		c.Overload.RiseAfter, c.Overload.FallAfter, c.Overload.SlowStart = 0, 0, 0
	}
	return start(t, tuned(append([]func(*config.Config){prompt}, changes...)...), func(o *Options) { o.Sample = g.read }), g
}

// at has the program measure s until it has come to a level.
func (r *rig) at(t *testing.T, g *gauge, s overload.Sample, want overload.Level) {
	t.Helper()
	g.set(s)
	eventually(t, fmt.Sprintf("level %v", want), func() bool { return r.p.overload.Level() == want })
}

// health is the status of /health.
func (r *rig) health(t *testing.T) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, r.base+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := do(t, req)
	return status
}

func TestAtLevelOneNobodyNewComesInAndAllOthersAreServed(t *testing.T) {
	r, g := burdened(t, func(c *config.Config) { c.Overload.UnhealthyLevel = 1 })
	in := r.openRaw(t, "")
	in.connect("")
	if code := r.health(t); code != 200 {
		t.Errorf("calm, and health answers %d", code)
	}
	r.at(t, g, overload.Sample{overload.Lag: 0.6}, overload.Refusing)
	for range 5 {
		r.refusedEntry(t, "", "overload")
	}
	in.subscribe("news")
	if _, e := r.p.node.Publish(t.Context(), "news", &channel.Publication{Data: []byte(`1`)}, node.PublishOptions{}); e != nil {
		t.Fatal(e)
	}
	if got := string(in.pub().Data); got != "1" {
		t.Errorf("who is in is told %s", got)
	}
	if code := r.health(t); code != 503 {
		t.Errorf("level 1, and health answers %d though it was asked to tell", code)
	}
	m := r.metrics(t)
	if m["shoal_overload_level"] != 1 || m["shoal_overload_admitted_ratio"] != 0 || m[`shoal_overload_signal{signal="lag"}`] != 0.6 ||
		m[`shoal_overload_transitions_total{from="0",to="1",reason="lag"}`] != 1 || m[`websocket_handshakes_refused_total{reason="overload"}`] != 5 {
		t.Errorf("the metrics tell of something else: %v", m)
	}
	r.at(t, g, overload.Sample{}, overload.Calm)
	next := r.openRaw(t, "")
	next.connect("")
	if code := r.health(t); code != 200 {
		t.Errorf("calm again, and health answers %d", code)
	}
	logged := strings.Join(r.logs.since(0), "\n")
	for _, want := range []string{
		`msg="overload: the level rises" from=0 to=1 signal=lag value=600ms threshold=500ms now="new connections are refused with 503"`,
		`msg="overload: the level falls" from=1 to=0 now="everything is done again`,
	} {
		if strings.Count(logged, want) != 1 {
			t.Errorf("not logged once: %s", want)
		}
	}
}

func TestAfterAnOverloadATenthIsLetInAtFirst(t *testing.T) {
	r, g := burdened(t, func(c *config.Config) { c.Overload.SlowStart = time.Hour })
	r.at(t, g, overload.Sample{overload.Memory: 0.91}, overload.Refusing)
	r.at(t, g, overload.Sample{}, overload.Calm)
	in := 0
	for range 40 {
		switch _, res := r.knock(t, ""); res.StatusCode {
		case 101:
			in++
		case 503:
		default:
			t.Fatal(res.Status)
		}
	}
	if in < 3 || in > 5 {
		t.Errorf("%d of 40 are in, want 4", in)
	}
	if code := r.health(t); code != 200 {
		t.Errorf("health answers %d", code)
	}
}

// lowPriority has a namespace of low priority, and joins and leaves told in all others.
func lowPriority(c *config.Config) {
	low := plainChannels()
	low.Name, low.LowPriority = "low", true
	c.Channel.Namespaces = append(c.Channel.Namespaces, low)
	o := &c.Channel.WithoutNamespace
	o.JoinLeave, o.ForcePushJoinLeave, o.Presence, o.AllowPresenceForSubscriber, o.AllowPresenceForAnonymous = true, true, true, true, true
}

func TestAtLevelTwoWorkOfLowPriorityIsLeftUndone(t *testing.T) {
	r, g := burdened(t, lowPriority)
	member, other := r.openRaw(t, ""), r.openRaw(t, "")
	member.connect("")
	other.connect("")
	member.subscribe("room")
	member.subscribe("low:room")
	publish := func(name string) *channel.Error {
		_, e := r.p.node.Publish(t.Context(), name, &channel.Publication{Data: []byte(`"` + name + `"`)}, node.PublishOptions{})
		return e
	}
	r.at(t, g, overload.Sample{overload.GC: 0.4}, overload.Sparing)

	other.subscribe("room")
	if s := other.do(&proto.Command{PresenceStats: &proto.PresenceStatsRequest{Channel: "room"}}); s.PresenceStats == nil || s.PresenceStats.NumClients != 2 {
		t.Errorf("who is there is counted all the same: %v", s)
	}
	if s := other.do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: "low:other"}}); s.Error == nil || s.Error.Code != 111 || !s.Error.Temporary {
		t.Errorf("a subscribe to a channel of low priority: %v", s)
	}
	if s := member.do(&proto.Command{Publish: &proto.PublishRequest{Channel: "low:room", Data: []byte(`1`)}}); s.Error == nil || s.Error.Code != 111 {
		t.Errorf("a publish to a channel of low priority: %v", s)
	}
	if e := publish("low:room"); e == nil || e.Code != 111 {
		t.Errorf("the same by the API: %v", e)
	}
	if e := publish("room"); e != nil {
		t.Errorf("another channel: %v", e)
	}
	other.conn.Close()
	eventually(t, "two signals are omitted", func() bool { return r.metrics(t)["shoal_overload_signals_omitted_total"] == 2 })

	r.at(t, g, overload.Sample{}, overload.Calm)
	if e := publish("low:room"); e != nil {
		t.Error(e)
	}
	third := r.openRaw(t, "")
	third.connect("")
	third.subscribe("room")
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != "join" {
		switch p := member.replies(1)[0].Push; {
		case p == nil:
		case p.Join != nil:
			seen = append(seen, "join")
		case p.Leave != nil:
			seen = append(seen, "leave")
		case p.Pub != nil:
			seen = append(seen, string(p.Pub.Data))
		}
	}
	if got := strings.Join(seen, " "); got != `"room" "low:room" join` {
		t.Errorf("the member was told: %s", got)
	}
}

func TestAtLevelTwoBasicTenantsWaitForOthers(t *testing.T) {
	r, g := burdened(t, tenanted(tenant.Limits{Class: "basic"}))
	basic, standard := r.member(t, "acme"), r.member(t, "blue")
	r.at(t, g, overload.Sample{overload.Memory: 0.95}, overload.Sparing)
	if got := fmt.Sprint(basic.codes("acme:x")); got != "[111 111 111 111 111 0]" {
		t.Errorf("the basic tenant is answered %s", got)
	}
	if got := fmt.Sprint(standard.codes("blue:x")); got != "[0 0 0 0 0 0]" {
		t.Errorf("the other is answered %s", got)
	}
	r.at(t, g, overload.Sample{}, overload.Calm)
	if got := fmt.Sprint(basic.codes("acme:x")); got != "[0 0 0 0 0 0]" {
		t.Errorf("calm again, the basic tenant is answered %s", got)
	}
}

func TestAtLevelThreeTheExpensiveAreClosedAndThenTheIdle(t *testing.T) {
	r, g := burdened(t, patientClose, func(c *config.Config) {
		c.Loop.Loops = 1
		c.Client.QueueMaxSize = 64 << 20
		c.Overload.IdleAfter = time.Millisecond // one tick
	})
	readers := r.readers(t, 2, "flood")
	stuck := r.stalled(t, "", "flood")
	r.lockstep(t, "flood", numbered, readers, func() bool { return r.p.loops.Stats().BacklogBytes > 1<<20 })
	r.at(t, g, overload.Sample{overload.Lag: 3}, overload.Shedding)
	closed := func(why string) float64 { return r.metrics(t)[`shoal_overload_closed_total{reason="`+why+`"}`] }
	eventually(t, "all are closed", func() bool { return closed("idle") == 2 && closed("backlog") == 1 })
	if n := r.disconnected(3008); n != 1 {
		t.Errorf("%d were closed with 3008, want the one that did not read", n)
	}
	eventually(t, "the backlog is given back", func() bool { return r.p.loops.Stats().BacklogBytes < 256<<10 })
	for _, c := range readers {
		c.expectClosed(3013)
	}
	if _, code := stuck.inOrderUntilClosed(); code != 3008 {
		t.Errorf("the one that did not read was closed with %d", code)
	}
	r.at(t, g, overload.Sample{}, overload.Calm)
	r.readers(t, 1, "flood")
	if m := r.metrics(t); m[`shoal_overload_transitions_total{from="0",to="3",reason="lag"}`] != 1 || m[`shoal_overload_transitions_total{from="1",to="0",reason="recovered"}`] != 1 {
		t.Error("the transitions are not exported")
	}
}

func TestStockClientsComeBackAfterAnOverload(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r, g := burdened(t, func(c *config.Config) { c.Overload.IdleAfter, c.Overload.ClosePercent = time.Millisecond, 100 })
		c := dial(r.ws(), centrifuge.Config{MinReconnectDelay: 20 * time.Millisecond, MaxReconnectDelay: 200 * time.Millisecond})
		t.Cleanup(c.Close)
		connected, lost := make(chan struct{}, 8), make(chan uint32, 100)
		c.OnConnected(func(centrifuge.ConnectedEvent) { connected <- struct{}{} })
		c.OnConnecting(func(e centrifuge.ConnectingEvent) { lost <- e.Code })
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		wait(t, "connected", connected)
		wait(t, "connecting at first", lost)
		r.at(t, g, overload.Sample{overload.Memory: 0.99}, overload.Shedding)
		if code := wait(t, "closed", lost); code != 3013 {
			t.Errorf("closed with %d", code)
		}
		eventually(t, "it is refused", func() bool { return r.p.door.Refusals(statusNamed(t, "overload")) > 0 })
		g.set(overload.Sample{})
		wait(t, "connected again", connected)
	})
}

// hang is a message that keeps a loop busy.
type hang struct {
	until  <-chan struct{}
	sleeps time.Duration
}

func (h hang) Deliver(*loop.Loop) {
	if h.until != nil {
		<-h.until
	}
	time.Sleep(h.sleeps)
}

// What is measured is real here, and the thresholds are such that a little is much.
func TestEachSignalIsMeasured(t *testing.T) {
	for _, c := range []struct {
		signal overload.Signal
		level  overload.LevelOptions
		burden func(ctx context.Context, r *rig)
	}{
		{overload.Memory, overload.LevelOptions{Memory: 1}, func(ctx context.Context, _ *rig) {
			ballast := make([]byte, 16<<20)
			was := debug.SetMemoryLimit(256 << 20)
			runtime.GC()
			<-ctx.Done()
			debug.SetMemoryLimit(was)
			runtime.KeepAlive(ballast)
		}},
		{overload.GC, overload.LevelOptions{GC: 1}, func(ctx context.Context, _ *rig) {
			for ctx.Err() == nil {
				runtime.GC()
			}
		}},
		{overload.Lag, overload.LevelOptions{Lag: 20 * time.Millisecond}, func(ctx context.Context, r *rig) {
			for ctx.Err() == nil {
				_ = r.p.loops.Loop(0).Post(hang{sleeps: 50 * time.Millisecond})
				time.Sleep(60 * time.Millisecond)
			}
		}},
		{overload.Stall, overload.LevelOptions{Stall: 50 * time.Millisecond}, func(ctx context.Context, r *rig) {
			_ = r.p.loops.Loop(0).Post(hang{until: ctx.Done()})
			<-ctx.Done()
		}},
	} {
		t.Run(c.signal.String(), func(t *testing.T) {
			r := start(t, tuned(func(cfg *config.Config) {
				o := &cfg.Overload
				o.Enabled, o.Interval, o.RiseAfter, o.FallAfter = true, 100*time.Millisecond, 0, 0
				o.Level1, o.Level2, o.Level3 = c.level, overload.LevelOptions{}, overload.LevelOptions{}
			}))
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { defer close(ended); c.burden(ctx, r) }()
			defer func() { cancel(); <-ended }()
			rose := func() (n uint64) {
				r.p.overload.EachChange(func(tr overload.Transition, times uint64) {
					if tr.To == overload.Refusing && tr.Reason == c.signal {
						n = times
					}
				})
				return n
			}
			eventually(t, "the level rises", func() bool { return rose() > 0 })
		})
	}
}

func TestWithoutOverloadLevelsNothingIsMeasured(t *testing.T) {
	r := start(t, quick)
	if r.p.overload != nil || r.p.watch != nil {
		t.Error("there is something")
	}
	for name := range r.metrics(t) {
		if strings.HasPrefix(name, "shoal_overload") {
			t.Errorf("%s is exported", name)
		}
	}
	if code := r.health(t); code != 200 {
		t.Errorf("health answers %d", code)
	}
}

func TestTheCollectorFollowsTheHeapOnlyIfItIsAllowed(t *testing.T) {
	var mu sync.Mutex
	var set []int
	r := start(t, tuned(func(c *config.Config) { c.Overload.Interval = 100 * time.Millisecond }), func(o *Options) {
		o.SetGCPercent = func(percent int) {
			mu.Lock()
			defer mu.Unlock()
			set = append(set, percent)
		}
	})
	ballast := make([]byte, 300<<20) // without pointers: an eighth is enough, 64 MiB at most
	runtime.GC()
	eventually(t, "the percentage falls", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(set) > 0 && set[len(set)-1] <= 30
	})
	runtime.KeepAlive(ballast)
	if m := r.metrics(t); m["shoal_gc_percent"] <= 0 || m["shoal_memory_limit_bytes"] <= 0 {
		t.Errorf("percent %v, limit %v", m["shoal_gc_percent"], m["shoal_memory_limit_bytes"])
	}
}
