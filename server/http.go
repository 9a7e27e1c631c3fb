package server

import (
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/server/admin"
	"shoal/server/api"
	"shoal/server/api/rpc"
	"shoal/server/metrics"
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
	if e := p.cfg.Swagger; e.Enabled {
		backstage.Handle(e.HandlerPrefix, api.OpenAPI())
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
		BodyBytesMax: int64(c.BodySizeLimit), BatchMax: c.BatchLimit, BroadcastMax: c.BroadcastLimit,
		Workers: p.workers, Spread: p.broker.Blocking(), AccessLog: p.accessLog(), Clock: p.opts.Clock,
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

// accessLog is where calls of the API are logged; nil for nowhere.
func (p *Program) accessLog() *slog.Logger {
	if !p.cfg.HTTPAPI.AccessLog {
		return nil
	}
	return p.opts.Logger
}

// openGRPC binds the port of the gRPC API.
func (p *Program) openGRPC() error {
	c := p.cfg.GRPCAPI
	if !c.Enabled {
		return nil
	}
	cfg := rpc.Config{
		Key: c.Key, Insecure: c.Insecure, Transport: c.ErrorMode == "transport", MessageBytesMax: c.MaxReceiveMessageSize,
		Clock: p.opts.Clock, Count: p.api.count, Rejected: func() { p.api.rejected.Add(1) },
	}
	if log := p.accessLog(); log != nil {
		cfg.Access = func(a rpc.Access) {
			log.Info("API call", "method", a.Method, "status", a.Status, "error", a.Error, "duration", a.Duration, "remote", a.Remote)
		}
	}
	var err error
	if p.grpc, err = rpc.New(cfg, p.API(), p.opts.Logger); err != nil {
		return fmt.Errorf("grpc_api: %w", err)
	}
	if p.grpcListener, err = net.Listen("tcp", hostPort(c.Address, c.Port)); err != nil {
		return fmt.Errorf("grpc_api.port: cannot listen: %w; choose another port or stop the program that holds it", err)
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

// health answers {} while the node serves; 503 from overload.unhealthy_level on, for balancers.
func (p *Program) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if from := p.cfg.Overload.UnhealthyLevel; from > 0 && int(p.overload.Level()) >= from {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
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
