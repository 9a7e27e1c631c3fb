package buffer

import "fmt"

// Table numbers the buffers one loop has borrowed from a [Pool]: a slot keeps
// the number. It must be made by [NewTable] and is not safe for concurrent use.
type Table struct {
	pool    *Pool
	entries []loan // index-1
	free    uint32 // lowest-or-last freed index; 0 = none
	length  int
}

// loan: with buffer nil it is free and next is the next free index.
type loan struct {
	buffer *Buffer
	next   uint32
}

// NewTable returns an empty table that borrows from p.
func NewTable(p *Pool) *Table { return &Table{pool: p} }

// Borrow lends an empty buffer with room for n bytes until Return. The index is
// at least 1; 0 is free to mean "none".
func (t *Table) Borrow(n int) (index uint32) {
	b := t.pool.Get(n)
	t.length++
	if i := t.free; i != 0 {
		t.free = t.entries[i-1].next
		t.entries[i-1] = loan{buffer: b}
		return i
	}
	t.entries = append(t.entries, loan{buffer: b})
	return uint32(len(t.entries))
}

// At returns the buffer of an index, which must be borrowed. The pointer is good
// until Return.
func (t *Table) At(index uint32) *Buffer { return t.entries[index-1].buffer }

// Grow makes room for n more bytes in a borrowed buffer, as [Pool.Grow] does.
func (t *Table) Grow(index uint32, n int) { t.pool.Grow(t.entries[index-1].buffer, n) }

// Return gives a borrowed buffer back. Returning an index that is not borrowed
// panics.
func (t *Table) Return(index uint32) {
	e := &t.entries[index-1]
	if e.buffer == nil {
		panic(fmt.Sprintf("buffer: Return of index %d, which is not borrowed (%d are)", index, t.length))
	}
	t.pool.Put(e.buffer)
	*e = loan{next: t.free}
	t.free = index
	t.length--
}

// Len returns how many buffers are borrowed.
func (t *Table) Len() int { return t.length }

// Trim gives back the entries above the highest index borrowed and returns how
// many bytes of table that were. It does not touch the pool.
func (t *Table) Trim() int {
	n := len(t.entries)
	for n > 0 && t.entries[n-1].buffer == nil {
		n--
	}
	before := cap(t.entries)
	if before <= 2*n {
		return 0
	}
	t.entries = append(make([]loan, 0, n), t.entries[:n]...)
	t.free = 0
	for i := n; i > 0; i-- { // lowest index first
		if e := &t.entries[i-1]; e.buffer == nil {
			e.next = t.free
			t.free = uint32(i)
		}
	}
	return (before - cap(t.entries)) * 16
}

// Validate checks the table against itself and its pool. It is slow and for
// tests, the simulation and debug pages.
func (t *Table) Validate() error {
	used := 0
	seen := make(map[*Buffer]uint32, t.length)
	for i, e := range t.entries {
		if e.buffer == nil {
			continue
		}
		used++
		if !e.buffer.out {
			return fmt.Errorf("buffer: index %d is a buffer that was put back", i+1)
		}
		if other, dup := seen[e.buffer]; dup {
			return fmt.Errorf("buffer: indices %d and %d are the same buffer", other, i+1)
		}
		seen[e.buffer] = uint32(i + 1)
	}
	if used != t.length {
		return fmt.Errorf("buffer: table counts %d buffers, has %d", t.length, used)
	}
	free := 0
	for i := t.free; i != 0; i = t.entries[i-1].next {
		if int(i) > len(t.entries) || t.entries[i-1].buffer != nil || free > len(t.entries) {
			return fmt.Errorf("buffer: the free list is broken at index %d", i)
		}
		free++
	}
	if used+free != len(t.entries) {
		return fmt.Errorf("buffer: %d indices borrowed and %d free, of %d", used, free, len(t.entries))
	}
	return nil
}
