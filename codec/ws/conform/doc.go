// Package conform is the conformance suite behind "make conform": a table of cases, clause by clause, from a reading of
// RFC 6455 and RFC 7692, and a runner that plays the client against an echo endpoint. It is test support; no server code
// imports it, and it imports none: frames, UTF-8 and DEFLATE are spelled out here a second time, naively, so that an error in
// the codec cannot hide behind itself.
//
// The endpoint under test echoes every text and binary message as one unfragmented message, compressed or not as it likes
// when deflate was negotiated; answers a ping with a pong of the same payload; ignores pongs; answers a close with the same
// code; answers what the RFC forbids with a close frame of the right code; then ends the TCP connection. Its message limit
// must be [MessageBytesMax].
//
// A runner needs a way to dial and nothing else:
//
//	for _, c := range conform.Cases() {
//		for _, chop := range []int{0, 1} { // whole, and cut at every byte boundary
//			if err := conform.Run(dial, c, chop); err != nil { … }
//		}
//	}
package conform
