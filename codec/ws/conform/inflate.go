package conform

import "fmt"

// Inflate is RFC 1951 read aloud, one bit at a time: an oracle, slow, and sharing nothing with any other inflater. p is the
// payload of one compressed message (RFC 7692 §7.2.1), without its final 00 00 ff ff. It also returns the farthest distance
// used, which no library tells and which server_max_window_bits bounds.
func Inflate(p []byte) (out []byte, farthest int, err error) {
	s := &slow{in: p}
	defer func() { // reading past the end, or before the beginning of the output, is an index out of range
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("conform: corrupt at bit %d of %d: %v", s.at, 8*len(p), r)
		}
	}()
	for {
		final := s.bits(1)
		switch s.bits(2) {
		case 0:
			if s.align(); s.at == 8*len(p) {
				return s.out, s.farthest, nil // the tail that was cut off would follow
			}
			s.stored()
		case 1:
			s.fixed()
		case 2:
			s.dynamic()
		default:
			panic("block type 3")
		}
		if final == 1 {
			if s.align(); s.at == 8*len(p) {
				return s.out, s.farthest, nil
			}
		}
	}
}

type slow struct {
	in       []byte
	at       int // bit
	out      []byte
	farthest int
}

func (s *slow) bits(n int) (v int) {
	for i := range n {
		v |= int(s.in[s.at/8]>>(s.at%8)&1) << i
		s.at++
	}
	return v
}

func (s *slow) align() { s.at = (s.at + 7) / 8 * 8 }

func (s *slow) stored() {
	n := s.bits(16)
	if s.bits(16) != n^0xFFFF {
		panic("the lengths of a stored block disagree")
	}
	for range n {
		s.out = append(s.out, byte(s.bits(8)))
	}
}

func (s *slow) fixed() {
	var lit, dist []int
	for _, run := range [][2]int{{144, 8}, {112, 9}, {24, 7}, {8, 8}} {
		for range run[0] {
			lit = append(lit, run[1])
		}
	}
	for range 32 {
		dist = append(dist, 5)
	}
	s.block(newCode(lit), newCode(dist))
}

func (s *slow) dynamic() {
	nlit, ndist, npre := s.bits(5)+257, s.bits(5)+1, s.bits(4)+4
	pre := make([]int, 19)
	for i := range npre {
		pre[[]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = s.bits(3)
	}
	code := newCode(pre)
	var lens []int
	for len(lens) < nlit+ndist {
		switch c := s.symbol(code); c {
		case 16:
			last := lens[len(lens)-1]
			for range s.bits(2) + 3 {
				lens = append(lens, last)
			}
		case 17:
			lens = append(lens, make([]int, s.bits(3)+3)...)
		case 18:
			lens = append(lens, make([]int, s.bits(7)+11)...)
		default:
			lens = append(lens, c)
		}
	}
	s.block(newCode(lens[:nlit]), newCode(lens[nlit:nlit+ndist]))
}

// code is a canonical code, §3.2.2: how many codes of each length, and the symbols in the order of their codes.
type code struct {
	count   [16]int
	symbols []int
}

func newCode(lens []int) (c code) {
	for n := 1; n <= 15; n++ {
		for symbol, l := range lens {
			if l == n {
				c.count[n]++
				c.symbols = append(c.symbols, symbol)
			}
		}
	}
	return c
}

func (s *slow) symbol(c code) int {
	value, first, index := 0, 0, 0
	for n := 1; n <= 15; n++ {
		value |= s.bits(1)
		if value-first < c.count[n] {
			return c.symbols[index+value-first]
		}
		index += c.count[n]
		first = (first + c.count[n]) << 1
		value <<= 1
	}
	panic("a code that is not in use")
}

func (s *slow) block(lit, dist code) {
	for {
		c := s.symbol(lit)
		switch {
		case c < 256:
			s.out = append(s.out, byte(c))
			continue
		case c == 256:
			return
		}
		length := []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}[c-257]
		if c > 264 && c < 285 {
			length += s.bits((c - 261) / 4)
		}
		d := s.symbol(dist)
		back := d + 1
		if d > 29 {
			panic("distance code 30 or 31")
		}
		if d > 3 {
			n := d/2 - 1
			back = (2+d%2)<<n + 1 + s.bits(n)
		}
		s.farthest = max(s.farthest, back)
		for range length {
			s.out = append(s.out, s.out[len(s.out)-back])
		}
	}
}
