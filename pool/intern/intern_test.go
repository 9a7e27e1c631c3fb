package intern

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestSameStringSameIdCountedTwice(t *testing.T) {
	table := New()
	news := table.Acquire([]byte("news"))
	chat := table.AcquireString("chat")
	if again := table.AcquireString("news"); again != news || chat == news || news != 1 || chat != 2 {
		t.Errorf("ids %d, %d, %d; want 1, 1 again, 2", news, again, chat)
	}
	if table.String(news) != "news" || string(table.Bytes(chat)) != "chat" || table.Refs(news) != 2 {
		t.Errorf("strings %q %q, %d references", table.String(news), table.Bytes(chat), table.Refs(news))
	}
	if table.Release(news) {
		t.Error("gone with one reference left")
	}
	if !table.Release(news) {
		t.Error("not gone with the last reference")
	}
	if id, ok := table.Lookup([]byte("news")); ok || id != 0 {
		t.Errorf("released string is found as %d", id)
	}
	if id, ok := table.LookupString("chat"); !ok || id != chat || table.Refs(chat) != 1 {
		t.Errorf("chat is found as %d with %d references; Lookup must not count", id, table.Refs(chat))
	}
	if other := table.AcquireString("other"); other != news {
		t.Errorf("id %d, want the lowest free one, %d", other, news)
	}
	validate(t, table)
}

func TestIdWithoutReferencePanics(t *testing.T) {
	table := New()
	id := table.AcquireString("x")
	table.Release(id)
	for _, id := range []uint32{0, id, 99, 1<<32 - 1} {
		mustPanic(t, fmt.Sprintf("Release(%d)", id), func() { table.Release(id) })
		mustPanic(t, fmt.Sprintf("Retain(%d)", id), func() { table.Retain(id) })
		if table.Refs(id) != 0 {
			t.Errorf("id %d has references", id)
		}
	}
	id = table.AcquireString("y")
	table.entry(id).refs = 1<<32 - 1
	mustPanic(t, "Retain over the limit", func() { table.Retain(id) })
}

func TestTheCallersBytesAreCopied(t *testing.T) {
	table := New()
	for _, n := range []int{4, 200, 300} {
		s := []byte(strings.Repeat("a", n))
		id := table.Acquire(s)
		s[0] = 'b'
		if got := table.String(id); got != strings.Repeat("a", n) {
			t.Errorf("string of %d bytes changed with the caller's", n)
		}
	}
	validate(t, table)
}

func TestEveryLengthIsKept(t *testing.T) {
	table := New()
	ids := map[int]uint32{}
	for n := range 600 {
		ids[n] = table.AcquireString(strings.Repeat("x", n))
	}
	validate(t, table)
	for n, id := range ids {
		if got := table.Bytes(id); len(got) != n || cap(got) != n && n <= arenaMax {
			t.Errorf("length %d came back as %d (capacity %d)", n, len(got), cap(got))
		}
		if !table.Release(id) {
			t.Errorf("length %d is not gone", n)
		}
	}
	validate(t, table)
	if table.Trim(); table.HeldBytes() != 0 || table.Len() != 0 {
		t.Errorf("%d B held by an empty table after Trim", table.HeldBytes())
	}
	validate(t, table)
}

func TestCollidingStringsSurviveDeletions(t *testing.T) {
	// All in one run of the index, wrapping around its end.
	table := New()
	ids := make([]uint32, 12)
	for i := range ids {
		ids[i] = table.AcquireString(fmt.Sprint("s", i))
	}
	clear(table.index)
	n := len(table.index)
	for i, id := range ids {
		table.entry(id).hash = uint32(n - 3 + i/4) // homes n-3, n-2, n-1
		table.index[(n-3+i)%n] = id
	}
	for i, id := range ids {
		if i%3 == 0 {
			table.unindex(id, table.entry(id).hash)
		}
	}
	for i, id := range ids {
		e := table.entry(id)
		got, _ := table.find(fmt.Sprint("s", i), e.hash)
		if want := id; i%3 == 0 {
			if got != 0 {
				t.Errorf("s%d is still found", i)
			}
		} else if got != want {
			t.Errorf("s%d is found as %d, want %d", i, got, want)
		}
	}
}

func TestMemoryIsGivenBackAfterABurst(t *testing.T) {
	table := New()
	keep := table.AcquireString("keep")
	const burst = 50_000
	for i := range burst {
		table.AcquireString(fmt.Sprint("channel:", i))
	}
	full := table.HeldBytes()
	for i := range burst {
		id, _ := table.LookupString(fmt.Sprint("channel:", i))
		table.Release(id)
	}
	validate(t, table)
	n := table.Trim()
	if left := table.HeldBytes(); left != full-n && left > 100_000 || n == 0 {
		t.Errorf("%d of %d B left, Trim says %d released", left, full, n)
	}
	if left := table.HeldBytes(); left > full/20 {
		t.Errorf("%d of %d B left after the burst", left, full)
	}
	if table.String(keep) != "keep" {
		t.Error("Trim lost a string")
	}
	validate(t, table)
	for i := range 1000 {
		table.AcquireString(fmt.Sprint("again:", i))
	}
	validate(t, table)
}

func TestEachVisitsInOrderAndMayRelease(t *testing.T) {
	table := New()
	for i := range 200 {
		id := table.AcquireString(fmt.Sprint(i))
		if i%2 == 0 {
			table.Retain(id)
		}
	}
	visited, gone := 0, 0
	table.Each(func(id uint32, s []byte, refs int) bool {
		if int(id) != visited+1 || string(s) != fmt.Sprint(visited) || refs != 2-visited%2 {
			t.Fatalf("visit %d: id %d, %q, %d references", visited, id, s, refs)
		}
		visited++
		if table.Release(id) {
			gone++
		}
		return visited < 150
	})
	if visited != 150 || gone != 75 || table.Len() != 125 {
		t.Errorf("visited %d, %d gone, %d left; want 150, 75, 125", visited, gone, table.Len())
	}
	validate(t, table)
}

func TestEntriesHoldNothingToScan(t *testing.T) {
	e := reflect.TypeFor[entry]()
	for i := range e.NumField() {
		if k := e.Field(i).Type.Kind(); k != reflect.Uint32 {
			t.Errorf("field %s is a %v", e.Field(i).Name, k)
		}
	}
}

func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(table *Table){
		"lost from index":    func(table *Table) { clear(table.index) },
		"index of free id":   func(table *Table) { table.index[0], table.index[1] = 60, 61 },
		"used count":         func(table *Table) { table.book.used++ },
		"block dropped":      func(table *Table) { table.entries[0] = nil },
		"hash changed":       func(table *Table) { table.entry(1).hash ^= 1 << 31; table.index = nil; table.rehash(16) },
		"bytes changed":      func(table *Table) { table.Bytes(1)[0]++ },
		"no references":      func(table *Table) { table.entry(2).refs = 0 },
		"same place":         func(table *Table) { table.entry(2).place = table.entry(1).place },
		"arena count":        func(table *Table) { table.arenas[0].used++ },
		"long bytes":         func(table *Table) { table.longSum++ },
		"avail mark":         func(table *Table) { table.book.avail[0] = 0 },
		"low mark":           func(table *Table) { table.book.low = 1 },
		"index length":       func(table *Table) { table.index = table.index[:15] },
		"arena block booked": func(table *Table) { table.arenas[0].held[0] = false },
	} {
		table := New()
		table.AcquireString("one")
		table.AcquireString("two")
		table.AcquireString(strings.Repeat("3", 400))
		damage(table)
		if table.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

// drive performs the operations that bytes spell on a table and on two maps.
func drive(t *testing.T, ops []byte) {
	table := New()
	ids := map[string]uint32{}
	refs := map[uint32]int{}
	names := map[uint32]string{}
	name := func(a, b byte) string { // a few hundred names of many lengths
		return strings.Repeat(string(rune('a'+a%26)), int(b)*3/2) + fmt.Sprint(a>>5)
	}
	for n := 0; len(ops) >= 3 && n < 3000; n++ {
		op, s := ops[0], name(ops[1], ops[2])
		ops = ops[3:]
		id, known := ids[s]
		if got, ok := table.LookupString(s); got != id || ok != known {
			t.Fatalf("Lookup(%q) = %d %v, want %d %v", s, got, ok, id, known)
		}
		switch {
		case op < 120 || !known && op < 250:
			got := table.Acquire([]byte(s))
			if known && got != id || !known && refs[got] != 0 || got == 0 {
				t.Fatalf("Acquire(%q) = %d, which has %d references; known as %d", s, got, refs[got], id)
			}
			ids[s], names[got] = got, s
			refs[got]++
		case op < 150:
			table.Retain(id)
			refs[id]++
		case op < 250:
			refs[id]--
			if gone := table.Release(id); gone != (refs[id] == 0) {
				t.Fatalf("Release(%d) = %v with %d references left", id, gone, refs[id])
			}
			if refs[id] == 0 {
				delete(ids, s)
				delete(refs, id)
				delete(names, id)
			}
		default:
			table.Trim()
		}
	}
	validate(t, table)
	if table.Len() != len(ids) {
		t.Fatalf("%d strings, want %d", table.Len(), len(ids))
	}
	seen := 0
	table.Each(func(id uint32, s []byte, n int) bool {
		if names[id] != string(s) || refs[id] != n {
			t.Fatalf("id %d is %q with %d references, want %q with %d", id, s, n, names[id], refs[id])
		}
		seen++
		return true
	})
	if seen != len(ids) {
		t.Fatalf("Each met %d strings, want %d", seen, len(ids))
	}
}

func TestAgainstMap(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		ops := make([]byte, 6000)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
			if seed%2 == 0 && i%3 == 1 {
				ops[i] &= 7 // few names: long lives
			}
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { drive(t, ops) })
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 10, 0, 2, 200, 130, 1, 10, 240, 1, 10, 240, 1, 10, 255, 0, 0})
	f.Fuzz(drive)
}

func validate(t *testing.T, table *Table) {
	t.Helper()
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	f()
}
