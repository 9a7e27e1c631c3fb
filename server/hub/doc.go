// Package hub is one loop's index from channels to their members, and nothing
// else: it knows no socket, no clock and no lock, because the loop that owns it
// is the only one that touches it.
//
// # Memory
//
// A subscription is 24 bytes in a slab, 7 of them what the node keeps in it
// ([Membership]), and 4 bytes in its channel's member list; a channel is 20 bytes plus
// its interned name. None of it holds a pointer, so
// the collector has nothing to scan however many members there are. Member lists
// of up to 4,096 members live in size-classed arenas; only longer ones are Go
// slices, and of those there are few.
//
// # Fan-out
//
// A fan-out to many members is done in slices so that the loop still answers
// others. A [Cursor] fixes the audience at the moment it begins: members that
// join later are not in it, members that leave are left out from then on. While
// a cursor is open on a channel a departure leaves a hole instead of moving the
// last member into its place; the holes are closed when the last cursor ends.
package hub
