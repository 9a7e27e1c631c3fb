package buffer

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/valyala/bytebufferpool"
)

const (
	// ClassMinDefault and ClassMaxDefault are what zero fields of Config mean.
	ClassMinDefault = 256
	ClassMaxDefault = 64 << 10
	// RetainedBytesDefault is what a zero Config.RetainedBytesMax means.
	RetainedBytesDefault = 512 << 10

	classBytesLeast = 64      // the smallest class that may be asked for
	classBytesMost  = 1 << 24 // the largest
	headerBytes     = 56 + 24 // a Buffer and its ByteBuffer
	noClass         = -1
)

// Config configures a [Pool]. The zero value is good.
type Config struct {
	// ClassMin is the capacity of the smallest class in bytes, a power of two
	// from 64 on. 0 means ClassMinDefault.
	ClassMin int
	// ClassMax is the capacity of the largest class in bytes, a power of two, at
	// least ClassMin and at most 16 MiB. 0 means ClassMaxDefault, or ClassMin
	// when that is more. Larger buffers are allocated and left to the collector.
	ClassMax int
	// RetainedBytesMax bounds the bytes kept for reuse while nobody borrows them.
	// 0 means RetainedBytesDefault, -1 none.
	RetainedBytesMax int
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	if c.ClassMin < classBytesLeast || c.ClassMin&(c.ClassMin-1) != 0 {
		return fmt.Errorf("buffer: ClassMin is %d B; use a power of two from %d on", c.ClassMin, classBytesLeast)
	}
	if c.ClassMax < c.ClassMin || c.ClassMax > classBytesMost || c.ClassMax&(c.ClassMax-1) != 0 {
		return fmt.Errorf("buffer: ClassMax is %d B; use a power of two from ClassMin (%d) to %d", c.ClassMax, c.ClassMin, classBytesMost)
	}
	if c.RetainedBytesMax < -1 {
		return fmt.Errorf("buffer: RetainedBytesMax is %d; use a number of bytes, 0 for the default, -1 for none", c.RetainedBytesMax)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.ClassMin == 0 {
		c.ClassMin = ClassMinDefault
	}
	if c.ClassMax == 0 {
		c.ClassMax = max(ClassMaxDefault, c.ClassMin)
	}
	if c.RetainedBytesMax == 0 {
		c.RetainedBytesMax = RetainedBytesDefault
	}
	return c
}

// Buffer is a borrowed byte buffer. The borrower appends to B; to grow beyond
// its capacity [Pool.Grow] is better than append, because the memory outgrown
// returns to the pool.
type Buffer struct {
	// B is the content. It may be resliced and appended to.
	B []byte

	under *bytebufferpool.ByteBuffer // its B is the whole memory as last known
	size  int                        // capacity counted as in use
	class int8                       // of size; noClass when above ClassMax
	out   bool                       // borrowed
}

// Pool lends buffers. It must be made by [New]. It is safe for concurrent use.
type Pool struct {
	cfg   Config
	shift int // log2 of ClassMin

	mu       sync.Mutex
	classes  []class // guarded by mu, like all below
	large    counter // in use above ClassMax
	retained int     // bytes on the stacks
}

// class is one size of buffers, guarded by the pool's mu.
type class struct {
	bytes int // capacity, at least
	stack []*Buffer
	under *bytebufferpool.Pool
	inUse counter
}

type counter struct{ buffers, bytes int64 }

// ClassStats describes one size class at a moment.
type ClassStats struct {
	Bytes    int   // capacity of its buffers; 0 = above ClassMax
	InUse    int64 // buffers borrowed
	InUseB   int64 // bytes borrowed
	Retained int   // buffers kept for reuse on the bounded stack
}

// New returns a pool, which holds no buffer yet. It panics on a configuration
// that does not validate.
func New(cfg Config) *Pool {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	cfg = cfg.withDefaults()
	p := &Pool{cfg: cfg, shift: bits.TrailingZeros(uint(cfg.ClassMin))}
	for size := cfg.ClassMin; size <= cfg.ClassMax; size *= 2 {
		p.classes = append(p.classes, class{bytes: size, under: new(bytebufferpool.Pool)})
	}
	return p
}

// Get lends an empty buffer with room for n bytes, until Put.
func (p *Pool) Get(n int) *Buffer {
	k := p.classFor(n)
	p.mu.Lock()
	if k == noClass {
		p.large.add(1, n)
		p.mu.Unlock()
		return &Buffer{B: make([]byte, 0, n), under: new(bytebufferpool.ByteBuffer), size: n, class: noClass, out: true}
	}
	c := &p.classes[k]
	c.inUse.add(1, c.bytes)
	b := p.pop(c)
	under := c.under
	p.mu.Unlock()
	if b == nil {
		b = &Buffer{under: under.Get()}
		if cap(b.under.B) < c.bytes {
			b.under.B = make([]byte, 0, c.bytes)
		}
		b.B = b.under.B[:0]
	}
	b.size, b.class, b.out = c.bytes, int8(k), true
	return b
}

// Put takes a buffer back; the caller must not use it or its bytes any more.
// A buffer that was grown by append goes to the class it is big enough for now;
// above ClassMax it is dropped. Putting a buffer twice panics.
func (p *Pool) Put(b *Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !b.out {
		panic(fmt.Sprintf("buffer: Put of a buffer (capacity %d) that was put before", cap(b.B)))
	}
	b.out = false
	p.counter(b.class).add(-1, b.size)
	p.keep(b)
}

// Grow makes room for n more bytes in a borrowed buffer, keeping its content.
// B may point elsewhere afterwards. Capacity at least doubles when it changes,
// so growing step by step costs a constant number of copies per byte.
func (p *Pool) Grow(b *Buffer, n int) {
	if cap(b.B)-len(b.B) >= n {
		return
	}
	bigger := p.Get(max(len(b.B)+n, 2*cap(b.B)))
	bigger.B = append(bigger.B, b.B...)
	*b, *bigger = *bigger, *b
	p.Put(bigger)
}

// InUse returns how many buffers are borrowed and the capacity they were lent
// with.
func (p *Pool) InUse() (buffers, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	buffers, bytes = p.large.buffers, p.large.bytes
	for i := range p.classes {
		buffers += p.classes[i].inUse.buffers
		bytes += p.classes[i].inUse.bytes
	}
	return buffers, bytes
}

// Retained returns the bytes kept for reuse on the stacks, at most
// Config.RetainedBytesMax. What the collector may take any time is not counted.
func (p *Pool) Retained() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retained
}

// Stats appends the state of every class to dst, smallest first, then that of
// the buffers above ClassMax.
func (p *Pool) Stats(dst []ClassStats) []ClassStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.classes {
		c := &p.classes[i]
		dst = append(dst, ClassStats{c.bytes, c.inUse.buffers, c.inUse.bytes, len(c.stack)})
	}
	return append(dst, ClassStats{0, p.large.buffers, p.large.bytes, 0})
}

// Trim drops every buffer kept for reuse, on both levels, and returns how many
// bytes the bounded level had.
func (p *Pool) Trim() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.retained
	for i := range p.classes {
		p.classes[i].stack = nil
		p.classes[i].under = new(bytebufferpool.Pool)
	}
	p.retained = 0
	return n
}

// Validate checks the pool against itself. It is slow and for tests, the
// simulation and debug pages.
func (p *Pool) Validate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	retained := 0
	for i := range p.classes {
		c := &p.classes[i]
		if c.inUse.buffers < 0 || c.inUse.bytes != c.inUse.buffers*int64(c.bytes) {
			return fmt.Errorf("buffer: class %d counts %d buffers of %d bytes in use", c.bytes, c.inUse.buffers, c.inUse.bytes)
		}
		for _, b := range c.stack {
			retained += cap(b.B) + headerBytes
			if b.out || len(b.B) != 0 {
				return fmt.Errorf("buffer: a free buffer of class %d is borrowed (%v) or has content (%d B)", c.bytes, b.out, len(b.B))
			}
			if got := p.classOf(cap(b.B)); got != i {
				return fmt.Errorf("buffer: capacity %d is kept in class %d, belongs to class number %d", cap(b.B), c.bytes, got)
			}
		}
	}
	if retained != p.retained || retained > max(p.cfg.RetainedBytesMax, 0) {
		return fmt.Errorf("buffer: counts %d retained bytes, has %d, limit %d", p.retained, retained, p.cfg.RetainedBytesMax)
	}
	if p.large.buffers < 0 || p.large.bytes < 0 {
		return fmt.Errorf("buffer: counts %d large buffers of %d bytes in use", p.large.buffers, p.large.bytes)
	}
	return nil
}

// pop takes a buffer from the stack of a class, or returns nil; mu is held.
func (p *Pool) pop(c *class) *Buffer {
	last := len(c.stack) - 1
	if last < 0 {
		return nil
	}
	b := c.stack[last]
	c.stack[last] = nil
	c.stack = c.stack[:last]
	p.retained -= cap(b.B) + headerBytes
	return b
}

// keep stores a returned buffer: on the stack while the limit allows, else with
// the collector; mu is held.
func (p *Pool) keep(b *Buffer) {
	if cap(b.B) < cap(b.under.B) || cap(b.B) > p.cfg.ClassMax {
		b.B = b.under.B // the borrower cut off the front, or outgrew the classes
	}
	k := p.classOf(cap(b.B))
	if k == noClass {
		return
	}
	c := &p.classes[k]
	b.B = b.B[:0]
	b.under.B = b.B
	if cost := cap(b.B) + headerBytes; p.retained+cost <= p.cfg.RetainedBytesMax {
		p.retained += cost
		c.stack = append(c.stack, b)
		return
	}
	// bytebufferpool calibrates itself by the length at Put: always the class's.
	b.under.B = b.B[:c.bytes]
	c.under.Put(b.under)
	b.B, b.under = nil, nil
}

func (p *Pool) counter(k int8) *counter {
	if k == noClass {
		return &p.large
	}
	return &p.classes[k].inUse
}

func (c *counter) add(buffers int64, size int) {
	c.buffers += buffers
	c.bytes += buffers * int64(size)
}

// classFor returns the smallest class with room for n bytes.
func (p *Pool) classFor(n int) int {
	if n > p.cfg.ClassMax {
		return noClass
	}
	return max(bits.Len(uint(max(n, 1)-1))-p.shift, 0)
}

// classOf returns the largest class that a capacity satisfies. A capacity above
// ClassMax has none: "over ClassMax" is dropped even if it would do.
func (p *Pool) classOf(capacity int) int {
	if capacity < p.cfg.ClassMin || capacity > p.cfg.ClassMax {
		return noClass
	}
	return bits.Len(uint(capacity)) - 1 - p.shift
}
