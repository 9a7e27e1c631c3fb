package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"

	"shoal/codec/proto/jsontext"
)

// FuzzStrings: what is quoted is the stock server's quoting and is read back, by us and by the standard library.
func FuzzStrings(f *testing.F) {
	for _, s := range append(nasty, "\xff", "a\xffb\xc0\xaf", "\"", "01234567\xed\xa0\x80") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := jsontext.AppendQuoted(nil, s)
		if !ValidJSON(quoted) || bytes.ContainsAny(quoted, "\n<>&") {
			t.Fatalf("%q is quoted as %s", s, quoted)
		}
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil || want != strings.ToValidUTF8(each(s), "\ufffd") {
			t.Fatalf("%s is read as %q (%v)", quoted, want, err)
		}
		if got := readString(t, quoted); got != want {
			t.Fatalf("%s: got %q want %q", quoted, got, want)
		}
		if s == "" {
			return
		}
		stock, err := protocol.NewJSONReplyEncoder().Encode(&protocol.Reply{Error: &protocol.Error{Message: s}})
		if err != nil {
			t.Fatal(err)
		}
		if ours := AppendError(nil, JSON, 0, 0, s, false); !bytes.Equal(ours, stock) {
			t.Fatalf("ours %s, stock %s", ours, stock)
		}
	})
}

// each makes every invalid byte of s a replacement character of its own.
func each(s string) string { return string([]rune(s)) }

func readString(t *testing.T, quoted []byte) string {
	t.Helper()
	var r jsonReader
	r.reset(Limits{})
	r.start(quoted)
	s := r.str()
	if f := r.end(); f != 0 {
		t.Fatalf("%s: %v", quoted, f)
	}
	return s
}

func TestPayloadThatIsNotJSONIsRefusedForJSONOnly(t *testing.T) {
	for _, data := range []string{"hello", "{", "\"\xff\"", "1 2"} {
		pub := &Publication{Data: []byte(data)}
		dst := []byte("kept")
		got, err := AppendPublicationPush(dst, JSON, "news", pub)
		if !errors.Is(err, ErrNotJSON) || string(got) != "kept" {
			t.Errorf("%q: got %q, %v", data, got, err)
		}
		got, err = AppendReply(dst, JSON, &Reply{Id: 1, Rpc: &RPCResult{Data: []byte(data)}})
		if !errors.Is(err, ErrNotJSON) || string(got) != "kept" {
			t.Errorf("%q: got %q, %v", data, got, err)
		}
		got, err = AppendCommand(dst, JSON, &Command{Publish: &PublishRequest{Data: []byte(data)}})
		if !errors.Is(err, ErrNotJSON) || string(got) != "kept" {
			t.Errorf("%q: got %q, %v", data, got, err)
		}
		got, err = AppendPublicationPush(nil, Protobuf, "news", pub)
		if err != nil || string(oneReply(t, got, Protobuf).Push.Pub.Data) != data {
			t.Errorf("%q: Protobuf got %x, %v", data, got, err)
		}
	}
}

func TestLineFeedsInDataDoNotSplitTheFrame(t *testing.T) {
	pub := &Publication{Data: []byte("{\n\t\"a\": [\n1,\r\n2]\n}\n")}
	got, err := AppendPublicationPush(nil, JSON, "n", pub)
	if want := "{\"push\":{\"channel\":\"n\",\"pub\":{\"data\":{\t\"a\": [1,\r2]}}}}"; string(got) != want || err != nil {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
}

func TestNullDataStaysNull(t *testing.T) {
	const frame = `{"id":1,"publish":{"channel":"a","data":null}}`
	if cmd := oneCommand(t, []byte(frame), JSON); string(cmd.Publish.Data) != "null" {
		t.Errorf("got %q", cmd.Publish.Data)
	}
	stock, err := protocol.NewJSONCommandDecoder([]byte(frame)).Decode()
	if err != io.EOF || string(stock.Publish.Data) != "null" {
		t.Errorf("stock: got %q, %v", stock.Publish.Data, err)
	}
}

func TestMessagesShareAFrame(t *testing.T) {
	for _, enc := range []Encoding{JSON, Protobuf} {
		frame := AppendPing(nil, enc)
		frame = AppendSep(frame, enc)
		frame = AppendError(frame, enc, 7, 103, "permission denied", true)
		frame = AppendSep(frame, enc)
		frame, err := AppendPublicationPush(frame, enc, []byte("news"), &Publication{Data: []byte("{}"), Offset: 3})
		if err != nil {
			t.Fatal(err)
		}
		var d ReplyDecoder
		var got []string
		d.Reset(frame, enc, Limits{})
		for {
			var r Reply
			ok, err := d.Next(&r)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			b, _ := AppendReply(nil, JSON, &r)
			got = append(got, string(b))
		}
		want := []string{`{}`, `{"id":7,"error":{"code":103,"message":"permission denied","temporary":true}}`,
			`{"push":{"channel":"news","pub":{"data":{},"offset":3}}}`}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: got %q", enc, got)
		}
	}
	if got := AppendPong(nil, JSON); string(got) != "{}" {
		t.Errorf("pong %q", got)
	}
	if got := AppendPong(nil, Protobuf); string(got) != "\x00" {
		t.Errorf("pong %q", got)
	}
}

// TestRepliesOfAStockServerMayBeLong: the limit of parts is the server's protection and not set for a client.
func TestRepliesOfAStockServerMayBeLong(t *testing.T) {
	reply := &Reply{Id: 1, History: &HistoryResult{}}
	for i := range 10_000 {
		reply.History.Publications = append(reply.History.Publications, &Publication{Offset: uint64(i + 1)})
	}
	for _, enc := range []Encoding{JSON, Protobuf} {
		frame, err := AppendReply(nil, enc, reply)
		if err != nil {
			t.Fatal(err)
		}
		mustSame(t, enc.String(), oneReply(t, frame, enc), reply)
	}
}
