// Package slab stores pointer-free values in chunks and names them by number.
//
// A [Slab] hands out slots: a slot is the index of a value, and a slot together
// with its generation is a reference that goes stale when the slot is freed. The
// values live in chunks of [ChunkSlots]; a chunk never moves, so a pointer
// obtained from At stays good until the slot is freed. Because T holds no
// pointers the garbage collector looks at one word per chunk, not per value: a
// million slots are 245 words to scan.
//
// A [Column] is a parallel array for a part of the value that only some slots
// have: it is indexed by the slots of a Slab and keeps only the chunks touched.
//
// # Cost
//
// 4 B of generation and 1 bit of free map per slot, besides T itself. There is
// no free list: the free map finds the lowest free slot in three word reads.
//
// # Giving memory back
//
// Alloc prefers the lowest chunk that has a free slot, so after a burst the high
// chunks empty out and [Slab.Trim] drops them. A dropped chunk is remembered by
// one number, the highest generation it had reached, from which its slots go on
// when it comes back: a reference taken before Trim stays stale after it.
//
// Nothing here is safe for concurrent use: a slab belongs to one loop.
package slab
