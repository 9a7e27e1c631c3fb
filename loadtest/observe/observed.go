package observe

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"
)

// Names of the target's metrics.
const (
	metricDeliveries   = "shoal_deliveries_total"
	metricWrites       = "shoal_loop_writes_total"
	metricWritevs      = "shoal_loop_writevs_total"
	metricLoops        = "shoal_loops"
	metricLag          = "shoal_loop_lag_seconds"
	MetricDrops        = "shoal_drops_total"
	metricDisconnects  = "shoal_disconnects_total"
	MetricClosed       = "shoal_conns_closed_total"
	MetricInsufficient = "shoal_insufficient_state_total"
	metricGC           = "go_gc_pauses_seconds"
	metricGCRecent     = "go_gc_duration_seconds" // of each of the last 256 collections all stops together
)

// Observed is what the target's own metrics say of the time of the traffic.
type Observed struct {
	Lag         *Stops         `json:"loop_lag,omitempty"`
	GC          *Stops         `json:"gc_stops,omitempty"`
	Drops       map[string]int `json:"drops,omitempty"`       // deliveries that did not happen, by reason
	Disconnects map[string]int `json:"disconnects,omitempty"` // by code
	Closed      map[string]int `json:"closed,omitempty"`      // connections, by reason
	Resubscribe int            `json:"insufficient_state"`    // subscriptions ended so that they begin anew
	Writes      *Writes        `json:"writes,omitempty"`
}

// Writes is what the target wrote for its deliveries.
type Writes struct {
	Deliveries  float64 `json:"deliveries"`
	Calls       float64 `json:"write_calls"` // write(2) and writev(2) of its loops, pings and replies included
	PerDelivery float64 `json:"writes_per_delivery"`
}

// Stops is a distribution of times in which something stood still. A histogram knows its values only to a bucket: each is given as
// the bucket's upper end, so that the truth is at most that.
type Stops struct {
	Count int     `json:"count"`
	P999  float64 `json:"p99_9_us"`
	Max   float64 `json:"max_us"`
	// Waits is how long 99.9 % of what arrives at any moment waits for the end of a stop. By count, 1,000 passes of a loop of 10 µs
	// hide one of 100 ms, which is most of the time.
	Waits float64 `json:"waits_p99_9_us"`
}

// Compare compares two readings of the target's metrics, a time apart; nil when it has none.
func Compare(before, after Measures, over time.Duration) *Observed {
	if before[metricDeliveries] == nil || after[metricDeliveries] == nil {
		return nil
	}
	grown := func(name string) float64 { return after.sum(name) - before.sum(name) }
	by := func(name, label string) map[string]int {
		all, from := map[string]int{}, before.by(name, label)
		for value, n := range after.by(name, label) {
			if n > from[value] {
				all[value] = int(n - from[value])
			}
		}
		return all
	}
	o := &Observed{
		Lag: stops(metricLag, before, after, over*time.Duration(max(after.sum(metricLoops), 1))), GC: stops(metricGC, before, after, over),
		Drops: by(MetricDrops, "reason"), Disconnects: by(metricDisconnects, "code"), Closed: by(MetricClosed, "reason"),
		Resubscribe: int(grown(MetricInsufficient)),
	}
	o.GC.sharpen(after)
	if w := (Writes{Deliveries: grown(metricDeliveries), Calls: grown(metricWrites) + grown(metricWritevs)}); w.Deliveries > 0 {
		w.PerDelivery = w.Calls / w.Deliveries
		o.Writes = &w
	}
	return o
}

// bucket is a class of a histogram's values: n of them are above low and at most high.
type bucket struct{ low, high, n float64 }

// gained is what a histogram gained, without empty buckets; ok is false when the target does not have it.
func gained(name string, before, after Measures) (all []bucket, ok bool) {
	from, upTo := before.by(name+"_bucket", "le"), after.by(name+"_bucket", "le")
	for le, n := range upTo {
		if edge, err := strconv.ParseFloat(le, 64); err == nil {
			all = append(all, bucket{high: edge, n: n - from[le]})
		}
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Compare(a.high, b.high) })
	low, below := 0.0, 0.0
	for i := range all {
		b := &all[i]
		if math.IsInf(b.high, 1) {
			b.high = 2 * low // beyond what the histogram tells apart
		}
		b.low, low = low, b.high
		b.n, below = b.n-below, b.n
	}
	return slices.DeleteFunc(all, func(b bucket) bool { return b.n <= 0 }), len(upTo) > 0
}

// stops describes what a histogram of seconds gained in a time; nil when the target does not have it.
func stops(name string, before, after Measures, over time.Duration) *Stops {
	all, ok := gained(name, before, after)
	if !ok || len(all) == 0 {
		if ok {
			return &Stops{}
		}
		return nil
	}
	s, count := &Stops{Max: all[len(all)-1].high * 1e6}, 0.0
	for _, b := range all {
		count += b.n
	}
	s.Count = int(count)
	for rank, i := math.Ceil(0.999*count), 0; rank > 0; i++ {
		s.P999 = all[i].high * 1e6
		rank -= all[i].n
	}
	s.Waits = waits(all, 0.001*over.Seconds()) * 1e6
	return s
}

// waits is the shortest time that what arrives has to wait longer than only during left seconds in all, taken from the upper side.
func waits(all []bucket, left float64) float64 {
	for i := len(all) - 1; i >= 0; i-- {
		late := 0.0
		for _, b := range all[i:] { // in a stop of length d, that is its first d - low
			late += b.n * (b.high - all[i].low)
		}
		if late > left {
			return all[i].high
		}
	}
	return 0
}

// sharpen replaces the upper end of the longest stop's bucket by the longest of the recent collections where that is lower. It is
// no shorter than the longest stop: a collection stops twice, and the sum is given.
func (s *Stops) sharpen(after Measures) {
	if s == nil || s.Count == 0 || after.sum(metricGCRecent+"_count") > recentCollections {
		return
	}
	if longest := after.by(metricGCRecent, "quantile")["1"] * 1e6; longest > 0 {
		s.Max = min(s.Max, longest)
		s.P999 = min(s.P999, s.Max)
	}
}

const recentCollections = 256

// Dropped is how many deliveries the target says did not happen.
func (o *Observed) Dropped() (n int) {
	for _, k := range o.Drops {
		n += k
	}
	return n
}

// Ended is how many connections the target ended, for whatever reason that is not the peer's doing.
func (o *Observed) Ended() (n int) {
	for reason, k := range o.Closed {
		switch reason {
		case "peer-closed", "reset", "read", "detached", "dial":
		default:
			n += k
		}
	}
	return n
}

// LongestPass is the longest pass of the loops of the target between two readings, at most; 0 when it does not tell.
func LongestPass(before, after Measures) time.Duration {
	if all, ok := gained(metricLag, before, after); ok && len(all) > 0 {
		return time.Duration(all[len(all)-1].high * 1e9)
	}
	return 0
}
