package memory

import (
	"unsafe"

	"shoal/pool/intern"
)

// book keeps a row for each of many names. A row has a number, at least 1, and does
// not move; the numbers of rows that were dropped are given again.
type book[T any] struct {
	names  *intern.Table
	blocks []*block[T] // row id is in block (id-1)/blockRows; nil: it has none
}

// blockRows makes a block of streams fill one of the allocator's sizes, 4 KiB; of 32 it
// would take 4,864 bytes.
const blockRows = 31

var _ = [1]struct{}{}[3976-unsafe.Sizeof(block[row]{})]

type block[T any] struct {
	used int
	rows [blockRows]T
}

func newBook[T any]() book[T] { return book[T]{names: intern.New()} }

// find returns the row of a name, nil if it has none.
func (b *book[T]) find(name string) (id uint32, row *T) {
	id, ok := b.names.LookupString(name)
	if !ok {
		return 0, nil
	}
	return id, b.row(id)
}

// add makes a row, zero, for a name that has none. It does not keep name.
func (b *book[T]) add(name string) (id uint32, row *T) {
	id = b.names.AcquireString(name)
	at := int(id-1) / blockRows
	for at >= len(b.blocks) {
		b.blocks = append(b.blocks, nil)
	}
	if b.blocks[at] == nil {
		b.blocks[at] = new(block[T])
	}
	b.blocks[at].used++
	return id, b.row(id)
}

// row returns the row of a number that was given out; nil or a zero row when it is
// not in use any more.
func (b *book[T]) row(id uint32) *T {
	bl := b.blocks[(id-1)/blockRows]
	if bl == nil {
		return nil
	}
	return &bl.rows[(id-1)%blockRows]
}

// drop zeroes a row and gives its number back.
func (b *book[T]) drop(id uint32) {
	b.names.Release(id)
	bl := b.blocks[(id-1)/blockRows]
	var zero T
	bl.rows[(id-1)%blockRows] = zero
	if bl.used--; bl.used == 0 {
		b.blocks[(id-1)/blockRows] = nil
	}
}

func (b *book[T]) len() int { return b.names.Len() }

// heldBytes returns the heap bytes held.
func (b *book[T]) heldBytes() int {
	n := b.names.HeldBytes() + cap(b.blocks)*8
	for _, bl := range b.blocks {
		if bl != nil {
			n += int(unsafe.Sizeof(*bl))
		}
	}
	return n
}
