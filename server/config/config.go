package config

import (
	"time"

	"shoal/server/channel"
	"shoal/server/overload"
	"shoal/server/tenant"
)

// Config is the whole configuration of a shoal server. The zero value is not useful: start from Default. Every duration
// is written with a unit ("25s", "100ms"); every size is a count of bytes unless the text says otherwise.
type Config struct {
	HTTPServer    HTTPServer       `key:"http_server"`
	HTTPAPI       HTTPAPI          `key:"http_api"`
	GRPCAPI       GRPCAPI          `key:"grpc_api"`
	Client        Client           `key:"client"`
	Channel       channel.Config   `key:"channel"`
	ChannelProxy  ChannelProxies   `key:"channel.proxy"`
	RPC           RPC              `key:"rpc"`
	Proxies       []NamedProxy     `key:"proxies" like:"channel.proxy.subscribe" doc:"Further proxies, by name, for the *_proxy_name options of namespaces."`
	WebSocket     WebSocket        `key:"websocket"`
	Engine        Engine           `key:"engine"`
	Node          Node             `key:"node"`
	Admission     Admission        `key:"admission"`
	Tenants       tenant.Config    `key:"tenants"`
	Overload      overload.Options `key:"overload"`
	Loop          Loop             `key:"loop"`
	Handshake     Handshake        `key:"handshake"`
	Heartbeat     Heartbeat        `key:"heartbeat"`
	TCP           TCP              `key:"tcp"`
	ProxyProtocol ProxyProtocol    `key:"proxy_protocol"`
	GC            GC               `key:"gc"`
	Shutdown      Shutdown         `key:"shutdown"`
	Log           Log              `key:"log"`
	Prometheus    Endpoint         `key:"prometheus"`
	Health        Endpoint         `key:"health"`
	Swagger       Endpoint         `key:"swagger"`
	Debug         Endpoint         `key:"debug"`
	Echo          Echo             `key:"echo"`
	Dev           bool             `key:"dev" doc:"Development profile: the demo page at /, anonymous clients that may subscribe and publish, the API key dev, metrics and debug endpoints, all on 127.0.0.1. Anything set explicitly wins."`
}

// HTTPServer says where the server listens. One port takes WebSocket clients and plain HTTP requests alike.
type HTTPServer struct {
	Address         string `key:"address" doc:"Address to listen on; empty = every interface, IPv4 and IPv6."`
	Port            int    `key:"port" doc:"TCP port, 0..65535; 0 = a free port chosen by the kernel."`
	SharePort       bool   `key:"share_port" doc:"Lets several processes of one user listen on http_server.port: the kernel deals out the connections (SO_REUSEPORT). Each is a node of its own; without http_server.internal_port a request reaches any one of them. Shoal's own."`
	InternalAddress string `key:"internal_address" doc:"Address of the internal port; empty = the same as http_server.address."`
	InternalPort    int    `key:"internal_port" doc:"Port of its own for the API, metrics, health and debug endpoints; 0 = they share http_server.port."`
}

// HTTPAPI is the server API over HTTP.
type HTTPAPI struct {
	Disabled       bool   `key:"disabled" doc:"Switches the HTTP API off."`
	HandlerPrefix  string `key:"handler_prefix" doc:"Path the API lives under."`
	Key            string `key:"key" secret:"true" doc:"API key expected in X-API-Key or 'Authorization: apikey …'; empty = every call is refused unless http_api.insecure."`
	ErrorMode      string `key:"error_mode" doc:"Empty = errors are HTTP 200 with an error object; transport = errors become HTTP status codes."`
	External       bool   `key:"external" doc:"Keeps the API on the main port too when http_server.internal_port is set."`
	Insecure       bool   `key:"insecure" doc:"Accepts API calls without a key. For development only."`
	BodySizeLimit  int    `key:"body_size_limit" doc:"Largest request body in bytes (413 above). Shoal's own."`
	BatchLimit     int    `key:"batch_limit" doc:"Commands one batch request may have (error 107 above). Shoal's own."`
	BroadcastLimit int    `key:"broadcast_limit" doc:"Channels one broadcast may name (error 107 above). Shoal's own."`
	AccessLog      bool   `key:"access_log" doc:"Writes a log line for every API call, HTTP and gRPC: method, path, status, duration. Shoal's own."`
}

// GRPCAPI is the same API over gRPC, on a port of its own.
type GRPCAPI struct {
	Enabled               bool   `key:"enabled" doc:"Serves the API over gRPC."`
	Address               string `key:"address" doc:"Address to listen on; empty = every interface, IPv4 and IPv6."`
	Port                  int    `key:"port" doc:"TCP port, 0..65535; 0 = a free port chosen by the kernel."`
	Key                   string `key:"key" secret:"true" doc:"API key expected in the metadata 'authorization: apikey …'; empty = every call is refused unless grpc_api.insecure."`
	Insecure              bool   `key:"insecure" doc:"Accepts calls without a key, as Centrifugo does when none is set. For development only. Shoal's own."`
	ErrorMode             string `key:"error_mode" doc:"Empty = errors are in the answer; transport = errors become gRPC status codes."`
	MaxReceiveMessageSize int    `key:"max_receive_message_size" doc:"Largest message a caller may send, in bytes; 0 = 4 MiB."`
}

// Client holds what concerns every client connection, whatever its transport.
type Client struct {
	Insecure                         bool              `key:"insecure" doc:"No tokens, and every channel may be subscribed and published to. For development only."`
	AllowAnonymousConnect            bool              `key:"allow_anonymous_connect_without_token" doc:"A client without a token connects as the anonymous user (empty user id)."`
	DisallowAnonymousConnectionToken bool              `key:"disallow_anonymous_connection_tokens" doc:"Refuses connection tokens whose user (sub) is empty."`
	AllowedOrigins                   []string          `key:"allowed_origins" doc:"Browser origins that may connect, scheme://host[:port]; in it * matches any characters, ? matches one, and other pattern characters are refused; * alone = every page; empty = only the host the page itself came from."`
	Token                            Token             `key:"token"`
	SubscriptionToken                SubscriptionToken `key:"subscription_token"`
	PingInterval                     time.Duration     `key:"ping_interval" doc:"Time between pings to a silent client; the first one comes at a random point of the second half. While publications to very many are on their way a ping may be up to a fifth of it late, 5s at most. Longer than client.pong_timeout."`
	PongTimeout                      time.Duration     `key:"pong_timeout" doc:"How long the answer to a ping may take before the connection is closed with 3012."`
	StaleCloseDelay                  time.Duration     `key:"stale_close_delay" doc:"How long a connection may stay without a successful connect command (closed with 3502)."`
	ExpiredCloseDelay                time.Duration     `key:"expired_close_delay" doc:"Grace after a connection's credentials expire, in which the client may refresh them (then 3005)."`
	ChannelLimit                     int               `key:"channel_limit" doc:"Channels one client may subscribe to, 1..65535 (error 106 above)."`
	QueueMaxSize                     int               `key:"queue_max_size" doc:"Bytes that may wait for a client that reads slowly; above it the client is closed with 3008."`
	ConnectionLimit                  int               `key:"connection_limit" doc:"Client connections this node holds; above it an upgrade is answered 503. 0 = no limit but the descriptors."`
	ConnectionRateLimit              int               `key:"connection_rate_limit" doc:"New client connections per second on this node, a second's worth of them at once; an upgrade above it is answered 503. 0 = no limit."`
	UserConnectionLimit              int               `key:"user_connection_limit" doc:"Connections a user may have on this node; a connect command above it ends its connection with 3504, also where single_connection would have ended a former one. Clients without a user id have no limit. 0 = no limit."`
	ExpiredSubCloseDelay             time.Duration     `key:"expired_sub_close_delay" doc:"Grace after a subscription expires, in which the client may refresh it (then it ends with 2501)."`
	ChannelPositionCheckDelay        time.Duration     `key:"channel_position_check_delay" doc:"Time between two comparisons of a positioned subscription with the top of its stream."`
	ChannelPositionMaxTimeLag        time.Duration     `key:"channel_position_max_time_lag" doc:"How old a publication may be when it reaches a positioned subscription, which otherwise subscribes anew; 0 = any age."`
	HistoryMaxPublicationLimit       int               `key:"history_max_publication_limit" doc:"Publications one history command gives at most; 0 = no limit but the namespace's own history_size."`
	RecoveryMaxPublicationLimit      int               `key:"recovery_max_publication_limit" doc:"Publications a client can recover at most; one that missed more is not recovered. 0 = no limit."`
	RecoveryBacklogLimit             int               `key:"recovery_backlog_limit" doc:"Bytes of recoveries and history answers that may wait for their clients to read them, over all loops; further ones wait for their turn, 3 s at most, and are then refused with error 111. 0 = 64 MiB. Shoal's own."`
	ConnectIncludeServerTime         bool              `key:"connect_include_server_time" doc:"Tells the time in the answer to connect."`
	UserIDHTTPHeader                 string            `key:"user_id_http_header" doc:"Header of the upgrade request that names the user, set by a proxy in front that clients cannot go around; empty = none."`
	PersonalChannel                  PersonalChannel   `key:"subscribe_to_user_personal_channel"`
	RateLimits                       []RateLimit       `key:"rate_limits" doc:"What one connection may ask for in how much time, 4 limits at most; a command over one is answered with error 111 and not performed (a send is dropped). Shoal's own."`
	ErrorLimit                       ErrorLimit        `key:"error_limit"`
	Resume                           Resume            `key:"resume"`
	Proxy                            ClientProxies     `key:"proxy"`
}

// RateLimit bounds commands of one connection (Shoal's own). A command that several limits are about has to keep all of
// them; one that is refused counts with none.
type RateLimit struct {
	Commands []string      `key:"commands" doc:"What is limited, together: publish, subscribe, unsubscribe, presence, presence_stats, history, rpc, send, refresh, sub_refresh, or all of these. Stock SDKs reconnect when an unsubscribe is refused."`
	Limit    int           `key:"limit" doc:"Commands per client.rate_limits.interval in the long run, at least 1."`
	Interval time.Duration `key:"interval" doc:"Whole milliseconds, at most a day. Two a minute are a limit of 2 and an interval of 1m."`
	Burst    int           `key:"burst" doc:"Commands at once after a silence; 0 = as many as limit."`
}

// ErrorLimit ends connections that are answered with errors again and again (Shoal's own).
type ErrorLimit struct {
	Limit    int           `key:"limit" doc:"Errors a connection may be answered with per client.error_limit.interval, in the long run and at once; one more ends it with 3509, after which stock SDKs do not come back. Commands over a limit of client.rate_limits count, other temporary errors (such as 100 and 111) do not. 0 = any number."`
	Interval time.Duration `key:"interval" doc:"Whole milliseconds, at most a day."`
}

// Resume lets clients that ask for it come back in one command, with a token instead of a verified identity and a command
// for every subscription (Shoal's own).
type Resume struct {
	Window            time.Duration `key:"window" doc:"How long after it was given a resume token brings a client back; 0 = none are given."`
	SecretKey         string        `key:"secret_key" secret:"true" doc:"Secret that resume tokens are sealed with, 16 bytes at least; empty = a random one, and tokens end with the process. One of its own lets them outlive a restart, which forgets what was disconnected or unsubscribed within client.resume.window before."`
	PreviousSecretKey string        `key:"previous_secret_key" secret:"true" doc:"Former secret, whose tokens are still taken while secrets are being rotated; empty = none."`
}

// PersonalChannel subscribes every user to a channel of his own when he connects.
type PersonalChannel struct {
	Enabled          bool   `key:"enabled" doc:"Clients with a user id are subscribed to the channel #user when they connect."`
	Namespace        string `key:"personal_channel_namespace" doc:"Namespace of these channels; empty = none."`
	SingleConnection bool   `key:"single_connection" doc:"A new connection of a user ends the former ones (3504), whatever they are subscribed to."`
}

// Token says how connection tokens (JWT) are verified. Without any key, tokens are refused.
type Token struct {
	HMACSecretKey                   string `key:"hmac_secret_key" secret:"true" doc:"Secret for HS256, HS384 and HS512 tokens; empty = no HMAC token is accepted."`
	HMACPreviousSecretKey           string `key:"hmac_previous_secret_key" secret:"true" doc:"Former secret, still accepted while keys are being rotated; empty = none."`
	HMACPreviousSecretKeyValidUntil int64  `key:"hmac_previous_secret_key_valid_until" doc:"Unix time in seconds after which the former secret is refused; 0 = never."`
	RSAPublicKey                    string `key:"rsa_public_key" doc:"Public key in PEM for RS256, RS384 and RS512 tokens; empty = none is accepted."`
	ECDSAPublicKey                  string `key:"ecdsa_public_key" doc:"Public key in PEM for ES256, ES384 and ES512 tokens; empty = none is accepted."`
	Ed25519PublicKey                string `key:"ed25519_public_key" doc:"Public key in PEM for EdDSA tokens; empty = none is accepted. Shoal's own."`
	JWKSPublicEndpoint              string `key:"jwks_public_endpoint" secret:"url" doc:"URL of a JSON Web Key Set with the public keys of tokens (RSA, EC, OKP); {{name}} in it stands for a group of that name in issuer_regex or audience_regex; empty = none."`
	InsecureSkipJWKSSafetyCheck     bool   `key:"insecure_skip_jwks_endpoint_safety_check" doc:"Lets the groups in jwks_public_endpoint match arbitrary texts, so that a token can name the server its key comes from. For development only."`
	Audience                        string `key:"audience" doc:"Value the aud claim must contain; empty = not checked."`
	AudienceRegex                   string `key:"audience_regex" doc:"Regular expression (RE2) one value of the aud claim must match; empty = not checked. Not together with audience."`
	Issuer                          string `key:"issuer" doc:"Value the iss claim must have; empty = not checked."`
	IssuerRegex                     string `key:"issuer_regex" doc:"Regular expression (RE2) the iss claim must match; empty = not checked. Not together with issuer."`
	UserIDClaim                     string `key:"user_id_claim" doc:"Claim that names the user; empty = sub."`
}

// HasKey says whether any token can be accepted.
func (t *Token) HasKey() bool {
	return t.HMACSecretKey != "" || t.RSAPublicKey != "" || t.ECDSAPublicKey != "" || t.Ed25519PublicKey != "" || t.JWKSPublicEndpoint != ""
}

// SubscriptionToken gives subscription tokens keys of their own.
type SubscriptionToken struct {
	Enabled bool `key:"enabled" doc:"Verifies subscription tokens with the keys of this section instead of client.token."`
	Token   `key:""`
}

// WebSocket configures the WebSocket transport.
type WebSocket struct {
	Disabled                     bool          `key:"disabled" doc:"Switches the WebSocket endpoint off."`
	HandlerPrefix                string        `key:"handler_prefix" doc:"Path of the endpoint."`
	MessageSizeLimit             int           `key:"message_size_limit" doc:"Largest message a client may send, in bytes, over all its fragments (closed with 1009 above)."`
	Compression                  bool          `key:"compression" doc:"Offers permessage-deflate (RFC 7692), without context takeover."`
	MessageTimeout               time.Duration `key:"message_timeout" doc:"How long a message may take from its first byte to its last, however slowly it trickles (closed with 1008); 0 = no limit."`
	ControlFrameLimit            int           `key:"control_frame_limit" doc:"Ping frames, and pong frames nobody asked for, that a client may send per 10 s, in the long run and at once; one more ends the connection with 3509. 0 = any number. Shoal's own."`
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
