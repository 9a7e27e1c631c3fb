package config

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/server/channel"
)

const proxiesMax = 1000

// proxies refuses proxies that cannot work and options that ask one there is not. A proxy without endpoint that nobody asks
// is left alone.
func (v *validator) proxies(c Config) {
	v.proxy("client.proxy.connect", c.Client.Proxy.Connect.Proxy, on(c.Client.Proxy.Connect.Enabled, "client.proxy.connect.enabled"))
	v.proxy("client.proxy.refresh", c.Client.Proxy.Refresh.Proxy, on(c.Client.Proxy.Refresh.Enabled, "client.proxy.refresh.enabled"))
	v.between("proxies", len(c.Proxies), 0, proxiesMax)
	seen := map[string]bool{}
	for i, p := range c.Proxies {
		label := element("proxies", i, p.Name)
		switch {
		case !namespaceName().MatchString(p.Name):
			v.wrong(label+".name", p.Name, "not a name", "name it with two or more letters, digits, '-', '_' or '.'")
		case p.Name == channel.ProxyDefault:
			v.wrong(label+".name", p.Name, "that is the name of the proxy each event has of its own", "choose another")
		case seen[p.Name]:
			v.wrong(label+".name", p.Name, "another proxy is called so", "keep one of them")
		}
		seen[p.Name] = true
		v.proxy(label, p.Proxy, "every element of proxies")
	}
	v.channelProxies(c)
	v.rpc(c)
}

// on gives who needs something that a switch turns on; "" for nobody.
func on(enabled bool, who string) string {
	if enabled {
		return who
	}
	return ""
}

// element begins the keys of an element of a list.
func element(list string, i int, name string) string {
	if !namespaceName().MatchString(name) || len(name) > 64 {
		name = fmt.Sprint(i)
	}
	return list + "[" + name + "]"
}

// channelProxies looks at the four events of every namespace. One own proxy is judged once, for the first that needs it.
func (v *validator) channelProxies(c Config) {
	needs := map[string]string{}
	look := func(section string, o *channel.Options) {
		for _, e := range [...]struct {
			event, name string
			enabled     bool
		}{
			{"subscribe", o.SubscribeProxyName, o.SubscribeProxyEnabled},
			{"publish", o.PublishProxyName, o.PublishProxyEnabled},
			{"sub_refresh", o.SubRefreshProxyName, o.SubRefreshProxyEnabled},
			{"state", o.StateProxyName, o.StateProxyEnabled},
		} {
			v.proxyName(c, section+"."+e.event+"_proxy_name", e.name)
			if e.enabled && isOwn(e.name) && needs[e.event] == "" {
				needs[e.event] = section + "." + e.event + "_proxy_enabled"
			}
		}
	}
	look("channel.without_namespace", &c.Channel.WithoutNamespace)
	for i := range c.Channel.Namespaces {
		look(element("channel.namespaces", i, c.Channel.Namespaces[i].Name), &c.Channel.Namespaces[i])
	}
	v.proxy("channel.proxy.subscribe", c.ChannelProxy.Subscribe, needs["subscribe"])
	v.proxy("channel.proxy.publish", c.ChannelProxy.Publish, needs["publish"])
	v.proxy("channel.proxy.sub_refresh", c.ChannelProxy.SubRefresh, needs["sub_refresh"])
	v.proxy("channel.proxy.state", c.ChannelProxy.State, needs["state"])
	if p := c.Client.PersonalChannel; p.Enabled && p.Namespace != "" &&
		!slices.ContainsFunc(c.Channel.Namespaces, func(o channel.Options) bool { return o.Name == p.Namespace }) {
		v.refuse("client.subscribe_to_user_personal_channel.personal_channel_namespace", "there is no such namespace",
			"add it to channel.namespaces, or leave it out for channels without namespace")
	}
}

func isOwn(name string) bool { return name == "" || name == channel.ProxyDefault }

// proxyName refuses a name no proxy has.
func (v *validator) proxyName(c Config, key, name string) {
	if _, ok := c.NamedProxy(name, Proxy{}); !ok {
		v.wrong(key, name, "there is no such proxy", "add it to proxies, or leave it out for the event's own")
	}
}

func (v *validator) rpc(c Config) {
	needed := on(c.RPC.WithoutNamespace.ProxyEnabled && isOwn(c.RPC.WithoutNamespace.ProxyName), "rpc.without_namespace.proxy_enabled")
	v.proxyName(c, "rpc.without_namespace.proxy_name", c.RPC.WithoutNamespace.ProxyName)
	v.between("rpc.namespaces", len(c.RPC.Namespaces), 0, proxiesMax)
	seen := map[string]bool{}
	for i, ns := range c.RPC.Namespaces {
		label := element("rpc.namespaces", i, ns.Name)
		if !namespaceName().MatchString(ns.Name) {
			v.wrong(label+".name", ns.Name, "not a name", "name it with two or more letters, digits, '-', '_' or '.'")
		} else if seen[ns.Name] {
			v.wrong(label+".name", ns.Name, "another namespace is called so", "keep one of them")
		}
		seen[ns.Name] = true
		v.proxyName(c, label+".proxy_name", ns.ProxyName)
		if needed == "" {
			needed = on(ns.ProxyEnabled && isOwn(ns.ProxyName), label+".proxy_enabled")
		}
	}
	v.proxy("rpc.proxy", c.RPC.Proxy, needed)
	if b := c.RPC.NamespaceBoundary; len(b) > 8 || strings.IndexFunc(b, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		v.refuse("rpc.namespace_boundary", "not one to eight printable ASCII characters", "write a single one, such as the default")
	}
	if c.RPC.Ping.Enabled && c.RPC.Ping.Method == "" {
		v.refuse("rpc.ping.method", "the method has no name", "write one, such as ping")
	}
	if c.RPC.WithoutNamespace.Name != "" {
		v.wrong("rpc.without_namespace.name", c.RPC.WithoutNamespace.Name, "these are the methods without a namespace", "remove the name")
	}
}

// wrong reports a value that is not a leaf of Config itself.
func (v *validator) wrong(key string, value any, why, change string) {
	v.errs = append(v.errs, &ValueError{Key: key, Value: shorten(fmt.Sprint(value)), Why: why, Change: change})
}

// proxy judges one; who needs it, "" for nobody.
func (v *validator) proxy(section string, p Proxy, who string) {
	if p.Endpoint == "" {
		if who != "" {
			v.wrong(section+".endpoint", "", who+" needs one", "write where the backend is, such as http://localhost:3000/centrifugo")
		}
		return
	}
	if u, err := url.Parse(p.Endpoint); isHTTP(p.Endpoint) && (err != nil || u.Host == "") || strings.ContainsAny(p.Endpoint, " \t\r\n") {
		v.wrong(section+".endpoint", field{secret: masksPassword}.show(p.Endpoint), "neither a URL nor an address",
			"write http://host:port/path, https://host/path or grpc://host:port")
	}
	span := func(key string, d, low, high time.Duration) {
		if d < low || d > high {
			v.wrong(section+key, formatDuration(d), "outside its bounds", fmt.Sprintf("choose %s to %s", formatDuration(low), formatDuration(high)))
		}
	}
	count := func(key string, n, low, high int) {
		if n < low || n > high {
			v.wrong(section+key, n, "outside its bounds", fmt.Sprintf("choose %d to %d", low, high))
		}
	}
	span(".timeout", p.Timeout, time.Millisecond, time.Hour)
	span(".retry_delay", p.RetryDelay, 0, time.Minute)
	span(".breaker_delay", p.BreakerDelay, 10*time.Millisecond, time.Hour)
	count(".max_concurrency", p.MaxConcurrency, 1, 65536)
	count(".retries", p.Retries, 0, 10)
	count(".breaker_failures", p.BreakerFailures, 0, countMax)
	v.headers(section, p)
	v.transforms(section+".http.status_to_code_transforms", p.HTTP.Transforms)
	v.tls(section+".http.tls", p.HTTP.TLS)
	v.tls(section+".grpc.tls", p.GRPC.TLS)
}

func (v *validator) headers(section string, p Proxy) {
	for _, l := range []struct {
		key   string
		names []string
	}{
		{".http_headers", p.HTTPHeaders}, {".grpc_metadata", p.GRPCMetadata}, {".emulated_headers", p.EmulatedHeaders},
		{".http.static_headers", slices.Sorted(maps.Keys(p.HTTP.StaticHeaders))},
		{".grpc.static_metadata", slices.Sorted(maps.Keys(p.GRPC.StaticMetadata))},
	} {
		for _, name := range l.names {
			if !isToken(name) {
				v.wrong(section+l.key, name, "not the name of a header", "write letters, digits and '-'")
			}
		}
	}
	if k := p.GRPC.CredentialsKey; k != "" && !isToken(k) {
		v.wrong(section+".grpc.credentials_key", k, "not the name of a header", "write letters, digits and '-'")
	}
	values := slices.Concat(slices.Collect(maps.Values(p.HTTP.StaticHeaders)), slices.Collect(maps.Values(p.GRPC.StaticMetadata)),
		[]string{p.GRPC.CredentialsValue})
	if slices.ContainsFunc(values, func(s string) bool { return strings.ContainsAny(s, "\r\n\x00") }) {
		v.wrong(section, masked, "a value of static_headers, static_metadata or credentials_value has a line break in it, which no header can carry",
			"remove it; a secret file often ends in a line break")
	}
}

// isToken says whether s can be the name of a header (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}) < 0
}

func (v *validator) transforms(key string, list []StatusTransform) {
	const textMax = 123 // bytes of a close frame's reason (RFC 6455 §5.5)
	text := func(key, s string) {
		if len(s) > textMax || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			v.wrong(key, s, "not at most 123 printable ASCII characters", "shorten it, or write it otherwise")
		}
	}
	for i, t := range list {
		label := fmt.Sprintf("%s[%d]", key, i)
		if t.StatusCode < 100 || t.StatusCode > 999 {
			v.wrong(label+".status_code", t.StatusCode, "no HTTP status", "write one, such as 404")
		}
		switch e, d := t.ToError.Code, t.ToDisconnect.Code; {
		case e == 0 && d == 0:
			v.wrong(label, t.StatusCode, "it says neither an error nor a disconnect", "set to_error.code or to_disconnect.code")
		case e != 0 && d != 0:
			v.wrong(label, t.StatusCode, "it says both an error and a disconnect", "keep one of to_error.code and to_disconnect.code")
		case e < 0 || e > 1<<31-1:
			v.wrong(label+".to_error.code", e, "outside its bounds", "choose 400 to 1999")
		case d != 0 && (d < 3000 || d > 4999):
			v.wrong(label+".to_disconnect.code", d, "no close frame can carry it", "choose 4000 to 4999, or one of the protocol's from 3000 on")
		}
		text(label+".to_error.message", t.ToError.Message)
		text(label+".to_disconnect.reason", t.ToDisconnect.Reason)
	}
}

func (v *validator) tls(section string, t TLS) {
	if t.Enabled && (t.CertPEM == "") != (t.KeyPEM == "") {
		v.wrong(section+".cert_pem", t.CertPEM, "a certificate needs its key and a key its certificate", "set cert_pem and key_pem, or neither")
	}
}

var namespaceName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[-A-Za-z0-9_.]{2,}$`) })
