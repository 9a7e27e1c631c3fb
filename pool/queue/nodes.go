package queue

import (
	"fmt"
	"unsafe"
)

const (
	chunkShift = 10
	// chunkNodes is the number of nodes in a chunk: small enough (8 KiB of
	// 8-byte nodes) that a loop with one slow conn holds little.
	chunkNodes = 1 << chunkShift
	nodeMask   = chunkNodes - 1
	chunksMax  = 1<<(32-chunkShift) - 1
)

// List is a first-in-first-out list of nodes of one [Nodes]. It holds node
// numbers plus one; the zero value is an empty list. It is 8 bytes, pointer-free,
// and meant to live in a slot; copying it moves the list, the old copy must not
// be used any more.
type List struct{ Head, Tail uint32 }

// Empty says whether the list has no element.
func (l *List) Empty() bool { return l.Head == 0 }

// Nodes stores the elements of any number of lists. The zero value is empty and
// ready. T should be pointer-free, so that the collector scans nothing per
// element. It is not safe for concurrent use.
type Nodes[T any] struct {
	chunks []*[chunkNodes]node[T] // nil: dropped by Trim
	used   []uint32               // per chunk: nodes in a list
	free   uint32                 // last freed node + 1; 0 = none
	fresh  uint32                 // next node never used since its chunk was made…
	end    uint32                 // …and the first beyond that chunk
	length int
	held   int // chunks not nil
}

type node[T any] struct {
	Value T
	next  uint32 // node + 1; 0 = last
}

// NewNodes returns an empty storage, which holds no memory.
func NewNodes[T any]() *Nodes[T] { return &Nodes[T]{} }

// Push adds v at the end of l.
func (s *Nodes[T]) Push(l *List, v T) {
	n := s.take()
	*s.at(n) = node[T]{Value: v}
	if l.Tail == 0 {
		l.Head = n + 1
	} else {
		s.at(l.Tail - 1).next = n + 1
	}
	l.Tail = n + 1
}

// Pop removes the first element of l and returns it; ok is false when l is
// empty.
func (s *Nodes[T]) Pop(l *List) (v T, ok bool) {
	if l.Head == 0 {
		return v, false
	}
	n := l.Head - 1
	p := s.at(n)
	v = p.Value
	if l.Head = p.next; l.Head == 0 {
		l.Tail = 0
	}
	s.give(n, p)
	return v, true
}

// Front returns the first element of l, in place, or nil when l is empty. The
// pointer is good until that element is popped.
func (s *Nodes[T]) Front(l *List) *T {
	if l.Head == 0 {
		return nil
	}
	return &s.at(l.Head - 1).Value
}

// Each calls f for the elements of l in order, in place, until f returns false.
// f must not change the list.
func (s *Nodes[T]) Each(l *List, f func(*T) bool) {
	for n := l.Head; n != 0; {
		p := s.at(n - 1)
		n = p.next
		if !f(&p.Value) {
			return
		}
	}
}

// Cull removes the elements of l for which f returns true and returns how many those
// were. f is called in order and must not change the list.
func (s *Nodes[T]) Cull(l *List, f func(*T) bool) (n int) {
	last := uint32(0) // that stays
	for at := l.Head; at != 0; {
		p := s.at(at - 1)
		next := p.next
		switch {
		case !f(&p.Value):
			last = at
		default:
			if n++; last == 0 {
				l.Head = next
			} else {
				s.at(last - 1).next = next
			}
			if l.Tail == at {
				l.Tail = last
			}
			s.give(at-1, p)
		}
		at = next
	}
	return n
}

// Clear empties l; f, when not nil, is called with every element, in order,
// after it was removed.
func (s *Nodes[T]) Clear(l *List, f func(T)) {
	for {
		v, ok := s.Pop(l)
		if !ok {
			return
		}
		if f != nil {
			f(v)
		}
	}
}

// Len returns the number of elements in all lists.
func (s *Nodes[T]) Len() int { return s.length }

// Bytes returns the heap bytes held.
func (s *Nodes[T]) Bytes() int {
	var n node[T] // an array of them would be made on the heap, each time
	return s.held*int(chunkNodes*unsafe.Sizeof(n)) + cap(s.chunks)*8 + cap(s.used)*4
}

// Trim drops the memory of chunks without an element and returns how many bytes
// that were. It walks the free nodes.
func (s *Nodes[T]) Trim() int {
	before := s.Bytes()
	if s.length == 0 {
		*s = Nodes[T]{}
		return before
	}
	// Relink the free nodes of the chunks that stay, in the same order.
	head, tail := uint32(0), uint32(0)
	for n := s.free; n != 0; {
		p := s.at(n - 1)
		next := p.next
		if s.used[(n-1)>>chunkShift] > 0 {
			if tail == 0 {
				head = n
			} else {
				s.at(tail - 1).next = n
			}
			tail, p.next = n, 0
		}
		n = next
	}
	s.free = head
	if s.fresh < s.end && s.used[s.fresh>>chunkShift] == 0 {
		s.fresh, s.end = 0, 0
	}
	for c, used := range s.used {
		if used == 0 && s.chunks[c] != nil {
			s.chunks[c] = nil
			s.held--
		}
	}
	return before - s.Bytes()
}

func (s *Nodes[T]) at(n uint32) *node[T] { return &s.chunks[n>>chunkShift][n&nodeMask] }

// take returns a node that is in no list, last freed first.
func (s *Nodes[T]) take() uint32 {
	n := s.free - 1
	if s.free != 0 {
		s.free = s.at(n).next
	} else {
		if s.fresh == s.end {
			s.grow()
		}
		n = s.fresh
		s.fresh++
	}
	s.used[n>>chunkShift]++
	s.length++
	return n
}

// give puts node n, which is p, on the free list.
func (s *Nodes[T]) give(n uint32, p *node[T]) {
	*p = node[T]{next: s.free}
	s.free = n + 1
	s.used[n>>chunkShift]--
	s.length--
}

// grow makes the lowest chunk without memory. Its nodes are handed out by the
// fresh mark, not threaded on the free list, so untouched memory stays untouched.
func (s *Nodes[T]) grow() {
	c := len(s.chunks)
	if s.held < c {
		for i, p := range s.chunks {
			if p == nil {
				c = i
				break
			}
		}
	}
	if c == len(s.chunks) {
		if c == chunksMax {
			panic(fmt.Sprintf("queue: all %d nodes are in use", chunksMax*chunkNodes))
		}
		s.chunks = append(s.chunks, nil)
		s.used = append(s.used, 0)
	}
	s.chunks[c] = new([chunkNodes]node[T])
	s.held++
	s.fresh = uint32(c) << chunkShift
	s.end = s.fresh + chunkNodes
}

// Validate checks the storage against itself and, when lists are given, that
// they are sound, share no node, and that together with the free nodes they
// account for every node. It is slow and for tests, the simulation and debug
// pages; pass all lists of the storage, or none.
func (s *Nodes[T]) Validate(lists ...*List) error {
	if len(s.chunks) != len(s.used) {
		return fmt.Errorf("queue: %d chunks but %d counters", len(s.chunks), len(s.used))
	}
	held, used := 0, 0
	for c, p := range s.chunks {
		if p != nil {
			held++
		} else if s.used[c] != 0 {
			return fmt.Errorf("queue: chunk %d is dropped but counts %d elements", c, s.used[c])
		}
		used += int(s.used[c])
	}
	if held != s.held || used != s.length {
		return fmt.Errorf("queue: counts %d elements in %d chunks, found %d in %d", s.length, s.held, used, held)
	}
	seen := make(map[uint32]string, held*chunkNodes)
	for n := s.fresh; n < s.end; n++ {
		seen[n] = "fresh"
	}
	if _, _, err := s.walk(s.free, "free", seen); err != nil {
		return err
	}
	if got := held*chunkNodes - len(seen); got != s.length {
		return fmt.Errorf("queue: %d of %d nodes are not free, %d counted", got, held*chunkNodes, s.length)
	}
	if len(lists) == 0 {
		return nil
	}
	for i, l := range lists {
		last, _, err := s.walk(l.Head, fmt.Sprintf("list %d", i), seen)
		if err != nil {
			return err
		}
		if last != l.Tail {
			return fmt.Errorf("queue: list %d ends at node %d but its tail is %d", i, int64(last)-1, int64(l.Tail)-1)
		}
	}
	if len(seen) != held*chunkNodes {
		return fmt.Errorf("queue: %d nodes are in none of the %d lists and not free", held*chunkNodes-len(seen), len(lists))
	}
	return nil
}

// walk follows a chain and notes its nodes in seen; it returns the last one (+1).
func (s *Nodes[T]) walk(head uint32, name string, seen map[uint32]string) (last uint32, n int, err error) {
	for k := head; k != 0; n++ {
		c := (k - 1) >> chunkShift
		if int(c) >= len(s.chunks) || s.chunks[c] == nil {
			return 0, 0, fmt.Errorf("queue: %s leads to node %d, which has no memory", name, k-1)
		}
		if other, dup := seen[k-1]; dup {
			return 0, 0, fmt.Errorf("queue: node %d is in %s and in %s", k-1, other, name)
		}
		seen[k-1] = name
		last = k
		k = s.at(k - 1).next
	}
	return last, n, nil
}
