package msgpack

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"shoal/codec/proto"
)

// reader takes MessagePack values from in[i:end]. The first failure sticks: every later read does nothing and gives the
// zero value.
type reader struct {
	in   []byte
	i    int
	end  int // of what the present message may have
	fail error
}

func (r *reader) failWith(f proto.Failure, at *field) {
	if r.fail == nil {
		e := &Error{Failure: f, Offset: r.i}
		if at != nil {
			e.Field = at.path
			if f == proto.ErrField {
				e.want = at.wants()
			}
		}
		r.fail = e
	}
}

// wants says what the field holds.
func (f *field) wants() string {
	switch f.shape {
	case list:
		return "an array, each element " + f.kind.String()
	case dict:
		return "a map, each value " + f.kind.String()
	}
	return f.kind.String()
}

// short fails because the message ends too early: cut by its limit, or by the frame.
func (r *reader) short(at *field) {
	if r.end < len(r.in) {
		r.failWith(proto.ErrMessageTooLarge, at)
		return
	}
	r.failWith(proto.ErrTruncated, at)
}

// peek returns the first byte of the next value; never, which begins none, when there is no more.
func (r *reader) peek(at *field) byte {
	if r.fail != nil {
		return never
	}
	if r.i >= r.end {
		r.short(at)
		return never
	}
	return r.in[r.i]
}

// has reports whether n bytes follow the first byte of the value at i, and fails otherwise. n is not yet trusted.
func (r *reader) has(n uint64, at *field) bool {
	if n >= uint64(r.end-r.i) {
		r.short(at)
		return false
	}
	return true
}

// number reads the big-endian number of 1, 2, 4 or 8 bytes behind the first byte, and passes over both.
func (r *reader) number(size int, at *field) uint64 {
	if !r.has(uint64(size), at) {
		return 0
	}
	p := r.in[r.i+1 : r.i+1+size]
	r.i += 1 + size
	switch size {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(p))
	case 4:
		return uint64(binary.BigEndian.Uint32(p))
	}
	return binary.BigEndian.Uint64(p)
}

// null takes a nil if there is one.
func (r *reader) null() bool {
	if r.fail != nil || r.i >= r.end || r.in[r.i] != null {
		return false
	}
	r.i++
	return true
}

// mistyped fails because the value here, if it is one, has another type than the field.
func (r *reader) mistyped(at *field) {
	if r.fail == nil && r.in[r.i] == never || at == nil {
		r.failWith(proto.ErrSyntax, at)
		return
	}
	r.failWith(proto.ErrField, at)
}

// count reads the header of an array or map (fix says which, as its shortest form): of field at, or of an outer message.
// An element has at least one byte and an entry two, which bounds the count.
func (r *reader) count(fix byte, at *field) (n uint64) {
	least := uint64(1)
	code16 := byte(array16)
	if fix == fixmap {
		code16, least = map16, 2
	}
	from := r.i
	switch c := r.peek(at); {
	case r.fail != nil:
		return 0
	case c&0xf0 == fix:
		n = uint64(c & 0x0f)
		r.i++
	case c == code16:
		n = r.number(2, at)
	case c == code16+1:
		n = r.number(4, at)
	default:
		r.mistyped(at)
		return 0
	}
	if r.fail == nil && n*least > uint64(r.end-r.i) {
		r.i = from
		r.short(at)
	}
	if r.fail != nil {
		return 0
	}
	return n
}

// str reads a string: the value of f, or a key when f is nil. Where f holds bytes it may be bin as well, and any bytes.
func (r *reader) str(f *field) []byte {
	raw := f != nil && f.kind == kindBytes
	from, n := r.i, uint64(0)
	switch c := r.peek(f); {
	case r.fail != nil:
		return nil
	case c&0xe0 == fixstr:
		n = uint64(c & 0x1f)
		r.i++
	case c >= str8 && c <= str32:
		n = r.number(1<<(c-str8), f)
	case raw && c >= bin8 && c <= bin32:
		n = r.number(1<<(c-bin8), f)
	default:
		r.mistyped(f)
		return nil
	}
	if r.fail == nil && n > uint64(r.end-r.i) {
		r.i = from
		r.short(f)
	}
	if r.fail != nil {
		return nil
	}
	p := r.in[r.i : r.i+int(n)]
	r.i += int(n)
	if !raw && !utf8.Valid(p) {
		r.i = from
		r.failWith(proto.ErrText, f)
		return nil
	}
	return p
}

// scalar reads a boolean or an integer in f's range, in the form of a Protobuf varint.
func (r *reader) scalar(f *field) uint64 {
	from := r.i
	c := r.peek(f)
	if r.fail != nil {
		return 0
	}
	if f.kind == kindBool {
		if c != no && c != yes {
			r.mistyped(f)
			return 0
		}
		r.i++
		return uint64(c - no)
	}
	n, below, ok := r.integer(c, f)
	if r.fail == nil && !(ok && inRange(f.kind, n, below)) {
		r.i = from
		r.mistyped(f)
	}
	return n
}

// integer reads an integer of any width; below says that it is negative, and n its two's complement.
func (r *reader) integer(c byte, f *field) (n uint64, below, ok bool) {
	switch {
	case c < fixmap:
		r.i++
		return uint64(c), false, true
	case c >= negative:
		r.i++
		return uint64(int64(int8(c))), true, true
	case c >= uint8_ && c <= uint64_:
		return r.number(1<<(c-uint8_), f), false, true
	case c >= int8_ && c <= int64_:
		size := 1 << (c - int8_)
		shift := 64 - 8*size
		signed := int64(r.number(size, f)<<shift) >> shift
		return uint64(signed), signed < 0, true
	}
	return 0, false, false
}

func inRange(k kind, n uint64, below bool) bool {
	switch k {
	case kindUint32:
		return !below && n <= math.MaxUint32
	case kindUint64:
		return !below
	case kindInt32:
		return int64(n) >= math.MinInt32 && int64(n) <= math.MaxInt32 && below == (int64(n) < 0)
	}
	return below == (int64(n) < 0)
}

// skip passes over any value, however deep, without recursion: left counts the values that must still come. None is
// shorter than a byte, which bounds it.
func (r *reader) skip() {
	for left := uint64(1); left > 0 && r.fail == nil; {
		c := r.peek(nil)
		if r.fail != nil {
			return
		}
		left += r.skipOne(c) - 1
		if r.fail == nil && left > uint64(r.end-r.i) {
			r.short(nil)
		}
	}
}

// skipOne passes over a value, or the header of a container, and returns how many values belong into it.
func (r *reader) skipOne(c byte) (inside uint64) {
	switch {
	case c < fixmap, c >= negative, c == null, c == no, c == yes:
		r.i++
	case c == never:
		r.failWith(proto.ErrSyntax, nil)
	case c < fixarray:
		r.i++
		return 2 * uint64(c&0x0f)
	case c < fixstr:
		r.i++
		return uint64(c & 0x0f)
	case c == map16, c == map32:
		return 2 * r.number(2<<(c-map16), nil)
	case c == array16, c == array32:
		return r.number(2<<(c-array16), nil)
	default:
		r.advance(c)
	}
	return 0
}

// advance passes over a string, bin, extension or number beginning with c.
func (r *reader) advance(c byte) {
	n := uint64(0) // bytes behind the first one
	switch {
	case c < null:
		n = uint64(c & 0x1f)
	case c >= bin8 && c <= bin32:
		n = r.sized(1 << (c - bin8))
	case c >= ext8 && c <= ext32:
		n = r.sized(1<<(c-ext8)) + 1 // the type of the extension
	case c >= str8 && c <= str32:
		n = r.sized(1 << (c - str8))
	case c == float32_ || c == float64_:
		n = 4 << (c - float32_)
	case c >= uint8_ && c <= uint64_:
		n = 1 << (c - uint8_)
	case c >= int8_ && c <= int64_:
		n = 1 << (c - int8_)
	case c >= fixext1 && c <= fixext16:
		n = 1<<(c-fixext1) + 1
	}
	if r.fail == nil && r.has(n, nil) {
		r.i += 1 + int(n)
	}
}

// sized returns the length that stands in size bytes behind the first one, and these bytes with it.
func (r *reader) sized(size int) uint64 {
	from := r.i
	n := r.number(size, nil)
	if r.fail == nil {
		r.i = from
	}
	return n + uint64(size)
}
