package overload

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// sane are thresholds as the server has them.
func sane() Config {
	return Config{
		Levels: [levels]Thresholds{
			Refusing: {Lag: 0.5, Stall: 2, GC: 0.25, Memory: 0.90},
			Sparing:  {Lag: 1, GC: 0.35, Memory: 0.94},
			Shedding: {Lag: 2, GC: 0.5, Memory: 0.97},
		},
		RiseAfter: 2 * time.Second, FallAfter: 10 * time.Second, SlowStart: 30 * time.Second,
	}
}

func machine(t testing.TB, cfg Config) *Machine {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// weather makes samples that stay for a while, come near thresholds and jump.
type weather struct {
	rng  *rand.Rand
	s    Sample
	left int
}

func (w *weather) next() Sample {
	if w.left--; w.left <= 0 {
		w.left, w.s = 1+w.rng.IntN(25), Sample{}
		if w.rng.IntN(6) == 0 { // quiet
			w.left = 60
			return w.s
		}
		cfg := sane()
		for sig := range w.s {
			if w.rng.IntN(3) == 0 {
				l := Refusing + Level(w.rng.IntN(levels-1))
				w.s[sig] = cfg.Levels[l][sig] * []float64{0.4, 0.5, 0.94, 0.96, 1, 1.2, 3}[w.rng.IntN(7)]
			}
		}
	}
	if w.left < 25 && w.rng.IntN(10) == 0 { // one that is out of line
		s := w.s
		s[w.rng.IntN(signals)] = w.rng.Float64() * 12
		return s
	}
	return w.s
}

// play steps a machine through weather and calls f behind every step.
func play(t *testing.T, seed uint64, m *Machine, f func(now time.Time, s Sample, tr Transition, changed bool)) {
	t.Helper()
	w := &weather{rng: rand.New(rand.NewPCG(seed, 7))}
	now := time.Unix(1_700_000_000, 0)
	for range 2000 {
		now = now.Add(time.Duration(200+w.rng.IntN(1800)) * time.Millisecond)
		s := w.next()
		tr, changed := m.Step(now, s)
		f(now, s, tr, changed)
	}
}

const seeds = 200

func TestALevelNeverFlapsFasterThanItsHoldTimes(t *testing.T) {
	cfg, changes, reached := sane(), 0, [levels]int{}
	for seed := range uint64(seeds) {
		m := machine(t, cfg)
		var last time.Time
		fell := false
		calling := map[Level]time.Time{} // since when samples call for it
		play(t, seed, m, func(now time.Time, s Sample, tr Transition, changed bool) {
			for l := Refusing; l < levels; l++ {
				if cfg.reached(&s, upper) < l {
					delete(calling, l)
				} else if calling[l].IsZero() {
					calling[l] = now
				}
			}
			if !changed {
				return
			}
			changes++
			reached[tr.To]++
			switch down := tr.To < tr.From; {
			case down && tr.To != tr.From-1:
				t.Fatalf("seed %d: %v: it falls by more than one level", seed, tr)
			case down && now.Sub(last) < cfg.FallAfter:
				t.Fatalf("seed %d: %v %s behind the transition before", seed, tr, now.Sub(last))
			case !down && fell && now.Sub(last) < cfg.RiseAfter:
				t.Fatalf("seed %d: %v %s behind a fall", seed, tr, now.Sub(last))
			case !down && (calling[tr.To].IsZero() || now.Sub(calling[tr.To]) < cfg.RiseAfter):
				t.Fatalf("seed %d: %v, and samples have called for it since %v only", seed, tr, calling[tr.To])
			}
			if up := tr.To + 1; tr.To > tr.From && up < levels && !calling[up].IsZero() && now.Sub(calling[up]) >= cfg.RiseAfter {
				t.Fatalf("seed %d: %v, and samples have called for more since %v", seed, tr, calling[up])
			}
			if tr.From == tr.To || tr.To != m.Level() {
				t.Fatalf("seed %d: %v, and the level is %v", seed, tr, m.Level())
			}
			if up := tr.To > tr.From; up != (tr.Reason != Recovered) || up && tr.Value < tr.Limit {
				t.Fatalf("seed %d: %v does not give its reason", seed, tr)
			}
			last, fell = now, tr.To < tr.From
		})
	}
	for l, n := range reached {
		if n < seeds {
			t.Errorf("level %d was reached %d times in %d transitions: this tests nothing", l, n, changes)
		}
	}
}

// Whoever is worse off at all times is never on a lower level.
func TestTheLevelIsMonotoneInWhatIsMeasured(t *testing.T) {
	differ := 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 11))
		better, worse := machine(t, sane()), machine(t, sane())
		play(t, seed, better, func(now time.Time, s Sample, _ Transition, _ bool) {
			for sig := range s {
				if rng.IntN(4) == 0 {
					s[sig] += rng.Float64() * rng.Float64()
				}
			}
			worse.Step(now, s)
			if worse.Level() < better.Level() {
				t.Fatalf("seed %d: level %v, and %v where everything is better", seed, worse.Level(), better.Level())
			}
			if worse.Level() > better.Level() {
				differ++
			}
		})
	}
	if differ < seeds {
		t.Errorf("the levels differed %d times: this tests nothing", differ)
	}
}

func TestTheShareOnlyGrowsUntilARelapse(t *testing.T) {
	begun, whole := 0, 0
	for seed := range uint64(seeds) {
		m, last := machine(t, sane()), 1.0
		play(t, seed, m, func(now time.Time, _ Sample, tr Transition, changed bool) {
			share := m.Share(now)
			switch {
			case m.Level() > Calm:
				if share != 0 {
					t.Fatalf("seed %d: level %v lets %.2f in", seed, m.Level(), share)
				}
			case changed: // it has just become calm
				if begun++; math.Abs(share-0.1) > 1e-9 {
					t.Fatalf("seed %d: the slow start begins with %.3f", seed, share)
				}
			case share < last || share > 1:
				t.Fatalf("seed %d: %.3f are let in, before it were %.3f", seed, share, last)
			case share == 1 && last < 1:
				whole++
			}
			last = share
		})
	}
	if begun < seeds || whole < seeds/2 {
		t.Errorf("%d slow starts, %d came to their end: this tests nothing", begun, whole)
	}
}

func TestARelapseDoublesTheCaution(t *testing.T) {
	cfg := sane()
	m, now := machine(t, cfg), time.Unix(0, 0)
	until := func(want Level, s Sample) {
		t.Helper()
		for n := 0; m.Level() != want; n++ {
			if now = now.Add(time.Second); n > 100 {
				t.Fatalf("level %v is never reached", want)
			}
			m.Step(now, s)
		}
	}
	bad := Sample{Lag: 0.6}
	var took []time.Duration
	for range 7 {
		until(Refusing, bad)
		until(Calm, Sample{})
		took = append(took, m.Opening())
		now = now.Add(2*m.Opening() - 10*time.Second) // it came to its end, not long ago
		m.Step(now, Sample{})
	}
	for i, times := range []int64{1, 2, 4, 8, 16, 16, 16} {
		if want := time.Duration(times * int64(cfg.SlowStart)); took[i] != want {
			t.Errorf("slow start %d takes %s, want %s", i, took[i], want)
		}
	}
	now = now.Add(time.Minute)
	until(Refusing, bad)
	until(Calm, Sample{})
	if m.Opening() != cfg.SlowStart {
		t.Errorf("after a long calm the slow start takes %s", m.Opening())
	}
}

func TestWhatIsNotConfiguredCallsForNothing(t *testing.T) {
	cfg := Config{RiseAfter: time.Second}
	cfg.Levels[Sparing][GC] = 0.5
	m := machine(t, cfg)
	awful := Sample{Lag: 100, Stall: 100, Memory: 1}
	for n := range 100 {
		if tr, changed := m.Step(time.Unix(int64(n), 0), awful); changed {
			t.Fatal(tr)
		}
	}
	awful[GC] = 0.5
	for n := range 3 {
		m.Step(time.Unix(int64(100+n), 0), awful)
	}
	if m.Level() != Sparing {
		t.Errorf("level %v, want the one that is configured", m.Level())
	}
}

func TestAConfigThatContradictsItselfIsRefused(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"raise the former":  func(c *Config) { c.Levels[Shedding][GC] = 0.3 },
		"0 for none":        func(c *Config) { c.Levels[Sparing][Lag] = -1 },
		"a time is":         func(c *Config) { c.FallAfter = -1 },
		"lag calls for lev": func(c *Config) { c.Levels[Sparing][Lag] = 0; c.Levels[Shedding][Lag] = 0.1 },
	} {
		cfg := sane()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%v; want %q and what to change", err, says)
		}
	}
	if _, err := New(Config{}); err != nil {
		t.Errorf("nothing configured: %v", err)
	}
}

func TestOfManyInARowTheShareIsLetIn(t *testing.T) {
	for _, share := range []float64{0, 0.1, 0.25, 0.5, 0.9, 1} {
		b, in := &Board{}, 0
		b.Post(Calm, share)
		for i := range 1000 {
			if b.Admits() {
				in++
			}
			if want := share * float64(i+1); math.Abs(float64(in)-want) > 1 {
				t.Fatalf("share %.2f: %d of %d are in", share, in, i+1)
			}
		}
		if math.Abs(b.Share()-share) > 1e-6 {
			t.Errorf("share %.2f is told as %.3f", share, b.Share())
		}
	}
}

func TestABoardNobodyPostedOnIsCalm(t *testing.T) {
	for name, b := range map[string]*Board{"nil": nil, "zero": {}} {
		if !b.Admits() || b.Level() != Calm || b.Share() != 1 || b.Refuses(true) {
			t.Errorf("%s: it is not calm", name)
		}
		b.EachChange(func(tr Transition, n uint64) { t.Errorf("%s: %v %d times", name, tr, n) })
	}
}

func TestOnlyWorkOfLowPriorityIsRefused(t *testing.T) {
	b := &Board{}
	for l := Calm; l < levels; l++ {
		b.Post(l, 0)
		if b.Refuses(false) || b.Refuses(true) != (l >= Sparing) {
			t.Errorf("level %v: refused %v, of low priority %v", l, b.Refuses(false), b.Refuses(true))
		}
	}
}

func TestTransitionsAreCounted(t *testing.T) {
	b, got := &Board{}, map[string]uint64{}
	up := Transition{From: Calm, To: Shedding, Reason: Memory, Value: 0.98, Limit: 0.97}
	for range 3 {
		b.Count(up)
	}
	b.Count(Transition{From: Shedding, To: Sparing, Reason: Recovered})
	b.EachChange(func(tr Transition, n uint64) { got[tr.From.String()+tr.To.String()+tr.Reason.String()] = n })
	if len(got) != 2 || got["03memory"] != 3 || got["32recovered"] != 1 {
		t.Errorf("counted: %v", got)
	}
	if s := up.String(); s != "level 0 → 3: memory 98.0%, threshold 97.0%" {
		t.Error(s)
	}
}

func BenchmarkStep(b *testing.B) {
	m, s, now := machine(b, sane()), Sample{Lag: 0.01, Memory: 0.4}, time.Unix(0, 0)
	for b.Loop() {
		now = now.Add(time.Second)
		m.Step(now, s)
	}
}

func BenchmarkAdmits(b *testing.B) {
	board := &Board{}
	for b.Loop() {
		board.Admits()
	}
}
