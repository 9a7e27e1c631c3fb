package slab

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// conn stands for what a loop keeps: 56 B, no pointer.
type conn struct {
	id    uint64
	links [3]uint32
	rest  [36]byte
}

func TestSlotsAreLowestFreeFirst(t *testing.T) {
	s := New[conn]()
	for want := range uint32(100) {
		if got, _ := s.Alloc(); got != want {
			t.Fatalf("slot %d, want %d", got, want)
		}
	}
	s.Free(70)
	s.Free(3)
	for _, want := range []uint32{3, 70, 100} {
		if got, _ := s.Alloc(); got != want {
			t.Errorf("slot %d, want %d", got, want)
		}
	}
	validate(t, s)
}

func TestAllocZeroesAReusedValue(t *testing.T) {
	s := New[conn]()
	slot, v := s.Alloc()
	v.id, v.rest[35] = 7, 9
	s.Free(slot)
	again, v := s.Alloc()
	if again != slot || *v != (conn{}) {
		t.Errorf("slot %d value %+v, want slot %d zeroed", again, *v, slot)
	}
}

func TestReferenceGoesStaleAtFree(t *testing.T) {
	s := New[uint32]()
	slot, _ := s.Alloc()
	g := s.Generation(slot)
	if !s.Live(slot, g) {
		t.Error("fresh reference is not live")
	}
	s.Free(slot)
	if s.Live(slot, g) || s.Live(slot, s.Generation(slot)) {
		t.Error("a free slot is live")
	}
	s.Alloc()
	if s.Live(slot, g) {
		t.Error("the old reference is live for the new value")
	}
	if !s.Live(slot, s.Generation(slot)) {
		t.Error("the new reference is not live")
	}
	for _, slot := range []uint32{1, ChunkSlots, 1<<32 - 1} {
		if s.Live(slot, 0) || s.Generation(slot) != 0 {
			t.Errorf("slot %d, never given out, is live or has a generation", slot)
		}
	}
}

func TestGenerationWrapsAt24Bits(t *testing.T) {
	s := New[uint32]()
	slot, _ := s.Alloc()
	s.gens[0][slot] = GenerationMax
	s.Free(slot)
	if g := s.Generation(slot); g != 0 {
		t.Errorf("generation after %d is %d, want 0", GenerationMax, g)
	}
	validate(t, s)
}

func TestFreeOfAFreeSlotPanics(t *testing.T) {
	s := New[uint32]()
	s.Alloc()
	s.Free(0)
	for _, slot := range []uint32{0, 5, ChunkSlots, 1<<32 - 1} {
		mustPanic(t, fmt.Sprintf("slot %d", slot), func() { s.Free(slot) })
	}
	validate(t, s)
}

func TestBurstMemoryIsGivenBack(t *testing.T) {
	s := New[conn]()
	const burst = 5*ChunkSlots + 17
	refs := make([][2]uint32, burst)
	for i := range refs {
		slot, _ := s.Alloc()
		refs[i] = [2]uint32{slot, s.Generation(slot)}
	}
	if got, want := s.Cap(), 6*ChunkSlots; got != want {
		t.Fatalf("cap %d, want %d", got, want)
	}
	if s.Trim() != 0 {
		t.Error("Trim released memory of chunks in use")
	}
	for _, r := range refs[10:] {
		s.Free(r[0])
	}
	before := s.Bytes()
	released := s.Trim()
	if s.Cap() != ChunkSlots || released <= 0 || before-released != s.Bytes() {
		t.Errorf("cap %d, released %d of %d, %d left; want one chunk left", s.Cap(), released, before, s.Bytes())
	}
	validate(t, s)

	// The second burst takes the same slots, and no old reference fits them.
	for range refs[10:] {
		s.Alloc()
	}
	for _, r := range refs[10:] {
		if s.Live(r[0], r[1]) {
			t.Fatalf("reference %v from before Trim is live after it", r)
		}
	}
	if s.Len() != burst || s.Cap() != 6*ChunkSlots {
		t.Errorf("len %d cap %d, want %d and %d", s.Len(), s.Cap(), burst, 6*ChunkSlots)
	}
	validate(t, s)
}

func TestTrimmedChunkIsRefilledBeforeTheSlabGrows(t *testing.T) {
	s := New[uint32]()
	for range 3 * ChunkSlots {
		s.Alloc()
	}
	for slot := range uint32(ChunkSlots) {
		s.Free(ChunkSlots + slot)
	}
	s.Trim()
	if s.Held(1) || !s.Held(0) || !s.Held(2) || s.Held(3) || s.Held(-1) {
		t.Fatalf("held chunks are not 0 and 2")
	}
	if slot, _ := s.Alloc(); slot != ChunkSlots {
		t.Errorf("slot %d, want %d", slot, ChunkSlots)
	}
	validate(t, s)
}

func TestEachMayFreeWhatItVisits(t *testing.T) {
	s := New[uint32]()
	for range 200 {
		slot, v := s.Alloc()
		*v = slot
	}
	var visited []uint32
	s.Each(func(slot uint32, v *uint32) bool {
		visited = append(visited, *v)
		s.Free(slot)
		if slot == 0 {
			s.Free(1) // freed before its turn: must not be visited
		}
		return slot < 150
	})
	if len(visited) != 150 || visited[0] != 0 || visited[1] != 2 || visited[149] != 150 {
		t.Errorf("visited %d slots %v…, want 0, 2…150", len(visited), visited[:2])
	}
	if s.Len() != 49 {
		t.Errorf("%d slots left, want 49", s.Len())
	}
	validate(t, s)
}

func TestPointersAreRefusedByName(t *testing.T) {
	type deep struct{ a [2]struct{ name string } }
	for want, f := range map[string]func(){
		"slab.deep holds a pointer in .a[].name (string)": func() { New[deep]() },
		"*int holds a pointer in  (ptr)":                  func() { New[*int]() },
		"[]uint8 holds a pointer in  (slice)":             func() { NewColumn[[]byte]() },
		"interface {} holds":                              func() { New[any]() },
		"map[int]int holds":                               func() { New[map[int]int]() },
		"chan int holds":                                  func() { New[chan int]() },
		"func() holds":                                    func() { New[func()]() },
	} {
		if got := mustPanic(t, want, f); !strings.Contains(got, want) {
			t.Errorf("panic %q, want it to contain %q", got, want)
		}
	}
	New[struct {
		a [3]uint16
		b float64
		c [0]*int
		d complex128
		e uintptr
	}]()
}

func TestChunksHoldNothingToScan(t *testing.T) {
	for _, v := range []any{conn{}, uint32(0), freeMap{}} {
		if path, found := findPointer(reflect.TypeOf(v)); found {
			t.Errorf("%T has a pointer in %s", v, path)
		}
	}
}

func TestColumnKeepsTouchedChunksOnly(t *testing.T) {
	c := NewColumn[uint64]()
	if c.Peek(0) != nil || c.Bytes() != 0 {
		t.Error("an empty column has cells")
	}
	*c.At(2*ChunkSlots + 5) = 7
	if c.Peek(5) != nil || c.Peek(2*ChunkSlots+4) == nil || *c.Peek(2*ChunkSlots + 5) != 7 {
		t.Error("only the chunk of the touched cell is there, and it keeps the value")
	}
	*c.At(0) = 1
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if n := c.Trim(func(chunk int) bool { return chunk == 0 }); n != ChunkSlots*8 {
		t.Errorf("trimmed %d B, want %d", n, ChunkSlots*8)
	}
	if c.Peek(2*ChunkSlots+5) != nil || *c.Peek(0) != 1 {
		t.Error("Trim dropped the wrong chunk")
	}
	c.Trim(func(int) bool { return false })
	if c.Bytes() != 0 {
		t.Errorf("an emptied column holds %d B", c.Bytes())
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	mustPanic(t, "slot beyond the last", func() { c.At(1<<32 - 1) })
}

func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(s *Slab[uint32]){
		"lost live count":    func(s *Slab[uint32]) { s.live++ },
		"lost chunk count":   func(s *Slab[uint32]) { s.held++ },
		"free bit flipped":   func(s *Slab[uint32]) { s.frees[0].words[0] ^= 1 },
		"summary bit lost":   func(s *Slab[uint32]) { s.frees[0].summary = 0 },
		"avail mark lost":    func(s *Slab[uint32]) { s.avail[0] = 0 },
		"generation too big": func(s *Slab[uint32]) { s.gens[0][9] = 1 << 24 },
		"half dropped":       func(s *Slab[uint32]) { s.gens[0] = nil },
		"low mark too high":  func(s *Slab[uint32]) { s.low = 1 },
		"bases lost":         func(s *Slab[uint32]) { s.bases = nil },
	} {
		s := New[uint32]()
		s.Alloc()
		damage(s)
		if s.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
	c := NewColumn[uint32]()
	c.At(0)
	c.held = 2
	if c.Validate() == nil {
		t.Error("column: Validate saw nothing")
	}
}

type ref struct{ slot, gen uint32 }

// drive performs the operations that bytes spell on a slab and on a naive map,
// and compares them. Big steps make whole chunks fill and empty.
func drive(t *testing.T, ops []byte) {
	s := New[uint32]()
	live := map[ref]uint32{}
	var order, stale []ref
	for n := 0; len(ops) >= 2 && n < 100; n++ {
		op, arg := ops[0], int(ops[1])
		ops = ops[2:]
		switch op % 5 {
		case 0, 1: // a run of Alloc
			for range 1 + arg*arg/16 {
				slot, v := s.Alloc()
				if *v != 0 {
					t.Fatalf("slot %d came with value %d", slot, *v)
				}
				r := ref{slot, s.Generation(slot)}
				if _, dup := live[r]; dup {
					t.Fatalf("%v given out twice", r)
				}
				*v = uint32(len(order)) + 1
				live[r] = *v
				order = append(order, r)
			}
		case 2, 3: // a run of Free, from the old or from the new end
			for range min(1+arg*arg/16, len(order)) {
				r := order[len(order)-1]
				if op&8 == 0 {
					r, order = order[0], order[1:]
				} else {
					order = order[:len(order)-1]
				}
				s.Free(r.slot)
				delete(live, r)
				if len(stale) < 2000 {
					stale = append(stale, r)
				}
			}
		case 4:
			before := s.Bytes()
			if n := s.Trim(); n < 0 || before-n != s.Bytes() {
				t.Fatalf("Trim returned %d, bytes went %d → %d", n, before, s.Bytes())
			}
			if s.Cap()-s.Len() >= ChunkSlots && len(live) == 0 {
				t.Fatalf("cap %d after Trim of an empty slab", s.Cap())
			}
		}
		if s.Len() != len(live) {
			t.Fatalf("len %d, want %d", s.Len(), len(live))
		}
	}
	validate(t, s)
	for _, r := range stale {
		if s.Live(r.slot, r.gen) {
			t.Fatalf("stale %v is live", r)
		}
	}
	compare(t, s, live)
}

// compare checks that Each meets exactly the live slots, in order; it empties
// live.
func compare(t *testing.T, s *Slab[uint32], live map[ref]uint32) {
	last := -1
	s.Each(func(slot uint32, v *uint32) bool {
		r := ref{slot, s.Generation(slot)}
		if want, ok := live[r]; !ok || *v != want || int(slot) <= last || !s.Live(slot, r.gen) {
			t.Fatalf("Each met %v = %d after slot %d, want %d (known %v)", r, *v, last, want, ok)
		}
		last = int(slot)
		delete(live, r)
		return true
	})
	if len(live) != 0 {
		t.Fatalf("Each missed %d slots", len(live))
	}
}

func TestAgainstMap(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 300)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { drive(t, ops) })
	}
}

func FuzzSlab(f *testing.F) {
	f.Add([]byte{0, 255, 2, 255, 4, 0, 0, 10})
	f.Fuzz(drive)
}

func TestHotPathAllocatesNothing(t *testing.T) {
	s := New[conn]()
	c := NewColumn[uint32]()
	slot, _ := s.Alloc()
	c.At(slot)
	got := testing.AllocsPerRun(1000, func() {
		slot, v := s.Alloc()
		v.id = uint64(s.Generation(slot))
		*c.At(slot) = 1
		if !s.Live(slot, uint32(s.At(slot).id)) {
			t.Fatal("not live")
		}
		s.Free(slot)
	})
	if got != 0 {
		t.Errorf("%v allocations per slot taken and freed, want 0", got)
	}
}

func TestMetadataIsFourBytesAndABitPerSlot(t *testing.T) {
	s := New[conn]()
	for range 16 * ChunkSlots {
		s.Alloc()
	}
	const value = 56
	if got := float64(s.Bytes())/float64(s.Cap()) - value; got > 4.2 {
		t.Errorf("%.2f B of metadata per slot, want at most 4.2", got)
	}
}

func validate(t *testing.T, v interface{ Validate() error }) {
	t.Helper()
	if err := v.Validate(); err != nil {
		t.Fatal(err)
	}
}

// mustPanic runs f and returns what it panicked with.
func mustPanic(t *testing.T, name string, f func()) (text string) {
	t.Helper()
	defer func() {
		v := recover()
		if v == nil {
			t.Errorf("%s: no panic", name)
		}
		text = fmt.Sprint(v)
	}()
	f()
	return ""
}

// TestEachFromGoesOnWhereItStopped: in pieces of any size every live slot is seen once, while others come and go and
// chunks are dropped and made anew.
func TestEachFromGoesOnWhereItStopped(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := New[uint32]()
		for range rng.IntN(3 * ChunkSlots) {
			s.Alloc()
		}
		kept := map[uint32]bool{}
		gap := rng.IntN(4) * ChunkSlots / 2
		s.Each(func(slot uint32, _ *uint32) bool {
			if kept[slot] = rng.IntN(3) > 0 && int(slot) >= gap; !kept[slot] {
				delete(kept, slot)
				s.Free(slot)
			}
			return true
		})
		seen := map[uint32]int{}
		last := -1
		for from := uint32(0); ; {
			from = s.EachFrom(from, 1+rng.IntN(500), func(slot uint32, _ *uint32) bool {
				if int(slot) <= last {
					t.Fatalf("seed %d: slot %d after %d", seed, slot, last)
				}
				last = int(slot)
				seen[slot]++
				return rng.IntN(50) > 0
			})
			if from == 0 {
				break
			}
			switch rng.IntN(4) {
			case 0:
				s.Alloc()
			case 1:
				s.Trim()
			}
		}
		for slot := range kept {
			if seen[slot] != 1 {
				t.Fatalf("seed %d: slot %d was seen %d times", seed, slot, seen[slot])
			}
		}
	}
}

func TestEachFromGoesOnBehindAChunkThatWasDropped(t *testing.T) {
	s := New[uint32]()
	for range 2 * ChunkSlots {
		s.Alloc()
	}
	from := s.EachFrom(0, 1000, func(uint32, *uint32) bool { return true })
	for slot := range uint32(ChunkSlots) {
		s.Free(slot)
	}
	s.Trim()
	n := 0
	s.EachFrom(from, 2*ChunkSlots, func(uint32, *uint32) bool { n++; return true })
	if n != ChunkSlots {
		t.Errorf("%d slots of the next chunk were seen from slot %d on, want all %d", n, from, ChunkSlots)
	}
}
