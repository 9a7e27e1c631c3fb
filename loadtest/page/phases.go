package page

import (
	"fmt"

	"shoal/loadtest"
	"shoal/loadtest/report"
	"shoal/loadtest/units"
)

// phases are those of a plan, and the rates that were asked for and reached.
func phases(r *loadtest.Report) section {
	g := grid{ID: "phase-list", Caption: "The phases", Head: []string{"phase", "scenario", "from", "took", "connections", "messages", "expected", "a second", "p50", "p99", "max", "target CPU"}}
	for i := range r.Phases {
		f := &r.Phases[i]
		cells := []string{f.Name, string(f.Scenario), seconds(f.From), seconds(f.Seconds), units.Grouped(f.Ready), units.Grouped(f.Received), units.Grouped(f.Expected), count(f.PerSecond)}
		if q := f.Latency; q != nil {
			cells = append(cells, units.Micros(q.P50), units.Micros(q.P99), units.Micros(q.Max))
		} else {
			cells = append(cells, "–", "–", "–")
		}
		cpu, mood := "–", ""
		if f.Cost != nil {
			cpu = fmt.Sprintf("%.0f %%", f.Cost.Percent)
		}
		if len(f.Failures) > 0 {
			mood = "bad"
		}
		g.Rows = append(g.Rows, row{Cells: append(cells, cpu), Mood: mood})
	}
	if len(r.Phases) < 2 {
		g.Rows = nil // the whole page is of it
	}
	s := section{ID: "phases", Title: "Phases", Grids: []grid{g}}
	s.Figures = append(s.Figures, ramp("ramp", "Connects, asked and reached", r.Connections.Steps).figure())
	for i := range r.Phases {
		f := &r.Phases[i]
		s.Figures = append(s.Figures, ramp(fmt.Sprintf("ramp-%d", i), f.Name+", asked and reached", f.Steps).figure())
	}
	return s
}

// ramp draws what was asked for and what was reached, where that was to change.
func ramp(id, title string, steps []report.Step) plot {
	asked, reached := curve{name: "asked"}, curve{name: "reached"}
	if n := len(steps); n > 0 && steps[0].Asked == steps[n-1].Asked {
		steps = nil // one rate all the time: the charts over time tell
	}
	for _, s := range steps {
		at := s.From + s.Seconds/2
		asked.x, reached.x = append(asked.x, at), append(reached.x, at)
		asked.y, reached.y = append(asked.y, s.Asked), append(reached.y, s.Reached)
	}
	return plot{id: id, title: title, x: "seconds since it began", y: "a second", labelY: units.Short, write: count, curves: []curve{asked, reached}}
}

const carriersMax = 60

// carriers are the processes and hosts that held the connections.
func carriers(r *loadtest.Report) section {
	g := grid{ID: "carriers", Caption: "Who carried the connections", Head: []string{"member", "engines", "connections", "ready", "died", "RSS", "clock ahead", ""}}
	for i, m := range r.Members {
		if i == carriersMax {
			g.Caption += fmt.Sprintf(", the first %d of %d", carriersMax, len(r.Members))
			break
		}
		mood := ""
		if m.Died > 0 || m.Gone != "" {
			mood = "bad"
		}
		g.Rows = append(g.Rows, row{Mood: mood, Cells: []string{m.Name, units.Grouped(m.Engines), units.Grouped(m.Connections), units.Grouped(m.Ready), units.Grouped(m.Died),
			units.Size(float64(m.RSS)), m.Clock.Ahead.String(), m.Gone}})
	}
	return section{ID: "members", Title: "Load hosts", Grids: []grid{g}}
}
