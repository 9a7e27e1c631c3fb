package filter

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quagmt/udecimal"

	"shoal/codec/proto"
)

type node = proto.FilterNode

func leaf(key, cmp, val string, vals ...string) *node {
	return &node{Key: key, Cmp: cmp, Val: val, Vals: vals}
}
func join(op string, nodes ...*node) *node { return &node{Op: op, Nodes: nodes} }

func compile(t testing.TB, n *node) []byte {
	t.Helper()
	program, err := Compile(n)
	if err != nil {
		t.Fatalf("Compile(%v): %v", n, err)
	}
	return program
}

var tags = map[string]string{"env": "prod", "price": "120.50", "count": "-42", "empty": "", "text": "Привет, мир", "big": "1" + strings.Repeat("0", 60)}

// TestComparisons are the facts of the stock server, one a line.
func TestComparisons(t *testing.T) {
	for _, c := range []struct {
		key, cmp, val string
		vals          []string
		want          bool
	}{
		{"env", "eq", "prod", nil, true},
		{"env", "eq", "pro", nil, false},
		{"none", "eq", "prod", nil, false},
		{"env", "neq", "prod", nil, false},
		{"env", "neq", "dev", nil, true},
		{"none", "neq", "dev", nil, true},
		{"env", "in", "", []string{"dev", "prod"}, true},
		{"env", "in", "", []string{"dev"}, false},
		{"none", "in", "", []string{"dev"}, false},
		{"none", "in", "", []string{"dev", ""}, true}, // a missing tag counts as ""
		{"empty", "in", "", []string{""}, true},
		{"env", "nin", "", []string{"dev"}, true},
		{"none", "nin", "", []string{"dev"}, true},
		{"none", "nin", "", []string{""}, false},
		{"env", "ex", "", nil, true},
		{"empty", "ex", "", nil, true},
		{"none", "ex", "", nil, false},
		{"", "ex", "", nil, false},
		{"env", "nex", "", nil, false},
		{"none", "nex", "", nil, true},
		{"", "nex", "", nil, true},
		{"text", "sw", "При", nil, true},
		{"text", "sw", "ри", nil, false},
		{"none", "sw", "x", nil, false},
		{"text", "ew", "мир", nil, true},
		{"text", "ew", "Привет, мир и ещё", nil, false},
		{"none", "ew", "x", nil, false},
		{"text", "ct", ", ", nil, true},
		{"text", "ct", "МИР", nil, false},
		{"none", "ct", "x", nil, false},
		{"price", "gt", "120.49", nil, true},
		{"price", "gt", "120.5", nil, false},
		{"price", "gt", "9", nil, true}, // as a number, not as a string
		{"price", "gte", "+0120.500", nil, true},
		{"price", "gte", "120.5000000000000000001", nil, false},
		{"price", "lt", "120.5000000000000000001", nil, true},
		{"price", "lte", "120.5", nil, true},
		{"price", "lte", "120.50000000000000000000", nil, false}, // 20 digits behind the point are no number
		{"count", "lt", "-41.9", nil, true},
		{"count", "gt", "-43", nil, true},
		{"count", "gte", "0", nil, false},
		{"big", "gt", "9" + strings.Repeat("9", 58), nil, true},
		{"env", "gt", "1", nil, false},
		{"env", "lte", "1", nil, false},
		{"empty", "lt", "1", nil, false},
		{"none", "lt", "1", nil, false},
		{"price", "gt", "cheap", nil, false}, // no error: it never matches
		{"price", "lte", "1e3", nil, false},
	} {
		t.Run(fmt.Sprintf("%s %s %s%v", c.key, c.cmp, c.val, c.vals), func(t *testing.T) {
			n := leaf(c.key, c.cmp, c.val, c.vals...)
			if got := Match(compile(t, n), tags); got != c.want {
				t.Errorf("got %v", got)
			}
			if got := Match(compile(t, join("not", n)), tags); got == c.want {
				t.Errorf("not: got %v", got)
			}
		})
	}
}

func TestJunctions(t *testing.T) {
	yes, no, other := leaf("env", "eq", "prod"), leaf("env", "eq", "dev"), leaf("none", "nex", "")
	for _, c := range []struct {
		n    *node
		want bool
	}{
		{nil, true},
		{join("and", yes, other), true},
		{join("and", yes, no), false},
		{join("and", no, yes), false},
		{join("or", no, no), false},
		{join("or", no, yes), true},
		{join("or", yes, no), true},
		{join("not", join("and", yes, no)), true},
		{join("not", join("or", no, yes)), false},
		{join("not", join("not", join("or", no, yes))), true},
		{join("and", join("or", no, yes), join("not", join("and", no, other)), other), true},
		{join("and", join("or", join("and", yes, no), join("not", no)), other), true},
	} {
		if got := Match(compile(t, c.n), tags); got != c.want {
			t.Errorf("%v: got %v", c.n, got)
		}
	}
}

func TestWrongFiltersAreRefusedByName(t *testing.T) {
	ok := leaf("a", "eq", "b")
	deep := ok
	for range DepthMax {
		deep = join("and", deep, ok)
	}
	for _, c := range []struct {
		name string
		n    *node
		want error
	}{
		{"unknown op", &node{Op: "xor", Nodes: []*node{ok, ok}}, ErrOp},
		{"op in another case", &node{Op: "AND", Nodes: []*node{ok}}, ErrOp},
		{"no node at all", join("and", ok, nil), ErrOp},
		{"and of nothing", join("and"), ErrNodes},
		{"or of nothing", join("or"), ErrNodes},
		{"not of nothing", join("not"), ErrNodes},
		{"not of two", join("not", ok, ok), ErrNodes},
		{"nothing", &node{}, ErrCompare},
		{"no cmp", &node{Key: "a", Val: "b"}, ErrCompare},
		{"unknown cmp", leaf("a", "like", "b"), ErrCompare},
		{"eq without val", leaf("a", "eq", ""), ErrValue},
		{"gt without val", leaf("a", "gt", ""), ErrValue},
		{"ex with val", leaf("a", "ex", "b"), ErrValue},
		{"in with val", leaf("a", "in", "b", "c"), ErrValue},
		{"eq with vals", leaf("a", "eq", "b", "c"), ErrValues},
		{"nex with vals", leaf("a", "nex", "", "c"), ErrValues},
		{"nin without vals", leaf("a", "nin", ""), ErrValues},
		{"eq without key", leaf("", "eq", "b"), ErrKey},
		{"in without key", leaf("", "in", "", "b"), ErrKey},
		{"deep inside", join("and", ok, join("or", ok, join("not", leaf("", "ct", "b")))), ErrKey},
		{"too deep", deep, ErrTooLarge},
		{"deepest", chain(NodesMax), nil},
		{"too deep by one", chain(NodesMax + 1), ErrTooLarge},
		{"too many nodes", join("or", slices.Repeat([]*node{ok}, NodesMax)...), ErrTooLarge},
		{"too many values", leaf("a", "in", "", slices.Repeat([]string{"b"}, ValuesMax+1)...), ErrTooLarge},
		{"too many bytes", leaf("a", "eq", strings.Repeat("b", ProgramBytesMax)), ErrTooLarge},
	} {
		program, err := Compile(c.n)
		if !errors.Is(err, c.want) || (program == nil) != (err != nil) {
			t.Errorf("%s: got %x, %v, want %v", c.name, program, err, c.want)
		}
	}
	for f := Failure(0); f <= ErrTooLarge+1; f++ {
		if f.Label() == "" || f.Error() == "" {
			t.Errorf("failure %d has no name", f)
		}
	}
}

// chain is a filter of so many nodes, each inside the one before.
func chain(nodes int) *node {
	n := leaf("a", "eq", "b")
	for range nodes - 1 {
		n = join("not", n)
	}
	return n
}

// TestEqualFiltersHaveEqualPrograms: the order of parts, repetitions, double negations and ways to write a number do not count.
func TestEqualFiltersHaveEqualPrograms(t *testing.T) {
	a, b := leaf("a", "eq", "1"), leaf("b", "in", "", "x", "y")
	for _, c := range []struct{ one, two *node }{
		{join("and", a, b), join("and", b, a)},
		{join("or", a, b, a), join("or", b, a)},
		{join("or", a, a), a},
		{join("and", join("or", b)), b},
		{leaf("b", "in", "", "y", "x", "y"), b},
		{join("not", join("not", a)), a},
		{join("not", a), leaf("a", "neq", "1")},
		{join("not", leaf("b", "nin", "", "y", "x")), b},
		{leaf("p", "gt", "+007.50"), leaf("p", "gt", "7.5")},
		{leaf("p", "lt", "-0.0"), leaf("p", "lt", "0")},
	} {
		if one, two := compile(t, c.one), compile(t, c.two); !bytes.Equal(one, two) {
			t.Errorf("%v: %x\n%v: %x", c.one, one, c.two, two)
		}
	}
	if bytes.Equal(compile(t, join("and", a, b)), compile(t, join("or", a, b))) {
		t.Error("and equals or")
	}
}

// naive is the filter without a compiler, from the facts.
func naive(n *node, tags map[string]string) bool {
	each := func(n *node) bool { return naive(n, tags) }
	switch n.Op {
	case "and":
		return !slices.ContainsFunc(n.Nodes, func(n *node) bool { return !each(n) })
	case "or":
		return slices.ContainsFunc(n.Nodes, each)
	case "not":
		return !each(n.Nodes[0])
	}
	value, exists := tags[n.Key]
	x, errX := udecimal.Parse(value)
	y, errY := udecimal.Parse(n.Val)
	order := x.Cmp(y)
	numbers := exists && errX == nil && errY == nil
	return map[string]bool{
		"eq": exists && value == n.Val, "neq": !exists || value != n.Val,
		"in": slices.Contains(n.Vals, value), "nin": !slices.Contains(n.Vals, value),
		"ex": exists, "nex": !exists,
		"sw": exists && strings.HasPrefix(value, n.Val), "ew": exists && strings.HasSuffix(value, n.Val),
		"ct": exists && strings.Contains(value, n.Val),
		"gt": numbers && order > 0, "gte": numbers && order >= 0, "lt": numbers && order < 0, "lte": numbers && order <= 0,
	}[n.Cmp]
}

var (
	cmps   = []string{"eq", "neq", "in", "nin", "ex", "nex", "sw", "ew", "ct", "gt", "gte", "lt", "lte"}
	values = []string{"1", "01", "1.0", "-1", "-0", "0", "10", "9.99", "1.5", "a", "ab", "b", "", "x1", "+3", ".5", "5.", "1e3", "1.23456789012345678901"}
	keys   = []string{"a", "b", "c", "d"}
)

func random(rng *rand.Rand, depth int) *node {
	pick := func(s []string) string { return s[rng.IntN(len(s))] }
	if depth > 0 && rng.IntN(3) > 0 {
		n := join(pick([]string{"and", "or", "not"}))
		for range 1 + rng.IntN(3) {
			if n.Op == "not" && len(n.Nodes) == 1 {
				break
			}
			n.Nodes = append(n.Nodes, random(rng, depth-1))
		}
		return n
	}
	n := leaf(pick(keys), pick(cmps), "")
	switch n.Cmp {
	case "in", "nin":
		for range 1 + rng.IntN(3) {
			n.Vals = append(n.Vals, pick(values))
		}
	case "ex", "nex":
	default:
		for n.Val == "" {
			n.Val = pick(values)
		}
	}
	return n
}

// allowed is a random filter within the limits.
func allowed(rng *rand.Rand) *node {
	for {
		n := random(rng, 4)
		if _, err := Compile(n); !errors.Is(err, ErrTooLarge) {
			return n
		}
	}
}

// FuzzFilters: programs answer as the tree does, and do not depend on the order of its parts.
func FuzzFilters(f *testing.F) {
	for seed := range uint64(500) {
		f.Add(seed, "1", "x1", "-7.25")
	}
	f.Fuzz(func(t *testing.T, seed uint64, v1, v2, v3 string) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := allowed(rng)
		program := compile(t, n)
		for range 10 {
			tags := map[string]string{}
			for _, key := range keys {
				if rng.IntN(3) > 0 {
					tags[key] = append(slices.Clone(values), v1, v2, v3)[rng.IntN(len(values)+3)]
				}
			}
			if got, want := Match(program, tags), naive(n, tags); got != want {
				t.Fatalf("%v on %v: got %v, want %v", n, tags, got, want)
			}
		}
		shuffle(rng, n)
		if again := compile(t, n); !bytes.Equal(program, again) {
			t.Fatalf("%v shuffled gives %x, not %x", n, again, program)
		}
	})
}

func shuffle(rng *rand.Rand, n *node) {
	rng.Shuffle(len(n.Nodes), func(i, j int) { n.Nodes[i], n.Nodes[j] = n.Nodes[j], n.Nodes[i] })
	rng.Shuffle(len(n.Vals), func(i, j int) { n.Vals[i], n.Vals[j] = n.Vals[j], n.Vals[i] })
	for _, child := range n.Nodes {
		shuffle(rng, child)
	}
}

// FuzzNumbers: numbers are read and compared as the stock server's library does.
func FuzzNumbers(f *testing.F) {
	for _, a := range append(values, "--1", "+-2", "1.2.3", "1_0", "١", strings.Repeat("9", 200), "-"+strings.Repeat("9", 60)+".1") {
		for _, b := range values {
			f.Add(a, b)
		}
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, okX := parseNumber(a)
		y, okY := parseNumber(b)
		wantX, errX := udecimal.Parse(a)
		wantY, errY := udecimal.Parse(b)
		if okX != (errX == nil) && !twoSigns(a) || okY != (errY == nil) && !twoSigns(b) {
			t.Fatalf("%q: %v, %v; %q: %v, %v", a, okX, errX, b, okY, errY)
		}
		if !okX || !okY {
			return
		}
		if got, want := x.compare(y), wantX.Cmp(wantY); got > 0 != (want > 0) || got < 0 != (want < 0) {
			t.Fatalf("%q and %q: got %d, want %d", a, b, got, want)
		}
	})
}

// twoSigns: longer than 41 characters the library takes "-+1…", and "--0…", for numbers; shorter ones it refuses.
func twoSigns(s string) bool { return len(s) > 41 && (s[1] == '+' || s[1] == '-') }

// FuzzMatch: any bytes may be run.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(compile(f, allowed(rand.New(rand.NewPCG(seed, 1)))))
	}
	f.Add([]byte{opAnd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add(bytes.Repeat([]byte{opAnd, 120}, 100))
	f.Fuzz(func(t *testing.T, program []byte) {
		kept := bytes.Clone(program)
		Match(program, tags)
		if !bytes.Equal(program, kept) {
			t.Fatal("the program was written to")
		}
	})
}

func TestNoProgramMatchesNothing(t *testing.T) {
	whole := compile(t, join("and", leaf("env", "eq", "prod"), join("not", leaf("price", "lt", "5")), leaf("env", "in", "", "a", "prod")))
	if !Match(whole, tags) {
		t.Fatal("the program does not match")
	}
	for n := 1; n < len(whole); n++ {
		if Match(whole[:n], tags) {
			t.Errorf("the first %d bytes match", n)
		}
	}
	if Match(append(bytes.Clone(whole), 0), tags) || Match([]byte{0x7f}, tags) || Match([]byte{0xff}, tags) {
		t.Error("what is no program matches")
	}
}

func typical(t testing.TB) []byte {
	return compile(t, join("and", leaf("env", "eq", "prod"), leaf("price", "gte", "100"), leaf("lang", "in", "", "de", "en", "fr"),
		join("not", leaf("text", "sw", "debug"))))
}

var typicalTags = map[string]string{"env": "prod", "price": "120.50", "lang": "en", "text": "hello"}

func TestCostFollowsTheLengthOfAProgram(t *testing.T) {
	long := leaf("a", "in", "", strings.Repeat("x", ProgramBytesMax/2))
	for _, c := range []struct{ program, least, most int }{
		{len(compile(t, nil)), 1, 1}, {len(typical(t)), 2, 4}, {len(compile(t, long)), 100, 200},
	} {
		if got := Cost(make([]byte, c.program)); got < c.least || got > c.most {
			t.Errorf("%d bytes cost %d, want %d to %d", c.program, got, c.least, c.most)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	program := typical(t)
	if n := testing.AllocsPerRun(100, func() {
		if !Match(program, typicalTags) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	program := typical(b)
	b.ReportMetric(float64(len(program)), "B/program")
	b.ReportAllocs()
	for b.Loop() {
		Match(program, typicalTags)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/match")
}

// BenchmarkCostlyMatch: what a client can make the server do for one publication.
func BenchmarkCostlyMatch(b *testing.B) {
	junction := func(cmp string) *node {
		n := join("or")
		for i := range NodesMax - 1 {
			n.Nodes = append(n.Nodes, leaf("k", cmp, fmt.Sprint(-1000-i)))
		}
		return n
	}
	in := leaf("k", "in", "")
	for i := range ValuesMax {
		in.Vals = append(in.Vals, fmt.Sprint(i))
	}
	for name, n := range map[string]*node{"lt": junction("lt"), "ct": junction("ct"), "in": in} {
		b.Run(name, func(b *testing.B) {
			program, tags := compile(b, n), map[string]string{"k": "12345678901234567890.25"}
			for b.Loop() {
				Match(program, tags)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*Cost(program)), "ns/cost")
		})
	}
}
