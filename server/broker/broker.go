package broker

import (
	"context"
	"errors"
	"time"

	"shoal/server/channel"
)

// ErrNotRunning is returned by Publish before Run has begun and after it ended.
var ErrNotRunning = errors.New("broker: not running, so nobody would receive the publication; publish between start and shutdown of the node")

// Broker carries publications between nodes, decides their order and keeps their
// history: all nodes see the publications of one channel in the same order, with
// consecutive offsets. Methods may be called from any goroutine. Those that say so
// may block; when Blocking is false they do not, and may be called from a loop.
type Broker interface {
	// Blocking says whether Publish, Signal, History and RemoveHistory may wait for
	// somebody else. It never changes.
	Blocking() bool
	// Publish gives the publication its position and has it delivered on every
	// node that is subscribed to the channel. The name and the publication are
	// valid during the call only and are not changed: a broker copies what it keeps
	// and what it delivers, where Position and Prev are its own. Without history the
	// position is zero, also when the channel has a stream. An error says that no
	// node got it and no offset was spent; error 106 (limit exceeded) that it
	// is too large to be kept. May block.
	Publish(ctx context.Context, name string, pub *channel.Publication, o PublishOptions) (Result, error)
	// Signal has joins and leaves delivered together, like a publication, without
	// history. Name and signals are valid during the call only. May block.
	Signal(ctx context.Context, name string, signals []channel.Signal) error
	// History appends what the channel keeps to dst and returns it with the top of
	// the stream, both of one moment: a publication that is delivered to a node
	// which subscribed before is in it or comes later, and none is missing between.
	// A channel without a stream gets one, so that the position can be recovered
	// from. What is appended is immutable and may be kept; its Exclude and Prev are
	// empty.
	//
	// Error 112 (unrecoverable position) when q.Since is of another epoch; then dst is
	// returned as it was, and the top is valid. A q.Since whose offset is forgotten
	// or ahead of the top is no error, as in the reference: the result begins with
	// the oldest that is kept, or is empty (with Reverse: from two ahead on). Who recovers compares: all is there when
	// the first offset is Since.Offset+1 and the last that of the top, or when there
	// are none and Since.Offset is that of the top. May block.
	History(ctx context.Context, name string, q HistoryQuery, dst []channel.Publication) ([]channel.Publication, channel.Position, error)
	// RemoveHistory forgets the publications of a channel; offset, epoch and version
	// go on. A channel without a stream is no error. May block.
	RemoveHistory(ctx context.Context, name string) error
	// Subscribe makes the node a receiver of the channel; the calls are
	// idempotent. When it returns nil, publications accepted from now on arrive.
	Subscribe(name string) error
	// Unsubscribe ends it; publications may still arrive for a moment.
	Unsubscribe(name string) error
	// Vacated says that no session of the node is subscribed any more, so that the broker
	// may drop a stream in which nothing was ever published. It does not block.
	Vacated(name string)
	// Run connects and delivers until ctx ends. A broker calls Deliver only
	// between the start and the end of Run.
	Run(ctx context.Context, to Deliverer) error
}

// PublishOptions rule one publication. The zero value keeps no history. Times to
// live are exact to the second at least.
type PublishOptions struct {
	// HistorySize is the number of publications the channel keeps from now on; 0: this
	// one is not kept and gets no offset, and what is kept stays.
	HistorySize int
	// HistoryTTL: so long after the last publication that was kept all are forgotten.
	// Above 0 when HistorySize is; else as if both were 0.
	HistoryTTL time.Duration
	// HistoryMetaTTL is how long offset, epoch and version outlive their last use, which is
	// a publication with history or a call of History: the last one rules. When they go,
	// publications go too. 0: as long as the broker.
	HistoryMetaTTL time.Duration

	// IdempotencyKey: a publication with a key that the channel has seen in the last
	// IdempotencyTTL (0: 5 minutes) of the first one is not published again. One that
	// failed or was suppressed was not seen. Empty: none.
	IdempotencyKey string
	IdempotencyTTL time.Duration
	// Version: a publication whose version is not above that of the last one, when that
	// had the same VersionEpoch or this one has none, is not published. 0: no version.
	// Needs history.
	Version      uint64
	VersionEpoch string
	// Previous asks that Deliver be given Publication.Prev. Needs history.
	Previous bool
}

// Result is what became of a publication.
type Result struct {
	channel.Position
	// Suppressed: it was not published now, because of its idempotency key (the
	// position is that of the first one) or its version (the position is the top).
	Suppressed bool
}

// HistoryQuery picks publications of a channel's stream.
type HistoryQuery struct {
	// Since is exclusive: with Reverse those before it, else those after it. nil: from
	// the oldest (with Reverse the newest) on. An empty epoch fits every stream.
	Since   *channel.Position
	Limit   int // 0: only the position; < 0: no limit
	Reverse bool
	// Peek: a channel without a stream gets none. For questions of those that will not
	// be members, so that asking for names costs no memory.
	Peek    bool
	MetaTTL time.Duration // see PublishOptions.HistoryMetaTTL
}

// Deliverer is the node as a broker sees it.
type Deliverer interface {
	// Deliver hands a publication to the node's loops; name and pub are valid
	// during the call, and so is pub.Prev; neither is changed. Calls for one channel
	// come one after the other, in order. An error says that no loop took it; nil that
	// one did at least, or that nobody is there. A loop without room for it goes without:
	// its positioned members find the gap by the offsets. It must not call Publish,
	// Signal, History or RemoveHistory, which may wait for it.
	Deliver(name string, pub *channel.Publication) error
	// DeliverSignals does the same with joins and leaves.
	DeliverSignals(name string, signals []channel.Signal) error
}
