package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
)

// acknowledging lets users acknowledge in channels "acks:…"; others keep history only.
func acknowledging(c *config.Config) {
	o := plainChannels()
	o.HistorySize, o.HistoryTTL = 100, time.Minute
	c.Channel.WithoutNamespace = o
	o.Name, o.Acknowledge, o.AllowWildcard = "acks", true, true
	c.Channel.Namespaces = []channel.Options{o}
	c.Client.AllowAnonymousConnect = true
}

// user opens a session of a user.
func (r *rig) user(t *testing.T, query, name string) *raw {
	t.Helper()
	c := r.openRaw(t, query)
	c.connect(token(t, claims{"sub": name}))
	return c
}

// ack acknowledges and returns the error's code, 0 for none, and where the cursor is.
func (c *raw) ack(name string, offset uint64, epoch string) (code uint32, at uint64) {
	c.t.Helper()
	data, err := json.Marshal(map[string]any{"channel": name, "offset": offset, "epoch": epoch})
	if err != nil {
		c.t.Fatal(err)
	}
	r := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.ack", Data: data}})
	if r.Error != nil {
		return r.Error.Code, 0
	}
	var to struct{ Offset uint64 }
	if err := json.Unmarshal(r.GetRpc().GetData(), &to); err != nil {
		c.t.Fatalf("%v: %v", r, err)
	}
	return 0, to.Offset
}

func TestWhatWasNotAcknowledgedComesAgain(t *testing.T) {
	r := start(t, tuned(withTokens, acknowledging))
	for _, query := range []string{"", "?format=protobuf"} {
		t.Run("format "+query, func(t *testing.T) {
			name := "acks:" + fmt.Sprint(len(query))
			c := r.user(t, query, "42")
			first := c.subscribed(&proto.SubscribeRequest{Channel: name})
			if first.Recovered || first.WasRecovering || !first.Positioned {
				t.Fatalf("the first subscription: %v", first)
			}
			c.hangUp()
			// Missed before anything was acknowledged: the cursor began with the subscription.
			for n := range 5 {
				r.publish(t, name, n)
			}
			c = r.user(t, query, "42")
			got := c.subscribed(&proto.SubscribeRequest{Channel: name})
			if !got.Recovered || !got.WasRecovering || got.Offset != first.Offset || !slices.Equal(offsets(got.Publications), []uint64{1, 2, 3, 4, 5}) {
				t.Fatalf("the second subscription: %v", got)
			}
			for _, step := range []struct {
				offset uint64
				epoch  string
				code   uint32
				at     uint64
			}{
				{3, got.Epoch, 0, 3}, {2, got.Epoch, 0, 3}, {0, got.Epoch, 0, 3}, {3, got.Epoch, 0, 3},
				{4, "another", 112, 0}, {4, "", 112, 0}, {6, got.Epoch, 107, 0}, {1 << 63, got.Epoch, 107, 0},
			} {
				if code, at := c.ack(name, step.offset, step.epoch); code != step.code || at != step.at {
					t.Errorf("ack of %d in %q: error %d, at %d; want %d, %d", step.offset, step.epoch, code, at, step.code, step.at)
				}
			}
			c.hangUp()
			for range 2 { // nothing more is acknowledged: again and again
				c = r.user(t, query, "42")
				got = c.subscribed(&proto.SubscribeRequest{Channel: name})
				if !got.Recovered || got.Offset != 3 || !slices.Equal(offsets(got.Publications), []uint64{4, 5}) {
					t.Errorf("after an ack of 3: %v", got)
				}
				c.hangUp()
			}
			c = r.user(t, query, "42")
			ahead := c.subscribed(&proto.SubscribeRequest{Channel: name, Recover: true, Offset: 1, Epoch: got.Epoch})
			if !ahead.Recovered || !slices.Equal(offsets(ahead.Publications), []uint64{4, 5}) {
				t.Errorf("a position behind the cursor: %v", ahead)
			}
			if at := r.publish(t, name, 6); c.pub().Offset != at.Offset {
				t.Error("live publications do not follow")
			}
			if code, at := c.ack(name, 6, got.Epoch); code != 0 || at != 6 {
				t.Errorf("ack of what was just pushed: error %d, at %d", code, at)
			}
			if other := r.user(t, query, "7").subscribed(&proto.SubscribeRequest{Channel: name}); len(other.Publications) > 0 || other.Recovered {
				t.Errorf("another user: %v", other)
			}
		})
	}
}

func TestAcksAreRefused(t *testing.T) {
	r := start(t, tuned(withTokens, acknowledging))
	c := r.user(t, "", "42")
	plain := c.subscribed(&proto.SubscribeRequest{Channel: "plain", Positioned: true})
	c.subscribe("acks:news")
	c.subscribe("acks:*")
	anonymous := r.openRaw(t, "")
	anonymous.connect("")
	sub := anonymous.subscribed(&proto.SubscribeRequest{Channel: "acks:news"})
	for _, step := range []struct {
		what  string
		c     *raw
		name  string
		epoch string
		code  uint32
	}{
		{"option off", c, "plain", plain.Epoch, 108}, {"not subscribed", c, "acks:other", "x", 103}, {"anonymous", anonymous, "acks:news", sub.Epoch, 103},
		{"unknown namespace", c, "nowhere:x", "x", 102}, {"a wildcard", c, "acks:*", "x", 107}, {"no channel", c, "", "x", 107},
	} {
		if code, _ := step.c.ack(step.name, 0, step.epoch); code != step.code {
			t.Errorf("%s: error %d, want %d", step.what, code, step.code)
		}
	}
	for _, data := range []string{`{}`, `[]`, `null`, `1`, `"x"`, `{"channel":1}`, `{"channel":"acks:news","offset":-1}`, `{"channel":"acks:news","offset":1.5}`,
		`{"channel":"acks:news","offset":"1"}`, `{"channel":"acks:news","offset":18446744073709551616}`, `{"channel":"acks:news","epoch":7}`, `{"channel":{"channel":"acks:news"}}`} {
		if e := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.ack", Data: []byte(data)}}); e.Error.GetCode() != 107 {
			t.Errorf("%s: %v", data, e)
		}
	}
	binary := r.user(t, "?format=protobuf", "42")
	for _, data := range []string{"", "{", "\x00\xff", `{"channel":"acks:news"}x`} {
		if e := binary.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.ack", Data: []byte(data)}}); e.Error.GetCode() != 107 {
			t.Errorf("%q: %v", data, e)
		}
	}
	if count, _, _ := r.p.node.Cursors(); count != 1 {
		t.Errorf("%d cursors, want that of the one subscription", count)
	}
}

// TestWhatHistoryHasNoMoreIsLost: the subscription says so and begins anew.
func TestWhatHistoryHasNoMoreIsLost(t *testing.T) {
	r := start(t, tuned(withTokens, acknowledging, func(c *config.Config) { c.Channel.Namespaces[0].HistorySize = 3 }))
	c := r.user(t, "", "42")
	c.subscribe("acks:news")
	c.hangUp()
	for n := range 5 {
		r.publish(t, "acks:news", n)
	}
	c = r.user(t, "", "42")
	got := c.subscribed(&proto.SubscribeRequest{Channel: "acks:news", Flag: 2}) // the reject flag is for positions of the client's
	if got.Recovered || !got.WasRecovering || len(got.Publications) > 0 || got.Offset != 5 {
		t.Errorf("got %v", got)
	}
	if n := r.p.node.Stats().RedeliveryLost.Load(); n != 1 {
		t.Errorf("counted %d times", n)
	}
	c.hangUp()
	r.publish(t, "acks:news", 6)
	c = r.user(t, "", "42")
	if got = c.subscribed(&proto.SubscribeRequest{Channel: "acks:news"}); !got.Recovered || !slices.Equal(offsets(got.Publications), []uint64{6}) {
		t.Errorf("from there on: %v", got)
	}
}

// TestServerSideSubscriptionsAreDeliveredAgain: in the connect result, and by a resume
// token too.
func TestServerSideSubscriptionsAreDeliveredAgain(t *testing.T) {
	r := start(t, tuned(withTokens, acknowledging))
	in := func(resume string, subs map[string]*proto.SubscribeRequest) (*raw, *proto.ConnectResult) {
		c := r.openRaw(t, "")
		return c, c.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42", "channels": []string{"acks:mine"}}), Resume: resume, Subs: subs})
	}
	c, first := in("new", nil)
	c.hangUp()
	r.publish(t, "acks:mine", 1)
	r.publish(t, "acks:mine", 2)
	conn, got := in("", nil)
	if sub := got.Subs["acks:mine"]; got.Resumed || !sub.GetRecovered() || !slices.Equal(offsets(sub.GetPublications()), []uint64{1, 2}) {
		t.Errorf("by the connection token: %v", got)
	}
	if code, _ := conn.ack("acks:mine", 1, got.Subs["acks:mine"].GetEpoch()); code != 0 {
		t.Errorf("ack refused with %d", code)
	}
	conn.hangUp()
	conn, got = in(first.Resume, map[string]*proto.SubscribeRequest{"acks:mine": {}})
	if sub := got.Subs["acks:mine"]; !got.Resumed || !sub.GetRecovered() || !slices.Equal(offsets(sub.GetPublications()), []uint64{2}) {
		t.Errorf("by the resume token: %v", got)
	}
	conn.hangUp()
}

// TestStockClientsAcknowledge: a stock SDK that subscribes anew, without a position of its
// own, is handed what it has not acknowledged.
func TestStockClientsAcknowledge(t *testing.T) {
	r := start(t, tuned(withTokens, acknowledging))
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		name := "acks:" + t.Name()
		run := func(want []uint64, then func(client *centrifuge.Client, epoch string)) {
			t.Helper()
			client := dial(r.ws(), centrifuge.Config{Token: token(t, claims{"sub": "42"})})
			defer client.Close()
			sub, err := client.NewSubscription(name)
			if err != nil {
				t.Fatal(err)
			}
			epochs, pubs := make(chan string, 1), make(chan uint64, 100)
			sub.OnSubscribed(func(e centrifuge.SubscribedEvent) { epochs <- e.StreamPosition.Epoch })
			sub.OnPublication(func(e centrifuge.PublicationEvent) { pubs <- e.Offset })
			if err := client.Connect(); err != nil {
				t.Fatal(err)
			}
			if err := sub.Subscribe(); err != nil {
				t.Fatal(err)
			}
			epoch := wait(t, "subscribed", epochs)
			for _, offset := range want {
				if got := wait(t, "publication", pubs); got != offset {
					t.Errorf("got %d, want %d", got, offset)
				}
			}
			then(client, epoch)
		}
		run(nil, func(*centrifuge.Client, string) {})
		epoch := ""
		for n := range 3 {
			epoch = r.publish(t, name, n).Epoch
		}
		run([]uint64{1, 2, 3}, func(client *centrifuge.Client, _ string) {
			data := fmt.Appendf(nil, `{"channel":%q,"offset":2,"epoch":%q}`, name, epoch)
			res, err := client.RPC(t.Context(), "shoal.ack", data)
			if err != nil || string(res.Data) != fmt.Sprintf(`{"offset":2,"epoch":%q}`, epoch) {
				t.Errorf("ack answered %s, %v", res.Data, err)
			}
		})
		run([]uint64{3}, func(*centrifuge.Client, string) {})
	})
}
