package rpc

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"shoal/server/api"
	"shoal/server/channel"
)

// fake is a node: it notes what it is asked for and answers the same things always.
// Channels with certain names misbehave.
type fake struct {
	mu    sync.Mutex
	notes []string
	fails *channel.Error // what every call answers, if set

	entered  chan struct{} // "wait": told of each call that begins to wait
	canceled atomic.Int32  // calls that ended with their context
	release  chan struct{} // "together": waits for as many as its capacity
	inside   atomic.Int32
}

var _ api.Service = (*fake)(nil)

func (f *fake) note(format string, args ...any) *channel.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
	return f.fails
}

// taken returns the notes since the last call.
func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	notes := f.notes
	f.notes = nil
	return notes
}

func (f *fake) Publish(ctx context.Context, name string, pub *channel.Publication, o api.PublishOptions) (channel.Position, *channel.Error) {
	switch name {
	case "panic":
		panic("a bug")
	case "unknown:x":
		return channel.Position{}, channel.ErrUnknownChannel.Err()
	case "wait":
		f.entered <- struct{}{}
		<-ctx.Done()
		f.canceled.Add(1)
		return channel.Position{}, channel.ErrInternal.Err()
	case "together":
		if int(f.inside.Add(1)) == cap(f.release) {
			close(f.release)
		}
		<-f.release
	}
	return channel.Position{Offset: 7, Epoch: "ep"}, f.note("publish %s %q exclude=%s tags=%v %+v", name, pub.Data, pub.Exclude, pub.Tags, o)
}

func (f *fake) Subscribe(_ context.Context, r api.Subscription) *channel.Error {
	return f.note("subscribe %+v %s info=%q data=%q since=%v expire=%d override=%s", r.Target, r.Channel, r.Info, r.Data, r.Since, r.ExpireAt, overrides(r.Override))
}

func overrides(o *channel.Override) string {
	if o == nil {
		return "none"
	}
	out := ""
	for _, b := range []*bool{o.Presence, o.JoinLeave, o.ForcePushJoinLeave, o.ForcePositioning, o.ForceRecovery} {
		switch {
		case b == nil:
			out += "-"
		case *b:
			out += "1"
		default:
			out += "0"
		}
	}
	return out
}

func (f *fake) Unsubscribe(_ context.Context, who api.Target, name string) *channel.Error {
	return f.note("unsubscribe %+v %s", who, name)
}

func (f *fake) Disconnect(_ context.Context, who api.Target, d channel.Disconnect) *channel.Error {
	return f.note("disconnect %+v %d %s", who, d.Code, d.Reason)
}

func (f *fake) Refresh(_ context.Context, who api.Target, r api.Refresh) *channel.Error {
	return f.note("refresh %+v %v %d %q", who, r.Expired, r.ExpireAt, r.Info)
}

func (f *fake) Presence(_ context.Context, name string) (map[string]channel.ClientInfo, *channel.Error) {
	return map[string]channel.ClientInfo{"c1": {User: "ann", Client: "c1", ConnInfo: []byte("conn"), ChanInfo: []byte("chan")}, "c2": {Client: "c2"}},
		f.note("presence %s", name)
}

func (f *fake) PresenceStats(_ context.Context, name string) (api.PresenceStats, *channel.Error) {
	return api.PresenceStats{NumClients: 1_000_000, NumUsers: 999_999}, f.note("presence_stats %s", name)
}

func (f *fake) History(_ context.Context, name string, q api.HistoryQuery) ([]channel.Publication, channel.Position, *channel.Error) {
	pubs := []channel.Publication{
		{Position: channel.Position{Offset: 3, Epoch: "ep"}, Data: []byte("d3"), Tags: map[string]string{"k": "v"}},
		{Position: channel.Position{Offset: 4, Epoch: "ep"}, Data: []byte{0xff, 0}, Info: &channel.ClientInfo{User: "ann", Client: "c1"}},
	}
	return pubs, channel.Position{Offset: 4, Epoch: "ep"}, f.note("history %s since=%v limit=%d reverse=%v", name, q.Since, q.Limit, q.Reverse)
}

func (f *fake) RemoveHistory(_ context.Context, name string) *channel.Error {
	return f.note("history_remove %s", name)
}

func (f *fake) Channels(_ context.Context, match func(string) bool) (map[string]int, *channel.Error) {
	out := map[string]int{}
	for name, n := range map[string]int{"news": 3, "chat:1": 1, "chat:2": 2} {
		if match(name) {
			out[name] = n
		}
	}
	return out, f.note("channels")
}

func (f *fake) Info(context.Context) (api.Info, *channel.Error) {
	return api.Info{Nodes: []api.NodeInfo{{
		UID: "uid", Name: "node", Version: "1.0", NumClients: 1, NumUsers: 2, NumSubs: 3, NumChannels: 4, Uptime: 5,
		Process: &api.ProcessInfo{CPU: 1.5, RSS: 1 << 33},
	}}}, f.note("info")
}

func (f *fake) RPC(_ context.Context, method string, params []byte) ([]byte, *channel.Error) {
	return []byte("answer to " + method), f.note("rpc %s %q", method, params)
}

func (f *fake) Connections(_ context.Context, q api.ConnectionFilter) ([]api.Connection, *channel.Error) {
	return []api.Connection{{
		Client: "c1", User: "ann", Transport: "websocket", Encoding: "json", Remote: "10.0.0.1:5", State: "ready",
		Info: []byte("info"), Channels: []string{"news", "chat:1"}, Backlog: 12,
	}}, f.note("connections %+v", q)
}
