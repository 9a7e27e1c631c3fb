package message

import (
	"bytes"
	"errors"
	"fmt"
)

// A payload is one JSON string in an object, so that it can travel in both encodings of the client protocol:
//
//	{"lt":"rrrrrrrrccccccccsssssssstttttttttttttttt…filling…"}
//
// with lower-case hexadecimal numbers: r the run, c the number of the shared channel or the connection it is meant for plus
// one, s the sequence from 1, t the time it was due in Unix nanoseconds. Other publishers may use the format too: give
// a run number of your own, and the engine measures the latency of your publications.
const (
	payloadHead = `{"lt":"`
	payloadTail = `"}`
	headerBytes = 8 + 8 + 8 + 16

	// PayloadBytesMin is the shortest payload: nothing but the header.
	PayloadBytesMin = len(payloadHead) + headerBytes + len(payloadTail)
	// PayloadBytesMax is the longest one.
	PayloadBytesMax = 1 << 20
)

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// Header is what a payload says.
type Header struct {
	Run  uint32
	Conn uint32 // number of the shared channel, or of the connection, it is meant for, plus one; 0 = any
	Seq  uint32 // from 1
	Sent int64  // Unix nanoseconds
}

// Filler makes and checks payloads of one length.
type Filler struct {
	size    int
	pattern []byte // the alphabet, repeated
}

func NewFiller(size int) (*Filler, error) {
	if size < PayloadBytesMin || size > PayloadBytesMax {
		return nil, fmt.Errorf("a payload of %d bytes cannot be made: choose %d to %d", size, PayloadBytesMin, PayloadBytesMax)
	}
	n := size - PayloadBytesMin + len(alphabet)
	return &Filler{size: size, pattern: bytes.Repeat([]byte(alphabet), n/len(alphabet)+1)}, nil
}

// filling is what follows the header of a sequence.
func (f *Filler) filling(seq uint32) []byte {
	from := int(seq % uint32(len(alphabet)))
	return f.pattern[from : from+f.size-PayloadBytesMin]
}

// Append appends the payload of h.
func (f *Filler) Append(dst []byte, h Header) []byte {
	dst = append(dst, payloadHead...)
	dst = appendHex(dst, uint64(h.Run), 8)
	dst = appendHex(dst, uint64(h.Conn), 8)
	dst = appendHex(dst, uint64(h.Seq), 8)
	dst = appendHex(dst, uint64(h.Sent), 16)
	dst = append(dst, f.filling(h.Seq)...)
	return append(dst, payloadTail...)
}

var errAltered = errors.New("a message of this run came back altered")

// Check reports a payload that is not what Append made of h.
func (f *Filler) Check(p []byte, h Header) error {
	if len(p) != f.size || !bytes.Equal(p[len(payloadHead)+headerBytes:len(p)-len(payloadTail)], f.filling(h.Seq)) ||
		string(p[len(p)-len(payloadTail):]) != payloadTail {
		return errAltered
	}
	return nil
}

// ParseHeader reads the header of a payload; false when it has none.
func ParseHeader(p []byte) (h Header, ok bool) {
	if len(p) < PayloadBytesMin || string(p[:len(payloadHead)]) != payloadHead {
		return Header{}, false
	}
	p = p[len(payloadHead):]
	run, a := hex(p[:8])
	conn, b := hex(p[8:16])
	seq, c := hex(p[16:24])
	sent, d := hex(p[24:40])
	if !a || !b || !c || !d {
		return Header{}, false
	}
	return Header{uint32(run), uint32(conn), uint32(seq), int64(sent)}, true
}

func appendHex(dst []byte, v uint64, digits int) []byte {
	const set = "0123456789abcdef"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		dst = append(dst, set[v>>shift&15])
	}
	return dst
}

func hex(p []byte) (v uint64, ok bool) {
	for _, c := range p {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
