package watch

import (
	"context"
	"sync/atomic"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
)

// Config says what to look at. All fields are required.
type Config struct {
	Clock    func() time.Time
	Began    time.Time // the start of the test
	Observer *observe.Observer
	Count    func(*timeline.Reading) // fills in Ready, Dialed and Received; any goroutine
}

// Watch is a test being watched.
type Watch struct {
	cfg   Config
	mute  atomic.Bool
	end   context.CancelFunc
	ended chan struct{}

	// Of the goroutine, until it has ended.
	line    timeline.Line
	cpu     time.Duration         // of the target, as of the last sample
	lag     time.Duration         // for the next one
	seen    observe.Measures      // by the last glance
	pending chan observe.Measures // a glance under way; nil = none
	asked   time.Duration         // when it began
	spent   time.Duration         // cpu then
}

const (
	share        = 0.02                    // of the time that looks may take, of this process and of the target's
	waitMax      = time.Second             // between looks: one that took long may only have waited for a processor
	glanceCPU    = 1500 * time.Microsecond // what a look at its metrics costs the target, about
	glancePeriod = time.Second             // at least
	glanceSeldom = 5 * time.Second         // where the target's processor time is not known
)

// Start begins. Stop has to follow.
func Start(cfg Config) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{cfg: cfg, end: cancel, ended: make(chan struct{})}
	go w.run(ctx)
	return w
}

// Mute has it ask for no metrics from now on: there are none.
func (w *Watch) Mute() { w.mute.Store(true) }

// Stop takes a last look and ends the watching; its outcome is what was seen. Once.
func (w *Watch) Stop() []timeline.Sample {
	w.end()
	<-w.ended
	return w.line.Samples()
}

func (w *Watch) run(ctx context.Context) {
	defer close(w.ended)
	ticker := time.NewTicker(timeline.Period)
	defer ticker.Stop()
	wait, last := time.Duration(0), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			w.sample()
			if w.pending != nil {
				<-w.pending // ctx ends it, too
			}
			return
		case <-ticker.C:
			at := w.now()
			if at-last < wait || !w.line.Due(at) {
				continue
			}
			w.sample()
			w.glance(ctx, at)
			last, wait = at, min(time.Duration(float64(w.now()-at)/share), waitMax)
		}
	}
}

// now is the time since the start of the test.
func (w *Watch) now() time.Duration { return w.cfg.Clock().Sub(w.cfg.Began) }

// sample adds a reading to the line.
func (w *Watch) sample() {
	one, o := timeline.Reading{At: w.now()}, w.cfg.Observer
	w.cfg.Count(&one)
	one.CPU, one.RSS = o.ServerUsage()
	one.SelfCPU, one.SelfRSS = o.SelfUsage()
	one.Sockets, one.Buffers = o.Sockets()
	one.Lag, w.lag = w.lag, 0
	w.line.Add(one)
	w.cpu = one.CPU
}

// glance asks for the metrics beside everything else, when that is little against what the target did since the last time.
func (w *Watch) glance(ctx context.Context, at time.Duration) {
	if w.pending != nil {
		select {
		case m := <-w.pending:
			w.pending = nil
			if w.seen != nil && m != nil {
				w.lag = observe.LongestPass(w.seen, m)
			}
			w.seen = m
		default:
		}
		return
	}
	due := at-w.asked >= glancePeriod && float64(w.cpu-w.spent)*share >= float64(glanceCPU)
	if w.cpu == 0 {
		due = at-w.asked >= glanceSeldom
	}
	if w.mute.Load() || !due {
		return
	}
	w.asked, w.spent, w.pending = at, w.cpu, make(chan observe.Measures, 1)
	go func(to chan<- observe.Measures) {
		m, _ := w.cfg.Observer.Measures(ctx) // none now: perhaps the next time
		to <- m
	}(w.pending)
}
