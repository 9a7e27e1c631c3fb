package handshake

import (
	"bytes"
	"net/netip"
)

// linesMax is how many header lines of one name a Lines keeps. A list header may be split over lines (RFC 9110 §5.3), but
// nobody splits it further than a proxy or two add to it.
const linesMax = 4

// Lines are the values of a list header in the order of their lines (RFC 9110 §5.3). The zero value is "no such header".
type Lines struct {
	line [linesMax][]byte
	n    uint8
	more bool // there were more than linesMax
}

// Len is the number of lines kept, at most 4.
func (l *Lines) Len() int { return int(l.n) }

// Line returns the value of line i < Len; it aliases the parsed bytes.
func (l *Lines) Line(i int) []byte { return l.line[:l.n][i] }

// Join returns the whole list as one value. With one line this is the line itself, which aliases the parsed bytes; with several, they
// are appended to scratch, joined by a comma. It is nil when the header was absent.
func (l *Lines) Join(scratch []byte) []byte {
	switch l.n {
	case 0:
		return nil
	case 1:
		return l.line[0]
	}
	scratch = append(scratch[:0], l.line[0]...)
	for _, v := range l.line[1:l.n] {
		scratch = append(append(scratch, ',', ' '), v...)
	}
	return scratch
}

func (l *Lines) add(v []byte) {
	if int(l.n) == linesMax {
		l.more = true
		return
	}
	l.line[l.n] = v
	l.n++
}

// Request is a parsed request head. Every slice aliases the bytes given to [Parser.Parse] and is valid as long as they are. The
// caller owns it and may reuse it; Parse overwrites all of it when it returns Done, and any part of it otherwise. An absent header is nil; a
// present but empty one is empty and not nil. Where a header that may stand once stood twice the value is the first, and CheckUpgrade refuses.
type Request struct {
	Head   []byte // all of it, from the method to the empty line
	Method []byte // as sent; methods are case-sensitive (RFC 9110 §9.1)
	Target []byte // as sent
	Path   []byte // of the target, percent-encoded as sent; "*" for OPTIONS *, empty for CONNECT
	Query  []byte // without the question mark; nil when there was none

	Host          []byte // header Host
	Authority     []byte // host of an absolute-form or CONNECT target; nil otherwise
	Origin        []byte
	Key           []byte // Sec-WebSocket-Key
	Version       []byte // Sec-WebSocket-Version
	Authorization []byte
	ContentLength []byte
	ForwardedFor  []byte // X-Forwarded-For, the last line: the one the nearest proxy wrote
	UserAgent     []byte

	Protocols  Lines // Sec-WebSocket-Protocol
	Extensions Lines // Sec-WebSocket-Extensions

	Headers   int  // number of header lines
	Minor     int  // 0 for HTTP/1.0, 1 for HTTP/1.1
	KeepAlive bool // RFC 9112 §9.3
	Upgrade   bool // header Upgrade lists websocket: the request belongs to CheckUpgrade

	Remote netip.Addr // the client, where somebody in front who is trusted said so; the parser leaves it zero

	connection  bool // header Connection lists upgrade
	closing     bool // header Connection lists close
	keeping     bool // header Connection lists keep-alive
	transfer    bool // header Transfer-Encoding is present
	twice       field
	offsetFirst int // offset in Head of the first header line
}

// field is a set of the headers that may stand at most once.
type field uint8

const (
	fieldHost field = 1 << iota
	fieldOrigin
	fieldKey
	fieldVersion
	fieldAuthorization
	fieldContentLength
)

// Header returns the value of the first header called name (any case), nil when there is none. It walks the head: for cold paths.
func (r *Request) Header(name string) []byte {
	var found []byte
	r.Each(func(n, v []byte) bool {
		if len(n) != len(name) || !equalFold(n, name) {
			return true
		}
		found = v
		return false
	})
	return found
}

// Each calls f with every header in order until f returns false. name is as sent; both alias the parsed bytes.
func (r *Request) Each(f func(name, value []byte) bool) {
	rest := r.Head[r.offsetFirst:]
	for len(rest) > 2 {
		end := bytes.IndexByte(rest, '\n')
		name, value, status := splitHeader(rest[:end-1])
		if status != Done || !f(name, value) {
			return
		}
		rest = rest[end+1:]
	}
}

// once stores the value of a header that may stand once, and remembers when it stood twice.
func (r *Request) once(slot *[]byte, v []byte, f field) {
	if *slot != nil {
		r.twice |= f
		return
	}
	*slot = v
}

// header files one header line.
func (r *Request) header(name, v []byte) {
	switch len(name) {
	case 4:
		if equalFold(name, "Host") {
			r.once(&r.Host, v, fieldHost)
		}
	case 6:
		if equalFold(name, "Origin") {
			r.once(&r.Origin, v, fieldOrigin)
		}
	case 7:
		if equalFold(name, "Upgrade") {
			r.Upgrade = r.Upgrade || hasToken(v, "websocket")
		}
	case 10:
		if equalFold(name, "Connection") {
			r.connectionOptions(v)
		} else if equalFold(name, "User-Agent") {
			r.UserAgent = v
		}
	case 13:
		if equalFold(name, "Authorization") {
			r.once(&r.Authorization, v, fieldAuthorization)
		}
	case 14:
		if equalFold(name, "Content-Length") {
			r.once(&r.ContentLength, v, fieldContentLength)
		}
	case 15:
		if equalFold(name, "X-Forwarded-For") {
			r.ForwardedFor = v
		}
	case 17:
		if equalFold(name, "Sec-WebSocket-Key") {
			r.once(&r.Key, v, fieldKey)
		} else if equalFold(name, "Transfer-Encoding") {
			r.transfer = true
		}
	case 21:
		if equalFold(name, "Sec-WebSocket-Version") {
			r.once(&r.Version, v, fieldVersion)
		}
	case 22:
		if equalFold(name, "Sec-WebSocket-Protocol") {
			r.Protocols.add(v)
		}
	case 24:
		if equalFold(name, "Sec-WebSocket-Extensions") {
			r.Extensions.add(v)
		}
	}
}

func (r *Request) connectionOptions(v []byte) {
	for len(v) > 0 {
		var option []byte
		option, v = cutElement(v)
		switch {
		case equalFold(option, "Upgrade"):
			r.connection = true
		case equalFold(option, "close"):
			r.closing = true
		case equalFold(option, "keep-alive"):
			r.keeping = true
		}
	}
}
