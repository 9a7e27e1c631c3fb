package wheel

import "fmt"

// Validate checks every bucket, every link and every deadline. It is slow and total, for tests, simulation and debug
// pages; it may also be called from inside fire. nil means sound.
func (w *Wheel) Validate() error {
	count := 0
	for b := uint32(0); b < bucketCount; b++ {
		if bit := w.occupied[b/64]>>(b%64)&1 == 1; bit != (w.head[b] != 0) {
			return fmt.Errorf("wheel: bucket %d: occupied bit is %t, head is %d", b, bit, w.head[b])
		}
		n, err := w.validateBucket(b, w.len-count)
		if err != nil {
			return err
		}
		count += n
	}
	if count != w.len {
		return fmt.Errorf("wheel: %d timers in the buckets, Len is %d", count, w.len)
	}
	return nil
}

// validateBucket walks one bucket; more than left timers in it mean a ring or a wrong Len.
func (w *Wheel) validateBucket(b uint32, left int) (n int, err error) {
	prev := headMark + b
	for at := w.head[b]; at != 0; n++ {
		if n >= left {
			return n, fmt.Errorf("wheel: bucket %d holds more timers than Len %d allows, or is a ring", b, w.len)
		}
		l := w.store.Links(at - 1)
		if l.prev != prev {
			return n, fmt.Errorf("wheel: slot %d in bucket %d: prev is %d, want %d", at-1, b, l.prev, prev)
		}
		if err := w.validatePlace(at-1, b, l.deadline); err != nil {
			return n, err
		}
		prev, at = at, l.next
	}
	return n, nil
}

// validatePlace checks that a timer's bucket will be reached exactly when the timer needs it.
func (w *Wheel) validatePlace(slot, b uint32, deadline Tick) error {
	level := min(b/levelSize, levels-1)
	size, shift := uint32(levelSize), level*stepBits
	if level == levels-1 {
		size = topSize
	}
	if got := uint32(deadline) >> shift & (size - 1); got != b-level*levelSize {
		return fmt.Errorf("wheel: slot %d with deadline %d is in bucket %d of level %d, want bucket %d",
			slot, deadline, b-level*levelSize, level, got)
	}
	if level == 0 && deadline == w.now {
		return nil // being fired
	}
	if !w.now.Before(deadline) {
		return fmt.Errorf("wheel: slot %d was due at %d, now is %d", slot, deadline, w.now)
	}
	if dist := (uint32(deadline)>>shift - uint32(w.now)>>shift) & (1<<(32-shift) - 1); dist == 0 || dist >= size {
		return fmt.Errorf("wheel: slot %d with deadline %d is %d buckets of level %d ahead of now %d, want 1…%d",
			slot, deadline, dist, level, w.now, size-1)
	}
	return nil
}
