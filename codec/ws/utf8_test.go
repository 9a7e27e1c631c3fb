package ws

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every code point, and everything of four bytes that looks like one, against the standard library, byte by byte.
func TestUTF8EveryLeadAndSecondByte(t *testing.T) {
	for lead := range 256 {
		for second := range 256 {
			for _, rest := range []string{"", "\x80", "\x80\x80", "\xbf\xbf", "\x80\x7f", "\xc0"} {
				checkUTF8(t, []byte{byte(lead), byte(second)}, []byte(rest))
			}
		}
	}
}

func checkUTF8(t *testing.T, pieces ...[]byte) {
	t.Helper()
	var u, bytewise UTF8
	var all []byte
	ok, okBytewise := true, true
	for _, p := range pieces {
		all = append(all, p...)
		ok = u.Push(p)
		for i := range p {
			okBytewise = bytewise.Push(p[i : i+1])
		}
	}
	if ok != okBytewise || ok && u != bytewise {
		t.Fatalf("%x: %t in pieces, %t byte by byte", all, ok, okBytewise)
	}
	if got, want := ok && u.Complete(), utf8.Valid(all); got != want {
		t.Fatalf("%x: %t, want %t", all, got, want)
	}
	if want := couldBecomeUTF8(all); ok != want {
		t.Fatalf("%x: Push says %t, want %t", all, ok, want)
	}
}

func TestUTF8FailureLasts(t *testing.T) {
	var u UTF8
	if u.Push([]byte("a\xff")) || u.Push([]byte("a")) || u.Push([]byte("\x00\x01")) || u.Complete() {
		t.Error("a failed text was accepted")
	}
	if u = (UTF8{}); !u.Push([]byte("a")) || !u.Complete() {
		t.Error("the zero value does not start again")
	}
	var empty UTF8
	if !empty.Push(nil) || !empty.Complete() {
		t.Error("the empty text is valid")
	}
}

func FuzzUTF8(f *testing.F) {
	for _, s := range []string{"", "abc", "κόσμε", "😀😀", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe2\x82", "\xf0\x9f\x98"} {
		f.Add([]byte(s), uint8(1), uint8(2))
	}
	f.Fuzz(func(t *testing.T, b []byte, i, j uint8) {
		x := min(int(i), len(b))
		y := min(x+int(j), len(b))
		checkUTF8(t, b[:x], b[x:y], b[y:])
	})
}

func BenchmarkUTF8(b *testing.B) {
	for name, s := range map[string]string{"ascii": "the quick brown fox ", "greek": "κόσμε και ", "emoji": "😀😁😂"} {
		for _, n := range []int{64, 4096} {
			p := []byte(strings.Repeat(s, n/len(s)+1))
			b.Run(fmt.Sprintf("%s/bytes=%d", name, len(p)), func(b *testing.B) {
				b.SetBytes(int64(len(p)))
				for b.Loop() {
					var u UTF8
					if !u.Push(p) {
						b.Fatal("invalid")
					}
				}
			})
		}
	}
}
