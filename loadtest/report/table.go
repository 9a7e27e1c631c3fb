package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"shoal/loadtest/fleet"
	"shoal/loadtest/observe"
	"shoal/loadtest/units"
)

// WriteTable writes the report for a person to read.
func (r *Report) WriteTable(w io.Writer) error {
	t := &table{}
	t.line("%s", r.Scenario)
	if r.Plan != "" {
		t.add(" (%s)", r.Plan)
	}
	t.add(" against %s (%s", r.Target, r.Encoding)
	if r.Channel != "" {
		t.add(", channel %s", r.Channel)
	}
	t.add(", payload %s)", size(float64(r.Payload)))
	t.line("")
	t.connections(&r.Connections)
	if d := r.Delivery; d != nil {
		t.row("published", "%s, %s confirmed", units.Grouped(d.Published), units.Grouped(d.Answered))
		t.verified(&d.Verified)
		t.row("deliveries", "%s/s", units.Grouped(int(d.PerSecond)))
		t.quantiles("first receipt", d.First)
		t.quantiles("last receipt", d.Last)
		t.quantiles("each receipt", d.Latency)
		t.quantiles("confirmation", d.Answer)
	}
	if e := r.Echo; e != nil {
		t.row("sent", "%s", units.Grouped(e.Sent))
		t.verified(&e.Verified)
		t.row("echoes", "%s/s", units.Grouped(int(e.PerSecond)))
		if e.AskedRate > 0 {
			t.add(" of %s/s asked", units.Grouped(int(e.AskedRate)))
		}
		t.quantiles("round trip", e.Latency)
	}
	if r.Pressure != nil {
		t.pressure(r.Pressure)
	}
	switch {
	case r.Scenario == Mixed:
		t.phases(r)
	case len(r.Phases) == 1:
		t.churn(&r.Phases[0])
	}
	if o := r.Others; o != nil {
		t.row("from others", "%s received, %s to %s per connection", units.Grouped(o.Received), units.Grouped(o.Min), units.Grouped(o.Max))
		if o.Alike {
			t.add(", the same and in the same order for all")
		}
		t.quantiles("each receipt", o.Latency)
	}
	t.row("heartbeat", "%s pings, %s pongs", units.Grouped(r.Heartbeat.Pings), units.Grouped(r.Heartbeat.Pongs))
	if r.Cost != nil {
		t.cost(r.Cost, r)
	}
	t.figures(r)
	t.members(r.Members)
	if r.Observed != nil {
		t.observed(r.Observed)
	}
	t.line("")
	t.verdict(r)
	_, err := io.WriteString(w, t.b.String())
	return err
}

type table struct{ b strings.Builder }

func (t *table) line(format string, args ...any) {
	if t.b.Len() > 0 {
		t.b.WriteByte('\n')
	}
	fmt.Fprintf(&t.b, format, args...)
}

func (t *table) add(format string, args ...any) { fmt.Fprintf(&t.b, format, args...) }

func (t *table) row(name, format string, args ...any) {
	t.line("  %-14s ", name)
	t.add(format, args...)
}

func (t *table) connections(c *Connections) {
	t.row("connections", "%s of %s", units.Grouped(c.Ready), units.Grouped(c.Asked))
	if c.Seconds > 0 {
		t.add(" in %.2f s, %s/s", c.Seconds, units.Grouped(int(c.PerSecond)))
	}
	switch {
	case c.AskedTo > 0:
		t.add(" (%s/s to %s/s asked)", units.Grouped(int(c.AskedRate)), units.Grouped(int(c.AskedTo)))
	case c.AskedRate > 0:
		t.add(" (%s/s asked)", units.Grouped(int(c.AskedRate)))
	}
	if c.Failed > 0 {
		t.add("; %s failed", units.Grouped(c.Failed))
	}
	if c.Died > 0 {
		t.add("; %s died", units.Grouped(c.Died))
	}
	if c.AskedTo > 0 {
		t.steps(c.Steps)
	}
	t.quantiles("setting up", c.Setup)
}

func (t *table) verified(v *Verified) {
	t.row("received", "%s of %s", units.Grouped(v.Received), units.Grouped(v.Expected))
	if v.Expected > 0 && v.Received == v.Expected && v.Duplicates+v.Reordered+v.Altered+v.Misrouted == 0 {
		t.add(", each exactly once, in order and unaltered")
		return
	}
	if v.Expected == 0 {
		return
	}
	t.row("", "lost %s (and %s with connections that died), twice %s, out of order %s, altered %s, misrouted %s", units.Grouped(v.Lost),
		units.Grouped(v.LostDead), units.Grouped(v.Duplicates), units.Grouped(v.Reordered), units.Grouped(v.Altered), units.Grouped(v.Misrouted))
}

func (t *table) quantiles(name string, q *Quantiles) {
	if q == nil {
		return
	}
	t.row(name, "p50 %s  p90 %s  p99 %s  p99.9 %s  max %s", micros(q.P50), micros(q.P90), micros(q.P99), micros(q.P999), micros(q.Max))
}

func (t *table) cost(c *Cost, r *Report) {
	t.line("")
	t.line("  the server's process (%d), per connection or message", c.PID)
	t.row("connect", "%.1f µs of processor time", c.ConnectUS)
	if c.MessageUS > 0 {
		t.row("message", "%.2f µs of processor time", c.MessageUS)
	}
	if r.At(MarkIdle) != nil {
		t.row("idle", "%s RSS, %s of it anonymous; %.2f %% of a processor for all", size(c.RSSIdle), size(c.RSSAnonIdle), c.IdlePercent)
	}
	if c.RSSAfter != 0 {
		t.row("after traffic", "%s RSS, %s of it anonymous", size(c.RSSAfter), size(c.RSSAnonAfter))
	}
	t.row("this process", "%s RSS for a connection", size(c.LoadtestRSSBytes))
}

// figures writes those that the parts above do not have.
func (t *table) figures(r *Report) {
	if v, ok := observe.Value(r.Figures, observe.FigureHeartbeat); ok {
		t.row("heartbeat", "%.2f µs of processor time", v)
	}
	live, isLive := observe.Value(r.Figures, observe.FigureHeapLive)
	if v, ok := observe.Value(r.Figures, observe.FigureHeap); ok {
		t.row("Go heap", "%s for a connection", size(v))
		if isLive {
			t.add(", %s of it alive", size(live))
		}
	}
	if v, ok := observe.Value(r.Figures, observe.FigureKernel); ok {
		t.row("kernel", "%s for a connection", size(v))
		if slab, ok := observe.Value(r.Figures, observe.FigureSlab); ok {
			t.add(", %s slab for each socket", size(slab))
		}
	}
	if sent, ok := observe.Value(r.Figures, observe.FigureSegments); ok {
		again, _ := observe.Value(r.Figures, observe.FigureRetransmits)
		t.row("TCP segments", "%s, %s sent again", units.Grouped(int(sent)), units.Grouped(int(again)))
	}
}

func (t *table) observed(o *observe.Observed) {
	t.line("")
	t.line("  the target's metrics, during the traffic")
	if w := o.Writes; w != nil {
		t.row("writes", "%.3f for each delivery: %s for %s", w.PerDelivery, units.Grouped(int(w.Calls)), units.Grouped(int(w.Deliveries)))
	}
	t.stops("loop passes", o.Lag)
	if o.Lag != nil && o.Lag.Count > 0 {
		t.add("; of what arrives 99.9 %% waits ≤ %s", micros(o.Lag.Waits))
	}
	t.stops("GC stops", o.GC)
	t.counts("dropped", o.Drops)
	t.counts("disconnects", o.Disconnects)
}

// stops writes a distribution of which only upper ends of buckets are known.
func (t *table) stops(name string, s *observe.Stops) {
	switch {
	case s == nil:
		return
	case s.Count == 0:
		t.row(name, "none")
		return
	}
	t.row(name, "of %s the longest ≤ %s, p99.9 ≤ %s", units.Grouped(s.Count), micros(s.Max), micros(s.P999))
}

func (t *table) counts(name string, n map[string]int) {
	for i, label := range byCount(n) {
		if i == 0 {
			t.row(name, "%s × %s", units.Grouped(n[label]), label)
			continue
		}
		t.add(", %s × %s", units.Grouped(n[label]), label)
	}
}

func (t *table) verdict(r *Report) {
	switch {
	case r.OK && r.Interrupted:
		t.line("  interrupted after %.1f s; nothing was lost, duplicated or reordered until then", r.Seconds)
	case r.OK:
		t.line("  OK after %.1f s", r.Seconds)
	default:
		t.line("  FAILED after %.1f s", r.Seconds)
		for _, f := range r.Failures {
			t.line("    - %s", f)
		}
	}
	for _, e := range r.Expectations {
		if f, ok := measureOf(e.Name); ok && e.Met {
			t.line("    %s: %s, expected %s", e.what(f), f.write(*e.Value), f.write(e.Limit))
		}
	}
	for _, text := range byCount(r.Causes) {
		t.line("    %9s × %s", units.Grouped(r.Causes[text]), text)
	}
	t.line("")
}

// byCount are the texts of counted things, the most frequent first.
func byCount(n map[string]int) []string {
	texts := slices.Collect(maps.Keys(n))
	slices.SortFunc(texts, func(a, b string) int { return cmp.Or(n[b]-n[a], strings.Compare(a, b)) })
	return texts
}

func micros(us float64) string { return units.Micros(us) }

func size(n float64) string { return units.Size(n) }

// rowsMax is how many members the table shows, beside those that are gone.
const rowsMax = 8

// members shows who carried the connections, a row each.
func (t *table) members(all []fleet.MemberStatus) {
	if len(all) == 0 {
		return
	}
	t.line("")
	t.line("  carried by")
	for i, m := range all {
		if i >= rowsMax && m.Gone == "" {
			continue // all are in the JSON report
		}
		t.line("    %s: %s connections, event loops: %d", m.Name, units.Grouped(m.Connections), m.Engines)
		if m.RSS > 0 {
			t.add(", %s RSS", size(float64(m.RSS)))
		}
		if m.Clock.Uncertainty > 0 {
			side := "behind"
			if m.Clock.Ahead < 0 {
				side = "ahead"
			}
			t.add(", its clock %s ± %s %s", m.Clock.Ahead.Abs().Round(time.Microsecond), m.Clock.Uncertainty.Round(time.Microsecond), side)
		}
		if m.Gone != "" {
			t.add("; gone: %s", m.Gone)
		}
	}
	if n := len(all) - rowsMax; n > 0 {
		t.line("    and others like them, %s in all", units.Grouped(len(all)))
	}
}
