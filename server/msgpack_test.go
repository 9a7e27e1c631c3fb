package server

import (
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	codecmsgpack "shoal/codec/msgpack"
	"shoal/codec/proto"
	"shoal/codec/ws"
)

// packed is a client that speaks MessagePack.
type packed struct{ *raw }

func (r *rig) openPacked(t *testing.T) packed {
	t.Helper()
	c := r.dialRaw(t)
	c.write([]byte(upgrade(wsPath, "Sec-WebSocket-Protocol: centrifuge-unknown, shoal-msgpack")))
	if res := c.response(); res.Header.Get("Sec-WebSocket-Protocol") != "shoal-msgpack" {
		t.Fatalf("upgrade answered %s, %v", res.Status, res.Header)
	}
	c.enc = proto.Protobuf // inside
	return packed{c}
}

// say sends one map, as a client without the schema would write it.
func (c packed) say(command map[string]any) {
	c.t.Helper()
	b, err := msgpack.Marshal(command)
	if err != nil {
		c.t.Fatal(err)
	}
	c.frame(ws.Binary, true, false, b)
}

// read returns the next reply or push as such a client reads it, and as the schema does.
func (c packed) read() (map[string]any, *proto.Reply) {
	c.t.Helper()
	b := c.data()
	var m map[string]any
	if err := msgpack.Unmarshal(b, &m); err != nil {
		c.t.Fatalf("%x: %v", b, err)
	}
	inside, err := codecmsgpack.UnpackReplies(nil, b, proto.Limits{})
	if err != nil {
		c.t.Fatalf("%x: %v", b, err)
	}
	return m, c.decode(inside)[0]
}

func TestMessagePackEndToEnd(t *testing.T) {
	r := start(t, quick)
	c := r.openPacked(t)
	c.say(map[string]any{"id": 1, "connect": map[string]any{"name": "packer"}})
	if m, re := c.read(); re.Id != 1 || re.Connect == nil || re.Connect.Client == "" || m["connect"] == nil {
		t.Fatalf("connect answered %v", m)
	}
	c.say(map[string]any{"id": 2, "subscribe": map[string]any{"channel": "news", "unknown": []int{1}}})
	if m, re := c.read(); re.Subscribe == nil {
		t.Fatalf("subscribe answered %v", m)
	}
	json := r.openRaw(t, "")
	json.connect("")
	json.subscribe("news")
	c.say(map[string]any{"id": 3, "publish": map[string]any{"channel": "news", "data": []byte(`{"from":"msgpack"}`)}})
	got := 0
	for range 2 { // reply and publication, in whatever order
		if _, re := c.read(); re.Publish != nil || re.Push.GetPub() != nil && string(re.Push.Pub.Data) == `{"from":"msgpack"}` {
			got++
		}
	}
	if pub := json.pub(); got != 2 || string(pub.Data) != `{"from":"msgpack"}` {
		t.Errorf("the JSON client got %s", pub.Data)
	}
	c.frame(ws.Binary, true, false, []byte{0xc1}) // no MessagePack
	c.expectClosed(3501)
}
