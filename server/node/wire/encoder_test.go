package wire

import (
	"fmt"
	"strings"
	"testing"

	"shoal/codec/delta"
	"shoal/codec/proto"
	"shoal/pool/shared"
	"shoal/server/channel"
)

// forms are JSON, Protobuf, deflated JSON and MessagePack; frames say which.
func forms() []Form {
	var all []Form
	for i, enc := range []proto.Encoding{proto.JSON, proto.Protobuf, proto.JSON, proto.MessagePack} {
		all = append(all, Form{Encoding: enc, Deflated: i == 2, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
			return fmt.Appendf(dst, "<%d:%s>", i, payload), scratch
		}})
	}
	return all
}

func payload(t *testing.T, b *shared.Bytes, form int) string {
	t.Helper()
	if b == nil {
		t.Fatalf("form %d was not encoded", form)
	}
	text := string(b.Bytes())
	if head := fmt.Sprintf("<%d:", form); !strings.HasPrefix(text, head) || !strings.HasSuffix(text, ">") {
		t.Fatalf("form %d is %q", form, text)
	}
	return text[3 : len(text)-1]
}

func decode(t *testing.T, enc proto.Encoding, text string) *proto.Reply {
	t.Helper()
	var d proto.ReplyDecoder
	d.Reset([]byte(text), enc, proto.Limits{})
	r := &proto.Reply{}
	if ok, err := d.Next(r); !ok || err != nil {
		t.Fatalf("%q does not decode: %t %v", text, ok, err)
	}
	return r
}

func TestOnlyTheFormsInUseAreMade(t *testing.T) {
	pool, all := shared.NewPool(shared.Config{}), forms()
	pub := &channel.Publication{Data: []byte(`{"a":1}`), Tags: map[string]string{"k": "v"}, Info: &channel.ClientInfo{User: "u", Client: "c"}, Position: channel.Position{Offset: 7}}
	var e Encoder
	for mask := range uint16(1) << len(all) {
		out := e.Publication(all, pool, Want{Forms: mask}, "news", "", pub)
		for i := range all {
			b := out.Bytes[Plain][i]
			if (b != nil) != (mask>>i&1 != 0) || out.Bytes[Full][i] != nil || out.Bytes[Delta][i] != nil {
				t.Fatalf("forms %b: form %d encoded %t", mask, i, b != nil)
			}
			if b == nil {
				continue
			}
			want, err := proto.AppendPublicationPush(nil, all[i].Payload(), "news", &proto.Publication{
				Data: pub.Data, Tags: pub.Tags, Info: &proto.ClientInfo{User: "u", Client: "c"}, Offset: 7,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := payload(t, b, i); got != string(want) {
				t.Errorf("form %d is %q", i, got)
			}
		}
		out.Release()
	}
	if e.pub.Data != nil || e.pub.Info != nil || e.info.User != "" {
		t.Error("the encoder keeps what belongs to the publisher")
	}
}

func TestFormsThatCannotCarryTheDataAreBarred(t *testing.T) {
	all := forms()
	var e Encoder
	out := e.Publication(all, shared.NewPool(shared.Config{}), Want{Forms: 0b1111, Deltas: 0b1111}, "news", "",
		&channel.Publication{Data: []byte{0, 0xff}, Prev: []byte{1}})
	defer out.Release()
	for i := range all {
		if barred := out.Barred>>i&1 != 0; barred != (all[i].Encoding == proto.JSON) || barred == (out.Bytes[Plain][i] != nil) {
			t.Errorf("form %d (%s): barred %t, encoded %t", i, all[i].Encoding, barred, out.Bytes[Plain][i] != nil)
		}
	}
}

func TestDifferencesLeadFromOnePublicationToTheNext(t *testing.T) {
	pool, all := shared.NewPool(shared.Config{}), forms()
	prev := []byte(`{"text":"` + strings.Repeat("what was said before ", 20) + `"}`)
	next := []byte(`{"text":"` + strings.Repeat("what was said before ", 20) + `and after"}`)
	var e Encoder
	out := e.Publication(all, pool, Want{Forms: 0b1111, Deltas: 0b1011}, "news", "", &channel.Publication{Data: next, Prev: prev})
	defer out.Release()
	for i := range all {
		if i == 2 {
			if out.Bytes[Full][i] != nil || out.Bytes[Delta][i] != nil {
				t.Error("a difference was made for a form that nobody reads it in")
			}
			continue
		}
		enc := all[i].Payload()
		if json := enc == proto.JSON; json != (out.Bytes[Full][i] != nil) {
			t.Errorf("form %d: a whole publication as text: %t", i, !json)
		}
		pub := decode(t, enc, payload(t, out.Bytes[Delta][i], i)).Push.Pub
		patch := pub.Data
		if enc == proto.JSON {
			patch = unquote(t, patch)
			full := decode(t, enc, payload(t, out.Bytes[Full][i], i)).Push.Pub
			if full.Delta || string(unquote(t, full.Data)) != string(next) {
				t.Errorf("form %d: the whole is %s", i, full.Data)
			}
		}
		got, err := delta.Apply(nil, prev, patch, 1<<20)
		if err != nil || !pub.Delta || string(got) != string(next) {
			t.Errorf("form %d: the difference gives %s, %v", i, got, err)
		}
	}
}

func unquote(t *testing.T, text []byte) []byte {
	t.Helper()
	r := decode(t, proto.JSON, `{"id":1,"error":{"message":`+string(text)+`}}`)
	return []byte(r.Error.Message)
}

func TestADifferenceThatIsNoShorterOrCutsACharacterIsNotMade(t *testing.T) {
	pool, all := shared.NewPool(shared.Config{}), forms()[:2]
	var e Encoder
	out := e.Publication(all, pool, Want{Forms: 0b11, Deltas: 0b11}, "news", "", &channel.Publication{Data: []byte(`1`), Prev: []byte(`22`)})
	if out.Bytes[Delta][0] != nil || out.Bytes[Delta][1] != nil || out.Bytes[Full][0] == nil {
		t.Error("a difference longer than the whole was made")
	}
	out.Release()
	long := strings.Repeat("0123456789abcdef", 40)
	out = e.Publication(all, pool, Want{Forms: 0b11, Deltas: 0b11}, "news", "",
		&channel.Publication{Data: []byte(`"` + long + "\u00e9" + long + `"`), Prev: []byte(`"` + long + "\u00e8" + long + `"`)})
	defer out.Release()
	if out.Barred != 0 || out.Bytes[Full][0] == nil || out.Bytes[Delta][1] == nil {
		t.Errorf("barred %b", out.Barred)
	}
	if b := out.Bytes[Delta][0]; b != nil { // where it is made it must be text
		decode(t, proto.JSON, payload(t, b, 0))
	}
}

func TestAWildcardsPublicationSaysWhereItIsFromAndHasNoOffset(t *testing.T) {
	all := forms()
	var e Encoder
	out := e.Publication(all, shared.NewPool(shared.Config{}), Want{Forms: 1}, "news:*", "news:a",
		&channel.Publication{Data: []byte(`1`), Position: channel.Position{Offset: 3, Epoch: "x"}})
	defer out.Release()
	if got := payload(t, out.Bytes[Plain][0], 0); got != `{"push":{"channel":"news:*","pub":{"data":1,"channel":"news:a"}}}` {
		t.Error(got)
	}
}

func TestSignalsShareOneFrame(t *testing.T) {
	all := forms()
	var e Encoder
	out := e.Signals(all, shared.NewPool(shared.Config{}), Want{Forms: 0b11}, "news", []channel.Signal{
		{Info: channel.ClientInfo{User: "u", Client: "a"}},
		{Info: channel.ClientInfo{Client: "b", ConnInfo: []byte{0xff}}},
		{Leave: true, Info: channel.ClientInfo{Client: "c", ChanInfo: []byte(`{"x":1}`)}},
	})
	defer out.Release()
	want := `{"push":{"channel":"news","join":{"info":{"user":"u","client":"a"}}}}` + "\n" +
		`{"push":{"channel":"news","leave":{"info":{"user":"","client":"c","chan_info":{"x":1}}}}}`
	if got := payload(t, out.Bytes[Plain][0], 0); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var d proto.ReplyDecoder
	d.Reset([]byte(payload(t, out.Bytes[Plain][1], 1)), proto.Protobuf, proto.Limits{})
	var r proto.Reply
	for i, client := range []string{"a", "b", "c"} {
		ok, err := d.Next(&r)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		info := r.Push.GetJoin().GetInfo()
		if i == 2 {
			info = r.Push.GetLeave().GetInfo()
		}
		if info.GetClient() != client {
			t.Errorf("push %d is of %q", i, info.GetClient())
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	pool, all := shared.NewPool(shared.Config{}), forms()
	for i := range all {
		all[i].Frame = func(dst, scratch, payload []byte) ([]byte, []byte) { return append(dst, payload...), scratch }
	}
	pub := &channel.Publication{Data: []byte(`{"a":1}`), Position: channel.Position{Offset: 1}}
	var e Encoder
	run := func() {
		out := e.Publication(all, pool, Want{Forms: 0b1111}, "news", "", pub)
		out.Release()
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
