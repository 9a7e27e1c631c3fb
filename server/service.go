package server

import (
	"context"

	"shoal/server/api"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/node"
)

// service is the node as the API sees it.
type service struct{ p *Program }

var _ api.Service = service{}

func (s service) Publish(ctx context.Context, name string, pub *channel.Publication, o api.PublishOptions) (channel.Position, *channel.Error) {
	if e := s.p.tenants.Admit(name, len(pub.Data), s.p.opts.Clock()); e != nil {
		return channel.Position{}, e
	}
	return s.p.node.Publish(ctx, name, pub, node.PublishOptions{
		SkipHistory: o.SkipHistory, Delta: o.Delta, IdempotencyKey: o.IdempotencyKey, Version: o.Version, VersionEpoch: o.VersionEpoch,
	})
}

func (s service) Subscribe(ctx context.Context, r api.Subscription) *channel.Error {
	if sessionless(r.Target) {
		return nil
	}
	if r.ExpireAt > 0 && r.ExpireAt <= s.p.opts.Clock().Unix() {
		e := *channel.ErrBadRequest.Err()
		e.Message += ": expire_at is over"
		return &e
	}
	_, e := s.p.node.Subscribe(ctx, target(r.Target), node.Subscription{
		Channel: r.Channel, Info: r.Info, Data: r.Data, Since: r.Since, ExpireAt: r.ExpireAt, Override: r.Override,
	})
	return e
}

func (s service) Unsubscribe(ctx context.Context, who api.Target, name string) *channel.Error {
	if sessionless(who) {
		return nil
	}
	_, e := s.p.node.Unsubscribe(ctx, target(who), name, *channel.UnsubscribeServer.Unsubscribe())
	return e
}

func (s service) Disconnect(ctx context.Context, who api.Target, d channel.Disconnect) *channel.Error {
	if sessionless(who) {
		return nil
	}
	_, err := s.p.node.Disconnect(ctx, target(who), d)
	return s.failure("disconnect", err)
}

func (s service) Refresh(ctx context.Context, who api.Target, r api.Refresh) *channel.Error {
	if sessionless(who) {
		return nil
	}
	_, err := s.p.node.Refresh(ctx, target(who), r.Expired, r.ExpireAt, r.Info)
	return s.failure("refresh", err)
}

// sessionless says that the target names a session: WebSocket conns have no session
// id, so none fits.
func sessionless(who api.Target) bool { return who.Session != "" }

func target(t api.Target) node.Target {
	return node.Target{User: t.User, Client: t.Client, Spare: t.Whitelist}
}

func (s service) Presence(ctx context.Context, name string) (map[string]channel.ClientInfo, *channel.Error) {
	return s.p.node.Presence(ctx, name)
}

func (s service) PresenceStats(_ context.Context, name string) (api.PresenceStats, *channel.Error) {
	clients, users, e := s.p.node.PresenceStats(name)
	return api.PresenceStats{NumClients: clients, NumUsers: users}, e
}

func (s service) History(ctx context.Context, name string, q api.HistoryQuery) ([]channel.Publication, channel.Position, *channel.Error) {
	return s.p.node.History(ctx, name, broker.HistoryQuery{Since: q.Since, Limit: q.Limit, Reverse: q.Reverse})
}

func (s service) RemoveHistory(ctx context.Context, name string) *channel.Error {
	return s.p.node.RemoveHistory(ctx, name)
}

func (s service) Channels(ctx context.Context, match func(string) bool) (map[string]int, *channel.Error) {
	counts, err := s.p.node.Subscribers(ctx, match)
	return counts, s.failure("channels", err)
}

func (s service) Info(context.Context) (api.Info, *channel.Error) {
	stats := s.p.node.Stats()
	return api.Info{Nodes: []api.NodeInfo{{
		UID: s.p.opts.UID, Name: s.p.name(), Version: s.p.opts.Version,
		NumClients: int(stats.Connected.Load()), NumUsers: int(stats.Users.Load()),
		NumSubs: int(stats.Subscriptions.Load()), NumChannels: s.p.node.Channels(),
		Uptime: int64(s.p.opts.Clock().Sub(s.p.started).Seconds()),
	}}}, nil
}

func (s service) RPC(ctx context.Context, method string, params []byte) ([]byte, *channel.Error) {
	b := s.p.backend
	if b == nil || !b.Handles(backend.RPC, method, nil) {
		return nil, channel.ErrMethodNotFound.Err()
	}
	r, err := b.RPC(ctx, &backend.RPCRequest{Client: backend.Client{Transport: "api"}, Method: method, Data: params})
	if err != nil {
		return nil, s.failure("rpc", err)
	}
	if r.Err != nil || r.Disconnect == nil {
		return r.Data, r.Err
	}
	return nil, channel.ErrInternal.Err()
}

func (s service) Connections(ctx context.Context, f api.ConnectionFilter) ([]api.Connection, *channel.Error) {
	conns, err := s.p.node.Connections(ctx, node.Target{User: f.User, Client: f.Client}, f.Channel, f.After, f.Limit)
	if err != nil {
		return nil, s.failure("connections", err)
	}
	out := make([]api.Connection, len(conns))
	for i, c := range conns {
		out[i] = api.Connection{
			Client: c.Client, User: c.User, Transport: "websocket", Encoding: c.Encoding, Remote: c.Remote,
			State: c.State, Info: c.Info, Channels: c.Channels, Backlog: c.Backlog,
		}
	}
	return out, nil
}

func (s service) failure(call string, err error) *channel.Error {
	if err == nil {
		return nil
	}
	s.p.opts.Logger.Warn("API call failed", "method", call, "error", err)
	return channel.ErrInternal.Err()
}
