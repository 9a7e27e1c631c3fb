package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/loop/sim"
	"shoal/pool/shared"
	"shoal/pool/worker"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/node/wire"
	"shoal/server/session"
	"shoal/server/tenant"
)

// stage is a node on simulated loops with a flaky broker and drunken clients.
type stage struct {
	t      *testing.T
	w      *sim.World
	rng    *rand.Rand
	node   *Node
	group  *loop.Group
	pool   *worker.Pool
	bytes  *shared.Pool
	broker *flaky
	connTo func() *sim.Peer
	actors []*actor
	number int            // of the last publication
	calls  sync.WaitGroup // of the API
	lossy  bool
	tokens [3]string // of a tenant each, or of nobody's
	failed string
	counts map[string]int
}

// lines is the transport of a stage: JSON lines, nothing else.
type lines struct {
	l     *loop.Loop
	shard *Shard
	in    map[uint32][]byte
	busy  map[uint32]bool
	read  func(slot uint32, line []byte) []byte // nil: as it is
}

func (w *lines) Open(slot uint32) {
	w.in[slot], w.busy[slot] = nil, false
	w.shard.Open(slot, proto.JSON, false, false)
}

func (w *lines) Data(slot uint32, p []byte) {
	w.shard.Alive(slot)
	w.in[slot] = append(w.in[slot], p...)
	w.work(slot)
}

func (w *lines) work(slot uint32) {
	for {
		in, here := w.in[slot]
		i := bytes.IndexByte(in, '\n')
		if !here || w.busy[slot] || i < 0 {
			return
		}
		w.in[slot] = in[i+1:]
		line := bytes.Clone(in[:i])
		if w.read != nil {
			line = w.read(slot, line)
		}
		busy := w.shard.Message(slot, ws.Text, line)
		if _, here := w.in[slot]; here {
			w.busy[slot] = busy
		}
	}
}

func (w *lines) EOF(slot uint32)   { w.l.Close(slot, loop.ReasonPeer) }
func (w *lines) Timer(slot uint32) { w.shard.Timer(slot) }

func (w *lines) Closed(slot uint32, why loop.Reason, _ error) {
	delete(w.in, slot)
	delete(w.busy, slot)
	w.shard.Closed(slot, why)
}

func (w *lines) Frame(slot uint32, _ ws.Op, payload []byte) {
	w.l.Commit(slot, append(append(w.l.Begin(slot), payload...), '\n'))
}

func (w *lines) Ping(uint32)    {}
func (w *lines) Release(uint32) {}

func (w *lines) Resume(slot uint32) {
	if _, here := w.in[slot]; here {
		w.busy[slot] = false
		w.work(slot)
	}
}

func (w *lines) Close(slot uint32, code uint32, _ string, why loop.Reason) {
	w.l.CloseAfter(slot, fmt.Appendf(nil, "closed %d\n", code), why)
}

// stageRules are namespaces for every kind of channel. In half of the plays publications
// wait for more, and in half of them members that do not read lose their place.
func stageRules(t testing.TB, seed uint64) *channel.Rules {
	base := channel.Options{
		AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, AllowPublishForClient: true, AllowPublishForAnonymous: true,
		Presence: true, JoinLeave: true, AllowTagsFilter: true, AllowedDeltaTypes: []string{"fossil"}, DeltaPublish: true,
	}
	with := func(name string, f func(o *channel.Options)) channel.Options {
		o := base
		o.Name = name
		f(&o)
		if seed%2 == 0 {
			o.BatchMaxDelay, o.BatchMaxSize = 4*time.Millisecond, 5
		}
		if seed/2%2 == 0 && name == "rec" { // a wildcard has no place to lose, and is left with a gap
			o.SlowPolicy, o.SlowBacklogSize = "drop_oldest", 400
		}
		return o
	}
	rules, err := channel.Compile(channel.Config{Namespaces: []channel.Options{
		with("plain", func(o *channel.Options) { o.AllowWildcard = true; o.DeltaPublish, o.AllowedDeltaTypes = false, nil }),
		with("kept", func(o *channel.Options) { o.HistorySize, o.HistoryTTL = 20, time.Minute }),
		with("pos", func(o *channel.Options) {
			o.HistorySize, o.HistoryTTL, o.ForcePositioning, o.AllowWildcard = 20, time.Minute, true, true
		}),
		with("rec", func(o *channel.Options) {
			o.HistorySize, o.HistoryTTL, o.ForceRecovery, o.ForcePushJoinLeave, o.JoinLeaveBatchSize = 60, time.Minute, true, true, 3
		}),
		with("cache", func(o *channel.Options) {
			o.HistorySize, o.HistoryTTL, o.ForceRecovery, o.ForceRecoveryMode = 10, time.Minute, true, "cache"
		}),
		with("short", func(o *channel.Options) {
			o.HistorySize, o.HistoryTTL, o.HistoryMetaTTL, o.AllowRecovery, o.AllowPositioning = 5, time.Second, time.Second, true, true
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

var stageChannels = []string{"plain:a", "plain:*", "kept:a", "pos:a", "pos:b", "pos:*", "rec:a", "rec:b", "cache:a", "short:a"}

func newStage(t *testing.T, seed uint64, loops int, blocking, lossy bool) *stage {
	s := &stage{t: t, rng: rand.New(rand.NewPCG(seed, 7)), lossy: lossy, counts: map[string]int{}}
	var trace func(string, ...any)
	s.w = sim.New(sim.Config{Seed: seed, Loops: loops, Descriptors: 4096, Trace: trace, StepsMax: 3_000_000,
		Faults:    sim.Faults{ShortRead: 0.2, ShortWrite: 0.2, Preempt: 0.2},
		AfterPass: func(int) error { s.broker.settle(); return nil },
	})
	s.pool = worker.New(worker.Config{Workers: 512, QueueMax: 4096})
	s.broker = newFlaky(s.w, s.pool, blocking)
	if lossy {
		s.broker.loss, s.broker.repeat = 0.02, 0.05
	}
	rules := stageRules(t, seed)
	s.bytes = shared.NewPool(shared.Config{})
	ses := session.Default(100*time.Millisecond, rules)
	ses.PingTicks, ses.PongTicks = 0, 0 // at moments that the seed does not choose
	if seed%2 == 0 {
		s.tokens = [3]string{stageToken(t, "blue"), stageToken(t, "red"), ""}
	}
	tokens, err := auth.New(auth.Config{HMACSecretKey: stageSecret, TenantClaim: tenant.ClaimDefault})
	if err != nil {
		t.Fatal(err)
	}
	tenants, err := tenant.New(tenant.Config{Claim: tenant.ClaimDefault, List: []tenant.Options{
		{Name: "blue", Limits: tenant.Limits{Class: "premium"}}, {Name: "red", ChannelPrefixes: []string{"red:"}},
	}}, tenant.Host{Rules: rules, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Session: ses, Auth: &auth.Authority{Rules: rules, Insecure: true, ConnectTokens: tokens}, Tenants: tenants,
		Logger: slog.New(slog.DiscardHandler), Bytes: s.bytes, Random: [24]byte{1}, Workers: s.pool, Clock: s.broker.clock, RecoveryMax: 40,
		Forms: []wire.Form{{Encoding: proto.JSON, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
			return append(append(dst, payload...), '\n'), scratch
		}}},
	}
	if seed%3 == 0 { // recoveries wait for each other
		cfg.RecoveryBytesMax = 1
	}
	if s.node, err = New(cfg, s.broker); err != nil {
		t.Fatal(err)
	}
	s.broker.to = s.node
	s.group, err = loop.New(loop.Config{Loops: loops, NewPoller: s.w.Loop, Shared: s.bytes, BacklogBytesMax: 16 << 10}, func(l *loop.Loop) []loop.Handler {
		sh, err := s.node.Attach(l)
		if err != nil {
			t.Error(err)
			return nil
		}
		w := &lines{l: l, shard: sh, in: map[uint32][]byte{}, busy: map[uint32]bool{}}
		sh.Use(w)
		return []loop.Handler{w}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.group.Listen(":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.connTo = func() *sim.Peer { return s.w.Connect(addr) }
	return s
}

const stageSecret = "a secret of thirty-two bytes, or more"

// stageToken is one that names a tenant.
func stageToken(t *testing.T, name string) string {
	signer, err := auth.NewSigner("", stageSecret, "", "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(fmt.Appendf(nil, "{\"tenant\":%q}", name))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// run runs the loops until the world's functions call stop.
func (s *stage) run(ctx context.Context) {
	if err := s.group.Run(ctx); err != nil {
		s.t.Fatal(err)
	}
	if err := s.w.Err(); err != nil {
		s.t.Error(err)
	}
}

// call makes a call of the API, which waits for the loops, on a goroutine of its own.
func (s *stage) call(f func(ctx context.Context)) {
	before := s.group.Stats().MailboxDepth
	s.calls.Go(func() { f(context.Background()) })
	for s.group.Stats().MailboxDepth < before+int64(len(s.node.shards)) {
		runtime.Gosched()
	}
}

// checkPositions is Node.CheckPositions in three moments of the world.
func (s *stage) checkPositions() {
	tops := make([]tops, len(s.node.shards))
	for i, sh := range s.node.shards {
		_ = sh.l.Post(visit{func() {
			for at, more := uint32(0), true; more; {
				at, more = sh.tracks.Each(at, 7, func(ch uint32) { tops[i].names = append(tops[i].names, string(sh.hub.NameOf(ch))) })
			}
		}})
	}
	pause := func() time.Duration { return time.Duration(s.rng.IntN(20)) * time.Millisecond }
	s.w.After(pause(), func() {
		for i := range tops {
			tops[i].read(context.WithValue(context.Background(), atOnce{}, true), s.node)
		}
		s.w.After(pause(), func() {
			for i, sh := range s.node.shards {
				_ = sh.l.Post(visit{func() {
					for at, more := uint32(0), len(tops[i].at) > 0; more; {
						at, more = tops[i].compare(sh, at)
					}
				}})
			}
		})
	})
}

// mustBeEmpty looks for what is left after everybody has gone.
func (n *Node) mustBeEmpty(t testing.TB, channels ...string) {
	t.Helper()
	if err := n.Validate(); err != nil {
		t.Error(err)
	}
	is := func(what string, got int64) {
		t.Helper()
		if got != 0 {
			t.Errorf("%s: %d left", what, got)
		}
	}
	for _, s := range n.shards {
		is("extras", int64(max(s.extras.Len()-1, 0)))
		is("tracks", int64(s.tracks.Len()))
		is("waits", int64(len(s.waits)))
		is("openings", int64(len(s.openings)))
		is("rests", int64(len(s.rests)))
		is("recoveries that wait", int64(s.recoveries.Waiting()))
		is("users", int64(s.users.Len()))
		is("infos", int64(s.infos.Len()))
		is("filters", int64(s.filters.Len()))
		is("channels of a hub", int64(s.hub.Channels()))
		is("memberships", int64(s.hub.Subscriptions()))
		is("jobs", int64(s.fan.Jobs()))
	}
	is("sessions", n.stats.Sessions.Load())
	is("connected", n.stats.Connected.Load())
	is("subscriptions", n.stats.Subscriptions.Load())
	is("users counted", n.stats.Users.Load())
	is("interned counted", n.stats.Interned.Load())
	is("bytes in flight", n.InflightBytes())
	is("filtered memberships", n.filtered.Load())
	is("channels", int64(n.Channels()))
	is("patterns", int64(len(n.dir.Patterns())))
	for _, name := range channels {
		clients, users := n.presence.stats([]byte(name))
		is("present in "+name, int64(clients+users))
	}
}
