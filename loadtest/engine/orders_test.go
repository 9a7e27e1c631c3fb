package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"shoal/codec/proto"
	"shoal/loop"
)

// spotless fails the test when something came wrong or not at all.
func spotless(t *testing.T, s Snapshot, c Census) {
	t.Helper()
	if c.Lost+c.Short+s.LostDead+s.Duplicates+s.Late+s.Altered+s.Misrouted+s.Refused+s.Told+s.Failed+s.Died != 0 {
		t.Errorf("%+v\n%+v", s, c)
	}
}

func TestEachGetsWhatIsPushedToItAlone(t *testing.T) {
	const n = 30
	for _, c := range []struct {
		name string
		cfg  Config
		flow Flow
	}{
		{"in turn", Config{}, Flow{To: Own, Rate: 5000, Count: 4 * n}},
		{"drawn, Protobuf, beside two of four shared channels", Config{Channels: 4, Subscriptions: 2, Encoding: proto.Protobuf}, Flow{To: Own, Rate: 5000, Count: 200, Random: true}},
		{"with positions, beside a shared channel", Config{Channels: 1, Positions: true, Keys: 2}, Flow{To: Own, Rate: 5000, Count: 2 * n}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Connections, c.cfg.Own, c.cfg.First, c.cfg.All = n, true, 100, 1000
			e := meet(t, serveFlawed(t, flaws{}), c.cfg)
			tell(t, e, Order{Flow: &c.flow})
			until(t, e, "all of them", published(c.flow.Count))
			if c.cfg.Channels > 0 {
				tell(t, e, Order{Flow: &Flow{Rate: 2000, Count: 50}})
				until(t, e, "the shared ones", published(c.flow.Count+50))
			}
			do(t, e, nil, Order{Drain: &Drain{}})
			s, census, res := finish(t, e)
			spotless(t, s, census)
			if s.Published-c.flow.Count != min(c.cfg.Channels, 1)*50 || s.Received < c.flow.Count || c.cfg.Channels < 2 && s.Received != c.flow.Count+min(c.cfg.Channels, 1)*50*n {
				t.Errorf("%+v", s.Counters)
			}
			if res.Latency.TotalCount() != int64(s.Received) || len(res.Own) != 0 || !c.flow.Random && c.cfg.Channels == 0 && census.GotMin != 4 {
				t.Errorf("%d latencies, %d listed, %+v", res.Latency.TotalCount(), len(res.Own), census)
			}
		})
	}
}

func TestPushesThatGoAstrayAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		f     flaws
		check func(Snapshot, Census) bool
	}{
		"to another": {flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			q := &proto.Publication{Data: bytes.Clone(p.Data), Offset: p.Offset}
			if i := bytes.Index(q.Data, []byte("00000abc")); m.number == 1 {
				q.Data[i+15] = 'f' // the connection it is meant for
			}
			return []*proto.Publication{q}
		}}, func(s Snapshot, c Census) bool { return s.Misrouted == 5 && c.Lost == 5 && c.Short == 1 }},
		"the last lost": {flaws{mute: true, deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			if m.got == 5 {
				return nil
			}
			return []*proto.Publication{p}
		}}, func(s Snapshot, c Census) bool { return c.Lost == 4 && c.Short == 4 }},
	} {
		e := meet(t, serveFlawed(t, c.f), Config{Connections: 4, Own: true})
		tell(t, e, Order{Flow: &Flow{To: Own, Rate: 2000, Count: 20}})
		until(t, e, "all of them", published(20))
		do(t, e, ErrGrace, Order{Drain: &Drain{Grace: grace}})
		if s, census, _ := finish(t, e); !c.check(s, census) {
			t.Errorf("%s: %+v\n%+v", name, s, census)
		}
	}
}

func TestCallsAreAnsweredByTheirData(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		echo Echo
	}{
		{"closed loop", Config{}, Echo{Duration: 50 * time.Millisecond}},
		{"some at a rate, Protobuf", Config{Encoding: proto.Protobuf, Channels: 2}, Echo{Duration: 100 * time.Millisecond, Rate: 1000, Active: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			methods := map[string]int{}
			c.cfg.Connections, c.echo.Via, c.echo.Method = 10, ViaRPC, "echo"
			e := meet(t, serveFlawed(t, flaws{call: func(_ *member, r *proto.RPCRequest) ([]byte, *proto.Error) {
				mu.Lock()
				defer mu.Unlock()
				methods[strings.Clone(r.Method)]++
				return r.Data, nil
			}}), c.cfg)
			do(t, e, nil, Order{Echo: &c.echo})
			s, census, _ := finish(t, e)
			spotless(t, s, census)
			mu.Lock()
			defer mu.Unlock()
			if s.Sent < 10 || s.Received != s.Sent || s.Answered != s.Sent || methods["echo"] != s.Sent || len(methods) != 1 {
				t.Errorf("%+v, %v", s.Counters, methods)
			}
			if c.echo.Active > 0 && census.GotMin != 0 {
				t.Errorf("all of them called: %+v", census)
			}
		})
	}
}

func TestCallsThatAreAnsweredWrongAreFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		call  func(n int, data []byte) ([]byte, *proto.Error)
		want  error
		check func(Snapshot, Census) bool
	}{
		{"by an error", func(int, []byte) ([]byte, *proto.Error) {
			return nil, &proto.Error{Code: 104, Message: "method not found"}
		}, errors.New("rpc was answered by error 104"), func(s Snapshot, c Census) bool { return s.Refused > 0 && s.Received == 0 && c.Lost == 0 }},
		{"one by an error", func(n int, data []byte) ([]byte, *proto.Error) {
			if n == 5 {
				return nil, &proto.Error{Code: 111}
			}
			return data, nil
		}, nil, func(s Snapshot, c Census) bool { return s.Refused == 1 && s.Received == s.Sent-1 && c.Lost == 0 }},
		{"by something else", func(n int, data []byte) ([]byte, *proto.Error) {
			if n == 5 {
				return []byte(`{}`), nil
			}
			return data, nil
		}, ErrGrace, func(s Snapshot, c Census) bool { return s.Others == 1 && c.Lost == 1 }},
		{"altered", func(n int, data []byte) ([]byte, *proto.Error) {
			if n == 5 {
				data = bytes.Clone(data)
				data[60] ^= 1
			}
			return data, nil
		}, nil, func(s Snapshot, c Census) bool { return s.Altered == 1 && c.Lost == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0 // under the server's lock
			e := meet(t, serveFlawed(t, flaws{call: func(_ *member, r *proto.RPCRequest) ([]byte, *proto.Error) {
				n++
				return c.call(n, r.Data)
			}}), Config{Connections: 2})
			do(t, e, c.want, Order{Echo: &Echo{Via: ViaRPC, Rate: 500, Duration: 100 * time.Millisecond, Grace: graceFor(c.want)}})
			if s, census, _ := finish(t, e); !c.check(s, census) {
				t.Errorf("%+v\n%+v", s, census)
			}
		})
	}
}

func TestWhoLeavesIsReplacedAndTheNextOneGetsEverything(t *testing.T) {
	const n = 20
	for _, c := range []struct {
		name string
		cfg  Config
		flow *Flow
	}{
		{"in quiet", Config{}, nil},
		{"while publications go on", Config{Channels: 3, Subscriptions: 2}, &Flow{Rate: 1000}},
		{"while each is pushed to, with positions", Config{Own: true, Positions: true}, &Flow{To: Own, Rate: 1000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Connections = n
			e := meet(t, serveFlawed(t, flaws{}), c.cfg)
			if c.flow != nil {
				tell(t, e, Order{Flow: c.flow})
			}
			do(t, e, nil, Order{Churn: &Churn{Rate: 200, Duration: 300 * time.Millisecond}})
			left := e.Snapshot().Left
			tell(t, e, Order{Flow: &Flow{Rate: 1000, Count: 30, To: map[bool]string{true: Own}[c.cfg.Own]}})
			until(t, e, "some more", published(e.Snapshot().Published+30))
			do(t, e, nil, Order{Drain: &Drain{}})
			s, census, res := finish(t, e)
			spotless(t, s, census)
			if left < 2 || s.Left != left || s.Replaced != left || res.Replace.TotalCount() != int64(left) || s.Dialed != n || census.Ready != n || s.Again != 0 {
				t.Errorf("%d left, %+v", left, s)
			}
			if c.flow == nil && (s.Parted != 0 || s.Received != 30*n) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestALossAmongThoseWhoComeAndGoIsFound(t *testing.T) {
	e := meet(t, serveFlawed(t, flaws{mute: true, deliver: func(m *member, p *proto.Publication) []*proto.Publication {
		if m.number >= 10 && m.got == 2 { // of who came in the place of another
			return nil
		}
		return []*proto.Publication{p}
	}}), Config{Connections: 10})
	tell(t, e, Order{Flow: &Flow{Rate: 500}})
	do(t, e, nil, Order{Churn: &Churn{Rate: 50, Duration: 100 * time.Millisecond}})
	until(t, e, "some more", published(e.Snapshot().Answered+60))
	do(t, e, ErrGrace, Order{Drain: &Drain{Grace: grace}})
	if s, census, _ := finish(t, e); census.Lost != s.Replaced || census.Short != s.Replaced || s.Replaced == 0 {
		t.Errorf("%+v\n%+v", s, census)
	}
}

func TestWhoCannotBeReplacedIsMissed(t *testing.T) {
	e := meet(t, serveFlawed(t, flaws{greet: func(n int) (int, http.Header) {
		if n >= 5 {
			return 500, nil
		}
		return 0, nil
	}}), Config{Connections: 5})
	do(t, e, ErrAway, Order{Churn: &Churn{Rate: 100, Duration: 30 * time.Millisecond, Grace: 300 * time.Millisecond}})
	if s, _, _ := finish(t, e); s.Replaced != 0 || s.Again < s.Left || s.Left == 0 || s.Died+s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAShareIsKeptAwayAndRecovers(t *testing.T) {
	const n = 40
	e := meet(t, serveFlawed(t, flaws{}), Config{Connections: n, Channels: 2, Own: true, Positions: true})
	tell(t, e, Order{Flow: &Flow{Rate: 100}})
	until(t, e, "publications", published(10))
	do(t, e, nil, Order{Storm: &Storm{Share: 0.25, Away: time.Second, Grace: patience}})
	do(t, e, nil, Order{Drain: &Drain{}})
	s, census, res := finish(t, e)
	spotless(t, s, census)
	if s.Cut != n/4 || s.Back != n/4 || s.Recovered != 3*n/4 || s.RecoveredPublications < 100*n/4 || s.Unrecovered+s.Anew != 0 {
		t.Errorf("%+v", s)
	}
	if res.Absent.Min() < int64(1500*time.Millisecond)*99/100 || res.Return.Max() > int64(5*time.Second) {
		t.Errorf("away for %d ns at least, own time up to %d ns", res.Absent.Min(), res.Return.Max())
	}
}

func TestConnectionsAreBegunAtTheirTime(t *testing.T) {
	e := drive(t, Config{Remote: evilServer(t, faithful), BareEcho: true, Connections: 300})
	began := time.Now()
	do(t, e, nil, Order{Connect: &Connect{Rate: 200, To: 1000, Over: 400 * time.Millisecond, Jitter: 1}})
	// 240 in the ramp, and 60 at 1,000 a second.
	if took := time.Since(began); took < 440*time.Millisecond {
		t.Errorf("300 connections were begun in %s", took)
	}
	if s := e.Snapshot(); s.Ready != 300 {
		t.Errorf("%+v", s.Counters)
	}
}

func TestEachComesWithATokenOfItsOwn(t *testing.T) {
	var mu sync.Mutex
	subjects := map[string]int{}
	e := meet(t, serveFlawed(t, flaws{connected: func(token string) {
		claims := jwt.RegisteredClaims{}
		if _, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte("secret"), nil }); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		subjects[claims.Subject]++
	}}), Config{Connections: 10, Secret: "secret", First: 5, All: 100})
	do(t, e, nil, Order{Drain: &Drain{}})
	mu.Lock()
	defer mu.Unlock()
	if len(subjects) != 10 || subjects["user-5"] != 1 || subjects["user-14"] != 1 {
		t.Errorf("%v", subjects)
	}
}

// Two members against one server: what both say, added up, is what one would say.
func TestMembersShareATest(t *testing.T) {
	remote := serveFlawed(t, flaws{})
	cfg := Config{All: 50, Of: 2, Channels: 3, Own: true, Positions: true}
	a, b := cfg, cfg
	a.Connections, b.Connections, b.First, b.Index = 20, 30, 20, 1
	members := []*Engine{meet(t, remote, a), meet(t, remote, b)}
	all := func(o Order) {
		t.Helper()
		for _, e := range members {
			tell(t, e, o)
		}
		for _, e := range members {
			if err := await(t, e); o.Task() && err != nil {
				t.Error(err)
			}
		}
	}
	flow := func(f Flow) {
		t.Helper()
		before := members[0].Snapshot().Answered + members[1].Snapshot().Answered
		for _, e := range members {
			tell(t, e, Order{Flow: &f})
		}
		for _, e := range members {
			until(t, e, "all of them", func(Snapshot) bool {
				return members[0].Snapshot().Answered+members[1].Snapshot().Answered == before+f.Count
			})
		}
	}
	drain := func() {
		t.Helper()
		published := make([]uint32, 3)
		for _, e := range members {
			p, err := e.Published()
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range p {
				published[i] += n
			}
		}
		all(Order{Drain: &Drain{Published: published}})
	}
	sum := func() (s Snapshot, c Census, r Results) {
		t.Helper()
		for _, e := range members {
			ms, mc, mr := finish(t, e)
			s.Add(ms)
			c.Add(mc)
			r.Add(mr)
		}
		spotless(t, s, c)
		return s, c, r
	}
	drain()
	flow(Flow{Rate: 2000, Count: 101})
	drain()
	if s, _, r := sum(); s.Published != 101 || s.Received != 101*50 || len(r.Own) != 0 {
		t.Errorf("after a flow: %+v, %d listed", s, len(r.Own))
	}
	all(Order{Fanout: &Fanout{Count: 7, ByAPI: true}})
	drain()
	s, _, r := sum()
	if s.Published != 108 || s.Received != 108*50 || len(r.Own) != 7 {
		t.Errorf("after a fan-out: %+v, %d listed", s, len(r.Own))
	}
	for i, p := range r.Own {
		if p.Sequence != 102+i || p.Receipts != 50 || p.Due == 0 || p.First < p.Due || p.Last < p.First || p.Answered == 0 {
			t.Errorf("publication %+v", p)
		}
	}
	flow(Flow{To: Own, Rate: 2000, Count: 200})
	drain()
	if s, c, _ := sum(); s.Received != 108*50+200 || c.GotMin < 108+3 {
		t.Errorf("after pushes: %+v, %+v", s, c)
	}
	all(Order{Echo: &Echo{Via: ViaPublish, Active: 20, Rate: 400, Duration: 200 * time.Millisecond}})
	all(Order{Storm: &Storm{Share: 0.5, Grace: patience}})
	all(Order{Churn: &Churn{Rate: 100, Duration: 100 * time.Millisecond}})
	drain()
	if s, c, r := sum(); s.Cut != 25 || s.Back != 25 || s.Left < 2 || s.Replaced != s.Left || s.Sent < 2 || c.Ready != 50 || s.Members != 2 || r.Receivers[1] != 50 {
		t.Errorf("in the end: %+v, %+v", s, c)
	}
}

func TestTheNextBurstWaitsForTheOneBefore(t *testing.T) {
	for _, byAPI := range []bool{true, false} {
		e := meet(t, serveFlawed(t, flaws{}), Config{Connections: 10, Channels: 2})
		do(t, e, nil, Order{Fanout: &Fanout{Count: 20, Burst: 4, ByAPI: byAPI}})
		s, census, res := finish(t, e)
		spotless(t, s, census)
		if len(res.Own) != 20 || s.Received != 200 || s.Answered != 20 {
			t.Fatalf("by API %t: %d listed, %+v", byAPI, len(res.Own), s)
		}
		for i, p := range res.Own[:16] {
			if next := res.Own[i/4*4+4]; p.Last > next.Due || p.Answered > next.Due || p.Due != res.Own[i/4*4].Due || p.Sequence != i+1 {
				t.Errorf("by API %t: publication %+v, the next burst %+v", byAPI, p, next)
			}
		}
	}
}

func TestPartsOfMembersAddUp(t *testing.T) {
	for all := 1; all < 60; all++ {
		for of := 1; of <= min(all, 7); of++ {
			for n := range all + 3 {
				sum, first := 0, 0
				for i := range of {
					c := Config{First: first, Connections: all*(i+1)/of - first, All: all}
					part := c.share(n)
					if part < 0 || part > c.Connections {
						t.Fatalf("%d of %d connections, %d in all: %d have a part", n, c.Connections, all, part)
					}
					sum += part
					first += c.Connections
				}
				if sum != min(n, all) {
					t.Fatalf("the parts of %d members of %d of %d add up to %d", of, n, all, sum)
				}
			}
		}
	}
}

func TestOrdersSurviveJSON(t *testing.T) {
	for _, o := range []Order{
		{Connect: &Connect{Rate: 1, To: 2, Over: time.Second, Jitter: 0.5, Window: 3}}, {Flow: &Flow{To: Own, Rate: 1, Random: true, Count: 4}},
		{Fanout: &Fanout{Count: 1, Burst: 2, Rate: 3, ByAPI: true, Grace: 4}}, {Echo: &Echo{Via: ViaRPC, Method: "m", Duration: 1, Active: 2, Rate: 3, Grace: 4}},
		{Stall: &struct{}{}}, {Rouse: &struct{}{}}, {Storm: &Storm{Share: 0.5, Away: 1, Grace: 2}}, {Churn: &Churn{Rate: 1, Duration: 2, Grace: 3}},
		{Drain: &Drain{Grace: 1, Published: []uint32{1, 2}}},
	} {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back Order
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(o, back) || back.Validate() != nil {
			t.Errorf("%s is read as %+v: %v, %v", text, back, err, back.Validate())
		}
		if want := o.Flow == nil && o.Stall == nil && o.Rouse == nil; o.Task() != want {
			t.Errorf("%s is a task: %t", text, o.Task())
		}
	}
	cfg := Config{Remote: netip.MustParseAddrPort("127.0.0.1:9"), Tokens: map[string]string{"a": "b"}, Connections: 3, Encoding: proto.Protobuf, ClockOffset: 5}
	text, err := json.Marshal(cfg)
	var back Config
	if err := errors.Join(err, json.Unmarshal(text, &back)); err != nil || !reflect.DeepEqual(cfg, back) {
		t.Errorf("%s is read as %+v: %v", text, back, err)
	}
}

func TestOrdersThatCannotBeAreRefused(t *testing.T) {
	bare := drive(t, Config{Remote: evilServer(t, faithful), BareEcho: true, Connections: 1})
	room := meet(t, serveFlawed(t, flaws{}), Config{Connections: 1, Channels: 2})
	own := meet(t, serveFlawed(t, flaws{}), Config{Connections: 1, Own: true})
	for _, c := range []struct {
		e    *Engine
		o    Order
		want string
	}{
		{bare, Order{}, "0 things"}, {bare, Order{Stall: &struct{}{}, Rouse: &struct{}{}}, "2 things"},
		{bare, Order{Connect: &Connect{Rate: -1}}, "below zero"}, {bare, Order{Connect: &Connect{To: 5, Over: 1}}, "a ramp needs"},
		{bare, Order{Connect: &Connect{Rate: 1, To: 5}}, "a ramp needs"}, {bare, Order{Connect: &Connect{Rate: 1, Jitter: 2}}, "jitter of 2"}, {bare, Order{Connect: &Connect{Jitter: 1}}, "without a rate"},
		{room, Order{Flow: &Flow{}}, "above 0"}, {room, Order{Flow: &Flow{Rate: 1, To: "all"}}, `to "all"`}, {room, Order{Flow: &Flow{Rate: 1, To: Own}}, "have none"},
		{own, Order{Flow: &Flow{Rate: 1}}, "there are none"}, {bare, Order{Flow: &Flow{Rate: 1}}, "address of the API"}, {bare, Order{Fanout: &Fanout{Count: 1}}, "there are none"},
		{room, Order{Fanout: &Fanout{}}, "0 publications"}, {room, Order{Echo: &Echo{Via: ViaRPC}}, "needs a duration"}, {room, Order{Echo: &Echo{Via: "x", Duration: 1}}, `by "x"`},
		{room, Order{Echo: &Echo{Via: ViaPublish, Duration: 1}}, "of their own"}, {room, Order{Echo: &Echo{Via: ViaBare, Duration: 1}}, "by bare"}, {bare, Order{Echo: &Echo{Via: ViaRPC, Duration: 1}}, "by rpc"},
		{room, Order{Storm: &Storm{Share: 2}}, "over 2"}, {room, Order{Churn: &Churn{Rate: 1}}, "a duration"}, {room, Order{Drain: &Drain{Published: []uint32{1}}}, "there are 2"},
		{room, Order{Drain: &Drain{Grace: -1}}, "below zero"},
	} {
		if err := c.e.Order(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want …%s…", c.o, err, c.want)
		}
	}
	tell(t, own, Order{Flow: &Flow{To: Own, Rate: 1}})
	if err := own.Order(Order{Echo: &Echo{Via: ViaPublish, Duration: 1}}); !errors.Is(err, errBoth) {
		t.Errorf("an echo beside a flow to the same channels: %v", err)
	}
}

func TestWhoAsksAfterTheEndIsAnswered(t *testing.T) {
	e, err := New(Config{Remote: evilServer(t, faithful), Host: "h", Path: "/", BareEcho: true, Connections: 1, Run: testRun})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- e.Run() }()
	tell(t, e, Order{Connect: &Connect{}})
	if err := errors.Join(await(t, e), e.Close(t.Context()), <-ended); err != nil {
		t.Fatal(err)
	}
	if r, err := e.Results(); err != nil || r.Setup.TotalCount() != 1 {
		t.Errorf("%d were set up, %v", r.Setup.TotalCount(), err)
	}
	if _, err := e.Census(); !errors.Is(err, loop.ErrClosed) {
		t.Errorf("a census of nobody: %v", err)
	}
	if err := e.Order(Order{Connect: &Connect{}}); !errors.Is(err, loop.ErrClosed) {
		t.Errorf("an order to nobody: %v", err)
	}
}
