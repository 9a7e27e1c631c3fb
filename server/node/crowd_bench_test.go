package node

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/codec/ws"
	"shoal/loop"
	"shoal/loop/poll"
	"shoal/server/channel"
)

// crowdFD is the first descriptor that the kernel does not know.
const crowdFD = 1 << 20

// crowdPoller watches what is real.
type crowdPoller struct{ poll.Poller }

func (p crowdPoller) Add(fd int, want poll.Interest) error {
	if fd >= crowdFD {
		return nil
	}
	return p.Poller.Add(fd, want)
}

func (p crowdPoller) Mod(fd int, want poll.Interest) error {
	if fd >= crowdFD {
		return nil
	}
	return p.Poller.Mod(fd, want)
}

// crowdSys has more conns than a process may have descriptors: what is written to them goes to a few real sockets, so
// that a write costs what it costs.
type crowdSys struct {
	poll.Sys
	sinks []int
	full  int // times a sink was, and was waited for
}

func (s *crowdSys) Adopt(fd int, opts poll.Options) error {
	if fd >= crowdFD {
		return nil
	}
	return s.Sys.Adopt(fd, opts)
}

func (s *crowdSys) Close(fd int) error {
	if fd >= crowdFD {
		return nil
	}
	return s.Sys.Close(fd)
}

func (s *crowdSys) Write(fd int, p []byte) (int, error) {
	if fd < crowdFD {
		return s.Sys.Write(fd, p)
	}
	for written := 0; ; s.full++ {
		n, err := s.Sys.Write(s.sinks[fd%len(s.sinks)], p[written:])
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			return written, err
		}
		if written += n; written == len(p) {
			return written, nil
		}
	}
}

func (s *crowdSys) Writev(fd int, iov [][]byte) (n int, err error) {
	if fd < crowdFD {
		return s.Sys.Writev(fd, iov)
	}
	for _, p := range iov {
		k, err := s.Write(fd, p)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// pairs makes n connections through a listener of its own.
func pairs(b *testing.B, sys poll.Sys, n int) (ours, peers []int) {
	lfd, at, err := sys.Listen("127.0.0.1:0", 0, poll.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		peer, err := sys.Connect(netip.AddrPort{}, at)
		if err != nil {
			b.Fatal(err)
		}
		fd, err := sys.Accept(lfd)
		if err != nil {
			b.Fatal(err)
		}
		ours, peers = append(ours, fd), append(peers, peer)
	}
	_ = sys.Close(lfd)
	return ours, peers
}

// onlooker is the other end of everything: one goroutine that never sleeps, so that what it measures is the loop.
type onlooker struct {
	sys   poll.Sys
	sinks []int
	conn  int // asks
	buf   [64 << 10]byte
	id    int
	asked time.Time // zero: no command is under way
	waits []time.Duration

	delay   time.Duration // starving as of the last answer
	starved int           // commands not in waits, because the process waited for a processor
}

// starving is how long the threads of this process together have waited for a processor, which others had.
func starving() (sum time.Duration) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if fields := strings.Fields(string(text)); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// look reads what has come, and asks again when the answer was in it.
func (o *onlooker) look(b *testing.B) {
	for _, fd := range o.sinks {
		for n := len(o.buf); n == len(o.buf); {
			n, _ = o.sys.Read(fd, o.buf[:])
		}
		o.answered(b)
	}
	if o.asked.IsZero() {
		o.id++
		o.asked = time.Now()
		if _, err := o.sys.Write(o.conn, fmt.Appendf(nil, `{"id":%d,"presence":{"channel":"own"}}`+"\n", o.id)); err != nil {
			b.Fatal(err)
		}
	}
}

func (o *onlooker) answered(b *testing.B) {
	if o.asked.IsZero() {
		return
	}
	n, err := o.sys.Read(o.conn, o.buf[:])
	if n == 0 {
		if errors.Is(err, syscall.EAGAIN) {
			return
		}
		b.Fatal("the conn that asks has ended: ", err)
	}
	if strings.Contains(string(o.buf[:n]), fmt.Sprintf(`{"id":%d,`, o.id)) {
		wait, delay := time.Since(o.asked), starving()
		if wait > time.Millisecond && delay-o.delay > wait/2 {
			o.starved++
		} else {
			o.waits = append(o.waits, wait)
		}
		o.asked, o.delay = time.Time{}, delay
	}
}

// BenchmarkWaitBehindACrowd has one loop fan out to SHOAL_BENCH_MEMBERS members of a channel (100,000 if it is not set)
// and measures how long a command of another conn waits meanwhile. The members are conns without sockets of their own.
// Commands are left out during which this process mostly waited for a processor that others had (starved).
func BenchmarkWaitBehindACrowd(b *testing.B) {
	members := 100_000
	if v := os.Getenv("SHOAL_BENCH_MEMBERS"); v != "" {
		var err error
		if members, err = strconv.Atoi(v); err != nil || members < 1 {
			b.Fatalf("SHOAL_BENCH_MEMBERS is %q; it must be a number of members", v)
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // as main does for one loop; the other is for the onlooker
	_, sys, err := poll.Open()
	if err != nil {
		b.Fatal(err)
	}
	ours, sinks := pairs(b, sys, 64)
	crowd := &crowdSys{sinks: ours}
	r := newRigWith(b, loop.Config{Loops: 1, NewPoller: func(int) (poll.Poller, poll.Sys, error) {
		p, s, err := poll.Open()
		crowd.Sys = s
		return crowdPoller{p}, crowd, err
	}}, func(c *Config) { c.Session.PingTicks = 0 })
	conn, err := sys.Connect(netip.AddrPort{}, netip.MustParseAddrPort(r.addr))
	if err != nil {
		b.Fatal(err)
	}
	o := &onlooker{sys: sys, sinks: sinks, conn: conn}
	_, _ = sys.Write(conn, []byte(`{"id":1000000000,"connect":{}}`+"\n"))
	stats := r.node.Stats()
	until := func(what string, done func() bool) {
		for begin := time.Now(); !done(); o.look(b) {
			if time.Since(begin) > 5*time.Minute {
				b.Fatal(what)
			}
		}
	}
	for i := range members {
		err := loop.ErrMailboxFull
		until("a member comes", func() bool {
			err = r.loops.Attach(crowdFD+i, 0, func(l *loop.Loop, slot uint32) {
				r.node.shards[0].Message(slot, ws.Text, []byte(`{"id":1,"connect":{}}`+"\n"+`{"id":2,"subscribe":{"channel":"crowd"}}`))
			})
			return err == nil
		})
	}
	until("all are members", func() bool { return stats.Subscriptions.Load() == int64(members) })
	o.waits = nil
	until("commands without a fan-out", func() bool { return len(o.waits) == 2000 })
	idle := o.waits
	o.starved = 0
	var waits []time.Duration
	var took time.Duration
	before := r.loops.Stats().Lag
	data := []byte(`{"text":"` + strings.Repeat("x", 117) + `"}`)
	rounds := 0
	for b.Loop() {
		rounds++
		want := stats.Delivered.Load() + uint64(members)
		o.waits = nil
		begin := time.Now()
		if _, e := r.node.Publish(b.Context(), "crowd", &channel.Publication{Data: data}, PublishOptions{}); e != nil {
			b.Fatal(e)
		}
		until("all have it", func() bool { return stats.Delivered.Load() == want })
		took += time.Since(begin)
		waits = append(waits, o.waits...)
	}
	lag := r.loops.Stats().Lag.Since(before)
	report := func(name string, w []time.Duration) {
		slices.Sort(w)
		b.ReportMetric(float64(w[len(w)/2].Nanoseconds())/1e3, "µs-"+name+"-median")
		b.ReportMetric(float64(w[len(w)*99/100].Nanoseconds())/1e3, "µs-"+name+"-p99")
		b.ReportMetric(float64(w[len(w)-1].Nanoseconds())/1e3, "µs-"+name+"-max")
	}
	report("idle", idle)
	report("wait", waits)
	b.ReportMetric(float64(lag.Quantile(0.999).Nanoseconds())/1e3, "µs-pass-p99.9")
	b.ReportMetric(float64(lag.Max().Nanoseconds())/1e3, "µs-pass-max")
	b.ReportMetric(float64(o.starved), "starved")
	b.ReportMetric(took.Seconds()*1e3/float64(rounds), "ms-fanout")
	b.ReportMetric(0, "ns/op")
	b.Logf("goal: no command waits longer than 5,000 µs; %d members, %d fan-outs, %d commands meanwhile, %d writes had to wait for their reader",
		members, rounds, len(waits), crowd.full)
}
