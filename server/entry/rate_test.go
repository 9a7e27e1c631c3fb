package entry

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
		b := bucket{rate: rateOf(c.perSecond, c.burst)}
		end, got := int64(c.seconds*float64(second)), 0
		for now := int64(0); ; now = min(now+b.interval/2, end) {
			for b.take(now, whole) {
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
	for _, r := range []rate{rateOf(0, 0), rateOf(0, 5), rateOf(-1, 5)} {
		b := bucket{rate: r}
		for range 10_000 {
			if !b.take(0, half) {
				t.Fatalf("%+v refuses", r)
			}
		}
	}
}

func TestHalfIsLeftForThoseWhoComeFirst(t *testing.T) {
	count := func(b *bucket, now int64, p part) (n int) {
		for b.take(now, p) {
			n++
		}
		return n
	}
	for _, c := range []struct{ perSecond, others, first int }{{100, 50, 50}, {10, 5, 5}, {2, 1, 1}, {3, 2, 1}, {1, 1, 0}} {
		b := bucket{rate: rateOf(c.perSecond, c.perSecond)}
		if got := count(&b, 0, half); got != c.others {
			t.Errorf("%d per second: others took %d, want %d", c.perSecond, got, c.others)
		}
		if got := count(&b, 0, whole); got != c.first {
			t.Errorf("%d per second: the first took %d then, want %d", c.perSecond, got, c.first)
		}
		if got := count(&b, second/4, half); c.perSecond > 3 && got != 0 {
			t.Errorf("%d per second: others took %d before the bucket was half full", c.perSecond, got)
		}
		if got := count(&b, second, half); got == 0 {
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
		b := bucket{rate: rateOf(perSecond, burst)}
		now, taken := int64(0), int64(0)
		for range 2000 {
			now += rng.Int64N(2 * b.interval)
			if b.take(now, part(rng.IntN(2))) {
				taken++
			}
			if most := int64(burst) + now/b.interval; taken > most {
				t.Fatalf("seed %d: %d taken by %d ns, at most %d may be (%+v)", seed, taken, now, most, b.rate)
			}
		}
		if !b.take(now+b.interval+b.burst, half) {
			t.Fatalf("seed %d: a full bucket refuses (%+v)", seed, b.rate)
		}
	}
}

func TestABucketIsOneForAllLoops(t *testing.T) {
	b := bucket{rate: rateOf(1000, 1000)}
	const loops = 8
	counts := make(chan int)
	for range loops {
		go func() {
			n := 0
			for range 1000 {
				if b.take(0, whole) {
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
