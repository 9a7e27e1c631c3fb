package broker

import (
	"context"
	"errors"

	"shoal/server/channel"
)

// ErrNotRunning is returned by Publish before Run has begun and after it ended.
var ErrNotRunning = errors.New("broker: not running, so nobody would receive the publication; publish between start and shutdown of the node")

// Broker carries publications between nodes and decides their order: all nodes
// see the publications of one channel in the same order. Methods may be called
// from any goroutine, also from a loop, and therefore must not block on the
// network; a broker that must wait does so on goroutines of its own.
type Broker interface {
	// Publish gives the publication its position and has it delivered on every
	// node that is subscribed to the channel. The name and the publication are
	// valid during the call only; a broker copies what it keeps. An error says
	// that no node got it.
	Publish(ctx context.Context, name string, pub *channel.Publication) (channel.Position, error)
	// Subscribe makes the node a receiver of the channel; the calls are
	// idempotent. When it returns nil, publications accepted from now on arrive.
	Subscribe(name string) error
	// Unsubscribe ends it; publications may still arrive for a moment.
	Unsubscribe(name string) error
	// Run connects and delivers until ctx ends. A broker calls Deliver only
	// between the start and the end of Run.
	Run(ctx context.Context, to Deliverer) error
}

// Deliverer is the node as a broker sees it.
type Deliverer interface {
	// Deliver hands a publication to the node's loops; name and pub are valid
	// during the call. Calls for one channel come one after the other, in order.
	// An error says that no loop took it.
	Deliver(name string, pub *channel.Publication) error
}
