package loop

import (
	"fmt"
	"strconv"
	"unsafe"

	"shoal/loop/poll"
	"shoal/loop/wheel"
	"shoal/pool/queue"
)

// ConnID names a conn for other goroutines: loop (8 bits), generation (24), slot (32). It goes stale when the conn
// closes; the id of a later conn in the same slot differs. The zero value is a valid id.
type ConnID uint64

// Loop is the index of the conn's loop.
func (id ConnID) Loop() int { return int(id >> 56) }

// Generation counts the uses of the slot, modulo 1<<24.
func (id ConnID) Generation() uint32 { return uint32(id>>32) & (1<<24 - 1) }

// Slot is the conn's slot in its loop.
func (id ConnID) Slot() uint32 { return uint32(id) }

// String is "loop/slot/generation", for logs.
func (id ConnID) String() string {
	return fmt.Sprintf("%d/%d/%d", id.Loop(), id.Slot(), id.Generation())
}

// Kind is a row of the handler table.
type Kind uint8

// Tick counts steps of the timer wheel since the group was made; Config.TickPeriod is its length.
type Tick = wheel.Tick

// Reason says why a conn was closed. Its String is the metric label.
type Reason uint8

// The reasons. Those marked (loop) are given by the loop itself, the others by handlers.
const (
	ReasonPeer        Reason = iota // the peer closed in good order
	ReasonReset                     // (loop) the peer reset the connection, or its host did
	ReasonRead                      // (loop) reading failed for another reason
	ReasonWrite                     // (loop) writing failed for another reason
	ReasonSlow                      // the conn's backlog is over its limit; (loop) for corked replies
	ReasonNodeBacklog               // it is one of the largest, and the node's backlog near its limit or over
	ReasonProtocol                  // the peer broke the protocol
	ReasonTimeout                   // the peer was silent for too long
	ReasonLimit                     // a limit other than the backlog
	ReasonServer                    // the server's own decision
	ReasonShutdown                  // the node shuts down
	ReasonPanic                     // (loop) a handler panicked while it served this conn
	ReasonDetached                  // (loop) the descriptor was given away
	ReasonDial                      // (loop) an outgoing connection failed

	reasonCount = iota
)

func (r Reason) name() string {
	return [reasonCount]string{
		"peer-closed", "reset", "read-error", "write-error", "slow", "node-backlog", "protocol", "timeout", "limit",
		"server", "shutdown", "panic", "detached", "dial",
	}[r]
}

// String returns the metric label.
func (r Reason) String() string {
	if r < reasonCount {
		return r.name()
	}
	return "reason-" + strconv.Itoa(int(r))
}

// Reasons returns all reasons, in order of their numbers.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// SendResult is the answer of Send: backpressure is a return value.
type SendResult uint8

const (
	// Sent: queued; it will be written unless the conn closes before.
	Sent SendResult = iota
	// OverLimit: nothing was queued, because the backlog of the conn or of the node is over its limit. The caller's
	// policy decides; closing with ReasonSlow is recorded as ReasonNodeBacklog where that was the limit.
	OverLimit
	// Gone: the conn is not open.
	Gone
)

// String returns the result's name.
func (r SendResult) String() string {
	switch r {
	case Sent:
		return "sent"
	case OverLimit:
		return "over-limit"
	default:
		return "gone"
	}
}

// state of a conn.
//
//	connecting ─▶ open ─▶ flushing ─▶ lingering ─▶ dead ─▶ (slot freed)
//	     └─────────┴──────────┴───────────────────▶┘
//
// Dial begins at connecting, accept at open. CloseAfter leads to flushing, which ends when the backlog is written;
// lingering waits for the peer's end of stream. Close, errors and the CloseWait timer lead to dead. The handler's
// Closed is called on leaving connecting or open.
type state uint8

const (
	stateFree state = iota
	stateConnecting
	stateOpen
	stateFlushing
	stateLingering
	stateDead // closed in the present callback; the slot is freed when it returns
)

type flags uint16

const (
	flagDirty      flags = 1 << iota // in the loop's dirty list
	flagBlocked                      // the kernel's buffer is full: waits for writability
	flagPaused                       // the handler does not want to read
	flagEOF                          // the peer's end of stream was read
	flagNodeLimit                    // the last OverLimit was the node's
	flagBegun                        // the first backlog entry is the rest of corked bytes written in part
	flagWatchRead                    // what the poller watches for
	flagWatchWrite                   //
)

// conn is everything the loop keeps per connection. Pointer-free; see doc.go for the price.
type conn struct {
	links        wheel.Links // the one timer
	fd           int32
	head         uint32     // bytes of the first backlog entry already written
	backlog      queue.List // of shared.Ref
	backlogBytes uint32     // not written yet
	flags        flags
	kind         Kind
	state        state
}

const connBytes = 36

var _ = [1]struct{}{}[connBytes-unsafe.Sizeof(conn{})]

func (c *conn) has(f flags) bool { return c.flags&f != 0 }

// watched is what the poller was told.
func (c *conn) watched() poll.Interest {
	var i poll.Interest
	if c.has(flagWatchRead) {
		i |= poll.Read
	}
	if c.has(flagWatchWrite) {
		i |= poll.Write
	}
	return i
}

func (c *conn) setWatched(i poll.Interest) {
	c.flags &^= flagWatchRead | flagWatchWrite
	if i&poll.Read != 0 {
		c.flags |= flagWatchRead
	}
	if i&poll.Write != 0 {
		c.flags |= flagWatchWrite
	}
}

// wanted is what the poller should be told.
func (c *conn) wanted() poll.Interest {
	var i poll.Interest
	switch {
	case c.state == stateConnecting:
		return poll.Write
	case c.has(flagEOF):
	case c.state == stateOpen && c.has(flagPaused):
	default:
		i |= poll.Read
	}
	if c.has(flagBlocked) {
		i |= poll.Write
	}
	return i
}

// listenerBit in an entry of the index: the number of a listener instead of slot+1.
const listenerBit = 1 << 31
