package proto

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
	stockjson "github.com/segmentio/encoding/json"
	pb "google.golang.org/protobuf/proto"

	"shoal/codec/delta"
)

// recovery is the reply to a client that missed 100 publications of 128 bytes, and the command that asks for it.
func recovery() (command *Command, reply *Reply) {
	command = &Command{Id: 7, Subscribe: &SubscribeRequest{
		Channel: "chat:room1", Recover: true, Epoch: "abcdefgh", Offset: 1_000_000, Flag: 1,
	}}
	result := &SubscribeResult{Recoverable: true, Positioned: true, Epoch: "abcdefgh", Offset: 1_000_000, Recovered: true, WasRecovering: true}
	for i := range 100 {
		data := fmt.Appendf(nil, `{"id":%d,"user":"user-%d","text":"`, 1_000_001+i, i)
		data = append(data, strings.Repeat("hello ", 30)[:126-len(data)]...)
		data = append(data, `"}`...)
		result.Publications = append(result.Publications, &Publication{Data: data, Offset: uint64(1_000_001 + i)})
	}
	return command, &Reply{Id: 7, Subscribe: result}
}

// TestTrustedPayloadsAreWrittenAlike: the flag changes the cost and nothing else.
func TestTrustedPayloadsAreWrittenAlike(t *testing.T) {
	for seed := range uint64(200) {
		reply := new(Reply)
		fill(rand.New(rand.NewPCG(seed, 3)), reply.ProtoReflect(), 3, false)
		for _, enc := range []Encoding{JSON, Protobuf, MessagePack} {
			want, err1 := AppendReply(nil, enc, reply)
			got, err2 := AppendReplyWith(nil, enc, reply, Trusted)
			if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: got %s, %v\nwant %s, %v", enc, got, err2, want, err1)
			}
		}
	}
}

// TestDeltaSubscribersGetTextAsFromTheStockServer: the stock server escapes the data before it encodes, with this library.
func TestDeltaSubscribersGetTextAsFromTheStockServer(t *testing.T) {
	for _, data := range append(append([]string{""}, nasty...), nastyJSON...) {
		for _, isDelta := range []bool{false, true} {
			pub := &Publication{Data: []byte(data), Offset: 7, Delta: isDelta, Tags: map[string]string{"a": "b"}}
			stock, err := protocol.NewJSONReplyEncoder().Encode(&protocol.Reply{Push: &protocol.Push{Channel: "news", Pub: &protocol.Publication{
				Data: stockjson.Escape(data), Offset: 7, Delta: isDelta, Tags: pub.Tags,
			}}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := AppendPublicationPushWith([]byte("kept"), JSON, "news", pub, Text)
			if err != nil || string(got) != "kept"+string(stock) {
				t.Errorf("%q: got %s, %v\nwant %s", data, got, err, stock)
			}
			got, err = AppendReplyWith(nil, JSON, &Reply{Push: &Push{Channel: "news", Pub: pub}}, Text)
			if err != nil || !bytes.Equal(got, stock) {
				t.Errorf("%q: reply %s, %v\nwant %s", data, got, err, stock)
			}
			if text := readString(t, oneReply(t, stock, JSON).Push.Pub.Data); text != strings.ToValidUTF8(data, "\ufffd") {
				t.Errorf("%q is read as %q", data, text)
			}
		}
	}
}

func TestTextIsForDeltaSubscriptionsOnly(t *testing.T) {
	pubs := func() []*Publication { return []*Publication{{Data: []byte(`{"a":1}`), Offset: 1}} }
	reply := &Reply{
		Id:        1,
		Connect:   &ConnectResult{Data: []byte(`{}`), Subs: map[string]*SubscribeResult{"$user": {Delta: true, Publications: pubs()}}},
		Subscribe: &SubscribeResult{Publications: pubs()},
		History:   &HistoryResult{Publications: pubs()},
	}
	got, err := AppendReplyWith(nil, JSON, reply, Text)
	want := `{"id":1,"connect":{"data":{},"subs":{"$user":{"publications":[{"data":"{\"a\":1}","offset":1}],"delta":true}}},` +
		`"subscribe":{"publications":[{"data":{"a":1},"offset":1}]},"history":{"publications":[{"data":{"a":1},"offset":1}],"epoch":"","offset":0}}`
	if string(got) != want || err != nil {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	plain, err := AppendReply(nil, JSON, reply)
	if err != nil || bytes.Contains(plain, []byte(`\"`)) {
		t.Errorf("without the flag: %s, %v", plain, err)
	}
	for _, enc := range []Encoding{Protobuf, MessagePack} {
		wire, err := AppendReplyWith(nil, enc, reply, Text)
		if err != nil {
			t.Fatal(err)
		}
		mustSame(t, enc.String(), oneReply(t, wire, enc), reply)
	}
}

func TestTextThatIsNoUTF8IsRefused(t *testing.T) {
	pub := &Publication{Data: []byte("5\n5:hell\xff0;"), Delta: true}
	for _, how := range []Payloads{Text, Text | Trusted} {
		got, err := AppendPublicationPushWith([]byte("kept"), JSON, "news", pub, how)
		if !errors.Is(err, ErrNotJSON) || string(got) != "kept" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// TestDeltasReachJSONClientsUnharmed: payloads of texts, one after the other, as deltas in JSON strings.
func TestDeltasReachJSONClientsUnharmed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	words := []string{"мир", "мор", "日本", "日木", "😀", "😁", "\"", "\\", "\n", "<b>", "a", "b", "e\u0301"}
	var last []byte
	for range 500 {
		var next []byte
		for range rng.IntN(60) {
			next = append(next, words[rng.IntN(len(words))]...)
		}
		if rng.IntN(3) > 0 && len(last) > 0 { // mostly changes in the middle
			next = append(append(bytes.Clone(last[:0]), last...), next...)
			at := rng.IntN(len(words))
			next = bytes.Replace(next, []byte(words[at]), []byte(words[rng.IntN(len(words))]), 1+rng.IntN(3))
		}
		pub := &Publication{Data: delta.Append(nil, last, next), Delta: true}
		frame, err := AppendPublicationPushWith(nil, JSON, "news", pub, Trusted|Text)
		if err != nil {
			t.Fatal(err)
		}
		text := readString(t, oneReply(t, frame, JSON).Push.Pub.Data)
		if got, err := delta.Apply(nil, last, []byte(text), 0); err != nil || !bytes.Equal(got, next) {
			t.Fatalf("%q to %q: %v", last, next, err)
		}
		if last = next; len(last) > 2000 {
			last = nil
		}
	}
}

// TestEveryPushIsTheStockServersPush: every kind, every field at random, in both forms.
func TestEveryPushIsTheStockServersPush(t *testing.T) {
	fields := (*Push)(nil).ProtoReflect().Descriptor().Fields()
	kinds := 0
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil {
			continue
		}
		kinds++
		for seed := range uint64(40) {
			rng := rand.New(rand.NewPCG(seed, uint64(fd.Number())))
			push := &Push{Channel: nasty[rng.IntN(len(nasty))]}
			fill(rng, push.ProtoReflect().Mutable(fd).Message(), 3, false)
			checkReply(t, &Reply{Push: push})
			checkReply(t, pb.Clone(&Reply{Push: &Push{Pub: push.Pub, Join: push.Join, Leave: push.Leave, Connect: push.Connect}}).(*Reply))
		}
	}
	if kinds != 9 {
		t.Errorf("%d kinds of pushes", kinds)
	}
}

func TestMessagePackIsProtobufInside(t *testing.T) {
	_, reply := recovery()
	one, _ := AppendReply(nil, Protobuf, reply)
	two, _ := AppendReply(nil, MessagePack, reply)
	if !bytes.Equal(one, two) || len(AppendSep(nil, MessagePack)) > 0 || !bytes.Equal(AppendPing(nil, MessagePack), []byte{0}) {
		t.Error("the forms differ")
	}
	mustSame(t, "read", oneReply(t, two, MessagePack), reply)
	for enc, want := range map[Encoding]string{JSON: "json", Protobuf: "protobuf", MessagePack: "msgpack"} {
		if enc.String() != want || enc.Text() != (enc == JSON) {
			t.Errorf("%d: %s, %v", enc, enc, enc.Text())
		}
	}
}

func TestRecoveryIsWrittenWithoutAllocation(t *testing.T) {
	_, reply := recovery()
	reply.Subscribe.Delta = true
	buf := make([]byte, 0, 1<<16)
	for _, how := range []Payloads{0, Trusted, Text, Trusted | Text} {
		for _, enc := range []Encoding{JSON, Protobuf} {
			if n := testing.AllocsPerRun(10, func() {
				if _, err := AppendReplyWith(buf, enc, reply, how); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %d: %v allocations", enc, how, n)
			}
		}
	}
}

// BenchmarkRecovery is the codec's share of recovering 100 publications: the command read, the reply written.
func BenchmarkRecovery(b *testing.B) {
	command, reply := recovery()
	for _, c := range []struct {
		name string
		enc  Encoding
		how  Payloads
	}{{"json", JSON, 0}, {"json-trusted", JSON, Trusted}, {"json-text", JSON, Trusted | Text}, {"protobuf", Protobuf, 0}} {
		b.Run(c.name, func(b *testing.B) {
			reply.Subscribe.Delta = c.how&Text != 0
			frame, err := AppendCommand(nil, c.enc, command)
			if err != nil {
				b.Fatal(err)
			}
			var d Decoder
			var cmd Command
			buf := make([]byte, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(frame, c.enc, Limits{MessageBytesMax: 65536})
				if ok, err := d.Next(&cmd); !ok || err != nil {
					b.Fatal(err)
				}
				if _, err := AppendReplyWith(buf, c.enc, reply, c.how); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/publication")
		})
	}
}
