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
	"shoal/loadtest/fleet"
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/progress"
	"shoal/loadtest/report"
	"shoal/loadtest/timeline"
	"shoal/loadtest/watch"
	"shoal/tuning"
)

// ErrFailed is what Run's error is when the test took place and something went wrong; the report says what.
var ErrFailed = errors.New("the load test failed")

// Run carries out a load test. It returns a report whenever connections were attempted: also when ctx ends, which ends the test
// early in good order, and when it failed, in which case the error wraps ErrFailed. The report is nil when the test could not
// begin; the error then says what to change.
func Run(ctx context.Context, cfg Config, s Surroundings) (*report.Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p, err := cfg.plan()
	if err != nil {
		return nil, err
	}
	r := &run{
		cfg: cfg, plan: p, s: s, proc: os.DirFS("/proc"), ended: make(chan error, 1), control: make(chan string),
		show: progress.New(s.Progress, s.Terminal),
	}
	t, err := cfg.resolve(ctx, needsAPI(&p))
	if err != nil {
		return nil, err
	}
	needs := demand{p.Connections.Count, sources(cfg.Sources, p.Connections.Count, t), local(t.remote.Addr())}
	if err := needs.check(tuning.ReadHost(), &s); err != nil {
		return nil, err
	}
	cfg.await(ctx, t)
	for _, pid := range cfg.ServerPIDs {
		if _, err := observe.ReadProcess(r.proc, strconv.Itoa(pid)); err != nil {
			return nil, fmt.Errorf("--server-pid %d cannot be read: %w; give the process id of a server on this host", pid, err)
		}
	}
	sources, err := cfg.metricsSources(t)
	if err != nil {
		return nil, err
	}
	r.observer = &observe.Observer{Proc: r.proc, PIDs: cfg.ServerPIDs, Sources: sources}
	e := cfg.engineConfig(&p, t, &s)
	if r.d, err = s.driver(ctx, e); err != nil {
		return nil, advise(err)
	}
	r.began = s.Clock() // who had to join has joined
	r.report = newReport(&cfg, &p, &s, "ws://"+t.host+e.Path, r.began)
	return r.run(ctx)
}

// needsAPI says whether a plan publishes by the HTTP API.
func needsAPI(p *plan.Plan) bool {
	for f := range p.All() {
		if f.Scenario.Flows() || f.Scenario.Returns() || f.Scenario == Fanout && f.Via == "api" {
			return true
		}
	}
	return false
}

// run is one load test under way.
type run struct {
	cfg      Config
	plan     plan.Plan
	s        Surroundings
	d        engine.Driver
	observer *observe.Observer
	watch    *watch.Watch
	mute     bool    // the target told no metrics when it was first asked
	before   reading // before the traffic
	after    reading
	accepts  [2]observe.Accepts // before and after the traffic
	proc     fs.FS
	show     *progress.View
	report   *report.Report
	began    time.Time
	ended    chan error  // the driver's Run
	control  chan string // lines of the control input; nil after its end
	released bool        // the control input has ended
	flow     *flow       // the publications that go on now; nil = none
	connect  *ramp       // while connections are opened
	meter    meter       // of rates, for the progress
	samples  sampler
	memory   report.Memory
	first    *view           // before the traffic
	last     view            // the last look at everybody
	told     int             // publications of others that an event told of
	at       string          // the name of the phase under way
	present  *plan.Phase     // the one that is beside no other; nil before the first
	since    time.Time       // when it began
	base     engine.Snapshot // as of then
}

func (r *run) run(outer context.Context) (*report.Report, error) {
	limit := r.cfg.timeout(&r.plan)
	ctx, cancel := context.WithTimeoutCause(outer, limit, fmt.Errorf("the time limit of %s is over; give more (--timeout), or ask for less", limit))
	defer cancel()
	go func() { r.ended <- r.d.Run() }()
	if r.s.Control != nil {
		go listen(r.s.Control, r.control, ctx.Done())
	}
	r.observer.Selves = selves(r.proc, membersOf(r.d))
	r.watch = watch.Start(watch.Config{Clock: r.s.Clock, Began: r.began, Observer: r.observer, Count: r.count})
	err := r.whole(ctx)
	r.report.Timeline = &report.Timeline{Samples: r.watch.Stop()}
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

// whole goes through the test. The error is what ended it early, beyond what the counters tell.
func (r *run) whole(ctx context.Context) error {
	r.mark(report.MarkStart)
	r.event("start", map[string]any{"pid": os.Getpid(), "connections": r.plan.Connections.Count})
	if err := r.open(ctx); err != nil {
		return advise(err)
	}
	r.mark(report.MarkConnected)
	r.event("connected", r.counts())
	if r.d.Snapshot().Ready == 0 && ctx.Err() == nil {
		return engine.ErrAllGone
	}
	if err := r.hold(ctx, "holding", forTime(r.plan.Settle)); err != nil {
		return err
	}
	for i := range r.plan.Phases {
		if ctx.Err() != nil {
			break
		}
		if err := r.phase(ctx, &r.plan.Phases[i], nil); err != nil {
			return err
		}
	}
	r.atRest(ctx)
	if r.cfg.Hold && ctx.Err() == nil {
		r.event("ready", r.counts())
		if err := r.hold(ctx, "held until the control input ends", func(time.Time) bool { return r.released }); err != nil {
			return err
		}
		r.mark(report.MarkHeld)
	}
	return nil
}

// atRest notes the end of the rest before the first traffic. More calls do nothing.
func (r *run) atRest(ctx context.Context) {
	if r.first != nil || ctx.Err() != nil && r.report.At(report.MarkIdle) != nil {
		return
	}
	r.mark(report.MarkIdle)
	first := r.view(true)
	r.first = &first
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

const (
	tickBusy = 5 * time.Millisecond  // while there is something to pace
	tickIdle = 50 * time.Millisecond // while connections are held
)

// task gives an order and waits for its end. When ctx ends the order is stopped and still waited for: what is under way arrives,
// or its grace is over.
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
			r.show.Done(func() progress.State { return r.state(name) })
			return err
		case err := <-r.ended:
			return r.loopEnded(err)
		case <-stopped:
			stopped = nil
			if err := r.d.Stop(); err != nil {
				return err
			}
		case line, ok := <-r.control:
			r.command(line, ok)
		case <-ticker.C:
			if err := r.tick(name); err != nil {
				return err
			}
		}
	}
}

// hold keeps the connections until over says so, or ctx ends.
func (r *run) hold(ctx context.Context, name string, over func(now time.Time) bool) error {
	if now := r.s.Clock(); over(now) || ctx.Err() != nil {
		return nil
	}
	pause := tickIdle
	if r.flow != nil {
		pause = tickBusy
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for !over(r.s.Clock()) {
		select {
		case <-ctx.Done():
			return nil
		case err := <-r.ended:
			return r.loopEnded(err)
		case line, ok := <-r.control:
			r.command(line, ok)
		case <-ticker.C:
			if err := r.tick(name); err != nil {
				return err
			}
			if s := r.d.Snapshot(); s.Ready == 0 && s.Away == 0 {
				return engine.ErrAllGone
			}
		}
	}
	r.show.Done(func() progress.State { return r.state(name) })
	return nil
}

// forTime is over after d. It begins with the first question.
func forTime(d time.Duration) func(time.Time) bool {
	var until time.Time
	return func(now time.Time) bool {
		if until.IsZero() {
			until = now.Add(d)
		}
		return !now.Before(until)
	}
}

func (r *run) loopEnded(err error) error {
	r.ended <- err
	return fmt.Errorf("the event loop ended: %w", err)
}

// tick is what is done every few milliseconds.
func (r *run) tick(name string) error {
	r.d.Tick()
	now := r.s.Clock()
	r.connect.tick(now, r.d)
	err := r.flow.tick(now, r.d)
	r.sample()
	r.tellOthers()
	r.show.Update(now, func() progress.State { return r.state(name) })
	return err
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
		v := r.view(true) // orders the mark behind what has arrived
		m := r.mark(strings.TrimSpace(rest))
		r.event("mark", map[string]any{"mark": m, "counts": r.counts(), "census": v.census})
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
	res, err := r.d.Results()
	if err != nil || n > len(res.Others) {
		return
	}
	r.told = n
	r.event("received", map[string]any{"publications": n, "last": report.Publication(res.Others[n-1])})
}

// mark notes what the processes have used until now. At rest the target is asked for its metrics, too.
func (r *run) mark(name string) report.Mark {
	c := r.d.Snapshot()
	m := report.Mark{
		Name: name, Seconds: r.s.Clock().Sub(r.began).Seconds(), Ready: c.Ready, Received: c.Received + c.Others, Heartbeats: c.Pongs + c.PingFrames,
	}
	atRest := slices.Contains([]string{report.MarkStart, report.MarkConnected, report.MarkIdle, report.MarkAfter, report.MarkHeld}, name)
	if err := r.observer.Look(context.Background(), &m, atRest && !r.mute); err != nil && name == report.MarkStart {
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
	r.last = r.view(true)
	r.report.Members = membersOf(r.d)
	r.event("closing", r.counts())
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := r.d.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	r.show.End()
	return <-r.ended
}

// selves are this process and those of the members that it started; nil when there is none but itself. Members on other hosts have
// numbers of their own, which say nothing here.
func selves(proc fs.FS, all []fleet.MemberStatus) (pids []int) {
	own := os.Getpid()
	for _, m := range all {
		if m.PID > 0 && m.PID != own && observe.Parent(proc, m.PID) == own {
			pids = append(pids, m.PID)
		}
	}
	if len(pids) == 0 {
		return nil
	}
	return append(pids, own)
}

// membersOf are who carries the connections; nil when it is this process alone.
func membersOf(d engine.Driver) []fleet.MemberStatus {
	many, ok := d.(interface{ Members() []fleet.MemberStatus })
	if !ok {
		return nil
	}
	all := many.Members()
	if len(all) == 1 && all[0].Engines == 1 {
		return nil
	}
	return all
}
