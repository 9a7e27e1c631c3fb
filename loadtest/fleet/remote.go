package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// patience are the bounds of what a coordinator and a worker wait for each other.
type patience struct {
	poll    time.Duration // between two questions how a worker is
	silence time.Duration // without any word of the other side
	answer  time.Duration // for an answer
}

func patient() patience {
	return patience{poll: 250 * time.Millisecond, silence: 30 * time.Second, answer: time.Minute}
}

// remote is a worker, seen from its coordinator.
type remote struct {
	name  string
	s     *stream
	clock func() time.Time
	patience
	resources share.Resources
	// ending waits for what the worker's end was, beyond that its stream ended; nil = nothing more can be known. It may be slow.
	ending func(cause error) error
	done   chan error
	out    chan struct{} // gone
	over   chan struct{} // listen has returned: a process has ended
	polls  context.Context
	rest   context.CancelFunc // no more polls

	// Set by begin.
	a *assignment

	mu      sync.Mutex
	pending map[uint64]chan answer
	next    uint64
	quiet   int // polls since the worker said something
	last    state
	results json.RawMessage // as last asked for
	closing bool            // what ends now does so in good order
	why     error
	clocked Offset
}

func newRemote(name string, s *stream, r share.Resources, clock func() time.Time, p patience, ending func(error) error) *remote {
	m := &remote{
		name: name, s: s, clock: clock, patience: p, resources: r, ending: ending, done: make(chan error, 4), out: make(chan struct{}),
		over: make(chan struct{}), pending: map[uint64]chan answer{},
	}
	m.polls, m.rest = context.WithCancel(context.Background())
	go m.listen()
	go m.watch()
	return m
}

// listen reads until the stream ends.
func (m *remote) listen() {
	defer close(m.over)
	var err error
	for err == nil {
		err = m.hear()
	}
	m.s.close(err)
	if errors.Is(err, io.EOF) {
		err = errors.New("ended the connection")
	}
	if m.ending != nil {
		err = m.ending(err)
	}
	m.abandon(err)
}

// hear takes one message.
func (m *remote) hear() error {
	got, err := m.s.read()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.quiet = 0
	switch {
	case got.Answer != nil:
		if got.Answer.State != nil {
			m.last = *got.Answer.State
		}
		to, asked := m.pending[got.Answer.ID]
		if !asked {
			return errors.New("answered what was not asked")
		}
		delete(m.pending, got.Answer.ID)
		to <- *got.Answer
	case got.Ended != nil:
		if got.Ended.State != nil {
			m.last = *got.Ended.State
		}
		select {
		case m.done <- got.Ended.Failure.error():
		default:
			return errors.New("ended more orders than it was given")
		}
	case got.Leaving != "":
		return fmt.Errorf("left: %s", got.Leaving)
	case got.Refused != "":
		return errors.New(got.Refused)
	default:
		return errors.New("sent what a coordinator sends")
	}
	return nil
}

// watch asks how the worker is, now and then, which also tells it that its coordinator is there.
func (m *remote) watch() {
	ticker := time.NewTicker(m.poll)
	defer ticker.Stop()
	asked := false
	var answered chan answer
	for {
		select {
		case <-m.polls.Done():
			return
		case <-answered:
			asked = false
		case <-ticker.C:
			m.mu.Lock()
			m.quiet++ // ticks are counted: after a hold-up of this process what has arrived meanwhile is read first
			silent := time.Duration(m.quiet) * m.poll
			m.mu.Unlock()
			if silent > m.silence {
				m.abandon(fmt.Errorf("was silent for %s", m.silence))
				return
			}
			if asked {
				continue
			}
			var err error
			if answered, err = m.send(ask{Verb: verbState}); err != nil {
				return // listen sees why
			}
			asked = true
		}
	}
}

// send asks without waiting.
func (m *remote) send(a ask) (chan answer, error) {
	m.mu.Lock()
	m.next++
	a.ID = m.next
	to := make(chan answer, 1)
	m.pending[a.ID] = to
	m.mu.Unlock()
	err := m.s.send(message{Ask: &a})
	if err != nil {
		m.mu.Lock()
		delete(m.pending, a.ID)
		m.mu.Unlock()
	}
	return to, err
}

// ask asks and waits, for a time.
func (m *remote) ask(ctx context.Context, a ask) (answer, error) {
	if isGone(m) {
		return answer{}, errGone
	}
	ctx, cancel := context.WithTimeout(ctx, m.answer)
	defer cancel()
	to, err := m.send(a)
	if err != nil && m.s.end.Err() == nil {
		return answer{}, err // the stream is as good as before
	}
	select {
	case got := <-to:
		return got, got.Failure.error()
	case <-m.out: // when it is known what became of the worker
		return answer{}, errGone
	case <-ctx.Done():
		m.abandon(fmt.Errorf("did not answer (%s) within %s", a.Verb, m.answer))
		return answer{}, errGone
	}
}

// abandon gives the worker up. The first cause counts; after Close there is none.
func (m *remote) abandon(cause error) {
	m.mu.Lock()
	first := !isGone(m)
	if first {
		if !m.closing {
			m.why = fmt.Errorf("%s: %w", m.name, cause)
		}
		close(m.out)
	}
	m.mu.Unlock()
	m.rest()
	m.s.close(cause)
}

func (m *remote) gone() <-chan struct{} { return m.out }

func (m *remote) cause() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.why
}

// begin has the worker make its engines and run them.
func (m *remote) begin(ctx context.Context, a *assignment) error {
	m.a = a
	if _, err := m.ask(ctx, ask{Verb: verbBegin, Begin: a}); err != nil {
		if isGone(m) && m.cause() != nil {
			return m.cause()
		}
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return nil
}

// Run returns when the worker is gone.
func (m *remote) Run() error {
	<-m.out
	return m.cause()
}

// Order implements engine.Driver.
func (m *remote) Order(o engine.Order) error {
	_, err := m.ask(context.Background(), ask{Verb: verbOrder, Order: &o})
	return err
}

// Done implements engine.Driver.
func (m *remote) Done() <-chan error { return m.done }

// Stop implements engine.Driver.
func (m *remote) Stop() error {
	_, err := m.ask(context.Background(), ask{Verb: verbStop})
	return err
}

// Tick does nothing: a worker has a clock of its own to move things on.
func (m *remote) Tick() {}

// Snapshot is as the worker last said: a quarter of a second ago, or at the end of an order.
func (m *remote) Snapshot() engine.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.Snapshot
}

// Census implements engine.Driver.
func (m *remote) Census() (c engine.Census, err error) {
	got, err := m.ask(context.Background(), ask{Verb: verbCensus})
	if err == nil && got.Census == nil {
		err = fmt.Errorf("%s: answered without a census", m.name)
	}
	if err != nil {
		return c, err
	}
	return *got.Census, nil
}

// Results implements engine.Driver. Those of a worker that is gone are the last it told.
func (m *remote) Results() (r engine.Results, err error) {
	got, err := m.ask(context.Background(), ask{Verb: verbResults})
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.results = got.Results
	case !isGone(m) || m.results == nil:
		return r, err
	}
	return r, json.Unmarshal(m.results, &r)
}

// Published implements Engine.
func (m *remote) Published() ([]uint32, error) {
	got, err := m.ask(context.Background(), ask{Verb: verbPublished})
	return got.Published, err
}

// Close has the worker end its connections in good order, and then itself.
func (m *remote) Close(ctx context.Context) error {
	within := m.answer
	if until, bounded := ctx.Deadline(); bounded {
		within = max(until.Sub(m.clock()), 0)
	}
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.rest()
	got, err := m.ask(context.WithoutCancel(ctx), ask{Verb: verbClose, Within: within})
	if got.Results != nil { // nobody can be asked later
		m.mu.Lock()
		m.results = got.Results
		m.mu.Unlock()
	}
	m.s.close(io.EOF)
	<-m.out // listen sees the end
	return err
}

// dismiss ends the worker without asking it, and waits until it has ended.
func (m *remote) dismiss() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.rest()
	m.s.close(io.EOF)
	<-m.over
}

func (m *remote) bereft() error {
	for _, e := range m.a.Engines {
		if isGone(m) && publishes(m.a.Config, e.Index) {
			return m.cause()
		}
	}
	return nil
}

func (m *remote) statuses() []MemberStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MemberStatus{
		Name: m.name, PID: m.resources.PID, Ready: m.last.Snapshot.Ready, Died: m.last.Snapshot.Died, RSS: m.last.RSS, Clock: m.clocked,
	}
	if m.a != nil {
		s.Engines, s.Connections = len(m.a.Engines), m.a.connections()
	}
	if m.why != nil {
		s.Died, s.Ready, s.Gone = s.Died+s.Ready, 0, m.why.Error()
	}
	return []MemberStatus{s}
}
