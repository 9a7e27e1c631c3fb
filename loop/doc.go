// Package loop runs event loops: sockets, time and the slots of connections.
//
// A Group is a number of loops; each has a goroutine, a poller, a timer wheel, a listener per port (SO_REUSEPORT) and
// a slab of conns. What a conn does is decided by its kind, a row of the handler table of its loop; Adopt moves a
// conn to another row. An idle conn is one pointer-free slot of 36 bytes (and 4 of generation) and 4 bytes in the descriptor index.
//
// # One owner, one door
//
// A loop owns its conns, and every method of Loop that does not say otherwise belongs to the loop's goroutine: handlers,
// messages and works run there. Post is the only way in from elsewhere.
//
// # Events mark, the turn acts
//
// Send queues the index of shared bytes and marks the conn dirty. Dirty conns are flushed in passes of at most
// Config.FlushSlice, or a millisecond, between which other ready descriptors are served and the processor is offered to other
// goroutines and threads. A fan-out is a Work, which runs one slice per pass, so that it never holds the loop for
// longer than a slice. Replies to the conn being served are corked (Begin, Commit) and written by one write at the
// end of the callback.
//
// # Closing
//
// Closed is called exactly once per conn, when closing starts; the handler has nothing to do with the conn afterwards,
// even when its last bytes still have to be written (CloseAfter). A slot is given out again only after the callback
// in which it was closed has returned, so that a handler may use the slot number until it returns.
//
// # Room
//
// When what is queued comes near to what the node may hold, the loops agree on a line (package relief): blocked conns with
// backlogs above it are cut, the largest of all loops, and fan-outs wait that long (Unwritten).
//
// # Limits
//
// Bytes queued per conn and per node, conns, messages in the mailbox, accepts per turn, descriptors. A queued message
// costs 8 bytes; its bytes are shared by all receivers.
package loop
