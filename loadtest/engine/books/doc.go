// Package books follows every message of a load test: which are owed to whom, which came, and which are known to be lost. It knows no
// connection and no clock; whoever carries messages tells it what happened, from one goroutine.
//
// A peer is a client with or without a connection, by its number in this member, from 0. It has subscriptions, which outlive its
// connections: 32 bytes each, without pointers. What only some runs need, such as what is sent without a channel, is made when it is
// first used.
//
// # What is verified
//
// Each publication carries the channel it was made for and its sequence there (see package message). For each subscription the
// sequences that came are followed, and so are the offsets the server gives: a sequence that is skipped is a loss. The client knows
// of it when offsets left out as many, or when it came back without what it missed: its connection or its subscription had ended,
// and nothing was recovered. On a channel without offsets those who stopped reading cannot know what a policy dropped; only the
// server's counters can. Any other loss is silent. A subscription that begins while publications are under way counts from the first
// that comes. Publications of somebody else are chained into a digest for each peer: all must end with the same.
//
// What other members publish is owed, too, once [Books.Learn] tells how much that was.
package books
