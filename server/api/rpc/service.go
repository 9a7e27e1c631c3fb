package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// service is the gRPC methods: each converts its request, calls, and converts the result.
type service struct {
	apipb.UnimplementedCentrifugoApiServer
	calls     *api.Calls
	transport bool
	count     func(method string, code uint32)
}

// done counts a call and says how its error leaves: nil in the response, else as a status.
func (s *service) done(ctx context.Context, method string, e *channel.Error) error {
	if e == nil {
		s.count(method, 0)
		return nil
	}
	s.count(method, e.Code)
	if s.transport || wantsTransport(ctx) {
		return statusOf(e)
	}
	return nil
}

func wantsTransport(ctx context.Context) bool {
	mode := metadata.ValueFromIncomingContext(ctx, "x-centrifugo-error-mode")
	return len(mode) > 0 && mode[0] == "transport"
}

// ask makes a call, unless its request is refused already, and converts what it gives.
func ask[Request, Result, Out any](ctx context.Context, call func(context.Context, Request) (Result, *channel.Error),
	r *Request, refused *channel.Error, convert func(*Result) *Out) (*Out, *channel.Error) {
	if refused != nil {
		return nil, refused
	}
	result, e := call(ctx, *r)
	if e != nil {
		return nil, e
	}
	return convert(&result), nil
}

// empty converts the result of a call that only does something.
func empty[Out any](*api.Empty) *Out { return new(Out) }

func (s *service) Publish(ctx context.Context, r *apipb.PublishRequest) (*apipb.PublishResponse, error) {
	result, e := ask(ctx, s.calls.Publish, publishRequest(r), nil, publishResult)
	return &apipb.PublishResponse{Error: failure(e), Result: result}, s.done(ctx, "publish", e)
}

func (s *service) Broadcast(ctx context.Context, r *apipb.BroadcastRequest) (*apipb.BroadcastResponse, error) {
	result, e := ask(ctx, s.calls.Broadcast, broadcastRequest(r), nil, broadcastResult)
	return &apipb.BroadcastResponse{Error: failure(e), Result: result}, s.done(ctx, "broadcast", e)
}

func (s *service) Subscribe(ctx context.Context, r *apipb.SubscribeRequest) (*apipb.SubscribeResponse, error) {
	result, e := ask(ctx, s.calls.Subscribe, subscribeRequest(r), refused(r), empty[apipb.SubscribeResult])
	return &apipb.SubscribeResponse{Error: failure(e), Result: result}, s.done(ctx, "subscribe", e)
}

func (s *service) Unsubscribe(ctx context.Context, r *apipb.UnsubscribeRequest) (*apipb.UnsubscribeResponse, error) {
	result, e := ask(ctx, s.calls.Unsubscribe, unsubscribeRequest(r), refused(r), empty[apipb.UnsubscribeResult])
	return &apipb.UnsubscribeResponse{Error: failure(e), Result: result}, s.done(ctx, "unsubscribe", e)
}

func (s *service) Disconnect(ctx context.Context, r *apipb.DisconnectRequest) (*apipb.DisconnectResponse, error) {
	result, e := ask(ctx, s.calls.Disconnect, disconnectRequest(r), refused(r), empty[apipb.DisconnectResult])
	return &apipb.DisconnectResponse{Error: failure(e), Result: result}, s.done(ctx, "disconnect", e)
}

func (s *service) Refresh(ctx context.Context, r *apipb.RefreshRequest) (*apipb.RefreshResponse, error) {
	result, e := ask(ctx, s.calls.Refresh, refreshRequest(r), refused(r), empty[apipb.RefreshResult])
	return &apipb.RefreshResponse{Error: failure(e), Result: result}, s.done(ctx, "refresh", e)
}

func (s *service) Presence(ctx context.Context, r *apipb.PresenceRequest) (*apipb.PresenceResponse, error) {
	result, e := ask(ctx, s.calls.Presence, channelRequest(r), nil, presenceResult)
	return &apipb.PresenceResponse{Error: failure(e), Result: result}, s.done(ctx, "presence", e)
}

func (s *service) PresenceStats(ctx context.Context, r *apipb.PresenceStatsRequest) (*apipb.PresenceStatsResponse, error) {
	result, e := ask(ctx, s.calls.PresenceStats, channelRequest(r), nil, presenceStatsResult)
	return &apipb.PresenceStatsResponse{Error: failure(e), Result: result}, s.done(ctx, "presence_stats", e)
}

func (s *service) History(ctx context.Context, r *apipb.HistoryRequest) (*apipb.HistoryResponse, error) {
	result, e := ask(ctx, s.calls.History, historyRequest(r), nil, historyResult)
	return &apipb.HistoryResponse{Error: failure(e), Result: result}, s.done(ctx, "history", e)
}

func (s *service) HistoryRemove(ctx context.Context, r *apipb.HistoryRemoveRequest) (*apipb.HistoryRemoveResponse, error) {
	result, e := ask(ctx, s.calls.HistoryRemove, channelRequest(r), nil, empty[apipb.HistoryRemoveResult])
	return &apipb.HistoryRemoveResponse{Error: failure(e), Result: result}, s.done(ctx, "history_remove", e)
}

func (s *service) Channels(ctx context.Context, r *apipb.ChannelsRequest) (*apipb.ChannelsResponse, error) {
	result, e := ask(ctx, s.calls.Channels, channelsRequest(r), nil, channelsResult)
	return &apipb.ChannelsResponse{Error: failure(e), Result: result}, s.done(ctx, "channels", e)
}

func (s *service) Connections(ctx context.Context, r *apipb.ConnectionsRequest) (*apipb.ConnectionsResponse, error) {
	result, e := ask(ctx, s.calls.Connections, connectionsRequest(r), refusedFilter(r), connectionsResult)
	return &apipb.ConnectionsResponse{Error: failure(e), Result: result}, s.done(ctx, "connections", e)
}

func (s *service) Info(ctx context.Context, _ *apipb.InfoRequest) (*apipb.InfoResponse, error) {
	result, e := ask(ctx, s.calls.Info, &api.InfoRequest{}, nil, infoResult)
	return &apipb.InfoResponse{Error: failure(e), Result: result}, s.done(ctx, "info", e)
}

func (s *service) RPC(ctx context.Context, r *apipb.RPCRequest) (*apipb.RPCResponse, error) {
	result, e := ask(ctx, s.calls.RPC, rpcRequest(r), nil, rpcResult)
	return &apipb.RPCResponse{Error: failure(e), Result: result}, s.done(ctx, "rpc", e)
}
