package delta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	fossil "github.com/shadowspore/fossil-delta"
)

// The oracle is github.com/shadowspore/fossil-delta: the library of the stock server and of its Go client.

func json(price, volume int, note string) string {
	return fmt.Sprintf(`{"symbol":"AAPL","exchange":"NASDAQ","price":%d.%02d,"volume":%d,"bid":%d,"ask":%d,"note":%q,"currency":"USD"}`,
		price/100, price%100, volume, price-1, price+1, note)
}

func table1(rows, seed int) string {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	var b strings.Builder
	b.WriteByte('[')
	for i := range rows {
		changed := rng.IntN(10) == 0
		price := 1000 + i*7
		if changed {
			price += seed*rng.IntN(1000) + 1
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"player %d","score":%d,"alive":%v},`, i, i, price, !changed)
	}
	b.WriteString("null]")
	return b.String()
}

func noise(n int, seed uint64) string {
	p, rng := make([]byte, 0, n+8), rand.New(rand.NewPCG(seed, 7))
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, rng.Uint64())
	}
	return string(p[:n])
}

// pairs are payloads as they follow each other, and pairs made to hurt.
var pairs = []struct{ name, source, target string }{
	{"empty", "", ""},
	{"from nothing", "", "hello, world"},
	{"to nothing", "hello, world", ""},
	{"equal", json(10050, 7, "x"), json(10050, 7, "x")},
	{"ticker", json(10050, 123456, "open"), json(10051, 123460, "open")},
	{"ticker grows", json(9999, 999, "open"), json(10000, 1000, "halted <until> further notice")},
	{"small", `{"x":1,"y":2}`, `{"x":1,"y":3}`},
	{"table", table1(40, 1), table1(40, 2)},
	{"medium table", table1(400, 1), table1(400, 2)},
	{"medium table 2", table1(900, 1), table1(900, 2)},
	{"large table", table1(2000, 1), table1(2000, 2)},
	{"lines moved", "alpha beta gamma\n" + noise(200, 1), noise(200, 1) + "alpha beta gamma\n"},
	{"cyrillic", strings.Repeat("Привет, мир. ", 9) + "а" + noise(0, 1), strings.Repeat("Привет, мир. ", 9) + "р"},
	{"emoji", "😀😁😂🤣" + strings.Repeat("😃", 30), "😀😁😂🤤" + strings.Repeat("😄", 30)},
	{"noise", noise(1000, 1), noise(1000, 2)},
	{"zeros", strings.Repeat("\x00", 5000), strings.Repeat("\x00", 4000)},
	{"continuation bytes", strings.Repeat("\x80", 100), strings.Repeat("\x80", 90) + "x" + strings.Repeat("\x80", 20)},
	{"long copy", noise(200_000, 3), noise(200_000, 3) + "!"},
	{"long insert", "x", noise(100_000, 4)},
	{"almost periodic", strings.Repeat(strings.Repeat("a", 40)+"b", 500), strings.Repeat(strings.Repeat("a", 41)+"b", 500)},
}

// check makes the delta and applies it, here and with the stock library, both ways.
func check(t *testing.T, source, target []byte) []byte {
	t.Helper()
	kept := []byte("kept")
	delta := Append(kept, source, target)
	if !bytes.HasPrefix(delta, kept) {
		t.Fatalf("dst was overwritten: %q", delta[:4])
	}
	delta = delta[4:]
	if most := len(target) + 24*(1+len(target)/opBytesMax); len(delta) > most {
		t.Fatalf("delta has %d bytes for a target of %d", len(delta), len(target))
	}
	for _, made := range [][]byte{delta, fossil.Create(source, target)} {
		got, err := Apply(kept, source, made, len(target))
		if err != nil || string(got) != "kept"+string(target) {
			t.Fatalf("Apply(%q): %v, %d bytes, want %d", made, err, len(got)-4, len(target))
		}
		got, err = fossil.Apply(source, made)
		if err != nil || !bytes.Equal(got, target) {
			t.Fatalf("the stock Apply(%q): %v, %d bytes, want %d", made, err, len(got), len(target))
		}
	}
	checkOps(t, delta, len(target))
	if utf8.Valid(target) && !utf8.Valid(delta) {
		t.Fatalf("the delta of a text is no text: %q", delta)
	}
	return delta
}

// checkOps looks at every operation of a good delta.
func checkOps(t *testing.T, delta []byte, size int) {
	t.Helper()
	r := reader{rest: delta}
	if int(r.number()) != size || r.byte() != '\n' {
		t.Fatal("wrong head")
	}
	for {
		n := r.number()
		op := r.byte()
		if op == ';' {
			return
		}
		if n == 0 || n > opBytesMax {
			t.Fatalf("an operation of %d bytes", n)
		}
		if op == ':' {
			r.take(n)
		} else {
			r.number()
			r.expect(',')
		}
	}
}

func TestDeltasAreReadByTheStockLibraryAndTheOtherWayRound(t *testing.T) {
	for _, c := range pairs {
		t.Run(c.name, func(t *testing.T) {
			delta := check(t, []byte(c.source), []byte(c.target))
			stock := fossil.Create([]byte(c.source), []byte(c.target))
			t.Logf("target %d B, delta %d B, stock %d B", len(c.target), len(delta), len(stock))
			check(t, []byte(c.target), []byte(c.source))
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range pairs {
		for _, stock := range []bool{false, true} {
			name, source, target := strings.ReplaceAll(c.name, " ", "-"), []byte(c.source), []byte(c.target)
			if stock {
				name += "/stock"
			}
			b.Run(name, func(b *testing.B) {
				dst := make([]byte, 0, 1<<20)
				b.ReportAllocs()
				b.SetBytes(int64(len(target)))
				n := 0
				for b.Loop() {
					if stock {
						n = len(fossil.Create(source, target))
					} else {
						n = len(Append(dst, source, target))
					}
				}
				b.ReportMetric(float64(n), "B/delta")
			})
		}
	}
}
