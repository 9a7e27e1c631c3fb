package proto

import (
	"fmt"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	pb "google.golang.org/protobuf/proto"
)

// hot are the commands of which a server sees thousands a second.
var hot = []struct {
	name string
	json string
}{
	{"pong", `{}`},
	{"publish", `{"id":7,"publish":{"channel":"chat:room1","data":{"input":"` + strings.Repeat("hello ", 20) + `"}}}`},
	{"publish-escaped", `{"id":7,"publish":{"channel":"chat\u003aroom\/1","data":{"input":"hello"}}}`},
	{"subscribe", `{"id":2,"subscribe":{"channel":"news","recover":true,"epoch":"abcdefgh","offset":42,"flag":1}}`},
	{"unsubscribe", `{"id":3,"unsubscribe":{"channel":"news"}}`},
	{"send", `{"send":{"data":{"a":1}}}`},
	{"rpc", `{"id":4,"rpc":{"data":{"a":1},"method":"sum"}}`},
	{"connect", `{"id":1,"connect":{"token":"eyJhbGciOiJIUzI1NiJ9.e30.c2ln","name":"js","version":"5.7.1"}}`},
	{"unknown", `{"id":5,"publish":{"channel":"news","data":{},"type":1,"key":"k","x":[1,{"y":null}]}}`},
}

func inBoth(tb testing.TB, text string, each func(enc Encoding, frame []byte)) {
	each(JSON, []byte(text))
	var d Decoder
	var cmd Command
	d.Reset([]byte(text), JSON, Limits{})
	if ok, err := d.Next(&cmd); !ok || err != nil {
		tb.Fatal(err)
	}
	frame, err := AppendCommand(nil, Protobuf, &cmd)
	if err != nil {
		tb.Fatal(err)
	}
	each(Protobuf, frame)
}

func TestHotCommandsAreDecodedWithoutAllocation(t *testing.T) {
	var d Decoder
	var cmd Command
	for _, c := range hot {
		inBoth(t, c.json, func(enc Encoding, frame []byte) {
			n := testing.AllocsPerRun(100, func() {
				d.Reset(frame, enc, Limits{MessageBytesMax: 65536})
				for ok := true; ok; {
					var err error
					if ok, err = d.Next(&cmd); err != nil {
						t.Fatal(err)
					}
				}
			})
			if n != 0 {
				t.Errorf("%s %s: %v allocations", c.name, enc, n)
			}
		})
	}
}

func TestRefusalsCostNoAllocation(t *testing.T) {
	var d Decoder
	for _, c := range badFrames {
		if c.want == ErrTooManyParts || strings.Contains(c.name, "filter") || strings.Contains(c.name, "vals") || strings.Contains(c.name, "headers") {
			continue // these allocate what they hold until then
		}
		frame := []byte(c.frame)
		n := testing.AllocsPerRun(10, func() {
			var cmd Command
			d.Reset(frame, c.enc, Limits{MessageBytesMax: limit})
			for ok := true; ok; {
				ok, _ = d.Next(&cmd)
			}
		})
		if n > 1 { // cmd itself
			t.Errorf("%s %s: %v allocations", c.enc, c.name, n)
		}
	}
}

var pushes = []struct {
	name string
	pub  *Publication
}{
	{"plain", &Publication{Data: []byte(`{"input":"` + strings.Repeat("hello ", 20) + `"}`)}},
	{"history", &Publication{Data: []byte(`{"x":1}`), Offset: 1234567, Time: 1700000000000}},
	{"publisher", &Publication{Data: []byte(`[]`), Offset: 1, Info: &ClientInfo{User: "42", Client: "0f1b", ConnInfo: []byte(`{}`)}}},
	{"tags", &Publication{Data: []byte(`[]`), Tags: map[string]string{"lang": "de", "k": "<v>"}}},
}

func TestPublicationsAreEncodedAndReadWithoutAllocation(t *testing.T) {
	channel, buf := []byte("chat:room1"), make([]byte, 0, 4096)
	var d ReplyDecoder
	var reply Reply
	for _, c := range pushes {
		for _, enc := range []Encoding{JSON, Protobuf} {
			n := testing.AllocsPerRun(100, func() {
				b, err := AppendPublicationPush(buf, enc, channel, c.pub)
				if err != nil || len(b) == 0 {
					t.Fatal(err)
				}
			})
			if n != 0 {
				t.Errorf("%s %s: encoding: %v allocations", c.name, enc, n)
			}
			if c.pub.Tags != nil {
				continue // a map is made for the reader
			}
			frame, _ := AppendPublicationPush(nil, enc, channel, c.pub)
			n = testing.AllocsPerRun(100, func() {
				d.Reset(frame, enc, Limits{})
				if ok, err := d.Next(&reply); !ok || err != nil || reply.Push.Pub.Offset != c.pub.Offset {
					t.Fatal(ok, err)
				}
			})
			if n != 0 {
				t.Errorf("%s %s: reading: %v allocations", c.name, enc, n)
			}
		}
	}
}

// The subscriptions of a connect command live as long as the command, and nothing of one
// is left in the next.
func TestSubscriptionsOfAConnectAreLent(t *testing.T) {
	var d Decoder
	var cmd Command
	read := func(subs string) map[string]*SubscribeRequest {
		d.Reset(fmt.Appendf(nil, `{"id":1,"connect":{"subs":%s}}`, subs), JSON, Limits{})
		if ok, err := d.Next(&cmd); !ok || err != nil {
			t.Fatal(ok, err)
		}
		return cmd.Connect.Subs
	}
	if got := read(`{"a":{"recover":true,"offset":7,"epoch":"e"},"b":{"delta":"fossil"},"c":null}`); len(got) != 2 ||
		!got["a"].Recover || got["a"].Offset != 7 || got["a"].Epoch != "e" || got["b"].Delta != "fossil" || got["b"].Recover {
		t.Errorf("first: %v", got)
	}
	if got := read(`{"c":{},"b":{"offset":3}}`); len(got) != 2 || got["c"].Recover || got["c"].Offset != 0 || got["b"].Offset != 3 || got["b"].Delta != "" {
		t.Errorf("second: %v", got)
	}
	for _, none := range []string{`null`, `{}`, `{"a":null}`} {
		if got := read(none); got != nil {
			t.Errorf("%s: %v", none, got)
		}
	}
	many := `{"x":{}`
	for i := range 2 * subsKeptMax {
		many += fmt.Sprintf(`,"y%d":{"offset":%d}`, i, i)
	}
	if got := read(many + `}`); len(got) != 2*subsKeptMax+1 || got["y300"].Offset != 300 {
		t.Errorf("many: %d", len(got))
	}
	if got := read(`{"a":{}}`); len(got) != 1 || len(d.json.subs.made) != 1 {
		t.Errorf("after many: %v, room for %d", got, len(d.json.subs.made))
	}
	frame := []byte(`{"id":1,"connect":{"subs":{"a":{"recover":true,"offset":7,"epoch":"e"},"b":{},"c":{}}}}`)
	if n := testing.AllocsPerRun(100, func() {
		d.Reset(frame, JSON, Limits{})
		if ok, err := d.Next(&cmd); !ok || err != nil || len(cmd.Connect.Subs) != 3 {
			t.Fatal(ok, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRepliesAreEncodedWithoutAllocation(t *testing.T) {
	buf := make([]byte, 0, 65536)
	for _, v := range readVectors(t, "testdata/replies.txt") {
		reply := pb.Clone(oneReply(t, []byte(v.json), JSON)).(*Reply)
		for _, enc := range []Encoding{JSON, Protobuf} {
			n := testing.AllocsPerRun(10, func() {
				if _, err := AppendReply(buf, enc, reply); err != nil {
					t.Fatal(err)
				}
				AppendError(buf, enc, 1, 103, "permission denied", false)
				AppendPing(buf, enc)
			})
			if n != 0 {
				t.Errorf("%s %s: %v allocations", v.name, enc, n)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range hot {
		inBoth(b, c.json, func(enc Encoding, frame []byte) {
			b.Run(c.name+"/"+enc.String(), func(b *testing.B) {
				var d Decoder
				var cmd Command
				b.ReportAllocs()
				for b.Loop() {
					d.Reset(frame, enc, Limits{MessageBytesMax: 65536})
					if ok, err := d.Next(&cmd); !ok || err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/command")
			})
		})
	}
}

// BenchmarkDecodeOthers is the choice of ADR-4: generated code (as stock and as it would be here) on the publish command.
func BenchmarkDecodeOthers(b *testing.B) {
	inBoth(b, hot[1].json, func(enc Encoding, frame []byte) {
		b.Run("stock/"+enc.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if enc == JSON {
					_, _ = protocol.NewJSONCommandDecoder(frame).Decode()
				} else {
					_, _ = protocol.NewProtobufCommandDecoder(frame).Decode()
				}
			}
		})
		if enc == Protobuf {
			b.Run("generated/protobuf", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var cmd Command
					n, used := uvarint(frame)
					if err := cmd.UnmarshalVTUnsafe(frame[used : used+int(n)]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

func BenchmarkPublicationPush(b *testing.B) {
	channel, buf := []byte("chat:room1"), make([]byte, 0, 4096)
	for _, c := range pushes {
		for _, enc := range []Encoding{JSON, Protobuf} {
			b.Run(c.name+"/"+enc.String(), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := AppendPublicationPush(buf, enc, channel, c.pub); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/publication")
			})
		}
	}
}

func BenchmarkReadPush(b *testing.B) {
	for _, enc := range []Encoding{JSON, Protobuf} {
		b.Run(enc.String(), func(b *testing.B) {
			frame, _ := AppendPublicationPush(nil, enc, "chat:room1", pushes[1].pub)
			var d ReplyDecoder
			var reply Reply
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(frame, enc, Limits{})
				if ok, err := d.Next(&reply); !ok || err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/push")
		})
	}
}
