package backend

import (
	"context"

	"shoal/server/channel"
)

// Event is what a backend can be asked.
type Event uint8

// The events.
const (
	Connect Event = iota
	Refresh
	Subscribe
	SubRefresh
	Publish
	RPC
	Send         // a message without an answer
	ChannelState // the first member came, the last one left
	eventCount
)

// EventCount is the length of an array indexed by Event.
const EventCount = int(eventCount)

// String returns the metric label.
func (e Event) String() string {
	if e < eventCount {
		return [...]string{"connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc", "send", "channel_state"}[e]
	}
	return "unknown"
}

// Backend answers the questions. Methods may block; they are called on workers, for
// one session one after the other. Requests and what they point to are the callee's.
// An error means that no answer was had: the client is told error 100, a client that
// connects is disconnected with 3004 and comes back.
type Backend interface {
	// Handles says whether the backend is asked at all: subject is the name of an RPC
	// method for RPC, opts are the channel's for events about a channel, else nil. It
	// does not block and is called on loops.
	Handles(e Event, subject string, opts *channel.Options) bool

	Connect(ctx context.Context, r *ConnectRequest) (*ConnectReply, error)
	Refresh(ctx context.Context, r *RefreshRequest) (*RefreshReply, error)
	Subscribe(ctx context.Context, r *SubscribeRequest) (*SubscribeReply, error)
	SubRefresh(ctx context.Context, r *SubRefreshRequest) (*SubRefreshReply, error)
	Publish(ctx context.Context, r *PublishRequest) (*PublishReply, error)
	RPC(ctx context.Context, r *RPCRequest) (*RPCReply, error)
	// Send has no answer but a disconnect; the zero value is content.
	Send(ctx context.Context, r *SendRequest) (channel.Refusal, error)
	// ChannelState is told of channels that became occupied or vacated, in order for
	// each channel. nil means that the backend will be told, at least once; an error
	// that it will not: say it again before anything newer about the channel.
	ChannelState(ctx context.Context, r *ChannelStateRequest) error
}

// Client is the session a question is about.
type Client struct {
	ID        string
	User      string            // empty: anonymous, or not known yet in Connect
	Tenant    string            // empty: the default one, or not known yet
	Transport string            // "websocket", …
	Encoding  string            // "json", "protobuf" or "msgpack"
	Meta      []byte            // of its token or of ConnectReply; never shown to clients
	Headers   map[string]string // of the request that opened the conn, lower-case names; only those kept by configuration
	// Emulated are the headers of the connect command, for clients that cannot set real
	// ones. The client can write anything into them: never take them for Headers.
	Emulated map[string]string
	Remote   string // address and port of the peer, if known
}

// ConnectRequest asks who a client is that connects without a token.
type ConnectRequest struct {
	Client
	Data     []byte
	Name     string   // of the SDK
	Version  string   // of the SDK
	Channels []string // it asks for as server-side subscriptions
	Token    string   // empty, unless the backend is to look at tokens
}

// ConnectReply is the answer; a refusal ends the matter.
type ConnectReply struct {
	channel.Refusal
	User     string
	ExpireAt int64 // Unix seconds; 0 never
	Info     []byte
	Data     []byte // for the connect result
	Meta     []byte
	Subs     []channel.ServerSub
	// Unknown: the backend does not say who it is. The client goes on like one without
	// a token that nobody was asked about: anonymous where that is allowed, else refused.
	// The other fields are zero then.
	Unknown bool
}

// RefreshRequest asks whether a conn may go on whose credentials end. Token is what
// the client sent, if it did.
type RefreshRequest struct {
	Client
	Token string
}

// RefreshReply is the answer. Expired ends the conn.
type RefreshReply struct {
	channel.Refusal
	Expired  bool
	ExpireAt int64
	Info     []byte // nil: as it was
	Meta     []byte // nil: as it was
}

// SubscribeRequest asks whether a client may subscribe.
type SubscribeRequest struct {
	Client
	Channel string
	Token   string
	Data    []byte
}

// SubscribeReply is the answer.
type SubscribeReply struct {
	channel.Refusal
	ExpireAt int64
	Info     []byte // chan_info
	Data     []byte // for the subscribe result
	Override *channel.Override
}

// SubRefreshRequest asks whether a subscription may go on.
type SubRefreshRequest struct {
	Client
	Channel string
	Token   string
}

// SubRefreshReply is the answer. Expired ends the subscription.
type SubRefreshReply struct {
	channel.Refusal
	Expired  bool
	ExpireAt int64
	Info     []byte
}

// PublishRequest asks whether a client may publish, and lets the backend change what.
type PublishRequest struct {
	Client
	Channel string
	Data    []byte
}

// PublishReply is the answer.
type PublishReply struct {
	channel.Refusal
	Data        []byte // nil: as the client sent it
	SkipHistory bool
	Done        bool // the backend published it itself, or swallowed it: nothing more is to be done
	// What else it says about the publication; see [shoal/server/broker.PublishOptions].
	Tags           map[string]string
	IdempotencyKey string
	Delta          bool // subscribers that asked for differences get one
	Version        uint64
	VersionEpoch   string
}

// RPCRequest is a client's call.
type RPCRequest struct {
	Client
	Method string
	Data   []byte
}

// RPCReply is the answer.
type RPCReply struct {
	channel.Refusal
	Data []byte
}

// SendRequest is a client's message.
type SendRequest struct {
	Client
	Data []byte
}

// ChannelStateRequest tells of a channel.
type ChannelStateRequest struct {
	Channel  string
	Occupied bool  // else vacated
	Time     int64 // Unix milliseconds
}
