package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/server/channel"
	"shoal/server/config"
)

// rig is a running program and what a test talks to it with.
type rig struct {
	t    *testing.T
	p    *Program
	base string
	key  string
	logs *logLines
	stop func()
}

// plainChannels are open to everybody and keep nothing: what tests about other things
// want of channels.
func plainChannels() channel.Options {
	return channel.Options{
		AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true,
		AllowPublishForSubscriber: true, AllowPublishForAnonymous: true,
	}
}

// patience bounds every wait of a test; nothing is measured by it.
const patience = 20 * time.Second

// start runs a program on a free port of the loopback interface. change edits the
// development profile's configuration.
func start(t *testing.T, change func(*config.Config), options ...func(*Options)) *rig {
	t.Helper()
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "http_server.port": 0, "log.level": "error"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Channel.WithoutNamespace = plainChannels()
	cfg.Overload.Enabled = false // a busy machine is not what other tests are about
	if change != nil {
		change(&cfg)
	}
	logs := &logLines{}
	o := Options{Version: "test", Clock: time.Now, Logger: logs.logger(), Random: [24]byte{1, 2, 3}, UID: "test"}
	for _, option := range options {
		option(&o)
	}
	p, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	r := &rig{t: t, p: p, base: "http://" + p.Addr().String(), key: cfg.HTTPAPI.Key, logs: logs}
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the program ended with: %v", err)
			}
		case <-time.After(patience):
			t.Error("the program did not end")
			return
		}
		r.settled()
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Log("the program's log:\n" + strings.Join(logs.since(0), "\n"))
		}
	})
	return r
}

// settled checks what must hold after every test: no panic, nothing leaked.
func (r *rig) settled() {
	r.t.Helper()
	if n := r.p.loops.Stats().Panics; n > 0 {
		r.t.Errorf("%d panics were recovered", n)
	}
	if err := r.p.node.Validate(); err != nil {
		r.t.Error(err)
	}
	if s := r.p.node.Stats(); s.Sessions.Load() != 0 || s.Connected.Load() != 0 || s.Subscriptions.Load() != 0 || s.Users.Load() != 0 || r.p.node.Channels() != 0 {
		r.t.Errorf("left: %d sessions, %d connected, %d subscriptions, %d users, %d channels",
			s.Sessions.Load(), s.Connected.Load(), s.Subscriptions.Load(), s.Users.Load(), r.p.node.Channels())
	}
	if err := r.p.entry.Validate(0); err != nil {
		r.t.Error(err)
	}
	if n := r.p.node.InflightBytes(); n != 0 {
		r.t.Errorf("%d bytes of publications in flight", n)
	}
	if buffers, _ := r.p.buffers.InUse(); buffers != 0 {
		r.t.Errorf("%d buffers borrowed", buffers)
	}
}

// call calls the HTTP API and returns status and body.
func (r *rig) call(method, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.base+"/api/"+method, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", r.key)
	return do(r.t, req)
}

func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	res, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

// encodings runs f for both encodings of the client protocol.
func encodings(t *testing.T, f func(t *testing.T, dial func(url string, c centrifuge.Config) *centrifuge.Client)) {
	t.Run("json", func(t *testing.T) { f(t, centrifuge.NewJsonClient) })
	t.Run("protobuf", func(t *testing.T) { f(t, centrifuge.NewProtobufClient) })
}

func (r *rig) ws() string {
	return "ws://" + r.p.Addr().String() + r.p.cfg.WebSocket.HandlerPrefix
}

// wait receives from ch or fails the test.
func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: did not happen", what)
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}
