package queue

import "testing"

func TestFIFO(t *testing.T) {
	var q FIFO[int]
	in, out := 0, 0
	for round := range 1000 {
		for range round % 7 {
			q.Push(in)
			in++
		}
		for range min(round%5+1, q.Len()) {
			if got := q.Pop(); got != out {
				t.Fatalf("took %d, want %d", got, out)
			}
			out++
		}
		if q.Len() != in-out {
			t.Fatalf("length %d, want %d", q.Len(), in-out)
		}
	}
	q = FIFO[int]{}
	for i := range 10_000 { // a queue that is never empty and never long
		q.Push(i)
		if i >= 3 {
			q.Pop()
		}
	}
	if cap(q.items) > 64 {
		t.Errorf("a queue of 3 holds room for %d", cap(q.items))
	}
}
