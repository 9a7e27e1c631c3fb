package crowd

import (
	"bytes"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine"
)

const grace = 400 * time.Millisecond

// graceFor is long where nothing is to be missing in the end: it is not waited for then.
func graceFor(want error) time.Duration {
	if want == nil {
		return patience / 2
	}
	return grace
}

// flow publishes about n publications and waits until they have arrived, or not.
func (e *Crowd) drained(t *testing.T, n int, want error) {
	t.Helper()
	if err := e.Publish(Publishing{Rate: 2000}); err != nil {
		t.Fatal(err)
	}
	until(t, e, "publications", published(n))
	do(t, e, want, e.Drain(graceFor(want)))
}

func TestEverybodyReceivesEachChannelOnceAndInOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{
		{"one channel", Config{Connections: 10}},
		{"some of many", Config{Connections: 20, Channels: 10, Subscriptions: 4, Posters: 3}},
		{"some of many, Protobuf, busy", Config{Connections: 20, Channels: 10, Subscriptions: 4, Encoding: proto.Protobuf, BusyPoll: true}},
		{"all of many, with positions", Config{Connections: 7, Channels: 30, Positions: true, PayloadBytes: 2000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := drive(t, serveFlawed(t, flaws{}), c.cfg)
			e.drained(t, 300, nil)
			count, census, status, _ := finish(t, e)
			if count.Refused+count.Ahead+count.Late+count.Duplicates+count.Altered+count.Misrouted+count.Others+census.Lost+status.Told != 0 ||
				count.Answered != count.Published || census.Ready != c.cfg.Connections {
				t.Errorf("%+v\n%+v\n%+v", count, census, status)
			}
			if each := max(c.cfg.Subscriptions, 1); c.cfg.Channels < 2 && count.Received != count.Published*c.cfg.Connections*each {
				t.Errorf("%d received of %d published", count.Received, count.Published)
			}
		})
	}
}

// third does something to the third publication that each member is sent.
func third(do func(m *member, p *proto.Publication) []*proto.Publication) flaws {
	return flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
		if m.got == 3 {
			return do(m, p)
		}
		return []*proto.Publication{p}
	}}
}

func TestFlawsOfAServerAreFoundAndNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		f     flaws
		cfg   Config
		want  error
		check func(engine.Counters, engine.Census, Status) bool
	}{
		{"loss that offsets show", third(func(*member, *proto.Publication) []*proto.Publication { return nil }), Config{}, nil,
			func(c engine.Counters, s engine.Census, t Status) bool {
				return t.Told == 4 && c.Ahead == 4 && s.Lost == 0
			}},
		{"silent loss", flaws{mute: true, deliver: third(func(*member, *proto.Publication) []*proto.Publication { return nil }).deliver}, Config{},
			engine.ErrGrace, func(c engine.Counters, s engine.Census, t Status) bool {
				return s.Lost == 4 && s.Short == 4 && t.Told == 0
			}},
		{"loss of the last ones", flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			if m.got > 40 {
				return nil
			}
			return []*proto.Publication{p}
		}}, Config{}, engine.ErrGrace, func(c engine.Counters, s engine.Census, t Status) bool {
			return s.Lost > 0 && s.Short == 4 && t.Told == 0
		}},
		{"duplication", third(func(_ *member, p *proto.Publication) []*proto.Publication { return []*proto.Publication{p, p} }), Config{}, nil,
			func(c engine.Counters, s engine.Census, _ Status) bool { return c.Duplicates == 4 && s.Lost == 0 }},
		{"alteration", third(func(_ *member, p *proto.Publication) []*proto.Publication {
			q := &proto.Publication{Data: bytes.Clone(p.Data), Offset: p.Offset}
			q.Data[80] ^= 1
			return []*proto.Publication{q}
		}), Config{}, nil, func(c engine.Counters, s engine.Census, _ Status) bool { return c.Altered == 4 && s.Lost == 0 }},
		{"reordering", flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			switch m.got {
			case 3:
				m.held = p
				return nil
			case 4:
				return []*proto.Publication{p, m.held}
			}
			return []*proto.Publication{p}
		}}, Config{}, nil, func(c engine.Counters, s engine.Census, _ Status) bool {
			return c.Late == 4 && c.Ahead == 4 && s.Lost == 0
		}},
		{"crosstalk", flaws{crosstalk: true}, Config{Channels: 4, Subscriptions: 1}, nil,
			func(c engine.Counters, s engine.Census, _ Status) bool { return c.Misrouted > 20 && s.Lost == 0 }},
		{"hanging up", third(func(m *member, p *proto.Publication) []*proto.Publication {
			m.end(3001)
			return nil
		}), Config{}, nil, func(c engine.Counters, s engine.Census, _ Status) bool {
			return c.Died == 4 && c.LostDead >= 4 && c.Causes["closed by the target: 3001 slow"] == 4
		}},
		{"an API that refuses", flaws{answer: `{"error":{"code":102,"message":"unknown channel"}}`}, Config{}, errors.New("unknown channel"),
			func(c engine.Counters, s engine.Census, _ Status) bool { return c.Refused > 0 && c.Answered == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Connections = 4
			e := drive(t, serveFlawed(t, c.f), c.cfg)
			if err := e.Publish(Publishing{Rate: 2000}); err != nil {
				t.Fatal(err)
			}
			until(t, e, "publications", func(s engine.Counters, _ Status) bool { return s.Answered >= 60 || s.Refused > 0 || s.Died == 4 })
			do(t, e, c.want, e.Drain(graceFor(c.want)))
			count, census, status, _ := finish(t, e)
			if !c.check(count, census, status) {
				t.Errorf("%+v\n%+v\n%+v", count, census, status)
			}
		})
	}
}

func TestAllComeBackFromAStormAndRecover(t *testing.T) {
	const n = 40
	later := map[int]bool{}
	lacks := func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
		if m.number%n == 5 && len(missed) > 1 { // one in the middle, or one in n
			missed = slices.Delete(slices.Clone(missed), 0, 1)
		}
		return missed, true
	}
	for _, c := range []struct {
		name  string
		f     flaws
		want  error
		check func(engine.Counters, engine.Census, Status) bool
	}{
		{"a faithful server", flaws{}, nil, func(c engine.Counters, s engine.Census, t Status) bool {
			return t.Back == n && t.Recovered == 2*n && t.RecoveredPublications > n && s.Lost+t.Told+t.Again+t.Unrecovered+c.Died+c.Duplicates == 0
		}},
		{"503 and Retry-After", flaws{greet: func(i int) (int, http.Header) {
			if i >= n && len(later) < 3 {
				later[i] = true
				return 503, http.Header{"Retry-After": {"2"}}
			}
			return 0, nil
		}}, nil, func(c engine.Counters, s engine.Census, t Status) bool {
			return t.Back == n && t.Again == 3 && c.Causes["the handshake was refused with HTTP status 503"] == 3 && s.Lost+t.Told+c.Died == 0
		}},
		{"a loss that recovery hides", flaws{mute: false, recovered: lacks}, nil, func(c engine.Counters, s engine.Census, t Status) bool {
			return t.Back == n && t.Unrecovered == 0 && t.Told+s.Lost > 0
		}},
		{"a loss at the end of recovery", flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
			if len(missed) > 0 {
				missed = missed[:len(missed)-1]
			}
			return missed, true
		}}, nil, func(c engine.Counters, s engine.Census, t Status) bool {
			return t.Back == n && s.Lost == 0 && t.Told >= n && t.Skipped == t.Told
		}},
		{"no recovery", flaws{recovered: func(*member, []*proto.Publication) ([]*proto.Publication, bool) { return nil, false }}, nil,
			func(c engine.Counters, s engine.Census, t Status) bool {
				return t.Back == n && t.Unrecovered == 2*n && t.Told > n && s.Lost == 0
			}},
		{"a repetition", flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
			return append(slices.Clone(missed), missed...), true
		}}, nil, func(c engine.Counters, s engine.Census, t Status) bool {
			return t.Back == n && c.Duplicates > n && s.Lost == 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := drive(t, serveFlawed(t, c.f), Config{Connections: n, Channels: 4, Subscriptions: 2, Positions: true})
			if err := e.Publish(Publishing{Rate: 100}); err != nil {
				t.Fatal(err)
			}
			until(t, e, "publications", published(10))
			do(t, e, nil, e.Storm(patience))
			made := e.Snapshot().Answered
			until(t, e, "publications after it", published(made+10))
			do(t, e, c.want, e.Drain(graceFor(c.want)))
			count, census, status, _ := finish(t, e)
			if !c.check(count, census, status) || status.Cut != n || count.Published > 0 && e.results.Return.TotalCount() != n {
				t.Errorf("%+v\n%+v\n%+v", count, census, status)
			}
			if own := e.results.Return.Max(); own > int64(5*time.Second) || e.results.Absent.Min() < int64(backoffMin) {
				t.Errorf("own time up to %d ns, away for %d ns at least", own, e.results.Absent.Min())
			}
		})
	}
}

func TestWhoIsSentAwayForGoodDoesNotComeBack(t *testing.T) {
	e := drive(t, serveFlawed(t, flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
		m.end(3504)
		return nil, false
	}}), Config{Connections: 5, Positions: true})
	if err := e.Publish(Publishing{Rate: 100}); err != nil {
		t.Fatal(err)
	}
	until(t, e, "publications", published(5))
	do(t, e, nil, e.Storm(time.Second))
	do(t, e, nil, e.Drain(grace))
	if count, _, status, _ := finish(t, e); count.Died != 5 || status.Back != 0 {
		t.Errorf("%+v\n%+v", count, status)
	}
}

func TestWhoDoesNotComeBackIsMissed(t *testing.T) {
	remote := serveFlawed(t, flaws{greet: func(n int) (int, http.Header) {
		if n >= 3 {
			return 500, nil
		}
		return 0, nil
	}})
	e := drive(t, remote, Config{Connections: 3, Positions: true})
	do(t, e, ErrAway, e.Storm(1500*time.Millisecond))
	if _, _, status, _ := finish(t, e); status.Back != 0 || status.Again < 3 {
		t.Errorf("%+v", status)
	}
}

// stuckOnly does something to a publication for the first k members, whose peers do not read, while on is set.
func stuckOnly(k, from, to int, do func(m *member, p *proto.Publication) []*proto.Publication) func(*member, *proto.Publication) []*proto.Publication {
	return func(m *member, p *proto.Publication) []*proto.Publication {
		if m.number < k && m.got >= from && m.got < to {
			return do(m, p)
		}
		return []*proto.Publication{p}
	}
}

// hidden drops a publication for the first k members, and hides it by giving those that follow the offsets before theirs.
func hidden(k, at int) func(*member, *proto.Publication) []*proto.Publication {
	return stuckOnly(k, at, 1<<30, func(m *member, p *proto.Publication) []*proto.Publication {
		if m.got == at {
			return nil
		}
		return []*proto.Publication{{Data: p.Data, Offset: p.Offset - 1}}
	})
}

func TestWhatBecomesOfThoseWhoDoNotRead(t *testing.T) {
	const n, stuck = 12, 4
	drop := func(*member, *proto.Publication) []*proto.Publication { return nil }
	end := func(m *member, _ *proto.Publication) []*proto.Publication {
		m.end(3008)
		return nil
	}
	begin := func(m *member, _ *proto.Publication) []*proto.Publication {
		m.unsubscribe()
		return nil
	}
	for _, c := range []struct {
		name  string
		f     flaws
		want  error
		check func(engine.Counters, engine.Census, Status, Outcome) bool
	}{
		{"everything is kept for them", flaws{}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Whole: stuck}) && s.Told == 0
		}},
		{"losses that offsets show", flaws{deliver: stuckOnly(stuck, 30, 33, drop)}, nil,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o == (Outcome{Missed: stuck}) && s.Told == 3*stuck && s.Skipped == 3*stuck
			}},
		{"losses on a channel without offsets", flaws{mute: true, deliver: stuckOnly(stuck, 30, 33, drop)}, nil,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o == (Outcome{Missed: stuck}) && s.Told == 0 && s.Unseen == 3*stuck
			}},
		{"losses of the last ones there", flaws{mute: true, deliver: stuckOnly(stuck, 30, 1<<30, drop)}, engine.ErrGrace,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o.Silent == 0 && o.Unseen > 30*stuck && s.Told+s.Unseen == 0
			}},
		{"silent losses", flaws{deliver: hidden(stuck, 30)}, engine.ErrGrace,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o == (Outcome{Silent: stuck}) && s.Told == 0
			}},
		{"a silent loss of the last ones", flaws{deliver: stuckOnly(stuck, 30, 1<<30, drop)}, engine.ErrGrace,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool { return o.Silent > 0 && s.Told == 0 }},
		{"ended, and back by recovery", flaws{deliver: stuckOnly(stuck, 30, 31, end)}, nil,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o == (Outcome{Ended: stuck}) && s.Recovered == stuck && s.Told == 0
			}},
		{"ended, and back without recovery", flaws{deliver: stuckOnly(stuck, 30, 31, end), recovered: func(*member, []*proto.Publication) ([]*proto.Publication, bool) {
			return nil, false
		}}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Ended: stuck}) && s.Unrecovered == stuck && s.Told > stuck
		}},
		{"ended, with no position to come back to", flaws{mute: true, deliver: stuckOnly(stuck, 30, 31, end)}, nil,
			func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
				return o == (Outcome{Ended: stuck}) && s.Gone == 0 && s.Anew == stuck && s.Told >= stuck
			}},
		{"gone without a word", flaws{deliver: stuckOnly(stuck, 30, 1<<30, drop), pinged: func(m *member) {
			m.s.mu.Lock()
			defer m.s.mu.Unlock()
			delete(m.s.members, m)
			m.ws.Close()
		}}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Ended: stuck}) && s.Recovered == stuck && s.Told == 0
		}},
		{"ended, and told to stay away", flaws{deliver: stuckOnly(stuck, 30, 31, func(m *member, _ *proto.Publication) []*proto.Publication {
			m.end(3504)
			return nil
		})}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Ended: stuck}) && s.Gone == stuck && s.LostGone >= stuck
		}},
		{"unsubscribed again before anything new came", flaws{deliver: stuckOnly(stuck, 30, 31, begin), after: func(m *member) {
			if m.number < stuck && m.got >= 30 && !m.twice {
				m.twice = true
				m.unsubscribe()
			}
		}}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Missed: stuck}) && s.Unsubscribed == 2*stuck && s.Recovered == 2*stuck && s.Told == 0
		}},
		{"unsubscribed for insufficient state", flaws{deliver: stuckOnly(stuck, 30, 31, begin)}, nil, func(_ engine.Counters, _ engine.Census, s Status, o Outcome) bool {
			return o == (Outcome{Missed: stuck}) && s.Unsubscribed == stuck && s.Recovered == stuck && s.Told == 0
		}},
		{"a healthy one loses", flaws{mute: true, deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			if m.number == n-1 && m.got == 30 {
				return nil
			}
			return []*proto.Publication{p}
		}}, engine.ErrGrace, func(_ engine.Counters, c engine.Census, _ Status, o Outcome) bool {
			return c.Lost == 1 && o.Silent == 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := drive(t, serveFlawed(t, c.f), Config{Connections: n, Stuck: stuck, Window: 1, Positions: true})
			if err := e.Publish(Publishing{Rate: 200}); err != nil {
				t.Fatal(err)
			}
			until(t, e, "publications", published(10))
			if err := e.Stall(); err != nil {
				t.Fatal(err)
			}
			got := e.Snapshot()
			until(t, e, "publications to those who read", published(got.Answered+50))
			if err := e.Rouse(); err != nil {
				t.Fatal(err)
			}
			until(t, e, "publications after it", published(got.Answered+60))
			do(t, e, c.want, e.Drain(graceFor(c.want)))
			count, census, status, outcome := finish(t, e)
			if !c.check(count, census, status, outcome) || status.Stalled != stuck || count.Late+count.Duplicates+count.Died != 0 {
				t.Errorf("%+v\n%+v\n%+v\n%+v", count, census, status, outcome)
			}
			if e.results.During.TotalCount() < 40*(n-stuck) {
				t.Errorf("%d receipts during the stall", e.results.During.TotalCount())
			}
		})
	}
}

func TestPublicationsCarryTheirKeyInTurn(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	e := drive(t, serveFlawed(t, flaws{tagged: func(key string) {
		mu.Lock()
		defer mu.Unlock()
		seen[key]++
	}}), Config{Connections: 2, Channels: 2, Keys: 3})
	e.drained(t, 60, nil)
	mu.Lock()
	defer mu.Unlock()
	if made := e.Snapshot().Published; len(seen) != 3 || seen["0"]+seen["1"]+seen["2"] != made || seen["1"] < made/3-2 {
		t.Errorf("%v of %d", seen, made)
	}
}

func TestLatencyIsToldByTheSecond(t *testing.T) {
	w := windows{now: newHistogram()}
	const second, ms = int64(time.Second), int64(time.Millisecond)
	for i := range int64(100) {
		w.record(5*second+i*ms, (i+1)*ms)
	}
	w.record(8*second, 7*ms)
	w.cut()
	if len(w.all) != 2 || w.all[0].From != 5*second || w.all[0].Count != 100 || w.all[0].P99/ms != 99 || w.all[1].From != 8*second || w.all[1].P50/ms != 7 {
		t.Errorf("%+v", w.all)
	}
}

func TestStopEndsWhatIsUnderWay(t *testing.T) {
	e := drive(t, serveFlawed(t, flaws{}), Config{Connections: 3, Positions: true})
	if err := e.Publish(Publishing{Rate: 100}); err != nil {
		t.Fatal(err)
	}
	until(t, e, "publications", published(3))
	if err := e.Storm(time.Hour); err != nil {
		t.Fatal(err)
	}
	do(t, e, nil, e.Stop())
	do(t, e, nil, e.Drain(patience))
}

func TestBackoffIsThatOfTheSDK(t *testing.T) {
	for _, c := range []struct {
		attempt int
		most    time.Duration
	}{{0, time.Second}, {1, 1500 * time.Millisecond}, {2, 2500 * time.Millisecond}, {5, 16500 * time.Millisecond}, {6, 20 * time.Second}, {31, 20 * time.Second}} {
		least, most := time.Hour, time.Duration(0)
		for r := range uint64(100_000) {
			d := backoff(c.attempt, r*0x9e3779b97f4a7c15)
			least, most = min(least, d), max(most, d)
		}
		if least < backoffMin || least > backoffMin+10*time.Millisecond || most > c.most || most < c.most-10*time.Millisecond {
			t.Errorf("attempt %d: %s to %s, want 500ms to %s", c.attempt, least, most, c.most)
		}
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	for head, want := range map[string]time.Duration{
		"HTTP/1.1 503 x\r\nRetry-After: 3\r\n\r\n":                              3 * time.Second,
		"HTTP/1.1 503 x\r\nretry-after:  120\r\n\r\n":                           2 * time.Minute,
		"HTTP/1.1 503 x\r\nRetry-After: 99999999\r\n\r\n":                       retryMax,
		"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n":  0,
		"HTTP/1.1 503 x\r\nX-Retry-After: 3\r\nContent-Length: 0\r\nA:\r\n\r\n": 0,
	} {
		if got := retryAfter([]byte(head)); got != want {
			t.Errorf("%q: %s, want %s", head, got, want)
		}
	}
}

func TestFinalCodesAreThoseOfTheSDK(t *testing.T) {
	for code, want := range map[ws.CloseCode]bool{0: false, 1000: false, 3008: false, 3499: false, 3500: true, 3999: true, 4000: false, 4499: false, 4500: true, 4999: true} {
		if terminal(code) != want {
			t.Errorf("%d: %t", code, !want)
		}
	}
}

func TestChannelsAreSharedOutEvenly(t *testing.T) {
	for _, c := range []struct{ peers, channels, each, min, max int }{
		{15_000, 1000, 1, 15, 15}, {1500, 20, 20, 1500, 1500}, {2000, 1000, 20, 40, 40}, {1500, 1000, 20, 20, 40}, {3, 7, 2, 0, 2}, {5, 1, 1, 5, 5},
	} {
		l := newLayout(c.channels, c.each)
		receivers := make([]int, c.channels)
		for i := range uint32(c.peers) {
			for j := range c.each {
				at := l.channel(i, j)
				receivers[at]++
				if l.find(i, at) != j {
					t.Fatalf("%+v: peer %d has channel %d at %d, found at %d", c, i, at, j, l.find(i, at))
				}
			}
			for at := range uint32(c.channels) {
				if j := l.find(i, at); c.channels < 50 && j >= 0 && l.channel(i, j) != at {
					t.Fatalf("%+v: peer %d is said to have channel %d", c, i, at)
				}
			}
		}
		if least, most := slices.Min(receivers), slices.Max(receivers); least < c.min || most > c.max {
			t.Errorf("%+v: %d to %d receivers", c, least, most)
		}
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.0.1:1")
	good := Config{Remote: at, API: engine.API{Remote: at}, Host: "h", Path: "/", Channel: "c", Connections: 3, Run: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"no server address": func(c *Config) { c.Remote = netip.AddrPort{} }, "address of the API": func(c *Config) { c.API.Remote = netip.AddrPort{} },
		"no channel": func(c *Config) { c.Channel = "" }, "0 connections": func(c *Config) { c.Connections = 0 },
		"3 subscriptions to 2": func(c *Config) { c.Channels, c.Subscriptions = 2, 3 }, "-1 channels": func(c *Config) { c.Channels = -1 },
		"4 of 3 connections stuck": func(c *Config) { c.Stuck = 4 }, "run number": func(c *Config) { c.Run = 0 },
		"payload of 5": func(c *Config) { c.PayloadBytes = 5 }, "source addresses": func(c *Config) { c.Sources = -1 },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
}
