package intern

import "fmt"

// find returns the id of s, or 0 and the index cell where the search ended.
func (t *Table) find(s string, hash uint32) (id uint32, at int) {
	if len(t.index) == 0 {
		return 0, 0
	}
	mask := len(t.index) - 1
	for at = int(hash) & mask; ; at = (at + 1) & mask {
		id = t.index[at]
		if id == 0 {
			return 0, at
		}
		if e := t.entry(id); e.hash == hash && int(e.size) == len(s) && string(t.bytes(id, e)) == s {
			return id, at
		}
	}
}

// unindex takes id out of the index and moves the followers of its run back, so
// that every string stays reachable from its home cell without a gap (Knuth,
// TAOCP 6.4, algorithm R).
func (t *Table) unindex(id, hash uint32) {
	mask := len(t.index) - 1
	at := int(hash) & mask
	for t.index[at] != id {
		at = (at + 1) & mask
	}
	for next := (at + 1) & mask; t.index[next] != 0; next = (next + 1) & mask {
		home := int(t.entry(t.index[next]).hash) & mask
		if (next-home)&mask >= (next-at)&mask { // home is not behind the gap
			t.index[at] = t.index[next]
			at = next
		}
	}
	t.index[at] = 0
}

// rehash makes the index n cells long, a power of two.
func (t *Table) rehash(n int) {
	old := t.index
	t.index = make([]uint32, n)
	for _, id := range old {
		if id == 0 {
			continue
		}
		at := int(t.entry(id).hash) & (n - 1)
		for t.index[at] != 0 {
			at = (at + 1) & (n - 1)
		}
		t.index[at] = id
	}
}

// Validate checks the table against itself: every string is found under its id,
// every place is used once, all counters are right. It is slow and for tests,
// the simulation and debug pages.
func (t *Table) Validate() error {
	err := t.book.validate("entry", func(block int) bool { return block < len(t.entries) && t.entries[block] != nil })
	if err != nil {
		return err
	}
	if n := len(t.index); n&(n-1) != 0 || t.book.used > n/4*3 {
		return fmt.Errorf("intern: index of %d cells for %d strings", n, t.book.used)
	}
	cells := 0
	for at, id := range t.index {
		if id == 0 {
			continue
		}
		cells++
		if !t.book.inUse(id - 1) {
			return fmt.Errorf("intern: index cell %d names id %d, which is not in use", at, id)
		}
	}
	if cells != t.book.used {
		return fmt.Errorf("intern: %d strings, but %d cells in the index", t.book.used, cells)
	}
	return t.validateStrings()
}

func (t *Table) validateStrings() (err error) {
	var places [classes]map[uint32]uint32
	long, longSum := 0, 0
	t.Each(func(id uint32, s []byte, refs int) bool {
		e := t.entry(id)
		if got, _ := t.find(string(s), t.hash(string(s))); got != id {
			err = fmt.Errorf("intern: id %d (%q) is found as %d", id, s, got)
		} else if refs < 1 || int(e.size) != len(s) {
			err = fmt.Errorf("intern: id %d (%q) has %d references and size %d", id, s, refs, e.size)
		} else if e.size > arenaMax {
			long++
			longSum += len(s)
		} else {
			k := classFor(len(s))
			if places[k] == nil {
				places[k] = make(map[uint32]uint32)
			}
			if other, dup := places[k][e.place]; dup || !t.arenas[k].inUse(e.place) {
				err = fmt.Errorf("intern: id %d has place %d of class %d, which is free or also of id %d", id, e.place, classBytes[k], other)
			}
			places[k][e.place] = id
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if long != len(t.long) || longSum != t.longSum {
		return fmt.Errorf("intern: counts %d long strings of %d bytes, found %d of %d", len(t.long), t.longSum, long, longSum)
	}
	for k := range t.arenas {
		a := &t.arenas[k]
		if a.used != len(places[k]) {
			return fmt.Errorf("intern: arena of %d B counts %d places, %d strings use it", classBytes[k], a.used, len(places[k]))
		}
		exists := func(block int) bool { return block < len(a.memory) && a.memory[block] != nil }
		if err := a.validate(fmt.Sprintf("%d B", classBytes[k]), exists); err != nil {
			return err
		}
	}
	return nil
}
