package config

import (
	"reflect"
	"time"

	"shoal/server/channel"
	"shoal/server/overload"
	"shoal/server/tenant"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	echoMessageSizeLimit = 16 * mib
)

// LoopsMax is the largest loop.loops: what a node can tell apart.
const LoopsMax = 64

// LoopCount is the number of loops: loop.loops, or one for each processor, or as many as hold the connections the node is limited
// to when each has descriptors of its own, which tables tells (tuning.Host's TablesFor); at most what a node can have.
func (c *Config) LoopCount(processors int, tables func(conns uint64) uint64) int {
	n := uint64(max(processors, 1))
	switch most := max(c.Loop.ConnectionLimit, c.Client.ConnectionLimit); {
	case c.Loop.Loops > 0:
		return c.Loop.Loops
	case c.Loop.OwnDescriptors && most > 0:
		n = max(n, tables(uint64(most)))
	}
	return int(min(n, LoopsMax))
}

// Default is the configuration of a server nobody configured: it listens on port 8000 and refuses everything that needs a
// permission. It is valid.
func Default() Config {
	return Config{
		HTTPServer: HTTPServer{Port: 8000},
		HTTPAPI:    HTTPAPI{HandlerPrefix: "/api", BodySizeLimit: 4 * mib, BatchLimit: 10_000, BroadcastLimit: 100_000},
		GRPCAPI:    GRPCAPI{Port: 10000},
		Client: Client{
			PingInterval: 25 * time.Second, PongTimeout: 8 * time.Second,
			StaleCloseDelay: 10 * time.Second, ExpiredCloseDelay: 25 * time.Second,
			ExpiredSubCloseDelay: 25 * time.Second, ChannelPositionCheckDelay: 40 * time.Second,
			ChannelLimit: 128, QueueMaxSize: mib, HistoryMaxPublicationLimit: 300, RecoveryMaxPublicationLimit: 300, RecoveryBacklogLimit: 64 * mib,
			ErrorLimit: ErrorLimit{Interval: 10 * time.Second},

			Resume: Resume{Window: 5 * time.Minute},
			Proxy:  ClientProxies{Connect: SwitchedProxy{Proxy: DefaultProxy()}, Refresh: SwitchedProxy{Proxy: DefaultProxy()}},
		},
		Channel:      channel.DefaultConfig(),
		ChannelProxy: ChannelProxies{Subscribe: DefaultProxy(), Publish: DefaultProxy(), SubRefresh: DefaultProxy(), State: DefaultProxy()},
		RPC:          RPC{NamespaceBoundary: ":", Proxy: DefaultProxy(), Ping: RPCPing{Method: "ping"}},
		WebSocket: WebSocket{
			HandlerPrefix: "/connection/websocket", MessageSizeLimit: 64 * kib, MessageTimeout: time.Minute, CompressionLevel: 1, ControlFrameLimit: 30,
		},
		Engine:   Engine{Type: "memory"},
		Tenants:  tenant.Config{Claim: tenant.ClaimDefault},
		Overload: overload.DefaultOptions(),
		Loop: Loop{
			Tick: 100 * time.Millisecond, AcceptBatch: 64, NodeBacklogSize: 256 * mib, ReadBufferSize: 64 * kib,
			MailboxSize: 64 * kib, FlushSlice: 128, CloseTimeout: 5 * time.Second, MemoryTrimPeriod: 30 * time.Second,
		},
		Handshake: Handshake{Timeout: 10 * time.Second, HeaderSizeLimit: 8 * kib, HeaderCountLimit: 64},
		Heartbeat: Heartbeat{
			DormantMisses: 2, DormantTime: 30 * time.Second,
			IdleAfter: time.Minute, IdleInterval: 30 * time.Second,
			QuietAfter: 5 * time.Minute, QuietInterval: 10 * time.Second,
		},
		TCP: TCP{
			KeepAliveIdle: 300 * time.Second, KeepAliveInterval: 15 * time.Second, KeepAliveCount: 3,
		},
		GC:         GC{Headroom: 64 * mib},
		Shutdown:   Shutdown{Timeout: 30 * time.Second},
		Log:        Log{Level: "info", Format: "text"},
		Prometheus: Endpoint{HandlerPrefix: "/metrics"},
		Health:     Endpoint{HandlerPrefix: "/health"},
		Swagger:    Endpoint{HandlerPrefix: "/openapi.yaml"},
		Debug:      Endpoint{HandlerPrefix: "/debug/pprof"},
		Echo:       Echo{MessageSizeLimit: echoMessageSizeLimit, Compression: true},
	}
}

// DefaultProxy is a proxy of which nothing is configured, not even where it is.
func DefaultProxy() Proxy {
	return Proxy{
		Timeout: time.Second, MaxConcurrency: 256, Retries: 1, RetryDelay: 50 * time.Millisecond,
		BreakerFailures: 20, BreakerDelay: 5 * time.Second,
	}
}

// defaultElement is an element of a list of which nothing is configured.
func defaultElement(t reflect.Type) reflect.Value {
	switch t {
	case reflect.TypeFor[channel.Options]():
		return reflect.ValueOf(channel.DefaultOptions())
	case reflect.TypeFor[RateLimit]():
		return reflect.ValueOf(RateLimit{Interval: time.Second})
	case reflect.TypeFor[NamedProxy]():
		return reflect.ValueOf(NamedProxy{Proxy: DefaultProxy()})
	}
	return reflect.Zero(t)
}

// DevProfile gives the values that dev = true puts in place of the defaults, by key. A flag, an environment variable or
// the file overrules each of them. Everything that opens a door comes with a listener on the loopback interface.
func DevProfile() map[string]any {
	profile := map[string]any{
		"http_server.address": "127.0.0.1",
		"http_api.key":        "dev",
		"grpc_api.address":    "127.0.0.1",
		"grpc_api.key":        "dev",
		"client.allow_anonymous_connect_without_token": true,
		"prometheus.enabled":                           true,
		"health.enabled":                               true,
		"swagger.enabled":                              true,
		"debug.enabled":                                true,
	}
	for key, value := range map[string]any{ // what the demo page shows, for whoever subscribes
		"allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
		"allow_publish_for_subscriber": true, "allow_publish_for_anonymous": true,
		"presence": true, "join_leave": true,
		"allow_presence_for_subscriber": true, "allow_presence_for_anonymous": true,
		"history_size": 100, "history_ttl": "10m",
		"allow_history_for_subscriber": true, "allow_history_for_anonymous": true,
		"force_recovery": true, "allowed_delta_types": []any{"fossil"}, "allow_tags_filter": true, "allow_wildcard": true,
	} {
		profile["channel.without_namespace."+key] = value
	}
	return profile
}

// KeepAliveTotal is the time after which the kernel's keepalive alone finds a dead peer: idle + interval × count.
func (t TCP) KeepAliveTotal() time.Duration {
	return t.KeepAliveIdle + time.Duration(t.KeepAliveCount)*t.KeepAliveInterval
}

// Misses is the number of unanswered pings in a row that closes a connection, with the zero meaning applied.
func (h Heartbeat) Misses() int {
	switch {
	case h.MissesMax > 0:
		return h.MissesMax
	case h.Dormant:
		return 3
	default:
		return 1
	}
}

// InflatedLimit is the largest message after inflating, in bytes, with the zero meaning applied.
func (w WebSocket) InflatedLimit() int {
	if w.DecompressedMessageSizeLimit > 0 {
		return w.DecompressedMessageSizeLimit
	}
	return 10 * w.MessageSizeLimit
}
