package msgpack

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"shoal/codec/proto"
)

// kind is what a field holds.
type kind uint8

const (
	kindUint32 kind = iota
	kindUint64
	kindInt32
	kindInt64
	kindBool
	kindString
	kindBytes
	kindMessage
)

// String says what a client should have sent.
func (k kind) String() string {
	return [...]string{"an integer from 0 to 4294967295", "an integer from 0 to 18446744073709551615", "a 32-bit integer",
		"a 64-bit integer", "a boolean", "a string", "bin", "a map"}[k]
}

// shape is how many of them it holds.
type shape uint8

const (
	one  shape = iota
	list       // repeated
	dict       // map<string, …>
)

// field is one field of a message.
type field struct {
	path    string // SubscribeRequest.offset, for errors
	key     []byte // its JSON name as a MessagePack string
	message *message
	number  uint32
	index   uint8
	kind    kind
	shape   shape
}

// message is the table of one message. Tables are immutable and refer to each other in circles (FilterNode).
type message struct {
	fields   []field
	byNumber []uint8 // index+1; 0 = not in the schema
	byName   map[string]uint8
}

// tables holds those of the two messages that stand in frames.
type tables struct{ command, reply *message }

// schema is built when the program starts and never changed.
var schema = build()

func build() tables {
	known := map[protoreflect.FullName]*message{}
	return tables{
		command: messageOf((*proto.Command)(nil).ProtoReflect().Descriptor(), known),
		reply:   messageOf((*proto.Reply)(nil).ProtoReflect().Descriptor(), known),
	}
}

// The schema must stay in these bounds; a new field beyond them fails every test at once.
const (
	fieldsMax    = 64   // of a message: the bits of unpacker's set of fields
	numberMax    = 1023 // byNumber is a plain list; ours begin at 1000
	keyBytesMax  = 31   // a fixstr
	smallMapMost = 15   // fields of a message whose map header has one byte
)

func messageOf(d protoreflect.MessageDescriptor, known map[protoreflect.FullName]*message) *message {
	if m := known[d.FullName()]; m != nil {
		return m
	}
	m := &message{byName: map[string]uint8{}}
	known[d.FullName()] = m
	m.fields = make([]field, d.Fields().Len())
	if len(m.fields) > fieldsMax {
		panic(fmt.Sprintf("msgpack: %s has %d fields, at most %d", d.Name(), len(m.fields), fieldsMax))
	}
	for i := range m.fields {
		fd := d.Fields().Get(i)
		name := string(fd.Name())
		f := field{path: string(d.Name()) + "." + name, number: uint32(fd.Number()), index: uint8(i)}
		if len(name) > keyBytesMax || f.number > numberMax {
			panic(fmt.Sprintf("msgpack: %s = %d: names have at most %d bytes, numbers are at most %d", f.path, f.number, keyBytesMax, numberMax))
		}
		f.key = append([]byte{fixstr | byte(len(name))}, name...)
		value := fd
		switch {
		case fd.IsMap():
			f.shape, value = dict, fd.MapValue()
		case fd.IsList():
			f.shape = list
		}
		f.kind = kindOf(value)
		if f.shape != one && f.kind != kindString && f.kind != kindMessage {
			panic(fmt.Sprintf("msgpack: %s: lists and maps hold strings or messages", f.path))
		}
		if f.kind == kindMessage {
			f.message = messageOf(value.Message(), known)
		}
		for uint32(len(m.byNumber)) <= f.number {
			m.byNumber = append(m.byNumber, 0)
		}
		m.byNumber[f.number] = uint8(i) + 1
		m.byName[name] = uint8(i) + 1
		m.fields[i] = f
	}
	return m
}

func kindOf(fd protoreflect.FieldDescriptor) kind {
	switch fd.Kind() {
	case protoreflect.Uint32Kind:
		return kindUint32
	case protoreflect.Uint64Kind:
		return kindUint64
	case protoreflect.Int32Kind:
		return kindInt32
	case protoreflect.Int64Kind:
		return kindInt64
	case protoreflect.BoolKind:
		return kindBool
	case protoreflect.StringKind:
		return kindString
	case protoreflect.BytesKind:
		return kindBytes
	case protoreflect.MessageKind:
		return kindMessage
	}
	panic(fmt.Sprintf("msgpack: %s has kind %s, which has no MessagePack form here: add it to kind", fd.FullName(), fd.Kind()))
}

// numbered returns the field with a number, nil when there is none.
func (m *message) numbered(number uint64) *field {
	if number >= uint64(len(m.byNumber)) || m.byNumber[number] == 0 {
		return nil
	}
	return &m.fields[m.byNumber[number]-1]
}

// named returns the field with a JSON name, nil when there is none.
func (m *message) named(name []byte) *field {
	i := m.byName[string(name)]
	if i == 0 {
		return nil
	}
	return &m.fields[i-1]
}
