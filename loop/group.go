package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"shoal/loop/index"
	"shoal/loop/relief"
)

// Group is a number of loops that listen on the same ports and share the limits of the node.
type Group struct {
	cfg   Config
	loops []*Loop
	index index.Index   // of loops without descriptors of their own
	turn  atomic.Uint32 // of Attach

	conns    atomic.Int64 // conns with a descriptor, all loops
	backlog  atomic.Int64 // bytes queued, all loops, give or take grain per loop
	grain    int64
	relief   relief.Relief
	stopping atomic.Uint32 // stopPhase
	phase    atomic.Uint32 // groupMade…
	ended    chan struct{}
}

// stopPhase says how far Shutdown is.
type stopPhase uint32

const (
	stopGraceful stopPhase = 1 // no new conns; the open ones are closed by their handlers
	stopForced   stopPhase = 2 // everything is closed at once
)

const (
	groupMade uint32 = iota
	groupRunning
	groupEnded
	groupCancelled // shut down before it ran
)

// New makes the loops. table is called once per loop and returns its handlers, by Kind; a row may be nil when that
// kind does not occur. The handlers may keep the *Loop, and use it once Run has begun.
func New(cfg Config, table func(l *Loop) []Handler) (*Group, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg.withDefaults(), ended: make(chan struct{})}
	g.grain = min(backlogGrain, g.cfg.NodeBacklogBytesMax/grainPart/int64(g.cfg.Loops))
	g.relief.Init(g.cfg.NodeBacklogBytesMax, g.cfg.Loops)
	for i := range g.cfg.Loops {
		l, err := newLoop(g, i)
		if err != nil {
			return nil, errors.Join(err, g.release())
		}
		g.loops = append(g.loops, l)
		l.handlers = table(l)
	}
	return g, nil
}

// Loops is the number of loops.
func (g *Group) Loops() int { return len(g.loops) }

// Loop is loop i, from 0.
func (g *Group) Loop(i int) *Loop { return g.loops[i] }

func (g *Group) checkKind(kind Kind) error {
	for _, l := range g.loops {
		if int(kind) >= len(l.handlers) || l.handlers[kind] == nil {
			return fmt.Errorf("loop: kind %d has no handler", kind)
		}
	}
	return nil
}

// Listen accepts connections of a kind on addr ("host:port"; an empty host means all addresses of both families, port
// 0 any free port, the same for all loops) and returns the address bound. Any goroutine, before or after Run began.
func (g *Group) Listen(addr string, kind Kind) (netip.AddrPort, error) {
	if err := g.checkKind(kind); err != nil {
		return netip.AddrPort{}, err
	}
	if g.stopping.Load() != 0 {
		return netip.AddrPort{}, ErrClosed
	}
	opts := g.cfg.socketOptions()
	if !g.cfg.SharePort && !strings.HasSuffix(addr, ":0") {
		// The loops' listeners must share the port, and would share it as readily with a forgotten other server: try
		// first whether it can be had alone. (A port chosen by the kernel is always one nobody has.)
		fd, _, err := g.loops[0].sys.Listen(addr, 1, opts)
		if err != nil {
			return netip.AddrPort{}, explain(addr, err)
		}
		_ = g.loops[0].sys.Close(fd)
	}
	opts.SharePort = true
	var made []listener
	for _, l := range g.loops {
		fd, bound, err := l.sys.Listen(addr, g.cfg.ListenBacklog, opts)
		if err == nil {
			made = append(made, listener{fd: fd, kind: kind, bound: bound})
			made[len(made)-1].parcel, err = l.border.In(fd)
			addr = withPort(addr, bound)
		}
		if err != nil {
			for i, ln := range made {
				g.loops[i].border.Revoke(ln.parcel)
				_ = g.loops[i].sys.Close(ln.fd)
			}
			return netip.AddrPort{}, explain(addr, err)
		}
	}
	for i, l := range g.loops {
		l.mu.Lock()
		l.joining = append(l.joining, made[i])
		l.mu.Unlock()
		l.left(made[i].fd)
		if err := l.poller.Wake(); err != nil {
			return netip.AddrPort{}, fmt.Errorf("loop: listen on %s: wake loop %d: %w", addr, i, err)
		}
	}
	return made[0].bound, nil
}

// withPort puts the port that was bound into addr.
func withPort(addr string, bound netip.AddrPort) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(int(bound.Port())))
}

// explain says what to change when a port cannot be had.
func explain(addr string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": the port is in use; stop the program that holds it (ss -ltnp) or choose another port"
	case errors.Is(err, syscall.EACCES):
		hint = ": not permitted; ports below 1024 need CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = ": the host has no such address; use one of its own, or none for all"
	}
	return fmt.Errorf("loop: cannot listen on %s%s: %w", addr, hint, err)
}

// Run serves until Shutdown has ended the loops, or ctx is done, which shuts down with a grace of Config.CloseWait.
// It returns the first failure of a poller, if any. A group runs once.
func (g *Group) Run(ctx context.Context) error {
	if !g.phase.CompareAndSwap(groupMade, groupRunning) {
		if g.phase.Load() == groupCancelled {
			return nil // Shutdown was quicker
		}
		return errors.New("loop: a group runs once")
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.CloseWait+time.Second)
		defer cancel()
		_ = g.Shutdown(grace)
	})
	defer stop()
	errs := make([]error, len(g.loops))
	var wg sync.WaitGroup
	for i, l := range g.loops {
		wg.Go(func() {
			if errs[i] = l.run(); errs[i] != nil {
				g.stop(stopForced)
			}
		})
	}
	wg.Wait()
	err := errors.Join(append(errs, g.release())...)
	g.phase.Store(groupEnded)
	close(g.ended)
	return err
}

// Shutdown ends the group in good order: listeners are closed; handlers that are Shutdowners close their conns, those
// of other handlers are closed by CloseAfter with ReasonShutdown, a slice per pass; when the last conn is gone the
// loops end and Run returns. When ctx is done before, everything is closed at once and the context's error is
// returned. Any goroutine, more than once.
func (g *Group) Shutdown(ctx context.Context) error {
	if g.phase.CompareAndSwap(groupMade, groupCancelled) { // never ran
		for _, l := range g.loops {
			l.finish()
		}
		err := g.release()
		close(g.ended)
		return err
	}
	g.stop(stopGraceful)
	select {
	case <-g.ended:
		return nil
	case <-ctx.Done():
		g.stop(stopForced)
		<-g.ended
		return ctx.Err()
	}
}

// stop moves all loops to a phase.
func (g *Group) stop(phase stopPhase) {
	for old := g.stopping.Load(); old < uint32(phase); old = g.stopping.Load() {
		if g.stopping.CompareAndSwap(old, uint32(phase)) {
			break
		}
	}
	g.wake()
}

// release closes the pollers and the reserve descriptors.
func (g *Group) release() error {
	var errs []error
	for _, l := range g.loops {
		if l.reserve >= 0 && !l.apart() {
			_ = l.sys.Close(l.reserve)
			l.reserve = -1
		}
		errs = append(errs, l.poller.Close())
	}
	return errors.Join(errs...)
}

// stop enters a phase of the shutdown.
func (l *Loop) stop(phase stopPhase) {
	l.stopping = phase
	l.unlisten()
	if l.hasten(); phase == stopForced {
		l.works = nil
		l.conns.Each(func(slot uint32, _ *conn) bool {
			l.drop(slot, ReasonShutdown, nil)
			return true
		})
		return
	}
	w := &farewell{ids: make([]ConnID, 0, l.conns.Len())}
	l.conns.Each(func(slot uint32, _ *conn) bool {
		w.ids = append(w.ids, l.ID(slot))
		return true
	})
	l.Work(w)
}

// farewell closes conns, a slice at a time.
type farewell struct{ ids []ConnID }

// Slice implements Work.
func (w *farewell) Slice(l *Loop) (more bool) {
	n := min(len(w.ids), l.cfg.FlushSlice)
	for _, id := range w.ids[:n] {
		slot, ok := l.Lookup(id)
		if !ok {
			continue
		}
		if h, ok := l.handler(slot).(Shutdowner); ok && l.conns.At(slot).state == stateOpen {
			l.callShutdown(slot, h)
			l.uncork()
		} else {
			l.CloseAfter(slot, nil, ReasonShutdown)
		}
	}
	w.ids = w.ids[n:]
	return len(w.ids) > 0
}

// finish is the end of a loop: nothing is posted any more, what was posted is delivered, everything is closed.
func (l *Loop) finish() {
	l.mailbox.Close()
	l.begin()
	l.stop(stopForced)
	for l.more = true; l.more; {
		l.deliver()
	}
	l.stop(stopForced) // what a message may have dialed
	l.uncork()
	l.reap()
	l.works, l.dirty, l.dirtyAt = nil, nil, 0
	l.publishBacklog()
	l.publish()
}
