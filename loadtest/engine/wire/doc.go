// Package wire is the WebSocket side of a load test's connections: the opening handshake, masked frames out, and whole messages
// in. A connection has a [Stream] in its own record, the connections of one loop share a [Wire]. What the messages say and how far
// a connection is are the business of the packages above.
package wire
