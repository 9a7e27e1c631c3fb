package msgpack

import (
	"strconv"

	"shoal/codec/proto"
)

// Error says where a frame is wrong. Unwrap gives the proto.Failure, so that a session treats it, and counts it, like
// the failures of the other forms.
type Error struct {
	Failure proto.Failure
	Offset  int    // in the frame, of the value that is wrong
	Field   string // such as SubscribeRequest.offset; empty when it is none
	want    string
}

func (e *Error) Unwrap() error { return e.Failure }

// Error says what happened, where, and what to change.
func (e *Error) Error() string {
	where := "MessagePack frame, byte " + strconv.Itoa(e.Offset) + ": "
	if e.Field != "" {
		where += e.Field + ": "
	}
	switch {
	case e.want != "":
		return where + "wants " + e.want
	case e.Failure == proto.ErrSyntax:
		return where + "malformed message: send maps with strings as keys, each key once, one behind the other"
	case e.Failure == proto.ErrTruncated:
		return where + "a length or count points behind the end: send whole messages in one frame"
	}
	return where + e.Failure.Error()
}
