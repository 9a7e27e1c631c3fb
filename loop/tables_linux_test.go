package loop

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// limitDescriptors lowers the limit on descriptors for a test.
func limitDescriptors(t *testing.T, most uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
}

// The process may have 256 descriptors, and holds both ends of 600 connections. Meanwhile the collector runs on the loops' threads, which
// look at Go's own poller then.
func TestLoopsWithDescriptorsOfTheirOwnHoldMoreThanTheLimit(t *testing.T) {
	before := openFiles(t)
	t.Run("while they run", func(t *testing.T) {
		limitDescriptors(t, 256)
		holdMany(t, before)
	})
	if n := openFiles(t); n > before {
		t.Errorf("%d descriptors are open, %d before", n, before)
	}
}

func holdMany(t *testing.T, before int) {
	const loops, each = 4, 150
	server := start(t, Config{Loops: loops, OwnDescriptors: true}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, string(p)) }})
	var open, echoed, lost atomic.Int64
	clients := start(t, Config{Loops: loops, OwnDescriptors: true}, script{}, script{
		open:   func(l *Loop, slot uint32) { open.Add(1); reply(l, slot, "ping") },
		data:   func(_ *Loop, _ uint32, p []byte) { echoed.Add(int64(bytes.Count(p, []byte("ping")))) },
		closed: func(_ *Loop, _ uint32, why Reason, _ error) { lost.Add(1) },
	})
	to := addrPort(server.addr)
	for i := range loops {
		clients.on(i, func(l *Loop) {
			for range each {
				if _, err := l.Dial(netip.AddrPort{}, to, 1); err != nil {
					t.Error(err)
				}
			}
			runtime.GC()
		})
	}
	server.until("all are open", func(l *Loop) bool { runtime.GC(); return open.Load()+lost.Load() >= loops*each })
	server.until("all are echoed", func(*Loop) bool { return echoed.Load()+lost.Load() >= loops*each })
	if s := server.g.Stats(); lost.Load() > 0 || echoed.Load() != loops*each {
		t.Errorf("%d open, %d echoed, %d lost; the server refused %d", open.Load(), echoed.Load(), lost.Load(), s.Refused)
	}
	const ofEach = 10 // epoll, gnet's eventfd, two of ours, two timers, four ends of the border
	if n := openFiles(t); n > before+2*loops*ofEach+ofEach {
		t.Errorf("the process's own table has %d descriptors, %d before", n, before)
	}
}

// A connection crosses from a loop to the process, and from the process to a loop.
func TestConnectionsCrossBetweenTheTables(t *testing.T) {
	left := make(chan Parting, 1)
	r := start(t, Config{Loops: 3, OwnDescriptors: true}, script{
		data: func(l *Loop, slot uint32, p []byte) {
			if string(p) == "out" {
				gone, ok := l.Detach(slot)
				if !ok {
					t.Error("not detached")
				}
				left <- gone
				return
			}
			reply(l, slot, "loop "+string(p))
		},
	})
	before := openFiles(t)
	c := r.dial()
	for range 3 {
		write(t, c, "in")
		expect(t, c, "loop in")
		write(t, c, "out")
		fd, err := receive(t, left, "descriptor").FD()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Write(fd, []byte("process")); err != nil {
			t.Fatal(err)
		}
		expect(t, c, "process")
		if err := r.g.Attach(fd, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	write(t, c, "again")
	expect(t, c, "loop again")
	c.Close()
	r.until("none open", func(l *Loop) bool { return l.conns.Len() == 0 })
	r.until("no descriptor is left", func(*Loop) bool { return openFiles(t) <= before })
}

// What the process has open is not to be seen on a loop, but for regular files: a log may be written from there.
func TestATableHasTheLoopsDescriptorsAndOpenFiles(t *testing.T) {
	log, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	early, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { early.Close(); w.Close() }()
	r := start(t, Config{Loops: 2, OwnDescriptors: true}, script{})
	c := r.dial()
	defer c.Close()
	links := [2][2]string{{0: link("self", early)}, {0: link("self", log)}}
	r.on(0, func(*Loop) {
		links[0][1], links[1][1] = link("thread-self", early), link("thread-self", log)
		if _, err := log.WriteString("from a loop"); err != nil {
			t.Error(err)
		}
	})
	if links[0][0] == "" || links[0][0] == links[0][1] {
		t.Errorf("a pipe of the process is %q there and %q on the loop", links[0][0], links[0][1])
	}
	if links[1][0] == "" || links[1][0] != links[1][1] {
		t.Errorf("the log is %q in the process and %q on the loop", links[1][0], links[1][1])
	}
	if text, _ := os.ReadFile(log.Name()); string(text) != "from a loop" {
		t.Errorf("the log says %q", text)
	}
}

// link says what a descriptor's number stands for in a table.
func link(of string, f *os.File) string {
	at, _ := os.Readlink("/proc/" + of + "/fd/" + strconv.Itoa(int(f.Fd())))
	return at
}

// A table that is full refuses the next, and goes on.
func TestAFullTableRefusesTheNext(t *testing.T) {
	limitDescriptors(t, 120)
	r := start(t, Config{Loops: 1, OwnDescriptors: true}, script{data: func(l *Loop, slot uint32, p []byte) { reply(l, slot, "ok") }})
	r.on(0, func(*Loop) { // fewer are left to it than to us
		for range 60 {
			if _, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				t.Error(err)
			}
		}
	})
	var conns []net.Conn
	refused := 0
	for range 60 {
		c, err := net.DialTimeout("tcp", r.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = c.Write([]byte("x"))
		if n, err := c.Read(make([]byte, 2)); n != 2 || err != nil {
			refused++
			c.Close()
			continue
		}
		conns = append(conns, c)
	}
	if refused == 0 || len(conns) < 30 {
		t.Fatalf("%d served, %d refused", len(conns), refused)
	}
	conns[0].Close()
	r.until("there is room", func(l *Loop) bool { return l.Conns() < len(conns) })
	c := r.dial()
	write(t, c, "x")
	expect(t, c, "ok")
	r.until("it was told", func(l *Loop) bool { return l.counters.DescriptorEpisodes > 0 })
}

func TestAListenFailsWithoutLeavingAnythingBehind(t *testing.T) {
	r := start(t, Config{Loops: 3, OwnDescriptors: true}, script{})
	before := openFiles(t)
	if _, err := r.g.Listen(r.addr, 0); err == nil {
		t.Error("a port was taken twice")
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	c := r.dial()
	c.Close()
}
