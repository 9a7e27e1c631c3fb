package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"shoal/loadtest/engine"
)

// puppet is a driver without connections: what was ordered is written down, and what it says is what the test makes it say.
type puppet struct {
	mu     sync.Mutex
	orders []engine.Order
	snap   engine.Snapshot
	refuse error                               // what the next order is answered by
	task   func(engine.Order) (ends error)     // nil = every task ends at once and well
	flow   func(engine.Flow, *engine.Snapshot) // at every order of a flow
	done   chan error
	closed chan struct{}
}

func newPuppet(conns int) *puppet {
	p := &puppet{done: make(chan error, 4), closed: make(chan struct{})}
	p.snap.Ready, p.snap.ReadyMax, p.snap.Members = conns, conns, 1
	return p
}

func (p *puppet) Run() error { <-p.closed; return nil }

func (p *puppet) Order(o engine.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return p.refuse
	}
	if err := o.Validate(); err != nil {
		return errors.Join(errors.New("the order is wrong"), err)
	}
	p.orders = append(p.orders, o)
	switch {
	case o.Flow != nil && p.flow != nil:
		p.flow(*o.Flow, &p.snap)
	case o.Task() && p.task != nil:
		p.done <- p.task(o)
	case o.Task():
		p.done <- nil
	}
	return nil
}

func (p *puppet) Done() <-chan error { return p.done }
func (p *puppet) Stop() error        { return nil }
func (p *puppet) Tick()              {}

func (p *puppet) Snapshot() engine.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.snap
}

func (p *puppet) Census() (engine.Census, error) {
	return engine.Census{Ready: p.Snapshot().Ready, Alike: true}, nil
}
func (p *puppet) Results() (engine.Results, error) { return engine.Results{}, nil }
func (p *puppet) Close(context.Context) error      { close(p.closed); return nil }

// given are all orders so far.
func (p *puppet) given() []engine.Order {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]engine.Order(nil), p.orders...)
}

// driving makes surroundings with the puppet.
func (p *puppet) driving() Surroundings {
	return Surroundings{Clock: time.Now, NewDriver: func(context.Context, engine.Config) (engine.Driver, error) { return p, nil }}
}

func only(all []engine.Order, kind func(engine.Order) bool) (some []engine.Order) {
	for _, o := range all {
		if kind(o) {
			some = append(some, o)
		}
	}
	return some
}

// written are orders as JSON, a line each.
func written(all []engine.Order) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	for _, o := range all {
		_ = e.Encode(o)
	}
	return b.String()
}
