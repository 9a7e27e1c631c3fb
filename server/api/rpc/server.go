package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress, as they may with Centrifugo
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// Config is fixed for the life of the server.
type Config struct {
	Key      string // required unless Insecure
	Insecure bool   // no authentication; for development
	// Transport makes errors gRPC statuses for every caller.
	Transport bool
	// MessageBytesMax bounds one request. 0 = 4 MiB.
	MessageBytesMax int
	// CallsMax bounds the calls of one conn at a time; more wait at the client. 0 = 1,000.
	CallsMax uint32
	// PingMin is how often a client may ping; one that does so more often is cut off.
	// 0 = 10 s.
	PingMin time.Duration
	// TLS encrypts; nil is plain text, for a network that is trusted.
	TLS *tls.Config
	// Clock is for the durations in Access; required when that is set.
	Clock func() time.Time
	// Count is told of every call that was let in: its method, named as in the HTTP API,
	// and the code of its error, 0 for none; of a batch, of each command as well. Any
	// goroutine; may be nil.
	Count func(method string, code uint32)
	// Rejected is told of every call without a valid key. It must not block. May be nil.
	Rejected func()
	// Access is told of every call that was let in, when it has ended. Any goroutine; may
	// be nil.
	Access func(Access)
}

// Access is one call that ended.
type Access struct {
	Method   string // full name: /centrifugal.centrifugo.api.CentrifugoApi/Publish
	Status   string // of gRPC: OK, Internal, …
	Error    uint32 // code of the API's error; 0 for none
	Remote   string // address of the peer
	Duration time.Duration
}

const (
	messageBytesDefault = 4 << 20
	callsDefault        = 1000
	pingDefault         = 10 * time.Second
	headerBytesMax      = 16 << 10
	handshakeMax        = 10 * time.Second // for TLS and the HTTP/2 preface
	deadAfter           = time.Minute      // without a byte a peer is asked whether it lives
	deadTimeout         = 20 * time.Second
)

// Server is the gRPC front. Its methods may be called from any goroutine.
type Server struct {
	cfg  Config
	log  *slog.Logger
	key  api.Key
	grpc *grpc.Server
}

// New returns a server that serves nothing yet. It fails when there is neither a key nor
// Insecure.
func New(cfg Config, calls *api.Calls, log *slog.Logger) (*Server, error) {
	if cfg.Key == "" && !cfg.Insecure {
		return nil, errors.New("grpc_api.key is empty, so nobody could use the API: set grpc_api.key, or grpc_api.insecure for development")
	}
	if cfg.MessageBytesMax < 0 || cfg.PingMin < 0 {
		return nil, fmt.Errorf("gRPC API: messages of %d bytes at most, pings every %v: neither may be negative", cfg.MessageBytesMax, cfg.PingMin)
	}
	if cfg.Access != nil && cfg.Clock == nil {
		return nil, errors.New("gRPC API: Config.Access is set and Config.Clock is not: durations need a clock")
	}
	cfg.defaults()
	s := &Server{cfg: cfg, log: log, key: api.NewKey(cfg.Key)}
	s.grpc = grpc.NewServer(s.options()...)
	apipb.RegisterCentrifugoApiServer(s.grpc, &service{calls: calls, transport: cfg.Transport, count: cfg.Count})
	return s, nil
}

func (c *Config) defaults() {
	if c.MessageBytesMax == 0 {
		c.MessageBytesMax = messageBytesDefault
	}
	if c.CallsMax == 0 {
		c.CallsMax = callsDefault
	}
	if c.PingMin == 0 {
		c.PingMin = pingDefault
	}
	if c.Count == nil {
		c.Count = func(string, uint32) {}
	}
	if c.Rejected == nil {
		c.Rejected = func() {}
	}
	if c.Clock == nil {
		c.Clock = func() time.Time { return time.Time{} }
	}
	if c.Access == nil {
		c.Access = func(Access) {}
	}
}

func (s *Server) options() []grpc.ServerOption {
	o := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.intercept),
		grpc.UnknownServiceHandler(s.unknown),
		grpc.MaxRecvMsgSize(s.cfg.MessageBytesMax),
		grpc.MaxConcurrentStreams(s.cfg.CallsMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.ConnectionTimeout(handshakeMax),
		grpc.SharedWriteBuffer(true), // an idle conn holds no write buffer
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: s.cfg.PingMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: deadAfter, Timeout: deadTimeout}),
	}
	if !s.cfg.Insecure {
		o = append(o, grpc.InTapHandle(s.authenticate))
	}
	if s.cfg.TLS != nil {
		o = append(o, grpc.Creds(credentials.NewTLS(s.cfg.TLS)))
	}
	return o
}

// Serve answers calls on the listener until Shutdown, and closes it. It returns nil after
// Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gRPC API on %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown takes no more calls and waits for those that run. When ctx ends first it
// cancels them, closes every conn and returns the reason. Serve returns then.
func (s *Server) Shutdown(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.grpc.Stop)
	s.grpc.GracefulStop()
	if !stop() {
		return fmt.Errorf("gRPC API: calls were still running when the time to shut down was over: %w", context.Cause(ctx))
	}
	return nil
}

// intercept surrounds every call that was let in.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	begun := s.cfg.Clock()
	defer func() {
		if r := recover(); r != nil {
			s.panicked(info.FullMethod, r)
			resp, err = nil, status.Error(codes.Internal, channel.ErrInternal.Err().Message)
			s.cfg.Count(labelOf(info.FullMethod), uint32(channel.ErrInternal))
		}
		a := Access{Method: info.FullMethod, Status: status.Code(err).String(), Remote: remote(ctx), Duration: s.cfg.Clock().Sub(begun)}
		if failed, ok := resp.(interface{ GetError() *apipb.Error }); ok && err == nil {
			a.Error = failed.GetError().GetCode()
		} else if err != nil {
			a.Error = codeIn(err)
		}
		s.cfg.Access(a)
	}()
	return next(ctx, req)
}

// unknown answers a method that is not served, so that the caller learns which are.
func (s *Server) unknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	s.cfg.Access(Access{Method: method, Status: codes.Unimplemented.String(), Remote: remote(stream.Context())})
	return status.Errorf(codes.Unimplemented, "%s is not served here; the methods of %s are %s",
		method, apipb.CentrifugoApi_ServiceDesc.ServiceName, methodNames())
}

// panicked reports a bug of ours; the call is answered and the server goes on.
func (s *Server) panicked(method string, reason any) {
	s.log.Error("API call panicked", "method", method, "reason", reason, "stack", string(debug.Stack()))
}
