package shared

import "testing"

func TestPublishingAllocatesNothingInTheSteadyState(t *testing.T) {
	p := NewPool(Config{})
	var table Table
	payload := make([]byte, 200)
	publish := func() {
		b := p.New(len(payload) + 14)
		b.Buf = append(b.Buf, payload...)
		b.Retain()
		r := table.Hold(b)
		for range 100 {
			table.Retain(r)
		}
		table.Release(r)
		for range 100 {
			table.Release(r)
		}
		b.Release()
	}
	publish()
	if got := testing.AllocsPerRun(1000, publish); got != 0 {
		t.Errorf("%v allocations per publication to 100 receivers, want 0", got)
	}
}

// BenchmarkFanout is a publication of 200 B to 1,000 receivers of one loop.
func BenchmarkFanout(b *testing.B) {
	const receivers = 1000
	p := NewPool(Config{})
	var table Table
	payload := make([]byte, 200)
	sent := 0
	b.ReportAllocs()
	for b.Loop() {
		msg := p.New(len(payload))
		msg.Buf = append(msg.Buf, payload...)
		r := table.Hold(msg)
		for range receivers {
			table.Retain(r)
			sent += len(table.Bytes(r))
			table.Release(r)
		}
		table.Release(r)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/recipient")
	if sent != b.N*receivers*len(payload) {
		b.Errorf("%d B sent, want %d", sent, b.N*receivers*len(payload))
	}
}

// BenchmarkRetainRelease is one loop's share of a publication that many loops
// hold at once: the only atomic operations of a fan-out.
func BenchmarkRetainRelease(b *testing.B) {
	msg := NewPool(Config{}).New(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			msg.Retain()
			msg.Release()
		}
	})
}

// BenchmarkNew is making and returning a Bytes on several goroutines.
func BenchmarkNew(b *testing.B) {
	p := NewPool(Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.New(200).Release()
		}
	})
}
