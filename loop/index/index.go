package index

import "sync/atomic"

const (
	pageShift   = 12
	pageEntries = 1 << pageShift
	pagesMax    = 4096
	descriptors = pageEntries * pagesMax // 16.7 million
)

// Index leads from a descriptor to an entry, a number that is not 0. The loops of a group share one, since descriptor
// numbers are the process's: 4 B per descriptor however many loops there are. (A loop whose descriptors are its own has one
// of its own.) An entry is written by the loop that owns the descriptor. When the number moves to another loop the kernel
// orders the two, which the memory model does not know: hence atomics (plain loads on amd64 and arm64, an exchange per open
// and close).
//
// An entry may belong to another loop (a stale event whose descriptor was reused there): the reader compares the
// descriptor in the slot it is led to.
type Index struct {
	pages [pagesMax]atomic.Pointer[[pageEntries]atomic.Uint32]
}

// Get returns the entry, 0 if there is none.
func (x *Index) Get(fd int) uint32 {
	if uint(fd) >= descriptors {
		return 0
	}
	page := x.pages[fd>>pageShift].Load()
	if page == nil {
		return 0
	}
	return page[fd&(pageEntries-1)].Load()
}

// Set returns false when the descriptor is beyond the index.
func (x *Index) Set(fd int, entry uint32) bool {
	if uint(fd) >= descriptors {
		return false
	}
	at := &x.pages[fd>>pageShift]
	page := at.Load()
	if page == nil {
		at.CompareAndSwap(nil, new([pageEntries]atomic.Uint32))
		page = at.Load()
	}
	page[fd&(pageEntries-1)].Store(entry)
	return true
}

// Clear takes an entry out.
func (x *Index) Clear(fd int) { x.Set(fd, 0) }

// Bytes is the memory held by pages.
func (x *Index) Bytes() int {
	n := 0
	for i := range x.pages {
		if x.pages[i].Load() != nil {
			n += pageEntries * 4
		}
	}
	return n
}
