//go:build linux

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"shoal/codec/proto"
	codecws "shoal/codec/ws"
	"shoal/loadtest/engine"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/transport/ws"
)

// This benchmark is one process with the server and a child with the clients. "make bench-fanout" pins them to
// different cores:
//
//	taskset -c 0 server.test -test.bench FanoutAgainstBareWrites    (the child goes to core 1 by SHOAL_BENCH_CPU)

const (
	childAddr  = "SHOAL_BENCH_CHILD" // the child connects to this address
	childConns = "SHOAL_BENCH_CONNS"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childAddr); addr != "" {
		if err := child(addr, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench client:", err)
			os.Exit(1)
		}
		return
	}
	if addr := os.Getenv(probeAddr); addr != "" {
		if err := prober(addr, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench prober:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child holds the connections: it says "ready", then answers every line on in with
// its census, and ends with in.
func child(addr string, in io.Reader, out io.Writer) error {
	n, err := strconv.Atoi(os.Getenv(childConns))
	if err != nil {
		return err
	}
	remote, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Remote: remote, Host: addr, Path: "/connection/websocket", Channel: "news",
		Connections: n, Sources: 200, Run: 1, BusyPoll: true})
	if err != nil {
		return err
	}
	go func() { _ = e.Run() }()
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			e.Tick()
		}
	}()
	if err := e.Order(engine.Order{Connect: &engine.Connect{}}); err != nil {
		return err
	}
	if err := <-e.Done(); err != nil {
		return err
	}
	encode := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); ; {
		census, err := e.Census()
		if err != nil {
			return err
		}
		if err := encode.Encode(census); err != nil {
			return err
		}
		if !lines.Scan() {
			return e.Close(context.Background())
		}
	}
}

// process is a child that answers lines with JSON.
type process struct {
	b   *testing.B
	in  io.Writer
	out *json.Decoder
}

// startChild starts a child that ends with the benchmark.
func startChild(b *testing.B, cmd *exec.Cmd) *process {
	b.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &process{b: b, in: in, out: json.NewDecoder(out)}
}

func (p *process) ask(line string) {
	p.b.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.b.Fatal(err)
	}
}

func (p *process) answer(v any) {
	p.b.Helper()
	if err := p.out.Decode(v); err != nil {
		p.b.Fatalf("the child does not answer: %v", err)
	}
}

// clients is the child that holds the connections.
type clients struct{ *process }

func startClients(b *testing.B, addr string, n int) *clients {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	if cpu := os.Getenv("SHOAL_BENCH_CPU"); cpu != "" {
		cmd = exec.Command("taskset", "-c", cpu, self)
	}
	cmd.Env = append(os.Environ(), childAddr+"="+addr, childConns+"="+strconv.Itoa(n))
	c := &clients{startChild(b, cmd)}
	var census engine.Census
	if c.answer(&census); census.Ready != n {
		b.Fatalf("%d clients ready, want %d", census.Ready, n)
	}
	return c
}

// received asks until every client has n publications, all the same in the same order.
func (c *clients) received(n int) {
	c.b.Helper()
	for end := time.Now().Add(patience); ; {
		c.ask("")
		var census engine.Census
		c.answer(&census)
		if census.OthersMin == n && census.OthersMax == n && census.Alike {
			return
		}
		if time.Now().After(end) {
			c.b.Fatalf("clients received %d to %d publications, want %d; alike: %v", census.OthersMin, census.OthersMax, n, census.Alike)
		}
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverSockets are the descriptors of the conns accepted on port, in order.
func serverSockets(b *testing.B, port uint16) []int {
	b.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		b.Fatal(err)
	}
	var fds []int
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		local, err := syscall.Getsockname(fd)
		if err != nil {
			continue
		}
		if _, err := syscall.Getpeername(fd); err != nil {
			continue // a listener
		}
		if p := sockPort(local); p == int(port) {
			fds = append(fds, fd)
		}
	}
	slices.Sort(fds)
	return fds
}

func sockPort(a syscall.Sockaddr) int {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return a.Port
	case *syscall.SockaddrInet6:
		return a.Port
	}
	return 0
}

// BenchmarkFanoutAgainstBareWrites publishes to all and, in turn with it, writes
// the same frame to the same sockets in a bare loop of raw write(2). Every client
// must have received all of both, in the same order. SHOAL_BENCH_CONNS sets the
// number of connections, 15,000 by default.
func BenchmarkFanoutAgainstBareWrites(b *testing.B) {
	n := benchConns()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "http_server.port": 0, "loop.loops": 1}})
	if err != nil {
		b.Fatal(err)
	}
	cfg.Channel.WithoutNamespace = plainChannels()
	runtime.GOMAXPROCS(2) // as main does for one loop
	p := runProgram(b, cfg)
	c := startClients(b, p.Addr().String(), n)
	fds := serverSockets(b, p.Addr().Port())
	if len(fds) != n {
		b.Fatalf("%d sockets found, want %d", len(fds), n)
	}
	data := []byte(`{"text":"` + strings.Repeat("x", 117) + `"}`) // 128 B
	payload, err := proto.AppendPublicationPush(nil, proto.JSON, "news", &proto.Publication{Data: data})
	if err != nil {
		b.Fatal(err)
	}
	frame := ws.AppendPublication(nil, codecws.Text, payload)
	sent := 0
	published := func() time.Duration {
		from, before := cpuTime(), p.node.Stats().Delivered.Load()
		if _, e := p.node.Publish(context.Background(), "news", &channel.Publication{Data: data}, node.PublishOptions{}); e != nil {
			b.Fatal(e)
		}
		for p.node.Stats().Delivered.Load()-before < uint64(n) || p.node.InflightBytes() > 0 {
			time.Sleep(time.Millisecond)
		}
		sent++
		c.received(sent)
		return cpuTime() - from
	}
	bare := func() time.Duration {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		from := cpuTime()
		for _, fd := range fds {
			if w, err := rawWrite(fd, frame); err != nil || w != len(frame) {
				b.Fatalf("bare write: %d, %v", w, err)
			}
		}
		sent++
		c.received(sent)
		return cpuTime() - from
	}
	published()
	bare() // warm
	var ours, floor, ratios []float64
	for b.Loop() {
		o, f := published(), bare()
		ours, floor = append(ours, us(o, n)), append(floor, us(f, n))
		ratios = append(ratios, float64(o)/float64(f))
	}
	b.ReportMetric(median(ours), "µs-cpu/delivery")
	b.ReportMetric(median(floor), "µs-cpu/bare-write")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
	b.Logf("goal: ratio ≤ 1.15; %d connections, %d rounds, ratios %.3f to %.3f", n, len(ratios), slices.Min(ratios), slices.Max(ratios))
}

// benchConns is the number of connections to measure with.
func benchConns() int {
	if n, err := strconv.Atoi(os.Getenv(childConns)); err == nil {
		return n
	}
	return 15_000
}

// runProgram runs a program until the benchmark ends.
func runProgram(b *testing.B, cfg config.Config) *Program {
	b.Helper()
	p, err := New(cfg, Options{Version: "bench", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return p
}

func us(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(n) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// rawWrite is write(2) without the scheduler's bookkeeping: the floor.
func rawWrite(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
