package ws

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const (
	bitFin  = 0x80
	bitRSV1 = 0x40
	bitMask = 0x80

	length16 = 126 // the 7-bit length that says: two bytes follow
	length64 = 127 // the 7-bit length that says: eight bytes follow
)

// AppendHeader appends the header of an unmasked frame whose payload of n bytes the caller sends after it, RFC 6455 §5.2.
// The length takes its shortest form. It panics when the frame would break the RFC: n < 0, a reserved opcode, a control
// frame that is longer than 125 bytes, fragmented or compressed.
func AppendHeader(dst []byte, op Op, fin, rsv1 bool, n int) []byte {
	return appendHeader(dst, op, fin, rsv1, n, 0)
}

// AppendFrame appends one whole unmasked frame, as a server sends it. It copies the payload and panics like AppendHeader.
func AppendFrame(dst []byte, op Op, fin, rsv1 bool, payload []byte) []byte {
	return append(appendHeader(dst, op, fin, rsv1, len(payload), 0), payload...)
}

// AppendClose appends an unmasked close frame, RFC 6455 §5.5.1. With CodeNoStatus, the code a [Close] event has when the
// peer gave none, the body is empty; this is how a close is echoed. Otherwise code is sent with as much of reason as fits
// into 123 bytes, cut between two characters. It panics when code must not be on the wire or reason is no UTF-8.
func AppendClose(dst []byte, code CloseCode, reason string) []byte {
	if code == CodeNoStatus {
		return appendHeader(dst, CloseOp, true, false, 0, 0)
	}
	if !code.OnWire() {
		panic("ws: close code " + code.String() + " must not be sent")
	}
	if !utf8.ValidString(reason) {
		panic("ws: the reason of a close frame must be UTF-8")
	}
	reason = cutRunes(reason, ControlBytesMax-2)
	dst = appendHeader(dst, CloseOp, true, false, 2+len(reason), 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// AppendMasked appends one whole message or control frame, masked as a client must, RFC 6455 §5.3. The payload is copied
// and left as it is. The caller brings the key: fresh and unpredictable where a proxy could be listening.
func AppendMasked(dst []byte, op Op, mask [4]byte, payload []byte) []byte {
	return AppendMaskedFrame(dst, op, true, false, mask, payload)
}

// AppendMaskedFrame is AppendMasked with the two bits that a fragmented (fin) or compressed (rsv1) message needs. It
// panics like AppendHeader.
func AppendMaskedFrame(dst []byte, op Op, fin, rsv1 bool, mask [4]byte, payload []byte) []byte {
	dst = appendHeader(dst, op, fin, rsv1, len(payload), bitMask)
	dst = append(dst, mask[:]...)
	dst = append(dst, payload...)
	MaskInPlace(dst[len(dst)-len(payload):], mask, 0)
	return dst
}

// MaskInPlace applies the masking key to p, RFC 6455 §5.3; applying it twice gives p back. offset ≥ 0 is the place of p[0]
// in the payload of its frame.
func MaskInPlace(p []byte, mask [4]byte, offset int) { ws.Cipher(p, mask, offset) }

func appendHeader(dst []byte, op Op, fin, rsv1 bool, n int, masked byte) []byte {
	if n < 0 || op.Reserved() || op > 0xF || op.Control() && (n > ControlBytesMax || !fin || rsv1) {
		panic("ws: a frame that RFC 6455 §5 forbids: " + op.String())
	}
	first := byte(op)
	if fin {
		first |= bitFin
	}
	if rsv1 {
		first |= bitRSV1
	}
	switch {
	case n < length16:
		return append(dst, first, masked|byte(n))
	case n <= 0xFFFF:
		return append(dst, first, masked|length16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, masked|length64), uint64(n))
}

// cutRunes returns the longest prefix of the valid text s that has at most max bytes and ends between two characters.
func cutRunes(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
