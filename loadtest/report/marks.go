package report

import (
	"fmt"
	"strings"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
	"shoal/loadtest/units"
)

// The marks, in their order.
const (
	MarkStart     = "start"
	MarkConnected = "connected"
	MarkIdle      = "idle"    // before the traffic, after the settling and phases of idle that come first
	MarkBefore    = "before"  // slow: the stuck stop reading now
	MarkStalled   = "stalled" // slow: they read again
	MarkCut       = "cut"     // storm, recover: they are cut now
	MarkBack      = "back"    // storm, recover: all are back
	MarkTraffic   = "traffic" // the last message of a phase has arrived
	MarkAfter     = "after"   // after the settling that followed
	MarkHeld      = "held"    // at the end of Hold
)

// At finds the mark of a name, the last one if there are several.
func (r *Report) At(name string) *Mark {
	for i := len(r.Marks) - 1; i >= 0; i-- {
		if r.Marks[i].Name == name {
			return &r.Marks[i]
		}
	}
	return nil
}

// Measure fills in, from the marks, Figures and what the server's process used; pid is one of its processes, 0 when none is known.
func (r *Report) Measure(pid int) {
	if pid > 0 {
		r.Cost = r.cost(pid)
	}
	r.Figures = observe.Figures(r.facts())
	r.Figures = append(r.Figures, r.broadcast()...)
}

// cost computes what the server used.
func (r *Report) cost(pid int) *Cost {
	start, connected, idle := r.At(MarkStart), r.At(MarkConnected), r.At(MarkIdle)
	traffic, after := r.At(MarkTraffic), r.At(MarkAfter)
	if held := r.At(MarkHeld); r.Scenario == plan.Idle { // the traffic is made by others
		traffic, after = held, held
	}
	if start == nil || connected == nil || start.Server == nil || connected.Server == nil || r.Connections.Ready == 0 {
		return nil
	}
	n := float64(r.Connections.Ready)
	c := &Cost{PID: pid, ConnectUS: us(connected.Server.CPU-start.Server.CPU) / n}
	grown := func(m *Mark, size func(*observe.Process) int64) float64 {
		if m == nil || m.Server == nil {
			return 0
		}
		return float64(size(m.Server)-size(start.Server)) / n
	}
	rss, anon := func(p *observe.Process) int64 { return p.RSS }, func(p *observe.Process) int64 { return p.RSSAnon }
	c.RSSIdle, c.RSSAnonIdle = grown(idle, rss), grown(idle, anon)
	c.RSSAfter, c.RSSAnonAfter = grown(after, rss), grown(after, anon)
	if idle != nil && idle.Server != nil && idle.Seconds > connected.Seconds {
		c.IdlePercent = 100 * (idle.Server.CPU - connected.Server.CPU).Seconds() / (idle.Seconds - connected.Seconds)
	}
	if start.Self != nil && connected.Self != nil {
		c.LoadtestRSSBytes = float64(connected.Self.RSS-start.Self.RSS) / n
	}
	if traffic != nil && idle != nil && traffic.Server != nil && idle.Server != nil && traffic.Received > idle.Received {
		messages := float64(traffic.Received - idle.Received)
		c.MessageUS = us(traffic.Server.CPU-idle.Server.CPU) / messages
		if traffic.Self != nil && idle.Self != nil {
			c.LoadtestUS = us(traffic.Self.CPU-idle.Self.CPU) / messages
		}
	}
	return c
}

// facts are what the figures are made of.
func (r *Report) facts() observe.Facts {
	f := observe.Facts{Connections: r.Connections.Ready, Start: r.At(MarkStart), Full: r.At(MarkIdle)}
	between := func(kind observe.Kind, from, to string) {
		if a, b := r.At(from), r.At(to); a != nil && b != nil {
			f.Stretches = append(f.Stretches, observe.Stretch{Kind: kind, From: a, To: b})
		}
	}
	between(observe.Connecting, MarkStart, MarkConnected)
	between(observe.Holding, MarkConnected, MarkIdle)
	between(observe.Sending, MarkIdle, MarkTraffic)
	if r.Scenario == plan.Idle { // the traffic is made by others
		between(observe.Sending, MarkIdle, MarkHeld)
	}
	for i := len(r.Marks) - 1; i > 0 && f.End == nil; i-- {
		if r.Marks[i].Measures != nil {
			f.End = &r.Marks[i]
		}
	}
	return f
}

func us(d time.Duration) float64 { return float64(d) / 1e3 }

// broadcast is what a delivery of a publication to all takes, by the phases of a plan that do nothing else. Their heartbeats go on, and are
// taken off; with a million connections those are half of the work.
func (r *Report) broadcast() []observe.Figure {
	f := observe.Figure{Name: observe.FigureBroadcast, What: "processor time of the target per delivery of a publication to all", Unit: "µs"}
	beat, known := observe.Value(r.Figures, observe.FigureHeartbeat)
	if !known {
		return nil
	}
	took, received, beats, names := 0.0, 0, 0, []string(nil)
	for i := range r.Phases {
		if p := &r.Phases[i]; p.Scenario == plan.Fanout && p.Cost != nil && p.Beside == "" {
			took, received, beats = took+p.Cost.CPU*1e6, received+p.Received, beats+p.Pings
			names = append(names, p.Name)
		}
	}
	if received == 0 {
		return nil
	}
	v := (took - float64(beats)*beat) / float64(received)
	f.Value = &v
	f.Over = fmt.Sprintf("%s deliveries in %s, less %s heartbeats", units.Grouped(received), strings.Join(names, " and "), units.Grouped(beats))
	return []observe.Figure{f}
}
