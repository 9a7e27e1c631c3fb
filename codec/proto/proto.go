package proto

import "shoal/codec/proto/jsontext"

// Encoding is the wire form of a connection, chosen once when it opens. The zero value is JSON.
type Encoding uint8

const (
	JSON     Encoding = iota // objects joined by '\n', in WebSocket text frames
	Protobuf                 // messages behind a varint length, in WebSocket binary frames

	// MessagePack is an addition of this server. Its sessions speak Protobuf inside: every function and decoder of this
	// package treats it as Protobuf, and codec/msgpack turns whole frames into the form on the wire and back.
	MessagePack
)

// String is the name used in logs, in ?format= and as a metric label.
func (e Encoding) String() string {
	switch e {
	case Protobuf:
		return "protobuf"
	case MessagePack:
		return "msgpack"
	}
	return "json"
}

// Text reports whether frames of e are WebSocket text frames; others are binary.
func (e Encoding) Text() bool { return e == JSON }

// Limits bound what one message may ask of a decoder. The zero value is usable.
type Limits struct {
	MessageBytesMax int // bytes of one message without its framing; 0 = only the frame itself is the bound
	DepthMax        int // messages inside messages, the outer one counted; 0 = 64
	PartsMax        int // map entries, list elements, filter nodes and positions of one command, each of which allocates; 0 = 4,096
}

const (
	depthMaxDefault = 64
	partsMaxDefault = 4096
)

// ValidJSON reports whether p can be a payload for JSON clients: exactly one JSON value (RFC 8259), in UTF-8, nested at
// most 1,024 deep, with white space around it allowed. It does not allocate and does not recurse.
func ValidJSON(p []byte) bool { return jsontext.Valid(p) }

func (l Limits) depthMax() int {
	if l.DepthMax <= 0 {
		return depthMaxDefault
	}
	return l.DepthMax
}

func (l Limits) partsMax() int {
	if l.PartsMax <= 0 {
		return partsMaxDefault
	}
	return l.PartsMax
}

// Failure says why a message could not be decoded or encoded. Values are comparable constants and cost no
// allocation as an error; String-like names for metrics come from Label.
type Failure uint8

// The failures. A server answers every one of a Decoder with disconnect 3501 (bad request), and ErrNotJSON with
// 3506 (inappropriate protocol).
const (
	ErrEmptyFrame      Failure = iota + 1 // the frame holds no message at all
	ErrSyntax                             // not one JSON object per line, or not Protobuf wire format
	ErrField                              // a known field holds a value of another type, or a number out of its range
	ErrText                               // a string is not UTF-8 (RFC 8259 §8.1, proto3 string)
	ErrTruncated                          // a length points behind the end of the frame
	ErrMessageTooLarge                    // a message is longer than Limits.MessageBytesMax
	ErrDepth                              // nested deeper than Limits.DepthMax, or raw JSON deeper than 1,024
	ErrTooManyParts                       // more map entries, list elements or filter nodes than Limits.PartsMax
	ErrNotJSON                            // a payload is not valid JSON and cannot go to a JSON client
)

// Error says what happened and what to change.
func (f Failure) Error() string {
	switch f {
	case ErrEmptyFrame:
		return "the frame is empty: send at least one command in it"
	case ErrSyntax:
		return "malformed message: send one JSON object per line, or length-prefixed Protobuf on a Protobuf connection"
	case ErrField:
		return "a field has a value of the wrong type or range: compare it with client.proto"
	case ErrText:
		return "a string is not valid UTF-8: encode names and tokens as UTF-8"
	case ErrTruncated:
		return "a length prefix points behind the end of the frame: send whole messages in one frame"
	case ErrMessageTooLarge:
		return "the message is over the size limit: send less at once or raise websocket.message_size_limit"
	case ErrDepth:
		return "the message is nested too deep: flatten it"
	case ErrTooManyParts:
		return "the command has too many subscriptions, headers or filter nodes: send fewer at once"
	case ErrNotJSON:
		return "the payload is not valid JSON, which JSON clients need: publish JSON or let clients use Protobuf"
	}
	return "no failure"
}

// Label is the short name of f for metrics and log attributes.
func (f Failure) Label() string {
	switch f {
	case ErrEmptyFrame:
		return "empty-frame"
	case ErrSyntax:
		return "syntax"
	case ErrField:
		return "field"
	case ErrText:
		return "text"
	case ErrTruncated:
		return "truncated"
	case ErrMessageTooLarge:
		return "message-too-large"
	case ErrDepth:
		return "depth"
	case ErrTooManyParts:
		return "too-many-parts"
	case ErrNotJSON:
		return "not-json"
	}
	return "none"
}

// Method is the request a command carries.
type Method uint8

// The methods, in the order in which the first one present is taken. MethodNone with id 0 is a pong.
const (
	MethodNone Method = iota
	MethodConnect
	MethodSubscribe
	MethodUnsubscribe
	MethodPublish
	MethodPresence
	MethodPresenceStats
	MethodHistory
	MethodPing
	MethodSend
	MethodRPC
	MethodRefresh
	MethodSubRefresh
)

// String is the field name of the request in client.proto; it is the metric label.
func (m Method) String() string {
	names := [...]string{"none", "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats",
		"history", "ping", "send", "rpc", "refresh", "sub_refresh"}
	if int(m) >= len(names) {
		return "unknown"
	}
	return names[m]
}

// Method names the request that counts: of several the one with the lowest field number.
func (m *Command) Method() Method {
	switch {
	case m.Connect != nil:
		return MethodConnect
	case m.Subscribe != nil:
		return MethodSubscribe
	case m.Unsubscribe != nil:
		return MethodUnsubscribe
	case m.Publish != nil:
		return MethodPublish
	case m.Presence != nil:
		return MethodPresence
	case m.PresenceStats != nil:
		return MethodPresenceStats
	case m.History != nil:
		return MethodHistory
	case m.Ping != nil:
		return MethodPing
	case m.Send != nil:
		return MethodSend
	case m.Rpc != nil:
		return MethodRPC
	case m.Refresh != nil:
		return MethodRefresh
	case m.SubRefresh != nil:
		return MethodSubRefresh
	}
	return MethodNone
}
