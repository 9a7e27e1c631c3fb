package page

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"shoal/loadtest"
	"shoal/loadtest/chart"
	"shoal/loadtest/observe"
	"shoal/loadtest/report"
	"shoal/loadtest/timeline"
	"shoal/loadtest/units"
)

// over makes a curve of the samples of a timeline.
func over(r *loadtest.Report, name string, of func(timeline.Sample) float64) curve {
	c := curve{name: name}
	if r.Timeline != nil {
		for _, s := range r.Timeline.Samples {
			c.x, c.y = append(c.x, s.Seconds), append(c.y, of(s))
		}
	}
	return c
}

// events are the marks of a report that are worth a line; of a plan with several phases their beginnings.
func events(r *loadtest.Report) (all []chart.Event) {
	if len(r.Phases) > 1 {
		for i := range r.Phases {
			all = append(all, chart.Event{At: r.Phases[i].From, Name: r.Phases[i].Name})
		}
		return all
	}
	for _, m := range r.Marks {
		if m.Seconds > 0.01*r.Seconds {
			all = append(all, chart.Event{At: m.Seconds, Name: m.Name})
		}
	}
	return all
}

const sinceStart = "seconds since the start"

func count(v float64) string { return units.Grouped(int(math.Round(v))) }

func connections(r *loadtest.Report) section {
	c := &r.Connections
	g := grid{ID: "opening", Caption: "Opening and holding", Head: []string{"", "connections"}}
	for _, each := range []struct {
		name string
		n    int
		mood string
	}{{"asked", c.Asked, ""}, {"ready, at most at once", c.Ready, ""}, {"ready at the end", c.AtEnd, ""}, {"could not be opened", c.Failed, "bad"}, {"died", c.Died, "bad"}} {
		if each.n == 0 {
			each.mood = ""
		}
		g.Rows = append(g.Rows, row{Cells: []string{each.name, units.Grouped(each.n)}, Mood: each.mood})
	}
	intro := ""
	if c.Seconds > 0 {
		intro = fmt.Sprintf("%s connections in %s: %s a second", units.Grouped(c.Ready), seconds(c.Seconds), count(c.PerSecond))
		switch {
		case c.AskedTo > 0:
			intro += fmt.Sprintf(", from %s to %s asked", count(c.AskedRate), count(c.AskedTo))
		case c.AskedRate > 0:
			intro += fmt.Sprintf(", %s asked (%+.1f %%)", count(c.AskedRate), 100*(c.PerSecond/c.AskedRate-1))
		}
		intro += "."
	}
	base := plot{x: sinceStart, labelY: units.Short, write: count, events: events(r), until: r.Seconds}
	ready, connects := base, base
	ready.id, ready.title, ready.y = "ready", "Connections over time", "connections ready"
	ready.curves = []curve{over(r, "ready", func(s timeline.Sample) float64 { return float64(s.Ready) })}
	connects.id, connects.title, connects.y = "connects", "Connects a second", "begun a second"
	connects.curves = []curve{over(r, "connects a second", func(s timeline.Sample) float64 { return s.Connects })}
	return section{ID: "connections", Title: "Connections", Intro: intro, Figures: []figure{ready.figure(), connects.figure()}, Grids: []grid{g}}
}

func messages(r *loadtest.Report) section {
	g := grid{ID: "verified", Caption: "What became of the messages", Head: []string{"", "messages"}}
	var all loadtest.Verified
	for _, v := range verified(r) {
		all.Expected, all.Received, all.Lost, all.LostDead = all.Expected+v.Expected, all.Received+v.Received, all.Lost+v.Lost, all.LostDead+v.LostDead
		all.Duplicates, all.Reordered, all.Altered, all.Misrouted = all.Duplicates+v.Duplicates, all.Reordered+v.Reordered, all.Altered+v.Altered, all.Misrouted+v.Misrouted
	}
	if all.Expected > 0 {
		for _, each := range []struct {
			name string
			n    int
			bad  bool
		}{
			{"expected", all.Expected, false}, {"received, each for the first time", all.Received, false}, {"lost", all.Lost, true}, {"lost with connections that died", all.LostDead, true},
			{"came twice", all.Duplicates, true}, {"out of order", all.Reordered, true}, {"altered", all.Altered, true}, {"at the wrong connection", all.Misrouted, true},
		} {
			mood := ""
			if each.bad && each.n > 0 {
				mood = "bad"
			}
			g.Rows = append(g.Rows, row{Cells: []string{each.name, units.Grouped(each.n)}, Mood: mood})
		}
	}
	p := plot{
		id: "deliveries", title: "Messages received a second", x: sinceStart, y: "a second", labelY: units.Short, write: count, events: events(r), until: r.Seconds,
		curves: []curve{over(r, "received a second", func(s timeline.Sample) float64 { return s.Deliveries })},
	}
	return section{ID: "messages", Title: "Messages", Figures: []figure{p.figure()}, Grids: []grid{g, happened(r)}}
}

// happened is what became of those who were cut or did not read.
func happened(r *loadtest.Report) grid {
	g := grid{ID: "happened", Head: []string{"", ""}}
	add := func(name string, n int, bad bool) {
		if mood := ""; n > 0 || !bad {
			if bad {
				mood = "bad"
			}
			g.Rows = append(g.Rows, row{Cells: []string{name, units.Grouped(n)}, Mood: mood})
		}
	}
	storm, slow, told := (*report.Storming)(nil), (*report.Slow)(nil), 0
	if r.Pressure != nil {
		storm, slow, told = r.Pressure.Storm, r.Pressure.Slow, r.Pressure.Told
	}
	for i := range r.Phases {
		if f := &r.Phases[i]; storm == nil && f.Storm != nil {
			storm = f.Storm
		} else if slow == nil && f.Slow != nil {
			slow, told = f.Slow, f.Told
		}
	}
	if s := storm; s != nil {
		g.Caption = "Who was cut and came back"
		add("connections cut", s.Cut, false)
		add("connections that came back", s.Back, false)
		add("by their resume token", s.Resumed, false)
		add("refused or ended again on the way", s.Again, false)
		add("subscriptions that recovered", s.Recovered, false)
		add("publications recovered", s.RecoveredPublications, false)
		add("subscriptions that did not recover", s.Unrecovered, true)
	}
	if s := slow; s != nil {
		g.Caption = "Who did not read"
		if storm != nil {
			g.Caption = "Who was cut, and who did not read"
		}
		add("connections that stopped reading", s.Stalled, false)
		add("received everything all the same", s.Whole, false)
		add("were ended by the target", s.Ended, false)
		add("were told of a gap", s.Missed, false)
		add("publications lost of which they know", told, false)
		add("publications lost silently", s.Silent, true)
		add("ended, and did not come back", s.Away, true)
	}
	return g
}

// quantiles are all distributions of a report, by what they are of.
func quantiles(r *loadtest.Report) grid {
	g := grid{ID: "quantiles", Caption: "Latency", Head: []string{"of", "count", "min", "p50", "p90", "p99", "p99.9", "max"}}
	add := func(name string, q *loadtest.Quantiles) {
		if q == nil {
			return
		}
		cells := []string{name, units.Grouped(int(q.Count))}
		for _, us := range []float64{q.Min, q.P50, q.P90, q.P99, q.P999, q.Max} {
			cells = append(cells, units.Micros(us))
		}
		g.Rows = append(g.Rows, row{Cells: cells})
	}
	add("setting up", r.Connections.Setup)
	if d := r.Delivery; d != nil {
		add("first receipt", d.First)
		add("last receipt", d.Last)
		add("each receipt", d.Latency)
		add("confirmation", d.Answer)
	}
	if e := r.Echo; e != nil {
		add("round trip", e.Latency)
	}
	if p := r.Pressure; p != nil {
		add("each receipt", p.Latency)
		add("confirmation", p.Answer)
		if s := p.Slow; s != nil {
			add("others, before some stopped reading", s.Before)
			add("others, meanwhile", s.During)
			add("others, after", s.After)
		}
		if s := p.Storm; s != nil {
			add("coming back, own time", s.Own)
			add("coming back, with the backoff", s.Away)
		}
	}
	if len(g.Rows) == 1 || r.Latency != nil {
		add("each receipt", r.Latency)
		for i := range r.Phases {
			f := &r.Phases[i]
			add("phase "+f.Name+": each receipt", f.Latency)
			add("phase "+f.Name+": last receipt", f.Last)
			if f.Storm != nil {
				add("phase "+f.Name+": coming back, own time", f.Storm.Own)
			}
			if f.Churn != nil {
				add("phase "+f.Name+": replacing", f.Churn.Replace)
			}
		}
	}
	if o := r.Others; o != nil {
		add("receipts of others' publications", o.Latency)
	}
	return g
}

// micros writes the ticks of a scale of microseconds.
func micros(us float64) string {
	switch {
	case us >= 1e6:
		return units.Number(us/1e6) + " s"
	case us >= 1e3:
		return units.Number(us/1e3) + " ms"
	}
	return units.Number(us) + " µs"
}

func latency(r *loadtest.Report) section {
	over := plot{id: "windows", title: "Latency over time", note: "Of what arrived in each second.", x: sinceStart, y: "latency, logarithmic", log: true, labelY: micros, write: units.Micros, events: events(r), until: r.Seconds}
	if r.Timeline != nil {
		p50, p99, most := curve{name: "p50"}, curve{name: "p99"}, curve{name: "max"}
		for _, w := range r.Timeline.Windows {
			at := max(w.Seconds, 0) // a window begins at a whole second
			p50.x, p99.x, most.x = append(p50.x, at), append(p99.x, at), append(most.x, at)
			p50.y, p99.y, most.y = append(p50.y, w.P50), append(p99.y, w.P99), append(most.y, w.Max)
		}
		over.curves = []curve{p50, p99, most}
	}
	return section{
		ID: "latency", Title: "Latency", Figures: []figure{over.figure(), distribution("cdf", "Distribution (CDF)", named("", r))}, Grids: []grid{quantiles(r)},
		Intro: "From the time a message was due, also where the plan could not be kept, to its receipt.",
	}
}

// labelled is a distribution and what it is called in a drawing.
type labelled struct {
	name string
	timeline.Distribution
}

// named are the distributions of a report; of a name only, where one is given.
func named(only string, r *loadtest.Report) (all []labelled) {
	if r.Timeline == nil {
		return nil
	}
	for _, d := range r.Timeline.Distributions {
		if only == "" || d.Name == only {
			all = append(all, labelled{d.Name, d})
		}
	}
	return all
}

// distribution draws cumulative distributions. The scale is of nines, so that the tail can be seen: half of all is as wide as half of
// what is left.
func distribution(id, title string, all []labelled) figure {
	nines := func(percent float64) float64 { return -math.Log10(1 - min(percent, 99.99999)/100) }
	ends := map[float64]bool{}
	percent := func(x float64) string {
		if ends[x] {
			return "100 %"
		}
		return strconv.FormatFloat(100*(1-math.Pow(10, -x)), 'f', max(int(math.Ceil(x-1e-9))-2, 0), 64) + " %"
	}
	p := plot{
		id: id, title: title, note: "So many percent took no longer. Towards the right each step is a tenth of what was left.", x: "percent of all", y: "latency, logarithmic",
		log: true, labelY: micros, write: units.Micros, labelX: percent, writeX: percent,
	}
	right := 0.0
	for _, d := range all {
		c := curve{name: d.name}
		for i, point := range d.Points {
			x := nines(point.Percent)
			if i == len(d.Points)-1 && i > 0 { // 100 %: just beyond the one before
				x = nines(d.Points[i-1].Percent) + 0.15
				ends[x] = true
			}
			c.x, c.y = append(c.x, x), append(c.y, point.Micros)
			right = max(right, x)
		}
		p.curves = append(p.curves, c)
	}
	for x := 0.0; x <= right; x++ {
		p.ticksX = append(p.ticksX, x)
	}
	return p.figure()
}

func memory(r *loadtest.Report) section {
	mb := func(v float64) string { return units.Number(v) + " MB" }
	time := plot{id: "memory-time", title: "Memory over time", note: "Resident memory of the processes, and what the kernel has queued in TCP sockets of this host.", x: sinceStart, y: "MB", labelY: units.Short, write: mb, events: events(r), until: r.Seconds}
	size := func(of func(timeline.Sample) int64) func(timeline.Sample) float64 {
		return func(s timeline.Sample) float64 { return float64(of(s)) / 1e6 }
	}
	time.curves = []curve{
		over(r, "target", size(func(s timeline.Sample) int64 { return s.RSS })), over(r, "load test", size(func(s timeline.Sample) int64 { return s.SelfRSS })),
		over(r, "TCP buffers", size(func(s timeline.Sample) int64 { return s.Buffers })),
	}
	each := perConnection(r)
	sockets := perSocket(r)
	return section{ID: "memory", Title: "Memory", Figures: []figure{each.figure(), sockets.figure(), time.figure()}, Grids: []grid{some(r, "memory-figures", "Memory, for each",
		observe.FigureRSS, "rss_anon_per_connection", observe.FigureHeap, observe.FigureHeapLive, observe.FigureSelfRSS, observe.FigureKernel, observe.FigureSlab,
		"slab_growth_per_socket", "tcp_buffers_per_socket")}}
}

// perConnection is what a connection costs, wherever it is.
func perConnection(r *loadtest.Report) stack {
	s := stack{
		id: "memory", title: "Memory per connection, bytes", note: "Growth from before the first connection until all were there at rest.",
		parts: []string{"Go heap", "rest of the process", "kernel: slab", "kernel: buffers"}, write: units.Size,
	}
	add := func(name string, parts ...float64) {
		sum := 0.0
		for _, v := range parts {
			sum += v
		}
		if sum > 0 {
			s.bars = append(s.bars, chart.Bar{Name: name, Parts: parts, Text: units.Size(sum)})
		}
	}
	if rss, ok := observe.Value(r.Figures, observe.FigureRSS); ok {
		heap, known := observe.Value(r.Figures, observe.FigureHeapLive)
		if !known {
			heap, _ = observe.Value(r.Figures, observe.FigureHeap)
		}
		heap = max(min(heap, rss), 0)
		add("target's process", heap, max(rss-heap, 0), 0, 0)
	}
	if rss, ok := observe.Value(r.Figures, observe.FigureSelfRSS); ok {
		add("load test's process", 0, max(rss, 0), 0, 0)
	}
	for _, f := range r.Figures {
		if f.Name == observe.FigureKernel && f.Value != nil {
			var slab, buffers float64
			for _, p := range f.Parts {
				if p.Name == "slab" {
					slab = p.Value
				} else {
					buffers = p.Value
				}
			}
			add("kernel, all ends on this host", 0, 0, max(slab, 0), max(buffers, 0))
		}
	}
	return s
}

// perSocket is what the kernel has for a socket.
func perSocket(r *loadtest.Report) stack {
	s := stack{id: "slab", title: "Kernel memory per socket, bytes", note: "By slab cache; a connection within this host has two sockets.", parts: []string{""}, write: units.Size}
	for _, f := range r.Figures {
		if f.Name != observe.FigureSlab || f.Value == nil {
			continue
		}
		for i, p := range f.Parts {
			if i < 8 {
				s.bars = append(s.bars, chart.Bar{Name: p.Name, Parts: []float64{p.Value}, Text: units.Size(p.Value)})
			}
		}
	}
	return s
}

func processors(r *loadtest.Report) section {
	busy := plot{
		id: "cpu", title: "Processors kept busy", x: sinceStart, y: "percent of one processor", events: events(r), until: r.Seconds, write: func(v float64) string { return fmt.Sprintf("%.1f %%", v) },
		curves: []curve{
			over(r, "target", func(s timeline.Sample) float64 { return 100 * s.CPU }), over(r, "load test", func(s timeline.Sample) float64 { return 100 * s.SelfCPU }),
		},
	}
	lag := plot{id: "lag", title: "Longest pass of the target's loops", note: "As its metrics told between two looks at them; upper ends of buckets.", x: sinceStart, y: "at most, logarithmic", log: true, labelY: micros, write: units.Micros, events: events(r), until: r.Seconds}
	c := curve{name: "longest pass"}
	if r.Timeline != nil {
		for _, s := range r.Timeline.Samples {
			if s.Lag > 0 {
				c.x, c.y = append(c.x, s.Seconds), append(c.y, s.Lag)
			}
		}
	}
	lag.curves = []curve{c}
	return section{ID: "processors", Title: "Processor time", Figures: []figure{costs(r).figure(), busy.figure(), lag.figure()}, Grids: []grid{some(r, "stops",
		"Stops, switches and the network", "lag_longest", "lag_p99_9", "lag_waits_p99_9", "gc_stops", "gc_longest", "context_switches", "context_switches_involuntary", observe.FigureSegments,
		observe.FigureRetransmits, "listen_overflows", "listen_drops")}}
}

// some are those of the figures that have a value.
func some(r *loadtest.Report, id, caption string, names ...string) grid {
	g := grid{ID: id, Caption: caption, Head: []string{"", "value"}}
	for _, f := range r.Figures {
		if f.Value != nil && slices.Contains(names, f.Name) {
			g.Rows = append(g.Rows, row{Cells: []string{f.What, amount(*f.Value, f.Unit)}})
		}
	}
	return g
}

// costs are the processor times for each of what happened.
func costs(r *loadtest.Report) stack {
	s := stack{id: "costs", title: "Processor time of the target, µs", parts: []string{"µs"}, write: func(v float64) string { return fmt.Sprintf("%.2f µs", v) }}
	for _, f := range []struct{ name, figure string }{{"per connect", observe.FigureConnect}, {"per delivery", observe.FigureDelivery}, {"per heartbeat", observe.FigureHeartbeat}} {
		if v, ok := observe.Value(r.Figures, f.figure); ok && v > 0 {
			s.bars = append(s.bars, chart.Bar{Name: f.name, Parts: []float64{v}, Text: s.write(v)})
		}
	}
	return s
}
