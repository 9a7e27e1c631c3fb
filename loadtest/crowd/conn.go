package crowd

import (
	"unsafe"

	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// step is how far a connection is.
//
//	dialing ─▶ upgrading ─▶ connecting ─▶ subscribing ─▶ ready ─▶ (gone)
//
// The loop opens it, the server's answers lead on, and closing ends it from everywhere.
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
	number  uint32    // of its peer
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
)

// peer is one client, with or without a connection. Pointer-free.
type peer struct {
	began    int64  // when it was dialed, Unix nanoseconds
	cut      int64  // when Storm cut it
	slept    int64  // nanoseconds of backoff since then
	at       uint32 // slot+1 of its connection, 0 = none
	fd       int32  // of its socket, of stuck ones
	attempts uint8  // since it was ready
	place    place
	flags    uint8
}

const (
	subLive    uint8 = 1 << iota // subscribed
	subPlaced                    // its offset is known
	subLost                      // came back not recovered, or anew: what is skipped next was told
	subCounted                   // counts among the receivers of its channel
)

// sub is one subscription of a peer; it outlives connections.
type sub struct {
	track  message.Track // of publications of this run
	offset uint64        // the last seen, with subPlaced
	told   uint32        // lost, and the server said so
	flags  uint8
}

const (
	connBytes = 48
	peerBytes = 40
	subBytes  = 32
)

var (
	_ = [1]struct{}{}[connBytes-unsafe.Sizeof(conn{})]
	_ = [1]struct{}{}[peerBytes-unsafe.Sizeof(peer{})]
	_ = [1]struct{}{}[subBytes-unsafe.Sizeof(sub{})]
)

// layout says who is subscribed to what: peer i to the channels i+step[j] modulo their number. The steps are drawn once, so that
// two peers rarely have the same channels and every channel has about as many receivers.
type layout struct {
	channels uint32
	steps    []uint32
	index    []int32 // of each step, -1 = none
}

func newLayout(channels, subscriptions int) layout {
	l := layout{channels: uint32(channels), steps: make([]uint32, channels), index: make([]int32, channels)}
	for i := range l.steps {
		l.steps[i] = uint32(i)
		l.index[i] = -1
	}
	x := uint64(0x9e3779b97f4a7c15)
	for i := channels - 1; i > 0 && subscriptions < channels; i-- { // Fisher and Yates
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		k := int(x % uint64(i+1))
		l.steps[i], l.steps[k] = l.steps[k], l.steps[i]
	}
	l.steps = l.steps[:subscriptions]
	for j, s := range l.steps {
		l.index[s] = int32(j)
	}
	return l
}

// channel is the j-th channel of a peer.
func (l *layout) channel(number uint32, j int) uint32 { return (number + l.steps[j]) % l.channels }

// find is which of a peer's subscriptions is to a channel, -1 for none.
func (l *layout) find(number, channel uint32) int {
	return int(l.index[(channel+l.channels-number%l.channels)%l.channels])
}
