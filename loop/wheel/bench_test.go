package wheel

import (
	"math/rand/v2"
	"testing"
)

func TestNoAllocationAnywhere(t *testing.T) {
	const n = 1000
	w, _ := newWheel(n, 0)
	fire := func(slot uint32) {
		if slot%3 != 0 {
			w.Set(slot, w.Now()+Tick(slot))
		}
	}
	slot := uint32(0)
	if got := testing.AllocsPerRun(5000, func() {
		slot = (slot + 7) % n
		w.Set(slot, w.Now()+Tick(slot*slot))
		w.Cancel((slot * 31) % n)
		w.Advance(w.Now()+Tick(slot%5), fire)
		w.Next()
	}); got != 0 {
		t.Errorf("%v allocations per run, want 0", got)
	}
}

const benchTimers = 500_000

// spread is a slot as the loop has it: links among other things, so neighbours share no cache line.
type spread []struct {
	Links
	_ [44]byte
}

func (s spread) Links(slot uint32) *Links { return &s[slot].Links }

// BenchmarkPostpone is the heartbeat's case: a random one of 500,000 armed timers moves to 25 s from now.
func BenchmarkPostpone(b *testing.B) {
	w := New(0, make(spread, benchTimers))
	rng := rand.New(rand.NewPCG(1, 2))
	for slot := range uint32(benchTimers) {
		w.Set(slot, Tick(1+rng.UintN(250)))
	}
	order := make([]uint32, 1<<16)
	for i := range order {
		order[i] = rng.Uint32N(benchTimers)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		w.Set(order[i&(1<<16-1)], 250+Tick(i)&63)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/set")
}

// BenchmarkFire is the whole of heartbeats without answers: 500,000 timers fire and are armed again, 25 s or (far) 10
// min ahead.
func BenchmarkFire(b *testing.B) {
	for name, ahead := range map[string]Tick{"25s": 250, "10min": 6000} {
		b.Run(name, func(b *testing.B) {
			w := New(0, make(spread, benchTimers))
			for slot := range uint32(benchTimers) {
				w.Set(slot*7%benchTimers, 1+Tick(slot)%ahead)
			}
			fired := 0
			fire := func(slot uint32) { fired++; w.Set(slot, w.Now()+ahead) }
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				w.Advance(w.Now()+1, fire)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(fired), "ns/fire")
			if w.Len() != benchTimers {
				b.Fatalf("%d of %d timers survived", w.Len(), benchTimers)
			}
		})
	}
}

// BenchmarkIdleTick is the price of a tick at which nothing is due.
func BenchmarkIdleTick(b *testing.B) {
	w := New(0, make(spread, 1))
	fire := func(uint32) {}
	for range b.N {
		if w.Len() == 0 {
			w.Set(0, w.Now()+1<<30)
		}
		w.Advance(w.Now()+1, fire)
	}
}
