package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/server/broker"
	"shoal/server/broker/brokertest"
	"shoal/server/channel"
)

// clock is the time of a test.
type clock struct{ millis atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.millis.Store(1_700_000_000_000)
	return c
}

func (c *clock) now() time.Time       { return time.UnixMilli(c.millis.Load()) }
func (c *clock) pass(d time.Duration) { c.millis.Add(d.Milliseconds()) }

// opened returns a broker that delivers to nobody, and its clock.
func opened(cfg Config) (*Broker, *clock) {
	c := newClock()
	cfg.Clock = c.now
	b := New(cfg)
	b.Start(refusing{})
	return b, c
}

func mustValidate(t *testing.T, b *Broker) {
	t.Helper()
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	for name, upkeep := range map[string]func(*Broker){
		"with Expire":            func(b *Broker) { b.Expire(1 << 20); b.Trim() },
		"with too little Expire": func(b *Broker) { b.Expire(1) },
		"without Expire":         func(*Broker) {},
	} {
		t.Run(name, func(t *testing.T) {
			brokertest.Run(t, func(t *testing.T) brokertest.Subject {
				c := newClock()
				b := New(Config{Clock: c.now})
				t.Cleanup(func() { mustValidate(t, b) })
				return brokertest.Subject{Broker: b, Pass: func(d time.Duration) {
					c.pass(d)
					upkeep(b)
					mustValidate(t, b)
				}}
			})
		})
	}
}

type refusing struct{ err error }

func (r refusing) Deliver(string, *channel.Publication) error    { return r.err }
func (r refusing) DeliverSignals(string, []channel.Signal) error { return r.err }

var (
	ctx  = context.Background()
	kept = broker.PublishOptions{HistorySize: 10, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour}
)

func publish(t *testing.T, b *Broker, name string, o broker.PublishOptions) broker.Result {
	t.Helper()
	r, err := b.Publish(ctx, name, &channel.Publication{Data: []byte("{}")}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatTheNodeRefusesLeavesNoTrace(t *testing.T) {
	b, _ := opened(Config{})
	full := errors.New("full")
	o := kept
	o.IdempotencyKey, o.Version = "k", 5
	for range 3 {
		b.Start(refusing{full})
		for _, o := range []broker.PublishOptions{{}, o} {
			if r, err := b.Publish(ctx, "a", &channel.Publication{}, o); !errors.Is(err, full) || r != (broker.Result{}) {
				t.Errorf("got %v, %v", r, err)
			}
		}
		if err := b.Signal(ctx, "a", nil); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
	}
	b.Start(refusing{})
	if pubs, top, err := b.History(ctx, "a", broker.HistoryQuery{Limit: -1}, nil); len(pubs) != 0 || top.Offset != 0 || err != nil {
		t.Errorf("the history is %v up to %v, %v", pubs, top, err)
	}
	if r := publish(t, b, "a", o); r.Offset != 1 || r.Suppressed {
		t.Errorf("then %+v", r)
	}
	mustValidate(t, b)
}

// panicking fails like a bug would.
type panicking struct{ refusing }

func (panicking) Deliver(string, *channel.Publication) error { panic("a bug") }

func TestPanicOfTheNodeLeavesTheBrokerInOrder(t *testing.T) {
	b, _ := opened(Config{})
	publish(t, b, "a", kept)
	b.Start(panicking{})
	func() {
		defer func() { _ = recover() }()
		publish(t, b, "a", kept)
	}()
	b.Start(refusing{})
	if r := publish(t, b, "a", kept); r.Offset != 2 {
		t.Errorf("then %+v", r)
	}
	mustValidate(t, b)
}

func TestTooLargeIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 512 MiB")
	}
	b, _ := opened(Config{})
	_, err := b.Publish(ctx, "a", &channel.Publication{Data: make([]byte, 1<<29)}, kept)
	var e *channel.Error
	if !errors.As(err, &e) || e.Code != uint32(channel.ErrLimitExceeded) {
		t.Errorf("got %v", err)
	}
	mustValidate(t, b)
}

func TestPublishDoesNotAllocate(t *testing.T) {
	b, _ := opened(Config{})
	pub := &channel.Publication{Data: []byte("{}"), Time: 1}
	if n := testing.AllocsPerRun(100, func() { _, _ = b.Publish(ctx, "news", pub, broker.PublishOptions{}) }); n != 0 {
		t.Errorf("%v allocations per publication", n)
	}
	o := kept
	o.HistorySize, o.Version, o.VersionEpoch, o.Previous = 300, 1, "e", true
	next := func() { o.Version++; _, _ = b.Publish(ctx, "kept", pub, o) }
	for range 1000 {
		next()
	}
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			next()
		}
	}); n > 10 {
		t.Errorf("%v allocations per 100 publications with history", n)
	}
	o = broker.PublishOptions{IdempotencyKey: "k"}
	publish(t, b, "news", o)
	if n := testing.AllocsPerRun(100, func() { publish(t, b, "news", o) }); n > 1 {
		t.Errorf("%v allocations to suppress a publication", n)
	}
	dst := make([]channel.Publication, 0, 300)
	if n := testing.AllocsPerRun(100, func() {
		_, _, _ = b.History(ctx, "kept", broker.HistoryQuery{Limit: -1}, dst)
	}); n != 0 {
		t.Errorf("%v allocations to read a history", n)
	}
}

func TestExpireFreesEverything(t *testing.T) {
	b, c := opened(Config{})
	empty := b.Stats()
	for i := range 5000 {
		o := kept
		o.IdempotencyKey = fmt.Sprint(i)
		publish(t, b, fmt.Sprint("channel-", i), o)
		if _, _, err := b.History(ctx, fmt.Sprint("asked-", i), broker.HistoryQuery{MetaTTL: time.Hour}, nil); err != nil {
			t.Fatal(err)
		}
	}
	st := b.Stats()
	if st.Streams != 10_000 || st.Publications != 5000 || st.IdempotencyKeys != 5000 || st.HistoryBytes < 10_000*128 || st.KeyBytes < 5000*64 {
		t.Errorf("full: %+v", st)
	}
	if n := b.Expire(1 << 20); n != 0 {
		t.Errorf("%d of nothing due", n)
	}
	c.pass(2 * time.Minute)
	b.Expire(1 << 20)
	if st := b.Stats(); st.Streams != 10_000 || st.Publications != 0 || st.IdempotencyKeys != 5000 {
		t.Errorf("after 2 minutes: %+v", st)
	}
	mustValidate(t, b)
	c.pass(2 * time.Hour)
	calls := 0
	for ; b.Expire(100) == 100; calls++ {
		if calls > 200 {
			t.Fatal("Expire does not come to an end")
		}
	}
	if calls != 150 {
		t.Errorf("%d full slices of 100 for 15,000", calls)
	}
	b.Trim()
	mustValidate(t, b)
	if st := b.Stats(); st.Streams != 0 || st.IdempotencyKeys != 0 || st.HistoryBytes > empty.HistoryBytes+64*2048 || st.KeyBytes > empty.KeyBytes+64*2048 {
		t.Errorf("in the end: %+v, in the beginning %+v", st, empty)
	}
}

func TestExpireReachesEveryShardWithASmallBudget(t *testing.T) {
	b, c := opened(Config{})
	for i := range 1000 {
		publish(t, b, fmt.Sprint(i), kept)
	}
	c.pass(time.Minute)
	for left := 1000; left > 0; left-- {
		if st := b.Stats(); st.Publications != left || b.Expire(1) != 1 {
			t.Fatalf("%d left, want %d", st.Publications, left)
		}
	}
}

func TestDeadlinesOfBusyChannelsDoNotPileUp(t *testing.T) {
	b, c := opened(Config{})
	for i := range 20_000 {
		o := kept // the deadlines go back and forth
		o.HistoryTTL = time.Duration(1+i%7) * time.Minute
		o.HistoryMetaTTL = time.Duration(1+i%3) * time.Minute
		publish(t, b, fmt.Sprint(i%10), o)
		c.pass(20 * time.Millisecond)
		if i%50 == 0 {
			b.Expire(1 << 20)
		}
	}
	queued := 0
	for i := range b.shards {
		queued += len(b.shards[i].due.heap)
	}
	if queued > 30 {
		t.Errorf("%d deadlines for 10 channels", queued)
	}
	mustValidate(t, b)
}

func TestIdempotencyKeysHaveABudget(t *testing.T) {
	const bytesMax = 1 << 20
	b, c := opened(Config{IdempotencyBytesMax: bytesMax})
	for i := range 50_000 {
		publish(t, b, "a", broker.PublishOptions{IdempotencyKey: fmt.Sprint("key-", i)})
		c.pass(time.Millisecond)
	}
	st := b.Stats()
	if st.IdempotencyKeys < 5000 || st.IdempotencyKeys+int(st.KeysEvicted) != 50_000 || b.idem.bytes.Load() > bytesMax {
		t.Errorf("%+v, %d bytes", st, b.idem.bytes.Load())
	}
	if got := float64(st.KeyBytes) / bytesMax; got > 1.2 {
		t.Errorf("the keys take %.2f of what they may", got)
	}
	if r := publish(t, b, "a", broker.PublishOptions{IdempotencyKey: "key-49999"}); !r.Suppressed {
		t.Error("the last key is forgotten")
	}
	if r := publish(t, b, "a", broker.PublishOptions{IdempotencyKey: "key-0"}); r.Suppressed {
		t.Error("the first key is remembered")
	}
	publish(t, b, "a", broker.PublishOptions{IdempotencyKey: strings.Repeat("x", 2<<20)}) // larger than all there may be
	publish(t, b, "b", broker.PublishOptions{IdempotencyKey: "k"})
	mustValidate(t, b)
}

func TestKeysOfOtherChannelsAreOthers(t *testing.T) {
	k := newKeys(&budget{bytesMax: 1 << 20})
	now := newClock().millis.Load()
	k.add("a", "bk", channel.Position{Offset: 1, Epoch: "abcdefgh"}, now, 0)
	for _, c := range []struct{ name, key string }{{"ab", "k"}, {"", "abk"}, {"abk", ""}, {"a", "b"}, {"b", "bk"}} {
		if pos, seen := k.find(c.name, c.key, now); seen {
			t.Errorf("%q of %q is known, at %v", c.key, c.name, pos)
		}
	}
	if pos, seen := k.find("a", "bk", now); !seen || pos != (channel.Position{Offset: 1, Epoch: "abcdefgh"}) {
		t.Errorf("got %v, %v", pos, seen)
	}
}

func TestEpochsOfStreamsThatEndedDoNotComeBack(t *testing.T) {
	b, c := opened(Config{})
	seen := map[string]map[string]bool{}
	random := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		name := fmt.Sprint(random.IntN(40))
		o := kept
		o.HistoryMetaTTL = time.Second
		r := publish(t, b, name, o)
		if seen[name] == nil {
			seen[name] = map[string]bool{}
		}
		if r.Offset == 1 && seen[name][r.Epoch] || r.Offset > 1 && !seen[name][r.Epoch] || len(r.Epoch) != 8 {
			t.Fatalf("%s: %+v, epochs seen %v", name, r, seen[name])
		}
		seen[name][r.Epoch] = true
		c.pass(100 * time.Millisecond)
		if random.IntN(3) == 0 {
			b.Expire(10)
		}
	}
	mustValidate(t, b)
}

// last fails when offsets do not come in order.
type last struct {
	refusing
	mu     sync.Mutex
	offset map[string]uint64
	wrong  int
}

func (l *last) Deliver(name string, pub *channel.Publication) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pub.Offset != l.offset[name]+1 {
		l.wrong++
	}
	l.offset[strings.Clone(name)] = pub.Offset
	return nil
}

func TestEverythingAtOnce(t *testing.T) {
	b, c := opened(Config{IdempotencyBytesMax: 20_000})
	to := &last{offset: map[string]uint64{}}
	b.Start(to)
	var publishers, others sync.WaitGroup
	var over atomic.Bool
	for p := range 4 {
		publishers.Go(func() {
			o := kept
			o.HistoryTTL, o.HistoryMetaTTL = time.Second, 0
			for i := range 3000 {
				if o.IdempotencyKey = ""; i%3 == 0 {
					o.IdempotencyKey = fmt.Sprint(p, i)
				}
				publish(t, b, fmt.Sprint(i%7), o)
				c.pass(3 * time.Millisecond)
			}
		})
	}
	for _, f := range []func(i int){
		func(int) { b.Expire(50) },
		func(int) { b.Trim() },
		func(int) { b.Stats() },
		func(i int) { _ = b.RemoveHistory(ctx, fmt.Sprint(i%7)) },
		func(i int) {
			pubs, top, err := b.History(ctx, fmt.Sprint(i%7), broker.HistoryQuery{Limit: -1}, nil)
			if err != nil || len(pubs) > 0 && pubs[len(pubs)-1].Offset != top.Offset {
				t.Errorf("%v up to %v, %v", pubs, top, err)
			}
		},
	} {
		others.Go(func() {
			for i := 0; !over.Load(); i++ {
				f(i)
			}
		})
	}
	publishers.Wait()
	over.Store(true)
	others.Wait()
	if to.wrong != 0 {
		t.Errorf("%d offsets out of order", to.wrong)
	}
	mustValidate(t, b)
}

func TestDeadlinesComeInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	var d deadlines
	var want []int64
	for range 2000 {
		if random.IntN(3) > 0 {
			at := random.Int64N(100)
			d.push(deadline{at, uint32(at)})
			want = append(want, at)
			slices.Sort(want)
			continue
		}
		now := random.Int64N(100)
		got, ok := d.pop(now)
		if due := len(want) > 0 && want[0] <= now; ok != due || ok && (got.at != want[0] || got.id != uint32(got.at)) {
			t.Fatalf("at %d: %v, %v, want the first of %v", now, got, ok, want)
		}
		if ok {
			want = want[1:]
		}
	}
	if len(d.heap) != len(want) {
		t.Errorf("%d left, want %d", len(d.heap), len(want))
	}
}

func TestNewNeedsAClock(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(Config{})
}

// TestAskingForNamesCostsNothing: whoever subscribes to names nobody has published in, or
// asks for their history, must not fill the memory.
func TestAskingForNamesCostsNothing(t *testing.T) {
	b := New(Config{Clock: time.Now})
	ctx := context.Background()
	read := func(name string, peek bool) channel.Position {
		_, top, err := b.History(ctx, name, broker.HistoryQuery{Peek: peek, MetaTTL: time.Hour}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return top
	}
	for i := range 200_000 {
		name := fmt.Sprint("name-", i)
		peeked := read(name, true)
		if top := read(name, false); top != peeked || top.Epoch == "" {
			t.Fatalf("%s is at %v, a moment ago at %v", name, top, peeked)
		}
		b.Vacated(name)
	}
	st := b.Stats()
	if st.Streams != 0 || st.HistoryBytes > 4<<20 {
		t.Errorf("%d streams, %d bytes are held", st.Streams, st.HistoryBytes)
	}
	if err := b.Validate(); err != nil {
		t.Error(err)
	}
	b.Start(nobody{})
	if _, err := b.Publish(ctx, "kept", &channel.Publication{Data: []byte("1")}, broker.PublishOptions{HistorySize: 1, HistoryTTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	b.Vacated("kept")
	if top := read("kept", true); top.Offset != 1 {
		t.Errorf("a stream with a publication was dropped: %v", top)
	}
}

type nobody struct{}

func (nobody) Deliver(string, *channel.Publication) error    { return nil }
func (nobody) DeliverSignals(string, []channel.Signal) error { return nil }
