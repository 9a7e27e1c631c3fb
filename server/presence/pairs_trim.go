package presence

import (
	"fmt"
	"unsafe"
)

// trim merges segments that have become small, gives back cells that the rest does not
// need, and returns how many bytes that were. Segments as full as they should be are
// only looked at.
func (p *pairs) trim() int {
	before := p.heldBytes()
	if p.used == 0 {
		p.dir, p.depth = nil, 0
		return before
	}
	for depth := p.depth; depth > 0; depth-- {
		p.merge(depth)
	}
	p.each(func(s *segment) {
		if n := fitting(s.used); n < len(s.cells) && room(n) > s.used {
			p.resize(s, n)
		}
	})
	return max(before-p.heldBytes(), 0)
}

// merge joins the neighbours of a depth that are half empty together, and halves the
// directory when nothing needs its last bit any more.
func (p *pairs) merge(depth uint8) {
	places := 1 << (p.depth - depth) // of one segment of that depth
	deepest := depth == p.depth
	for i := 0; i < len(p.dir); i += 2 * places {
		a, b := p.dir[i], p.dir[i+places]
		if a.depth != depth || b.depth != depth || a.used+b.used > mergeUsed {
			deepest = deepest && a.depth < depth
			continue
		}
		one := &segment{cells: make([]cell, fitting(a.used+b.used)), depth: depth - 1}
		p.fill(a.cells, func(uint64) *segment { return one })
		p.fill(b.cells, func(uint64) *segment { return one })
		for k := range 2 * places {
			p.dir[i+k] = one
		}
	}
	if deepest {
		dir := make([]*segment, len(p.dir)/2)
		for i := range dir {
			dir[i] = p.dir[2*i]
		}
		p.dir = dir
		p.depth--
	}
}

// each calls f once for every segment.
func (p *pairs) each(f func(s *segment)) {
	for i := 0; i < len(p.dir); {
		s := p.dir[i]
		i += 1 << (p.depth - s.depth)
		f(s)
	}
}

// heldBytes returns the heap bytes held.
func (p *pairs) heldBytes() int {
	n := cap(p.dir) * 8
	p.each(func(s *segment) { n += cap(s.cells)*cellBytes + int(unsafe.Sizeof(*s)) })
	return n
}

// validate checks the table against itself and calls f for every pair. It is slow and
// for tests, the simulation and debug pages.
func (p *pairs) validate(f func(c *cell) error) error {
	if len(p.dir) > 0 && len(p.dir) != 1<<p.depth {
		return fmt.Errorf("presence: directory of %d places and depth %d", len(p.dir), p.depth)
	}
	total := 0
	for i := 0; i < len(p.dir); {
		s := p.dir[i]
		if s.depth > p.depth {
			return fmt.Errorf("presence: segment at %d is %d deep, the directory %d", i, s.depth, p.depth)
		}
		places := 1 << (p.depth - s.depth)
		for k := range places {
			if p.dir[i+k] != s {
				return fmt.Errorf("presence: segment at %d of depth %d does not have place %d", i, s.depth, i+k)
			}
		}
		used := 0
		for at := range s.cells {
			c := &s.cells[at]
			if c.value == 0 {
				continue
			}
			used++
			if got := p.get(c.group, c.key); got != c {
				return fmt.Errorf("presence: pair (%d, %#x) lies in cell %d of segment %d and is not found there", c.group, c.key, at, i)
			}
			if err := f(c); err != nil {
				return err
			}
		}
		if used != s.used || used > room(len(s.cells)) {
			return fmt.Errorf("presence: segment at %d counts %d pairs, has %d in %d cells", i, s.used, used, len(s.cells))
		}
		total += used
		i += places
	}
	if total != p.used {
		return fmt.Errorf("presence: %d pairs counted, %d found", p.used, total)
	}
	return nil
}
