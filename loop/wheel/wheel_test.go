package wheel

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
)

// slots is the plainest Store.
type slots []Links

func (s slots) Links(slot uint32) *Links { return &s[slot] }

func newWheel(n int, now Tick) (*Wheel, slots) {
	s := make(slots, n)
	return New(now, s), s
}

func mustBeValid(t *testing.T, w *Wheel) {
	t.Helper()
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
}

// firedAt advances to a tick and returns the slots fired, sorted, and the tick of the wheel at each.
func firedAt(w *Wheel, to Tick) (fired []uint32, at []Tick) {
	w.Advance(to, func(slot uint32) { fired, at = append(fired, slot), append(at, w.Now()) })
	return fired, at
}

func TestTimerFiresAtItsTickAndNotBefore(t *testing.T) {
	// Every boundary between levels and between buckets, plus or minus one.
	var distances []uint32
	for shift := range 31 {
		for _, d := range []int64{-2, -1, 0, 1, 2} {
			distances = append(distances, uint32(max(1, int64(1)<<shift+d)))
		}
	}
	for level := range 4 {
		reach := int64(levelSize-1) << (level * stepBits)
		distances = append(distances, uint32(reach-1), uint32(reach), uint32(reach+1))
	}
	distances = append(distances, 1<<31-1)
	for _, start := range []Tick{0, 1, 63, 64, 511, 4095, 1<<18 - 1, 1<<24 - 1, 1<<31 - 5, 1<<32 - 1, 1<<32 - 300} {
		for _, d := range distances {
			w, _ := newWheel(1, start)
			deadline := start + Tick(d)
			w.Set(0, deadline)
			mustBeValid(t, w)
			if fired, _ := firedAt(w, deadline-1); len(fired) != 0 {
				t.Fatalf("start %d, distance %d: fired before its tick", start, d)
			}
			mustBeValid(t, w)
			fired, at := firedAt(w, deadline)
			if !slices.Equal(fired, []uint32{0}) || at[0] != deadline || w.Len() != 0 {
				t.Fatalf("start %d, distance %d: fired %v at %v, Len %d, want once at %d", start, d, fired, at, w.Len(), deadline)
			}
			mustBeValid(t, w)
		}
	}
}

func TestOneLongJumpFiresEverythingInOrder(t *testing.T) {
	const n = 5000
	rng := rand.New(rand.NewPCG(1, 1))
	w, s := newWheel(n, 1<<32-1000)
	start := w.Now()
	for slot := range uint32(n) {
		w.Set(slot, start+1+Tick(rng.Uint32()>>(1+rng.UintN(31))))
	}
	mustBeValid(t, w)
	deadlines := slices.Clone(s)
	last, count := start, 0
	w.Advance(start+1<<31-1, func(slot uint32) {
		if w.Now() != deadlines[slot].deadline || w.Now().Before(last) {
			t.Fatalf("slot %d fired at %d, deadline %d, previous %d", slot, w.Now(), deadlines[slot].deadline, last)
		}
		last = w.Now()
		count++
	})
	if count != n || w.Len() != 0 {
		t.Fatalf("fired %d of %d, Len %d", count, n, w.Len())
	}
	mustBeValid(t, w)
}

func TestDeadlineNotAheadFiresAtTheNextTick(t *testing.T) {
	for _, deadline := range []Tick{100, 99, 0, 1<<32 + 100 - 1<<30} {
		w, _ := newWheel(1, 100)
		w.Set(0, deadline)
		if fired, at := firedAt(w, 101); len(fired) != 1 || at[0] != 101 {
			t.Errorf("deadline %d at now 100: fired %v at %v, want at 101", deadline, fired, at)
		}
	}
}

func TestAdvanceIntoThePastDoesNothing(t *testing.T) {
	w, _ := newWheel(1, 100)
	w.Set(0, 105)
	for _, to := range []Tick{100, 99, 0} {
		if fired, _ := firedAt(w, to); len(fired) != 0 || w.Now() != 100 {
			t.Errorf("Advance(%d) fired %v and moved to %d", to, fired, w.Now())
		}
	}
	mustBeValid(t, w)
}

func TestSetMovesAnArmedTimer(t *testing.T) {
	w, s := newWheel(3, 0)
	for slot := range uint32(3) {
		w.Set(slot, 1000)
	}
	w.Set(1, 70000) // away from the middle of a bucket
	w.Set(2, 1001)  // first of its bucket, same bucket
	w.Set(0, 3)     // away from the end
	if w.Len() != 3 || s[2].Deadline() != 1001 || !s[1].Armed() {
		t.Fatalf("Len %d, deadline %d", w.Len(), s[2].Deadline())
	}
	mustBeValid(t, w)
	fired, at := firedAt(w, 100000)
	if !slices.Equal(fired, []uint32{0, 2, 1}) || !slices.Equal(at, []Tick{3, 1001, 70000}) {
		t.Errorf("fired %v at %v, want [0 2 1] at [3 1001 70000]", fired, at)
	}
}

func TestCancelSaysWhetherItWasArmed(t *testing.T) {
	w, s := newWheel(1, 0)
	if w.Cancel(0) {
		t.Error("Cancel of a timer never armed said true")
	}
	w.Set(0, 9)
	if !w.Cancel(0) || w.Cancel(0) || s[0].Armed() || w.Len() != 0 {
		t.Error("Cancel of an armed timer must say true once")
	}
	if fired, _ := firedAt(w, 2000); len(fired) != 0 {
		t.Errorf("cancelled timer fired: %v", fired)
	}
	mustBeValid(t, w)
}

func TestFireMayCancelItsNeighboursInTheSameTick(t *testing.T) {
	const n = 6
	for victims := range uint32(1 << n) {
		w, _ := newWheel(n, 60)
		for slot := range uint32(n) {
			w.Set(slot, 1600) // comes through a cascade
		}
		first := true
		var fired uint32
		w.Advance(1700, func(slot uint32) {
			if fired |= 1 << slot; first {
				first = false
				victims &^= 1 << slot
				for v := range uint32(n) {
					if victims>>v&1 == 1 && !w.Cancel(v) {
						t.Fatalf("slot %d was not armed", v)
					}
				}
			}
			mustBeValid(t, w)
		})
		if want := uint32(1<<n-1) &^ victims; fired != want {
			t.Fatalf("victims %06b: fired %06b, want %06b", victims, fired, want)
		}
	}
}

func TestFireMayArmItselfAndOthersAgain(t *testing.T) {
	w, _ := newWheel(2, 0)
	w.Set(0, 1)
	var at []Tick
	w.Advance(50_000, func(slot uint32) {
		if slot == 1 {
			w.Set(0, w.Now()) // not ahead: next tick, not this one
			return
		}
		at = append(at, w.Now())
		w.Set(1, w.Now()+Tick(len(at)*len(at))*511)
		mustBeValid(t, w)
	})
	want := []Tick{1}
	for k := Tick(1); ; k++ {
		next := want[len(want)-1] + k*k*511 + 1
		if next > 50_000 {
			break
		}
		want = append(want, next)
	}
	if !slices.Equal(at, want) {
		t.Errorf("slot 0 fired at %v, want %v", at, want)
	}
	if w.Len() != 1 {
		t.Errorf("Len %d, want 1", w.Len())
	}
}

func TestFireMayMoveATimerOfTheSameTick(t *testing.T) {
	w, _ := newWheel(2, 0)
	w.Set(0, 5)
	w.Set(1, 5)
	var order []uint32
	w.Advance(10, func(slot uint32) {
		if order = append(order, slot); len(order) == 1 {
			w.Set(1-slot, 7)
		}
	})
	if len(order) != 2 || order[0] == order[1] || w.Len() != 0 {
		t.Errorf("fired %v, want both once", order)
	}
}

func TestPanicInFireLosesNoTimer(t *testing.T) {
	w, _ := newWheel(3, 0)
	for slot := range uint32(3) {
		w.Set(slot, 5)
	}
	func() {
		defer func() { _ = recover() }()
		w.Advance(10, func(uint32) { panic("handler") })
	}()
	mustBeValid(t, w)
	if fired, at := firedAt(w, w.Now()+1); len(fired) != 2 || at[0] != 5 {
		t.Errorf("after a panic: fired %v at %v, want the other two at 5", fired, at)
	}
}

func TestAdvanceInsideFireIsSound(t *testing.T) {
	w, _ := newWheel(3, 0)
	w.Set(0, 5)
	w.Set(1, 6)
	w.Set(2, 20)
	var at []Tick
	var fire func(slot uint32)
	fire = func(slot uint32) {
		at = append(at, w.Now())
		if slot == 0 {
			w.Advance(15, fire)
			w.Set(0, 5+levelSize) // the bucket the outer Advance is at
		}
	}
	w.Advance(10, fire)
	if !slices.Equal(at, []Tick{5, 6}) || w.Now() != 15 || w.Len() != 2 {
		t.Errorf("fired at %v, now %d", at, w.Now())
	}
	mustBeValid(t, w)
}

func TestNextIsNeverLateAndEndsAtTheTimer(t *testing.T) {
	w, _ := newWheel(1, 77)
	if _, ok := w.Next(); ok {
		t.Error("Next of an empty wheel said ok")
	}
	const deadline = 77 + 1_000_000_000
	w.Set(0, deadline)
	stops, fired := 0, false
	for ; !fired; stops++ {
		next, ok := w.Next()
		if !ok || !w.Now().Before(next) || Tick(deadline).Before(next) {
			t.Fatalf("Next %d, %t at %d", next, ok, w.Now())
		}
		w.Advance(next, func(uint32) { fired = true })
		mustBeValid(t, w)
	}
	if w.Now() != deadline || stops > levels {
		t.Errorf("fired at %d after %d stops, want %d and at most %d", w.Now(), stops, deadline, levels)
	}
}

func TestSlotOutOfRangePanics(t *testing.T) {
	w, _ := newWheel(1, 0)
	defer func() {
		if recover() == nil {
			t.Error("Set(SlotMax) did not panic")
		}
	}()
	w.Set(SlotMax, 1)
}

// due and byDeadline are the naive model: a heap of (deadline, slot), searched linearly for cancel.
type due struct {
	deadline Tick
	slot     uint32
}
type byDeadline struct {
	now  Tick
	list []due
}

func (h *byDeadline) Len() int           { return len(h.list) }
func (h *byDeadline) Less(i, j int) bool { return h.list[i].deadline-h.now < h.list[j].deadline-h.now }
func (h *byDeadline) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *byDeadline) Push(x any)         { h.list = append(h.list, x.(due)) }
func (h *byDeadline) Pop() any {
	x := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return x
}
func (h *byDeadline) cancel(slot uint32) bool {
	for i := range h.list {
		if h.list[i].slot == slot {
			heap.Remove(h, i)
			return true
		}
	}
	return false
}
func (h *byDeadline) set(slot uint32, deadline Tick) {
	h.cancel(slot)
	if int32(deadline-h.now) <= 0 {
		deadline = h.now + 1
	}
	heap.Push(h, due{deadline, slot})
}

// distance is biased to the edges of levels and buckets.
func distance(rng *rand.Rand) Tick {
	switch rng.UintN(4) {
	case 0:
		return Tick(rng.UintN(4))
	case 1:
		return Tick(levelSize-2+rng.UintN(4)) << (stepBits * rng.UintN(4))
	case 2:
		return Tick(1)<<rng.UintN(31) - Tick(rng.UintN(2))
	}
	return Tick(rng.Uint32() >> (1 + rng.UintN(31)))
}

func TestWheelEqualsNaiveHeap(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		againstHeap(t, seed, 400)
	}
}

func FuzzWheelEqualsNaiveHeap(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { againstHeap(t, seed, 400) })
}

// againstHeap plays random operations, also from inside fire, on a wheel and on the model, and compares every fired
// tick as a set.
func againstHeap(t *testing.T, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := uint32(1 + rng.UintN(40))
	start := Tick(rng.Uint32())
	if rng.UintN(2) == 0 {
		start = -Tick(rng.UintN(2000)) // wraps soon
	}
	w, _ := newWheel(int(n), start)
	model := &byDeadline{now: start}
	fire := func(slot uint32) {
		model.now = w.Now()
		for _, d := range model.list {
			if int32(d.deadline-w.Now()) < 0 {
				t.Fatalf("seed %d: at %d slot %d was skipped, deadline %d", seed, w.Now(), d.slot, d.deadline)
			}
			if d.slot == slot && d.deadline != w.Now() {
				t.Fatalf("seed %d: slot %d fired at %d, want %d", seed, slot, w.Now(), d.deadline)
			}
		}
		if !model.cancel(slot) {
			t.Fatalf("seed %d: slot %d fired at %d, the model has no such timer", seed, slot, w.Now())
		}
		for range rng.UintN(3) {
			mutate(t, seed, rng, w, model, n)
		}
	}
	for range steps {
		switch rng.UintN(4) {
		case 0:
			to := w.Now() + distance(rng)
			w.Advance(to, fire)
			model.now = to
			if w.Now() != to {
				t.Fatalf("seed %d: now %d after Advance(%d)", seed, w.Now(), to)
			}
			if len(model.list) > 0 {
				heap.Init(model)
				if first := model.list[0].deadline; int32(first-to) <= 0 {
					t.Fatalf("seed %d: deadline %d still waits at %d", seed, first, to)
				}
			}
		default:
			mutate(t, seed, rng, w, model, n)
		}
		if w.Len() != len(model.list) {
			t.Fatalf("seed %d: Len %d, model %d", seed, w.Len(), len(model.list))
		}
		if err := w.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func mutate(t *testing.T, seed uint64, rng *rand.Rand, w *Wheel, model *byDeadline, n uint32) {
	slot := rng.Uint32N(n)
	if rng.UintN(4) == 0 {
		if got, want := w.Cancel(slot), model.cancel(slot); got != want {
			t.Fatalf("seed %d: Cancel(%d) %t, want %t", seed, slot, got, want)
		}
		return
	}
	deadline := w.Now() + distance(rng)
	if rng.UintN(16) == 0 {
		deadline = w.Now() - Tick(rng.UintN(1000))
	}
	w.Set(slot, deadline)
	model.set(slot, deadline)
}
