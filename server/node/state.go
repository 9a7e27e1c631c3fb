package node

import (
	"context"
	"strings"
	"sync"
	"time"

	"shoal/server/backend"
)

// states tells the backend which channels are occupied and which were vacated. What it
// is told lags behind by stateDelay, so that a page that is loaded anew tells nothing; it
// is told again until it took it, and of one channel one thing after the other. Safe for
// concurrent use.
type states struct {
	node *Node
	mu   sync.Mutex
	due  map[string]time.Time // channels that changed: when to look at them
	told map[string]bool      // channels the backend takes for occupied
}

// stateDelay is how long a change must have lasted, and the time between two tries.
const stateDelay = 2 * time.Second

func (s *states) init(n *Node) {
	s.node, s.due, s.told = n, map[string]time.Time{}, map[string]bool{}
}

// changed notes that a channel has its first member or lost its last one. The name is
// copied. It does not wait for the backend.
func (s *states) changed(name string) {
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
	if _, waits := s.due[name]; !waits {
		s.due[strings.Clone(name)] = time.Time{} // the next look dates it
	}
}

// TellStates tells the backend what has changed and lasted. To be called about once a
// second, on any goroutine.
func (n *Node) TellStates(now time.Time) {
	s := &n.states
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, due := range s.due {
		switch {
		case due.IsZero():
			s.due[name] = now.Add(stateDelay)
			continue
		case now.Before(due):
			continue
		}
		occupied := n.dir.Lookup(bytesOf(name)).Loops != 0
		if occupied == s.told[name] {
			delete(s.due, name)
			continue
		}
		t := &stateTold{states: s, request: backend.ChannelStateRequest{Channel: name, Occupied: occupied, Time: now.UnixMilli()}}
		if n.cfg.Workers.Submit(context.Background(), t) == nil {
			s.due[name] = now.Add(stateTimeout) // not before this try has ended
		}
	}
}

// stateTimeout bounds one try.
const stateTimeout = 10 * time.Second

// stateTold is one try.
type stateTold struct {
	states  *states
	request backend.ChannelStateRequest
}

// Run implements [worker.Job].
func (t *stateTold) Run(ctx context.Context) {
	s, name, occupied := t.states, t.request.Channel, t.request.Occupied
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	err := s.node.cfg.Backend.ChannelState(ctx, &t.request)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due[name] = time.Time{} // look again: it may have changed meanwhile, or is tried once more
	switch {
	case err != nil:
		s.node.stats.StatesFailed.Add(1)
	case occupied:
		s.told[name] = true
	default:
		delete(s.told, name)
	}
}
