// Package msgpack is the MessagePack form of the client protocol, an addition to the JSON and Protobuf forms: the same
// messages as maps with the JSON names as keys and payloads as bin. README.md says what the bytes look like.
//
// It turns whole frames from Protobuf into MessagePack and back, so that a MessagePack session is a Protobuf session but
// for its edge:
//
//	MessagePack frame ─▶ AppendCommands ─▶ Protobuf frame ─▶ proto.Decoder         server, reading
//	proto.AppendReply ─▶ Protobuf frame ─▶ AppendReplies  ─▶ MessagePack frame     server, writing
//	proto.AppendCommand ─▶ PackCommands ─▶ …   … ─▶ UnpackReplies ─▶ proto.ReplyDecoder   client
//
// What the messages are made of is taken from the schema of codec/proto, once, when the program starts; a field added
// there is in the MessagePack form by itself. Nothing is allocated but the caller's dst (and the error of a bad frame), no
// argument is kept, and all functions may run concurrently. The package is pure: no clock, no socket, no lock.
package msgpack
