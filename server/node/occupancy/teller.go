package occupancy

import (
	"context"
	"strings"
	"sync"
	"time"

	"shoal/pool/queue"
	"shoal/pool/worker"
	"shoal/server/backend"
	"shoal/server/channel"
)

const (
	// Delay is how long a change must have lasted before the backend is told, and the time
	// between two tries.
	Delay = 2 * time.Second
	// TellingMax is how many tries are under way at most: the workers are there for
	// questions of clients.
	TellingMax = 8

	tryTimeout = 10 * time.Second
)

// Config is what a Teller needs. All fields but Backend are required.
type Config struct {
	Backend  backend.Backend // nil: nobody is told
	Rules    *channel.Rules
	Workers  *worker.Pool
	Occupied func(name string) bool // says whether a channel has members now; called with a lock held
	Failed   func()                 // counts a try that failed
}

// Teller tells the backend of channels. Use [New]. Safe for concurrent use.
type Teller struct {
	cfg Config

	mu      sync.Mutex // held for one channel at a time: loops wait for it
	now     time.Time  // of the last Tell
	noted   map[string]struct{}
	changed []string          // of those noted: what the next Tell dates
	waiting queue.FIFO[batch] // of those noted: what it has dated
	telling int               // of those noted: what the backend is being told of
	told    map[string]bool   // channels the backend takes for occupied
}

// batch are channels that changed within the same second.
type batch struct {
	names []string
	due   time.Time // when to look at them
}

// New returns a Teller that knows of no channel.
func New(cfg Config) *Teller {
	return &Teller{cfg: cfg, noted: map[string]struct{}{}, told: map[string]bool{}}
}

// Changed notes that a channel has its first member or lost its last one. The name is
// copied. It does not wait for the backend.
func (t *Teller) Changed(name string) {
	if t.cfg.Backend == nil {
		return
	}
	opts, e := t.cfg.Rules.Resolve(name)
	if e != nil || !t.cfg.Backend.Handles(backend.ChannelState, name, opts) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, noted := t.noted[name]; !noted {
		name = strings.Clone(name)
		t.noted[name] = struct{}{}
		t.changed = append(t.changed, name)
	}
}

// Tell has the backend told of what has changed and lasted. To be called about once a
// second.
func (t *Teller) Tell(now time.Time) {
	t.mu.Lock()
	t.now = now
	if len(t.changed) > 0 {
		t.waiting.Push(batch{t.changed, now.Add(Delay)})
		t.changed = nil
	}
	t.mu.Unlock()
	for t.next() {
	}
}

// Pending says how many channels are noted, how many the backend takes for occupied, and
// whether there is something to do before the next Tell.
func (t *Teller) Pending() (noted, told int, busy bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.noted), len(t.told), t.telling > 0 || t.due()
}

func (t *Teller) due() bool { return t.waiting.Len() > 0 && !t.now.Before(t.waiting.First().due) }

// next looks at the channel that has waited longest; false when none is due, or the
// backend is told of as many as may be.
func (t *Teller) next() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.telling == TellingMax || !t.due() {
		return false
	}
	b := t.waiting.First()
	name := b.names[0]
	if occupied := t.cfg.Occupied(name); occupied == t.told[name] {
		delete(t.noted, name)
	} else {
		one := &try{teller: t, request: backend.ChannelStateRequest{Channel: name, Occupied: occupied, Time: t.now.UnixMilli()}}
		if t.cfg.Workers.SubmitClass(context.Background(), worker.Basic, one) != nil {
			return false
		}
		t.telling++
	}
	if b.names = b.names[1:]; len(b.names) == 0 {
		t.waiting.Pop()
	}
	return true
}

// try is one try to tell of one channel.
type try struct {
	teller  *Teller
	request backend.ChannelStateRequest
}

// Run implements [worker.Job]. Whoever has told of one channel has the next one told of.
func (o *try) Run(ctx context.Context) {
	t, took := o.teller, false
	defer func() { // also when a callback panics
		t.ended(&o.request, took)
		for t.next() {
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	took = t.cfg.Backend.ChannelState(ctx, &o.request) == nil
}

// ended notes how a try ended. The channel is looked at again: it may have changed
// meanwhile, or is tried once more.
func (t *Teller) ended(r *backend.ChannelStateRequest, took bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.telling--
	t.changed = append(t.changed, r.Channel)
	switch {
	case !took:
		t.cfg.Failed()
	case r.Occupied:
		t.told[r.Channel] = true
	default:
		delete(t.told, r.Channel)
	}
}
