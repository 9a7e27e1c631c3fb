package loadtest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"shoal/loadtest/fleet"
	"shoal/loadtest/observe"
)

func TestAReportSaysWhatTheTestCostAndHowItWent(t *testing.T) {
	if testing.Short() {
		t.Skip("holds connections until they are pinged")
	}
	addr, _ := serve(t, map[string]any{"client.ping_interval": "2s", "client.pong_timeout": "1s"})
	cfg := small(addr, Fanout)
	cfg.ServerPIDs, cfg.Settle, cfg.Publications = []int{self()}, 3500*time.Millisecond, 20
	r, err := try(t, context.Background(), cfg, Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{observe.FigureConnect, observe.FigureHeartbeat, "lag_longest", "context_switches"} {
		if v, ok := observe.Value(r.Figures, name); !ok || v <= 0 {
			t.Errorf("%s is %g, known %v", name, v, ok)
		}
	}
	for _, name := range []string{observe.FigureHeap, observe.FigureRSS, observe.FigureSelfRSS, "gc_stops"} { // this process did other things before
		if _, ok := observe.Value(r.Figures, name); !ok {
			t.Errorf("%s is not known", name)
		}
	}
	line := r.Timeline
	if line == nil || len(line.Samples) < 10 || len(line.Windows) == 0 || len(line.Distributions) != 3 {
		t.Fatalf("%+v", line)
	}
	first, last := line.Samples[0], line.Samples[len(line.Samples)-1]
	if first.Seconds > 1 || last.Seconds < 5 || last.Seconds > r.Seconds || last.Ready != 300 || last.RSS == 0 || last.SelfRSS == 0 || last.Sockets < 600 {
		t.Errorf("from %+v to %+v of %g s", first, last, r.Seconds)
	}
	received := int64(0)
	for _, w := range line.Windows {
		received += w.Count
	}
	if received != 300*20 {
		t.Errorf("%d receipts in the windows", received)
	}
}

func TestSeveralProcessesAreMeasuredTogether(t *testing.T) {
	addr, _ := serve(t, nil)
	cfg := small(addr, Echo)
	cfg.ServerPIDs = []int{self(), os.Getppid()}
	r, err := try(t, context.Background(), cfg, Surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Marks {
		if len(m.Servers) != 2 || m.Servers[0].PID != self() || m.Server == nil || m.Server.RSS != m.Servers[0].RSS+m.Servers[1].RSS || m.Heap != nil {
			t.Errorf("%s: %+v of %+v, heap %v", m.Name, m.Server, m.Servers, m.Heap)
		}
	}
	if _, known := observe.Value(r.Figures, observe.FigureHeap); known {
		t.Error("metrics were asked for behind a port that several processes may share")
	}
	cfg.Metrics = "http://" + addr + "/metrics, http://" + addr + "/metrics"
	if r, err = try(t, context.Background(), cfg, Surroundings{}); err != nil {
		t.Fatal(err)
	}
	if _, known := observe.Value(r.Figures, observe.FigureHeap); !known {
		t.Error("the metrics that were named are missing")
	}
	if names := distributionNames(r); names != "round trip, setting up" {
		t.Errorf("distributions of %s", names)
	}
}

func distributionNames(r *Report) (names string) {
	for i, d := range r.Timeline.Distributions {
		if i > 0 {
			names += ", "
		}
		names += d.Name
	}
	return names
}

func TestTheLoadTestIsAllProcessesThatItStarted(t *testing.T) {
	own := os.Getpid()
	proc := fstest.MapFS{
		"7/stat": {Data: fmt.Appendf(nil, "7 (shoal) S %d 7", own)}, "8/stat": {Data: fmt.Appendf(nil, "8 (shoal) S %d 7", own)}, "9/stat": {Data: []byte("9 (other) S 1 7")},
	}
	for _, c := range []struct{ members, want []int }{
		{nil, nil}, {[]int{0}, nil}, {[]int{own}, nil}, {[]int{9, 10}, nil}, {[]int{7, 8, 9, own, 0}, []int{7, 8, own}},
	} {
		var all []fleet.MemberStatus
		for _, pid := range c.members {
			all = append(all, fleet.MemberStatus{PID: pid})
		}
		if got := selves(proc, all); !slices.Equal(got, c.want) {
			t.Errorf("of members %v: %v, want %v", c.members, got, c.want)
		}
	}
}
