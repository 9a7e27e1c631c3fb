package command

import (
	"math"
	"runtime/debug"
	"testing"

	"shoal/server/config"
	"shoal/tuning"
)

func TestTheMemoryLimitIsWhatSomebodySaidOrNineTenthsOfWhatThereIs(t *testing.T) {
	const gib = 1 << 30
	memory := tuning.Memory{{Host: true, Limit: 16 * gib}, {Limit: 10 * gib}}
	for _, c := range []struct {
		name        string
		configured  int
		environment string
		memory      tuning.Memory
		want        int64
	}{
		{"nothing is said", 0, "", memory, 9 * gib},
		{"nothing is said or known", 0, "", nil, 0},
		{"the environment says it", 0, "1GiB", memory, 0},
		{"the configuration says it", 2 * gib, "", memory, 2 * gib},
		{"both do", 2 * gib, "1GiB", memory, 2 * gib},
		{"there is to be none", -1, "", memory, math.MaxInt64},
	} {
		if got := memoryLimit(c.configured, c.environment, c.memory); got/10 != c.want/10 { // rounding
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestAPercentageThatSomebodySetIsLeftAlone(t *testing.T) {
	for name, left := range map[string]func(int){
		"by gc.percent":          steering(config.GC{Percent: 50, Headroom: 64 << 20}, ""),
		"by GOGC":                steering(config.GC{Headroom: 64 << 20}, "200"),
		"gc.headroom is 0: Go's": steering(config.GC{}, ""),
	} {
		if left != nil {
			t.Errorf("%s: it is changed", name)
		}
	}
	set := steering(config.Default().GC, "")
	if set == nil {
		t.Fatal("by nobody, and it is left alone")
	}
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	set(42)
	if got := debug.SetGCPercent(100); got != 42 {
		t.Errorf("%d percent are in force, want 42", got)
	}
}
