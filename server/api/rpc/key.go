package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"shoal/server/api"
)

// allowed says whether the metadata of a call carries the key: the first value of
// "authorization" counts.
func allowed(k *api.Key, md metadata.MD) bool {
	values := md.Get("authorization")
	if len(values) == 0 {
		return false
	}
	scheme, key, ok := strings.Cut(values[0], " ")
	return k.Is(key) && ok && strings.EqualFold(scheme, "apikey")
}

// authenticate refuses a call by its header. An interceptor would be asked only after the
// message was received and decoded: 4 MiB of work for anybody who finds the port.
func (s *Server) authenticate(ctx context.Context, info *tap.Info) (context.Context, error) {
	if allowed(&s.key, info.Header) {
		return ctx, nil
	}
	s.cfg.Rejected()
	return nil, status.Error(codes.Unauthenticated, `wrong or missing API key: send it as metadata "authorization: apikey KEY"`)
}

// remote is the address a call comes from.
func remote(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
