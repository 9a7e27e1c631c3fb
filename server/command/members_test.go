package command

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/server"
	"shoal/server/config"
)

// TestMain lets the test program be the program: a worker process is started as what is running.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "loadtest" {
		os.Exit(Run(context.Background(), os.Args[1:], Process{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Clock: time.Now, Version: "test"}))
	}
	os.Exit(m.Run())
}

// serving runs a server for load tests until the test ends.
func serving(t *testing.T) (addr string) {
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
	t.Cleanup(func() { cancel(); <-ended })
	_, port, _ := net.SplitHostPort(p.Addr().String())
	return "127.0.0.1:" + port
}

func TestLoadTestBySeveralProcesses(t *testing.T) {
	code, out, errs := shoal(t, "loadtest", "--target="+serving(t), "--api-key=dev", "--connections=90", "--scenario=fanout", "--publications=3", "--workers=3", "-q")
	if code != ExitOK || !strings.Contains(out, "90 of 90") || !strings.Contains(out, "270 of 270") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

// writer is a buffer for several goroutines.
type writer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *writer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestLoadTestBySeveralHosts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String() // nobody else is given that port for a while
	ln.Close()
	target := serving(t)
	t.Setenv("SHOAL_LOADTEST_KEY", "sesame")
	run := func(args ...string) (wait func() (code int, out, errs string)) {
		var o, e writer
		codes := make(chan int, 1)
		go func() {
			codes <- Run(context.Background(), args, Process{In: strings.NewReader(""), Out: &o, Err: &e, Clock: time.Now, Version: "test"})
		}()
		return func() (int, string, string) { return <-codes, o.String(), e.String() }
	}
	one := run("loadtest", "--join="+at, "--wait=20s")
	two := run("loadtest", "--join="+at, "--wait=20s")
	code, out, errs := run("loadtest", "--listen="+at, "--hosts=2", "--elsewhere", "--target="+target, "--api-key=dev", "--connections=90",
		"--scenario=fanout", "--publications=3")()
	for _, part := range []string{"90 of 90", "270 of 270", "2 hosts are to join; on each of them: shoal loadtest --join HOST:", "2 of 2"} {
		if code != ExitOK || !strings.Contains(out+errs, part) {
			t.Errorf("code %d, no %q\n%s%s", code, part, out, errs)
		}
	}
	for _, host := range []func() (int, string, string){one, two} {
		if code, out, errs := host(); code != ExitOK || !strings.Contains(errs, "the load test is over") {
			t.Errorf("code %d\n%s%s", code, out, errs)
		}
	}
}

func TestMembersThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--hosts=2", ExitUsage, "--listen and --hosts come together"},
		{"--listen=:7000", ExitUsage, "--listen and --hosts come together"},
		{"--elsewhere", ExitUsage, "nobody would carry"},
		{"--listen=:1 --hosts=1 --elsewhere --workers=2", ExitUsage, "this host carries connections or it does not"},
		{"--workers=-1", ExitUsage, "below zero"},
		{"--listen=nonsense --hosts=1", ExitFailed, "--listen"},
		{"--join=127.0.0.1:1", ExitFailed, "no coordinator at 127.0.0.1:1"},
		{"--worker", ExitFailed, "the other side ended the connection"},
		{"--listen=127.0.0.1:0 --hosts=1 --join-time=10ms", ExitFailed, "0 of 1 hosts have joined"},
	} {
		code, out, errs := shoal(t, append([]string{"loadtest"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(fmt.Sprint(out, errs), c.want) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}
