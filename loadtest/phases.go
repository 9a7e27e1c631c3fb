package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/report"
)

// open opens the connections.
func (r *run) open(ctx context.Context) error {
	c := &r.plan.Connections
	r.connect = newRamp(c, r.s.Clock())
	err := r.task(ctx, "connecting", engine.Order{Connect: &engine.Connect{Rate: c.Rate, To: c.To, Over: c.Over, Jitter: c.Jitter, Window: c.Window}})
	r.d.Tick()
	r.report.Connections.Steps = r.connect.end(r.s.Clock(), r.d)
	r.connect = nil
	return err
}

// phase carries out one phase, beside the one around it if there is one, and notes what came of it. The error ends the test.
func (r *run) phase(ctx context.Context, f, around *plan.Phase) error {
	if f.Scenario != Idle && around == nil {
		if r.atRest(ctx); r.before.at.IsZero() {
			if err := r.look(ctx, &r.before); err != nil {
				return err
			}
			r.accepts[0] = observe.ReadAccepts(r.proc, r.cfg.serverPID())
		}
	}
	r.at = f.Name
	at := len(r.report.Phases)
	begun := r.s.Clock()
	result := report.Phase{Name: f.Name, Scenario: f.Scenario, From: begun.Sub(r.began).Seconds()}
	if around != nil {
		result.Beside = around.Name
	} else {
		r.present, r.since = f, begun
	}
	r.report.Phases = append(r.report.Phases, result)
	if f.Scenario == Storm || f.Scenario == Recover {
		if n := r.d.Snapshot().Unplaced; n > 0 {
			return fmt.Errorf("channel %q has no position to recover from: let the target keep history and recover there (force_recovery)", r.plan.Connections.Channel)
		}
	}
	from := r.view(around == nil)
	if around == nil {
		r.base = from.Snapshot
	}
	r.event("phase", map[string]any{"phase": f.Name, "scenario": f.Scenario, "beside": result.Beside})
	err := r.perform(ctx, f, around)
	if errors.Is(err, engine.ErrGrace) {
		err = nil // the counters say how many
	}
	to := r.view(around == nil)
	fill(&r.report.Phases[at], f, from, to, ctx.Err() != nil)
	r.report.Phases[at].Marked(r.report)
	if r.at = ""; around != nil {
		r.at = around.Name
		return advise(err)
	}
	if f.Scenario != Idle {
		r.mark(report.MarkTraffic)
		r.event("delivered", r.counts())
		r.accepts[1] = observe.ReadAccepts(r.proc, r.cfg.serverPID())
		_ = r.look(ctx, &r.after) // a target that has ended fails the test otherwise
	}
	if err != nil {
		return advise(err)
	}
	if err := r.hold(ctx, "settling", forTime(f.Settle)); err != nil {
		return err
	}
	if f.Scenario != Idle {
		r.mark(report.MarkAfter)
	}
	return nil
}

// perform is what the scenarios differ in.
func (r *run) perform(ctx context.Context, f, around *plan.Phase) error {
	grace := r.plan.Grace
	switch f.Scenario {
	case Idle:
		return r.hold(ctx, "holding", forTime(f.Duration))
	case Fanout:
		r.event("publishing", r.counts())
		return r.task(ctx, "publishing", engine.Order{Fanout: &engine.Fanout{
			Count: f.Count, Burst: f.Burst, Rate: f.Rate, ByAPI: f.Via == "api", Grace: grace,
		}})
	case Echo, RPC:
		via := engine.ViaPublish
		switch {
		case f.Scenario == RPC:
			via = engine.ViaRPC
		case r.plan.Connections.EchoPath != "":
			via = engine.ViaBare
		}
		r.event("echoing", r.counts())
		return r.task(ctx, "echoing", engine.Order{Echo: &engine.Echo{
			Via: via, Method: f.Method, Duration: f.Duration, Active: f.Active, Rate: f.Rate, Grace: grace,
		}})
	case Churn:
		r.event("churning", r.counts())
		return r.task(ctx, "churning", engine.Order{Churn: &engine.Churn{Rate: f.Rate, Duration: f.Duration, Grace: grace}})
	case Channels, Users:
		return r.publish(ctx, f, func() error { return r.flowing(ctx, f) })
	}
	do := r.storm
	if f.Scenario == Slow {
		do = r.slow
	}
	if around != nil {
		return do(ctx, f)
	}
	return r.publish(ctx, f, func() error { return do(ctx, f) })
}

// drainTime bounds the wait for the rest beyond the time of grace: a server that sends and sends need not be waited for.
const drainTime = time.Minute

// publish has publications made while something is done, and waits until all have arrived.
func (r *run) publish(ctx context.Context, f *plan.Phase, do func() error) error {
	r.remember()
	r.event("publishing", r.counts())
	flow := newFlow(f, r.s.Clock(), r.d)
	if err := flow.tick(r.s.Clock(), r.d); err != nil {
		return err
	}
	r.flow = flow
	err := do()
	r.flow = nil
	r.d.Tick()
	r.report.Phase(f.Name).Steps = flow.end(r.s.Clock(), r.d)
	// What was published must arrive, also when the test was interrupted.
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.plan.Grace+drainTime)
	defer cancel()
	return errors.Join(err, r.task(rest, "awaiting the rest", engine.Order{Drain: &engine.Drain{Grace: r.plan.Grace}}))
}

// flowing is what happens while the publications of channels and users go on.
func (r *run) flowing(ctx context.Context, f *plan.Phase) error {
	flow, begun := r.flow, r.s.Clock()
	for i := range f.Meanwhile {
		if ctx.Err() != nil {
			break
		}
		if err := r.phase(ctx, &f.Meanwhile[i], f); err != nil {
			return err
		}
	}
	return r.hold(ctx, "publishing", func(now time.Time) bool {
		byTime := f.Duration == 0 || now.Sub(begun) >= f.Duration
		if f.Count == 0 {
			return byTime
		}
		return f.Duration > 0 && byTime || flow.made(r.d) >= f.Count
	})
}

// remember takes the present memory for that before.
func (r *run) remember() {
	r.memory = report.Memory{Before: observe.ResidentBytes(r.proc, r.cfg.ServerPIDs), KernelBefore: observe.TCPBytes(r.proc, r.cfg.serverPID())}
	r.samples.peak, r.samples.kernel = 0, 0
}

// slow has some stop reading, and read again.
func (r *run) slow(ctx context.Context, f *plan.Phase) error {
	if err := r.hold(ctx, "publishing", forTime(f.Duration)); err != nil || ctx.Err() != nil {
		return err
	}
	r.mark(report.MarkBefore)
	r.remember()
	r.event("stalling", r.counts())
	if err := r.d.Order(engine.Order{Stall: &struct{}{}}); err != nil {
		return err
	}
	err := r.hold(ctx, "some do not read", forTime(f.Stall))
	r.mark(report.MarkStalled)
	r.memory.Stalled = r.samples.peak
	r.event("reading", r.counts())
	if err := errors.Join(err, r.d.Order(engine.Order{Rouse: &struct{}{}})); err != nil {
		return err
	}
	return r.hold(ctx, "all read again", forTime(f.Duration))
}

// storm cuts some or all, keeps them away, and waits for them.
func (r *run) storm(ctx context.Context, f *plan.Phase) error {
	if err := r.hold(ctx, "publishing", forTime(f.Duration)); err != nil || ctx.Err() != nil {
		return err
	}
	r.mark(report.MarkCut)
	r.remember()
	r.event("cut", r.counts())
	if err := r.task(ctx, "coming back", engine.Order{Storm: &engine.Storm{Share: f.Share, Away: f.Away, Grace: r.plan.Grace}}); err != nil {
		return err
	}
	r.mark(report.MarkBack)
	r.event("back", r.counts())
	return r.hold(ctx, "publishing", forTime(f.Duration))
}
