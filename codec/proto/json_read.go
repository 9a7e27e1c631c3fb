package proto

import (
	"math"
	"unsafe"

	"shoal/codec/proto/jsontext"
)

// jsonReader walks one JSON object whose shape is known. Its readers are used like this:
//
//	for key, ok := r.open(); ok; key, ok = r.next() {
//		switch string(key) {
//		case "channel":
//			m.Channel = r.str()
//		default:
//			r.skip()
//		}
//	}
//
// The first failure sticks and ends every such loop. Unknown keys are skipped (but must be valid JSON), of equal
// keys the last one counts, null is the zero value. Keys are compared exactly.
type jsonReader struct {
	b        []byte
	i        int
	fail     Failure
	depth    int
	depthMax int
	parts    int
	partsMax int
	text     []byte // unescaped strings of this frame
	subs     lentSubs
}

func (r *jsonReader) reset(lim Limits) {
	r.depthMax, r.partsMax = lim.depthMax(), lim.partsMax()
	if r.text = r.text[:0]; cap(r.text) > textKeptMax {
		r.text = nil
	}
}

// textKeptMax is how many bytes of room for unescaped strings a reader keeps from frame to frame.
const textKeptMax = 64 << 10

func (r *jsonReader) start(message []byte) {
	r.b, r.i, r.fail, r.depth, r.parts = message, 0, 0, 0, 0
}

// end demands that only white space follows.
func (r *jsonReader) end() Failure {
	if r.fail == 0 && jsontext.SkipSpace(r.b, r.i) != len(r.b) {
		r.fail = ErrSyntax
	}
	return r.fail
}

func (r *jsonReader) failWith(f Failure) {
	if r.fail == 0 {
		r.fail = f
	}
	r.i = len(r.b)
}

// fault fails with what jsontext found.
func (r *jsonReader) fault(f jsontext.Fault) {
	switch f {
	case jsontext.Text:
		r.failWith(ErrText)
	case jsontext.Depth:
		r.failWith(ErrDepth)
	default:
		r.failWith(ErrSyntax)
	}
}

func isDigit(c byte) bool { return c-'0' < 10 }

// part counts one thing that allocates.
func (r *jsonReader) part() bool {
	if r.parts++; r.parts > r.partsMax {
		r.failWith(ErrTooManyParts)
	}
	return r.fail == 0
}

// peek returns the first byte of the next token, 0 at the end.
func (r *jsonReader) peek() byte {
	if r.i = jsontext.SkipSpace(r.b, r.i); r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

// expect takes the byte c.
func (r *jsonReader) expect(c byte) bool {
	if r.peek() != c || r.fail != 0 {
		r.failWith(ErrSyntax)
		return false
	}
	r.i++
	return true
}

// mistyped fails because the value here, if it is one at all, has another type than the field.
func (r *jsonReader) mistyped() {
	if _, f := jsontext.Value(r.b, jsontext.SkipSpace(r.b, r.i)); f != 0 {
		r.fault(f)
		return
	}
	r.failWith(ErrField)
}

// null takes a null if there is one.
func (r *jsonReader) null() bool {
	return r.peek() == 'n' && r.literal("null")
}

// open enters an object and returns its first key; false when it is empty (or no object).
func (r *jsonReader) open() (key []byte, ok bool) {
	if r.peek() != '{' {
		r.mistyped()
		return nil, false
	}
	r.i++
	if r.depth++; r.depth > r.depthMax {
		r.failWith(ErrDepth)
		return nil, false
	}
	if r.peek() == '}' {
		r.i++
		r.depth--
		return nil, false
	}
	return r.key()
}

// next goes on to the next key of the object; false behind its end.
func (r *jsonReader) next() (key []byte, ok bool) {
	switch r.peek() {
	case ',':
		r.i++
		return r.key()
	case '}':
		r.i++
		r.depth--
		return nil, false
	}
	r.failWith(ErrSyntax)
	return nil, false
}

func (r *jsonReader) key() ([]byte, bool) {
	if r.peek() != '"' {
		r.failWith(ErrSyntax)
		return nil, false
	}
	key := r.quoted()
	return key, r.expect(':')
}

// element is the loop of an array: for first := true; r.element(first); first = false { … }.
func (r *jsonReader) element(first bool) bool {
	if !first {
		if r.peek() == ',' {
			r.i++
			return true
		}
		r.expect(']')
		return false
	}
	if r.peek() != '[' {
		r.mistyped()
		return false
	}
	r.i++
	if r.peek() == ']' {
		r.i++
		return false
	}
	return r.fail == 0
}

// quoted takes the string at the cursor, which is on its opening quote. Without escapes the result aliases the message.
func (r *jsonReader) quoted() []byte {
	from := r.i + 1
	end, plain, f := jsontext.String(r.b, from)
	if f != 0 {
		r.fault(f)
		return nil
	}
	r.i = end
	content := r.b[from : end-1 : end-1]
	if plain {
		return content
	}
	at := len(r.text)
	r.text = jsontext.AppendUnescaped(r.text, content)
	return r.text[at:len(r.text):len(r.text)]
}

// text is p as a string without a copy: it lives and changes as p does.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// str takes a string. It aliases the message or the reader's text.
func (r *jsonReader) str() string {
	switch r.peek() {
	case '"':
		return text(r.quoted())
	case 'n':
		r.literal("null")
	default:
		r.mistyped()
	}
	return ""
}

// raw takes any value as it stands.
func (r *jsonReader) raw() []byte {
	from := jsontext.SkipSpace(r.b, r.i)
	end, f := jsontext.Value(r.b, from)
	if f != 0 {
		r.fault(f)
		return nil
	}
	r.i = end
	return r.b[from:end:end]
}

func (r *jsonReader) skip() { r.raw() }

func (r *jsonReader) boolean() bool {
	switch r.peek() {
	case 't':
		return r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.mistyped()
	}
	return false
}

func (r *jsonReader) literal(word string) bool {
	end, f := jsontext.Literal(r.b, r.i, word)
	if f != 0 {
		r.fault(f)
		return false
	}
	r.i = end
	return true
}

// natural takes an integer 0 ≤ n ≤ max, written without fraction and exponent.
func (r *jsonReader) natural(max uint64) uint64 {
	if c := r.peek(); !isDigit(c) {
		if !r.null() {
			r.mistyped()
		}
		return 0
	}
	from := r.i
	end, f := jsontext.Number(r.b, from)
	if f != 0 {
		r.fault(f)
		return 0
	}
	n := uint64(0)
	for _, c := range r.b[from:end] {
		d := uint64(c - '0')
		if d > 9 || n > (max-d)/10 {
			r.failWith(ErrField)
			return 0
		}
		n = n*10 + d
	}
	r.i = end
	return n
}

func (r *jsonReader) uint32() uint32 { return uint32(r.natural(math.MaxUint32)) }
func (r *jsonReader) uint64() uint64 { return r.natural(math.MaxUint64) }

// integer takes an integer min ≤ n ≤ max.
func (r *jsonReader) integer(max int64) int64 {
	if r.peek() != '-' {
		return int64(r.natural(uint64(max)))
	}
	if r.i+1 >= len(r.b) || !isDigit(r.b[r.i+1]) {
		r.failWith(ErrSyntax)
		return 0
	}
	r.i++
	return -int64(r.natural(uint64(max) + 1)) // -MinInt64 wraps to itself
}

func (r *jsonReader) int32() int32 { return int32(r.integer(math.MaxInt32)) }
func (r *jsonReader) int64() int64 { return r.integer(math.MaxInt64) }

// strings takes an array of strings.
func (r *jsonReader) strings() []string {
	if r.null() {
		return nil
	}
	var list []string
	for first := true; r.element(first) && r.part(); first = false {
		list = append(list, r.str())
	}
	return list
}

// stringMap takes an object of strings.
func (r *jsonReader) stringMap() map[string]string {
	if r.null() {
		return nil
	}
	var m map[string]string
	for key, ok := r.open(); ok && r.part(); key, ok = r.next() {
		if m == nil {
			m = make(map[string]string)
		}
		name := text(key)
		m[name] = r.str()
	}
	return m
}
