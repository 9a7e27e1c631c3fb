package deflate

import (
	"encoding/binary"
	"errors"
	"math"
)

// Errors of [Codec.Decompress].
var (
	// ErrCorrupt: the payload is no DEFLATE stream as RFC 7692 §7.2.2 wants it. Close with 1007.
	ErrCorrupt = errors.New("deflate: the compressed message is corrupt; it must be one DEFLATE stream without its final 00 00 ff ff, using no context of an earlier message")
	// ErrTooLarge: the message inflates to more bytes than the limit. Close with 1009.
	ErrTooLarge = errors.New("deflate: the message inflates to more bytes than the limit; send less at once")
)

// inflater decodes RFC 1951 from memory to memory. It is all tables; between two messages it remembers nothing.
type inflater struct {
	in   []byte
	pos  int    // of the next byte of in that is not in acc
	acc  uint64 // bits read ahead, the next one lowest
	nacc uint   // how many of them are real

	out   []byte // full capacity in use; out[:o] is valid
	o     int
	base  int // out[:base] was the caller's before
	limit int // o must not pass it

	lit       [litTableSize]entry
	dist      [distTableSize]entry
	pre       [1 << preBits]entry
	fixedLit  [1 << fixedLitBits]entry
	fixedDist [1 << fixedDistBits]entry
	lens      [maxLit + maxDist]uint8
	sorted    [maxFixed]uint16
}

// copySlack is room behind the limit, so that one symbol can always be written before its end is checked.
const copySlack = 258

// inflate appends to dst what p inflates to, at most max bytes. On an error it returns dst as it was.
func (f *inflater) inflate(dst, p []byte, max int) ([]byte, error) {
	max = clamp(max, len(dst))
	f.in, f.pos, f.acc, f.nacc = p, 0, 0, 0
	f.out, f.o, f.base, f.limit = dst[:cap(dst)], len(dst), len(dst), len(dst)+max
	f.room(min(max, 4*len(p)))
	err := f.blocks()
	out := f.out[:f.o]
	f.in, f.out = nil, nil
	if err != nil {
		return dst, err
	}
	return out, nil
}

// clamp makes limit one that is not negative and whose sum with what is in dst already does not overflow.
func clamp(limit, used int) int {
	return min(max(limit, 0), math.MaxInt-2*copySlack-used)
}

// blocks decodes block after block until the message ends. RFC 7692 §7.2.1 lets a sender mix all block types, BFINAL set
// or not; after a final block the next one starts at a byte boundary and may still refer to the message's earlier bytes.
//
// What the sender cut off, 00 00 ff ff (§7.2.1), can only be the two lengths of an empty stored block. So a message ends
// exactly where a stored block begins and nothing is left to read. One that ends with a final block and without the 00
// that §7.2.3.4 adds is taken too, as every zlib user takes it.
func (f *inflater) blocks() error {
	for {
		f.fill()
		final, kind := f.acc&1 == 1, f.acc>>1&3
		if !f.drop(3) {
			return ErrCorrupt
		}
		var err error
		switch kind {
		case 0:
			f.align()
			if f.at() == len(f.in) {
				return nil
			}
			err = f.stored()
		case 1:
			err = f.codes(f.fixedLit[:], fixedLitBits, f.fixedDist[:], fixedDistBits)
		case 2:
			if err = f.dynamic(); err == nil {
				err = f.codes(f.lit[:], litBits, f.dist[:], distBits)
			}
		default:
			err = ErrCorrupt
		}
		if err != nil {
			return err
		}
		if final {
			if f.align(); f.at() == len(f.in) {
				return nil
			}
		}
	}
}

// fill tops acc up to at least 56 bits; behind the end of the input come zeros that drop does not let pass.
func (f *inflater) fill() {
	if f.pos+8 <= len(f.in) {
		f.acc |= binary.LittleEndian.Uint64(f.in[f.pos:]) << (f.nacc & 63)
		f.pos += int(63-f.nacc) >> 3
		f.nacc |= 56
		return
	}
	for f.nacc < 56 && f.pos < len(f.in) {
		f.acc |= uint64(f.in[f.pos]) << (f.nacc & 63)
		f.pos++
		f.nacc += 8
	}
}

// drop consumes n bits, false when the input has not that many.
func (f *inflater) drop(n uint) bool {
	if n > f.nacc {
		return false
	}
	f.acc >>= n & 63
	f.nacc -= n
	return true
}

// align skips to the next byte boundary of the input.
func (f *inflater) align() {
	f.acc >>= f.nacc & 7
	f.nacc &^= 7
}

// at returns the place in the input of the next bit that is not consumed, at a byte boundary.
func (f *inflater) at() int { return f.pos - int(f.nacc>>3) }

// stored copies a stored block, RFC 1951 §3.2.4; the input stands at its two lengths.
func (f *inflater) stored() error {
	at := f.at()
	if len(f.in)-at < 4 {
		return ErrCorrupt
	}
	n := binary.LittleEndian.Uint16(f.in[at:])
	if n != ^binary.LittleEndian.Uint16(f.in[at+2:]) || len(f.in)-at-4 < int(n) {
		return ErrCorrupt
	}
	at += 4
	if int(n) > f.limit-f.o {
		return ErrTooLarge
	}
	f.room(int(n))
	f.o += copy(f.out[f.o:], f.in[at:at+int(n)])
	f.pos, f.acc, f.nacc = at+int(n), 0, 0
	return nil
}

// room makes f.out at least n bytes and the slack longer than f.o; it grows by doubling and never past limit and slack.
func (f *inflater) room(n int) {
	need := f.o + n + copySlack
	if need <= len(f.out) {
		return
	}
	size := min(max(2*len(f.out), need), f.limit+copySlack)
	out := make([]byte, max(size, need))
	copy(out, f.out[:f.o])
	f.out = out
}

// codes decodes the symbols of a compressed block, RFC 1951 §3.2.3, with the given tables.
func (f *inflater) codes(lit []entry, litRoot uint, dist []entry, distRoot uint) error {
	litMask, distMask := uint64(1)<<litRoot-1, uint64(1)<<distRoot-1
	for {
		f.fill()
		e := lit[f.acc&litMask]
		if e.kind() == kindSub {
			f.acc >>= litRoot
			if f.nacc < litRoot {
				return ErrCorrupt
			}
			f.nacc -= litRoot
			e = lit[e.value()+int(f.acc&(1<<e.extra()-1))]
		}
		if !f.drop(e.bits()) {
			return ErrCorrupt
		}
		if f.o+copySlack > len(f.out) {
			f.room(0)
		}
		switch e.kind() {
		case kindLiteral:
			f.out[f.o] = byte(e.value())
			f.o++
		case kindBase:
			if err := f.match(e, dist, distRoot, distMask); err != nil {
				return err
			}
		case kindEnd:
			return nil
		default:
			return ErrCorrupt
		}
		if f.o > f.limit {
			return ErrTooLarge
		}
	}
}

// match finishes a length symbol and copies. At most 48 bits are used since the last fill: no other one is needed.
func (f *inflater) match(e entry, dist []entry, root uint, mask uint64) error {
	length := e.value() + int(f.acc&(1<<e.extra()-1))
	if !f.drop(e.extra()) {
		return ErrCorrupt
	}
	d := dist[f.acc&mask]
	if d.kind() == kindSub {
		if !f.drop(root) {
			return ErrCorrupt
		}
		d = dist[d.value()+int(f.acc&(1<<d.extra()-1))]
	}
	if !f.drop(d.bits()) || d.kind() != kindBase {
		return ErrCorrupt
	}
	back := d.value() + int(f.acc&(1<<d.extra()-1))
	if !f.drop(d.extra()) || back > f.o-f.base {
		return ErrCorrupt // a reference to before this message: context the peer agreed not to take over
	}
	for end := f.o + length; f.o < end; { // what overlaps is periodic: each copy may take all that is there already
		n := copy(f.out[f.o:end], f.out[f.o-back:f.o])
		f.o, back = f.o+n, back+n
	}
	return nil
}
