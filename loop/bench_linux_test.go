package loop

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"shoal/loop/poll"
	"shoal/pool/shared"
)

// client is a raw non-blocking socket, so that a test allocates and schedules nothing on the client's side.
type client struct {
	fd  int
	sys poll.Sys
	buf [4096]byte
}

func (r *rig) rawClient(sys poll.Sys) *client {
	r.t.Helper()
	fd, err := sys.Connect(addrPort("127.0.0.1:0"), addrPort(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = unix.Close(fd) })
	return &client{fd: fd, sys: sys}
}

func realSys(t testing.TB) poll.Sys {
	t.Helper()
	p, sys, err := poll.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return sys
}

func (c *client) drain() (n int) {
	for {
		k, err := c.sys.Read(c.fd, c.buf[:])
		if err != nil || k == 0 {
			return n
		}
		n += k
	}
}

func TestNoAllocationFromInputToReply(t *testing.T) {
	answer := []byte("answer of some bytes")
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) {
		l.Commit(slot, append(l.Begin(slot), answer...))
		l.Arm(slot, 100)
	}})
	c := r.rawClient(realSys(t))
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	r.on(0, func(l *Loop) {
		question := []byte("question")
		served := 0
		allocs := testing.AllocsPerRun(500, func() {
			if _, err := c.sys.Write(c.fd, question); err != nil {
				t.Fatal(err)
			}
			(*reactor)(l).Ready(int(l.conns.At(0).fd), poll.Readable)
			served += c.drain()
		})
		if allocs != 0 || served != 501*len(answer) {
			t.Errorf("%v allocations per message, %d bytes answered", allocs, served)
		}
	})
}

func TestNoAllocationFromSendToFlush(t *testing.T) {
	r := start(t, Config{}, script{})
	sys := realSys(t)
	var clients []*client
	for range 20 {
		clients = append(clients, r.rawClient(sys))
	}
	r.until("open", func(l *Loop) bool { return l.Conns() == 20 })
	r.on(0, func(l *Loop) {
		pool := shared.NewPool(shared.Config{})
		received := 0
		allocs := testing.AllocsPerRun(500, func() {
			b := pool.New(128)
			b.Buf = b.Buf[:128]
			ref := l.Hold(b)
			for slot := range uint32(20) {
				l.Send(slot, ref)
				l.Send(slot, ref)
			}
			l.Unhold(ref)
			for len(l.dirty) > 0 { // once, unless the machine is busy
				(*reactor)(l).Again()
			}
			for _, c := range clients {
				received += c.drain()
			}
		})
		if allocs != 0 || received != 501*20*2*128 {
			t.Errorf("%v allocations per fan-out, %d bytes received", allocs, received)
		}
	})
}

func TestNoAllocationFromPostToDelivery(t *testing.T) {
	r := start(t, Config{}, script{})
	done := make(chan struct{})
	m := Message(deliverFunc(func(*Loop) { done <- struct{}{} }))
	allocs := testing.AllocsPerRun(500, func() {
		if err := r.g.Loop(0).Post(m); err != nil {
			t.Fatal(err)
		}
		<-done
	})
	if allocs > 0.1 { // gnet resizes its event list now and then
		t.Errorf("%v allocations per message", allocs)
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func median(d []float64) float64 {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkFanout sends one shared frame to loopback sockets, against a bare write(2) loop over the same sockets in
// turn with it. Processor time of the process; the receivers read outside of the measurement.
func BenchmarkFanout(b *testing.B) {
	for _, receivers := range []int{2000, 9000} {
		b.Run(strconv.Itoa(receivers), func(b *testing.B) { benchmarkFanout(b, receivers) })
	}
}

func benchmarkFanout(b *testing.B, receivers int) {
	const size = 130
	r := start(b, Config{}, script{})
	sys := realSys(b)
	var clients []*client
	for range receivers {
		clients = append(clients, r.rawClient(sys))
	}
	var slots []uint32
	var fds []int
	r.until("open", func(l *Loop) bool { return l.Conns() == receivers })
	r.on(0, func(l *Loop) {
		l.Each(func(slot uint32, _ Kind) bool {
			slots = append(slots, slot)
			fds = append(fds, int(l.conns.At(slot).fd))
			return true
		})
	})
	payload := []byte(strings.Repeat("p", size))
	drain := func() {
		n := 0
		for sweep := 0; n < receivers*size && sweep < 1000; sweep++ { // ksoftirqd may still be at it
			for _, c := range clients {
				n += c.drain()
			}
		}
		if n != receivers*size {
			b.Fatalf("%d bytes received, want %d", n, receivers*size)
		}
	}
	done := make(chan struct{})
	var bare, loop, ratio []float64
	for b.Loop() {
		x := r.inLoop(func() { bareWrites(fds, payload) })
		drain()
		begin := cpuTime()
		_ = r.g.Loop(0).Post(deliverFunc(func(l *Loop) {
			l.Work(&fanout{slots: slots, ref: l.Hold(bytesOf(l, string(payload))), done: done})
		}))
		<-done
		y := cpuTime() - begin
		drain()
		bare = append(bare, float64(x.Nanoseconds())/float64(receivers))
		loop = append(loop, float64(y.Nanoseconds())/float64(receivers))
		ratio = append(ratio, float64(y)/float64(x))
	}
	b.ReportMetric(median(bare), "bare-ns/recipient")
	b.ReportMetric(median(loop), "loop-ns/recipient")
	b.ReportMetric(median(ratio), "ratio")
	b.ReportMetric(0, "ns/op")
}

// inLoop measures f on the loop's goroutine.
func (r *rig) inLoop(f func()) time.Duration {
	done := make(chan time.Duration)
	_ = r.g.Loop(0).Post(deliverFunc(func(*Loop) {
		begin := cpuTime()
		f()
		done <- cpuTime() - begin
	}))
	return <-done
}

func bareWrites(fds []int, p []byte) {
	for _, fd := range fds {
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	}
}

// fanout is a Work.
type fanout struct {
	slots []uint32
	ref   shared.Ref
	done  chan struct{}
}

func (f *fanout) Slice(l *Loop) bool {
	if len(f.slots) == 0 {
		f.done <- struct{}{}
		return false
	}
	wait, slice := l.Unwritten()
	n := min(len(f.slots), max(slice-wait, 0))
	for _, s := range f.slots[:n] {
		l.Send(s, f.ref)
	}
	if f.slots = f.slots[n:]; len(f.slots) == 0 {
		l.Unhold(f.ref)
	}
	return true
}

// BenchmarkBurst sends 20 messages at once to each of 500 sockets: one writev each.
func BenchmarkBurst(b *testing.B) {
	const receivers, messages, size = 500, 20, 130
	r := start(b, Config{}, script{})
	sys := realSys(b)
	var clients []*client
	for range receivers {
		clients = append(clients, r.rawClient(sys))
	}
	r.until("open", func(l *Loop) bool { return l.Conns() == receivers })
	var cost []float64
	for b.Loop() {
		x := r.inLoop(func() {
			l := r.g.Loop(0)
			var refs [messages]shared.Ref
			for i := range refs {
				refs[i] = l.Hold(bytesOf(l, strings.Repeat("p", size)))
			}
			l.Each(func(slot uint32, _ Kind) bool {
				for _, ref := range refs {
					l.Send(slot, ref)
				}
				return true
			})
			for _, ref := range refs {
				l.Unhold(ref)
			}
			for len(l.dirty) > 0 {
				l.flushDirty()
			}
		})
		n := 0
		for _, c := range clients {
			n += c.drain()
		}
		if n != receivers*messages*size {
			b.Fatalf("%d bytes received", n)
		}
		cost = append(cost, float64(x.Nanoseconds())/receivers/messages)
	}
	b.ReportMetric(median(cost), "ns/message")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAccept measures the server's side of a connection: accepting it (handler, slot, poller) and closing it.
func BenchmarkAccept(b *testing.B) {
	r := start(b, Config{}, script{})
	sys := realSys(b)
	const batch = 200
	var bare, accept, closing []float64
	perConn := func(begin time.Duration) float64 { return float64((cpuTime() - begin).Nanoseconds()) / batch }
	for b.Loop() {
		r.held(func(l *Loop) { // the loop is held, the connections wait in the kernel's queue
			fds := connect(b, sys, r.addr, batch)
			begin := cpuTime()
			for l.open < batch {
				(*reactor)(l).Ready(l.listeners[0].fd, poll.Readable)
			}
			accept = append(accept, perConn(begin))
			closeAll(fds)
			begin = cpuTime()
			l.Each(func(slot uint32, _ Kind) bool {
				(*reactor)(l).Ready(int(l.conns.At(slot).fd), poll.Readable)
				return true
			})
			closing = append(closing, perConn(begin))

			fds = connect(b, sys, r.addr, batch)
			accepted := make([]int, 0, batch)
			begin = cpuTime()
			for range batch {
				fd, err := sys.Accept(l.listeners[0].fd)
				if err != nil {
					b.Fatal(err)
				}
				accepted = append(accepted, fd)
			}
			bare = append(bare, perConn(begin))
			closeAll(fds)
			closeAll(accepted)
		})
	}
	b.ReportMetric(median(bare), "bare-accept-ns/conn")
	b.ReportMetric(median(accept), "accept-ns/conn")
	b.ReportMetric(median(closing), "close-ns/conn")
	b.ReportMetric(0, "ns/op")
}

func connect(b *testing.B, sys poll.Sys, addr string, n int) (fds []int) {
	for range n {
		fd, err := sys.Connect(addrPort("127.0.0.1:0"), addrPort(addr))
		if err != nil {
			b.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// held runs f on the loop's goroutine and waits.
func (r *rig) held(f func(l *Loop)) {
	r.t.Helper()
	done := make(chan struct{})
	err := r.g.Loop(0).Post(deliverFunc(func(l *Loop) {
		defer close(done)
		f(l)
	}))
	if err != nil {
		r.t.Fatal(err)
	}
	<-done
}

// BenchmarkEcho is a message in and out of each of 256 conns, against a bare read and write on the same sockets.
func BenchmarkEcho(b *testing.B) {
	r := start(b, Config{}, script{data: func(l *Loop, slot uint32, p []byte) { l.Commit(slot, append(l.Begin(slot), p...)) }})
	sys := realSys(b)
	const conns = 256
	var clients []*client
	for range conns {
		clients = append(clients, r.rawClient(sys))
	}
	r.until("open", func(l *Loop) bool { return l.Conns() == conns })
	question := []byte(strings.Repeat("q", 64))
	var echo, bare []float64
	perMessage := func(begin time.Duration) float64 { return float64((cpuTime() - begin).Nanoseconds()) / conns }
	for b.Loop() {
		r.held(func(l *Loop) {
			ask(b, clients, question)
			begin := cpuTime()
			for slot := range uint32(conns) {
				(*reactor)(l).Ready(int(l.conns.At(slot).fd), poll.Readable)
			}
			echo = append(echo, perMessage(begin))
			collect(b, clients, len(question))

			ask(b, clients, question)
			begin = cpuTime()
			for slot := range uint32(conns) {
				fd := int(l.conns.At(slot).fd)
				n, _, _ := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&l.buf[0])), uintptr(len(l.buf)))
				bareWrites([]int{fd}, l.buf[:n])
			}
			bare = append(bare, perMessage(begin))
			collect(b, clients, len(question))
		})
	}
	b.ReportMetric(median(bare), "bare-ns/message")
	b.ReportMetric(median(echo), "loop-ns/message")
	b.ReportMetric(0, "ns/op")
}

func ask(b *testing.B, clients []*client, p []byte) {
	for _, c := range clients {
		if _, err := c.sys.Write(c.fd, p); err != nil {
			b.Fatal(err)
		}
	}
}

func collect(b *testing.B, clients []*client, n int) {
	for _, c := range clients {
		if k, err := c.sys.Read(c.fd, c.buf[:]); err != nil || k != n {
			b.Fatal(k, err)
		}
	}
}

// BenchmarkPass is what it costs to know how long a pass took.
func BenchmarkPass(b *testing.B) {
	r := start(b, Config{}, script{})
	r.held(func(l *Loop) {
		for b.Loop() {
			(*reactor)(l).PassBegins()
			(*reactor)(l).PassEnds()
		}
	})
}

// BenchmarkRelief is what making room costs a loop with 15,000 blocked conns, one of 64 of which has to go: looking at all
// of them twice, and cutting some. The sockets are not real, since that many do not fit a process.
func BenchmarkRelief(b *testing.B) {
	const conns, part = 15_000, 64
	r := start(b, Config{NodeBacklogBytesMax: 1 << 40, Shared: shared.NewPool(shared.Config{})}, script{})
	var looks, cuts, longest []float64
	r.held(func(l *Loop) {
		for b.Loop() {
			for i := range conns {
				_, c := l.conns.Alloc()
				c.state, c.fd, c.flags, c.kind = stateOpen, -1, flagBlocked, 0
				l.open++
				l.group.conns.Add(1)
				n := 1000
				if i%part == 0 {
					n = 100_000
				}
				l.queue(c, l.Hold(bytesOf(l, strings.Repeat("p", n))), n)
			}
			g := &l.group.relief
			g.Init(l.backlog, 1)
			l.group.backlog.Store(l.backlog)
			l.backlogPublished = l.backlog
			if !g.Begin(l.backlog, int64(l.Now())) {
				b.Fatal("no round")
			}
			l.relief = reliever{step: g.Step(), phase: g.Step().Phase()}
			slice := func(into *[]float64) {
				begin := time.Now()
				most := time.Duration(0)
				for more := true; more; {
					at := time.Now()
					more = l.relief.Slice(l)
					most = max(most, time.Since(at))
				}
				*into = append(*into, float64(time.Since(begin).Microseconds()))
				longest = append(longest, float64(most.Microseconds()))
			}
			slice(&looks)
			l.relief = reliever{step: g.Step(), phase: g.Step().Phase()}
			before := l.counters.Closed[ReasonNodeBacklog]
			slice(&cuts)
			if n := l.counters.Closed[ReasonNodeBacklog] - before; n == 0 || n > conns/part+1 {
				b.Fatalf("%d conns were cut", n)
			}
			b.ReportMetric(float64(l.counters.Closed[ReasonNodeBacklog]-before), "cut")
			l.conns.Each(func(slot uint32, _ *conn) bool { l.drop(slot, ReasonServer, nil); return true })
			l.reap()
		}
		l.group.backlog.Store(l.backlog)
		l.backlogPublished = l.backlog
	})
	b.ReportMetric(median(looks), "µs-look")
	b.ReportMetric(median(cuts), "µs-cut")
	slices.Sort(longest)
	b.ReportMetric(longest[len(longest)*95/100], "µs-slice-p95")
	b.ReportMetric(0, "ns/op")
}
