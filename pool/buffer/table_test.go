package buffer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestIndicesStartAtOneAndAreReused(t *testing.T) {
	p := New(Config{})
	table := NewTable(p)
	for want := uint32(1); want <= 3; want++ {
		if got := table.Borrow(10); got != want {
			t.Errorf("index %d, want %d", got, want)
		}
	}
	table.Return(2)
	if table.Len() != 2 {
		t.Errorf("%d borrowed, want 2", table.Len())
	}
	mustPanic(t, "Return twice", func() { table.Return(2) })
	mustPanic(t, "Return of none", func() { table.Return(0) })
	if got := table.Borrow(10); got != 2 {
		t.Errorf("index %d, want 2 again", got)
	}
	table.Grow(2, 5000)
	if cap(table.At(2).B) < 5000 {
		t.Error("no room after Grow")
	}
	validate(t, table)
	validate(t, p)
}

func TestTableShrinksAfterABurst(t *testing.T) {
	table := NewTable(New(Config{}))
	for range 10_000 {
		table.Borrow(1)
	}
	for i := uint32(10_000); i > 0; i-- {
		if i != 5 && i != 9 {
			table.Return(i)
		}
	}
	if n := table.Trim(); n < 9_000*16 {
		t.Errorf("Trim released %d B, want about %d", n, 10_000*16)
	}
	validate(t, table)
	for _, want := range []uint32{1, 2, 3, 4, 6, 7, 8, 10} {
		if got := table.Borrow(1); got != want {
			t.Errorf("index %d, want %d", got, want)
		}
	}
	if table.Trim() != 0 {
		t.Error("Trim of a full table released something")
	}
	validate(t, table)
}

func TestTableValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(table *Table){
		"length":        func(table *Table) { table.length++ },
		"same buffer":   func(table *Table) { table.entries[0] = table.entries[1] },
		"put behind it": func(table *Table) { table.pool.Put(table.At(1)) },
		"free list":     func(table *Table) { table.free = 1 },
		"lost free":     func(table *Table) { table.free = 0 },
	} {
		table := NewTable(New(Config{}))
		table.Borrow(1)
		table.Borrow(1)
		table.Borrow(1)
		table.Return(3)
		damage(table)
		if table.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

// drive performs the operations that bytes spell on a table and on a map of
// byte slices.
func drive(t *testing.T, ops []byte) {
	p := New(Config{ClassMin: 64, ClassMax: 512, RetainedBytesMax: 2000})
	table := NewTable(p)
	want := map[uint32][]byte{}
	var order []uint32
	for n := 0; len(ops) >= 2 && n < 2000; n++ {
		op, arg := ops[0]&7, int(ops[1])
		pick := int(ops[0] >> 3)
		ops = ops[2:]
		if op < 3 || len(order) == 0 {
			i := table.Borrow(arg * 3)
			if _, dup := want[i]; dup || i == 0 || len(table.At(i).B) != 0 || cap(table.At(i).B) < arg*3 {
				t.Fatalf("Borrow(%d) gave index %d, borrowed before: %v", arg*3, i, dup)
			}
			want[i] = nil
			order = append(order, i)
			continue
		}
		k := pick % len(order)
		i := order[k]
		switch b := table.At(i); op {
		case 3: // append, in place or beyond
			add := bytes.Repeat([]byte{byte(n)}, arg)
			b.B = append(b.B, add...)
			want[i] = append(want[i], add...)
		case 4:
			table.Grow(i, arg*2)
			if cap(b.B)-len(b.B) < arg*2 {
				t.Fatalf("room for %d after Grow(%d)", cap(b.B)-len(b.B), arg*2)
			}
		case 5:
			cut := min(arg, len(b.B))
			b.B, want[i] = b.B[cut:], want[i][cut:]
		case 6:
			if !bytes.Equal(b.B, want[i]) {
				t.Fatalf("index %d has %d bytes, want %d", i, len(b.B), len(want[i]))
			}
			table.Return(i)
			delete(want, i)
			order[k] = order[len(order)-1]
			order = order[:len(order)-1]
		case 7:
			table.Trim()
			if arg&1 == 0 {
				p.Trim()
			}
		}
	}
	validate(t, table)
	validate(t, p)
	for i, content := range want {
		if !bytes.Equal(table.At(i).B, content) {
			t.Fatalf("index %d has %d bytes, want %d", i, len(table.At(i).B), len(content))
		}
	}
	if n, _ := p.InUse(); int(n) != len(want) || table.Len() != len(want) {
		t.Fatalf("%d buffers in use, table says %d, want %d", n, table.Len(), len(want))
	}
}

func TestTableAgainstMap(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		ops := make([]byte, 1000)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { drive(t, ops) })
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 10, 3, 200, 4, 90, 5, 7, 6, 0, 7, 0})
	f.Fuzz(drive)
}
