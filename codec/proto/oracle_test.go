package proto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/centrifugal/protocol"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The oracle is the stock implementation, github.com/centrifugal/protocol, and the official Protobuf runtime. Values
// are compared as messages of ours: what the stock side holds is brought over through its own Protobuf form.

// strings that hurt: escapes, HTML, separators, non-ASCII, beyond the basic plane.
var nasty = []string{"", "a", "news", "chat:room$1#2", "quote\"back\\slash/", "tab\tline\nfeed\r\x00\x1f\x7f", "<script>&amp;",
	"\u2028\u2029", "Здравствуй, мир", "日本語テキスト", "😀👩‍👩‍👧", "\ufffd", "0123456789abcdef0123456789abcdef\"", "e\u0301"}

var nastyJSON = []string{`{}`, `[]`, `null`, `true`, `"s"`, `0`, `-1.5e+10`, `{"input":"hello"}`, `[1,[2,[3,{"a":[]}]]]`, `"\ud83d\ude00"`,
	`{"a":"\"\\\/\b\f\n\r\t\u0041"}`, `"Здравствуй"`, `{ "spaced" : [ 1 , 2 ] }`}

// stockless are the fields that the oracle does not know: type, and ours.
func stockless(fd protoreflect.FieldDescriptor) bool {
	return fd.FullName() == "shoal.client.SubscribeRequest.type" || fd.Number() >= 1000
}

// stockOnly clears them in m and everything below.
func stockOnly(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case stockless(fd):
			m.Clear(fd)
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, each protoreflect.Value) bool { stockOnly(each.Message()); return true })
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				stockOnly(v.List().Get(i).Message())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			stockOnly(v.Message())
		}
		return true
	})
}

// fill sets fields of m at random, those that the oracle knows unless ours is set. Bytes are JSON, since that is what
// every bytes field of the protocol carries.
func fill(rng *rand.Rand, m protoreflect.Message, depth int, ours bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if rng.IntN(3) == 0 || !ours && stockless(fd) {
			continue
		}
		switch {
		case fd.IsMap():
			for range rng.IntN(2) {
				key := protoreflect.ValueOfString(nasty[rng.IntN(len(nasty))]).MapKey()
				m.Mutable(fd).Map().Set(key, element1(rng, fd.MapValue(), m.Mutable(fd).Map().NewValue, depth, ours))
			}
		case fd.IsList():
			for range rng.IntN(3) {
				list := m.Mutable(fd).List()
				list.Append(element1(rng, fd, list.NewElement, depth, ours))
			}
		case fd.Message() != nil && (depth == 0 || rng.IntN(2) == 0 && fd.Message().Name() == "FilterNode"):
		default:
			m.Set(fd, element1(rng, fd, func() protoreflect.Value { return m.NewField(fd) }, depth, ours))
		}
	}
}

func element1(rng *rand.Rand, fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int, ours bool) protoreflect.Value {
	number := rng.Uint64() >> (rng.Uint64() % 64)
	switch fd.Kind() {
	case protoreflect.MessageKind:
		v := fresh()
		if depth > 0 {
			fill(rng, v.Message(), depth-1, ours)
		}
		return v
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(nasty[rng.IntN(len(nasty))])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(nastyJSON[rng.IntN(len(nastyJSON))]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number&1 == 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(number)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(number))
	}
	panic("no such kind in client.proto: " + fd.Kind().String())
}

func mustSame(t *testing.T, what string, got, want pb.Message) {
	t.Helper()
	if !pb.Equal(got, want) {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func oneCommand(t *testing.T, frame []byte, enc Encoding) *Command {
	t.Helper()
	var d Decoder
	cmd := new(Command)
	d.Reset(frame, enc, Limits{})
	if ok, err := d.Next(cmd); !ok || err != nil {
		t.Fatalf("Next(%s %q) = %v, %v", enc, frame, ok, err)
	}
	if ok, err := d.Next(new(Command)); ok || err != nil {
		t.Fatalf("second Next(%s %q) = %v, %v", enc, frame, ok, err)
	}
	d.Reset(frame, enc, Limits{}) // cmd is lent; read it again so that it is the last one read
	if ok, err := d.Next(cmd); !ok || err != nil {
		t.Fatalf("Next again = %v, %v", ok, err)
	}
	return cmd
}

func oneReply(t *testing.T, frame []byte, enc Encoding) *Reply {
	t.Helper()
	var d ReplyDecoder
	reply := new(Reply)
	d.Reset(frame, enc, Limits{})
	if ok, err := d.Next(reply); !ok || err != nil {
		t.Fatalf("Next(%s %q) = %v, %v", enc, frame, ok, err)
	}
	return reply
}

// fromStock brings a stock message over to ours.
func fromStock(t *testing.T, stock interface{ MarshalVT() ([]byte, error) }, ours pb.Message) pb.Message {
	t.Helper()
	wire, err := stock.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	if err := pb.Unmarshal(wire, ours); err != nil {
		t.Fatalf("the official runtime refuses %x: %v", wire, err)
	}
	return ours
}

func prefixed(wire []byte) []byte {
	e := protocol.NewProtobufDataEncoder()
	_ = e.Encode(wire)
	return e.Finish()
}

// checkCommand sends want in both forms from us to the stock implementation and back.
func checkCommand(t *testing.T, want *Command) {
	wire, err := pb.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var stock protocol.Command
	if err := stock.UnmarshalVT(wire); err != nil {
		t.Fatal(err)
	}
	for _, enc := range []Encoding{JSON, Protobuf} {
		ours, err := AppendCommand([]byte("kept"), enc, want)
		if err != nil || !bytes.HasPrefix(ours, []byte("kept")) {
			t.Fatalf("AppendCommand: %q, %v", ours, err)
		}
		ours = ours[4:]
		mustSame(t, "ours to ours "+enc.String(), oneCommand(t, ours, enc), want)
		var theirs *protocol.Command
		var back []byte
		if enc == JSON {
			theirs, err = protocol.NewJSONCommandDecoder(ours).Decode()
			back, _ = protocol.NewJSONCommandEncoder().Encode(&stock)
		} else {
			theirs, err = protocol.NewProtobufCommandDecoder(ours).Decode()
			back, _ = stock.MarshalVT()
			back = prefixed(back)
		}
		if len(ours) == 1 { // the stock decoder does not hand out an empty command alone in its frame
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("the stock decoder refuses %s %q: %v", enc, ours, err)
		}
		mustSame(t, "ours to theirs "+enc.String(), fromStock(t, theirs, new(Command)), want)
		mustSame(t, "theirs to ours "+enc.String(), oneCommand(t, back, enc), want)
		if enc == JSON && !bytes.Equal(ours, back) && !bytes.Contains(back, []byte("\n")) {
			t.Fatalf("JSON bytes differ:\n ours   %s\n theirs %s", ours, back)
		}
	}
}

func checkReply(t *testing.T, want *Reply) {
	wire, err := pb.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var stock protocol.Reply
	if err := stock.UnmarshalVT(wire); err != nil {
		t.Fatal(err)
	}
	if stock.History != nil && stock.History.Publications == nil { // the stock server never leaves it nil
		stock.History.Publications = []*protocol.Publication{}
	}
	if stock.Presence != nil && stock.Presence.Presence == nil {
		stock.Presence.Presence = map[string]*protocol.ClientInfo{}
	}
	for _, enc := range []Encoding{JSON, Protobuf} {
		ours, err := AppendReply([]byte("kept"), enc, want)
		if err != nil || !bytes.HasPrefix(ours, []byte("kept")) {
			t.Fatalf("AppendReply: %q, %v", ours, err)
		}
		ours = ours[4:]
		mustSame(t, "ours to ours "+enc.String(), oneReply(t, ours, enc), want)
		var theirs *protocol.Reply
		var back []byte
		if enc == JSON {
			theirs, err = protocol.NewJSONReplyDecoder(ours).Decode()
			var encErr error
			if back, encErr = protocol.NewJSONReplyEncoder().Encode(&stock); encErr != nil {
				t.Fatal(encErr)
			}
		} else {
			theirs, err = protocol.NewProtobufReplyDecoder(ours).Decode()
			back, _ = stock.MarshalVT()
			back = prefixed(back)
		}
		if err != nil {
			t.Fatalf("the stock decoder refuses %s %q: %v", enc, ours, err)
		}
		mustSame(t, "ours to theirs "+enc.String(), fromStock(t, theirs, new(Reply)), want)
		mustSame(t, "theirs to ours "+enc.String(), oneReply(t, back, enc), want)
		if !bytes.Equal(ours, back) {
			t.Fatalf("%s bytes differ:\n ours   %q\n theirs %q", enc, ours, back)
		}
		if p := want.Push; p != nil && p.Pub != nil && p.Id == 0 && onlyPublication(want) {
			push, err := AppendPublicationPush(nil, enc, []byte(p.Channel), p.Pub)
			if err != nil {
				t.Fatal(err)
			}
			mustSame(t, "publication push "+enc.String(), oneReply(t, push, enc), want)
		}
	}
}

func onlyPublication(r *Reply) bool {
	return pb.Equal(r, &Reply{Push: &Push{Channel: r.Push.Channel, Pub: r.Push.Pub}})
}

// narrowed keeps one request of cmd, or one result of a reply, since several at once are no real traffic.
func narrow(rng *rand.Rand, m protoreflect.Message) {
	var set []protoreflect.FieldDescriptor
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if fd.Message() != nil {
			set = append(set, fd)
		}
		return true
	})
	if len(set) == 0 {
		return
	}
	kept := set[rng.IntN(len(set))]
	for _, fd := range set {
		if fd != kept {
			m.Clear(fd)
		}
	}
}

// FuzzCommandsAgainstStock: encoders and decoders of both implementations agree on every command, in both forms.
func FuzzCommandsAgainstStock(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, seed%4 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, several bool) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cmd := new(Command)
		fill(rng, cmd.ProtoReflect(), 3, false)
		if !several {
			narrow(rng, cmd.ProtoReflect())
		}
		checkCommand(t, cmd)
	})
}

// FuzzRepliesAgainstStock: the same for replies and pushes.
func FuzzRepliesAgainstStock(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed, seed%4 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, several bool) {
		rng := rand.New(rand.NewPCG(seed, 2))
		reply := new(Reply)
		fill(rng, reply.ProtoReflect(), 3, false)
		if !several {
			narrow(rng, reply.ProtoReflect())
			if reply.Push != nil {
				narrow(rng, reply.Push.ProtoReflect())
			}
		}
		checkReply(t, reply)
	})
}

// TestSchemaHasThePublishedNumbersAndNames compares every message and field with the stock schema.
func TestSchemaHasThePublishedNumbersAndNames(t *testing.T) {
	stock := protocol.File_client_proto.Messages()
	for i := range stock.Len() {
		want := stock.Get(i)
		if want.Name() == "EmulationRequest" { // belongs to the streaming transports
			continue
		}
		got := File_shoal_client_proto.Messages().ByName(want.Name())
		if got == nil {
			t.Errorf("message %s is missing", want.Name())
			continue
		}
		for j := range want.Fields().Len() {
			w := want.Fields().Get(j)
			g := got.Fields().ByNumber(w.Number())
			if g == nil || g.Name() != w.Name() || g.Kind() != w.Kind() || g.Cardinality() != w.Cardinality() {
				t.Errorf("%s.%s = %d: got %v", want.Name(), w.Name(), w.Number(), g)
			}
		}
	}
}

// unusual reports whether one line of JSON has what the two implementations are known to read differently (see
// PROTOCOL.md): equal keys, keys in another case, null for an object, or text behind the object.
func unusual(line []byte) bool {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	strange := walkKeys(d)
	_, err := d.Token()
	return strange || err != io.EOF
}

func walkKeys(d *json.Decoder) (strange bool) {
	token, err := d.Token()
	if err != nil {
		return true
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for d.More() {
			key, _ := d.Token()
			name, _ := key.(string)
			folded := string(bytes.ToLower([]byte(name)))
			strange = strange || seen[folded] || folded != name || bytes.ContainsAny([]byte(name), "ſK\ufffd")
			seen[folded] = true
			strange = walkKeys(d) || strange
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			strange = walkKeys(d) || strange
		}
		_, _ = d.Token()
	case nil:
		return true
	}
	return strange
}

// FuzzDecodeCommands feeds any bytes. No panic; what is accepted can be encoded and read again; JSON that is accepted
// is valid and read alike by the stock decoder; Protobuf is accepted exactly when the official runtime accepts it.
func FuzzDecodeCommands(f *testing.F) {
	for _, v := range readVectors(f, "testdata/commands.txt") {
		f.Add([]byte(v.json), false)
		f.Add(v.wire, true)
	}
	for _, frame := range badFrames {
		f.Add([]byte(frame.frame), frame.enc == Protobuf)
	}
	f.Fuzz(func(t *testing.T, frame []byte, binary bool) {
		enc := JSON
		if binary {
			enc = Protobuf
		}
		kept := bytes.Clone(frame)
		var d Decoder
		d.Reset(frame, enc, Limits{})
		for n := 0; ; n++ {
			cmd := new(Command)
			ok, err := d.Next(cmd)
			if !bytes.Equal(frame, kept) {
				t.Fatal("the decoder wrote into the frame")
			}
			if err != nil {
				officialMustRefuse(t, &d, err)
				if again, err2 := d.Next(cmd); again || err2 != err {
					t.Fatalf("after %v: %v, %v", err, again, err2)
				}
				return
			}
			if !ok {
				if n == 0 {
					t.Fatal("an empty frame was accepted")
				}
				return
			}
			checkAccepted(t, d.frame.message, enc, cmd)
		}
	})
}

// officialMustRefuse: what is refused here is refused by the official runtime too, but for framing, limits and groups.
func officialMustRefuse(t *testing.T, d *Decoder, err error) {
	message, group := d.frame.message, d.wire.tag&7 == 3
	if d.frame.enc == JSON || message == nil || group || errors.Is(err, ErrDepth) || errors.Is(err, ErrTooManyParts) {
		return
	}
	if pb.Unmarshal(message, new(Command)) == nil {
		t.Fatalf("%x refused with %v, the official runtime accepts it", message, err)
	}
}

func checkAccepted(t *testing.T, message []byte, enc Encoding, cmd *Command) {
	want := new(Command)
	if enc == Protobuf {
		if err := (pb.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(message, want); err != nil {
			t.Fatalf("%x accepted, the official runtime says %v", message, err)
		}
		mustSame(t, "official runtime on "+hex.EncodeToString(message), cmd, want)
		return
	}
	if !json.Valid(message) {
		t.Fatalf("accepted %q, which is not JSON", message)
	}
	again, err := AppendCommand(nil, JSON, cmd)
	if err != nil {
		t.Fatalf("%q was read and cannot be written: %v", message, err)
	}
	if known(cmd) && !unusual(message) {
		theirs, err := protocol.NewJSONCommandDecoder(message).Decode()
		if err != io.EOF {
			t.Fatalf("%q accepted, the stock decoder says %v", message, err)
		}
		mustSame(t, "stock decoder on "+strconv.Quote(string(message)), withoutTypes(cmd), fromStock(t, theirs, want))
	}
	copied := pb.Clone(cmd)
	mustSame(t, "encoded and decoded", oneCommand(t, again, JSON), dropEmpty(copied.(*Command)))
}

// known says that the stock decoder knows the command's own fields; it checks the types of what it skips less.
func known(cmd *Command) bool {
	return cmd.GetSubscribe().GetType() == 0 && cmd.GetConnect().GetResume() == ""
}

// withoutTypes clears what the stock decoder does not know.
func withoutTypes(cmd *Command) *Command {
	c := pb.Clone(cmd).(*Command)
	stockOnly(c.ProtoReflect())
	return c
}

func dropEmpty(c *Command) *Command { return c }

// FuzzDecodeReplies: no panic on anything, and what is accepted can be written and read again.
func FuzzDecodeReplies(f *testing.F) {
	for _, v := range readVectors(f, "testdata/replies.txt") {
		f.Add([]byte(v.json), false)
		f.Add(v.wire, true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, binary bool) {
		enc := JSON
		if binary {
			enc = Protobuf
		}
		var d ReplyDecoder
		d.Reset(frame, enc, Limits{})
		for {
			reply := new(Reply)
			if ok, err := d.Next(reply); err != nil || !ok {
				return
			}
			again, err := AppendReply(nil, enc, reply)
			if err != nil {
				t.Fatalf("%q was read and cannot be written: %v", frame, err)
			}
			if !binary {
				mustSame(t, "encoded and decoded", oneReply(t, again, enc), reply)
			}
		}
	})
}
