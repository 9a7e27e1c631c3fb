package proto

import "unicode/utf8"

// The Protobuf wire types (encoding guide, "message structure"). 3 and 4 begin and end the abandoned groups, 6 and 7
// are unused.
const (
	wireVarint = 0
	wireFixed8 = 1
	wireBytes  = 2
	wireFixed4 = 5
)

// wireReader walks one Protobuf message whose shape is known. Its readers are used like this:
//
//	for r.next() {
//		switch r.tag {
//		case 1<<3 | wireBytes:
//			m.Channel = r.str()
//		default:
//			r.skip()
//		}
//	}
//
// An embedded message is read between enter and leave. The first failure sticks and ends every such loop. Unknown
// fields and fields of another wire type are skipped; of equal scalar fields the last one counts, equal message
// fields are merged, as Protobuf wants it.
type wireReader struct {
	b        []byte
	i        int
	end      int // of the message being read
	tag      uint32
	fail     Failure
	depth    int
	depthMax int
	parts    int
	partsMax int
}

func (r *wireReader) reset(lim Limits) {
	r.depthMax, r.partsMax = lim.depthMax(), lim.partsMax()
}

func (r *wireReader) start(message []byte) {
	r.b, r.i, r.end, r.fail, r.depth, r.parts = message, 0, len(message), 0, 1, 0
}

func (r *wireReader) failWith(f Failure) {
	if r.fail == 0 {
		r.fail = f
	}
	r.i, r.end = 0, 0
}

// part counts one thing that allocates.
func (r *wireReader) part() bool {
	if r.parts++; r.parts > r.partsMax {
		r.failWith(ErrTooManyParts)
	}
	return r.fail == 0
}

// uvarint reads a varint: its value and length; 0 when b ends before it does, -1 when it does not fit 64 bits.
func uvarint(b []byte) (v uint64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	for i, c := range b {
		if i == 9 && c > 1 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

func (r *wireReader) varint() uint64 {
	v, n := uvarint(r.b[r.i:r.end])
	if n <= 0 {
		r.failWith(ErrSyntax)
		return 0
	}
	r.i += n
	return v
}

// next reads the tag of the next field; false at the end of the message.
func (r *wireReader) next() bool {
	if r.i >= r.end {
		return false
	}
	tag := r.varint()
	if tag>>3 == 0 || tag > 1<<32-1 {
		r.failWith(ErrSyntax)
		return false
	}
	r.tag = uint32(tag)
	return r.fail == 0
}

// bytes takes a length-delimited field. The length is compared before it is converted.
func (r *wireReader) bytes() []byte {
	n := r.varint()
	if r.fail != 0 {
		return nil
	}
	if n > uint64(r.end-r.i) {
		r.failWith(ErrTruncated)
		return nil
	}
	from := r.i
	r.i += int(n)
	return r.b[from:r.i:r.i]
}

func (r *wireReader) str() string {
	p := r.bytes()
	if !utf8.Valid(p) {
		r.failWith(ErrText)
		return ""
	}
	return text(p)
}

func (r *wireReader) boolean() bool { return r.varint() != 0 }

// enter narrows the reader to an embedded message; leave(outer) widens it again.
func (r *wireReader) enter() (outer int) {
	n := r.varint()
	switch {
	case r.fail != 0:
		return 0
	case n > uint64(r.end-r.i):
		r.failWith(ErrTruncated)
		return 0
	case r.depth >= r.depthMax:
		r.failWith(ErrDepth)
		return 0
	}
	r.depth++
	outer, r.end = r.end, r.i+int(n)
	return outer
}

func (r *wireReader) leave(outer int) {
	if r.fail == 0 {
		r.end = outer
		r.depth--
	}
}

// skip passes over the value of the current field. Groups are refused: proto3 has none, and no client writes them.
func (r *wireReader) skip() {
	switch r.tag & 7 {
	case wireVarint:
		r.varint()
	case wireFixed8:
		r.advance(8)
	case wireBytes:
		r.bytes()
	case wireFixed4:
		r.advance(4)
	default:
		r.failWith(ErrSyntax)
	}
}

func (r *wireReader) advance(n int) {
	if n > r.end-r.i {
		r.failWith(ErrTruncated)
		return
	}
	r.i += n
}
