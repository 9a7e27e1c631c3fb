package intern

import (
	"fmt"
	"math/bits"
)

const (
	groupShift = 6 // a group is the slots of one word of free bits
	groupMask  = 1<<groupShift - 1
	// blockBytes is about how big one piece of memory is: big enough that a
	// million strings are a few thousand objects for the collector to mark, small
	// enough that a class with one string holds little.
	blockBytes = 8 << 10
)

// blockShift returns log2 of the groups in one block of slots of size bytes: the
// block is 8 to 16 KiB, but never less than one group.
func blockShift(size int) uint8 {
	return uint8(bits.Len(uint(max(blockBytes/(size<<groupShift), 1))) - 1)
}

// slots keeps book of which numbers of a storage are free; the storage has its
// memory in blocks, which slots knows only as existing or not. It hands out the
// lowest free number of the blocks that exist, so that high blocks empty out.
type slots struct {
	free   []uint64 // per group: bit = slot is free; ^0 also without memory
	avail  []uint64 // per group one bit: has memory and a free slot
	held   []bool   // per block: has memory
	low    int      // no bit of avail is set below this word
	blocks int      // with memory
	used   int
	shift  uint8 // groups per block, log2; set once
}

// block returns the block a slot is in and its place there.
func (s *slots) block(slot uint32) (block, i int) {
	shift := groupShift + s.shift
	return int(slot >> shift), int(slot & (1<<shift - 1))
}

// blockSlots returns the number of slots in a block.
func (s *slots) blockSlots() int { return 1 << (groupShift + s.shift) }

// alloc takes a slot. With grown true its block has no memory yet: the caller
// must make it.
func (s *slots) alloc() (slot uint32, grown bool) {
	for s.low < len(s.avail) && s.avail[s.low] == 0 {
		s.low++
	}
	if s.low == len(s.avail) {
		s.grow()
		grown = true
	}
	group := s.low<<6 | bits.TrailingZeros64(s.avail[s.low])
	i := bits.TrailingZeros64(s.free[group])
	if s.free[group] &= s.free[group] - 1; s.free[group] == 0 {
		s.avail[s.low] &= s.avail[s.low] - 1
	}
	s.used++
	return uint32(group<<groupShift | i), grown
}

// release frees a slot that is in use.
func (s *slots) release(slot uint32) {
	group := slot >> groupShift
	s.free[group] |= 1 << (slot & groupMask)
	w := int(group >> 6)
	s.avail[w] |= 1 << (group & 63)
	s.low = min(s.low, w)
	s.used--
}

// inUse says whether a slot is in use; any number may be asked about.
func (s *slots) inUse(slot uint32) bool {
	group := int(slot >> groupShift)
	return group < len(s.free) && s.free[group]>>(slot&groupMask)&1 == 0
}

// grow marks the lowest block without memory as having some.
func (s *slots) grow() {
	block := len(s.held)
	if s.blocks < block {
		for i, held := range s.held {
			if !held {
				block = i
				break
			}
		}
	}
	if block == len(s.held) {
		if uint64(block+1)*uint64(s.blockSlots()) >= 1<<32 {
			panic(fmt.Sprintf("intern: all %d numbers are in use", s.used))
		}
		s.held = append(s.held, false)
		for range 1 << s.shift {
			s.free = append(s.free, ^uint64(0))
		}
		for len(s.avail)*64 < len(s.free) {
			s.avail = append(s.avail, 0)
		}
	}
	s.held[block] = true
	s.blocks++
	s.eachGroup(block, func(group int) { s.avail[group>>6] |= 1 << (group & 63) })
	s.low = block << s.shift >> 6
}

// trim calls drop for every block whose slots are all free; the caller drops its
// memory.
func (s *slots) trim(drop func(block int)) {
	for block, held := range s.held {
		empty := true
		s.eachGroup(block, func(group int) { empty = empty && s.free[group] == ^uint64(0) })
		if held && empty {
			s.eachGroup(block, func(group int) { s.avail[group>>6] &^= 1 << (group & 63) })
			s.held[block] = false
			s.blocks--
			drop(block)
		}
	}
}

func (s *slots) eachGroup(block int, f func(group int)) {
	for group := block << s.shift; group < (block+1)<<s.shift; group++ {
		f(group)
	}
}

func (s *slots) bytes() int { return 8*(cap(s.free)+cap(s.avail)) + cap(s.held) }

// validate checks the book against itself and the blocks that exist.
func (s *slots) validate(name string, exists func(block int) bool) error {
	if len(s.free) != len(s.held)<<s.shift || len(s.avail) != (len(s.free)+63)/64 {
		return fmt.Errorf("intern: %s: %d blocks, %d groups, %d avail words", name, len(s.held), len(s.free), len(s.avail))
	}
	used, blocks := 0, 0
	for block, held := range s.held {
		if held {
			blocks++
		}
		if held != exists(block) {
			return fmt.Errorf("intern: %s block %d: memory %v, booked as %v", name, block, exists(block), held)
		}
	}
	for group, free := range s.free {
		held := s.held[group>>s.shift]
		avail := s.avail[group>>6]>>(group&63)&1 != 0
		if avail != (held && free != 0) {
			return fmt.Errorf("intern: %s group %d: held %v, free bits %#x, but avail is %v", name, group, held, free, avail)
		}
		if avail && group>>6 < s.low {
			return fmt.Errorf("intern: %s group %d has free slots below the low mark", name, group)
		}
		used += 1<<groupShift - bits.OnesCount64(free)
	}
	if used != s.used || blocks != s.blocks {
		return fmt.Errorf("intern: %s counts %d slots in %d blocks, found %d in %d", name, s.used, s.blocks, used, blocks)
	}
	return nil
}
