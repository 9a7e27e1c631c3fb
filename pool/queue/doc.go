// Package queue holds the queues of the house: the mailbox by which the world
// enters a loop, first-in-first-out lists of numbers inside one, and a plain FIFO.
//
// # Mailbox
//
// [Mailbox] is bounded, many goroutines put, one owner drains. Put says whether
// the owner has to be woken, so a burst of a thousand messages costs one wake-up.
// Drain takes everything at once by swapping two buffers; nothing is allocated
// in the steady state, and buffers that a burst made big shrink again.
//
// A mutex guards it. A lock-free list would allocate a node per message; the
// lock is held for one append.
//
// # List and Nodes
//
// A [List] is two numbers, 8 bytes, which fit a slot of a slab; its elements are
// nodes of a [Nodes], shared by all lists of a loop. A node of a 4-byte value
// takes 8 bytes. Free nodes are reused last-freed-first, so a busy loop keeps
// using the same few cache lines. Neither is safe for concurrent use.
package queue
