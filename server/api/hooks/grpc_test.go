package hooks

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/backend"
	"shoal/server/channel"
)

// alike compares a protobuf message with what is wanted.
func alike(t testing.TB, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// full is a backend that expects the questions of askAll and answers with everything.
func full(t testing.TB, data func(n int) (data []byte, b64 string), encoding string, meta []byte) *remote {
	d := func(n int) []byte { b, _ := data(n); return b }
	b64 := func(n int) string { _, s := data(n); return s }
	yes, no := &proxypb.BoolValue{Value: true}, &proxypb.BoolValue{}
	return &remote{
		connect: func(_ context.Context, q *proxypb.ConnectRequest) (*proxypb.ConnectResponse, error) {
			alike(t, q, &proxypb.ConnectRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding,
				Data: d(1), B64Data: b64(1), Name: "js", Version: "5.0", Channels: []string{"a", "b"}})
			return &proxypb.ConnectResponse{Result: &proxypb.ConnectResult{
				User: "u", ExpireAt: 1, Info: []byte("i"), Data: []byte("d"), Channels: []string{"x"}, Meta: []byte("{}"),
				Subs: map[string]*proxypb.SubscribeOptions{"y": {B64Info: "aGk=", Data: []byte("z"), Override: &proxypb.SubscribeOptionOverride{
					Presence: yes, JoinLeave: no, ForceRecovery: yes, ForcePositioning: no, ForcePushJoinLeave: yes,
				}}},
			}}, nil
		},
		refresh: func(_ context.Context, q *proxypb.RefreshRequest) (*proxypb.RefreshResponse, error) {
			alike(t, q, &proxypb.RefreshRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding, User: "u1", Meta: meta})
			return &proxypb.RefreshResponse{Result: &proxypb.RefreshResult{ExpireAt: 2, Info: []byte("i"), Meta: []byte("m")}}, nil
		},
		subscribe: func(_ context.Context, q *proxypb.SubscribeRequest) (*proxypb.SubscribeResponse, error) {
			alike(t, q, &proxypb.SubscribeRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding, User: "u1",
				Channel: "news", Token: "t", Meta: meta, Data: d(2), B64Data: b64(2)})
			return &proxypb.SubscribeResponse{Result: &proxypb.SubscribeResult{ExpireAt: 3, Info: []byte("i"), B64Data: "aGk=",
				Override: &proxypb.SubscribeOptionOverride{Presence: no}}}, nil
		},
		subRefresh: func(_ context.Context, q *proxypb.SubRefreshRequest) (*proxypb.SubRefreshResponse, error) {
			alike(t, q, &proxypb.SubRefreshRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding, User: "u1", Channel: "news", Meta: meta})
			return &proxypb.SubRefreshResponse{Result: &proxypb.SubRefreshResult{ExpireAt: 4, Info: []byte("i")}}, nil
		},
		publish: func(_ context.Context, q *proxypb.PublishRequest) (*proxypb.PublishResponse, error) {
			alike(t, q, &proxypb.PublishRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding, User: "u1",
				Channel: "news", Data: d(3), B64Data: b64(3), Meta: meta})
			return &proxypb.PublishResponse{Result: &proxypb.PublishResult{Data: []byte("d"), SkipHistory: true, Tags: map[string]string{"a": "b"},
				IdempotencyKey: "k", Delta: true, Version: 9, VersionEpoch: "e"}}, nil
		},
		rpc: func(_ context.Context, q *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
			alike(t, q, &proxypb.RPCRequest{Client: "c1", Transport: "websocket", Protocol: "json", Encoding: encoding, User: "u1",
				Method: "add", Data: d(4), B64Data: b64(4), Meta: meta})
			return &proxypb.RPCResponse{Result: &proxypb.RPCResult{Data: []byte("d")}}, nil
		},
	}
}

func TestQuestionsAndAnswersOfAGRPCBackend(t *testing.T) {
	yes, no := true, false
	want := map[backend.Event]any{
		backend.Connect: &backend.ConnectReply{User: "u", ExpireAt: 1, Info: []byte("i"), Data: []byte("d"), Meta: []byte("{}"),
			Subs: []channel.ServerSub{{Channel: "x"}, {Channel: "y", Info: []byte("hi"), Data: []byte("z"), Override: &channel.Override{
				Presence: &yes, JoinLeave: &no, ForceRecovery: &yes, ForcePositioning: &no, ForcePushJoinLeave: &yes,
			}}}},
		backend.Refresh:    &backend.RefreshReply{ExpireAt: 2, Info: []byte("i"), Meta: []byte("m")},
		backend.Subscribe:  &backend.SubscribeReply{ExpireAt: 3, Info: []byte("i"), Data: []byte("hi"), Override: &channel.Override{Presence: &no}},
		backend.SubRefresh: &backend.SubRefreshReply{ExpireAt: 4, Info: []byte("i")},
		backend.Publish: &backend.PublishReply{Data: []byte("d"), SkipHistory: true, Tags: map[string]string{"a": "b"}, IdempotencyKey: "k",
			Delta: true, Version: 9, VersionEpoch: "e"},
		backend.RPC: &backend.RPCReply{Data: []byte("d")},
	}
	plain := func(n int) ([]byte, string) { return []byte{'{', '"', 'd', '"', ':', '0' + byte(n), '}'}, "" }
	b64 := func(n int) ([]byte, string) {
		return nil, []string{"", "eyJkIjoxfQ==", "eyJkIjoyfQ==", "eyJkIjozfQ==", "eyJkIjo0fQ=="}[n]
	}
	for name, c := range map[string]struct {
		e Endpoint
		r *remote
	}{
		"plain":             {Endpoint{}, full(t, plain, "json", nil)},
		"binary with meta":  {Endpoint{BinaryEncoding: true, IncludeMeta: true}, full(t, b64, "binary", who().Meta)},
		"compressed":        {Endpoint{Compression: true}, full(t, plain, "json", nil)},
		"with a dns scheme": {Endpoint{URL: "passthrough:///"}, full(t, plain, "json", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, c.r)
			if c.e.URL == "" {
				c.e.URL = "grpc://"
			}
			c.e.URL += addr
			r := newRig(t, everywhere(t, c.e))
			if got := askAll(t, r.Hooks, who()); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if p := r.stat(t, backend.RPC, "default").Protocol; p != "grpc" {
				t.Errorf("protocol %q", p)
			}
		})
	}
}

// always is a backend that answers everything alike.
func always(e *proxypb.Error, d *proxypb.Disconnect, err error) *remote {
	return &remote{
		connect: func(context.Context, *proxypb.ConnectRequest) (*proxypb.ConnectResponse, error) {
			return &proxypb.ConnectResponse{Error: e, Disconnect: d}, err
		},
		refresh: func(context.Context, *proxypb.RefreshRequest) (*proxypb.RefreshResponse, error) {
			return &proxypb.RefreshResponse{Error: e, Disconnect: d}, err
		},
		subscribe: func(context.Context, *proxypb.SubscribeRequest) (*proxypb.SubscribeResponse, error) {
			return &proxypb.SubscribeResponse{Error: e, Disconnect: d}, err
		},
		subRefresh: func(context.Context, *proxypb.SubRefreshRequest) (*proxypb.SubRefreshResponse, error) {
			return &proxypb.SubRefreshResponse{Error: e, Disconnect: d}, err
		},
		publish: func(context.Context, *proxypb.PublishRequest) (*proxypb.PublishResponse, error) {
			return &proxypb.PublishResponse{Error: e, Disconnect: d}, err
		},
		rpc: func(context.Context, *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
			return &proxypb.RPCResponse{Error: e, Disconnect: d}, err
		},
	}
}

func TestEveryEventSeesFailuresAndRefusalsOfGRPC(t *testing.T) {
	pe, pd := &proxypb.Error{Code: 404, Message: "nope", Temporary: true}, &proxypb.Disconnect{Code: 4501, Reason: "away"}
	custom := &channel.Refusal{Err: &channel.Error{Code: 404, Message: "nope", Temporary: true}}
	away := &channel.Refusal{Disconnect: &channel.Disconnect{Code: 4501, Reason: "away"}}
	for _, c := range []struct {
		name    string
		r       *remote
		kind    Kind
		refusal *channel.Refusal
		breaker BreakerState // with a breaker that opens at the first failure, after one question
	}{
		{"error", always(pe, nil, nil), 0, custom, Closed},
		{"disconnect", always(pe, pd, nil), 0, away, Closed},
		{"bad code", always(&proxypb.Error{Code: 5}, nil, nil), KindCode, nil, Open},
		{"plain error", always(nil, nil, errors.New("x")), KindStatus, nil, Open},
		{"internal", always(nil, nil, status.Error(codes.Internal, "x")), KindStatus, nil, Open},
		{"invalid argument", always(nil, nil, status.Error(codes.InvalidArgument, "x")), KindStatus, nil, Closed},
		{"unimplemented", always(nil, nil, status.Error(codes.Unimplemented, "x")), KindStatus, nil, Closed},
		{"unavailable", always(nil, nil, status.Error(codes.Unavailable, "x")), KindUnreachable, nil, Open},
		{"deadline", always(nil, nil, status.Error(codes.DeadlineExceeded, "x")), KindTimeout, nil, Open},
		{"quota", always(nil, nil, status.Error(codes.ResourceExhausted, "x")), KindStatus, nil, Closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Endpoint{URL: serve(t, c.r)}
			r := newRig(t, everywhere(t, e))
			want := wantRefused(c.refusal, r.clock.Now())
			for event, reply := range askAll(t, r.Hooks, who()) {
				if err, failed := reply.(error); failed && c.refusal == nil {
					if k := kindOf(t, err); k != c.kind {
						t.Errorf("%v: kind %v, want %v: %v", event, k, c.kind, err)
					}
				} else if !reflect.DeepEqual(reply, want[event]) {
					t.Errorf("%v: got %#v, want %#v", event, reply, want[event])
				}
			}
			e.BreakerFailures = 1
			r = newRig(t, everywhere(t, e))
			_, _ = r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
			if got := r.stat(t, backend.RPC, "default").Breaker; got != c.breaker {
				t.Errorf("breaker %v, want %v", got, c.breaker)
			}
		})
	}
}

func TestAnOversizedGRPCAnswerIsRefused(t *testing.T) {
	r := newRig(t, everywhere(t, Endpoint{ResponseBytesMax: 100, Compression: true, URL: serve(t, &remote{
		rpc: func(context.Context, *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
			return &proxypb.RPCResponse{Result: &proxypb.RPCResult{Data: make([]byte, 1<<20)}}, nil
		},
	})}))
	_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
	if kindOf(t, err) != KindTooLarge {
		t.Error(err)
	}
}

func TestMetadataThatIsListedIsPassedOn(t *testing.T) {
	var got metadata.MD
	r := newRig(t, everywhere(t, Endpoint{
		URL: serve(t, &remote{rpc: func(ctx context.Context, _ *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
			got, _ = metadata.FromIncomingContext(ctx)
			return &proxypb.RPCResponse{}, nil
		}}),
		HTTPHeaders: []string{"Cookie", "X-Real", "x-both"}, EmulatedHeaders: []string{"x-emulated", "X-Both", "x-evil", "grpc-timeout"},
		StaticMetadata: map[string]string{"X-Static": "s", "x-real": "static"}, CredentialsKey: "Authorization", CredentialsValue: "key",
	}))
	c := who()
	c.Emulated["x-evil"] = "ünprintable"
	c.Emulated["grpc-timeout"] = "1n"
	if _, err := r.RPC(context.Background(), &backend.RPCRequest{Client: c, Method: "bad \xff"}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string][]string{
		"cookie": {"real"}, "x-real": {"r"}, "x-both": {"real"}, "x-emulated": {"e"}, "x-static": {"s"}, "authorization": {"key"},
		"x-forged": nil, "x-evil": nil,
	} {
		if !reflect.DeepEqual(got.Get(key), want) {
			t.Errorf("%s: got %v, want %v", key, got.Get(key), want)
		}
	}
}

func TestTLSToBothKindsOfEndpoint(t *testing.T) {
	// httptest has a certificate for 127.0.0.1; gRPC borrows it.
	w := httptest.NewUnstartedServer(http.HandlerFunc(says(200, `{"result":{"data":1}}`)))
	w.EnableHTTP2 = true
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	defer w.Close()
	trust := w.Client().Transport.(*http.Transport).TLSClientConfig
	g := serve(t, &remote{rpc: func(context.Context, *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
		return &proxypb.RPCResponse{Result: &proxypb.RPCResult{Data: []byte("1")}}, nil
	}}, grpc.Creds(credentials.NewTLS(w.TLS)))
	for _, url := range []string{w.URL, "grpc://" + g} {
		for _, trusted := range []bool{true, false} {
			e := Endpoint{URL: url}
			if trusted {
				e.TLS = trust
			}
			r, err := newRig(t, everywhere(t, e)).RPC(context.Background(), &backend.RPCRequest{Client: who()})
			if trusted && (err != nil || string(r.Data) != "1") {
				t.Errorf("%s: %v, %v", url, r, err)
			}
			if !trusted && kindOf(t, err) != KindUnreachable {
				t.Errorf("%s without its authority: %v", url, err)
			}
		}
	}
}

// hole is a TCP relay whose conns can be made to swallow everything, as a host does that
// lost its power.
type hole struct {
	mu    sync.Mutex
	conns []net.Conn
	dark  map[net.Conn]bool
}

func (h *hole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		h.dark[c] = true
	}
}

func (h *hole) copy(dst, src, client net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := src.Read(buf)
		if err != nil {
			_ = dst.Close()
			return
		}
		h.mu.Lock()
		dark := h.dark[client]
		h.mu.Unlock()
		if !dark {
			_, _ = dst.Write(buf[:n])
		}
	}
}

func (h *hole) serve(l net.Listener, target string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", target)
		if err != nil {
			_ = c.Close()
			continue
		}
		h.mu.Lock()
		h.conns = append(h.conns, c)
		h.mu.Unlock()
		go h.copy(s, c, c)
		go h.copy(c, s, c)
	}
}

func TestAGRPCConnThatWasSwallowedIsReplaced(t *testing.T) {
	target := serve(t, &remote{rpc: func(context.Context, *proxypb.RPCRequest) (*proxypb.RPCResponse, error) {
		return &proxypb.RPCResponse{}, nil
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := &hole{dark: map[net.Conn]bool{}}
	go h.serve(l, target)
	r := newRig(t, everywhere(t, Endpoint{URL: l.Addr().String(), Timeout: 300 * time.Millisecond, BreakerFailures: 2}))
	call := func() error {
		_, err := r.RPC(context.Background(), &backend.RPCRequest{Client: who()})
		return err
	}
	if err := call(); err != nil {
		t.Fatal(err)
	}
	h.swallow()
	for range 2 {
		if err := call(); kindOf(t, err) != KindTimeout {
			t.Fatal(err)
		}
	}
	if err := call(); kindOf(t, err) != KindBreaker {
		t.Fatal(err)
	}
	r.clock.pass(time.Minute)
	if err := call(); err != nil {
		t.Errorf("over a new conn: %v", err)
	}
	if !strings.Contains(r.log.String(), "leaving it alone") {
		t.Error("the log does not say that the breaker opened")
	}
}
