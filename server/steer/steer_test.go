package steer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

const mib = 1 << 20

func steer(t testing.TB, cfg Config) *Steer {
	t.Helper()
	s, err := New(cfg, 100)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// process is a heap as Go's collector sees it, with a load that makes garbage.
type process struct {
	live, scanned, ledger int64
	garbage               int64 // bytes a second
	percent               int
	collections           uint64
	heap, peak            int64
}

// second lets garbage gather and be collected.
func (p *process) second() Sample {
	before := p.collections
	p.heap += max(p.live-p.heap, 0)
	goal := max(p.live+p.live*int64(p.percent)/100, headroomMin*int64(p.percent)/100)
	for left := p.garbage; left > 0; {
		n := min(left, max(goal-p.heap, 64<<10))
		left -= n
		p.heap += n
		p.peak = max(p.peak, p.heap)
		if p.heap >= goal {
			p.heap = p.live
			p.collections++
		}
	}
	n := p.collections - before
	cost := 0.0002 + 1e-9*float64(p.scanned) // seconds: 0.2 ms, and 1 ms for a MiB to be looked at
	return Sample{
		Live: p.live, Scanned: p.scanned, Ledger: p.ledger, Collections: p.collections, Busy: float64(n) * cost / 2, Over: time.Second,
	}
}

// run steers the process for so many seconds.
func (p *process) run(s *Steer, seconds int) (changes, collects int) {
	for range seconds {
		d := s.Step(p.second())
		if d.Percent != 0 {
			p.percent = d.Percent
			changes++
		}
		if d.Collect {
			collects++
			p.collections++
			p.heap = p.live
		}
	}
	return changes, collects
}

func TestAHeapWithoutPointersGetsAFractionOfTheRoom(t *testing.T) {
	for _, c := range []struct {
		name          string
		live, scanned int64
		headroom      int64
	}{
		{"a million connections", 200 * mib, 8 * mib, 32 * mib},
		{"history", 4000 * mib, 40 * mib, 64 * mib},
		{"a heap of pointers", 40 * mib, 40 * mib, 40 * mib}, // as Go would
		{"a large one", 400 * mib, 400 * mib, 64 * mib},
		{"a small one", 2 * mib, mib, 4 * mib}, // as Go would
	} {
		p := &process{live: c.live, scanned: c.scanned, ledger: c.live - c.scanned, garbage: mib / 2, percent: 100}
		s := steer(t, Config{})
		changes, _ := p.run(s, 600)
		p.peak = 0
		p.run(s, 600)
		if got := p.peak - c.live; got > c.headroom+c.headroom/8 {
			t.Errorf("%s: %d MiB of garbage gather, want %d", c.name, got/mib, c.headroom/mib)
		}
		if changes > 2 {
			t.Errorf("%s: %d changes while nothing changes", c.name, changes)
		}
	}
}

func TestManyCollectionsAreBoundedByMoreRoom(t *testing.T) {
	p := &process{live: 10 * mib, scanned: 2 * mib, ledger: 8 * mib, garbage: 100 * mib, percent: 100}
	s := steer(t, Config{})
	p.run(s, 60)
	before := p.collections
	p.run(s, 60)
	if n := p.collections - before; n > 2*60 {
		t.Errorf("%d collections in a minute, want 2 a second at most", n)
	}
	if p.peak > (10+64)*mib+8*mib {
		t.Errorf("the heap grew to %d MiB", p.peak/mib)
	}
	p.garbage, p.peak = mib, 0 // later: the room is given back
	p.run(s, 600)
	p.heap, p.peak = p.live, 0
	p.run(s, 60)
	if got := p.peak - p.live; got > 6*mib {
		t.Errorf("%d MiB of garbage gather though collections are rare", got/mib)
	}
}

func TestTimeIsABoundToo(t *testing.T) {
	p := &process{live: 600 * mib, scanned: 500 * mib, garbage: 40 * mib, percent: 100} // half a second for each collection
	s := steer(t, Config{})
	p.run(s, 300)
	before := p.collections
	p.run(s, 60)
	if n := p.collections - before; n > 10 {
		t.Errorf("%d collections in a minute, of which each takes a quarter of the time", n)
	}
	if p.percent > 100 {
		t.Errorf("more room than Go would give: %d%%", p.percent)
	}
}

func TestWhenConnectionsHaveGoneThereIsSomethingToCollect(t *testing.T) {
	p := &process{live: 200 * mib, scanned: 8 * mib, ledger: 190 * mib, garbage: mib / 10, percent: 100}
	s := steer(t, Config{})
	if _, n := p.run(s, 100); n != 0 {
		t.Fatalf("%d collections though nothing went", n)
	}
	p.ledger = 180 * mib // not worth it
	if _, n := p.run(s, 10); n != 0 {
		t.Fatalf("%d collections for 10 MiB", n)
	}
	p.ledger = 50 * mib
	p.heap, p.live = 60*mib, 60*mib
	sample := p.second()
	sample.Live = 200 * mib // what the collector knows
	if d := s.Step(sample); !d.Collect {
		t.Error("140 MiB are free and nobody looks")
	}
	p.heap = p.live
	if _, n := p.run(s, 100); n != 0 {
		t.Errorf("%d collections more", n)
	}
}

func TestDecisionsKeepTheirBounds(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := Config{HeadroomMax: int64(4+rng.IntN(200)) * mib}
		p := &process{percent: 100}
		s := steer(t, cfg)
		for range 50 {
			p.live = int64(rng.IntN(1 << (10 + rng.IntN(23))))
			p.scanned, p.ledger = p.live/int64(1+rng.IntN(100)), p.live-p.live/int64(1+rng.IntN(5))
			p.garbage = int64(rng.IntN(1 << (10 + rng.IntN(20))))
			for range rng.IntN(40) {
				sample := p.second()
				sample.Roots = int64(rng.IntN(mib))
				d := s.Step(sample)
				if d.Percent != 0 {
					p.percent = d.Percent
				}
				room := int64(p.percent) * max(p.live+sample.Roots, headroomMin) / 100
				if most := max(cfg.HeadroomMax, p.live, headroomMin); p.percent < 1 || room > most+most/5 {
					t.Fatalf("seed %d: %d%% of %d MiB, that is room for %d, at most %d", seed, p.percent, p.live/mib, room/mib, most/mib)
				}
			}
		}
	}
}

func TestSmallChangesAreNotMade(t *testing.T) {
	p := &process{live: 200 * mib, scanned: 8 * mib, ledger: 190 * mib, garbage: mib, percent: 100}
	s := steer(t, Config{})
	p.run(s, 60)
	for n := range 60 {
		p.live = int64(195+10*(n%2)) * mib
		if changes, _ := p.run(s, 3); changes > 0 {
			t.Fatal("a heap that is 5% larger or smaller has the percentage changed")
		}
	}
}

func TestAHeadroomThatIsTooSmallIsRefused(t *testing.T) {
	for _, cfg := range []Config{{HeadroomMax: mib}, {PerSecondMax: -1}, {ShareMax: -1}} {
		if _, err := New(cfg, 100); err == nil || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
