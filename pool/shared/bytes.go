package shared

import (
	"fmt"
	"sync/atomic"
)

// Bytes is a counted, immutable run of bytes. It is made by [Pool.New] or
// [Static]. The one who made it fills Buf; after that nobody changes it.
// Retain, Release, Bytes and Len may be called by any goroutine that holds a
// reference.
type Bytes struct {
	// Buf is filled by the maker before it shares the Bytes: append to Buf[:0].
	Buf []byte

	pool *Pool // nil: static
	size int   // bytes counted as in use by the pool
	refs atomic.Int32
}

// Static returns a Bytes over b that lives as long as it is reachable: pings,
// close frames. Retain and Release do nothing. b must not be changed any more.
func Static(b []byte) *Bytes { return &Bytes{Buf: b} }

// Bytes returns the bytes, good until the caller's reference is released. They
// must not be changed.
func (b *Bytes) Bytes() []byte {
	if b.pool != nil && b.pool.cfg.Poison && b.refs.Load() < 1 {
		panic("shared: Bytes used without a reference: it was released before")
	}
	return b.Buf
}

// Len returns the number of bytes.
func (b *Bytes) Len() int { return len(b.Buf) }

// Retain adds a reference; the caller must hold one already.
func (b *Bytes) Retain() {
	if b.pool == nil {
		return
	}
	if n := b.refs.Add(1); n < 2 {
		panic(fmt.Sprintf("shared: Retain of Bytes with %d references: it was released before", n-1))
	}
}

// Release gives a reference back. With the last one the memory returns to the
// pool, and neither the Bytes nor what Bytes returned may be used any more.
func (b *Bytes) Release() {
	if b.pool == nil {
		return
	}
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.pool.put(b)
	case n < 0:
		panic(fmt.Sprintf("shared: Release of Bytes with %d references: it was released before", n+1))
	}
}
