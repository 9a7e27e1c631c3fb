package api

import (
	"context"
	"encoding/json"
	"slices"

	"shoal/server/channel"
)

// BatchRequest asks for many calls, one after the other, or side by side in any order.
type BatchRequest struct {
	Commands []*Command `json:"commands"`
	Parallel bool       `json:"parallel"`
}

// BatchResult has a reply for each command, in the order of the request.
type BatchResult struct {
	Replies []Reply `json:"replies,omitempty"`
}

// Command is one call of a batch: exactly one field is set.
type Command struct {
	Publish       *PublishRequest     `json:"publish"`
	Broadcast     *BroadcastRequest   `json:"broadcast"`
	Subscribe     *SubscribeRequest   `json:"subscribe"`
	Unsubscribe   *UnsubscribeRequest `json:"unsubscribe"`
	Disconnect    *DisconnectRequest  `json:"disconnect"`
	Presence      *ChannelRequest     `json:"presence"`
	PresenceStats *ChannelRequest     `json:"presence_stats"`
	History       *HistoryRequest     `json:"history"`
	HistoryRemove *ChannelRequest     `json:"history_remove"`
	Info          *InfoRequest        `json:"info"`
	RPC           *RPCRequest         `json:"rpc"`
	Refresh       *RefreshRequest     `json:"refresh"`
	Channels      *ChannelsRequest    `json:"channels"`
	Connections   *ConnectionsRequest `json:"connections"` // an addition

	Other string `json:"-"` // name of a method that is none of them
}

// Reply is what became of a command: the error, or the field of its method.
type Reply struct {
	Error         *Error               `json:"error,omitempty"`
	Publish       *PublishResult       `json:"publish,omitempty"`
	Broadcast     *BroadcastResult     `json:"broadcast,omitempty"`
	Subscribe     *Empty               `json:"subscribe,omitempty"`
	Unsubscribe   *Empty               `json:"unsubscribe,omitempty"`
	Disconnect    *Empty               `json:"disconnect,omitempty"`
	Presence      *PresenceResult      `json:"presence,omitempty"`
	PresenceStats *PresenceStatsResult `json:"presence_stats,omitempty"`
	History       *HistoryResult       `json:"history,omitempty"`
	HistoryRemove *Empty               `json:"history_remove,omitempty"`
	Info          *Info                `json:"info,omitempty"`
	RPC           *RPCResult           `json:"rpc,omitempty"`
	Refresh       *Empty               `json:"refresh,omitempty"`
	Channels      *ChannelsResult      `json:"channels,omitempty"`
	Connections   *ConnectionsResult   `json:"connections,omitempty"`
}

// UnmarshalJSON decodes the fields as usual and remembers the name of a method that is none of them.
func (c *Command) UnmarshalJSON(text []byte) error {
	type plain Command
	if err := json.Unmarshal(text, (*plain)(c)); err != nil {
		return err
	}
	if c.Other = ""; c.Method() != "" {
		return nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(text, &keys); err != nil {
		return err
	}
	for key, value := range keys {
		if string(value) != "null" && (c.Other == "" || key < c.Other) {
			c.Other = key
		}
	}
	return nil
}

// Method is the name of the command's method, Other included; empty for none.
func (c *Command) Method() string {
	name, _ := c.methods()
	return name
}

// methods is the name of the first method set, and how many are.
func (c *Command) methods() (first string, count int) {
	set := func(is bool, name string) {
		if !is {
			return
		}
		if count++; count == 1 {
			first = name
		}
	}
	set(c.Publish != nil, "publish")
	set(c.Broadcast != nil, "broadcast")
	set(c.Subscribe != nil, "subscribe")
	set(c.Unsubscribe != nil, "unsubscribe")
	set(c.Disconnect != nil, "disconnect")
	set(c.Presence != nil, "presence")
	set(c.PresenceStats != nil, "presence_stats")
	set(c.History != nil, "history")
	set(c.HistoryRemove != nil, "history_remove")
	set(c.Info != nil, "info")
	set(c.RPC != nil, "rpc")
	set(c.Refresh != nil, "refresh")
	set(c.Channels != nil, "channels")
	set(c.Connections != nil, "connections")
	set(c.Other != "", c.Other)
	return first, count
}

// Batch makes many calls. The error is about the batch as a whole; then none was made.
func (c *Calls) Batch(ctx context.Context, r BatchRequest) (BatchResult, *channel.Error) {
	if e := c.batchFits(len(r.Commands)); e != nil {
		return BatchResult{}, e
	}
	replies := make([]Reply, len(r.Commands))
	c.each(ctx, len(replies), r.Parallel, func(i int) {
		replies[i].Error = internalError() // stays if the service panics on a worker
		replies[i] = c.Do(ctx, r.Commands[i])
	})
	return BatchResult{Replies: replies}, nil
}

func (c *Calls) batchFits(n int) *channel.Error {
	if most := orDefault(c.BatchMax, BatchDefault); n > most {
		return badRequest("%d commands in one batch, at most %d: make several calls", n, most)
	}
	return nil
}

// Do makes the call of one command of a batch; nil is refused.
func (c *Calls) Do(ctx context.Context, cmd *Command) (r Reply) {
	if cmd == nil {
		return Reply{Error: errorOf(badRequest("a command is null"))}
	}
	var e *channel.Error
	switch name, count := cmd.methods(); {
	case count > 1:
		e = badRequest("a command with %d methods, %s being one: put each into a command of its own", count, name)
	case count == 0:
		e = named(channel.ErrMethodNotFound, "a command without a method")
	case cmd.Other != "":
		e = unknown(cmd.Other)
	default:
		r, e = c.dispatch(ctx, cmd)
	}
	if e != nil {
		return Reply{Error: errorOf(e)}
	}
	return r
}

func (c *Calls) dispatch(ctx context.Context, cmd *Command) (r Reply, e *channel.Error) {
	switch {
	case cmd.Publish != nil:
		r.Publish, e = call(ctx, c.Publish, cmd.Publish)
	case cmd.Broadcast != nil:
		r.Broadcast, e = call(ctx, c.Broadcast, cmd.Broadcast)
	case cmd.Subscribe != nil:
		r.Subscribe, e = call(ctx, c.Subscribe, cmd.Subscribe)
	case cmd.Unsubscribe != nil:
		r.Unsubscribe, e = call(ctx, c.Unsubscribe, cmd.Unsubscribe)
	case cmd.Disconnect != nil:
		r.Disconnect, e = call(ctx, c.Disconnect, cmd.Disconnect)
	case cmd.Presence != nil:
		r.Presence, e = call(ctx, c.Presence, cmd.Presence)
	case cmd.PresenceStats != nil:
		r.PresenceStats, e = call(ctx, c.PresenceStats, cmd.PresenceStats)
	case cmd.History != nil:
		r.History, e = call(ctx, c.History, cmd.History)
	case cmd.HistoryRemove != nil:
		r.HistoryRemove, e = call(ctx, c.HistoryRemove, cmd.HistoryRemove)
	case cmd.Info != nil:
		r.Info, e = call(ctx, c.Info, cmd.Info)
	case cmd.RPC != nil:
		r.RPC, e = call(ctx, c.RPC, cmd.RPC)
	case cmd.Refresh != nil:
		r.Refresh, e = call(ctx, c.Refresh, cmd.Refresh)
	case cmd.Channels != nil:
		r.Channels, e = call(ctx, c.Channels, cmd.Channels)
	case cmd.Connections != nil:
		r.Connections, e = call(ctx, c.Connections, cmd.Connections)
	}
	return r, e
}

func call[Request, Result any](ctx context.Context, f func(context.Context, Request) (Result, *channel.Error), r *Request) (*Result, *channel.Error) {
	result, e := f(ctx, *r)
	if e != nil {
		return nil, e
	}
	return &result, nil
}

// absent are the methods of Centrifugo that Shoal knows by name only: map and shared-poll
// subscriptions. Never written.
var absent = [...]string{"map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats", "map_clear", "shared_poll_publish"}

// unknown is the error of a method that is not there.
func unknown(method string) *channel.Error {
	switch {
	case slices.Contains(absent[:], method):
		return named(channel.ErrNotAvailable, method+": there are no map and shared-poll channels here")
	case method == "batch":
		return named(channel.ErrMethodNotFound, "a batch inside a batch")
	case len(method) > 64:
		return named(channel.ErrMethodNotFound, "there is no method of that name")
	}
	return named(channel.ErrMethodNotFound, "there is no method "+method)
}
