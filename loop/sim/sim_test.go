package sim_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	flagSeeds = flag.Uint64("sim.seeds", 150, "number of seeds to play")
	flagFirst = flag.Uint64("sim.first", 1, "the first of them")
	flagSeed  = flag.Uint64("sim.seed", 0, "play this seed alone")
	flagTrace = flag.Bool("sim.trace", false, "with -sim.seed: print every event")
)

// play plays one seed; a failure names the command that replays it.
func play(t *testing.T, seed uint64) *story {
	t.Helper()
	var trace func(string, ...any)
	if *flagTrace && *flagSeed == seed {
		trace = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	replay := fmt.Sprintf("replay: go test ./loop/sim -run TestLoopUnderFaults -sim.seed=%d -sim.trace", seed)
	hang := time.AfterFunc(2*time.Minute, func() { panic(fmt.Sprintf("seed %d hangs inside one pass\n%s", seed, replay)) })
	defer hang.Stop()
	st, err := newStory(seed, trace)
	if err == nil {
		err = st.run()
	}
	if err != nil {
		t.Errorf("seed %d: %v\n%s", seed, err, replay)
	}
	return st
}

// TestLoopUnderFaults plays worlds of peers that connect, ask, stall, half-close and reset, on a kernel with faults,
// and checks after every pass that every byte is in its place.
func TestLoopUnderFaults(t *testing.T) {
	if *flagSeed != 0 {
		play(t, *flagSeed)
		return
	}
	if testing.Short() {
		*flagSeeds = min(*flagSeeds, 30)
	}
	total := map[string]int{}
	for seed := *flagFirst; seed < *flagFirst+*flagSeeds; seed++ {
		st := play(t, seed)
		for event, n := range st.w.Counts() {
			total[event] += n
		}
		total["= passes"] += st.w.Passes()
		total["= conns"] += len(st.o.tracks)
		total["= over limit"] += st.over
		total["= thinned"] += st.thinned
		total["= panics"] += st.panics
		total["= reliefs"] += int(st.g.Stats().Reliefs)
		for why, n := range st.closed {
			total["= closed "+why.String()] += n
		}
	}
	for _, event := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%9d %s", total[event], event)
	}
}

// TestSeedIsReproducible: the same seed is the same history, also with several loops.
func TestSeedIsReproducible(t *testing.T) {
	if *flagSeed != 0 {
		t.Skip("one seed is being replayed")
	}
	for seed := uint64(1); seed <= 30; seed++ {
		a, b := play(t, seed), play(t, seed)
		if a.w.History() != b.w.History() || a.w.Passes() != b.w.Passes() {
			t.Errorf("seed %d: histories %x (%d passes) and %x (%d passes)", seed, a.w.History(), a.w.Passes(), b.w.History(), b.w.Passes())
		}
	}
}
