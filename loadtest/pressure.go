package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
)

// The marks of the scenarios that press, between markIdle and markTraffic.
const (
	markBefore  = "before"  // slow: the stuck stop reading now
	markStalled = "stalled" // slow: they read again
	markCut     = "cut"     // storm: all are cut now
	markBack    = "back"    // storm: all are back
)

// press is what a run of channels, slow or storm has beside.
type press struct {
	netstat [2]observe.Accepts // before and after the traffic
	samples sampler
	memory  Memory
}

// pressure is the traffic of channels, slow and storm: a stream of publications during which something happens.
func (r *run) pressure(ctx context.Context) error {
	cfg, p := &r.cfg, r.press
	if r.d.Snapshot().Unplaced > 0 && cfg.Scenario == Storm {
		return fmt.Errorf("channel %q has no position to recover from: let the target keep history and recover there (force_recovery)", cfg.Channel)
	}
	if ctx.Err() != nil {
		return nil
	}
	err := r.look(ctx, &r.before)
	if err != nil {
		return err
	}
	p.netstat[0] = observe.ReadAccepts(r.proc, cfg.serverPID())
	r.remember()
	r.event("publishing", r.counts())
	if err := r.d.Order(engine.Order{Flow: &engine.Flow{Rate: cfg.PublishRate, Random: cfg.Random}}); err != nil {
		return err
	}
	err = r.hold(ctx, "publishing", cfg.Duration, false)
	if err == nil && ctx.Err() == nil {
		switch cfg.Scenario {
		case Slow:
			err = r.slow(ctx)
		case Storm:
			err = r.storm(ctx)
		}
	}
	// What was published must arrive, also when the test was interrupted.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Grace+drainTime)
	defer cancel()
	err = errors.Join(err, r.task(rest, "awaiting the rest", engine.Order{Drain: &engine.Drain{Grace: cfg.Grace}}))
	r.mark(markTraffic)
	r.event("delivered", r.counts())
	p.netstat[1] = observe.ReadAccepts(r.proc, cfg.serverPID())
	_ = r.look(ctx, &r.after) // a target that has ended fails the test otherwise
	return r.settle(ctx, err)
}

// remember takes the present memory for that before.
func (r *run) remember() {
	r.press.memory = Memory{Before: observe.ResidentBytes(r.proc, r.cfg.ServerPIDs), KernelBefore: observe.TCPBytes(r.proc, r.cfg.serverPID())}
	r.press.samples.peak, r.press.samples.kernel = 0, 0
}

// slow has some stop reading, and read again.
func (r *run) slow(ctx context.Context) error {
	r.mark(markBefore)
	r.remember()
	r.event("stalling", r.counts())
	if err := r.d.Order(engine.Order{Stall: &struct{}{}}); err != nil {
		return err
	}
	err := r.hold(ctx, "some do not read", r.cfg.Stall, false)
	r.mark(markStalled)
	r.press.memory.Stalled = r.press.samples.peak
	r.event("reading", r.counts())
	if err := errors.Join(err, r.d.Order(engine.Order{Rouse: &struct{}{}})); err != nil {
		return err
	}
	return r.hold(ctx, "all read again", r.cfg.Duration, false)
}

// storm cuts all, and waits for them.
func (r *run) storm(ctx context.Context) error {
	r.mark(markCut)
	r.remember()
	r.event("cut", r.counts())
	if err := r.task(ctx, "coming back", engine.Order{Storm: &engine.Storm{Grace: r.cfg.Grace}}); err != nil {
		return err
	}
	r.mark(markBack)
	r.event("back", r.counts())
	return r.hold(ctx, "publishing", r.cfg.Duration, false)
}

// drainTime bounds the wait for the rest beyond the time of grace: a server that sends and sends need not be waited for.
const drainTime = time.Minute
