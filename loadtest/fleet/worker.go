package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// Make makes an engine, or what behaves like one.
type Make func(engine.Config) (Engine, error)

// Worker carries out the orders of a coordinator on engines of its own. Fields without a stated zero meaning are required.
type Worker struct {
	Build     string
	Key       string // it shares with the coordinator; "" = none
	Clock     func() time.Time
	Resources share.Resources
	Make      Make

	patience patience // zero = patient()
}

const (
	tickBusy = 5 * time.Millisecond  // while an order is under way, or publications flow
	tickIdle = 50 * time.Millisecond // otherwise
	// asksMax is how many questions may wait for the one before.
	asksMax = 16
	// leaveTime bounds the end of a worker that lost its coordinator, or has to go.
	leaveTime = 5 * time.Second
)

// errEnded: the coordinator ended the stream, without which it cannot go on.
var errEnded = errors.New("the coordinator has ended the connection before the load test was over")

// Serve serves one coordinator over a stream until that ends or ctx does, and closes the stream. The connections are closed then,
// in good order if that takes no longer than a moment. The error is nil when the coordinator had them closed before.
func (w Worker) Serve(ctx context.Context, rwc io.ReadWriteCloser) error {
	if w.patience == (patience{}) {
		w.patience = patient()
	}
	s := newStream(rwc)
	name, err := present(ctx, s, identity{build: w.Build, key: w.Key, nonce: newNonce()}, w.Resources)
	if err != nil {
		return err
	}
	v := &service{Worker: w, name: name, s: s, asks: make(chan ask, asksMax)}
	v.ctx, v.end = context.WithCancelCause(ctx)
	go v.listen()
	var all sync.WaitGroup
	all.Go(v.tick)
	v.work()
	v.leave()
	all.Wait()
	if err := context.Cause(v.ctx); err != errEnded || !v.closed {
		return err
	}
	return nil
}

// service is a worker at work.
type service struct {
	Worker
	name string
	s    *stream
	asks chan ask
	ctx  context.Context // until the worker goes
	end  context.CancelCauseFunc

	// Any goroutine.
	quiet  atomic.Int64 // nanoseconds of ticks since the coordinator said something
	flows  atomic.Bool  // publications flow
	orders atomic.Int32 // under way
	crew   atomic.Pointer[crew]
	turn   sync.Mutex // held while a question is answered

	// Of work's goroutine.
	ran    chan struct{} // the crew's Run has returned; nil without one. forward waits for it, too
	closed bool          // the connections, by the coordinator's order
}

// listen reads until the stream ends. How things are is answered at once, whatever else is going on.
func (v *service) listen() {
	for {
		m, err := v.s.read()
		if errors.Is(err, io.EOF) {
			err = errEnded
		}
		if err == nil && m.Refused != "" {
			err = fmt.Errorf("refused: %s", m.Refused)
		}
		if err == nil && m.Ask == nil {
			err = errors.New("the coordinator sent what a worker sends")
		}
		if err != nil {
			v.end(err)
			return
		}
		v.quiet.Store(0)
		if m.Ask.Verb == verbState {
			v.tell(answer{ID: m.Ask.ID})
			continue
		}
		select {
		case v.asks <- *m.Ask:
		default:
			v.end(fmt.Errorf("the coordinator asked for more than %d things at once", asksMax))
			return
		}
	}
}

// tell sends an answer, with how things are.
func (v *service) tell(a answer) {
	a.State = v.state()
	if err := v.s.send(message{Answer: &a}); err != nil {
		v.end(err)
	}
}

func (v *service) state() *state {
	s := &state{Now: v.Clock().UnixNano(), RSS: residentBytes(os.DirFS("/"))}
	if c := v.crew.Load(); c != nil {
		s.Snapshot = c.Snapshot()
	}
	return s
}

// work answers questions, one after the other, until the worker goes.
func (v *service) work() {
	for {
		select {
		case <-v.ctx.Done():
			return
		case a := <-v.asks:
			v.turn.Lock()
			got, err := v.carryOut(&a)
			got.ID, got.Failure = a.ID, failureOf(err)
			v.tell(got)
			v.turn.Unlock()
		}
	}
}

// carryOut does what was asked for.
func (v *service) carryOut(a *ask) (got answer, err error) {
	c := v.crew.Load()
	switch {
	case a.Verb == verbBegin && a.Begin != nil && c == nil:
		return got, v.begin(a.Begin)
	case a.Verb == verbClose && c == nil:
		v.closed = true
		return got, nil
	case c == nil:
		return got, fmt.Errorf("asked for %q before there were engines", a.Verb)
	}
	switch {
	case a.Verb == verbOrder && a.Order != nil:
		return got, v.order(c, *a.Order)
	case a.Verb == verbStop:
		v.flows.Store(false)
		return got, c.Stop()
	case a.Verb == verbCensus:
		census, err := c.Census()
		got.Census = &census
		return got, err
	case a.Verb == verbResults:
		err = tellResults(c, &got)
		return got, err
	case a.Verb == verbPublished:
		got.Published, err = c.Published()
		return got, err
	case a.Verb == verbClose:
		v.closed = true
		err := v.shut(c, a.Within)
		_ = tellResults(c, &got)
		return got, err
	}
	return got, fmt.Errorf("asked for %q, which this worker does not know", a.Verb)
}

// tellResults puts the results into an answer.
func tellResults(c *crew, got *answer) error {
	results, err := c.Results()
	if err == nil {
		got.Results, err = json.Marshal(results)
	}
	return err
}

// begin makes the engines and runs them.
func (v *service) begin(a *assignment) error {
	c, err := newCrew(v.name, a, v.Make)
	if err != nil {
		return err
	}
	v.ran = make(chan struct{})
	go func() {
		defer close(v.ran)
		if err := c.Run(); err != nil {
			v.end(err)
		}
	}()
	go v.forward(c)
	v.crew.Store(c)
	return nil
}

func (v *service) order(c *crew, o engine.Order) error {
	if o.Task() {
		v.orders.Add(1)
	}
	err := c.Order(o)
	if err != nil && o.Task() {
		v.orders.Add(-1)
	}
	if err == nil {
		switch {
		case o.Flow != nil:
			v.flows.Store(true)
		case o.Drain != nil:
			v.flows.Store(false)
		}
	}
	return err
}

// forward tells how orders end.
func (v *service) forward(c *crew) {
	for {
		select {
		case <-v.ran:
			return
		case err := <-c.Done():
			v.orders.Add(-1)
			v.turn.Lock() // an order is answered before it ends
			err = v.s.send(message{Ended: &ended{Failure: failureOf(err), State: v.state()}})
			v.turn.Unlock()
			if err != nil {
				v.end(err)
			}
		}
	}
}

// tick moves the engines on, and sees when the coordinator is silent.
func (v *service) tick() {
	pace := tickIdle
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-ticker.C:
		}
		if v.quiet.Add(int64(pace)) > int64(v.patience.silence) {
			v.end(fmt.Errorf("the coordinator was silent for %s", v.patience.silence))
			return
		}
		want := tickIdle
		if v.flows.Load() || v.orders.Load() > 0 {
			want = tickBusy
		}
		if want != pace {
			pace = want
			ticker.Reset(pace)
		}
		if c := v.crew.Load(); c != nil {
			c.Tick()
		}
	}
}

// shut ends the connections in good order.
func (v *service) shut(c *crew, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return c.Close(ctx)
}

// leave ends everything.
func (v *service) leave() {
	cause := context.Cause(v.ctx)
	if c := v.crew.Load(); c != nil {
		_ = v.shut(c, leaveTime) // cut is as good here
		<-v.ran
	}
	if cause == errEnded {
		v.s.close(cause)
		return
	}
	v.s.last(message{Leaving: cause.Error()})
}
