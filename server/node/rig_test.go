package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/pool/worker"
	"shoal/server/auth"
	"shoal/server/broker/memory"
	"shoal/server/channel"
	"shoal/server/node/wire"
	"shoal/server/session"
)

const patience = 20 * time.Second

// rig is a node on loops of its own with a transport that frames nothing: replies end
// with a line break, publications are <form:payload> and one.
type rig struct {
	t     testing.TB
	node  *Node
	loops *loop.Group
	addr  string

	panics uint64 // that the test means to happen
}

// line is that transport: every conn is a session at once, a line is a message.
type line struct {
	l     *loop.Loop
	shard *Shard
}

func (w *line) Open(slot uint32) { w.shard.Open(slot, proto.JSON, false, false) }

func (w *line) Data(slot uint32, p []byte) {
	w.shard.Alive(slot)
	for one := range strings.SplitSeq(strings.TrimSuffix(string(p), "\n"), "\n") {
		w.shard.Message(slot, ws.Text, []byte(one))
	}
}

func (w *line) EOF(slot uint32)   { w.l.Close(slot, loop.ReasonPeer) }
func (w *line) Timer(slot uint32) { w.shard.Timer(slot) }

func (w *line) Closed(slot uint32, why loop.Reason, _ error) { w.shard.Closed(slot, why) }

func (w *line) Frame(slot uint32, _ ws.Op, payload []byte) {
	w.l.Commit(slot, append(append(w.l.Begin(slot), payload...), '\n'))
}

func (w *line) Ping(uint32)    {}
func (w *line) Release(uint32) {}
func (w *line) Resume(uint32)  {}

func (w *line) Close(slot uint32, code uint32, _ string, why loop.Reason) {
	w.l.CloseAfter(slot, fmt.Appendf(nil, "closed %d\n", code), why)
}

// newRig runs a node on n loops until the test ends.
func newRig(t *testing.T, loops int) *rig {
	t.Helper()
	return newRigWith(t, loop.Config{Loops: loops}, func(*Config) {})
}

// newRigWith is newRig with loops and a node of choice.
func newRigWith(t testing.TB, loops loop.Config, tune func(*Config)) *rig {
	t.Helper()
	rules, err := channel.Compile(channel.Config{WithoutNamespace: channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true}})
	if err != nil {
		t.Fatal(err)
	}
	bytes := shared.NewPool(shared.Config{})
	b := memory.New(memory.Config{Clock: time.Now})
	cfg := Config{
		Session: session.Default(100*time.Millisecond, rules), Auth: &auth.Authority{Rules: rules, Insecure: true},
		Logger: slog.New(slog.DiscardHandler), Bytes: bytes, Random: [24]byte{1}, Workers: worker.New(worker.Config{}), Clock: time.Now,
	}
	for i, enc := range []proto.Encoding{proto.JSON, proto.Protobuf, proto.JSON} {
		cfg.Forms = append(cfg.Forms, wire.Form{Encoding: enc, Deflated: i == 2, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
			return fmt.Appendf(dst, "<%d:%s>\n", i, payload), scratch
		}})
	}
	tune(&cfg)
	n, err := New(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	loops.Shared = bytes
	group, err := loop.New(loops, func(l *loop.Loop) []loop.Handler {
		s, err := n.Attach(l)
		if err != nil {
			t.Error(err)
			return nil
		}
		w := &line{l: l, shard: s}
		s.Use(w)
		return []loop.Handler{w}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := group.Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Start(n)
	r := &rig{t: t, node: n, loops: group, addr: addr.String()}
	ended := make(chan error, 1)
	go func() { ended <- group.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := group.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := n.Validate(); err != nil {
			t.Error(err)
		}
		if s := group.Stats(); s.Panics != r.panics || n.InflightBytes() != 0 || n.Stats().Sessions.Load() != 0 {
			t.Errorf("%d panics, %d bytes in flight, %d sessions left", s.Panics, n.InflightBytes(), n.Stats().Sessions.Load())
		}
	})
	return r
}

// client is a connected session.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (r *rig) client(channels ...string) *client {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: r.t, conn: conn, in: bufio.NewReader(conn)}
	c.say(`{"id":1,"connect":{}}`)
	c.line()
	for _, name := range channels {
		c.say(fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, name))
		if got := c.line(); got != `{"id":2,"subscribe":{}}` {
			r.t.Fatalf("subscribe answered %s", got)
		}
	}
	return c
}

func (c *client) say(text string) { _, _ = c.conn.Write([]byte(text + "\n")) }

func (c *client) line() string {
	c.t.Helper()
	s, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("no line: %v", err)
	}
	return strings.TrimSuffix(s, "\n")
}

// pub reads a publication's data.
func (c *client) pub() string {
	c.t.Helper()
	text := c.line()
	var push struct {
		Push struct {
			Pub struct{ Data json.RawMessage }
		}
	}
	if len(text) < 4 || text[0] != '<' {
		c.t.Fatalf("got %s, want a publication", text)
	}
	if err := json.Unmarshal([]byte(text[3:len(text)-1]), &push); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	return string(push.Push.Pub.Data)
}

// on runs f on loop i and waits for it.
func (r *rig) on(i int, f func(s *Shard)) {
	r.t.Helper()
	done := make(chan struct{})
	if err := r.loops.Loop(i).Post(visit{func() { defer close(done); f(r.node.shards[i]) }}); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		r.t.Fatal("the loop does not answer")
	}
}

type visit struct{ f func() }

func (v visit) Deliver(*loop.Loop) { v.f() }
