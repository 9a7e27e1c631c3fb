package sim_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"shoal/loop"
	"shoal/loop/sim"
	"shoal/pool/shared"
)

// story is one world from its seed to its end.
type story struct {
	seed    uint64
	rng     *rand.Rand // of handlers and scripts; the world has its own
	w       *sim.World
	o       *oracle
	g       *loop.Group
	cfg     loop.Config
	tick    time.Duration
	pool    *shared.Pool
	apps    []*app
	clients []*client
	servers []netip.AddrPort
	addr    netip.AddrPort // of kindMain
	buf     []byte
	log     bytes.Buffer

	ops         []byte
	requests    int // of one client, at most
	grid        time.Duration
	clientsMax  int
	descriptors int  // size of the table
	ending      bool // shutdown was asked for
	calm        bool // no faults, everybody reads

	closed                                     map[loop.Reason]int
	dialed, panics, mailboxFull, over, thinned int
	largest                                    int // message
	forced                                     bool
	cancel                                     context.CancelFunc
}

// allOps are the requests; those that end conns are rare enough for others to happen.
const allOps = "eeeeeessssbbbwtttcxaapppmmmmkkkddddy!"

func newStory(seed uint64, trace func(string, ...any)) (*story, error) {
	rng := rand.New(rand.NewPCG(seed, 0x5704))
	st := &story{
		seed: seed, rng: rng, o: newOracle(), closed: map[loop.Reason]int{}, buf: make([]byte, 1<<16),
		pool: shared.NewPool(shared.Config{Poison: true}), tick: time.Duration(20+rng.IntN(100)) * time.Millisecond,
		requests: 1 + rng.IntN(60),
	}
	st.clientsMax = 1 + rng.IntN(150)
	if rng.IntN(2) == 0 {
		st.grid = time.Duration(1+rng.IntN(100)) * time.Millisecond
	}
	for range 2 + rng.IntN(len(allOps)) {
		st.ops = append(st.ops, allOps[rng.IntN(len(allOps))])
	}
	loops := max(1, rng.IntN(5)-1)
	sc := sim.Config{Seed: seed, Loops: loops, StepsMax: 200_000, Trace: trace, AfterPass: st.afterPass}
	if rng.IntN(4) > 0 {
		sc.Faults = sim.RandomFaults(rng)
	}
	if rng.IntN(4) == 0 {
		sc.Descriptors = 3 + 3*loops + 1 + rng.IntN(20) // listeners and reserves fit, not much more
	}
	st.descriptors = cmp.Or(sc.Descriptors, 1024)
	st.w = sim.New(sc)
	st.o.w = st.w
	st.cfg = loop.Config{
		Loops: loops, TickPeriod: st.tick, Shared: st.pool, NewPoller: st.w.Loop,
		ReadBufferBytes: 512 + rng.IntN(1<<rng.UintN(16)), BacklogBytesMax: 1 + rng.IntN(1<<(8+rng.UintN(10))),
		NodeBacklogBytesMax: 1 << 30, AcceptBatch: 1 + rng.IntN(16), ListenBacklog: 1 + rng.IntN(64), FlushSlice: 1 + rng.IntN(32),
		MailboxMax: 1 << 16, CloseWait: time.Duration(200+rng.IntN(5000)) * time.Millisecond,
		DialTimeout: time.Duration(200+rng.IntN(5000)) * time.Millisecond,
		Logger:      slog.New(slog.NewTextHandler(&st.log, nil)),
	}
	if rng.IntN(4) == 0 {
		st.cfg.NodeBacklogBytesMax = int64(1 + rng.IntN(1<<(8+rng.UintN(10))))
	}
	if rng.IntN(4) == 0 {
		st.cfg.MailboxMax = 1 + rng.IntN(20)
	}
	if rng.IntN(6) == 0 {
		st.cfg.ConnsMax = 1 + rng.IntN(20)
	}
	return st, st.build()
}

// build makes the group, the servers to dial and the clients to come.
func (st *story) build() (err error) {
	st.g, err = loop.New(st.cfg, func(l *loop.Loop) []loop.Handler {
		a := &app{st: st, l: l, tracks: map[uint32]*track{}, works: map[*fanout]bool{}}
		st.apps = append(st.apps, a)
		return []loop.Handler{nil, mainKind{a}, otherKind{a}}
	})
	if err != nil {
		return err
	}
	st.o.reliefs = func() uint64 { return st.g.Stats().Reliefs }
	main, err := st.g.Listen(":0", kindMain)
	if err != nil {
		return err
	}
	st.addr = main
	other, err := st.g.Listen(":0", kindOther)
	if err != nil {
		return err
	}
	st.serve()
	chaos := time.Duration(500+st.rng.IntN(15000)) * time.Millisecond
	for range 1 + st.rng.IntN(40) {
		to := main
		if st.rng.IntN(4) == 0 {
			to = other
		}
		st.w.After(st.onGrid(time.Duration(st.rng.Int64N(int64(chaos)/2))), func() { st.arrive(to) })
	}
	st.posts(chaos)
	for _, event := range []func(){st.listenLate, st.burst, st.burst} {
		if st.rng.IntN(3) == 0 {
			st.w.After(time.Duration(st.rng.Int64N(int64(chaos))), event)
		}
	}
	st.w.After(chaos, st.afterChaos)
	return nil
}

// listenLate opens one more port while the loops run, and fails to open one that is taken.
func (st *story) listenLate() {
	late, err := st.g.Listen(":0", kindOther)
	if err != nil {
		if !errors.Is(err, syscall.EMFILE) {
			st.o.fail("a late Listen: %w", err)
		}
		return
	}
	if _, err := st.g.Listen(late.String(), kindMain); !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EMFILE) {
		st.o.fail("Listen on a port in use: %v", err)
	}
	for range 1 + st.rng.IntN(5) {
		st.arrive(late)
	}
}

// onGrid moves a time to the next point at which everything happens at once, in stories that have a grid.
func (st *story) onGrid(at time.Duration) time.Duration {
	if st.grid > 0 {
		return at.Truncate(st.grid) + st.grid
	}
	return at
}

// arrive is a new client. When it has gone another comes in its place, as long as there is trouble.
func (st *story) arrive(to netip.AddrPort) {
	c := st.newClient(st.w.Connect(to))
	c.again = func() {
		if !st.calm && !st.ending && len(st.clients) < st.clientsMax {
			now := st.w.Elapsed()
			st.w.After(st.onGrid(now+time.Duration(st.rng.IntN(2000))*time.Microsecond)-now, func() { st.arrive(to) })
		}
	}
	c.start()
}

// serve opens places to dial: one that answers, now or later or never, one that refuses.
func (st *story) serve() {
	good, bad := netip.MustParseAddrPort("10.9.0.1:80"), netip.MustParseAddrPort("10.9.0.2:80")
	st.servers = []netip.AddrPort{good, good, bad}
	answer := func(p *sim.Peer) {
		c := st.newClient(p)
		switch st.rng.IntN(6) {
		case 0:
		case 1:
			p.Accept()
			c.start()
		default:
			st.w.After(time.Duration(st.rng.IntN(3000))*time.Millisecond, func() {
				if p.Accept() {
					c.start()
				}
			})
		}
	}
	st.w.Serve(good, answer)
	st.w.Serve(bad, func(p *sim.Peer) {
		st.newClient(p)
		if st.rng.IntN(2) == 0 {
			p.Refuse(syscall.ECONNREFUSED)
			return
		}
		st.w.After(time.Duration(st.rng.IntN(3000))*time.Millisecond, func() { p.Refuse(syscall.EHOSTUNREACH) })
	})
}

// posts are what API calls would do: messages from outside, at any time.
func (st *story) posts(until time.Duration) {
	for range st.rng.IntN(40) {
		st.w.After(time.Duration(st.rng.Int64N(int64(until))), func() {
			a := st.apps[st.rng.IntN(len(st.apps))]
			b := st.pool.New(64)
			b.Buf = append(b.Buf[:0], frame('P', st.noise(st.rng.IntN(2000)))...)
			if !a.post(&spread{app: a, b: b}) {
				b.Release()
			}
		})
	}
}

// burst is more messages at once than a loop delivers in one pass.
func (st *story) burst() {
	a := st.apps[st.rng.IntN(len(st.apps))]
	for range 200 + st.rng.IntN(600) {
		a.post(&nothing{at: a})
	}
}

// noise is n random bytes; frames that begin a close frame are told by their first byte, so anything may be in them.
func (st *story) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(st.rng.Uint32())
	}
	return b
}

func (st *story) nodeBacklog() (sum int64) {
	for _, t := range st.o.tracks {
		if !t.client.p.ClosedByLoop() {
			sum += int64(t.backlog() + len(t.last))
		}
	}
	return sum
}

func (st *story) afterPass(i int) error { return st.o.afterPass(st.apps[i]) }

// afterChaos lets the world calm down first, or shuts down in the middle of it.
func (st *story) afterChaos() {
	if st.rng.IntN(3) == 0 {
		st.shutdown()
		return
	}
	st.w.SetFaults(sim.Faults{})
	st.calm = true
	for _, c := range st.clients {
		c.p.SetBuffers(1<<16, 1<<16)
	}
	st.w.After(14*time.Second, st.probe)
	st.w.After(15*time.Second, func() {
		if err := st.settled(); err != nil {
			st.o.fail("after 15 calm seconds: %w", err)
		}
		st.shutdown()
	})
}

// probe is a last client: the loops still serve, unless they are full.
func (st *story) probe() {
	conns := 0
	for _, t := range st.o.tracks {
		if !t.client.p.ClosedByLoop() {
			conns++
		}
	}
	if st.cfg.ConnsMax > 0 && conns >= st.cfg.ConnsMax || st.w.OpenFiles()+4 > st.descriptors {
		return
	}
	c := st.newClient(st.w.Connect(st.addr))
	c.left, c.ending, c.out, c.pace = 0, 0, frame(opEcho, []byte("are you there?")), time.Millisecond
	c.start()
	st.w.After(time.Second-1, func() {
		if c.t == nil || !c.t.closed && c.got == 0 {
			st.o.fail("the last client was not served (%d conns, %d descriptors)", conns, st.w.OpenFiles())
		}
	})
}

// settled: nothing is on its way any more.
func (st *story) settled() error {
	for _, t := range st.o.tracks {
		switch c := t.client; {
		case t.closed:
			if !c.p.ClosedByLoop() && st.w.Elapsed() > t.until+4*st.tick {
				return fmt.Errorf("conn %v: closed (%v), but its descriptor is not", t.id, t.why)
			}
		case !t.open:
			return fmt.Errorf("conn %v: still dialing", t.id)
		case c.p.Broken():
			return fmt.Errorf("conn %v: its peer is gone and it was not noticed", t.id)
		case t.paused || t.armed:
			return fmt.Errorf("conn %v: paused %t, armed %t", t.id, t.paused, t.armed)
		case t.in != len(c.sent):
			return fmt.Errorf("conn %v: read %d of %d bytes", t.id, t.in, len(c.sent))
		case c.finished && !t.eof:
			return fmt.Errorf("conn %v: the end of stream was not noticed", t.id)
		case c.got != len(t.want):
			return fmt.Errorf("conn %v: peer received %d of %d bytes", t.id, c.got, len(t.want))
		}
	}
	for _, a := range st.apps {
		if len(a.works) > 0 {
			return fmt.Errorf("loop %d: %d works did not come to their end", a.l.Index(), len(a.works))
		}
		if a.delivered != a.posted {
			return fmt.Errorf("loop %d: %d messages posted, %d delivered", a.l.Index(), a.posted, a.delivered)
		}
	}
	for _, c := range st.clients {
		if c.t == nil && c.p.Refused() == nil && !c.p.Broken() && !c.p.ClosedByLoop() && !c.done {
			return fmt.Errorf("peer %d waits to be accepted", c.p.Index())
		}
	}
	return nil
}

// shutdown ends the group: in good order, by force, or first the one and then the other.
func (st *story) shutdown() {
	force := func() {
		st.forced = true
		for _, t := range st.o.tracks {
			t.cut = true
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		st.w.Outside(2, func() { _ = st.g.Shutdown(ctx) })
	}
	st.ending = true
	how := st.rng.IntN(5)
	if how == 0 {
		force()
		return
	}
	st.w.Outside(1, st.cancel)
	if how == 1 {
		st.w.After(time.Duration(st.rng.IntN(3000))*time.Millisecond, force)
	}
}

// run plays the world to its end and judges what is left.
func (st *story) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	st.cancel = cancel
	if err := st.g.Run(ctx); err != nil {
		return err
	}
	for _, c := range st.clients {
		for !c.done && !c.ended && c.t != nil && (c.p.Waiting() > 0 || c.p.ClosedByLoop()) {
			c.receive()
		}
	}
	for _, a := range st.apps {
		a.end()
		if err := a.l.Post(&question{}); !errors.Is(err, loop.ErrClosed) {
			return fmt.Errorf("Post to a loop that has ended: %w", err)
		}
		if err := a.l.Validate(); err != nil {
			return err
		}
	}
	return errors.Join(st.w.Err(), st.leaks(), st.books())
}

// leaks: when everything is closed nothing is held.
func (st *story) leaks() error {
	var errs []error
	expect := func(what string, got int64) {
		if got != 0 {
			errs = append(errs, fmt.Errorf("%d %s are left at the end", got, what))
		}
	}
	s := st.g.Stats()
	expect("open conns", s.Conns)
	expect("slots", s.Descriptors)
	expect("bytes of backlog", s.BacklogBytes)
	expect("messages", s.MailboxDepth)
	count, size := st.pool.InUse()
	expect("shared bytes", count)
	expect("bytes of shared bytes", size)
	for _, t := range st.o.tracks {
		if !t.closed {
			errs = append(errs, fmt.Errorf("conn %v was never closed", t.id))
		}
		if t.slow() {
			errs = append(errs, fmt.Errorf("conn %v: closed (%v) at %v, its peer left at %v, the descriptor was closed only at %v", t.id, t.why,
				t.closedAt, t.client.quitAt, t.client.p.ClosedAt()))
		}
		if !t.detached && !t.client.p.ClosedByLoop() {
			errs = append(errs, fmt.Errorf("the descriptor of conn %v was never closed", t.id))
		}
	}
	open := st.w.OpenFiles()
	for _, t := range st.o.tracks {
		if t.detached && !t.client.p.ClosedByLoop() {
			open-- // the world ended before its owner closed it
		}
	}
	expect("descriptors", int64(open))
	return errors.Join(errs...)
}

// slow: both ends had finished, in calm times, and the loop took no notice for long.
func (t *track) slow() bool {
	quit := t.client.quitAt
	return quit > 0 && t.graceful && t.client.p.ClosedAt() > max(quit, t.closedAt)+150*time.Millisecond
}

// books compares the loop's counters with the oracle's.
func (st *story) books() error {
	var errs []error
	s := st.g.Stats()
	expect := func(what string, got uint64, want int) {
		if got != uint64(want) {
			errs = append(errs, fmt.Errorf("Stats: %s is %d, want %d", what, got, want))
		}
	}
	in, taken, accepted := 0, 0, 0
	for _, t := range st.o.tracks {
		in += t.in
		taken += t.client.p.Taken()
		if !t.dialed {
			accepted++
		}
	}
	for why, n := range s.Closed {
		expect(loop.Reason(why).String(), n, st.closed[loop.Reason(why)])
	}
	expect("Accepted", s.Accepted, accepted)
	expect("Dialed", s.Dialed, st.dialed)
	expect("BytesIn", s.BytesIn, in)
	expect("BytesOut", s.BytesOut, taken)
	expect("Panics", s.Panics, st.panics)
	expect("MailboxFull", s.MailboxFull, st.mailboxFull)
	for i, a := range st.apps {
		expect(fmt.Sprintf("messages delivered by loop %d", i), uint64(a.delivered), a.posted)
	}
	if slices.ContainsFunc(st.clients, func(c *client) bool { return c.p.Taken() > 0 && c.t == nil }) {
		errs = append(errs, errors.New("bytes were sent to a peer without a conn"))
	}
	return errors.Join(errs...)
}
