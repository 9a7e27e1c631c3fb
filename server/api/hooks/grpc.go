package hooks

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/backend"
)

// gRPC's own 1 s and 120 s would keep a backend that came back waiting for longer than the
// breaker does.
const (
	dialDelay    = 100 * time.Millisecond
	dialDelayMax = 5 * time.Second
)

// grpcCaller calls the published service.
type grpcCaller struct {
	target  string
	options []grpc.DialOption
	static  metadata.MD
	pass    passing
	conn    atomic.Pointer[grpc.ClientConn]

	mu  sync.Mutex // guards the rest
	old *grpc.ClientConn
}

func newGRPCCaller(e *Endpoint) (*grpcCaller, error) {
	c := &grpcCaller{target: e.target(), static: metadata.MD{}, pass: newPassing(e)}
	for k, v := range e.StaticMetadata {
		c.static.Set(k, v)
	}
	if e.CredentialsKey != "" {
		c.static.Set(e.CredentialsKey, e.CredentialsValue)
	}
	secure := insecure.NewCredentials()
	if e.TLS != nil {
		secure = credentials.NewTLS(e.TLS)
	}
	calls := []grpc.CallOption{grpc.MaxCallRecvMsgSize(e.ResponseBytesMax)}
	if e.Compression {
		calls = append(calls, grpc.UseCompressor(gzip.Name))
	}
	c.options = []grpc.DialOption{
		grpc.WithTransportCredentials(secure), grpc.WithDefaultCallOptions(calls...),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: dialDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: dialDelayMax},
			MinConnectTimeout: e.Timeout,
		}),
	}
	conn, err := grpc.NewClient(c.target, c.options...)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q is no target of gRPC; write grpc://host:port: %w", c.target, err)
	}
	c.conn.Store(conn)
	return c, nil
}

// renew dials anew, because gRPC keeps a conn that a firewall or a dead host swallowed
// until the kernel gives it up, which takes minutes, and servers forbid pings that would
// find out sooner. Calls on the conn go on until the next renewal.
func (c *grpcCaller) renew() {
	conn, err := grpc.NewClient(c.target, c.options...)
	if err != nil {
		return // cannot be: these arguments were good before
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.old != nil {
		_ = c.old.Close()
	}
	c.old = c.conn.Swap(conn)
}

func (c *grpcCaller) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.old != nil {
		_ = c.old.Close()
		c.old = nil
	}
	_ = c.conn.Load().Close()
}

func (c *grpcCaller) metadata(from *backend.Client) metadata.MD {
	md := c.static.Copy()
	c.pass.each(from, func(name, value string) {
		if validMetadata(name, value) {
			md.Set(name, value)
		}
	})
	return md
}

func (c *grpcCaller) call(ctx context.Context, e backend.Event, from *backend.Client, r *request, out reply) outcome {
	err := invoke(metadata.NewOutgoingContext(ctx, c.metadata(from)), proxypb.NewCentrifugoProxyClient(c.conn.Load()), e, r, out)
	if err == nil {
		return outcome{verdict: verdictGood}
	}
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		o := broken(ctx, err)
		if s.Code() == codes.DeadlineExceeded {
			o.kind, o.again = KindTimeout, false
		}
		return o
	case codes.ResourceExhausted:
		if strings.Contains(s.Message(), "larger than max") { // the only way to tell our limit from a status of the backend
			return outcome{kind: KindTooLarge, err: err, verdict: verdictGood}
		}
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return outcome{kind: KindStatus, err: err, verdict: verdictBad}
	}
	return outcome{kind: KindStatus, err: err, verdict: verdictGood} // it works, and means the question
}

// invoke calls the method of an event and fills out, which is the answer of that event.
func invoke(ctx context.Context, p proxypb.CentrifugoProxyClient, e backend.Event, r *request, out reply) error {
	switch e {
	case backend.Connect:
		return connectGRPC(ctx, p, r, out.(*answer[*connectResult]))
	case backend.Refresh:
		return refreshGRPC(ctx, p, r, out.(*answer[*refreshResult]))
	case backend.Subscribe:
		return subscribeGRPC(ctx, p, r, out.(*answer[*subscribeResult]))
	case backend.SubRefresh:
		return subRefreshGRPC(ctx, p, r, out.(*answer[*refreshResult]))
	case backend.Publish:
		return publishGRPC(ctx, p, r, out.(*answer[*publishResult]))
	case backend.RPC:
		return rpcGRPC(ctx, p, r, out.(*answer[*rpcResult]))
	case backend.ChannelState:
		return stateGRPC(ctx, p, r, out.(*answer[*stateResult]))
	}
	return fmt.Errorf("event %v has no method", e)
}
