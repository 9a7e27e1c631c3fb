package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
	"shoal/pool/slab"
)

// The rows of the loop's handler table.
const (
	kindClient loop.Kind = iota
	kindAPI
)

// Engine drives the connections of one process. Use [New].
type Engine struct {
	// Immutable after New.
	cfg    Config
	group  *loop.Group
	filler *message.Filler
	op     ws.Op  // of the messages sent
	hello  []byte // the connect command
	pong   []byte // the answer to an application ping
	seed   maphash.Seed

	// Any goroutine.
	done    chan error // a task ended
	ticking atomic.Bool
	mu      sync.Mutex
	seen    Counters // as of the last publish

	// Owned by the loop's goroutine.
	l        *loop.Loop
	conns    slab.Column[conn]
	slots    []uint32 // by number of the connection: slot+1, 0 = gone
	decoder  proto.ReplyDecoder
	cache    [cacheFrames]cached
	wire     *wire.Wire
	api      *api
	scratch  []byte
	task     task
	spinning bool // the pump is among the loop's works
	wanted   bool // the pump was asked for
	closing  bool // conns that end do not die
	cause    error
	owed     int   // messages on their way to conns that are ready
	lastGot  int64 // when one arrived
	everOpen int   // conns that were ready once

	count   Counters
	records []Publication // of this run
	others  []Publication // of others
	whole   int           // of others, received by all
	hist    Histograms
}

// task is what the engine is at. step is called again and again on the loop: at every Tick, after something that may matter
// to it happened, and in every pass while it returns true.
type task interface {
	step(now int64) (busy bool)
	stop(now int64) // no more; what is under way may arrive
}

// New makes an engine; it holds nothing before Run.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.defaults()
	e := &Engine{
		cfg: cfg, wire: wire.New(cfg.offer(), cfg.Run), done: make(chan error, 4), seed: maphash.MakeSeed(),
		op:    ws.Text,
		slots: make([]uint32, cfg.Connections),
		hist:  newHistograms(),
	}
	e.count.Causes = map[string]int{}
	if cfg.Encoding == proto.Protobuf {
		e.op = ws.Binary
	}
	var err error
	if e.filler, err = message.NewFiller(cfg.PayloadBytes); err != nil {
		return nil, err
	}
	connect := proto.Command{Id: idConnect, Connect: &proto.ConnectRequest{Token: cfg.Token, Name: "shoal-loadtest"}}
	if e.hello, err = proto.AppendCommand(nil, cfg.Encoding, &connect); err != nil {
		return nil, fmt.Errorf("engine: the connect command: %w", err)
	}
	e.pong = proto.AppendPong(nil, cfg.Encoding)
	e.group, err = loop.New(cfg.loopConfig(e.panicked), func(l *loop.Loop) []loop.Handler {
		e.l = l
		e.wire.Attach(l)
		e.api = &api{e: e}
		return []loop.Handler{kindClient: (*client)(e), kindAPI: e.api}
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Run serves until Close. The error is the loop's.
func (e *Engine) Run() error { return e.group.Run(context.Background()) }

// Tick moves the present task on; call it every few milliseconds, from any goroutine. With BusyPoll it is not needed for pace,
// only for Snapshot.
func (e *Engine) Tick() {
	if e.ticking.CompareAndSwap(false, true) && e.post(ticked) != nil {
		e.ticking.Store(false)
	}
}

func ticked(e *Engine) {
	e.ticking.Store(false)
	e.step()
	e.publish()
}

// Done receives one value for every task that ended: nil, or what stopped it.
func (e *Engine) Done() <-chan error { return e.done }

// Stop ends the present task early: nothing more is begun, what is under way is awaited. Done follows.
func (e *Engine) Stop() error {
	return e.post(func(e *Engine) {
		if e.task != nil {
			e.task.stop(e.now())
			e.wake()
		}
	})
}

// Close ends all connections in good order, and Run. After it nothing counts as died. When ctx is done before, the rest is cut.
func (e *Engine) Close(ctx context.Context) error {
	if err := e.post(func(e *Engine) { e.closing = true }); err != nil && !errors.Is(err, loop.ErrClosed) {
		return err
	}
	return e.group.Shutdown(ctx)
}

// Snapshot is a copy of the counters, as of the last Tick or end of a task.
func (e *Engine) Snapshot() Counters {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.seen
	c.Causes = maps.Clone(c.Causes)
	return c
}

// Results are the histograms and the publications of this run and of others. Call it after Run has returned.
func (e *Engine) Results() (h Histograms, own, others []Publication) {
	return e.hist, e.records, e.others
}

// Census looks at every connection now. Any goroutine; it waits for the loop.
func (e *Engine) Census() (Census, error) {
	answer := make(chan Census, 1)
	err := e.post(func(e *Engine) { answer <- e.census() })
	if err != nil {
		return Census{}, err
	}
	return <-answer, nil
}

// Whole is how many publications of others all connections have received, with the times of the last of them.
func (e *Engine) Whole() (int, Publication, error) {
	type reply struct {
		n int
		p Publication
	}
	answer := make(chan reply, 1)
	err := e.post(func(e *Engine) {
		r := reply{n: e.whole}
		if r.n > 0 {
			r.p = e.others[r.n-1]
		}
		answer <- r
	})
	if err != nil {
		return 0, Publication{}, err
	}
	r := <-answer
	return r.n, r.p, nil
}

// call is a function as a message.
type call struct {
	e *Engine
	f func(*Engine)
}

// Deliver implements loop.Message.
func (c call) Deliver(*loop.Loop) { c.f(c.e) }

func (e *Engine) post(f func(*Engine)) error { return e.group.Loop(0).Post(call{e, f}) }

// begin starts a task.
func (e *Engine) begin(t task) {
	if e.task != nil {
		e.done <- errors.New("engine: a task is under way")
		return
	}
	e.task = t
	e.wake()
}

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

// step moves the task on.
func (e *Engine) step() (busy bool) {
	if e.task == nil {
		return false
	}
	return e.task.step(e.now())
}

// wake has the task looked at in the next pass.
func (e *Engine) wake() {
	e.wanted = true
	if !e.spinning {
		e.spinning = true
		e.l.Work((*pump)(e))
	}
}

// pump is the Engine as the loop's work: passes that the task asked for, or all of them.
type pump Engine

// Slice implements loop.Work.
func (p *pump) Slice(*loop.Loop) (more bool) {
	e := (*Engine)(p)
	e.wanted = false
	busy := e.step()
	e.spinning = busy || e.wanted || e.cfg.BusyPoll && !e.closing
	return e.spinning
}

// now is the time of the present callback in Unix nanoseconds.
func (e *Engine) now() int64 { return e.l.Clock().UnixNano() }

// publish makes the counters visible to other goroutines.
func (e *Engine) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	causes := e.seen.Causes
	if len(causes) != len(e.count.Causes) || e.seen.ended() != e.count.ended() {
		causes = maps.Clone(e.count.Causes)
	}
	e.seen = e.count
	e.seen.Causes = causes
}

// panicked makes a recovered panic the end of the task: nothing that is counted afterwards could be trusted.
func (e *Engine) panicked(value any, stack []byte) {
	e.finish(fmt.Errorf("engine: panic, a bug of the load test: %v\n%s", value, stack))
}

// census counts all connections.
func (e *Engine) census() Census {
	s := Census{Alike: true}
	first := true
	var digest uint64
	for _, at := range e.slots {
		if at == 0 {
			continue
		}
		c := e.conns.At(at - 1)
		if c.step != stepReady {
			continue
		}
		got, others := int(c.track.Got), int(c.others)
		if first {
			first, digest = false, c.digest
			s.GotMin, s.OthersMin = got, others
		}
		s.Ready++
		s.GotMin, s.GotMax = min(s.GotMin, got), max(s.GotMax, got)
		s.OthersMin, s.OthersMax = min(s.OthersMin, others), max(s.OthersMax, others)
		s.Alike = s.Alike && c.digest == digest
		if lost := e.expected(c) - got; lost > 0 {
			s.Lost += lost
			s.Short++
		}
	}
	return s
}

// expected is how many messages of this run the connection should have received.
func (e *Engine) expected(c *conn) int { return e.count.Published + int(c.sent) - int(c.refused) }

// Path is the path connections are made to.
func (e *Engine) Path() string { return e.cfg.Path }
