// Package node is where everything lands. Upwards, it performs the effects of
// sessions: it authenticates, subscribes, publishes and replies. Downwards, it
// takes publications from the broker, encodes each once per wire form in use, and
// posts one message to every loop that has subscribers.
//
//	transport ─▶ Shard.Message ─▶ session.Step ─▶ effects ─▶ hub, broker, wire      up
//	broker ─▶ Node.Deliver ─▶ encode ─▶ loop.Post ─▶ Shard.enqueue ─▶ loop.Send    down
//
// # Who owns what
//
// A [Node] is shared by all goroutines: its directory (which loops have members of
// a channel) is guarded by locks, its counters are atomic. A [Shard] is one loop's
// part of the node and belongs to that loop alone: sessions, hub, users, fan-outs
// in progress. From outside a shard is reached by [loop.Loop.Post].
//
// # Order and fairness of fan-outs
//
// Publications of one channel reach every member in the broker's order. Each
// channel with publications on the way is one job; jobs take turns, a slice of
// members each, so that a small channel does not wait behind a large one, and
// between slices the loop serves everything else. Publications that arrive while a
// job runs go out together in its next round: one write per member for all of them.
package node
