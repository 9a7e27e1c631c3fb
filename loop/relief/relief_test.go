package relief

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

func made(limit int64, loops int) *Relief {
	r := &Relief{}
	r.Init(limit, loops)
	return r
}

// sumsOf adds up backlogs.
func sumsOf(backlogs ...uint32) (s Sums) {
	for _, b := range backlogs {
		s[Class(b)] += int64(b)
	}
	return s
}

func TestARoundBeginsAboveSevenEighths(t *testing.T) {
	r := made(800, 1)
	if r.Begin(700, 0) || r.Step() != 0 {
		t.Error("at seven eighths")
	}
	if !r.Begin(701, 0) || r.Step().Phase() != Measuring {
		t.Error("not above seven eighths")
	}
	if r.Begin(800, 0) {
		t.Error("a second one at the same time")
	}
}

func TestARoundGoesOnWhenAllLoopsHaveDoneTheirPart(t *testing.T) {
	r := made(800, 3)
	r.Begin(800, 0)
	s := sumsOf(300)
	for i := range 3 {
		if phase := r.Step().Phase(); phase != Measuring {
			t.Fatalf("phase %d after %d reports", phase, i)
		}
		if last := r.Report(&s, 0); last != (i == 2) {
			t.Errorf("report %d says %t", i, last)
		}
	}
	for i := range 3 {
		if phase := r.Step().Phase(); phase != Cutting {
			t.Fatalf("phase %d after %d loops are done", phase, i)
		}
		r.Done()
	}
	if r.Step().Phase() != Idle || r.Rounds() != 1 || !r.Begin(800, 0) {
		t.Errorf("after a round: phase %d, %d rounds", r.Step().Phase(), r.Rounds())
	}
}

func TestARoundWithoutNeedCutsNobodyAndIsNotRepeatedAtOnce(t *testing.T) {
	r := made(800, 1)
	r.Begin(800, 7)
	s := sumsOf(600)
	if r.Report(&s, 7) || r.Step().Phase() != Idle || r.Rounds() != 0 {
		t.Errorf("phase %d, %d rounds", r.Step().Phase(), r.Rounds())
	}
	if r.Begin(800, 7) {
		t.Error("a fruitless round was repeated in the same tick")
	}
	if !r.Begin(800, 8) {
		t.Error("no round ever after a fruitless one")
	}
	if s = sumsOf(601); !r.Report(&s, 8) {
		t.Error("the sums of the round before count") // or those of this one do not
	}
}

func TestTheLineIsDrawnWhereThereIsRoom(t *testing.T) {
	for _, c := range []struct {
		backlogs []uint32
		taken    []uint32 // of limit 1,000, so down to 750
	}{
		{[]uint32{900}, []uint32{900}},
		{[]uint32{100, 500, 300}, []uint32{500}},
		{[]uint32{400, 300, 200, 90, 8}, []uint32{400}},
		{[]uint32{100, 100, 100, 100, 100, 100, 100, 100, 100}, []uint32{100, 100}},
		{[]uint32{260, 300, 310, 50}, []uint32{260}}, // of one class any will do
		{[]uint32{10, 150, 10, 140, 600, 80, 1}, []uint32{600}},
		{[]uint32{130, 120, 120, 120, 120, 120, 120, 120}, []uint32{130, 120}},
		{[]uint32{1 << 31, 1<<32 - 1, 5}, []uint32{1 << 31, 1<<32 - 1}},
	} {
		r := made(1000, 1)
		r.Begin(1000, 0)
		s := sumsOf(c.backlogs...)
		r.Report(&s, 0)
		var taken []uint32
		for _, b := range c.backlogs {
			if r.Takes(b) {
				taken = append(taken, b)
			}
		}
		if !slices.Equal(taken, c.taken) {
			t.Errorf("of %v went %v, want %v", c.backlogs, taken, c.taken)
		}
	}
}

// TestLoopsAtOnce has loops on goroutines of their own play rounds; each takes part in every phase once.
func TestLoopsAtOnce(t *testing.T) {
	const loops, conns, limit = 4, 100, 1_000_000
	r := made(limit, loops)
	var begun atomic.Int64
	var backlog atomic.Int64
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			backlogs := make([]uint32, conns)
			seen := Step(0)
			for r.Rounds() < 50 {
				if r.Begin(backlog.Load(), begun.Load()) {
					begun.Add(1)
				}
				s := r.Step()
				if s == seen {
					runtime.Gosched()
					if backlog.Load() < limit {
						n := rng.Uint32N(1 << rng.UintN(16))
						backlogs[rng.IntN(conns)] += n
						backlog.Add(int64(n))
					}
					continue
				}
				if s.Phase() != Idle && s.Phase() == seen.Phase() && s == seen+Step(phases) {
					t.Errorf("loop %d missed phases between %d and %d", i, seen, s)
				}
				switch seen = s; s.Phase() {
				case Measuring:
					sums := sumsOf(backlogs...)
					r.Report(&sums, begun.Load())
				case Cutting:
					for k, b := range backlogs {
						if b > 0 && r.Takes(b) {
							backlog.Add(-int64(b))
							backlogs[k] = 0
						}
					}
					r.Done()
				}
			}
		})
	}
	wg.Wait()
	if n := backlog.Load(); n > limit {
		t.Errorf("a backlog of %d, limit %d", n, limit)
	}
}
