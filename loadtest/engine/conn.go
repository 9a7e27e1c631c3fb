package engine

import (
	"unsafe"

	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// step is how far a connection is.
//
//	dialing ─▶ upgrading ─▶ connecting ─▶ subscribing ─▶ ready ─▶ (gone)
//	                 └─ (echo endpoint) ─────────────────▶┘
//
// The loop opens it, the server's answers lead on, and closing ends it from everywhere. Only ready conns take part in a
// scenario.
type step uint8

const (
	stepDialing step = iota
	stepUpgrading
	stepConnecting
	stepSubscribing
	stepReady
)

// String completes "while …".
func (s step) String() string {
	return [...]string{
		"opening the connection", "the WebSocket handshake", "waiting for the reply to connect",
		"waiting for the reply to subscribe", "connected",
	}[s]
}

const (
	flagPong   uint8 = 1 << iota // the server wants its pings answered
	flagClosed                   // a close frame came
)

// conn is what the engine keeps of one connection beside the loop's slot. Pointer-free.
type conn struct {
	track   message.Track // of messages of this run
	digest  uint64        // chain of publications of others
	began   int64         // when it was dialed, Unix nanoseconds
	stream  wire.Stream
	number  uint32    // from 0, in the order of dialing
	sent    uint32    // messages sent to be echoed
	refused uint32    // of those, the ones the server did not take
	others  uint32    // publications of others received
	heard   loop.Tick // when something last came
	ping    uint16    // seconds between the server's pings, 0 = none
	step    step
	flags   uint8
}

const connBytes = 88

var _ = [1]struct{}{}[connBytes-unsafe.Sizeof(conn{})]
