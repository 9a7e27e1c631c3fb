package api

import (
	"context"

	"shoal/server/channel"
)

// Service does what the API is asked for. Methods are called from one goroutine
// per request; slices are not used by the caller afterwards.
type Service interface {
	Publish(ctx context.Context, name string, pub *channel.Publication) (channel.Position, *channel.Error)
	Channels(ctx context.Context, match func(name string) bool) (map[string]int, *channel.Error)
	Info(ctx context.Context) (Info, *channel.Error)
	Disconnect(ctx context.Context, who Target, d channel.Disconnect) *channel.Error
}

// Target picks the conns of a user. Client narrows it to one conn; those named in
// Whitelist are spared.
type Target struct {
	User      string
	Client    string
	Session   string
	Whitelist []string
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
