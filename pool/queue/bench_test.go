package queue

import (
	"runtime"
	"testing"
)

func TestQueuesAllocateNothingInTheSteadyState(t *testing.T) {
	m := NewMailbox[any](1024)
	msg := any(&struct{}{})
	var batch []any
	mail := func() {
		for range 100 {
			m.Put(msg)
		}
		batch = m.Drain(batch)
	}
	mail()
	mail()
	if got := testing.AllocsPerRun(1000, mail); got != 0 {
		t.Errorf("mailbox: %v allocations per 100 messages, want 0", got)
	}

	s := NewNodes[uint32]()
	var l List
	s.Push(&l, 0)
	got := testing.AllocsPerRun(1000, func() {
		for v := range uint32(100) {
			s.Push(&l, v)
		}
		for range 100 {
			s.Pop(&l)
		}
	})
	if got != 0 {
		t.Errorf("nodes: %v allocations per 100 elements, want 0", got)
	}
}

// The ledger counts by this number, so it has to be what the heap says.
func TestBytesAgreesWithTheHeap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewNodes[uint32]()
	var l List
	for v := range uint32(200_000) {
		s.Push(&l, v)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	if ratio := float64(s.Bytes()) / heap; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("says %d B, the heap grew by %.0f", s.Bytes(), heap)
	}
	runtime.KeepAlive(s)
}

// BenchmarkMailbox is a message from its sender to its loop, in batches of 100.
func BenchmarkMailbox(b *testing.B) {
	m := NewMailbox[any](1024)
	msg := any(&struct{}{})
	var batch []any
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			m.Put(msg)
		}
		batch = m.Drain(batch)
		n += len(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

// BenchmarkMailboxContended is Put by several goroutines at once.
func BenchmarkMailboxContended(b *testing.B) {
	m := NewMailbox[uint32](4096)
	stop, drained := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(drained)
		var batch []uint32
		for {
			select {
			case <-stop:
				return
			default:
				batch = m.Drain(batch)
			}
		}
	}()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Put(1)
		}
	})
	close(stop)
	<-drained
}

// BenchmarkBacklog is a fan-out to conns that do not read: each gets 16 messages
// queued, then all are flushed.
func BenchmarkBacklog(b *testing.B) {
	const conns, each = 10_000, 16
	s := NewNodes[uint32]()
	lists := make([]List, conns)
	n, bytes := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		for v := range uint32(each) {
			for i := range lists {
				s.Push(&lists[i], v)
			}
		}
		bytes = s.Bytes()
		for i := range lists {
			for range each {
				s.Pop(&lists[i])
			}
		}
		n += conns * each
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
	b.ReportMetric(float64(bytes)/(conns*each), "B/message")
}
