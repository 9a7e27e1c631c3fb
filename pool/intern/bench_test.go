package intern

import (
	"fmt"
	"runtime"
	"testing"
)

func TestHotPathAllocatesNothing(t *testing.T) {
	table := New()
	for i := range 100 {
		table.AcquireString(fmt.Sprint("channel:", i))
	}
	name, other := []byte("channel:50"), []byte("a channel that comes and goes")
	turn := func() {
		id := table.Acquire(name)
		if _, ok := table.Lookup(name); !ok || len(table.Bytes(id)) != len(name) {
			t.Fatal("not found")
		}
		table.Release(id)
		table.Release(table.Acquire(other))
	}
	turn()
	if got := testing.AllocsPerRun(1000, turn); got != 0 {
		t.Errorf("%v allocations per string acquired and released, want 0", got)
	}
}

// The ledger counts by this number, so it has to be what the heap says.
func TestHeldBytesAgreesWithTheHeap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table := New()
	var name []byte
	for i := range 100_000 {
		name = fmt.Appendf(name[:0], "%0*d", 1+i%100, i)
		table.Acquire(name)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	if ratio := float64(table.HeldBytes()) / heap; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("says %d B, the heap grew by %.0f", table.HeldBytes(), heap)
	}
	runtime.KeepAlive(table)
}

// BenchmarkAcquireKnown is a subscription to a channel that others have.
func BenchmarkAcquireKnown(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint("strings=", n), func(b *testing.B) {
			table, names := fill(n)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i += 4099 {
				table.Release(table.Acquire(names[i%n]))
			}
			b.ReportMetric(float64(table.HeldBytes())/float64(table.Len()), "B/string")
		})
	}
}

// BenchmarkChurn is a channel that comes and goes among 100,000 that stay.
func BenchmarkChurn(b *testing.B) {
	table, _ := fill(100_000)
	name := []byte("session:01234567")
	b.ReportAllocs()
	for b.Loop() {
		table.Release(table.Acquire(name))
	}
	if table.Len() != 100_000 {
		b.Errorf("%d strings survived, want 100,000", table.Len())
	}
}

// BenchmarkCollect is what a forced collection costs with a million strings.
func BenchmarkCollect(b *testing.B) {
	table, _ := fill(1_000_000)
	for b.Loop() {
		runtime.GC()
	}
	b.ReportMetric(float64(table.Len()), "strings")
	runtime.KeepAlive(table)
}

func fill(n int) (*Table, [][]byte) {
	table := New()
	names := make([][]byte, n)
	for i := range names {
		names[i] = fmt.Appendf(nil, "user:%09d", i)
		table.Acquire(names[i])
	}
	return table, names
}
