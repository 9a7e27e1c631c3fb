package message

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

func TestPayloadsComeBackAsTheyWereMade(t *testing.T) {
	for _, size := range []int{PayloadBytesMin, PayloadBytesMin + 1, 64, 128, 1000, 70_000} {
		f, err := NewFiller(size)
		if err != nil {
			t.Fatal(err)
		}
		for seq := uint32(1); seq < 80; seq++ {
			want := Header{Run: 0xdeadbeef, Conn: seq * 3, Seq: seq, Sent: 1_795_217_481_410_073_130 + int64(seq)}
			p := f.Append(nil, want)
			got, ok := ParseHeader(p)
			if len(p) != size || !json.Valid(p) || !ok || got != want || f.Check(p, got) != nil {
				t.Fatalf("size %d: %d bytes %q read as %+v %v, want %+v", size, len(p), p, got, ok, want)
			}
		}
	}
}

func TestPayloadSizesThatCannotBeAreRefused(t *testing.T) {
	for _, size := range []int{-1, 0, PayloadBytesMin - 1, PayloadBytesMax + 1} {
		if _, err := NewFiller(size); err == nil {
			t.Errorf("%d bytes were accepted", size)
		}
	}
}

func TestEveryAlteredByteIsFound(t *testing.T) {
	f, err := NewFiller(96)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{Run: 7, Conn: 1, Seq: 2, Sent: 3}
	whole := f.Append(nil, want)
	for i := range whole {
		p := bytes.Clone(whole)
		p[i] ^= 1
		got, ok := ParseHeader(p)
		if ok && got == want && f.Check(p, got) == nil {
			t.Errorf("byte %d altered, and nobody saw it: %q", i, p)
		}
	}
	for n := range whole {
		if got, ok := ParseHeader(whole[:n]); ok && f.Check(whole[:n], got) == nil {
			t.Errorf("cut to %d bytes, and nobody saw it", n)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	fill, err := NewFiller(64)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fill.Append(nil, Header{1, 2, 3, 4}))
	f.Add([]byte(`{"lt":"`))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ok := ParseHeader(p)
		if !ok && h != (Header{}) {
			t.Fatalf("no header, but %+v", h)
		}
		if ok && len(p) == 64 && fill.Check(p, h) == nil && !bytes.Equal(fill.Append(nil, h), p) {
			t.Fatalf("%q passes for %q", p, fill.Append(nil, h))
		}
	})
}

// naive is Track without a window: it remembers everything.
type naive struct {
	seen map[uint32]bool
	top  uint32
}

func (n *naive) add(seq uint32) Verdict {
	before := n.top
	n.top = max(n.top, seq)
	switch {
	case seq == 0:
		return Invalid
	case seq == before+1:
		n.seen[seq] = true
		return InOrder
	case seq > before:
		n.seen[seq] = true
		return Ahead
	case before-seq >= WindowSeqs:
		return Ancient
	case n.seen[seq]:
		return Duplicate
	default:
		n.seen[seq] = true
		return Late
	}
}

func TestTrackAgreesWithOneThatForgetsNothing(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var fast Track
		slow := naive{seen: map[uint32]bool{}}
		at := uint32(0)
		for range 500 {
			var seq uint32
			switch r.IntN(8) {
			case 0: // far ahead
				at += uint32(r.IntN(100))
				seq = at
			case 1, 2: // behind
				seq = at - min(at, uint32(r.IntN(90)))
			default:
				at++
				seq = at
			}
			got, want := fast.Add(seq), slow.add(seq)
			if got != want || fast.Got != uint32(len(slow.seen)) {
				t.Fatalf("seed %d: sequence %d at top %d: verdict %d and %d received, want %d and %d", seed, seq, slow.top, got, fast.Got, want, len(slow.seen))
			}
			at = max(at, seq)
			if err := fast.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
