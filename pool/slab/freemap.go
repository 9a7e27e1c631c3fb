package slab

import "math/bits"

// freeMap marks the free slots of one chunk: words has a bit per slot, summary
// a bit per word that is not zero. 64 words of 64 bits are exactly ChunkSlots,
// so two TrailingZeros find the lowest free slot. An intrusive free list would
// need the value's own bytes (T may be smaller than a link, and unsafe code).
type freeMap struct {
	summary uint64
	words   [ChunkSlots / 64]uint64
	count   uint32 // free slots
}

// fill marks every slot free.
func (m *freeMap) fill() {
	m.summary = ^uint64(0)
	for i := range m.words {
		m.words[i] = ^uint64(0)
	}
	m.count = ChunkSlots
}

// take marks the lowest free slot used and returns it; the map must not be empty.
func (m *freeMap) take() uint32 {
	w := uint32(bits.TrailingZeros64(m.summary)) & 63
	b := uint32(bits.TrailingZeros64(m.words[w]))
	m.words[w] &= m.words[w] - 1
	if m.words[w] == 0 {
		m.summary &^= 1 << w
	}
	m.count--
	return w<<6 | b
}

// put marks slot i free; the slot must be used.
func (m *freeMap) put(i uint32) {
	w := i >> 6 & 63
	m.words[w] |= 1 << (i & 63)
	m.summary |= 1 << w
	m.count++
}

// free says whether slot i is free.
func (m *freeMap) free(i uint32) bool { return m.words[i>>6&63]>>(i&63)&1 != 0 }

// used returns the bits of word w that belong to used slots.
func (m *freeMap) used(w int) uint64 { return ^m.words[w] }
