package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/backend"
	"shoal/server/channel"
)

// clock is a fake one. Any goroutine.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// rig is hooks with a fake clock and sleeps that are recorded and take no time.
type rig struct {
	*Hooks
	clock *clock
	log   *lockedBuffer

	mu     sync.Mutex
	sleeps []time.Duration
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (r *rig) slept() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Duration(nil), r.sleeps...)
}

// rules has namespaces that ask the default endpoints, and named ones that ask "other".
func rules(t testing.TB) *channel.Rules {
	t.Helper()
	all := channel.Options{SubscribeProxyEnabled: true, PublishProxyEnabled: true, SubRefreshProxyEnabled: true, StateProxyEnabled: true}
	other := all
	other.Name = "other"
	other.SubscribeProxyName, other.PublishProxyName, other.SubRefreshProxyName, other.StateProxyName = "other", "other", "other", "other"
	quiet := channel.Options{Name: "quiet"}
	r, err := channel.Compile(channel.Config{WithoutNamespace: all, Namespaces: []channel.Options{other, quiet}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// everywhere is a configuration that asks e about everything.
func everywhere(t testing.TB, e Endpoint) Config {
	t.Helper()
	return Config{
		Connect: &e, Refresh: &e, Subscribe: &e, Publish: &e, SubRefresh: &e, State: &e, RPC: &e,
		Named:               []Named{{Name: "other", Endpoint: e}, {Name: "unused", Endpoint: e}},
		RPCWithoutNamespace: RPCOptions{ProxyEnabled: true},
		RPCNamespaces:       []RPCNamespace{{Name: "math", RPCOptions: RPCOptions{ProxyEnabled: true, ProxyName: "other"}}, {Name: "off"}},
		Rules:               rules(t),
	}
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	r := &rig{clock: &clock{now: time.Unix(1_700_000_000, 0)}, log: &lockedBuffer{}}
	cfg.Now, cfg.Random = r.clock.Now, func() float64 { return 0.5 }
	if cfg.Sleep == nil {
		cfg.Sleep = func(ctx context.Context, d time.Duration) error {
			r.mu.Lock()
			r.sleeps = append(r.sleeps, d)
			r.mu.Unlock()
			return ctx.Err()
		}
	}
	cfg.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Hooks = h
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Close(ctx)
	})
	return r
}

// stat gives the counts of one line.
func (r *rig) stat(t testing.TB, e backend.Event, name string) Stats {
	t.Helper()
	for _, s := range r.Stats(nil) {
		if s.Event == e && s.Endpoint == name {
			return s
		}
	}
	t.Fatalf("no stats of %v at %q", e, name)
	return Stats{}
}

// asked is a request as an HTTP backend saw it.
type asked struct {
	header http.Header
	body   string
}

// web is an HTTP backend with a scripted answer.
type web struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []asked
	answer http.HandlerFunc
}

func newWeb(t testing.TB, answer http.HandlerFunc) *web {
	t.Helper()
	w := &web{answer: answer}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

// says answers everything with status and body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	w.asked = append(w.asked, asked{header: r.Header, body: string(body)})
	answer := w.answer
	w.mu.Unlock()
	answer(rw, r)
}

func (w *web) script(answer http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func (w *web) all() []asked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]asked(nil), w.asked...)
}

func (w *web) last(t testing.TB) asked {
	t.Helper()
	all := w.all()
	if len(all) == 0 {
		t.Fatal("the backend was not asked")
	}
	return all[len(all)-1]
}

// sameJSON compares values, not text.
func sameJSON(t testing.TB, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("got %q: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("want %q: %v", want, err)
	}
	gb, _ := json.Marshal(g)
	wb, _ := json.Marshal(w)
	if !bytes.Equal(gb, wb) {
		t.Errorf("got  %s\nwant %s", gb, wb)
	}
}

// remote is a gRPC backend that answers with functions.
type remote struct {
	proxypb.UnimplementedCentrifugoProxyServer
	connect    func(context.Context, *proxypb.ConnectRequest) (*proxypb.ConnectResponse, error)
	refresh    func(context.Context, *proxypb.RefreshRequest) (*proxypb.RefreshResponse, error)
	subscribe  func(context.Context, *proxypb.SubscribeRequest) (*proxypb.SubscribeResponse, error)
	publish    func(context.Context, *proxypb.PublishRequest) (*proxypb.PublishResponse, error)
	rpc        func(context.Context, *proxypb.RPCRequest) (*proxypb.RPCResponse, error)
	subRefresh func(context.Context, *proxypb.SubRefreshRequest) (*proxypb.SubRefreshResponse, error)
	state      func(context.Context, *proxypb.NotifyChannelStateRequest) (*proxypb.NotifyChannelStateResponse, error)
}

func (r *remote) Connect(ctx context.Context, q *proxypb.ConnectRequest) (*proxypb.ConnectResponse, error) {
	return r.connect(ctx, q)
}

func (r *remote) Refresh(ctx context.Context, q *proxypb.RefreshRequest) (*proxypb.RefreshResponse, error) {
	return r.refresh(ctx, q)
}

func (r *remote) Subscribe(ctx context.Context, q *proxypb.SubscribeRequest) (*proxypb.SubscribeResponse, error) {
	return r.subscribe(ctx, q)
}

func (r *remote) Publish(ctx context.Context, q *proxypb.PublishRequest) (*proxypb.PublishResponse, error) {
	return r.publish(ctx, q)
}

func (r *remote) RPC(ctx context.Context, q *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
	return r.rpc(ctx, q)
}

func (r *remote) SubRefresh(ctx context.Context, q *proxypb.SubRefreshRequest) (*proxypb.SubRefreshResponse, error) {
	return r.subRefresh(ctx, q)
}

func (r *remote) NotifyChannelState(ctx context.Context, q *proxypb.NotifyChannelStateRequest) (*proxypb.NotifyChannelStateResponse, error) {
	return r.state(ctx, q)
}

// serve listens for gRPC on loopback and gives the address.
func serve(t testing.TB, r *remote, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	proxypb.RegisterCentrifugoProxyServer(s, r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

// refusedAddr is an address where nobody listens.
func refusedAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// who is a client with everything set.
func who() backend.Client {
	return backend.Client{
		ID: "c1", User: "u1", Transport: "websocket", Encoding: "json", Meta: []byte(`{"m":1}`),
		Headers:  map[string]string{"cookie": "real", "x-real": "r", "x-both": "real"},
		Emulated: map[string]string{"X-Both": "forged", "X-Emulated": "e", "x-real": "forged", "X-Forged": "f"},
	}
}

// kindOf gives the kind of a failure.
func kindOf(t testing.TB, err error) Kind {
	t.Helper()
	f, ok := err.(*Failure)
	if !ok {
		t.Fatalf("got %v, want a *Failure", err)
	}
	if !strings.Contains(f.Error(), f.Kind.String()) {
		t.Errorf("%q does not name its kind", f.Error())
	}
	return f.Kind
}
