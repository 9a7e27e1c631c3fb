package worker

// fifo is a ring of tasks that grows as needed and gives its memory back when it
// becomes empty after a burst. The zero value is empty.
type fifo struct {
	ring  []task // length a power of two, or 0
	head  int
	count int
}

// ringKeep is the length of a ring that is kept when it is empty.
const ringKeep = 64

func (f *fifo) len() int { return f.count }

func (f *fifo) push(t task) {
	if f.count == len(f.ring) {
		bigger := make([]task, max(2*len(f.ring), 8))
		n := copy(bigger, f.ring[f.head:])
		copy(bigger[n:], f.ring[:f.head])
		f.ring, f.head = bigger, 0
	}
	f.ring[(f.head+f.count)&(len(f.ring)-1)] = t
	f.count++
}

// pop takes the oldest task; there must be one.
func (f *fifo) pop() task {
	t := f.ring[f.head]
	f.ring[f.head] = task{}
	f.head = (f.head + 1) & (len(f.ring) - 1)
	if f.count--; f.count == 0 && len(f.ring) > ringKeep {
		f.ring, f.head = nil, 0
	}
	return t
}
