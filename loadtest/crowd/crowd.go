package crowd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
	"shoal/loop/poll"
	"shoal/pool/slab"
)

// The rows of the loop's handler table.
const (
	kindClient loop.Kind = iota
	kindPoster
)

// Crowd drives the peers of one process. Use [New].
type Crowd struct {
	// Immutable after New.
	cfg    Config
	group  *loop.Group
	filler *message.Filler
	op     ws.Op
	pong   []byte // the answer to an application ping
	seed   maphash.Seed
	layout layout
	byName map[string]uint32
	quoted [][]byte // names of the channels as JSON

	// Any goroutine.
	done    chan error // a task ended
	ticking atomic.Bool
	mu      sync.Mutex
	seen    engine.Counters // as of the last publish
	status  Status

	// Owned by the loop's goroutine.
	l        *loop.Loop
	sys      *narrow
	conns    slab.Column[conn] // by slot
	peers    []peer
	subs     []sub // of peer i at i*Subscriptions
	tokens   [][]byte
	channels []channel
	decoder  proto.ReplyDecoder
	cache    []cached
	wire     *wire.Wire
	posters  []*poster
	scratch  []byte
	task     task
	flow     *flow
	sleepers sleepers
	spinning bool // the pump is among the loop's works
	wanted   bool // the pump was asked for
	closing  bool // what ends now did so in good order
	stalled  bool // between Stall and Rouse
	storming bool // since Storm: who is ended comes back
	cause    error
	code     ws.CloseCode // of the close frame, for Closed
	wait     int64        // Retry-After of a refusal, for Closed
	owed     int          // publications on their way to subscriptions that count
	lastGot  int64        // when one arrived, or a peer was on its way back
	everOpen int          // peers that were ready once
	under    int          // peers on their first way to ready

	count   engine.Counters
	results Results
}

// channel is what is known of one.
type channel struct {
	epoch     string
	published uint32
	receivers uint32
}

// task is what the crowd is at. step is called at every Tick, after something that may matter to it, and in every pass while it
// returns true.
type task interface {
	step(now int64) (busy bool)
	stop(now int64)
}

// New makes a crowd; it holds nothing before Run.
func New(cfg Config) (*Crowd, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.defaults()
	e := &Crowd{
		cfg: cfg, wire: wire.New(cfg.offer(), cfg.Run), done: make(chan error, 4), seed: maphash.MakeSeed(),
		op:     ws.Text,
		layout: newLayout(cfg.Channels, cfg.Subscriptions), byName: make(map[string]uint32, cfg.Channels),
		peers: make([]peer, cfg.Connections), subs: make([]sub, cfg.Connections*cfg.Subscriptions), channels: make([]channel, cfg.Channels),
		cache:   make([]cached, cacheSlots),
		results: newResults(),
	}
	e.count.Causes = map[string]int{}
	if cfg.Encoding == proto.Protobuf {
		e.op = ws.Binary
	}
	if cfg.Resume {
		e.tokens = make([][]byte, cfg.Connections)
	}
	for i := range cfg.Channels {
		name := cfg.name(i)
		e.byName[name] = uint32(i)
		quoted, _ := json.Marshal(name) // a string
		e.quoted = append(e.quoted, quoted)
	}
	for i := range cfg.Stuck {
		e.peers[i].flags = peerStuck
	}
	for range cfg.Posters {
		e.posters = append(e.posters, &poster{e: e})
	}
	var err error
	if e.filler, err = message.NewFiller(cfg.PayloadBytes); err != nil {
		return nil, err
	}
	e.pong = proto.AppendPong(nil, cfg.Encoding)
	narrowed := func(sys poll.Sys) poll.Sys {
		e.sys = &narrow{Sys: sys}
		return e.sys
	}
	e.group, err = loop.New(cfg.loopConfig(e.panicked, narrowed), func(l *loop.Loop) []loop.Handler {
		e.l = l
		e.wire.Attach(l)
		return []loop.Handler{kindClient: (*client)(e), kindPoster: (*posting)(e)}
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Run serves until Close. The error is the loop's.
func (e *Crowd) Run() error { return e.group.Run(context.Background()) }

// Tick moves things on; call it every few milliseconds, from any goroutine.
func (e *Crowd) Tick() {
	if e.ticking.CompareAndSwap(false, true) && e.post(ticked) != nil {
		e.ticking.Store(false)
	}
}

func ticked(e *Crowd) {
	e.ticking.Store(false)
	if e.step() {
		e.wake()
	}
	e.publish()
}

// Done receives one value for every task that ended: nil, or what stopped it.
func (e *Crowd) Done() <-chan error { return e.done }

// Stop ends the present task early, and publications with it: nothing more is begun, what is under way is awaited. Done follows.
func (e *Crowd) Stop() error {
	return e.post(func(e *Crowd) {
		e.flow = nil
		if e.task != nil {
			e.task.stop(e.now())
			e.wake()
		}
	})
}

// Close ends all connections in good order, and Run. After it nothing counts as died. When ctx is done before, the rest is cut.
func (e *Crowd) Close(ctx context.Context) error {
	if err := e.post(func(e *Crowd) { e.closing, e.flow = true, nil }); err != nil && !errors.Is(err, loop.ErrClosed) {
		return err
	}
	return e.group.Shutdown(ctx)
}

// Path is the path connections are made to.
func (e *Crowd) Path() string { return e.cfg.Path }

// Snapshot is a copy of the counters, as of the last Tick or end of a task.
func (e *Crowd) Snapshot() engine.Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.seen
	c.Causes = maps.Clone(c.Causes)
	return c
}

// Status is where the peers are, as of the last Tick or end of a task.
func (e *Crowd) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}

// Census looks at every subscription now. Any goroutine; it waits for the loop.
func (e *Crowd) Census() (engine.Census, error) {
	answer := make(chan engine.Census, 1)
	if err := e.post(func(e *Crowd) { answer <- e.census() }); err != nil {
		return engine.Census{}, err
	}
	return <-answer, nil
}

// call is a function as a message.
type call struct {
	e *Crowd
	f func(*Crowd)
}

// Deliver implements loop.Message.
func (c call) Deliver(*loop.Loop) { c.f(c.e) }

func (e *Crowd) post(f func(*Crowd)) error { return e.group.Loop(0).Post(call{e, f}) }

// begin starts a task.
func (e *Crowd) begin(t task) {
	if e.task != nil {
		e.done <- errors.New("crowd: a task is under way")
		return
	}
	e.task = t
	e.wake()
}

// finish ends the present task.
func (e *Crowd) finish(err error) {
	if e.task == nil {
		return
	}
	e.task = nil
	e.publish()
	select {
	case e.done <- err:
	default: // nobody listens any more
	}
}

// step wakes sleepers, makes the publications that are due and moves the task on.
func (e *Crowd) step() (busy bool) {
	now := e.now()
	busy = e.redial(now)
	if e.flow != nil {
		busy = e.flow.step(now) || busy
	}
	if e.task != nil {
		busy = e.task.step(now) || busy
	}
	return busy
}

// wake has everything looked at in the next pass.
func (e *Crowd) wake() {
	e.wanted = true
	if !e.spinning {
		e.spinning = true
		e.l.Work((*pump)(e))
	}
}

// pump is the Crowd as the loop's work.
type pump Crowd

// Slice implements loop.Work.
func (p *pump) Slice(*loop.Loop) (more bool) {
	e := (*Crowd)(p)
	e.wanted = false
	busy := e.step()
	e.spinning = !e.closing && (busy || e.wanted || e.cfg.BusyPoll)
	return e.spinning
}

// now is the time of the present callback in Unix nanoseconds.
func (e *Crowd) now() int64 { return e.l.Clock().UnixNano() }

// publish makes the counters visible to other goroutines.
func (e *Crowd) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = e.count
	e.seen.Causes = maps.Clone(e.count.Causes)
	e.status = e.results.Status
	e.status.Away = len(e.sleepers)
}

// panicked makes a recovered panic the end of the task: nothing that is counted afterwards could be trusted.
func (e *Crowd) panicked(value any, stack []byte) {
	e.finish(fmt.Errorf("crowd: panic, a bug of the load test: %v\n%s", value, stack))
}

// subsOf are the subscriptions of a peer.
func (e *Crowd) subsOf(number uint32) []sub {
	k := uint32(e.cfg.Subscriptions)
	return e.subs[number*k : (number+1)*k]
}
