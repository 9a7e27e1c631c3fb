package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
	"shoal/server"
	"shoal/server/config"
)

// realWorker is a worker of real engines.
func realWorker() Worker {
	return Worker{Build: "test", Clock: time.Now, Resources: share.Read(false), Make: Engines(false)}
}

// target runs a server in this process until the test ends.
func target(t *testing.T) netip.AddrPort {
	t.Helper()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{
		"dev": true, "http_server.port": 0, "log.level": "error", "shutdown.timeout": "5s",
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := server.New(cfg, server.Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(wait):
			t.Error("the server did not end")
		}
	})
	return netip.MustParseAddrPort(strings.Replace(p.Addr().String(), "[::]", "127.0.0.1", 1))
}

// realConfig is a fleet of real engines.
func realConfig(t *testing.T, conns int) Config {
	t.Helper()
	addr := target(t)
	return Config{
		Engine: engine.Config{
			Remote: addr, Host: addr.String(), Path: "/connection/websocket", Channel: "fleet", Channels: 1, Own: true, Connections: conns, Sources: 3,
			API: engine.API{Remote: addr, Host: addr.String(), Path: "/api/publish", Key: "dev"}, Run: 0x5eed,
		},
		Make: Engines(false), Build: "test", Clock: time.Now, Resources: share.Read(false),
	}
}

// tick moves a fleet on until the test ends.
func tick(t *testing.T, f *Fleet) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ticker := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
				f.Tick()
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-over })
}

// tried has a fleet carry out what there is, and fails unless every message arrived exactly once.
func tried(t *testing.T, f *Fleet, conns int) {
	t.Helper()
	tick(t, f)
	const grace = 5 * time.Second
	must := func(o engine.Order) engine.Snapshot {
		t.Helper()
		before := f.Snapshot()
		if err := do(t, f, o); err != nil {
			t.Fatalf("%s: %v, %+v", nameOf(o), err, f.Snapshot())
		}
		s := f.Snapshot()
		s.Received, s.Published = s.Received-before.Received, s.Published-before.Published
		return s
	}
	if s := must(engine.Order{Connect: &engine.Connect{Window: 64}}); s.Ready != conns || s.Members < 2 {
		t.Fatalf("%+v, %v", s, f.Members())
	}
	if s := must(engine.Order{Fanout: &engine.Fanout{Count: 5, Burst: 2, ByAPI: true, Grace: grace}}); s.Published != 5 || s.Received != 5*conns {
		t.Errorf("a fan-out: %d published, %d received", s.Published, s.Received)
	}
	if s := must(engine.Order{Fanout: &engine.Fanout{Count: 4, Rate: 100, ByAPI: true, Grace: grace}}); s.Received != 4*conns {
		t.Errorf("a fan-out at a rate: %d received", s.Received)
	}
	if s := must(engine.Order{Echo: &engine.Echo{Via: engine.ViaPublish, Duration: 300 * time.Millisecond, Rate: 500, Grace: grace}}); s.Received == 0 || s.Received != s.Sent {
		t.Errorf("an echo: %d sent, %d received", s.Sent, s.Received)
	}
	if err := f.Order(engine.Order{Flow: &engine.Flow{Rate: 400, To: engine.Own}}); err != nil {
		t.Fatal(err)
	}
	until(t, "publications flow", func() bool { return f.Snapshot().Published > 50 })
	if err := do(t, f, engine.Order{Drain: &engine.Drain{Grace: grace}}); err != nil {
		t.Fatal(err)
	}
	must(engine.Order{Storm: &engine.Storm{Share: 0.3, Grace: grace}})
	census, err := f.Census()
	if err != nil || census.Ready != conns || census.Lost != 0 || census.Short != 0 {
		t.Errorf("%+v, %v", census, err)
	}
	r, err := f.Results()
	if err != nil || len(r.Own) != 9 || r.Setup.TotalCount() != int64(conns) || r.Return.TotalCount() == 0 {
		t.Errorf("%d publications, %d set up, %v", len(r.Own), r.Setup.TotalCount(), err)
	}
	for i, p := range r.Own {
		if p.Sequence != i+1 || p.Receipts != conns || p.First < p.Due || p.Last < p.First {
			t.Errorf("publication %d: %+v", i, p)
		}
	}
	if s := f.Snapshot(); s.Died != 0 || s.Duplicates+s.Late+s.Altered+s.Misrouted+s.Refused+s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEnginesOfThisProcessMeasureAServer(t *testing.T) {
	cfg := realConfig(t, 300)
	cfg.EngineMax = 60
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	tried(t, f, 300)
}

func TestEnginesWithDescriptorsOfTheirOwnMeasureAServer(t *testing.T) {
	if err := share.OwnTables(); err != nil {
		t.Skipf("not here: %v", err)
	}
	cfg := realConfig(t, 300)
	cfg.Resources = share.Read(true)
	cfg.EngineMax, cfg.Make = 60, Engines(true)
	before := openFiles(t)
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	tried(t, f, 300)
	if n := openFiles(t) - before; n > 300+100 { // the server's ends, ten of each engine, and those of the API
		t.Errorf("%d descriptors more are the process's", n)
	}
}

// openFiles is how many descriptors the process's own table has.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestWorkerProcessesMeasureAServer(t *testing.T) {
	cfg := realConfig(t, 300)
	cfg.Workers, cfg.Command = 3, selfWorker(t, "real")
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	tried(t, f, 300)
}

func TestHostsThatJoinMeasureAServer(t *testing.T) {
	cfg := realConfig(t, 300)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listener, cfg.Hosts, cfg.Key, cfg.EngineMax = ln, 2, "sesame", 50
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			w := realWorker()
			w.Key = "sesame"
			w.Resources.Boot = "" // as if it were another host: its clock is compared
			ended <- w.Join(context.Background(), ln.Addr().String(), wait)
		}()
	}
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	run(t, f)
	tried(t, f, 300)
}

// Half of the connections are a worker's that is killed while publications flow.
func TestAWorkerThatIsKilledIsInTheResults(t *testing.T) {
	cfg := realConfig(t, 200)
	cfg.Workers, cfg.Command = 2, selfWorker(t, "real")
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	tick(t, f)
	if err := do(t, f, engine.Order{Connect: &engine.Connect{}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Order(engine.Order{Flow: &engine.Flow{Rate: 100}}); err != nil {
		t.Fatal(err)
	}
	until(t, "publications arrive", func() bool { return f.Snapshot().Received > 1000 })
	p, err := os.FindProcess(f.Members()[1].PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "its connections count as died", func() bool { return f.Snapshot().Died == 100 })
	if err := do(t, f, engine.Order{Drain: &engine.Drain{Grace: 5 * time.Second}}); err != nil {
		t.Errorf("the other does not go on: %v", err)
	}
	census, err := f.Census()
	if err != nil || census.Ready != 100 || census.Lost != 0 {
		t.Errorf("%+v, %v", census, err)
	}
	s := f.Snapshot()
	if s.Ready != 100 || s.Causes["worker 2: the process ended: signal: killed"] != 100 {
		t.Errorf("%+v", s)
	}
	if r, err := f.Results(); err != nil || r.Setup.TotalCount() != 100 {
		t.Errorf("%d set up, %v", r.Setup.TotalCount(), err)
	}
}

func TestATargetThatIsNotThereIsSaidOnce(t *testing.T) {
	cfg := realConfig(t, 100)
	cfg.Engine.Remote = netip.MustParseAddrPort("127.0.0.1:1")
	cfg.EngineMax = 10
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	tick(t, f)
	err = do(t, f, engine.Order{Connect: &engine.Connect{}})
	says(t, err, "connection refused")
	if n := strings.Count(fmt.Sprint(err), "refused"); n != 1 {
		t.Errorf("it is said %d times: %v", n, err)
	}
}
