// Package rate says how many of something a conn may do: so many in an interval in the
// long run, and a burst of so many at once. It knows no clock, no socket and no lock: time
// is a parameter, and what it keeps belongs to one loop.
//
// A [Limit] is a token bucket, kept as GCRA (the generic cell rate algorithm of ITU-T
// I.371): not a count of tokens and the time of the last refill but one number, the moment
// at which the bucket is full again. That is 4 bytes for each slot, in a column that exists
// from the first event on: who limits nothing, and who is never asked, pays nothing.
//
// A [Shared] is one bucket for all loops, such as of connections per second of a node; its
// [Pace] alone is for who keeps the moment elsewhere.
//
// A [Meter] applies one limit to the conns of a loop. [Commands] are the limits of
// commands and of errors that a node has, and a [Guard] applies them to the sessions of
// one of its loops.
package rate
