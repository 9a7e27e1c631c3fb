package rate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// naive is the textbook's token bucket in exact arithmetic: tokens are counted in
// fractions of 1/interval, so that a millisecond is worth count of them.
type naive struct {
	count, interval, burst int64
	tokens, last           int64
}

func newNaive(l Limit) *naive {
	n := &naive{count: int64(l.Count), interval: l.Interval.Milliseconds(), burst: int64(l.burst())}
	n.tokens = n.burst * n.interval
	return n
}

// refill gives back what is due at ms; has says whether there is a whole token then, and
// almost whether all of one is there but two 64ths.
func (n *naive) refill(ms int64) (has, almost bool) {
	if idle := ms - n.last; idle > n.burst*n.interval/n.count+1 {
		n.tokens = n.burst * n.interval
	} else {
		n.tokens = min(n.tokens+idle*n.count, n.burst*n.interval)
	}
	n.last = ms
	return n.tokens >= n.interval, n.tokens*costMin > n.interval*(costMin-2)
}

// randomLimit prefers no order of magnitude.
func randomLimit(r *rand.Rand) Limit {
	any := func(most int) int { return r.IntN(1 + most>>r.IntN(27)) }
	for {
		l := Limit{Count: 1 + any(countMax), Burst: any(countMax), Interval: time.Duration(1+any(86_400_000)) * time.Millisecond}
		if r.IntN(2) == 0 {
			l.Interval = time.Second
		}
		if l.Validate() == nil {
			return l
		}
	}
}

// against compares decisions with the token bucket's: what that allows is allowed, and
// what is allowed beyond lacks less than a unit, which is a 64th of an event at most, or
// two where the time wrapped.
func against(t *testing.T, l Limit, r *rand.Rand, start uint64, events int) {
	t.Helper()
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	b, exact, level := newBucket(l), newNaive(l), uint32(0)
	period := max(uint64(l.Interval.Milliseconds())/uint64(l.Count), 1)
	fill := uint64(l.burst()) * period
	ms := start
	exact.last = int64(ms)
	for i := range events {
		switch r.IntN(8) {
		case 0, 1, 2: // at once
		case 3, 4, 5:
			ms += r.Uint64N(2 * period)
		case 6:
			ms += r.Uint64N(period/8 + 2)
		case 7:
			ms += r.Uint64N(2*fill + 2) // far less than the wrap
		}
		has, almost := exact.refill(int64(ms))
		next, ok := b.take(level, ms)
		if has && !ok || ok && !almost {
			t.Fatalf("%+v, event %d at %d: allowed %t, the token bucket has %d of %d (level %d, now %d)",
				l, i, ms, ok, exact.tokens, exact.interval, level, b.at(ms))
		}
		if ok {
			level, exact.tokens = next, exact.tokens-exact.interval
		} else if next != level {
			t.Fatalf("%+v: a refusal changed the level", l)
		}
	}
}

func TestDecisionsAreThoseOfATokenBucket(t *testing.T) {
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 8))
		against(t, randomLimit(r), r, r.Uint64()>>(24+r.IntN(40)), 200)
	}
}

// The time in units wraps; a conn at work then must not notice.
func TestTheWrapIsNotNoticed(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 9))
		l := randomLimit(r)
		b := newBucket(l)
		wrap := (1 << 32) * b.interval / b.units // milliseconds
		ahead := uint64(l.burst()) * b.interval / uint64(l.Count)
		start := wrap*r.Uint64N(5) + wrap - min(r.Uint64N(4*ahead+4), wrap)
		against(t, l, r, start, 200)
	}
}

func FuzzDecisionsAreThoseOfATokenBucket(f *testing.F) {
	f.Add(uint64(1), 30, 10_000, 0)
	f.Add(uint64(2), 1000, 1000, 1)
	f.Add(uint64(3), 1, 60_000, 5)
	f.Add(uint64(4), 7, 1000, 100)
	f.Add(uint64(5), countMax, 1, countMax)
	f.Fuzz(func(t *testing.T, seed uint64, count, interval, burst int) {
		l := Limit{Count: count, Interval: time.Duration(interval) * time.Millisecond, Burst: burst}
		if l.Validate() != nil {
			return
		}
		r := rand.New(rand.NewPCG(seed, 10))
		against(t, l, r, seed>>24, 100)
	})
}

// However long a conn was quiet, it is refused at most until a burst has come back.
func TestAfterAnySilenceABurstComesBack(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 11))
		l := randomLimit(r)
		b := newBucket(l)
		level, now := r.Uint32(), r.Uint64()>>20
		if _, ok := b.take(level, now); ok {
			continue
		}
		fill := uint64(l.burst())*b.interval/uint64(l.Count) + 1
		if _, ok := b.take(level, now+fill); !ok {
			t.Fatalf("seed %d: %+v, level %d refuses at %d and a burst later", seed, l, level, now)
		}
	}
}

func TestTheLongRunIsExact(t *testing.T) {
	for _, l := range []Limit{{30, 10 * time.Second, 0}, {7, time.Second, 1}, {300, time.Second, 3}, {999, time.Second, 0}, {5000, time.Second, 10}, {1, time.Minute, 2}} {
		b, level, n := newBucket(l), uint32(0), 0
		const intervals = 1000
		for ms := uint64(0); ms < intervals*b.interval; ms++ {
			for {
				next, ok := b.take(level, ms)
				if !ok {
					break
				}
				level, n = next, n+1
			}
		}
		if most := intervals*l.Count + l.burst(); n > most || n < most-1-l.Count/int(b.interval) {
			t.Errorf("%+v: %d events in %d intervals, want %d", l, n, intervals, most)
		}
	}
}

func TestLimitsSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		l    Limit
		says string
	}{
		{Limit{}, "choose 1 to 1000000"},
		{Limit{Count: countMax + 1, Interval: 1}, "a limit of 1000001"},
		{Limit{Count: 1}, "an interval of 0s"},
		{Limit{Count: 1, Interval: 1500 * time.Microsecond}, "whole milliseconds"},
		{Limit{Count: 1, Interval: 25 * time.Hour}, "24h0m0s"},
		{Limit{Count: 1, Interval: time.Second, Burst: -1}, "a burst of -1"},
		{Limit{Count: 1, Interval: time.Second, Burst: countMax + 1}, "outside its bounds"},
		{Limit{Count: 1, Interval: time.Hour, Burst: 25}, "longer than 24h0m0s"},
	} {
		if err := c.l.Validate(); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%+v: %v, want %q and what to change", c.l, err, c.says)
		}
	}
	for _, l := range []Limit{{1, intervalMax, 1}, {countMax, time.Millisecond, countMax}, {1, time.Hour, 24}, {countMax, intervalMax, 0}} {
		if err := l.Validate(); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
