package api

import (
	"context"

	"shoal/server/channel"
)

// Service does what the API is asked for. Methods are called from one goroutine
// per request; slices and maps are not used by the caller afterwards, and what they
// return is the caller's.
type Service interface {
	// Publish answers 107 to data that the channel's publication_data_format refuses,
	// which includes no data at all but for "binary"; 102 to an unknown namespace.
	Publish(ctx context.Context, name string, pub *channel.Publication, o PublishOptions) (channel.Position, *channel.Error)
	Subscribe(ctx context.Context, r Subscription) *channel.Error
	// Unsubscribe ends the subscription of the target's conns to the channel; with an
	// empty channel all of them.
	Unsubscribe(ctx context.Context, who Target, name string) *channel.Error
	Disconnect(ctx context.Context, who Target, d channel.Disconnect) *channel.Error
	// Refresh sets when the credentials of the target's conns end, or ends the conns.
	Refresh(ctx context.Context, who Target, r Refresh) *channel.Error
	Presence(ctx context.Context, name string) (map[string]channel.ClientInfo, *channel.Error)
	PresenceStats(ctx context.Context, name string) (PresenceStats, *channel.Error)
	History(ctx context.Context, name string, q HistoryQuery) ([]channel.Publication, channel.Position, *channel.Error)
	RemoveHistory(ctx context.Context, name string) *channel.Error
	// Channels counts the members of the channels for which match is true. match may be
	// called from any goroutine and keeps no hold of name.
	Channels(ctx context.Context, match func(name string) bool) (map[string]int, *channel.Error)
	Info(ctx context.Context) (Info, *channel.Error)
	// RPC answers a call of the backend; error 104 for an unknown method.
	RPC(ctx context.Context, method string, params []byte) ([]byte, *channel.Error)
	// Connections lists conns: those that fit the filter, in order of their client
	// ids, behind the id After, at most Limit.
	Connections(ctx context.Context, f ConnectionFilter) ([]Connection, *channel.Error)
}

// PublishOptions rule one publication of the API. See broker.PublishOptions.
type PublishOptions struct {
	SkipHistory    bool
	IdempotencyKey string
	Delta          bool
	Version        uint64
	VersionEpoch   string
}

// Subscription is a server-side subscription to be made for the target's conns.
type Subscription struct {
	Target
	Channel  string
	Info     []byte // chan_info; nil none
	Data     []byte // of the subscribe push; nil none
	Since    *channel.Position
	ExpireAt int64 // Unix seconds; 0 never
	Override *channel.Override
}

// Refresh is what the credentials of a conn become.
type Refresh struct {
	Expired  bool
	ExpireAt int64  // Unix seconds; 0 never
	Info     []byte // nil: as it was
}

// HistoryQuery picks publications. Limit 0 asks for the position only, < 0 for as
// many as the node gives.
type HistoryQuery struct {
	Since   *channel.Position
	Limit   int
	Reverse bool
}

// PresenceStats counts a channel's clients and distinct users.
type PresenceStats struct {
	NumClients int
	NumUsers   int
}

// Target picks the conns of a user. Client or Session narrows it to one conn; those
// named in Whitelist are spared.
type Target struct {
	User      string
	Client    string
	Session   string
	Whitelist []string
}

// ConnectionFilter picks conns; what is empty fits all.
type ConnectionFilter struct {
	User    string
	Client  string
	Channel string
	After   string // client id
	Limit   int    // ≥ 1
}

// Connection is one conn as it is now.
type Connection struct {
	Client    string
	User      string
	Transport string
	Encoding  string
	Remote    string
	State     string
	Info      []byte
	Channels  []string
	Backlog   int // bytes
}

// Info describes the nodes of the cluster.
type Info struct {
	Nodes []NodeInfo `json:"nodes"`
}

// NodeInfo describes one node. Uptime is in seconds.
type NodeInfo struct {
	UID         string       `json:"uid"`
	Name        string       `json:"name"`
	Version     string       `json:"version"`
	NumClients  int          `json:"num_clients"`
	NumUsers    int          `json:"num_users"`
	NumSubs     int          `json:"num_subs"`
	NumChannels int          `json:"num_channels"`
	Uptime      int64        `json:"uptime"`
	Process     *ProcessInfo `json:"process,omitempty"`
}

// ProcessInfo is the node's process: CPU in percent of one core since the last
// call, resident memory in bytes.
type ProcessInfo struct {
	CPU float64 `json:"cpu"`
	RSS int64   `json:"rss"`
}
