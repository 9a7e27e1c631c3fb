package hub

import (
	"fmt"
	"math/bits"

	"shoal/pool/slab"
)

// hole marks a member that left while a cursor was open on its channel.
const hole = ^uint32(0)

const (
	classes   = 12           // blocks of 2, 4, … 4096 members
	blockMax  = 1 << classes // longest list kept in an arena
	chunkLen  = 4096         // members per piece of a long list
	inlineMax = 1            // a list of one member needs no block
)

// members is one channel's list of subscription indices in order of joining.
// The zero value is an empty list. 12 bytes, no pointers.
type members struct {
	ref   uint32 // the member itself (length ≤ 1), a block, or a long list's index
	len   uint32 // members and holes
	class uint8  // 0 inline · 1…classes block of 2^class · longClass
}

const longClass = classes + 1

// arena stores the member lists of one hub.
type arena struct {
	blocks [classes + 1]blocks // by class; [0] unused
	long   [][][]uint32        // long lists as pieces of chunkLen
	free   []uint32            // free indices of long
}

// blocks hands out blocks of one size from chunks of about 16 KiB.
type blocks struct {
	chunks [][]uint32
	free   []uint32
	next   uint32
}

func blocksPerChunk(class uint8) uint32 { return chunkLen >> class }

func (b *blocks) alloc(class uint8) uint32 {
	if n := len(b.free); n > 0 {
		ref := b.free[n-1]
		b.free = b.free[:n-1]
		return ref
	}
	per := blocksPerChunk(class)
	if b.next == uint32(len(b.chunks))*per {
		b.chunks = append(b.chunks, make([]uint32, chunkLen))
	}
	b.next++
	return b.next - 1
}

func (b *blocks) at(class uint8, ref uint32) []uint32 {
	per := blocksPerChunk(class)
	off := (ref % per) << class
	return b.chunks[ref/per][off : off+1<<class]
}

// release returns a block; when none is in use any more the memory goes too.
func (b *blocks) release(ref uint32) {
	b.free = append(b.free, ref)
	if uint32(len(b.free)) == b.next {
		*b = blocks{}
	}
}

func (a *arena) get(m *members, i uint32) uint32 {
	switch {
	case m.class == 0:
		return m.ref
	case m.class <= classes:
		return a.blocks[m.class].at(m.class, m.ref)[i]
	default:
		return a.long[m.ref][i/chunkLen][i%chunkLen]
	}
}

func (a *arena) set(m *members, i, v uint32) {
	switch {
	case m.class == 0:
		m.ref = v
	case m.class <= classes:
		a.blocks[m.class].at(m.class, m.ref)[i] = v
	default:
		a.long[m.ref][i/chunkLen][i%chunkLen] = v
	}
}

// capacity is the number of members the list holds before it has to move.
func (a *arena) capacity(m *members) uint32 {
	switch {
	case m.class == 0:
		return inlineMax
	case m.class <= classes:
		return 1 << m.class
	default:
		return uint32(len(a.long[m.ref])) * chunkLen
	}
}

// push appends v and returns its index.
func (a *arena) push(m *members, v uint32) uint32 {
	if m.len == a.capacity(m) {
		a.grow(m)
	}
	m.len++
	a.set(m, m.len-1, v)
	return m.len - 1
}

func (a *arena) grow(m *members) {
	if m.class == longClass {
		a.long[m.ref] = append(a.long[m.ref], make([]uint32, chunkLen))
		return
	}
	a.move(m, m.class+1)
}

// move copies the list into a block of another class.
func (a *arena) move(m *members, class uint8) {
	old := *m
	m.class = class
	switch {
	case class == 0:
	case class <= classes:
		m.ref = a.blocks[class].alloc(class)
	default:
		m.ref = a.allocLong()
	}
	for i := range min(old.len, a.capacity(m)) {
		a.set(m, i, a.get(&old, i))
	}
	a.drop(&old)
}

func (a *arena) allocLong() uint32 {
	piece := [][]uint32{make([]uint32, chunkLen), make([]uint32, chunkLen)}
	if n := len(a.free); n > 0 {
		ref := a.free[n-1]
		a.free = a.free[:n-1]
		a.long[ref] = piece
		return ref
	}
	a.long = append(a.long, piece)
	return uint32(len(a.long) - 1)
}

// drop gives the list's memory back; the list is unusable afterwards.
func (a *arena) drop(m *members) {
	switch {
	case m.class == 0:
	case m.class <= classes:
		a.blocks[m.class].release(m.ref)
	default:
		a.long[m.ref] = nil
		a.free = append(a.free, m.ref)
	}
}

// truncate shortens the list to n members and moves it to a smaller block once
// it fills a quarter of the present one, so that joins and departures around a
// border do not copy it each time.
func (a *arena) truncate(m *members, n uint32) {
	m.len = n
	if m.class == longClass {
		pieces := a.long[m.ref]
		for len(pieces) > 2 && n <= uint32(len(pieces)-2)*chunkLen {
			pieces[len(pieces)-1] = nil
			pieces = pieces[:len(pieces)-1]
		}
		a.long[m.ref] = pieces
	}
	for m.class > 0 && n <= a.capacity(m)/4 {
		a.move(m, smallerClass(m.class, n))
	}
}

func smallerClass(class uint8, n uint32) uint8 {
	if n <= inlineMax {
		return 0
	}
	return min(class-1, uint8(bits.Len32(n-1))+1)
}

// heldBytes is the memory of all blocks and long lists.
func (a *arena) heldBytes() int {
	n := 0
	for i := range a.blocks {
		n += len(a.blocks[i].chunks)*chunkLen*4 + cap(a.blocks[i].free)*4
	}
	for _, pieces := range a.long {
		n += len(pieces) * (chunkLen*4 + 24)
	}
	return n
}

// validate checks that the blocks handed out are those in use.
func (a *arena) validate(used *[classes + 2]int) error {
	for class := 1; class <= classes; class++ {
		b := &a.blocks[class]
		if got := int(b.next) - len(b.free); got != used[class] {
			return fmt.Errorf("hub: %d blocks of %d members handed out, %d in use", got, 1<<class, used[class])
		}
	}
	if got := len(a.long) - len(a.free); got != used[longClass] {
		return fmt.Errorf("hub: %d long member lists handed out, %d in use", got, used[longClass])
	}
	return nil
}

var _ = slab.New[members] // the list is kept in a slab: no pointers
