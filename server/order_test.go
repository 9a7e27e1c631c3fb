package server

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/ws"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// Publishers race each other through the API's door and as clients on both loops; all
// receivers see one order, without gap or duplicate.
func TestAllReceiversSeeOneOrder(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	const publishers, each, receivers = 4, 150, 24
	var all []*receiver
	for i := range receivers {
		query := []string{"", "?format=protobuf"}[i%2]
		var lines []string
		if i%3 == 0 {
			lines = []string{"Sec-WebSocket-Extensions: permessage-deflate"}
		}
		c := &receiver{raw: r.openRaw(t, query, lines...)}
		c.connect("")
		c.subscribe("race")
		all = append(all, c)
	}
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				data := fmt.Appendf(nil, `{"p":%d,"i":%d}`, p, i)
				if _, e := r.p.node.Publish(context.Background(), "race", &channel.Publication{Data: data}, node.PublishOptions{}); e != nil {
					t.Error(e)
					return
				}
			}
		})
	}
	for p := range 2 {
		c := r.openRaw(t, "")
		c.connect("")
		c.subscribe("race")
		wg.Go(func() {
			for i := range each {
				c.frame(ws.Text, true, false, fmt.Appendf(nil, `{"id":%d,"publish":{"channel":"race","data":{"p":%d,"i":%d}}}`, i+100, publishers+p, i))
			}
		})
		wg.Go(func() { // reads, so that it is not slow
			for {
				if _, _, _, err := c.next(); err != nil {
					return
				}
			}
		})
		t.Cleanup(func() { c.conn.Close() })
	}
	const total = (publishers + 2) * each
	orders := make([][]string, len(all))
	for k, c := range all {
		orders[k] = c.order(t, total)
	}
	checkOrders(t, orders, publishers+2, each)
}

// order reads n publications.
func (c *receiver) order(t *testing.T, n int) (out []string) {
	t.Helper()
	for len(out) < n {
		op, rsv1, payload, err := c.next()
		if err != nil {
			t.Fatalf("after %d publications: %v", len(out), err)
		}
		if op != ws.Text && op != ws.Binary {
			t.Fatalf("after %d publications: %s %s", len(out), op, closeText(payload))
		}
		if rsv1 {
			payload = inflated(t, payload)
		}
		for _, reply := range c.decode(payload) {
			if reply.Push != nil {
				out = append(out, string(reply.Push.Pub.Data))
			}
		}
	}
	return out
}

func checkOrders(t *testing.T, orders [][]string, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	for i, data := range orders[0] {
		var p, k int
		if _, err := fmt.Sscanf(data, `{"p":%d,"i":%d}`, &p, &k); err != nil {
			t.Fatal(err)
		}
		if k != next[p] {
			t.Fatalf("publication %d of all is %d of publisher %d, want its %d", i, k, p, next[p])
		}
		next[p]++
	}
	for p, n := range next {
		if n != each {
			t.Errorf("%d publications of publisher %d came, want %d", n, p, each)
		}
	}
	for k, order := range orders {
		for i := range order {
			if order[i] != orders[0][i] {
				t.Fatalf("receiver %d got %s in place %d, receiver 0 got %s", k, order[i], i, orders[0][i])
			}
		}
	}
}

func TestPublicationsReachDeflatedClientsCompressed(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.WebSocket.Compression = true
		c.WebSocket.CompressionMinSize = 100
	}))
	long := `{"text":"` + string(make100()) + `"}`
	for _, query := range []string{"", "?format=protobuf"} {
		for _, offer := range []string{"permessage-deflate", "permessage-deflate; server_max_window_bits=9"} {
			c := r.openRaw(t, query, "Sec-WebSocket-Extensions: "+offer)
			c.connect("")
			c.subscribe("x")
			for data, want := range map[string]bool{long: offer == "permessage-deflate", `{"short":1}`: false} {
				if status, body := r.call("publish", `{"channel":"x","data":`+data+`}`); status != 200 {
					t.Fatal(body)
				}
				_, rsv1, payload, err := c.next()
				if err != nil {
					t.Fatal(err)
				}
				if rsv1 != want {
					t.Errorf("%s %s: %d bytes came compressed %t, want %t", query, offer, len(data), rsv1, want)
				}
				if rsv1 {
					if len(payload) > len(data)/4 {
						t.Errorf("%d bytes came as %d", len(data), len(payload))
					}
					payload = inflated(t, payload)
				}
				if got := string(c.decode(payload)[0].Push.Pub.Data); got != data {
					t.Errorf("%s %s: got %.40s…", query, offer, got)
				}
			}
		}
	}
}

func make100() []byte {
	b := make([]byte, 2000)
	for i := range b {
		b[i] = "abcdefghij"[i%10]
	}
	return b
}

func TestCompressedCommandsAreUnderstood(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
	c := r.openRaw(t, "", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	c.frame(ws.Text, true, true, deflated(t, []byte(`{"id":1,"connect":{}}`)))
	p := deflated(t, []byte(`{"id":2,"subscribe":{"channel":"x"}}`+"\n"+`{"id":3,"publish":{"channel":"x","data":{"squeezed":true}}}`))
	c.frame(ws.Text, false, true, p[:5])
	c.frame(ws.PingOp, true, false, nil)
	c.frame(ws.Continuation, true, false, p[5:])
	seen := map[string]bool{}
	for len(seen) < 4 {
		op, rsv1, payload, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if op == ws.PongOp {
			continue
		}
		if rsv1 {
			payload = inflated(t, payload)
		}
		for _, reply := range c.decode(payload) {
			switch {
			case reply.Connect != nil:
				seen["connect"] = true
			case reply.Subscribe != nil:
				seen["subscribe"] = true
			case reply.Publish != nil:
				seen["publish"] = true
			case reply.Push != nil && string(reply.Push.Pub.Data) == `{"squeezed":true}`:
				seen["push"] = true
			default:
				t.Fatalf("unexpected %v", reply)
			}
		}
	}
}

func TestStockClientWithCompression(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(func(c *config.Config) { c.WebSocket.Compression = true }))
		c := dial(r.ws(), centrifuge.Config{EnableCompression: true})
		connected(t, c)
		sub, pubs := subscribed(t, c, "x")
		long := `{"text":"` + string(make100()) + `"}`
		if _, err := sub.Publish(t.Context(), []byte(long)); err != nil {
			t.Fatal(err)
		}
		if got := string(wait(t, "publication", pubs).Data); got != long {
			t.Errorf("got %.40s…", got)
		}
	})
}
