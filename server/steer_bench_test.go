package server

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"shoal/server/steer"
	"shoal/server/watch"
)

// BenchmarkSteering makes garbage beside 500,000 sessions that have a user each, some 200 MiB
// a second, and reports what the heap grows to and what collecting it costs: with Go's own
// percentage, and with the one that package steer chooses.
func BenchmarkSteering(b *testing.B) {
	const n = 500_000
	p, _, stop := synthetic(b, n, population{users: true})
	defer stop()
	live := heapBytes()
	figures := watch.NewRuntime()
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	for _, steered := range []bool{false, true} {
		name, percent := "GOGC=100", 100
		if steered {
			name = "steered"
			s, err := steer.New(steer.Config{}, percent)
			if err != nil {
				b.Fatal(err)
			}
			f := figures.Read()
			percent = s.Step(steer.Sample{
				Live: f.Live, Scanned: f.Scanned, Roots: f.Roots, Ledger: p.ledger(), Collections: f.Collections, Over: time.Second,
			}).Percent
		}
		b.Run(name, func(b *testing.B) {
			debug.SetGCPercent(percent)
			runtime.GC()
			var peak uint64
			before, start, busy := slices.Clone(stops().Counts), time.Now(), figures.Read()
			for b.Loop() {
				peak = max(peak, litter(256<<20))
			}
			f := figures.Read()
			b.ReportMetric(float64(percent), "percent")
			b.ReportMetric(float64(live)/(1<<20), "MiB-live")
			b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
			b.ReportMetric(4*float64(f.Collections-busy.Collections)/float64(b.N), "collections/GiB")
			cost := f.Busy * time.Since(start).Seconds() * float64(runtime.GOMAXPROCS(0)) / float64(f.Collections-busy.Collections)
			b.ReportMetric(1e6*cost, "CPU-µs/collection")
			b.ReportMetric(1e6*longest(before), "µs-longest-stop")
		})
	}
}

// litter makes n bytes of garbage, a KiB at a time and a quarter of a MiB in a millisecond, and
// returns the most that the heap was.
func litter(n int) (peak uint64) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for i := range n / 1024 {
		garbage = make([]byte, 1024)
		if i%256 == 0 {
			metrics.Read(heap)
			peak = max(peak, heap[0].Value.Uint64())
			time.Sleep(time.Millisecond)
		}
	}
	return peak
}

// garbage keeps the compiler from putting it on the stack.
var garbage []byte

// stops counts the stops of the world for collections, by length.
func stops() *metrics.Float64Histogram {
	all := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(all)
	return all[0].Value.Float64Histogram()
}

// longest is the bound of the longest stop there was since before, in seconds.
func longest(before []uint64) (bound float64) {
	h := stops()
	for i, n := range h.Counts {
		if upper := h.Buckets[i+1]; n > before[i] && !math.IsInf(upper, 1) {
			bound = upper
		}
	}
	return bound
}
