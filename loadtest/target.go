package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"shoal/loadtest/engine"
	"shoal/loadtest/observe"
)

// target is where to connect, resolved.
type target struct {
	remote netip.AddrPort
	host   string       // for the Host header
	path   string       // with the query
	apis   []engine.API // of several servers behind remote, each
}

// resolve makes a target of Config.Target and, where it is needed, of Config.API.
func (c *Config) resolve(ctx context.Context, needsAPI bool) (t target, err error) {
	text := cmp.Or(c.Target, targetDefault)
	if !strings.Contains(text, "://") {
		text = "ws://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return t, fmt.Errorf("--target %q is no address: %w; write it as ws://host:port/path", c.Target, err)
	}
	switch u.Scheme {
	case "ws":
	case "wss", "https":
		return t, fmt.Errorf("--target %q: TLS is not measured here; point the load test at the plain port behind it, ws://host:port/path", c.Target)
	default:
		return t, fmt.Errorf("--target %q: %s:// is no WebSocket address; write it as ws://host:port/path", c.Target, u.Scheme)
	}
	if u.Path == "" {
		u.Path = "/connection/websocket"
	}
	t.host, t.path = u.Host, u.RequestURI()
	if t.remote, err = lookUp(ctx, u); err != nil {
		return t, fmt.Errorf("--target %q: %w", c.Target, err)
	}
	if !needsAPI {
		return t, nil
	}
	apis := cmp.Or(c.API, "http://"+u.Host+"/api")
	for text := range strings.SplitSeq(apis, ",") {
		one, err := c.resolveAPI(ctx, strings.TrimSpace(text))
		if err != nil {
			return t, err
		}
		t.apis = append(t.apis, one)
	}
	return t, nil
}

// resolveAPI makes an API of its address.
func (c *Config) resolveAPI(ctx context.Context, text string) (api engine.API, err error) {
	a, err := url.Parse(text)
	if err != nil || a.Scheme != "http" {
		return api, fmt.Errorf("--api %q is no address of a plain HTTP API; write it as http://host:port/api, several with commas", text)
	}
	api = engine.API{Host: a.Host, Path: strings.TrimSuffix(a.Path, "/") + "/publish", Key: c.APIKey}
	if strings.ContainsAny(c.APIKey, "\r\n") {
		return api, fmt.Errorf("--api-key contains a line break; give the key alone")
	}
	if api.Remote, err = lookUp(ctx, a); err != nil {
		return api, fmt.Errorf("--api %q: %w", text, err)
	}
	return api, nil
}

// lookUp finds the address of a URL's host, IPv4 first.
func lookUp(ctx context.Context, u *url.URL) (netip.AddrPort, error) {
	port := 80
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return netip.AddrPort{}, fmt.Errorf("port %q is none", p)
		}
		port = int(n)
	}
	name := u.Hostname()
	if name == "" {
		name = "127.0.0.1"
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return netip.AddrPortFrom(addr, uint16(port)), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil || len(addrs) == 0 {
		return netip.AddrPort{}, fmt.Errorf("the name %q cannot be resolved: %w; check the spelling, or give an IP address", name, err)
	}
	for _, a := range addrs {
		if a.Unmap().Is4() {
			return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
		}
	}
	return netip.AddrPortFrom(addrs[0], uint16(port)), nil
}

// metricsSources are where Config.Metrics says, or where the target has them by default: several processes behind one port have to be
// named, since it leads to one of them, each time to another.
func (c *Config) metricsSources(t target) (all []observe.Source, err error) {
	if c.Metrics == "" && len(c.ServerPIDs) > 1 {
		return nil, nil
	}
	if c.Metrics == "" {
		return []observe.Source{{Remote: t.remote, Host: t.host, Path: "/metrics"}}, nil
	}
	for text := range strings.SplitSeq(c.Metrics, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "http" {
			return nil, fmt.Errorf("--metrics %q is no plain HTTP address; write it as http://host:port/metrics, several with commas", text)
		}
		s := observe.Source{Host: u.Host, Path: u.RequestURI()}
		if s.Remote, err = lookUp(context.Background(), u); err != nil {
			return nil, fmt.Errorf("--metrics %q: %w", text, err)
		}
		all = append(all, s)
	}
	return all, nil
}

const waitPeriod = 50 * time.Millisecond // between two looks at a target that does not listen yet

// await waits until the target takes connections, at most Config.Wait; what it is then is for the engine to find out.
func (c *Config) await(ctx context.Context, t target) {
	if c.Wait == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	ticker := time.NewTicker(waitPeriod)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.remote.String()); err == nil {
			conn.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// advise appends what to change to an error that people see often. Errors are told apart by their texts, which are those of
// the kernel's error numbers and of package engine: the numbers themselves belong to the loop.
func advise(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, a := range [...]struct{ part, advice string }{
		{"connection refused", "start the server, or name its address with --target"},
		{"too many open files", "raise the descriptor limit (ulimit -n) or lower --connections"},
		{"cannot assign requested address", "no free source port or address: use more --sources, or widen net.ipv4.ip_local_port_range"},
		{"no route to host", "check --target and the firewall between"},
		{"network is unreachable", "check --target and the routes of this host"},
		{"no answer within", "the target accepts connections but does not answer: is it overloaded, or another service? See --step-timeout and --window"},
		{"timed out", "the target does not answer: check its address, a firewall, or lower --window"},
		{"loop: no answer within the dial timeout", "check the target's address, a firewall, or lower --window"},
		{"HTTP status 404", "the target has no such endpoint: name its path in --target (or --echo-path), as in ws://host:port/connection/websocket"},
		{"HTTP status 401", "give the key the server has in http_api.key: --api-key"},
		{"HTTP status 403", "the target refuses this origin or client"},
		{"HTTP status 503", "the target is at its connection limit or shuts down: raise client.connection_limit, or ask for fewer"},
		{"is none of a WebSocket server", "another service answers there: check the port in --target"},
		{"none of a WebSocket", "check --target"},
		{"HTTP status 400", "another service answers there, or another version of WebSocket: check --target"},
		{"HTTP status 200", "an ordinary web server answers there: name the WebSocket endpoint's path in --target"},
		{"closed by the target: 3500", "the target wants a valid token: --token"},
		{"closed by the target: 3501", "the target wants a token (--token), or anonymous clients to be allowed, or another --encoding"},
		{"answered by error 102", "the channel's namespace does not exist on the target: --channel"},
		{"answered by error 103", "the target's channel rules do not allow it: allow_subscribe_for_client and allow_publish_for_subscriber " +
			"(for anonymous clients also …_for_anonymous) in its configuration, a --token, or another --channel"},
		{"rpc was answered by error 104", "the target has no such method: name with --method one that answers with the call's own data"},
		{"rpc was answered by error 108", "the target answers no calls: give it an rpc proxy, or see --method"},
		{"answered by error 109", "the token has expired: --token"},
		{"(the WebSocket handshake)", "the target does not speak WebSocket there, or something between cuts connections: check the port in --target"},
		{"during the WebSocket handshake", "the target does not speak WebSocket there: check the port in --target"},
	} {
		if strings.Contains(text, a.part) {
			return fmt.Errorf("%w; %s", err, a.advice)
		}
	}
	return err
}
