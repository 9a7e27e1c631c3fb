package queue

// FIFO is an unbounded queue of a single owner. Taking from it moves no elements, so
// that a long one costs no more than a short one. The zero value is empty. It is not safe
// for concurrent use.
type FIFO[T any] struct {
	items []T // from head on
	head  int
}

// Len returns the number of elements.
func (q *FIFO[T]) Len() int { return len(q.items) - q.head }

// Push adds v at the end. What was taken makes room before memory does.
func (q *FIFO[T]) Push(v T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// First is the one that Pop takes, until the queue changes.
func (q *FIFO[T]) First() *T { return &q.items[q.head] }

// Pop takes the first; there must be one.
func (q *FIFO[T]) Pop() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
