package node

import (
	"context"
	"strings"
	"sync"
	"time"

	"shoal/pool/queue"
	"shoal/pool/worker"
	"shoal/server/backend"
)

// states tells the backend which channels are occupied and which were vacated. What it
// is told lags behind by stateDelay, so that a page that is loaded anew tells nothing; it
// is told again until it took it, and of one channel one thing after the other. Safe for
// concurrent use.
type states struct {
	node *Node

	mu      sync.Mutex // held for one channel at a time: loops wait for it
	now     time.Time  // of the last TellStates
	noted   map[string]struct{}
	changed []string               // of those noted: what the next TellStates dates
	waiting queue.FIFO[stateBatch] // of those noted: what it has dated
	telling int                    // of those noted: what the backend is being told of
	told    map[string]bool        // channels the backend takes for occupied
}

// stateBatch are channels that changed within the same second.
type stateBatch struct {
	names []string
	due   time.Time // when to look at them
}

const (
	stateDelay   = 2 * time.Second  // how long a change must have lasted; the time between two tries
	stateTimeout = 10 * time.Second // bounds one try
	tellingMax   = 8                // tries under way: the workers are there for questions of clients
)

func (s *states) init(n *Node) {
	s.node, s.noted, s.told = n, map[string]struct{}{}, map[string]bool{}
}

// note notes that a channel has its first member or lost its last one. The name is
// copied. It does not wait for the backend.
func (s *states) note(name string) {
	n := s.node
	if n.cfg.Backend == nil {
		return
	}
	opts, e := n.cfg.Session.Rules.Resolve(name)
	if e != nil || !n.cfg.Backend.Handles(backend.ChannelState, name, opts) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, noted := s.noted[name]; !noted {
		name = strings.Clone(name)
		s.noted[name] = struct{}{}
		s.changed = append(s.changed, name)
	}
}

// TellStates has the backend told of what has changed and lasted. To be called about once
// a second, on any goroutine.
func (n *Node) TellStates(now time.Time) {
	s := &n.states
	s.mu.Lock()
	s.now = now
	if len(s.changed) > 0 {
		s.waiting.Push(stateBatch{s.changed, now.Add(stateDelay)})
		s.changed = nil
	}
	s.mu.Unlock()
	for s.next() {
	}
}

// next looks at the channel that has waited longest; false when none is due, or the
// backend is told of as many as may be.
func (s *states) next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.telling == tellingMax || s.waiting.Len() == 0 {
		return false
	}
	b := s.waiting.First()
	if s.now.Before(b.due) {
		return false
	}
	name := b.names[0]
	if occupied := s.node.dir.Lookup(bytesOf(name)).Loops != 0; occupied == s.told[name] {
		delete(s.noted, name)
	} else {
		t := &stateTold{states: s, request: backend.ChannelStateRequest{Channel: name, Occupied: occupied, Time: s.now.UnixMilli()}}
		if s.node.cfg.Workers.SubmitClass(context.Background(), worker.Basic, t) != nil {
			return false
		}
		s.telling++
	}
	if b.names = b.names[1:]; len(b.names) == 0 {
		s.waiting.Pop()
	}
	return true
}

// stateTold is one try.
type stateTold struct {
	states  *states
	request backend.ChannelStateRequest
}

// Run implements [worker.Job]. Whoever has told of one channel has the next one told of.
func (t *stateTold) Run(ctx context.Context) {
	s, took := t.states, false
	defer func() { // also when a callback panics
		s.ended(t, took)
		for s.next() {
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	took = s.node.cfg.Backend.ChannelState(ctx, &t.request) == nil
}

// ended notes how a try ended. The channel is looked at again: it may have changed
// meanwhile, or is tried once more.
func (s *states) ended(t *stateTold, took bool) {
	name := t.request.Channel
	s.mu.Lock()
	defer s.mu.Unlock()
	s.telling--
	s.changed = append(s.changed, name)
	switch {
	case !took:
		s.node.stats.StatesFailed.Add(1)
	case t.request.Occupied:
		s.told[name] = true
	default:
		delete(s.told, name)
	}
}
