package pace

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const second = int64(1e9)

func TestARateIsKept(t *testing.T) {
	p := Plan{Rate: 500}
	for n, want := range map[int]int64{0: 0, 1: 2e6, 500: second, 5_000_000: 10_000 * second} {
		if got := p.Due(n); got != want {
			t.Errorf("the %d-th is due at %d, want %d", n, got, want)
		}
	}
}

// The plan against the integral of its rate, in small steps.
func TestARampGrowsInAStraightLine(t *testing.T) {
	for _, p := range []Plan{
		{Rate: 100, To: 1000, Over: 10 * second}, {Rate: 1000, To: 100, Over: 5 * second}, {Rate: 20, To: 20.000001, Over: second},
		{Rate: 1, To: 50_000, Over: 3 * second}, {Rate: 100, To: 400},
	} {
		rate := func(at float64) float64 {
			over := float64(p.Over) / 1e9
			if over == 0 {
				return p.Rate
			}
			return p.Rate + (p.To-p.Rate)*min(at/over, 1)
		}
		const step = 1e-5
		k, done := 0, 0.0
		for at := 0.0; at < 12 && k < 100_000; at += step {
			if got := float64(p.At(k)) / 1e9; done >= float64(k) {
				if k > 0 && math.Abs(got-at) > 3*step+1/rate(at) {
					t.Fatalf("%+v: the %d-th is due at %f s, want %f s", p, k, got, at)
				}
				k = int(done) + 1
			}
			done += rate(at+step/2) * step
		}
		if k < 100 {
			t.Fatalf("%+v: %d looked at", p, k)
		}
	}
}

func TestMembersTogetherKeepThePlan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		p := Plan{Rate: 1 + r.Float64()*1e4, To: r.Float64() * 1e4, Over: r.Int64N(10 * second), Jitter: float64(r.IntN(2)) * r.Float64(), Of: 1 + r.IntN(60)}
		var all []int64
		for p.Index = range p.Of {
			for n := range 50 {
				all = append(all, p.Due(n))
			}
		}
		slices.Sort(all)
		alone := p
		alone.Index, alone.Of = 0, 0
		for k, at := range all {
			if want := alone.Due(k); at != want {
				t.Fatalf("%+v: the %d-th of all is due at %d, want %d", p, k, at, want)
			}
		}
	}
}

func TestJitterMovesByNoMoreThanItSays(t *testing.T) {
	plain, moved := Plan{Rate: 1000}, Plan{Rate: 1000, Jitter: 0.5}
	sum, last := int64(0), int64(-1)
	for k := range 10_000 {
		by := moved.At(k) - plain.At(k)
		if by < 0 || by > 500_000 || moved.At(k) < last {
			t.Fatalf("the %d-th moves by %d ns, after %d", k, by, last)
		}
		sum += by
		last = moved.At(k)
	}
	if mean := sum / 10_000; mean < 230_000 || mean > 270_000 {
		t.Errorf("moved by %d ns on average, want 250000", mean)
	}
}

func TestAStrideComesToAll(t *testing.T) {
	for n := 1; n < 2000; n++ {
		s, at := Stride(n), 0
		seen := make([]bool, n)
		for range n {
			if seen[at] {
				t.Fatalf("stride %d of %d comes to %d twice", s, n, at)
			}
			seen[at] = true
			at = (at + s) % n
		}
	}
}

func TestSharesAddUp(t *testing.T) {
	for n := 1; n < 300; n++ {
		for of := range 60 {
			if s := Share(n, of); s < 1 || s*max(of, 1) < n || (s-1)*max(of, 1) >= n {
				t.Errorf("%d of %d members: %d each", n, of, s)
			}
		}
	}
}
