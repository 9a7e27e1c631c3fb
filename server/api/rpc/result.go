package rpc

import (
	"strings"

	"shoal/server/api"
	"shoal/server/api/rpc/apipb"
)

// text makes a string one that a Protobuf string can hold: UTF-8. A name that is not, which
// a client may have chosen, would otherwise fail the whole answer.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func publishResult(r *api.PublishResult) *apipb.PublishResult {
	return &apipb.PublishResult{Offset: r.Offset, Epoch: r.Epoch}
}

func broadcastResult(r *api.BroadcastResult) *apipb.BroadcastResult {
	out := make([]*apipb.PublishResponse, len(r.Responses))
	for i := range r.Responses {
		response := &r.Responses[i]
		out[i] = &apipb.PublishResponse{Error: replyFailure(response.Error)}
		if response.Result != nil {
			out[i].Result = publishResult(response.Result)
		}
	}
	return &apipb.BroadcastResult{Responses: out}
}

func clientInfo(i *api.ClientInfo) *apipb.ClientInfo {
	return &apipb.ClientInfo{User: text(i.User), Client: text(i.Client), ConnInfo: i.ConnInfo, ChanInfo: i.ChanInfo}
}

func presenceResult(r *api.PresenceResult) *apipb.PresenceResult {
	out := make(map[string]*apipb.ClientInfo, len(r.Presence))
	for id, info := range r.Presence {
		out[text(id)] = clientInfo(&info)
	}
	return &apipb.PresenceResult{Presence: out}
}

func presenceStatsResult(r *api.PresenceStatsResult) *apipb.PresenceStatsResult {
	return &apipb.PresenceStatsResult{NumClients: r.NumClients, NumUsers: r.NumUsers}
}

func historyResult(r *api.HistoryResult) *apipb.HistoryResult {
	out := make([]*apipb.Publication, len(r.Publications))
	for i := range r.Publications {
		pub := &r.Publications[i]
		out[i] = &apipb.Publication{Data: pub.Data, Offset: pub.Offset, Tags: tags(pub.Tags)}
		if pub.Info != nil {
			out[i].Info = clientInfo(pub.Info)
		}
	}
	return &apipb.HistoryResult{Publications: out, Epoch: r.Epoch, Offset: r.Offset}
}

func tags(in map[string]string) map[string]string {
	if in == nil {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[text(k)] = text(v)
	}
	return out
}

func channelsResult(r *api.ChannelsResult) *apipb.ChannelsResult {
	out := make(map[string]*apipb.ChannelInfo, len(r.Channels))
	for name, info := range r.Channels {
		out[text(name)] = &apipb.ChannelInfo{NumClients: uint32(info.NumClients)}
	}
	return &apipb.ChannelsResult{Channels: out, NextCursor: text(r.NextCursor)}
}

func connectionsResult(r *api.ConnectionsResult) *apipb.ConnectionsResult {
	out := make(map[string]*apipb.ConnectionInfo, len(r.Connections))
	for id, info := range r.Connections {
		channels := make(map[string]*apipb.ChannelContext, len(info.State.Channels))
		for name := range info.State.Channels {
			channels[text(name)] = &apipb.ChannelContext{}
		}
		out[text(id)] = &apipb.ConnectionInfo{
			User: text(info.User), Transport: info.Transport, Protocol: info.Protocol, Remote: info.Remote, Status: info.Status,
			Info: info.Info, BacklogBytes: uint64(info.BacklogBytes), State: &apipb.ConnectionState{Channels: channels},
		}
	}
	return &apipb.ConnectionsResult{Connections: out, NextCursor: text(r.NextCursor)}
}

func infoResult(r *api.Info) *apipb.InfoResult {
	out := make([]*apipb.NodeResult, len(r.Nodes))
	for i := range r.Nodes {
		n := &r.Nodes[i]
		out[i] = &apipb.NodeResult{
			Uid: n.UID, Name: text(n.Name), Version: n.Version, NumClients: uint32(n.NumClients), NumUsers: uint32(n.NumUsers),
			NumSubs: uint32(n.NumSubs), NumChannels: uint32(n.NumChannels), Uptime: uint32(n.Uptime),
		}
		if n.Process != nil {
			out[i].Process = &apipb.Process{Cpu: n.Process.CPU, Rss: n.Process.RSS}
		}
	}
	return &apipb.InfoResult{Nodes: out}
}

func rpcResult(r *api.RPCResult) *apipb.RPCResult { return &apipb.RPCResult{Data: r.Data} }
