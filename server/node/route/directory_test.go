package route

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/hub"
)

// counting is a broker that notes what the node is subscribed to.
type counting struct {
	broker.Broker
	mu   sync.Mutex
	subs map[string]int
	fail error
}

func (b *counting) Subscribe(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.subs[strings.Clone(name)]++
	}
	return b.fail
}

func (b *counting) Unsubscribe(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs[name]--
	if b.subs[name] == 0 {
		delete(b.subs, name)
	}
	return b.fail
}

func (b *counting) Run(context.Context, broker.Deliverer) error { return nil }

func TestDirectoryAgainstAModel(t *testing.T) {
	b := &counting{subs: map[string]int{}}
	d := New(b, nil)
	model := map[string]Audience{}
	rnd := rand.New(rand.NewPCG(1, 1))
	for step := range 20_000 {
		name := fmt.Sprintf("channel-%d", rnd.IntN(300))
		at, form, delta := rnd.IntN(LoopsMax), hub.Form(rnd.IntN(hub.FormsMax)), rnd.IntN(4) == 0
		a := model[name]
		if rnd.IntN(2) == 0 {
			occupied, err := d.Join([]byte(name), at, Reader{Form: form, Delta: delta})
			if err != nil {
				t.Fatal(err)
			}
			if occupied != (a.Loops == 0) {
				t.Fatalf("step %d: occupied %t, want %t", step, occupied, a.Loops == 0)
			}
			a.Loops |= 1 << at
			a.Forms |= 1 << form
			if delta {
				a.Deltas |= 1 << form
			}
		} else {
			vacated, err := d.Leave([]byte(name), at)
			if err != nil {
				t.Fatal(err)
			}
			a.Loops &^= 1 << at
			if last := a.Loops == 0 && model[name].Loops != 0; vacated != last {
				t.Fatalf("step %d: vacated %t, want %t", step, vacated, last)
			}
			if a.Loops == 0 {
				a = Audience{}
			}
		}
		if model[name] = a; a.Loops == 0 {
			delete(model, name)
		}
		if got := d.Lookup([]byte(name)); got != a {
			t.Fatalf("step %d: %s has audience %v, want %v", step, name, got, a)
		}
	}
	if d.Channels() != len(model) || len(b.subs) != len(model) {
		t.Errorf("%d channels, %d at the broker, want %d", d.Channels(), len(b.subs), len(model))
	}
	for name, n := range b.subs {
		if n != 1 {
			t.Errorf("the broker heard %d subscriptions of %s", n, name)
		}
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
	for name := range model {
		for l := range LoopsMax {
			if _, err := d.Leave([]byte(name), l); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d.Channels() != 0 || len(b.subs) != 0 {
		t.Errorf("left: %d channels, %v at the broker", d.Channels(), b.subs)
	}
}

func TestDirectoryKeepsNothingTheBrokerRefused(t *testing.T) {
	b := &counting{subs: map[string]int{}, fail: errors.New("no")}
	d := New(b, nil)
	if _, err := d.Join([]byte("a"), 0, Reader{}); !errors.Is(err, b.fail) {
		t.Errorf("got %v", err)
	}
	if a := d.Lookup([]byte("a")); a.Loops != 0 || d.Channels() != 0 {
		t.Error("the channel is kept")
	}
	b.fail = nil
	if _, err := d.Join([]byte("a"), 0, Reader{}); err != nil {
		t.Error(err)
	}
	b.fail = errors.New("no")
	if _, err := d.Leave([]byte("a"), 0); err == nil || d.Channels() != 0 {
		t.Errorf("a failed departure: %v, %d channels", err, d.Channels())
	}
}

func TestDirectoryFromManyGoroutines(t *testing.T) {
	b := &counting{subs: map[string]int{}}
	d := New(b, nil)
	var wg sync.WaitGroup
	for l := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				name := fmt.Appendf(nil, "c%d", i%20)
				if _, err := d.Join(name, l, Reader{Form: hub.Form(i % 4)}); err != nil {
					t.Error(err)
				}
				if a := d.Lookup(name); a.Loops&(1<<l) == 0 || a.Forms>>(i%4)&1 == 0 {
					t.Error("a loop that joined is not found")
				}
				if _, err := d.Leave(name, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if d.Channels() != 0 || len(b.subs) != 0 {
		t.Errorf("left: %d channels, %v at the broker", d.Channels(), b.subs)
	}
}

func TestDirectoryLookupDoesNotAllocate(t *testing.T) {
	d := New(&counting{subs: map[string]int{}}, nil)
	name := []byte("news")
	if _, err := d.Join(name, 1, Reader{}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { d.Lookup(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDirectoryGivesMemoryBack(t *testing.T) {
	d := New(&counting{subs: map[string]int{}}, nil)
	held := func() (n int) {
		for i := range d.shards {
			n += d.shards[i].names.HeldBytes() + cap(d.shards[i].audiences)*16
		}
		return n
	}
	name := func(i int) []byte { return fmt.Appendf(nil, "a channel of its own %d", i) }
	const n, stay = 50_000, 10
	for i := range n {
		if _, err := d.Join(name(i), 0, Reader{}); err != nil {
			t.Fatal(err)
		}
	}
	full := held()
	for i := range n - stay {
		if _, err := d.Leave(name(n-1-i), 0); err != nil {
			t.Fatal(err)
		}
	}
	d.Trim()
	if got := held(); got > full/20 {
		t.Errorf("%d channels hold %d bytes, %d held %d", stay, got, n, full)
	}
	for i := range n {
		if a := d.Lookup(name(i)); (a.Loops != 0) != (i < stay) {
			t.Fatalf("channel %d: loops %b", i, a.Loops)
		}
	}
	_, err := d.Join(name(n), 1, Reader{Form: hub.Form(0)})
	if a := d.Lookup(name(n)); err != nil || a.Loops != 2 {
		t.Errorf("joining after a trim: %v, loops %b", err, a.Loops)
	}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}

// stars is a world in which every name with a star segment is a wildcard of one
// namespace, "news:".
type stars struct{}

func (stars) Wildcard(name string) bool { return channel.Wildcard(name[len(stars{}.Head(name)):]) }

func (stars) Head(name string) string {
	if strings.HasPrefix(name, "news:") {
		return "news:"
	}
	return ""
}

// fitting are the patterns a name may fit, sorted.
func fitting(d *Directory, name string) []string {
	out := d.AppendPatterns(nil, name)
	slices.Sort(out)
	return out
}

func TestDirectoryFindsTheWildcardsThatHaveMembers(t *testing.T) {
	d := New(&counting{subs: map[string]int{}}, stars{})
	join := func(name string, loop int) {
		if _, err := d.Join([]byte(name), loop, Reader{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"news:*", "art.*", "a*b", "news:x", "news:*.a", "news:eu.**", "news:*.*", "**"} {
		join(name, 0)
	}
	join("news:*", 1)
	for name, want := range map[string][]string{
		"news:x": {"news:*"}, "news:eu.a": {"news:*.*", "news:*.a", "news:eu.**"}, "news:eu.a.b": {"news:eu.**"},
		"news:": nil, "news:eu.": nil, "art.x": {"**", "art.*"}, "art:x": {"**"}, "a*b": {"**"}, "news:eu/a": nil,
	} {
		if got := fitting(d, name); !slices.Equal(got, want) {
			t.Errorf("%s may fit %v, want %v", name, got, want)
		}
	}
	for _, loop := range []int{0, 1} {
		if _, err := d.Leave([]byte("news:*"), loop); err != nil {
			t.Fatal(err)
		}
		if got := fitting(d, "news:x"); len(got) != 1-loop {
			t.Errorf("without loop %d: %v", loop, got)
		}
	}
}

// TestPatternsAgainstEachOther: the tree gives exactly what comparing with every pattern
// gives.
func TestPatternsAgainstEachOther(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	word := func(words ...string) string { return words[r.IntN(len(words))] }
	name := func(stars bool) string {
		var b strings.Builder
		for n := r.IntN(4); ; n-- {
			if stars {
				b.WriteString(word("a", "b", "*", "", "a*"))
			} else {
				b.WriteString(word("a", "b", "", "*", "a*"))
			}
			if n <= 0 {
				break
			}
			b.WriteString(word(".", "/", ":"))
		}
		if stars && r.IntN(4) == 0 {
			b.WriteString(word(".**", ":**"))
		}
		return b.String()
	}
	p := patterns{head: stars{}.Head}
	model := map[string]bool{}
	for step := range 20_000 {
		if pattern := name(true); channel.Wildcard(pattern) {
			if r.IntN(2) == 0 {
				p.add(pattern)
				model[pattern] = true
			} else {
				p.remove(pattern)
				delete(model, pattern)
			}
		}
		if p.count != len(model) || len(p.all()) != len(model) {
			t.Fatalf("step %d: %d patterns, %d listed, want %d", step, p.count, len(p.all()), len(model))
		}
		of := name(false)
		got := p.appendFitting(nil, of)
		slices.Sort(got)
		var want []string
		for pattern := range model {
			if channel.Match(pattern, of) {
				want = append(want, pattern)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: %q may fit %q, want %q", step, of, got, want)
		}
	}
	for pattern := range model {
		p.remove(pattern)
	}
	if p.count != 0 || len(p.heads) != 0 {
		t.Errorf("left: %d patterns, %d heads", p.count, len(p.heads))
	}
}

func TestManyPatternsCostTheOthersNothing(t *testing.T) {
	p := patterns{head: stars{}.Head}
	for i := range 20_000 {
		p.add(fmt.Sprintf("x%d.%d.*", i/128, i%128))
	}
	if n := testing.AllocsPerRun(100, func() { p.appendFitting(nil, "nobody.is.here") }); n > 1 {
		t.Errorf("%v allocations for a name that fits nothing", n)
	}
	if got := p.appendFitting(nil, "x3.5.z"); !slices.Equal(got, []string{"x3.5.*"}) {
		t.Errorf("found %v", got)
	}
}

func TestPatternsFromManyGoroutines(t *testing.T) {
	d := New(&counting{subs: map[string]int{}}, stars{})
	var wg sync.WaitGroup
	for l := range 4 {
		wg.Go(func() {
			for i := range 500 {
				name := fmt.Appendf(nil, "n%d:*", (i+l)%50)
				if _, err := d.Join(name, l, Reader{}); err != nil {
					t.Error(err)
				}
				if !slices.Contains(d.AppendPatterns(nil, fmt.Sprintf("n%d:x", (i+l)%50)), string(name)) {
					t.Error("a wildcard with a member is not found")
				}
				if _, err := d.Leave(name, l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := d.patterns.all(); len(got) != 0 {
		t.Fatalf("left: %v", got)
	}
}
