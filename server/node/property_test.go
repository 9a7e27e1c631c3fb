package node

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
)

var (
	propertySeed  = flag.Uint64("node.seed", 0, "play this seed of the property test only; 0 = several")
	propertyTrace = flag.Bool("node.trace", false, "print what the clients of the property test see")
	propertySeeds = flag.Uint64("node.seeds", 12, "seeds of the property test")
)

// Never a duplicate, never a silent gap: clients that publish, subscribe, leave, fall
// asleep and come back at random see every publication that is for them once and in
// order, or are told that they missed one.
func TestNeverADuplicateNeverASilentGap(t *testing.T) {
	for _, mode := range []struct {
		name            string
		blocking, lossy bool
	}{{"inline", false, false}, {"slow", true, false}, {"lossy", true, true}} {
		t.Run(mode.name, func(t *testing.T) {
			from, to := uint64(1), *propertySeeds
			if *propertySeed != 0 {
				from, to = *propertySeed, *propertySeed
			}
			sums := map[string]int{}
			for seed := from; seed <= to && !t.Failed(); seed++ {
				s := newStage(t, seed, 1+int(seed%3), mode.blocking, mode.lossy)
				s.play()
				if t.Failed() {
					t.Logf("replay: go test ./server/node -run 'TestNeverADuplicateNeverASilentGap/%s' -node.seed=%d", mode.name, seed)
				}
				for k, v := range s.counts {
					sums[k] += v
				}
			}
			t.Log(sums)
		})
	}
}

const (
	drunks = 12
	steps  = 700
)

// play is one night.
func (s *stage) play() {
	for i := range drunks {
		s.actors = append(s.actors, &actor{s: s, i: i, saved: map[string]*following{}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	left := steps
	var step func()
	step = func() {
		s.pump()
		if left--; left < 0 || s.failed != "" {
			s.close(cancel)
			return
		}
		s.act()
		s.broker.settle()
		if err := s.node.validateTenants(); err != nil {
			s.fail("%v", err)
		}
		s.w.After(time.Duration(s.rng.IntN(12))*time.Millisecond, step)
	}
	s.w.After(0, step)
	s.run(ctx)
	s.calls.Wait()
	s.counts["postponed"] += int(s.node.stats.Recoveries.Postponed.Load())
	s.counts["refused"] += int(s.node.stats.Recoveries.Refused.Load())
	if s.failed != "" {
		s.t.Error(s.failed)
	}
	s.node.mustBeEmpty(s.t, stageChannels...)
	if n, _ := s.bytes.InUse(); n != 0 {
		s.t.Errorf("%d shared bytes are held", n)
	}
	if p := s.group.Stats().Panics; p != 0 {
		s.t.Errorf("%d panics", p)
	}
}

// fail notes what went wrong first; the play ends soon. A world that fails would let go of
// its loops.
func (s *stage) fail(format string, args ...any) {
	if s.failed == "" {
		s.failed = fmt.Sprintf("after %s: "+format, append([]any{s.w.Elapsed()}, args...)...)
	}
}

func (s *stage) pump() {
	for _, a := range s.actors {
		a.pump()
	}
}

// act does one thing at random.
func (s *stage) act() {
	a, name := s.actors[s.rng.IntN(len(s.actors))], stageChannels[s.rng.IntN(len(stageChannels))]
	if strings.HasSuffix(name, "*") && s.rng.IntN(2) == 0 {
		name = "pos:a"
	}
	switch d := s.rng.IntN(100); {
	case a.p == nil && d < 60:
		var want []string
		for _, name := range []string{"rec:a", "plain:a", "rec:b", "cache:a"} {
			if s.rng.IntN(5) == 0 {
				want = append(want, name)
			}
		}
		a.connect(want)
	case d < 38:
		s.publish(strings.Replace(name, "*", "a", 1))
	case d < 42:
		s.api(a, name)
	case d < 43:
		s.checkPositions()
	case d < 44:
		s.node.TellSignals()
	case d < 45:
		s.forget(name)
	case a.p == nil || a.id == "":
	case d < 55:
		s.number++
		a.say("publish", fmt.Sprintf("\"channel\":%q,\"data\":%s", strings.Replace(name, "*", "a", 1), s.data()), nil)
	case d < 86:
		a.subscribe(name)
	case d < 92:
		if f := a.subs[name]; f != nil && f.on && !f.leaving {
			f.leaving = true
			a.say("unsubscribe", fmt.Sprintf("\"channel\":%q", name), f)
		}
	case d < 94:
		a.end(true)
	case d < 97:
		a.paused = !a.paused
	case d < 98:
		a.say("presence_stats", fmt.Sprintf("\"channel\":%q", "rec:a"), nil)
	default:
		a.say("history", "\"channel\":\"rec:a\",\"limit\":3,\"reverse\":true", nil)
	}
}

// data is the payload of publication s.number: much of it is as before.
func (s *stage) data() string {
	pad := strings.Repeat("ripple ", 1+s.rng.IntN(40))
	return fmt.Sprintf("{\"n\":%d,\"pad\":%q}", s.number, pad)
}

func (s *stage) publish(name string) {
	for range 1 + s.rng.IntN(5)*s.rng.IntN(2) {
		s.number++
		pub := &channel.Publication{Data: []byte(s.data())}
		if s.rng.IntN(2) == 0 {
			pub.Tags = map[string]string{"t": []string{"a", "b"}[s.rng.IntN(2)]}
		}
		if s.rng.IntN(6) == 0 {
			pub.Exclude = s.actors[s.rng.IntN(len(s.actors))].id
		}
		o := PublishOptions{SkipHistory: s.rng.IntN(10) == 0, Delta: s.rng.IntN(2) == 0}
		ctx := context.WithValue(context.Background(), atOnce{}, true)
		if _, e := s.node.Publish(ctx, name, pub, o); e != nil {
			s.fail("publish to %s: %v", name, e)
		}
		s.broker.settle()
	}
}

func (a *actor) subscribe(name string) {
	rng := a.s.rng
	if a.subs[name] != nil {
		return
	}
	for _, q := range a.asked {
		if q.what == "subscribe" && q.sub.channel == name {
			return // the server made one meanwhile and ended it
		}
	}
	f := &following{channel: name, seq: map[string]int{}}
	params := fmt.Sprintf("\"channel\":%q", name)
	old := a.saved[name]
	if old != nil && rng.IntN(8) > 0 {
		f.since, f.filter = &place{old.offset, old.epoch}, old.filter
		params += fmt.Sprintf(",\"recover\":true,\"offset\":%d,\"epoch\":%q", old.offset, old.epoch)
	} else if rng.IntN(4) == 0 {
		f.filter = []string{"a", "b"}[rng.IntN(2)]
	}
	if strings.HasSuffix(name, "*") {
		f.filter = ""
	}
	if f.filter != "" {
		params += fmt.Sprintf(",\"tf\":{\"key\":\"t\",\"cmp\":\"eq\",\"val\":%q}", f.filter)
	}
	if rng.IntN(2) == 0 {
		params += ",\"delta\":\"fossil\""
	}
	if rng.IntN(2) == 0 {
		params += ",\"positioned\":true,\"recoverable\":true,\"join_leave\":true"
	}
	if f.since != nil && rng.IntN(4) == 0 {
		f.rejects = true
		params += ",\"flag\":2"
	}
	a.subs[name] = f
	a.say("subscribe", params, f)
}

// api does something with a client by the server's API.
func (s *stage) api(a *actor, name string) {
	if a.id == "" {
		return
	}
	who := Target{Client: a.id}
	switch d := s.rng.IntN(10); {
	case d < 6:
		sub := Subscription{Channel: name}
		if s.rng.IntN(3) == 0 {
			sub.Info = []byte("{\"chan\":1}")
		}
		s.call(func(ctx context.Context) { _, _ = s.node.Subscribe(ctx, who, sub) })
	case d < 9:
		s.call(func(ctx context.Context) {
			_, _ = s.node.Unsubscribe(ctx, who, name, *channel.UnsubscribeServer.Unsubscribe())
		})
	default:
		s.call(func(ctx context.Context) { _, _ = s.node.Disconnect(ctx, who, *channel.DisconnectForced.Disconnect()) })
	}
}

// forget removes history, or begins another epoch.
func (s *stage) forget(name string) {
	if s.rng.IntN(6) == 0 {
		s.broker.reset()
		s.counts["epochs"]++
		return
	}
	s.broker.removed[name] = true
	_ = s.broker.RemoveHistory(context.Background(), name)
}

// close lets everything settle, looks whether anybody misses something, and ends it.
func (s *stage) close(cancel func()) {
	now := time.Duration(0)
	at := func(wait time.Duration, f func()) {
		now += wait
		s.w.After(now, f)
	}
	s.broker.loss, s.broker.repeat = 0, 0
	for range 40 { // what lags arrives, who slept reads
		at(50*time.Millisecond, func() {
			for _, a := range s.actors {
				a.paused = false
			}
			s.pump()
		})
	}
	for range 10 { // checks are made by goroutines, for which this world's time does not wait
		at(500*time.Millisecond, s.checkPositions)
		at(500*time.Millisecond, s.pump)
	}
	for range 20 {
		at(20*time.Millisecond, s.pump)
	}
	at(time.Second, func() {
		for _, a := range s.actors {
			a.atRest()
		}
	})
	at(time.Second, func() {
		for _, a := range s.actors {
			a.end(true)
		}
	})
	at(8*time.Second, func() {
		runtime.Gosched()
		s.w.Outside(1, cancel)
	})
}

// atRest checks that a client has all there is.
func (a *actor) atRest() {
	if a.p == nil {
		return
	}
	if len(a.asked) > 0 || len(a.out) > 0 {
		a.fail("%d commands have no answer: %v", len(a.asked), a.asked)
	}
	names := make([]string, 0, len(a.subs))
	for name := range a.subs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f := a.subs[name]
		if f.positioned {
			_, top, _ := a.s.broker.current().History(context.Background(), name, broker.HistoryQuery{}, nil)
			if top.Epoch != f.epoch && !strings.HasPrefix(name, "short:") {
				a.fail("%s: follows epoch %s, there is %s", name, f.epoch, top.Epoch)
			}
			if !f.jump {
				a.hidden(f, f.offset, top.Offset+1)
			}
		}
		for from, last := range f.seq {
			a.missing(f, from, last+1, len(a.s.broker.journal[from]))
		}
	}
}
