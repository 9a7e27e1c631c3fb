package node

// fifo is a queue. Taking from it moves no elements, so that a long one costs no
// more than a short one. The zero value is empty.
type fifo[T any] struct {
	items []T // from head on
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

// push adds v at the end. What was taken makes room before memory does.
func (q *fifo[T]) push(v T) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, v)
}

// first is the one that pop takes, until the queue changes.
func (q *fifo[T]) first() *T { return &q.items[q.head] }

// pop takes the first; there must be one.
func (q *fifo[T]) pop() T {
	var none T
	v := q.items[q.head]
	q.items[q.head] = none
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
