package buffer

import "testing"

func TestBorrowingAllocatesNothingInTheSteadyState(t *testing.T) {
	p := New(Config{})
	table := NewTable(p)
	turn := func() {
		i := table.Borrow(300)
		b := table.At(i)
		b.B = append(b.B, "partial frame"...)
		table.Grow(i, 2000)
		table.Return(i)
	}
	turn()
	if got := testing.AllocsPerRun(1000, turn); got != 0 {
		t.Errorf("%v allocations per buffer borrowed, want 0", got)
	}
}

// BenchmarkBorrow is one partial frame: borrow, use, return.
func BenchmarkBorrow(b *testing.B) {
	table := NewTable(New(Config{}))
	b.ReportAllocs()
	for b.Loop() {
		i := table.Borrow(1000)
		table.At(i).B = append(table.At(i).B, 1)
		table.Return(i)
	}
}

// BenchmarkBurst is 10,000 conns with a partial frame at a time, ten times what
// the bounded level keeps: the rest goes through the collector's level.
func BenchmarkBurst(b *testing.B) {
	const conns = 10_000
	p := New(Config{})
	table := NewTable(p)
	b.ReportAllocs()
	for b.Loop() {
		for range conns {
			table.Borrow(1000)
		}
		for i := uint32(conns); i > 0; i-- {
			table.Return(i)
		}
	}
	n := float64(b.N) * conns
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/buffer")
	b.ReportMetric(float64(p.Retained()), "B-retained")
	p.Trim()
	if p.Retained() != 0 {
		b.Errorf("%d B retained after Trim", p.Retained())
	}
}

// BenchmarkPoolParallel is borrowing from several goroutines.
func BenchmarkPoolParallel(b *testing.B) {
	p := New(Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Put(p.Get(1000))
		}
	})
}
