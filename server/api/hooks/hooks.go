package hooks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"shoal/server/backend"
	"shoal/server/channel"
)

// routes are the lines of one event by the name of their endpoint.
type routes map[string]*line

// Hooks asks backends. It implements [backend.Backend]. Any goroutine.
type Hooks struct {
	cfg       Config
	routes    [backend.EventCount]routes
	rpc       map[string]RPCOptions // by namespace; "" without
	asksRPC   bool
	lines     []*line // by event and name
	endpoints []*endpoint
}

var _ backend.Backend = (*Hooks)(nil)

// New makes the hooks. It dials nobody: a backend may come up later. An error has every
// mistake of the configuration.
func New(cfg Config) (*Hooks, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hooks{cfg: cfg, rpc: map[string]RPCOptions{"": cfg.RPCWithoutNamespace}}
	for i := range h.routes {
		h.routes[i] = routes{}
	}
	for _, n := range cfg.RPCNamespaces {
		h.rpc[n.Name] = n.RPCOptions
	}
	if err := errors.Join(h.connectRoutes(), h.namedRoutes()); err != nil {
		return nil, err
	}
	if err := errors.Join(h.checkChannels(), h.checkRPC()); err != nil {
		return nil, err
	}
	for i := range h.routes {
		for _, name := range slices.Sorted(maps.Keys(h.routes[i])) {
			h.lines = append(h.lines, h.routes[i][name])
		}
	}
	return h, nil
}

// connectRoutes makes the endpoints that belong to one event.
func (h *Hooks) connectRoutes() error {
	var errs []error
	for event, e := range [backend.EventCount]*Endpoint{
		backend.Connect: h.cfg.Connect, backend.Refresh: h.cfg.Refresh, backend.Subscribe: h.cfg.Subscribe, backend.SubRefresh: h.cfg.SubRefresh,
		backend.Publish: h.cfg.Publish, backend.RPC: h.cfg.RPC, backend.ChannelState: h.cfg.State,
	} {
		if e != nil {
			errs = append(errs, h.route(channel.ProxyDefault, *e, backend.Event(event)))
		}
	}
	return errors.Join(errs...)
}

// namedRoutes makes the endpoints that several events may share.
func (h *Hooks) namedRoutes() error {
	used := h.named()
	var errs []error
	for _, n := range h.cfg.Named {
		if events := used[n.Name]; len(events) > 0 {
			errs = append(errs, h.route(n.Name, n.Endpoint, events...))
		}
	}
	return errors.Join(errs...)
}

// route makes an endpoint and its lines.
func (h *Hooks) route(name string, e Endpoint, events ...backend.Event) error {
	ep, err := newEndpoint(e)
	if err != nil {
		return fmt.Errorf("proxy %q: %w", name, err)
	}
	h.endpoints = append(h.endpoints, ep)
	for _, event := range events {
		l := &line{event: event, name: name, ep: ep, cfg: &h.cfg, breaker: breakerOf(ep, &h.cfg)}
		if event == backend.ChannelState {
			l.pending = newPending(h.cfg.StatePendingMax)
		}
		h.routes[event][name] = l
	}
	return nil
}

// wish is an event that a namespace asks about, and where.
type wish struct {
	event backend.Event
	key   string // of the option that names it
	name  string
}

// wishes lists what the options of channels ask for.
func wishes(o *channel.Options) []wish {
	var out []wish
	for _, w := range []struct {
		on bool
		wish
	}{
		{o.SubscribeProxyEnabled, wish{backend.Subscribe, "subscribe_proxy_name", o.SubscribeProxyName}},
		{o.SubRefreshProxyEnabled, wish{backend.SubRefresh, "sub_refresh_proxy_name", o.SubRefreshProxyName}},
		{o.PublishProxyEnabled, wish{backend.Publish, "publish_proxy_name", o.PublishProxyName}},
		{o.StateProxyEnabled, wish{backend.ChannelState, "state_proxy_name", o.StateProxyName}},
	} {
		if w.on {
			out = append(out, w.wish)
		}
	}
	return out
}

// named lists the events that each endpoint is asked about.
func (h *Hooks) named() map[string][]backend.Event {
	used := map[string][]backend.Event{}
	add := func(name string, e backend.Event) {
		if !slices.Contains(used[name], e) {
			used[name] = append(used[name], e)
		}
	}
	h.cfg.Rules.Each(func(_ string, o *channel.Options) {
		for _, w := range wishes(o) {
			add(w.name, w.event)
		}
	})
	for _, o := range h.rpc {
		if o.ProxyEnabled {
			add(orDefault(o.ProxyName), backend.RPC)
		}
	}
	return used
}

// checkChannels looks for channels that ask where there is nobody.
func (h *Hooks) checkChannels() error {
	own := [backend.EventCount]string{
		backend.Subscribe: "channel.proxy.subscribe", backend.SubRefresh: "channel.proxy.sub_refresh",
		backend.Publish: "channel.proxy.publish", backend.ChannelState: "channel.proxy.state",
	}
	var errs []error
	h.cfg.Rules.Each(func(namespace string, o *channel.Options) {
		where := "channel.without_namespace"
		if namespace != "" {
			where = "channel.namespaces (" + namespace + ")"
		}
		for _, w := range wishes(o) {
			if h.routes[w.event][w.name] == nil {
				errs = append(errs, missing(where+"."+w.key, w.name, own[w.event]))
			}
		}
	})
	return errors.Join(errs...)
}

// checkRPC does the same for methods.
func (h *Hooks) checkRPC() error {
	var errs []error
	for _, namespace := range slices.Sorted(maps.Keys(h.rpc)) {
		o := h.rpc[namespace]
		if !o.ProxyEnabled {
			continue
		}
		h.asksRPC = true
		where := "rpc.without_namespace"
		if namespace != "" {
			where = "rpc.namespaces (" + namespace + ")"
		}
		if h.routes[backend.RPC][orDefault(o.ProxyName)] == nil {
			errs = append(errs, missing(where+".proxy_name", orDefault(o.ProxyName), "rpc.proxy"))
		}
	}
	return errors.Join(errs...)
}

func missing(key, name, own string) error {
	if name == channel.ProxyDefault {
		return fmt.Errorf("%s is %q, but %s.endpoint is empty; set it, or name one of proxies", key, name, own)
	}
	return fmt.Errorf("%s is %q, which is not in proxies; add it there, or use %q for %s", key, name, channel.ProxyDefault, own)
}

func orDefault(name string) string {
	if name == "" {
		return channel.ProxyDefault
	}
	return name
}

// Handles implements [backend.Backend]. It does not allocate. For RPC it is true as soon
// as any method is asked about: RPC itself refuses those that are not.
func (h *Hooks) Handles(e backend.Event, _ string, o *channel.Options) bool {
	switch e {
	case backend.Connect, backend.Refresh:
		return len(h.routes[e]) > 0
	case backend.RPC:
		return h.asksRPC
	case backend.Subscribe:
		return o != nil && o.SubscribeProxyEnabled
	case backend.SubRefresh:
		return o != nil && o.SubRefreshProxyEnabled
	case backend.Publish:
		return o != nil && o.PublishProxyEnabled
	case backend.ChannelState:
		return o != nil && o.StateProxyEnabled
	}
	return false
}

// HTTPHeaders lists the headers of upgrade requests that some endpoint wants, lower-case
// and sorted: those a conn must keep for [backend.Client].Headers.
func (h *Hooks) HTTPHeaders() []string {
	return h.wanted(func(e *Endpoint) []string { return e.HTTPHeaders })
}

// EmulatedHeaders lists those of connect commands, for [backend.Client].Emulated.
func (h *Hooks) EmulatedHeaders() []string {
	return h.wanted(func(e *Endpoint) []string { return e.EmulatedHeaders })
}

func (h *Hooks) wanted(of func(e *Endpoint) []string) []string {
	var names []string
	for _, ep := range h.endpoints {
		names = append(names, lower(of(&ep.Endpoint))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// rpcLine finds the endpoint of a method: of the namespace before the boundary, if there
// is one.
func (h *Hooks) rpcLine(method string) (*line, channel.Refusal) {
	namespace, _, found := strings.Cut(method, h.cfg.RPCNamespaceBoundary)
	if !found {
		namespace = ""
	}
	o, known := h.rpc[namespace]
	switch {
	case !known:
		return nil, channel.RefuseError(channel.ErrMethodNotFound)
	case !o.ProxyEnabled:
		return nil, channel.RefuseError(channel.ErrNotAvailable)
	}
	return h.routes[backend.RPC][orDefault(o.ProxyName)], channel.Refusal{}
}

// channelLine finds the endpoint of a channel for an event. A channel that does not
// exist, or that this is not asked about, is refused.
func (h *Hooks) channelLine(e backend.Event, name string) (*line, channel.Refusal) {
	o, err := h.cfg.Rules.Resolve(name)
	if err != nil {
		return nil, channel.Refusal{Err: err}
	}
	if !h.Handles(e, "", o) {
		return nil, channel.RefuseError(channel.ErrNotAvailable)
	}
	proxy := ""
	switch e {
	case backend.Subscribe:
		proxy = o.SubscribeProxyName
	case backend.SubRefresh:
		proxy = o.SubRefreshProxyName
	case backend.Publish:
		proxy = o.PublishProxyName
	case backend.ChannelState:
		proxy = o.StateProxyName
	}
	return h.routes[e][proxy], channel.Refusal{}
}
