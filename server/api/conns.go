package api

import (
	"context"
	"encoding/json"

	"shoal/server/channel"
)

// The codes that a backend may disconnect with.
const (
	codeMin = 3000
	codeMax = 4999
)

// target refuses to mean everybody, or all anonymous users, by leaving everything out.
// Centrifugo takes the empty user for the anonymous ones.
func target(user, client, session string) (Target, *channel.Error) {
	if user == "" && client == "" && session == "" {
		return Target{}, badRequest("user is required, or client to pick one connection by its id")
	}
	return Target{User: user, Client: client, Session: session}, nil
}

func expiry(at int64) *channel.Error {
	if at < 0 {
		return badRequest("expire_at %d is negative: give Unix seconds, or 0 for never", at)
	}
	return nil
}

// Subscribe subscribes conns to a channel.
func (c *Calls) Subscribe(ctx context.Context, r SubscribeRequest) (Empty, *channel.Error) {
	if r.Channel == "" {
		return Empty{}, badRequest("channel is required")
	}
	who, e := target(r.User, r.Client, r.Session)
	if e != nil {
		return Empty{}, e
	}
	if e := expiry(r.ExpireAt); e != nil {
		return Empty{}, e
	}
	s := Subscription{Target: who, Channel: r.Channel, ExpireAt: r.ExpireAt, Since: r.RecoverSince.position(), Override: r.Override.override()}
	if s.Info, e = c.payload("info", r.Info, r.B64Info); e != nil {
		return Empty{}, e
	}
	if s.Data, e = c.payload("data", r.Data, r.B64Data); e != nil {
		return Empty{}, e
	}
	return Empty{}, adapt(c.Service.Subscribe(ctx, s))
}

func (p *StreamPosition) position() *channel.Position {
	if p == nil {
		return nil
	}
	return &channel.Position{Offset: p.Offset, Epoch: p.Epoch}
}

func (o *SubscribeOptionOverride) override() *channel.Override {
	if o == nil {
		return nil
	}
	value := func(b *BoolValue) *bool {
		if b == nil {
			return nil
		}
		v := b.Value
		return &v
	}
	return &channel.Override{
		Presence: value(o.Presence), JoinLeave: value(o.JoinLeave), ForcePushJoinLeave: value(o.ForcePushJoinLeave),
		ForcePositioning: value(o.ForcePositioning), ForceRecovery: value(o.ForceRecovery),
	}
}

// Unsubscribe ends subscriptions.
func (c *Calls) Unsubscribe(ctx context.Context, r UnsubscribeRequest) (Empty, *channel.Error) {
	who, e := target(r.User, r.Client, r.Session)
	if e != nil {
		return Empty{}, e
	}
	return Empty{}, adapt(c.Service.Unsubscribe(ctx, who, r.Channel))
}

// Disconnect ends conns.
func (c *Calls) Disconnect(ctx context.Context, r DisconnectRequest) (Empty, *channel.Error) {
	d := *channel.DisconnectForced.Disconnect()
	if r.Disconnect != nil {
		if e := r.Disconnect.check(); e != nil {
			return Empty{}, e
		}
		d = channel.Disconnect{Code: r.Disconnect.Code, Reason: r.Disconnect.Reason}
	}
	if r.Channel != "" {
		return Empty{}, c.disconnectMembers(ctx, r, d)
	}
	who, e := target(r.User, r.Client, r.Session)
	if e != nil {
		return Empty{}, e
	}
	who.Whitelist = r.Whitelist
	return Empty{}, adapt(c.Service.Disconnect(ctx, who, d))
}

// check lets a reason be of any length: transports cut what their frames have no room for.
func (d *Disconnect) check() *channel.Error {
	switch {
	case json.Valid([]byte(d.Reason)):
		return badRequest("disconnect.reason %q is JSON, which older clients would parse: give a plain sentence", d.Reason)
	case d.Code < codeMin || d.Code > codeMax:
		return badRequest("disconnect.code %d: take one from %d to %d", d.Code, codeMin, codeMax)
	}
	return nil
}

// disconnectMembers ends the conns subscribed to a channel, page by page: those that
// subscribe meanwhile may be spared.
func (c *Calls) disconnectMembers(ctx context.Context, r DisconnectRequest, d channel.Disconnect) *channel.Error {
	if r.Session != "" {
		return badRequest("session and channel together: give one of them")
	}
	f := ConnectionFilter{User: r.User, Client: r.Client, Channel: r.Channel, Limit: PageDefault}
	for {
		page, e := c.Service.Connections(ctx, f)
		if e != nil {
			return adapt(e)
		}
		for i := range page {
			who := Target{User: page[i].User, Client: page[i].Client, Whitelist: r.Whitelist}
			if e := c.Service.Disconnect(ctx, who, d); e != nil {
				return adapt(e)
			}
		}
		if len(page) < f.Limit {
			return nil
		}
		f.After = page[len(page)-1].Client
	}
}

// Refresh renews the credentials of conns.
func (c *Calls) Refresh(ctx context.Context, r RefreshRequest) (Empty, *channel.Error) {
	who, e := target(r.User, r.Client, r.Session)
	if e != nil {
		return Empty{}, e
	}
	if e := expiry(r.ExpireAt); e != nil {
		return Empty{}, e
	}
	if e := c.clientJSON("info", r.Info); e != nil {
		return Empty{}, e
	}
	return Empty{}, adapt(c.Service.Refresh(ctx, who, Refresh{Expired: r.Expired, ExpireAt: r.ExpireAt, Info: r.Info}))
}

// Connections lists conns, page by page in the order of their client ids.
func (c *Calls) Connections(ctx context.Context, r ConnectionsRequest) (ConnectionsResult, *channel.Error) {
	limit, e := pageLimit(r.Limit)
	if e != nil {
		return ConnectionsResult{}, e
	}
	// One more than asked for shows whether there is another page.
	page, e := c.Service.Connections(ctx, ConnectionFilter{User: r.User, Client: r.Client, Channel: r.Channel, After: r.Cursor, Limit: limit + 1})
	if e != nil {
		return ConnectionsResult{}, adapt(e)
	}
	result := ConnectionsResult{Connections: make(map[string]ConnectionInfo, len(page))}
	if len(page) > limit {
		page = page[:limit]
		result.NextCursor = page[limit-1].Client
	}
	for i := range page {
		result.Connections[page[i].Client] = c.connection(&page[i])
	}
	return result, nil
}

func (c *Calls) connection(conn *Connection) ConnectionInfo {
	info := ConnectionInfo{
		User: conn.User, Transport: conn.Transport, Protocol: conn.Encoding, Remote: conn.Remote, Status: conn.State,
		BacklogBytes: conn.Backlog, State: ConnectionState{Channels: make(map[string]Empty, len(conn.Channels))},
	}
	info.Info, info.B64Info = c.leaving(conn.Info)
	for _, name := range conn.Channels {
		info.State.Channels[name] = Empty{}
	}
	return info
}

func pageLimit(n int32) (int, *channel.Error) {
	switch {
	case n < 0:
		return 0, badRequest("limit %d is negative", n)
	case n > PageMax:
		return 0, badRequest("limit %d, at most %d: take the other pages by cursor", n, PageMax)
	}
	return orDefault(int(n), PageDefault), nil
}
