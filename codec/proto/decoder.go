package proto

import (
	"bytes"
	"math"
)

// Decoder reads the commands of one frame after another. The zero value is ready for Reset. A loop owns one and
// uses it for all its connections; it is not safe for concurrent use.
//
// A Command and everything it points to belongs to the Decoder and aliases the frame: it is valid until the next
// Next or Reset. In steady state pong, publish, send, rpc, subscribe, unsubscribe and a plain connect cost no
// allocation; maps (connect.subs, connect.headers) and filters (subscribe.tf) do.
type Decoder struct {
	frame    frame
	json     jsonReader
	wire     wireReader
	requests requests
}

// requests is one of each request, lent to the Command of the moment.
type requests struct {
	connect       ConnectRequest
	subscribe     SubscribeRequest
	unsubscribe   UnsubscribeRequest
	publish       PublishRequest
	presence      PresenceRequest
	presenceStats PresenceStatsRequest
	history       HistoryRequest
	ping          PingRequest
	send          SendRequest
	rpc           RPCRequest
	refresh       RefreshRequest
	subRefresh    SubRefreshRequest
}

// Reset starts with a new frame. Values of the frame before become invalid. b is never written to.
func (d *Decoder) Reset(b []byte, enc Encoding, lim Limits) {
	d.frame.reset(b, enc, lim)
	d.json.reset(lim)
	d.wire.reset(lim)
}

// Next decodes the next command into cmd; false without an error at the end of the frame. A frame without any
// command is ErrEmptyFrame. After an error, always a Failure, the rest of the frame is lost: every further call
// returns the same error, and cmd is empty.
func (d *Decoder) Next(cmd *Command) (ok bool, err error) {
	*cmd = Command{}
	f := d.frame.next()
	if f != 0 {
		return false, f
	}
	if d.frame.done {
		return false, nil
	}
	if d.frame.enc == JSON {
		d.json.start(d.frame.message)
		d.json.command(cmd, &d.requests)
		f = d.json.end()
	} else {
		d.wire.start(d.frame.message)
		d.wire.command(cmd, &d.requests)
		f = d.wire.fail
	}
	if f != 0 {
		*cmd = Command{}
		d.frame.fail = f
		return false, f
	}
	return true, nil
}

// Offset is where in the frame the message of the last Next began: what a log line about an error should say.
func (d *Decoder) Offset() int { return d.frame.from }

// Rest is what of the frame Next has not looked at yet: a frame of its own.
func (d *Decoder) Rest() []byte { return d.frame.rest }

// ReplyDecoder is the other end: it reads replies and pushes as a client does. Rules of lifetime and use as for
// Decoder, except that Limits.PartsMax 0 means no bound. Pings, errors, publication pushes (with info or without;
// tags allocate) and the replies to subscribe, unsubscribe and publish cost no allocation.
type ReplyDecoder struct {
	frame   frame
	json    jsonReader
	wire    wireReader
	answers answers
}

// answers is what a Reply may point to and arrives often.
type answers struct {
	push        Push
	publication Publication
	info        ClientInfo
	fault       Error
	unsubscribe UnsubscribeResult
	publish     PublishResult
	subscribe   SubscribeResult
}

// Reset starts with a new frame. b is never written to.
func (d *ReplyDecoder) Reset(b []byte, enc Encoding, lim Limits) {
	if lim.PartsMax <= 0 {
		lim.PartsMax = math.MaxInt
	}
	d.frame.reset(b, enc, lim)
	d.json.reset(lim)
	d.wire.reset(lim)
}

// Next decodes the next reply; false without an error at the end of the frame. An empty Reply is a ping.
func (d *ReplyDecoder) Next(reply *Reply) (ok bool, err error) {
	*reply = Reply{}
	f := d.frame.next()
	if f != 0 {
		return false, f
	}
	if d.frame.done {
		return false, nil
	}
	if d.frame.enc == JSON {
		d.json.start(d.frame.message)
		d.json.reply(reply, &d.answers)
		f = d.json.end()
	} else {
		d.wire.start(d.frame.message)
		d.wire.reply(reply, &d.answers)
		f = d.wire.fail
	}
	if f != 0 {
		*reply = Reply{}
		d.frame.fail = f
		return false, f
	}
	return true, nil
}

// frame cuts a frame into messages.
type frame struct {
	rest    []byte // not looked at yet
	message []byte // the current message without its framing
	whole   int    // length of the frame
	from    int    // where the current message begins
	max     int    // Limits.MessageBytesMax
	enc     Encoding
	begun   bool
	done    bool
	fail    Failure
}

func (f *frame) reset(b []byte, enc Encoding, lim Limits) {
	*f = frame{rest: b, whole: len(b), max: lim.MessageBytesMax, enc: enc}
}

// next moves to the next message or sets done. A length is compared as uint64 before anything is cut by it.
func (f *frame) next() Failure {
	if f.fail != 0 {
		return f.fail
	}
	f.from, f.message = f.whole-len(f.rest), nil
	if len(f.rest) == 0 {
		f.done = true
		if !f.begun {
			f.fail = ErrEmptyFrame
		}
		return f.fail
	}
	f.begun = true
	if f.enc == JSON {
		f.fail = f.line()
	} else {
		f.fail = f.prefixed()
	}
	return f.fail
}

// line takes the bytes up to '\n' or the end; one '\n' may end the frame, an empty line is a syntax error later.
func (f *frame) line() Failure {
	end, skip := bytes.IndexByte(f.rest, '\n'), 1
	if end < 0 {
		end, skip = len(f.rest), 0
	}
	if f.max > 0 && end > f.max {
		return ErrMessageTooLarge
	}
	f.message, f.rest = f.rest[:end:end], f.rest[end+skip:]
	return 0
}

func (f *frame) prefixed() Failure {
	n, used := uvarint(f.rest)
	if used == 0 {
		return ErrTruncated
	}
	if used < 0 {
		return ErrSyntax
	}
	if f.max > 0 && n > uint64(f.max) {
		return ErrMessageTooLarge
	}
	body := f.rest[used:]
	if n > uint64(len(body)) {
		return ErrTruncated
	}
	f.message, f.rest = body[:n:n], body[n:]
	return 0
}
