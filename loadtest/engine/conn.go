package engine

import (
	"fmt"
	"unsafe"

	"shoal/codec/ws"
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
	track   track     // of messages of this run
	digest  uint64    // chain of publications of others
	began   int64     // when it was dialed, Unix nanoseconds
	parser  ws.Parser // of frames
	tail    uint32    // borrowed buffer with an incomplete frame, 0 = none
	body    uint32    // borrowed buffer with an incomplete message, 0 = none
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

// track follows the sequence one connection receives: which comes next, and which of the last 64 came. The zero value
// expects 1. It is the anti-replay window of RFC 4303 §3.4.3 used for bookkeeping.
type track struct {
	seen uint64 // bit i: sequence top-i came
	top  uint32 // highest sequence that came
	got  uint32 // distinct messages
}

// verdict is what one arrival means.
type verdict uint8

const (
	inOrder   verdict = iota // the one expected
	ahead                    // later than expected: those between are missing so far
	late                     // one that was missing: after a later one
	duplicate                // it came before
	ancient                  // more than 64 behind: duplicate or late, nobody can tell; counted as late, not as received
	invalid                  // sequence 0
)

const windowSeqs = 64

// add takes note of an arrival.
func (t *track) add(seq uint32) verdict {
	switch {
	case seq == 0:
		return invalid
	case seq > t.top:
		v := ahead
		if seq == t.top+1 {
			v = inOrder
		}
		t.seen = t.seen<<min(seq-t.top, windowSeqs) | 1
		t.top = seq
		t.got++
		return v
	case t.top-seq >= windowSeqs:
		return ancient
	case t.seen>>(t.top-seq)&1 == 1:
		return duplicate
	default:
		t.seen |= 1 << (t.top - seq)
		t.got++
		return late
	}
}

// Validate reports a track that cannot be.
func (t *track) Validate() error {
	if t.got > t.top || t.got > 0 && t.seen&1 == 0 {
		return fmt.Errorf("engine: %d messages received up to sequence %d, window %x", t.got, t.top, t.seen)
	}
	return nil
}
