package deflate

import "math/bits"

const (
	maxLit   = 286 // literal/length symbols a dynamic block may define, RFC 1951 §3.2.7
	maxDist  = 30
	maxFixed = 288
	maxBits  = 15

	litBits       = 10 // bits the first table resolves; longer codes go on in a second one behind it
	distBits      = 8
	preBits       = 7
	fixedLitBits  = 9
	fixedDistBits = 5

	litTableSize  = 1334 // the most entries 288 codes of ≤ 15 bits need behind a 10-bit root, and so enough for 286: zlib's examples/enough.c
	distTableSize = 402  // the same for 32 codes behind 8 bits, enough for 30
)

// entry of a decoding table: bits 0–3 the code bits it consumes, 4–7 the extra bits that follow (or the width of the second
// table), 8–10 the kind, 16–31 the literal, base, or start of the second table. Zero is an invalid code.
type entry uint32

const (
	kindInvalid = iota
	kindLiteral
	kindBase // a length or a distance
	kindEnd
	kindSub
)

func makeEntry(kind, value, extra, n int) entry {
	return entry(value<<16 | kind<<8 | extra<<4 | n)
}

func (e entry) bits() uint  { return uint(e & 15) }
func (e entry) extra() uint { return uint(e >> 4 & 15) }
func (e entry) kind() int   { return int(e >> 8 & 7) }
func (e entry) value() int  { return int(e >> 16) }

// alphabet gives the meaning of a symbol, its code length still missing.
type alphabet func(symbol int) entry

// litSymbol is the literal/length alphabet, RFC 1951 §3.2.5.
func litSymbol(s int) entry {
	switch {
	case s < 256:
		return makeEntry(kindLiteral, s, 0, 0)
	case s == 256:
		return makeEntry(kindEnd, 0, 0, 0)
	case s < 265:
		return makeEntry(kindBase, s-257+3, 0, 0)
	case s < 285:
		extra := (s - 261) / 4
		return makeEntry(kindBase, 3+(4+(s-261)%4)<<extra, extra, 0)
	case s == 285:
		return makeEntry(kindBase, 258, 0, 0)
	}
	return 0 // 286 and 287 have a fixed code and never occur
}

// distSymbol is the distance alphabet.
func distSymbol(s int) entry {
	switch {
	case s < 4:
		return makeEntry(kindBase, s+1, 0, 0)
	case s < maxDist:
		extra := s/2 - 1
		return makeEntry(kindBase, 1+(2+s%2)<<extra, extra, 0)
	}
	return 0 // 30 and 31 have a fixed code and never occur
}

// preSymbol is the alphabet of code lengths, §3.2.7.
func preSymbol(s int) entry { return makeEntry(kindLiteral, s, 0, 0) }

// build fills table, whose first part resolves root bits, with the canonical code (§3.2.2) of the given code lengths. It is
// false when they are over-subscribed or incomplete; one single code of one bit is let pass (one distance, §3.2.7), as is
// no code at all: using what is missing fails.
func (f *inflater) build(table []entry, root int, lens []uint8, meaning alphabet) bool {
	var count [maxBits + 1]int
	for _, n := range lens {
		count[n]++
	}
	count[0] = 0
	var first [maxBits + 2]int // place in sorted of the first symbol of each length
	left := 1
	for n := 1; n <= maxBits; n++ {
		if left = left<<1 - count[n]; left < 0 {
			return false
		}
		first[n+1] = first[n] + count[n]
	}
	codes := first[maxBits+1]
	if left > 0 && (codes > 1 || codes == 1 && count[1] != 1) {
		return false
	}
	for s, n := range lens {
		if n > 0 {
			f.sorted[first[n]] = uint16(s)
			first[n]++
		}
	}
	clear(table[:1<<root])
	f.assign(table, root, lens, &count, f.sorted[:codes], meaning)
	return true
}

// assign walks the symbols in the order of their codes and enters each wherever the low bits are its code, first bit
// lowest. count, the symbols left of each length, is used up.
func (f *inflater) assign(table []entry, root int, lens []uint8, count *[maxBits + 1]int, sorted []uint16, meaning alphabet) {
	code, length := 0, 0
	next, prefix := 1<<root, -1 // where the next second table goes; root bits the current one stands for
	var sub []entry
	for _, s := range sorted {
		n := int(lens[s])
		code <<= n - length
		length = n
		e, rev := meaning(int(s)), int(bits.Reverse16(uint16(code))>>(16-n))
		if n <= root {
			enter(table[:1<<root], rev, n, e)
		} else {
			if rev&(1<<root-1) != prefix {
				prefix = rev & (1<<root - 1)
				width := subBits(count, n, root)
				table[prefix] = makeEntry(kindSub, next, width, 0)
				sub = table[next : next+1<<width]
				next += 1 << width
			}
			enter(sub, rev>>root, n-root, e)
		}
		count[n]--
		code++
	}
}

// enter puts the meaning of an n-bit code at every place whose low n bits are the code; no meaning stays invalid.
func enter(table []entry, code, n int, e entry) {
	if e != 0 {
		e |= entry(n)
	}
	for at := code; at < len(table); at += 1 << n {
		table[at] = e
	}
}

// subBits returns the width of the second table that starts with a code of n bits: as many bits as the codes behind the
// same root need, given the codes left of each length.
func subBits(count *[maxBits + 1]int, n, root int) int {
	for left := 1 << (n - root); n < maxBits; n++ {
		if left -= count[n]; left <= 0 {
			break
		}
		left <<= 1
	}
	return n - root
}

// preOrder is the order in which the lengths of the code length code are sent, §3.2.7.
const preOrder = "\x10\x11\x12\x00\x08\x07\x09\x06\x0a\x05\x0b\x04\x0c\x03\x0d\x02\x0e\x01\x0f"

// dynamic reads the code lengths of a dynamic block, §3.2.7, and builds its tables.
func (f *inflater) dynamic() error {
	f.fill()
	nlit, ndist, npre := int(f.acc&31)+257, int(f.acc>>5&31)+1, int(f.acc>>10&15)+4
	if !f.drop(14) || nlit > maxLit || ndist > maxDist {
		return ErrCorrupt
	}
	var lens [len(preOrder)]uint8
	for i := range npre {
		f.fill()
		lens[preOrder[i]] = uint8(f.acc & 7)
		if !f.drop(3) {
			return ErrCorrupt
		}
	}
	if !f.build(f.pre[:], preBits, lens[:], preSymbol) || !f.readLens(nlit+ndist) {
		return ErrCorrupt
	}
	if f.lens[256] == 0 || !f.build(f.lit[:], litBits, f.lens[:nlit], litSymbol) ||
		!f.build(f.dist[:], distBits, f.lens[nlit:nlit+ndist], distSymbol) {
		return ErrCorrupt
	}
	return nil
}

// readLens reads n code lengths, run-length coded over both alphabets as one sequence.
func (f *inflater) readLens(n int) bool {
	for i := 0; i < n; {
		f.fill()
		e := f.pre[f.acc&(1<<preBits-1)]
		if e == 0 || !f.drop(e.bits()) {
			return false
		}
		symbol := e.value()
		if symbol < 16 {
			f.lens[i] = uint8(symbol)
			i++
			continue
		}
		value, repeat, extra := uint8(0), 3, uint(3) // 17: 3–10 zeros
		switch symbol {
		case 16: // the last length, 3–6 times
			if i == 0 {
				return false
			}
			value, extra = f.lens[i-1], 2
		case 18: // 11–138 zeros
			repeat, extra = 11, 7
		}
		repeat += int(f.acc & (1<<extra - 1))
		if !f.drop(extra) || repeat > n-i {
			return false
		}
		for range repeat {
			f.lens[i] = value
			i++
		}
	}
	return true
}

// init builds the fixed code, §3.2.6.
func (f *inflater) init() {
	var lens [maxFixed]uint8
	for s := range lens {
		switch {
		case s < 144:
			lens[s] = 8
		case s < 256:
			lens[s] = 9
		case s < 280:
			lens[s] = 7
		default:
			lens[s] = 8
		}
	}
	f.build(f.fixedLit[:], fixedLitBits, lens[:], litSymbol)
	for s := range 32 {
		lens[s] = 5
	}
	f.build(f.fixedDist[:], fixedDistBits, lens[:32], distSymbol)
}
