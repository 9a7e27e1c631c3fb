package watch

import (
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"shoal/loop"
	"shoal/server/overload"
	"shoal/server/steer"
	"shoal/tuning"
)

// Config is fixed for the life of a watch. All fields are required unless they say otherwise.
type Config struct {
	Loops  *loop.Group
	Clock  func() time.Time
	Logger *slog.Logger

	Board  *overload.Board // nil: nothing is left undone
	Levels overload.Config
	Evict  func()                 // has every loop close some conns; called at level 3, once a second at most
	Sample func() overload.Sample // in place of what is measured, in tests; nil: that

	SetGCPercent func(percent int) // nil: the collector is left alone
	Headroom     int64             // see steer.Config
	Ledger       func() int64      // bytes without pointers that the server counts itself
}

// Watch is the watch of a node. Use [New]. Once belongs to one goroutine.
type Watch struct {
	cfg       Config
	machine   *overload.Machine // nil: nothing is left undone
	steer     *steer.Steer      // nil: the collector is left alone
	runtime   *Runtime
	soundings []*sounding
	last      time.Time
	lag       loop.Lag // as of then
	evicted   time.Time

	sample [len(overload.Sample{})]atomic.Uint64 // the last one, in millionths
}

// New returns the watch of a node whose loops are there; nil if there is nothing to watch for.
func New(cfg Config) (*Watch, error) {
	if cfg.Board == nil && cfg.SetGCPercent == nil {
		return nil, nil
	}
	w := &Watch{cfg: cfg, runtime: NewRuntime()}
	var err error
	if cfg.Board != nil {
		if w.machine, err = overload.New(cfg.Levels); err != nil {
			return nil, err
		}
		for i := range cfg.Loops.Loops() {
			w.soundings = append(w.soundings, &sounding{l: cfg.Loops.Loop(i), clock: cfg.Clock, epoch: cfg.Clock()})
		}
	}
	if cfg.SetGCPercent != nil {
		if w.steer, err = steer.New(steer.Config{HeadroomMax: cfg.Headroom}, w.runtime.Read().Percent); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Each calls f with every signal and its value in the last sample. Any goroutine.
func (w *Watch) Each(f func(s overload.Signal, value float64)) {
	for s := range w.sample {
		f(overload.Signal(s), float64(w.sample[s].Load())/1e6)
	}
}

// Once is one measurement and what follows from it. The first has nothing to compare with,
// and nothing follows.
func (w *Watch) Once() {
	now := w.cfg.Clock()
	over, first := now.Sub(w.last), w.last.IsZero()
	w.last = now
	figures := w.runtime.Read()
	if w.machine != nil {
		s := w.measure(now, over, &figures)
		if w.cfg.Sample != nil {
			s = w.cfg.Sample()
		}
		if !first {
			w.judge(now, s)
		}
	}
	if w.steer != nil && !first {
		w.tune(&figures, over)
	}
}

// measure takes a sample.
func (w *Watch) measure(now time.Time, over time.Duration, f *Figures) (s overload.Sample) {
	stats := w.cfg.Loops.Stats()
	lag := stats.Lag
	late := lag.Since(w.lag).Waits(0.99, over*time.Duration(len(w.soundings)))
	w.lag = lag
	stall := w.cfg.Loops.Stalled(now)
	for _, each := range w.soundings {
		took, waits := each.send(now)
		late, stall = max(late, took), max(stall, waits)
	}
	s[overload.Lag], s[overload.Stall] = late.Seconds(), stall.Seconds()
	s[overload.GC], s[overload.Memory] = f.Busy, f.memoryPart(tuning.ReadMemory(), stats.Conns)
	return s
}

// judge acts by a sample.
func (w *Watch) judge(now time.Time, s overload.Sample) {
	for sig, value := range s {
		w.sample[sig].Store(uint64(max(value, 0) * 1e6))
	}
	t, changed := w.machine.Step(now, s)
	w.cfg.Board.Post(w.machine.Level(), w.machine.Share(now))
	if changed {
		w.cfg.Board.Count(t)
		w.tell(t)
	}
	if w.machine.Level() == overload.Shedding && now.Sub(w.evicted) >= evictPause {
		w.evicted = now
		w.cfg.Evict()
	}
}

// evictPause is a second, and some room for a measurement that comes early.
const evictPause = 900 * time.Millisecond

// tell logs a transition: why, and what follows.
func (w *Watch) tell(t overload.Transition) {
	now := [...]string{
		"everything is done again; new connections come in by and by, all of them in " + w.machine.Opening().String(),
		"new connections are refused with 503",
		"new connections are refused, joins and leaves are not told, channels of low priority take no subscriptions and publications, basic tenants are not served",
		"as at level 2, and connections are closed: large backlogs first, then idle ones",
	}[t.To]
	if t.Reason == overload.Recovered {
		w.cfg.Logger.Info("overload: the level falls", "from", t.From.String(), "to", t.To.String(), "now", now)
		return
	}
	w.cfg.Logger.Warn("overload: the level rises", "from", t.From.String(), "to", t.To.String(),
		"signal", t.Reason.String(), "value", t.Reason.Format(t.Value), "threshold", t.Reason.Format(t.Limit), "now", now)
}

// tune has the collector give the room that it should.
func (w *Watch) tune(f *Figures, over time.Duration) {
	d := w.steer.Step(steer.Sample{
		Live: f.Live, Scanned: f.Scanned, Roots: f.Roots, Ledger: w.cfg.Ledger(), Collections: f.Collections, Busy: f.Busy, Over: over,
	})
	if d.Percent != 0 {
		w.cfg.SetGCPercent(d.Percent)
	}
	if d.Collect {
		debug.FreeOSMemory()
	}
}
