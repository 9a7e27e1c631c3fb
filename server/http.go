package server

import (
	"context"
	"expvar"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/server/admin"
	"shoal/server/api"
	"shoal/server/channel"
	"shoal/server/metrics"
	"shoal/server/node"
)

// handlers are what the two ports serve; internal is nil when there is one port.
type handlers struct{ public, internal http.Handler }

func (p *Program) handlers() (handlers, error) {
	public, internal := http.NewServeMux(), http.NewServeMux()
	h := handlers{public: public, internal: internal}
	backstage := internal
	if p.cfg.HTTPServer.InternalPort == 0 {
		backstage, h.internal = public, nil
	}
	if err := p.mountAPI(backstage, public); err != nil {
		return handlers{}, err
	}
	if e := p.cfg.Health; e.Enabled {
		backstage.HandleFunc(e.HandlerPrefix, p.health)
	}
	if e := p.cfg.Prometheus; e.Enabled {
		registry := metrics.New(p.sources())
		backstage.HandleFunc(e.HandlerPrefix, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			if err := registry.WritePrometheus(w); err != nil {
				p.opts.Logger.Debug("metrics were not sent", "error", err)
			}
		})
	}
	if e := p.cfg.Debug; e.Enabled {
		mountDebug(backstage, strings.TrimSuffix(e.HandlerPrefix, "/"))
	}
	if p.cfg.Dev {
		public.Handle("/", admin.Demo())
	}
	return h, nil
}

// mountAPI puts the API backstage, and in public too if it is to be external.
func (p *Program) mountAPI(backstage, public *http.ServeMux) error {
	c := p.cfg.HTTPAPI
	if c.Disabled || c.Key == "" && !c.Insecure {
		return nil // serve says at start that the API is off
	}
	h, err := api.New(api.Config{
		Key: c.Key, Insecure: c.Insecure, Transport: c.ErrorMode == "transport",
		Count: p.api.count, Rejected: func() { p.api.rejected.Add(1) },
	}, service{p}, p.opts.Logger)
	if err != nil {
		return err
	}
	prefix := strings.TrimSuffix(c.HandlerPrefix, "/")
	mount := func(m *http.ServeMux) {
		if prefix != "" {
			m.Handle(prefix, http.StripPrefix(prefix, h))
		}
		m.Handle(prefix+"/", http.StripPrefix(prefix, h))
	}
	mount(backstage)
	if c.External && backstage != public {
		mount(public)
	}
	return nil
}

func mountDebug(m *http.ServeMux, prefix string) {
	m.HandleFunc(prefix+"/", func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, prefix+"/")
		switch name {
		case "cmdline":
			pprof.Cmdline(w, r)
		case "profile":
			pprof.Profile(w, r)
		case "symbol":
			pprof.Symbol(w, r)
		case "trace":
			pprof.Trace(w, r)
		case "":
			pprof.Index(w, r)
		default:
			pprof.Handler(name).ServeHTTP(w, r)
		}
	})
	m.Handle("/debug/vars", expvar.Handler())
}

// health answers {} while the node serves.
func (p *Program) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write([]byte("{}")); err != nil {
		p.opts.Logger.Debug("health was not sent", "error", err)
	}
}

// apiStats counts the calls of the API.
type apiStats struct {
	rejected atomic.Uint64
	mu       sync.Mutex
	calls    map[string]uint64 // by method
	errors   map[uint32]uint64 // by code
}

func (s *apiStats) count(method string, code uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls, s.errors = map[string]uint64{}, map[uint32]uint64{}
	}
	s.calls[method]++
	if code != 0 {
		s.errors[code]++
	}
}

// service is the node as the API sees it.
type service struct{ p *Program }

var _ api.Service = service{}

func (s service) Publish(ctx context.Context, name string, pub *channel.Publication) (channel.Position, *channel.Error) {
	return s.p.node.Publish(ctx, name, pub)
}

func (s service) Channels(ctx context.Context, match func(string) bool) (map[string]int, *channel.Error) {
	counts, err := s.p.node.Subscribers(ctx, match)
	return counts, s.failure("channels", err)
}

func (s service) Info(context.Context) (api.Info, *channel.Error) {
	stats := s.p.node.Stats()
	return api.Info{Nodes: []api.NodeInfo{{
		UID: s.p.opts.UID, Name: s.p.name(), Version: s.p.opts.Version,
		NumClients: int(stats.Connected.Load()), NumUsers: int(stats.Users.Load()),
		NumSubs: int(stats.Subscriptions.Load()), NumChannels: s.p.node.Channels(),
		Uptime: int64(s.p.opts.Clock().Sub(s.p.started).Seconds()),
	}}}, nil
}

func (s service) Disconnect(ctx context.Context, who api.Target, d channel.Disconnect) *channel.Error {
	if who.Session != "" {
		return nil // WebSocket sessions have no session id, so none fits
	}
	_, err := s.p.node.Disconnect(ctx, node.Target{User: who.User, Client: who.Client, Spare: who.Whitelist}, d)
	return s.failure("disconnect", err)
}

func (s service) failure(call string, err error) *channel.Error {
	if err == nil {
		return nil
	}
	s.p.opts.Logger.Warn("API call failed", "method", call, "error", err)
	return channel.ErrInternal.Err()
}
