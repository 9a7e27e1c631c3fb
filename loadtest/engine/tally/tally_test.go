package tally

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// fill draws every number of a struct, and of those in it.
func fill(r *rand.Rand, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(r.Int64N(1000) + 1)
		case reflect.Struct:
			if _, is := f.Addr().Interface().(*Histogram); !is {
				fill(r, f)
			}
		default:
		}
	}
}

// drawn is a snapshot of anything.
func drawn(r *rand.Rand) (s Snapshot) {
	fill(r, reflect.ValueOf(&s).Elem())
	s.Members = 1 + r.IntN(3)
	for range r.IntN(4) {
		s.Note(fmt.Errorf("cause %d", r.IntN(3)))
	}
	return s
}

func read[T any](t *testing.T, from T) (to T) {
	t.Helper()
	b, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &to); err != nil {
		t.Fatalf("%v of %s", err, b)
	}
	return to
}

func TestSnapshotsAddUpWhateverTheirOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		a, b, c := drawn(r), drawn(r), drawn(r)
		var left, right Snapshot
		for _, s := range []Snapshot{a, b, c} {
			left.Add(read(t, s))
		}
		for _, s := range []Snapshot{{}, c, b, a} {
			right.Add(s)
		}
		if !reflect.DeepEqual(left, right) {
			t.Fatalf("%+v\n%+v", left, right)
		}
		sum := a.Told + b.Told + c.Told
		if left.Told != sum || left.Dialed != a.Dialed+b.Dialed+c.Dialed || left.Whole != min(a.Whole, b.Whole, c.Whole) ||
			left.Causes["cause 1"] != a.Causes["cause 1"]+b.Causes["cause 1"]+c.Causes["cause 1"] {
			t.Fatalf("%+v of\n%+v\n%+v\n%+v", left, a, b, c)
		}
	}
}

func TestAddingChangesNothingElse(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	a, b := drawn(r), drawn(r)
	a.Note(errors.New("cause 1"))
	b.Note(errors.New("cause 1"))
	before := read(t, b)
	var sum Snapshot
	sum.Add(b)
	sum.Add(a)
	if !reflect.DeepEqual(b, before) {
		t.Errorf("%+v became %+v", before, b)
	}
}

func TestCausesAreBounded(t *testing.T) {
	var c Counters
	for i := range 1000 {
		c.Note(fmt.Errorf("cause %d", i))
	}
	c.Note(errors.New("cause 0"))
	if len(c.Causes) != CausesMax || c.Causes["cause 0"] != 2 {
		t.Errorf("%d causes, %d of the first", len(c.Causes), c.Causes["cause 0"])
	}
}

func TestACensusOfMembersIsThatOfAll(t *testing.T) {
	one := func(got, others int, digest uint64) Census {
		return Census{Ready: 1, GotMin: got, GotMax: got, OthersMin: others, OthersMax: others, Alike: true, Digest: digest}
	}
	for name, c := range map[string]struct {
		parts []Census
		want  Census
	}{
		"nobody":       {nil, Census{}},
		"nobody there": {[]Census{{Alike: true, Lost: 2, Short: 1}, {Alike: true}}, Census{Alike: true, Lost: 2, Short: 1}},
		"alike":        {[]Census{one(3, 5, 9), {Alike: true}, one(1, 5, 9)}, Census{Ready: 2, GotMin: 1, GotMax: 3, OthersMin: 5, OthersMax: 5, Alike: true, Digest: 9}},
		"another":      {[]Census{one(3, 5, 9), one(3, 5, 8)}, Census{Ready: 2, GotMin: 3, GotMax: 3, OthersMin: 5, OthersMax: 5, Digest: 9}},
		"another late": {[]Census{{Alike: true, Lost: 1}, one(3, 4, 9), one(3, 4, 9), one(3, 5, 8), one(3, 4, 9)}, Census{Ready: 4, Lost: 1, GotMin: 3, GotMax: 3, OthersMin: 4, OthersMax: 5, Digest: 9}},
	} {
		var sum Census
		for _, p := range c.parts {
			sum.Add(read(t, p))
		}
		if sum != c.want {
			t.Errorf("%s: %+v, want %+v", name, sum, c.want)
		}
	}
}

// values are drawn over many orders of size.
func values(r *rand.Rand, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = r.Int64N(1 << (10 + r.IntN(32)))
	}
	return out
}

func TestHistogramsSurviveJSONAndAddition(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var whole, sum Histogram
	for range 5 {
		var part Histogram
		for _, v := range values(r, r.IntN(300)) {
			whole.Record(v)
			part.Record(v)
		}
		sum.Add(read(t, part))
	}
	for _, p := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
		if a, b := whole.ValueAtPercentile(p), sum.ValueAtPercentile(p); a != b {
			t.Errorf("p%g is %d, added up %d", p, a, b)
		}
	}
	if whole.TotalCount() != sum.TotalCount() || whole.Min() != sum.Min() || whole.Max() != sum.Max() || whole.Mean() != sum.Mean() {
		t.Errorf("%d values from %d to %d, added up %d from %d to %d", whole.TotalCount(), whole.Min(), whole.Max(), sum.TotalCount(), sum.Min(), sum.Max())
	}
	if n := len(whole.Brackets()); n < 10 {
		t.Errorf("%d brackets", n)
	}
	before := whole.TotalCount()
	c := whole.Clone()
	c.Record(1)
	if whole.TotalCount() != before {
		t.Error("a clone shares values")
	}
}

func TestAnEmptyHistogramHoldsNothing(t *testing.T) {
	var h, o Histogram
	h.Add(o)
	if h.h != nil || h.TotalCount()+h.Min()+h.Max()+h.ValueAtPercentile(99) != 0 || h.Mean() != 0 || h.Brackets() != nil {
		t.Errorf("%+v", h)
	}
	if got := read(t, h); got.h != nil {
		t.Error("it was made by reading")
	}
	h.Record(-5)
	h.Record(1 << 62)
	if h.TotalCount() != 2 || h.Max() < histogramMax {
		t.Errorf("values out of range: %d, up to %d", h.TotalCount(), h.Max())
	}
}

func TestTextsThatAreNoHistogramAreRefused(t *testing.T) {
	for _, text := range []string{`1`, `"x"`, `"HISTFAAAAA=="`, `{}`} {
		var h Histogram
		if err := json.Unmarshal([]byte(text), &h); err == nil {
			t.Errorf("%s is read as %d values", text, h.TotalCount())
		}
	}
}

func TestLatencyIsToldByTheSecond(t *testing.T) {
	var w Windows
	const second, ms = int64(time.Second), int64(time.Millisecond)
	for i := range int64(100) {
		w.Record(5*second+i*ms, (i+1)*ms)
	}
	w.Record(8*second, 7*ms)
	all := w.All()
	if len(all) != 2 || all[0].From != 5*second || all[0].Count != 100 || all[0].P99/ms != 99 || all[1].From != 8*second || all[1].P50/ms != 7 {
		t.Errorf("%+v", all)
	}
	w.Record(8*second+ms, 9*ms)
	if again := w.All(); len(again) != 2 || again[1].Count != 2 || all[1].Count != 1 {
		t.Errorf("looked at again: %+v, before %+v", again, all)
	}
}

func TestWindowsOfMembersAreThoseOfAll(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var whole Windows
	var parts [3]Windows
	var sum Results
	for i := range 9000 {
		now, v := int64(i)*int64(time.Millisecond), r.Int64N(int64(40*time.Millisecond))
		whole.Record(now, v)
		parts[r.IntN(3)].Record(now, v)
	}
	for i := range parts {
		sum.Add(read(t, Results{Windows: parts[i].All()}))
	}
	for i, want := range whole.All() {
		got := sum.Windows[i]
		near := func(a, b int64) bool { return a >= b*88/100 && a <= b*112/100 }
		if got.From != want.From || got.Count != want.Count || got.Max != want.Max || !near(got.P50, want.P50) || !near(got.P99, want.P99) {
			t.Errorf("window %d: %+v, want %+v", i, got, want)
		}
		if len(got.Shape) > 300 {
			t.Errorf("a shape takes %d B", len(got.Shape))
		}
	}
	if len(sum.Windows) != len(whole.All()) {
		t.Errorf("%d windows, want %d", len(sum.Windows), len(whole.All()))
	}
}

func TestAWindowOfTwoMembersHasTheSlowOnesOfEither(t *testing.T) {
	window := func(v time.Duration) []Window {
		var w Windows
		for range 100 {
			w.Record(1, int64(v))
		}
		return w.All()
	}
	fast, slow := Results{Windows: window(time.Millisecond)}, Results{Windows: window(50 * time.Millisecond)}
	for _, pair := range [][2]Results{{fast, slow}, {slow, fast}} {
		var sum Results
		sum.Add(pair[0])
		sum.Add(pair[1])
		if w := sum.Windows[0]; w.Count != 200 || time.Duration(w.P50) > 2*time.Millisecond || time.Duration(w.P99) < 45*time.Millisecond {
			t.Errorf("%+v", w)
		}
	}
}

func FuzzShapesThatCannotBeAreLeftOut(f *testing.F) {
	var w Windows
	w.Record(1, 5)
	f.Add(w.All()[0].Shape, []byte{1})
	f.Add(bytes.Repeat([]byte{255}, 30), []byte{0, 0, 200, 200})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := addWindows([]Window{{From: 1, Count: 1, Shape: a}}, []Window{{From: 1, Count: 2, Shape: b}})
		if len(got) != 1 || got[0].Count != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// The ledgers of a member that publishes and of one that only receives, added up, against a plain list.
func TestLedgersOfMembersHaveTheSameNumbers(t *testing.T) {
	const channels = 3
	var maker, other Ledger
	before := []uint32{4, 0, 9}
	for round := range 2 {
		maker.Rule(before)
		other.Rule(before)
		for k := range 7 {
			c, seq := uint32(k%channels), before[k%channels]+uint32(k/channels)+1
			due := int64(1000*round + 10*k + 1)
			maker.Published(c, seq, due)
			other.Received(c, seq, due, due+5)
			maker.Received(c, seq, due, due+3)
			maker.Answered(c, seq, due+2)
		}
		before = []uint32{before[0] + 3, before[1] + 2, before[2] + 2}
	}
	all := AddPublications(maker.Lines(), other.Lines())
	if len(all) != 14 {
		t.Fatalf("%d publications, want 14: %+v", len(all), all)
	}
	for i, p := range all {
		due := int64(1000*(i/7) + 10*(i%7) + 1)
		if want := (Publication{Sequence: 14 + i, Due: due, Answered: due + 2, First: due + 3, Last: due + 5, Receipts: 2}); p != want {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	if maker.Receipts(0, 1) != 0 || maker.line(0, PublicationsMax+100) != nil || maker.line(7, 1) != nil {
		t.Error("what is not listed has a line")
	}
}

func TestWhatAllReceivedIsWhole(t *testing.T) {
	var s Sequel
	s.Received(0, 7, 100, 2)
	s.Received(1, 0, 101, 2)
	if s.Whole() != 0 {
		t.Errorf("%d whole", s.Whole())
	}
	s.Received(0, 7, 105, 2)
	s.Received(1, 0, 109, 2)
	if want := []Publication{{1, 7, 0, 100, 105, 2}, {2, 0, 0, 101, 109, 2}}; s.Whole() != 2 || !slices.Equal(s.Lines(), want) {
		t.Errorf("%d whole of %+v", s.Whole(), s.Lines())
	}
}

func TestResultsSurviveJSONAndAddition(t *testing.T) {
	one := Results{Stalls: 1, Codes: map[string]int{"a": 2}, Receivers: []int{3, 4}, Outcome: Outcome{Whole: 5}, Own: []Publication{{Sequence: 1, First: 5, Last: 9, Receipts: 1}}, Others: []Publication{{Sequence: 2, Receipts: 1}}}
	for i, h := range one.histograms() {
		h.Record(int64(i+1) * int64(time.Millisecond))
	}
	var sum Results
	sum.Add(read(t, one))
	sum.Add(read(t, one))
	if least, most := sum.ReceiversRange(); least != 6 || most != 8 || sum.Stalls != 1 || sum.Codes["a"] != 4 || sum.Outcome.Whole != 10 || sum.Own[0].Receipts != 2 || sum.Others[0].Receipts != 2 {
		t.Errorf("%+v", sum)
	}
	for i, h := range sum.histograms() {
		if h.TotalCount() != 2 || h.Max()/int64(time.Millisecond) != int64(i+1) {
			t.Errorf("histogram %d has %d values up to %d", i, h.TotalCount(), h.Max())
		}
	}
	if n := reflect.TypeFor[Results]().NumField(); n-len(one.histograms()) != 7 {
		t.Errorf("%d fields of which %d are added as histograms: is one forgotten?", n, len(one.histograms()))
	}
	c := sum.Clone()
	c.Codes["a"]++
	c.Own[0].Receipts++
	c.Receivers[0]++
	c.Setup.Record(1)
	if sum.Codes["a"] != 4 || sum.Own[0].Receipts != 2 || sum.Receivers[0] != 6 || sum.Setup.TotalCount() != 2 {
		t.Error("a clone shares something")
	}
	if least, most := (&Results{}).ReceiversRange(); least+most != 0 {
		t.Errorf("no channel has %d to %d receivers", least, most)
	}
}
