package presence

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"unsafe"
)

const (
	cellBytes = 16
	// A segment begins with cellsLeast cells, doubles up to cellsStep*2, then grows by
	// cellsStep up to cellsMost, then splits. Small steps keep it at least 70 % full,
	// which doubling would not: at worst 23 B per pair instead of 37.
	cellsLeast = 16
	cellsStep  = 128
	cellsMost  = 1024
	// mergeUsed is how many pairs two neighbours may have together to be made one by
	// trim: half of what a segment holds, so that they do not split again at once.
	mergeUsed = cellsMost / 2
	// depthMost bounds the directory; a segment there grows instead of splitting.
	depthMost = 24
)

// cell is one pair: value 0 = the cell is empty.
type cell struct {
	key   uint64
	group uint32
	value uint32
}

var _ = [1]struct{}{}[cellBytes-unsafe.Sizeof(cell{})]

// segment is a small hash table of its own, with linear probing and deletion by
// shifting back. It holds the pairs whose hashes begin with the same depth bits.
type segment struct {
	cells []cell
	used  int
	depth uint8
}

// pairs maps (group, key) to a value above 0. It is an extendible hash table (Fagin et
// al., 1979): a directory, indexed by the first bits of the hash, of segments that split
// one by one. No operation moves more than cellsMost cells, whatever there is in all; a
// single table would stand still for tens of milliseconds when a million pairs are
// rehashed, with a lock held. The zero value is not usable; see newPairs.
type pairs struct {
	seed  uint64
	dir   []*segment // length 1<<depth, or none
	depth uint8
	used  int
}

func newPairs(seed maphash.Seed) pairs { return pairs{seed: maphash.String(seed, "pairs")} }

// hash spreads a pair over 64 bits; the seed keeps anybody from choosing pairs that
// collide.
func (p *pairs) hash(group uint32, key uint64) uint64 {
	const odd = 0x9e3779b97f4a7c15
	hi, lo := bits.Mul64(key^p.seed, odd^uint64(group)<<1)
	x := (hi ^ lo ^ uint64(group)) * 0xbf58476d1ce4e5b9
	return x ^ x>>31
}

// segmentOf returns the segment of a hash; there must be one.
func (p *pairs) segmentOf(hash uint64) *segment { return p.dir[hash>>(64-p.depth)] }

// get returns the cell of a pair, nil when there is none. It is good until the next
// insert, remove or trim.
func (p *pairs) get(group uint32, key uint64) *cell {
	if len(p.dir) == 0 {
		return nil
	}
	hash := p.hash(group, key)
	s := p.segmentOf(hash)
	for at := s.home(hash); ; at = s.after(at) {
		if c := &s.cells[at]; c.value == 0 {
			return nil
		} else if c.key == key && c.group == group {
			return c
		}
	}
}

// insert adds a pair that is not there yet.
func (p *pairs) insert(group uint32, key uint64, value uint32) {
	if len(p.dir) == 0 {
		p.dir = []*segment{{cells: make([]cell, cellsLeast)}}
	}
	hash := p.hash(group, key)
	s := p.segmentOf(hash)
	for s.used >= room(len(s.cells)) {
		if len(s.cells) < cellsMost || s.depth >= depthMost {
			p.resize(s, grown(len(s.cells)))
		} else {
			p.split(s, hash)
		}
		s = p.segmentOf(hash)
	}
	s.put(hash, cell{key: key, group: group, value: value})
	p.used++
}

// remove takes a pair out that is there and moves the followers of its run back (Knuth,
// TAOCP 6.4, algorithm R). Memory goes back with trim.
func (p *pairs) remove(group uint32, key uint64) {
	hash := p.hash(group, key)
	s := p.segmentOf(hash)
	at := s.home(hash)
	for c := &s.cells[at]; c.key != key || c.group != group; c = &s.cells[at] {
		if c.value == 0 {
			panic(fmt.Sprintf("presence: pair (%d, %#x) is to be removed and is not there", group, key))
		}
		at = s.after(at)
	}
	for next := s.after(at); s.cells[next].value != 0; next = s.after(next) {
		home := s.home(p.hash(s.cells[next].group, s.cells[next].key))
		if s.distance(home, next) >= s.distance(at, next) { // home is not behind the gap
			s.cells[at] = s.cells[next]
			at = next
		}
	}
	s.cells[at] = cell{}
	s.used--
	p.used--
}

// room is how many pairs fit n cells: 7/8, so that every run ends.
func room(n int) int { return n - n/8 }

// grown is the next size after n cells.
func grown(n int) int {
	if n < 2*cellsStep {
		return 2 * n
	}
	return n + cellsStep
}

// fitting is the smallest size for used pairs that leaves a little room to grow.
func fitting(used int) int {
	n := cellsLeast
	for room(n) <= used+used/32 {
		n = grown(n)
	}
	return n
}

// home is the cell where the search for a hash begins; the directory uses the hash's
// high bits, this the low ones.
func (s *segment) home(hash uint64) int {
	return int(uint64(uint32(hash)) * uint64(len(s.cells)) >> 32)
}

func (s *segment) after(at int) int {
	if at++; at == len(s.cells) {
		return 0
	}
	return at
}

// distance is how many steps of after lead from a to b.
func (s *segment) distance(a, b int) int {
	if b < a {
		b += len(s.cells)
	}
	return b - a
}

// put stores a pair that is not there in a segment with room.
func (s *segment) put(hash uint64, c cell) {
	at := s.home(hash)
	for s.cells[at].value != 0 {
		at = s.after(at)
	}
	s.cells[at] = c
	s.used++
}

// resize gives a segment n cells.
func (p *pairs) resize(s *segment, n int) {
	old := s.cells
	s.cells, s.used = make([]cell, n), 0
	p.fill(old, func(uint64) *segment { return s })
}

// fill puts every pair of cells into the segment that to names.
func (p *pairs) fill(cells []cell, to func(hash uint64) *segment) {
	for _, c := range cells {
		if c.value != 0 {
			hash := p.hash(c.group, c.key)
			to(hash).put(hash, c)
		}
	}
}

// split makes two segments of the one that hash belongs to.
func (p *pairs) split(s *segment, hash uint64) {
	if s.depth == p.depth { // the directory doubles: every segment gets two places
		dir := make([]*segment, 2*len(p.dir))
		for i, s := range p.dir {
			dir[2*i], dir[2*i+1] = s, s
		}
		p.dir = dir
		p.depth++
	}
	bit := 63 - s.depth
	var ones int
	for _, c := range s.cells {
		if c.value != 0 {
			ones += int(p.hash(c.group, c.key) >> bit & 1)
		}
	}
	half := [2]*segment{
		{cells: make([]cell, fitting(s.used-ones)), depth: s.depth + 1},
		{cells: make([]cell, fitting(ones)), depth: s.depth + 1},
	}
	places := 1 << (p.depth - s.depth)
	first := int(hash>>(64-p.depth)) &^ (places - 1)
	for i := range places {
		p.dir[first+i] = half[2*i/places]
	}
	p.fill(s.cells, func(hash uint64) *segment { return half[hash>>bit&1] })
}
