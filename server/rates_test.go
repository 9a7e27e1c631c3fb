package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/config"
)

// allow limits commands: so many, and none back while a test runs.
func allow(n int, commands ...string) config.RateLimit {
	return config.RateLimit{Commands: commands, Limit: 1, Interval: 24 * time.Hour / time.Duration(n), Burst: n}
}

// rated is a server where anonymous clients may publish and ask who is there.
func rated(change func(c *config.Client)) func(*config.Config) {
	return tuned(func(c *config.Config) {
		c.Channel.WithoutNamespace.Presence, c.Client.Insecure = true, true
		change(&c.Client)
	})
}

// batch sends commands in one message.
func (c *raw) batch(commands ...*proto.Command) {
	c.t.Helper()
	var b []byte
	for i, cmd := range commands {
		if i > 0 {
			b = proto.AppendSep(b, c.enc)
		}
		var err error
		if b, err = proto.AppendCommand(b, c.enc, cmd); err != nil {
			c.t.Fatal(err)
		}
	}
	c.message(b)
}

func code(r *proto.Reply) uint32 { return r.GetError().GetCode() }

func publish(id uint32, name string, n int) *proto.Command {
	return &proto.Command{Id: id, Publish: &proto.PublishRequest{Channel: name, Data: fmt.Append(nil, n)}}
}

// Two clients, each within a limit of their own; what is over it is answered in its turn
// and reaches nobody.
func TestCommandsOverALimitAreAnsweredWith111AndNotPerformed(t *testing.T) {
	r := start(t, rated(func(c *config.Client) { c.RateLimits = []config.RateLimit{allow(3, "publish"), allow(9, "all")} }))
	before := r.metrics(t)
	listener := r.openRaw(t, "")
	listener.connect("")
	listener.subscribe("room")
	for i, query := range []string{"", "?format=protobuf"} {
		c := r.openRaw(t, query)
		c.connect("")
		var commands []*proto.Command
		for k := range 5 {
			commands = append(commands, publish(uint32(10+2*k), "room", 100*i+k),
				&proto.Command{Id: uint32(11 + 2*k), PresenceStats: &proto.PresenceStatsRequest{Channel: "room"}})
		}
		c.batch(append(commands, &proto.Command{Id: 20, Unsubscribe: &proto.UnsubscribeRequest{Channel: "x"}},
			&proto.Command{Id: 21, Unsubscribe: &proto.UnsubscribeRequest{Channel: "x"}})...)
		var got []string
		for _, reply := range c.replies(12) {
			got = append(got, fmt.Sprint(reply.Id, ":", code(reply)))
		}
		want := strings.Fields("10:0 11:0 12:0 13:0 14:0 15:0 16:111 17:0 18:111 19:0 20:0 21:111") // 3 + 5 + 1 are 9
		if !slices.Equal(got, want) {
			t.Errorf("%q: the replies are %v, want %v", query, got, want)
		}
		for k := range 3 {
			if got, want := string(listener.pub().Data), fmt.Sprint(100*i+k); got != want {
				t.Errorf("%q: publication %s came, want %s", query, got, want)
			}
		}
	}
	for name, want := range map[string]float64{
		`shoal_commands_refused_total{method="publish"}`: 4, `shoal_commands_refused_total{method="unsubscribe"}`: 2, `shoal_command_errors_total{code="111"}`: 6,
	} {
		if got := r.metrics(t)[name] - before[name]; got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
	c := r.openRaw(t, "") // in the slot of somebody who left, or in one of its own
	c.connect("")
	if reply := c.do(publish(0, "room", 1)); code(reply) != 0 {
		t.Errorf("a client's first publish was answered with %d", code(reply))
	}
}

// A client that is told 111 and waits gets on.
func TestALimitComesBackWithTime(t *testing.T) {
	r := start(t, rated(func(c *config.Client) {
		c.RateLimits = []config.RateLimit{{Commands: []string{"publish"}, Limit: 100, Interval: time.Second, Burst: 1}}
	}))
	c := r.openRaw(t, "")
	c.connect("")
	refused := 0
	for done, end := 0, time.Now().Add(patience); done < 10; {
		switch reply := c.do(publish(0, "room", done)); {
		case time.Now().After(end):
			t.Fatalf("%d publishes were done, %d refused", done, refused)
		case code(reply) == 0:
			done++
		case code(reply) == 111 && reply.GetError().Temporary:
			refused++
		default:
			t.Fatalf("publish was answered with %v", reply)
		}
	}
}

// Messages have no reply: those over the limit reach nobody, and what comes behind them is
// done. The limit holds for a session that waits for its backend, too.
func TestMessagesOverALimitAreDroppedAndCounted(t *testing.T) {
	var mu sync.Mutex
	var got []string
	r := start(t, rated(func(c *config.Client) { c.RateLimits = []config.RateLimit{allow(3, "send"), allow(2, "rpc")} }), func(o *Options) {
		o.Embed.Callbacks.OnMessage = func(_ context.Context, m *MessageRequest) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, string(m.Data))
			return nil
		}
		o.Embed.Callbacks.OnRPC = func(context.Context, *RPCRequest) (*RPCReply, error) { return &RPCReply{Data: []byte("1")}, nil }
	})
	before := r.metrics(t)
	c := r.openRaw(t, "")
	c.connect("")
	var commands []*proto.Command
	for i := range 8 {
		commands = append(commands, &proto.Command{Send: &proto.SendRequest{Data: fmt.Append(nil, i)}})
	}
	for i := range uint32(4) {
		commands = append(commands, &proto.Command{Id: 10 + i, Rpc: &proto.RPCRequest{Method: "m"}})
	}
	c.batch(commands...)
	for i, reply := range c.replies(4) {
		if want := map[bool]uint32{true: 111}[i >= 2]; int(reply.Id) != 10+i || code(reply) != want {
			t.Errorf("rpc %d was answered by %v, want code %d", i, reply, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("the messages %v arrived, want the first three", got)
	}
	for name, want := range map[string]float64{`shoal_commands_refused_total{method="send"}`: 5, `shoal_commands_refused_total{method="rpc"}`: 2} {
		if got := r.metrics(t)[name] - before[name]; got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
}

// The error too many is answered, then the connection ends; who makes few is left alone.
func TestTooManyErrorsEndASession(t *testing.T) {
	var ended sync.Map
	r := start(t, rated(func(c *config.Client) {
		c.ErrorLimit = config.ErrorLimit{Limit: 4, Interval: 24 * time.Hour}
		c.RateLimits = []config.RateLimit{allow(1, "presence_stats")}
	}), func(o *Options) {
		o.Embed.Callbacks.OnDisconnect = func(_ context.Context, _ *Client, why Disconnect) { ended.Store(why.Code, true) }
	})
	before := r.metrics(t)
	for _, query := range []string{"", "?format=protobuf"} {
		good := r.control(t, query)
		if code(good.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "nobody"}})) == 0 {
			t.Error("an rpc nobody answers was answered")
		}
		c := r.openRaw(t, query)
		c.connect("")
		stats := func(id uint32) *proto.Command {
			return &proto.Command{Id: id, PresenceStats: &proto.PresenceStatsRequest{Channel: "room"}}
		}
		unknown := func(id uint32) *proto.Command {
			return &proto.Command{Id: id, History: &proto.HistoryRequest{Channel: "nope:x"}}
		}
		c.batch(unknown(10), stats(11), stats(12), unknown(13), stats(14), unknown(15), stats(16))
		var got []string
		for _, reply := range c.replies(6) {
			got = append(got, fmt.Sprint(reply.Id, ":", code(reply)))
		}
		if want := strings.Fields("10:102 11:0 12:111 13:102 14:111 15:102"); !slices.Equal(got, want) {
			t.Errorf("%q: the replies are %v, want %v", query, got, want)
		}
		c.expectClosed(3509)
		good.check(t)
	}
	r.grown(t, `shoal_disconnects_total{code="3509"}`, before)
	r.grown(t, `shoal_conns_closed_total{reason="limit"}`, before)
	eventually(t, "the callback hears of it", func() bool { _, ok := ended.Load(uint32(3509)); return ok })
}

// As many errors as a client likes, where nobody said how many are too many.
func TestErrorsAreNotLimitedByDefault(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "")
	c.connect("")
	for range 300 {
		if reply := c.do(&proto.Command{History: &proto.HistoryRequest{Channel: "nope:x"}}); code(reply) != 102 {
			t.Fatalf("history of an unknown channel was answered by %v", reply)
		}
	}
}

// Thirty are let be by default, be it at once; the connection next to it notices nothing.
func TestAFloodOfControlFramesIsEndedWith3509(t *testing.T) {
	r := start(t, quick)
	before := r.metrics(t)
	good := r.control(t, "")
	for _, op := range []ws.Op{ws.PingOp, ws.PongOp} {
		c := r.openRaw(t, "")
		c.connect("")
		for range 30 {
			c.frame(op, true, false, []byte("x"))
		}
		c.subscribe("room") // still there
		for range 300 {
			c.frame(op, true, false, nil)
		}
		c.expectClosed(3509)
		good.check(t)
	}
	r.grown(t, `websocket_control_floods_total`, before)
	r.grown(t, `shoal_disconnects_total{code="3509"}`, before)
	off := start(t, tuned(func(c *config.Config) { c.WebSocket.ControlFrameLimit = 0 })).openRaw(t, "")
	off.connect("")
	for range 300 {
		off.frame(ws.PingOp, true, false, nil)
	}
	off.subscribe("room")
}
