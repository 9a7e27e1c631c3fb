package config

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
	"shoal/server/tenant"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	seen := map[string]string{}
	for _, key := range Keys() {
		if !strings.HasSuffix(key.Doc, ".") {
			t.Errorf("%s: doc %q is missing or no sentence", key.Name, key.Doc)
		}
		if other, taken := seen[key.Env]; taken {
			t.Errorf("%s and %s share the variable %s", key.Name, other, key.Env)
		}
		seen[key.Env] = key.Name
		looksSecret := strings.Contains(key.Name, "secret") || strings.HasSuffix(key.Name, "api.key")
		if looksSecret && key.Type == "string" && !key.Secret {
			t.Errorf("%s looks like a secret and is not marked as one", key.Name)
		}
	}
}

func TestForeignKeysAreNotKeysOfOurs(t *testing.T) {
	for _, known := range foreignKeys() {
		if _, ours := configSchema().find(known.key); ours {
			t.Errorf("foreign.txt lists %s, which Config has: remove the line", known.key)
		}
	}
	for key := range DevProfile() {
		if _, ours := configSchema().find(key); !ours {
			t.Errorf("DevProfile sets %s, which Config does not have", key)
		}
	}
}

// TestValidateRefuses breaks one value of a valid configuration at a time.
func TestValidateRefuses(t *testing.T) {
	for _, c := range []struct {
		key    string
		change func(*Config)
	}{
		{"http_server.port", func(c *Config) { c.HTTPServer.Port = 65536 }},
		{"http_server.address", func(c *Config) { c.HTTPServer.Address = "http://x" }},
		{"http_server.internal_port", func(c *Config) { c.HTTPServer.InternalPort = 8000 }},
		{"http_api.error_mode", func(c *Config) { c.HTTPAPI.ErrorMode = "loud" }},
		{"http_api.key", func(c *Config) { c.HTTPAPI.Key = "k\n" }},
		{"http_api.handler_prefix", func(c *Config) { c.HTTPAPI.HandlerPrefix = "api" }},
		{"http_api.handler_prefix", func(c *Config) { c.HTTPAPI.HandlerPrefix = c.WebSocket.HandlerPrefix + "/" }},
		{"http_api.handler_prefix", func(c *Config) { c.Dev, c.HTTPAPI.HandlerPrefix = true, "/" }},
		{"prometheus.handler_prefix", func(c *Config) {
			c.Debug.Enabled, c.Prometheus = true, Endpoint{Enabled: true, HandlerPrefix: "/debug/vars"}
		}},
		{"health.handler_prefix", func(c *Config) { c.Health = Endpoint{Enabled: true, HandlerPrefix: "/{x"} }},
		{"health.handler_prefix", func(c *Config) { c.Health = Endpoint{Enabled: true, HandlerPrefix: "/a//b"} }},
		{"websocket.handler_prefix", func(c *Config) { c.WebSocket.HandlerPrefix = "/a/../b" }},
		{"client.ping_interval", func(c *Config) { c.Client.PingInterval = -1 }},
		{"client.pong_timeout", func(c *Config) { c.Client.PongTimeout = c.Client.PingInterval }},
		{"client.stale_close_delay", func(c *Config) { c.Client.StaleCloseDelay = 0 }},
		{"client.token.audience_regex", func(c *Config) { c.Client.Token.AudienceRegex = "(" }},
		{"client.token.issuer_regex", func(c *Config) { c.Client.Token.Issuer, c.Client.Token.IssuerRegex = "a", "b" }},
		{"client.channel_limit", func(c *Config) { c.Client.ChannelLimit = 65536 }},
		{"client.rate_limits[0].commands", func(c *Config) { c.Client.RateLimits = []RateLimit{{[]string{"connect"}, 1, time.Second, 0}} }},
		{"client.rate_limits[0].commands", func(c *Config) { c.Client.RateLimits = []RateLimit{{nil, 1, time.Second, 0}} }},
		{"client.rate_limits[1]", func(c *Config) {
			c.Client.RateLimits = []RateLimit{{[]string{"all"}, 1, time.Second, 0}, {[]string{"rpc"}, 0, time.Second, 0}}
		}},
		{"client.rate_limits[0]", func(c *Config) { c.Client.RateLimits = []RateLimit{{[]string{"all"}, 1, time.Hour, 30}} }},
		{"client.rate_limits", func(c *Config) {
			c.Client.RateLimits = slices.Repeat([]RateLimit{{[]string{"all"}, 1, time.Second, 0}}, 5)
		}},
		{"client.error_limit", func(c *Config) { c.Client.ErrorLimit.Limit = -1 }},
		{"client.error_limit", func(c *Config) { c.Client.ErrorLimit = ErrorLimit{Limit: 1} }},
		{"websocket.control_frame_limit", func(c *Config) { c.WebSocket.ControlFrameLimit = 10_001 }},
		{"client.recovery_backlog_limit", func(c *Config) { c.Client.RecoveryBacklogLimit = -1 }},
		{"client.queue_max_size", func(c *Config) { c.Client.QueueMaxSize = 0 }},
		{"tenants.claim", func(c *Config) { c.Tenants.Claim = "a b" }},
		{"tenants.default.class", func(c *Config) { c.Tenants.Default.Class = "gold" }},
		{"tenants.list[acme].channel_prefixes", func(c *Config) {
			c.Tenants.List = []tenant.Options{{Name: "acme", ChannelPrefixes: []string{"$acme:"}}}
		}},
		{"tenants.list[acme].channel_prefixes", func(c *Config) {
			c.Channel.PrivatePrefix = "!"
			c.Tenants.List = []tenant.Options{{Name: "acme", ChannelPrefixes: []string{"!acme:"}}}
		}},
		{"client.allowed_origins", func(c *Config) { c.Client.AllowedOrigins = []string{"example.com"} }},
		{"client.allowed_origins", func(c *Config) { c.Client.AllowedOrigins = []string{"https://example.com/"} }},
		{"client.allowed_origins", func(c *Config) { c.Client.AllowedOrigins = []string{"*", "https://{a,b}.example.com"} }},
		{"client.allowed_origins", func(c *Config) { c.Client.AllowedOrigins = []string{"https://example.com:99999"} }},
		{"client.allowed_origins", func(c *Config) { c.Client.AllowedOrigins = []string{""} }},
		{"client.resume.window", func(c *Config) { c.Client.Resume.Window = 25 * time.Hour }},
		{"client.resume.window", func(c *Config) { c.Client.Resume.Window = -1 }},
		{"client.resume.secret_key", func(c *Config) { c.Client.Resume.SecretKey = "hush" }},
		{"client.resume.previous_secret_key", func(c *Config) {
			c.Client.Resume.SecretKey, c.Client.Resume.PreviousSecretKey = "0123456789abcdef", "hush"
		}},
		{"client.resume.previous_secret_key", func(c *Config) { c.Client.Resume.PreviousSecretKey = "0123456789abcdef" }},
		{"client.token.hmac_previous_secret_key", func(c *Config) { c.Client.Token.HMACPreviousSecretKey = "old" }},
		{"channel.max_length", func(c *Config) { c.Channel.MaxLength = 1025 }},
		{"channel.namespace_boundary", func(c *Config) { c.Channel.NamespaceBoundary = "\t" }},
		{"channel.namespaces[0].name", func(c *Config) { c.Channel.Namespaces = []channel.Options{{Name: "a"}} }},
		{"channel.namespaces[ab].name", func(c *Config) { c.Channel.Namespaces = []channel.Options{{Name: "ab"}, {Name: "ab"}} }},
		{"channel.without_namespace.history_ttl", func(c *Config) { c.Channel.WithoutNamespace.HistorySize = 1 }},
		{"websocket.message_size_limit", func(c *Config) { c.WebSocket.MessageSizeLimit = 0 }},
		{"websocket.decompressed_message_size_limit", func(c *Config) { c.WebSocket.DecompressedMessageSizeLimit = 1024 }},
		{"websocket.compression_level", func(c *Config) { c.WebSocket.CompressionLevel = 10 }},
		{"echo.path", func(c *Config) { c.Echo.Path = "echo" }},
		{"loop.loops", func(c *Config) { c.Loop.Loops = 257 }},
		{"loop.tick", func(c *Config) { c.Loop.Tick = time.Millisecond }},
		{"loop.tick", func(c *Config) { c.Loop.Tick = 300 * time.Millisecond }},
		{"heartbeat.misses_max", func(c *Config) { c.Heartbeat.MissesMax = 16 }},
		{"heartbeat.dormant_misses", func(c *Config) { c.Heartbeat.Dormant, c.Heartbeat.MissesMax = true, 1 }},
		{"channel.without_namespace.channel_regex", func(c *Config) { c.Channel.WithoutNamespace.ChannelRegex = "(" }},
		{"heartbeat.quiet_after", func(c *Config) { c.Heartbeat.Dormant, c.Heartbeat.QuietAfter = true, time.Minute }},
		{"heartbeat.quiet_interval", func(c *Config) { c.Heartbeat.Dormant, c.Heartbeat.QuietInterval = true, 8*time.Second }},
		{"tcp.keepalive_idle", func(c *Config) { c.TCP.KeepAliveIdle = 1500 * time.Millisecond }},
		{"tcp.user_timeout", func(c *Config) { c.TCP.UserTimeout = time.Minute }},
		{"proxy_protocol.enabled", func(c *Config) { c.ProxyProtocol.Enabled = true }},
		{"proxy_protocol.trusted", func(c *Config) { c.ProxyProtocol.Trusted = []string{"10.0.0.0/33"} }},
		{"client.connection_rate_limit", func(c *Config) { c.Client.ConnectionRateLimit = 1_000_001 }},
		{"client.user_connection_limit", func(c *Config) { c.Client.UserConnectionLimit = -1 }},
		{"overload.interval", func(c *Config) { c.Overload.Interval = time.Millisecond }},
		{"gc.headroom", func(c *Config) { c.GC.Headroom = 1000 }},
		{"gc.memory_limit", func(c *Config) { c.GC.MemoryLimit = -2 }},
		{"admission.ip_connection_limit", func(c *Config) { c.Admission.IPConnectionLimit = -1 }},
		{"admission.ip_connection_rate", func(c *Config) { c.Admission.IPConnectionRate = -1 }},
		{"admission.ip_connection_burst", func(c *Config) { c.Admission.IPConnectionBurst = 5 }},
		{"admission.ip_exempt", func(c *Config) { c.Admission.IPExempt = []string{"::1", "localhost"} }},
		{"admission.handshake_limit", func(c *Config) { c.Admission.HandshakeLimit = -1 }},
		{"admission.connect_rate", func(c *Config) { c.Admission.ConnectRate = 1_000_001 }},
		{"gc.percent", func(c *Config) { c.GC.Percent = -1 }},
		{"log.level", func(c *Config) { c.Log.Level = "loud" }},
		{"log.format", func(c *Config) { c.Log.Format = "xml" }},
		{"engine.type", func(c *Config) { c.Engine.Type = "redis" }},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.Validate()
		var wrong *ValueError
		if !errors.As(err, &wrong) || wrong.Key != c.key || wrong.Why == "" || wrong.Change == "" {
			t.Errorf("got %v, want a fault of %s", err, c.key)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
}

func TestErrorsNeverShowSecrets(t *testing.T) {
	cfg := Default()
	cfg.HTTPAPI.Key = " hush"
	cfg.Client.Token.HMACPreviousSecretKey = "hush"
	if err := cfg.Validate(); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v; want one without the secret", err)
	}
}

func TestPrintLoadsAgainAndHidesSecrets(t *testing.T) {
	cfg, _, err := load(t, LoadOptions{File: "testdata/centrifugo_v6.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := cfg.Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "secret-for-this-test") {
		t.Errorf("a secret is printed:\n%s", out.String())
	}
	_, _, err = load(t, LoadOptions{File: write(t, "masked.yaml", out.String())})
	for _, key := range []string{"http_api.key", "client.token.hmac_secret_key", "client.proxy.connect.endpoint",
		"client.proxy.connect.http.static_headers", "proxies[strings].grpc.static_metadata"} {
		if err == nil || !strings.Contains(err.Error(), key+" =") {
			t.Errorf("%s = *** was taken: %v", key, err)
		}
	}
	restored := strings.ReplaceAll(strings.ReplaceAll(out.String(), `"`+masked+`"`, `"put back"`), ":"+masked+"@", ":back@")
	again, warnings, err := load(t, LoadOptions{File: write(t, "printed.yaml", restored)})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("what was printed does not load: %v %q\n%s", err, warnings, out.String())
	}
	walk(configSchema(), reflect.ValueOf(&cfg).Elem(), func(f field, v reflect.Value) {
		switch {
		case f.secret == hidden && v.Kind() == reflect.String && v.String() != "":
			v.SetString("put back")
		case f.secret == hidden && v.Kind() == reflect.Map:
			for _, key := range v.MapKeys() {
				v.SetMapIndex(key, reflect.ValueOf("put back"))
			}
		case f.secret == masksPassword:
			v.SetString(strings.Replace(v.String(), ":secret-for-this-test@", ":back@", 1))
		}
	})
	if cfg.TCP.UserTimeout != 0 || !reflect.DeepEqual(normal(cfg), normal(again)) {
		t.Errorf("printed and loaded again:\ngot  %+v\nwant %+v", again, cfg)
	}
}

// normal makes empty and missing lists alike.
func normal(c Config) Config {
	walk(configSchema(), reflect.ValueOf(&c).Elem(), func(_ field, v reflect.Value) {
		if k := v.Kind(); (k == reflect.Slice || k == reflect.Map) && v.Len() == 0 {
			v.SetZero()
		}
	})
	return c
}

// walk calls do with every leaf below v, in the elements of copied lists too.
func walk(s *schema, v reflect.Value, do func(field, reflect.Value)) {
	for _, f := range s.fields {
		leaf := v.FieldByIndex(f.index)
		if f.elem != nil {
			list := reflect.MakeSlice(leaf.Type(), leaf.Len(), leaf.Len())
			reflect.Copy(list, leaf)
			leaf.Set(list)
			for i := range list.Len() {
				walk(f.elem, list.Index(i), do)
			}
		}
		do(f, leaf)
	}
}

func TestZeroMeaningsAreApplied(t *testing.T) {
	c := Default()
	if got, want := c.TCP.KeepAliveTotal(), 345*time.Second; got != want {
		t.Errorf("keepalive gives up after %v, want idle + interval × count = %v", got, want)
	}
	if got, want := c.WebSocket.InflatedLimit(), 655360; got != want {
		t.Errorf("inflated limit %d, want ten times the message limit = %d", got, want)
	}
}
