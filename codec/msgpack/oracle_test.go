package msgpack

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	oracle "github.com/vmihailenco/msgpack/v5"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"shoal/codec/proto"
)

// The oracle is github.com/vmihailenco/msgpack for the bytes and the official Protobuf runtime for the messages. Between
// them stands generic: a message as the map a MessagePack client sees.

var texts = []string{"", "a", "news", "chat:room$1#2", "Здравствуй, мир", "😀", "0123456789abcdef0123456789abcde", "0123456789abcdef0123456789abcdef"}

func text(rng *rand.Rand) string {
	if rng.IntN(50) == 0 {
		return string(bytes.Repeat([]byte("x"), []int{255, 256, 65535, 65536}[rng.IntN(4)]))
	}
	return texts[rng.IntN(len(texts))]
}

// fill sets fields of m at random.
func fill(rng *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case rng.IntN(3) == 0:
		case fd.IsMap():
			for range rng.IntN(20) / 5 * rng.IntN(8) {
				all := m.Mutable(fd).Map()
				all.Set(protoreflect.ValueOfString(text(rng)).MapKey(), anyOf(rng, fd.MapValue(), all.NewValue, depth))
			}
		case fd.IsList():
			for range rng.IntN(20) / 5 * rng.IntN(8) {
				all := m.Mutable(fd).List()
				all.Append(anyOf(rng, fd, all.NewElement, depth))
			}
		case fd.Message() != nil && depth == 0:
		default:
			m.Set(fd, anyOf(rng, fd, func() protoreflect.Value { return m.NewField(fd) }, depth))
		}
	}
}

func anyOf(rng *rand.Rand, fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	number := rng.Uint64() >> (rng.Uint64() % 64)
	switch fd.Kind() {
	case protoreflect.MessageKind:
		v := fresh()
		if depth > 0 {
			fill(rng, v.Message(), depth-1)
		}
		return v
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text(rng))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text(rng) + "\xff"[:rng.IntN(2)]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(number&1 == 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(number)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	}
	return protoreflect.ValueOfInt64(int64(number) * int64(1-2*(number&1)))
}

// generic is m as a client's library gives it: numbers as int64 or uint64, whatever their width.
func generic(m protoreflect.Message) map[string]any {
	all := map[string]any{}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			entries := map[string]any{}
			v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
				entries[key.String()] = plain(fd.MapValue(), value)
				return true
			})
			all[string(fd.Name())] = entries
		case fd.IsList():
			var list []any
			for i := range v.List().Len() {
				list = append(list, plain(fd, v.List().Get(i)))
			}
			all[string(fd.Name())] = list
		default:
			all[string(fd.Name())] = plain(fd, v)
		}
		return true
	})
	return all
}

func plain(fd protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch x := v.Interface().(type) {
	case protoreflect.Message:
		return generic(x)
	case uint32:
		return fmt.Sprint(x)
	case int32, int64, uint64:
		return fmt.Sprint(x)
	default:
		return x
	}
}

// decoded reads a MessagePack value with the oracle, integers as text.
func decoded(t testing.TB, d *oracle.Decoder) any {
	t.Helper()
	v, err := d.DecodeInterface()
	if err != nil {
		t.Fatalf("the oracle refuses the frame: %v", err)
	}
	return numbersAsText(v)
}

func numbersAsText(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for key, value := range x {
			x[key] = numbersAsText(value)
		}
	case []any:
		for i, value := range x {
			x[i] = numbersAsText(value)
		}
	case int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return fmt.Sprint(x)
	}
	return v
}

func mustSame(t testing.TB, what string, got, want pb.Message) {
	t.Helper()
	if !pb.Equal(got, want) {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// messages takes a Protobuf frame apart with the official runtime.
func messages[M pb.Message](t testing.TB, frame []byte, fresh func() M) (all []M) {
	t.Helper()
	for len(frame) > 0 {
		var n uint64
		var used int
		if n, used = uvarint(frame); used <= 0 || n > uint64(len(frame)-used) {
			t.Fatalf("no message in %x", frame)
		}
		m := fresh()
		if err := pb.Unmarshal(frame[used:used+int(n)], m); err != nil {
			t.Fatalf("the official runtime refuses %x: %v", frame[used:used+int(n)], err)
		}
		all, frame = append(all, m), frame[used+int(n):]
	}
	return all
}

func uvarint(p []byte) (v uint64, n int) {
	for i, c := range p {
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// direction is one of the two kinds of frames.
type direction[M pb.Message] struct {
	fresh  func() M
	encode func([]byte, M) ([]byte, error)
	pack   func(dst, frame []byte) ([]byte, error)
	unpack func(dst, frame []byte, lim proto.Limits) ([]byte, error)
}

var (
	up = direction[*proto.Command]{
		func() *proto.Command { return new(proto.Command) },
		func(dst []byte, m *proto.Command) ([]byte, error) { return proto.AppendCommand(dst, proto.Protobuf, m) },
		PackCommands, AppendCommands,
	}
	down = direction[*proto.Reply]{
		func() *proto.Reply { return new(proto.Reply) },
		func(dst []byte, m *proto.Reply) ([]byte, error) { return proto.AppendReply(dst, proto.Protobuf, m) },
		AppendReplies, UnpackReplies,
	}
)

// check sends messages of one frame there and back, and shows them to the oracle on both sides.
func (d direction[M]) check(t *testing.T, rng *rand.Rand, count int) {
	var sent []M
	var frame, theirs []byte
	var err error
	for range count {
		m := d.fresh()
		fill(rng, m.ProtoReflect(), 3)
		sent = append(sent, m)
		if frame, err = d.encode(frame, m); err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, encoded(t, rng, m.ProtoReflect())...)
	}
	packed, err := d.pack([]byte("kept"), frame)
	if err != nil || !bytes.HasPrefix(packed, []byte("kept")) {
		t.Fatalf("pack: %v, %q", err, packed[:4])
	}
	packed = packed[4:]
	dec := oracle.NewDecoder(bytes.NewReader(packed))
	for _, m := range sent {
		if got, want := decoded(t, dec), any(generic(m.ProtoReflect())); !reflect.DeepEqual(got, want) {
			t.Fatalf("the oracle reads\n got %v\nwant %v", got, want)
		}
	}
	for _, from := range [][]byte{packed, theirs} {
		back, err := d.unpack([]byte("kept"), from, proto.Limits{})
		if err != nil || !bytes.HasPrefix(back, []byte("kept")) {
			t.Fatalf("unpack %x: %v", from, err)
		}
		got := messages(t, back[4:], d.fresh)
		if len(got) != len(sent) {
			t.Fatalf("%d messages, want %d", len(got), len(sent))
		}
		for i := range got {
			mustSame(t, "there and back", got[i], sent[i])
		}
	}
}

// encoded is m as another client could write it: keys in any order, unknown ones among them, numbers in any width.
func encoded(t *testing.T, rng *rand.Rand, m protoreflect.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	e := oracle.NewEncoder(&b)
	e.UseCompactInts(rng.IntN(2) == 0)
	if err := e.Encode(foreign(rng, m)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func foreign(rng *rand.Rand, m protoreflect.Message) map[string]any {
	all := map[string]any{}
	if rng.IntN(2) == 0 {
		all["unknown"] = map[any]any{1: []any{nil, 1.5, float32(2), "x", []byte{1}, -1, uint64(1) << 63}, "n": map[string]any{"a": true}}
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		one := func(v protoreflect.Value) any {
			if inner, ok := v.Interface().(protoreflect.Message); ok {
				return foreign(rng, inner)
			}
			if p, ok := v.Interface().([]byte); ok && rng.IntN(3) == 0 {
				return string(p) // str for bin
			}
			return v.Interface()
		}
		switch {
		case fd.IsMap():
			entries := map[string]any{}
			v.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
				entries[key.String()] = one(value)
				return true
			})
			all[string(fd.Name())] = entries
		case fd.IsList():
			var list []any
			for i := range v.List().Len() {
				list = append(list, one(v.List().Get(i)))
			}
			all[string(fd.Name())] = list
		default:
			all[string(fd.Name())] = one(v)
		}
		return true
	})
	return all
}

// FuzzMessages: every message, there and back, equals its Protobuf form, for us and for the oracle.
func FuzzMessages(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed, uint8(seed%4))
	}
	f.Fuzz(func(t *testing.T, seed uint64, count uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		up.check(t, rng, 1+int(count%5))
		down.check(t, rng, 1+int(count%5))
	})
}

// accepted checks a frame that came from anywhere.
func (d direction[M]) accepted(t *testing.T, frame []byte) {
	kept := bytes.Clone(frame)
	out, err := d.unpack([]byte("kept"), frame, proto.Limits{MessageBytesMax: 4096})
	if !bytes.Equal(kept, frame) {
		t.Fatal("the frame was written to")
	}
	var e *Error
	if err != nil {
		if string(out) != "kept" || !errors.As(err, &e) || e.Offset > len(frame) || err.Error() == "" {
			t.Fatalf("got %q, %v", out, err)
		}
		return
	}
	out = out[4:]
	if len(out) > 2*len(frame)+1 {
		t.Fatalf("%d bytes became %d", len(frame), len(out))
	}
	all := messages(t, out, d.fresh)
	dec := oracle.NewDecoder(bytes.NewReader(frame))
	var canonical []byte
	for _, m := range all {
		if err := dec.Skip(); err != nil {
			t.Fatalf("the oracle refuses %x: %v", frame, err)
		}
		canonical, _ = d.encode(canonical, m)
	}
	if _, err := dec.PeekCode(); err == nil {
		t.Fatalf("%d messages in %x, and more of it", len(all), frame)
	}
	packed, err := d.pack(nil, canonical)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.unpack(nil, packed, proto.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range messages(t, again, d.fresh) {
		mustSame(t, "again", m, all[i])
	}
}

// FuzzMessagePack: any bytes are refused by name or are what the oracle takes them for, and no decoder behind refuses them.
func FuzzMessagePack(f *testing.F) {
	for _, c := range examples {
		f.Add(unhex(f, c.packed))
	}
	for _, c := range badFrames {
		f.Add([]byte(c.frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		up.accepted(t, frame)
		down.accepted(t, frame)
		out, err := AppendCommands(nil, frame, proto.Limits{MessageBytesMax: 4096})
		if err != nil {
			return
		}
		var d proto.Decoder
		d.Reset(out, proto.MessagePack, proto.Limits{})
		for {
			var cmd proto.Command
			if ok, err := d.Next(&cmd); err != nil {
				t.Fatalf("%x became %x: %v", frame, out, err)
			} else if !ok {
				return
			}
		}
	})
}

// FuzzProtobuf: any bytes as a Protobuf frame are refused, or become MessagePack that means the same.
func FuzzProtobuf(f *testing.F) {
	for seed := range uint64(50) {
		m := new(proto.Reply)
		fill(rand.New(rand.NewPCG(seed, 1)), m.ProtoReflect(), 2)
		frame, _ := proto.AppendReply(nil, proto.Protobuf, m)
		f.Add(frame)
	}
	f.Add([]byte{4, 8, 1, 0x22, 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if packed, err := PackCommands([]byte("kept"), frame); err != nil && string(packed) != "kept" {
			t.Fatalf("%v and %q", err, packed)
		}
		packed, err := AppendReplies(nil, frame)
		if err != nil {
			return
		}
		back, err := UnpackReplies(nil, packed, proto.Limits{})
		if err != nil {
			t.Fatalf("%x became %x: %v", frame, packed, err)
		}
		got := messages(t, back, down.fresh)
		for i, want := range messages(t, frame, down.fresh) {
			want.ProtoReflect().SetUnknown(nil)
			mustSame(t, "as MessagePack", got[i], known(want))
		}
	})
}

// known is m without what the schema does not know.
func known(m *proto.Reply) *proto.Reply {
	wire, _ := pb.Marshal(m)
	out := new(proto.Reply)
	_ = pb.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(wire, out)
	return out
}
