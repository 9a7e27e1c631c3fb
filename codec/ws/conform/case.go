package conform

import "fmt"

// MessageBytesMax is the message limit the echo endpoint must have: the largest case is that long, and one byte more must
// be refused.
const MessageBytesMax = 16 << 20

// Path is where [Run] looks for the echo endpoint.
const Path = "/echo"

// Case is one promise of the RFCs as bytes. The zero Offer is a client without extensions.
type Case struct {
	Clause string // "RFC6455 5.2-3": document, section, number in this table
	Name   string
	Offer  string // value of Sec-WebSocket-Extensions; "" = the header is absent
	Accept string // what the server must answer to it, parameters in any order; "" = no header
	Refuse bool   // the server may answer the handshake with a 4xx instead: Offer breaks the grammar (RFC 6455 §9.1)
	Steps  []Step
	Close  int // code of the server's close frame; CloseEmpty = one without body; 0 = the runner closes with 1000 in the end
}

// CloseEmpty is the code 1005, which is never on the wire: the close frame has no body.
const CloseEmpty = 1005

// Step is what the client sends and what it then waits for, before the next step. What a step has to wait for is small, or
// comes only after all is sent, so that one thread can do both.
type Step struct {
	Send []byte // masked, as they go on the wire
	Want []Frame
}

// Frame is a whole message or control frame from the server; a compressed message is compared inflated.
type Frame struct {
	Op      byte
	Payload []byte
}

// ID names the case for a report: clause and name.
func (c Case) ID() string { return c.Clause + " " + c.Name }

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	fin  = 0x80
	rsv1 = 0x40
)

// Cases returns the whole table, in the order of the sections. The bytes are made anew by every call; about 70 MiB.
func Cases() []Case {
	var all []Case
	count := map[string]int{}
	for _, group := range [][]Case{
		framing(), masking(), reservedBits(), opcodes(), lengths(), fragmentation(), controls(), closing(), closeCodes(),
		utf8Valid(), utf8Invalid(), utf8FailFast(), sizes(), limits(), negotiation(), compressed(), compressedBroken(),
	} {
		for _, c := range group {
			count[c.Clause]++
			c.Clause = fmt.Sprintf("%s-%d", c.Clause, count[c.Clause])
			all = append(all, c)
		}
	}
	return all
}

// keys are used in turn by length, so that the same case is the same bytes every time; one of them changes nothing.
var keys = [...][4]byte{{0x37, 0xfa, 0x21, 0x3d}, {0x01, 0x02, 0x03, 0x04}, {0xff, 0x00, 0x80, 0x7f}, {0, 0, 0, 0}, {0xa5, 0x5a, 0xc3, 0x3c}}

// send builds a masked frame from its first byte, the length in its shortest form.
func send(first byte, payload string) []byte {
	b := header(first, len(payload))
	b[1] |= 0x80
	key := keys[len(payload)%len(keys)]
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// header builds an unmasked header with the shortest length.
func header(first byte, n int) []byte {
	switch {
	case n < 126:
		return []byte{first, byte(n)}
	case n < 1<<16:
		return []byte{first, 126, byte(n >> 8), byte(n)}
	}
	b := []byte{first, 127}
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

func text(s string) Frame   { return Frame{opText, []byte(s)} }
func binary(s string) Frame { return Frame{opBinary, []byte(s)} }
func pong(s string) Frame   { return Frame{opPong, []byte(s)} }

// step sends all frames at once.
func step(frames [][]byte, want ...Frame) Step {
	var b []byte
	for _, f := range frames {
		b = append(b, f...)
	}
	return Step{b, want}
}

// one is a case of one step.
func one(clause, name string, closeCode int, frames [][]byte, want ...Frame) Case {
	return Case{Clause: clause, Name: name, Steps: []Step{step(frames, want...)}, Close: closeCode}
}

func closeBody(code int, reason string) string {
	return string([]byte{byte(code >> 8), byte(code)}) + reason
}

type frames = [][]byte
