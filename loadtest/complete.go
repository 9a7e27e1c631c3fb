package loadtest

import (
	"errors"
	"maps"
	"slices"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
	"shoal/loadtest/timeline"
)

// complete fills the report from what the engine counted. stopped is what ended the test early.
func (r *run) complete(stopped error) {
	rep, c := r.report, r.d.Snapshot()
	res, err := r.d.Results()
	if err != nil {
		stopped = errors.Join(stopped, err)
	}
	rep.Seconds = r.s.Clock().Sub(r.began).Seconds()
	rep.Causes = c.Causes
	rep.Heartbeat = Heartbeat{c.Pings, c.Pongs, c.PingFrames}
	conns := &rep.Connections
	conns.Ready, conns.AtEnd, conns.Failed, conns.Died = c.ReadyMax, r.last.Ready, c.Failed, c.Died
	if start, connected := rep.mark(markStart), rep.mark(markConnected); connected != nil {
		if conns.Seconds = connected.Seconds - start.Seconds; conns.Seconds > 0 {
			conns.PerSecond = float64(c.ReadyMax) / conns.Seconds
		}
	}
	v := Verified{
		Received: c.Received, Lost: r.last.Lost, LostDead: c.LostDead, Duplicates: c.Duplicates, Reordered: c.Late, Altered: c.Altered,
		Misrouted: c.Misrouted, Short: r.last.Short,
	}
	v.Expected = v.Received + v.Lost + v.LostDead
	conns.Setup = quantiles(res.Setup)
	rep.Observed = observe.Compare(r.before.Measures, r.after.Measures, r.after.at.Sub(r.before.at))
	r.timeline(&res)
	switch {
	case r.press != nil:
		r.completePressure(v, &c, &res)
	case r.cfg.Scenario == Fanout && len(res.Own) > 0:
		rep.Delivery = delivery(v, &c, res.Own)
		rep.Delivery.Latency, rep.Delivery.Answer = quantiles(res.Latency), quantiles(res.Answer)
	case r.cfg.Scenario == Echo && c.Sent > 0:
		rep.Echo = &EchoResult{Sent: c.Sent, Refused: c.Refused, Verified: v, AskedRate: r.cfg.MessageRate, Latency: quantiles(res.Latency)}
		if from, to := rep.mark(markIdle), rep.mark(markTraffic); from != nil && to != nil && to.Seconds > from.Seconds {
			rep.Echo.Seconds = to.Seconds - from.Seconds
			rep.Echo.PerSecond = float64(c.Received) / rep.Echo.Seconds
		}
	}
	if c.Others > 0 && r.press == nil {
		rep.Others = &Others{
			Received: c.Others, Min: r.last.OthersMin, Max: r.last.OthersMax, Alike: r.last.Alike || r.cfg.Scenario == Echo,
			Publications: list(res.Others),
		}
		if c.Received == 0 {
			rep.Others.Latency = quantiles(res.Latency)
		}
	}
	if pid := r.cfg.serverPID(); pid > 0 {
		rep.Cost = rep.cost(pid)
	}
	rep.Figures = observe.Figures(rep.facts())
	if stopped != nil {
		rep.Failures = append(rep.Failures, stopped.Error())
	}
	rep.judge()
	if expected, _ := parseExpectations(r.cfg.Expect); len(expected) > 0 && !rep.Interrupted {
		rep.expect(expected)
	}
}

// delivery sums up the publications.
func delivery(v Verified, c *engine.Snapshot, own []engine.Publication) *Delivery {
	d := &Delivery{Published: c.Published, Answered: c.Answered, Refused: c.Refused, Verified: v, Publications: list(own)}
	var first, last []int64
	var end int64
	for _, p := range own {
		if p.Receipts > 0 {
			first, last = append(first, p.First-p.Due), append(last, p.Last-p.Due)
			end = max(end, p.Last)
		}
	}
	d.First, d.Last = over(first), over(last)
	if took := end - own[0].Due; took > 0 {
		d.PerSecond = float64(c.Received) / float64(took) * 1e9
	}
	return d
}

// distributions are those to be drawn, by name; empty ones are left out.
func distributions(all map[string]timeline.Histogram) (out []timeline.Distribution) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if d := timeline.Points(name, all[name]); d != nil {
			out = append(out, *d)
		}
	}
	return out
}

// timeline completes that of the report.
func (r *run) timeline(res *engine.Results) {
	t := r.report.Timeline
	for _, w := range res.Windows {
		t.Windows = append(t.Windows, Window{
			float64(w.From-r.began.UnixNano()) / 1e9, w.Count, float64(w.P50) / 1e3, float64(w.P99) / 1e3, float64(w.Max) / 1e3,
		})
	}
	receipts := "each receipt"
	if r.cfg.Scenario == Echo {
		receipts = "round trip"
	}
	t.Distributions = distributions(map[string]timeline.Histogram{
		receipts: res.Latency, "setting up": res.Setup, "confirmation": res.Answer, "coming back": res.Return, "replacing": res.Replace,
	})
}
