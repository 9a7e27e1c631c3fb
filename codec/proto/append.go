package proto

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/planetscale/vtprotobuf/protohelpers"
)

// Every Append function appends one message with its framing to dst and returns the longer slice, which may have
// moved. It keeps no reference to its arguments. Several messages share a frame:
//
//	b, err = AppendReply(b, enc, first)
//	b = AppendSep(b, enc)
//	b, err = AppendReply(b, enc, second)
//
// On an error dst is returned with its content unchanged.

// Payloads says how an encoder treats the raw fields (data, conn_info …) it writes as JSON; Protobuf carries any bytes
// and ignores it. The zero value checks every raw field and embeds it as it is.
type Payloads uint8

const (
	// Trusted leaves the check out: the caller vouches that ValidJSON has accepted every raw field of the message. It is
	// most of the cost of a recovery. Untrue, it breaks the frame for the client.
	Trusted Payloads = 1 << iota
	// Text writes the data of publications to delta subscribers as JSON strings, which is how these clients read full
	// payloads and deltas alike: in publication pushes, and in the results of subscriptions whose Delta is set. What is
	// in the string is not looked at but for being UTF-8 (else ErrNotJSON): that a full payload is JSON is the caller's to
	// know, for clients parse it.
	Text
)

// AppendSep separates two messages of one frame: '\n' for JSON, nothing for Protobuf.
func AppendSep(dst []byte, enc Encoding) []byte {
	if enc == JSON {
		return append(dst, '\n')
	}
	return dst
}

// AppendReply appends r. A raw field (data, conn_info …) that is not JSON is ErrNotJSON on a JSON connection. Zero
// values are left out as the protocol's clients expect; maps appear in no particular order. No allocation but dst's.
func AppendReply(dst []byte, enc Encoding, r *Reply) ([]byte, error) {
	return AppendReplyWith(dst, enc, r, 0)
}

// AppendReplyWith is AppendReply with what the caller knows of, and wants done with, the payloads.
func AppendReplyWith(dst []byte, enc Encoding, r *Reply, how Payloads) ([]byte, error) {
	if enc != JSON {
		size := r.SizeVT()
		dst = growPrefixed(dst, size)
		n, err := r.MarshalToSizedBufferVT(dst[len(dst) : len(dst)+size])
		return dst[:len(dst)+n], err
	}
	w := jsonWriter{b: dst, how: how}
	w.reply(r)
	return w.finish(len(dst))
}

// AppendCommand appends c: the client's side. Otherwise as AppendReply.
func AppendCommand(dst []byte, enc Encoding, c *Command) ([]byte, error) {
	if enc != JSON {
		size := c.SizeVT()
		dst = growPrefixed(dst, size)
		n, err := c.MarshalToSizedBufferVT(dst[len(dst) : len(dst)+size])
		return dst[:len(dst)+n], err
	}
	w := jsonWriter{b: dst}
	w.command(c)
	return w.finish(len(dst))
}

// AppendPublicationPush appends the reply that pushes pub to the subscribers of channel: what a publication is encoded
// to once per wire form. ErrNotJSON when enc is JSON and a payload is not. No allocation but dst's.
func AppendPublicationPush[C string | []byte](dst []byte, enc Encoding, channel C, pub *Publication) ([]byte, error) {
	return AppendPublicationPushWith(dst, enc, channel, pub, 0)
}

// AppendPublicationPushWith is AppendPublicationPush with what the caller knows of, and wants done with, the payloads.
func AppendPublicationPushWith[C string | []byte](
	dst []byte, enc Encoding, channel C, pub *Publication, how Payloads,
) ([]byte, error) {
	if enc != JSON {
		return appendPublication(dst, view(channel), pub)
	}
	w := jsonWriter{b: dst, how: how}
	w.publicationPush(view(channel), pub)
	return w.finish(len(dst))
}

// view is s as a string without a copy: a slice header begins as a string header does.
func view[S string | []byte](s S) string { return *(*string)(unsafe.Pointer(&s)) }

// AppendPing appends the empty reply, which asks for a pong: {} or the byte 0.
func AppendPing(dst []byte, enc Encoding) []byte { return appendEmpty(dst, enc) }

// AppendPong appends the empty command, which answers a ping: {} or the byte 0.
func AppendPong(dst []byte, enc Encoding) []byte { return appendEmpty(dst, enc) }

func appendEmpty(dst []byte, enc Encoding) []byte {
	if enc != JSON {
		return append(dst, 0)
	}
	return append(dst, '{', '}')
}

// AppendError appends the error reply to command id. No allocation but dst's.
func AppendError(dst []byte, enc Encoding, id uint32, code uint32, message string, temporary bool) []byte {
	e := Error{Code: code, Message: message, Temporary: temporary}
	dst, _ = AppendReply(dst, enc, &Reply{Id: id, Error: &e}) // an error has no raw field that could be refused
	return dst
}

// growPrefixed appends size as a varint and makes room for as many bytes behind it. Marshalling cannot fail: the
// generated code has an error in its signature only.
func growPrefixed(dst []byte, size int) []byte {
	dst = slices.Grow(dst, protohelpers.SizeOfVarint(uint64(size))+size)
	return binary.AppendUvarint(dst, uint64(size))
}

// appendPublication writes Reply{Push{Channel, Pub}} without building the outer two.
func appendPublication(dst []byte, channel string, pub *Publication) ([]byte, error) {
	const replyPush, pushChannel, pushPub = 4<<3 | wireBytes, 2<<3 | wireBytes, 4<<3 | wireBytes
	pubSize := pub.SizeVT()
	push := 1 + protohelpers.SizeOfVarint(uint64(pubSize)) + pubSize
	if channel != "" {
		push += 1 + protohelpers.SizeOfVarint(uint64(len(channel))) + len(channel)
	}
	reply := 1 + protohelpers.SizeOfVarint(uint64(push)) + push
	out := slices.Grow(dst, protohelpers.SizeOfVarint(uint64(reply))+reply)
	out = binary.AppendUvarint(out, uint64(reply))
	out = append(out, replyPush)
	out = binary.AppendUvarint(out, uint64(push))
	if channel != "" {
		out = append(out, pushChannel)
		out = binary.AppendUvarint(out, uint64(len(channel)))
		out = append(out, channel...)
	}
	out = append(out, pushPub)
	out = binary.AppendUvarint(out, uint64(pubSize))
	n, err := pub.MarshalToSizedBufferVT(out[len(out) : len(out)+pubSize])
	return out[:len(out)+n], err
}
