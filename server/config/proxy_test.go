package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
)

// backend is a proxy that could be asked.
func backend(change func(*Proxy)) Proxy {
	p := DefaultProxy()
	p.Endpoint = "http://localhost:3000"
	if change != nil {
		change(&p)
	}
	return p
}

func TestValidateRefusesProxies(t *testing.T) {
	subscribe := func(change func(*Proxy)) func(*Config) {
		return func(c *Config) { c.ChannelProxy.Subscribe = backend(change) }
	}
	transform := func(change func(*StatusTransform)) func(*Config) {
		t := StatusTransform{StatusCode: 404}
		t.ToError.Code = 404
		change(&t)
		return subscribe(func(p *Proxy) { p.HTTP.Transforms = []StatusTransform{t} })
	}
	const own = "channel.proxy.subscribe"
	for _, c := range []struct {
		key    string
		change func(*Config)
	}{
		{"client.proxy.connect.endpoint", func(c *Config) { c.Client.Proxy.Connect.Enabled = true }},
		{"client.proxy.refresh.endpoint", func(c *Config) { c.Client.Proxy.Refresh.Enabled = true }},
		{own + ".endpoint", func(c *Config) { c.Channel.WithoutNamespace.SubscribeProxyEnabled = true }},
		{"channel.proxy.publish.endpoint", func(c *Config) {
			c.Channel.Namespaces = []channel.Options{{Name: "ns", PublishProxyEnabled: true, PublishProxyName: "default"}}
		}},
		{"channel.proxy.sub_refresh.endpoint", func(c *Config) { c.Channel.WithoutNamespace.SubRefreshProxyEnabled = true }},
		{"channel.proxy.state.endpoint", func(c *Config) { c.Channel.WithoutNamespace.StateProxyEnabled = true }},
		{"rpc.proxy.endpoint", func(c *Config) { c.RPC.WithoutNamespace.ProxyEnabled = true }},
		{"rpc.proxy.endpoint", func(c *Config) { c.RPC.Namespaces = []RPCOptions{{Name: "ns", ProxyEnabled: true}} }},
		{"rpc.without_namespace.proxy_name", func(c *Config) { c.RPC.WithoutNamespace.ProxyName = "nope" }},
		{"rpc.namespaces[ns].proxy_name", func(c *Config) { c.RPC.Namespaces = []RPCOptions{{Name: "ns", ProxyName: "nope"}} }},
		{"rpc.namespaces[0].name", func(c *Config) { c.RPC.Namespaces = []RPCOptions{{Name: "a:b"}} }},
		{"rpc.namespaces[ns].name", func(c *Config) { c.RPC.Namespaces = []RPCOptions{{Name: "ns"}, {Name: "ns"}} }},
		{"rpc.without_namespace.name", func(c *Config) { c.RPC.WithoutNamespace.Name = "x" }},
		{"rpc.namespace_boundary", func(c *Config) { c.RPC.NamespaceBoundary = " " }},
		{"rpc.ping.method", func(c *Config) { c.RPC.Ping = RPCPing{Enabled: true} }},
		{"channel.without_namespace.subscribe_proxy_name", func(c *Config) { c.Channel.WithoutNamespace.SubscribeProxyName = "nope" }},
		{"channel.namespaces[ns].state_proxy_name", func(c *Config) {
			c.Channel.Namespaces = []channel.Options{{Name: "ns", StateProxyName: "nope"}}
		}},
		{"proxies[0].name", func(c *Config) { c.Proxies = []NamedProxy{{"a", backend(nil)}} }},
		{"proxies[default].name", func(c *Config) { c.Proxies = []NamedProxy{{"default", backend(nil)}} }},
		{"proxies[aa].name", func(c *Config) { c.Proxies = []NamedProxy{{"aa", backend(nil)}, {"aa", backend(nil)}} }},
		{"proxies[aa].endpoint", func(c *Config) { c.Proxies = []NamedProxy{{"aa", DefaultProxy()}} }},
		{own + ".endpoint", subscribe(func(p *Proxy) { p.Endpoint = "http://" })},
		{own + ".endpoint", subscribe(func(p *Proxy) { p.Endpoint = "http://a b" })},
		{own + ".endpoint", subscribe(func(p *Proxy) { p.Endpoint = "grpc://a\n" })},
		{own + ".timeout", subscribe(func(p *Proxy) { p.Timeout = 0 })},
		{own + ".max_concurrency", subscribe(func(p *Proxy) { p.MaxConcurrency = 0 })},
		{own + ".retries", subscribe(func(p *Proxy) { p.Retries = 11 })},
		{own + ".retry_delay", subscribe(func(p *Proxy) { p.RetryDelay = -1 })},
		{own + ".breaker_failures", subscribe(func(p *Proxy) { p.BreakerFailures = -1 })},
		{own + ".breaker_delay", subscribe(func(p *Proxy) { p.BreakerDelay = 0 })},
		{own + ".http_headers", subscribe(func(p *Proxy) { p.HTTPHeaders = []string{"Cookie:"} })},
		{own + ".http.static_headers", subscribe(func(p *Proxy) { p.HTTP.StaticHeaders = map[string]string{"": "x"} })},
		{own, subscribe(func(p *Proxy) { p.HTTP.StaticHeaders = map[string]string{"X": "hush\n"} })},
		{own + ".grpc.credentials_key", subscribe(func(p *Proxy) { p.GRPC.CredentialsKey = "a b" })},
		{own + ".http.tls.cert_pem", subscribe(func(p *Proxy) { p.HTTP.TLS = TLS{Enabled: true, KeyPEM: "hush"} })},
		{own + ".http.status_to_code_transforms[0].status_code", transform(func(t *StatusTransform) { t.StatusCode = 0 })},
		{own + ".http.status_to_code_transforms[0]", transform(func(t *StatusTransform) { t.ToError.Code = 0 })},
		{own + ".http.status_to_code_transforms[0]", transform(func(t *StatusTransform) { t.ToDisconnect.Code = 4000 })},
		{own + ".http.status_to_code_transforms[0].to_error.code", transform(func(t *StatusTransform) { t.ToError.Code = -1 })},
		{own + ".http.status_to_code_transforms[0].to_error.message", transform(func(t *StatusTransform) { t.ToError.Message = "é" })},
		{own + ".http.status_to_code_transforms[0].to_disconnect.code", transform(func(t *StatusTransform) { t.ToError.Code, t.ToDisconnect.Code = 0, 1000 })},
		{own + ".http.status_to_code_transforms[0].to_disconnect.reason", transform(func(t *StatusTransform) { t.ToDisconnect.Reason = strings.Repeat("x", 124) })},
		{"client.subscribe_to_user_personal_channel.personal_channel_namespace", func(c *Config) {
			c.Client.PersonalChannel = PersonalChannel{Enabled: true, Namespace: "nope"}
		}},
		{"client.user_id_http_header", func(c *Config) { c.Client.UserIDHTTPHeader = "X User" }},
		{"client.token.jwks_public_endpoint", func(c *Config) { c.Client.Token.JWKSPublicEndpoint = "file:///keys" }},
		{"client.channel_position_check_delay", func(c *Config) { c.Client.ChannelPositionCheckDelay = 0 }},
		{"client.history_max_publication_limit", func(c *Config) { c.Client.HistoryMaxPublicationLimit = -1 }},
		{"grpc_api.port", func(c *Config) { c.GRPCAPI.Enabled, c.GRPCAPI.Port = true, c.HTTPServer.Port }},
		{"grpc_api.error_mode", func(c *Config) { c.GRPCAPI.ErrorMode = "loud" }},
		{"grpc_api.key", func(c *Config) { c.GRPCAPI.Key = " hush" }},
		{"http_api.batch_limit", func(c *Config) { c.HTTPAPI.BatchLimit = 0 }},
		{"swagger.handler_prefix", func(c *Config) { c.Swagger = Endpoint{Enabled: true, HandlerPrefix: "/api"} }},
	} {
		cfg := Default()
		c.change(&cfg)
		err := cfg.Validate()
		var wrong *ValueError
		if !errors.As(err, &wrong) || wrong.Key != c.key || wrong.Why == "" || wrong.Change == "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("got %v, want a fault of %s", err, c.key)
		}
	}
}

func TestProxiesNobodyAsksAreLeftAlone(t *testing.T) {
	c := Default()
	c.RPC.Proxy = Proxy{Timeout: -1, Retries: 99}
	c.Proxies = []NamedProxy{{"aa", backend(func(p *Proxy) { p.Endpoint = "localhost:12000" })}}
	c.Channel.WithoutNamespace.SubscribeProxyEnabled, c.Channel.WithoutNamespace.SubscribeProxyName = true, "aa"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	own := Proxy{Endpoint: "http://own"}
	for name, want := range map[string]string{"": "http://own", "default": "http://own", "aa": "localhost:12000"} {
		if p, ok := c.NamedProxy(name, own); !ok || p.Endpoint != want || p.IsGRPC() != (name == "aa") {
			t.Errorf("%q: %+v", name, p)
		}
	}
	if _, ok := c.NamedProxy("bb", own); ok {
		t.Error("a proxy that is not there was found")
	}
}

func TestKeptHeadersAreThoseOfAllProxies(t *testing.T) {
	c := Default()
	if got := c.KeptHeaders(); len(got) != 0 {
		t.Errorf("by default: %q", got)
	}
	c.Client.Proxy.Connect.HTTPHeaders = []string{"Cookie", "X-B"}
	c.RPC.Proxy.HTTPHeaders = []string{"cookie"}
	c.Proxies = []NamedProxy{{"aa", Proxy{HTTPHeaders: []string{"Authorization"}}}}
	if got, want := c.KeptHeaders(), []string{"authorization", "cookie", "x-b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMapsLoadFromEverySource(t *testing.T) {
	const key = "client.proxy.connect.http.static_headers"
	file := func(name, text string) LoadOptions { return LoadOptions{File: write(t, name, text)} }
	want := map[string]string{"X-Api-Key": "k", "x.y": "z"}
	for i, o := range []LoadOptions{
		file("c.yaml", "client:\n  proxy:\n    connect:\n      http:\n        static_headers:\n          X-Api-Key: k\n          x.y: z\n"),
		file("c.yaml", "client:\n  proxy:\n    connect:\n      http:\n        static_headers:\n          - {key: X-Api-Key, value: k}\n          - {key: x.y, value: z}\n"),
		file("c.json", `{"client":{"proxy":{"connect":{"http":{"static_headers":{"X-Api-Key":"k","x.y":"z"}}}}}}`),
		file("c.toml", "[client.proxy.connect.http.static_headers]\nX-Api-Key = 'k'\nx.y = 'z'\n"),
		file("c.toml", "[[client.proxy.connect.http.static_headers]]\nkey = 'X-Api-Key'\nvalue = 'k'\n[[client.proxy.connect.http.static_headers]]\nkey = 'x.y'\nvalue = 'z'\n"),
		{Environ: []string{envName(key) + `={"X-Api-Key":"k","x.y":"z"}`}},
		{Environ: []string{envName(key) + `=[{"key":"X-Api-Key","value":"k"},{"key":"x.y","value":"z"}]`}},
		{Flags: map[string]any{key: `{"X-Api-Key":"k","x.y":"z"}`}},
		{Environ: []string{envName(key) + `={"other":"1"}`}, Flags: map[string]any{key: `{"X-Api-Key":"k","x.y":"z"}`}},
		{Environ: []string{envName(key) + `={"X-Api-Key":"${SHOAL_VAR_K}","x.y":"${CENTRIFUGO_VAR_Z}"}`, "SHOAL_VAR_K=k", "CENTRIFUGO_VAR_Z=z"}},
	} {
		cfg, warnings, err := load(t, o)
		if err != nil || len(warnings) > 0 || !reflect.DeepEqual(cfg.Client.Proxy.Connect.HTTP.StaticHeaders, want) {
			t.Errorf("%d: got %q, warnings %q, error %v", i, cfg.Client.Proxy.Connect.HTTP.StaticHeaders, warnings, err)
		}
	}
	for _, text := range []string{`hush`, `"hush"`, `[{"key":"hush"}]`, `[{"key":"a","value":"hush"},{"key":"a","value":"hush"}]`, `[{"key":1,"value":"hush"}]`,
		`{"a":["hush"]}`, `["hush"]`, `{"a":"${SHOAL_VAR_MISSING}hush"}`, `{"a":"***"}`, `[{"key":"a","value":"hush","more":"hush"}]`} {
		_, _, err := load(t, LoadOptions{Environ: []string{envName(key) + "=" + text}})
		var wrong *ValueError
		if !errors.As(err, &wrong) || wrong.Key != key || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want a fault of %s that shows no secret", text, err, key)
		}
	}
}

func TestSectionsHoldSections(t *testing.T) {
	cfg, warnings, err := load(t, LoadOptions{Environ: []string{`SHOAL_PROXIES=[{"name":"one","endpoint":"http://b","timeout":"3s",
		"http":{"static_headers":{"X":"y"},"status_to_code_transforms":[{"status_code":500,"to_error":{"code":500}}]}},
		{"name":"two","endpoint":"grpc://b:1","retries":0,"surprise":1,"http":{"tls":{"enabled":true}}}]`}})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "unknown key proxies[two].surprise") {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
	one, two := cfg.Proxies[0], cfg.Proxies[1]
	if one.Timeout != 3*time.Second || one.Retries != DefaultProxy().Retries || one.HTTP.StaticHeaders["X"] != "y" || one.HTTP.Transforms[0].ToError.Code != 500 {
		t.Errorf("one: %+v", one)
	}
	if two.Timeout != DefaultProxy().Timeout || two.Retries != 0 || !two.HTTP.TLS.Enabled {
		t.Errorf("two: %+v", two)
	}
	_, warnings, err = load(t, LoadOptions{File: write(t, "c.json",
		`{"proxies":["hush",{"name":"aa","endpoint":"http://u:hush@","http":{"status_to_code_transforms":{"a":1}}}]}`)})
	if err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), `proxies = "***": not a section; write {name: …}`) {
		t.Errorf("error %v", err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "unknown key proxies[aa].http.status_to_code_transforms.a") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestPasswordsInURLsAreNotShown(t *testing.T) {
	for in, want := range map[string]string{
		"http://u:p@h/x": "http://u:***@h/x", "https://:p@h": "https://:***@h", "http://h:80/a:b@c": "http://h:80/a:b@c",
		"http://u@h:80/": "http://u@h:80/", "grpc://u:p:q@h": "grpc://u:***@h", "": "",
	} {
		if got := (field{secret: masksPassword}).show(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// pair makes a certificate that signs itself.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", secret)
}

func TestTLSTakesPEMInThreeForms(t *testing.T) {
	cert, key := pair(t)
	if c, err := (&TLS{CertPEM: "nonsense"}).ClientConfig(); c != nil || err != nil {
		t.Errorf("switched off: %v, %v", c, err)
	}
	in64 := base64.StdEncoding.EncodeToString
	for i, s := range []TLS{
		{CertPEM: cert, KeyPEM: key, ServerCAPEM: cert, ServerName: "b"},
		{CertPEM: in64([]byte(cert)), KeyPEM: in64([]byte(key)), ServerCAPEM: in64([]byte(cert)), ServerName: "b"},
		{CertPEM: write(t, "cert.pem", cert), KeyPEM: write(t, "key.pem", key), ServerCAPEM: write(t, "ca.pem", cert), ServerName: "b"},
	} {
		s.Enabled = true
		c, err := s.ClientConfig()
		if err != nil || len(c.Certificates) != 1 || c.RootCAs == nil || c.ServerName != "b" || c.InsecureSkipVerify {
			t.Errorf("%d: %+v, %v", i, c, err)
		}
	}
	for i, s := range []TLS{
		{CertPEM: cert, KeyPEM: "hush"},
		{CertPEM: cert, KeyPEM: "-----hush\n-----"},
		{CertPEM: cert, KeyPEM: cert},
		{CertPEM: write(t, "no.pem", "hush"), KeyPEM: key},
		{ServerCAPEM: key},
		{ServerCAPEM: t.TempDir()},
	} {
		s.Enabled = true
		if c, err := s.ClientConfig(); c != nil || err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%d: %+v, %v", i, c, err)
		}
	}
}

func TestDevProfileShowsWhatThereIs(t *testing.T) {
	cfg, warnings, err := load(t, LoadOptions{Flags: map[string]any{"dev": "true"}})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("warnings %q, error %v", warnings, err)
	}
	o := cfg.Channel.WithoutNamespace
	if !o.History() || !o.ForceRecovery || !o.Presence || !o.JoinLeave || o.ForcePushJoinLeave || !o.AllowWildcard ||
		!o.AllowHistoryForSubscriber || !o.AllowPresenceForSubscriber || !slices.Equal(o.AllowedDeltaTypes, []string{"fossil"}) {
		t.Errorf("channels of the demo: %+v", o)
	}
	if cfg.HTTPServer.Address != "127.0.0.1" || cfg.GRPCAPI.Address != "127.0.0.1" || cfg.GRPCAPI.Enabled {
		t.Error("the development profile listens to others")
	}
	var out bytes.Buffer
	if err := cfg.Print(&out); err != nil || !strings.Contains(out.String(), `allowed_delta_types: ["fossil"]`) {
		t.Errorf("printed:\n%s", out.String())
	}
}
