package fleet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/fleet/share"
)

// selfWorker is the command that starts this test program as a worker process.
func selfWorker(t *testing.T, how string) []string {
	t.Helper()
	t.Setenv(asWorker, how)
	command, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	return command
}

// processes is a fleet of worker processes.
func processes(t *testing.T, conns, workers int) *Fleet {
	t.Helper()
	cfg := configOf(&book{}, conns)
	cfg.Resources = share.Read(false)
	cfg.Workers, cfg.Command = workers, selfWorker(t, "well")
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	return f
}

func TestWorkerProcessesCarryOutOrders(t *testing.T) {
	f := processes(t, 100, 3)
	for _, o := range []engine.Order{connect(), {Fanout: &engine.Fanout{Count: 3}}, {Drain: &engine.Drain{}}} {
		if err := do(t, f, o); err != nil {
			t.Fatal(err)
		}
	}
	if s := f.Snapshot(); s.Ready != 100 || s.Received != 300 || s.Published != 3 {
		t.Errorf("%+v", s.Counters)
	}
	pids := map[int]bool{os.Getpid(): true}
	for _, m := range f.Members() {
		if pids[m.PID] || m.RSS == 0 || m.Engines != 1 || m.Clock != (Offset{}) {
			t.Errorf("%+v", m)
		}
		pids[m.PID] = true
	}
}

func TestAWorkerThatIsKilledCountsAsDiedAndTheOthersGoOn(t *testing.T) {
	f := processes(t, 30, 3)
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Results(); err != nil { // what a worker told is kept
		t.Fatal(err)
	}
	victim := f.Members()[1]
	p, err := os.FindProcess(victim.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "its connections count as died", func() bool { return f.Snapshot().Died == 10 })
	if s := f.Snapshot(); s.Ready != 20 || s.Causes["worker 2: the process ended: signal: killed"] != 10 {
		t.Errorf("%+v", s.Counters)
	}
	if err := do(t, f, engine.Order{Fanout: &engine.Fanout{Count: 2}}); err != nil {
		t.Errorf("the others do not go on: %v", err)
	}
	if s := f.Snapshot(); s.Received != 2*20 {
		t.Errorf("%+v", s.Counters)
	}
	if c, err := f.Census(); err != nil || c.Ready != 20 {
		t.Errorf("%+v, %v", c, err)
	}
	if r, err := f.Results(); err != nil || len(r.Own) != 30 {
		t.Errorf("results of %d connections, %v", len(r.Own), err)
	}
	if r, err := f.Results(); err != nil || len(r.Own) != 30 { // adding up has changed nothing
		t.Errorf("results of %d connections, %v", len(r.Own), err)
	}
	if m := f.Members()[1]; m.Ready != 0 || m.Died != 10 || !strings.Contains(m.Gone, "killed") {
		t.Errorf("%+v", m)
	}
}

// Between the end of a stream and the knowledge what became of the process nothing is refused, and nobody else is stopped.
func TestAnOrderToAWorkerThatIsDyingIsNotRefused(t *testing.T) {
	var b book
	conn, _ := serve(t, workerOf(&b))
	o := &opening{Config: configOf(&b, 20)}
	m, err := o.letIn(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	known := make(chan struct{})
	m.ending = func(error) error { <-known; return errors.New("it fell asleep") }
	o.add(m)
	f, err := o.muster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	conn.Close()
	<-m.s.end.Done()
	go func() {
		until(t, "the order has come to the other", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Contains(b.orders, "0: connect at 100")
		})
		close(known)
	}()
	if err := do(t, f, connect()); err != nil {
		t.Errorf("got %v", err)
	}
	if slices.Contains(b.orders, "0: stop") {
		t.Errorf("the other was stopped: %q", b.orders)
	}
}

func TestTheDeathOfThePublisherIsSaid(t *testing.T) {
	var b book
	cfg := configOf(&b, 20)
	cfg.Elsewhere = true
	conn, _ := serve(t, workerOf(&b))
	other, _ := serve(t, workerOf(&b))
	o := &opening{Config: cfg}
	for _, c := range []net.Conn{conn, other} {
		m, err := o.letIn(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		o.add(m)
	}
	f, err := o.muster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	until(t, "its connections count as died", func() bool { return f.Snapshot().Died == 10 })
	says(t, f.Order(engine.Order{Fanout: &engine.Fanout{Count: 2}}), "has lost the member that publishes to it", "here (pipe)")
	if err := do(t, f, echo()); err != nil {
		t.Errorf("the other does not go on: %v", err)
	}
}

func TestWorkerProcessesThatCannotServeAreExplained(t *testing.T) {
	for _, c := range []struct{ how, want string }{
		{"other", "Hello, this is another program."},
		{"panics", "panic: no such luck"},
	} {
		t.Run(c.how, func(t *testing.T) {
			cfg := configOf(&book{}, 10)
			cfg.Workers, cfg.Command = 2, selfWorker(t, c.how)
			_, err := Open(t.Context(), cfg)
			says(t, err, "worker 1", c.want)
		})
	}
	cfg := configOf(&book{}, 10)
	cfg.Workers, cfg.Command = 1, []string{"/none/such"}
	_, err := Open(t.Context(), cfg)
	says(t, err, "cannot be started", "/none/such")

	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("enough of this"))
	defer cancel()
	cfg.Command = selfWorker(t, "mute")
	_, err = Open(ctx, cfg)
	says(t, err, "worker 1", "enough of this")
}

func TestAnEngineThatCannotBeMadeEndsAll(t *testing.T) {
	cfg := configOf(&book{}, 20)
	cfg.Engine.Path = "/broken"
	_, err := tryPiped(t, cfg)
	says(t, err, "no engine today")
	cfg.Elsewhere, cfg.Hosts = true, 1
	_, err = tryPiped(t, cfg, workerOf(&book{}))
	says(t, err, "worker 1: no engine today")
}

// When the coordinator's end of the stream is closed, whatever the reason, the worker closes its connections and ends.
func TestTheEndOfTheStreamEndsTheWorker(t *testing.T) {
	var b book
	conn, ended := serve(t, workerOf(&b))
	cfg := configOf(&b, 10)
	cfg.Elsewhere = true
	o := &opening{Config: cfg}
	m, err := o.letIn(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	o.add(m)
	f, err := o.muster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	b.at(0).set(func(f *fake) { f.endless = true })
	if err := f.Order(connect()); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	says(t, <-ended, "has ended the connection before the load test was over")
	if !slices.Contains(b.orders, "0: close") {
		t.Errorf("its connections are not closed: %q", b.orders)
	}
	says(t, finished(t, f), "nobody is left")
}

func TestAWorkerThatIsToGoSaysSo(t *testing.T) {
	var b book
	near, far := net.Pipe()
	ctx, leave := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- workerOf(&b).Serve(ctx, far) }()
	cfg := configOf(&b, 10)
	o := &opening{Config: cfg}
	m, err := o.letIn(t.Context(), near)
	if err != nil {
		t.Fatal(err)
	}
	o.add(m)
	f, err := o.muster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, f)
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	leave(errors.New("the machine is needed"))
	if err := <-ended; err == nil || err.Error() != "the machine is needed" {
		t.Errorf("Serve: %v", err)
	}
	until(t, "its connections count as died", func() bool { return f.Snapshot().Died == 5 })
	if s := f.Snapshot(); s.Causes["here (pipe): left: the machine is needed"] != 5 {
		t.Errorf("%+v", s.Counters)
	}
}

// puppet is a worker that was let in and then does what the test wants.
func puppet(t *testing.T, cfg Config, after func(s *stream)) (*remote, error) {
	t.Helper()
	near, far := net.Pipe()
	s := newStream(far)
	t.Cleanup(func() { s.close(io.EOF) })
	go func() {
		if _, err := present(context.Background(), s, identity{build: "test", nonce: newNonce()}, roomy(10)); err == nil {
			after(s)
		}
	}()
	o := &opening{Config: cfg}
	m, err := o.letIn(t.Context(), near)
	if err == nil {
		t.Cleanup(m.dismiss)
	}
	return m, err
}

func TestAMemberThatDoesNotAnswerIsGivenUp(t *testing.T) {
	deaf := func(s *stream) { // it reads and says nothing
		for {
			if _, err := s.read(); err != nil {
				return
			}
		}
	}
	lazy := func(s *stream) { // it says how it is and does nothing
		for {
			m, err := s.read()
			if err != nil {
				return
			}
			if m.Ask.Verb == verbState {
				_ = s.send(message{Answer: &answer{ID: m.Ask.ID, State: &state{}}})
			}
		}
	}
	for _, c := range []struct {
		name   string
		p      patience
		worker func(*stream)
		want   string
	}{
		{"silent", patience{poll: time.Millisecond, silence: 20 * time.Millisecond, answer: wait}, deaf, "was silent for 20ms"},
		{"lazy", patience{poll: time.Millisecond, silence: wait, answer: 20 * time.Millisecond}, lazy, "did not answer (begin) within 20ms"},
		{"dead", patience{poll: time.Millisecond, silence: 20 * time.Millisecond, answer: wait}, func(*stream) {}, "was silent for 20ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := configOf(&book{}, 10)
			cfg.patience = c.p
			m, err := puppet(t, cfg, c.worker)
			if err != nil {
				t.Fatal(err)
			}
			says(t, m.begin(t.Context(), &assignment{}), "here (pipe)", c.want)
			<-m.gone()
			<-m.over // nobody listens to it any more
		})
	}
}

func TestAMemberThatTalksNonsenseIsGivenUp(t *testing.T) {
	for _, c := range []struct {
		sent message
		want string
	}{
		{message{Answer: &answer{ID: 99}}, "answered what was not asked"},
		{message{Hello: &hello{}}, "sent what a coordinator sends"},
		{message{Refused: "I have had enough"}, "I have had enough"},
	} {
		cfg := configOf(&book{}, 10)
		cfg.patience.poll = time.Hour
		m, err := puppet(t, cfg, func(s *stream) { _ = s.send(c.sent) })
		if err != nil {
			t.Fatal(err)
		}
		<-m.gone()
		says(t, m.cause(), c.want)
	}
	cfg := configOf(&book{}, 10)
	m, err := puppet(t, cfg, func(s *stream) {
		for range 9 {
			_ = s.send(message{Ended: &ended{}})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-m.gone()
	says(t, m.cause(), "ended more orders than it was given")
}

func TestACoordinatorThatIsSilentIsLeft(t *testing.T) {
	var b book
	w := workerOf(&b)
	w.patience.silence = 100 * time.Millisecond
	conn, ended := serve(t, w)
	s := newStream(conn)
	if _, err := admit(t.Context(), s, identity{build: "test", nonce: newNonce()}, func(share.Resources) string { return "x" }); err != nil {
		t.Fatal(err)
	}
	m, err := s.read()
	for err == nil && m.Leaving == "" {
		m, err = s.read()
	}
	says(t, <-ended, "the coordinator was silent for 100ms")
	if err != nil || !strings.Contains(m.Leaving, "silent") {
		t.Errorf("it heard %+v, %v", m, err)
	}
	s.close(io.EOF)
}

func TestAWorkerAnswersWhatItCannotDo(t *testing.T) {
	var b book
	conn, ended := serve(t, workerOf(&b))
	s := newStream(conn)
	if _, err := admit(t.Context(), s, identity{build: "test", nonce: newNonce()}, func(share.Resources) string { return "x" }); err != nil {
		t.Fatal(err)
	}
	a := &assignment{Config: engine.Config{Connections: 3, Run: 1}, Engines: []share.Engine{{Connections: 3}}, Of: 1}
	for _, c := range []struct {
		ask  ask
		want string // "" = it can
	}{
		{ask{Verb: verbOrder, Order: &engine.Order{}}, `asked for "order" before there were engines`},
		{ask{Verb: verbBegin}, `asked for "begin" before there were engines`},
		{ask{Verb: verbClose}, ""},
		{ask{Verb: verbBegin, Begin: a}, ""},
		{ask{Verb: verbBegin, Begin: a}, `asked for "begin", which this worker does not know`},
		{ask{Verb: verbOrder}, `asked for "order", which`},
		{ask{Verb: "dance"}, `asked for "dance", which`},
		{ask{Verb: verbStop}, ""},
	} {
		c.ask.ID = 5
		if err := s.send(message{Ask: &c.ask}); err != nil {
			t.Fatal(err)
		}
		m, err := s.read()
		if err != nil || m.Answer == nil || m.Answer.ID != 5 || m.Answer.State == nil {
			t.Fatalf("%+v: %+v, %v", c.ask, m, err)
		}
		if got := m.Answer.Failure; c.want == "" && got != nil || c.want != "" && (got == nil || !strings.Contains(got.Text, c.want)) {
			t.Errorf("%+v: got %+v, want %q", c.ask, got, c.want)
		}
	}
	s.close(io.EOF)
	if err := <-ended; err != nil { // it was to close, and has
		t.Error(err)
	}
}

func TestAWorkerMovesItsEnginesOnByItself(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	ticks := func(i int) (n int) {
		b.at(i).set(func(f *fake) { n = f.ticks })
		return n
	}
	until(t, "the worker ticks", func() bool { return ticks(1) > 3 })
	if n := ticks(0); n != 0 {
		t.Errorf("%d ticks of the engine here", n)
	}
	f.Tick()
	if n := ticks(0); n != 1 {
		t.Errorf("%d ticks of the engine here", n)
	}
	b.at(1).set(func(f *fake) { f.s.Failed = 5 })
	until(t, "its counters are known here", func() bool { return f.Snapshot().Failed == 5 })
}

func TestHostsJoinOverTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var b book
	var mu sync.Mutex
	var told []string
	cfg := configOf(&b, 40)
	cfg.Listener, cfg.Hosts, cfg.Key = ln, 3, "sesame"
	cfg.Tell = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, line)
	}
	addr := ln.Addr().String()
	stranger, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	thief := make(chan error, 1)
	ended := make(chan error, 3)
	go func() {
		talk(stranger, "GET / HTTP/1.1\r\n\r\n") // until it is turned away
		thief <- workerOf(&b).Join(t.Context(), addr, 0)
		for range 3 {
			go func() {
				w := workerOf(&b)
				w.Key = "sesame"
				ended <- w.Join(t.Context(), addr, wait)
			}()
		}
	}()
	f, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	says(t, <-thief, addr, "refused", "asks for a key")
	ran := make(chan error, 1)
	go func() { ran <- f.Run() }()
	if err := do(t, f, connect()); err != nil {
		t.Fatal(err)
	}
	if s := f.Snapshot(); s.Ready != 40 || len(f.Members()) != 4 {
		t.Errorf("%+v", f.Members())
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("somebody still listens")
	}
	if err := errors.Join(f.Close(t.Context()), <-ran, <-ended, <-ended, <-ended); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, part := range []string{"has joined, 3 of 3", "was refused: the coordinator asks for a key", "none of this protocol"} {
		if !strings.Contains(strings.Join(told, "\n"), part) {
			t.Errorf("nobody was told %q: %q", part, told)
		}
	}
}

func TestACrowdAtTheDoorIsTurnedAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(t.Context())
	cfg := configOf(&book{}, 40)
	cfg.Listener, cfg.Hosts = ln, 1
	opened := make(chan error, 1)
	go func() {
		_, err := Open(ctx, cfg)
		opened <- err
	}()
	for i := range strangersMax + 1 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		n, err := conn.Read(make([]byte, 1)) // the challenge, for those who are looked at
		if (n == 1) != (i < strangersMax) {
			t.Errorf("number %d: %d bytes, %v", i, n, err)
		}
	}
	enough()
	says(t, <-opened, "0 of 1 hosts have joined", "context canceled")
}

func TestHostsThatDoNotComeAreNotAwaitedForGood(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var b book
	cfg := configOf(&b, 40)
	cfg.Listener, cfg.Hosts, cfg.JoinTime = ln, 2, 300*time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- workerOf(&b).Join(t.Context(), ln.Addr().String(), 0) }()
	_, err = Open(t.Context(), cfg)
	says(t, err, "1 of 2 hosts have joined", "longer than 300ms", "shoal loadtest --join")
	says(t, <-ended, "before the load test was over") // it was let in, and dismissed
}

func TestWhoFindsNoCoordinatorSaysSo(t *testing.T) {
	w := workerOf(&book{})
	for _, address := range []string{"127.0.0.1:1", "nonsense", "127.0.0.1:99999"} {
		says(t, w.Join(t.Context(), address, 0), "no coordinator at "+address)
	}
}

func TestResultsCanBeAskedForAfterTheEnd(t *testing.T) {
	var b book
	f := piped(t, configOf(&b, 20), workerOf(&b))
	if err := errors.Join(do(t, f, connect()), f.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := f.Results(); err != nil || len(r.Own) != 20 {
			t.Errorf("results of %d connections, %v", len(r.Own), err)
		}
	}
	if s := f.Snapshot(); s.Died != 0 || s.Dialed != 20 {
		t.Errorf("%+v", s.Counters)
	}
}
