package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/tuning"
)

func TestWrongTargetsAreExplained(t *testing.T) {
	addr, _ := serve(t, nil)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer web.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shut := closed.Addr().String()
	closed.Close()
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"closed port", func(c *Config) { c.Target = shut }, "start the server"},
		{"plain HTTP server", func(c *Config) { c.Target = web.Listener.Addr().String() }, "an ordinary web server"},
		{"wrong path", func(c *Config) { c.Target = "ws://" + addr + "/nothing" }, "no such endpoint"},
		{"unknown namespace", func(c *Config) { c.Channel = "none:x" }, "namespace does not exist"},
		{"bad token", func(c *Config) { c.Token = "abc" }, "--token"},
		{"wrong API key", func(c *Config) { c.Scenario, c.APIKey, c.Duration = Fanout, "no", 0 }, "--api-key"},
		{"API elsewhere", func(c *Config) { c.Scenario, c.API, c.Duration = Fanout, "http://"+shut+"/api", 0 }, "start the server"},
		{"API that is none", func(c *Config) { c.Scenario, c.API, c.Duration = Fanout, web.URL, 0 }, "the API of the target"},
		{"TLS", func(c *Config) { c.Target = "wss://localhost" }, "TLS is not measured"},
		{"scheme", func(c *Config) { c.Target = "http://localhost" }, "ws://host:port"},
		{"no name", func(c *Config) { c.Target = "ws://no.such.host.invalid" }, "cannot be resolved"},
		{"port", func(c *Config) { c.Target = "127.0.0.1:99999" }, "99999"},
		{"too many", func(c *Config) { c.Connections = 40_000_000 }, "descriptors"},
		{"process", func(c *Config) { c.ServerPIDs = []int{1 << 30} }, "--server-pid"},
		{"scenario", func(c *Config) { c.Scenario = "party" }, "there is idle, fanout, channels"},
		{"payload", func(c *Config) { c.PayloadBytes = 3 }, "--payload"},
	} {
		cfg := small(addr, Idle)
		cfg.Connections, cfg.Grace = 20, time.Second
		c.change(&cfg)
		r, err := try(t, t.Context(), cfg, Surroundings{})
		if err == nil || !strings.Contains(err.Error(), c.want) || r != nil && r.OK {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
		}
	}
}

// listening accepts connections and gives each to serve, until the test ends.
func listening(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				serve(c)
				_, _ = io.Copy(io.Discard, c) // until the other end is gone
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func TestTargetsThatMisbehaveAreExplained(t *testing.T) {
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).CloseWrite()
		}
	}
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		want  string // what is wrong, and what to change
	}{
		{"says nothing", func(net.Conn) {}, "is it overloaded, or another service? See --step-timeout"},
		{"hangs up", func(c net.Conn) { c.Close() }, "does not speak WebSocket there"},
		{"speaks SSH", answer("SSH-2.0-OpenSSH_9.6\r\n"), "another service answers there: check the port in --target"},
		{"is a web server", answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), "name the WebSocket endpoint's path in --target"},
		{"is full", answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), "raise client.connection_limit"},
		{"speaks TLS", answer("\x15\x03\x01\x00\x02\x02\x0a"), "check the port in --target"},
	} {
		cfg := small(listening(t, c.serve), Idle)
		cfg.Connections, cfg.StepTimeout = 5, 500*time.Millisecond
		r, err := try(t, t.Context(), cfg, Surroundings{})
		if !errors.Is(err, ErrFailed) || r == nil || r.OK || !strings.Contains(strings.Join(r.Failures, "\n"), c.want) {
			t.Errorf("%s: %v, want …%s…", c.name, err, c.want)
			continue
		}
		if text, err := json.Marshal(r); err != nil || !strings.Contains(string(text), `"failed":`) || r.Connections.Ready != 0 || len(r.Causes) == 0 {
			t.Errorf("%s: %v %s", c.name, err, text)
		}
	}
}

func TestATerminalIsLeftInOrderWhenATestIsInterrupted(t *testing.T) {
	addr, _ := serve(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := newLines()
	var shown strings.Builder
	cfg := small(addr, Channels)
	cfg.Duration = time.Hour
	go func() {
		events.until(t, `"event":"publishing"`)
		time.Sleep(500 * time.Millisecond) // for the block to be drawn
		cancel()
	}()
	r, err := try(t, ctx, cfg, Surroundings{Events: events, Progress: &shown, Terminal: true})
	if err != nil || !r.Interrupted {
		t.Fatalf("%v %+v", err, r)
	}
	_, last, _ := strings.Cut(shown.String(), "publishing")
	if text := shown.String(); !strings.Contains(text, "▕") || !strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\x1b[J") {
		t.Errorf("%q", last)
	}
}

func TestBothEndsOfAllConnectionsMustFitOnThisHost(t *testing.T) {
	addr, _ := serve(t, nil)
	cfg := in(addr, planned(t, "phases: [{scenario: idle, duration: 1ms}]"))
	cfg.Connections = 49_000_000
	r, err := try(t, t.Context(), cfg, newPuppet(10).driving())
	if r != nil || err == nil || !strings.Contains(err.Error(), "both ends, since the target is on this host") {
		t.Errorf("%v", err)
	}
	s := newPuppet(10).driving()
	s.Spread = true
	if r, err := try(t, t.Context(), cfg, s); r == nil || err != nil {
		t.Errorf("other hosts have a part of them: %v", err)
	}
}

func TestAHostThatIsTooSmallIsToldWhatToChange(t *testing.T) {
	const gib = 1 << 30
	roomy := tuning.Host{
		Descriptors: 20_000, Memory: 24 * gib, Available: 20 * gib, FilesUsed: 1000,
		Sysctls: map[string][]uint64{"net.ipv4.ip_local_port_range": {32768, 60999}, "fs.file-max": {9_000_000}},
	}
	for _, c := range []struct {
		name    string
		d       demand
		members int
		change  func(*tuning.Host)
		want    []string // nil = it is enough
	}{
		{"enough", demand{19_000, 38, true}, 1, nil, nil},
		{"descriptors", demand{30_000, 60, true}, 1, nil, []string{"30000 connections need 30064 descriptors", "may have 20000", "ulimit -n 30064", "--connections 19936"}},
		{"descriptors, in two tables", demand{30_000, 60, true}, 2, nil, nil},
		{"descriptors of each of two", demand{50_000, 100, true}, 2, nil, []string{"25000 for each of 2 members, need 25064"}},
		{"a million in 52", demand{1_000_000, 2000, true}, 52, nil, nil},
		{"ports", demand{60_000, 1, false}, 4, nil, []string{"28232 for each of 1 source", "ip_local_port_range", "--sources", "more hosts"}},
		{"memory of both ends", demand{1_000_000, 2000, true}, 52, func(h *tuning.Host) { h.Available = 6 * gib },
			[]string{"both ends, since the target is on this host", "memory is enough for", "ask for at most --connections"}},
		{"memory of one end", demand{1_000_000, 2000, false}, 52, func(h *tuning.Host) { h.Available = 6 * gib }, nil},
		{"memory of one end in less", demand{1_000_000, 2000, false}, 52, func(h *tuning.Host) { h.Available = 3 * gib }, []string{"the load test's ends", "4,600 each"}},
		{"files of the host", demand{1_000_000, 2000, true}, 52, func(h *tuning.Host) { h.Sysctls["fs.file-max"] = []uint64{1_500_000} }, []string{"fs.file-max is enough for 749500"}},
	} {
		host := roomy
		host.Sysctls = map[string][]uint64{}
		for k, v := range roomy.Sysctls {
			host.Sysctls[k] = v
		}
		if c.change != nil {
			c.change(&host)
		}
		err := c.d.checkLimits(host, c.members)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, part := range c.want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want …%s…", c.name, err, part)
			}
		}
	}
}
