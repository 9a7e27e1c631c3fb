package proto

import (
	"math/rand/v2"
	"testing"

	"github.com/centrifugal/protocol"
	pb "google.golang.org/protobuf/proto"
)

// FuzzOurFields: fields with numbers of our own survive both forms, agree with the official runtime, and the stock
// implementation reads the rest of the message as if they were not there.
func FuzzOurFields(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 3))
		cmd, reply := new(Command), new(Reply)
		fill(rng, cmd.ProtoReflect(), 3, true)
		fill(rng, reply.ProtoReflect(), 3, true)
		narrow(rng, cmd.ProtoReflect())
		narrow(rng, reply.ProtoReflect())
		for _, enc := range []Encoding{JSON, Protobuf} {
			up, err := AppendCommand(nil, enc, cmd)
			if err != nil {
				t.Fatal(err)
			}
			mustSame(t, "command "+enc.String(), oneCommand(t, up, enc), cmd)
			down, err := AppendReply(nil, enc, reply)
			if err != nil {
				t.Fatal(err)
			}
			mustSame(t, "reply "+enc.String(), oneReply(t, down, enc), reply)
			if len(up) > 1 {
				stockSkips(t, enc, up, down, cmd, reply)
			}
		}
		wire, err := reply.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		official := new(Reply)
		if err := pb.Unmarshal(wire, official); err != nil {
			t.Fatal(err)
		}
		mustSame(t, "official runtime", official, reply)
	})
}

// stockSkips has the stock JSON decoders read both; the Protobuf ones keep what they do not know, which is cleared here.
func stockSkips(t *testing.T, enc Encoding, up, down []byte, cmd *Command, reply *Reply) {
	wantUp, wantDown := pb.Clone(cmd).(*Command), pb.Clone(reply).(*Reply)
	stockOnly(wantUp.ProtoReflect())
	stockOnly(wantDown.ProtoReflect())
	gotUp, gotDown := new(Command), new(Reply)
	if enc == JSON {
		theirUp, _ := protocol.NewJSONCommandDecoder(up).Decode()
		theirDown, err := protocol.NewJSONReplyDecoder(down).Decode()
		if err != nil {
			t.Fatalf("the stock decoder refuses %s: %v", down, err)
		}
		fromStock(t, theirUp, gotUp)
		fromStock(t, theirDown, gotDown)
	} else {
		theirUp, _ := protocol.NewProtobufCommandDecoder(up).Decode()
		theirDown, err := protocol.NewProtobufReplyDecoder(down).Decode()
		if err != nil {
			t.Fatalf("the stock decoder refuses %x: %v", down, err)
		}
		stockOnly(fromStock(t, theirUp, gotUp).ProtoReflect())
		stockOnly(fromStock(t, theirDown, gotDown).ProtoReflect())
	}
	mustSame(t, "stock decoder, command", gotUp, wantUp)
	mustSame(t, "stock decoder, reply", gotDown, wantDown)
}
