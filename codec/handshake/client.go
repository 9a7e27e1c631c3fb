package handshake

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// responseBytesMax bounds the head of a response; a server that sends more is no WebSocket server.
const responseBytesMax = 8 << 10

// Key is a Sec-WebSocket-Key, the base64 of 16 bytes.
type Key [keyBytes]byte

// NewKey encodes a nonce, which is to be drawn at random for each connection (RFC 6455 §4.1 item 7).
func NewKey(nonce [16]byte) (k Key) {
	base64.StdEncoding.Encode(k[:], nonce[:])
	return k
}

// Offer is what a client asks for: AppendRequest writes it, ParseResponse judges the answer by it. It holds no connection's state but Key.
type Offer struct {
	Host        string      // header Host: host or host:port
	Target      string      // path and query, beginning with /
	Origin      string      // header Origin; empty: none
	Key         Key         // from NewKey
	Subprotocol Subprotocol // NoSubprotocol: none offered
	Extensions  string      // header Sec-WebSocket-Extensions; empty: none
	Headers     string      // further header lines, each ending in CR LF; empty: none
}

// Validate reports an offer that a server would have to refuse.
func (o *Offer) Validate() error {
	if !validKey(o.Key[:]) {
		return errors.New("handshake: the offer has no key; make one with NewKey")
	}
	var (
		p   Parser
		req Request
	)
	any := &Origins{any: true}
	_, status := p.Parse(AppendRequest(nil, o), Limits{}, &req)
	if status == Done {
		status = CheckUpgrade(&req, &Config{Origins: any})
	}
	if status != Done {
		return fmt.Errorf("handshake: the offer makes a request that is refused as %s: %s", status, status.Text())
	}
	return nil
}

// AppendRequest appends the client's opening handshake (RFC 6455 §4.1). It writes what it is given; Validate an Offer once before.
func AppendRequest(dst []byte, o *Offer) []byte {
	dst = append(append(dst, "GET "...), o.Target...)
	dst = append(append(dst, " HTTP/1.1\r\nHost: "...), o.Host...)
	dst = append(dst, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	dst = append(append(dst, o.Key[:]...), "\r\n"...)
	if o.Origin != "" {
		dst = append(append(append(dst, "Origin: "...), o.Origin...), "\r\n"...)
	}
	if o.Subprotocol != NoSubprotocol {
		dst = append(append(append(dst, "Sec-WebSocket-Protocol: "...), o.Subprotocol.String()...), "\r\n"...)
	}
	if o.Extensions != "" {
		dst = append(append(append(dst, "Sec-WebSocket-Extensions: "...), o.Extensions...), "\r\n"...)
	}
	return append(append(dst, o.Headers...), "\r\n"...)
}

// Response is a parsed answer to an Offer. Slices alias the parsed bytes.
type Response struct {
	Code        int         // HTTP status code; 101 when accepted
	Subprotocol Subprotocol // the agreed one
	Extensions  []byte      // header Sec-WebSocket-Extensions; nil: none agreed

	accept, protocol              []byte
	upgrade, connection, repeated bool
}

// ParseResponse looks at b, which begins with the first byte of the response, and judges it as RFC 6455 §4.1 asks a client to. Done: n is
// the length of the head, and frames follow. NeedMore: n is 0; call again with these bytes and more. Refused: a well-formed answer other
// than 101; n is the length of its head and resp.Code the code. Anything else is a failure: close. It keeps no state between
// calls, since a response is a few hundred bytes, and allocates nothing.
func ParseResponse(b []byte, o *Offer, resp *Response) (n int, status Status) {
	*resp = Response{}
	if status := checkStatusPrefix(b); status != Done {
		return 0, status
	}
	for line := 0; ; {
		i := bytes.IndexByte(b[line:], '\n')
		if i < 0 && len(b) <= responseBytesMax {
			return 0, NeedMore
		}
		end := line + i
		if i < 0 || end >= responseBytesMax {
			return 0, HeadTooLarge
		}
		if i == 0 || b[end-1] != '\r' {
			return 0, BareLF
		}
		text := b[line : end-1]
		switch {
		case line == 0:
			status = resp.statusLine(text)
		case len(text) == 0:
			return end + 1, resp.judge(o)
		default:
			status = resp.headerLine(text)
		}
		if status != Done {
			return 0, status
		}
		line = end + 1
	}
}

// checkStatusPrefix refuses at the first byte what is no HTTP/1.x response.
func checkStatusPrefix(b []byte) Status {
	const prefix = "HTTP/1."
	if n := min(len(b), len(prefix)); string(b[:n]) != prefix[:n] {
		return BadStatusLine
	}
	return Done
}

// statusLine reads HTTP/1.x SP 3DIGIT [SP reason] (RFC 9112 §4).
func (r *Response) statusLine(line []byte) Status {
	const fixed = len("HTTP/1.1 101")
	if len(line) < fixed || !isDigit(line[7]) || line[8] != ' ' || !all(line[9:fixed], isDigit) || line[9] == '0' ||
		len(line) > fixed && line[fixed] != ' ' {
		return BadStatusLine
	}
	r.Code = number(line[9:fixed])
	return checkValue(line)
}

func (r *Response) headerLine(line []byte) Status {
	name, v, status := splitHeader(line)
	if status != Done {
		return status
	}
	switch {
	case equalFold(name, "Upgrade"):
		r.upgrade = equalFold(v, "websocket")
	case equalFold(name, "Connection"):
		r.connection = r.connection || hasToken(v, "Upgrade")
	case equalFold(name, "Sec-WebSocket-Accept"):
		r.once(&r.accept, v)
	case equalFold(name, "Sec-WebSocket-Protocol"):
		r.once(&r.protocol, v)
	case equalFold(name, "Sec-WebSocket-Extensions"):
		r.once(&r.Extensions, v) // RFC 6455 §11.3.2: a server sends it once
	}
	return Done
}

func (r *Response) once(slot *[]byte, v []byte) {
	r.repeated = r.repeated || *slot != nil
	*slot = v
}

// judge applies items 1 to 6 of the list in RFC 6455 §4.1 "Once the client's opening handshake has been sent".
func (r *Response) judge(o *Offer) Status {
	if r.Code != 101 {
		return Refused
	}
	if !r.upgrade || !r.connection || r.repeated {
		return BadUpgradeReply
	}
	var want [acceptBytes]byte
	if !bytes.Equal(r.accept, appendAccept(want[:0], o.Key[:])) {
		return BadAccept
	}
	if r.Extensions != nil && !offered(r.Extensions, o.Extensions) {
		return ForeignExtension
	}
	if r.protocol == nil {
		return Done
	}
	r.Subprotocol = subprotocolOf(r.protocol)
	if r.Subprotocol == NoSubprotocol || r.Subprotocol != o.Subprotocol {
		return ForeignProtocol
	}
	return Done
}

// offered reports whether the answer is well formed and every extension of it stands in the offer. Parameters are the extension's to judge.
func offered(answer []byte, offer string) bool {
	if n, ok := countExtensions(answer); !ok || n == 0 {
		return false
	}
	for len(answer) > 0 {
		var e []byte
		if e, answer = cutElement(answer); len(e) == 0 {
			continue
		}
		if !namesExtension(offer, extensionName(e)) {
			return false
		}
	}
	return true
}

func extensionName(element []byte) []byte {
	if i := bytes.IndexByte(element, ';'); i >= 0 {
		element = element[:i]
	}
	return trimOWS(element)
}

// namesExtension looks for name among the extensions of an offer, a list of our own making.
func namesExtension(offer string, name []byte) bool {
	for start := 0; start < len(offer); {
		end := start
		for end < len(offer) && offer[end] != ',' {
			end++
		}
		from := start
		for from < end && offer[from] == ' ' {
			from++
		}
		to := from
		for ; to < end && isToken(offer[to]); to++ {
		}
		if to > from && equalFold(name, offer[from:to]) {
			return true
		}
		start = end + 1
	}
	return false
}
