package filter

import (
	"strings"
	"unsafe"
)

const (
	numberBytesMax = 200
	partDigitsMax  = 19 // behind the point
)

// number is a decimal number in its shortest form: no zeros in front of whole, none at the end of part, zero without
// digits and sign. Its strings alias what it was made from.
type number struct {
	negative    bool
	whole, part string
}

// parseNumber reads a number as the stock server's library (quagmt/udecimal) does.
func parseNumber(s string) (number, bool) {
	if len(s) > numberBytesMax {
		return number{}, false
	}
	n := number{}
	if s != "" && (s[0] == '-' || s[0] == '+') {
		n.negative, s = s[0] == '-', s[1:]
	}
	whole, part, point := strings.Cut(s, ".")
	if whole == "" || !digitsOnly(whole) || !digitsOnly(part) || point && (part == "" || len(part) > partDigitsMax) {
		return number{}, false
	}
	n.whole, n.part = strings.TrimLeft(whole, "0"), strings.TrimRight(part, "0")
	n.negative = n.negative && (n.whole != "" || n.part != "")
	return n, true
}

func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare is negative when n < m, 0 when equal, positive when n > m.
func (n number) compare(m number) int {
	if n.negative != m.negative {
		if n.negative {
			return -1
		}
		return 1
	}
	order := len(n.whole) - len(m.whole)
	if order == 0 {
		order = strings.Compare(n.whole, m.whole)
	}
	if order == 0 {
		order = strings.Compare(n.part, m.part)
	}
	if n.negative {
		return -order
	}
	return order
}

func (n number) append(program []byte) []byte {
	sign := byte(0)
	if n.negative {
		sign = 1
	}
	return appendBlock(appendBlock(append(program, sign), n.whole), n.part)
}

// text is p as a string without a copy: it lives and changes as p does.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
