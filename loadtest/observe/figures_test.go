package observe

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/observe/kernel"
)

// story is a test of 1,000 connections, every part of which is known.
func story() Facts {
	process := func(ms, rss, switches int64) *Process {
		return &Process{CPU: time.Duration(ms) * time.Millisecond, RSS: rss, RSSAnon: rss / 2, Switches: switches, Preempted: switches / 10}
	}
	host := func(sockets, buffers, tcp, filp, slab, again int64) *kernel.Host {
		return &kernel.Host{Sockets: sockets, Buffers: buffers, Caches: map[string]int64{"TCP": tcp, "filp": filp}, Slab: slab, Segments: 10 * again, Retransmits: again, Overflows: again / 2}
	}
	metrics := func(text string) Measures { return parse([]byte(text)) }
	start := &Moment{Name: "start", Server: process(100, 10_000, 50), Self: process(10, 5000, 0), Host: host(1, 0, 1000, 0, 90_000, 2),
		Heap: &Heap{4000, 3000, 5}, Measures: metrics(metricsBefore), rested: process(150, 10_000, 50)}
	connected := &Moment{Name: "connected", Seconds: 1, Ready: 1000, Heartbeats: 100, Server: process(200, 300_000, 60), Self: process(40, 9000, 0), Host: host(2001, 0, 1000, 0, 1, 4), Heap: &Heap{200_000, 90_000, 7}}
	idle := &Moment{Name: "idle", Seconds: 31, Ready: 1000, Heartbeats: 2100, Received: 7, Server: process(210, 400_000+10_000, 60), Self: process(50, 205_000, 0),
		Host: host(2001, 8000, 4_001_000, 600_000, 5_090_000, 4), Heap: &Heap{254_000, 243_000, 8}}
	traffic := &Moment{Name: "traffic", Seconds: 41, Ready: 1000, Received: 40_007, Heartbeats: 2700, Server: process(290, 500_000, 70), Self: process(90, 205_000, 0),
		Host: host(2001, 8000, 4_001_000, 600_000, 5_090_000, 6)}
	after := &Moment{Name: "after", Seconds: 42, Server: process(290, 500_000, 150), Host: host(2001, 8000, 4_001_000, 600_000, 5_090_000, 8), Measures: metrics(metricsAfter)}
	return Facts{
		Stretches:   []Stretch{{Connecting, start, connected}, {Holding, connected, idle}, {Sending, idle, traffic}},
		Start:       start,
		Full:        idle,
		End:         after,
		Connections: 1000,
	}
}

func find(t *testing.T, all []Figure, name string) Figure {
	t.Helper()
	for _, f := range all {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no figure %s", name)
	return Figure{}
}

func TestFiguresAreDifferencesForEachOfWhatHappened(t *testing.T) {
	all := Figures(story())
	for name, want := range map[string]float64{
		"connect_cpu": 50, "delivery_cpu": 1.925, "heartbeat_cpu": 5, // 80 ms, less 600 heartbeats
		"loadtest_connect_cpu": 30, "loadtest_delivery_cpu": 1,
		"rss_per_connection": 400, "rss_anon_per_connection": 200, "heap_per_connection": 250, "heap_live_per_connection": 240, "loadtest_rss_per_connection": 200,
		"slab_per_socket": 2300, "slab_growth_per_socket": 2500, "tcp_buffers_per_socket": 4, "kernel_per_connection": 4608,
		"lag_longest": 8000, "lag_p99_9": 4000, "gc_stops": 2, "gc_longest": 120,
		"context_switches": 100, "context_switches_involuntary": 10, "tcp_segments": 60, "tcp_retransmits": 6, "listen_overflows": 3, "listen_drops": 0,
	} {
		f := find(t, all, name)
		if f.Value == nil || math.Abs(*f.Value-want) > 1e-6 || f.Over == "" || f.Missing != "" || f.Unit == "" || f.What == "" {
			t.Errorf("%s: %+v (%v), want %g", name, f, f.Value, want)
		}
		if v, ok := Value(all, name); !ok || math.Abs(v-want) > 1e-6 {
			t.Errorf("%s is found as %g, %v", name, v, ok)
		}
	}
	if f := find(t, all, "slab_per_socket"); len(f.Parts) != 2 || f.Parts[0] != (Part{"TCP", 2000}) || f.Parts[1] != (Part{"filp", 300}) {
		t.Errorf("%+v", f.Parts)
	}
	if f := find(t, all, "heartbeat_cpu"); f.Over != "2,000 heartbeats in 30.0 s, connected → idle" {
		t.Errorf("over %q", f.Over)
	}
}

func TestWhatCannotBeKnownSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Facts)
		why    map[string]string // by figure
	}{
		"no process": {func(f *Facts) {
			for _, s := range f.Stretches {
				s.From.Server, s.To.Server = nil, nil
			}
		}, map[string]string{"connect_cpu": "--server-pid", "heartbeat_cpu": "--server-pid", "rss_per_connection": "--server-pid", "context_switches": "--server-pid"}},
		"metrics late": {func(f *Facts) { f.Full.Heap, f.Full.NoMetrics = nil, "no answer" },
			map[string]string{"heap_per_connection": "--metrics, of several processes all (no answer)", "heap_live_per_connection": "no answer"}},
		"no metrics": {func(f *Facts) { f.Start.Measures, f.Start.Heap = nil, nil },
			map[string]string{"heap_per_connection": "--metrics", "heap_live_per_connection": "--metrics", "lag_longest": "--metrics", "gc_stops": "--metrics"}},
		"no ping":       {func(f *Facts) { f.Full.Heartbeats = 0 }, map[string]string{"heartbeat_cpu": "no ping"}},
		"no delivery":   {func(f *Facts) { f.Stretches[2].To.Received = 0 }, map[string]string{"delivery_cpu": "nothing was delivered"}},
		"heartbeats":    {func(f *Facts) { f.Stretches[2].To.Heartbeats = 2_000_000 }, map[string]string{"delivery_cpu": "lost among the heartbeats"}},
		"no sending":    {func(f *Facts) { f.Stretches = f.Stretches[:2] }, map[string]string{"delivery_cpu": "no such part"}},
		"no collection": {func(f *Facts) { f.Full.Heap.Collections = 7 }, map[string]string{"heap_live_per_connection": "has not run"}},
		"not told":      {func(f *Facts) { f.Full.Heap.Live = 0 }, map[string]string{"heap_live_per_connection": "does not tell"}},
		"no slabinfo": {func(f *Facts) { f.Full.Host.Unknown = map[string]string{kernel.Slabinfo: "root only"} },
			map[string]string{"slab_per_socket": "root only"}},
		"no sockstat": {func(f *Facts) { f.Full.Host.Unknown = map[string]string{kernel.Sockstat: "gone"} },
			map[string]string{"slab_per_socket": "gone", "kernel_per_connection": "gone", "tcp_buffers_per_socket": "gone"}},
		"others": {func(f *Facts) { f.Full.Host.Slab, f.Full.Host.Buffers, f.Start.Host.Buffers = 80_000, 0, 10 },
			map[string]string{"slab_growth_per_socket": "gave back", "tcp_buffers_per_socket": "gave back"}},
		"others' caches": {func(f *Facts) { f.Full.Host.Caches = map[string]int64{"TCP": 900, "filp": 9999} },
			map[string]string{"slab_per_socket": "gave back", "kernel_per_connection": "gave back"}},
		"elsewhere": {func(f *Facts) { f.Full.Host.Sockets = 1 }, map[string]string{"kernel_per_connection": "namespace"}},
		"no snmp": {func(f *Facts) { f.End.Host.Unknown = map[string]string{kernel.SNMP: "odd"} },
			map[string]string{"tcp_retransmits": "odd", "tcp_segments": "odd"}},
		"no end":  {func(f *Facts) { f.End = nil }, map[string]string{"lag_longest": "ended before"}},
		"nothing": {func(f *Facts) { *f = Facts{} }, map[string]string{"connect_cpu": "no such part", "kernel_per_connection": "no such part", "tcp_segments": "no such part"}},
	} {
		f := story()
		c.change(&f)
		all := Figures(f)
		for figure, why := range c.why {
			if got := find(t, all, figure); got.Value != nil || !strings.Contains(got.Missing, why) {
				t.Errorf("%s: %s: %v, missing %q, want %q", name, figure, got.Value, got.Missing, why)
			}
		}
		for _, one := range all {
			if (one.Value == nil) == (one.Missing == "") || one.Value != nil && (math.IsNaN(*one.Value) || math.IsInf(*one.Value, 0)) {
				t.Errorf("%s: %+v has both or none of value and reason", name, one)
			}
		}
	}
	f := story()
	f.Connections = 2000 // of which one end is here
	if v, ok := Value(Figures(f), FigureKernel); !ok || v != 2304 {
		t.Errorf("with one end on this host it is %g", v)
	}
	f = story()
	f.Full.Host.Sockets = 20_001 // somebody else's, too
	if v, ok := Value(Figures(f), FigureKernel); !ok || math.Abs(v-460.8) > 1e-6 {
		t.Errorf("with sockets of others it is %g", v)
	}
	f = story()
	f.Full.Host.Unknown = map[string]string{kernel.Slabinfo: "root only"}
	if v, ok := Value(Figures(f), FigureKernel); !ok || v != 5008 {
		t.Errorf("without slabinfo the growth of all caches counts, and it is %g", v)
	}
}

func TestMetricsOfSeveralProcessesAreAddedUp(t *testing.T) {
	sum := parse([]byte("a 1\nb{x=\"1\"} 2\nq{quantile=\"1\"} 5\n")).plus(parse([]byte("a 2\nb{x=\"2\"} 4\nc 1\nq{quantile=\"1\"} 3\n")))
	if sum.sum("a") != 3 || sum.sum("b") != 6 || sum.sum("c") != 1 || sum.by("q", "quantile")["1"] != 5 {
		t.Errorf("%v", sum)
	}
	if m := Measures(nil).plus(parse([]byte("a 1\n"))); m.sum("a") != 1 {
		t.Errorf("%v", m)
	}
}

func TestALookTakesWhatIsThere(t *testing.T) {
	const stat = "7 (x) S 1 7 7 0 -1 4194560 2105 0 0 0 100 20 0 0 20 0 9 0 1 2 3"
	proc := procOf(map[string]string{
		"7/stat": stat, "7/status": "VmRSS: 3 kB\n", "8/stat": stat, "8/status": "VmRSS: 4 kB\n", "9/stat": stat, "9/status": "VmRSS: 5 kB\n",
		"7/net/sockstat": "TCP: inuse 3 mem 0\n", "net/sockstat": "TCP: inuse 4 mem 0\n", "self/stat": stat, "self/status": "VmRSS: 1 kB\n",
	})
	for _, c := range []struct {
		o                  Observer
		server, self, each int
		sockets            int64
	}{
		{Observer{}, 0, 1, 0, 4},
		{Observer{PIDs: []int{7}}, 3, 1, 0, 3},
		{Observer{PIDs: []int{7, 8}, Selves: []int{8, 9}}, 7, 9, 2, 3},
		{Observer{PIDs: []int{7, 10}}, 0, 1, 0, 3}, // half of a sum would mislead
	} {
		c.o.Proc = proc
		var m Moment
		if err := c.o.Look(context.Background(), &m, false); err != nil {
			t.Fatal(err)
		}
		if (m.Server == nil) != (c.server == 0) || m.Server != nil && m.Server.RSS != int64(c.server)<<10 || m.Self.RSS != int64(c.self)<<10 || len(m.Servers) != c.each || m.Host.Sockets != c.sockets {
			t.Errorf("%+v: %+v %+v", c.o.PIDs, m, m.Server)
		}
	}
}
