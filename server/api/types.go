package api

import "encoding/json"

// Error is the error of a call as backends see it. Its codes are those of [channel.Error],
// its messages begin as Centrifugo's do.
type Error struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

// PublishRequest asks to publish Data, or what B64Data encodes, in Channel.
type PublishRequest struct {
	Channel        string            `json:"channel"`
	Data           json.RawMessage   `json:"data"`
	B64Data        string            `json:"b64data"`
	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
	ExcludeClient  string            `json:"exclude_client"` // an addition: this client does not get it
}

// PublishResult is the position of the publication; empty in a channel without history.
type PublishResult struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

// BroadcastRequest is a PublishRequest for many channels.
type BroadcastRequest struct {
	Channels       []string          `json:"channels"`
	Data           json.RawMessage   `json:"data"`
	B64Data        string            `json:"b64data"`
	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
	ExcludeClient  string            `json:"exclude_client"` // an addition: this client does not get it
}

// PublishResponse is what became of one channel of a broadcast: one of both is set.
type PublishResponse struct {
	Error  *Error         `json:"error,omitempty"`
	Result *PublishResult `json:"result,omitempty"`
}

// BroadcastResult has a response for each channel, in the order of the request.
type BroadcastResult struct {
	Responses []PublishResponse `json:"responses,omitempty"`
}

// StreamPosition is a place in a channel's stream.
type StreamPosition struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

// BoolValue is a bool that may be missing.
type BoolValue struct {
	Value bool `json:"value"`
}

// SubscribeOptionOverride changes options of the channel for one subscription; nil keeps them.
type SubscribeOptionOverride struct {
	Presence           *BoolValue `json:"presence"`
	JoinLeave          *BoolValue `json:"join_leave"`
	ForceRecovery      *BoolValue `json:"force_recovery"`
	ForcePositioning   *BoolValue `json:"force_positioning"`
	ForcePushJoinLeave *BoolValue `json:"force_push_join_leave"`
}

// SubscribeRequest asks to subscribe a user's conns, or one of them, to Channel.
type SubscribeRequest struct {
	User         string                   `json:"user"`
	Channel      string                   `json:"channel"`
	ExpireAt     int64                    `json:"expire_at"` // Unix seconds; 0 never
	Info         json.RawMessage          `json:"info"`
	B64Info      string                   `json:"b64info"`
	Client       string                   `json:"client"`
	Session      string                   `json:"session"`
	Data         json.RawMessage          `json:"data"`
	B64Data      string                   `json:"b64data"`
	RecoverSince *StreamPosition          `json:"recover_since"`
	Override     *SubscribeOptionOverride `json:"override"`
}

// UnsubscribeRequest asks to end subscriptions to Channel; empty: to all of them.
type UnsubscribeRequest struct {
	User    string `json:"user"`
	Channel string `json:"channel"`
	Client  string `json:"client"`
	Session string `json:"session"`
}

// Disconnect is a code and a reason of one's own.
type Disconnect struct {
	Code   uint32 `json:"code"`
	Reason string `json:"reason"`
}

// DisconnectRequest asks to end conns; without Disconnect by 3503.
type DisconnectRequest struct {
	User       string      `json:"user"`
	Client     string      `json:"client"`
	Session    string      `json:"session"`
	Whitelist  []string    `json:"whitelist"`
	Disconnect *Disconnect `json:"disconnect"`
	Channel    string      `json:"channel"` // an addition: only conns subscribed to it
}

// RefreshRequest says how long the credentials of conns are good, or that they are not.
type RefreshRequest struct {
	User     string          `json:"user"`
	Client   string          `json:"client"`
	Session  string          `json:"session"`
	Expired  bool            `json:"expired"`
	ExpireAt int64           `json:"expire_at"` // Unix seconds; 0 never
	Info     json.RawMessage `json:"info"`      // nil: as it was
}

// Empty is the result of a call that only does something.
type Empty struct{}

// ChannelRequest names a channel: the request of presence, presence_stats and history_remove.
type ChannelRequest struct {
	Channel string `json:"channel"`
}

// ClientInfo is a client in a channel. In JSON, info that is not JSON is in the b64 fields.
type ClientInfo struct {
	User        string          `json:"user"`
	Client      string          `json:"client"`
	ConnInfo    json.RawMessage `json:"conn_info,omitempty"`
	ChanInfo    json.RawMessage `json:"chan_info,omitempty"`
	B64ConnInfo string          `json:"b64conn_info,omitempty"`
	B64ChanInfo string          `json:"b64chan_info,omitempty"`
}

// PresenceResult has the clients in a channel by their ids.
type PresenceResult struct {
	Presence map[string]ClientInfo `json:"presence"`
}

// PresenceStatsResult counts the clients and distinct users in a channel.
type PresenceStatsResult struct {
	NumClients uint32 `json:"num_clients"`
	NumUsers   uint32 `json:"num_users"`
}

// HistoryRequest asks for publications of a channel: at most Limit, 0 for the position
// only, -1 for as many as there are. Beyond 64 MiB the answer ends early.
type HistoryRequest struct {
	Channel string          `json:"channel"`
	Limit   int32           `json:"limit"`
	Since   *StreamPosition `json:"since"`
	Reverse bool            `json:"reverse"`
}

// Publication is one of a channel's history. In JSON, data that is not JSON is in B64Data.
type Publication struct {
	Data    json.RawMessage   `json:"data,omitempty"`
	B64Data string            `json:"b64data,omitempty"`
	Info    *ClientInfo       `json:"info,omitempty"`
	Offset  uint64            `json:"offset,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
}

// HistoryResult has the publications asked for and the position of the stream.
type HistoryResult struct {
	Publications []Publication `json:"publications"`
	Epoch        string        `json:"epoch"`
	Offset       uint64        `json:"offset"`
}

// InfoRequest asks about the nodes.
type InfoRequest struct{}

// RPCRequest calls a method that the program which embeds the server has registered.
type RPCRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// RPCResult is its answer. In JSON, data that is not JSON is in B64Data.
type RPCResult struct {
	Data    json.RawMessage `json:"data,omitempty"`
	B64Data string          `json:"b64data,omitempty"`
}

// ChannelsRequest asks for the channels with members whose names match Pattern. Limit and
// Cursor are an addition: with one of them the answer is a page, in the order of names.
type ChannelsRequest struct {
	Pattern string `json:"pattern"`
	Limit   int32  `json:"limit"`
	Cursor  string `json:"cursor"`
}

// ChannelInfo is a channel's number of members.
type ChannelInfo struct {
	NumClients int `json:"num_clients,omitempty"`
}

// ChannelsResult has the channels by name. NextCursor is empty on the last page.
type ChannelsResult struct {
	Channels   map[string]ChannelInfo `json:"channels"`
	NextCursor string                 `json:"next_cursor,omitempty"`
}

// ConnectionsRequest asks for conns; what is empty fits all. An addition.
type ConnectionsRequest struct {
	User    string `json:"user"`
	Client  string `json:"client"`
	Channel string `json:"channel"`
	Limit   int32  `json:"limit"` // 0: PageDefault
	Cursor  string `json:"cursor"`
}

// ConnectionInfo is one conn, under the names of Centrifugo PRO where it has them.
type ConnectionInfo struct {
	User         string          `json:"user"`
	Transport    string          `json:"transport"`
	Protocol     string          `json:"protocol"`
	Remote       string          `json:"remote,omitempty"`
	Status       string          `json:"status,omitempty"`
	Info         json.RawMessage `json:"info,omitempty"`
	B64Info      string          `json:"b64info,omitempty"`
	BacklogBytes int             `json:"backlog_bytes"`
	State        ConnectionState `json:"state"`
}

// ConnectionState has the channels a conn is subscribed to.
type ConnectionState struct {
	Channels map[string]Empty `json:"channels"`
}

// ConnectionsResult has conns by client id. NextCursor is empty on the last page.
type ConnectionsResult struct {
	Connections map[string]ConnectionInfo `json:"connections"`
	NextCursor  string                    `json:"next_cursor,omitempty"`
}
