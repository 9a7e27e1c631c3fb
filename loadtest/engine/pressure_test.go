package engine

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine/tally"
)

const grace = 400 * time.Millisecond

// graceFor is long where nothing is to be missing in the end: it is not waited for then.
func graceFor(want error) time.Duration {
	if want == nil {
		return patience / 2
	}
	return grace
}

// drained publishes about n publications and waits until they have arrived, or not.
func drained(t *testing.T, e *Engine, n int, want error) {
	t.Helper()
	tell(t, e, Order{Flow: &Flow{Rate: 2000}})
	until(t, e, "publications", published(n))
	do(t, e, want, Order{Drain: &Drain{Grace: graceFor(want)}})
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
			e := meet(t, serveFlawed(t, flaws{}), c.cfg)
			drained(t, e, 300, nil)
			count, census, _ := finish(t, e)
			status := count.Status
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
		check func(Counters, Census, Status) bool
	}{
		{"loss that offsets show", third(func(*member, *proto.Publication) []*proto.Publication { return nil }), Config{}, nil,
			func(c Counters, s Census, t Status) bool {
				return t.Told == 4 && c.Ahead == 4 && s.Lost == 0
			}},
		{"silent loss", flaws{mute: true, deliver: third(func(*member, *proto.Publication) []*proto.Publication { return nil }).deliver}, Config{},
			ErrGrace, func(c Counters, s Census, t Status) bool {
				return s.Lost == 4 && s.Short == 4 && t.Told == 0
			}},
		{"loss of the last ones", flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			if m.got > 40 {
				return nil
			}
			return []*proto.Publication{p}
		}}, Config{}, ErrGrace, func(c Counters, s Census, t Status) bool {
			return s.Lost > 0 && s.Short == 4 && t.Told == 0
		}},
		{"duplication", third(func(_ *member, p *proto.Publication) []*proto.Publication { return []*proto.Publication{p, p} }), Config{}, nil,
			func(c Counters, s Census, _ Status) bool { return c.Duplicates == 4 && s.Lost == 0 }},
		{"alteration", third(func(_ *member, p *proto.Publication) []*proto.Publication {
			q := &proto.Publication{Data: bytes.Clone(p.Data), Offset: p.Offset}
			q.Data[80] ^= 1
			return []*proto.Publication{q}
		}), Config{}, nil, func(c Counters, s Census, _ Status) bool { return c.Altered == 4 && s.Lost == 0 }},
		{"reordering", flaws{deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			switch m.got {
			case 3:
				m.held = p
				return nil
			case 4:
				return []*proto.Publication{p, m.held}
			}
			return []*proto.Publication{p}
		}}, Config{}, nil, func(c Counters, s Census, _ Status) bool {
			return c.Late == 4 && c.Ahead == 4 && s.Lost == 0
		}},
		{"crosstalk", flaws{crosstalk: true}, Config{Channels: 4, Subscriptions: 1}, nil,
			func(c Counters, s Census, _ Status) bool { return c.Misrouted > 20 && s.Lost == 0 }},
		{"hanging up", third(func(m *member, p *proto.Publication) []*proto.Publication {
			m.end(3001)
			return nil
		}), Config{}, nil, func(c Counters, s Census, _ Status) bool {
			return c.Died == 4 && c.LostDead >= 4 && c.Causes["closed by the target: 3001 slow"] == 4
		}},
		{"an API that refuses", flaws{answer: `{"error":{"code":102,"message":"unknown channel"}}`}, Config{}, errors.New("unknown channel"),
			func(c Counters, s Census, _ Status) bool { return c.Refused > 0 && c.Answered == 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Connections = 4
			e := meet(t, serveFlawed(t, c.f), c.cfg)
			tell(t, e, Order{Flow: &Flow{Rate: 2000}})
			until(t, e, "publications", func(s Snapshot) bool { return s.Answered >= 60 || s.Refused > 0 || s.Died == 4 })
			do(t, e, c.want, Order{Drain: &Drain{Grace: graceFor(c.want)}})
			count, census, _ := finish(t, e)
			status := count.Status
			if !c.check(count.Counters, census, status) {
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
		check func(Counters, Census, Status) bool
	}{
		{"a faithful server", flaws{}, nil, func(c Counters, s Census, t Status) bool {
			return t.Back == n && t.Recovered == 2*n && t.RecoveredPublications > n && s.Lost+t.Told+t.Again+t.Unrecovered+c.Died+c.Duplicates == 0
		}},
		{"503 and Retry-After", flaws{greet: func(i int) (int, http.Header) {
			if i >= n && len(later) < 3 {
				later[i] = true
				return 503, http.Header{"Retry-After": {"2"}}
			}
			return 0, nil
		}}, nil, func(c Counters, s Census, t Status) bool {
			return t.Back == n && t.Again == 3 && c.Causes["the handshake was refused with HTTP status 503"] == 3 && s.Lost+t.Told+c.Died == 0
		}},
		{"a loss that recovery hides", flaws{mute: false, recovered: lacks}, nil, func(c Counters, s Census, t Status) bool {
			return t.Back == n && t.Unrecovered == 0 && t.Told+s.Lost > 0
		}},
		{"a loss at the end of recovery", flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
			if len(missed) > 0 {
				missed = missed[:len(missed)-1]
			}
			return missed, true
		}}, nil, func(c Counters, s Census, t Status) bool {
			return t.Back == n && s.Lost == 0 && t.Told >= n && t.Skipped == t.Told
		}},
		{"no recovery", flaws{recovered: func(*member, []*proto.Publication) ([]*proto.Publication, bool) { return nil, false }}, nil,
			func(c Counters, s Census, t Status) bool {
				return t.Back == n && t.Unrecovered == 2*n && t.Told > n && s.Lost == 0
			}},
		{"a repetition", flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
			return append(slices.Clone(missed), missed...), true
		}}, nil, func(c Counters, s Census, t Status) bool {
			return t.Back == n && c.Duplicates > n && s.Lost == 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := meet(t, serveFlawed(t, c.f), Config{Connections: n, Channels: 4, Subscriptions: 2, Positions: true})
			tell(t, e, Order{Flow: &Flow{Rate: 100}})
			until(t, e, "publications", published(10))
			do(t, e, nil, Order{Storm: &Storm{Grace: patience}})
			made := e.Snapshot().Answered
			until(t, e, "publications after it", published(made+10))
			do(t, e, c.want, Order{Drain: &Drain{Grace: graceFor(c.want)}})
			count, census, res := finish(t, e)
			status := count.Status
			if !c.check(count.Counters, census, status) || status.Cut != n || count.Published > 0 && res.Return.TotalCount() != n {
				t.Errorf("%+v\n%+v\n%+v", count, census, status)
			}
			if own := res.Return.Max(); own > int64(5*time.Second) || res.Absent.Min() < int64(500*time.Millisecond) {
				t.Errorf("own time up to %d ns, away for %d ns at least", own, res.Absent.Min())
			}
		})
	}
}

func TestWhoIsSentAwayForGoodDoesNotComeBack(t *testing.T) {
	e := meet(t, serveFlawed(t, flaws{recovered: func(m *member, missed []*proto.Publication) ([]*proto.Publication, bool) {
		m.end(3504)
		return nil, false
	}}), Config{Connections: 5, Positions: true})
	tell(t, e, Order{Flow: &Flow{Rate: 100}})
	until(t, e, "publications", published(5))
	do(t, e, nil, Order{Storm: &Storm{Grace: time.Second}})
	do(t, e, nil, Order{Drain: &Drain{Grace: grace}})
	if count, _, _ := finish(t, e); count.Died != 5 || count.Back != 0 {
		t.Errorf("%+v", count)
	}
}

func TestWhoDoesNotComeBackIsMissed(t *testing.T) {
	remote := serveFlawed(t, flaws{greet: func(n int) (int, http.Header) {
		if n >= 3 {
			return 500, nil
		}
		return 0, nil
	}})
	e := meet(t, remote, Config{Connections: 3, Positions: true})
	do(t, e, ErrAway, Order{Storm: &Storm{Grace: 1500 * time.Millisecond}})
	if status, _, _ := finish(t, e); status.Back != 0 || status.Again < 3 {
		t.Errorf("%+v", status)
	}
}

// stuckOnly does something to the publications with these numbers, from 1 since the stall began, for the first k members, whose peers do
// not read.
func stuckOnly(k, from, to int, do func(m *member, p *proto.Publication) []*proto.Publication) func(*member, *proto.Publication) []*proto.Publication {
	return func(m *member, p *proto.Publication) []*proto.Publication {
		if n := m.sinceStall(); m.number < k && n >= from && n < to {
			return do(m, p)
		}
		return []*proto.Publication{p}
	}
}

// hidden drops a publication for the first k members, and hides it by giving those that follow the offsets before theirs.
func hidden(k, at int) func(*member, *proto.Publication) []*proto.Publication {
	return stuckOnly(k, at, 1<<30, func(m *member, p *proto.Publication) []*proto.Publication {
		if m.sinceStall() == at {
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
		check func(Counters, Census, Status, tally.Outcome) bool
	}{
		{"everything is kept for them", flaws{}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Whole: stuck}) && s.Told == 0
		}},
		{"losses that offsets show", flaws{deliver: stuckOnly(stuck, 30, 33, drop)}, nil,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o == (tally.Outcome{Missed: stuck}) && s.Told == 3*stuck && s.Skipped == 3*stuck
			}},
		{"losses on a channel without offsets", flaws{mute: true, deliver: stuckOnly(stuck, 30, 33, drop)}, nil,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o == (tally.Outcome{Missed: stuck}) && s.Told == 0 && s.Unseen == 3*stuck
			}},
		{"losses of the last ones there", flaws{mute: true, deliver: stuckOnly(stuck, 30, 1<<30, drop)}, ErrGrace,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o.Silent == 0 && o.Unseen > 20*stuck && s.Told+s.Unseen == 0
			}},
		{"silent losses", flaws{deliver: hidden(stuck, 30)}, ErrGrace,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o == (tally.Outcome{Silent: stuck}) && s.Told == 0
			}},
		{"a silent loss of the last ones", flaws{deliver: stuckOnly(stuck, 30, 1<<30, drop)}, ErrGrace,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool { return o.Silent > 0 && s.Told == 0 }},
		{"ended, and back by recovery", flaws{deliver: stuckOnly(stuck, 30, 31, end)}, nil,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o == (tally.Outcome{Ended: stuck}) && s.Recovered == stuck && s.Told == 0
			}},
		{"ended, and back without recovery", flaws{deliver: stuckOnly(stuck, 30, 31, end), recovered: func(*member, []*proto.Publication) ([]*proto.Publication, bool) {
			return nil, false
		}}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Ended: stuck}) && s.Unrecovered == stuck && s.Told > stuck
		}},
		{"ended, with no position to come back to", flaws{mute: true, deliver: stuckOnly(stuck, 30, 31, end)}, nil,
			func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
				return o == (tally.Outcome{Ended: stuck}) && s.Gone == 0 && s.Anew == stuck && s.Told >= stuck
			}},
		{"gone without a word", flaws{deliver: stuckOnly(stuck, 30, 1<<30, drop), pinged: func(m *member) {
			m.s.mu.Lock()
			defer m.s.mu.Unlock()
			delete(m.s.members, m)
			m.ws.Close()
		}}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Ended: stuck}) && s.Recovered == stuck && s.Told == 0
		}},
		{"ended, and told to stay away", flaws{deliver: stuckOnly(stuck, 30, 31, func(m *member, _ *proto.Publication) []*proto.Publication {
			m.end(3504)
			return nil
		})}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Ended: stuck}) && s.Gone == stuck && s.LostGone >= stuck
		}},
		{"unsubscribed again before anything new came", flaws{deliver: stuckOnly(stuck, 30, 31, begin), after: func(m *member) {
			if m.number < stuck && m.sinceStall() >= 30 && !m.twice {
				m.twice = true
				m.unsubscribe()
			}
		}}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Missed: stuck}) && s.Unsubscribed == 2*stuck && s.Recovered == 2*stuck && s.Told == 0
		}},
		{"unsubscribed for insufficient state", flaws{deliver: stuckOnly(stuck, 30, 31, begin)}, nil, func(_ Counters, _ Census, s Status, o tally.Outcome) bool {
			return o == (tally.Outcome{Missed: stuck}) && s.Unsubscribed == stuck && s.Recovered == stuck && s.Told == 0
		}},
		{"a healthy one loses", flaws{mute: true, deliver: func(m *member, p *proto.Publication) []*proto.Publication {
			if m.number == n-1 && m.got == 30 {
				return nil
			}
			return []*proto.Publication{p}
		}}, ErrGrace, func(_ Counters, c Census, _ Status, o tally.Outcome) bool {
			return c.Lost == 1 && o.Silent == 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.stalled = new(atomic.Bool)
			e := meet(t, serveFlawed(t, c.f), Config{Connections: n, Stuck: stuck, Positions: true})
			tell(t, e, Order{Flow: &Flow{Rate: 200}})
			until(t, e, "publications", published(10))
			tell(t, e, Order{Stall: &struct{}{}})
			c.f.stalled.Store(true)
			until(t, e, "publications to those who read", func(Snapshot) bool {
				res, err := e.Results()
				return err != nil || res.During.TotalCount() >= 50*(n-stuck)
			})
			got := e.Snapshot()
			tell(t, e, Order{Rouse: &struct{}{}})
			until(t, e, "publications after it", published(got.Answered+10))
			do(t, e, c.want, Order{Drain: &Drain{Grace: graceFor(c.want)}})
			count, census, res := finish(t, e)
			status, outcome := count.Status, res.Outcome
			if !c.check(count.Counters, census, status, outcome) || status.Stalled != stuck || count.Late+count.Duplicates+count.Died != 0 {
				t.Errorf("%+v\n%+v\n%+v\n%+v", count, census, status, outcome)
			}
			if res.During.TotalCount() < 40*(n-stuck) {
				t.Errorf("%d receipts during the stall", res.During.TotalCount())
			}
		})
	}
}

func TestPublicationsCarryTheirKeyInTurn(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	e := meet(t, serveFlawed(t, flaws{tagged: func(key string) {
		mu.Lock()
		defer mu.Unlock()
		seen[key]++
	}}), Config{Connections: 2, Channels: 2, Keys: 3})
	drained(t, e, 60, nil)
	mu.Lock()
	defer mu.Unlock()
	if made := e.Snapshot().Published; len(seen) != 3 || seen["0"]+seen["1"]+seen["2"] != made || seen["1"] < made/3-2 {
		t.Errorf("%v of %d", seen, made)
	}
}

func TestStopEndsWhatIsUnderWay(t *testing.T) {
	e := meet(t, serveFlawed(t, flaws{}), Config{Connections: 3, Positions: true})
	tell(t, e, Order{Flow: &Flow{Rate: 100}})
	until(t, e, "publications", published(3))
	tell(t, e, Order{Storm: &Storm{Grace: time.Hour}})
	if err := errors.Join(e.Stop(), await(t, e)); err != nil {
		t.Fatal(err)
	}
	do(t, e, nil, Order{Drain: &Drain{Grace: patience}})
}
