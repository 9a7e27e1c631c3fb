package fleet

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/engine"
)

func connect() engine.Order { return engine.Order{Connect: &engine.Connect{Rate: 100}} }
func echo() engine.Order {
	return engine.Order{Echo: &engine.Echo{Via: engine.ViaRPC, Duration: 1}}
}

func TestEveryOrderReachesEveryEngineOfEveryMember(t *testing.T) {
	var here, there book
	cfg := configOf(&here, 90)
	cfg.EngineMax = 20
	f := piped(t, cfg, workerOf(&there), workerOf(&there))
	for _, o := range []engine.Order{
		connect(),
		{Flow: &engine.Flow{Rate: 5}},
		{Stall: &struct{}{}},
		{Rouse: &struct{}{}},
		echo(),
		{Storm: &engine.Storm{Share: 0.5}},
		{Churn: &engine.Churn{Rate: 3, Duration: 1}},
	} {
		here.orders, there.orders = nil, nil
		if !o.Task() {
			if err := f.Order(o); err != nil {
				t.Fatal(err)
			}
		} else if err := do(t, f, o); err != nil {
			t.Fatal(err)
		}
		got := append(slices.Clone(here.orders), there.orders...)
		slices.Sort(got)
		var want []string
		for i := range 6 { // of 30 connections each, two engines each
			want = append(want, fmt.Sprintf("%d: %s", i, nameOf(o)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", nameOf(o), got, want)
		}
	}
	var conns []string
	for _, m := range f.Members() {
		conns = append(conns, fmt.Sprintf("%s %d×%d", m.Name, m.Engines, m.Connections))
	}
	if got, want := strings.Join(conns, ", "), "this process 2×30, worker 1 2×30, worker 2 2×30"; got != want {
		t.Errorf("members are %s, want %s", got, want)
	}
}

// The same test is carried out by one engine, by many here and by workers; what is added up must be the same.
func TestTheSumOfManyIsWhatOneWouldSay(t *testing.T) {
	type outcome struct {
		s engine.Snapshot
		c engine.Census
		r engine.Results
		p []uint32
	}
	play := func(t *testing.T, conns, channels, most int, workers int) (out outcome) {
		var b book
		cfg := configOf(&b, conns)
		cfg.Engine.Channels, cfg.EngineMax = channels, most
		var all []Worker
		for range workers {
			all = append(all, workerOf(&b))
		}
		f := piped(t, cfg, all...)
		for _, o := range []engine.Order{
			connect(), echo(), {Fanout: &engine.Fanout{Count: 5, Burst: 2}},
			{Fanout: &engine.Fanout{Count: 4, Rate: 100}}, {Drain: &engine.Drain{}},
		} {
			if err := do(t, f, o); err != nil {
				t.Fatal(err)
			}
		}
		var err1, err2, err3 error
		out.c, err1 = f.Census()
		out.r, err2 = f.Results()
		out.p, err3 = f.g.Published()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		out.s = f.Snapshot()
		out.s.Members = 0
		return out
	}
	for _, c := range []struct{ conns, channels, most, workers int }{
		{100, 1, 7, 0}, {100, 1, 0, 1}, {100, 1, 9, 3}, {101, 4, 10, 2}, {17, 40, 1, 2},
	} {
		want, got := play(t, c.conns, c.channels, 0, 0), play(t, c.conns, c.channels, c.most, c.workers)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v:\n got %+v\nwant %+v", c, got, want)
		}
		if want.s.Received == 0 || want.s.Ready != c.conns {
			t.Errorf("%+v: nothing happened: %+v", c, want.s)
		}
	}
}

func TestAFanOutIsPublishedByItsOwnerAndAwaitedByAll(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	b.orders = nil
	if err := do(t, f, engine.Order{Fanout: &engine.Fanout{Count: 5, Burst: 2}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for step := range slices.Chunk(b.orders, 2) { // the two in any order
		slices.Sort(step)
		got = append(got, step...)
	}
	want := []string{
		"0: fanout 2 by 2 at 0", "1: fanout 2 by 2 at 0", "0: drain [2]", "1: drain [2]",
		"0: fanout 2 by 2 at 0", "1: fanout 2 by 2 at 0", "0: drain [4]", "1: drain [4]",
		"0: fanout 1 by 1 at 0", "1: fanout 1 by 1 at 0", "0: drain [5]", "1: drain [5]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	b.orders = nil
	if err := do(t, f, engine.Order{Fanout: &engine.Fanout{Count: 5, Burst: 2, Rate: 9}}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.orders)
	if want := []string{"0: drain [10]", "0: fanout 5 by 2 at 9", "1: drain [10]", "1: fanout 5 by 2 at 9"}; !slices.Equal(b.orders, want) {
		t.Errorf("got %q\nwant %q", b.orders, want)
	}
	if s := f.Snapshot(); s.Received != 200 || s.Published != 10 {
		t.Errorf("%d published, %d received", s.Published, s.Received)
	}
}

// A step that ended within a round would begin the next one with the first channel again.
func TestAFanOutToManyChannelsIsMadeInWholeRounds(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.Engine.Channels = 3
	f := piped(t, cfg, workerOf(&b))
	if err := do(t, f, engine.Order{Fanout: &engine.Fanout{Count: 8, Burst: 2}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1: fanout 3 by 2 at 0", "1: fanout 2 by 2 at 0"} {
		if !slices.Contains(b.orders, want) {
			t.Errorf("no %q: %q", want, b.orders)
		}
	}
}

func TestADrainEndsTheFlowAndTellsAllWhatAllPublished(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.Engine.Channels = 3
	f := piped(t, cfg, workerOf(&b))
	if err := f.Order(engine.Order{Flow: &engine.Flow{Rate: 9}}); err != nil {
		t.Fatal(err)
	}
	b.orders = nil
	if err := do(t, f, engine.Order{Drain: &engine.Drain{}}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.orders[:2])
	slices.Sort(b.orders[2:])
	if want := []string{"0: stop", "1: stop", "0: drain [3 3 3]", "1: drain [3 3 3]"}; !slices.Equal(b.orders, want) {
		t.Errorf("got %q, want %q", b.orders, want)
	}
}

func TestTheFirstConnectionsOfAllAreStuck(t *testing.T) {
	var b book
	cfg := configOf(&b, 30)
	cfg.Engine.Stuck, cfg.EngineMax = 13, 10
	piped(t, cfg)
	for i, want := range []int{10, 3, 0} {
		if got := b.at(i).cfg.Stuck; got != want {
			t.Errorf("%d of engine %d, want %d", got, i, want)
		}
	}
}

func TestOneEngineIsDrivenAsItIs(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20))
	for _, o := range []engine.Order{connect(), {Fanout: &engine.Fanout{Count: 5, Burst: 2}}, {Drain: &engine.Drain{}}} {
		if err := do(t, f, o); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"0: connect at 100", "0: fanout 5 by 2 at 0", "0: drain []"}; !slices.Equal(b.orders, want) {
		t.Errorf("got %q, want %q", b.orders, want)
	}
}

func TestErrorsOfMembersBecomeOne(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	for _, c := range []struct {
		errs []error
		want string
	}{
		{[]error{nil, nil}, ""},
		{[]error{nil, engine.ErrGrace, nil}, engine.ErrGrace.Error()},
		{[]error{engine.ErrGrace, engine.ErrAway}, engine.ErrAway.Error()},
		{[]error{engine.ErrAllGone, nil}, ""}, // some are gone: the counters say how many
		{[]error{engine.ErrAllGone, errGone, engine.ErrAllGone}, engine.ErrAllGone.Error()},
		{[]error{engine.ErrAllGone, engine.ErrGrace}, engine.ErrGrace.Error()},
		{[]error{errGone, nil, fmt.Errorf("%w: why", errNobody)}, ""},
		{[]error{one, engine.ErrGrace, one}, "one"},
		{[]error{one, nil, two, one}, "one\ntwo"},
	} {
		got := merge(c.errs)
		if got == nil && c.want != "" || got != nil && got.Error() != c.want {
			t.Errorf("%v: got %v, want %q", c.errs, got, c.want)
		}
	}
	detailed := fmt.Errorf("%w; the last: of boredom", engine.ErrAllGone)
	if got := merge([]error{detailed, engine.ErrAllGone}); got != detailed {
		t.Errorf("got %v", got)
	}
}

func TestErrorsAreTheSameAtTheOtherEnd(t *testing.T) {
	for _, err := range []error{nil, engine.ErrGrace, engine.ErrAllGone, engine.ErrAway, errors.New("x"), fmt.Errorf("y: %w", engine.ErrAway)} {
		got := failureOf(err).error()
		if (err == nil) != (got == nil) {
			t.Fatalf("%v became %v", err, got)
		}
		if err == nil {
			continue
		}
		if got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
		for _, kind := range kinds() {
			if errors.Is(err, kind) != errors.Is(got, kind) {
				t.Errorf("%v is %v no more", err, kind)
			}
		}
	}
}

func TestOneRefusalStopsTheOthers(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	b.at(0).set(func(f *fake) { f.endless = true })
	b.at(1).set(func(f *fake) { f.refuse = errors.New("not on a Sunday") })
	if err := do(t, f, connect()); err == nil || err.Error() != "not on a Sunday" {
		t.Errorf("got %v", err)
	}
	b.at(0).set(func(f *fake) { f.refuse = errors.New("not on a Sunday") })
	if err := f.Order(connect()); err == nil || err.Error() != "not on a Sunday" {
		t.Errorf("got %v", err)
	}
	if err := f.Order(engine.Order{Stall: &struct{}{}}); err == nil || err.Error() != "not on a Sunday" {
		t.Errorf("got %v", err)
	}
}

func TestOneOrderAtATime(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	b.at(1).set(func(f *fake) { f.endless = true })
	if err := f.Order(connect()); err != nil {
		t.Fatal(err)
	}
	if err := f.Order(connect()); err != errBusy {
		t.Errorf("got %v", err)
	}
	if err := f.Order(engine.Order{Flow: &engine.Flow{Rate: 1}}); err != nil {
		t.Errorf("publications cannot flow meanwhile: %v", err)
	}
	if err := f.Stop(); err != nil {
		t.Error(err)
	}
	if err := finished(t, f); err != nil {
		t.Error(err)
	}
	b.at(1).set(func(f *fake) { f.endless = false })
	if err := do(t, f, connect()); err != nil {
		t.Error(err)
	}
}

func TestStopEndsAFanOutAfterTheBurstUnderWay(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	b.at(0).set(func(f *fake) { f.endless = true })
	if err := f.Order(engine.Order{Fanout: &engine.Fanout{Count: 5}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Stop(); err != nil { // ends the publishing
		t.Fatal(err)
	}
	until(t, "what was published is awaited", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Contains(b.orders, "0: drain [1]")
	})
	if err := f.Stop(); err != nil { // ends the waiting, which the fake would never
		t.Fatal(err)
	}
	if err := finished(t, f); err != nil {
		t.Error(err)
	}
	if slices.Contains(b.orders, "0: drain [2]") {
		t.Errorf("it went on: %q", b.orders)
	}
}

func TestWhoDoesNotStopIsGivenUp(t *testing.T) {
	for index, want := range []string{
		"did not end an order within 20ms of being told to", "worker 1: did not end an order within 20ms of being told to",
	} {
		var b book
		f := piped(t, configOf(&b, 20), workerOf(&b)) // and closed in good order when the test ends
		f.g.bound = 20 * time.Millisecond
		if err := do(t, f, connect()); err != nil {
			t.Fatal(err)
		}
		if c, ok := f.g.members[index].(*crew); ok {
			c.bound = f.g.bound
		}
		b.at(index).set(func(f *fake) { f.endless, f.stubborn = true, true })
		if err := f.Order(echo()); err != nil {
			t.Fatal(err)
		}
		if err := f.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := finished(t, f); err != nil {
			t.Error(err)
		}
		s := f.Snapshot()
		if s.Ready != 10 || s.Died != 10 || s.Causes[want] != 10 {
			t.Errorf("%+v", s.Counters)
		}
		if err := do(t, f, echo()); err != nil {
			t.Errorf("the other does not go on: %v", err)
		}
	}
}

func TestAnEventLoopThatEndsCountsAsDied(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.EngineMax = 10
	f := piped(t, cfg)
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	b.at(1).closed <- errors.New("epoll is tired")
	until(t, "they count as died", func() bool { return f.Snapshot().Died == 10 })
	if s := f.Snapshot(); s.Ready != 10 || s.Causes["the event loop of connections 10 to 19 ended: epoll is tired"] != 10 {
		t.Errorf("%+v", s.Counters)
	}
	if err := do(t, f, echo()); err != nil {
		t.Errorf("the other does not go on: %v", err)
	}
	if m := f.Members(); len(m) != 1 || m[0].Ready != 10 || m[0].Died != 10 || !strings.Contains(m[0].Gone, "tired") {
		t.Errorf("%+v", m)
	}
	b.at(0).closed <- errors.New("so is this one")
	until(t, "all count as died", func() bool { return f.Snapshot().Died == 20 })
	says(t, f.Order(connect()), "nobody is left", "ended")
	if err := f.Order(connect()); !errors.Is(err, errNobody) {
		t.Errorf("got %v", err)
	}
}

// What came to all who are left came to all.
func TestWhoIsGoneHoldsNothingBack(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.EngineMax = 10
	f := piped(t, cfg)
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	b.at(0).set(func(f *fake) { f.s.Whole = 7 })
	b.at(1).set(func(f *fake) { f.s.Whole = 3 })
	if n := f.Snapshot().Whole; n != 3 {
		t.Errorf("%d publications came to all", n)
	}
	b.at(1).closed <- errors.New("epoll is tired")
	until(t, "it is gone", func() bool { return f.Snapshot().Died == 10 })
	if n := f.Snapshot().Whole; n != 7 {
		t.Errorf("%d publications came to all who are left", n)
	}
	b.at(0).closed <- errors.New("so is this one")
	until(t, "it is gone", func() bool { return f.Snapshot().Died == 20 })
	if n := f.Snapshot().Whole; n != 0 {
		t.Errorf("%d publications came to nobody", n)
	}
}

// The only one who carried out an order is given up.
func TestAnOrderThatNobodyEndedHasFailed(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.EngineMax = 10
	f := piped(t, cfg)
	f.g.members[0].(*crew).bound = 20 * time.Millisecond
	for i := range 2 {
		b.at(i).set(func(f *fake) { f.endless, f.stubborn = true, true })
	}
	if err := f.Order(connect()); err != nil {
		t.Fatal(err)
	}
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	says(t, finished(t, f), "nobody is left to do it", "did not end an order within 20ms")
}
