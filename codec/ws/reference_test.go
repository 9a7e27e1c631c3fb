package ws

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// A trace is what came out of a parser, one line per message or control frame, independent of how the input was cut:
// "text 48656c6c6f", "binary deflate …", "ping …", "close 1000 …", "fail 1002 reserved-bits", and at the end of the input
// "partial text …" for a message that is not whole.
type trace []string

// reference is RFC 6455 §5 read aloud: it has the whole input, copies what it likes and knows nothing of resuming.
type reference struct {
	lim Limits
	out trace

	open      bool
	op        Op
	deflate   bool
	message   []byte
	announced int
}

func referenceTrace(b []byte, lim Limits) trace {
	r := &reference{lim: lim}
	if r.lim.MessageBytesMax <= 0 {
		r.lim.MessageBytesMax = 65536
	}
	for more := true; more && len(b) > 0; {
		b, more = r.frame(b)
	}
	if r.open && (len(r.out) == 0 || r.out[len(r.out)-1][:4] != "fail" && r.out[len(r.out)-1][:5] != "close") {
		r.message = append([]byte(nil), r.message...)
		if len(r.message) > 0 {
			r.line("partial " + r.name())
		}
	}
	return r.out
}

func (r *reference) line(kind string) { r.out = append(r.out, fmt.Sprintf("%s %x", kind, r.message)) }

func (r *reference) name() string {
	if r.deflate {
		return r.op.String() + " deflate"
	}
	return r.op.String()
}

func (r *reference) fail(why Reason) ([]byte, bool) {
	r.out = append(r.out, fmt.Sprintf("fail %d %s", why.Code(), why))
	return nil, false
}

// frame reads one frame and returns what follows it, or false when nothing can.
func (r *reference) frame(b []byte) ([]byte, bool) {
	op := Op(b[0] & 15)
	switch {
	case op > 2 && op < 8, op > 10:
		return r.fail(ReasonReservedOpcode)
	case b[0]&0x20 > 0, b[0]&0x10 > 0, b[0]&0x40 > 0 && !(r.lim.Deflate && (op == Text || op == Binary)):
		return r.fail(ReasonReservedBits)
	case op > 7 && b[0] < 128:
		return r.fail(ReasonControlFragmented)
	case op == Continuation && !r.open:
		return r.fail(ReasonContinuationFirst)
	case (op == Text || op == Binary) && r.open:
		return r.fail(ReasonMessageInterleaved)
	case len(b) == 1:
		return nil, false
	case b[1] < 128 && !r.lim.Client:
		return r.fail(ReasonMaskMissing)
	case b[1] > 127 && r.lim.Client:
		return r.fail(ReasonMaskUnexpected)
	}
	n, at, why := r.length(b, op)
	if why != ReasonNone {
		return r.fail(why)
	}
	if at == 0 {
		return nil, false
	}
	if op < 8 && (n > uint64(r.lim.MessageBytesMax) || int(n)+r.announced > r.lim.MessageBytesMax) {
		return r.fail(ReasonTooBig)
	}
	key := []byte{0, 0, 0, 0}
	if !r.lim.Client {
		if len(b) < at+4 {
			return nil, false
		}
		key, at = b[at:at+4], at+4
	}
	body := append([]byte(nil), b[at:min(len(b), at+int(n))]...)
	for i := range body {
		body[i] ^= key[i%4]
	}
	if op > 7 {
		return b[at+len(body):], r.control(op, body, len(body) == int(n))
	}
	return b[at+len(body):], r.data(b[0], op, body, int(n))
}

func (r *reference) length(b []byte, op Op) (n uint64, at int, _ Reason) {
	n = uint64(b[1] % 128)
	switch {
	case n > 125 && op > 7:
		return 0, 0, ReasonControlTooLong
	case n == 126 && len(b) >= 4:
		if n = uint64(binary.BigEndian.Uint16(b[2:])); n < 126 {
			return 0, 0, ReasonLengthNotMinimal
		}
		return n, 4, ReasonNone
	case n == 127 && len(b) > 2 && b[2] > 127:
		return 0, 0, ReasonLengthTopBit
	case n == 127 && len(b) >= 10:
		if n = binary.BigEndian.Uint64(b[2:]); n < 65536 {
			return 0, 0, ReasonLengthNotMinimal
		}
		return n, 10, ReasonNone
	case n > 125:
		return 0, 0, ReasonNone
	}
	return n, 2, ReasonNone
}

func (r *reference) control(op Op, body []byte, whole bool) bool {
	if !whole {
		return false
	}
	if op != CloseOp {
		r.out = append(r.out, fmt.Sprintf("%s %x", op, body))
		return true
	}
	code := 1005
	switch {
	case len(body) == 1:
		r.fail(ReasonCloseLength)
		return false
	case len(body) > 1:
		code, body = int(body[0])<<8+int(body[1]), body[2:]
		known := map[int]bool{1000: true, 1001: true, 1002: true, 1003: true, 1007: true, 1008: true, 1009: true, 1010: true,
			1011: true, 1012: true, 1013: true, 1014: true}
		if !known[code] && (code < 3000 || code > 4999) {
			r.fail(ReasonCloseCode)
			return false
		}
		if !utf8.Valid(body) {
			r.fail(ReasonCloseReasonUTF8)
			return false
		}
	}
	r.out = append(r.out, fmt.Sprintf("close %d %x", code, body))
	return false
}

func (r *reference) data(first byte, op Op, body []byte, n int) bool {
	if op != Continuation {
		r.open, r.op, r.deflate, r.message, r.announced = true, op, first&0x40 > 0, nil, 0
	}
	r.message = append(r.message, body...)
	r.announced += n
	last := first > 127 && len(body) == n
	if r.op == Text && !r.deflate && (!couldBecomeUTF8(r.message) || last && !utf8.Valid(r.message)) {
		r.fail(ReasonInvalidUTF8)
		return false
	}
	if last {
		r.line(r.name())
		r.open, r.announced = false, 0
	}
	return true
}

// couldBecomeUTF8 reports whether some continuation makes p valid, by trying the ones that matter.
func couldBecomeUTF8(p []byte) bool {
	if utf8.Valid(p) {
		return true
	}
	p = p[max(0, lastValid(p)):]
	for _, end := range []string{
		"\x80", "\x80\x80", "\x80\x80\x80", "\x90\x80\x80", "\x90\x80", "\xa0\x80", "\xa0", "\x90",
	} {
		if utf8.Valid(append(append([]byte(nil), p...), end...)) {
			return true
		}
	}
	return false
}

// lastValid returns the end of the longest valid prefix of p that leaves at most three bytes, or 0.
func lastValid(p []byte) int {
	for back := 0; back <= 3 && back <= len(p); back++ {
		if utf8.Valid(p[:len(p)-back]) {
			return len(p) - back
		}
	}
	return 0
}
