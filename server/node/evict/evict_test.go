package evict

import (
	"math/rand/v2"
	"slices"
	"testing"

	"shoal/loop"
	"shoal/server/channel"
)

// world is a loop with sessions.
type world struct {
	t      *testing.T
	slots  map[uint32]*session
	top    uint32
	works  []loop.Work
	looked int            // since the last slice
	ended  int            // since the last slice
	order  []uint32       // of those ended
	codes  map[uint32]int // by code
	gone   func(slot uint32) bool
	panics bool
}

type session struct {
	silent  loop.Tick
	backlog int
}

func newWorld(t *testing.T) *world {
	return &world{t: t, slots: map[uint32]*session{}, codes: map[uint32]int{}}
}

func (w *world) add(slot uint32, s session) {
	w.slots[slot] = &s
	w.top = max(w.top, slot+1)
}

func (w *world) Conns() int                 { return len(w.slots) }
func (w *world) ID(slot uint32) loop.ConnID { return loop.ConnID(slot) }
func (w *world) Work(x loop.Work)           { w.works = append(w.works, x) }
func (w *world) Slots() uint32              { return w.top }

func (w *world) Lookup(id loop.ConnID) (uint32, bool) {
	return id.Slot(), w.slots[id.Slot()] != nil && (w.gone == nil || !w.gone(id.Slot()))
}

func (w *world) Look(slot uint32) (loop.Tick, int, bool) {
	w.looked++
	s := w.slots[slot]
	if s == nil {
		return 0, 0, false
	}
	return s.silent, s.backlog, true
}

func (w *world) End(slot uint32, why *channel.Disconnect) {
	if w.panics {
		panic("a bug")
	}
	if w.ended++; w.slots[slot] == nil {
		w.t.Errorf("slot %d ends and is empty", slot)
	}
	delete(w.slots, slot)
	w.order = append(w.order, slot)
	w.codes[why.Code]++
}

// run does all the work there is.
func (w *world) run() {
	w.t.Helper()
	for len(w.works) > 0 {
		w.looked, w.ended = 0, 0
		if !w.works[0].Slice(nil) {
			w.works = w.works[1:]
		}
		if w.looked > lookSlice || w.ended > endSlice || w.looked > 0 && w.ended > 0 {
			w.t.Fatalf("%d looked at and %d ended in one slice", w.looked, w.ended)
		}
	}
}

// take returns who ended since the last time.
func (w *world) take() []uint32 {
	o := w.order
	w.order = nil
	return o
}

func TestTheLargestBacklogsGoFirstAndThenTheIdle(t *testing.T) {
	w, stats := newWorld(t), &Stats{}
	for slot := range uint32(100) {
		w.add(slot, session{silent: 5})
	}
	w.slots[10].backlog, w.slots[20].backlog, w.slots[30].backlog = 5000, 90_000, 20_000
	w.slots[40].backlog = 100 // worth nothing
	w.slots[50].silent, w.slots[51].silent, w.slots[52].silent = 300, 9000, 299
	s := New(w, w, stats)
	s.Begin(4, 300)
	w.run()
	if got := w.take(); !slices.Equal(got, []uint32{20, 30, 10, 50}) {
		t.Errorf("ended: %v", got)
	}
	s.Begin(4, 300)
	w.run()
	if got := w.take(); !slices.Equal(got, []uint32{51}) {
		t.Errorf("then: %v", got)
	}
	s.Begin(4, 0)
	w.run()
	if got := w.take(); len(got) != 0 {
		t.Errorf("nobody is idle by configuration, and %v ended", got)
	}
	counted := map[string]uint64{}
	stats.Each(func(why Reason, n uint64) { counted[why.String()] = n })
	if w.codes[3008] != 3 || w.codes[3013] != 2 || counted["backlog"] != 3 || counted["idle"] != 2 {
		t.Errorf("codes %v, counted %v", w.codes, counted)
	}
}

func TestNoMoreGoAtATimeThanTheShare(t *testing.T) {
	for _, c := range []struct{ conns, percent, most int }{
		{1, 1, 1}, {50, 1, 1}, {100, 1, 1}, {1000, 1, 10}, {30_000, 1, 300}, {30_000, 10, 1000}, {100, 0, 0}, {100, 100, 100},
	} {
		for _, kind := range []session{{backlog: 1 << 20}, {silent: 1 << 20}} {
			w := newWorld(t)
			for slot := range uint32(c.conns) {
				w.add(slot*3, kind) // with gaps
			}
			New(w, w, &Stats{}).Begin(c.percent, 10)
			w.run()
			if got := len(w.take()); got != c.most {
				t.Errorf("%d%% of %d conns: %d went, want %d", c.percent, c.conns, got, c.most)
			}
		}
	}
}

func TestOfManyBacklogsTheLargestAreFound(t *testing.T) {
	for seed := range uint64(20) {
		rng, w := rand.New(rand.NewPCG(seed, 3)), newWorld(t)
		var sizes []int
		for slot := range uint32(5000) {
			n := rng.IntN(1 << 20)
			sizes = append(sizes, n)
			w.add(slot, session{backlog: n})
		}
		slices.SortFunc(sizes, func(a, b int) int { return b - a })
		before := map[uint32]int{}
		for slot, s := range w.slots {
			before[slot] = s.backlog
		}
		New(w, w, &Stats{}).Begin(2, 0)
		w.run()
		for i, slot := range w.take() {
			if before[slot] != sizes[i] {
				t.Fatalf("seed %d: the %d. to go had %d bytes, want %d", seed, i+1, before[slot], sizes[i])
			}
		}
	}
}

func TestTheIdleGoInTurn(t *testing.T) {
	w := newWorld(t)
	for slot := range uint32(1000) {
		w.add(slot, session{silent: 100})
	}
	s := New(w, w, &Stats{})
	seen := map[uint32]bool{}
	for range 20 {
		s.Begin(1, 100)
		w.run()
		for _, slot := range w.take() {
			if seen[slot] {
				t.Fatalf("slot %d goes again before all others had their turn", slot)
			}
			seen[slot] = true
			w.add(slot, session{silent: 100}) // it came back, into the same slot, and is idle again
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d went, want 200", len(seen))
	}
}

func TestWhoWentMeanwhileIsNotCounted(t *testing.T) {
	w := newWorld(t)
	for slot := range uint32(1000) {
		w.add(slot, session{backlog: 1<<20 - int(slot)})
	}
	w.gone = func(slot uint32) bool { return slot < 5 }
	stats := &Stats{}
	New(w, w, stats).Begin(1, 0)
	w.run()
	if got := w.take(); !slices.Equal(got, []uint32{5, 6, 7, 8, 9}) {
		t.Errorf("ended: %v", got)
	}
	stats.Each(func(why Reason, n uint64) {
		if why == Backlog && n != 5 {
			t.Errorf("%d counted", n)
		}
	})
}

func TestWhatIsUnderWayIsNotBegunAgain(t *testing.T) {
	w := newWorld(t)
	for slot := range uint32(100) {
		w.add(slot, session{silent: 100})
	}
	s := New(w, w, &Stats{})
	s.Begin(1, 100)
	for s.Slice(nil) {
		s.Begin(50, 1)
	}
	if len(w.works) != 1 || len(w.take()) != 1 {
		t.Error("it began anew")
	}
	w.works = nil
	s.Begin(1, 100)
	if w.run(); len(w.take()) != 1 {
		t.Error("it cannot be begun again")
	}
}

func TestAPanicDoesNotEndItForever(t *testing.T) {
	w := newWorld(t)
	w.add(0, session{silent: 100})
	w.panics = true
	s := New(w, w, &Stats{})
	s.Begin(1, 100)
	func() {
		defer func() { _ = recover() }()
		w.run()
	}()
	w.works, w.panics = nil, false // the loop drops a work that panicked
	s.Begin(1, 100)
	if w.run(); len(w.take()) != 1 {
		t.Error("nobody is closed any more")
	}
}

func TestALoopWithoutConnsHasNothingToClose(t *testing.T) {
	w := newWorld(t)
	New(w, w, &Stats{}).Begin(1, 1)
	w.run()
}
