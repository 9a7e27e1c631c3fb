package rpc

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// codeOf is the gRPC code of an error in transport mode, as Centrifugo maps them; those it
// does not map are Internal there, and 111 has one of its own here.
func codeOf(e *channel.Error) codes.Code {
	switch channel.ErrorCode(e.Code) {
	case channel.ErrUnknownChannel, channel.ErrMethodNotFound:
		return codes.NotFound
	case channel.ErrBadRequest, channel.ErrNotAvailable:
		return codes.InvalidArgument
	case channel.ErrTooManyRequests:
		return codes.ResourceExhausted
	case channel.ErrUnrecoverablePosition:
		return codes.OutOfRange
	case channel.ErrConcurrentPagination:
		return codes.AlreadyExists
	default:
		return codes.Internal
	}
}

// statusOf is the error of a call in transport mode: the gRPC status, with the error as
// its detail.
func statusOf(e *channel.Error) error {
	s := status.New(codeOf(e), text(e.Message))
	if detailed, err := s.WithDetails(failure(e)); err == nil {
		s = detailed
	}
	return s.Err()
}

// codeIn is the code of the API's error in a status, 0 when it has none.
func codeIn(err error) uint32 {
	for _, detail := range status.Convert(err).Details() {
		if e, ok := detail.(*apipb.Error); ok {
			return e.GetCode()
		}
	}
	return 0
}

// failure is an error as a response has it; nil for none.
func failure(e *channel.Error) *apipb.Error {
	if e == nil {
		return nil
	}
	return &apipb.Error{Code: e.Code, Message: text(e.Message)}
}

// methodNames are the methods served, for people to read.
func methodNames() string {
	var names []string
	for _, m := range apipb.CentrifugoApi_ServiceDesc.Methods {
		names = append(names, m.MethodName)
	}
	return strings.Join(names, ", ")
}

// labelOf is a method's name in the HTTP API and in metrics: presence_stats for
// /centrifugal.centrifugo.api.CentrifugoApi/PresenceStats.
func labelOf(fullMethod string) string {
	name := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	if name == "RPC" {
		return "rpc"
	}
	var b strings.Builder
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
