package engine

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

func TestPayloadsComeBackAsTheyWereMade(t *testing.T) {
	for _, size := range []int{PayloadBytesMin, PayloadBytesMin + 1, 64, 128, 1000, 70_000} {
		f, err := newFiller(size)
		if err != nil {
			t.Fatal(err)
		}
		for seq := uint32(1); seq < 80; seq++ {
			want := header{run: 0xdeadbeef, conn: seq * 3, seq: seq, sent: 1_795_217_481_410_073_130 + int64(seq)}
			p := f.append(nil, want)
			got, ok := parseHeader(p)
			if len(p) != size || !json.Valid(p) || !ok || got != want || f.check(p, got) != nil {
				t.Fatalf("size %d: %d bytes %q read as %+v %v, want %+v", size, len(p), p, got, ok, want)
			}
		}
	}
}

func TestPayloadSizesThatCannotBeAreRefused(t *testing.T) {
	for _, size := range []int{-1, 0, PayloadBytesMin - 1, PayloadBytesMax + 1} {
		if _, err := newFiller(size); err == nil {
			t.Errorf("%d bytes were accepted", size)
		}
	}
}

func TestEveryAlteredByteIsFound(t *testing.T) {
	f, err := newFiller(96)
	if err != nil {
		t.Fatal(err)
	}
	want := header{run: 7, conn: 1, seq: 2, sent: 3}
	whole := f.append(nil, want)
	for i := range whole {
		p := bytes.Clone(whole)
		p[i] ^= 1
		got, ok := parseHeader(p)
		if ok && got == want && f.check(p, got) == nil {
			t.Errorf("byte %d altered, and nobody saw it: %q", i, p)
		}
	}
	for n := range whole {
		if got, ok := parseHeader(whole[:n]); ok && f.check(whole[:n], got) == nil {
			t.Errorf("cut to %d bytes, and nobody saw it", n)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	fill, err := newFiller(64)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fill.append(nil, header{1, 2, 3, 4}))
	f.Add([]byte(`{"lt":"`))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ok := parseHeader(p)
		if !ok && h != (header{}) {
			t.Fatalf("no header, but %+v", h)
		}
		if ok && len(p) == 64 && fill.check(p, h) == nil && !bytes.Equal(fill.append(nil, h), p) {
			t.Fatalf("%q passes for %q", p, fill.append(nil, h))
		}
	})
}

// naive is track without a window: it remembers everything.
type naive struct {
	seen map[uint32]bool
	top  uint32
}

func (n *naive) add(seq uint32) verdict {
	before := n.top
	n.top = max(n.top, seq)
	switch {
	case seq == 0:
		return invalid
	case seq == before+1:
		n.seen[seq] = true
		return inOrder
	case seq > before:
		n.seen[seq] = true
		return ahead
	case before-seq >= windowSeqs:
		return ancient
	case n.seen[seq]:
		return duplicate
	default:
		n.seen[seq] = true
		return late
	}
}

func TestTrackAgreesWithOneThatForgetsNothing(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var fast track
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
			got, want := fast.add(seq), slow.add(seq)
			if got != want || fast.got != uint32(len(slow.seen)) {
				t.Fatalf("seed %d: sequence %d at top %d: verdict %d and %d received, want %d and %d", seed, seq, slow.top, got, fast.got, want, len(slow.seen))
			}
			at = max(at, seq)
			if err := fast.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
