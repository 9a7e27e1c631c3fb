package shared

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

const (
	classShift = 6  // the smallest class is 64 B
	classes    = 13 // 64 B … 256 KiB, doubling
	// ClassMax is the largest capacity that is pooled, in bytes. Larger ones are
	// allocated and left to the collector.
	ClassMax = 1 << (classShift + classes - 1)

	// RetainedBytesDefault is what a zero Config.RetainedBytesMax means: a turn's
	// worth of publications; everything above goes back at once.
	RetainedBytesDefault = 512 << 10

	headerBytes = 64 // a Bytes itself
	poison      = 0xDB
)

// Config configures a [Pool]. The zero value is good.
type Config struct {
	// RetainedBytesMax bounds the bytes kept for reuse while nobody uses them,
	// headers included. 0 means RetainedBytesDefault, -1 none.
	RetainedBytesMax int
	// Poison overwrites bytes whose last reference went, makes access without a
	// reference panic, and never reuses a Bytes, so that a late reader cannot meet
	// a new owner. For tests and debug builds.
	Poison bool
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	if c.RetainedBytesMax < -1 {
		return fmt.Errorf("shared: RetainedBytesMax is %d; use a number of bytes, 0 for the default, -1 for none", c.RetainedBytesMax)
	}
	return nil
}

// Pool makes [Bytes] and takes their memory back. It must be made by [NewPool].
// It is safe for concurrent use.
type Pool struct {
	cfg Config

	mu        sync.Mutex
	free      [classes][]*Bytes // guarded by mu, like all below
	retained  int               // bytes in free
	inUse     int64             // Bytes made and not returned
	inUseSize int64             // their capacity when made
}

// NewPool returns an empty pool, which holds no memory. It panics on a
// configuration that does not validate.
func NewPool(cfg Config) *Pool {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if cfg.RetainedBytesMax == 0 {
		cfg.RetainedBytesMax = RetainedBytesDefault
	}
	return &Pool{cfg: cfg}
}

// New returns a Bytes with one reference, an empty Buf and room for n bytes.
// Buf may be grown beyond n by appending. n must not be negative.
func (p *Pool) New(n int) *Bytes {
	class, size := classFor(n), n
	if class >= 0 {
		size = 1 << (class + classShift)
	}
	p.mu.Lock()
	p.inUse++
	p.inUseSize += int64(size)
	b := p.take(class)
	p.mu.Unlock()
	if b == nil {
		b = &Bytes{Buf: make([]byte, 0, size), pool: p}
	}
	b.size = size
	b.refs.Store(1)
	return b
}

// take pops a free Bytes of a class, or returns nil.
func (p *Pool) take(class int) *Bytes {
	if class < 0 || len(p.free[class]) == 0 {
		return nil
	}
	stack := p.free[class]
	last := len(stack) - 1
	b := stack[last]
	stack[last] = nil
	p.free[class] = stack[:last]
	p.retained -= cap(b.Buf) + headerBytes
	return b
}

// put takes back a Bytes whose last reference went. A buffer that was grown
// goes to the class it is big enough for now.
func (p *Pool) put(b *Bytes) {
	if p.cfg.Poison {
		for i := range b.Buf {
			b.Buf[i] = poison
		}
	}
	class := classOf(cap(b.Buf))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse--
	p.inUseSize -= int64(b.size)
	cost := cap(b.Buf) + headerBytes
	if class < 0 || p.cfg.Poison || p.retained+cost > p.cfg.RetainedBytesMax {
		return // the collector takes it
	}
	b.Buf = b.Buf[:0]
	p.retained += cost
	p.free[class] = append(p.free[class], b)
}

// InUse returns how many Bytes are referenced and how much memory they were
// made with. A Bytes grown by appending counts with its first capacity.
func (p *Pool) InUse() (count, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse, p.inUseSize
}

// Retained returns the bytes kept for reuse, at most Config.RetainedBytesMax.
func (p *Pool) Retained() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retained
}

// Trim drops everything kept for reuse and returns how many bytes that were.
func (p *Pool) Trim() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.retained
	p.free = [classes][]*Bytes{}
	p.retained = 0
	return n
}

// Validate checks the pool against itself. It is slow and for tests, the
// simulation and debug pages.
func (p *Pool) Validate() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	retained := 0
	for class, stack := range p.free {
		for _, b := range stack {
			retained += cap(b.Buf) + headerBytes
			if n := b.refs.Load(); n != 0 {
				return fmt.Errorf("shared: free Bytes has %d references", n)
			}
			if got := classOf(cap(b.Buf)); got != class {
				return fmt.Errorf("shared: Bytes of capacity %d kept in class %d, belongs to %d", cap(b.Buf), class, got)
			}
		}
	}
	if retained != p.retained || retained > max(p.cfg.RetainedBytesMax, 0) {
		return fmt.Errorf("shared: counts %d retained bytes, has %d, limit %d", p.retained, retained, p.cfg.RetainedBytesMax)
	}
	if p.inUse < 0 || p.inUseSize < 0 {
		return errors.New("shared: more Bytes returned than made")
	}
	return nil
}

// classFor returns the smallest class with room for n bytes, -1 when none has.
func classFor(n int) int {
	if n > ClassMax {
		return -1
	}
	return max(bits.Len(uint(max(n, 1)-1)), classShift) - classShift
}

// classOf returns the largest class that a capacity satisfies, -1 when it is
// below the smallest or more than ClassMax.
func classOf(capacity int) int {
	if capacity > ClassMax || capacity < 1<<classShift {
		return -1
	}
	return bits.Len(uint(capacity)) - 1 - classShift
}
