package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/loop/sim"
	"shoal/pool/worker"
	"shoal/server/broker"
	"shoal/server/broker/memory"
	"shoal/server/channel"
)

// flaky is a broker whose streams are those of a memory broker. When it is blocking its
// calls wait for the world's clock, before and after they act, and deliveries lag, are
// repeated and get lost; each channel's are in order.
type flaky struct {
	w        *sim.World
	pool     *worker.Pool
	to       broker.Deliverer
	blocking bool
	loss     float64 // chances of a delivery
	repeat   float64

	mu       sync.Mutex
	core     *memory.Broker
	parked   []*ticket
	lines    map[string]*channelLine
	pending  []string // channels whose line has something new
	journal  map[string][]*journaled
	byNumber map[int]*journaled
	removed  map[string]bool // channels whose history was removed
}

// journaled is a publication that the broker accepted.
type journaled struct {
	place   channel.Position
	seq     int // in the channel
	n       int // the number inside the data
	channel string
	data    string
	tag     string
	exclude string
}

// ticket is a call that waits.
type ticket struct {
	key   string
	free  chan struct{}
	known bool // its end is scheduled
}

// channelLine are a channel's deliveries under way.
type channelLine struct {
	items  []func()
	moving bool
}

// atOnce marks the context of a call that the world itself makes.
type atOnce struct{}

var errFlaky = errors.New("flaky: the link is down")

func newFlaky(w *sim.World, pool *worker.Pool, blocking bool) *flaky {
	b := &flaky{w: w, pool: pool, blocking: blocking, lines: map[string]*channelLine{},
		journal: map[string][]*journaled{}, byNumber: map[int]*journaled{}, removed: map[string]bool{}}
	b.reset()
	return b
}

func (b *flaky) clock() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(b.w.Elapsed())
}

// reset forgets all streams: what follows is of another epoch.
func (b *flaky) reset() {
	core := memory.New(memory.Config{Clock: b.clock})
	core.Start(&tap{b, core})
	b.mu.Lock()
	b.core = core
	b.mu.Unlock()
}

func (b *flaky) current() *memory.Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.core
}

// park waits until the world says so.
func (b *flaky) park(ctx context.Context, key ...string) {
	if !b.blocking || ctx.Value(atOnce{}) != nil {
		return
	}
	t := &ticket{key: strings.Join(key, " "), free: make(chan struct{})}
	b.mu.Lock()
	b.parked = append(b.parked, t)
	b.mu.Unlock()
	<-t.free
}

// settle waits until every job of the workers is parked or done, and schedules what
// follows. On the world's goroutine.
func (b *flaky) settle() {
	for {
		s := b.pool.Stats()
		b.mu.Lock()
		if s.Submitted == s.Done+uint64(len(b.parked)) {
			break
		}
		b.mu.Unlock()
		runtime.Gosched()
	}
	var fresh []*ticket
	for _, t := range b.parked {
		if !t.known {
			t.known = true
			fresh = append(fresh, t)
		}
	}
	pending := b.pending
	b.pending = nil
	b.mu.Unlock()
	slices.SortStableFunc(fresh, func(x, y *ticket) int { return cmp.Compare(x.key, y.key) })
	for _, t := range fresh {
		b.w.After(b.delay(), func() { b.release(t) })
	}
	for _, name := range pending {
		b.move(b.lines[name])
	}
}

// delay is mostly short.
func (b *flaky) delay() time.Duration {
	return time.Duration(b.w.Rand().Int64N(int64(time.Millisecond) << b.w.Rand().UintN(9)))
}

func (b *flaky) release(t *ticket) {
	b.mu.Lock()
	b.parked = slices.DeleteFunc(b.parked, func(p *ticket) bool { return p == t })
	b.mu.Unlock()
	close(t.free)
	b.settle()
}

// move schedules the next delivery of a channel.
func (b *flaky) move(line *channelLine) {
	if line.moving || len(line.items) == 0 {
		return
	}
	line.moving = true
	b.w.After(b.delay(), func() {
		do := line.items[0]
		line.items = line.items[1:]
		line.moving = false
		if b.w.Rand().Float64() >= b.loss {
			do()
			if b.w.Rand().Float64() < b.repeat {
				line.items = append(line.items, do) // later again
			}
		}
		b.move(line)
		b.settle()
	})
}

// tap is what a core delivers to.
type tap struct {
	b    *flaky
	core *memory.Broker
}

func (t *tap) Deliver(name string, pub *channel.Publication) error {
	b := t.b
	var body struct{ N int }
	if err := json.Unmarshal(pub.Data, &body); err != nil {
		panic(err)
	}
	b.mu.Lock()
	e := &journaled{place: pub.Position, seq: len(b.journal[name]), n: body.N, channel: name, data: string(pub.Data), tag: pub.Tags["t"], exclude: pub.Exclude}
	b.mu.Unlock()
	if !b.blocking {
		if err := b.to.Deliver(name, pub); err != nil {
			return err
		}
	}
	c := *pub
	c.Data, c.Prev, c.Tags = slices.Clone(pub.Data), slices.Clone(pub.Prev), maps.Clone(pub.Tags)
	if pub.Info != nil {
		info := pub.Info.Clone()
		c.Info = &info
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.journal[name] = append(b.journal[name], e)
	b.byNumber[e.n] = e
	if b.blocking {
		b.queue(name, func() { _ = b.to.Deliver(name, &c) })
	}
	return nil
}

func (t *tap) DeliverSignals(name string, signals []channel.Signal) error {
	if !t.b.blocking {
		return t.b.to.DeliverSignals(name, signals)
	}
	var c []channel.Signal
	for _, s := range signals {
		c = append(c, channel.Signal{Leave: s.Leave, Info: s.Info.Clone()})
	}
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	t.b.queue(name, func() { _ = t.b.to.DeliverSignals(name, c) })
	return nil
}

func (b *flaky) queue(name string, do func()) {
	line := b.lines[name]
	if line == nil {
		line = &channelLine{}
		b.lines[name] = line
	}
	line.items = append(line.items, do)
	b.pending = append(b.pending, name)
}

func (b *flaky) Vacated(name string) {}

func (b *flaky) Blocking() bool { return b.blocking }

func (b *flaky) Publish(ctx context.Context, name string, pub *channel.Publication, o broker.PublishOptions) (broker.Result, error) {
	b.park(ctx, "publish", name, string(pub.Data))
	r, err := b.current().Publish(ctx, name, pub, o)
	b.park(ctx, "published", name, string(pub.Data))
	return r, err
}

func (b *flaky) Signal(ctx context.Context, name string, signals []channel.Signal) error {
	b.park(ctx, "signal", name, signals[0].Info.Client)
	return b.current().Signal(ctx, name, signals)
}

func (b *flaky) History(ctx context.Context, name string, q broker.HistoryQuery, dst []channel.Publication) ([]channel.Publication, channel.Position, error) {
	b.park(ctx, "history", name)
	pubs, top, err := b.current().History(ctx, name, q, dst)
	b.park(ctx, "read", name)
	return pubs, top, err
}

func (b *flaky) RemoveHistory(ctx context.Context, name string) error {
	return b.current().RemoveHistory(ctx, name)
}

func (b *flaky) Subscribe(string) error   { return nil }
func (b *flaky) Unsubscribe(string) error { return nil }

func (b *flaky) Run(ctx context.Context, to broker.Deliverer) error {
	b.to = to
	<-ctx.Done()
	return nil
}
