package node

// spares keeps a bounded number of values for reuse. Unlike a sync.Pool it gives
// nothing up to the collector, so that publishing allocates nothing in steady
// state. Safe for concurrent use.
type spares[T any] chan *T

func newSpares[T any](max int) spares[T] { return make(spares[T], max) }

// get returns a spare, or a new zero value.
func (s spares[T]) get() *T {
	select {
	case v := <-s:
		return v
	default:
		return new(T)
	}
}

// put keeps v unless there are enough; v must not be used any more.
func (s spares[T]) put(v *T) {
	select {
	case s <- v:
	default:
	}
}
