package auth

import (
	"bytes"
	"encoding/base64"
	"strings"

	"shoal/codec/proto/jsontext"
)

const (
	headerCharsMax = 4096 // of the header in base64url
	headerBytesMin = 512  // of the header decoded on the stack; longer ones cost an allocation
	keyIDBytesMax  = 256
)

// base64url is RFC 7515 §2: without padding, and strict, so that a token has one
// spelling only. It is never written.
var base64url = base64.RawURLEncoding.Strict()

// compact is a token cut at its points (RFC 7515 §3.1).
type compact struct {
	signed                     string // header.payload
	header, payload, signature string
}

func cut(token string) (compact, *Error) {
	// Go's base64 skips line breaks, RFC 7515 §2 does not know them.
	if strings.IndexByte(token, '\n') >= 0 || strings.IndexByte(token, '\r') >= 0 {
		return compact{}, refuse(ReasonMalformed, "it has line breaks")
	}
	last := strings.LastIndexByte(token, '.')
	if first := strings.IndexByte(token, '.'); first >= 0 && first < last {
		c := compact{signed: token[:last], header: token[:first], payload: token[first+1 : last], signature: token[last+1:]}
		if strings.IndexByte(c.payload, '.') < 0 {
			return c, nil
		}
	}
	return compact{}, refuse(ReasonMalformed, "it does not have three parts (RFC 7515 §3.1)")
}

// header is what is read of a JOSE header (RFC 7515 §4.1).
type header struct {
	alg   algorithm
	keyID []byte // kid; nil for none
}

// readHeader reads a header in base64url; text is used for decoding it, and the result
// aliases it.
func readHeader(segment string, text []byte) (header, *Error) {
	if len(segment) > headerCharsMax {
		return header{}, refuse(ReasonOversize, "the header has %d bytes, the limit is %d", len(segment), headerCharsMax)
	}
	if need := base64url.DecodedLen(len(segment)); need > len(text) {
		text = make([]byte, need)
	}
	n, err := base64url.Decode(text, bytesOf(segment))
	if err != nil {
		return header{}, refuse(ReasonMalformed, "the header is not base64url")
	}
	return parseHeader(text[:n])
}

// parseHeader reads the members it knows; where one comes twice the last one counts
// (RFC 7515 §4 leaves that or a refusal). jwk, jku, x5c and x5u are never looked at.
func parseHeader(text []byte) (header, *Error) {
	var h header
	m := object(text)
	for m.next() {
		switch string(m.key) {
		case "alg":
			h.alg = algorithmNone
			if s, ok := unquote(m.value); ok {
				h.alg = algorithmOf(s)
			}
		case "kid":
			s, ok := unquote(m.value)
			if !ok && !isNull(m.value) {
				return header{}, refuse(ReasonMalformed, "kid is not a string")
			}
			if h.keyID = s; len(s) > keyIDBytesMax {
				return header{}, refuse(ReasonOversize, "kid has %d bytes, the limit is %d", len(s), keyIDBytesMax)
			}
		case "crit":
			return header{}, refuse(ReasonCritical, "crit names extensions and none is supported (RFC 7515 §4.1.11); issue it without")
		}
	}
	if m.bad {
		return header{}, refuse(ReasonMalformed, "the header is not a JSON object")
	}
	return h, nil
}

// View is what a token says about itself, nothing of it verified.
type View struct {
	Algorithm string // "" for one that is not known
	KeyID     string
	Header    []byte // JSON
	Claims    []byte // JSON
}

// Inspect reads a token without believing it.
func Inspect(token string) (View, *Error) {
	c, bad := cut(token)
	if bad != nil {
		return View{}, bad
	}
	h, bad := readHeader(c.header, nil)
	if bad != nil {
		return View{}, bad
	}
	v := View{Algorithm: h.alg.String(), KeyID: string(h.keyID)}
	var err error
	if v.Header, err = base64url.DecodeString(c.header); err != nil {
		return View{}, refuse(ReasonMalformed, "the header is not base64url")
	}
	if v.Claims, err = base64url.DecodeString(c.payload); err != nil {
		return View{}, refuse(ReasonMalformed, "the claims are not base64url")
	}
	if !jsontext.Valid(v.Claims) {
		return View{}, refuse(ReasonClaims, "the claims are not JSON")
	}
	return v, nil
}

// members walks over a JSON object. It checks the whole text, and allocates only for
// names with escapes.
type members struct {
	text []byte
	at   int

	key, value []byte // of the member that next found; value as written, never empty
	done, bad  bool   // bad: the text is not exactly one JSON object
}

// object begins a walk: for m.next() { … }, and then m.bad.
func object(text []byte) members {
	m := members{text: text, at: jsontext.SkipSpace(text, 0)}
	if m.bad = m.peek() != '{'; !m.bad {
		if m.skip(); m.peek() == '}' {
			m.end()
		}
	}
	return m
}

// next goes to the next member; false behind the last one, or when the text is bad.
func (m *members) next() bool {
	if m.done || m.bad || m.peek() != '"' {
		m.bad = m.bad || !m.done
		return false
	}
	from := m.at + 1
	end, plain, f := jsontext.String(m.text, from)
	if f != 0 {
		m.bad = true
		return false
	}
	if m.key = m.text[from : end-1]; !plain {
		m.key = jsontext.AppendUnescaped(nil, m.key)
	}
	if m.at = jsontext.SkipSpace(m.text, end); m.peek() != ':' {
		m.bad = true
		return false
	}
	m.skip()
	end, f = jsontext.Value(m.text, m.at)
	if f != 0 {
		m.bad = true
		return false
	}
	m.value = m.text[m.at:end:end]
	switch m.at = jsontext.SkipSpace(m.text, end); m.peek() {
	case ',':
		m.skip()
	case '}':
		m.end()
	default:
		m.bad = true
	}
	return !m.bad
}

// end takes the last brace.
func (m *members) end() {
	m.skip()
	m.done, m.bad = true, m.at != len(m.text)
}

// peek is the byte at hand, 0 at the end.
func (m *members) peek() byte {
	if m.at < len(m.text) {
		return m.text[m.at]
	}
	return 0
}

// skip takes the byte at hand and the white space behind it.
func (m *members) skip() { m.at = jsontext.SkipSpace(m.text, m.at+1) }

// unquote is the content of a JSON string, which value is known to be good JSON; ok is
// false for any other value. It aliases value unless there are escapes.
func unquote(value []byte) (content []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	content = value[1 : len(value)-1]
	if bytes.IndexByte(content, '\\') >= 0 {
		content = jsontext.AppendUnescaped(make([]byte, 0, len(content)), content)
	}
	return content, true
}

func isNull(value []byte) bool { return string(value) == "null" }
