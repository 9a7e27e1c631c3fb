package rpc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// rig is a server on loopback with a stock gRPC client, and what the server told.
type rig struct {
	fake   *fake
	server *Server
	client apipb.CentrifugoApiClient
	conn   *grpc.ClientConn
	served chan error

	mu       sync.Mutex
	counts   map[string]int // "method code"
	rejected int
	access   []Access
	log      bytes.Buffer
}

const key = "the key"

// newRig starts a server. change may adjust its configuration; dial replaces how the
// client connects.
func newRig(t *testing.T, change func(*Config, *api.Calls), dial ...grpc.DialOption) *rig {
	t.Helper()
	r := &rig{
		fake: &fake{entered: make(chan struct{}, 10), release: make(chan struct{}, 4)}, counts: map[string]int{}, served: make(chan error, 1),
	}
	clock := time.Unix(1000, 0)
	cfg := Config{
		Key: key,
		Count: func(method string, code uint32) {
			r.locked(func() { r.counts[fmt.Sprint(method, " ", code)]++ })
		},
		Rejected: func() { r.locked(func() { r.rejected++ }) },
		Access:   func(a Access) { r.locked(func() { r.access = append(r.access, a) }) },
		Clock: func() (now time.Time) {
			r.locked(func() { clock = clock.Add(time.Second); now = clock })
			return now
		},
	}
	calls := &api.Calls{Service: r.fake}
	if change != nil {
		change(&cfg, calls)
	}
	server, err := New(cfg, calls, slog.New(slog.NewTextHandler(&locked{r: r}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	go func() { r.served <- server.Serve(l) }()
	if dial == nil {
		dial = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	r.conn, err = grpc.NewClient(l.Addr().String(), dial...)
	if err != nil {
		t.Fatal(err)
	}
	r.client = apipb.NewCentrifugoApiClient(r.conn)
	t.Cleanup(func() {
		r.conn.Close()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ended) // those that still run are cut off
		if err := <-r.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func (r *rig) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

type locked struct{ r *rig }

func (l *locked) Write(p []byte) (n int, err error) {
	l.r.locked(func() { n, err = l.r.log.Write(p) })
	return n, err
}

// counted returns the counts since the last call, "publish 0 ×1".
func (r *rig) counted() string {
	var out []string
	r.locked(func() {
		for _, what := range slices.Sorted(maps.Keys(r.counts)) {
			out = append(out, fmt.Sprint(what, "×", r.counts[what]))
		}
		r.counts = map[string]int{}
	})
	return strings.Join(out, " ")
}

// with is a context whose calls carry metadata, pairs of names and values.
func with(t *testing.T, pairs ...string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a test that hangs says where
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func authorized(t *testing.T) context.Context { return with(t, "authorization", "apikey "+key) }

func TestOnlyTheKeyOpens(t *testing.T) {
	r := newRig(t, nil)
	publish := func(ctx context.Context) codes.Code {
		_, err := r.client.Publish(ctx, &apipb.PublishRequest{Channel: "news", Data: []byte("{}")})
		return status.Code(err)
	}
	wrong := [][]string{
		nil, {"authorization", ""}, {"authorization", key}, {"authorization", "apikey"}, {"authorization", "apikey "},
		{"authorization", "apikey the ke"}, {"authorization", "apikey the key "}, {"authorization", "apikey  the key"},
		{"authorization", "bearer the key"}, {"x-api-key", key}, {"authorization", "apikey wrong", "authorization", "apikey the key"},
	}
	for _, pairs := range wrong {
		if got := publish(with(t, pairs...)); got != codes.Unauthenticated {
			t.Errorf("metadata %q: %v, want Unauthenticated", pairs, got)
		}
	}
	if err := r.conn.Invoke(with(t), "/centrifugal.centrifugo.api.CentrifugoApi/BlockUser", &apipb.InfoRequest{}, &apipb.InfoResponse{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a method that is not served, without a key: %v", err)
	}
	if notes := r.fake.taken(); len(notes) != 0 {
		t.Errorf("the service was asked: %q", notes)
	}
	if r.counted() != "" || r.rejected != len(wrong)+1 {
		t.Errorf("%d rejected, want %d, and none counted", r.rejected, len(wrong)+1)
	}
	for _, scheme := range []string{"apikey", "ApiKey"} {
		if got := publish(with(t, "authorization", scheme+" "+key)); got != codes.OK {
			t.Errorf("%s with the right key: %v", scheme, got)
		}
	}
	if got := r.counted(); got != "publish 0×2" {
		t.Errorf("counted %q", got)
	}
}

// A message of any size is refused before it is received: the limit is not reached.
func TestWithoutTheKeyNothingIsReceived(t *testing.T) {
	r := newRig(t, func(c *Config, _ *api.Calls) { c.MessageBytesMax = 1000 })
	_, err := r.client.Publish(with(t), &apipb.PublishRequest{Channel: "news", Data: make([]byte, 100_000)})
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want Unauthenticated rather than too large", err)
	}
}

func TestInsecureLetsEverybodyIn(t *testing.T) {
	r := newRig(t, func(c *Config, _ *api.Calls) { c.Key, c.Insecure = "", true })
	if _, err := r.client.Info(with(t), &apipb.InfoRequest{}); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for want, cfg := range map[string]Config{
		"grpc_api.key is empty": {},
		"may be negative":       {Key: key, MessageBytesMax: -1},
		"pings every -1s":       {Key: key, PingMin: -time.Second},
		"Config.Clock is not":   {Key: key, Access: func(Access) {}},
	} {
		if _, err := New(cfg, &api.Calls{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestErrorsAreInTheResponse(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		call    func() (interface{ GetError() *apipb.Error }, error)
		code    uint32
		message string
	}{
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Publish(authorized(t), &apipb.PublishRequest{Data: []byte("{}")})
		}, 107, "channel is required"},
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "unknown:x", Data: []byte("{}")})
		}, 102, "unknown channel"},
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Subscribe(authorized(t), &apipb.SubscribeRequest{Channel: "news", User: "u", LabelFilter: &apipb.FilterNode{}})
		}, 108, "label_filter"},
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Disconnect(authorized(t), &apipb.DisconnectRequest{AllUsers: true})
		}, 108, "all_users"},
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Connections(authorized(t), &apipb.ConnectionsRequest{Expression: "x > 1"})
		}, 108, "expression"},
		{func() (interface{ GetError() *apipb.Error }, error) {
			return r.client.Connections(authorized(t), &apipb.ConnectionsRequest{LabelFilter: &apipb.FilterNode{Op: "and"}})
		}, 108, "label_filter"},
	} {
		response, err := c.call()
		if e := response.GetError(); err != nil || e.GetCode() != c.code || !strings.Contains(e.GetMessage(), c.message) {
			t.Errorf("got %v, %v; want %d %q", response, err, c.code, c.message)
		}
	}
	if notes := r.fake.taken(); len(notes) != 0 {
		t.Errorf("the service was asked: %q", notes)
	}
	if got := r.counted(); got != "connections 108×2 disconnect 108×1 publish 102×1 publish 107×1 subscribe 108×1" {
		t.Errorf("counted %q", got)
	}
}

func TestErrorsAreStatusesInTransportMode(t *testing.T) {
	r := newRig(t, nil)
	always := newRig(t, func(c *Config, _ *api.Calls) { c.Transport = true })
	want := map[channel.ErrorCode]codes.Code{
		100: codes.Internal, 102: codes.NotFound, 103: codes.Internal, 104: codes.NotFound, 107: codes.InvalidArgument, 108: codes.InvalidArgument,
		111: codes.ResourceExhausted, 112: codes.OutOfRange, 113: codes.AlreadyExists,
	}
	for code, grpcCode := range want {
		r.fake.fails, always.fake.fails = code.Err(), code.Err()
		_, asked := r.client.History(with(t, "authorization", "apikey "+key, "x-centrifugo-error-mode", "transport"), &apipb.HistoryRequest{Channel: "news"})
		_, told := always.client.History(authorized(t), &apipb.HistoryRequest{Channel: "news"})
		for _, err := range []error{asked, told} {
			s := status.Convert(err)
			if s.Code() != grpcCode || len(s.Details()) != 1 || s.Details()[0].(*apipb.Error).GetCode() != uint32(code) {
				t.Errorf("error %d: %v with %v, want %v", code, err, s.Details(), grpcCode)
			}
		}
		response, err := r.client.History(with(t, "authorization", "apikey "+key, "x-centrifugo-error-mode", "other"), &apipb.HistoryRequest{Channel: "news"})
		if err != nil || response.GetError().GetCode() != uint32(code) || response.GetResult() != nil {
			t.Errorf("error %d in the other mode: %v, %v", code, response, err)
		}
	}
	r.locked(func() {
		for _, a := range r.access {
			if a.Error == 0 || a.Duration != time.Second || a.Status != "OK" && a.Status != want[channel.ErrorCode(a.Error)].String() {
				t.Errorf("access %+v", a)
			}
		}
	})
}

func TestAMethodThatIsNotServedIsNamed(t *testing.T) {
	r := newRig(t, nil)
	for _, method := range []string{"/centrifugal.centrifugo.api.CentrifugoApi/MapPublish", "/centrifugal.centrifugo.api.CentrifugoApi/BlockUser", "/other.Service/X"} {
		err := r.conn.Invoke(authorized(t), method, &apipb.PublishRequest{Channel: "x"}, &apipb.PublishResponse{})
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), method) || !strings.Contains(err.Error(), "Publish, Broadcast,") {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestOversizedAndMalformedMessagesAreRefused(t *testing.T) {
	r := newRig(t, func(c *Config, _ *api.Calls) { c.MessageBytesMax = 10_000 })
	_, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "news", Data: make([]byte, 10_000)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("10 kB over the limit: %v", err)
	}
	if _, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "news", Data: make([]byte, 9_900)}); err != nil {
		t.Errorf("below the limit, on the same conn: %v", err)
	}
	_, err = r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "news", Data: make([]byte, 50<<20)}, grpc.UseCompressor(gzip.Name))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("50 MiB that come as 50 kB: %v", err)
	}
	huge := make([]string, 0, 40)
	for i := range 40 {
		huge = append(huge, fmt.Sprint("x-", i), strings.Repeat("h", 1000))
	}
	if _, err := r.client.Info(with(t, append(huge, "authorization", "apikey "+key)...), &apipb.InfoRequest{}); err == nil {
		t.Error("40 kB of metadata were taken")
	}
	err = r.conn.Invoke(authorized(t), apipb.CentrifugoApi_Publish_FullMethodName, []byte{0x0a, 0xff, 0xff}, new([]byte), grpc.ForceCodec(raw{}))
	if err == nil || status.Code(err) == codes.OK {
		t.Errorf("a message that is no Protobuf: %v", err)
	}
	if _, err := r.client.Info(authorized(t), &apipb.InfoRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// raw sends bytes as they are, under the name of Protobuf.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (raw) Name() string                       { return "proto" }

func TestAPanicEndsOneCall(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "panic", Data: []byte("{}")})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "a bug") {
		t.Errorf("got %v, want Internal without the reason", err)
	}
	if _, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "news", Data: []byte("{}")}); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if got := r.counted(); got != "publish 0×1 publish 100×1" {
		t.Errorf("counted %q", got)
	}
	r.locked(func() {
		if log := r.log.String(); !strings.Contains(log, "a bug") || !strings.Contains(log, "fake_test.go") {
			t.Errorf("logged %q", log)
		}
	})
}

func TestACanceledCallIsCanceledInTheService(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(authorized(t))
	go func() {
		<-r.fake.entered
		cancel()
	}()
	if _, err := r.client.Publish(ctx, &apipb.PublishRequest{Channel: "wait", Data: []byte("{}")}); status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want Canceled", err)
	}
	if err := r.server.Shutdown(t.Context()); err != nil { // waits for the handler
		t.Error(err)
	}
	if n := r.fake.canceled.Load(); n != 1 {
		t.Errorf("%d calls saw their context end, want 1", n)
	}
}

func TestAccessIsTold(t *testing.T) {
	r := newRig(t, nil)
	_, _ = r.client.Publish(authorized(t), &apipb.PublishRequest{})
	_ = r.conn.Invoke(authorized(t), "/other.Service/X", &apipb.InfoRequest{}, &apipb.InfoResponse{})
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.access) != 2 {
		t.Fatalf("access %+v", r.access)
	}
	if a := r.access[0]; a.Method != apipb.CentrifugoApi_Publish_FullMethodName || a.Status != "OK" || a.Error != 107 ||
		!strings.HasPrefix(a.Remote, "127.0.0.1:") || a.Duration != time.Second {
		t.Errorf("access %+v", a)
	}
	if a := r.access[1]; a.Method != "/other.Service/X" || a.Status != "Unimplemented" {
		t.Errorf("access %+v", a)
	}
}

func TestShutdownWaitsAndThenDoesNot(t *testing.T) {
	r := newRig(t, nil)
	answered := make(chan error, 1)
	go func() {
		_, err := r.client.Publish(authorized(t), &apipb.PublishRequest{Channel: "wait", Data: []byte("{}")})
		answered <- err
	}()
	<-r.fake.entered
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("the deadline"))
	if err := r.server.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "the deadline") {
		t.Errorf("Shutdown with a call running: %v", err)
	}
	if err := <-answered; status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("the call got %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.Serve(l); err != nil {
		t.Errorf("Serve after Shutdown: %v, want nil at once", err)
	}
}
