package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
	"shoal/server/tenant"
)

// load is Load with an environment of its own, so that the machine's does not matter.
func load(t *testing.T, opts LoadOptions) (Config, []string, error) {
	t.Helper()
	if opts.Environ == nil {
		opts.Environ = []string{}
	}
	cfg, warnings, err := Load(opts)
	var lines []string
	for _, w := range warnings {
		if !strings.Contains(w.Text, "chmod") { // depends on how the tree was checked out
			lines = append(lines, w.Text)
		}
	}
	return cfg, lines, err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNothingConfiguredIsTheValidDefault(t *testing.T) {
	cfg, warnings, err := load(t, LoadOptions{})
	if err != nil || len(warnings) != 0 || !reflect.DeepEqual(cfg, Default()) {
		t.Fatalf("Load of nothing: config %+v\nwarnings %q\nerror %v; want Default(), none, nil", cfg, warnings, err)
	}
}

// sampleConfig is what the files testdata/centrifugo_v6.* say.
func sampleConfig() Config {
	want := Default()
	want.HTTPServer = HTTPServer{Address: "127.0.0.1", Port: 8100, InternalPort: 9100}
	want.Log.Level = "debug"
	want.Client.AllowedOrigins = []string{"https://app.example.com", "http://localhost:3000"}
	want.Client.Token = Token{HMACSecretKey: "a-secret-for-this-test-only", Audience: "chat",
		JWKSPublicEndpoint: "https://auth.example.com/.well-known/jwks.json"}
	want.Client.PingInterval, want.Client.PongTimeout = 20*time.Second, 5*time.Second
	want.Client.ChannelLimit = 64
	want.Client.PersonalChannel = PersonalChannel{Enabled: true, Namespace: "news"}

	connect := &want.Client.Proxy.Connect
	connect.Enabled, connect.Endpoint = true, "http://shoal:secret-for-this-test@localhost:3000/centrifugo/connect"
	connect.Timeout = 2 * time.Second
	connect.HTTPHeaders, connect.EmulatedHeaders = []string{"Cookie", "Authorization"}, []string{"X-Trace"}
	connect.IncludeConnectionMeta = true
	connect.HTTP.StaticHeaders = map[string]string{"X-Api-Key": "secret-for-this-test"}
	connect.HTTP.Transforms = make([]StatusTransform, 2)
	connect.HTTP.Transforms[0].StatusCode = 404
	connect.HTTP.Transforms[0].ToError.Code, connect.HTTP.Transforms[0].ToError.Message = 404, "not found"
	connect.HTTP.Transforms[0].ToError.Temporary = true
	connect.HTTP.Transforms[1].StatusCode = 403
	connect.HTTP.Transforms[1].ToDisconnect.Code, connect.HTTP.Transforms[1].ToDisconnect.Reason = 4403, "forbidden"

	want.Channel.HistoryMetaTTL, want.Channel.PublicationDataFormat = 48*time.Hour, "json"
	want.Channel.WithoutNamespace.AllowSubscribeForClient = true
	want.ChannelProxy.Subscribe.Endpoint = "http://localhost:3000/centrifugo/subscribe"
	news, chat := channel.DefaultOptions(), channel.DefaultOptions()
	news.Name, chat.Name = "news", "chat"
	news.AllowSubscribeForClient, news.AllowSubscribeForAnonymous = true, true
	news.HistorySize, news.HistoryTTL, news.ForceRecovery, news.AllowHistoryForSubscriber = 100, 5*time.Minute, true, true
	news.AllowedDeltaTypes, news.DeltaPublish = []string{"fossil"}, true
	chat.AllowSubscribeForClient, chat.AllowPublishForSubscriber, chat.ChannelRegex = true, true, "^[a-z]+$"
	chat.Presence, chat.JoinLeave, chat.ForcePushJoinLeave, chat.AllowPresenceForSubscriber = true, true, true, true
	chat.SubscribeProxyEnabled, chat.PublishProxyEnabled, chat.PublishProxyName = true, true, "strings"
	want.Channel.Namespaces = []channel.Options{news, chat}

	named := NamedProxy{Name: "strings", Proxy: DefaultProxy()}
	named.Endpoint, named.BinaryEncoding, named.GRPC.Compression = "grpc://localhost:12000", true, true
	named.GRPC.StaticMetadata = map[string]string{"x-env": "secret-for-this-test"}
	want.Proxies = []NamedProxy{named}
	want.RPC.Proxy.Endpoint = "http://localhost:3000/centrifugo/rpc"
	want.RPC.WithoutNamespace.ProxyEnabled, want.RPC.Ping.Enabled = true, true
	want.RPC.Namespaces = []RPCOptions{{Name: "chat", ProxyEnabled: true, ProxyName: "strings"}}
	want.GRPCAPI.Enabled, want.GRPCAPI.Port, want.GRPCAPI.Key = true, 10001, "secret-for-this-test"
	want.Swagger.Enabled = true

	want.Client.UserConnectionLimit = 10
	want.HTTPAPI.Key = "another-secret-for-this-test"
	want.WebSocket.Compression, want.WebSocket.CompressionMinSize, want.WebSocket.MessageSizeLimit = true, 512, 131072
	want.Prometheus.Enabled, want.Health.Enabled = true, true
	want.Shutdown.Timeout = 10 * time.Second
	return want
}

func TestCentrifugoFileLoadsAlikeInEveryFormat(t *testing.T) {
	want := sampleConfig()
	wantWarned := []string{ // one line for each key that has no effect
		"admin.enabled", "admin.password",
		"engine.redis.address", "engine.type", "http_server.tls.enabled",
		"websocket.write_timeout",
	}
	for _, ext := range []string{"yaml", "json", "toml"} {
		cfg, warnings, err := load(t, LoadOptions{File: "testdata/centrifugo_v6." + ext})
		if err != nil {
			t.Errorf("%s: %v", ext, err)
		}
		if !reflect.DeepEqual(cfg, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", ext, cfg, want)
		}
		var warned []string
		for _, line := range warnings {
			if !strings.Contains(line, "not supported yet") {
				t.Errorf("%s: warning %q does not say «not supported yet»", ext, line)
			}
			warned = append(warned, strings.Fields(line)[0])
		}
		slices.Sort(warned)
		if !slices.Equal(warned, wantWarned) {
			t.Errorf("%s: warned of %q\nwant %q", ext, warned, wantWarned)
		}
	}
}

func TestEachSourceOverrulesTheWeakerOnes(t *testing.T) {
	file := write(t, "c.yaml", "client:\n  ping_interval: 21s\n  pong_timeout: 6s\n  channel_limit: 3\n")
	environ := []string{"SHOAL_CLIENT_PING_INTERVAL=22s", "SHOAL_CLIENT_PONG_TIMEOUT=7s", "PATH=/bin"}
	flags := map[string]any{"client.ping_interval": "23s"}

	cfg, warnings, err := load(t, LoadOptions{File: file, Environ: environ, Flags: flags})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
	c := cfg.Client
	if c.PingInterval != 23*time.Second || c.PongTimeout != 7*time.Second || c.ChannelLimit != 3 ||
		c.StaleCloseDelay != 10*time.Second {
		t.Errorf("ping %v pong %v channels %d stale %v; want 23s (flag) 7s (environment) 3 (file) 10s (default)",
			c.PingInterval, c.PongTimeout, c.ChannelLimit, c.StaleCloseDelay)
	}
}

func TestEveryKeyLoadsFromItsEnvironmentVariable(t *testing.T) {
	samples := map[string]string{
		"bool": "true", "int": "8", "duration": "7s", "string": "x", "list": "10.0.0.1, 10.0.0.2",
		"sections": `[{"name":"news"}]`, "map": `{"x-a":"b"}`,
	}
	for _, key := range Keys() {
		if key.Name == "dev" || key.Name == "engine.type" {
			continue // the one moves other values, the other has a single one
		}
		l := &loader{cfg: new(Config)}
		sample := samples[key.Type]
		if strings.HasSuffix(key.Name, "transforms") {
			sample = `[{"status_code":404}]`
		}
		if key.Name == "client.rate_limits" {
			sample = `[{"commands":"publish rpc","limit":3}]`
		}
		layers, err := l.read(LoadOptions{Environ: []string{key.Env + "=" + sample}})
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			l.apply(layer)
		}
		f, _ := configSchema().find(key.Name)
		if len(l.errs)+len(l.warnings) > 0 || reflect.ValueOf(*l.cfg).FieldByIndex(f.index).IsZero() {
			t.Errorf("%s=%s did not set %s: errors %v, warnings %v", key.Env, sample, key.Name, l.errs, l.warnings)
		}
	}
}

func TestTenantsAreReadFromAFile(t *testing.T) {
	file := write(t, "c.yaml", `
tenants:
  claim: org
  default: {class: basic, message_rate_limit: 100}
  list:
    - {name: acme, class: premium, channel_prefixes: ["acme:", "acme-eu:"], connection_limit: 5000, hook_timeout: 150ms}
    - {name: blue, backlog_limit: 1000000, connection_limt: 7}
`)
	cfg, warnings, err := load(t, LoadOptions{File: file})
	if err != nil {
		t.Fatal(err)
	}
	want := tenant.Config{
		Claim: "org", Default: tenant.Limits{Class: "basic", MessageRateLimit: 100},
		List: []tenant.Options{
			{Name: "acme", ChannelPrefixes: []string{"acme:", "acme-eu:"}, Limits: tenant.Limits{Class: "premium", ConnectionLimit: 5000, HookTimeout: 150 * time.Millisecond}},
			{Name: "blue", Limits: tenant.Limits{BacklogLimit: 1_000_000}},
		},
	}
	if !reflect.DeepEqual(cfg.Tenants, want) {
		t.Errorf("got %+v", cfg.Tenants)
	}
	if text := strings.Join(warnings, "\n"); len(warnings) != 1 || !strings.Contains(text, "tenants.list[blue].connection_limt, did you mean connection_limit") {
		t.Errorf("warned: %s", text)
	}
	if def := Default().Tenants; def.On() || def.Claim != "tenant" {
		t.Errorf("by default there is %+v", def)
	}
}

func TestDevProfileGivesWayToAnythingExplicit(t *testing.T) {
	file := write(t, "c.toml", "http_api.key = 'mine'\n")
	cfg, _, err := load(t, LoadOptions{File: file, Flags: map[string]any{"dev": "true", "http_server.address": "0.0.0.0"}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.HTTPAPI.Key != "mine" || cfg.HTTPServer.Address != "0.0.0.0" || !cfg.Prometheus.Enabled || !cfg.Dev ||
		!cfg.Channel.WithoutNamespace.AllowSubscribeForAnonymous {
		t.Errorf("dev profile: %+v", cfg)
	}
	cfg, _, err = load(t, LoadOptions{Environ: []string{"SHOAL_DEV=1"}, Flags: map[string]any{"dev": "false"}})
	if err != nil || cfg.HTTPAPI.Key != "" {
		t.Errorf("--dev=false over SHOAL_DEV=1: key %q, error %v; want no profile", cfg.HTTPAPI.Key, err)
	}
}

func TestUnknownKeysAreNamedOnceWithASuggestion(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"client:\n  ping_intervall: 1s\n", "unknown key client.ping_intervall, did you mean client.ping_interval?"},
		{"Client:\n  ping_interval: 20s\n", "unknown key Client.ping_interval, did you mean client.ping_interval?"},
		{"ping_interval: 20s\n", "unknown key ping_interval, did you mean client.ping_interval?"},
		{"opensearch:\n  enabled: true\n", "unknown key opensearch.enabled: it has no effect; shoal help config lists the keys"},
		{"dev:\n  enabled: false\n", "dev.enabled is not supported yet and has no effect: Shoal's development profile is the single key dev"},
		{"client:\n  subscription_token:\n    enabled: true\n", "client.subscription_token.enabled is on and there is no key to verify " +
			"subscription tokens with: all are refused; set client.subscription_token.hmac_secret_key, or switch it off to use client.token"},
		{"zzzzzz: 1\n", "unknown key zzzzzz: it has no effect; shoal help config lists the keys"},
		{"channel:\n  namespaces:\n    - name: ab\n      allow_subscribe: true\n",
			"unknown key channel.namespaces[ab].allow_subscribe, did you mean allow_subscribe_for_client?"},
		{"client:\n  insecure_skip_token_signature_verify: true\n", "client.insecure_skip_token_signature_verify is not supported yet " +
			"and has no effect: signatures are always verified"},
		{"rpc:\n  namespaces:\n    - name: ab\n      proxy_enable: true\n",
			"unknown key rpc.namespaces[ab].proxy_enable, did you mean proxy_enabled?"},
		{"grpc_api:\n  tls:\n    enabled: true\n", "grpc_api.tls.enabled is not supported yet and has no effect: " +
			"API calls over gRPC are NOT encrypted; put a TLS proxy in front"},
		{"channel:\n  namespaces:\n    - name: ab\n      allow_presence_for_client: true\n",
			"channel.namespaces[ab].allow_presence_for_client has no effect: presence is off"},
		{"channel:\n  namespaces:\n    - name: ab\n      map:\n        mode: x\n",
			"channel.namespaces[ab].map.mode is not supported yet and has no effect"},
	} {
		_, warnings, err := load(t, LoadOptions{File: write(t, "c.yaml", c.text)})
		if err != nil || len(warnings) != 1 || warnings[0] != c.want {
			t.Errorf("%q:\ngot  %q, error %v\nwant %q", c.text, warnings, err, c.want)
		}
	}
}

func TestUnknownVariablesAreNamedButNotThoseOfKubernetes(t *testing.T) {
	_, warnings, err := load(t, LoadOptions{Environ: []string{
		"SHOAL_CONFIG=x.yaml", "SHOAL_SERVICE_HOST=10.0.0.1", "SHOAL_PORT=tcp://10.0.0.1:80", "SHOAL_PORT_80_TCP_ADDR=10.0.0.1",
		"SHOAL_SERVICE_PORT_HTTP=80", "SHOAL_WEB_PORT=tcp://10.0.0.2:80", "SHOAL_PORT_80_TCP_PORT=80", "SHOAL_UNI_GRPC_PORT=11000", "SHOAL_VAR_TOKEN=x",
		"SHOAL_CLIENT_PING_INTERVALL=1s", "SHOAL_ADMIN_PASSWORD=p", "SHOAL_QQQQQQ=1", "SHOAL_CLIENT_INSECURE=",
	}})
	want := []string{
		"SHOAL_UNI_GRPC_PORT is not supported yet and has no effect",
		"unknown variable SHOAL_CLIENT_PING_INTERVALL, did you mean SHOAL_CLIENT_PING_INTERVAL?",
		"SHOAL_ADMIN_PASSWORD is not supported yet and has no effect",
		"unknown variable SHOAL_QQQQQQ: it has no effect; shoal help config lists the names",
	}
	if err != nil || !slices.Equal(warnings, want) {
		t.Errorf("got  %q, error %v\nwant %q", warnings, err, want)
	}
}

func TestWrongValuesSayKeyValueWhyAndWhatToChange(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"client":{"ping_interval":25}}`, `client.ping_interval = "25": a duration needs a unit; write it as text`},
		{`{"client":{"ping_interval":"soon"}}`, `client.ping_interval = "soon": not a duration; write a number and a unit`},
		{`{"client":{"channel_limit":"many"}}`, `client.channel_limit = "many": not a whole number; write a whole number`},
		{`{"client":{"channel_limit":1.5}}`, `client.channel_limit = "1.5": not a whole number`},
		{`{"client":{"insecure":"perhaps"}}`, `client.insecure = "perhaps": not a yes/no value; write true or false`},
		{`{"client":{"allowed_origins":7}}`, `client.allowed_origins = "7": not a list; write ["a", "b"]`},
		{`{"client":5}`, `client = "***": this is a section, not a value; write its keys below it, such as client.insecure`},
		{`{"loop":5}`, `loop = "5": this is a section, not a value; write its keys below it, such as loop.loops`},
		{`{"http_api":{"key":[1]}}`, `http_api.key = "***": not a text; put it in quotes`},
		{`{"channel":{"namespaces":{"news":{}}}}`, "unknown key"},
		{`{"channel":{"namespaces":"news"}}`, `channel.namespaces = "news": not a list of namespaces; write a list of sections`},
		{`{"channel":{"namespaces":["news"]}}`, `channel.namespaces = "news": not a section; write {name: …}`},
		{`{"http_server":{"port":70000}}`, `http_server.port = "70000": outside its bounds; choose 0 to 65535`},
	} {
		_, warnings, err := load(t, LoadOptions{File: write(t, "c.json", c.text)})
		if got := fmt.Sprint(warnings, err); !strings.Contains(got, c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestEveryWrongValueIsReportedAtOnce(t *testing.T) {
	_, _, err := load(t, LoadOptions{
		File:    write(t, "c.yaml", "client.ping_interval: x\nclient:\n  pong_timeout: y\n"),
		Environ: []string{"SHOAL_HTTP_SERVER_PORT=tcp://10.0.0.1:80"},
	})
	for _, want := range []string{"client.ping_interval", "client.pong_timeout", "enableServiceLinks"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not mention %s", err, want)
		}
	}
}

func TestFilesThatCannotBeReadSayWhatToDo(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"testdata/none.yaml", "there is no file testdata/none.yaml; give an existing one"},
		{"testdata/config.ini", "name it .yaml, .yml, .json or .toml"},
		{write(t, "bad.yaml", "a: [1"), "does not parse"},
		{write(t, "bad.json", "{"), "does not parse"},
		{write(t, "bad.toml", "a = "), "does not parse"},
		{write(t, "huge.json", strings.Repeat(" ", fileBytesMax+1)), "is it a configuration file?"},
	} {
		if _, _, err := load(t, LoadOptions{File: c.path}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.path, err, c.want)
		}
	}
}

func TestSecretsInAPublicFileAreWarnedOf(t *testing.T) {
	path := write(t, "c.yaml", "http_api:\n  key: s3cret\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(LoadOptions{File: path, Environ: []string{}})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "chmod 640") {
		t.Errorf("warnings %v, error %v; want one about the file's mode", warnings, err)
	}
}

func TestALimitOfCommandsIsPerSecondUnlessItSays(t *testing.T) {
	file := write(t, "c.yaml", "client:\n  rate_limits:\n  - {commands: [publish, rpc], limit: 30}\n  - {commands: all, limit: 100, interval: 1m, burst: 7}\n")
	cfg, warnings, err := load(t, LoadOptions{File: file})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
	want := []RateLimit{{[]string{"publish", "rpc"}, 30, time.Second, 0}, {[]string{"all"}, 100, time.Minute, 7}}
	if got := cfg.Client.RateLimits; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if c := Default(); c.Client.RateLimits != nil || c.Client.ErrorLimit.Limit != 0 || c.WebSocket.ControlFrameLimit != 30 {
		t.Error("only control frames are limited by default")
	}
	file = write(t, "c.yaml", "client:\n  rate_limits:\n  - {commands: connect, limit: 30}\n  - {commands: rpc}\n")
	_, _, err = load(t, LoadOptions{File: file})
	for _, says := range []string{`client.rate_limits[0].commands = "connect": "connect" is no command that can be limited; write publish`,
		`client.rate_limits[1] = "limit 0, interval 1s, burst 0": a limit of 0 is outside its bounds; choose 1 to 1000000`} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the error does not say %s: %v", says, err)
		}
	}
}
