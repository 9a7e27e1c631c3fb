package watch

import (
	"context"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/overload"
	"shoal/tuning"
)

const patience = 20 * time.Second

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// nothing is a handler of conns that do not come.
type nothing struct{}

func (nothing) Open(uint32)                       {}
func (nothing) Data(uint32, []byte)               {}
func (nothing) EOF(uint32)                        {}
func (nothing) Timer(uint32)                      {}
func (nothing) Closed(uint32, loop.Reason, error) {}

// loops runs some until the test ends.
func loops(t *testing.T, n, mailbox int) *loop.Group {
	t.Helper()
	g, err := loop.New(loop.Config{Loops: n, Shared: shared.NewPool(shared.Config{}), MailboxMax: mailbox}, func(*loop.Loop) []loop.Handler {
		return []loop.Handler{nothing{}}
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

// message does something on a loop.
type message func()

func (m message) Deliver(*loop.Loop) { m() }

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func TestASoundingTellsHowLongALoopTakesToAnswer(t *testing.T) {
	g, c := loops(t, 1, 64), &clock{now: time.Unix(100, 0)}
	s := &sounding{l: g.Loop(0), clock: c.read, epoch: c.now}
	held, release := make(chan struct{}), make(chan struct{})
	if err := g.Loop(0).Post(message(func() { close(held); <-release })); err != nil {
		t.Fatal(err)
	}
	<-held
	for i := range 3 {
		took, waits := s.send(c.read())
		if took != 0 || waits != time.Duration(i)*time.Second {
			t.Errorf("after %d s: it took %s and waits for %s", i, took, waits)
		}
		c.pass(time.Second)
	}
	close(release)
	eventually(t, "it arrives", func() bool { return s.sent.Load() == 0 })
	if took, _ := s.send(c.read()); took != 3*time.Second {
		t.Errorf("it took %s, want 3s", took)
	}
	eventually(t, "the next arrives at once", func() bool { took, _ := s.send(c.read()); return took == 0 })
}

func TestASoundingForWhichThereIsNoRoomWaitsToo(t *testing.T) {
	g, c := loops(t, 1, 8), &clock{now: time.Unix(100, 0)}
	s := &sounding{l: g.Loop(0), clock: c.read, epoch: c.now}
	held, release := make(chan struct{}), make(chan struct{})
	if err := g.Loop(0).Post(message(func() { close(held); <-release })); err != nil {
		t.Fatal(err)
	}
	<-held
	for g.Loop(0).Post(message(func() {})) == nil { // until there is no room
	}
	s.send(c.read())
	if _, waits := s.send(c.pass(4 * time.Second)); waits != 4*time.Second {
		t.Errorf("it waits for %s, want 4s", waits)
	}
	close(release)
	eventually(t, "there is room", func() bool { s.send(c.read()); return !s.refused })
	eventually(t, "it arrives", func() bool { return s.sent.Load() == 0 })
	if took := time.Duration(s.took.Load()); took != 4*time.Second {
		t.Errorf("it took %s, want 4s", took)
	}
}

func TestALoopThatHasEndedIsNotWaitedFor(t *testing.T) {
	g, err := loop.New(loop.Config{Loops: 1, Shared: shared.NewPool(shared.Config{})}, func(*loop.Loop) []loop.Handler { return []loop.Handler{nothing{}} })
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &clock{now: time.Unix(100, 0)}
	s := &sounding{l: g.Loop(0), clock: c.read, epoch: c.now}
	s.send(c.read())
	s.send(c.pass(time.Second))
	if s.refused {
		t.Error("it is posted again and again")
	}
}

func TestTheFiguresAreThoseOfTheRuntime(t *testing.T) {
	r := NewRuntime()
	before := r.Read()
	kept := make([]byte, 50<<20)
	for range 20 {
		runtime.GC()
	}
	f := r.Read()
	if f.Collections < before.Collections+20 || f.Live < 50<<20 || f.Scanned > f.Live || f.Roots <= 0 || f.Percent < 1 || f.Limit <= 0 || f.Held < f.Live {
		t.Errorf("before %+v, after %+v", before, f)
	}
	if f.Busy <= 0 || f.Busy > 1 {
		t.Errorf("the collector took %f of the time", f.Busy)
	}
	runtime.KeepAlive(kept)
}

func TestTheMemoryIsTheFullestOfThoseThatMatter(t *testing.T) {
	const mib = 1 << 20
	host := func(used uint64) tuning.Room { return tuning.Room{Host: true, Limit: 1000 * mib, Used: used * mib} }
	group := func(used uint64) tuning.Room { return tuning.Room{Limit: 500 * mib, Used: used * mib} }
	for _, c := range []struct {
		name  string
		rooms tuning.Memory
		conns int64
		limit int64
		want  float64
	}{
		{"nothing is known", nil, 0, math.MaxInt64, 0},
		{"it has the host for itself", tuning.Memory{host(180)}, 0, math.MaxInt64, 0.18},
		{"others fill the host", tuning.Memory{host(900)}, 0, math.MaxInt64, 0},
		{"the kernel's part of its connections does", tuning.Memory{host(900)}, 100_000, math.MaxInt64, 0.9},
		{"a group is fuller", tuning.Memory{host(150), group(400)}, 0, math.MaxInt64, 0.8},
		{"of groups the fullest", tuning.Memory{group(100), group(450), group(200)}, 0, math.MaxInt64, 0.9},
		{"Go's own limit", tuning.Memory{host(150), group(50)}, 0, 100 * mib, 0.5},
	} {
		f := Figures{Held: 100 * mib, Live: 50 * mib, Limit: c.limit}
		if got := f.memoryPart(c.rooms, c.conns); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %.3f, want %.3f", c.name, got, c.want)
		}
	}
}

func TestLongPassesAreLagThoughTheSoundingsAreQuick(t *testing.T) {
	g, c := loops(t, 1, 64), &clock{now: time.Unix(100, 0)}
	w, err := New(Config{Loops: g, Clock: c.read, Board: &overload.Board{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Loop(0).Post(message(func() { time.Sleep(100 * time.Millisecond) })); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is counted", func() bool { return g.Stats().Lag.Max() > 50*time.Millisecond })
	s := w.measure(c.pass(time.Second), time.Second, &Figures{})
	if got := s[overload.Lag]; got < 0.05 {
		t.Errorf("lag of %.3f s, and a pass of 100 ms in a second", got)
	}
}

func TestTheFirstMeasurementHasNothingToCompareWith(t *testing.T) {
	c, board := &clock{now: time.Unix(100, 0)}, &overload.Board{}
	var logged strings.Builder
	evicted := 0
	cfg := Config{
		Loops: loops(t, 2, 64), Clock: c.read, Logger: slog.New(slog.NewTextHandler(&logged, nil)), Board: board,
		Evict: func() { evicted++ }, Sample: func() overload.Sample { return overload.Sample{overload.Lag: 5} },
	}
	cfg.Levels.Levels[overload.Shedding][overload.Lag] = 2
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Once()
	if board.Level() != overload.Calm || evicted != 0 {
		t.Errorf("level %v, evicted %d times", board.Level(), evicted)
	}
	for range 6 {
		c.pass(time.Second / 2)
		w.Once()
	}
	if board.Level() != overload.Shedding || evicted != 3 || board.Admits() {
		t.Errorf("level %v, evicted %d times", board.Level(), evicted)
	}
	if n := strings.Count(logged.String(), "the level rises"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestThereMayBeNothingToWatchFor(t *testing.T) {
	if w, err := New(Config{}); w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
}

func BenchmarkOnce(b *testing.B) {
	g, err := loop.New(loop.Config{Loops: 1, Shared: shared.NewPool(shared.Config{})}, func(*loop.Loop) []loop.Handler { return []loop.Handler{nothing{}} })
	if err != nil {
		b.Fatal(err)
	}
	w, err := New(Config{
		Loops: g, Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Board: &overload.Board{}, Evict: func() {},
		SetGCPercent: func(int) {}, Ledger: func() int64 { return 0 },
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w.Once()
	}
}
