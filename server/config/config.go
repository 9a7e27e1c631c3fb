package config

import "time"

// Config is the whole configuration of a shoal server. The zero value is not useful: start from Default. Every duration
// is written with a unit ("25s", "100ms"); every size is a count of bytes unless the text says otherwise.
type Config struct {
	HTTPServer    HTTPServer    `key:"http_server"`
	HTTPAPI       HTTPAPI       `key:"http_api"`
	Client        Client        `key:"client"`
	Channel       Channel       `key:"channel"`
	WebSocket     WebSocket     `key:"websocket"`
	Engine        Engine        `key:"engine"`
	Node          Node          `key:"node"`
	Loop          Loop          `key:"loop"`
	Handshake     Handshake     `key:"handshake"`
	Heartbeat     Heartbeat     `key:"heartbeat"`
	TCP           TCP           `key:"tcp"`
	ProxyProtocol ProxyProtocol `key:"proxy_protocol"`
	GC            GC            `key:"gc"`
	Shutdown      Shutdown      `key:"shutdown"`
	Log           Log           `key:"log"`
	Prometheus    Endpoint      `key:"prometheus"`
	Health        Endpoint      `key:"health"`
	Debug         Endpoint      `key:"debug"`
	Echo          Echo          `key:"echo"`
	Dev           bool          `key:"dev" doc:"Development profile: the demo page at /, anonymous clients that may subscribe and publish, the API key dev, metrics and debug endpoints, all on 127.0.0.1. Anything set explicitly wins."`
}

// HTTPServer says where the server listens. One port takes WebSocket clients and plain HTTP requests alike.
type HTTPServer struct {
	Address         string `key:"address" doc:"Address to listen on; empty = every interface, IPv4 and IPv6."`
	Port            int    `key:"port" doc:"TCP port, 0..65535; 0 = a free port chosen by the kernel."`
	InternalAddress string `key:"internal_address" doc:"Address of the internal port; empty = the same as http_server.address."`
	InternalPort    int    `key:"internal_port" doc:"Port of its own for the API, metrics, health and debug endpoints; 0 = they share http_server.port."`
}

// HTTPAPI is the server API: publish, broadcast, disconnect, channels, info.
type HTTPAPI struct {
	Disabled      bool   `key:"disabled" doc:"Switches the HTTP API off."`
	HandlerPrefix string `key:"handler_prefix" doc:"Path the API lives under."`
	Key           string `key:"key" secret:"true" doc:"API key expected in X-API-Key or 'Authorization: apikey …'; empty = every call is refused unless http_api.insecure."`
	ErrorMode     string `key:"error_mode" doc:"Empty = errors are HTTP 200 with an error object; transport = errors become HTTP status codes."`
	External      bool   `key:"external" doc:"Keeps the API on the main port too when http_server.internal_port is set."`
	Insecure      bool   `key:"insecure" doc:"Accepts API calls without a key. For development only."`
}

// Client holds what concerns every client connection, whatever its transport.
type Client struct {
	Insecure                         bool              `key:"insecure" doc:"No tokens, and every channel may be subscribed and published to. For development only."`
	AllowAnonymousConnect            bool              `key:"allow_anonymous_connect_without_token" doc:"A client without a token connects as the anonymous user (empty user id)."`
	DisallowAnonymousConnectionToken bool              `key:"disallow_anonymous_connection_tokens" doc:"Refuses connection tokens whose user (sub) is empty."`
	AllowedOrigins                   []string          `key:"allowed_origins" doc:"Browser origins that may connect, scheme://host[:port]; in it * matches any characters, ? matches one, and other pattern characters are refused; * alone = every page; empty = only the host the page itself came from."`
	Token                            Token             `key:"token"`
	SubscriptionToken                SubscriptionToken `key:"subscription_token"`
	PingInterval                     time.Duration     `key:"ping_interval" doc:"Time between pings to a silent client; the first one comes at a random point of the second half. Longer than client.pong_timeout."`
	PongTimeout                      time.Duration     `key:"pong_timeout" doc:"How long the answer to a ping may take before the connection is closed with 3012."`
	StaleCloseDelay                  time.Duration     `key:"stale_close_delay" doc:"How long a connection may stay without a successful connect command (closed with 3502)."`
	ExpiredCloseDelay                time.Duration     `key:"expired_close_delay" doc:"Grace after a connection's credentials expire, in which the client may refresh them (then 3005)."`
	ChannelLimit                     int               `key:"channel_limit" doc:"Channels one client may subscribe to, 1..65535 (error 106 above)."`
	QueueMaxSize                     int               `key:"queue_max_size" doc:"Bytes that may wait for a client that reads slowly; above it the client is closed with 3008."`
	ConnectionLimit                  int               `key:"connection_limit" doc:"Client connections this node holds; above it an upgrade is answered 503. 0 = no limit but the descriptors."`
}

// Token says how connection tokens (JWT) are verified. Without any key, tokens are refused.
type Token struct {
	HMACSecretKey                   string `key:"hmac_secret_key" secret:"true" doc:"Secret for HS256, HS384 and HS512 tokens; empty = no HMAC token is accepted."`
	HMACPreviousSecretKey           string `key:"hmac_previous_secret_key" secret:"true" doc:"Former secret, still accepted while keys are being rotated; empty = none."`
	HMACPreviousSecretKeyValidUntil int64  `key:"hmac_previous_secret_key_valid_until" doc:"Unix time in seconds after which the former secret is refused; 0 = never."`
	Audience                        string `key:"audience" doc:"Value the aud claim must contain; empty = not checked."`
	AudienceRegex                   string `key:"audience_regex" doc:"Regular expression (RE2) one value of the aud claim must match; empty = not checked. Not together with audience."`
	Issuer                          string `key:"issuer" doc:"Value the iss claim must have; empty = not checked."`
	IssuerRegex                     string `key:"issuer_regex" doc:"Regular expression (RE2) the iss claim must match; empty = not checked. Not together with issuer."`
	UserIDClaim                     string `key:"user_id_claim" doc:"Claim that names the user; empty = sub."`
}

// SubscriptionToken gives subscription tokens keys of their own.
type SubscriptionToken struct {
	Enabled bool `key:"enabled" doc:"Verifies subscription tokens with the keys of this section instead of client.token."`
	Token   `key:""`
}

// Channel holds the channel name rules and the options of every namespace.
type Channel struct {
	WithoutNamespace  ChannelOptions `key:"without_namespace"`
	Namespaces        []Namespace    `key:"namespaces" doc:"Namespaces by name; a channel name:rest belongs to the namespace called name. A channel with an unlisted one is refused (error 102)."`
	MaxLength         int            `key:"max_length" doc:"Longest channel name in bytes, 1..1024 (error 107 above)."`
	PrivatePrefix     string         `key:"private_prefix" doc:"Channels that begin with this need a subscription token; empty = $."`
	NamespaceBoundary string         `key:"namespace_boundary" doc:"What separates the namespace from the rest of a channel name; empty = :."`
	UserBoundary      string         `key:"user_boundary" doc:"What introduces the list of user ids of a user-limited channel; empty = #."`
	UserSeparator     string         `key:"user_separator" doc:"What separates the user ids of a user-limited channel; empty = a comma."`
}

// Namespace is a named set of channel options.
type Namespace struct {
	Name           string `key:"name" doc:"Name of the namespace: letters, digits, '-', '_' and '.', at least two."`
	ChannelOptions `key:""`
}

// ChannelOptions are the rules of the channels of one namespace. Everything is refused that nothing allows.
type ChannelOptions struct {
	AllowSubscribeForClient    bool   `key:"allow_subscribe_for_client" doc:"Any client with a user id may subscribe."`
	AllowSubscribeForAnonymous bool   `key:"allow_subscribe_for_anonymous" doc:"Anonymous clients may subscribe, where allow_subscribe_for_client lets others."`
	AllowPublishForClient      bool   `key:"allow_publish_for_client" doc:"Any client with a user id may publish."`
	AllowPublishForSubscriber  bool   `key:"allow_publish_for_subscriber" doc:"A client subscribed to the channel may publish to it."`
	AllowPublishForAnonymous   bool   `key:"allow_publish_for_anonymous" doc:"Anonymous clients may publish, where one of the two options above lets others."`
	AllowUserLimitedChannels   bool   `key:"allow_user_limited_channels" doc:"The users listed after channel.user_boundary in a channel's name may subscribe to it, and only they."`
	ChannelRegex               string `key:"channel_regex" doc:"Regular expression (RE2) the name after the namespace boundary must match; empty = any."`
}

// WebSocket configures the WebSocket transport.
type WebSocket struct {
	Disabled                     bool          `key:"disabled" doc:"Switches the WebSocket endpoint off."`
	HandlerPrefix                string        `key:"handler_prefix" doc:"Path of the endpoint."`
	MessageSizeLimit             int           `key:"message_size_limit" doc:"Largest message a client may send, in bytes, over all its fragments (closed with 1009 above)."`
	Compression                  bool          `key:"compression" doc:"Offers permessage-deflate (RFC 7692), without context takeover."`
	MessageTimeout               time.Duration `key:"message_timeout" doc:"How long a message may take from its first byte to its last, however slowly it trickles (closed with 1008); 0 = no limit."`
	CompressionMinSize           int           `key:"compression_min_size" doc:"Messages shorter than this many bytes are sent uncompressed."`
	CompressionLevel             int           `key:"compression_level" doc:"1 = fastest … 9 = smallest."`
	DecompressedMessageSizeLimit int           `key:"decompressed_message_size_limit" doc:"Largest message after inflating; 0 = ten times websocket.message_size_limit."`
}

// Engine names what carries publications and keeps state.
type Engine struct {
	Type string `key:"type" doc:"memory is the only engine so far: one node, nothing survives a restart."`
}

// Node names this process among others.
type Node struct {
	Name string `key:"name" doc:"Name shown by the info API and in logs; empty = host name and port."`
}
