package lag

import "time"

// Bounds is the number of bounds between the classes of length: 50, 70, 100, 150, 200, 300, 500 µs … 7 and 10 s.
const Bounds = 33

// Bound is bound i, from 0. A pass belongs to the first class whose bound it does not exceed; the last class has none.
func Bound(i int) time.Duration {
	us := [...]int64{50, 70, 100, 150, 200, 300}[i%6]
	for range i / 6 {
		us *= 10
	}
	return time.Duration(us * 1000)
}

// Lag says how long passes took. It is a plain value without pointers; the zero value has seen none. A Lag belongs to
// one goroutine; copies are free.
type Lag struct {
	passes  [Bounds + 1]uint64 // by class
	sum     time.Duration
	longest time.Duration // since the beginning, also after Since
}

// Note counts a pass.
func (l *Lag) Note(d time.Duration) {
	i := 0
	for i < Bounds && d > Bound(i) {
		i++
	}
	l.passes[i]++
	l.sum += d
	l.longest = max(l.longest, d)
}

// Add counts the passes of o too.
func (l *Lag) Add(o *Lag) {
	for i, n := range o.passes {
		l.passes[i] += n
	}
	l.sum += o.sum
	l.longest = max(l.longest, o.longest)
}

// Since is what came after before, an earlier state of the same Lag.
func (l Lag) Since(before Lag) Lag {
	for i, n := range before.passes {
		l.passes[i] -= n
	}
	l.sum -= before.sum
	return l
}

// Count is the number of passes.
func (l Lag) Count() (n uint64) {
	for _, k := range l.passes {
		n += k
	}
	return n
}

// Sum is the time of all passes together: what the loop was busy for.
func (l Lag) Sum() time.Duration { return l.sum }

// Max is the longest pass: exactly since the beginning, the bound of its class after Since. 0 without passes.
func (l Lag) Max() time.Duration {
	for i := Bounds; i >= 0; i-- {
		if l.passes[i] > 0 {
			return l.upper(i)
		}
	}
	return 0
}

// upper is the longest that a pass of a class was.
func (l *Lag) upper(class int) time.Duration {
	if class == Bounds {
		return l.longest
	}
	return min(Bound(class), l.longest)
}

// lower is what all passes of a class exceeded.
func lower(class int) time.Duration {
	if class == 0 {
		return 0
	}
	return Bound(class - 1)
}

// Quantile is the length that a share of q of the passes, from 0 to 1, did not exceed, interpolated within its class; 0
// without passes. It counts a pass of a second like one of a microsecond: see Waits for what arrives at any time.
func (l Lag) Quantile(q float64) time.Duration {
	rank := min(max(q, 0), 1) * float64(l.Count())
	for i, n := range l.passes {
		if k := float64(n); k > 0 {
			if rank <= k {
				low := lower(i)
				return low + time.Duration(rank/k*float64(l.upper(i)-low))
			}
			rank -= k
		}
	}
	return l.Max() // rounding
}

// Waits is how long a share of q, from 0 to 1, of what arrives at any moment of a time waits for the end of a pass at
// most: a pass weighs as much as it lasts. over is that time, of all loops together; they were idle for what of it the
// passes did not take.
func (l Lag) Waits(q float64, over time.Duration) time.Duration {
	left := (1 - min(max(q, 0), 1)) * max(float64(over), float64(l.sum))
	high, later := l.Max(), 0.0
	for i := Bounds; i >= 0; i-- {
		if lower(i) >= high {
			continue
		}
		late := l.beyond(i)
		if late > left { // between the two bounds less than a straight line: the answer errs upwards
			return high - time.Duration((left-later)/(late-later)*float64(high-lower(i)))
		}
		high, later = lower(i), late
	}
	return high
}

// beyond is the time in which what arrives waits longer than the lower bound of a class.
func (l *Lag) beyond(class int) (t float64) {
	x := lower(class)
	for i := class; i <= Bounds; i++ { // in a pass of length d, that is its first d-x
		t += float64(l.passes[i]) * float64((lower(i)+l.upper(i))/2-x)
	}
	return t
}

// Each calls f for every bound, with the number of passes that did not exceed it.
func (l Lag) Each(f func(bound time.Duration, passes uint64)) {
	n := uint64(0)
	for i := range Bounds {
		n += l.passes[i]
		f(Bound(i), n)
	}
}
