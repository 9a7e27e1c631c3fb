// Package entry decides who may come in, in two places.
//
// The first is the upgrade, when the request's head was read and before the 101: [Gate],
// one for each loop, answers with a [handshake.Status]. Refused is while the node has too much
// to do ([overload.Board]), by what it holds (connections, handshakes under way), by the
// client's address (connections open, new ones per second) and by new connections per second
// on the node, in this order: an address over its limits takes nothing from the others'
// share.
//
// The second is the connect command, when there is more to go by: [Control.Connect] lets
// only so many through per second, sessions that come back by a resume token first, and
// [Control.Enter] counts connections by user.
//
// A rate is one number, the moment at which its bucket is full again (GCRA). What addresses
// and users have is in maps without pointers, cut into shards with a lock each, held for a
// lookup. An address with nothing open and a full bucket is forgotten by the next sweep.
// The table is bounded; while it is full, addresses that are not in it are let in uncounted
// ([Stats.Untracked]): to refuse them would do the work of whoever filled it, and the limits
// of the node hold for them too. A connection costs 8 bytes of a column where connections
// are counted by address, otherwise nothing.
//
// A sweep holds a shard's lock for as long as 4,096 addresses take, about 0.05 ms, and eight
// of them look at all.
//
// Any goroutine may use a [Control]; a [Gate] belongs to its loop. The package reads no
// clock: time is a parameter.
package entry
