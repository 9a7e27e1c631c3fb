package delta

import (
	"bytes"
	"errors"
	"testing"

	fossil "github.com/shadowspore/fossil-delta"
)

func TestBadDeltasAreRefusedByName(t *testing.T) {
	const source = "hello, world"
	for _, c := range []struct {
		name, delta string
		want        error
	}{
		{"empty", "", ErrSyntax},
		{"no size", "\n0;", ErrSyntax},
		{"size without end", "6", ErrSyntax},
		{"no line feed", "6;", ErrSyntax},
		{"foreign digit", "é\n0;", ErrSyntax},
		{"size over 32 bits", "~~~~~~\n0;", ErrSyntax},
		{"size over the limit", "1000\n0;", ErrSize},
		{"nothing behind the head", "6\n", ErrSyntax},
		{"no checksum", "5\n5@0,", ErrSyntax},
		{"unknown operation", "5\n5!0,", ErrSyntax},
		{"operation without a count", "5\n@0,0;", ErrSyntax},
		{"copy without offset", "5\n5@,0;", ErrSyntax},
		{"copy without end", "5\n5@0", ErrSyntax},
		{"copy behind the source", "5\n5@8,0;", ErrSource},
		{"copy from far behind", "5\n5@3~~~~~,0;", ErrSource},
		{"copy over the size", "4\n5@0,0;", ErrSize},
		{"copy of 4 GiB", "4\n3~~~~~@0,0;", ErrSize},
		{"insert over the size", "4\n5:hello0;", ErrSize},
		{"insert over the end", "5\n5:hell", ErrSyntax},
		{"less than announced", "6\n5:hello0;", ErrSize},
		{"wrong checksum", "5\n5@0,0;", ErrChecksum},
		{"text behind", "0\n0;x", ErrSyntax},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply([]byte("kept"), []byte(source), []byte(c.delta), 100)
			if !errors.Is(err, c.want) || string(got) != "kept" {
				t.Errorf("got %q, %v, want %v", got, err, c.want)
			}
			if err != nil && (err.Error() == "" || err.Error() == Failure(0).Error()) {
				t.Errorf("%v says nothing", err)
			}
		})
	}
}

func TestDeltaIsTiedToItsSource(t *testing.T) {
	source, target := []byte(pairs[4].source), []byte(pairs[4].target)
	delta := Append(nil, source, target)
	for i := range source {
		other := bytes.Clone(source)
		other[i] ^= 1
		if got, err := Apply(nil, other, delta, 0); err == nil && !bytes.Equal(got, target) {
			t.Fatalf("byte %d of the source differs and nobody notices", i)
		}
	}
}

// TestSourcesAroundTheTableSizes: the index changes its form with the length of the source.
func TestSourcesAroundTheTableSizes(t *testing.T) {
	for _, n := range []int{7, 8, 9, 15, 16, 17, 1<<smallBits - 1, 1 << smallBits, 1<<smallBits + 1, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1<<17 + 3} {
		source := []byte(noise(n, 1))
		moved := append(append([]byte("moved: "), source[n/2:]...), source[:n/2]...)
		if delta := check(t, source, moved); n > 1000 && len(delta) > 200 {
			t.Errorf("%d bytes: halves in another order are not found: %d B", n, len(delta))
		}
	}
}

func TestAppendingAllocatesNothingBelow64KiB(t *testing.T) {
	dst, out := make([]byte, 0, 1<<18), make([]byte, 0, 1<<18)
	for _, c := range pairs {
		source, target := []byte(c.source), []byte(c.target)
		if len(source) >= 1<<16 {
			continue
		}
		if n := testing.AllocsPerRun(10, func() {
			delta := Append(dst, source, target)
			if _, err := Apply(out, source, delta, 0); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// FuzzAppend: what is made is applied to the same target, by us and by the stock library, and the other way round.
func FuzzAppend(f *testing.F) {
	for _, c := range pairs {
		if len(c.source)+len(c.target) < 20_000 {
			f.Add([]byte(c.source), []byte(c.target), 0, 0)
		}
	}
	f.Add([]byte(`{"a":1}`), []byte(`Ж`), 3, 100)
	f.Fuzz(func(t *testing.T, source, target []byte, at, repeat int) {
		if repeat > 0 && at >= 0 { // the source with the target put in, so that there is something to find
			at = min(at, len(source))
			mixed := append(bytes.Clone(source[:at]), bytes.Repeat(target, min(repeat, 1<<17/(len(target)+1)))...)
			target = append(mixed, source[at:]...)
		}
		check(t, source, target)
	})
}

// FuzzApply: no panic, no more than allowed, and what is accepted the stock library accepts alike.
func FuzzApply(f *testing.F) {
	f.Add([]byte("hello, world"), []byte("5\n5@0,0;"))
	for _, c := range pairs {
		if len(c.source)+len(c.target) < 5_000 {
			f.Add([]byte(c.source), Append(nil, []byte(c.source), []byte(c.target)))
		}
	}
	f.Fuzz(func(t *testing.T, source, delta []byte) {
		got, err := Apply(nil, source, delta, 1<<16)
		if err != nil {
			if len(got) != 0 {
				t.Fatalf("%v and %q", err, got)
			}
			return
		}
		want, err := fossil.Apply(source, delta)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %q, the stock library %q, %v", got, want, err)
		}
	})
}
