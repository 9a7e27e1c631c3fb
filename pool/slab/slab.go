package slab

import (
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"unsafe"
)

const (
	// ChunkSlots is the number of slots in one chunk, the unit in which memory
	// is taken and given back.
	ChunkSlots = 1 << chunkShift

	// GenerationMax is the highest generation; the one after it is 0 again.
	GenerationMax = 1<<24 - 1

	chunkShift = 12
	slotMask   = ChunkSlots - 1
	// chunksMax keeps every slot below 1<<32-1, so that slot+1 fits a uint32
	// and 0 can mean "none" in links.
	chunksMax = 1<<(32-chunkShift) - 1
)

// Slab is chunked storage of values of one pointer-free type. It must be made
// by [New]. It is not safe for concurrent use.
type Slab[T any] struct {
	values []*[ChunkSlots]T      // nil: chunk dropped by Trim
	gens   []*[ChunkSlots]uint32 // nil together with values
	frees  []*freeMap            // nil together with values
	bases  []uint32              // of a dropped chunk: where its generations go on
	avail  []uint64              // bit per chunk: held and with a free slot
	low    int                   // no bit of avail is set below this word
	live   int                   // used slots
	held   int                   // chunks not nil
}

// New returns an empty slab, which holds no memory. It panics when T contains
// a pointer, naming T and the field: an idle connection owns a slot, not objects,
// and the collector must have nothing to scan in it.
func New[T any]() *Slab[T] {
	mustBePointerFree(reflect.TypeFor[T]())
	return &Slab[T]{}
}

// Alloc takes a free slot, of the lowest chunk that has one, and returns it with
// its value, zeroed. The pointer is good until the slot is freed. A slot is less
// than 1<<32-1; Alloc panics when all of them are in use.
func (s *Slab[T]) Alloc() (slot uint32, v *T) {
	for s.low < len(s.avail) && s.avail[s.low] == 0 {
		s.low++
	}
	if s.low == len(s.avail) {
		s.grow()
	}
	c := s.low<<6 | bits.TrailingZeros64(s.avail[s.low])
	m := s.frees[c]
	i := m.take()
	if m.count == 0 {
		s.avail[s.low] &= s.avail[s.low] - 1
	}
	s.live++
	v = &s.values[c][i&slotMask]
	var zero T
	*v = zero
	return uint32(c)<<chunkShift | i, v
}

// At returns the value of a slot. The slot must be live: a slot never given out
// panics as Go's index does, a freed one yields a value that belongs to nobody.
func (s *Slab[T]) At(slot uint32) *T { return &s.values[slot>>chunkShift][slot&slotMask] }

// Generation returns the generation of a slot, 24 bits, 0 for a slot not used
// yet. It changes at every Free and stays the same while the slot is live.
func (s *Slab[T]) Generation(slot uint32) uint32 {
	c := slot >> chunkShift
	if int(c) >= len(s.gens) {
		return 0
	}
	if g := s.gens[c]; g != nil {
		return g[slot&slotMask]
	}
	return s.bases[c]
}

// Live says whether slot is in use and has this generation: whether a reference
// taken earlier still means the same value. Any numbers may be asked about.
//
// Generations repeat after 1<<24 frees of one slot; a reference kept that long
// is taken for live again.
func (s *Slab[T]) Live(slot, generation uint32) bool {
	c := slot >> chunkShift
	if int(c) >= len(s.gens) || s.gens[c] == nil {
		return false
	}
	return s.gens[c][slot&slotMask] == generation && !s.frees[c].free(slot&slotMask)
}

// Free gives a live slot back; references to it are stale from now on. Freeing
// a slot that is not live is a bug of the caller and panics.
func (s *Slab[T]) Free(slot uint32) {
	c, i := slot>>chunkShift, slot&slotMask
	if int(c) >= len(s.frees) || s.frees[c] == nil || s.frees[c].free(i) {
		panic(fmt.Sprintf("slab: Free of slot %d, which is not in use (%d live, %d chunks)", slot, s.live, s.held))
	}
	g := &s.gens[c][i]
	*g = (*g + 1) & GenerationMax
	s.frees[c].put(i)
	s.live--
	w := int(c >> 6)
	s.avail[w] |= 1 << (c & 63)
	s.low = min(s.low, w)
}

// Len returns the number of slots in use.
func (s *Slab[T]) Len() int { return s.live }

// Cap returns the number of slots there is memory for, used or free.
func (s *Slab[T]) Cap() int { return s.held * ChunkSlots }

// Held says whether there is memory for a chunk, the slots from
// chunk*ChunkSlots on. It is what a parallel column's Trim wants to know.
func (s *Slab[T]) Held(chunk int) bool {
	return chunk >= 0 && chunk < len(s.values) && s.values[chunk] != nil
}

// Bytes returns the heap bytes held, metadata included.
func (s *Slab[T]) Bytes() int {
	var v T // an array of them would be made on the heap, each time
	n := s.held * int(ChunkSlots*unsafe.Sizeof(v)+unsafe.Sizeof([ChunkSlots]uint32{})+unsafe.Sizeof(freeMap{}))
	const perChunk = 8 + 8 + 8 + 4 // the three pointers and the base
	return n + cap(s.values)*perChunk + cap(s.avail)*8
}

// Each calls f for every live slot in rising order until f returns false. f may
// free any slot, the one it was given included; a slot allocated by f may or may
// not be visited. f must not call Trim.
func (s *Slab[T]) Each(f func(slot uint32, v *T) bool) { s.EachFrom(0, math.MaxInt, f) }

// EachFrom is Each from a slot on, for long slabs in pieces: about n slots are
// looked at, live or not, those of chunks without a live slot not counted. next
// is where to go on, 0 when all slots were looked at; Alloc, Free and Trim may
// come in between.
func (s *Slab[T]) EachFrom(from uint32, n int, f func(slot uint32, v *T) bool) (next uint32) {
	first := ^uint64(0) << (from & 63)
	w := int(from & slotMask >> 6)
	for c := int(from >> chunkShift); c < len(s.frees); c++ {
		m := s.frees[c]
		if m == nil || m.count == ChunkSlots {
			first, w = ^uint64(0), 0
			continue
		}
		for ; w < len(m.words); w++ {
			at := uint32(c)<<chunkShift | uint32(w)<<6
			if n <= 0 {
				return at
			}
			n -= 64
			for used := m.used(w) & first; used != 0; used &= used - 1 {
				i := at&slotMask | uint32(bits.TrailingZeros64(used))
				if m.free(i) { // freed by an earlier f
					continue
				}
				if slot := at | i; !f(slot, &s.values[c][i]) {
					return slot + 1
				}
			}
			first = ^uint64(0)
		}
		w = 0
	}
	return 0
}

// Trim drops the memory of chunks without a live slot and returns how many
// bytes that were. It costs a look at every chunk, and for each dropped one a
// look at its generations.
func (s *Slab[T]) Trim() int {
	before := s.Bytes()
	for c, m := range s.frees {
		if m == nil || m.count != ChunkSlots {
			continue
		}
		base := uint32(0)
		for _, g := range s.gens[c] {
			base = max(base, g)
		}
		s.bases[c] = base
		s.values[c], s.gens[c], s.frees[c] = nil, nil, nil
		s.avail[c>>6] &^= 1 << (c & 63)
		s.held--
	}
	return before - s.Bytes()
}

// grow makes memory for one more chunk, the lowest that has none.
func (s *Slab[T]) grow() {
	c := s.vacant()
	if c == len(s.values) {
		if c == chunksMax {
			panic(fmt.Sprintf("slab: all %d slots are in use", chunksMax*ChunkSlots))
		}
		s.values = append(s.values, nil)
		s.gens = append(s.gens, nil)
		s.frees = append(s.frees, nil)
		s.bases = append(s.bases, 0)
		if c>>6 == len(s.avail) {
			s.avail = append(s.avail, 0)
		}
	}
	s.values[c] = new([ChunkSlots]T)
	s.gens[c] = new([ChunkSlots]uint32)
	if base := s.bases[c]; base != 0 {
		for i := range s.gens[c] {
			s.gens[c][i] = base
		}
	}
	s.frees[c] = new(freeMap)
	s.frees[c].fill()
	s.avail[c>>6] |= 1 << (c & 63)
	s.low = c >> 6
	s.held++
}

// vacant returns the lowest chunk without memory.
func (s *Slab[T]) vacant() int {
	if s.held == len(s.values) {
		return s.held
	}
	for c, v := range s.values {
		if v == nil {
			return c
		}
	}
	return len(s.values)
}
