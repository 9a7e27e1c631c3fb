package slab

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

// The ledger counts by this number, so it has to be what the heap says.
func TestAskingForBytesDoesNotAllocate(t *testing.T) {
	s, c := New[[56]byte](), NewColumn[[56]byte]()
	s.Alloc()
	c.At(0)
	if n := testing.AllocsPerRun(100, func() { _ = s.Bytes() + c.Bytes() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBytesAgreesWithTheHeap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := fill(100_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	if ratio := float64(s.Bytes()) / heap; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("says %d B, the heap grew by %.0f", s.Bytes(), heap)
	}
	runtime.KeepAlive(s)
}

// BenchmarkChurn is a connection coming and going among n that stay.
func BenchmarkChurn(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(name(n), func(b *testing.B) {
			s := fill(n)
			victims := make([]uint32, 4096)
			for i := range victims {
				victims[i] = rand.Uint32N(uint32(n))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				s.Free(victims[i%len(victims)])
				s.Alloc()
			}
			b.ReportMetric(float64(s.Bytes())/float64(s.Cap()), "B/slot")
		})
	}
}

// BenchmarkAt is the look-up every event of a connection begins with.
func BenchmarkAt(b *testing.B) {
	s := fill(1 << 16)
	var sum uint64
	for i := uint32(0); b.Loop(); i += 4099 {
		sum += s.At(i & (1<<16 - 1)).id
	}
	runtime.KeepAlive(sum)
}

// BenchmarkLive is the check of a reference that arrives from outside the loop.
func BenchmarkLive(b *testing.B) {
	s := fill(1 << 16)
	n := 0
	for i := uint32(0); b.Loop(); i += 4099 {
		if s.Live(i&(1<<16-1), 0) {
			n++
		}
	}
	runtime.KeepAlive(n)
}

// BenchmarkCollect is what a forced collection costs with a million conns held.
func BenchmarkCollect(b *testing.B) {
	s := fill(1_000_000)
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(float64(s.Len()), "conns")
	runtime.KeepAlive(s)
}

func fill(n int) *Slab[conn] {
	s := New[conn]()
	for i := range n {
		_, v := s.Alloc()
		v.id = uint64(i)
	}
	return s
}

func name(n int) string {
	if n >= 1_000_000 {
		return "conns=1M"
	}
	return "conns=1k"
}
