package share

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"shoal/tuning"
)

func TestAMemberHoldsWhatEndsFirst(t *testing.T) {
	r := Resources{Limits: []tuning.Limit{
		{Name: limitDescriptors, Conns: 20_000}, {Name: limitPorts, Conns: 28_000}, {Name: "memory", Conns: 90_000},
	}}
	for _, c := range []struct {
		tables           bool
		sharing, sources int
		want             holding
	}{
		{false, 1, 1, holding{20_000, limitDescriptors}},
		{true, 1, 1, holding{28_000, limitPorts}},
		{true, 1, 5, holding{90_000, "memory"}},
		{true, 3, 5, holding{30_000, "memory"}},
		{true, 4, 2, holding{14_000, limitPorts}}, // the same addresses
		{false, 9, 20, holding{10_000, "memory"}},
	} {
		r.Tables = c.tables
		if got := r.holds(c.sharing, c.sources); got != c.want {
			t.Errorf("%+v: got %+v", c, got)
		}
	}
	if got := (&Resources{}).holds(1, 1); got != (holding{conns: holdsMax}) {
		t.Errorf("nothing known: %+v", got)
	}
}

func TestConnectionsAreSharedOutByWhatMembersCanHold(t *testing.T) {
	for _, c := range []struct {
		conns int
		holds []int
		want  []int
	}{
		{100, []int{1000, 1000}, []int{50, 50}},
		{100, []int{3000, 1000}, []int{75, 25}},
		{7, []int{7, 1 << 27, 1}, []int{1, 5, 1}},
		{10, []int{4, 6}, []int{4, 6}},
		{3, []int{1, 1, 1}, []int{1, 1, 1}},
	} {
		got, err := split(c.conns, make([]Member, len(c.holds)), holdings(c.holds))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v, %v", c, got, err)
		}
	}
	names := []Member{{Name: "a"}, {Name: "b"}}
	_, err := split(11, names, []holding{{4, "memory"}, {6, limitDescriptors}})
	says(t, err, "11 connections are more than the 10", "a 4 (memory), b 6 (descriptors)", "raise what ends first")
	_, err = split(1, names, holdings([]int{5, 5}))
	says(t, err, "cannot be shared by 2")
	_, err = split(5, names, []holding{{50, ""}, {0, "memory"}})
	says(t, err, "b can hold no connection", "memory")
	_, err = split(50, make([]Member, 9), holdings([]int{1, 1, 1, 1, 1, 1, 1, 1, 1}))
	says(t, err, "3 more")
}

func holdings(conns []int) (all []holding) {
	for _, n := range conns {
		all = append(all, holding{conns: n})
	}
	return all
}

func TestSharesAreWholeAndFit(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		holds := make([]int, 1+rng.IntN(60))
		all := 0
		for i := range holds {
			holds[i] = 1 + rng.IntN(1<<rng.IntN(24))
			all += holds[i]
		}
		conns := len(holds) + rng.IntN(all-len(holds)+1)
		got, err := split(conns, make([]Member, len(holds)), holdings(holds))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sum := 0
		for i, n := range got {
			sum += n
			if n < 1 || n > holds[i] {
				t.Fatalf("seed %d: %d for one who holds %d", seed, n, holds[i])
			}
		}
		if sum != conns {
			t.Fatalf("seed %d: %d connections were shared out of %d", seed, sum, conns)
		}
		most := 1 + rng.IntN(1000)
		size := 1 + rng.IntN(min(most, got[0]))
		parts := engines(got[0], size, most)
		if s := sumOf(parts); s != got[0] || slices.Max(parts) > most || slices.Min(parts) < 1 || slices.Max(parts) > max(2*size, 2) {
			t.Fatalf("seed %d: %d are carried by engines of %v, to be of %d and at most %d", seed, got[0], parts, size, most)
		}
	}
}

func sumOf(all []int) (sum int) {
	for _, n := range all {
		sum += n
	}
	return sum
}

// The engines of all members together are one test: their connections follow each other without a gap, and all are about as large.
func TestEnginesAreNumberedThroughAllMembers(t *testing.T) {
	host := func(boot string, table, memory uint64) Resources {
		return Resources{Boot: boot, Tables: true, Limits: []tuning.Limit{{Name: limitDescriptors, Conns: table}, {Name: "memory", Conns: memory}}}
	}
	all, err := Out(Want{Connections: 90}, []Member{{"a", host("1", 10, 60)}, {"b", host("2", 30, 60)}, {"c", host("2", 30, 60)}, {"d", host("", 30, 60)}, {"e", host("", 30, 60)}})
	if err != nil {
		t.Fatal(err)
	}
	next, index := 0, 0
	var conns []int
	for _, engines := range all {
		sum := 0
		for _, e := range engines {
			if e.First != next || e.Index != index || e.Connections < 7 || e.Connections > 12 {
				t.Errorf("%+v", e)
			}
			next += e.Connections
			sum += e.Connections
			index++
		}
		conns = append(conns, sum)
	}
	if want := []int{23, 11, 11, 23, 22}; next != 90 || !slices.Equal(conns, want) {
		t.Errorf("%d connections, %v", next, conns)
	}
	_, err = Out(Want{Connections: 90}, []Member{{"a", host("1", 10, 60)}})
	says(t, err, "90 connections are more than the 60", "a 60 (memory)")
}

// A member that holds more gets more engines, not larger ones.
func TestEnginesAreAboutAsLarge(t *testing.T) {
	for _, c := range []struct {
		conns, size, most int
		want              []int
	}{
		{75, 25, holdsMax, []int{25, 25, 25}}, {26, 25, holdsMax, []int{26}}, {25, 25, 25, []int{25}}, {100, 25, 20, []int{20, 20, 20, 20, 20}},
		{40, 25, holdsMax, []int{20, 20}}, {1, 1, 1, []int{1}}, {1_000_000, 19_744, 19_744, nil},
	} {
		got := engines(c.conns, c.size, c.most)
		if c.want != nil && !slices.Equal(got, c.want) || len(got) == 0 {
			t.Errorf("%+v: got %v", c, got)
		}
		if c.want == nil && (len(got) != 51 || got[0] != 19_608 || got[50] != 19_607) {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestResourcesAreRead(t *testing.T) {
	r := Read(true)
	if r.PID == 0 || !r.Tables || r.Table() == 0 {
		t.Errorf("%+v", r)
	}
	for _, l := range r.Limits {
		if l.Soft {
			t.Errorf("%+v is no limit", l)
		}
	}
	root := fstest.MapFS{"proc/sys/kernel/random/boot_id": {Data: []byte("x-y\n")}}
	if r := read(root, tuning.Host{Processors: 3}, false); r.Boot != "x-y" || r.Processors != 3 || r.Table() != 0 {
		t.Errorf("%+v", r)
	}
}

func TestItIsTriedWhetherLoopsCanHaveTheirOwnDescriptors(t *testing.T) {
	for range 3 { // and nothing is left behind; see TestMain
		if err := OwnTables(); err != nil {
			t.Skipf("not here: %v", err)
		}
	}
}

// says fails the test unless err has all parts.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want an error that says %q", err, part)
		}
	}
}
