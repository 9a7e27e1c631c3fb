package buffer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func TestGetGivesTheSmallestClassThatFits(t *testing.T) {
	p := New(Config{ClassMin: 128, ClassMax: 1024})
	for _, c := range []struct{ n, capacity int }{
		{0, 128}, {1, 128}, {128, 128}, {129, 256}, {1000, 1024}, {1024, 1024}, {1025, 1025}, {5000, 5000},
	} {
		b := p.Get(c.n)
		if len(b.B) != 0 || cap(b.B) != c.capacity {
			t.Errorf("Get(%d): len %d cap %d, want 0 and %d", c.n, len(b.B), cap(b.B), c.capacity)
		}
		p.Put(b)
	}
	validate(t, p)
}

func TestBufferComesBackAfterPut(t *testing.T) {
	p := New(Config{})
	b := p.Get(300)
	b.B = append(b.B, "something"...)
	p.Put(b)
	again := p.Get(400)
	if again != b || len(again.B) != 0 {
		t.Errorf("got another buffer, or one with %d bytes of content", len(again.B))
	}
	validate(t, p)
}

func TestPutTwicePanics(t *testing.T) {
	p := New(Config{})
	b := p.Get(10)
	p.Put(b)
	mustPanic(t, "second Put", func() { p.Put(b) })
	validate(t, p)
}

func TestInUseCountsPerClass(t *testing.T) {
	p := New(Config{ClassMin: 64, ClassMax: 256})
	small, big, huge := p.Get(10), p.Get(200), p.Get(1000)
	if n, size := p.InUse(); n != 3 || size != 64+256+1000 {
		t.Errorf("in use %d buffers of %d B, want 3 of %d", n, size, 64+256+1000)
	}
	got := fmt.Sprint(p.Stats(nil))
	if want := "[{64 1 64 0} {128 0 0 0} {256 1 256 0} {0 1 1000 0}]"; got != want {
		t.Errorf("stats %s, want %s", got, want)
	}
	// Growing by append changes what is held, not what was lent.
	small.B = append(small.B, make([]byte, 100)...)
	for _, b := range []*Buffer{small, big, huge} {
		p.Put(b)
	}
	if n, size := p.InUse(); n != 0 || size != 0 {
		t.Errorf("in use %d buffers of %d B after all were put", n, size)
	}
	validate(t, p)
}

func TestGrowKeepsContentAndReturnsTheOldMemory(t *testing.T) {
	p := New(Config{ClassMin: 64, ClassMax: 256})
	b := p.Get(64)
	var want []byte
	for i := range 600 {
		p.Grow(b, 1)
		if cap(b.B) == len(b.B) {
			t.Fatal("no room after Grow")
		}
		b.B = append(b.B, byte(i))
		want = append(want, byte(i))
	}
	if !bytes.Equal(b.B, want) {
		t.Error("content changed while growing")
	}
	if n, size := p.InUse(); n != 1 || size < 600 || size > 1200 {
		t.Errorf("in use %d buffers of %d B, want the one that grew", n, size)
	}
	if got := p.Retained(); got < 64+128+256 {
		t.Errorf("retained %d B, want the memory outgrown", got)
	}
	p.Put(b)
	validate(t, p)
}

func TestMemoryIsKeptWhateverTheBorrowerDidToB(t *testing.T) {
	for name, change := range map[string]func(b *Buffer){
		"front cut off": func(b *Buffer) { b.B = append(b.B, "0123456789"...)[5:] },
		"set to nil":    func(b *Buffer) { b.B = nil },
		"outgrown":      func(b *Buffer) { b.B = make([]byte, 1<<20) },
	} {
		p := New(Config{})
		b := p.Get(256)
		change(b)
		p.Put(b)
		validate(t, p)
		if got, want := p.Retained(), 256+headerBytes; got != want {
			t.Errorf("%s: retained %d B, want %d", name, got, want)
		}
	}
}

func TestRetainedMemoryIsBounded(t *testing.T) {
	const limit = 100_000
	p := New(Config{RetainedBytesMax: limit})
	burst := make([]*Buffer, 2000)
	for i := range burst {
		burst[i] = p.Get(4096)
	}
	for _, b := range burst {
		p.Put(b)
	}
	validate(t, p)
	if got := p.Retained(); got > limit || got < limit/2 {
		t.Errorf("retained %d B of a burst of 8 MB, want up to %d", got, limit)
	}
	if n := p.Trim(); n == 0 || p.Retained() != 0 {
		t.Errorf("Trim released %d B and left %d", n, p.Retained())
	}
	validate(t, p)
}

func TestNothingIsRetainedWhenConfigured(t *testing.T) {
	p := New(Config{RetainedBytesMax: -1})
	p.Put(p.Get(1000))
	if p.Retained() != 0 {
		t.Errorf("retained %d B", p.Retained())
	}
	validate(t, p)
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{ClassMin: 1 << 20}, ""},
		{Config{ClassMin: 100}, "ClassMin is 100 B; use a power of two"},
		{Config{ClassMin: 32}, "ClassMin is 32 B"},
		{Config{ClassMin: -64}, "ClassMin is -64 B"},
		{Config{ClassMin: 512, ClassMax: 256}, "ClassMax is 256 B; use a power of two from ClassMin (512)"},
		{Config{ClassMax: 100_000}, "ClassMax is 100000 B"},
		{Config{ClassMax: 1 << 25}, "ClassMax is 33554432 B"},
		{Config{RetainedBytesMax: -2}, "RetainedBytesMax is -2"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
	mustPanic(t, "New of a bad config", func() { New(Config{ClassMin: 3}) })
}

// Many goroutines borrow, fill, check and put; a buffer lent twice at a time
// would show foreign bytes.
func TestNoBufferIsLentTwice(t *testing.T) {
	p := New(Config{RetainedBytesMax: 10_000})
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			for range 2000 {
				b := p.Get(rnd.IntN(3000))
				for len(b.B) < cap(b.B) && len(b.B) < 64 {
					b.B = append(b.B, byte(g))
				}
				if rnd.IntN(4) == 0 {
					p.Grow(b, rnd.IntN(5000))
				}
				if i := bytes.IndexFunc(b.B, func(r rune) bool { return r != rune(g) }); i >= 0 {
					t.Errorf("goroutine %d sees byte %d at %d", g, b.B[i], i)
					return
				}
				p.Put(b)
				if rnd.IntN(500) == 0 {
					p.Trim()
				}
			}
		})
	}
	group.Wait()
	validate(t, p)
	if n, size := p.InUse(); n != 0 || size != 0 {
		t.Errorf("%d buffers of %d B in use at the end", n, size)
	}
}

func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(p *Pool){
		"retained":       func(p *Pool) { p.retained++ },
		"in use":         func(p *Pool) { p.classes[0].inUse.bytes++ },
		"negative":       func(p *Pool) { p.large.buffers-- },
		"borrowed free":  func(p *Pool) { p.classes[0].stack[0].out = true },
		"wrong class":    func(p *Pool) { p.classes[1].stack, p.classes[0].stack = p.classes[0].stack, nil },
		"over the limit": func(p *Pool) { p.cfg.RetainedBytesMax = 1 },
	} {
		p := New(Config{})
		p.Put(p.Get(1))
		damage(p)
		if p.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
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
