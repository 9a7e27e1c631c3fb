// Package engine is the client side of a load test: one event loop that opens many connections to a server of the client protocol (or
// to a plain WebSocket echo endpoint), has messages sent, and counts and verifies all that comes back.
//
// An [Engine] carries out one [Order] after the other, is looked at by its Snapshot, Census and Results, and is a [Driver]; package
// fleet makes many engines, in this process and others, look like one. Engines that share a test are its members: connections, channels
// and rates are numbered and given for all of them together, and each takes its part. What is told to an engine and what it says can be
// written as JSON and added up (package tally).
//
// Its connections are those of peers, who may leave and return. A peer costs its slot in the loop, one conn and one peer here, and its
// subscriptions in the books: 164 bytes with one of them, 204 with a channel of its own beside it, without pointers. Only resume
// tokens, when they are asked for, are kept as bytes of their own. Buffers are borrowed while a frame or a message has arrived in part
// only. There is no goroutine and no timer for a connection.
//
// What is verified, and how, is told by package books. Latency is measured from the time a message was due by its plan, not from the
// time it was sent: a sender that is kept waiting does not hide the wait (coordinated omission). The same holds for connections that
// are begun at a rate.
package engine
