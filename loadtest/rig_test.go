package loadtest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/server"
	"shoal/server/config"
)

// patience bounds every wait of a test; nothing is measured by it.
const patience = 30 * time.Second

// serve runs a server in this process and returns its address and how to end it.
func serve(t *testing.T, flags map[string]any) (addr string, stop func()) {
	t.Helper()
	all := map[string]any{"dev": true, "http_server.port": 0, "log.level": "error", "echo.path": "/echo", "shutdown.timeout": "5s"}
	for k, v := range flags {
		all[k] = v
	}
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: all})
	if err != nil {
		t.Fatal(err)
	}
	p, err := server.New(cfg, server.Options{
		Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "t",
		Embed: server.Embed{Callbacks: server.Callbacks{OnRPC: echoCall}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the server did not end")
		}
	})
	t.Cleanup(stop)
	return p.Addr().String(), stop
}

// echoCall answers the calls of scenario rpc.
func echoCall(_ context.Context, r *server.RPCRequest) (*server.RPCReply, error) {
	if r.Method != "loadtest" {
		return nil, server.MethodNotFound()
	}
	return &server.RPCReply{Data: r.Data}, nil
}

// small is a test of 300 connections against a server.
func small(addr string, s Scenario) Config {
	c := Config{Scenario: s, Target: addr, APIKey: "dev", Connections: 300, Timeout: patience, Grace: 5 * time.Second}
	if s != Fanout {
		c.Duration = 300 * time.Millisecond
	}
	return c
}

// try runs a load test.
func try(t *testing.T, ctx context.Context, cfg Config, s Surroundings) (*Report, error) {
	t.Helper()
	s.Clock, s.Run = time.Now, 0x5eed
	r, err := Run(ctx, cfg, s)
	if r != nil {
		if err := r.WriteJSON(io.Discard); err != nil {
			t.Error(err)
		}
		var table strings.Builder
		if err := r.WriteTable(&table); err != nil {
			t.Error(err)
		}
		t.Log(table.String())
	}
	return r, err
}

// well fails the test unless the run was flawless.
func well(t *testing.T, r *Report, err error) {
	t.Helper()
	if err != nil || !r.OK || r.Connections.Ready != r.Connections.Asked || r.Connections.AtEnd != r.Connections.Asked {
		t.Fatalf("%v\n%+v", err, r)
	}
}

// post publishes by the API.
func post(t *testing.T, addr, channel, data string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/api/publish", strings.NewReader(`{"channel":"`+channel+`","data":`+data+`}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", "dev")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !bytes.Contains(body, []byte("result")) {
		t.Fatalf("publish: %d %s", res.StatusCode, body)
	}
}

// lines is a writer that hands over whole lines.
type lines struct {
	c    chan string
	rest []byte
}

func newLines() *lines { return &lines{c: make(chan string, 1000)} }

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.c <- string(line)
		l.rest = rest
	}
}

// until waits for a line that contains part.
func (l *lines) until(t *testing.T, part string) string {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case line := <-l.c:
			if strings.Contains(line, part) {
				return line
			}
		case <-end:
			t.Fatalf("no line with %q came", part)
		}
	}
}

func self() int { return os.Getpid() }
