package hooks

import (
	"context"
	"maps"
	"slices"
	"time"

	"shoal/server/backend"
	"shoal/server/channel"
)

// refreshGrace is how long a conn or a subscription goes on when its backend could not
// be asked whether it may. The value is Centrifugo's.
const refreshGrace = time.Minute

// Connect implements [backend.Backend]. Failures are refused with error 100 and are no
// errors, so that the client is told what Centrifugo tells it.
func (h *Hooks) Connect(ctx context.Context, r *backend.ConnectRequest) (*backend.ConnectReply, error) {
	l := h.routes[backend.Connect][channel.ProxyDefault]
	if l == nil {
		return &backend.ConnectReply{Unknown: true}, nil
	}
	a, err := ask[*connectResult](ctx, l, &r.Client, &request{data: r.Data, Name: r.Name, Version: r.Version, Channels: r.Channels})
	if err != nil {
		return &backend.ConnectReply{Refusal: channel.RefuseError(channel.ErrInternal)}, nil //nolint:nilerr // counted and logged; see above
	}
	if refusal := a.refusal(); refusal.Refused() {
		return &backend.ConnectReply{Refusal: refusal}, nil
	}
	if a.Result == nil {
		return &backend.ConnectReply{Unknown: true}, nil
	}
	v := a.Result
	reply := &backend.ConnectReply{User: v.User, ExpireAt: v.ExpireAt, Info: v.Info, Meta: v.Meta, Subs: v.serverSubs()}
	if len(v.Data) > 0 {
		reply.Data = v.Data
	}
	return reply, nil
}

// serverSubs joins channels and subs, which says more, in order of names.
func (r *connectResult) serverSubs() []channel.ServerSub {
	all := make(map[string]channel.ServerSub, len(r.Channels)+len(r.Subs))
	for _, name := range r.Channels {
		all[name] = channel.ServerSub{Channel: name}
	}
	for name, o := range r.Subs {
		sub := channel.ServerSub{Channel: name}
		if o != nil {
			sub.Info, sub.Data, sub.Override = o.Info, o.Data, o.Override
		}
		all[name] = sub
	}
	if len(all) == 0 {
		return nil
	}
	subs := make([]channel.ServerSub, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		subs = append(subs, all[name])
	}
	return subs
}

// Refresh implements [backend.Backend]. A backend that cannot be asked gives the conn
// another minute; one that answers without a result, also with an error or a disconnect,
// ends it. Both as Centrifugo does.
func (h *Hooks) Refresh(ctx context.Context, r *backend.RefreshRequest) (*backend.RefreshReply, error) {
	l := h.routes[backend.Refresh][channel.ProxyDefault]
	if l == nil {
		return &backend.RefreshReply{Refusal: channel.RefuseError(channel.ErrNotAvailable)}, nil
	}
	a, err := ask[*refreshResult](ctx, l, &r.Client, &request{User: &r.User})
	switch {
	case err != nil && ctx.Err() == context.Canceled:
		return nil, err
	case err != nil:
		return &backend.RefreshReply{ExpireAt: h.cfg.Now().Add(refreshGrace).Unix()}, nil //nolint:nilerr // counted and logged; see above
	case a.Result == nil || a.Result.Expired:
		return &backend.RefreshReply{Expired: true}, nil
	}
	return &backend.RefreshReply{ExpireAt: a.Result.ExpireAt, Info: a.Result.Info, Meta: a.Result.Meta}, nil
}

// SubRefresh implements [backend.Backend], with the rules of Refresh.
func (h *Hooks) SubRefresh(ctx context.Context, r *backend.SubRefreshRequest) (*backend.SubRefreshReply, error) {
	l, refusal := h.channelLine(backend.SubRefresh, r.Channel)
	if refusal.Refused() {
		return &backend.SubRefreshReply{Refusal: refusal}, nil
	}
	a, err := ask[*refreshResult](ctx, l, &r.Client, &request{User: &r.User, Channel: r.Channel})
	switch {
	case err != nil && ctx.Err() == context.Canceled:
		return nil, err
	case err != nil:
		return &backend.SubRefreshReply{ExpireAt: h.cfg.Now().Add(refreshGrace).Unix()}, nil //nolint:nilerr // counted and logged
	case a.Result == nil || a.Result.Expired:
		return &backend.SubRefreshReply{Expired: true}, nil
	}
	return &backend.SubRefreshReply{ExpireAt: a.Result.ExpireAt, Info: a.Result.Info}, nil
}

// Subscribe implements [backend.Backend]. An answer without a result lets the client in.
func (h *Hooks) Subscribe(ctx context.Context, r *backend.SubscribeRequest) (*backend.SubscribeReply, error) {
	l, refusal := h.channelLine(backend.Subscribe, r.Channel)
	if refusal.Refused() {
		return &backend.SubscribeReply{Refusal: refusal}, nil
	}
	a, err := ask[*subscribeResult](ctx, l, &r.Client, &request{User: &r.User, Channel: r.Channel, Token: r.Token, data: r.Data})
	if err != nil {
		return nil, err
	}
	reply := &backend.SubscribeReply{Refusal: a.refusal()}
	if v := a.Result; v != nil && !reply.Refused() {
		reply.ExpireAt, reply.Info, reply.Data, reply.Override = v.ExpireAt, v.Info, v.Data, v.Override
	}
	return reply, nil
}

// Publish implements [backend.Backend]. An answer without a result lets the publication
// through as it is.
func (h *Hooks) Publish(ctx context.Context, r *backend.PublishRequest) (*backend.PublishReply, error) {
	l, refusal := h.channelLine(backend.Publish, r.Channel)
	if refusal.Refused() {
		return &backend.PublishReply{Refusal: refusal}, nil
	}
	a, err := ask[*publishResult](ctx, l, &r.Client, &request{User: &r.User, Channel: r.Channel, data: r.Data})
	if err != nil {
		return nil, err
	}
	reply := &backend.PublishReply{Refusal: a.refusal()}
	if v := a.Result; v != nil && !reply.Refused() {
		reply.Data, reply.SkipHistory, reply.Tags, reply.Delta = v.Data, v.SkipHistory, v.Tags, v.Delta
		reply.IdempotencyKey, reply.Version, reply.VersionEpoch = v.IdempotencyKey, v.Version, v.VersionEpoch
	}
	return reply, nil
}

// RPC implements [backend.Backend]. A method of an unknown namespace is refused with
// error 104, one that no backend is asked about with 108; neither is a question.
func (h *Hooks) RPC(ctx context.Context, r *backend.RPCRequest) (*backend.RPCReply, error) {
	l, refusal := h.rpcLine(r.Method)
	if refusal.Refused() {
		return &backend.RPCReply{Refusal: refusal}, nil
	}
	a, err := ask[*rpcResult](ctx, l, &r.Client, &request{User: &r.User, Method: r.Method, data: r.Data})
	if err != nil {
		return nil, err
	}
	reply := &backend.RPCReply{Refusal: a.refusal()}
	if v := a.Result; v != nil && !reply.Refused() {
		reply.Data = v.Data
	}
	return reply, nil
}

// Send implements [backend.Backend]: Centrifugo has no proxy for it and Handles is false.
func (h *Hooks) Send(context.Context, *backend.SendRequest) (channel.Refusal, error) {
	return channel.Refusal{}, nil
}
