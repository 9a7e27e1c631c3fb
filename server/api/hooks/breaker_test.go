package hooks

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

func newBreaker(failures int, random float64) (*breaker, *clock) {
	c := &clock{now: time.Unix(1_700_000_000, 0)}
	return &breaker{failuresMax: failures, cooldown: 4 * time.Second, now: c.Now, random: func() float64 { return random }}, c
}

// play runs a transcript: g and b are calls with a good or bad verdict, n one without,
// x one that must be refused, digits let seconds pass. It gives the states in between.
func play(t *testing.T, b *breaker, c *clock, script string) string {
	t.Helper()
	var states []string
	for i, s := range script {
		switch {
		case s == ' ':
			continue
		case s >= '0' && s <= '9':
			c.pass(time.Duration(s-'0') * time.Second)
			continue
		}
		term, ok := b.ask()
		if ok != (s != 'x') {
			t.Fatalf("%q at %d: let through is %v", script, i, ok)
		}
		if ok {
			b.tell(term, map[rune]verdict{'g': verdictGood, 'b': verdictBad, 'n': verdictNone}[s])
		}
		state, _ := b.report()
		states = append(states, string(state.String()[0]))
	}
	return strings.Join(states, "")
}

func TestBreakerTranscripts(t *testing.T) {
	ratio := strings.Repeat("gb", 9)
	for _, c := range []struct{ name, script, want string }{
		{"good calls keep it closed", "gggg", "cccc"},
		{"failures in a row open it", "bbb x", "ccoo"},
		{"a good one between starts over", "bbgbb", "ccccc"},
		{"no verdict counts nothing", "bbnb", "ccco"},
		{"it waits for the cooldown", "bbb 3 x 1 g", "ccooh"},
		{"three good probes close it", "bbb 4 ggg bb", "ccohhccc"},
		{"a bad probe opens it", "bbb 4 gb x", "ccohoo"},
		{"the second cooldown is longer", "bbb 4 b 4 x 4 ggg", "ccooohhc"},
		{"and short again after it closed", "bbb 4 b 8 ggg bbb 3 x 1 g", "ccoohhcccooh"},
		{"a probe without verdict gives its place back", "bbb 4 nnnn ggg", "ccohhhhhhc"},
		{"half of twenty open it", ratio + "gb", strings.Repeat("c", 19) + "o"},
		{"but not over two windows", ratio + "9 1 gbgb", strings.Repeat("c", 22)},
	} {
		b, clk := newBreaker(3, 1)
		if got := play(t, b, clk, c.script); got != c.want {
			t.Errorf("%s: %q gives %s, want %s", c.name, c.script, got, c.want)
		}
	}
}

func TestBreakerCooldownGrowsWithinBoundsAndIsSpread(t *testing.T) {
	for _, random := range []float64{0, 0.5, 1} {
		b, c := newBreaker(1, random)
		var waits []time.Duration
		for range 7 {
			term, ok := b.ask()
			if !ok {
				t.Fatal("not let through after its cooldown")
			}
			b.tell(term, verdictBad)
			wait := b.until.Sub(c.Now())
			waits = append(waits, wait)
			c.pass(wait - 1)
			if _, ok := b.ask(); ok {
				t.Fatal("let through before the end")
			}
			c.pass(1)
		}
		var want []time.Duration
		for _, seconds := range []float64{4, 8, 16, 32, 48, 48, 48} {
			want = append(want, time.Duration(seconds*float64(time.Second)*(0.5+random/2)))
		}
		if fmt.Sprint(waits) != fmt.Sprint(want) {
			t.Errorf("random %v: got %v, want %v", random, waits, want)
		}
	}
}

func TestBreakerLetsAFewProbesRunAtOnceAndIgnoresLateVerdicts(t *testing.T) {
	b, c := newBreaker(1, 1)
	early, _ := b.ask()
	term, _ := b.ask()
	b.tell(term, verdictBad)
	c.pass(4 * time.Second)
	var terms []uint64
	for range breakerProbes {
		term, ok := b.ask()
		if !ok {
			t.Fatal("probe refused")
		}
		terms = append(terms, term)
	}
	if _, ok := b.ask(); ok {
		t.Error("a fourth probe at once")
	}
	b.tell(early, verdictBad) // of before it opened
	if s, _ := b.report(); s != HalfOpen {
		t.Errorf("a late verdict made it %v", s)
	}
	for _, term := range terms {
		b.tell(term, verdictGood)
	}
	if s, opened := b.report(); s != Closed || opened != 1 {
		t.Errorf("state %v, opened %d", s, opened)
	}
	off := &breaker{}
	for range 100 {
		term, ok := off.ask()
		off.tell(term, verdictBad)
		if !ok {
			t.Fatal("a breaker that is off refused")
		}
	}
}

// TestBreakerInvariants drives random calls that overlap and end in any order.
func TestBreakerInvariants(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b, c := newBreaker(1+int(seed%5), rnd.Float64())
		var running []uint64
		for step := range 500 {
			switch rnd.IntN(4) {
			case 0:
				c.pass(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			case 1, 2:
				before, _ := b.report()
				term, ok := b.ask()
				if ok {
					running = append(running, term)
				}
				if before == Closed && !ok {
					t.Fatalf("seed %d step %d: closed and refused", seed, step)
				}
			case 3:
				if len(running) > 0 {
					i := rnd.IntN(len(running))
					b.tell(running[i], verdict(rnd.IntN(3)))
					running = append(running[:i], running[i+1:]...)
				}
			}
			ofNow := 0
			for _, term := range running {
				if term == b.term {
					ofNow++
				}
			}
			if b.state == HalfOpen && b.probing != ofNow || b.probing < 0 || b.probing+b.good > breakerProbes {
				t.Fatalf("seed %d step %d: %d probes counted, %d run, %d good", seed, step, b.probing, ofNow, b.good)
			}
			if b.state != HalfOpen && b.probing+b.good != 0 {
				t.Fatalf("seed %d step %d: probes while %v", seed, step, b.state)
			}
		}
	}
}

func TestBreakerIsSafeForConcurrentUse(t *testing.T) {
	b, c := newBreaker(3, 0.5)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				if term, ok := b.ask(); ok {
					b.tell(term, verdict((n+i)%3))
				}
				c.pass(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if b.probing < 0 || b.probing > breakerProbes {
		t.Errorf("%d probes", b.probing)
	}
}
