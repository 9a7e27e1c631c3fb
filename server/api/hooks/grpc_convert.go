package hooks

import (
	"context"

	"shoal/server/api/hooks/proxypb"
	"shoal/server/channel"
)

// wireRefusal is what every response but that of channel state can hold.
type wireRefusal interface {
	GetError() *proxypb.Error
	GetDisconnect() *proxypb.Disconnect
}

func (a *answer[R]) refused(r wireRefusal) {
	if e := r.GetError(); e != nil {
		a.Error = &wireError{Code: e.Code, Message: e.Message, Temporary: e.Temporary}
	}
	if d := r.GetDisconnect(); d != nil {
		a.Disconnect = &wireDisconnect{Code: d.Code, Reason: d.Reason}
	}
}

func connectGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*connectResult]) error {
	resp, err := p.Connect(ctx, &proxypb.ConnectRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding,
		Data: r.Data, B64Data: r.B64Data, Name: r.Name, Version: r.Version, Channels: r.Channels,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	v := resp.Result
	if v == nil {
		return nil
	}
	out.Result = &connectResult{
		User: v.User, ExpireAt: v.ExpireAt, Info: v.Info, B64Info: v.B64Info, Data: v.Data, B64Data: v.B64Data,
		Channels: v.Channels, Meta: v.Meta, Subs: make(map[string]*subOptions, len(v.Subs)),
	}
	for name, o := range v.Subs {
		out.Result.Subs[name] = &subOptions{
			Info: o.GetInfo(), B64Info: o.GetB64Info(), Data: o.GetData(), B64Data: o.GetB64Data(), Override: overrideOf(o.GetOverride()),
		}
	}
	return nil
}

func overrideOf(o *proxypb.SubscribeOptionOverride) *channel.Override {
	if o == nil {
		return nil
	}
	value := func(v *proxypb.BoolValue) *bool {
		if v == nil {
			return nil
		}
		return &v.Value
	}
	return &channel.Override{
		Presence: value(o.Presence), JoinLeave: value(o.JoinLeave), ForceRecovery: value(o.ForceRecovery),
		ForcePositioning: value(o.ForcePositioning), ForcePushJoinLeave: value(o.ForcePushJoinLeave),
	}
}

func refreshGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*refreshResult]) error {
	resp, err := p.Refresh(ctx, &proxypb.RefreshRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding, User: r.user(), Meta: r.Meta,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	if v := resp.Result; v != nil {
		out.Result = &refreshResult{Expired: v.Expired, ExpireAt: v.ExpireAt, Info: v.Info, B64Info: v.B64Info, Meta: v.Meta}
	}
	return nil
}

func subscribeGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*subscribeResult]) error {
	resp, err := p.Subscribe(ctx, &proxypb.SubscribeRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding, User: r.user(), Channel: r.Channel,
		Token: r.Token, Meta: r.Meta, Data: r.Data, B64Data: r.B64Data,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	if v := resp.Result; v != nil {
		out.Result = &subscribeResult{
			ExpireAt: v.ExpireAt, Info: v.Info, B64Info: v.B64Info, Data: v.Data, B64Data: v.B64Data, Override: overrideOf(v.Override),
		}
	}
	return nil
}

func subRefreshGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*refreshResult]) error {
	resp, err := p.SubRefresh(ctx, &proxypb.SubRefreshRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding, User: r.user(), Channel: r.Channel, Meta: r.Meta,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	if v := resp.Result; v != nil {
		out.Result = &refreshResult{Expired: v.Expired, ExpireAt: v.ExpireAt, Info: v.Info, B64Info: v.B64Info}
	}
	return nil
}

func publishGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*publishResult]) error {
	resp, err := p.Publish(ctx, &proxypb.PublishRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding, User: r.user(), Channel: r.Channel,
		Data: r.Data, B64Data: r.B64Data, Meta: r.Meta,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	if v := resp.Result; v != nil {
		out.Result = &publishResult{
			Data: v.Data, B64Data: v.B64Data, SkipHistory: v.SkipHistory, Tags: v.Tags, IdempotencyKey: v.IdempotencyKey,
			Delta: v.Delta, Version: v.Version, VersionEpoch: v.VersionEpoch,
		}
	}
	return nil
}

func rpcGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*rpcResult]) error {
	resp, err := p.RPC(ctx, &proxypb.RPCRequest{
		Client: r.Client, Transport: r.Transport, Protocol: r.Protocol, Encoding: r.Encoding, User: r.user(), Method: r.Method,
		Data: r.Data, B64Data: r.B64Data, Meta: r.Meta,
	})
	if err != nil {
		return err
	}
	out.refused(resp)
	if v := resp.Result; v != nil {
		out.Result = &rpcResult{Data: v.Data, B64Data: v.B64Data}
	}
	return nil
}

func stateGRPC(ctx context.Context, p proxypb.CentrifugoProxyClient, r *request, out *answer[*stateResult]) error {
	events := make([]*proxypb.ChannelEvent, len(r.Events))
	for i, e := range r.Events {
		events[i] = &proxypb.ChannelEvent{TimeMs: e.TimeMS, Channel: e.Channel, Type: e.Type}
	}
	resp, err := p.NotifyChannelState(ctx, &proxypb.NotifyChannelStateRequest{Events: events})
	if err != nil {
		return err
	}
	if e := resp.Error; e != nil {
		out.Error = &wireError{Code: e.Code, Message: e.Message, Temporary: e.Temporary}
	}
	return nil
}
