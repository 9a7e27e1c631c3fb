package node

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/msgpack"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/shared"
	"shoal/pool/worker"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/broker/memory"
	"shoal/server/channel"
	"shoal/server/node/wire"
	"shoal/server/session"
)

// house is a rig for stories: JSON sessions, a line each way per message, and hex
// sessions that speak MessagePack or Protobuf.
type house struct {
	*rig
	broker  *gate
	backend *oracle
	speak   atomic.Int32 // the proto.Encoding of the next conns
	clock   atomic.Int64 // seconds added to the memory broker's
	bytes   *shared.Pool
	silent  atomic.Bool // replies go nowhere
}

// plan is what a house is built with.
type plan struct {
	loops    int
	channels channel.Config
	cfg      Config // what is set here stays
	workers  worker.Config
	backend  *oracle
	blocking bool
	backlog  int
}

// gate is a memory broker whose calls a test may stop.
type gate struct {
	*memory.Broker
	blocking bool
	stop     atomic.Pointer[func(call, name string)] // called before and after each
	fail     atomic.Pointer[error]                   // what History gives
}

func (g *gate) at(call, name string) {
	if f := g.stop.Load(); f != nil {
		(*f)(call, name)
	}
}

func (g *gate) Blocking() bool { return g.blocking }

func (g *gate) History(ctx context.Context, name string, q broker.HistoryQuery, dst []channel.Publication) ([]channel.Publication, channel.Position, error) {
	if q.Limit == 0 && ctx.Value(atOnce{}) != nil {
		return g.Broker.History(ctx, name, q, dst)
	}
	g.at("history", name)
	if err := g.fail.Load(); err != nil {
		return dst, channel.Position{}, *err
	}
	pubs, top, err := g.Broker.History(ctx, name, q, dst)
	g.at("read", name)
	return pubs, top, err
}

func (g *gate) Signal(ctx context.Context, name string, signals []channel.Signal) error {
	g.at("signal", name)
	return g.Broker.Signal(ctx, name, signals)
}

func (g *gate) Publish(ctx context.Context, name string, pub *channel.Publication, o broker.PublishOptions) (broker.Result, error) {
	g.at("publish", name)
	return g.Broker.Publish(ctx, name, pub, o)
}

// hold stops the next call of the kind; it returns a channel that is closed when the call
// has come and one to be closed to let it go on.
func (g *gate) hold(call string) (come, release chan struct{}) {
	come, release = make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	f := func(c, _ string) {
		if c == call && once.CompareAndSwap(false, true) {
			close(come)
			<-release
		}
	}
	g.stop.Store(&f)
	return come, release
}

// oracle is a backend made of functions; nil ones are not asked.
type oracle struct {
	connect    func(*backend.ConnectRequest) (*backend.ConnectReply, error)
	refresh    func(*backend.RefreshRequest) (*backend.RefreshReply, error)
	subscribe  func(*backend.SubscribeRequest) (*backend.SubscribeReply, error)
	subRefresh func(*backend.SubRefreshRequest) (*backend.SubRefreshReply, error)
	publish    func(*backend.PublishRequest) (*backend.PublishReply, error)
	rpc        func(*backend.RPCRequest) (*backend.RPCReply, error)
	send       func(*backend.SendRequest) (channel.Refusal, error)
	state      func(*backend.ChannelStateRequest) error
}

func (o *oracle) Handles(e backend.Event, subject string, _ *channel.Options) bool {
	return map[backend.Event]bool{
		backend.Connect: o.connect != nil, backend.Refresh: o.refresh != nil, backend.Subscribe: o.subscribe != nil,
		backend.SubRefresh: o.subRefresh != nil, backend.Publish: o.publish != nil,
		backend.RPC: o.rpc != nil && subject != "unknown", backend.Send: o.send != nil,
		backend.ChannelState: o.state != nil,
	}[e]
}

func (o *oracle) Connect(_ context.Context, r *backend.ConnectRequest) (*backend.ConnectReply, error) {
	return o.connect(r)
}
func (o *oracle) Refresh(_ context.Context, r *backend.RefreshRequest) (*backend.RefreshReply, error) {
	return o.refresh(r)
}
func (o *oracle) Subscribe(_ context.Context, r *backend.SubscribeRequest) (*backend.SubscribeReply, error) {
	return o.subscribe(r)
}
func (o *oracle) SubRefresh(_ context.Context, r *backend.SubRefreshRequest) (*backend.SubRefreshReply, error) {
	return o.subRefresh(r)
}
func (o *oracle) Publish(_ context.Context, r *backend.PublishRequest) (*backend.PublishReply, error) {
	return o.publish(r)
}
func (o *oracle) RPC(_ context.Context, r *backend.RPCRequest) (*backend.RPCReply, error) {
	return o.rpc(r)
}
func (o *oracle) Send(_ context.Context, r *backend.SendRequest) (channel.Refusal, error) {
	return o.send(r)
}
func (o *oracle) ChannelState(_ context.Context, r *backend.ChannelStateRequest) error {
	return o.state(r)
}

// speaker is the transport: lines of JSON, or of hex.
type speaker struct {
	lines
	h   *house
	hex map[uint32]bool
}

func (w *speaker) Open(slot uint32) {
	if w.hex == nil {
		w.hex = map[uint32]bool{}
		w.lines.read = func(slot uint32, line []byte) []byte {
			if !w.hex[slot] {
				return line
			}
			out, _ := hex.DecodeString(string(line))
			return out
		}
	}
	enc := proto.Encoding(w.h.speak.Load())
	w.in[slot], w.busy[slot], w.hex[slot] = nil, false, enc != proto.JSON
	w.shard.Headers(slot, [][2][]byte{{[]byte("x-user"), []byte("from-header")}, {[]byte("cookie"), []byte("c=1")}})
	w.shard.Open(slot, enc, false, false)
}

func (w *speaker) Frame(slot uint32, op ws.Op, payload []byte) {
	if w.h.silent.Load() {
		return
	}
	if w.hex[slot] {
		w.l.Commit(slot, hexed(w.l.Begin(slot), payload))
		return
	}
	w.lines.Frame(slot, op, payload)
}

func hexed(dst, payload []byte) []byte { return append(hex.AppendEncode(dst, payload), '\n') }

// newHouse builds and runs it until the test ends, when nothing may be left.
func newHouse(t testing.TB, p plan) *house {
	t.Helper()
	rules, err := channel.Compile(p.channels)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{bytes: shared.NewPool(shared.Config{}), backend: p.backend}
	clock := func() time.Time { return time.Now().Add(time.Duration(h.clock.Load()) * time.Second) }
	h.broker = &gate{Broker: memory.New(memory.Config{Clock: clock}), blocking: p.blocking}
	cfg := p.cfg
	if cfg.Session.Rules == nil {
		cfg.Session = session.Default(100*time.Millisecond, rules)
	}
	cfg.Session.Rules = rules
	if cfg.Auth == nil {
		cfg.Auth = &auth.Authority{Insecure: true}
	}
	cfg.Auth.Rules = rules
	if p.backend != nil {
		cfg.Backend = p.backend
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Bytes, cfg.Random, cfg.Workers, cfg.Clock = h.bytes, [24]byte{1}, worker.New(p.workers), clock
	plainFrame := func(dst, scratch, payload []byte) ([]byte, []byte) {
		return append(append(dst, payload...), '\n'), scratch
	}
	cfg.Forms = []wire.Form{
		{Encoding: proto.JSON, Frame: plainFrame},
		{Encoding: proto.Protobuf, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) { return hexed(dst, payload), scratch }},
		{Encoding: proto.MessagePack, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
			out, err := msgpack.AppendReplies(nil, payload)
			if err != nil {
				t.Error(err)
			}
			return hexed(dst, out), scratch
		}},
	}
	n, err := New(cfg, h.broker)
	if err != nil {
		t.Fatal(err)
	}
	h.rig = &rig{t: t, node: n}
	h.open(max(p.loops, 1), p.backlog)
	return h
}

func (h *house) open(loops, backlog int) {
	t, n := h.t, h.node
	group, err := loop.New(loop.Config{Loops: loops, Shared: h.bytes, BacklogBytesMax: backlog}, func(l *loop.Loop) []loop.Handler {
		s, err := n.Attach(l)
		if err != nil {
			t.Error(err)
			return nil
		}
		w := &speaker{lines: lines{l: l, shard: s, in: map[uint32][]byte{}, busy: map[uint32]bool{}}, h: h}
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
	h.broker.Start(n)
	h.loops, h.addr = group, addr.String()
	ended := make(chan error, 1)
	go func() { ended <- group.Run(context.Background()) }()
	t.Cleanup(func() {
		h.broker.stop.Store(nil)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(group.Shutdown(ctx), <-ended, n.cfg.Workers.Close(ctx)); err != nil {
			t.Error(err)
		}
		n.mustBeEmpty(t)
		if got, _ := h.bytes.InUse(); got != 0 {
			t.Errorf("%d shared bytes are held", got)
		}
		if p := group.Stats().Panics; p != h.panics {
			t.Errorf("%d panics, want %d", p, h.panics)
		}
	})
}

var (
	anyUUID  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyEpoch = regexp.MustCompile(`"epoch":"[a-zA-Z]{8}"`)
)

// guest is a client of a house.
type guest struct {
	*client
	id    string // its client id
	last  int
	epoch string // seen last
}

func (h *house) dial() *guest {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &guest{client: &client{t: h.t, conn: conn, in: bufio.NewReader(conn)}}
}

// guest is connected and subscribed.
func (h *house) guest(channels ...string) *guest {
	h.t.Helper()
	g := h.dial()
	g.say(`{"id":1,"connect":{}}`)
	line := g.line()
	if g.id = anyUUID.FindString(line); g.id == "" {
		h.t.Fatalf("connect answered %s", line)
	}
	g.last = 1
	for _, name := range channels {
		g.do("subscribe", fmt.Sprintf(`"channel":%q`, name))
		if got := g.next(); !strings.HasPrefix(got, fmt.Sprintf(`{"id":%d,"subscribe":{`, g.last)) {
			h.t.Fatalf("subscribe answered %s", got)
		}
	}
	return g
}

// do sends a command.
func (g *guest) do(what, params string) {
	g.last++
	g.say(fmt.Sprintf(`{"id":%d,%q:{%s}}`, g.last, what, params))
}

// next is the next line, ids and epochs made equal.
func (g *guest) next() string {
	g.t.Helper()
	line := g.line()
	if e := anyEpoch.FindString(line); e != "" {
		g.epoch = e[len(`"epoch":"`) : len(e)-1]
	}
	return anyEpoch.ReplaceAllString(anyUUID.ReplaceAllString(line, "UUID"), `"epoch":"E"`)
}

// sees expects lines.
func (g *guest) sees(want ...string) {
	g.t.Helper()
	for _, w := range want {
		if got := g.next(); got != w {
			g.t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

func (h *house) pub(name, data string, f ...func(p *channel.Publication, o *PublishOptions)) {
	h.t.Helper()
	p, o := &channel.Publication{Data: []byte(data)}, PublishOptions{}
	for _, each := range f {
		each(p, &o)
	}
	if _, e := h.node.Publish(context.Background(), name, p, o); e != nil {
		h.t.Fatal(e)
	}
}

// still waits until the loops have done what they were given.
func (h *house) still() {
	h.t.Helper()
	if err := h.node.Drain(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func await(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("it does not come")
	}
}

var historyTop = broker.HistoryQuery{}

func pushed(line string) (*gotPub, error) {
	var r gotReply
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return nil, err
	}
	if r.Push == nil || r.Push.Pub == nil {
		return nil, errors.New("no publication")
	}
	return r.Push.Pub, nil
}

func subscribed(line string) (*gotResult, error) {
	var r gotReply
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return nil, err
	}
	if r.Subscribe == nil {
		return nil, errors.New("no subscribe result")
	}
	return r.Subscribe, nil
}
