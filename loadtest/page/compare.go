package page

import (
	"fmt"
	"strings"

	"shoal/loadtest/chart"
	"shoal/loadtest/observe"
	"shoal/loadtest/units"
)

// growthMax is how many times what a delivery or a heartbeat costs with few connections it may cost with many.
const growthMax = 1.3

// compare is the page of several reports: how what each connection, delivery and heartbeat costs changes from the first to the others.
func compare(in []Input) *view {
	v := &view{Kicker: "shoal loadtest", Title: "Load tests beside each other", Mood: "good", Verdict: "All passed"}
	labels := labelsOf(in)
	for i, one := range in {
		if !one.Report.OK {
			v.Mood, v.Verdict = "bad", "Not all passed"
			v.Failures = append(v.Failures, labels[i]+": "+strings.Join(one.Report.Failures, "; "))
		}
	}
	first, last := in[0].Report.Connections.Ready, in[len(in)-1].Report.Connections.Ready
	v.Headline = fmt.Sprintf("From %s to %s connections.", units.Grouped(first), units.Grouped(last))
	v.Cards = growth(in)
	v.add(section{ID: "costs", Title: "Processor time", Intro: fmt.Sprintf("Of the target, for each of what happened. The dashed line is %g times the first: what stays left of it grows flat.", growthMax),
		Figures: []figure{bars(in, labels, observe.FigureHeartbeat, "Per heartbeat, µs", growthMax), bars(in, labels, observe.FigureBroadcast, "Per delivery of a message to all, µs", growthMax),
			bars(in, labels, observe.FigureDelivery, "Per delivery of any kind, µs", growthMax),
			bars(in, labels, observe.FigureConnect, "Per connect, µs", 0)}})
	v.add(section{ID: "memory", Title: "Memory per connection", Figures: []figure{
		bars(in, labels, observe.FigureRSS, "Resident memory of the target, bytes", 0), bars(in, labels, observe.FigureHeap, "Go heap of the target, bytes", 0),
		bars(in, labels, observe.FigureKernel, "Kernel, ends on this host, bytes", 0), bars(in, labels, observe.FigureSelfRSS, "Resident memory of the load test, bytes", 0),
	}})
	var receipts, setups []labelled
	for i, one := range in {
		for _, name := range []string{"each receipt", "round trip"} {
			for _, d := range named(name, one.Report) {
				receipts = append(receipts, labelled{labels[i], d.Distribution})
			}
		}
		for _, d := range named("setting up", one.Report) {
			setups = append(setups, labelled{labels[i], d.Distribution})
		}
	}
	each, setting := distribution("cdf-receipts", "Receipts (CDF)", receipts), distribution("cdf-setups", "Setting up (CDF)", setups)
	v.add(section{ID: "latency", Title: "Latency", Figures: []figure{each, setting}})
	v.add(section{ID: "all", Title: "All figures", Intro: "In brackets: how many times the first.", Grids: []grid{sideBySide(in, labels)}})
	v.Foot = "Figures are of the machines and the versions of then; compare what was measured on one machine."
	return v
}

// labelsOf are the reports by what tells them apart: scenario and connections, and the name where that is not enough.
func labelsOf(in []Input) []string {
	labels, seen := make([]string, len(in)), map[string]int{}
	for i, one := range in {
		labels[i] = title(one.Report)
		seen[labels[i]]++
	}
	for i, one := range in {
		if seen[labels[i]] > 1 {
			labels[i] += " (" + one.Name + ")"
		}
	}
	return labels
}

// growth says how many times the first the last costs.
func growth(in []Input) (all []card) {
	for _, f := range []struct{ name, figure string }{
		{"CPU per heartbeat", observe.FigureHeartbeat}, {"CPU per delivery to all", observe.FigureBroadcast}, {"CPU per delivery", observe.FigureDelivery}, {"CPU per connect", observe.FigureConnect}, {"memory per connection", observe.FigureRSS}, {"kernel per connection", observe.FigureKernel},
	} {
		from, ok1 := observe.Value(in[0].Report.Figures, f.figure)
		to, ok2 := observe.Value(in[len(in)-1].Report.Figures, f.figure)
		if ok1 && ok2 && from > 0 {
			unit := unitOf(in[0].Report.Figures, f.figure)
			all = append(all, card{f.name, fmt.Sprintf("× %.2f", to/from), amount(from, unit) + " → " + amount(to, unit)})
		}
	}
	return all
}

// bars draws one figure of all reports that have it.
func bars(in []Input, labels []string, name, title string, times float64) figure {
	s := stack{id: name, title: title, parts: []string{"value"}}
	first := 0.0
	for i, one := range in {
		v, ok := observe.Value(one.Report.Figures, name)
		if !ok || v <= 0 {
			continue
		}
		unit := unitOf(one.Report.Figures, name)
		s.write = func(v float64) string { return amount(v, unit) }
		text := amount(v, unit)
		if first == 0 {
			first, s.limit = v, v*times
		} else {
			text += fmt.Sprintf(" (× %.2f)", v/first)
		}
		s.bars = append(s.bars, chart.Bar{Name: labels[i], Parts: []float64{v}, Text: text})
	}
	if len(s.bars) < 2 {
		s.bars = nil // nothing to compare
	}
	return s.figure()
}

// sideBySide has all figures that two of them have.
func sideBySide(in []Input, labels []string) grid {
	g := grid{ID: "figures", Caption: "Figures", Head: append([]string{""}, labels...)}
	for _, f := range in[0].Report.Figures {
		cells, known, first := []string{f.What}, 0, 0.0
		for _, one := range in {
			v, ok := observe.Value(one.Report.Figures, f.Name)
			if !ok {
				cells = append(cells, "–")
				continue
			}
			text := amount(v, f.Unit)
			if known++; known == 1 {
				first = v
			} else if first > 0 {
				text += fmt.Sprintf(" (× %.2f)", v/first)
			}
			cells = append(cells, text)
		}
		if known > 1 {
			g.Rows = append(g.Rows, row{Cells: cells})
		}
	}
	return g
}
