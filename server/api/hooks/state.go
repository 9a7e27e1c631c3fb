package hooks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"shoal/server/backend"
)

// ErrPending is the cause when a channel-state event is refused because too many wait.
var ErrPending = errors.New("too many channel-state events wait for the backend; make it faster or raise StatePendingMax")

const (
	stateBatch    = 100 // events in one request
	stateDelayMin = 100 * time.Millisecond
	stateDelayMax = 10 * time.Second
)

// pending are the channel-state events that wait for one endpoint, in order. One queue
// for all channels keeps the order of each: a batch that failed is sent again before
// what comes behind it.
type pending struct {
	max  int
	wake chan struct{} // holds one when events came

	turn chan struct{} // holds one while a batch is being sent: one sender at a time

	mu     sync.Mutex // guards the rest
	events []stateEvent
}

func newPending(limit int) *pending {
	return &pending{max: limit, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

func (p *pending) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.events)
}

func (p *pending) put(e stateEvent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.events) >= p.max {
		return false
	}
	p.events = append(p.events, e)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return true
}

// first copies the events that go next; done removes them.
func (p *pending) first() []stateEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]stateEvent(nil), p.events[:min(len(p.events), stateBatch)]...)
}

func (p *pending) done(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events = p.events[n:]; len(p.events) == 0 {
		p.events = nil // give the array back
	}
}

// ChannelState implements [backend.Backend]. It takes the event and does not wait: one of
// the Senders delivers it, again and again until the backend answers without an error.
// The error is of kind [KindPending].
func (h *Hooks) ChannelState(_ context.Context, r *backend.ChannelStateRequest) error {
	l, refusal := h.channelLine(backend.ChannelState, r.Channel)
	if refusal.Refused() {
		return refusal.Err
	}
	e := stateEvent{TimeMS: r.Time, Channel: r.Channel, Type: "vacated"}
	if r.Occupied {
		e.Type = "occupied"
	}
	if !l.pending.put(e) {
		return l.fail(KindPending, ErrPending)
	}
	return nil
}

// Senders deliver channel-state events, one sender for each endpoint. The program runs
// each on a goroutine of its own; it ends, with nil, with its context.
func (h *Hooks) Senders() []func(ctx context.Context) error {
	var out []func(ctx context.Context) error
	for _, l := range h.lines {
		if l.pending != nil {
			out = append(out, l.send)
		}
	}
	return out
}

func (l *line) send(ctx context.Context) error {
	delay := stateDelayMin
	for ctx.Err() == nil {
		n, err := l.sendBatch(ctx)
		switch {
		case err != nil:
			_ = l.cfg.Sleep(ctx, delay/2+time.Duration(l.cfg.Random()*float64(delay/2)))
			delay = min(2*delay, stateDelayMax)
		case n > 0:
			delay = stateDelayMin
		default:
			select {
			case <-l.pending.wake:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// sendBatch sends what goes next and says how much that was.
func (l *line) sendBatch(ctx context.Context) (int, error) {
	select {
	case l.pending.turn <- struct{}{}:
		defer func() { <-l.pending.turn }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	batch := l.pending.first()
	if len(batch) == 0 {
		return 0, nil
	}
	a, err := ask[*stateResult](ctx, l, &backend.Client{}, &request{Events: batch})
	if err != nil {
		return 0, err
	}
	if refusal := a.refusal(); refusal.Err != nil {
		return 0, refusal.Err
	} else if refusal.Disconnect != nil {
		return 0, refusal.Disconnect
	}
	l.pending.done(len(batch))
	return len(batch), nil
}

// Close sends the channel-state events that wait, until ctx ends or a backend fails, and
// closes the conns.
// Nothing may be asked afterwards. The error says how many events were lost.
func (h *Hooks) Close(ctx context.Context) error {
	lost := 0
	for _, l := range h.lines {
		if l.pending == nil {
			continue
		}
		for {
			if n, err := l.sendBatch(ctx); n == 0 || err != nil {
				break
			}
		}
		lost += l.pending.len()
	}
	for _, ep := range h.endpoints {
		ep.caller.close()
	}
	if lost > 0 {
		return fmt.Errorf("hooks: %d channel-state events were not delivered before the shutdown", lost)
	}
	return nil
}
