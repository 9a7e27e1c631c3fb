package shared

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

func TestMemoryReturnsWithTheLastReference(t *testing.T) {
	p := NewPool(Config{})
	b := p.New(10)
	b.Buf = append(b.Buf, "published"...)
	b.Retain()
	b.Release()
	if n, size := p.InUse(); n != 1 || size != 64 || p.Retained() != 0 {
		t.Errorf("with one reference: %d in use of %d B, %d retained", n, size, p.Retained())
	}
	if string(b.Bytes()) != "published" || b.Len() != 9 {
		t.Errorf("bytes %q", b.Bytes())
	}
	b.Release()
	if n, size := p.InUse(); n != 0 || size != 0 || p.Retained() != 64+headerBytes {
		t.Errorf("without reference: %d in use of %d B, %d retained", n, size, p.Retained())
	}
	if again := p.New(64); again != b || again.Len() != 0 {
		t.Error("the memory was not reused")
	}
	validate(t, p)
}

func TestUseAfterReleasePanics(t *testing.T) {
	for _, poisoned := range []bool{false, true} {
		p := NewPool(Config{Poison: poisoned})
		b := p.New(1)
		b.Buf = append(b.Buf, "secret"...)
		view := b.Bytes()
		b.Release()
		if poisoned != (string(view) == strings.Repeat("\xdb", 6)) {
			t.Errorf("poison %v: released bytes read %q", poisoned, view)
		}
		if poisoned {
			mustPanic(t, "Bytes", func() { b.Bytes() })
			if p.New(1) == b {
				t.Error("poisoned memory was given to a new owner")
			}
		}
		mustPanic(t, "Retain", func() { b.Retain() })
		b.refs.Store(0)
		mustPanic(t, "Release", func() { b.Release() })
	}
}

func TestStaticBytesAreNeverPooled(t *testing.T) {
	b := Static([]byte("ping"))
	for range 3 {
		b.Release()
	}
	b.Retain()
	if string(b.Bytes()) != "ping" || b.Len() != 4 {
		t.Errorf("static bytes read %q", b.Bytes())
	}
}

func TestCapacityFollowsClasses(t *testing.T) {
	p := NewPool(Config{})
	for _, c := range []struct{ n, capacity int }{
		{0, 64}, {64, 64}, {65, 128}, {5000, 8192}, {ClassMax, ClassMax}, {ClassMax + 1, ClassMax + 1},
	} {
		b := p.New(c.n)
		if cap(b.Buf) != c.capacity || len(b.Buf) != 0 {
			t.Errorf("New(%d): len %d cap %d, want 0 and %d", c.n, len(b.Buf), cap(b.Buf), c.capacity)
		}
		b.Release()
	}
	validate(t, p)
	b := p.New(0)
	b.Buf = append(b.Buf, make([]byte, 3000)...) // grown by its maker
	b.Release()
	validate(t, p)
	if n, size := p.InUse(); n != 0 || size != 0 {
		t.Errorf("%d in use of %d B at the end", n, size)
	}
}

func TestRetainedBytesAreBounded(t *testing.T) {
	const limit = 50_000
	p := NewPool(Config{RetainedBytesMax: limit})
	burst := make([]*Bytes, 1000)
	for i := range burst {
		burst[i] = p.New(1000)
	}
	for _, b := range burst {
		b.Release()
	}
	validate(t, p)
	if got := p.Retained(); got > limit || got < limit/2 {
		t.Errorf("retained %d B of a burst of 1 MB, want up to %d", got, limit)
	}
	if n := p.Trim(); n == 0 || p.Retained() != 0 {
		t.Errorf("Trim released %d B and left %d", n, p.Retained())
	}
	none := NewPool(Config{RetainedBytesMax: -1})
	none.New(10).Release()
	if none.Retained() != 0 {
		t.Error("retained bytes against the configuration")
	}
	validate(t, none)
	if err := (Config{RetainedBytesMax: -5}).Validate(); err == nil || !strings.Contains(err.Error(), "-5") {
		t.Errorf("bad config: %v", err)
	}
	mustPanic(t, "NewPool of a bad config", func() { NewPool(Config{RetainedBytesMax: -2}) })
}

func TestTableCountsReceiversAndReleasesOnce(t *testing.T) {
	p := NewPool(Config{Poison: true})
	table := NewTable()
	b := p.New(8)
	b.Buf = append(b.Buf, "message!"...)
	r := table.Hold(b)
	if r != 1 || table.Len() != 1 || table.HeldBytes() != 8 || table.Size(r) != 8 {
		t.Errorf("ref %d, len %d, %d B held", r, table.Len(), table.HeldBytes())
	}
	for range 1000 { // receivers
		table.Retain(r)
	}
	table.Release(r) // the fan-out itself
	for range 999 {
		table.Release(r)
	}
	if string(table.Bytes(r)) != "message!" {
		t.Error("bytes lost while a receiver waits")
	}
	validate(t, table)
	table.Release(r)
	if n, _ := p.InUse(); n != 0 || table.Len() != 0 || table.HeldBytes() != 0 {
		t.Errorf("%d Bytes in use, %d refs, %d B held after the last receiver", n, table.Len(), table.HeldBytes())
	}
	mustPanic(t, "Release", func() { table.Release(r) })
	mustPanic(t, "Retain", func() { table.Retain(r) })
	mustPanic(t, "ref 0", func() { table.Release(0) })
	validate(t, table)
	validate(t, p)
}

func TestTableShrinksAfterABurst(t *testing.T) {
	var table Table
	static := Static([]byte("x"))
	for range 10_000 {
		table.Hold(static)
	}
	for r := Ref(10_000); r > 0; r-- {
		if r != 5 && r != 9 {
			table.Release(r)
		}
	}
	if n := table.Trim(); n < 9_000*16 {
		t.Errorf("Trim released %d B", n)
	}
	validate(t, &table)
	for _, want := range []Ref{1, 2, 3, 4, 6, 7, 8, 10} {
		if got := table.Hold(static); got != want {
			t.Errorf("ref %d, want %d", got, want)
		}
	}
	if table.Trim() != 0 {
		t.Error("Trim of a full table released something")
	}
	validate(t, &table)
	label := Label{Group: 3, Key: 7}
	if r := table.HoldAs(static, label); table.Label(r) != label || table.Label(1) != (Label{}) {
		t.Errorf("labels %v and %v", table.Label(r), table.Label(1))
	}
	if n := unsafe.Sizeof(entry{}); n != 24 {
		t.Errorf("an entry takes %d B, want 24", n)
	}
}

// A publication goes to several loops at once; every loop counts its receivers
// and lets go in its own time.
func TestManyLoopsShareOnePublication(t *testing.T) {
	p := NewPool(Config{Poison: true})
	const loops, publications, receivers = 4, 500, 20
	doors := make([]chan *Bytes, loops)
	var group sync.WaitGroup
	for i := range doors {
		doors[i] = make(chan *Bytes, 16)
		group.Go(func() {
			var table Table
			var backlog []Ref
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			for b := range doors[i] {
				r := table.Hold(b)
				for range receivers {
					table.Retain(r)
					backlog = append(backlog, r)
				}
				table.Release(r)
				for len(backlog) > 0 && rnd.IntN(30) != 0 {
					k := rnd.IntN(len(backlog))
					if s := table.Bytes(backlog[k]); s[0] == poison || !bytes.Equal(s, bytes.Repeat(s[:1], len(s))) {
						t.Errorf("receiver reads %q", s)
					}
					table.Release(backlog[k])
					backlog[k] = backlog[len(backlog)-1]
					backlog = backlog[:len(backlog)-1]
				}
			}
			for _, r := range backlog {
				table.Release(r)
			}
			if err := table.Validate(); err != nil || table.Len() != 0 {
				t.Errorf("loop %d: %d refs left, %v", i, table.Len(), err)
			}
		})
	}
	for n := range publications {
		b := p.New(40)
		b.Buf = append(b.Buf, bytes.Repeat([]byte{byte('a' + n%26)}, 1+n%40)...)
		for _, door := range doors {
			b.Retain()
			door <- b
		}
		b.Release()
	}
	for _, door := range doors {
		close(door)
	}
	group.Wait()
	validate(t, p)
	if n, size := p.InUse(); n != 0 || size != 0 {
		t.Errorf("%d Bytes of %d B leaked", n, size)
	}
}

func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(p *Pool){
		"retained":    func(p *Pool) { p.retained++ },
		"in use":      func(p *Pool) { p.inUse = -1 },
		"referenced":  func(p *Pool) { p.free[0][0].refs.Add(1) },
		"wrong class": func(p *Pool) { p.free[1], p.free[0] = p.free[0], nil },
	} {
		p := NewPool(Config{})
		p.New(1).Release()
		damage(p)
		if p.Validate() == nil {
			t.Errorf("pool, %s: Validate saw nothing", name)
		}
	}
	for name, damage := range map[string]func(table *Table){
		"length":    func(table *Table) { table.length++ },
		"bytes":     func(table *Table) { table.held++ },
		"count":     func(table *Table) { table.entries[0].count = 0 },
		"released":  func(table *Table) { table.entries[0].bytes.Release() },
		"free list": func(table *Table) { table.free = 1 },
		"lost free": func(table *Table) { table.free = 0 },
	} {
		p := NewPool(Config{})
		var table Table
		table.Hold(p.New(1))
		table.Release(table.Hold(p.New(1)))
		damage(&table)
		if table.Validate() == nil {
			t.Errorf("table, %s: Validate saw nothing", name)
		}
	}
}

// drive performs the operations that bytes spell on a table and on a naive
// model of it.
func drive(t *testing.T, ops []byte) {
	type held struct {
		content string
		count   int
	}
	p := NewPool(Config{Poison: len(ops)%2 == 0, RetainedBytesMax: 1000})
	var table Table
	want := map[Ref]*held{}
	var order []Ref // one per count
	sum := 0
	for n := 0; len(ops) >= 2 && n < 3000; n++ {
		op, arg := ops[0]&7, int(ops[1])
		ops = ops[2:]
		switch {
		case op < 2 || len(order) == 0:
			b := p.New(arg)
			content := fmt.Sprint(n, strings.Repeat("x", arg))
			b.Buf = append(b.Buf, content...)
			r := table.Hold(b)
			if want[r] != nil || r == 0 {
				t.Fatalf("ref %d given out twice", r)
			}
			want[r] = &held{content, 1}
			order = append(order, r)
			sum += len(content)
		case op < 4:
			r := order[arg%len(order)]
			table.Retain(r)
			want[r].count++
			order = append(order, r)
		case op < 7:
			k := arg % len(order)
			r := order[k]
			order[k] = order[len(order)-1]
			order = order[:len(order)-1]
			if got := string(table.Bytes(r)); got != want[r].content {
				t.Fatalf("ref %d reads %q, want %q", r, got, want[r].content)
			}
			table.Release(r)
			if want[r].count--; want[r].count == 0 {
				sum -= len(want[r].content)
				delete(want, r)
			}
		default:
			table.Trim()
			p.Trim()
		}
	}
	validate(t, &table)
	validate(t, p)
	if n, _ := p.InUse(); int(n) != len(want) || table.Len() != len(want) || table.HeldBytes() != int64(sum) {
		t.Fatalf("%d in use, %d refs, %d B; want %d refs, %d B", n, table.Len(), table.HeldBytes(), len(want), sum)
	}
	for r, h := range want {
		if string(table.Bytes(r)) != h.content {
			t.Fatalf("ref %d reads %q, want %q", r, table.Bytes(r), h.content)
		}
	}
}

func TestTableAgainstMap(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		ops := make([]byte, 1000+seed)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { drive(t, ops) })
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 10, 2, 0, 2, 0, 0, 200, 4, 1, 4, 0, 4, 0, 7, 0, 0, 1})
	f.Fuzz(drive)
}

func validate(t *testing.T, v interface{ Validate() error }) {
	t.Helper()
	if err := v.Validate(); err != nil {
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
