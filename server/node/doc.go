// Package node is where everything lands. Upwards, it performs the effects of
// sessions: it authenticates, subscribes, publishes, answers and replies. Downwards, it
// takes publications from the broker, encodes each once per wire form in use, and
// posts one message to every loop that has subscribers.
//
//	transport ─▶ Shard.Message ─▶ session.Step ─▶ effects ─▶ hub, broker, wire      up
//	broker ─▶ Node.Deliver ─▶ encode ─▶ loop.Post ─▶ Shard.enqueue ─▶ loop.Send    down
//
// What knows no shard lies below: clientid (names of conns), route (which loops have members of a channel), wire (the
// forms of a push), track (where a channel's members are in their stream), seal (resume
// tokens), cursor (how far users have acknowledged).
//
// # Who owns what
//
// A [Node] is shared by all goroutines: its directory and its presence counts are guarded
// by locks, its counters are atomic. A [Shard] is one loop's part of the node and belongs
// to that loop alone: sessions, hub, users, tracks, fan-outs in progress. From outside a
// shard is reached by [loop.Loop.Post]; Node.ask does that for whatever concerns all loops.
//
// # Sessions that wait
//
// What may block – a token with a slow signature, the backend, a broker elsewhere – runs on
// a worker (Shard.later) and comes back by Post, where it is void if the conn has gone. The
// session is busy meanwhile: the rest of its message is kept (Shard.rests), the transport
// parses nothing further until Wire.Resume, and all inputs but commands are welcome. So
// the commands of a conn are handled in order.
//
// # Subscribing
//
// The session becomes a member first and reads the history then: what is published in
// between comes twice, is told apart by its offset, and nothing is missing. While its reply
// has to wait, for a broker that blocks or for the connect reply, publications are kept for
// it (Shard.waits, up to waitBytesMax) and follow the reply, checked for gaps. An answer for
// a membership that has ended is void, also when there is another one by now.
//
// # Positions
//
// All positioned members of a channel on a loop are at the same place, which is kept once
// (track.Tracks); a publication gets one verdict for all of them when its round begins. A
// member that read the stream to another place is flagBehind until both agree. A gap ends
// the memberships, and the clients recover.
//
// # Order and fairness of fan-outs
//
// Publications of one channel reach every member in the broker's order. Each
// channel with publications on the way is one job; jobs take turns, a slice of
// members each, so that a small channel does not wait behind a large one, and
// between slices the loop serves everything else. Publications that arrive while a
// job runs go out together in its next round: one write per member for all of them.
package node
