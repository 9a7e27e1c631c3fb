package slab

import (
	"fmt"
	"reflect"
	"unsafe"
)

// Column is a parallel array over the slots of a [Slab]: the part of the state
// that many slots never need. It keeps the chunks that were touched; it knows
// nothing of which slots are live, so whoever takes a slot resets its cell.
// The zero value is an empty column; it is not safe for concurrent use.
type Column[T any] struct {
	chunks []*[ChunkSlots]T
	held   int // chunks not nil
}

// NewColumn returns an empty column, which holds no memory. It panics when T
// contains a pointer, naming T.
func NewColumn[T any]() *Column[T] {
	mustBePointerFree(reflect.TypeFor[T]())
	return &Column[T]{}
}

// At returns the cell of a slot, making its chunk (zeroed) when there is none.
// The pointer is good until Trim drops the chunk. The slot must be one of a
// Slab, below 1<<32-1.
func (c *Column[T]) At(slot uint32) *T {
	if k := slot >> chunkShift; int(k) < len(c.chunks) {
		if p := c.chunks[k]; p != nil {
			return &p[slot&slotMask]
		}
	}
	return c.grow(slot)
}

// Peek returns the cell of a slot, or nil when its chunk was never touched.
// It never allocates.
func (c *Column[T]) Peek(slot uint32) *T {
	k := slot >> chunkShift
	if int(k) >= len(c.chunks) || c.chunks[k] == nil {
		return nil
	}
	return &c.chunks[k][slot&slotMask]
}

// Bytes returns the heap bytes held.
func (c *Column[T]) Bytes() int {
	var v T // an array of them would be made on the heap, each time
	return c.held*int(ChunkSlots*unsafe.Sizeof(v)) + cap(c.chunks)*8
}

// Trim drops every chunk for which keep returns false, and returns how many
// bytes that were. [Slab.Held] is the usual keep.
func (c *Column[T]) Trim(keep func(chunk int) bool) int {
	before := c.Bytes()
	for k, p := range c.chunks {
		if p != nil && !keep(k) {
			c.chunks[k] = nil
			c.held--
		}
	}
	if c.held == 0 {
		c.chunks = nil
	}
	return before - c.Bytes()
}

// Validate checks the column against itself; it is slow and for tests.
func (c *Column[T]) Validate() error {
	held := 0
	for _, p := range c.chunks {
		if p != nil {
			held++
		}
	}
	if held != c.held {
		return fmt.Errorf("slab: column counts %d chunks, holds %d", c.held, held)
	}
	if len(c.chunks) > chunksMax {
		return fmt.Errorf("slab: column has %d chunks, more than the %d slots can name", len(c.chunks), chunksMax)
	}
	return nil
}

func (c *Column[T]) grow(slot uint32) *T {
	k := int(slot >> chunkShift)
	if k >= chunksMax {
		panic(fmt.Sprintf("slab: column asked for slot %d, beyond the last slot %d", slot, chunksMax*ChunkSlots-1))
	}
	for k >= len(c.chunks) {
		c.chunks = append(c.chunks, nil)
	}
	c.chunks[k] = new([ChunkSlots]T)
	c.held++
	return &c.chunks[k][slot&slotMask]
}
