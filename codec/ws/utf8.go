package ws

import "unicode/utf8"

// UTF8 checks a text that arrives in pieces, RFC 3629 as RFC 6455 §8.1 demands it. It fails at the first byte that no valid
// text can have at its place, not at the end of the sequence, so a sender of nonsense is cut as early as can be.
//
// The zero value is ready; three bytes, no pointers. After a failure every further Push fails; assign the zero value to
// start again.
type UTF8 struct {
	need   uint8 // continuation bytes the open sequence still lacks
	lo, hi uint8 // bounds of the next one; narrower than 0x80–0xBF only right after E0, ED, F0 and F4
}

// Push checks the next piece, which may be empty, and reports whether everything so far can be the start of a valid text.
func (u *UTF8) Push(p []byte) bool {
	n := 0
	if u.need > 0 {
		if n = u.finish(p); n < 0 || u.lo > u.hi {
			return false
		}
		p = p[n:]
	}
	cut := len(p) - openTail(p)
	if !utf8.Valid(p[:cut]) {
		return u.fail()
	}
	if cut == len(p) {
		return true
	}
	if !u.start(p[cut]) {
		return u.fail()
	}
	return u.finish(p[cut+1:]) >= 0
}

// Complete reports whether no sequence is open: a text may end here.
func (u *UTF8) Complete() bool { return u.need == 0 }

// finish consumes continuation bytes of the open sequence and returns how many, or -1 for a byte that cannot follow.
func (u *UTF8) finish(p []byte) int {
	n := 0
	for ; u.need > 0 && n < len(p); n++ {
		if p[n] < u.lo || p[n] > u.hi {
			u.fail()
			return -1
		}
		u.need--
		u.lo, u.hi = 0x80, 0xBF
	}
	if u.need == 0 {
		*u = UTF8{}
	}
	return n
}

// start opens a sequence with its lead byte. RFC 3629 §4 narrows the second byte of four leads: overlong forms (E0, F0),
// surrogates (ED), beyond U+10FFFF (F4).
func (u *UTF8) start(lead byte) bool {
	n := sequenceBytes(lead)
	if n < 2 {
		return false
	}
	u.need, u.lo, u.hi = uint8(n-1), 0x80, 0xBF
	switch lead {
	case 0xE0:
		u.lo = 0xA0
	case 0xED:
		u.hi = 0x9F
	case 0xF0:
		u.lo = 0x90
	case 0xF4:
		u.hi = 0x8F
	}
	return true
}

// fail makes the failure last: a next byte that is ≥ 1 and ≤ 0 does not exist.
func (u *UTF8) fail() bool {
	*u = UTF8{need: 1, lo: 1, hi: 0}
	return false
}

// openTail returns the length of a sequence at the end of p that has begun but is not whole: 0 to 3.
func openTail(p []byte) int {
	for back := 1; back <= 3 && back <= len(p); back++ {
		c := p[len(p)-back]
		if c < 0x80 {
			return 0
		}
		if c >= 0xC0 {
			if sequenceBytes(c) > back {
				return back
			}
			return 0
		}
	}
	return 0
}

// sequenceBytes returns the length of a sequence by its lead byte, 0 for a byte that leads none (C0 and C1 could only be
// overlong, F5 up would be beyond U+10FFFF).
func sequenceBytes(lead byte) int {
	switch {
	case lead < 0x80:
		return 1
	case lead < 0xC2:
		return 0
	case lead < 0xE0:
		return 2
	case lead < 0xF0:
		return 3
	case lead < 0xF5:
		return 4
	}
	return 0
}
