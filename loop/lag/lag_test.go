package lag

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

func of(passes ...time.Duration) (l Lag) {
	for _, d := range passes {
		l.Note(d)
	}
	return l
}

func TestBoundsRiseByLessThanDoubleFromFiftyMicrosecondsToTenSeconds(t *testing.T) {
	if Bound(0) != 50*us || Bound(Bounds-1) != 10*time.Second {
		t.Errorf("from %v to %v", Bound(0), Bound(Bounds-1))
	}
	for i := 1; i < Bounds; i++ {
		if ratio := float64(Bound(i)) / float64(Bound(i-1)); ratio <= 1.3 || ratio > 1.7 {
			t.Errorf("from %v to %v", Bound(i-1), Bound(i))
		}
	}
	if Bound(12) != 5*ms {
		t.Errorf("5 ms, the goal, is no bound: %v", Bound(12))
	}
}

func TestPassesFallIntoTheirClasses(t *testing.T) {
	l := of(0, 50*us, 50*us+1, 10*time.Second, 10*time.Second+1, time.Hour)
	for class, want := range map[int]uint64{0: 2, 1: 1, Bounds - 1: 1, Bounds: 2} {
		if l.passes[class] != want {
			t.Errorf("class %d has %d passes, want %d", class, l.passes[class], want)
		}
	}
	if l.Count() != 6 || l.Max() != time.Hour || l.Sum() != 100*us+1+20*time.Second+1+time.Hour {
		t.Errorf("%d passes, the longest of %v, %v together", l.Count(), l.Max(), l.Sum())
	}
	last := uint64(0)
	n := 0
	l.Each(func(bound time.Duration, passes uint64) {
		if bound != Bound(n) || passes < last {
			t.Errorf("%d passes up to %v, after %d", passes, bound, last)
		}
		last = passes
		n++
	})
	if n != Bounds || last != 4 {
		t.Errorf("%d bounds, %d passes up to the last", n, last)
	}
}

func TestQuantilesOfPasses(t *testing.T) {
	var l Lag
	for range 990 {
		l.Note(10 * us)
	}
	for range 9 {
		l.Note(900 * us)
	}
	l.Note(6500 * us)
	for _, c := range []struct{ q, low, high float64 }{ // in µs
		{0, 0, 0}, {0.5, 1, 50}, {0.99, 1, 50}, {0.995, 700, 1000}, {0.999, 700, 1000}, {0.9999, 5000, 6500}, {1, 6500, 6500}, {7, 6500, 6500}, {-1, 0, 0},
	} {
		if got := float64(l.Quantile(c.q)) / float64(us); got < c.low || got > c.high {
			t.Errorf("quantile %v is %v µs, want %v to %v", c.q, got, c.low, c.high)
		}
	}
	if l = (Lag{}); l.Quantile(0.5) != 0 || l.Max() != 0 || l.Waits(0.9, time.Second) != 0 {
		t.Error("a Lag without passes says something")
	}
}

func TestSinceForgetsWhatWasBefore(t *testing.T) {
	l := of(time.Second, 100*us)
	before := l
	l.Note(3 * ms)
	l.Note(60 * us)
	d := l.Since(before)
	if d.Count() != 2 || d.Sum() != 3*ms+60*us || d.Max() != 3*ms {
		t.Errorf("%d passes, %v together, the longest of %v", d.Count(), d.Sum(), d.Max())
	}
	if d = l.Since(l); d.Count() != 0 || d.Max() != 0 || d.Quantile(1) != 0 {
		t.Errorf("nothing happened, but %+v", d)
	}
}

func TestLoopsAddUp(t *testing.T) {
	a, b := of(time.Second, 100*us), of(2*ms, 3*time.Second)
	a.Add(&b)
	if want := of(time.Second, 100*us, 2*ms, 3*time.Second); a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
}

// TestWaitsAreThoseOfArrivalsAtAnyTime compares with arrivals that are thrown at a timeline.
func TestWaitsAreThoseOfArrivalsAtAnyTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var l Lag
		var passes []time.Duration
		for range 200 {
			d := time.Duration(float64(20*us) * (1 + 400*rng.Float64()*rng.Float64()*rng.Float64()))
			passes = append(passes, d)
			l.Note(d)
		}
		idle := time.Duration(rng.Float64() * 3 * float64(l.Sum()))
		over := l.Sum() + idle
		var waits []time.Duration
		for range 20_000 {
			at := time.Duration(rng.Int64N(int64(over)))
			wait := time.Duration(0)
			for _, d := range passes {
				if at < d {
					wait = d - at
					break
				}
				at -= d
			}
			waits = append(waits, wait)
		}
		slices.Sort(waits)
		for _, q := range []float64{0.3, 0.9, 0.99} {
			got, want := l.Waits(q, over), waits[int(q*float64(len(waits)))]
			if got < want*8/10 || got > max(want*14/10, 50*us) {
				t.Errorf("a share of %v waits %v at most, arrivals waited %v", q, got, want)
			}
		}
	}
}

func TestALongPassWeighsMoreInWaitsThanInQuantiles(t *testing.T) {
	var l Lag
	for range 10_000 {
		l.Note(10 * us)
	}
	for range 5 {
		l.Note(100 * ms)
	}
	if l.Quantile(0.99) > 50*us || l.Waits(0.99, time.Second) < 70*ms || l.Waits(0.3, time.Second) > 50*us {
		t.Errorf("p99 of passes %v, of waits %v, p30 of waits %v", l.Quantile(0.99), l.Waits(0.99, time.Second), l.Waits(0.3, time.Second))
	}
}

func BenchmarkNote(b *testing.B) {
	var l Lag
	for b.Loop() {
		l.Note(20 * us)
	}
}
