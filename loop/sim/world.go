package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"shoal/loop/poll"
)

// Config describes a world. The zero value of a field means what is said there.
type Config struct {
	Seed        uint64
	Loops       int // loops that will run; 0 = 1
	Descriptors int // size of the descriptor table; 0 = 1024
	StepsMax    int // passes before the world is given up as endless; 0 = 1,000,000
	// BufferBytes is the size of each buffer of a new connection, at least 1. nil = 1 B … 64 KiB, mostly small.
	BufferBytes func(rng *rand.Rand) int
	Faults      Faults // zero = a kernel without faults
	// AfterPass is called after every pass of a loop, on its goroutine; an error ends the world. nil = nothing.
	AfterPass func(loop int) error
	// Trace gets one line per event, for reading. nil = nothing.
	Trace func(format string, args ...any)
}

// World is the kernel and everything beyond it. After Run of the loops has begun it belongs to the goroutine that
// holds the baton: to functions given to After, to Peer callbacks and to AfterPass.
type World struct {
	cfg   Config
	rng   *rand.Rand
	now   time.Duration // since epoch
	seq   uint64        // of After, so that equal times keep their order
	after schedule

	files     []file // by descriptor
	listeners []*listener
	peers     []*Peer
	latest    *Peer
	remotes   map[netip.AddrPort]func(p *Peer)
	nextPort  uint16
	links     []*link // established and connecting, for the Break fault

	pollers []*poller
	passes  int
	history uint64 // hash of everything that happened
	counts  map[string]int

	mu      sync.Mutex // guards what follows; the rest is guarded by the baton
	changed sync.Cond  // joined, holder or woken changed
	joined  int
	holder  int // poller that has the baton, -1 = none yet
	err     error
}

// New makes a world. Nothing happens in it before the loops run.
func New(cfg Config) *World {
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	if cfg.Descriptors == 0 {
		cfg.Descriptors = 1024
	}
	if cfg.StepsMax == 0 {
		cfg.StepsMax = 1_000_000
	}
	if cfg.BufferBytes == nil {
		cfg.BufferBytes = mostlySmall
	}
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x5ea)), nextPort: 40000, holder: -1,
		files: make([]file, firstFD), remotes: map[netip.AddrPort]func(*Peer){}, history: 14695981039346656037,
		counts: map[string]int{},
	}
	w.changed.L = &w.mu
	for i := range cfg.Loops {
		w.pollers = append(w.pollers, &poller{world: w, index: i})
	}
	return w
}

// mostlySmall makes buffers in which everything gets stuck sooner or later.
func mostlySmall(rng *rand.Rand) int { return 1 + int(rng.Uint32()>>(16+rng.UintN(12))) }

// Loop is the poller and the system calls of loop i: the loop.Config.NewPoller of a simulation.
func (w *World) Loop(i int) (poll.Poller, poll.Sys, error) {
	if i < 0 || i >= len(w.pollers) {
		return nil, nil, fmt.Errorf("sim: loop %d of a world for %d loops: set sim.Config.Loops", i, len(w.pollers))
	}
	return w.pollers[i], &sys{world: w, loop: i}, nil
}

// Rand is the world's random source; everything that is to be reproducible takes its numbers here.
func (w *World) Rand() *rand.Rand { return w.rng }

// Elapsed is the virtual time since the world began.
func (w *World) Elapsed() time.Duration { return w.now }

// Jump lets time pass in which no loop runs: a stopped process, a machine asleep.
func (w *World) Jump(d time.Duration) { w.now += max(d, 0) }

// Passes is the number of passes that all loops made so far.
func (w *World) Passes() int { return w.passes }

// History is a hash of every event so far: two runs of one seed must agree.
func (w *World) History() uint64 { return w.history }

// Counts is how often each kind of event happened, for statistics: "reuse", "stale", "emfile", "enfile", "aborted",
// "break", "tick-lost", ….
func (w *World) Counts() map[string]int { return w.counts }

// Ticks is how often Tick of a loop was called.
func (w *World) Ticks(loop int) int { return w.pollers[loop].ticks }

// Outside runs do on a goroutine of its own and waits, in real time, until every loop was woken that many times: the
// way to call what blocks until the loops have reacted (Group.Shutdown) or is called by somebody else (cancelling
// Run's context), without losing determinism.
func (w *World) Outside(wakes int, do func()) {
	w.mu.Lock()
	var want []int
	for _, p := range w.pollers {
		want = append(want, p.wakes+wakes)
	}
	w.mu.Unlock()
	go do()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.pollers {
		for p.wakes < want[i] && w.err == nil {
			w.changed.Wait()
		}
	}
}

// SetFaults changes the faults from now on.
func (w *World) SetFaults(f Faults) { w.cfg.Faults = f }

// OpenFiles is the number of descriptors in use.
func (w *World) OpenFiles() int {
	n := 0
	for i := range w.files {
		if w.files[i].kind != fileNone {
			n++
		}
	}
	return n
}

// Peers is every peer there ever was, in order of Peer.Index.
func (w *World) Peers() []*Peer { return w.peers }

// epoch is when every world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// note adds an event to the history and, when somebody reads, to the trace.
func (w *World) note(event string, fd, n int, err error) {
	const prime = 1099511628211
	w.counts[event]++
	h := w.history
	for i := range len(event) {
		h = (h ^ uint64(event[i])) * prime
	}
	h = (h ^ uint64(w.now)) * prime
	h = (h ^ uint64(fd)) * prime
	h = (h ^ uint64(n)) * prime
	if errno, ok := err.(syscall.Errno); ok {
		h = (h ^ uint64(errno)) * prime
	}
	w.history = h
	if w.cfg.Trace != nil {
		w.cfg.Trace("%12s loop %d %-10s fd %d n %d %v", w.now, w.holder, event, fd, n, err)
	}
}

// Fail ends the world with a finding; the first one counts. Run of every loop returns it.
func (w *World) Fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf("after %s, pass %d: "+format, append([]any{w.now, w.passes}, args...)...)
	}
	w.changed.Broadcast()
}

// Err is the first finding, nil while the world is in order.
func (w *World) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
