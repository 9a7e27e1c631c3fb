// Package ws turns WebSocket bytes into events and values into WebSocket bytes: RFC 6455 sections 5 to 7, nothing else.
//
// Reading is [Parser]: 24 bytes of state per conn, no buffer, no allocation, no clock, no lock. The caller reads from its
// socket into a buffer of its own and calls Next until it says that it needs more; payloads are unmasked where they lie.
// The caller has one duty: bytes that Next did not consume are presented again, in front of the next ones. Only an
// incomplete frame header (at most 13 bytes) or an incomplete control frame (at most 130 bytes) is ever left over; the
// payload of a data message is never held back.
//
// Writing is append style: [AppendFrame], [AppendHeader], [AppendClose] for a server, [AppendMasked] and
// [AppendMaskedFrame] for a client.
//
// The parser is strict. What the RFC forbids the peer to send ends in one event of kind [Fail] with the close code to
// answer (1002, 1007 or 1009) and a [Reason] that is also a metric label; lengths are checked against the limit before they
// are converted or waited for. UTF-8 of uncompressed text is checked as it arrives; compressed text (RFC 7692) is checked by
// the caller with the same validator, [UTF8], after inflating it.
//
// Package conform, below this one, is the table of conformance cases and the runner behind "make conform".
package ws
