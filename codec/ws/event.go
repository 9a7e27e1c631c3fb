package ws

// Kind says what an [Event] is.
type Kind uint8

// The kinds.
const (
	None  Kind = iota // nothing happened: more bytes are needed, or bytes after the end were discarded
	Data              // a piece of a data message
	Ping              // a whole ping: answer with a pong of the same payload (§5.5.2)
	Pong              // a whole pong, asked for or not (§5.5.3)
	Close             // a whole close frame: answer with a close frame and end (§5.5.1)
	Fail              // the peer broke the protocol: send Code and end (§7.1.7)
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case None:
		return "none"
	case Data:
		return "data"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	case Close:
		return "close"
	case Fail:
		return "fail"
	}
	return "unknown"
}

// Event is what a call of [Parser.Next] found; at most one. Fields that the kind does not name are zero.
type Event struct {
	Kind Kind

	// Data: Text or Binary of the message, on every piece, fragments too.
	Op Op
	// Data: the first piece of its message; the last one. A message in one piece has both. A piece may be empty.
	First, Final bool
	// Data: the message is compressed (RSV1 on its first frame, RFC 7692 §6); on every piece. Its UTF-8 is not checked.
	Compressed bool

	// Fail: which rule was broken.
	Reason Reason
	// Close: the peer's code, CodeNoStatus when it gave none. Fail: the code to send.
	Code CloseCode

	// Data, Ping, Pong: the unmasked payload. Close: the reason, valid UTF-8. It aliases the bytes given to Next and is
	// valid as long as they are.
	Payload []byte
}

// MessageBytesMaxDefault is the limit that the zero Limits means: 64 KiB.
const MessageBytesMaxDefault = 64 << 10

// Limits is what a [Parser] may accept. One value serves every conn of a kind; it may change between two messages only.
type Limits struct {
	// MessageBytesMax bounds the payload of a data message, summed over its fragments, as sent (that is, compressed when
	// it is compressed). A header that takes the sum over it fails at once with 1009, before any payload is waited for.
	// 0 and below mean MessageBytesMaxDefault.
	MessageBytesMax int
	// Client: the parser reads what a server sends, so frames must not be masked. False: it reads what a client sends,
	// and they must be (§5.1).
	Client bool
	// Deflate: permessage-deflate was negotiated, RSV1 may be set on the first frame of a data message (RFC 7692 §6).
	Deflate bool
}

func (l *Limits) messageBytesMax() uint64 {
	if l.MessageBytesMax <= 0 {
		return MessageBytesMaxDefault
	}
	return uint64(l.MessageBytesMax)
}
