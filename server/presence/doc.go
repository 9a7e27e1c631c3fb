// Package presence answers "how many are there" without looking at who is there, and
// keeps the comings and goings of big channels from flooding their members.
//
// Who is in a channel is the business of the hubs: a node's presence is its hubs'
// members, so there are no ghosts. This package adds
//
//   - [Counts]: clients and distinct users per channel, O(1) at a million members;
//   - [Deltas]: joins and leaves of big channels, collected for a window, with those
//     that cancel out taken out.
//
// # Memory
//
// Both keep plain values: names in pool/intern, everything else in pointer-free slices,
// so that the collector has nothing to scan per member. What a member costs is in
// [Counts].
//
// Both are machines without clock, lock or goroutine and not safe for concurrent use:
// the node spreads channels over a few of them by hash and guards each with a lock.
package presence
