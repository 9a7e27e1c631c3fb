package ws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
)

// Parser is the reading state of one conn. The zero value is ready for the first byte after the handshake. It holds no
// pointers and no bytes, so it lives in a conn's slot; one goroutine at a time.
type Parser struct {
	rest    uint64 // payload bytes of the open data frame that have not been presented yet
	message uint64 // payload bytes of the open message, as announced by the headers so far
	mask    uint32 // masking key, little endian, turned so that its low byte meets the next payload byte
	flags   flags
	text    UTF8 // of the open message, when it is uncompressed text
}

// parserBytes is a promise of house.md (at most 40); the next line does not compile when it is broken.
const parserBytes = 24

var _ = [1]struct{}{}[parserBytes-unsafe.Sizeof(Parser{})]

type flags uint8

const (
	inFrame    flags = 1 << iota // the header of a data frame is consumed, its payload is not (rest may be 0 only inside Next)
	fin                          // the open frame is the last of its message
	open                         // a message has begun and not ended
	binaryMsg                    // the open message is binary
	compressed                   // the open message is compressed
	begun                        // a piece of the open message has been given out
	done                         // Close or Fail was given out: the rest of the input has no meaning
)

// header is a frame header as read from the wire.
type header struct {
	size   int // bytes; 0 = not whole yet
	op     Op
	fin    bool
	rsv1   bool
	length uint64
	mask   uint32
}

// Next looks at the front of b, consumes n bytes of it and returns at most one event. Call it with b[n:] again until it
// returns 0 and None; what is left of b then (an incomplete header or control frame, at most 130 bytes) must be presented
// again in front of the next bytes. Payload bytes in b are unmasked in place and only when consumed. It never allocates.
//
// Pieces of data are as long as b allows; however b is cut, the same messages, control frames and failure come out in the
// same order. A failure is found as early as its first offending byte. After Close or Fail everything is consumed and
// nothing more comes out (§5.5.1: data after a close frame is discarded).
//
// lim must be the same, or equal, for the whole life of the conn.
func (p *Parser) Next(b []byte, lim *Limits) (n int, ev Event) {
	if p.flags&inFrame != 0 {
		return p.payload(b, 0)
	}
	if p.flags&done != 0 || len(b) == 0 {
		return len(b), Event{}
	}
	h, reason := p.header(b, lim)
	switch {
	case reason != ReasonNone:
		return p.fail(b, reason)
	case h.size == 0:
		return 0, Event{}
	case h.op.Control():
		return p.control(b, &h)
	}
	p.begin(&h)
	return p.payload(b, h.size)
}

// Pending returns how many payload bytes of the open data frame are still to come: a hint for the size of a buffer, never
// more than Limits.MessageBytesMax.
func (p *Parser) Pending() int { return int(p.rest) }

// Between reports whether the parser stands between two messages with nothing partial: a conn that may give its buffers
// back. Bytes not consumed by Next are the caller's to know.
func (p *Parser) Between() bool { return p.flags&(inFrame|open) == 0 }

// header reads and checks a frame header, byte by byte as far as b goes, so that the verdict does not depend on the cut.
func (p *Parser) header(b []byte, lim *Limits) (h header, _ Reason) {
	h.op, h.fin, h.rsv1 = Op(b[0]&0xF), b[0]&bitFin != 0, b[0]&bitRSV1 != 0
	if r := p.checkFirst(b[0], lim); r != ReasonNone || len(b) < 2 {
		return h, r
	}
	masked := b[1]&bitMask != 0
	if masked == lim.Client { // §5.1: client to server always, server to client never
		if masked {
			return h, ReasonMaskUnexpected
		}
		return h, ReasonMaskMissing
	}
	size := 2
	h.length = uint64(b[1] &^ bitMask)
	if h.length >= length16 {
		var r Reason
		if size, r = h.readLength(b); r != ReasonNone || size == 0 {
			return h, r
		}
	}
	if limit := lim.messageBytesMax(); !h.op.Control() && (h.length > limit || p.message > limit-h.length) {
		return h, ReasonTooBig // compared as it came, before any conversion or sum that could wrap
	}
	if masked {
		if len(b) < size+4 {
			return h, ReasonNone
		}
		h.mask = binary.LittleEndian.Uint32(b[size:])
		size += 4
	}
	h.size = size
	return h, ReasonNone
}

// checkFirst checks the first byte of a frame against the state of the message.
func (p *Parser) checkFirst(first byte, lim *Limits) Reason {
	op := Op(first & 0xF)
	switch {
	case op.Reserved():
		return ReasonReservedOpcode // §5.2: an unknown opcode fails the connection
	case first&0x30 != 0:
		return ReasonReservedBits // §5.2: RSV2, RSV3: no extension uses them
	case first&bitRSV1 != 0 && (!lim.Deflate || op.Control() || op == Continuation):
		return ReasonReservedBits // RFC 7692 §6.1: only the first frame of a data message
	case op.Control():
		if first&bitFin == 0 {
			return ReasonControlFragmented // §5.4, §5.5
		}
	case op == Continuation:
		if p.flags&open == 0 {
			return ReasonContinuationFirst // §5.4
		}
	case p.flags&open != 0:
		return ReasonMessageInterleaved // §5.4: fragments of two messages must not be interleaved
	}
	return ReasonNone
}

// readLength reads the 16- or 64-bit length (§5.2) and returns the bytes up to its end, 0 when b is too short.
func (h *header) readLength(b []byte) (size int, _ Reason) {
	if h.op.Control() {
		return 0, ReasonControlTooLong // §5.5; known from the 7-bit length alone
	}
	if h.length == length16 {
		if len(b) < 4 {
			return 0, ReasonNone
		}
		if h.length = uint64(binary.BigEndian.Uint16(b[2:])); h.length < length16 {
			return 0, ReasonLengthNotMinimal
		}
		return 4, ReasonNone
	}
	if len(b) >= 3 && b[2]&0x80 != 0 {
		return 0, ReasonLengthTopBit
	}
	if len(b) < 10 {
		return 0, ReasonNone
	}
	if h.length = binary.BigEndian.Uint64(b[2:]); h.length <= 0xFFFF {
		return 0, ReasonLengthNotMinimal
	}
	return 10, ReasonNone
}

// begin takes the header of a data frame into the state.
func (p *Parser) begin(h *header) {
	if h.op != Continuation {
		p.flags = open
		p.text = UTF8{}
		if h.op == Binary {
			p.flags |= binaryMsg
		}
		if h.rsv1 {
			p.flags |= compressed
		}
	}
	p.flags |= inFrame
	if h.fin {
		p.flags |= fin
	}
	p.rest, p.mask = h.length, h.mask
	p.message += h.length
}

// payload gives out what b holds of the open data frame from at on; at is the size of a header just read, or 0.
func (p *Parser) payload(b []byte, at int) (n int, ev Event) {
	piece := b[at:]
	if uint64(len(piece)) > p.rest {
		piece = piece[:p.rest]
	}
	if len(piece) == 0 && p.rest > 0 {
		return at, Event{}
	}
	p.unmask(piece)
	p.rest -= uint64(len(piece))

	op := Text
	if p.flags&binaryMsg != 0 {
		op = Binary
	}
	last := p.rest == 0 && p.flags&fin != 0
	if p.flags&(binaryMsg|compressed) == 0 && (!p.text.Push(piece) || last && !p.text.Complete()) {
		return p.fail(b, ReasonInvalidUTF8)
	}
	ev = Event{
		Kind: Data, Op: op, First: p.flags&begun == 0, Final: last, Compressed: p.flags&compressed != 0, Payload: piece,
	}
	switch {
	case last:
		p.flags, p.message = 0, 0
	case p.rest == 0:
		p.flags = p.flags&^inFrame | begun
	default:
		p.flags |= begun
	}
	return at + len(piece), ev
}

// unmask applies the key to the next piece and turns it to stand at the byte after. A zero key (a server's frame has
// none) changes nothing.
func (p *Parser) unmask(piece []byte) {
	if p.mask == 0 {
		return
	}
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], p.mask)
	ws.Cipher(piece, key, 0)
	p.mask = bits.RotateLeft32(p.mask, -8*(len(piece)&3))
}

// control gives out a control frame once it is whole (§5.5: at most 125 bytes, never fragmented, allowed between the
// fragments of a message, whose state it leaves alone).
func (p *Parser) control(b []byte, h *header) (n int, ev Event) {
	n = h.size + int(h.length)
	if len(b) < n {
		return 0, Event{}
	}
	body := b[h.size:n]
	if h.mask != 0 {
		var key [4]byte
		binary.LittleEndian.PutUint32(key[:], h.mask)
		ws.Cipher(body, key, 0)
	}
	switch h.op {
	case PingOp:
		return n, Event{Kind: Ping, Payload: body}
	case PongOp:
		return n, Event{Kind: Pong, Payload: body}
	}
	code, reason, bad := readClose(body)
	if bad != ReasonNone {
		return p.fail(b, bad)
	}
	p.end()
	return n, Event{Kind: Close, Code: code, Payload: reason}
}

// readClose reads the body of a close frame, §5.5.1: nothing, or a code and a reason in UTF-8.
func readClose(body []byte) (code CloseCode, reason []byte, bad Reason) {
	switch len(body) {
	case 0:
		return CodeNoStatus, nil, ReasonNone // §7.1.5
	case 1:
		return 0, nil, ReasonCloseLength
	}
	code = CloseCode(binary.BigEndian.Uint16(body))
	switch reason = body[2:]; {
	case !code.OnWire():
		return 0, nil, ReasonCloseCode
	case !utf8.Valid(reason):
		return 0, nil, ReasonCloseReasonUTF8
	}
	return code, reason, ReasonNone
}

// fail ends the parser with a failure; b is consumed whole, since nothing after it has a meaning (§7.1.7).
func (p *Parser) fail(b []byte, r Reason) (n int, ev Event) {
	p.end()
	return len(b), Event{Kind: Fail, Reason: r, Code: r.Code()}
}

func (p *Parser) end() { *p = Parser{flags: done} }

// Validate reports the first way in which p contradicts itself. Between two calls of Next it must return nil.
func (p *Parser) Validate() error {
	f := p.flags
	switch {
	case f&done != 0 && *p != Parser{flags: done}:
		return fmt.Errorf("ws: parser is done but keeps state: %+v", *p)
	case f&inFrame != 0 && (f&open == 0 || p.rest == 0):
		return fmt.Errorf("ws: parser is inside a frame without a message or without payload: %+v", *p)
	case f&inFrame == 0 && (f&fin != 0 || p.rest != 0):
		return fmt.Errorf("ws: parser is between frames but expects payload: %+v", *p)
	case f&open == 0 && (p.message != 0 || f&(binaryMsg|compressed|begun) != 0):
		return fmt.Errorf("ws: parser is between messages but remembers one: %+v", *p)
	case p.rest > p.message:
		return fmt.Errorf("ws: %d bytes to come in a message of %d", p.rest, p.message)
	case p.text.need > 3:
		return errors.New("ws: an open UTF-8 sequence lacks more than 3 bytes")
	}
	return nil
}
