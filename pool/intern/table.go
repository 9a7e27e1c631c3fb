package intern

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"unsafe"
)

const (
	entryBytes = 16
	entryShift = 9  // a block of entries is 512 of them, 8 KiB
	indexLeast = 16 // smallest index, a power of two
	// BytesMax is the length of the longest string that can be interned.
	BytesMax = 1<<31 - 1
)

// entry is one string. The number of an entry is its id minus one.
type entry struct {
	hash  uint32
	refs  uint32
	place uint32 // in the arena of its length's class
	size  uint32 // length in bytes; over arenaMax: the bytes are in Table.long
}

var _ = [1]struct{}{}[entryBytes-unsafe.Sizeof(entry{})]

// Table maps strings to ids and back. It must be made by [New]. It is not safe
// for concurrent use.
type Table struct {
	seed    maphash.Seed
	index   []uint32 // ids; 0 = empty; length a power of two, or none yet
	book    slots
	entries []*[1 << entryShift]entry // nil = dropped
	arenas  [classes]arena
	long    map[uint32][]byte // by id
	longSum int               // bytes of the long strings
}

// New returns an empty table, which holds no memory.
func New() *Table { return empty(maphash.MakeSeed()) }

func empty(seed maphash.Seed) *Table {
	t := &Table{seed: seed, book: slots{shift: entryShift - groupShift}}
	for k := range t.arenas {
		t.arenas[k].shift = blockShift(classBytes[k])
	}
	return t
}

// Acquire returns the id of s, at least 1, and counts one reference to it. A
// string not known yet is copied; the lowest free id is used. It allocates
// nothing in the steady state, unless s is longer than 256 bytes.
// It panics when s is longer than BytesMax.
func (t *Table) Acquire(s []byte) (id uint32) {
	return t.acquire(unsafe.String(unsafe.SliceData(s), len(s)))
}

// AcquireString is Acquire for a string.
func (t *Table) AcquireString(s string) (id uint32) { return t.acquire(s) }

// Lookup returns the id of s without counting a reference; ok is false when the
// table does not have s.
func (t *Table) Lookup(s []byte) (id uint32, ok bool) {
	return t.LookupString(unsafe.String(unsafe.SliceData(s), len(s)))
}

// LookupString is Lookup for a string.
func (t *Table) LookupString(s string) (id uint32, ok bool) {
	id, _ = t.find(s, t.hash(s))
	return id, id != 0
}

// Retain counts one more reference to id, which must have one.
func (t *Table) Retain(id uint32) {
	e := t.live(id, "Retain")
	if e.refs == 1<<32-1 {
		panic(fmt.Sprintf("intern: id %d has %d references, the most that can be counted", id, e.refs))
	}
	e.refs++
}

// Release gives one reference to id back. With the last one the string is
// forgotten, gone is true, and the id may name another string from now on.
func (t *Table) Release(id uint32) (gone bool) {
	e := t.live(id, "Release")
	if e.refs--; e.refs > 0 {
		return false
	}
	t.unindex(id, e.hash)
	if e.size > arenaMax {
		t.longSum -= len(t.long[id])
		delete(t.long, id)
	} else {
		t.arenas[classFor(int(e.size))].release(e.place)
	}
	t.book.release(id - 1)
	if n := len(t.index); n > indexLeast && t.book.used < n/8 {
		t.rehash(n / 2)
	}
	return true
}

// Bytes returns the string of an id that has a reference. The bytes must not be
// changed and are good until the last reference is released.
func (t *Table) Bytes(id uint32) []byte { return t.bytes(id, t.entry(id)) }

// String returns a copy of the string of an id that has a reference.
func (t *Table) String(id uint32) string { return string(t.Bytes(id)) }

// Refs returns how many references id has, 0 when it is not in use.
func (t *Table) Refs(id uint32) int {
	if id == 0 || !t.book.inUse(id-1) {
		return 0
	}
	return int(t.entry(id).refs)
}

// Len returns the number of strings.
func (t *Table) Len() int { return t.book.used }

// HeldBytes returns the heap bytes held, free places included.
func (t *Table) HeldBytes() int {
	n := cap(t.index)*4 + t.book.bytes() + t.book.blocks*t.book.blockSlots()*entryBytes + cap(t.entries)*8
	for k := range t.arenas {
		n += t.arenas[k].bytes(classBytes[k])
	}
	return n + t.longSum + len(t.long)*longHeader
}

// Each calls f for every string in rising order of ids until f returns false. s
// is as from Bytes. f may release id, but nothing else of the table.
func (t *Table) Each(f func(id uint32, s []byte, refs int) bool) {
	for group := 0; group < len(t.book.free); group++ {
		for used := ^t.book.free[group]; used != 0; used &= used - 1 {
			id := uint32(group<<groupShift|bits.TrailingZeros64(used)) + 1
			e := t.entry(id)
			if !f(id, t.bytes(id, e), int(e.refs)) {
				return
			}
		}
	}
}

// Trim gives back blocks without a string and what the index does not need, and
// returns how many bytes that were.
func (t *Table) Trim() int {
	before := t.HeldBytes()
	t.book.trim(func(block int) { t.entries[block] = nil })
	for k := range t.arenas {
		t.arenas[k].trim()
	}
	want := indexLeast
	for want/4*3 < t.book.used {
		want *= 2
	}
	if t.book.used == 0 {
		*t = *empty(t.seed)
	} else if want < len(t.index) {
		t.rehash(want)
	}
	return max(before-t.HeldBytes(), 0)
}

func (t *Table) hash(s string) uint32 { return uint32(maphash.String(t.seed, s)) }

func (t *Table) entry(id uint32) *entry {
	return &t.entries[(id-1)>>entryShift][(id-1)&(1<<entryShift-1)]
}

// live returns the entry of an id in use and panics for any other.
func (t *Table) live(id uint32, what string) *entry {
	if id == 0 || !t.book.inUse(id-1) {
		panic(fmt.Sprintf("intern: %s of id %d, which is not in use (%d strings)", what, id, t.book.used))
	}
	return t.entry(id)
}

func (t *Table) bytes(id uint32, e *entry) []byte {
	n := int(e.size)
	if n > arenaMax {
		return t.long[id]
	}
	k := classFor(n)
	return t.arenas[k].at(e.place, classBytes[k], n)
}

// acquire does not keep s.
func (t *Table) acquire(s string) uint32 {
	hash := t.hash(s)
	if id, _ := t.find(s, hash); id != 0 {
		t.Retain(id)
		return id
	}
	if len(s) > BytesMax {
		panic(fmt.Sprintf("intern: string of %d bytes; the limit is %d", len(s), BytesMax))
	}
	if n := len(t.index); t.book.used >= n/4*3 {
		t.rehash(max(2*n, indexLeast))
	}
	slot, grown := t.book.alloc()
	if grown {
		block, _ := t.book.block(slot)
		for block >= len(t.entries) {
			t.entries = append(t.entries, nil)
		}
		t.entries[block] = new([1 << entryShift]entry)
	}
	id := slot + 1
	e := t.entry(id)
	*e = entry{hash: hash, refs: 1, size: uint32(len(s))}
	if len(s) > arenaMax {
		if t.long == nil {
			t.long = make(map[uint32][]byte)
		}
		t.long[id] = []byte(s)
		t.longSum += len(s)
	} else {
		k := classFor(len(s))
		e.place = t.arenas[k].alloc(classBytes[k])
		copy(t.bytes(id, e), s)
	}
	_, at := t.find(s, hash) // the empty cell it ended at; rehash may have moved it
	t.index[at] = id
	return id
}
