package loop

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPostDuringFanout measures how long a message posted by another goroutine waits while the loop fans out to
// 8,000 sockets. Run it with GOMAXPROCS 2 on one core (taskset -c 0) to see what the yielding between passes does.
func BenchmarkPostDuringFanout(b *testing.B) {
	const receivers = 8000
	r := start(b, Config{}, script{})
	sys := realSys(b)
	var clients []*client
	for range receivers {
		clients = append(clients, r.rawClient(sys))
	}
	var slots []uint32
	r.until("open", func(l *Loop) bool { return l.Conns() == receivers })
	r.on(0, func(l *Loop) {
		l.Each(func(slot uint32, _ Kind) bool { slots = append(slots, slot); return true })
	})
	payload := strings.Repeat("p", 130)
	done := make(chan struct{})
	var waits []float64
	var running atomic.Bool
	for b.Loop() {
		running.Store(true)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for running.Load() {
				begin := time.Now()
				r.held(func(*Loop) {})
				waits = append(waits, float64(time.Since(begin).Microseconds()))
			}
		}()
		_ = r.g.Loop(0).Post(deliverFunc(func(l *Loop) {
			l.Work(&fanout{slots: slots, ref: l.Hold(bytesOf(l, payload)), done: done})
		}))
		<-done
		running.Store(false)
		<-ended
		for _, c := range clients {
			c.drain()
		}
	}
	slices.Sort(waits)
	b.ReportMetric(waits[len(waits)/2], "p50-us")
	b.ReportMetric(waits[len(waits)*99/100], "p99-us")
	b.ReportMetric(0, "ns/op")
}
