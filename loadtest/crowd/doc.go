// Package crowd is the client side of the load tests that press on a server: many channels, receivers that stop reading, and
// everybody coming back at once. Like package engine it is one event loop and knows the server by its protocol alone; it differs in
// that its connections are peers who may leave and return, each subscribed to several channels.
//
// A [Crowd] is told what to do by its few methods, which any goroutine may call: Connect, then Publish, during which Stall and
// Rouse, or Storm, may happen, then Drain, then Close. Done tells when Connect, Storm or Drain has ended.
//
// A connection costs its slot in the loop, one conn and one peer here, and a subscription 32 bytes; none of it has pointers. Only
// resume tokens, when they are asked for, are kept as bytes of their own.
//
// # What is verified
//
// Each publication carries the channel it was made for and its sequence there (see engine/message). For each subscription the
// sequences that came are followed, and so are the offsets the server gives: a sequence that is skipped is a loss. The client knows
// of it when offsets left out as many, or when it came back without what it missed: its connection or its subscription had ended,
// and nothing was recovered. On a channel without offsets those who stopped reading cannot know what a policy dropped; only the
// server's counters can. Any other loss is silent, and a failure in every scenario. What comes twice or after a later one always is.
package crowd
