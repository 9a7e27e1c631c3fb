package msgpack

import (
	"encoding/binary"
	"math"
	"math/bits"

	"shoal/codec/proto"
)

// AppendCommands appends the Protobuf form of a MessagePack frame of commands: what a client sent. Limits are those of
// proto.Decoder and checked here already, on the MessagePack bytes; dst grows by at most twice
// the frame's length. On an error, always an *Error, dst is returned with its content unchanged. README.md says what is
// accepted.
func AppendCommands(dst, msgpackFrame []byte, lim proto.Limits) ([]byte, error) {
	if lim.PartsMax <= 0 {
		lim.PartsMax = partsMaxDefault
	}
	return unpack(dst, msgpackFrame, schema.command, lim)
}

// UnpackReplies is AppendCommands for replies: the client's side. Limits.PartsMax 0 means no bound.
func UnpackReplies(dst, msgpackFrame []byte, lim proto.Limits) ([]byte, error) {
	if lim.PartsMax <= 0 {
		lim.PartsMax = math.MaxInt
	}
	return unpack(dst, msgpackFrame, schema.reply, lim)
}

const partsMaxDefault = 4096 // as in proto.Limits

func unpack(dst, frame []byte, m *message, lim proto.Limits) ([]byte, error) {
	if lim.DepthMax <= 0 {
		lim.DepthMax = depthMax
	}
	u := unpacker{reader: reader{in: frame}, out: dst, lim: lim}
	if len(frame) == 0 {
		u.failWith(proto.ErrEmptyFrame, nil)
	}
	for u.i < len(frame) && u.fail == nil {
		u.parts, u.end = 0, len(frame)
		if most := lim.MessageBytesMax; most > 0 && most < u.end-u.i {
			u.end = u.i + most
		}
		room := u.begin()
		u.message(m, nil, 1)
		u.finish(room)
	}
	if u.fail != nil {
		return dst, u.fail
	}
	return u.out, nil
}

// unpacker writes the Protobuf form of what its reader reads.
type unpacker struct {
	reader
	out   []byte
	lim   proto.Limits
	parts int
}

// part counts one thing that allocates in the decoder behind.
func (u *unpacker) part(f *field) {
	if u.parts++; u.parts > u.lim.PartsMax {
		u.failWith(proto.ErrTooManyParts, f)
	}
}

// room is where the length of a message under construction will stand.
type room struct{ at, bytes int }

// begin makes room for the length of what follows: as many bytes as it would have if all that is left of the frame
// belonged to it. A guess that was wrong costs moving what was written.
func (u *unpacker) begin() room {
	r := room{len(u.out), varintLen(u.end - u.i)}
	u.out = append(u.out, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[:r.bytes]...)
	return r
}

// finish writes the length of what was written since begin.
func (u *unpacker) finish(r room) {
	body := r.at + r.bytes
	size := len(u.out) - body
	for need := varintLen(size); need > r.bytes; r.bytes++ {
		u.out = append(u.out, 0)
		copy(u.out[body+1:], u.out[body:])
		body++
	}
	n := binary.PutUvarint(u.out[r.at:], uint64(size))
	if n < r.bytes {
		copy(u.out[r.at+n:], u.out[body:])
		u.out = u.out[:r.at+n+size]
	}
}

func varintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// message reads a map and writes its fields in the order they come in. It is the value of within, nil for the outer one.
func (u *unpacker) message(m *message, within *field, depth int) {
	if depth > u.lim.DepthMax {
		u.failWith(proto.ErrDepth, within)
		return
	}
	seen := uint64(0)
	for n := u.count(fixmap, within); n > 0 && u.fail == nil; n-- {
		at := u.i
		f := m.named(u.str(nil))
		switch {
		case u.fail != nil:
		case f == nil:
			u.skip()
		case seen>>f.index&1 == 1:
			u.i = at
			u.failWith(proto.ErrSyntax, f)
		default:
			seen |= 1 << f.index
			u.field(f, depth)
		}
	}
}

// field reads the value of f: nil, as if the field were not there, or what its shape says.
func (u *unpacker) field(f *field, depth int) {
	if u.null() {
		return
	}
	switch f.shape {
	case one:
		u.single(f, depth)
	case list:
		for n := u.count(fixarray, f); n > 0 && u.fail == nil; n-- {
			u.part(f)
			u.value(f, f.number, depth)
		}
	case dict:
		for n := u.count(fixmap, f); n > 0 && u.fail == nil; n-- {
			u.part(f)
			u.tag(f.number, wireBytes)
			room := u.begin()
			if key := u.str(f); len(key) > 0 {
				u.tag(1, wireBytes)
				u.block(key)
			}
			u.value(f, 2, depth)
			u.finish(room)
		}
	}
}

// single reads a field that is no list and no map, and writes nothing for the zero value, as proto3 has it.
func (u *unpacker) single(f *field, depth int) {
	before := len(u.out)
	if zero := u.value(f, f.number, depth); zero {
		u.out = u.out[:before]
	}
}

// value reads one value of f's kind and writes it as field number; zero says that it is the zero value of a kind that
// is no message.
func (u *unpacker) value(f *field, number uint32, depth int) (zero bool) {
	switch f.kind {
	case kindString, kindBytes:
		p := u.str(f)
		u.tag(number, wireBytes)
		u.block(p)
		return len(p) == 0
	case kindMessage:
		u.tag(number, wireBytes)
		room := u.begin()
		u.message(f.message, f, depth+1)
		u.finish(room)
		return false
	}
	n := u.scalar(f)
	u.tag(number, wireVarint)
	u.out = binary.AppendUvarint(u.out, n)
	return n == 0
}

func (u *unpacker) tag(number uint32, wire uint64) {
	u.out = binary.AppendUvarint(u.out, uint64(number)<<3|wire)
}

func (u *unpacker) block(p []byte) {
	u.out = append(binary.AppendUvarint(u.out, uint64(len(p))), p...)
}
