package hooks

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"shoal/server/backend"
	"shoal/server/channel"
)

func TestMistakesAreNamed(t *testing.T) {
	good := "http://localhost"
	for _, c := range []struct {
		name   string
		change func(c *Config)
		want   []string // nil: fine
	}{
		{"nothing wrong", func(*Config) {}, nil},
		{"https", func(c *Config) { c.Connect.URL = "https://user:pw@example.org:1/x?y=z" }, nil},
		{"gRPC target", func(c *Config) { c.Connect.URL = "localhost:9000" }, nil},
		{"gRPC URL", func(c *Config) { c.Connect.URL = "grpc://localhost:9000" }, nil},
		{"gRPC resolver", func(c *Config) { c.Connect.URL = "dns:///localhost:9000" }, nil},
		{"no URL", func(c *Config) { c.Connect.URL = "" }, []string{"client.proxy.connect.endpoint", "grpc://host:port"}},
		{"other scheme", func(c *Config) { c.RPC.URL = "ws://x" }, []string{"rpc.proxy.endpoint", `"ws"`}},
		{"no host", func(c *Config) { c.State.URL = "http:///path" }, []string{"channel.proxy.state.endpoint", "host"}},
		{"secret in a bad URL", func(c *Config) { c.State.URL = "http://a:hunter2@[" }, []string{"channel.proxy.state.endpoint", "host"}},
		{"gRPC with a path", func(c *Config) { c.Publish.URL = "grpc://localhost:9000/x" }, []string{"channel.proxy.publish.endpoint", "nothing behind"}},
		{"gRPC without host", func(c *Config) { c.Publish.URL = "grpc://" }, []string{"channel.proxy.publish.endpoint"}},
		{"negative timeout", func(c *Config) { c.Refresh.Timeout = -1 }, []string{"client.proxy.refresh.timeout", "negative"}},
		{"too many retries", func(c *Config) { c.Refresh.Retries = 11 }, []string{"client.proxy.refresh.retries", "0 to 10"}},
		{"header name", func(c *Config) { c.Subscribe.StaticHeaders = map[string]string{"a b": "x"} }, []string{"channel.proxy.subscribe.http.static_headers", `"a b"`}},
		{"header value", func(c *Config) { c.Subscribe.StaticHeaders = map[string]string{"a": "x\n"} }, []string{"http.static_headers"}},
		{"metadata key", func(c *Config) { c.Subscribe.StaticMetadata = map[string]string{"grpc-x": "x"} }, []string{"grpc.static_metadata", "grpc-x"}},
		{"credentials", func(c *Config) { c.Subscribe.CredentialsKey, c.Subscribe.CredentialsValue = "k", "hünter2" }, []string{"grpc.credentials_key"}},
		{"no code", func(c *Config) { c.SubRefresh.Transforms = []Transform{{Status: 500}} }, []string{"channel.proxy.sub_refresh.http.status_to_code_transforms[0]", "exactly one"}},
		{"both codes", func(c *Config) {
			c.SubRefresh.Transforms = []Transform{{Status: 500, Error: channel.Error{Code: 400}, Disconnect: channel.Disconnect{Code: 4000}}}
		}, []string{"exactly one"}},
		{"status", func(c *Config) { c.SubRefresh.Transforms = []Transform{{Error: channel.Error{Code: 400}}} }, []string{"status_code is 0"}},
		{"status 200", func(c *Config) { c.SubRefresh.Transforms = []Transform{{Status: 200, Error: channel.Error{Code: 400}}} }, []string{"status_code is 200"}},
		{"error code", func(c *Config) {
			c.SubRefresh.Transforms = []Transform{{Status: 404, Error: channel.Error{Code: 400}}, {Status: 500, Error: channel.Error{Code: 2000}}}
		}, []string{"[1]", "to_error.code is 2000"}},
		{"disconnect code", func(c *Config) {
			c.SubRefresh.Transforms = []Transform{{Status: 500, Disconnect: channel.Disconnect{Code: 1000}}}
		}, []string{"to_disconnect.code is 1000"}},
		{"long reason", func(c *Config) {
			c.SubRefresh.Transforms = []Transform{{Status: 500, Disconnect: channel.Disconnect{Code: 4000, Reason: strings.Repeat("x", 124)}}}
		}, []string{"123 ASCII"}},
		{"name", func(c *Config) { c.Named[0].Name = "x" }, []string{"proxies[0].name", `"x"`}},
		{"reserved name", func(c *Config) { c.Named[0].Name = "default" }, []string{"proxies[0] (default)"}},
		{"name twice", func(c *Config) { c.Named[1].Name = "other" }, []string{"proxies[1] (other)", "twice"}},
		{"a named proxy", func(c *Config) { c.Named[1].URL = "" }, []string{"proxies[1] (unused).endpoint"}},
		{"pending", func(c *Config) { c.StatePendingMax = -1 }, []string{"StatePendingMax"}},
		{"no clock", func(c *Config) { c.Now = nil }, []string{"Now"}},
		{"channels name an unknown proxy", func(c *Config) { c.Named = c.Named[1:] }, []string{
			`channel.namespaces (other).subscribe_proxy_name is "other", which is not in proxies`, "publish_proxy_name", "sub_refresh_proxy_name",
			"state_proxy_name", `rpc.namespaces (math).proxy_name is "other"`,
		}},
		{"no default proxy", func(c *Config) { c.Publish, c.RPC = nil, nil }, []string{
			`channel.without_namespace.publish_proxy_name is "default", but channel.proxy.publish.endpoint is empty`,
			`rpc.without_namespace.proxy_name is "default", but rpc.proxy.endpoint is empty`,
		}},
	} {
		cfg := everywhere(t, Endpoint{URL: good})
		// everywhere shares one endpoint; each change is to be alone.
		for _, p := range []**Endpoint{&cfg.Connect, &cfg.Refresh, &cfg.Subscribe, &cfg.Publish, &cfg.SubRefresh, &cfg.State, &cfg.RPC} {
			e := **p
			*p = &e
		}
		r := newRig(t, cfg)
		cfg = r.cfg
		c.change(&cfg)
		_, err := New(cfg)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q is not in %q", c.name, part, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a secret: %v", c.name, err)
		}
	}
}

func TestWhatIsAsked(t *testing.T) {
	on := &channel.Options{SubscribeProxyEnabled: true, PublishProxyEnabled: true, SubRefreshProxyEnabled: true, StateProxyEnabled: true}
	full := newRig(t, everywhere(t, Endpoint{URL: "http://localhost"}))
	none := newRig(t, Config{Rules: emptyRules(t)})
	for e := range backend.Event(backend.EventCount) {
		want := e != backend.Send
		if got := full.Handles(e, "x", on); got != want {
			t.Errorf("%v: %v", e, got)
		}
		perChannel := e == backend.Subscribe || e == backend.SubRefresh || e == backend.Publish || e == backend.ChannelState
		for _, o := range []*channel.Options{nil, {}} {
			if got := full.Handles(e, "x", o); got != (want && !perChannel) {
				t.Errorf("%v with %v: %v", e, o, got)
			}
			if none.Handles(e, "x", o) {
				t.Errorf("%v is asked of nobody", e)
			}
		}
	}
	if full.Handles(99, "", on) {
		t.Error("an unknown event is asked")
	}
	if n := testing.AllocsPerRun(100, func() {
		for e := range backend.Event(backend.EventCount) {
			full.Handles(e, "math:add", on)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for _, s := range full.Stats(nil) {
		if s.Endpoint == "unused" {
			t.Error("an endpoint that nobody names has counts")
		}
	}
}

func emptyRules(t testing.TB) *channel.Rules {
	t.Helper()
	r, err := channel.Compile(channel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhoIsAsked(t *testing.T) {
	own, other := newWeb(t, says(200, `{"result":{"data":"own"}}`)), newWeb(t, says(200, `{"result":{"data":"other"}}`))
	cfg := everywhere(t, Endpoint{URL: own.URL})
	cfg.Named[0].URL = other.URL
	r := newRig(t, cfg)
	rpc := func(method string) (string, channel.Refusal) {
		reply, err := r.RPC(context.Background(), &backend.RPCRequest{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		return string(reply.Data), reply.Refusal
	}
	for _, c := range []struct {
		method, want string
		refusal      channel.Refusal
	}{
		{"add", `"own"`, channel.Refusal{}},
		{"", `"own"`, channel.Refusal{}},
		{":add", `"own"`, channel.Refusal{}},
		{"math:add:x", `"other"`, channel.Refusal{}},
		{"off:add", "", channel.RefuseError(channel.ErrNotAvailable)},
		{"none:add", "", channel.RefuseError(channel.ErrMethodNotFound)},
	} {
		if got, refusal := rpc(c.method); got != c.want || !reflect.DeepEqual(refusal, c.refusal) {
			t.Errorf("%q: %s, %v", c.method, got, refusal)
		}
	}
	for _, c := range []struct {
		channel string
		want    string
		code    uint32
	}{{"x", `"own"`, 0}, {"other:x", `"other"`, 0}, {"quiet:x", "", 108}, {"none:x", "", 102}, {"", "", 107}} {
		p, err := r.Publish(context.Background(), &backend.PublishRequest{Channel: c.channel})
		if err != nil || string(p.Data) != c.want || c.code != 0 && p.Err.Code != c.code {
			t.Errorf("publish %q: %+v, %v", c.channel, p, err)
		}
		s, err := r.Subscribe(context.Background(), &backend.SubscribeRequest{Channel: c.channel})
		if err != nil || string(s.Data) != c.want || c.code != 0 && s.Err.Code != c.code {
			t.Errorf("subscribe %q: %+v, %v", c.channel, s, err)
		}
		sr, err := r.SubRefresh(context.Background(), &backend.SubRefreshRequest{Channel: c.channel})
		if err != nil || sr.Refused() != (c.code != 0) {
			t.Errorf("sub_refresh %q: %+v, %v", c.channel, sr, err)
		}
	}
}

func TestNobodyIsAskedWhereNobodyIsConfigured(t *testing.T) {
	r := newRig(t, Config{Rules: emptyRules(t)})
	if c, err := r.Connect(context.Background(), &backend.ConnectRequest{}); err != nil || !c.Unknown {
		t.Errorf("%+v, %v", c, err)
	}
	if f, err := r.Refresh(context.Background(), &backend.RefreshRequest{}); err != nil || !f.Refused() {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := r.RPC(context.Background(), &backend.RPCRequest{}); err != nil || f.Err.Code != 108 {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := r.Send(context.Background(), &backend.SendRequest{}); err != nil || f.Refused() {
		t.Errorf("%+v, %v", f, err)
	}
	if len(r.Senders())+len(r.Stats(nil))+len(r.HTTPHeaders()) != 0 {
		t.Error("something is there")
	}
}
