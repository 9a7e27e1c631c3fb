package deflate

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// reference inflates with the standard library: the message, then what stands for the tail the sender cut off, then a final
// block; stream after stream when blocks with BFINAL come earlier (RFC 7692 §7.2.1).
func reference(p []byte, tail string) (out []byte, err error) {
	const end = "\x01\x00\x00\xff\xff"
	r := bytes.NewReader(append(append([]byte(nil), p...), tail+end...))
	for {
		got, err := io.ReadAll(stdflate.NewReaderDict(r, out[max(0, len(out)-1<<15):]))
		out = append(out, got...)
		if err != nil || r.Len() == 0 {
			return out, err
		}
		if r.Len() == len(tail+end) { // the message ended with BFINAL; nothing is missing
			return append(out, strings.Repeat("X", len(tail)-4)...), nil
		}
	}
}

// inflatable says what p must inflate to, or that it must not. That the standard library takes it with 00 00 ff ff behind
// it is not enough: a stored block may have swallowed those as data. So it must also take one byte of stored data there.
func inflatable(p []byte) (want []byte, ok bool) {
	want, err := reference(p, tail)
	if err != nil {
		return nil, false
	}
	more, err := reference(p, "\x01\x00\xfe\xffX")
	if err != nil || string(more) != string(want)+"X" {
		return nil, false
	}
	return want, true
}

// stdCompress is what another implementation sends.
func stdCompress(t testing.TB, p []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := stdflate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(p)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte(tail))
}

func inflate(p []byte, max int) ([]byte, error) { return newInflater().inflate(nil, p, max) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 7692 §7.2.3, and what a peer may do wrong.
func TestInflateByClause(t *testing.T) {
	for _, c := range []struct {
		clause, name, in, want string
		err                    error
	}{
		{"7.2.3.1", "one fixed block", "f2 48 cd c9 c9 07 00", "Hello", nil},
		{"7.2.3.3", "no compression", "00 05 00 fa ff 48 65 6c 6c 6f 00", "Hello", nil},
		{"7.2.3.4", "BFINAL set", "f3 48 cd c9 c9 07 00 00", "Hello", nil},
		{"7.2.3.4", "BFINAL set, the 00 behind it forgotten", "f3 48 cd c9 c9 07 00", "Hello", nil},
		{"7.2.3.5", "two blocks", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00", "Hello", nil},
		{"7.2.3.6", "empty message", "00", "", nil},
		{"7.2.3.6", "empty message, fixed block", "02 00", "", nil},
		{"7.2.1", "a block after a final one refers to it", "f3 48 cd c9 c9 07 00 02 13 00 00", "HelloHello", nil},
		{"7.2.3.2", "refers to an earlier message", "f2 00 11 00 00", "", ErrCorrupt},
		{"7.2.2", "nothing at all", "", "", ErrCorrupt},
		{"7.2.2", "the tail was not removed", "f2 48 cd c9 c9 07 00 00 00 ff ff", "", ErrCorrupt},
		{"7.2.2", "cut in a code", "f2 48 cd c9", "", ErrCorrupt},
		{"7.2.2", "cut behind the last code", "f2 48 cd c9 c9 07", "", ErrCorrupt},
		{"7.2.2", "a stored block that eats the tail", "00 04 00 fb ff", "", ErrCorrupt},
		{"1951 3.2.3", "block type 3", "06 00", "", ErrCorrupt},
		{"1951 3.2.4", "stored lengths disagree", "00 05 00 fa fe 48 65 6c 6c 6f 00", "", ErrCorrupt},
		{"1951 3.2.4", "stored block too short", "00 05 00 fa ff 48 65 6c", "", ErrCorrupt},
		{"1951 3.2.6", "literal/length 286", "1a 03 00", "", ErrCorrupt},
		{"1951 3.2.7", "287 literal codes", "f4 00 00 00 00 00", "", ErrCorrupt},
	} {
		got, err := inflate(unhex(t, c.in), 1<<20)
		if !errors.Is(err, c.err) || c.err == nil && string(got) != c.want {
			t.Errorf("§%s %s: %q, %v; want %q, %v", c.clause, c.name, got, err, c.want, c.err)
		}
	}
}

// samples are the shapes that use every block type, code length and distance.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	skewed := make([]byte, 100_000) // geometric: code lengths up to 15
	for i := range skewed {
		v := 0
		for v < 200 && r.Uint32()&3 != 0 {
			v++
		}
		skewed[i] = byte(v)
	}
	far := append(append([]byte(nil), random[:32768]...), random[:32768]...)
	json := strings.Repeat(`{"push":{"channel":"news","pub":{"data":{"x":1,"y":"äöü"},"offset":17}}}`+"\n", 700)
	return map[string][]byte{
		"empty": {}, "one": {7}, "zeros": make([]byte, 300_000), "random": random, "skewed": skewed, "far": far,
		"json": []byte(json), "short json": []byte(json[:72]), "text": []byte(strings.Repeat("the quick brown fox ", 9)),
	}
}

func TestInflateWhatOthersCompress(t *testing.T) {
	f := newInflater()
	for name, p := range samples() {
		for level := stdflate.HuffmanOnly; level <= 9; level++ {
			z := stdCompress(t, p, level)
			got, err := f.inflate([]byte("before"), z, len(p))
			if err != nil || string(got) != "before"+string(p) {
				t.Errorf("%s at level %d: %d bytes, %v; want %d", name, level, len(got), err, len(p))
			}
			if len(p) == 0 {
				continue
			}
			if got, err := f.inflate([]byte("before"), z, len(p)-1); err != ErrTooLarge || string(got) != "before" {
				t.Errorf("%s at level %d, limit one less: %d bytes, %v", name, level, len(got), err)
			}
		}
	}
}

// Every prefix of a valid stream but the whole is corrupt, or ends where a stored block could begin.
func TestInflateEveryPrefixAgreesWithReference(t *testing.T) {
	for name, p := range samples() {
		p = p[:min(len(p), 500)]
		for _, level := range []int{0, 1, 9, stdflate.HuffmanOnly} {
			z := stdCompress(t, p, level)
			for n := range z {
				checkAgainstReference(t, z[:n])
			}
			if t.Failed() {
				t.Fatalf("%s at level %d", name, level)
			}
		}
	}
}

func TestInflateFlippedBitsAgreeWithReference(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, p := range samples() {
		p = p[:min(len(p), 1500)]
		for _, level := range []int{1, 6, stdflate.HuffmanOnly} {
			z := stdCompress(t, p, level)
			for range 100 {
				m := bytes.Clone(z)
				for range 1 + r.IntN(3) {
					m[r.IntN(len(m))] ^= 1 << r.IntN(8)
				}
				checkAgainstReference(t, m)
			}
		}
	}
}

// checkAgainstReference: z inflates here exactly when it does there, and to the same.
func checkAgainstReference(t *testing.T, z []byte) {
	t.Helper()
	const limit = 1 << 20
	got, err := inflate(z, limit)
	want, ok := inflatable(z)
	switch {
	case errors.Is(err, ErrTooLarge): // possibly before an error that comes later
		if most, _ := reference(z, tail); len(most) <= limit {
			t.Errorf("%x: too large, the reference has %d bytes", z, len(most))
		}
	case (err == nil) != ok || !bytes.Equal(got, want):
		t.Errorf("%x: %d bytes, %v; the reference %d, %t", z, len(got), err, len(want), ok)
	}
}

// R20: the limit counts inflated bytes and memory follows the limit, not the bomb.
func TestBombIsCutAtTheLimit(t *testing.T) {
	bomb := stdCompress(t, make([]byte, 32<<20), 9)
	const limit = 1 << 20
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		f := newInflater()
		for b.Loop() {
			if _, err := f.inflate(nil, bomb, limit); err != ErrTooLarge {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 4*(int64(len(bomb))+limit) {
		t.Errorf("%d bytes allocated for a limit of %d and %d of input", allocated, limit, len(bomb))
	}
}

func TestInflateExtremeLimits(t *testing.T) {
	z := stdCompress(t, []byte("Hello"), 1)
	for _, max := range []int{1<<63 - 1, 1 << 40, 5} {
		if got, err := inflate(z, max); err != nil || string(got) != "Hello" {
			t.Errorf("limit %d: %q, %v", max, got, err)
		}
	}
	for _, max := range []int{-1 << 63, -1, 0, 4} {
		if _, err := inflate(z, max); err != ErrTooLarge {
			t.Errorf("limit %d: %v", max, err)
		}
	}
}
