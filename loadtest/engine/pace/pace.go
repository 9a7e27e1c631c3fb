package pace

import "math"

// Plan is a stream of things to do. Times are nanoseconds since it began.
type Plan struct {
	Rate   float64 // a second, of all members together; above 0
	To     float64 // the rate it grows or falls to, in a straight line; 0 = stays
	Over   int64   // in that time
	Jitter float64 // each is put off by up to so many gaps, 0 to 1
	Index  int     // this member
	Of     int     // of so many; 0 = 1
}

// Turn is the number of this member's n-th thing among those of all, from 0.
func (p *Plan) Turn(n int) int { return n*max(p.Of, 1) + p.Index }

// Due is when this member's n-th thing is due, from 0.
func (p *Plan) Due(n int) int64 { return p.At(p.Turn(n)) }

// At is when the k-th thing of all members is due.
func (p *Plan) At(k int) int64 {
	t := p.at(float64(k))
	if p.Jitter > 0 {
		t += draw(uint64(k)) * p.Jitter * (p.at(float64(k+1)) - t)
	}
	return int64(t * 1e9)
}

// at is when that much of the plan is done, in seconds: the root of Rate·t + (To-Rate)·t²/(2·Over) = k, in the form that loses no
// digits when the slope is small.
func (p *Plan) at(k float64) float64 {
	over := float64(p.Over) / 1e9
	if p.To == 0 || over == 0 {
		return k / p.Rate
	}
	if ramp := (p.Rate + p.To) / 2 * over; k >= ramp {
		return over + (k-ramp)/p.To
	}
	slope := (p.To - p.Rate) / over
	return 2 * k / (p.Rate + math.Sqrt(max(p.Rate*p.Rate+2*slope*k, 0)))
}

// draw is a number from 0 to 1 that looks random and is the same each time (the finalizer of splitmix64).
func draw(k uint64) float64 {
	k += 0x9e3779b97f4a7c15
	k = (k ^ k>>30) * 0xbf58476d1ce4e5b9
	k = (k ^ k>>27) * 0x94d049bb133111eb
	return float64((k^k>>31)>>11) / (1 << 53)
}

// Share is this member's part of a number, rounded up, at least 1.
func Share(n, of int) int { return max((n+max(of, 1)-1)/max(of, 1), 1) }

// Stride is a step by which one comes to all of n places before coming to one again, and which has no two neighbours follow one
// another.
func Stride(n int) int {
	if n < 4 {
		return 1
	}
	s := int(float64(n) * (math.Sqrt(5) - 1) / 2)
	for ; gcd(s, n) != 1; s++ {
	}
	return s
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
