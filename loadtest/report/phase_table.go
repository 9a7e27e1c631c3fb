package report

import (
	"cmp"
	"slices"

	"shoal/loadtest/units"
)

// phases writes a part for each phase of a plan.
func (t *table) phases(r *Report) {
	for i := range r.Phases {
		t.phase(&r.Phases[i])
	}
	if q := r.Accept; q != nil {
		t.line("")
		t.row("accept queue", "%d overflows, %d drops", q.Overflows, q.Drops)
	}
	t.line("")
}

func (t *table) phase(p *Phase) {
	t.line("")
	t.line("  phase %s", p.Name)
	if p.Name != string(p.Scenario) {
		t.add(" (%s)", p.Scenario)
	}
	if p.Beside != "" {
		t.add(", beside %s", p.Beside)
	}
	t.add(": %.1f s from %.1f s on, %s connections at its end", p.Seconds, p.From, units.Grouped(p.Ready))
	if p.Interrupted {
		t.add(", interrupted")
	}
	if p.Failed+p.Died > 0 {
		t.row("", "%s failed, %s died", units.Grouped(p.Failed), units.Grouped(p.Died))
	}
	switch {
	case p.Published > 0:
		t.row("published", "%s, %s confirmed", units.Grouped(p.Published), units.Grouped(p.Answered))
		if p.Churn == nil {
			t.asked(p)
		}
	case p.Sent > 0:
		t.row("sent", "%s", units.Grouped(p.Sent))
		t.asked(p)
	}
	t.steps(p.Steps)
	if p.Beside == "" && p.Expected > 0 {
		t.verified(&p.Verified)
	}
	if p.Told > 0 {
		t.row("", "of the expected, %s were lost and the clients know", units.Grouped(p.Told))
	}
	if p.Received > 0 {
		t.row("deliveries", "%s/s", units.Grouped(int(p.PerSecond)))
		t.quantiles("first receipt", p.First)
		t.quantiles("last receipt", p.Last)
		t.quantiles("latency", p.Latency)
	}
	if p.Slow != nil {
		t.slow(p.Slow)
	}
	if p.Storm != nil {
		t.storm(p.Storm)
	}
	t.churn(p)
	if p.Others > 0 {
		t.row("from others", "%s received", units.Grouped(p.Others))
	}
	if p.Pings > 0 {
		t.row("heartbeat", "%s pings", units.Grouped(p.Pings))
	}
	if c := p.Cost; c != nil {
		t.row("the server", "%.1f %% of a processor", c.Percent)
		if c.MessageUS > 0 {
			t.add(", %.2f µs for a message", c.MessageUS)
		}
		t.add("; %s RSS, %s at its end", size(float64(c.RSSBefore)), size(float64(c.RSSAfter)))
	}
}

// churn writes how connections were replaced, if they were.
func (t *table) churn(p *Phase) {
	c := p.Churn
	if c == nil {
		return
	}
	t.row("replaced", "%s of %s that left", units.Grouped(c.Replaced), units.Grouped(c.Left))
	t.asked(p)
	if c.Parted > 0 {
		t.row("", "%s messages were under way to who left; nobody was promised them", units.Grouped(c.Parted))
	}
	t.quantiles("replacing", c.Replace)
}

func (t *table) asked(p *Phase) {
	if p.AskedRate > 0 {
		t.add(" (%s/s of %s/s asked)", units.Grouped(int(p.ReachedRate+0.5)), units.Grouped(int(p.AskedRate+0.5)))
	}
}

// stepsShown bounds the steps of a ramp in the table; of more, those that fell behind most are shown. The JSON report has all.
const stepsShown = 12

// steps writes a ramp: what was asked in each step, and what was reached.
func (t *table) steps(all []Step) {
	if len(all) < 2 {
		return
	}
	shown := all
	if len(all) > stepsShown {
		shown = slices.Clone(all)
		slices.SortStableFunc(shown, func(a, b Step) int { return cmp.Compare(a.Share(), b.Share()) })
		shown = shown[:stepsShown]
		slices.SortFunc(shown, func(a, b Step) int { return cmp.Compare(a.From, b.From) })
	}
	for i, s := range shown {
		name := ""
		if i == 0 {
			name = "ramp"
		}
		t.row(name, "%7.1f s  %9s/s asked %9s/s reached  %5.1f %%", s.From, units.Grouped(int(s.Asked+0.5)), units.Grouped(int(s.Reached+0.5)), 100*s.Share())
	}
	if len(all) > len(shown) {
		t.row("", "and %d more that were nearer to what was asked", len(all)-len(shown))
	}
}
