package loadtest

import (
	"slices"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/engine/tally"
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/report"
)

// view is the test at a moment: what had been counted until then.
type view struct {
	at time.Time
	engine.Snapshot
	census  engine.Census
	results engine.Results
	server  *observe.Process
}

// view takes a view. What a driver that has ended cannot tell is left empty. Without a count of everybody, which takes a while where
// there are many, it does not know what is missing.
func (r *run) view(everybody bool) view {
	r.d.Tick()
	v := view{at: r.s.Clock()}
	if everybody {
		if c, err := r.d.Census(); err == nil { // it comes behind the tick
			v.census = c
		}
	}
	v.Snapshot = r.d.Snapshot()
	if res, err := r.d.Results(); err == nil {
		v.results = res
	}
	if len(r.cfg.ServerPIDs) > 0 {
		if p, _, err := observe.ReadProcesses(r.proc, r.cfg.ServerPIDs); err == nil {
			v.server = &p
		}
	}
	return v
}

// fill takes over what happened from one view to another.
func fill(p *report.Phase, f *plan.Phase, from, to view, interrupted bool) {
	p.Seconds, p.Interrupted = to.at.Sub(from.at).Seconds(), interrupted
	p.Ready, p.Failed, p.Died = to.Ready, to.Failed-from.Failed, to.Died-from.Died
	p.Published, p.Answered, p.Refused = to.Published-from.Published, to.Answered-from.Answered, to.Refused-from.Refused
	p.Sent, p.Others, p.Pings = to.Sent-from.Sent, to.Others-from.Others, to.Pings-from.Pings
	p.Told = to.Told - from.Told
	p.Verified = report.Verified{
		Received: to.Received - from.Received, LostDead: to.LostDead - from.LostDead, Duplicates: to.Duplicates - from.Duplicates,
		Reordered: to.Late - from.Late, Altered: to.Altered - from.Altered, Misrouted: to.Misrouted - from.Misrouted,
	}
	if p.Beside == "" { // else the rest is still under way
		p.Lost, p.Short = max(to.census.Lost-from.census.Lost, 0), max(to.census.Short-from.census.Short, 0)
		p.Expected = p.Received + p.Lost + p.LostDead + p.Told
	}
	p.MayTell = f.Scenario == Slow || slices.ContainsFunc(f.Meanwhile, func(m plan.Phase) bool { return m.Scenario == Slow })
	since := func(of func(*engine.Results) *tally.Histogram) *report.Quantiles {
		return report.QuantilesOf(of(&to.results).Since(*of(&from.results)))
	}
	p.Latency = since(func(r *engine.Results) *tally.Histogram { return &r.Latency })
	p.Answer = since(func(r *engine.Results) *tally.Histogram { return &r.Answer })
	switch f.Scenario {
	case Fanout:
		var took time.Duration
		own := to.results.Own[min(len(from.results.Own), len(to.results.Own)):]
		if p.First, p.Last, took = receipts(own); took > 0 {
			p.PerSecond = float64(p.Received) / took.Seconds()
		}
	case Slow:
		p.Slow = slowResult(from, to)
		p.Expected += p.Slow.Unseen + p.Slow.Silent + p.Slow.LostGone
	case Storm, Recover:
		p.Storm = storming(from, to)
		p.Storm.Own = since(func(r *engine.Results) *tally.Histogram { return &r.Return })
		p.Storm.Away = since(func(r *engine.Results) *tally.Histogram { return &r.Absent })
	case Churn:
		p.Churn = &report.Churning{
			Left: to.Left - from.Left, Replaced: to.Replaced - from.Replaced, Parted: to.Parted - from.Parted,
			Replace: since(func(r *engine.Results) *tally.Histogram { return &r.Replace }),
		}
	}
	rates(p, f)
	cost(p, from, to)
}

// rates compares what was asked for with what was done.
func rates(p *report.Phase, f *plan.Phase) {
	if p.Seconds <= 0 {
		return
	}
	if p.PerSecond == 0 { // else it is that of the time there was something to receive
		p.PerSecond = float64(p.Received) / p.Seconds
	}
	if f.Rate == 0 || f.To != 0 {
		return
	}
	p.AskedRate = f.Rate
	switch {
	case len(p.Steps) > 0:
		p.ReachedRate = p.Steps[0].Reached
	case f.Scenario == Churn && p.Churn != nil:
		p.ReachedRate = float64(p.Churn.Left) / p.Seconds
	case p.Sent > 0:
		p.ReachedRate = float64(p.Sent) / p.Seconds
	case f.Scenario == Fanout:
		p.ReachedRate = float64(p.Published) / p.Seconds
	}
}

func cost(p *report.Phase, from, to view) {
	if from.server == nil || to.server == nil {
		return
	}
	cpu := (to.server.CPU - from.server.CPU).Seconds()
	p.Cost = &report.PhaseCost{CPU: cpu, RSSBefore: from.server.RSS, RSSAfter: to.server.RSS}
	if p.Seconds > 0 {
		p.Cost.Percent = 100 * cpu / p.Seconds
	}
	if n := p.Received + p.Others; n > 0 {
		p.Cost.MessageUS = 1e6 * cpu / float64(n)
	}
}

// slowResult is what became of those who stopped reading.
func slowResult(from, to view) *report.Slow {
	o := to.results.Outcome
	return &report.Slow{
		Stalled: to.Stalled, Whole: o.Whole, Ended: o.Ended, Missed: o.Missed, Gone: to.Gone - from.Gone, Away: o.Away, Codes: to.results.Codes,
		Ends: to.Snapshot.Ended - from.Snapshot.Ended, Skipped: to.Skipped - from.Skipped, Unseen: to.Snapshot.Unseen - from.Snapshot.Unseen + o.Unseen,
		Silent: o.Silent, LostGone: to.LostGone - from.LostGone,
		Unsubscribed: to.Unsubscribed - from.Unsubscribed, Recovered: to.Recovered - from.Recovered,
		Unrecovered: to.Unrecovered - from.Unrecovered, Anew: to.Anew - from.Anew,
		RecoveredPublications: to.RecoveredPublications - from.RecoveredPublications,
		Before:                report.QuantilesOf(to.results.Before.Since(from.results.Before)),
		During:                report.QuantilesOf(to.results.During.Since(from.results.During)),
		After:                 report.QuantilesOf(to.results.After.Since(from.results.After)),
	}
}

// storming is how those who were cut came back.
func storming(from, to view) *report.Storming {
	return &report.Storming{
		Cut: to.Cut - from.Cut, Back: to.Back - from.Back, Resumed: to.Resumed - from.Resumed, Again: to.Again - from.Again,
		Recovered: to.Recovered - from.Recovered, Unrecovered: to.Unrecovered - from.Unrecovered,
		RecoveredPublications: to.RecoveredPublications - from.RecoveredPublications,
	}
}
