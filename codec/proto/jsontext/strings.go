package jsontext

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

const hexDigits = "0123456789abcdef"

// mustEscape has the high bit set in every byte of x that is not copied into a string as it is: what is special and
// the characters that are dangerous where JSON is pasted into HTML. Bits above the lowest set one may be false alarms.
func mustEscape(x uint64) uint64 {
	less, more, and := x^lowBits*'<', x^lowBits*'>', x^lowBits*'&'
	return special(x) | ((less-lowBits)|(more-lowBits)|(and-lowBits))&highBits
}

// copiedRun returns the first index from i on whose byte is not copied as it is, or len(s).
func copiedRun(s []byte, i int) int {
	for len(s)-i >= 8 {
		if m := mustEscape(binary.LittleEndian.Uint64(s[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(s) && mustEscape(lowBits*uint64(s[i])) == 0 {
		i++
	}
	return i
}

// AppendQuoted appends s as a JSON string. Escaped is what RFC 8259 §7 demands, and <, >, &, U+2028 and U+2029 as the
// stock server does; a byte that is no UTF-8 becomes U+FFFD, for the frame must be UTF-8.
func AppendQuoted(dst []byte, s string) []byte {
	p := unsafe.Slice(unsafe.StringData(s), len(s))
	dst = append(dst, '"')
	from := 0
	for i := copiedRun(p, 0); i < len(p); i = copiedRun(p, i) {
		if p[i] < utf8.RuneSelf {
			dst = appendEscape(append(dst, p[from:i]...), p[i])
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			dst = appendUnicode(append(dst, p[from:i]...), r)
			from = i + n
		}
		i += n
	}
	return append(append(dst, p[from:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return appendUnicode(dst, rune(c))
}

func appendUnicode(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// AppendUnescaped appends the string with content p, which String has found good. A lone surrogate becomes U+FFFD.
func AppendUnescaped(dst, p []byte) []byte {
	for i := 0; i < len(p); {
		if p[i] != '\\' {
			from := i
			for i < len(p) && p[i] != '\\' {
				i++
			}
			dst = append(dst, p[from:i]...)
			continue
		}
		c := p[i+1]
		i += 2
		if c != 'u' {
			dst = append(dst, unescapedByte(c))
			continue
		}
		r, _ := hex4(p[i:])
		i += 4
		if r >= 0xD800 && r < 0xE000 {
			r, i = surrogates(r, p, i)
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// surrogates joins the high surrogate r with a low one escaped at p[i:] (RFC 8259 §7).
func surrogates(r rune, p []byte, i int) (rune, int) {
	if r < 0xDC00 && len(p)-i >= 6 && p[i] == '\\' && p[i+1] == 'u' {
		if low, _ := hex4(p[i+2:]); low >= 0xDC00 && low < 0xE000 {
			return 0x10000 + (r-0xD800)<<10 + (low - 0xDC00), i + 6
		}
	}
	return utf8.RuneError, i
}

func unescapedByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // '"', '\\', '/'
}
