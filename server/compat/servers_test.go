package compat_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"shoal/server"
	"shoal/server/config"
)

// patience bounds every wait of a test; nothing is measured by it.
const patience = 15 * time.Second

// target is one of the two servers while it runs.
type target struct {
	name string // "shoal" or "reference"
	base string // of its HTTP API, without the trailing /api
	ws   string
	stop func() // ends it, once; the end of the test does too
}

// starters start the two servers, the one that is right first.
func starters() []func(testing.TB, profile) *target {
	return []func(testing.TB, profile) *target{startReference, startShoal}
}

// call calls the HTTP API and returns the body of the answer.
func (s *target) call(t testing.TB, method, body string) []byte {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.base+"/api/"+method, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", apiKey)
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatalf("%s: api %s: %v", s.name, method, err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: api %s answered %s: %s", s.name, method, res.Status, out)
	}
	return out
}

// startShoal runs a Shoal on a free port until the test ends.
func startShoal(t testing.TB, p profile) *target {
	t.Helper()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{
		"http_server.address": "127.0.0.1", "http_server.port": 0, "log.level": "error", "overload.enabled": false,
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.configure(&cfg)
	cfg.RPC.WithoutNamespace.ProxyEnabled = true
	cfg.RPC.Proxy.Endpoint = startEcho(t)
	logs := &safeBuffer{}
	program, err := server.New(cfg, server.Options{
		Version: "test", Clock: time.Now, Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelWarn})), Random: [24]byte{1, 2, 3}, UID: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- program.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("shoal ended with: %v", err)
			}
		case <-time.After(patience):
			t.Error("shoal did not end")
		}
	})
	t.Cleanup(func() {
		stop()
		if text := logs.String(); bytes.Contains([]byte(text), []byte("panic")) || t.Failed() && text != "" {
			t.Errorf("shoal's log:\n%s", text)
		}
	})
	addr := program.Addr().String()
	return &target{name: "shoal", base: "http://" + addr, ws: "ws://" + addr + cfg.WebSocket.HandlerPrefix, stop: stop}
}

// configure writes the profile into Shoal's configuration.
func (p profile) configure(c *config.Config) {
	c.HTTPAPI.Key = apiKey
	c.Loop.Tick, c.Loop.Loops = 20*time.Millisecond, 2
	c.Client.Token.HMACSecretKey = secret
	c.Client.AllowAnonymousConnect = p.anonymous
	c.Client.PersonalChannel.Enabled, c.Client.PersonalChannel.Namespace = p.personal, "forced"
	c.Client.PingInterval, c.Client.PongTimeout = p.ping, p.pong
	c.Client.StaleCloseDelay, c.Client.ExpiredCloseDelay, c.Client.ExpiredSubCloseDelay = p.stale, p.expired, p.expiredSub
	c.Client.ChannelLimit = p.channelLimit
	c.Client.HistoryMaxPublicationLimit, c.Client.RecoveryMaxPublicationLimit = p.historyLimit, p.recoveryLimit
	c.WebSocket.MessageSizeLimit = p.messageSizeLimit
	c.Channel.Namespaces = namespaces()
}

// safeBuffer collects log lines from any goroutine.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
