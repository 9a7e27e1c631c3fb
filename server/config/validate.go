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
	"sync"
	"time"

	"shoal/codec/handshake"
)

// Validate checks every value and every coupling between values. The error joins a *ValueError for each fault, so that one
// run shows all of them; nil means that the server can start with this configuration as far as it alone can tell.
func (c Config) Validate() error {
	v := &validator{config: reflect.ValueOf(c)}
	v.server(c)
	v.client(c.Client)
	v.channel(c.Channel)
	v.transport(c)
	v.loop(c.Loop)
	v.heartbeat(c.Heartbeat, c.Client)
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
	shown := masked
	if !f.secret {
		shown = shorten(formatValue(v.config.FieldByIndex(f.index)))
	}
	v.errs = append(v.errs, &ValueError{Key: key, Value: shown, Why: why, Change: change})
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
	if m := c.HTTPAPI.ErrorMode; m != "" && m != "transport" {
		v.refuse("http_api.error_mode", "no such mode", `write transport, or leave it empty`)
	}
	if c.HTTPAPI.Key != strings.TrimSpace(c.HTTPAPI.Key) || strings.ContainsAny(c.HTTPAPI.Key, "\r\n\x00") {
		v.refuse("http_api.key", "has white space around it or a line break in it, which no header can carry",
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
	v.between("client.channel_limit", c.ChannelLimit, 1, 65535)
	v.between("client.queue_max_size", c.QueueMaxSize, 1024, sizeMax)
	v.between("client.connection_limit", c.ConnectionLimit, 0, 1<<31-1)
	for _, origin := range c.AllowedOrigins {
		v.origin(origin)
	}
	v.token("client.token", c.Token)
	v.token("client.subscription_token", c.SubscriptionToken.Token)
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
	for _, c := range []struct{ key, value, expr string }{{"audience", t.Audience, t.AudienceRegex}, {"issuer", t.Issuer, t.IssuerRegex}} {
		if key := section + "." + c.key + "_regex"; c.expr != "" && c.value != "" {
			v.refuse(key, section+"."+c.key+" is set too", "use one of them")
		} else if _, err := regexp.Compile(c.expr); err != nil {
			v.refuse(key, "the expression does not compile: "+shorten(err.Error()), "write it in RE2 syntax")
		}
	}
}

func (v *validator) channel(c Channel) {
	v.between("channel.max_length", c.MaxLength, 1, 1024)
	v.shortText("channel.private_prefix", c.PrivatePrefix)
	v.shortText("channel.namespace_boundary", c.NamespaceBoundary)
	v.shortText("channel.user_boundary", c.UserBoundary)
	v.shortText("channel.user_separator", c.UserSeparator)
	seen := map[string]bool{}
	v.between("channel.namespaces", len(c.Namespaces), 0, 10_000)
	for i, ns := range c.Namespaces {
		if !namespaceName().MatchString(ns.Name) {
			v.refuse("channel.namespaces", fmt.Sprintf("namespace %d is called %q", i, shorten(ns.Name)),
				"name it with two or more letters, digits, '-', '_' or '.'")
		}
		if seen[ns.Name] {
			v.refuse("channel.namespaces", fmt.Sprintf("two namespaces are called %q", shorten(ns.Name)), "keep one of them")
		}
		seen[ns.Name] = true
		v.regex("channel.namespaces", "of namespace "+shorten(ns.Name)+" ", ns.ChannelRegex)
	}
	v.regex("channel.without_namespace.channel_regex", "", c.WithoutNamespace.ChannelRegex)
}

// regex refuses an expression RE2 does not know; whose says where it stands when the key does not.
func (v *validator) regex(key, whose, expr string) {
	if _, err := regexp.Compile(expr); err != nil {
		v.refuse(key, "the channel_regex "+whose+"does not compile: "+shorten(err.Error()), "write it in RE2 syntax")
	}
}

var namespaceName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[-A-Za-z0-9_.]{2,}$`) })

// shortText refuses a separator that cannot stand in a channel name; an empty one means the default.
func (v *validator) shortText(key, s string) {
	if s == "" {
		return
	}
	odd := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0
	if odd || len(s) > 8 {
		v.refuse(key, "not one to eight printable ASCII characters", "write a single one, such as the default")
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
	claim("debug.handler_prefix", c.Debug.HandlerPrefix, c.Debug.Enabled)
}
