package rpc

import (
	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

func publishRequest(r *apipb.PublishRequest) *api.PublishRequest {
	return &api.PublishRequest{
		Channel: r.GetChannel(), Data: r.GetData(), B64Data: r.GetB64Data(), SkipHistory: r.GetSkipHistory(), Tags: r.GetTags(),
		IdempotencyKey: r.GetIdempotencyKey(), Delta: r.GetDelta(), Version: r.GetVersion(), VersionEpoch: r.GetVersionEpoch(),
		ExcludeClient: r.GetExcludeClient(),
	}
}

func broadcastRequest(r *apipb.BroadcastRequest) *api.BroadcastRequest {
	return &api.BroadcastRequest{
		Channels: r.GetChannels(), Data: r.GetData(), B64Data: r.GetB64Data(), SkipHistory: r.GetSkipHistory(), Tags: r.GetTags(),
		IdempotencyKey: r.GetIdempotencyKey(), Delta: r.GetDelta(), Version: r.GetVersion(), VersionEpoch: r.GetVersionEpoch(),
		ExcludeClient: r.GetExcludeClient(),
	}
}

func subscribeRequest(r *apipb.SubscribeRequest) *api.SubscribeRequest {
	return &api.SubscribeRequest{
		User: r.GetUser(), Channel: r.GetChannel(), ExpireAt: r.GetExpireAt(), Info: r.GetInfo(), B64Info: r.GetB64Info(),
		Client: r.GetClient(), Session: r.GetSession(), Data: r.GetData(), B64Data: r.GetB64Data(),
		RecoverSince: position(r.GetRecoverSince()), Override: override(r.GetOverride()),
	}
}

func position(p *apipb.StreamPosition) *api.StreamPosition {
	if p == nil {
		return nil
	}
	return &api.StreamPosition{Offset: p.GetOffset(), Epoch: p.GetEpoch()}
}

func override(o *apipb.SubscribeOptionOverride) *api.SubscribeOptionOverride {
	if o == nil {
		return nil
	}
	value := func(b *apipb.BoolValue) *api.BoolValue {
		if b == nil {
			return nil
		}
		return &api.BoolValue{Value: b.GetValue()}
	}
	return &api.SubscribeOptionOverride{
		Presence: value(o.GetPresence()), JoinLeave: value(o.GetJoinLeave()), ForceRecovery: value(o.GetForceRecovery()),
		ForcePositioning: value(o.GetForcePositioning()), ForcePushJoinLeave: value(o.GetForcePushJoinLeave()),
	}
}

func unsubscribeRequest(r *apipb.UnsubscribeRequest) *api.UnsubscribeRequest {
	return &api.UnsubscribeRequest{User: r.GetUser(), Channel: r.GetChannel(), Client: r.GetClient(), Session: r.GetSession()}
}

func disconnectRequest(r *apipb.DisconnectRequest) *api.DisconnectRequest {
	out := &api.DisconnectRequest{
		User: r.GetUser(), Client: r.GetClient(), Session: r.GetSession(), Whitelist: r.GetWhitelist(), Channel: r.GetChannel(),
	}
	if d := r.GetDisconnect(); d != nil {
		out.Disconnect = &api.Disconnect{Code: d.GetCode(), Reason: d.GetReason()}
	}
	return out
}

func refreshRequest(r *apipb.RefreshRequest) *api.RefreshRequest {
	return &api.RefreshRequest{
		User: r.GetUser(), Client: r.GetClient(), Session: r.GetSession(),
		Expired: r.GetExpired(), ExpireAt: r.GetExpireAt(), Info: r.GetInfo(),
	}
}

// channelRequest converts the requests that have nothing but a channel.
func channelRequest(r interface{ GetChannel() string }) *api.ChannelRequest {
	return &api.ChannelRequest{Channel: r.GetChannel()}
}

func historyRequest(r *apipb.HistoryRequest) *api.HistoryRequest {
	return &api.HistoryRequest{Channel: r.GetChannel(), Limit: r.GetLimit(), Since: position(r.GetSince()), Reverse: r.GetReverse()}
}

func channelsRequest(r *apipb.ChannelsRequest) *api.ChannelsRequest {
	return &api.ChannelsRequest{Pattern: r.GetPattern(), Limit: r.GetLimit(), Cursor: r.GetCursor()}
}

func connectionsRequest(r *apipb.ConnectionsRequest) *api.ConnectionsRequest {
	return &api.ConnectionsRequest{
		User: r.GetUser(), Client: r.GetClient(), Channel: r.GetChannel(), Limit: r.GetLimit(), Cursor: r.GetCursor(),
	}
}

func rpcRequest(r *apipb.RPCRequest) *api.RPCRequest {
	return &api.RPCRequest{Method: r.GetMethod(), Params: r.GetParams()}
}

// refused is the error of a request that narrows or widens its target in a way that is not
// served. To skip such a field would reach conns that were not meant, or miss some.
func refused(r interface {
	GetLabelFilter() *apipb.FilterNode
	GetAllUsers() bool
}) *channel.Error {
	switch {
	case r.GetLabelFilter() != nil:
		return notServed("label_filter: connections have no labels here")
	case r.GetAllUsers():
		return notServed("all_users: name the user, client or session that is meant")
	}
	return nil
}

// refusedFilter is refused for the listing.
func refusedFilter(r *apipb.ConnectionsRequest) *channel.Error {
	switch {
	case r.GetLabelFilter() != nil:
		return notServed("label_filter: connections have no labels here")
	case r.GetExpression() != "":
		return notServed("expression: filter by user, client and channel")
	}
	return nil
}

func notServed(what string) *channel.Error {
	e := *channel.ErrNotAvailable.Err()
	e.Message += ": " + what
	return &e
}
