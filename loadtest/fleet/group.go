package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"shoal/loadtest/engine"
)

// Engine is what a member is made of.
type Engine interface {
	engine.Driver
	// Published is how many publications were made to each shared channel.
	Published() ([]uint32, error)
}

// member is a part of a group.
type member interface {
	Engine
	// gone is closed when the member carries nothing any more; cause is why, nil when it was closed in good order.
	gone() <-chan struct{}
	cause() error
	// abandon gives the member up.
	abandon(cause error)
	// bereft is why a shared channel has nobody any more who publishes to it; nil when all of the member's have.
	bereft() error
	statuses() []MemberStatus
}

// group carries out each order on all its members, and adds up what they say. One that is gone is left out, and what it was last
// known to hold counts as died.
type group struct {
	members []member
	bound   time.Duration // for an order to end after Stop
	done    chan error

	mu      sync.Mutex
	stopped chan struct{} // of the order under way, closed by Stop; nil = none is
}

// boundDefault is long enough for any wait for what is missing (grace) that makes sense.
const boundDefault = 3 * time.Minute

func newGroup(members []member) *group {
	return &group{members: members, bound: boundDefault, done: make(chan error, 4)}
}

// Run serves until Close.
func (g *group) Run() error {
	var all sync.WaitGroup
	for _, m := range g.members {
		all.Go(func() { _ = m.Run() }) // what went wrong is its cause
	}
	all.Wait()
	return nil
}

// Done receives one value for every order that ended.
func (g *group) Done() <-chan error { return g.done }

// left are the members that are not gone.
func (g *group) left() (left []member) {
	for _, m := range g.members {
		if !isGone(m) {
			left = append(left, m)
		}
	}
	return left
}

func isGone(m member) bool {
	select {
	case <-m.gone():
		return true
	default:
		return false
	}
}

var errBusy = errors.New("an order is under way")

// Order begins an order at all members. When only some refuse, those that began are stopped, and Done says why.
func (g *group) Order(o engine.Order) error {
	stopped := make(chan struct{})
	if o.Task() {
		g.mu.Lock()
		if g.stopped != nil {
			g.mu.Unlock()
			return errBusy
		}
		g.stopped = stopped
		g.mu.Unlock()
	}
	members := g.left()
	errs := each(members, func(_ int, m member) error { return m.Order(o) })
	var began []member
	var refused []error
	for i, m := range members {
		switch {
		case isGone(m), errors.Is(errs[i], errNobody):
		case errs[i] != nil:
			refused = append(refused, errs[i])
		default:
			began = append(began, m)
		}
	}
	err := merge(refused)
	if len(began) == 0 {
		if err == nil {
			err = g.nobody(errs)
		}
		if o.Task() {
			g.ended()
		}
		return err
	}
	if !o.Task() {
		return err
	}
	go g.await(began, stopped, err)
	return nil
}

// errNobody: all members are gone.
var errNobody = errors.New("nobody is left to do it")

// isLost says whether err is only that somebody is gone.
func isLost(err error) bool { return errors.Is(err, errGone) || errors.Is(err, errNobody) }

// nobody says why all are gone, who said that of an order.
func (g *group) nobody(errs []error) error {
	for _, err := range errs {
		if errors.Is(err, errNobody) {
			return err
		}
	}
	for _, m := range g.members {
		if isGone(m) && m.cause() != nil {
			return fmt.Errorf("%w: %w", errNobody, m.cause())
		}
	}
	return errNobody
}

// ended lets the next order begin.
func (g *group) ended() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = nil
}

// await waits until the order has ended at all members, or they are gone. refused is why others did not begin.
func (g *group) await(members []member, stopped chan struct{}, refused error) {
	if refused != nil {
		_ = g.Stop()
	}
	given := make(chan struct{}) // so long after Stop nobody waits any more
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
			return
		case <-stopped:
		}
		ctx, cancel := context.WithTimeout(context.Background(), g.bound)
		defer cancel()
		select {
		case <-over:
		case <-ctx.Done():
			close(given)
		}
	}()
	errs := each(members, func(_ int, m member) error {
		select {
		case err := <-m.Done():
			return err
		case <-m.gone():
		case <-given:
			m.abandon(fmt.Errorf("did not end an order within %s of being told to", g.bound))
		}
		select {
		case err := <-m.Done(): // it ended, and then went
			return err
		default:
			return errGone
		}
	})
	close(over)
	err := merge(append(errs, refused))
	if !slices.ContainsFunc(errs, func(err error) bool { return !isLost(err) }) {
		err = g.nobody(errs)
	}
	g.ended()
	g.done <- err
}

// namedMax is how many different errors of members are said.
const namedMax = 6

// errGone: a member is gone. It is no error of the others.
var errGone = errors.New("the member is gone")

// merge makes one error of those of all members. What the counters tell of some (all its connections are gone) is no error of all.
// Texts that are the same are said once.
func merge(errs []error) error {
	var texts []error
	seen := map[string]bool{}
	counted, first := map[error]int{}, map[error]error{}
	ends := 0
	for _, err := range errs {
		switch {
		case isLost(err):
			continue
		case err == nil:
		case errors.Is(err, engine.ErrAllGone), errors.Is(err, engine.ErrGrace), errors.Is(err, engine.ErrAway):
			for _, kind := range kinds() {
				if errors.Is(err, kind) {
					counted[kind]++
					first[kind] = cmp.Or(first[kind], err)
				}
			}
		default:
			if !seen[err.Error()] && len(texts) < namedMax {
				seen[err.Error()] = true
				texts = append(texts, err)
			}
			continue
		}
		ends++
	}
	switch {
	case len(texts) == 1:
		return texts[0]
	case len(texts) > 0:
		return errors.Join(texts...)
	case counted[engine.ErrAway] > 0:
		return first[engine.ErrAway]
	case counted[engine.ErrGrace] > 0:
		return first[engine.ErrGrace]
	case counted[engine.ErrAllGone] > 0 && counted[engine.ErrAllGone] == ends:
		return first[engine.ErrAllGone]
	}
	return nil
}

// each does something with all members at once.
func each(members []member, do func(i int, m member) error) []error {
	errs := make([]error, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		all.Go(func() { errs[i] = do(i, m) })
	}
	all.Wait()
	return errs
}

// hurry bounds the wait for the end of the present order.
func (g *group) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped != nil {
		select {
		case <-g.stopped:
		default:
			close(g.stopped)
		}
	}
}

// Stop ends the present order, and the flow, early. What is under way is awaited, for so long at most.
func (g *group) Stop() error {
	g.hurry()
	members := g.left()
	return merge(forgive(members, each(members, func(_ int, m member) error { return m.Stop() })))
}

// forgive leaves out the errors of members that are gone.
func forgive(members []member, errs []error) []error {
	for i, m := range members {
		if isGone(m) {
			errs[i] = nil
		}
	}
	return errs
}

// Tick moves things on.
func (g *group) Tick() {
	for _, m := range g.members {
		if !isGone(m) {
			m.Tick()
		}
	}
}

// Snapshot is the sum of all, those that are gone included.
func (g *group) Snapshot() (sum engine.Snapshot) {
	for _, m := range g.members {
		s := m.Snapshot()
		if isGone(m) && m.cause() != nil {
			s = buried(s, m.cause())
		}
		sum.Add(s)
	}
	if sum.Whole == math.MaxInt { // nobody is left
		sum.Whole = 0
	}
	return sum
}

// bereft implements member.
func (g *group) bereft() error {
	for _, m := range g.members {
		if err := m.bereft(); err != nil {
			return err
		}
	}
	return nil
}

// buried is what becomes of what a member was last known to hold.
func buried(s engine.Snapshot, cause error) engine.Snapshot {
	under := max(s.Dialed-s.Ready-s.Failed-s.Died, 0)
	causes := map[string]int{}
	for text, n := range s.Causes {
		causes[text] = n
	}
	if n := s.Ready + under; n > 0 {
		causes[cause.Error()] += n
	}
	s.Causes = causes
	s.Whole = math.MaxInt // it has no connections to which something of others did not come
	s.Died, s.Failed, s.Ready = s.Died+s.Ready, s.Failed+under, 0
	return s
}

// Census looks at everybody who is left.
func (g *group) Census() (sum engine.Census, err error) {
	return gather(g, member.Census, (*engine.Census).Add)
}

// Results are those of all, of members that are gone as they were last asked for.
func (g *group) Results() (engine.Results, error) {
	return gather(g, member.Results, (*engine.Results).Add)
}

// Published is how many publications all members made to each shared channel.
func (g *group) Published() ([]uint32, error) {
	return gather(g, member.Published, func(sum *[]uint32, more []uint32) {
		for i, n := range more {
			if i == len(*sum) {
				*sum = append(*sum, 0)
			}
			(*sum)[i] += n
		}
	})
}

// gather asks all members and adds up what they say; what the first says is the beginning.
func gather[T any](g *group, ask func(member) (T, error), add func(*T, T)) (sum T, err error) {
	answers := make([]T, len(g.members))
	errs := each(g.members, func(i int, m member) (err error) {
		answers[i], err = ask(m)
		return err
	})
	first := true
	for i, answer := range answers {
		switch {
		case errs[i] != nil:
		case first:
			sum, first = answer, false
		default:
			add(&sum, answer)
		}
	}
	return sum, merge(forgive(g.members, errs))
}

// Close ends all connections in good order, and Run; also those of a member that was given up.
func (g *group) Close(ctx context.Context) error {
	return merge(forgive(g.members, each(g.members, func(_ int, m member) error { return m.Close(ctx) })))
}
