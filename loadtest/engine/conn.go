package engine

import (
	"unsafe"

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
		"waiting for the replies to subscribe", "connected",
	}[s]
}

const (
	connPong   uint8 = 1 << iota // the server wants its pings answered
	connClosed                   // a close frame came
)

// conn is one connection while it lasts, beside the loop's slot. Pointer-free.
type conn struct {
	stream  wire.Stream
	number  uint32    // of its peer, from 0 in this engine
	waiting uint32    // subscriptions without their reply
	heard   loop.Tick // when something last came
	ping    uint16    // seconds between the server's pings, 0 = none
	step    step
	flags   uint8
}

// place is where a peer is.
//
//	new ─▶ here ⇄ away ─▶ gone
//
// Dial leads to here, an end to away when the peer comes back and to gone when it does not.
type place uint8

const (
	placeNew  place = iota // never dialed
	placeHere              // has a connection, whatever its step
	placeAway              // sleeps until it dials again
	placeGone              // ended for good
)

const (
	peerStuck   uint8 = 1 << iota // among those who stop reading
	peerStalled                   // does not read now
	peerWas                       // was ready once
	peerEnded                     // the server ended a connection of it
	peerCut                       // cut by Storm and not ready since
	peerMissed                    // the server told of a loss while the connection held
	peerLeft                      // ended by Churn, and nobody has taken its place since
)

// peer is one client, with or without a connection; what it is owed is in the books. Pointer-free.
type peer struct {
	began    int64  // when it was dialed, or was to be by the plan, Unix nanoseconds
	cut      int64  // when Storm cut it, or Churn was to end it
	slept    int64  // nanoseconds of backoff since then
	at       uint32 // slot+1 of its connection, 0 = none
	fd       int32  // of its socket, of stuck ones
	attempts uint8  // since it was ready
	place    place
	flags    uint8
}

const (
	connBytes = 48
	peerBytes = 40
)

var (
	_ = [1]struct{}{}[connBytes-unsafe.Sizeof(conn{})]
	_ = [1]struct{}{}[peerBytes-unsafe.Sizeof(peer{})]
)

// here says whether a peer has a connection that takes part.
func (e *Engine) here(p *peer) bool { return p.at != 0 && e.conns.At(p.at-1).step == stepReady }
