package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"shoal/loadtest"
	"shoal/loadtest/observe"
	"shoal/loadtest/units"
)

// single is the page of one report.
func single(r *loadtest.Report) *view {
	v := &view{
		Kicker: "shoal loadtest", Title: title(r),
		Foot: fmt.Sprintf("Started %s, took %s. Made by shoal %s. Figures of the target are of the processes and the host it ran on then: compare ratios, not numbers, "+
			"between machines.", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"), seconds(r.Seconds), cmp.Or(r.Version, "of unknown version")),
	}
	v.verdict(r)
	v.Cards = cards(r)
	v.Facts = facts(r)
	v.add(expectations(r))
	v.add(phases(r))
	v.add(connections(r))
	v.add(messages(r))
	v.add(latency(r))
	v.add(memory(r))
	v.add(processors(r))
	v.add(carriers(r))
	v.add(ends(r))
	v.add(all(r))
	return v
}

func title(r *loadtest.Report) string {
	return fmt.Sprintf("%s connections, %s", units.Grouped(r.Connections.Asked), cmp.Or(r.Plan, string(r.Scenario)))
}

const failuresMax = 12

// verdict says how it ended, in words and not by colour alone.
func (v *view) verdict(r *loadtest.Report) {
	v.Mood, v.Verdict = "good", "Passed"
	switch {
	case !r.OK:
		v.Mood, v.Verdict = "bad", "Failed"
	case r.Interrupted:
		v.Mood, v.Verdict = "note", "Interrupted"
	}
	got, expected, whole := received(r)
	c := &r.Connections
	v.Headline = fmt.Sprintf("%s of %s connections were held", units.Grouped(c.Ready), units.Grouped(c.Asked))
	if c.Died > 0 {
		v.Headline = fmt.Sprintf("%s of %s connections were opened, and %s died", units.Grouped(c.Ready), units.Grouped(c.Asked), units.Grouped(c.Died))
	}
	switch {
	case expected > 0 && whole:
		v.Headline += fmt.Sprintf("; all %s messages arrived exactly once, in order and unaltered", units.Grouped(got))
	case expected > 0:
		v.Headline += fmt.Sprintf("; %s of %s messages arrived", units.Grouped(got), units.Grouped(expected))
	}
	if n := r.Heartbeat.Pongs + r.Heartbeat.PingFrames; n > 0 {
		v.Headline += fmt.Sprintf("; %s pings were answered", units.Grouped(n))
	}
	v.Headline += fmt.Sprintf(". It took %s.", seconds(r.Seconds))
	v.Failures = r.Failures
	if v.More = len(r.Failures) - failuresMax; v.More > 0 {
		v.Failures = r.Failures[:failuresMax]
	}
	v.More = max(v.More, 0)
}

// verified are the parts of a report that verify messages.
func verified(r *loadtest.Report) []loadtest.Verified {
	all := r.Verifications()
	if len(all) > 0 {
		return all
	}
	for i := range r.Phases { // of a plan of several; one beside another is in that one's
		if f := &r.Phases[i]; f.Beside == "" && f.Expected > 0 {
			all = append(all, f.Verified)
		}
	}
	return all
}

// received sums them up; whole says that nothing is missing or wrong.
func received(r *loadtest.Report) (got, expected int, whole bool) {
	wrong := 0
	for _, v := range verified(r) {
		got, expected = got+v.Received, expected+v.Expected
		wrong += v.Duplicates + v.Reordered + v.Altered + v.Misrouted
	}
	return got, expected, got == expected && wrong == 0
}

// rate is how many messages arrived in a second.
func rate(r *loadtest.Report) float64 {
	switch {
	case r.Pressure != nil:
		return r.Pressure.PerSecond
	case r.Delivery != nil:
		return r.Delivery.PerSecond
	case r.Echo != nil:
		return r.Echo.PerSecond
	}
	return 0
}

// cards are the figures to be seen first.
func cards(r *loadtest.Report) (all []card) {
	add := func(known bool, name, value, note string) {
		if known {
			all = append(all, card{name, value, note})
		}
	}
	c := &r.Connections
	note := fmt.Sprintf("of %s asked", units.Grouped(c.Asked))
	if c.Died > 0 {
		note += fmt.Sprintf("; %s died", units.Grouped(c.Died))
	}
	add(true, "connections", units.Grouped(c.Ready), note)
	note = "as fast as the target took them"
	if c.AskedRate > 0 {
		note = units.Grouped(int(c.AskedRate)) + "/s asked"
	}
	if c.AskedTo > 0 {
		note = units.Grouped(int(c.AskedRate)) + " to " + units.Grouped(int(c.AskedTo)) + "/s asked"
	}
	add(c.PerSecond > 0, "connects", units.Grouped(int(c.PerSecond))+"/s", note)
	got, expected, whole := received(r)
	lost := "all exactly once, in order"
	if !whole {
		lost = units.Grouped(expected-got) + " missing"
	}
	add(expected > 0, "messages", units.Grouped(got), lost)
	add(rate(r) > 0, "delivered", units.Grouped(int(rate(r)))+"/s", "while there was traffic")
	if q := receipts(r); q != nil {
		add(true, "latency, p99", units.Micros(q.P99), "p50 "+units.Micros(q.P50)+", max "+units.Micros(q.Max))
	}
	for _, f := range []struct{ name, figure, note string }{
		{"CPU per connect", observe.FigureConnect, "of the target"}, {"CPU per delivery", observe.FigureDelivery, "of the target"},
		{"CPU per heartbeat", observe.FigureHeartbeat, "of the target, ping and pong"},
		{"memory per connection", observe.FigureRSS, "RSS of the target"}, {"kernel per connection", observe.FigureKernel, "ends on this host"},
	} {
		value, known := observe.Value(r.Figures, f.figure)
		add(known, f.name, amount(value, unitOf(r.Figures, f.figure)), f.note)
	}
	return all
}

// receipts is the latency of all receipts, or of those of what others published.
func receipts(r *loadtest.Report) *loadtest.Quantiles {
	if q := r.Receipts(); q != nil || r.Others == nil {
		return q
	}
	return r.Others.Latency
}

func unitOf(all []observe.Figure, name string) string {
	for _, f := range all {
		if f.Name == name {
			return f.Unit
		}
	}
	return ""
}

// amount writes a value in its unit.
func amount(v float64, unit string) string {
	switch unit {
	case "B":
		return units.Size(v)
	case "µs":
		if v < 100 {
			return fmt.Sprintf("%.2f µs", v)
		}
		return units.Micros(v)
	}
	return units.Grouped(int(v))
}

func seconds(s float64) string {
	if s >= 120 {
		return fmt.Sprintf("%d min %d s", int(s)/60, int(s)%60)
	}
	return fmt.Sprintf("%.1f s", s)
}

// facts say what was tested.
func facts(r *loadtest.Report) (all []pair) {
	add := func(name, value string) {
		if value != "" {
			all = append(all, pair{name, value})
		}
	}
	add("target", r.Target)
	add("scenario", string(r.Scenario))
	add("plan", r.Plan)
	add("encoding", r.Encoding)
	add("channel", r.Channel)
	if r.Payload > 0 {
		add("payload", units.Size(float64(r.Payload)))
	}
	if p := r.Pressure; p != nil {
		add("channels", fmt.Sprintf("%s, %s of them for each connection", units.Grouped(p.Channels), units.Grouped(p.Subscriptions)))
		add("published", fmt.Sprintf("%s, %s/s asked", units.Grouped(p.Published), units.Number(p.AskedRate)))
	}
	if d := r.Delivery; d != nil {
		add("published", units.Grouped(d.Published))
	}
	for _, m := range r.Marks {
		if m.Server != nil {
			pids := fmt.Sprint(m.Server.PID)
			for i, p := range m.Servers {
				if pids += ", "; i == 0 {
					pids = ""
				}
				pids += fmt.Sprint(p.PID)
			}
			add("server processes", pids)
			break
		}
	}
	if !r.Started.IsZero() {
		add("started", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	add("took", seconds(r.Seconds))
	return all
}

// expectations are the figures that were to be reached.
func expectations(r *loadtest.Report) section {
	g := grid{ID: "expected", Caption: "Figures that were to be reached", Head: []string{"figure", "limit", "value", ""}}
	for _, e := range r.Expectations {
		what, limit, value := e.Words()
		value = cmp.Or(value, "not measured")
		word, mood := "missed", "bad"
		if e.Met {
			word, mood = "reached", "good"
		}
		g.Rows = append(g.Rows, row{Cells: []string{what, limit, value, word}, Mood: mood})
	}
	return section{ID: "expectations", Title: "Expectations", Grids: []grid{g}}
}

// ends says why connections ended early or messages were refused.
func ends(r *loadtest.Report) section {
	g := grid{ID: "causes", Caption: "Why connections ended early or messages were refused", Head: []string{"cause", "how often"}, Text: true}
	texts := slices.Collect(maps.Keys(r.Causes))
	slices.SortFunc(texts, func(a, b string) int { return cmp.Or(r.Causes[b]-r.Causes[a], strings.Compare(a, b)) })
	for _, text := range texts {
		g.Rows = append(g.Rows, row{Cells: []string{text, units.Grouped(r.Causes[text])}})
	}
	return section{ID: "ends", Title: "Causes", Grids: []grid{g}}
}

// all are all figures and moments there are.
func all(r *loadtest.Report) section {
	g := grid{ID: "figures", Caption: "What it was measured over, or why it is not known", Head: []string{"figure", "value", "measured over"}, Text: true}
	for _, f := range r.Figures {
		if f.Value == nil {
			g.Rows = append(g.Rows, row{Cells: []string{f.What, "–", f.Missing}})
			continue
		}
		g.Rows = append(g.Rows, row{Cells: []string{f.What, amount(*f.Value, f.Unit), f.Over}})
	}
	m := grid{ID: "moments", Caption: "Moments of the test", Head: []string{"moment", "after", "connections", "messages", "heartbeats", "target CPU", "target RSS", "load test CPU", "load test RSS"}}
	for _, at := range r.Marks {
		cells := []string{at.Name, seconds(at.Seconds), units.Grouped(at.Ready), units.Grouped(at.Received), units.Grouped(at.Heartbeats)}
		for _, p := range []*observe.Process{at.Server, at.Self} {
			if p == nil {
				cells = append(cells, "–", "–")
				continue
			}
			cells = append(cells, fmt.Sprintf("%.2f s", p.CPU.Seconds()), units.Size(float64(p.RSS)))
		}
		m.Rows = append(m.Rows, row{Cells: cells})
	}
	return section{ID: "all", Title: "All figures", Grids: []grid{g, m}}
}
