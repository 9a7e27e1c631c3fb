package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
	"shoal/tuning"
)

// wait bounds every wait of a test; nothing is measured by it.
const wait = time.Minute

// asWorker in the environment makes the test program a worker process, as «shoal loadtest worker» is. Its value says how it fails.
const asWorker = "SHOAL_TEST_WORKER"

func TestMain(m *testing.M) {
	if how := os.Getenv(asWorker); how != "" {
		os.Exit(workerProcess(how))
	}
	code := m.Run()
	for end := time.Now().Add(wait); runtime.NumGoroutine() > 2 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > 2 && code == 0 {
		stacks := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "%d goroutines are left\n%s", n, stacks[:runtime.Stack(stacks, true)])
		code = 1
	}
	os.Exit(code)
}

// book is what fakes of one test know of each other.
type book struct {
	mu     sync.Mutex
	orders []string // "index: order"
	fakes  []*fake
}

func (b *book) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orders = append(b.orders, fmt.Sprintf(format, args...))
}

// make makes fakes.
func (b *book) make(cfg engine.Config) (Engine, error) {
	if cfg.Path == "/broken" {
		return nil, errors.New("no engine today")
	}
	f := &fake{cfg: cfg, b: b, done: make(chan error, 4), closed: make(chan error, 1), published: make([]uint32, max(cfg.Channels, 1))}
	f.heard = make([]uint32, len(f.published))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fakes = append(b.fakes, f)
	return f, nil
}

// at is the fake with an index.
func (b *book) at(index int) *fake {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.fakes {
		if f.cfg.Index == index {
			return f
		}
	}
	return nil
}

// fake is an engine whose connections are numbers. A message is received by every connection as soon as its engine knows of it.
type fake struct {
	cfg    engine.Config
	b      *book
	done   chan error
	closed chan error

	mu        sync.Mutex
	s         engine.Snapshot
	published []uint32
	heard     []uint32
	pubs      []engine.Publication
	refuse    error // of Order
	outcome   error // of orders
	endless   bool  // orders end by Stop only
	stubborn  bool  // nor by that
	under     bool
	ticks     int
}

func (f *fake) Run() error         { return <-f.closed }
func (f *fake) Done() <-chan error { return f.done }

func (f *fake) Order(o engine.Order) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := nameOf(o)
	f.b.note("%d: %s", f.cfg.Index, name)
	if f.refuse != nil {
		return f.refuse
	}
	if f.s.Members = 1; f.cfg.Of == 0 {
		return errors.New("of how many?")
	}
	for own := f.cfg.Index; own < len(f.published) && (o.Flow != nil || o.Fanout != nil); own += f.cfg.Of {
		n := 3
		if o.Fanout != nil {
			n = o.Fanout.Count
		}
		f.published[own] += uint32(n)
		f.s.Published += n
		f.hear(own, n)
	}
	switch {
	case !o.Task():
		return nil
	case o.Connect != nil:
		f.s.Dialed, f.s.Ready, f.s.ReadyMax = f.cfg.Connections, f.cfg.Connections, f.cfg.Connections
	case o.Drain != nil && o.Drain.Published != nil:
		for c, n := range o.Drain.Published {
			f.hear(c, int(n-f.heard[c]))
		}
	case o.Echo != nil:
		for i := range f.cfg.Connections {
			f.s.Received += (f.cfg.First + i) % 7
		}
	}
	if f.under = f.endless; !f.endless {
		f.done <- f.outcome
	}
	return nil
}

func (f *fake) hear(c, n int) {
	f.heard[c] += uint32(n)
	f.s.Received += n * f.s.Ready
}

func nameOf(o engine.Order) string {
	switch {
	case o.Connect != nil:
		return fmt.Sprintf("connect at %g", o.Connect.Rate)
	case o.Flow != nil:
		return "flow"
	case o.Fanout != nil:
		return fmt.Sprintf("fanout %d by %d at %g", o.Fanout.Count, o.Fanout.Burst, o.Fanout.Rate)
	case o.Echo != nil:
		return "echo " + o.Echo.Via
	case o.Stall != nil:
		return "stall"
	case o.Rouse != nil:
		return "rouse"
	case o.Storm != nil:
		return fmt.Sprintf("storm %g", o.Storm.Share)
	case o.Churn != nil:
		return fmt.Sprintf("churn %g", o.Churn.Rate)
	case o.Drain != nil:
		return fmt.Sprintf("drain %v", o.Drain.Published)
	}
	return "nothing"
}

func (f *fake) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b.note("%d: stop", f.cfg.Index)
	if f.under && !f.stubborn {
		f.under = false
		f.done <- f.outcome
	}
	return nil
}

func (f *fake) Tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ticks++
}

func (f *fake) Snapshot() engine.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s
}

func (f *fake) Census() (engine.Census, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := engine.Census{Ready: f.s.Ready, Alike: true, GotMin: 3, GotMax: 9}
	for i := range f.s.Ready {
		c.Lost += (f.cfg.First + i) % 3
	}
	return c, nil
}

func (f *fake) Results() (engine.Results, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var r engine.Results
	for i := range f.cfg.Connections {
		r.Own = append(r.Own, engine.Publication{Sequence: f.cfg.First + i, Receipts: f.cfg.All})
	}
	return r, nil
}

func (f *fake) Published() ([]uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]uint32(nil), f.published...), nil
}

func (f *fake) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b.note("%d: close", f.cfg.Index)
	f.s.Ready = 0
	select {
	case f.closed <- nil:
	default:
	}
	return nil
}

// set changes a fake.
func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// roomy is a host that can hold so many connections in each process.
func roomy(conns int) share.Resources {
	return share.Resources{Host: "here", PID: 1, Boot: "a", Processors: 2, Limits: []tuning.Limit{{Name: "descriptors", Conns: uint64(conns)}}}
}

// configOf is a fleet of fakes for so many connections.
func configOf(b *book, conns int) Config {
	return Config{
		Engine: engine.Config{Connections: conns, Channel: "c", Run: 7}, Make: b.make, Build: "test", Clock: time.Now, Resources: roomy(1 << 20),
		patience: patience{poll: 5 * time.Millisecond, silence: wait, answer: wait},
	}
}

// workerOf is a worker of fakes.
func workerOf(b *book) Worker {
	return Worker{Build: "test", Clock: time.Now, Resources: roomy(1 << 20), Make: b.make, patience: patience{silence: wait}}
}

// serve has a worker serve one end of a pipe until the test ends, and returns the other end and how to cut it.
func serve(t *testing.T, w Worker) (conn net.Conn, ended chan error) {
	t.Helper()
	near, far := net.Pipe()
	ended = make(chan error, 1)
	go func() { ended <- w.Serve(context.Background(), far) }()
	t.Cleanup(func() { near.Close() })
	return near, ended
}

// piped opens a fleet whose members are the engines of this process, if it is to carry any, and workers over pipes.
func piped(t *testing.T, cfg Config, workers ...Worker) *Fleet {
	t.Helper()
	f, err := tryPiped(t, cfg, workers...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func tryPiped(t *testing.T, cfg Config, workers ...Worker) (*Fleet, error) {
	t.Helper()
	o := &opening{Config: cfg}
	for i, w := range workers {
		conn, _ := serve(t, w)
		m, err := o.letIn(t.Context(), conn)
		if err != nil {
			return nil, err
		}
		m.name = fmt.Sprintf("worker %d", i+1)
		o.add(m)
	}
	f, err := o.muster(t.Context())
	if err != nil {
		for _, m := range o.remotes {
			m.dismiss()
		}
		return nil, err
	}
	run(t, f)
	return f, nil
}

// run runs a fleet until the test ends.
func run(t *testing.T, f *Fleet) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- f.Run() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if err := f.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-ctx.Done():
			t.Error("Run did not end")
		}
	})
}

// do carries out an order and returns how it ended.
func do(t *testing.T, f *Fleet, o engine.Order) error {
	t.Helper()
	if err := f.Order(o); err != nil {
		t.Fatalf("%s: %v", nameOf(o), err)
	}
	return finished(t, f)
}

func finished(t *testing.T, f *Fleet) error {
	t.Helper()
	select {
	case err := <-f.Done():
		return err
	case <-time.After(wait):
		t.Fatalf("the order did not end: %+v", f.Members())
		return nil
	}
}

// until waits for something to become so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !so(); {
		if time.Now().After(end) {
			t.Fatalf("it did not come to pass that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// says fails the test unless err has all parts.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want an error that says %q", err, part)
		}
	}
}

// workerProcess is the test program as a worker.
func workerProcess(how string) int {
	switch how {
	case "mute":
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	case "other":
		fmt.Println("Hello, this is another program.")
		return 0
	case "panics":
		panic("no such luck")
	}
	b := &book{}
	w := workerOf(b)
	w.Resources = share.Read(false)
	if how == "real" {
		w = realWorker()
	}
	err := w.Serve(context.Background(), &pair{Reader: os.Stdin, Writer: os.Stdout})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
