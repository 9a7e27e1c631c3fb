package server

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// lockstep publishes until stop says so, each publication only after all receivers
// have the one before: a receiver that reads never has a backlog, however busy the
// machine is. It returns the number of publications.
func (r *rig) lockstep(t *testing.T, name string, data func(i int) string, receivers []*raw, stop func() bool) int {
	t.Helper()
	const most = 5000
	for i := range most {
		if i%10 == 0 && stop() {
			return i
		}
		want := data(i)
		if _, e := r.p.node.Publish(t.Context(), name, &channel.Publication{Data: []byte(want)}, node.PublishOptions{}); e != nil {
			t.Fatalf("publication %d: %v", i, e)
		}
		for k, c := range receivers {
			if got := string(c.pub().Data); got != want {
				t.Fatalf("receiver %d got %.60s…, want %.60s…", k, got, want)
			}
		}
	}
	t.Fatal("nothing happened for so many publications")
	return 0
}

// patientClose lets a test take its time to read what a slow receiver was sent.
func patientClose(c *config.Config) { c.Loop.CloseTimeout = patience }

// stalled is a subscriber with small socket buffers who does not read.
func (r *rig) stalled(t *testing.T, query, name string, lines ...string) *raw {
	t.Helper()
	c := r.dialRaw(t)
	if err := c.conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil { // a smaller one makes reading what came before the end take seconds
		t.Fatal(err)
	}
	c.upgradeTo(wsPath+query, lines...)
	c.connect("")
	c.subscribe(name)
	return c
}

func (r *rig) readers(t *testing.T, n int, name string) (out []*raw) {
	t.Helper()
	for i := range n {
		c := r.openRaw(t, []string{"", "?format=protobuf"}[i%2])
		c.connect("")
		c.subscribe(name)
		out = append(out, c)
	}
	return out
}

func numbered(i int) string {
	return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 32<<10))
}

// inOrderUntilClosed reads publications made by numbered, which must be a prefix
// without a gap, and returns the code that ended the connection.
func (c *raw) inOrderUntilClosed() (n, code int) {
	c.t.Helper()
	for {
		op, _, payload, err := c.next()
		if err != nil {
			return n, 0
		}
		switch op {
		case ws.CloseOp:
			return n, int(payload[0])<<8 | int(payload[1])
		case ws.Text, ws.Binary:
			for _, reply := range c.decode(payload) {
				if reply.Push == nil {
					continue
				}
				if want := fmt.Sprintf(`{"n":%d,`, n); !strings.HasPrefix(string(reply.Push.Pub.Data), want) {
					c.t.Fatalf("got %.30s…, want %s…", reply.Push.Pub.Data, want)
				}
				n++
			}
		}
	}
}

func TestSlowReceiversAreEndedWith3008AndHarmNobody(t *testing.T) {
	r := start(t, tuned(patientClose, func(c *config.Config) { c.Client.QueueMaxSize = 256 << 10 }))
	before := r.metrics(t)
	healthy := r.readers(t, 6, "flood")
	var slow []*raw
	for i := range 6 {
		slow = append(slow, r.stalled(t, []string{"", "?format=protobuf"}[i%2], "flood"))
	}
	disconnects := func() uint64 { return r.disconnected(3008) }
	n := r.lockstep(t, "flood", numbered, healthy, func() bool { return disconnects() == uint64(len(slow)) })
	if got := r.p.node.Stats().Connected.Load(); got != int64(len(healthy)) {
		t.Errorf("%d sessions are connected, want the %d healthy ones", got, len(healthy))
	}
	eventually(t, "the backlog is given back", func() bool { return r.metrics(t)["shoal_backlog_bytes"] < 256<<10 })
	r.grown(t, `shoal_drops_total{reason="slow"}`, before)
	r.grown(t, `shoal_disconnects_total{code="3008"}`, before)
	r.grown(t, `shoal_conns_closed_total{reason="slow"}`, before)
	for i, c := range slow {
		got, code := c.inOrderUntilClosed()
		if code != 3008 || got >= n {
			t.Errorf("slow receiver %d got %d of %d publications and was closed with %d, want 3008", i, got, n, code)
		}
	}
	for _, c := range healthy {
		c.subscribe("afterwards")
	}
}

// disconnected is how many sessions were ended with a code.
func (r *rig) disconnected(code uint32) (count uint64) {
	r.p.node.Stats().EachDisconnect(func(c uint32, n uint64) {
		if c == code {
			count = n
		}
	})
	return count
}

func TestNodeBacklogLimitEndsWhoIsBlocked(t *testing.T) {
	r := start(t, tuned(patientClose, func(c *config.Config) {
		c.Client.QueueMaxSize = 256 << 20
		c.Loop.NodeBacklogSize = 1 << 20
	}))
	before := r.metrics(t)
	healthy := r.readers(t, 4, "flood")
	slow := r.stalled(t, "", "flood")
	n := r.lockstep(t, "flood", numbered, healthy, func() bool { return r.disconnected(3008) == 1 })
	r.grown(t, `shoal_conns_closed_total{reason="node-backlog"}`, before)
	if got, code := slow.inOrderUntilClosed(); code != 3008 || got >= n {
		t.Errorf("the slow receiver got %d of %d and was closed with %d, want 3008", got, n, code)
	}
}

// TestTheLargestBacklogGoesFirst: when the node has no room, whoever has the most goes, not who happens to be sent to.
func TestTheLargestBacklogGoesFirst(t *testing.T) {
	r := start(t, tuned(patientClose, func(c *config.Config) {
		c.Client.QueueMaxSize = 256 << 20
		c.Loop.NodeBacklogSize = 4 << 20
	}))
	before := r.metrics(t)
	little, much, healthy := r.stalled(t, "", "little"), r.stalled(t, "", "flood"), r.readers(t, 1, "flood")
	backlog := func() float64 { return r.metrics(t)["shoal_backlog_bytes"] }
	i := 0
	n := r.lockstep(t, "little", numbered, nil, func() bool { i++; return i > 3 }) // more than the kernel takes
	eventually(t, "the one with little waits", func() bool { return backlog() > 0 })
	small := func(i int) string { return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 2<<10)) }
	r.lockstep(t, "flood", small, healthy, func() bool { return r.disconnected(3008) > 0 })
	eventually(t, "the backlog is given back", func() bool { return backlog() < 2<<20 })
	for _, name := range []string{`shoal_drops_total{reason="slow-largest"}`, `shoal_conns_closed_total{reason="node-backlog"}`, "shoal_backlog_reliefs_total"} {
		eventually(t, name+" rises by one", func() bool { return r.metrics(t)[name] == before[name]+1 })
	}
	since := len(r.logs.since(0))
	r.p.watchBacklog(backlogSeconds)
	r.p.watchBacklog(2 * backlogSeconds)
	if lines := r.logs.since(since); len(lines) != 1 || !strings.Contains(lines[0], "loop.node_backlog_size") {
		t.Errorf("logged %q", lines)
	}
	if _, code := much.inOrderUntilClosed(); code != 3008 {
		t.Errorf("the one with the largest backlog was closed with %d, want 3008", code)
	}
	for i := range n {
		if got := string(little.pub().Data); got != numbered(i) {
			t.Fatalf("publication %d of the one that was spared is %.60s…", i, got)
		}
	}
}

func TestSlowReceiverOfCompressedPublications(t *testing.T) {
	r := start(t, tuned(patientClose, func(c *config.Config) {
		c.WebSocket.Compression = true
		c.Client.QueueMaxSize = 64 << 10
	}))
	healthy := r.readers(t, 2, "flood")
	slow := r.stalled(t, "", "flood", "Sec-WebSocket-Extensions: permessage-deflate")
	seed := uint32(1)
	noise := func(i int) string { // does not compress well
		b := make([]byte, 16<<10)
		for k := range b {
			seed = seed*1664525 + 1013904223
			b[k] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[seed>>26]
		}
		return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, b)
	}
	r.lockstep(t, "flood", noise, healthy, func() bool { return r.disconnected(3008) == 1 })
	last := -1
	for {
		op, rsv1, payload, err := slow.next()
		if err != nil {
			t.Fatal(err)
		}
		if rsv1 {
			payload = inflated(t, payload)
		}
		if op == ws.CloseOp {
			if got := closeText(payload); !strings.Contains(got, "3008") {
				t.Errorf("ended with %s", got)
			}
			return
		}
		var n int
		data := string(slow.decode(payload)[0].Push.Pub.Data)
		if _, err := fmt.Sscanf(data, `{"n":%d`, &n); err != nil || n != last+1 {
			t.Fatalf("got publication %d after %d (%v)", n, last, err)
		}
		last = n
	}
}

// Who sends requests and does not read the answers is no better.
func TestFloodWithUnreadAnswersIsEnded(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Client.QueueMaxSize, c.WebSocket.ControlFrameLimit = 64<<10, 0 }))
	watch := r.control(t, "")
	floods := map[string][]byte{
		"pings":     ws.AppendMasked(nil, ws.PingOp, testMask, make([]byte, 125)),
		"commands":  ws.AppendMasked(nil, ws.Text, testMask, []byte(strings.Repeat(`{"id":7,"rpc":{"method":"x"}}`+"\n", 500)+`{"id":7,"rpc":{}}`)),
		"fragments": ws.AppendMaskedFrame(nil, ws.Continuation, false, false, testMask, nil),
	}
	for name, one := range floods {
		t.Run(name, func(t *testing.T) {
			c := r.stalled(t, "", "news")
			if name == "fragments" { // costs nothing, so it may go on
				c.frame(ws.Text, false, false, nil)
			}
			many := []byte(strings.Repeat(string(one), 1+(64<<10)/len(one)))
			for sent := 0; sent < 64<<20; sent += len(many) {
				if _, err := c.conn.Write(many); err != nil {
					if name == "fragments" {
						t.Errorf("empty fragments ended the connection: %v", err)
					}
					watch.check(t)
					return
				}
				if sent%(16*len(many)) == 0 {
					watch.check(t)
				}
			}
			if name != "fragments" {
				t.Error("64 MiB were sent and nothing read, and the connection is still open")
			}
			c.conn.Close()
		})
	}
	eventually(t, "two connections are counted as slow", func() bool { // a loop publishes its counts at the end of a turn
		return r.metrics(t)[`shoal_conns_closed_total{reason="slow"}`] == 2
	})
}

// Data that is no JSON cannot go to JSON clients, which are told so (3506); others
// get it.
func TestBinaryPublicationEndsJSONClientsWith3506(t *testing.T) {
	r := start(t, quick)
	before := r.metrics(t)
	json, binary := r.openRaw(t, ""), r.openRaw(t, "?format=protobuf")
	for _, c := range []*raw{json, binary} {
		c.connect("")
		c.subscribe("bytes")
	}
	if reply := binary.do(&proto.Command{Publish: &proto.PublishRequest{Channel: "bytes", Data: []byte("\x00\xff{")}}); reply.Error != nil {
		t.Fatal(reply)
	}
	json.expectClosed(3506)
	r.grown(t, `shoal_drops_total{reason="not-json"}`, before)
	r.call("publish", `{"channel":"bytes","b64data":"AP8="}`)
	for {
		if string(binary.pub().Data) == "\x00\xff" {
			return
		}
	}
}

// A message that trickles in is cut when it takes too long, although every byte is
// a sign of life.
func TestTricklingMessageIsCutWith1008(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.MessageTimeout = 500 * time.Millisecond }))
	ctl := r.control(t, "")
	c := r.openRaw(t, "")
	c.connect("")
	frame := maskedText(`{"id":9,"rpc":{"method":"` + strings.Repeat("x", 4000) + `"}}`)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for i := range frame { // a byte every 10 ms: 40 s in all
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				c.write(frame[i : i+1])
			}
		}
	}()
	c.expectClosed(1008)
	ctl.check(t)
}

func TestManyPartialMessagesInARowAreNotOne(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.WebSocket.MessageTimeout = 300 * time.Millisecond }))
	c := r.openRaw(t, "")
	c.connect("")
	var stream []byte
	const messages = 60
	for i := range messages {
		stream = append(stream, maskedText(fmt.Sprintf(`{"id":%d,"presence":{"channel":"x"}}`, i+10))...)
	}
	// Every write ends in the middle of a message; together they take several times
	// the limit.
	size := len(stream) / messages
	go func() {
		for at := 0; at < len(stream); {
			n := min(size+1, len(stream)-at)
			c.write(stream[at : at+n])
			at += n
			time.Sleep(20 * time.Millisecond)
		}
	}()
	for i, reply := range c.replies(messages) {
		if reply.Id != uint32(i+10) {
			t.Fatalf("reply %d belongs to command %d", i, reply.Id)
		}
	}
}

// The clock of a loop begins at tick 0: a message that begins there is as young as
// any other.
func TestMessageThatBeginsInTheFirstTickIsNotLate(t *testing.T) {
	r := start(t, func(c *config.Config) { c.Loop.Tick = time.Second })
	c := r.openRaw(t, "")
	frame := maskedText(`{"id":1,"connect":{}}`)
	c.write(frame[:10])
	time.Sleep(20 * time.Millisecond) // so that it is read in two pieces, most likely
	c.write(frame[10:])
	if reply := c.replies(1)[0]; reply.Connect == nil {
		t.Errorf("answered %v", reply)
	}
}
