package node

import (
	"sync/atomic"

	"shoal/codec/proto"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/node/evict"
	"shoal/server/node/recovery"
	"shoal/server/node/seal"
)

// Stats counts what a node did since its start. Any goroutine may read.
type Stats struct {
	Published, PublishFailed atomic.Uint64 // publications the broker took, or did not
	Delivered                atomic.Uint64 // publications queued to a receiver
	Sessions, Connected      atomic.Int64  // open now, authenticated now
	Dormant                  atomic.Int64  // now
	Users                    atomic.Int64  // now; a user counts once per loop with a session
	Interned                 atomic.Int64  // now: users and infos
	Pings, PongsMissed       atomic.Uint64
	Subscriptions            atomic.Int64      // now
	Commands                 [16]atomic.Uint64 // by proto.Method
	Malformed                atomic.Uint64     // messages that could not be decoded
	MessagesDropped          atomic.Uint64     // of send commands
	RenewalsPostponed        atomic.Uint64     // credentials and grants that the backend could not be asked about at once
	StatesFailed             atomic.Uint64     // tries to tell the backend of a channel's state
	SignalsFailed            atomic.Uint64     // joins and leaves that were not told
	SignalsOmitted           atomic.Uint64     // joins and leaves left out because there was too much to do
	Evicted                  evict.Stats       // conns closed for that
	Insufficient             atomic.Uint64     // memberships that missed a publication
	Unsubscribed             atomic.Uint64     // memberships ended by the server
	Recovered, Unrecovered   atomic.Uint64     // subscriptions that asked for what they missed
	RecoveredPublications    atomic.Uint64
	Recoveries               recovery.Stats
	Resumes                  [seal.ReasonCount]atomic.Uint64 // resume tokens that clients sent, by outcome; None: accepted
	ResumeTokens             atomic.Uint64                   // given
	Acknowledged             atomic.Uint64                   // rpc shoal.ack that were taken
	Redelivered              atomic.Uint64                   // subscriptions that began where their user had acknowledged
	RedeliveryLost           atomic.Uint64                   // and those for which history had not all of it any more
	Tokens                   [auth.ReasonCount]atomic.Uint64 // by outcome; ReasonNone: accepted
	Dropped                  [channel.DropCount]atomic.Uint64
	errors                   [errorCodes]atomic.Uint64
	disconnects              [disconnectCodes]atomic.Uint64
}

const (
	errorCodes      = 32
	disconnectFirst = 3000
	disconnectCodes = 1000
)

// Stats are the node's counters.
func (n *Node) Stats() *Stats { return &n.stats }

// Channels is the number of channels with members on this node.
func (n *Node) Channels() int { return n.dir.Channels() }

// InflightBytes are the encoded publications on their way to receivers.
func (n *Node) InflightBytes() int64 { return n.inflight.Bytes() }

func (s *Stats) countRecovery(recovered bool, publications int) {
	if !recovered {
		s.Unrecovered.Add(1)
		return
	}
	s.Recovered.Add(1)
	s.RecoveredPublications.Add(uint64(publications))
}

func (s *Stats) countError(e *channel.Error) {
	i := int(e.Code) - int(channel.ErrInternal)
	if i < 0 || i >= errorCodes {
		i = errorCodes - 1
	}
	s.errors[i].Add(1)
}

func (s *Stats) countDisconnect(d *channel.Disconnect) {
	i := int(d.Code) - disconnectFirst
	if i < 0 || i >= disconnectCodes {
		i = disconnectCodes - 1
	}
	s.disconnects[i].Add(1)
}

// EachError calls f with every code that replies were given, and how often. Codes
// of the application are counted together as 131.
func (s *Stats) EachError(f func(code uint32, n uint64)) {
	eachCounted(s.errors[:], func(i int, n uint64) { f(uint32(i)+uint32(channel.ErrInternal), n) })
}

// EachDisconnect calls f with every code that sessions were ended with, and how
// often. Codes from 4000 on are counted together as 3999.
func (s *Stats) EachDisconnect(f func(code uint32, n uint64)) {
	eachCounted(s.disconnects[:], func(i int, n uint64) { f(uint32(i)+disconnectFirst, n) })
}

// EachCommand calls f with every method that clients used, and how often.
func (s *Stats) EachCommand(f func(method string, n uint64)) {
	eachCounted(s.Commands[:], func(i int, n uint64) { f(proto.Method(i).String(), n) })
}

// eachCounted calls f with every counter that is not zero.
func eachCounted(counters []atomic.Uint64, f func(i int, n uint64)) {
	for i := range counters {
		if n := counters[i].Load(); n > 0 {
			f(i, n)
		}
	}
}
