package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
	"shoal/loadtest/watch"
	"shoal/tuning"
)

// The marks, in their order.
const (
	markStart     = "start"
	markConnected = "connected"
	markIdle      = "idle"    // before the traffic, after Settle; for scenario idle after Duration
	markTraffic   = "traffic" // the last message has arrived
	markAfter     = "after"   // after another Settle
	markHeld      = "held"    // at the end of Hold
)

// ErrFailed is what Run's error is when the test took place and something went wrong; the report says what.
var ErrFailed = errors.New("the load test failed")

// Run carries out a load test. It returns a report whenever connections were attempted: also when ctx ends, which ends the test
// early in good order, and when it failed, in which case the error wraps ErrFailed. The report is nil when the test could not
// begin; the error then says what to change.
func Run(ctx context.Context, cfg Config, s Surroundings) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	proc := os.DirFS("/proc")
	t, err := cfg.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if err := cfg.checkLimits(tuning.ReadHost(), cfg.sources(t)); err != nil {
		return nil, err
	}
	cfg.await(ctx, t)
	for _, pid := range cfg.ServerPIDs {
		if _, err := observe.ReadProcess(proc, strconv.Itoa(pid)); err != nil {
			return nil, fmt.Errorf("--server-pid %d cannot be read: %w; give the process id of a server on this host", pid, err)
		}
	}
	r := &run{cfg: cfg, s: s, proc: proc, began: s.Clock(), ended: make(chan error, 1), control: make(chan string)}
	sources, err := cfg.metricsSources(t)
	if err != nil {
		return nil, err
	}
	r.observer = &observe.Observer{Proc: proc, PIDs: cfg.ServerPIDs, Sources: sources}
	if cfg.Scenario.presses() {
		r.press = &press{}
	}
	engineConfig := cfg.engineConfig(t, &s)
	if r.d, err = engine.New(engineConfig); err != nil {
		return nil, advise(err)
	}
	r.show = newProgress(s.Progress, s.Terminal)
	r.report = &Report{
		Version: s.Version, Scenario: cfg.Scenario, Target: "ws://" + t.host + engineConfig.Path, Encoding: cfg.Encoding, Payload: cfg.PayloadBytes,
		BusyPoll: cfg.BusyPoll, Started: r.began.UTC(), Connections: Connections{Asked: cfg.Connections, AskedRate: cfg.ConnectRate},
	}
	if cfg.EchoPath == "" {
		r.report.Channel = cfg.Channel
	}
	return r.run(ctx)
}

// run is one load test under way.
type run struct {
	cfg      Config
	s        Surroundings
	d        engine.Driver
	press    *press // nil for idle, fanout and echo
	observer *observe.Observer
	watch    *watch.Watch
	mute     bool    // the target told no metrics when it was first asked
	before   reading // before the traffic
	after    reading
	proc     fs.FS
	show     *progress
	report   *Report
	began    time.Time
	ended    chan error  // the engine's Run
	control  chan string // lines of the control input; nil after its end
	released bool        // the control input has ended
	last     engine.Census
	told     int // publications of others that an event told of
}

func (r *run) run(outer context.Context) (*Report, error) {
	ctx, cancel := context.WithTimeoutCause(outer, r.cfg.Timeout, fmt.Errorf("the time limit of %s (--timeout) is over", r.cfg.Timeout))
	defer cancel()
	go func() { r.ended <- r.d.Run() }()
	if r.s.Control != nil {
		go listen(r.s.Control, r.control, ctx.Done())
	}
	r.watch = watch.Start(watch.Config{Clock: r.s.Clock, Began: r.began, Observer: r.observer, Count: r.count})
	err := r.phases(ctx)
	r.report.Timeline = &Timeline{Samples: r.watch.Stop()}
	switch {
	case outer.Err() != nil:
		r.report.Interrupted = true
	case ctx.Err() != nil:
		err = errors.Join(err, context.Cause(ctx))
	}
	err = errors.Join(err, r.close())
	r.complete(err)
	r.event("report", map[string]any{"report": r.report})
	if !r.report.OK {
		return r.report, fmt.Errorf("%w: %s", ErrFailed, strings.Join(r.report.Failures, "; "))
	}
	return r.report, nil
}

// phases goes through the test. The error is what ended it early, beyond what the counters tell.
func (r *run) phases(ctx context.Context) error {
	r.mark(markStart)
	r.event("start", map[string]any{"pid": os.Getpid(), "connections": r.cfg.Connections})
	if err := r.task(ctx, "connecting", engine.Order{Connect: &engine.Connect{Rate: r.cfg.ConnectRate, Window: r.cfg.Window}}); err != nil {
		return advise(err)
	}
	r.mark(markConnected)
	r.event("connected", r.counts())
	if r.d.Snapshot().Ready == 0 && ctx.Err() == nil {
		return engine.ErrAllGone
	}
	pause := r.cfg.Settle
	if r.cfg.Scenario == Idle {
		pause = r.cfg.Duration
	}
	if err := r.hold(ctx, "holding", pause, false); err != nil {
		return err
	}
	r.mark(markIdle)
	traffic := r.traffic
	if r.press != nil {
		traffic = r.pressure
	}
	if err := traffic(ctx); err != nil {
		return err
	}
	if r.cfg.Hold && ctx.Err() == nil {
		r.event("ready", r.counts())
		if err := r.hold(ctx, "held until the control input ends", 0, true); err != nil {
			return err
		}
		r.mark(markHeld)
	}
	return nil
}

// traffic is what the scenarios differ in.
func (r *run) traffic(ctx context.Context) (err error) {
	cfg := &r.cfg
	switch cfg.Scenario {
	case Fanout:
		if err := r.look(ctx, &r.before); err != nil {
			return err
		}
		r.event("publishing", r.counts())
		err = r.task(ctx, "publishing", engine.Order{Fanout: &engine.Fanout{
			Count: cfg.Publications, Burst: cfg.Burst, Rate: cfg.PublishRate, ByAPI: cfg.Via == "api", Grace: cfg.Grace,
		}})
	case Echo:
		r.event("echoing", r.counts())
		via := engine.ViaPublish
		if cfg.EchoPath != "" {
			via = engine.ViaBare
		}
		err = r.task(ctx, "echoing", engine.Order{Echo: &engine.Echo{
			Via: via, Duration: cfg.Duration, Active: cfg.Active, Rate: cfg.MessageRate, Grace: cfg.Grace,
		}})
	default:
		return nil
	}
	r.mark(markTraffic)
	r.event("delivered", r.counts())
	if cfg.Scenario == Fanout {
		_ = r.look(ctx, &r.after) // a target that has ended fails the test otherwise
	}
	return r.settle(ctx, err)
}

// reading are metrics and when they were read.
type reading struct {
	observe.Measures
	at time.Time
}

// look reads the metrics of the target; that there are none is an error only where they were asked for.
func (r *run) look(ctx context.Context, into *reading) (err error) {
	into.at = r.s.Clock()
	if into.Measures, err = r.observer.Measures(context.WithoutCancel(ctx)); r.cfg.Metrics != "" {
		return err
	}
	return nil
}

// settle waits after the traffic, which ended with err, and measures memory once more.
func (r *run) settle(ctx context.Context, err error) error {
	if errors.Is(err, engine.ErrGrace) {
		err = nil // the counters say how many
	}
	if err != nil {
		return advise(err)
	}
	if err := r.hold(ctx, "settling", r.cfg.Settle, false); err != nil {
		return err
	}
	r.mark(markAfter)
	return nil
}

const (
	tickBusy = 5 * time.Millisecond  // while a task has something to pace
	tickIdle = 50 * time.Millisecond // while connections are held
)

// task starts one task of the engine and waits for its end. When ctx ends the task is stopped and still waited for: what is
// under way arrives, or its grace is over.
func (r *run) task(ctx context.Context, name string, o engine.Order) error {
	if ctx.Err() != nil {
		return nil
	}
	if err := r.d.Order(o); err != nil {
		return err
	}
	ticker := time.NewTicker(tickBusy)
	defer ticker.Stop()
	stopped := ctx.Done()
	for {
		select {
		case err := <-r.d.Done():
			r.show.phase(r.line(name))
			return err
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("the event loop ended: %w", err)
		case <-stopped:
			stopped = nil
			if err := r.d.Stop(); err != nil {
				return err
			}
		case line, ok := <-r.control:
			r.command(line, ok)
		case <-ticker.C:
			r.d.Tick()
			r.sample()
			r.show.update(r.s.Clock(), func() string { return r.line(name) })
		}
	}
}

// hold keeps the connections for a time, or until the control input ends.
func (r *run) hold(ctx context.Context, name string, d time.Duration, untilReleased bool) error {
	if !untilReleased && d <= 0 || ctx.Err() != nil {
		return nil
	}
	pause := tickIdle
	if r.press != nil {
		pause = tickBusy // it publishes meanwhile
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	until := r.s.Clock().Add(d)
	for untilReleased && !r.released || r.s.Clock().Before(until) {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.ended:
			r.ended <- err
			return fmt.Errorf("the event loop ended: %w", err)
		case line, ok := <-r.control:
			r.command(line, ok)
		case <-ticker.C:
			r.d.Tick()
			r.sample()
			r.tellOthers()
			r.show.update(r.s.Clock(), func() string { return r.line(name) })
			if r.d.Snapshot().Ready == 0 {
				return engine.ErrAllGone
			}
		}
	}
	r.show.phase(r.line(name))
	return nil
}

// listen passes on the lines of the control input, and its end, until nobody wants them any more.
func listen(in io.Reader, to chan<- string, done <-chan struct{}) {
	defer close(to)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		select {
		case to <- lines.Text():
		case <-done:
			return
		}
	}
}

// command carries out one line of the control input.
func (r *run) command(line string, ok bool) {
	if !ok {
		r.control, r.released = nil, true
		return
	}
	switch word, rest, _ := strings.Cut(strings.TrimSpace(line), " "); word {
	case "":
	case "mark":
		r.d.Tick()
		if census, err := r.d.Census(); err == nil { // also orders the mark behind the tick
			r.last = census
		}
		m := r.mark(strings.TrimSpace(rest))
		r.event("mark", map[string]any{"mark": m, "counts": r.counts(), "census": r.last})
	default:
		r.event("error", map[string]any{"error": fmt.Sprintf("unknown command %q; there is: mark NAME", word)})
	}
}

// tellOthers writes an event for every publication of others that all connections have received.
func (r *run) tellOthers() {
	n := r.d.Snapshot().Whole
	if r.s.Events == nil || n <= r.told {
		return
	}
	if all, err := r.d.Results(); err == nil && len(all.Others) >= n {
		r.told = n
		r.event("received", map[string]any{"publications": n, "last": Publication(all.Others[n-1])})
	}
}

// mark notes what the processes have used until now. At rest the target is asked for its metrics, too.
func (r *run) mark(name string) Mark {
	c := r.d.Snapshot()
	m := Mark{
		Name: name, Seconds: r.s.Clock().Sub(r.began).Seconds(), Ready: c.Ready, Received: c.Received + c.Others, Heartbeats: c.Pongs + c.PingFrames,
	}
	atRest := slices.Contains([]string{markStart, markConnected, markIdle, markAfter, markHeld}, name)
	if err := r.observer.Look(context.Background(), &m, atRest && !r.mute); err != nil && name == markStart {
		r.mute = true // later ones may only be slow
		r.watch.Mute()
	}
	r.report.Marks = append(r.report.Marks, m)
	return m
}

// count tells the timeline what the engine counted.
func (r *run) count(into *timeline.Reading) {
	c := r.d.Snapshot()
	into.Ready, into.Dialed, into.Received = c.Ready, c.Dialed, c.Received+c.Others
}

// closeTime bounds the good-bye; what is left then is cut.
const closeTime = 10 * time.Second

// close takes a last look at the connections and ends them.
func (r *run) close() error {
	r.d.Tick()
	if census, err := r.d.Census(); err == nil {
		r.last = census
	}
	r.event("closing", r.counts())
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := r.d.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	r.show.end()
	return <-r.ended
}
