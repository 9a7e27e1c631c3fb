package ws

import "github.com/gobwas/ws"

// Op is the opcode of a frame, RFC 6455 §5.2 and §11.8. The other ten values are reserved and never leave the parser.
type Op uint8

// The opcodes in use.
const (
	Continuation = Op(ws.OpContinuation)
	Text         = Op(ws.OpText)
	Binary       = Op(ws.OpBinary)
	CloseOp      = Op(ws.OpClose)
	PingOp       = Op(ws.OpPing)
	PongOp       = Op(ws.OpPong)
)

// ControlBytesMax is the longest payload a control frame can carry, RFC 6455 §5.5.
const ControlBytesMax = ws.MaxControlFramePayloadSize

// HeaderBytesMax is the longest frame header: two bytes, eight of length, four of masking key.
const HeaderBytesMax = 14

// Control reports whether o is one of the sixteen values' control half, RFC 6455 §5.5: the most significant bit is set.
func (o Op) Control() bool { return o&0x8 != 0 }

// Reserved reports whether RFC 6455 §5.2 keeps o for the future: 3–7 and 11–15.
func (o Op) Reserved() bool { return o&0x7 > 2 }

// String returns the name RFC 6455 uses, "reserved" for a reserved one.
func (o Op) String() string {
	switch o {
	case Continuation:
		return "continuation"
	case Text:
		return "text"
	case Binary:
		return "binary"
	case CloseOp:
		return "close"
	case PingOp:
		return "ping"
	case PongOp:
		return "pong"
	}
	return "reserved"
}
