package observe

import (
	"testing"
	"time"
)

func TestMetricsAreReadAndSummed(t *testing.T) {
	m := parse([]byte("# HELP a b\na_total 3\nb{x=\"1 2\"} 4\nb{x=\"}\",y=\"2\"} 5.5 1700000000000\nnonsense\nc 1e3\nd nan?\n"))
	if m.sum("a_total") != 3 || m.sum("b") != 9.5 || m.sum("c") != 1000 || len(m) != 3 || m.by("b", "y")["2"] != 5.5 || m.by("b", "x")["1 2"] != 4 {
		t.Errorf("%v", m)
	}
	if none := Measures(nil); none.sum("a") != 0 || len(none.by("a", "x")) != 0 {
		t.Errorf("%v", none)
	}
}

const metricsBefore = `
shoal_deliveries_total 10
shoal_loop_writes_total 5
shoal_drops_total{reason="slow"} 3
shoal_drops_total{reason="slow-oldest"} 1
shoal_disconnects_total{code="3012"} 1
shoal_conns_closed_total{reason="timeout"} 1
shoal_insufficient_state_total 1
shoal_loop_lag_seconds_bucket{le="0.001"} 500
shoal_loop_lag_seconds_bucket{le="0.004"} 501
shoal_loop_lag_seconds_bucket{le="+Inf"} 501
go_gc_pauses_seconds_bucket{le="9.8304e-05"} 1
go_gc_pauses_seconds_bucket{le="0.00016384"} 1
go_gc_pauses_seconds_bucket{le="+Inf"} 1
go_gc_duration_seconds_count 1
`

const metricsAfter = `
shoal_deliveries_total 30
shoal_loop_writes_total 10
shoal_loop_writevs_total 5
shoal_drops_total{reason="slow"} 3
shoal_drops_total{reason="slow-oldest"} 5
shoal_disconnects_total{code="3012"} 3
shoal_disconnects_total{code="3008"} 1
shoal_conns_closed_total{reason="timeout"} 3
shoal_conns_closed_total{reason="slow"} 1
shoal_conns_closed_total{reason="reset"} 7
shoal_insufficient_state_total 3
shoal_loop_lag_seconds_bucket{le="0.004"} 3500
shoal_loop_lag_seconds_bucket{le="0.001"} 3495
shoal_loop_lag_seconds_bucket{le="+Inf"} 3501
go_gc_pauses_seconds_bucket{le="9.8304e-05"} 2
go_gc_pauses_seconds_bucket{le="0.00016384"} 3
go_gc_pauses_seconds_bucket{le="+Inf"} 3
go_gc_duration_seconds{quantile="1"} 0.00012
go_gc_duration_seconds_count 3
`

func TestWhatTheTargetCountedMeanwhileIsTheDifference(t *testing.T) {
	before, after := parse([]byte(metricsBefore)), parse([]byte(metricsAfter))
	o := Compare(before, after, time.Second)
	if o == nil || o.Writes == nil || *o.Writes != (Writes{20, 10, 0.5}) || o.Resubscribe != 2 {
		t.Fatalf("%+v", o)
	}
	if o.Dropped() != 4 || o.Drops["slow-oldest"] != 4 || len(o.Drops) != 1 {
		t.Errorf("drops %v", o.Drops)
	}
	if o.Ended() != 3 || o.Disconnects["3012"] != 2 || o.Disconnects["3008"] != 1 || o.Closed["reset"] != 7 {
		t.Errorf("ends %v %v", o.Disconnects, o.Closed)
	}
	// Of 3,000 times 2,995 were up to 1 ms, 4 up to 4 ms and one longer than the histogram tells apart.
	// Those longer than 1 ms take 4*4+8 ms, more than a thousandth of the second.
	if *o.Lag != (Stops{3000, 4000, 8000, 8000}) {
		t.Errorf("lag %+v", *o.Lag)
	}
	if *o.GC != (Stops{2, 120, 120, 0}) { // sharper than its bucket of 164 µs
		t.Errorf("stops of the collector %+v", *o.GC)
	}
	after[metricGCRecent+"_count"][""] = 300 // the longest may be among those that are forgotten
	if o := Compare(before, after, time.Second); *o.GC != (Stops{2, 163.84, 163.84, 0}) {
		t.Errorf("stops of the collector %+v", *o.GC)
	}
	if o := Compare(after, after, time.Second); o.Lag.Count != 0 || o.Writes != nil || o.Dropped()+o.Ended() != 0 {
		t.Errorf("nothing happened: %+v", o)
	}
	for _, pair := range [][2]Measures{{nil, after}, {before, nil}, {parse([]byte("a 1\n")), after}} {
		if o := Compare(pair[0], pair[1], time.Second); o != nil {
			t.Errorf("%+v of a target without metrics", o)
		}
	}
}

func TestAWaitCountsAStopByItsLength(t *testing.T) {
	hidden := []bucket{{0, 50e-6, 100_000}, {0.05, 0.1, 5}} // by count nobody would see the five
	for _, c := range []struct {
		name string
		all  []bucket
		over float64 // seconds
		want float64
	}{
		{"five long ones among many", hidden, 2, 0.1},
		{"they are too rare", hidden, 1000, 50e-6},
		{"all are too rare", hidden, 10_000, 0},
		{"busy all the time", []bucket{{0, 1e-3, 10}, {1e-3, 2e-3, 1000}}, 2, 2e-3},
	} {
		if got := waits(c.all, 0.001*c.over); got != c.want {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}
