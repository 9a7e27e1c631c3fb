// Package engine is the client side of a load test: one event loop that opens many connections to a server of the client
// protocol (or to a plain WebSocket echo endpoint), and counts and verifies all that comes back.
//
// An [Engine] is told what to do by its few methods, which any goroutine may call, and does one task at a time: Connect,
// then Publish or Echo, then Close. Done tells when a task has ended. Everything else happens on the loop's goroutine.
//
// A connection costs its slot in the loop and one conn here: 88 bytes without pointers. Buffers are borrowed while a frame
// or a message has arrived in part only.
//
// # What is verified
//
// Every message the engine sends, or has sent, carries the number of this run, of the connection it is meant for, its
// sequence and the time it was due, in front of a filling that depends on the sequence (see message/payload.go). Every connection
// keeps the sequence it expects next and the last 64 it saw, so that a message that is lost, comes twice, late, altered or
// to the wrong connection is told from the others. Publications of somebody else are counted, and their contents and order
// chained into a digest for each connection: all connections of one channel must end with the same.
//
// Latency is measured from the time a message was due, not from the time it was sent: a sender that is kept waiting does
// not hide the wait (coordinated omission).
package engine
