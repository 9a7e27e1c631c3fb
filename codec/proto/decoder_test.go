package proto

import (
	"errors"
	"strings"
	"testing"
)

// badFrames: what a decoder must refuse, and how.
var badFrames = []struct {
	name  string
	enc   Encoding
	frame string
	want  Failure
}{
	{"empty", JSON, "", ErrEmptyFrame},
	{"only a line feed", JSON, "\n", ErrSyntax},
	{"two trailing line feeds", JSON, "{}\n\n", ErrSyntax},
	{"empty line between", JSON, "{}\n\n{}", ErrSyntax},
	{"two objects on a line", JSON, "{}{}", ErrSyntax},
	{"text behind", JSON, `{"id":1}x`, ErrSyntax},
	{"line feed inside an object", JSON, "{\"id\":\n1}", ErrSyntax},
	{"not an object", JSON, `[]`, ErrField},
	{"a string", JSON, `"connect"`, ErrField},
	{"null", JSON, `null`, ErrField},
	{"cut", JSON, `{"id":1`, ErrSyntax},
	{"cut in a key", JSON, `{"id`, ErrSyntax},
	{"cut behind a comma", JSON, `{"id":1,`, ErrSyntax},
	{"trailing comma", JSON, `{"id":1,}`, ErrSyntax},
	{"no colon", JSON, `{"id" 1}`, ErrSyntax},
	{"bare key", JSON, `{id:1}`, ErrSyntax},
	{"single quotes", JSON, `{'id':1}`, ErrSyntax},
	{"comment", JSON, `{/**/}`, ErrSyntax},
	{"byte order mark", JSON, "\ufeff{}", ErrSyntax},
	{"id is negative", JSON, `{"id":-1}`, ErrField},
	{"id has a fraction", JSON, `{"id":1.0}`, ErrField},
	{"id has an exponent", JSON, `{"id":1e2}`, ErrField},
	{"id is too big", JSON, `{"id":4294967296}`, ErrField},
	{"id is a string", JSON, `{"id":"1"}`, ErrField},
	{"id has a leading zero", JSON, `{"id":01}`, ErrSyntax},
	{"offset is too big", JSON, `{"subscribe":{"offset":18446744073709551616}}`, ErrField},
	{"flag is too small", JSON, `{"subscribe":{"flag":-9223372036854775809}}`, ErrField},
	{"flag is a bare sign", JSON, `{"subscribe":{"flag":-}}`, ErrSyntax},
	{"channel is a number", JSON, `{"subscribe":{"channel":1}}`, ErrField},
	{"recover is a number", JSON, `{"subscribe":{"recover":1}}`, ErrField},
	{"recover is misspelt", JSON, `{"subscribe":{"recover":tru}}`, ErrSyntax},
	{"a request is a list", JSON, `{"publish":[]}`, ErrField},
	{"headers is a list", JSON, `{"connect":{"headers":[]}}`, ErrField},
	{"vals is an object", JSON, `{"subscribe":{"tf":{"vals":{}}}}`, ErrField},
	{"vals is cut", JSON, `{"subscribe":{"tf":{"vals":["a"`, ErrSyntax},
	{"channel is not UTF-8", JSON, "{\"publish\":{\"channel\":\"\xff\"}}", ErrText},
	{"data is not UTF-8", JSON, "{\"publish\":{\"data\":\"\xc0\xaf\"}}", ErrText},
	{"control character", JSON, "{\"publish\":{\"channel\":\"\x1f\"}}", ErrSyntax},
	{"bad escape", JSON, `{"publish":{"channel":"\x41"}}`, ErrSyntax},
	{"bad unicode escape", JSON, `{"publish":{"channel":"\u00g0"}}`, ErrSyntax},
	{"data is no JSON", JSON, `{"publish":{"data":{"a":}}}`, ErrSyntax},
	{"an unknown field is no JSON", JSON, `{"unknown":nul}`, ErrSyntax},
	{"data is 10,000 deep", JSON, `{"publish":{"data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}}`, ErrDepth},
	{"data is 10,000 objects deep and cut", JSON, `{"publish":{"data":` + strings.Repeat(`{"a":`, 10_000), ErrDepth},
	{"filter is 1,000 deep", JSON, `{"subscribe":{"tf":` + strings.Repeat(`{"nodes":[`, 1000), ErrDepth},
	{"too many headers", JSON, `{"connect":{"headers":{"a":"b"` + strings.Repeat(`,"a":"b"`, 4096) + `}}}`, ErrTooManyParts},
	{"too many filters", JSON, `{"subscribe":{"tf":{}` + strings.Repeat(`,"tf":{}`, 4096) + `}}`, ErrTooManyParts}, // one counts, each allocates
	{"too many positions", JSON, `{"history":{"since":{}` + strings.Repeat(`,"since":{}`, 4096) + `}}`, ErrTooManyParts},
	{"too many filter nodes", JSON, `{"subscribe":{"tf":{"nodes":[{}` + strings.Repeat(`,{}`, 4096) + `]}}}`, ErrTooManyParts},
	{"message over the limit", JSON, `{"unknown":"` + strings.Repeat("x", limit) + `"}`, ErrMessageTooLarge},

	{"empty", Protobuf, "", ErrEmptyFrame},
	{"length is cut", Protobuf, "\x80", ErrTruncated},
	{"length of eleven bytes", Protobuf, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", ErrSyntax},
	{"length 2^64", Protobuf, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", ErrSyntax},
	{"length 2^63", Protobuf, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", ErrMessageTooLarge},
	{"length 2^63-1", Protobuf, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", ErrMessageTooLarge},
	{"length over the limit", Protobuf, "\x81\x80\x04", ErrMessageTooLarge},
	{"length behind the end", Protobuf, "\x03\x08\x01", ErrTruncated},
	{"second length behind the end", Protobuf, "\x02\x08\x01\x01", ErrTruncated},
	{"tag is cut", Protobuf, "\x01\x88", ErrSyntax},
	{"value is cut", Protobuf, "\x01\x08", ErrSyntax},
	{"field 0", Protobuf, "\x02\x00\x01", ErrSyntax},
	{"field number over 2^29", Protobuf, "\x07\x80\x80\x80\x80\x80\x01\x01", ErrSyntax},
	{"wire type 6", Protobuf, "\x02\x0e\x01", ErrSyntax},
	{"wire type 7", Protobuf, "\x02\x0f\x01", ErrSyntax},
	{"group", Protobuf, "\x04\xa3\x06\xa4\x06", ErrSyntax},
	{"end without group", Protobuf, "\x01\x0c", ErrSyntax},
	{"fixed64 is cut", Protobuf, "\x03\x11\x00\x00", ErrTruncated},
	{"fixed32 is cut", Protobuf, "\x03\x15\x00\x00", ErrTruncated},
	{"request behind the end", Protobuf, "\x02\x3a\x05", ErrTruncated},
	{"request of 2^64-1 bytes", Protobuf, "\x0b\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", ErrTruncated},
	{"channel behind its request", Protobuf, "\x06\x3a\x02\x0a\x02aa", ErrTruncated},
	{"channel of 2^63 bytes", Protobuf, "\x0d\x3a\x0b\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", ErrTruncated},
	{"channel is not UTF-8", Protobuf, "\x05\x3a\x03\x0a\x01\xff", ErrText},
	{"filter is 100 deep", Protobuf, deepFilter(100), ErrDepth},
	{"too many filter nodes", Protobuf, manyNodes(5000), ErrTooManyParts},
}

const limit = 65536

// nested wraps p in a field of the given tag.
func nested(tag byte, p string) string {
	return string(append(appendUvarint([]byte{tag}, len(p)), p...))
}

func appendUvarint(b []byte, n int) []byte {
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func deepFilter(depth int) string {
	p := ""
	for range depth {
		p = nested(6<<3|2, p)
	}
	return inSubscribe(p)
}

func manyNodes(n int) string { return inSubscribe(strings.Repeat(nested(6<<3|2, ""), n)) }

func inSubscribe(filter string) string { return framed(nested(5<<3|2, nested(13<<3|2, filter))) }

func framed(p string) string { return string(append(appendUvarint(nil, len(p)), p...)) }

// drain counts the commands of a frame.
func drain(d *Decoder) (n int, err error) {
	for {
		var cmd Command
		ok, err := d.Next(&cmd)
		if !ok {
			return n, err
		}
		n++
	}
}

func TestBadFramesAreRefusedByName(t *testing.T) {
	var d Decoder
	for _, c := range badFrames {
		d.Reset([]byte(c.frame), c.enc, Limits{MessageBytesMax: limit})
		if _, err := drain(&d); err != error(c.want) {
			t.Errorf("%s %s: got %v, want %s", c.enc, c.name, err, c.want.Label())
		}
	}
}

func TestFramesHoldAnyNumberOfCommands(t *testing.T) {
	for _, c := range []struct {
		name  string
		enc   Encoding
		frame string
		want  int
	}{
		{"one", JSON, `{"id":1}`, 1},
		{"one and a line feed", JSON, "{\"id\":1}\n", 1},
		{"carriage returns are white space", JSON, "{\"id\":1}\r\n{}\r\n", 2},
		{"three", JSON, "{}\n{\"id\":2}\n{}", 3},
		{"one", Protobuf, "\x02\x08\x01", 1},
		{"pongs", Protobuf, "\x00\x00\x00", 3},
		{"length not minimal", Protobuf, "\x82\x00\x08\x01", 1},
		{"unknown fields of every wire type", Protobuf, framed("\x08\x01\xa0\x06\x01\xa1\x0612345678\xa2\x06\x02ab\xa5\x061234"), 1},
		{"id of another wire type is unknown", Protobuf, "\x03\x0a\x01a", 1},
	} {
		var d Decoder
		d.Reset([]byte(c.frame), c.enc, Limits{MessageBytesMax: limit})
		if n, err := drain(&d); n != c.want || err != nil {
			t.Errorf("%s %s: got %d commands, %v; want %d", c.enc, c.name, n, err, c.want)
		}
	}
}

func TestMessageAtTheLimitPasses(t *testing.T) {
	for _, c := range []struct {
		enc   Encoding
		frame string
		size  int
	}{
		{JSON, `{"id":1}` + "\n" + `{"id":12}` + "\n", 9},
		{Protobuf, "\x02\x08\x01\x03\x08\x80\x01", 3},
	} {
		var d Decoder
		d.Reset([]byte(c.frame), c.enc, Limits{MessageBytesMax: c.size})
		if n, err := drain(&d); n != 2 || err != nil {
			t.Errorf("%s: got %d, %v", c.enc, n, err)
		}
		d.Reset([]byte(c.frame), c.enc, Limits{MessageBytesMax: c.size - 1})
		if n, err := drain(&d); n != 1 || !errors.Is(err, ErrMessageTooLarge) {
			t.Errorf("%s one byte less: got %d, %v", c.enc, n, err)
		}
	}
}

func TestCommandsBeforeABadOneAreDelivered(t *testing.T) {
	var d Decoder
	d.Reset([]byte("{\"id\":1}\n{\"id\":2}\n{bad}\n{\"id\":4}"), JSON, Limits{})
	var cmd Command
	for id := uint32(1); id <= 2; id++ {
		if ok, err := d.Next(&cmd); !ok || err != nil || cmd.Id != id {
			t.Fatalf("command %d: %v, %v, id %d", id, ok, err, cmd.Id)
		}
	}
	for range 2 {
		if ok, err := d.Next(&cmd); ok || !errors.Is(err, ErrSyntax) || cmd.Id != 0 || d.Offset() != 18 {
			t.Fatalf("bad command: %v, %v, id %d, offset %d", ok, err, cmd.Id, d.Offset())
		}
	}
}

func TestOfEqualKeysTheLastCounts(t *testing.T) {
	cmd := oneCommand(t, []byte(`{"id":1,"publish":{"channel":"a","data":1},"id":2,"publish":{"channel":"b"}}`), JSON)
	if cmd.Id != 2 || cmd.Publish.Channel != "b" || cmd.Publish.Data != nil {
		t.Errorf("got %v", cmd)
	}
	cmd = oneCommand(t, []byte(`{"publish":{"channel":"a"},"publish":null,"send":null}`), JSON)
	if cmd.Method() != MethodNone {
		t.Errorf("got %v", cmd)
	}
}

func TestTheLowestRequestCounts(t *testing.T) {
	cmd := oneCommand(t, []byte(`{"rpc":{},"publish":{},"subscribe":{}}`), JSON)
	if got := cmd.Method(); got != MethodSubscribe {
		t.Errorf("got %s", got)
	}
}

func TestDecodedValuesAliasTheFrame(t *testing.T) {
	frame := []byte(`{"publish":{"channel":"abc","data":[1]}}`)
	var d Decoder
	var cmd Command
	d.Reset(frame, JSON, Limits{})
	if ok, err := d.Next(&cmd); !ok || err != nil {
		t.Fatal(err)
	}
	frame[23], frame[36] = 'x', '7'
	if cmd.Publish.Channel != "xbc" || string(cmd.Publish.Data) != "[7]" {
		t.Errorf("got %q %q", cmd.Publish.Channel, cmd.Publish.Data)
	}
	if cap(cmd.Publish.Data) != len(cmd.Publish.Data) {
		t.Error("an append to data would write into the frame")
	}
}

func TestFailuresAndMethodsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for f := ErrEmptyFrame; f <= ErrNotJSON; f++ {
		if f.Label() == "none" || f.Error() == "no failure" || seen[f.Label()] {
			t.Errorf("failure %d has no name of its own: %s", f, f.Label())
		}
		seen[f.Label()] = true
	}
	if f := Failure(0); f.Label() != "none" || f.Error() != "no failure" {
		t.Error("the zero Failure is named")
	}
	for m := MethodNone; m <= MethodSubRefresh; m++ {
		if m.String() == "unknown" {
			t.Errorf("method %d has no name", m)
		}
	}
	if Method(99).String() != "unknown" || JSON.String() != "json" || Protobuf.String() != "protobuf" {
		t.Error("names")
	}
}

// TestMethodsAreTheFieldsOfACommand: every request of the schema has its method, named as the field is.
func TestMethodsAreTheFieldsOfACommand(t *testing.T) {
	fields := new(Command).ProtoReflect().Descriptor().Fields()
	want := MethodNone
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil {
			continue
		}
		want++
		cmd := new(Command)
		cmd.ProtoReflect().Mutable(fd)
		if got := cmd.Method(); got != want || got.String() != string(fd.Name()) {
			t.Errorf("%s: got %d %s", fd.Name(), got, got)
		}
	}
	if want != MethodSubRefresh || new(Command).Method() != MethodNone {
		t.Errorf("the last method is %s", want)
	}
}
