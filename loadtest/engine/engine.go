package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/books"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/mint"
	"shoal/loadtest/engine/narrow"
	"shoal/loadtest/engine/poster"
	"shoal/loadtest/engine/retry"
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

// Engine drives the connections of one member. Use [New].
type Engine struct {
	// Immutable after New.
	cfg    Config
	group  *loop.Group
	filler *message.Filler
	op     ws.Op  // of the messages sent
	pong   []byte // the answer to an application ping
	hello  []byte // the connect command, where all have the same
	seed   maphash.Seed
	layout *layout.Layout
	each   int      // subscriptions of each connection
	quoted [][]byte // names of the shared channels as JSON
	// ownQuoted is how those of own channels begin.
	ownQuoted []byte
	idFirst   uint32 // id of the first command that is no subscribe

	// Any goroutine.
	done    chan error    // a task ended
	ended   chan struct{} // Run has returned
	ticking atomic.Bool
	mu      sync.Mutex
	seen    Snapshot // as of the last publish
	late    sync.Mutex

	// Owned by the loop's goroutine; after the loop has ended by who holds late.
	l        *loop.Loop
	sys      *narrow.Sys       // nil when nobody is to be stuck
	conns    slab.Column[conn] // by slot
	peers    []peer
	books    *books.Books
	tokens   [][]byte // to resume
	decoder  proto.ReplyDecoder
	cache    []cached
	recent   uint64 // index of the last looked at
	wire     *wire.Wire
	mint     mint.Mint
	posters  *poster.Pool
	scratch  []byte
	name     []byte
	task     task
	flow     *flow
	sleepers retry.Sleepers
	alarm    int64 // when the loop is to look again; 0 = not asked
	spinning bool  // the pump is among the loop's works
	wanted   bool  // the pump was asked for
	closing  bool  // what ends now did so in good order
	stalled  bool  // between Stall and Rouse
	storming bool  // since Storm: who is ended comes back
	away     int64 // nobody cut by the last Storm comes back before
	cause    error
	code     ws.CloseCode // of the close frame, for Closed
	wait     int64        // Retry-After of a refusal, for Closed
	pending  int          // publications without an answer
	lastGot  int64        // when a message arrived, or a peer was on its way back
	everOpen int          // peers that were ready once
	under    int          // peers on their first way to ready
	refusal  error        // the first of the API during the flow

	count  Counters
	status Status
}

var _ Driver = (*Engine)(nil)

// task is what the engine is at. step is called at every Tick, after something that may matter to it, and in every pass while it
// returns true.
type task interface {
	step(now int64) (busy bool)
	stop(now int64) // no more; what is under way may arrive
}

// New makes an engine; it holds nothing of the system before Run.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.defaults()
	e := &Engine{
		cfg: cfg, wire: wire.New(cfg.offer(), cfg.Run), done: make(chan error, 4), ended: make(chan struct{}), seed: maphash.MakeSeed(),
		op: ws.Text, layout: cfg.layout(), mint: mint.New(cfg.Secret),
		peers: make([]peer, cfg.Connections),
	}
	e.each = e.layout.Each()
	e.idFirst = idSubscribe + uint32(e.each)
	if cfg.Encoding == proto.Protobuf {
		e.op = ws.Binary
	}
	if cfg.Resume {
		e.tokens = make([][]byte, cfg.Connections)
	}
	for i := range cfg.Channels {
		quoted, _ := json.Marshal(e.layout.Name(layout.Ref(i))) // a string
		e.quoted = append(e.quoted, quoted)
	}
	ownQuoted, _ := json.Marshal(strings.TrimSuffix(e.layout.Name(layout.Own(0)), "0"))
	e.ownQuoted = ownQuoted[:len(ownQuoted)-1]
	for i := range cfg.Stuck {
		e.peers[i].flags = peerStuck
	}
	e.posters = poster.New(append([]API{cfg.API}, cfg.Also...), cfg.Posters, e.confirmed)
	var err error
	if e.filler, err = message.NewFiller(cfg.PayloadBytes); err != nil {
		return nil, err
	}
	e.books = books.New(books.Config{
		Peers: cfg.Connections, First: cfg.First, Index: cfg.Index, Of: cfg.Of, Channels: cfg.Channels, Stuck: cfg.Stuck,
		Positions: cfg.Positions, Run: cfg.Run, Layout: e.layout, Filler: e.filler, Counters: &e.count, Status: &e.status,
	})
	e.books.Results().Codes = map[string]int{}
	e.hello = e.command(nil, &proto.Command{Id: idConnect, Connect: e.greeting(cfg.Token)})
	e.pong = proto.AppendPong(nil, cfg.Encoding)
	narrowed := func(sys poll.Sys) poll.Sys {
		e.sys = &narrow.Sys{Sys: sys}
		return e.sys.Whole()
	}
	e.group, err = loop.New(cfg.loopConfig(e.panicked, narrowed), func(l *loop.Loop) []loop.Handler {
		e.l = l
		e.wire.Attach(l)
		e.posters.Attach(l, kindPoster)
		return []loop.Handler{kindClient: (*client)(e), kindPoster: e.posters}
	})
	if err != nil {
		return nil, err
	}
	e.publish()
	return e, nil
}

// Run serves until Close. The error is the loop's.
func (e *Engine) Run() error {
	defer close(e.ended)
	return e.group.Run(context.Background())
}

// Tick moves the present task on; call it every few milliseconds, from any goroutine.
func (e *Engine) Tick() {
	if e.ticking.CompareAndSwap(false, true) && e.post(ticked) != nil {
		e.ticking.Store(false)
	}
}

func ticked(e *Engine) {
	e.ticking.Store(false)
	if e.step() {
		e.wake()
	}
	e.publish()
}

// Done receives one value for every task that ended: nil, or what stopped it.
func (e *Engine) Done() <-chan error { return e.done }

// Order begins an order.
func (e *Engine) Order(o Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	cannot, err := ask(e, func(e *Engine) error { return e.carry(&o) })
	return errors.Join(cannot, err)
}

// carry begins an order, on the loop.
func (e *Engine) carry(o *Order) (err error) {
	if o.Task() && e.task != nil {
		return errors.New("engine: another task is under way; wait for Done, or Stop it")
	}
	now := e.now()
	switch {
	case o.Connect != nil:
		e.task = e.connect(*o.Connect, now)
	case o.Flow != nil:
		err = e.pour(*o.Flow, now)
	case o.Fanout != nil:
		e.task, err = e.fanout(*o.Fanout, now)
	case o.Echo != nil:
		e.task, err = e.echo(*o.Echo, now)
	case o.Stall != nil:
		e.stall(now)
	case o.Rouse != nil:
		e.rouse(now)
	case o.Storm != nil:
		e.task = e.storm(*o.Storm, now)
	case o.Churn != nil:
		e.task = e.churn(*o.Churn, now)
	case o.Drain != nil:
		e.task, err = e.drain(*o.Drain, now)
	}
	if err != nil {
		return err
	}
	e.wake()
	return nil
}

// Stop ends the present task early, and the flow with it: nothing more is begun, what is under way is awaited. Done follows.
func (e *Engine) Stop() error {
	return e.post(func(e *Engine) {
		e.flow = nil
		if e.task != nil {
			e.task.stop(e.now())
			e.wake()
		}
	})
}

// Close ends all connections in good order, and Run. After it nothing counts as died. When ctx is done before, the rest is cut.
func (e *Engine) Close(ctx context.Context) error {
	if err := e.post(func(e *Engine) {
		e.publish()
		e.closing, e.flow = true, nil
		e.posters.Close()
	}); err != nil && !errors.Is(err, loop.ErrClosed) {
		return err
	}
	return e.group.Shutdown(ctx)
}

// Snapshot is a copy of the counters, as of the last Tick or end of a task.
func (e *Engine) Snapshot() Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.seen
	s.Causes = maps.Clone(s.Causes)
	return s
}

// Census looks at every connection now.
func (e *Engine) Census() (Census, error) { return ask(e, (*Engine).census) }

// Published is how much this member published to each shared channel.
func (e *Engine) Published() ([]uint32, error) {
	return ask(e, func(e *Engine) []uint32 { return e.books.Published() })
}

// Results are the distributions and what became of everybody, as of now, also after Run has returned.
func (e *Engine) Results() (Results, error) {
	select {
	case <-e.ended:
		e.late.Lock()
		defer e.late.Unlock()
		return e.books.Tell(), nil
	default:
	}
	r, err := ask(e, func(e *Engine) Results { return e.books.Tell() })
	if errors.Is(err, loop.ErrClosed) { // it has ended meanwhile
		<-e.ended
		e.late.Lock()
		defer e.late.Unlock()
		return e.books.Tell(), nil
	}
	return r, err
}

// ask waits for what the loop says. When Run has returned nobody answers.
func ask[T any](e *Engine, f func(*Engine) T) (answer T, err error) {
	answers := make(chan T, 1)
	if err := e.post(func(e *Engine) { answers <- f(e) }); err != nil {
		return answer, err
	}
	select {
	case answer = <-answers:
		return answer, nil
	case <-e.ended:
	}
	select {
	case answer = <-answers:
		return answer, nil
	default:
		return answer, loop.ErrClosed
	}
}

// call is a function as a message.
type call struct {
	e *Engine
	f func(*Engine)
}

// Deliver implements loop.Message.
func (c call) Deliver(*loop.Loop) { c.f(c.e) }

func (e *Engine) post(f func(*Engine)) error { return e.group.Loop(0).Post(call{e, f}) }

// finish ends the present task.
func (e *Engine) finish(err error) {
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
func (e *Engine) step() (busy bool) {
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
func (e *Engine) wake() {
	e.wanted = true
	if !e.spinning {
		e.spinning = true
		e.l.Work((*pump)(e))
	}
}

// pump is the Engine as the loop's work: passes that something asked for, or all of them.
type pump Engine

// Slice implements loop.Work.
func (p *pump) Slice(*loop.Loop) (more bool) {
	e := (*Engine)(p)
	e.wanted = false
	busy := e.step()
	e.spinning = !e.closing && (busy || e.wanted || e.cfg.BusyPoll)
	return e.spinning
}

// now is the time of the present callback in Unix nanoseconds, on the clock that all members share.
func (e *Engine) now() int64 { return e.l.Clock().UnixNano() + int64(e.cfg.ClockOffset) }

// number is that of a peer among those of all members.
func (e *Engine) number(peer uint32) uint32 { return uint32(e.cfg.First) + peer }

// publish makes the counters visible to other goroutines.
func (e *Engine) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	causes, n := e.seen.Causes, 0
	for _, k := range e.count.Causes {
		n += k
	}
	for _, k := range causes {
		n -= k
	}
	if n != 0 {
		causes = maps.Clone(e.count.Causes)
	}
	e.seen = Snapshot{Counters: e.count, Status: e.status, Members: 1, Whole: e.books.Whole()}
	e.seen.Causes = causes
	e.seen.Away = e.sleepers.Len()
}

// panicked makes a recovered panic the end of the task: nothing that is counted afterwards could be trusted.
func (e *Engine) panicked(value any, stack []byte) {
	e.finish(fmt.Errorf("engine: panic, a bug of the load test: %v\n%s", value, stack))
}
