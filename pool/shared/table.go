package shared

import "fmt"

// Ref names a [Bytes] held by a [Table], from 1 on; 0 is none.
type Ref uint32

// Table is one loop's numbers for shared bytes, with the loop's own counts. The
// zero value is empty and ready. It is not safe for concurrent use. An entry
// takes 24 B.
type Table struct {
	entries []entry // Ref-1 is the index
	free    uint32  // head of the free entries, a Ref; 0 = none
	length  int
	held    int64
}

// entry: with bytes nil it is free and count is the next free Ref.
type entry struct {
	bytes *Bytes
	count uint32
	group uint32 // of its Label
	key   uint64
}

// Label says what bytes are about, to those who look through a backlog. The zero value
// says nothing.
type Label struct {
	Group uint32 // such as a channel; 0 none
	Key   uint64 // within the group; 0 none
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{} }

// Hold enters b with a count of one and takes over the caller's reference to
// it. Holding the same Bytes twice gives two numbers.
func (t *Table) Hold(b *Bytes) Ref { return t.HoldAs(b, Label{}) }

// HoldAs is Hold with a label.
func (t *Table) HoldAs(b *Bytes, label Label) Ref {
	r := t.free
	if r != 0 {
		e := &t.entries[r-1]
		t.free = e.count
		*e = entry{b, 1, label.Group, label.Key}
	} else {
		t.entries = append(t.entries, entry{b, 1, label.Group, label.Key})
		r = uint32(len(t.entries))
	}
	t.length++
	t.held += int64(len(b.Buf))
	return Ref(r)
}

// Retain adds one to the count of r.
func (t *Table) Retain(r Ref) {
	e := &t.entries[r-1]
	if e.bytes == nil || e.count == 1<<32-1 {
		panic(fmt.Sprintf("shared: Retain of ref %d, which is free or counted to the limit", r))
	}
	e.count++
}

// Release takes one from the count of r. At zero the table's reference to the
// Bytes is released and the number may be given out again.
func (t *Table) Release(r Ref) {
	e := &t.entries[r-1]
	b := e.bytes
	if b == nil {
		panic(fmt.Sprintf("shared: Release of ref %d, which is free", r))
	}
	if e.count--; e.count > 0 {
		return
	}
	*e = entry{count: t.free}
	t.free = uint32(r)
	t.length--
	t.held -= int64(len(b.Buf))
	b.Release()
}

// Bytes returns the bytes of r, good until the count the caller relies on is
// released. They must not be changed.
func (t *Table) Bytes(r Ref) []byte { return t.entries[r-1].bytes.Bytes() }

// Size returns the number of bytes of r.
func (t *Table) Size(r Ref) int { return len(t.entries[r-1].bytes.Buf) }

// Label returns what r was held as.
func (t *Table) Label(r Ref) Label {
	e := &t.entries[r-1]
	return Label{Group: e.group, Key: e.key}
}

// Len returns how many numbers are in use.
func (t *Table) Len() int { return t.length }

// HeldBytes returns the sum of their sizes: what the loop's backlogs keep alive,
// each run of bytes counted once however many receivers wait for it.
func (t *Table) HeldBytes() int64 { return t.held }

// Trim gives back the entries above the highest number in use and returns how
// many bytes of table that were.
func (t *Table) Trim() int {
	n := len(t.entries)
	for n > 0 && t.entries[n-1].bytes == nil {
		n--
	}
	before := cap(t.entries)
	if before <= 2*n {
		return 0
	}
	t.entries = append(make([]entry, 0, n), t.entries[:n]...)
	t.free = 0
	for i := n; i > 0; i-- { // lowest number first
		if e := &t.entries[i-1]; e.bytes == nil {
			e.count = t.free
			t.free = uint32(i)
		}
	}
	return (before - cap(t.entries)) * 24
}

// Validate checks the table against itself. It is slow and for tests, the
// simulation and debug pages.
func (t *Table) Validate() error {
	used, held := 0, int64(0)
	for i, e := range t.entries {
		if e.bytes == nil {
			continue
		}
		used++
		held += int64(len(e.bytes.Buf))
		if e.count == 0 {
			return fmt.Errorf("shared: ref %d is held with a count of 0", i+1)
		}
		if e.bytes.pool != nil && e.bytes.refs.Load() < 1 {
			return fmt.Errorf("shared: ref %d holds Bytes that were released", i+1)
		}
	}
	if used != t.length || held != t.held {
		return fmt.Errorf("shared: counts %d refs of %d bytes, found %d of %d", t.length, t.held, used, held)
	}
	free := 0
	for r := t.free; r != 0; r = t.entries[r-1].count {
		if int(r) > len(t.entries) || t.entries[r-1].bytes != nil || free > len(t.entries) {
			return fmt.Errorf("shared: the free list is broken at ref %d", r)
		}
		free++
	}
	if free+used != len(t.entries) {
		return fmt.Errorf("shared: %d refs in use and %d free, of %d", used, free, len(t.entries))
	}
	return nil
}
