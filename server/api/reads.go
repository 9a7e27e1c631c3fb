package api

import (
	"context"

	"shoal/server/channel"
)

// Presence lists the clients in a channel.
func (c *Calls) Presence(ctx context.Context, r ChannelRequest) (PresenceResult, *channel.Error) {
	if r.Channel == "" {
		return PresenceResult{}, badRequest("channel is required")
	}
	clients, e := c.Service.Presence(ctx, r.Channel)
	if e != nil {
		return PresenceResult{}, adapt(e)
	}
	result := PresenceResult{Presence: make(map[string]ClientInfo, len(clients))}
	for id, info := range clients {
		result.Presence[id] = c.client(&info)
	}
	return result, nil
}

func (c *Calls) client(info *channel.ClientInfo) ClientInfo {
	out := ClientInfo{User: info.User, Client: info.Client}
	out.ConnInfo, out.B64ConnInfo = c.leaving(info.ConnInfo)
	out.ChanInfo, out.B64ChanInfo = c.leaving(info.ChanInfo)
	return out
}

// PresenceStats counts the clients in a channel.
func (c *Calls) PresenceStats(ctx context.Context, r ChannelRequest) (PresenceStatsResult, *channel.Error) {
	if r.Channel == "" {
		return PresenceStatsResult{}, badRequest("channel is required")
	}
	stats, e := c.Service.PresenceStats(ctx, r.Channel)
	if e != nil {
		return PresenceStatsResult{}, adapt(e)
	}
	return PresenceStatsResult{NumClients: uint32(stats.NumClients), NumUsers: uint32(stats.NumUsers)}, nil
}

// History reads publications that a channel keeps.
func (c *Calls) History(ctx context.Context, r HistoryRequest) (HistoryResult, *channel.Error) {
	if r.Channel == "" {
		return HistoryResult{}, badRequest("channel is required")
	}
	if r.Limit < -1 {
		return HistoryResult{}, badRequest("limit %d is negative: give a number, -1 for all publications or 0 for the position alone", r.Limit)
	}
	pubs, top, e := c.Service.History(ctx, r.Channel, HistoryQuery{Since: r.Since.position(), Limit: int(r.Limit), Reverse: r.Reverse})
	if e != nil {
		return HistoryResult{}, adapt(e)
	}
	result := HistoryResult{Publications: make([]Publication, len(pubs)), Epoch: top.Epoch, Offset: top.Offset}
	for i := range pubs {
		pub, out := &pubs[i], &result.Publications[i]
		out.Data, out.B64Data = c.leaving(pub.Data)
		out.Offset, out.Tags = pub.Offset, pub.Tags
		if pub.Info != nil {
			info := c.client(pub.Info)
			out.Info = &info
		}
	}
	return result, nil
}

// HistoryRemove empties a channel's history; its position stays.
func (c *Calls) HistoryRemove(ctx context.Context, r ChannelRequest) (Empty, *channel.Error) {
	if r.Channel == "" {
		return Empty{}, badRequest("channel is required")
	}
	return Empty{}, adapt(c.Service.RemoveHistory(ctx, r.Channel))
}

// Info describes the nodes.
func (c *Calls) Info(ctx context.Context, _ InfoRequest) (Info, *channel.Error) {
	info, e := c.Service.Info(ctx)
	return info, adapt(e)
}

// RPC calls what the embedding program registered; 104 when that is nothing.
func (c *Calls) RPC(ctx context.Context, r RPCRequest) (RPCResult, *channel.Error) {
	if r.Method == "" {
		return RPCResult{}, badRequest("method is required")
	}
	data, e := c.Service.RPC(ctx, r.Method, r.Params)
	if e != nil {
		return RPCResult{}, adapt(e)
	}
	var result RPCResult
	result.Data, result.B64Data = c.leaving(data)
	return result, nil
}

// Channels lists channels with members: all that match, or a page of them.
func (c *Calls) Channels(ctx context.Context, r ChannelsRequest) (ChannelsResult, *channel.Error) {
	match := func(string) bool { return true }
	if r.Pattern != "" {
		var err error
		if match, err = compilePattern(r.Pattern); err != nil {
			return ChannelsResult{}, badRequest("pattern %q: %v", r.Pattern, err)
		}
	}
	var p *page
	if r.Limit != 0 || r.Cursor != "" {
		limit, e := pageLimit(r.Limit)
		if e != nil {
			return ChannelsResult{}, e
		}
		p = newPage(r.Cursor, limit+1, match) // one more shows whether there is another page
		match = p.match
	}
	counts, e := c.Service.Channels(ctx, match)
	if e != nil {
		return ChannelsResult{}, adapt(e)
	}
	var result ChannelsResult
	if p != nil {
		result.NextCursor = p.cut(counts)
	}
	result.Channels = make(map[string]ChannelInfo, len(counts))
	for name, n := range counts {
		result.Channels[name] = ChannelInfo{NumClients: n}
	}
	return result, nil
}
