package delta

import (
	"encoding/binary"
	"math/bits"
)

// opBytesMax bounds one copy or insert; see the package comment.
const opBytesMax = 32 << 10

// Append appends the delta that turns source into target and returns the longer slice. The delta of equal payloads is
// some 15 bytes; without anything in common it is target and at most 24 bytes more per 32 KiB: a caller that finds it not
// shorter than target sends target itself, as the stock server does. Both may be empty, and have at most 2 GiB. No
// allocation but dst's, and a table for sources from 64 KiB on.
func Append(dst, source, target []byte) []byte {
	w := writer{out: dst, source: source, target: target}
	w.number(len(target))
	w.out = append(w.out, '\n')
	w.body()
	w.literal(len(target))
	w.number(int(checksum(target)))
	w.out = append(w.out, ';')
	return w.out
}

// writer is one delta in the making. target[:done] is written.
type writer struct {
	out            []byte
	source, target []byte
	done           int
}

// body writes the copies and what lies between them; the literal at the end is left to the caller.
func (w *writer) body() {
	prefix := samePrefix(w.source, w.target)
	suffix := sameSuffix(w.source[prefix:], w.target[prefix:])
	if prefix > 0 {
		w.copy(0, 0, prefix)
	}
	if end := len(w.target) - suffix; end-w.done >= gramBytes && len(w.source) >= gramBytes {
		w.middle(end)
	}
	if suffix > 0 {
		w.copy(len(w.source)-suffix, len(w.target)-suffix, suffix)
	}
}

// copy writes target[at:at+n] as a copy of source[from:from+n], shortened to whole characters, and what is pending before
// it as an insert. When that would not pay it writes nothing.
func (w *writer) copy(from, at, n int) {
	start, end := w.whole(at, at+n)
	n, from = end-start, from+start-at
	pending := start - w.done
	cost := digitCount(n) + digitCount(from) + 2
	if pending > 0 && end < len(w.target) {
		cost += digitCount(len(w.target)-w.done) + 1 // one insert becomes two
	}
	if n <= cost {
		return
	}
	w.literal(start)
	for n > 0 {
		step := min(n, opBytesMax)
		w.number(step)
		w.out = append(w.out, '@')
		w.number(from)
		w.out = append(w.out, ',')
		from, n = from+step, n-step
	}
	w.done = end
}

// literal writes target[done:end] as inserts.
func (w *writer) literal(end int) {
	for w.done < end {
		cut := end
		if end-w.done > opBytesMax {
			_, cut = w.whole(w.done, w.done+opBytesMax)
		}
		w.number(cut - w.done)
		w.out = append(w.out, ':')
		w.out = append(w.out, w.target[w.done:cut]...)
		w.done = cut
	}
}

// runeTail bounds the continuation bytes of a UTF-8 character (RFC 3629 §3).
const runeTail = 3

// whole shortens target[start:end] so that it neither begins nor ends within a UTF-8 character. Where more continuation
// bytes follow each other than UTF-8 has, the target is no text and the range stays.
func (w *writer) whole(start, end int) (int, int) {
	from, to := start, end
	for i := 0; i <= runeTail && from < end && w.target[from]&0xC0 == 0x80; i++ {
		from++
	}
	if from > start+runeTail {
		from = start
	}
	for i := 0; i <= runeTail && to > from && to < len(w.target) && w.target[to]&0xC0 == 0x80; i++ {
		to--
	}
	if to < end-runeTail {
		to = end
	}
	return from, to
}

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"

// digitCount is how many digits number writes.
func digitCount(n int) int { return max(1, (bits.Len32(uint32(n))+5)/6) }

func (w *writer) number(n int) {
	for shift := 6 * (digitCount(n) - 1); shift >= 0; shift -= 6 {
		w.out = append(w.out, digits[uint32(n)>>shift&63])
	}
}

// checksum is the sum of the 32-bit big-endian words of p, the last one padded with zeros.
func checksum(p []byte) (sum uint32) {
	for ; len(p) >= 8; p = p[8:] {
		x := binary.BigEndian.Uint64(p)
		sum += uint32(x>>32) + uint32(x)
	}
	if len(p) >= 4 {
		sum += binary.BigEndian.Uint32(p)
		p = p[4:]
	}
	for i, c := range p {
		sum += uint32(c) << (24 - 8*i)
	}
	return sum
}

// samePrefix is the number of bytes a and b have in common at their beginnings.
func samePrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// sameSuffix is the number of bytes a and b have in common at their ends.
func sameSuffix(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[len(a)-n:], b[len(b)-n:]
	i := n
	for ; i >= 8; i -= 8 {
		if x := binary.LittleEndian.Uint64(a[i-8:]) ^ binary.LittleEndian.Uint64(b[i-8:]); x != 0 {
			return n - i + bits.LeadingZeros64(x)>>3
		}
	}
	for i > 0 && a[i-1] == b[i-1] {
		i--
	}
	return n - i
}
