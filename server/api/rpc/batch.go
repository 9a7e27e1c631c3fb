package rpc

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
	"shoal/server/channel"
)

// otherMethod is how commands of methods that are not served are counted.
const otherMethod = "unknown"

// Batch makes many calls. Its response has no place for an error of its own, so that is a
// status always; the errors of commands are in their replies always.
func (s *service) Batch(ctx context.Context, r *apipb.BatchRequest) (*apipb.BatchResponse, error) {
	commands := make([]*api.Command, len(r.GetCommands()))
	methods := make([]string, len(commands))
	refusals := make(map[int]*channel.Error)
	for i, cmd := range r.GetCommands() {
		converted, e := command(cmd)
		methods[i] = methodOf(converted)
		if e == nil {
			commands[i] = converted
		} else {
			refusals[i] = e // nil is answered with an error, which this one replaces
		}
	}
	result, e := s.calls.Batch(ctx, api.BatchRequest{Commands: commands, Parallel: r.GetParallel()})
	if e != nil {
		s.count("batch", e.Code)
		return nil, statusOf(e)
	}
	s.count("batch", 0)
	replies := make([]*apipb.Reply, len(result.Replies))
	for i := range result.Replies {
		if e := refusals[i]; e != nil {
			replies[i] = &apipb.Reply{Error: failure(e)}
		} else {
			replies[i] = reply(&result.Replies[i])
		}
		s.count(methods[i], replies[i].GetError().GetCode())
	}
	return &apipb.BatchResponse{Replies: replies}, nil
}

func methodOf(c *api.Command) string {
	if c.Other != "" || c.Method() == "" {
		return otherMethod
	}
	return c.Method()
}

// command converts a command; the error is about a field that is not served.
func command(c *apipb.Command) (out *api.Command, e *channel.Error) {
	out = &api.Command{}
	if r := c.GetPublish(); r != nil {
		out.Publish = publishRequest(r)
	}
	if r := c.GetBroadcast(); r != nil {
		out.Broadcast = broadcastRequest(r)
	}
	if r := c.GetPresence(); r != nil {
		out.Presence = channelRequest(r)
	}
	if r := c.GetPresenceStats(); r != nil {
		out.PresenceStats = channelRequest(r)
	}
	if r := c.GetHistory(); r != nil {
		out.History = historyRequest(r)
	}
	if r := c.GetHistoryRemove(); r != nil {
		out.HistoryRemove = channelRequest(r)
	}
	if c.GetInfo() != nil {
		out.Info = &api.InfoRequest{}
	}
	if r := c.GetRpc(); r != nil {
		out.RPC = rpcRequest(r)
	}
	if r := c.GetChannels(); r != nil {
		out.Channels = channelsRequest(r)
	}
	e = connCommand(c, out)
	out.Other = unserved(c.ProtoReflect().GetUnknown())
	return out, e
}

// connCommand converts the commands about conns.
func connCommand(c *apipb.Command, out *api.Command) (e *channel.Error) {
	if r := c.GetSubscribe(); r != nil {
		out.Subscribe, e = subscribeRequest(r), refused(r)
	}
	if r := c.GetUnsubscribe(); r != nil && e == nil {
		out.Unsubscribe, e = unsubscribeRequest(r), refused(r)
	}
	if r := c.GetDisconnect(); r != nil && e == nil {
		out.Disconnect, e = disconnectRequest(r), refused(r)
	}
	if r := c.GetRefresh(); r != nil && e == nil {
		out.Refresh, e = refreshRequest(r), refused(r)
	}
	if r := c.GetConnections(); r != nil && e == nil {
		out.Connections, e = connectionsRequest(r), refusedFilter(r)
	}
	return e
}

// mapFirst is the field number of Command for the first of the map and shared-poll
// methods, which the API knows by name only.
const mapFirst = 36

// unserved names the first method among the unknown fields of a command; empty for none.
func unserved(fields []byte) string {
	number, _, n := protowire.ConsumeTag(fields)
	if n < 0 {
		return ""
	}
	names := [...]string{"map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats", "map_clear", "shared_poll_publish"}
	if i := int(number) - mapFirst; i >= 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("with number %d", number)
}

// reply converts the reply to one command.
func reply(r *api.Reply) *apipb.Reply {
	return &apipb.Reply{
		Error:         replyFailure(r.Error),
		Publish:       converted(r.Publish, publishResult),
		Broadcast:     converted(r.Broadcast, broadcastResult),
		Subscribe:     converted(r.Subscribe, empty[apipb.SubscribeResult]),
		Unsubscribe:   converted(r.Unsubscribe, empty[apipb.UnsubscribeResult]),
		Disconnect:    converted(r.Disconnect, empty[apipb.DisconnectResult]),
		Presence:      converted(r.Presence, presenceResult),
		PresenceStats: converted(r.PresenceStats, presenceStatsResult),
		History:       converted(r.History, historyResult),
		HistoryRemove: converted(r.HistoryRemove, empty[apipb.HistoryRemoveResult]),
		Info:          converted(r.Info, infoResult),
		Rpc:           converted(r.RPC, rpcResult),
		Refresh:       converted(r.Refresh, empty[apipb.RefreshResult]),
		Channels:      converted(r.Channels, channelsResult),
		Connections:   converted(r.Connections, connectionsResult),
	}
}

func converted[In, Out any](in *In, convert func(*In) *Out) *Out {
	if in == nil {
		return nil
	}
	return convert(in)
}

// replyFailure is an error inside a result.
func replyFailure(e *api.Error) *apipb.Error {
	if e == nil {
		return nil
	}
	return &apipb.Error{Code: e.Code, Message: text(e.Message)}
}
