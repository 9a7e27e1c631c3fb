package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	codecws "shoal/codec/ws"
	"shoal/loop/poll"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
)

// The budget of one idle connection that is connected, authenticated and
// subscribed to one channel (docs/BUDGET.md). Raising a figure needs a sentence
// there in the same change.
const (
	budgetHeapBytes = 256                    // Go heap per connection
	budgetGCWall    = 5 * time.Millisecond   // forced collection over 500,000 sessions
	budgetGCStop    = 200 * time.Microsecond // its longest stop
)

// population says who the synthetic clients are.
type population struct {
	name     string
	users    bool // each has a user of its own, by token; otherwise all are anonymous
	personal bool // each subscribes to a channel of its own; otherwise all to one
	kept     bool // channels keep history and presence, and are recovered
	recover  bool // each recovers all that the channel keeps
}

// keptChannels are the options of the namespace "kept".
func keptChannels() channel.Options {
	o := plainChannels()
	o.Name = "kept"
	o.HistorySize, o.HistoryTTL, o.ForceRecovery = 100, time.Hour, true
	o.Presence, o.JoinLeave, o.JoinLeaveBatchSize = true, true, channel.JoinLeaveBatchSizeDefault
	return o
}

// channel is what client i subscribes to.
func (p population) channel(i int) string {
	name := "news"
	if p.personal {
		name = fmt.Sprintf("personal-%07d", i)
	}
	if p.kept {
		name = "kept:" + name
	}
	return name
}

// script is what every client sends, one read after the other.
type script struct {
	population
	handshake []byte
	commands  []byte   // the same for all, when they are
	each      [][]byte // by client, if made beforehand
}

const scriptSteps = 2

func newScript(who population) *script {
	offer := handshake.Offer{Host: "localhost", Target: "/connection/websocket", Key: handshake.NewKey([16]byte{1})}
	s := &script{population: who, handshake: handshake.AppendRequest(nil, &offer)}
	if !who.users && !who.personal {
		s.commands = s.made(0)
	}
	return s
}

// made is the frame with the commands of client i.
func (s *script) made(i int) []byte {
	connect, subscribe := proto.ConnectRequest{Name: "budget"}, proto.SubscribeRequest{Channel: s.channel(i), Recover: s.recover}
	if s.users {
		claims := jwt.MapClaims{"sub": fmt.Sprintf("user-%07d", i)}
		connect.Token, _ = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(budgetSecret))
	}
	commands, err := proto.AppendCommand(nil, proto.JSON, &proto.Command{Id: 1, Connect: &connect})
	if err == nil {
		commands, err = proto.AppendCommand(proto.AppendSep(commands, proto.JSON), proto.JSON, &proto.Command{Id: 2, Subscribe: &subscribe})
	}
	if err != nil {
		panic(err)
	}
	return codecws.AppendMasked(nil, codecws.Text, [4]byte{1, 2, 3, 4}, commands)
}

const budgetSecret = "budget"

// prepare makes what n clients say beforehand.
func (s *script) prepare(n int) {
	if s.commands == nil {
		s.each = make([][]byte, n)
		for i := range s.each {
			s.each[i] = s.made(i)
		}
	}
}

// step is what client i sends as its read number stage.
func (s *script) step(i int, stage uint8) []byte {
	switch {
	case stage == 0:
		return s.handshake
	case s.commands != nil:
		return s.commands
	case s.each != nil:
		return slices.Clone(s.each[i]) // the server unmasks in place
	default:
		return s.made(i)
	}
}

// nullNet is a kernel that has n clients who follow a script and then are silent.
// It implements poll.Poller and poll.Sys for one loop.
type nullNet struct {
	script   *script
	n        int
	accepted int
	stage    []uint8 // by descriptor: reads done
	written  int
	ended    []int              // descriptors we have shut down for writing
	opened   chan struct{}      // closed when all have followed the script
	then     func(poll.Handler) // called before opened, on the loop's goroutine; may be nil
	first    func(*Program)     // called before the first client comes; may be nil
	begin    chan struct{}      // closed when first has ended
	took     time.Duration      // from the first client to the last one's script
	wake     chan struct{}
	again    bool
	stopped  bool
}

const (
	nullListener = 3
	nullFirst    = 8
	nullGone     = ^uint8(0) // stage of a client that has ended
)

func newNullNet(s *script, n int) *nullNet {
	return &nullNet{script: s, n: n, stage: make([]uint8, nullFirst+n), opened: make(chan struct{}), begin: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (k *nullNet) Run(h poll.Handler) error {
	h.Woken() // the listener joins
	<-k.begin
	start := time.Now()
	for k.accepted < k.n {
		h.Ready(nullListener, poll.Readable)
	}
	for range scriptSteps {
		for fd := nullFirst; fd < nullFirst+k.n; fd++ {
			h.Ready(fd, poll.Readable)
		}
	}
	k.took = time.Since(start)
	if k.then != nil {
		k.then(h)
	}
	close(k.opened)
	for !k.stopped {
		if n := len(k.ended); n > 0 { // a client answers the end of stream with its own
			fd := k.ended[n-1]
			k.ended = k.ended[:n-1]
			h.Ready(fd, poll.Readable)
			continue
		}
		if k.again {
			k.again = false
			h.Again()
			continue
		}
		<-k.wake
		h.Woken()
	}
	return nil
}

func (k *nullNet) Wake() error {
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return nil
}

func (k *nullNet) Add(int, poll.Interest) error { return nil }
func (k *nullNet) Mod(int, poll.Interest) error { return nil }
func (k *nullNet) Del(int) error                { return nil }
func (k *nullNet) SetAgain(on bool)             { k.again = on }
func (k *nullNet) SetAlarm(time.Duration) error { return nil }
func (k *nullNet) SetTick(time.Duration) error  { return nil }
func (k *nullNet) Stop()                        { k.stopped = true }
func (k *nullNet) Now() time.Time               { return time.Now() }
func (k *nullNet) Close() error                 { return nil }

// nullSys is the other half: its Close closes a descriptor, not the poller.
type nullSys struct{ *nullNet }

func (k nullSys) Listen(string, int, poll.Options) (int, netip.AddrPort, error) {
	return nullListener, netip.AddrPortFrom(netip.IPv6Loopback(), 1), nil
}

func (k nullSys) Accept(int) (int, error) {
	if k.accepted == k.n {
		return 0, syscall.EAGAIN
	}
	k.accepted++
	return nullFirst + k.accepted - 1, nil
}

func (k nullSys) Read(fd int, p []byte) (int, error) {
	i := k.stage[fd]
	if i == nullGone {
		return 0, nil
	}
	if i == scriptSteps {
		return 0, syscall.EAGAIN
	}
	k.stage[fd]++
	return copy(p, k.script.step(fd-nullFirst, i)), nil
}

func (k nullSys) Write(_ int, p []byte) (int, error) { k.written += len(p); return len(p), nil }

func (k nullSys) Writev(_ int, iov [][]byte) (n int, err error) {
	for _, p := range iov {
		n += len(p)
	}
	k.written += n
	return n, nil
}

func (k nullSys) Connect(netip.AddrPort, netip.AddrPort) (int, error) {
	return 0, errors.ErrUnsupported
}
func (k nullSys) ConnectErr(int) error { return errors.ErrUnsupported }
func (k nullSys) ShutdownWrite(fd int) error {
	k.stage[fd] = nullGone
	k.ended = append(k.ended, fd)
	return nil
}

func (k nullSys) Close(int) error                   { return nil }
func (k nullSys) Reserve() (int, error)             { return 4, nil }
func (k nullSys) Peer(int) (netip.AddrPort, error)  { return netip.AddrPort{}, nil }
func (k nullSys) Local(int) (netip.AddrPort, error) { return netip.AddrPort{}, nil }
func (k nullSys) Adopt(int, poll.Options) error     { return nil }
func (k nullSys) Yield()                            {}

// synthetic runs a program on one loop of the null kernel until n clients are
// connected and subscribed, and checks that they are.
func synthetic(t testing.TB, n int, who population) (p *Program, k *nullNet, stop func()) {
	t.Helper()
	return syntheticThen(t, newNullNet(newScript(who), n))
}

// syntheticThen is synthetic on a null kernel that has something to do then.
func syntheticThen(t testing.TB, k *nullNet) (p *Program, _ *nullNet, stop func()) {
	t.Helper()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "loop.loops": 1, "loop.memory_trim_period": "0s", "overload.enabled": false,
		"client.token.hmac_secret_key": budgetSecret}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Channel.WithoutNamespace = plainChannels()
	cfg.Channel.Namespaces = []channel.Options{keptChannels()}
	opts := Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test",
		NewPoller: func(int) (poll.Poller, poll.Sys, error) { return k, nullSys{k}, nil }}
	if p, err = New(cfg, opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	if k.first != nil {
		p.broker.Start(p.node)
		k.first(p)
	}
	close(k.begin)
	<-k.opened
	if s := p.node.Stats(); s.Connected.Load() != int64(k.n) || s.Subscriptions.Load() != int64(k.n) {
		t.Fatalf("%d connected, %d subscribed of %d", s.Connected.Load(), s.Subscriptions.Load(), k.n)
	}
	return p, k, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestIdleConnectionsKeepTheBudget checks bytes, which are stable; times are for
// BenchmarkBudget.
func TestIdleConnectionsKeepTheBudget(t *testing.T) {
	for _, who := range []population{
		{name: "anonymous, one channel"},
		{name: "a user each, one channel", users: true},
		{name: "a user and a channel each", users: true, personal: true},
		{name: "anonymous, one channel with history and presence", kept: true},
		{name: "a user each, one channel with history and presence", users: true, kept: true},
		{name: "a user and a channel with history and presence each", users: true, kept: true, personal: true},
	} {
		t.Run(who.name, func(t *testing.T) {
			const n = 100_000
			before := heapBytes()
			p, k, stop := synthetic(t, n, who)
			defer stop()
			eventually(t, "the joins have been told", func() bool { return p.node.InflightBytes() == 0 })
			p.trim()
			goroutines := runtime.NumGoroutine()
			perConn := float64(heapBytes()-before-uint64(len(k.stage))) / n
			t.Logf("%.1f B of Go heap per connection, budget %d; %d goroutines", perConn, budgetHeapBytes, goroutines)
			if perConn > budgetHeapBytes && !who.personal { // a channel is not part of the budget
				t.Errorf("%.1f B of Go heap per connection, budget %d", perConn, budgetHeapBytes)
			}
			if goroutines > 100 {
				t.Errorf("%d goroutines for %d connections", goroutines, n)
			}
			if users := p.node.Stats().Users.Load(); who.users && users != n {
				t.Errorf("%d users, want %d", users, n)
			}
		})
	}
}

// TestPublishingAllocatesNothing follows a publish command from the socket through
// decoder, session, broker and encoder to the sockets of 100 members, its sender
// among them.
func TestPublishingAllocatesNothing(t *testing.T) {
	const n, warm, runs = 100, 200, 1000
	publish, err := proto.AppendCommand(nil, proto.JSON, &proto.Command{Id: 3, Publish: &proto.PublishRequest{Channel: "news", Data: []byte(`{"x":1}`)}})
	if err != nil {
		t.Fatal(err)
	}
	k := newNullNet(newScript(population{}), n)
	allocs, before := 0.0, 0
	k.then = func(h poll.Handler) {
		k.script.commands = codecws.AppendMasked(nil, codecws.Text, [4]byte{1, 2, 3, 4}, publish)
		once := func() {
			k.stage[nullFirst] = scriptSteps - 1
			h.Ready(nullFirst, poll.Readable)
			h.Woken()
			for k.again {
				k.again = false
				h.Again()
			}
		}
		for range warm {
			once()
		}
		before = k.written
		allocs = testing.AllocsPerRun(runs, once)
	}
	p, _, stop := syntheticThen(t, k)
	defer stop()
	if got, want := p.node.Stats().Delivered.Load(), uint64((warm+runs+1)*n); got != want {
		t.Fatalf("%d deliveries, want %d", got, want)
	}
	if k.written == before {
		t.Fatal("nothing was written")
	}
	if allocs != 0 {
		t.Errorf("%v allocations for a publish command and its %d deliveries", allocs, n)
	}
}

// BenchmarkBudget reports the ledger of 500,000 synthetic sessions: heap, and what
// a forced collection costs.
func BenchmarkBudget(b *testing.B) {
	const n = 500_000
	before := heapBytes()
	_, k, stop := synthetic(b, n, population{})
	defer stop()
	perConn := float64(heapBytes()-before-uint64(len(k.stage))) / n
	var wall, pause time.Duration
	for b.Loop() {
		var stats debug.GCStats
		start := time.Now()
		runtime.GC()
		wall += time.Since(start)
		debug.ReadGCStats(&stats)
		pause = max(pause, stats.Pause[0])
	}
	mean := wall / time.Duration(b.N)
	b.ReportMetric(perConn, "heapB/conn")
	b.ReportMetric(float64(mean.Microseconds()), "µs/GC")
	b.ReportMetric(float64(pause.Microseconds()), "µs/longest-stop")
	b.Logf("goals: %d heapB/conn, %s per collection, %s longest stop", budgetHeapBytes, budgetGCWall, budgetGCStop)
}

// BenchmarkConnectAndSubscribe is the user-space share of accept, handshake,
// connect and subscribe: the null kernel costs next to nothing.
func BenchmarkConnectAndSubscribe(b *testing.B) {
	for _, who := range []population{
		{name: "anonymous"},
		{name: "HS256", users: true},
		{name: "HS256,kept", users: true, kept: true},
	} {
		b.Run(who.name, func(b *testing.B) { connectAndSubscribe(b, who) })
	}
}

func connectAndSubscribe(b *testing.B, who population) {
	const n = 100_000
	var allocs, bytes uint64
	var elapsed time.Duration
	made := newScript(who)
	made.prepare(n)
	for b.Loop() {
		b.StopTimer()
		var from, to runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&from)
		b.StartTimer()
		start := time.Now()
		_, _, stop := syntheticThen(b, newNullNet(made, n))
		elapsed += time.Since(start)
		b.StopTimer()
		runtime.ReadMemStats(&to)
		allocs += to.Mallocs - from.Mallocs
		bytes += to.TotalAlloc - from.TotalAlloc
		stop()
		b.StartTimer()
	}
	conns := float64(b.N * n)
	b.ReportMetric(float64(elapsed.Nanoseconds())/conns, "ns/conn")
	b.ReportMetric(float64(allocs)/conns, "allocs/conn")
	b.ReportMetric(float64(bytes)/conns, "allocatedB/conn")
}

// BenchmarkRecovery is what it costs a server to have clients recover 100 publications
// of 128 B each: the difference to clients that recover nothing.
func BenchmarkRecovery(b *testing.B) {
	const n, kept = 20_000, 100
	for _, who := range []population{
		{name: "nothing", kept: true},
		{name: "100publications", kept: true, recover: true},
	} {
		b.Run(who.name, func(b *testing.B) {
			var elapsed time.Duration
			written := 0
			for b.Loop() {
				b.StopTimer()
				k := newNullNet(newScript(who), n)
				k.first = func(p *Program) {
					data := []byte(`"` + strings.Repeat("x", 126) + `"`)
					for range kept {
						if _, e := p.node.Publish(context.Background(), who.channel(0), &channel.Publication{Data: data}, node.PublishOptions{}); e != nil {
							b.Error(e)
						}
					}
				}
				b.StartTimer()
				p, _, stop := syntheticThen(b, k)
				elapsed += k.took
				b.StopTimer()
				if got := int(p.node.Stats().RecoveredPublications.Load()); who.recover != (got == n*kept) {
					b.Fatalf("%d publications recovered", got)
				}
				written = k.written / n
				stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(elapsed.Nanoseconds())/float64(b.N*n), "ns/conn")
			b.ReportMetric(float64(written), "writtenB/conn")
		})
	}
}
