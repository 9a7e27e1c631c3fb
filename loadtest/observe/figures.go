package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"shoal/loadtest/observe/kernel"
	"shoal/loadtest/units"
)

// Figure is one number a test found out, or why it could not.
type Figure struct {
	Name    string   `json:"name"` // stable, for programs
	What    string   `json:"what"` // for people
	Unit    string   `json:"unit"`
	Value   *float64 `json:"value,omitempty"`
	Over    string   `json:"over,omitempty"`    // what it was measured over
	Missing string   `json:"missing,omitempty"` // why there is no value
	Parts   []Part   `json:"parts,omitempty"`   // what the value is made of, in the same unit, the largest first
}

// Part is a part of a figure.
type Part struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Kind is what a stretch of a test was for.
type Kind string

// The kinds.
const (
	Connecting Kind = "connecting"
	Holding    Kind = "holding" // nothing but heartbeats
	Sending    Kind = "sending"
)

// Stretch is a part of a test from one moment to another.
type Stretch struct {
	Kind     Kind
	From, To *Moment
}

// Facts are what figures are made of.
type Facts struct {
	Stretches   []Stretch
	Start       *Moment // before there were connections
	Full        *Moment // all were there, at rest; nil = it never came to that
	End         *Moment // the last look at the metrics; nil = there was only one
	Connections int     // that were there at Full
}

// Names of figures that others look for.
const (
	FigureConnect   = "connect_cpu"
	FigureDelivery  = "delivery_cpu"
	FigureBroadcast = "broadcast_delivery_cpu"
	FigureHeartbeat = "heartbeat_cpu"
	FigureRSS       = "rss_per_connection"
	FigureHeap      = "heap_per_connection"
	FigureKernel    = "kernel_per_connection"
	FigureHeapLive  = "heap_live_per_connection"
	FigureSlab      = "slab_per_socket"
	FigureSelfRSS   = "loadtest_rss_per_connection"

	FigureSegments    = "tcp_segments"
	FigureRetransmits = "tcp_retransmits"
)

// Reasons why something is not known.
const (
	noProcess    = "the target's process is not known: name it with --server-pid"
	noMetrics    = "the target tells no metrics: name them with --metrics, of several processes all"
	noStretch    = "the test had no such part, or ended before its end"
	noHeartbeat  = "no ping came while connections were held: hold them longer than its interval (--duration, --settle)"
	noDelivery   = "nothing was delivered"
	noCollection = "the target's collector has not run since all were connected: hold them longer"
	givenBack    = "others on this host gave back more than the sockets took"
	noLive       = "the target does not tell it (" + metricHeapLive + ")"
)

// Figures are all there are, also those without a value.
func Figures(f Facts) []Figure {
	s := &sheet{Facts: f}
	s.costs()
	s.memory()
	s.kernel()
	s.stops()
	s.trouble()
	return s.all
}

// Value finds a figure that has one.
func Value(all []Figure, name string) (float64, bool) {
	for _, f := range all {
		if f.Name == name && f.Value != nil {
			return *f.Value, true
		}
	}
	return 0, false
}

// sheet collects figures.
type sheet struct {
	Facts
	all  []Figure
	beat float64 // µs that a heartbeat costs; deliveries are freed of those that came between them. 0 = not known
}

func (s *sheet) add(name, what, unit string, v float64, over string, parts ...Part) {
	slices.SortFunc(parts, func(a, b Part) int { return cmp.Or(cmp.Compare(b.Value, a.Value), strings.Compare(a.Name, b.Name)) })
	s.all = append(s.all, Figure{Name: name, What: what, Unit: unit, Value: &v, Over: over, Parts: parts})
}

func (s *sheet) missing(name, what, unit, why string) {
	s.all = append(s.all, Figure{Name: name, What: what, Unit: unit, Missing: why})
}

// costs are processor times.
func (s *sheet) costs() {
	ready := func(m *Moment) int { return m.Ready }
	beats := func(m *Moment) int { return m.Heartbeats }
	got := func(m *Moment) int { return m.Received }
	server := func(m *Moment) *Process { return m.Server }
	s.cost(FigureConnect, "processor time of the target per connect", Connecting, "connects", ready, server, noStretch)
	s.cost(FigureHeartbeat, "processor time of the target per heartbeat", Holding, "heartbeats", beats, server, noHeartbeat)
	s.beat, _ = Value(s.all, FigureHeartbeat)
	s.cost(FigureDelivery, "processor time of the target per delivery", Sending, "deliveries", got, server, noDelivery)
	s.beat = 0
	self := func(m *Moment) *Process { return m.Self }
	s.cost("loadtest_connect_cpu", "processor time of the load test per connect", Connecting, "connects", ready, self, noStretch)
	s.cost("loadtest_delivery_cpu", "processor time of the load test per delivery", Sending, "deliveries", got, self, noDelivery)
}

// cost is what a kind of stretch took of a process, for each of what happened in it.
func (s *sheet) cost(name, what string, kind Kind, things string, count func(*Moment) int, of func(*Moment) *Process, none string) {
	var took time.Duration
	n, beats, seconds, names, known := 0, 0, 0.0, []string(nil), false
	for _, t := range s.Stretches {
		if t.Kind != kind || t.From == nil || t.To == nil {
			continue
		}
		from, to := of(t.From), of(t.To)
		if from == nil || to == nil {
			s.missing(name, what, "µs", noProcess)
			return
		}
		if from == t.From.Server && t.From.rested != nil {
			from = t.From.rested
		}
		known = true
		took += to.CPU - from.CPU
		n += count(t.To) - count(t.From)
		beats += t.To.Heartbeats - t.From.Heartbeats
		seconds += t.To.Seconds - t.From.Seconds
		names = append(names, t.From.Name+" → "+t.To.Name)
	}
	switch {
	case !known:
		s.missing(name, what, "µs", noStretch)
	case n <= 0:
		s.missing(name, what, "µs", none)
	default:
		over, us := fmt.Sprintf("%s %s in %.1f s, %s", units.Grouped(n), things, seconds, strings.Join(names, ", ")), float64(took)/1e3
		if s.beat > 0 && beats > 0 {
			if us -= s.beat * float64(beats); us <= 0 {
				s.missing(name, what, "µs", "it is lost among the heartbeats meanwhile: deliver more, or have fewer pings")
				return
			}
			over += fmt.Sprintf(", less %s heartbeats", units.Grouped(beats))
		}
		s.add(name, what, "µs", us/float64(n), over)
	}
}

// grown is how much a size grew from Start to Full for each connection.
func (s *sheet) grown(name, what string, of func(*Moment) (float64, bool), none string) {
	switch {
	case s.Full == nil || s.Start == nil || s.Connections == 0:
		s.missing(name, what, "B", noStretch)
	default:
		from, ok1 := of(s.Start)
		to, ok2 := of(s.Full)
		if !ok1 || !ok2 {
			s.missing(name, what, "B", none)
			return
		}
		s.add(name, what, "B", (to-from)/float64(s.Connections), s.span(s.Full))
	}
}

// span says what a growth was measured over.
func (s *sheet) span(to *Moment) string {
	return fmt.Sprintf("%s connections, %s → %s", units.Grouped(s.Connections), s.Start.Name, to.Name)
}

// memory is that of the processes.
func (s *sheet) memory() {
	of := func(p *Process, size func(*Process) int64) (float64, bool) {
		if p == nil {
			return 0, false
		}
		return float64(size(p)), true
	}
	rss, anon := func(p *Process) int64 { return p.RSS }, func(p *Process) int64 { return p.RSSAnon }
	s.grown(FigureRSS, "resident memory of the target per connection", func(m *Moment) (float64, bool) { return of(m.Server, rss) }, noProcess)
	s.grown("rss_anon_per_connection", "of it anonymous", func(m *Moment) (float64, bool) { return of(m.Server, anon) }, noProcess)
	s.grown(FigureHeap, "Go heap of the target per connection, with what is not collected yet", func(m *Moment) (float64, bool) {
		if m.Heap == nil {
			return 0, false
		}
		return float64(m.Heap.InUse), true
	}, s.noMetrics())
	s.live()
	s.grown(FigureSelfRSS, "resident memory of the load test per connection", func(m *Moment) (float64, bool) { return of(m.Self, rss) }, noProcess)
}

// noMetrics says why the target's metrics are not known.
func (s *sheet) noMetrics() string {
	for _, m := range []*Moment{s.Start, s.Full, s.End} {
		if m != nil && m.NoMetrics != "" {
			return noMetrics + " (" + m.NoMetrics + ")"
		}
	}
	return noMetrics
}

// live is the heap that a collection found in use when all connections were there.
func (s *sheet) live() {
	const name, what = FigureHeapLive, "Go heap of the target per connection, as its collector found it"
	switch from, to := s.Start, s.Full; {
	case from == nil || to == nil || s.Connections == 0:
		s.missing(name, what, "B", noStretch)
	case from.Heap == nil || to.Heap == nil:
		s.missing(name, what, "B", s.noMetrics())
	case from.Heap.Live == 0 || to.Heap.Live == 0:
		s.missing(name, what, "B", noLive)
	case !s.collected():
		s.missing(name, what, "B", noCollection)
	default:
		s.add(name, what, "B", float64(to.Heap.Live-from.Heap.Live)/float64(s.Connections), s.span(to))
	}
}

// collected says whether the collector ran between a look at the metrics with all connections there and Full.
func (s *sheet) collected() bool {
	for _, t := range s.Stretches {
		if t.To == s.Full && t.Kind == Holding && t.From != nil && t.From.Heap != nil {
			return s.Full.Heap.Collections > t.From.Heap.Collections
		}
	}
	return false
}

// kernel is the memory of sockets.
func (s *sheet) kernel() {
	const (
		slab, whatSlab       = FigureSlab, "slab memory of the kernel per socket"
		all, whatAll         = "slab_growth_per_socket", "growth of all slab caches of this host per socket"
		buffers, whatBuffers = "tcp_buffers_per_socket", "memory in the buffers of a socket"
		sum, whatSum         = FigureKernel, "memory of the kernel per connection, at the ends that are on this host"
	)
	names := [][2]string{{slab, whatSlab}, {all, whatAll}, {buffers, whatBuffers}, {sum, whatSum}}
	none := func(why string) {
		for _, n := range names {
			s.missing(n[0], n[1], "B", why)
		}
	}
	if s.Start == nil || s.Full == nil || s.Start.Host == nil || s.Full.Host == nil || s.Connections == 0 {
		none(noStretch)
		return
	}
	g := s.Full.Host.Grown(*s.Start.Host)
	if why := g.Unknown[kernel.Sockstat]; why != "" || g.Sockets <= 0 {
		none(cmp.Or(why, "no socket came to be in the network namespace of --server-pid"))
		return
	}
	each, over := float64(g.Sockets), fmt.Sprintf("%s sockets, %s → %s", units.Grouped(int(g.Sockets)), s.Start.Name, s.Full.Name)
	total, parts := 0.0, []Part(nil)
	for name, bytes := range g.Caches {
		total += float64(bytes)
		if part := float64(bytes) / each; part >= 1 {
			parts = append(parts, Part{name, part})
		}
	}
	if why := g.Unknown[kernel.Slabinfo]; why != "" {
		s.missing(slab, whatSlab, "B", why+"; the growth of all caches is known")
		total = float64(max(g.Slab, 0))
	} else if g.Caches["TCP"]+g.Caches["TCPv6"] <= 0 {
		s.missing(slab, whatSlab, "B", givenBack)
		total = 0
	} else {
		s.add(slab, whatSlab, "B", total/each, over, parts...)
	}
	if why := g.Unknown[kernel.Meminfo]; why != "" {
		s.missing(all, whatAll, "B", why)
	} else if g.Slab <= 0 {
		s.missing(all, whatAll, "B", givenBack)
	} else {
		s.add(all, whatAll, "B", float64(g.Slab)/each, over)
	}
	if g.Buffers < 0 {
		s.missing(buffers, whatBuffers, "B", givenBack)
		g.Buffers = 0
	} else {
		s.add(buffers, whatBuffers, "B", float64(g.Buffers)/each, over)
	}
	if g.Unknown[kernel.Slabinfo] != "" && g.Unknown[kernel.Meminfo] != "" {
		s.missing(sum, whatSum, "B", g.Unknown[kernel.Slabinfo])
		return
	}
	if total <= 0 {
		s.missing(sum, whatSum, "B", givenBack)
		return
	}
	ends, where := 1.0, "one end of a connection is on this host"
	if each >= 1.5*float64(s.Connections) { // more than two are of others
		ends, where = 2, "both ends of a connection are on this host"
	}
	s.add(sum, whatSum, "B", ends*(total+float64(g.Buffers))/each, over+"; "+where, Part{"slab", ends * total / each}, Part{"buffers", ends * float64(g.Buffers) / each})
}

// stops are those of the loops and of the collector, over the whole test.
func (s *sheet) stops() {
	type row struct {
		name, what, unit string
		of               func(*Stops) float64
	}
	write := func(found *Stops, over, why string, rows []row) {
		for _, r := range rows {
			if found == nil {
				s.missing(r.name, r.what, r.unit, why)
			} else {
				s.add(r.name, r.what, r.unit, r.of(found), over)
			}
		}
	}
	var o Observed
	over, why := "", s.noMetrics()
	if s.Start == nil || s.End == nil {
		why = noStretch
	} else if found := Compare(s.Start.Measures, s.End.Measures, time.Duration((s.End.Seconds-s.Start.Seconds)*1e9)); found != nil {
		o, over = *found, fmt.Sprintf("%s → %s, %.1f s", s.Start.Name, s.End.Name, s.End.Seconds-s.Start.Seconds)
	}
	longest := func(s *Stops) float64 { return s.Max }
	most := func(s *Stops) float64 { return s.P999 }
	write(o.Lag, over, why, []row{
		{"lag_longest", "longest pass of a loop of the target, at most", "µs", longest},
		{"lag_p99_9", "p99.9 of the passes, at most", "µs", most},
		{"lag_waits_p99_9", "99.9 % of what arrives waits for its loop no longer than", "µs", func(s *Stops) float64 { return s.Waits }},
	})
	write(o.GC, over, why, []row{
		{"gc_stops", "stops of the target for its collector", "stops", func(s *Stops) float64 { return float64(s.Count) }},
		{"gc_longest", "the longest, at most", "µs", longest},
	})
}

// trouble is what the kernel counted from Start to the last moment.
func (s *sheet) trouble() {
	last := s.last()
	over := ""
	if last != nil {
		over = fmt.Sprintf("%s → %s, %.1f s", s.Start.Name, last.Name, last.Seconds-s.Start.Seconds)
	}
	for _, c := range [...]struct {
		name, what string
		of         func(*Process) int64
	}{
		{"context_switches", "context switches of the target because it waited", func(p *Process) int64 { return p.Switches }},
		{"context_switches_involuntary", "because others came before it", func(p *Process) int64 { return p.Preempted }},
	} {
		switch {
		case last == nil:
			s.missing(c.name, c.what, "switches", noStretch)
		case s.Start.Server == nil || last.Server == nil:
			s.missing(c.name, c.what, "switches", noProcess)
		default:
			s.add(c.name, c.what, "switches", float64(c.of(last.Server)-c.of(s.Start.Server)), over)
		}
	}
	for _, c := range [...]struct {
		name, what, unit, file string
		of                     func(kernel.Host) int64
	}{
		{FigureSegments, "TCP segments sent on this host", "segments", kernel.SNMP, func(h kernel.Host) int64 { return h.Segments }},
		{FigureRetransmits, "TCP segments sent again", "segments", kernel.SNMP, func(h kernel.Host) int64 { return h.Retransmits }},
		{"listen_overflows", "connections that found an accept queue full", "connections", kernel.Netstat, func(h kernel.Host) int64 { return h.Overflows }},
		{"listen_drops", "connections a listening socket dropped", "connections", kernel.Netstat, func(h kernel.Host) int64 { return h.Drops }},
	} {
		if last == nil || s.Start.Host == nil || last.Host == nil {
			s.missing(c.name, c.what, c.unit, noStretch)
			continue
		}
		g := last.Host.Grown(*s.Start.Host)
		if why := g.Unknown[c.file]; why != "" {
			s.missing(c.name, c.what, c.unit, why)
		} else {
			s.add(c.name, c.what, c.unit, float64(c.of(g)), over)
		}
	}
}

// last is the last moment of all, nil when there is none but Start.
func (s *sheet) last() (last *Moment) {
	if s.Start == nil {
		return nil
	}
	for _, t := range append(s.Stretches, Stretch{To: s.End}, Stretch{To: s.Full}) {
		if t.To != nil && (last == nil || t.To.Seconds > last.Seconds) {
			last = t.To
		}
	}
	return last
}
