package memory

// deadlines is a heap of what is to be looked at when, the earliest first. It holds
// no pointers. The zero value is empty.
type deadlines struct{ heap []deadline }

type deadline struct {
	at int64 // Unix milliseconds
	id uint32
}

func (d *deadlines) push(x deadline) {
	d.heap = append(d.heap, x)
	i := len(d.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if d.heap[parent].at <= x.at {
			break
		}
		d.heap[i] = d.heap[parent]
		i = parent
	}
	d.heap[i] = x
}

// pop takes the earliest one out if its time has come.
func (d *deadlines) pop(now int64) (first deadline, ok bool) {
	if len(d.heap) == 0 || d.heap[0].at > now {
		return deadline{}, false
	}
	first = d.heap[0]
	last := len(d.heap) - 1
	x := d.heap[last]
	d.heap = d.heap[:last]
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && d.heap[child+1].at < d.heap[child].at {
			child++
		}
		if x.at <= d.heap[child].at {
			break
		}
		d.heap[i] = d.heap[child]
		i = child
	}
	if last > 0 {
		d.heap[i] = x
	}
	return first, true
}

// trim gives back room that is not used.
func (d *deadlines) trim() {
	if cap(d.heap) > 4*len(d.heap)+64 {
		d.heap = append([]deadline(nil), d.heap...)
	}
}
