package msgpack

import (
	"encoding/binary"
	"unicode/utf8"

	"shoal/codec/proto"
)

// AppendReplies appends the MessagePack form of a Protobuf frame of replies, as codec/proto encodes it: every message
// behind its length, fields in the order of their numbers, each but lists and maps at most once. Fields that are not in
// the schema are left out. On an error, always an *Error, dst is returned with its content unchanged.
func AppendReplies(dst, protobufFrame []byte) ([]byte, error) {
	return pack(dst, protobufFrame, schema.reply)
}

// PackCommands is AppendReplies for commands: the client's side.
func PackCommands(dst, protobufFrame []byte) ([]byte, error) {
	return pack(dst, protobufFrame, schema.command)
}

func pack(dst, frame []byte, m *message) ([]byte, error) {
	p := packer{in: frame, out: dst}
	if len(frame) == 0 {
		p.failWith(proto.ErrEmptyFrame, nil)
	}
	for p.i < len(frame) && p.fail == nil {
		p.message(m, p.length(len(frame)), 1)
	}
	if p.fail != nil {
		return dst, p.fail
	}
	return p.out, nil
}

// The Protobuf wire types of proto3.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

const depthMax = 64 // messages inside messages; filters nest

// packer walks a Protobuf frame. The first failure sticks and ends every loop.
type packer struct {
	in, out []byte
	i       int
	fail    error
}

func (p *packer) failWith(f proto.Failure, at *field) {
	if p.fail == nil {
		e := &Error{Failure: f, Offset: p.i}
		if at != nil {
			e.Field = at.path
		}
		p.fail = e
	}
	p.i = len(p.in)
}

// message turns the message up to end into a map. Its count is known at the end and put into the header then.
func (p *packer) message(m *message, end, depth int) {
	if depth > depthMax {
		p.failWith(proto.ErrDepth, nil)
		return
	}
	head := len(p.out)
	if len(m.fields) > smallMapMost {
		p.out = append(p.out, map16, 0, 0)
	} else {
		p.out = append(p.out, fixmap)
	}
	count, last := 0, uint32(0)
	for p.i < end && p.fail == nil {
		tag := p.varint(end)
		f := m.numbered(tag >> 3)
		if f == nil {
			p.skip(tag, end)
			continue
		}
		if f.number <= last || tag&7 != f.wire() {
			p.failWith(proto.ErrSyntax, f)
			return
		}
		last = f.number
		count++
		p.out = append(p.out, f.key...)
		p.field(f, tag, end, depth)
	}
	if len(m.fields) > smallMapMost {
		binary.BigEndian.PutUint16(p.out[head+1:], uint16(count))
	} else {
		p.out[head] |= byte(count)
	}
}

// wire is the wire type of the field.
func (f *field) wire() uint64 {
	if f.kind < kindString {
		return wireVarint
	}
	return wireBytes
}

// field turns the value of f, whose tag has been read, or all values of a list or map, which follow each other.
func (p *packer) field(f *field, tag uint64, end, depth int) {
	if f.shape == one {
		p.value(f, end, depth)
		return
	}
	n := p.run(tag, end)
	if f.shape == list {
		p.out = appendArray(p.out, n)
	} else {
		p.out = appendMap(p.out, n)
	}
	for i := 0; i < n && p.fail == nil; i++ {
		if i > 0 {
			p.varint(end) // the tag again
		}
		if f.shape == list {
			p.value(f, end, depth)
		} else {
			p.entry(f, p.length(end), depth)
		}
	}
}

// run counts the values with this tag that follow each other; the first one's tag has been read.
func (p *packer) run(tag uint64, end int) (n int) {
	from := p.i
	for again := tag; again == tag && p.fail == nil; {
		n++
		p.i = p.length(end)
		if p.i >= end {
			break
		}
		again = p.varint(end)
	}
	if p.fail == nil {
		p.i = from
	}
	return n
}

// entry turns one entry of a map: a message with key and value as fields 1 and 2, either of which may be missing.
func (p *packer) entry(f *field, end, depth int) {
	var key []byte
	value := -1 // where its length stands
	for p.i < end && p.fail == nil {
		switch tag := p.varint(end); tag {
		case 1<<3 | wireBytes:
			key = p.text(f, end)
		case 2<<3 | wireBytes:
			value = p.i
			p.i = p.length(end)
		default:
			p.skip(tag, end)
		}
	}
	if p.fail != nil {
		return
	}
	p.out = appendString(p.out, key)
	switch {
	case value >= 0:
		p.i = value
		p.value(f, end, depth)
		if p.fail == nil {
			p.i = end
		}
	case f.kind == kindMessage:
		p.out = append(p.out, fixmap)
	default:
		p.out = append(p.out, fixstr)
	}
}

func (p *packer) value(f *field, end, depth int) {
	switch f.kind {
	case kindUint32:
		p.out = appendUint(p.out, uint64(uint32(p.varint(end))))
	case kindUint64:
		p.out = appendUint(p.out, p.varint(end))
	case kindInt32:
		p.out = appendInt(p.out, int64(int32(p.varint(end))))
	case kindInt64:
		p.out = appendInt(p.out, int64(p.varint(end)))
	case kindBool:
		p.out = append(p.out, no)
		if p.varint(end) != 0 {
			p.out[len(p.out)-1] = yes
		}
	case kindString:
		p.out = appendString(p.out, p.text(f, end))
	case kindBytes:
		n := p.length(end)
		p.out = appendBin(p.out, p.in[p.i:n])
		p.i = n
	case kindMessage:
		p.message(f.message, p.length(end), depth+1)
	}
}

func (p *packer) text(f *field, end int) []byte {
	n := p.length(end)
	s := p.in[p.i:n]
	p.i = n
	if !utf8.Valid(s) {
		p.failWith(proto.ErrText, f)
	}
	return s
}

func (p *packer) varint(end int) uint64 {
	if p.fail != nil {
		return 0
	}
	if p.i < end && p.in[p.i] < 0x80 { // most lengths and tags
		p.i++
		return uint64(p.in[p.i-1])
	}
	v, n := binary.Uvarint(p.in[p.i:end])
	if n <= 0 {
		p.failWith(proto.ErrSyntax, nil)
		return 0
	}
	p.i += n
	return v
}

// length reads a length and returns where what it measures ends. It is compared before it is converted. After a failure
// it is the end of the frame, where the cursor is then.
func (p *packer) length(end int) int {
	n := p.varint(end)
	if p.fail == nil && n > uint64(end-p.i) {
		p.failWith(proto.ErrTruncated, nil)
	}
	if p.fail != nil {
		return len(p.in)
	}
	return p.i + int(n)
}

// skip passes over the value of a field that is not in the schema.
func (p *packer) skip(tag uint64, end int) {
	if tag>>3 == 0 {
		p.failWith(proto.ErrSyntax, nil)
		return
	}
	n := 0
	switch tag & 7 {
	case wireVarint:
		p.varint(end)
		return
	case wireBytes:
		p.i = p.length(end)
		return
	case wireFixed8:
		n = 8
	case wireFixed4:
		n = 4
	default:
		p.failWith(proto.ErrSyntax, nil)
		return
	}
	if n > end-p.i {
		p.failWith(proto.ErrTruncated, nil)
		return
	}
	p.i += n
}
