package jsontext

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// DepthMax is how deep lists and objects may nest: a bit of stack each.
const DepthMax = 1024

// Fault says why a text is not JSON; 0 means that it is.
type Fault uint8

const (
	Syntax Fault = iota + 1 // against the grammar of RFC 8259, or at its end too early
	Text                    // a string is not UTF-8 (§8.1)
	Depth                   // nested deeper than DepthMax
)

// Valid reports whether p is exactly one JSON value, with white space around it allowed.
func Valid(p []byte) bool {
	end, f := Value(p, SkipSpace(p, 0))
	return f == 0 && SkipSpace(p, end) == len(p)
}

// SkipSpace returns the first index from i on that is no JSON white space (RFC 8259 §2).
func SkipSpace(b []byte, i int) int {
	for i < len(b) {
		c := b[i]
		if c > ' ' || (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
			return i
		}
		i++
	}
	return i
}

// nesting is a stack of open containers, a bit each: 1 for an object.
type nesting struct {
	kinds [DepthMax / 64]uint64
	depth int
}

func (n *nesting) push(object uint64) bool {
	if n.depth == DepthMax {
		return false
	}
	word, bit := n.depth>>6, uint(n.depth)&63
	n.kinds[word] = n.kinds[word]&^(1<<bit) | object<<bit
	n.depth++
	return true
}

func (n *nesting) inObject() bool {
	top := n.depth - 1
	return n.kinds[top>>6]>>(uint(top)&63)&1 == 1
}

// Value returns the index behind the value that begins at b[i]; b[i] must be no white space.
func Value(b []byte, i int) (int, Fault) {
	if i < len(b) && b[i] != '{' && b[i] != '[' {
		return scalar(b, i)
	}
	return nested(b, i)
}

// nested walks a container without recursion: descend goes down to a finished value, ascend comes up again.
func nested(b []byte, i int) (int, Fault) {
	var n nesting
	for {
		var f Fault
		if i, f = descend(b, i, &n); f != 0 {
			return i, f
		}
		var more bool
		if i, more, f = ascend(b, i, &n); f != 0 || !more {
			return i, f
		}
	}
}

// descend opens containers from i on until a scalar or an empty container has ended, and returns the index behind it.
func descend(b []byte, i int, n *nesting) (int, Fault) {
	for {
		if i = SkipSpace(b, i); i >= len(b) {
			return i, Syntax
		}
		open := b[i]
		if open != '{' && open != '[' {
			return scalar(b, i)
		}
		object := uint64(0)
		if open == '{' {
			object = 1
		}
		if !n.push(object) {
			return i, Depth
		}
		if i = SkipSpace(b, i+1); i >= len(b) {
			return i, Syntax
		}
		if b[i] == open+2 { // '{'+2 is '}', '['+2 is ']'
			n.depth--
			return i + 1, 0
		}
		if object == 1 {
			var f Fault
			if i, f = keyColon(b, i); f != 0 {
				return i, f
			}
		}
	}
}

// ascend closes containers behind a value until a comma (more: the next value begins at the index) or the end.
func ascend(b []byte, i int, n *nesting) (at int, more bool, f Fault) {
	for n.depth > 0 {
		if i = SkipSpace(b, i); i >= len(b) {
			return i, false, Syntax
		}
		object := n.inObject()
		switch c := b[i]; {
		case c == ',' && object:
			i, f = keyColon(b, SkipSpace(b, i+1))
			return i, f == 0, f
		case c == ',':
			return i + 1, true, 0
		case c == '}' && object, c == ']' && !object:
			n.depth--
			i++
		default:
			return i, false, Syntax
		}
	}
	return i, false, 0
}

// keyColon takes `"key" :` and returns the index behind the colon.
func keyColon(b []byte, i int) (int, Fault) {
	if i >= len(b) || b[i] != '"' {
		return i, Syntax
	}
	i, _, f := String(b, i+1)
	if f != 0 {
		return i, f
	}
	if i = SkipSpace(b, i); i >= len(b) || b[i] != ':' {
		return i, Syntax
	}
	return i + 1, 0
}

func scalar(b []byte, i int) (int, Fault) {
	switch c := b[i]; {
	case c == '"':
		end, _, f := String(b, i+1)
		return end, f
	case c == '-' || isDigit(c):
		return Number(b, i)
	case c == 't':
		return Literal(b, i, "true")
	case c == 'f':
		return Literal(b, i, "false")
	case c == 'n':
		return Literal(b, i, "null")
	}
	return i, Syntax
}

// Literal returns the index behind word, which is expected at b[i].
func Literal(b []byte, i int, word string) (int, Fault) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, Syntax
	}
	return i + len(word), 0
}

func isDigit(c byte) bool { return c-'0' < 10 }

// digits returns the index behind the digits at i; none is reported by returning i.
func digits(b []byte, i int) int {
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return i
}

// Number returns the index behind the number that begins at b[i], by RFC 8259 §6: no leading zeros, no bare sign, point or exponent.
func Number(b []byte, i int) (int, Fault) {
	if b[i] == '-' {
		i++
	}
	first := i
	if i = digits(b, i); i == first || (b[first] == '0' && i > first+1) {
		return i, Syntax
	}
	if i < len(b) && b[i] == '.' {
		from := i + 1
		if i = digits(b, from); i == from {
			return i, Syntax
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = digits(b, from); i == from {
			return i, Syntax
		}
	}
	return i, 0
}

// Eight bytes at a time.
const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// special has the high bit set in every byte of x that may end a plain run of a JSON string: a quote, a backslash,
// a control character or anything that is not ASCII. Bits above the lowest set one may be false alarms.
func special(x uint64) uint64 {
	quote := x ^ lowBits*'"'
	slash := x ^ lowBits*'\\'
	return ((x - lowBits*0x20) | (quote - lowBits) | (slash - lowBits) | x) & highBits
}

// plainRun returns the first index from i on whose byte is special, or len(b).
func plainRun(b []byte, i int) int {
	for len(b)-i >= 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] >= 0x20 && b[i] < utf8.RuneSelf && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// String returns the index behind the closing quote of the string whose first character is b[i], and whether
// it has no escapes. Escapes (RFC 8259 §7) and UTF-8 are checked; lone surrogates are let through, as everywhere.
func String(b []byte, i int) (end int, plain bool, f Fault) {
	plain = true
	for {
		if i = plainRun(b, i); i >= len(b) {
			return i, false, Syntax
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, plain, 0
		case c == '\\':
			plain = false
			n := escapeLen(b[i:])
			if n == 0 {
				return i, false, Syntax
			}
			i += n
		case c < 0x20:
			return i, false, Syntax
		default:
			if i = runes(b, i); i < 0 {
				return len(b), false, Text
			}
		}
	}
}

// runes returns the first index from i on that holds ASCII, or -1 when it meets what is not UTF-8 (RFC 3629 §4).
func runes(b []byte, i int) int {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		if c := b[i]; c >= 0xC2 && c < 0xE0 && i+1 < len(b) && b[i+1]&0xC0 == 0x80 { // two bytes, the commonest
			i += 2
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return -1
		}
		i += n
	}
	return i
}

// escapeLen is the length of the escape at b[0] == '\\', or 0 when it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
