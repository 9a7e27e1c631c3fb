package spare

// List keeps a bounded number of values. Unlike a sync.Pool it gives nothing up to the
// collector, so that what goes through it allocates nothing in the steady state. Use
// [New]. Safe for concurrent use.
type List[T any] chan *T

// New returns an empty list that keeps at most so many.
func New[T any](most int) List[T] { return make(List[T], most) }

// Get returns a spare as it was put, or a new zero value.
func (s List[T]) Get() *T {
	select {
	case v := <-s:
		return v
	default:
		return new(T)
	}
}

// Put keeps v unless there are enough; v must not be used any more.
func (s List[T]) Put(v *T) {
	select {
	case s <- v:
	default:
	}
}
