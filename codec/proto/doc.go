// Package proto turns the bytes of the client protocol into values and back, in its two wire forms, JSON and
// Protobuf. It is pure: no clock, no socket, no lock, no goroutine. PROTOCOL.md says what the bytes mean.
//
// The values (Command, Reply, Push, Publication and their parts) are generated from client.proto; generate.sh
// writes them anew. What is by hand is what runs per message:
//
//	frame ─▶ Decoder ──────▶ Command     json_read.go, json_command.go │ wire_read.go, wire_command.go
//	Reply ─▶ AppendReply ──▶ frame       append.go, json_append.go     │ generated marshalling
//	frame ─▶ ReplyDecoder ─▶ Reply       the client's side: loadtest and tests
//
// What a delta subscriber gets, and what of a message is known to be JSON already, is said by Payloads.
//
// A frame is a stream of messages: JSON objects joined by one '\n', or Protobuf messages each behind its length
// as a varint. What a decoder hands out aliases the frame (or the decoder) and is valid until its next call of
// Next or Reset, or until the frame is overwritten. What must live longer is copied field by field (strings.Clone,
// bytes.Clone), or decoded by a fresh decoder from a copy of the frame. Cloning a message is not enough: the strings of
// the clone still alias the frame.
package proto
