package rate

import (
	"math/rand/v2"
	"testing"
	"time"
)

const second = int64(time.Second)

func TestARateIsABurstThenSoManyASecond(t *testing.T) {
	for _, c := range []struct {
		name             string
		perSecond, burst int
		seconds          float64 // all taken that can be, to the end
		want             int
	}{
		{"the burst", 10, 10, 0, 10},
		{"and one", 10, 10, 0.1, 11},
		{"not before its time", 10, 10, 0.099, 10},
		{"a minute", 10, 10, 60, 610},
		{"one a second", 1, 1, 10, 11},
		{"a burst above the rate", 2, 50, 10, 70},
		{"a burst of one", 1000, 1, 1, 1001},
		{"no burst is one of one", 5, 0, 1, 6},
		{"the highest", 1_000_000, 1, 0.001, 1001},
	} {
		b := Shared{Pace: PaceOf(c.perSecond, c.burst)}
		end, got := int64(c.seconds*float64(second)), 0
		for now := int64(0); ; now = min(now+b.cost(1)/2, end) {
			for b.Take(now, 1, Whole) {
				got++
			}
			if now == end {
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: %d were taken, want %d", c.name, got, c.want)
		}
	}
}

func TestNoRateTakesAll(t *testing.T) {
	for _, r := range []Pace{PaceOf(0, 0), PaceOf(0, 5), PaceOf(-1, 5)} {
		b := Shared{Pace: r}
		for range 10_000 {
			if !b.Take(0, 1, Half) {
				t.Fatalf("%+v refuses", r)
			}
		}
	}
}

func TestHalfIsLeftForThoseWhoComeFirst(t *testing.T) {
	count := func(b *Shared, now int64, p Part) (n int) {
		for b.Take(now, 1, p) {
			n++
		}
		return n
	}
	for _, c := range []struct{ perSecond, others, first int }{{100, 50, 50}, {10, 5, 5}, {2, 1, 1}, {3, 2, 1}, {1, 1, 0}} {
		b := Shared{Pace: PaceOf(c.perSecond, c.perSecond)}
		if got := count(&b, 0, Half); got != c.others {
			t.Errorf("%d per second: others took %d, want %d", c.perSecond, got, c.others)
		}
		if got := count(&b, 0, Whole); got != c.first {
			t.Errorf("%d per second: the first took %d then, want %d", c.perSecond, got, c.first)
		}
		if got := count(&b, second/4, Half); c.perSecond > 3 && got != 0 {
			t.Errorf("%d per second: others took %d before the bucket was half full", c.perSecond, got)
		}
		if got := count(&b, second, Half); got == 0 {
			t.Errorf("%d per second: others are kept out of a full bucket", c.perSecond)
		}
	}
}

// Whatever happens, no more is taken than burst and rate give, and one who waits is served.
func TestARateHoldsAgainstAnyPattern(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		perSecond, burst := 1+rng.IntN(1000), 1+rng.IntN(1000)
		b := Shared{Pace: PaceOf(perSecond, burst)}
		now, taken := int64(0), int64(0)
		for range 2000 {
			now += rng.Int64N(2 * b.cost(1))
			if b.Take(now, 1, Part(rng.IntN(2))) {
				taken++
			}
			if most := int64(burst) + now/b.cost(1); taken > most {
				t.Fatalf("seed %d: %d taken by %d ns, at most %d may be (%+v)", seed, taken, now, most, b.Pace)
			}
		}
		if !b.Take(now+b.cost(1)+b.burst, 1, Half) {
			t.Fatalf("seed %d: a full bucket refuses (%+v)", seed, b.Pace)
		}
	}
}

func TestABucketIsOneForAllLoops(t *testing.T) {
	b := Shared{Pace: PaceOf(1000, 1000)}
	const loops = 8
	counts := make(chan int)
	for range loops {
		go func() {
			n := 0
			for range 1000 {
				if b.Take(0, 1, Whole) {
					n++
				}
			}
			counts <- n
		}()
	}
	sum := 0
	for range loops {
		sum += <-counts
	}
	if sum != 1000 {
		t.Errorf("%d were taken, want 1,000", sum)
	}
}

// Bytes come many at once; a lump that no bucket holds is let through a full one and paid
// for afterwards.
func TestManyAreTakenAtOnceOrNot(t *testing.T) {
	b := Shared{Pace: PaceOf(1000, 1000)}
	take := func(at float64, n int, want bool) {
		t.Helper()
		if got := b.Take(int64(at*float64(second)), n, Whole); got != want {
			t.Errorf("%d at %v s: %t, want %t", n, at, got, want)
		}
	}
	take(0, 600, true)
	take(0, 600, false) // and costs nothing
	take(0, 400, true)
	take(0, 1, false)
	take(0.5, 501, false)
	take(0.5, 500, true)
	b.Return(500) // it did not happen
	take(0.5, 500, true)
	take(1.5, 5000, true)
	take(5.5, 1, false)
	take(6.5, 1000, true)
}

func TestNoNumberOverflows(t *testing.T) {
	for _, perSecond := range []int{1, 3, 1 << 40} {
		for _, n := range []int{1, 1 << 30, 1 << 60} {
			b := Shared{Pace: PaceOf(perSecond, n)}
			now := int64(100 * 365 * 24 * time.Hour)
			if !b.Take(now, n, Whole) || b.burst < 0 || b.cost(n) < 0 || b.full.Load() < now {
				t.Errorf("%d per second, %d at once: %+v, full at %d", perSecond, n, b.Pace, b.full.Load())
			}
		}
	}
}
