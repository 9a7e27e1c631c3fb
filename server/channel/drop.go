package channel

// Drop is why a publication, or a whole fan-out of one, did not reach a receiver.
// Its name is the metric label. The zero value means that nothing was dropped.
type Drop uint8

// The drop reasons.
const (
	DropNone         Drop = iota
	DropSlow              // the receiver's backlog is over its limit
	DropNodeBacklog       // the node's backlog is over its limit
	DropNotJSON           // the data is not JSON and the receiver speaks JSON
	DropClosing           // the receiver is being disconnected
	DropUnsubscribed      // the receiver left between the publish and the fan-out
	DropMailboxFull       // the receiver's loop did not take the message
	DropShutdown          // the node is shutting down
	DropPanic             // a bug of ours ended the fan-out
	DropOldest            // slow_policy: it waited longest
	DropNewest            // slow_policy: others wait already
	DropSuperseded        // slow_policy: a newer one waits in its place
	DropLargest           // the receiver's backlog is one of the largest, and the node's or its tenant's near its limit
	dropCount
)

// DropCount is the number of drop reasons, DropNone included: the length of an
// array indexed by Drop.
const DropCount = int(dropCount)

// dropNames is never written.
var dropNames = [dropCount]string{
	"none", "slow", "node-backlog", "not-json", "closing", "unsubscribed", "mailbox-full", "shutdown", "panic", "slow-oldest", "slow-newest", "slow-superseded", "slow-largest",
}

// String returns the metric label.
func (d Drop) String() string {
	if d < dropCount {
		return dropNames[d]
	}
	return "unknown"
}
