package msgpack

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	pb "google.golang.org/protobuf/proto"

	"shoal/codec/proto"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// examples are the bytes of README.md.
var examples = []struct{ name, json, packed string }{
	{"connect", `{"id":1,"connect":{}}`, "82 a2 6964 01 a7 636f6e6e656374 80"},
	{"publish", `{"id":2,"publish":{"channel":"news","data":{"x":1}}}`,
		"82 a2 6964 02 a7 7075626c697368 82 a7 6368616e6e656c a4 6e657773 a4 64617461 c4 07 7b2278223a317d"},
	{"push", `{"push":{"channel":"news","pub":{"data":{"x":1},"offset":4}}}`,
		"81 a4 70757368 82 a7 6368616e6e656c a4 6e657773 a3 707562 82 a4 64617461 c4 07 7b2278223a317d a6 6f6666736574 04"},
	{"error", `{"id":3,"error":{"code":103,"message":"permission denied"}}`,
		"82 a2 6964 03 a5 6572726f72 82 a4 636f6465 67 a7 6d657373616765 b1 7065726d697373696f6e2064656e696564"},
	{"ping and pong", `{}`, "80"},
}

func TestExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range examples {
		t.Run(c.name, func(t *testing.T) {
			packed := unhex(t, c.packed)
			if !strings.Contains(string(readme), c.packed) || !strings.Contains(string(readme), c.json) {
				t.Error("README.md does not have it")
			}
			if strings.Contains(c.json, `"connect"`) || strings.Contains(c.json, `"publish"`) {
				example(t, up, c.json, packed)
			} else {
				example(t, down, c.json, packed)
			}
		})
	}
}

func example[M pb.Message](t *testing.T, d direction[M], json string, packed []byte) {
	t.Helper()
	m := fromJSON(t, json)
	frame, err := d.encode(nil, m.(M))
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.pack(nil, frame)
	if err != nil || string(got) != string(packed) {
		t.Errorf("packed %x, %v\nwant   %x", got, err, packed)
	}
	back, err := d.unpack(nil, packed, proto.Limits{})
	if err != nil || string(back) != string(frame) {
		t.Errorf("unpacked %x, %v\nwant     %x", back, err, frame)
	}
}

func fromJSON(t *testing.T, json string) pb.Message {
	t.Helper()
	var d proto.Decoder
	var r proto.ReplyDecoder
	d.Reset([]byte(json), proto.JSON, proto.Limits{})
	r.Reset([]byte(json), proto.JSON, proto.Limits{})
	cmd, reply := new(proto.Command), new(proto.Reply)
	_, err1 := d.Next(cmd)
	_, err2 := r.Next(reply)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if cmd.Connect != nil || cmd.Publish != nil {
		return cmd
	}
	return reply
}

// fix is a short MessagePack string, m1 a map of one entry.
func m1(key, value string) string { return "\x81" + fix(key) + value }
func fix(s string) string         { return string([]byte{0xa0 | byte(len(s))}) + s }

func filters(depth int) string {
	return strings.Repeat(m1("nodes", "\x91"), depth) + "\x80"
}

// badFrames are refused by name; the limits are 200 bytes a message, 8 deep, 10 parts.
var badFrames = []struct {
	name, frame string
	want        proto.Failure
	field       string
	offset      int
}{
	{"empty", "", proto.ErrEmptyFrame, "", 0},
	{"nil", "\xc0", proto.ErrSyntax, "", 0},
	{"an array", "\x91\x80", proto.ErrSyntax, "", 0},
	{"the byte that is never used", "\xc1", proto.ErrSyntax, "", 0},
	{"text", "{\"id\":1}", proto.ErrSyntax, "", 0},
	{"Protobuf", "\x04\x08\x01\x22\x00", proto.ErrSyntax, "", 0},
	{"map without entry", "\x81", proto.ErrTruncated, "", 0},
	{"map without value", "\x81" + fix("id"), proto.ErrTruncated, "Command.id", 4},
	{"map of 4 billion", "\xdf\xff\xff\xff\xff", proto.ErrTruncated, "", 0},
	{"map header cut", "\xde\x00", proto.ErrTruncated, "", 0},
	{"key cut", "\x81\xa9id", proto.ErrTruncated, "", 1},
	{"key of 4 billion bytes", "\x81\xdb\xff\xff\xff\xffid", proto.ErrTruncated, "", 1},
	{"number as key", "\x81\x01\x01", proto.ErrSyntax, "", 1},
	{"bin as key", "\x81\xc4\x02id\x01", proto.ErrSyntax, "", 1},
	{"key twice", "\x82" + fix("id") + "\x01" + fix("id") + "\x02", proto.ErrSyntax, "Command.id", 5},
	{"key not UTF-8", "\x81\xa1\xff\x01", proto.ErrText, "", 1},
	{"negative id", m1("id", "\xff"), proto.ErrField, "Command.id", 4},
	{"id over 32 bits", m1("id", "\xcf\x00\x00\x00\x01\x00\x00\x00\x00"), proto.ErrField, "Command.id", 4},
	{"id as float", m1("id", "\xca\x3f\x80\x00\x00"), proto.ErrField, "Command.id", 4},
	{"id as text", m1("id", fix("1")), proto.ErrField, "Command.id", 4},
	{"id as extension", m1("id", "\xd4\x01\x01"), proto.ErrField, "Command.id", 4},
	{"never as id", m1("id", "\xc1"), proto.ErrSyntax, "Command.id", 4},
	{"id cut", m1("id", "\xce\x00\x00"), proto.ErrTruncated, "Command.id", 4},
	{"connect as array", m1("connect", "\x90"), proto.ErrField, "Command.connect", 9},
	{"bin as channel", m1("publish", m1("channel", "\xc4\x01a")), proto.ErrField, "PublishRequest.channel", 18},
	{"channel not UTF-8", m1("publish", m1("channel", "\xa1\xff")), proto.ErrText, "PublishRequest.channel", 18},
	{"channel cut", m1("publish", m1("channel", "\xd9\x05abc")), proto.ErrTruncated, "PublishRequest.channel", 18},
	{"map as data", m1("publish", m1("data", "\x80")), proto.ErrField, "PublishRequest.data", 15},
	{"data of 4 billion bytes", m1("publish", m1("data", "\xc6\xff\xff\xff\xffabc")), proto.ErrTruncated, "PublishRequest.data", 15},
	{"1 for true", m1("subscribe", m1("recover", "\x01")), proto.ErrField, "SubscribeRequest.recover", 20},
	{"limit over 32 bits", m1("history", m1("limit", "\xce\x80\x00\x00\x00")), proto.ErrField, "HistoryRequest.limit", 16},
	{"limit under 32 bits", m1("history", m1("limit", "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff")), proto.ErrField, "HistoryRequest.limit", 16},
	{"flag over 63 bits", m1("subscribe", m1("flag", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00")), proto.ErrField, "SubscribeRequest.flag", 17},
	{"vals as text", m1("subscribe", m1("tf", m1("vals", fix("a")))), proto.ErrField, "FilterNode.vals", 21},
	{"nil in a list", m1("subscribe", m1("tf", m1("vals", "\x91\xc0"))), proto.ErrField, "FilterNode.vals", 22},
	{"nil in a map", m1("connect", m1("headers", m1("a", "\xc0"))), proto.ErrField, "ConnectRequest.headers", 21},
	{"array of 4 billion", m1("subscribe", m1("tf", m1("vals", "\xdd\xff\xff\xff\xff"))), proto.ErrTruncated, "FilterNode.vals", 21},
	{"too deep", m1("subscribe", m1("tf", filters(6))), proto.ErrDepth, "FilterNode.nodes", 63},
	{"too many values", m1("subscribe", m1("tf", m1("vals", "\x9b"+strings.Repeat("\xa0", 11)))), proto.ErrTooManyParts, "FilterNode.vals", 32},
	{"too many headers", m1("connect", m1("headers", "\x8b"+strings.Repeat("\xa0\xa0", 11))), proto.ErrTooManyParts, "ConnectRequest.headers", 39},
	{"too large", m1("publish", m1("data", "\xda\x00\xf0"+strings.Repeat("x", 240))), proto.ErrMessageTooLarge, "PublishRequest.data", 15},
	{"too large, unknown", m1("x", "\xdc\x01\x00"+strings.Repeat("\x00", 256)), proto.ErrMessageTooLarge, "", 6},
	{"unknown array of 4 billion", m1("x", "\xdd\xff\xff\xff\xff"), proto.ErrTruncated, "", 8},
	{"unknown value cut", m1("x", "\x92\xcb\x00"), proto.ErrTruncated, "", 4},
	{"never inside of an unknown value", m1("x", "\x92\x01\xc1"), proto.ErrSyntax, "", 5},
	{"second message bad", "\x80\x81\x01", proto.ErrTruncated, "", 1},
}

func TestBadFramesAreRefusedByName(t *testing.T) {
	for _, c := range badFrames {
		t.Run(c.name, func(t *testing.T) {
			got, err := AppendCommands([]byte("kept"), []byte(c.frame), proto.Limits{MessageBytesMax: 200, DepthMax: 8, PartsMax: 10})
			var e *Error
			if string(got) != "kept" || !errors.Is(err, c.want) || !errors.As(err, &e) {
				t.Fatalf("got %q, %v, want %v", got, err, c.want)
			}
			if e.Field != c.field || e.Offset != c.offset {
				t.Errorf("got %s at %d, want %s at %d", e.Field, e.Offset, c.field, c.offset)
			}
			t.Log(err)
		})
	}
}

func TestWhatIsAcceptedBesides(t *testing.T) {
	for _, c := range []struct{ name, frame, json string }{
		{"nil for no field", m1("publish", "\x82"+fix("channel")+"\xc0"+fix("data")+"\xc0"), `{"publish":{}}`},
		{"nil for no request", m1("connect", "\xc0"), `{}`},
		{"str for bin", m1("publish", m1("data", fix("1"))), `{"publish":{"data":1}}`},
		{"long forms", "\xdf\x00\x00\x00\x01\xdb\x00\x00\x00\x02id\xd3\x00\x00\x00\x00\x00\x00\x00\x07", `{"id":7}`},
		{"signed forms of a natural number", m1("id", "\xd1\x00\x07"), `{"id":7}`},
		{"negative numbers", m1("history", m1("limit", "\xd0\xff")), `{"history":{"limit":-1}}`},
		{"unknown keys", "\x82" + fix("x") + "\xc7\x02\x05ab" + fix("id") + "\x07", `{"id":7}`},
		{"two messages", "\x80" + m1("id", "\x07"), "{}\n" + `{"id":7}`},
		{"zero values", m1("subscribe", "\x82"+fix("offset")+"\x00"+fix("recover")+"\xc2"), `{"subscribe":{}}`},
		{"empty list and map", m1("connect", m1("headers", "\x80")), `{"connect":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame, err := AppendCommands(nil, []byte(c.frame), proto.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var d proto.Decoder
			d.Reset(frame, proto.MessagePack, proto.Limits{})
			var got []byte
			for n := 0; ; n++ {
				var cmd proto.Command
				ok, err := d.Next(&cmd)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if n > 0 {
					got = proto.AppendSep(got, proto.JSON)
				}
				got, _ = proto.AppendCommand(got, proto.JSON, &cmd)
			}
			if string(got) != c.json {
				t.Errorf("got %s, want %s", got, c.json)
			}
		})
	}
}

func TestBadProtobufFramesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		want        proto.Failure
	}{
		{"empty", "", proto.ErrEmptyFrame},
		{"no length", "80", proto.ErrSyntax},
		{"length over the end", "05 0801", proto.ErrTruncated},
		{"inner length over the message", "02 2205 0000000000", proto.ErrTruncated},
		{"field twice", "04 0801 0802", proto.ErrSyntax},
		{"fields out of order", "04 2200 0801", proto.ErrSyntax},
		{"list in two pieces", "0c 5a0a 0a00 1200 0a00 12020a00", proto.ErrSyntax},
		{"another wire type", "05 0d01000000", proto.ErrSyntax},
		{"text not UTF-8", "05 1203 1201ff", proto.ErrText},
		{"group", "01 fb", proto.ErrSyntax},
		{"fixed cut", "03 f10f 00", proto.ErrTruncated},
	} {
		got, err := AppendReplies([]byte("kept"), unhex(t, c.frame))
		if string(got) != "kept" || !errors.Is(err, c.want) {
			t.Errorf("%s: got %q, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// TestMessagesWithManyFields: beyond 15 fields the header of a map has three bytes. No message has as many now.
func TestMessagesWithManyFields(t *testing.T) {
	wide := message{fields: make([]field, 16), byNumber: make([]uint8, 17), byName: map[string]uint8{}}
	for i := range wide.fields {
		name := string(rune('a' + i))
		wide.fields[i] = field{key: []byte(fix(name)), number: uint32(i + 1), index: uint8(i), kind: kindUint64}
		wide.byNumber[i+1], wide.byName[name] = uint8(i+1), uint8(i+1)
	}
	packed, err := pack(nil, unhex(t, "05 0801 800105"), &wide)
	if err != nil || string(packed) != "\xde\x00\x02\xa1a\x01\xa1p\x05" {
		t.Fatalf("%x, %v", packed, err)
	}
	back, err := unpack(nil, packed, &wide, proto.Limits{PartsMax: 1})
	if err != nil || string(back) != string(unhex(t, "05 0801 800105")) {
		t.Errorf("%x, %v", back, err)
	}
}

var hot = []struct{ name, json string }{
	{"publish", `{"id":2,"publish":{"channel":"chat:room1","data":{"input":"` + strings.Repeat("hello ", 20) + `"}}}`},
	{"subscribe", `{"id":3,"subscribe":{"channel":"chat:room1","recover":true,"epoch":"abcdefgh","offset":1234567,"flag":1}}`},
	{"pong", `{}`},
}

func packedCommand(t testing.TB, json string) (wire, packed []byte) {
	t.Helper()
	var d proto.Decoder
	var cmd proto.Command
	d.Reset([]byte(json), proto.JSON, proto.Limits{})
	if _, err := d.Next(&cmd); err != nil {
		t.Fatal(err)
	}
	wire, _ = proto.AppendCommand(nil, proto.Protobuf, &cmd)
	packed, err := PackCommands(nil, wire)
	if err != nil {
		t.Fatal(err)
	}
	return wire, packed
}

// recovered is a reply with 100 publications, and a push of one of them.
func recovered(t testing.TB) (reply, push []byte) {
	t.Helper()
	m := &proto.Reply{Id: 7, Subscribe: &proto.SubscribeResult{Recoverable: true, Epoch: "abcdefgh", Offset: 1_000_000, Recovered: true}}
	for i := range 100 {
		m.Subscribe.Publications = append(m.Subscribe.Publications,
			&proto.Publication{Data: []byte(`"` + strings.Repeat("x", 126) + `"`), Offset: uint64(1_000_001 + i)})
	}
	reply, _ = proto.AppendReply(nil, proto.Protobuf, m)
	push, _ = proto.AppendPublicationPush(nil, proto.Protobuf, "chat:room1", m.Subscribe.Publications[0])
	return reply, push
}

func TestTranscodingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	for _, c := range hot {
		_, packed := packedCommand(t, c.json)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := AppendCommands(buf, packed, proto.Limits{MessageBytesMax: 65536}); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	reply, push := recovered(t)
	for _, frame := range [][]byte{reply, push, {0}} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := AppendReplies(buf, frame); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%d bytes of replies: %v allocations", len(frame), n)
		}
	}
}

func BenchmarkAppendCommands(b *testing.B) {
	buf := make([]byte, 0, 1<<16)
	for _, c := range hot {
		b.Run(c.name, func(b *testing.B) {
			_, packed := packedCommand(b, c.json)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendCommands(buf, packed, proto.Limits{MessageBytesMax: 65536}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/command")
		})
	}
}

func BenchmarkAppendReplies(b *testing.B) {
	buf := make([]byte, 0, 1<<16)
	reply, push := recovered(b)
	for _, c := range []struct {
		name  string
		frame []byte
	}{{"push", push}, {"recovery-100", reply}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendReplies(buf, c.frame); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/frame")
		})
	}
}
