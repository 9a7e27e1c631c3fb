// Package ws carries sessions over WebSocket: it opens conns (RFC 6455 §4),
// turns their bytes into messages for the [Landing], and frames what the landing
// sends. It knows frames and compression, not the protocol inside them.
//
// A [Transport] is one row of a loop's handler table and serves all WebSocket
// conns of that loop. Per conn it keeps the parser and two indices; a borrowed
// buffer only while a frame or a message is partial.
//
// A session that waits for an outcome, such as the answer of a backend, is busy: it is
// given no message until [Transport.Resume]. Frames behind the message it waits for are
// kept unparsed and reading is paused, so that the commands of a conn are handled in
// order and its peer feels the pressure.
//
// The echo endpoint is the same transport with an echo landing, so what a
// conformance tool sees is what the product does.
package ws
