package deflate

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/flate"

	"shoal/codec/ws/conform"
)

func codec(t testing.TB, cfg CodecConfig) *Codec {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCompressedMessagesInflateToThemselves(t *testing.T) {
	for level := 1; level <= 9; level++ {
		c := codec(t, CodecConfig{Level: level})
		for name, p := range samples() {
			z, err := c.Compress([]byte("head"), p)
			if err != nil || !bytes.HasPrefix(z, []byte("head")) {
				t.Fatalf("%s at level %d: %v", name, level, err)
			}
			z = z[4:]
			if want, ok := inflatable(z); !ok || !bytes.Equal(want, p) {
				t.Errorf("%s at level %d: the standard library does not inflate it: %d bytes, %t", name, level, len(want), ok)
			}
			if got, err := c.Decompress(nil, z, len(p)); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%s at level %d: %d of %d bytes, %v", name, level, len(got), len(p), err)
			}
		}
	}
}

// A message never refers to an earlier one: the same bytes come out again, in whatever order messages are compressed.
func TestCompressTakesOverNoContext(t *testing.T) {
	for _, level := range []int{1, 2, 3, 4, 5, 6, 7, 9} {
		c := codec(t, CodecConfig{Level: level})
		first := map[string][]byte{}
		for range 3 {
			for name, p := range samples() {
				z, err := c.Compress(nil, p)
				if err != nil {
					t.Fatal(err)
				}
				if first[name] == nil {
					first[name] = z
				}
				if !bytes.Equal(z, first[name]) {
					t.Errorf("%s at level %d: %d bytes, before it were %d", name, level, len(z), len(first[name]))
				}
			}
		}
	}
}

func TestCompressWindowStaysInTheWindow(t *testing.T) {
	c := codec(t, CodecConfig{})
	for bits := uint8(8); bits <= 15; bits++ {
		for name, p := range samples() {
			for _, n := range []int{len(p), 1 << bits, 1<<bits + 1, 3<<bits + 7} {
				p := p[:min(n, len(p))]
				z, err := c.CompressWindow(nil, p, bits)
				if err != nil {
					t.Fatal(err)
				}
				got, farthest, err := conform.Inflate(z)
				if err != nil || !bytes.Equal(got, p) {
					t.Fatalf("%s, %d bits: %d of %d bytes, %v", name, bits, len(got), len(p), err)
				}
				if farthest > 1<<bits {
					t.Errorf("%s, %d bits: a distance of %d", name, bits, farthest)
				}
			}
		}
	}
	for _, bits := range []uint8{0, 7, 16, 255} {
		if out, err := c.CompressWindow([]byte("x"), []byte("y"), bits); err == nil || string(out) != "x" {
			t.Errorf("%d bits: %q, no error", bits, out)
		}
	}
}

func TestEmptyMessageIsOneByte(t *testing.T) { // §7.2.3.6
	z, err := codec(t, CodecConfig{}).Compress(nil, nil)
	if err != nil || string(z) != "\x00" {
		t.Errorf("%x, %v", z, err)
	}
}

func TestCodecConfigNamesWhatIsWrong(t *testing.T) {
	for _, c := range []CodecConfig{{Level: -1}, {Level: 10}, {IdleMax: -1}, {IdleMax: 1025}, {CompressorsMax: -1}} {
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "deflate: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestCodecFromManyGoroutinesKeepsOnlyIdleMax(t *testing.T) {
	c := codec(t, CodecConfig{IdleMax: 2})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			p := []byte(strings.Repeat(fmt.Sprintf("goroutine %d ", g), 50))
			for range 50 {
				z, err := c.Compress(nil, p)
				if err != nil {
					t.Error(err)
				}
				if got, err := c.Decompress(nil, z, len(p)); err != nil || !bytes.Equal(got, p) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	compressors, inflaters := c.Trim()
	if compressors < 1 || compressors > 2 || inflaters < 1 || inflaters > 2 {
		t.Errorf("%d compressors and %d inflaters were kept, IdleMax is 2", compressors, inflaters)
	}
	if a, b := c.Trim(); a+b != 0 {
		t.Errorf("a second Trim found %d and %d", a, b)
	}
}

func TestNoMoreCompressorsThanAllowed(t *testing.T) {
	c := codec(t, CodecConfig{CompressorsMax: 3})
	p := []byte(strings.Repeat("all of them are lent ", 50))
	c.used.Store(2)
	if _, err := c.Compress(nil, p); err != nil {
		t.Errorf("the third: %v", err)
	}
	c.used.Store(3)
	if z, err := c.Compress([]byte("before"), p); err != ErrBusy || string(z) != "before" {
		t.Errorf("the fourth: %d bytes, %v", len(z), err)
	}
	if n := c.used.Load(); n != 3 {
		t.Errorf("%d are lent afterwards", n)
	}
}

func TestCodecDoesNotAllocateInSteadyState(t *testing.T) {
	c := codec(t, CodecConfig{})
	for name, p := range samples() {
		z, _ := c.Compress(nil, p)
		zbuf := make([]byte, 0, 2*len(z)+1000)
		pbuf := make([]byte, 0, len(p)+2*copySlack)
		if n := testing.AllocsPerRun(20, func() {
			c.Compress(zbuf, p)
			c.CompressWindow(zbuf, p, 9)
			if _, err := c.Decompress(pbuf, z, len(p)); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestCompressorMemory keeps the numbers of CodecConfig's comment true.
func TestCompressorMemory(t *testing.T) {
	p := samples()["json"]
	for level := 1; level <= 9; level++ {
		t.Logf("level %d: %d KiB", level, heapOf(func() any {
			z, err := newCompressor(level, 15)
			if err != nil {
				t.Fatal(err)
			}
			z.compress(nil, p)
			return z
		})>>10)
	}
	t.Logf("window: %d KiB", heapOf(func() any {
		z, err := newCompressor(1, 9)
		if err != nil {
			t.Fatal(err)
		}
		z.compress(nil, p)
		return z
	})>>10)
	stdCompressed := stdCompress(t, p, 6)
	t.Logf("inflater: %d B; klauspost's reader: %d B", InflaterBytes, heapOf(func() any {
		r := flate.NewReader(bytes.NewReader(stdCompressed))
		r.Read(make([]byte, 100))
		return r
	}))
	if InflaterBytes > 12<<10 {
		t.Errorf("an inflater holds %d bytes", InflaterBytes)
	}
}

func heapOf(make func() any) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := make()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(v)
	return int(after.HeapAlloc) - int(before.HeapAlloc)
}

func BenchmarkCompress(b *testing.B) {
	for _, name := range []string{"short json", "json"} {
		p := samples()[name]
		for level := 1; level <= 9; level++ {
			b.Run(fmt.Sprintf("%s/level=%d", name, level), func(b *testing.B) {
				c := codec(b, CodecConfig{Level: level})
				z, _ := c.Compress(nil, p)
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					z, _ = c.Compress(z[:0], p)
				}
				b.ReportMetric(100*float64(len(z))/float64(len(p)), "%size")
			})
		}
	}
}

func BenchmarkDecompress(b *testing.B) {
	for _, name := range []string{"short json", "json", "random", "skewed", "zeros"} {
		p := samples()[name]
		z := stdCompress(b, p, 6)
		b.Run(name+"/own", func(b *testing.B) {
			c := codec(b, CodecConfig{})
			out := make([]byte, 0, len(p)+2*copySlack)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decompress(out, z, len(p)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/klauspost", func(b *testing.B) {
			src := bytes.NewReader(nil)
			zr := flate.NewReader(src)
			out := make([]byte, len(p)+1)
			withTail := append(bytes.Clone(z), tail+"\x01\x00\x00\xff\xff"...)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(withTail)
				zr.(flate.Resetter).Reset(src, nil)
				for {
					if _, err := zr.Read(out); err != nil {
						break
					}
				}
			}
		})
	}
}
