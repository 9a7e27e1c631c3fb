package loop

import (
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOutOfDescriptorsTheLoopServesOn really exhausts the process's descriptor table.
func TestOutOfDescriptorsTheLoopServesOn(t *testing.T) {
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "ok") }})
	old := r.dial()
	write(t, old, "x")
	expect(t, old, "ok")

	var clients []int
	for range 30 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, fd)
	}
	restore := exhaustDescriptors(t)
	addr := addrPort(r.addr)
	for _, fd := range clients {
		tv := unix.NsecToTimeval(int64(patience))
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
	}
	for i, fd := range clients {
		if n, err := unix.Read(fd, make([]byte, 1)); n > 0 || (err != nil && err != unix.ECONNRESET) {
			t.Errorf("client %d: read %d bytes, %v; want to be refused", i, n, err)
		}
	}
	write(t, old, "x")
	expect(t, old, "ok")
	restore()
	for _, fd := range clients {
		_ = unix.Close(fd)
	}
	fresh := r.dial()
	write(t, fresh, "x")
	expect(t, fresh, "ok")
	r.on(0, func(l *Loop) {
		if l.counters.DescriptorEpisodes != 1 || l.counters.Refused < 30 || l.reserve < 0 {
			t.Errorf("%d episodes, %d refused, reserve %d", l.counters.DescriptorEpisodes, l.counters.Refused, l.reserve)
		}
	})
}

// exhaustDescriptors lowers the limit and takes every descriptor below it.
func exhaustDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	taken := []int{null}
	low := unix.Rlimit{Cur: uint64(null + 40), Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
		taken = nil
	}
	t.Cleanup(restore)
	for {
		fd, err := unix.Dup(null)
		if err == unix.EMFILE {
			return restore
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
}

func TestUrgentByteNeitherSpinsNorBreaksTheConn(t *testing.T) {
	got := make(chan string, 1000)
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) { got <- string(p) }})
	c := r.dial()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.Send(int(fd), []byte("!"), unix.MSG_OOB) })
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, "normal")
	if s := receive(t, got, "data"); s != "normal" {
		t.Errorf("got %q", s)
	}
	var turns uint64
	r.on(0, func(l *Loop) { turns = l.counters.Turns })
	for range 10 {
		r.on(0, nil)
	}
	r.on(0, func(l *Loop) {
		if d := l.counters.Turns - turns; d > 1000 {
			t.Errorf("%d turns for ten messages: the loop spins", d)
		}
	})
}

func TestPausedOrHalfClosedConnsDoNotSpin(t *testing.T) {
	opened := make(chan uint32, 1000)
	r := start(t, Config{}, script{
		open: func(l *Loop, slot uint32) { opened <- slot },
		eof:  func(l *Loop, slot uint32) {}, // keeps it half-open
	})
	paused, half := r.dial(), r.dial()
	first := receive(t, opened, "open")
	receive(t, opened, "open")
	r.on(0, func(l *Loop) { l.Pause(first) })
	write(t, paused, "unread")
	_ = paused.CloseWrite()
	_ = half.CloseWrite()
	var turns uint64
	r.until("the end of stream was seen", func(l *Loop) bool {
		turns = l.counters.Turns
		return l.conns.At(1-first).has(flagEOF) || l.conns.At(first).has(flagEOF)
	})
	for range 20 {
		r.on(0, nil)
	}
	r.on(0, func(l *Loop) {
		if d := l.counters.Turns - turns; d > 2000 {
			t.Errorf("%d turns for twenty messages: the loop spins", d)
		}
	})
}

func TestBytesThatWaitedCountBeforeDeadlinesThatPassed(t *testing.T) {
	fired := make(chan struct{}, 1000)
	heard := make(chan struct{}, 1000)
	r := start(t, Config{}, script{
		open:  func(l *Loop, slot uint32) { l.Arm(slot, 8) },
		data:  func(l *Loop, slot uint32, p []byte) { l.Disarm(slot); heard <- struct{}{} },
		timer: func(*Loop, uint32) { fired <- struct{}{} },
	})
	c := r.dial()
	r.held(func(l *Loop) {
		if l.Conns() == 0 { // not accepted yet: now
			(*reactor)(l).Ready(l.listeners[0].fd, 1)
		}
		for from := l.poller.Now(); l.poller.Now().Sub(from) < 20*l.cfg.TickPeriod; { // the process is held up
			time.Sleep(l.cfg.TickPeriod)
		}
		write(t, c, "I was here in time")
	})
	receive(t, heard, "data")
	for range 5 {
		r.on(0, nil)
	}
	if len(fired) > 0 {
		t.Error("the deadline was enforced before the waiting bytes were read")
	}
	r.on(0, func(l *Loop) {
		if l.counters.LateTicks == 0 || l.counters.LateTicksMax < 15 {
			t.Errorf("%d late ticks, the longest of %d", l.counters.LateTicks, l.counters.LateTicksMax)
		}
	})
}

func TestDescriptorsAreAllGivenBack(t *testing.T) {
	before := openDescriptors(t)
	func() {
		r := start(t, Config{Loops: 2}, script{
			data:     func(l *Loop, slot uint32, p []byte) { reply(l, slot, string(p)) },
			shutdown: func(l *Loop, slot uint32) { l.Close(slot, ReasonShutdown) },
		})
		for range 50 {
			c := r.dial()
			write(t, c, "x")
			expect(t, c, "x")
			_ = c.Close()
		}
		keep := r.dial()
		write(t, keep, strings.Repeat("x", 10))
		expect(t, keep, strings.Repeat("x", 10))
		go r.g.Shutdown(t.Context())
		_, _ = io.Copy(io.Discard, keep)
		_ = keep.Close()
		receive(t, r.g.ended, "end") // closed
	}()
	if after := openDescriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	// The net package keeps an epoll of its own once it was used.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestIdleConnsCostSlotsOnly(t *testing.T) {
	const conns = 4096 // one chunk of the slab
	r := start(t, Config{}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, string(p)) }})
	sys := realSys(t)
	first := r.rawClient(sys)
	r.until("open", func(l *Loop) bool { return l.Conns() == 1 })
	goroutines := runtime.NumGoroutine()
	clients := []*client{first}
	for range conns - 1 {
		clients = append(clients, r.rawClient(sys))
	}
	r.until("all open", func(l *Loop) bool { return l.Conns() == conns })
	for _, c := range clients { // every one was active once
		_, _ = c.sys.Write(c.fd, []byte("hello"))
	}
	r.until("all answered", func(l *Loop) bool { return l.counters.BytesOut == 5*conns })
	r.on(0, func(l *Loop) { l.housekeep(); l.publish() })
	s := r.g.Stats()
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("%d goroutines, %d with one conn", got, goroutines)
	}
	// The clients' descriptors are in the same process and double the index.
	if got := float64(s.SlotBytes+s.IndexBytes/2) / conns; got > 52 {
		t.Errorf("%.1f bytes per idle conn", got)
	}
}

func TestStalledPeerHoldsLittleKernelMemory(t *testing.T) {
	slots := make(chan uint32, 1000)
	r := start(t, Config{BacklogBytesMax: 64 << 10}, script{open: func(_ *Loop, slot uint32) { slots <- slot }})
	r.dial()
	slot := receive(t, slots, "open")
	taken := 0
	r.until("the conn is over its limit", func(l *Loop) bool {
		res := send(l, slot, strings.Repeat("s", 16<<10))
		taken = int(l.counters.BytesOut)
		return res == OverLimit
	})
	// The peer's receive window (tcp_rmem's 131,072 at first), 128 KiB unsent, and what one write exceeds it by.
	if taken > 1<<20 {
		t.Errorf("the kernel took %d bytes for a peer that does not read", taken)
	}
}
