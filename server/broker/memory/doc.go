// Package memory is the broker of a single node.
//
// A channel's name picks one of 64 locks. Under it a publication is given its
// position, delivered and then kept, so that all of it is one moment for whoever
// reads the history, deliveries are in order of the offsets, and a publication that
// no loop takes leaves no trace.
//
// Nothing here has a goroutine or a timer. What has expired is gone for whoever
// asks; its memory goes when the program calls [Broker.Expire], about once a second.
//
// # Memory
//
// A channel with history has its interned name (about 30 bytes and the name), 128
// bytes of stream and 16 of deadline, besides what package history holds; of
// pointers for the collector to follow there are two or three. The streams of one
// lock share the string of their epoch: a new one is drawn after a stream
// ended, which is what an epoch has to tell apart.
//
// Metadata of channels that nobody uses ends with its time to live. Idempotency
// keys have a budget of bytes, in which the one that expires first gives way.
package memory
