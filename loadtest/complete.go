package loadtest

import (
	"slices"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/engine/tally"
	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/report"
	"shoal/loadtest/timeline"
)

// newReport is a report of which nothing is known yet but what is asked.
func newReport(c *Config, p *plan.Plan, s *Surroundings, target string, began time.Time) *report.Report {
	r := &report.Report{
		Version: s.Version, Scenario: p.Phases[0].Scenario, Plan: p.Name, Target: target, Encoding: p.Connections.Encoding, Payload: p.Payload,
		BusyPoll: c.BusyPoll, Started: began.UTC(),
		Connections: report.Connections{Asked: p.Connections.Count, AskedRate: p.Connections.Rate, AskedTo: p.Connections.To},
	}
	if len(p.Phases) > 1 || len(p.Phases[0].Meanwhile) > 0 {
		r.Scenario = Mixed
	}
	if p.Connections.EchoPath == "" {
		r.Channel = p.Connections.Channel
	}
	return r
}

// complete fills the report from what was counted. stopped is what ended the test early.
func (r *run) complete(stopped error) {
	rep, c := r.report, r.d.Snapshot()
	rep.Seconds = r.s.Clock().Sub(r.began).Seconds()
	rep.Causes = c.Causes
	rep.Heartbeat = report.Heartbeat{Pings: c.Pings, Pongs: c.Pongs, PingFrames: c.PingFrames}
	conns := &rep.Connections
	conns.Ready, conns.AtEnd, conns.Failed, conns.Died = c.ReadyMax, r.last.census.Ready, c.Failed, c.Died
	conns.Setup = report.QuantilesOf(r.last.results.Setup)
	if start, connected := rep.At(report.MarkStart), rep.At(report.MarkConnected); connected != nil {
		if conns.Seconds = connected.Seconds - start.Seconds; conns.Seconds > 0 {
			conns.PerSecond = float64(c.ReadyMax) / conns.Seconds
		}
	}
	r.timeline()
	rep.Observed = observe.Compare(r.before.Measures, r.after.Measures, r.after.at.Sub(r.before.at))
	switch {
	case rep.Scenario == Mixed:
		rep.Latency, rep.Accept = report.QuantilesOf(r.last.results.Latency), r.queue()
	case len(rep.Phases) == 1:
		r.single(&rep.Phases[0])
	}
	r.others(c)
	rep.Measure(r.cfg.serverPID())
	if stopped != nil {
		rep.Failures = append(rep.Failures, stopped.Error())
	}
	rep.Judge()
	if expected := r.plan.Expectations(); len(expected) > 0 && !rep.Interrupted {
		rep.Expect(expected)
	}
}

// single fills in the part that a test of one phase has.
func (r *run) single(f *report.Phase) {
	rep := r.report
	switch {
	case f.Scenario == Fanout && f.Published > 0:
		rep.Delivery = &report.Delivery{
			Published: f.Published, Answered: f.Answered, Refused: f.Refused, Verified: f.Verified, PerSecond: f.PerSecond,
			Latency: f.Latency, Answer: f.Answer, First: f.First, Last: f.Last, Publications: report.List(r.last.results.Own),
		}
	case (f.Scenario == Echo || f.Scenario == RPC) && f.Sent > 0:
		rep.Echo = &report.Echo{
			Sent: f.Sent, Refused: f.Refused, Verified: f.Verified, AskedRate: f.AskedRate, Latency: f.Latency,
			Seconds: f.Seconds, PerSecond: f.PerSecond,
		}
	case f.Published > 0 && (f.Scenario.Flows() || f.Scenario.Returns()):
		rep.Pressure = r.pressure(f)
	}
}

// queue is what the kernel counted during the traffic; nil when it does not tell.
func (r *run) queue() *report.Queue {
	from, to := r.accepts[0], r.accepts[1]
	if !from.Known || !to.Known {
		return nil
	}
	return &report.Queue{Overflows: to.Overflows - from.Overflows, Drops: to.Drops - from.Drops}
}

// others sums up what somebody else published.
func (r *run) others(c engine.Snapshot) {
	// What others publish while subscriptions come and go does not reach all alike, and nobody claims that it does.
	for f := range r.plan.All() {
		if f.Scenario.Returns() || f.Scenario == Churn {
			return
		}
	}
	if c.Others == 0 {
		return
	}
	census, all := r.last.census, r.last.results.Others
	r.report.Others = &report.Others{
		Received: c.Others, Min: census.OthersMin, Max: census.OthersMax, Alike: census.Alike || r.plan.Connections.EchoPath != "",
		Publications: report.List(all),
	}
	if c.Received == 0 {
		r.report.Others.Latency = report.QuantilesOf(r.last.results.Latency)
	}
}

// receipts sums up publications: the first and the last receipt of each, and how long all took.
func receipts(all []engine.Publication) (first, last *report.Quantiles, took time.Duration) {
	var firsts, lasts []int64
	var end int64
	for _, p := range all {
		if p.Receipts > 0 {
			firsts, lasts = append(firsts, p.First-p.Due), append(lasts, p.Last-p.Due)
			end = max(end, p.Last)
		}
	}
	if len(firsts) > 0 {
		took = time.Duration(end - all[0].Due)
	}
	return report.Over(firsts), report.Over(lasts), took
}

// window is one of the engine's as the report has it.
func window(w tally.Window, began time.Time) report.Window {
	return report.Window{
		Seconds: float64(w.From-began.UnixNano()) / 1e9, Count: w.Count, P50: float64(w.P50) / 1e3, P99: float64(w.P99) / 1e3, Max: float64(w.Max) / 1e3,
	}
}

// timeline completes that of the report.
func (r *run) timeline() {
	t, res := r.report.Timeline, &r.last.results
	for _, w := range res.Windows {
		t.Windows = append(t.Windows, window(w, r.began))
	}
	receipts := "each receipt"
	if r.report.Scenario == Echo || r.report.Scenario == RPC {
		receipts = "round trip"
	}
	for _, each := range [...]struct {
		name string
		timeline.Histogram
	}{{receipts, res.Latency}, {"setting up", res.Setup}, {"confirmation", res.Answer}, {"coming back", res.Return}, {"replacing", res.Replace}} {
		if d := timeline.Points(each.name, each.Histogram); d != nil {
			t.Distributions = append(t.Distributions, *d)
		}
	}
}

// pressure is the result of a single phase that publishes a stream, with what was watched meanwhile.
func (r *run) pressure(f *report.Phase) *report.Pressure {
	res := &r.last.results
	p := &report.Pressure{
		Channels: r.plan.Connections.Channels, Subscriptions: r.plan.Connections.Subscriptions,
		AskedRate: r.plan.Phases[0].Rate, Published: f.Published, Answered: f.Answered, Refused: f.Refused, Verified: f.Verified, Told: f.Told,
		PerSecond: f.PerSecond, Latency: f.Latency, Answer: f.Answer, Slow: f.Slow, Storm: f.Storm, Samples: r.samples.all, Windows: r.report.Timeline.Windows, Steps: f.Steps,
	}
	if len(res.Receivers) > 0 {
		p.ReceiversMin, p.ReceiversMax = slices.Min(res.Receivers), slices.Max(res.Receivers)
	}
	if m := r.memory; m.Before > 0 {
		m.Peak, m.KernelPeak = r.samples.peak, r.samples.kernel
		if after := r.report.At(report.MarkAfter); after != nil && after.Server != nil {
			m.After = after.Server.RSS
		}
		p.Memory = &m
	}
	p.Accept = r.queue()
	if from, to := r.report.At(report.MarkIdle), r.report.At(report.MarkTraffic); from != nil && to != nil && to.Seconds > from.Seconds {
		p.PerSecond = float64(f.Received) / (to.Seconds - from.Seconds)
	}
	return p
}
