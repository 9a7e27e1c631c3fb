package handshake

import (
	"bytes"
	"encoding/binary"
)

// tokens has an x at the index of every byte that may stand in a token (RFC 9110 §5.6.2): a constant of 256 bytes, sixteen a row, so that
// a look-up is one load and nobody can change it.
const tokens = "" +
	"                " + // 00
	"                " + // 10
	" x xxxxx  xx xx " + // 20
	"xxxxxxxxxx      " + // 30
	" xxxxxxxxxxxxxxx" + // 40
	"xxxxxxxxxxx   xx" + // 50
	"xxxxxxxxxxxxxxxx" + // 60
	"xxxxxxxxxxx x x " + // 70
	"                                                                " + // 80 to bf
	"                                                                " // c0 to ff

// isToken reports whether c may stand in a token.
func isToken(c byte) bool { return tokens[c] == 'x' }

// isAllToken reports whether s is a token: not empty, token characters only.
func isAllToken(s []byte) bool {
	for _, c := range s {
		if !isToken(c) {
			return false
		}
	}
	return len(s) > 0
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// equalFold compares ASCII case-insensitively (RFC 9110 §5.1). Not bytes.EqualFold: that one folds U+212A to k.
func equalFold(b []byte, s string) bool {
	if string(b) == s { // as nearly everybody writes it
		return true
	}
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// trimOWS cuts optional white space, SP and HTAB only (RFC 9110 §5.6.3). The result of a present header is never nil.
func trimOWS(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// cutElement cuts the first element off a comma-separated list (RFC 9110 §5.6.1). Elements may be empty.
func cutElement(list []byte) (element, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trimOWS(list[:i]), list[i+1:]
	}
	return trimOWS(list), nil
}

func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var element []byte
		element, list = cutElement(list)
		if equalFold(element, token) {
			return true
		}
	}
	return false
}

// badByte names what is wrong with a byte that may not stand in a head.
func badByte(c byte) Status {
	switch c {
	case 0:
		return NULByte
	case '\r':
		return BareCR
	}
	return ControlByte
}

// splitHeader cuts a header line (without CR LF, not empty) into name and value (RFC 9112 §5). Done, or a failure.
func splitHeader(line []byte) (name, value []byte, status Status) {
	i := 0
	for i < len(line) && isToken(line[i]) {
		i++
	}
	if i == len(line) {
		return nil, nil, BadHeaderLine
	}
	if i == 0 || line[i] != ':' {
		return nil, nil, badName(line, i)
	}
	value = trimOWS(line[i+1:])
	if status := checkValue(value); status != Done {
		return nil, nil, status
	}
	return line[:i], value, Done
}

// badName says why line[i], the first byte after the name, is no colon, or why there is no name at all.
func badName(line []byte, i int) Status {
	switch c := line[i]; {
	case c == ' ' || c == '\t':
		if i == 0 {
			return ObsFold // also on the first header line, RFC 9112 §2.2
		}
		if rest := trimOWS(line[i:]); len(rest) > 0 && rest[0] == ':' {
			return SpaceBeforeColon
		}
		return BadHeaderName
	case c < ' ' || c == 0x7f:
		return badByte(c)
	}
	return BadHeaderName
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// checkValue looks for bytes that may not stand in a header value (RFC 9110 §5.5), eight at a time; obs-text passes.
func checkValue(v []byte) Status {
	for len(v) >= 8 {
		x := binary.LittleEndian.Uint64(v)
		less := (x - ones*' ') &^ x            // high bit set where a byte is below SP
		del := x ^ ones*0x7f                   // zero where a byte is DEL
		if (less|(del-ones)&^del)&highs != 0 { // may be HTAB: look closely
			if status := checkBytes(v[:8]); status != Done {
				return status
			}
		}
		v = v[8:]
	}
	return checkBytes(v)
}

func checkBytes(v []byte) Status {
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return badByte(c)
		}
	}
	return Done
}

// splitHost cuts host[:port] (RFC 3986 §3.2.2, without percent-encoding and user information). An IPv6 literal keeps its brackets.
func splitHost(s []byte) (host, port []byte, ok bool) {
	end := 0
	if len(s) > 0 && s[0] == '[' {
		end = bytes.IndexByte(s, ']') + 1
		if end < len("[::]") || !all(s[1:end-1], isIPv6) {
			return nil, nil, false
		}
	} else {
		for end < len(s) && isHostByte(s[end]) {
			end++
		}
	}
	host, port = s[:end], s[end:]
	if end == 0 || len(port) == 0 {
		return host, nil, end > 0
	}
	if port[0] != ':' || len(port) > len(":65535") || !all(port[1:], isDigit) || number(port[1:]) > 65535 {
		return nil, nil, false
	}
	return host, port[1:], true
}

func all(s []byte, is func(byte) bool) bool {
	for _, c := range s {
		if !is(c) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'f' }
func isIPv6(c byte) bool  { return isHex(c) || c == ':' || c == '.' }
func isHostByte(c byte) bool {
	return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'z' || c == '.' || c == '-' || c == '_' || c == '~'
}

// number reads decimal digits, which the caller has checked and which are few.
func number(digits []byte) (n int) {
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}
