package deflate

import "errors"

// ErrSyntax is the error of [CheckSyntax].
var ErrSyntax = errors.New(`deflate: Sec-WebSocket-Extensions breaks the grammar of RFC 6455 §9.1; it must read like "name; parameter; parameter=value, name"`)

// CheckSyntax checks the value of a Sec-WebSocket-Extensions header against the grammar of RFC 6455 §9.1 (its #rule is that
// of RFC 2616 §2.1: empty elements are allowed, at least one must not be). §9.1 wants a handshake that breaks it to fail: a
// server answers 400. A quoted value must be a token once unquoted.
func CheckSyntax(header []byte) error {
	s := scanner{b: header}
	s.separators()
	if s.end() {
		return ErrSyntax
	}
	for !s.end() {
		if !s.checkExtension() || !s.end() && !s.separators() {
			return ErrSyntax
		}
	}
	return nil
}

func (s *scanner) checkExtension() bool {
	if len(s.token()) == 0 {
		return false
	}
	for s.next(';') {
		if len(s.token()) == 0 || s.next('=') && len(s.value()) == 0 {
			return false
		}
	}
	s.space()
	return s.end() || s.b[s.at] == ','
}

// scanner walks a header value. Linear white space is allowed around every token (RFC 2616 §2.1, implied *LWS).
type scanner struct {
	b  []byte
	at int
}

func (s *scanner) end() bool { return s.at == len(s.b) }

func (s *scanner) space() {
	for !s.end() && (s.b[s.at] == ' ' || s.b[s.at] == '\t') {
		s.at++
	}
}

// next consumes c, and space in front of it, if it is there.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.end() || s.b[s.at] != c {
		return false
	}
	s.at++
	return true
}

// separators consumes commas and space; false when there was no comma.
func (s *scanner) separators() bool {
	comma := false
	for s.next(',') {
		comma = true
	}
	return comma
}

// token consumes a token, RFC 2616 §2.2, with space in front; empty when there is none.
func (s *scanner) token() []byte {
	s.space()
	from := s.at
	for !s.end() && isToken(s.b[s.at]) {
		s.at++
	}
	return s.b[from:s.at]
}

// value consumes a token or a quoted string that holds one; empty when there is neither. Escapes are not accepted: a token
// never needs one and no client sends one.
func (s *scanner) value() []byte {
	if !s.next('"') {
		return s.token()
	}
	from := s.at
	for !s.end() && isToken(s.b[s.at]) {
		s.at++
	}
	v := s.b[from:s.at]
	if s.end() || s.b[s.at] != '"' {
		return nil
	}
	s.at++
	return v
}

// isToken: any CHAR except CTLs and separators, RFC 2616 §2.2.
func isToken(c byte) bool {
	switch c {
	case '(', ')', '<', '>', '@', ',', ';', ':', '\\', '"', '/', '[', ']', '?', '=', '{', '}':
		return false
	}
	return c > ' ' && c < 0x7F
}

// equalFold compares ignoring the case of ASCII letters; lower must be lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
