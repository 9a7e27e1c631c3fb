package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"shoal/codec/handshake"
	"shoal/server/channel"
	"shoal/server/rate"
)

// Validate checks every value and every coupling between values. The error joins a *ValueError for each fault, so that one
// run shows all of them; nil means that the server can start with this configuration as far as it alone can tell.
func (c Config) Validate() error {
	v := &validator{config: reflect.ValueOf(c)}
	v.server(c)
	v.api(c)
	v.client(c.Client)
	v.rates(c.Client)
	v.channel(c.Channel)
	v.proxies(c)
	v.transport(c)
	v.loop(c.Loop)
	v.heartbeat(c.Heartbeat, c.Client)
	v.admission(c.Admission, c.Client)
	v.faults(c.Tenants.Faults(c.Channel.Private()))
	v.faults(c.Overload.Faults())
	v.kernel(c.TCP, c.ProxyProtocol)
	v.rest(c)
	return errors.Join(v.errs...)
}

type validator struct {
	config reflect.Value
	errs   []error
}

// refuse reports the current value of key.
func (v *validator) refuse(key, why, change string) {
	f, ok := configSchema().find(key)
	if !ok {
		panic("config: Validate refuses the unknown key " + key)
	}
	v.errs = append(v.errs, &ValueError{Key: key, Value: shorten(f.format(v.config.FieldByIndex(f.index))), Why: why, Change: change})
}

// between refuses a number outside its bounds.
func (v *validator) between(key string, n, low, high int) {
	if n < low || n > high {
		v.refuse(key, "outside its bounds", fmt.Sprintf("choose %d to %d", low, high))
	}
}

// atLeast refuses a number below its bound.
func (v *validator) atLeast(key string, n, low int) {
	if n < low {
		v.refuse(key, "too small", fmt.Sprintf("choose %d or more", low))
	}
}

// within refuses a duration outside its bounds.
func (v *validator) within(key string, d, low, high time.Duration) {
	if d < low || d > high {
		v.refuse(key, "outside its bounds", fmt.Sprintf("choose %s to %s", formatDuration(low), formatDuration(high)))
	}
}

const (
	day      = 24 * time.Hour
	portMax  = 65535
	sizeMax  = 1 << 30 // bytes of one message or one backlog: lengths stay far inside int32
	countMax = 1 << 24
)

func (v *validator) server(c Config) {
	v.between("http_server.port", c.HTTPServer.Port, 0, portMax)
	v.between("http_server.internal_port", c.HTTPServer.InternalPort, 0, portMax)
	v.address("http_server.address", c.HTTPServer.Address)
	v.address("http_server.internal_address", c.HTTPServer.InternalAddress)
	if c.HTTPServer.InternalPort != 0 && c.HTTPServer.InternalPort == c.HTTPServer.Port &&
		(c.HTTPServer.InternalAddress == "" || c.HTTPServer.InternalAddress == c.HTTPServer.Address) {
		v.refuse("http_server.internal_port", "the same as http_server.port", "choose another port, or 0 to share the port")
	}
}

func (v *validator) api(c Config) {
	v.errorMode("http_api.error_mode", c.HTTPAPI.ErrorMode)
	v.apiKey("http_api.key", c.HTTPAPI.Key)
	v.between("http_api.body_size_limit", c.HTTPAPI.BodySizeLimit, kib, sizeMax)
	v.between("http_api.batch_limit", c.HTTPAPI.BatchLimit, 1, countMax)
	v.between("http_api.broadcast_limit", c.HTTPAPI.BroadcastLimit, 1, countMax)
	v.errorMode("grpc_api.error_mode", c.GRPCAPI.ErrorMode)
	v.apiKey("grpc_api.key", c.GRPCAPI.Key)
	v.address("grpc_api.address", c.GRPCAPI.Address)
	v.between("grpc_api.port", c.GRPCAPI.Port, 0, portMax)
	v.between("grpc_api.max_receive_message_size", c.GRPCAPI.MaxReceiveMessageSize, 0, sizeMax)
	if p := c.GRPCAPI.Port; c.GRPCAPI.Enabled && p != 0 && (p == c.HTTPServer.Port || p == c.HTTPServer.InternalPort) {
		v.refuse("grpc_api.port", "the HTTP server has it", "choose another port")
	}
}

func (v *validator) errorMode(key, mode string) {
	if mode != "" && mode != "transport" {
		v.refuse(key, "no such mode", `write transport, or leave it empty`)
	}
}

func (v *validator) apiKey(key, secret string) {
	if secret != strings.TrimSpace(secret) || strings.ContainsAny(secret, "\r\n\x00") {
		v.refuse(key, "has white space around it or a line break in it, which no header can carry",
			"remove it; a secret file often ends in a line break")
	}
}

// address accepts what a listener can bind: an IP address, or a name the resolver knows.
func (v *validator) address(key, address string) {
	if address == "" {
		return
	}
	if _, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return
	}
	if strings.ContainsAny(address, ":/ \t\r\n") {
		v.refuse(key, "not an IP address or host name", "write only the address, without scheme and port, such as 127.0.0.1")
	}
}

func (v *validator) client(c Client) {
	v.within("client.ping_interval", c.PingInterval, time.Second, day)
	v.within("client.pong_timeout", c.PongTimeout, time.Second, day)
	if c.PongTimeout >= c.PingInterval {
		v.refuse("client.pong_timeout", "not shorter than client.ping_interval ("+formatDuration(c.PingInterval)+
			"), so a ping would go out while one is unanswered", "shorten it, or lengthen client.ping_interval")
	}
	v.within("client.stale_close_delay", c.StaleCloseDelay, 100*time.Millisecond, day)
	v.within("client.expired_close_delay", c.ExpiredCloseDelay, 0, day)
	v.within("client.expired_sub_close_delay", c.ExpiredSubCloseDelay, 0, day)
	v.within("client.channel_position_check_delay", c.ChannelPositionCheckDelay, time.Second, day)
	v.within("client.channel_position_max_time_lag", c.ChannelPositionMaxTimeLag, 0, day)
	v.between("client.history_max_publication_limit", c.HistoryMaxPublicationLimit, 0, countMax)
	v.between("client.recovery_max_publication_limit", c.RecoveryMaxPublicationLimit, 0, countMax)
	v.between("client.recovery_backlog_limit", c.RecoveryBacklogLimit, 0, sizeMax)
	if c.UserIDHTTPHeader != "" && !isToken(c.UserIDHTTPHeader) {
		v.refuse("client.user_id_http_header", "not the name of a header", "write one, such as X-User-Id")
	}
	v.between("client.channel_limit", c.ChannelLimit, 1, 65535)
	v.between("client.queue_max_size", c.QueueMaxSize, 1024, sizeMax)
	v.between("client.connection_limit", c.ConnectionLimit, 0, 1<<31-1)
	for _, origin := range c.AllowedOrigins {
		v.origin(origin)
	}
	v.token("client.token", c.Token)
	v.token("client.subscription_token", c.SubscriptionToken.Token)
	v.resume(c.Resume)
}

// ControlFrameInterval is the time websocket.control_frame_limit is about.
const ControlFrameInterval = 10 * time.Second

// rates has package rate judge the limits.
func (v *validator) rates(c Client) {
	v.between("client.rate_limits", len(c.RateLimits), 0, rate.RulesMax)
	for i, l := range c.RateLimits {
		label := element("client.rate_limits", i, "")
		_, err := rate.KindsOf(l.Commands)
		v.because(label+".commands", strings.Join(l.Commands, " "), err)
		limit := rate.Limit{Count: l.Limit, Interval: l.Interval, Burst: l.Burst}
		v.because(label, fmt.Sprintf("limit %d, interval %s, burst %d", l.Limit, formatDuration(l.Interval), l.Burst), limit.Validate())
	}
	if e := c.ErrorLimit; e.Limit != 0 {
		v.because("client.error_limit", fmt.Sprintf("limit %d, interval %s", e.Limit, formatDuration(e.Interval)),
			rate.Limit{Count: e.Limit, Interval: e.Interval}.Validate())
	}
}

// because reports the value of a key with the error of another package, which says why and, behind "; ", what to change.
func (v *validator) because(key, value string, err error) {
	if err != nil {
		why, change, _ := strings.Cut(err.Error(), "; ")
		v.wrong(key, value, why, change)
	}
}

// resumeSecretBytes is the length of the shortest secret that is worth its name.
const resumeSecretBytes = 16

func (v *validator) resume(r Resume) {
	const change = "write 16 random bytes or more, such as what openssl rand -hex 16 prints"
	v.within("client.resume.window", r.Window, 0, day)
	if n := len(r.SecretKey); n > 0 && n < resumeSecretBytes {
		v.refuse("client.resume.secret_key", "too short to be a secret", change)
	}
	switch n := len(r.PreviousSecretKey); {
	case n > 0 && n < resumeSecretBytes:
		v.refuse("client.resume.previous_secret_key", "too short to be a secret", change)
	case n > 0 && r.SecretKey == "":
		v.refuse("client.resume.previous_secret_key", "there is a former secret and no present one", "set client.resume.secret_key")
	}
}

// origin refuses an entry that the handshake would not understand, by its own rules. It is an error and not a warning: an entry left
// out shuts a page's clients out, and a guess at what it means could let others in.
func (v *validator) origin(entry string) {
	_, err := handshake.NewOrigins([]string{entry})
	if err == nil {
		return
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner
	}
	why, change, _ := strings.Cut(err.Error(), "; ")
	v.refuse("client.allowed_origins", strconv.Quote(shorten(entry))+": "+why, change)
}

func (v *validator) token(section string, t Token) {
	if t.HMACPreviousSecretKey != "" && t.HMACSecretKey == "" {
		v.refuse(section+".hmac_previous_secret_key", "there is a former secret and no present one", "set "+section+".hmac_secret_key")
	}
	if t.HMACPreviousSecretKeyValidUntil < 0 {
		v.refuse(section+".hmac_previous_secret_key_valid_until", "before 1970", "write a Unix time in seconds, or 0")
	}
	if t.JWKSPublicEndpoint != "" && !isHTTP(t.JWKSPublicEndpoint) {
		v.refuse(section+".jwks_public_endpoint", "not an http or https URL", "write one, such as https://auth.example.com/.well-known/jwks.json")
	}
	for _, c := range []struct{ key, value, expr string }{{"audience", t.Audience, t.AudienceRegex}, {"issuer", t.Issuer, t.IssuerRegex}} {
		if key := section + "." + c.key + "_regex"; c.expr != "" && c.value != "" {
			v.refuse(key, section+"."+c.key+" is set too", "use one of them")
		} else if _, err := regexp.Compile(c.expr); err != nil {
			v.refuse(key, "the expression does not compile: "+shorten(err.Error()), "write it in RE2 syntax")
		}
	}
}

// channel has the channel package judge its own section.
func (v *validator) channel(c channel.Config) {
	v.faults(c.Faults())
}

// faults takes what the package of a section has found.
func (v *validator) faults(list []*channel.Fault) {
	for _, f := range list {
		v.errs = append(v.errs, &ValueError{Key: f.Key, Value: shorten(f.Value), Why: shorten(f.Why), Change: f.Change})
	}
}

func (v *validator) transport(c Config) {
	v.between("websocket.message_size_limit", c.WebSocket.MessageSizeLimit, 128, sizeMax)
	v.between("websocket.decompressed_message_size_limit", c.WebSocket.DecompressedMessageSizeLimit, 0, sizeMax)
	if d := c.WebSocket.DecompressedMessageSizeLimit; d != 0 && d < c.WebSocket.MessageSizeLimit {
		v.refuse("websocket.decompressed_message_size_limit", "smaller than websocket.message_size_limit",
			"raise it, or write 0 for ten times that limit")
	}
	v.between("websocket.compression_level", c.WebSocket.CompressionLevel, 1, 9)
	v.between("websocket.compression_min_size", c.WebSocket.CompressionMinSize, 0, sizeMax)
	v.between("websocket.control_frame_limit", c.WebSocket.ControlFrameLimit, 0, 10_000)
	v.within("websocket.message_timeout", c.WebSocket.MessageTimeout, 0, day)
	v.between("echo.message_size_limit", c.Echo.MessageSizeLimit, 128, sizeMax)
	v.within("handshake.timeout", c.Handshake.Timeout, 100*time.Millisecond, time.Hour)
	v.between("handshake.header_size_limit", c.Handshake.HeaderSizeLimit, kib, 64*kib)
	v.between("handshake.header_count_limit", c.Handshake.HeaderCountLimit, 8, 1024)
	v.paths(c)
}

// paths refuses paths that are none, and two endpoints on one path: an http.ServeMux panics at either.
func (v *validator) paths(c Config) {
	owner := map[string]string{}
	claim := func(key, p string, on bool) {
		if !on {
			return
		}
		bare := strings.TrimRight(p, "/")
		if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, " ?#{}\r\n\t") || path.Clean("/"+bare) != "/"+strings.TrimPrefix(bare, "/") {
			v.refuse(key, "not a path", "write one that begins with /, without ?, #, braces, double slashes and dots that stand alone")
			return
		}
		if other, taken := owner[bare]; taken {
			v.refuse(key, "the path "+other+" has already", "give one of them another path")
		}
		owner[bare] = key
	}
	claim("websocket.handler_prefix", c.WebSocket.HandlerPrefix, !c.WebSocket.Disabled)
	claim("echo.path", c.Echo.Path, c.Echo.Path != "")
	if c.Dev {
		owner[""] = "the demo page" // only for what is no upgrade: a WebSocket endpoint may be there too
	}
	if c.Debug.Enabled {
		owner["/debug/vars"] = "debug.enabled"
	}
	claim("http_api.handler_prefix", c.HTTPAPI.HandlerPrefix, !c.HTTPAPI.Disabled)
	claim("prometheus.handler_prefix", c.Prometheus.HandlerPrefix, c.Prometheus.Enabled)
	claim("health.handler_prefix", c.Health.HandlerPrefix, c.Health.Enabled)
	claim("swagger.handler_prefix", c.Swagger.HandlerPrefix, c.Swagger.Enabled)
	claim("debug.handler_prefix", c.Debug.HandlerPrefix, c.Debug.Enabled)
}
