package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/codec/deflate"
	"shoal/loop"
	"shoal/loop/poll"
	"shoal/pool/buffer"
	"shoal/pool/shared"
	"shoal/pool/worker"
	"shoal/server/api/hooks"
	"shoal/server/api/rpc"
	"shoal/server/backend"
	"shoal/server/broker/memory"
	"shoal/server/config"
	"shoal/server/entry"
	"shoal/server/node"
	"shoal/server/overload"
	"shoal/server/rate"
	"shoal/server/tenant"
	"shoal/server/transport/door"
	"shoal/server/transport/ws"
	"shoal/server/watch"
	"shoal/tuning"
)

// Options are what a program needs from its surroundings. All are required but
// NewPoller.
type Options struct {
	Version string
	Clock   func() time.Time
	Logger  *slog.Logger
	Random  [24]byte // from a cryptographic source: the key of the client ids
	UID     string   // unique in the cluster

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)

	// Sample replaces what is measured of overload in tests; nil = the real one.
	Sample func() overload.Sample

	// SetGCPercent has the collector's percentage follow the heap, see [steer.Steer]; nil = the
	// collector is left alone, as a program that has this one inside it will want.
	SetGCPercent func(percent int)

	// Embed is for a program that has this one inside it; the zero value serves alone.
	Embed Embed
}

// The rows of the handler table.
const (
	kindDoor loop.Kind = iota
	kindWebSocket
	kindEcho
	kinds
)

// Program is one server process: loops, node, front door, HTTP. Use [New].
type Program struct {
	cfg     config.Config
	opts    Options
	loops   *loop.Group
	node    *node.Node
	entry   *entry.Control
	broker  *memory.Broker
	bytes   *shared.Pool
	buffers *buffer.Pool
	codec   *deflate.Codec
	workers *worker.Pool
	hooks   *hooks.Hooks    // nil: no proxy is configured
	backend backend.Backend // nil: there is none
	rates   *rate.Commands
	tenants *tenant.Set // nil: there are none
	// What is left undone while there is too much to do; nil: nothing.
	overload *overload.Board
	watch    *watch.Watch // nil: there is nothing to watch for
	rows     []*row
	door     door.Stats

	started  time.Time
	ran      bool // Run or Close was called
	addr     netip.AddrPort
	out      *door.Listener
	internal net.Listener // nil: everything is on the front door
	servers  []*http.Server
	api      apiStats

	grpc         *rpc.Server // nil: off, as its listener
	grpcListener net.Listener

	overflows atomic.Uint64 // of accept queues, as of the last look
	reliefs   uint64        // of the backlog, the same

	partings *partings // nil: nobody wants to know
	panics   backend.Seldom
}

// row is what one loop serves.
type row struct {
	l       *loop.Loop
	shard   *node.Shard
	door    *door.Door
	ws      *ws.Transport
	echo    *ws.Transport // nil: off
	gate    *entry.Gate
	buffers *buffer.Table
}

// New wires a program and binds its ports; it serves nothing before Run. The error
// says what to change in the configuration or on the host.
func New(cfg config.Config, opts Options) (*Program, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	codec, err := deflate.New(deflate.CodecConfig{Level: cfg.WebSocket.CompressionLevel, CompressorsMax: max(16, 2*runtime.GOMAXPROCS(0))})
	if err != nil {
		return nil, err
	}
	p := &Program{
		cfg: cfg, opts: opts, started: opts.Clock(), broker: memory.New(memory.Config{Clock: opts.Clock}), codec: codec,
		bytes:   shared.NewPool(shared.Config{}),
		buffers: buffer.New(buffer.Config{}),
		out:     door.NewListener(waitingMax, requestConnsMax),
	}
	if cfg.Overload.Enabled {
		p.overload = &overload.Board{}
	}
	p.workers = worker.New(p.workerConfig())
	entryConfig, err := p.entryConfig()
	if err != nil {
		return nil, err
	}
	if p.entry, err = entry.New(entryConfig); err != nil {
		return nil, err
	}
	nodeConfig, err := p.nodeConfig()
	if err != nil {
		return nil, err
	}
	p.useCallbacks(&nodeConfig)
	if p.node, err = node.New(nodeConfig, p.broker); err != nil {
		return nil, err
	}
	if err := p.openLoops(); err != nil {
		return nil, err
	}
	if p.watch, err = watch.New(p.watchConfig()); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.listen(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.overflows.Store(tuning.ReadAcceptQueue().Overflows)
	return p, nil
}

// workerPanicked logs what a question to the backend, or a token, did to a worker. What
// clients can bring about again and again is logged seldom.
func (p *Program) workerPanicked(value any, stack []byte) {
	due, before := p.panics.Due("worker", p.opts.Clock())
	if !due {
		return
	}
	p.opts.Logger.Error("panic recovered", "where", "worker", "panic", fmt.Sprint(value), "unlogged", before, "stack", string(stack))
}

// HTTP conns that left the loops: how many may wait for the HTTP server, and how
// many there may be. Each costs a goroutine and two buffers.
const (
	waitingMax      = 1024
	requestConnsMax = 8192
)

// openLoops makes the loops and their rows.
func (p *Program) openLoops() error {
	var failed error
	group, err := loop.New(p.loopConfig(), func(l *loop.Loop) []loop.Handler {
		r, err := p.newRow(l)
		if err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		p.rows = append(p.rows, r)
		return r.table()
	})
	if err == nil && failed != nil { // what the loops hold goes with them
		err = group.Shutdown(context.Background())
	}
	p.loops = group
	return errors.Join(failed, err)
}

// newRow makes what one loop serves.
func (p *Program) newRow(l *loop.Loop) (*row, error) {
	shard, err := p.node.Attach(l)
	if err != nil {
		return nil, err
	}
	r := &row{l: l, shard: shard, gate: entry.NewGate(p.entry, l), buffers: buffer.NewTable(p.buffers)}
	wsConfig, err := p.webSocketConfig(l)
	if err != nil {
		return nil, err
	}
	wsConfig.Admission = r.gate
	if r.ws, err = ws.New(l, shard, r.buffers, p.codec, wsConfig); err != nil {
		return nil, err
	}
	shard.Use(r.ws)
	doorConfig, err := p.doorConfig(l)
	if err != nil {
		return nil, err
	}
	r.door = door.New(l, r.buffers, doorConfig, &p.door)
	if !p.cfg.WebSocket.Disabled {
		r.door.Route(p.cfg.WebSocket.HandlerPrefix, r.ws)
	}
	if p.cfg.Echo.Path != "" {
		echo := &ws.Echo{}
		if r.echo, err = ws.New(l, echo, r.buffers, p.codec, p.echoConfig()); err != nil {
			return nil, err
		}
		echo.Use(r.echo)
		r.door.Route(p.cfg.Echo.Path, r.echo)
	}
	return r, nil
}

// table is the loop's handler table.
func (r *row) table() []loop.Handler {
	t := make([]loop.Handler, kinds)
	t[kindDoor], t[kindWebSocket] = r.door, r.ws
	if r.echo != nil {
		t[kindEcho] = r.echo
	}
	return t
}

// listen binds the front door and the internal port.
func (p *Program) listen() error {
	var err error
	if !p.opts.Embed.NoListener {
		front := hostPort(p.cfg.HTTPServer.Address, p.cfg.HTTPServer.Port)
		if p.addr, err = p.loops.Listen(front, kindDoor); err != nil {
			return err
		}
		p.out.Bound(net.TCPAddrFromAddrPort(p.addr))
	}
	if err := p.openGRPC(); err != nil {
		return err
	}
	if p.cfg.HTTPServer.InternalPort == 0 {
		return nil
	}
	host := p.cfg.HTTPServer.InternalAddress
	if host == "" {
		host = p.cfg.HTTPServer.Address
	}
	p.internal, err = net.Listen("tcp", hostPort(host, p.cfg.HTTPServer.InternalPort))
	if err != nil {
		return fmt.Errorf("http_server.internal_port: cannot listen: %w; choose another port or stop the program that holds it", err)
	}
	return nil
}

// hostPort joins an address, which may be an IPv6 one in brackets already, and a port.
func hostPort(address string, port int) string {
	return net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(port))
}

// name is what the info API calls the node: node.name, or host name and port, and the process id where others share the port.
func (p *Program) name() string {
	if p.cfg.Node.Name != "" {
		return p.cfg.Node.Name
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if p.cfg.HTTPServer.SharePort { // with others of that name
		return fmt.Sprintf("%s_%d_%d", host, p.addr.Port(), os.Getpid())
	}
	return fmt.Sprintf("%s_%d", host, p.addr.Port())
}

// Addr is the address of the front door.
func (p *Program) Addr() netip.AddrPort { return p.addr }

// InternalAddr is the address of the internal port, nil when there is none.
func (p *Program) InternalAddr() net.Addr {
	if p.internal == nil {
		return nil
	}
	return p.internal.Addr()
}

// GRPCAddr is the address of the gRPC API, nil when it is off.
func (p *Program) GRPCAddr() net.Addr {
	if p.grpcListener == nil {
		return nil
	}
	return p.grpcListener.Addr()
}

// Run serves until ctx ends or a part fails, then shuts down: sessions are closed
// with code 3001, what is queued is sent, HTTP requests are finished. It returns
// nil after a shutdown that was in time.
func (p *Program) Run(ctx context.Context) error {
	handlers, err := p.handlers()
	if err != nil {
		return errors.Join(err, p.Close())
	}
	p.ran = true
	p.broker.Start(p.node)
	g, ctx := errgroup.WithContext(ctx)
	brokerCtx, stopBroker := context.WithCancel(context.WithoutCancel(ctx))
	brokerEnded := make(chan struct{})
	g.Go(func() error {
		defer close(brokerEnded)
		return p.broker.Run(brokerCtx, p.node)
	})
	g.Go(func() error { return p.loops.Run(context.WithoutCancel(ctx)) })
	g.Go(func() error { return p.housekeep(ctx) })
	g.Go(func() error { return p.tend(ctx) })
	g.Go(func() error { return p.measure(ctx) })
	p.serve(g, handlers.public, p.out)
	if p.internal != nil {
		p.serve(g, handlers.internal, p.internal)
	}
	if p.grpc != nil {
		g.Go(func() error { return p.grpc.Serve(p.grpcListener) })
	}
	if p.hooks != nil {
		for _, send := range p.hooks.Senders() {
			g.Go(func() error { return send(ctx) })
		}
	}
	g.Go(func() error {
		<-ctx.Done()
		return p.shutdown(func(ctx context.Context) error {
			stopBroker()
			select {
			case <-brokerEnded:
				return p.node.Drain(ctx)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	return g.Wait()
}

// serve runs an HTTP server on a listener.
func (p *Program) serve(g *errgroup.Group, h http.Handler, l net.Listener) {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: p.cfg.Handshake.Timeout,
		ReadTimeout:       requestTimeout,
		IdleTimeout:       requestTimeout,
		MaxHeaderBytes:    p.cfg.Handshake.HeaderSizeLimit,
		ErrorLog:          slog.NewLogLogger(p.opts.Logger.Handler(), slog.LevelWarn),
	}
	p.servers = append(p.servers, s)
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("HTTP server: %w", err)
		}
		return nil
	})
}

// requestTimeout bounds the reading of a request, and the silence between two.
const requestTimeout = 60 * time.Second

// shutdown ends everything within the configured time. First drain: no publication
// is accepted any more, and those that were are queued to their receivers. Only then
// are conns closed, and what is queued goes out before their close frames.
func (p *Program) shutdown(drain func(ctx context.Context) error) error {
	p.opts.Logger.Info("shutting down", "timeout", p.cfg.Shutdown.Timeout)
	ctx, cancel := context.WithTimeout(context.Background(), p.cfg.Shutdown.Timeout)
	defer cancel()
	err := errors.Join(drain(ctx), p.loops.Shutdown(ctx))
	p.endWorkers(ctx)
	err = errors.Join(err, p.closeHooks(ctx), p.partings.close(ctx))
	if p.grpc != nil {
		err = errors.Join(err, p.grpc.Shutdown(ctx))
	}
	for _, s := range p.servers {
		if late := s.Shutdown(ctx); late != nil {
			err = errors.Join(err, late, s.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("shutdown took longer than shutdown.timeout (%s), what was left has been cut: %w", p.cfg.Shutdown.Timeout, err)
	}
	return nil
}

// endWorkers lets questions that are being asked end; after a quarter of the time for the
// shutdown their contexts do. Their sessions are gone by now.
func (p *Program) endWorkers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Shutdown.Timeout/4)
	defer cancel()
	if err := p.workers.Close(ctx); err != nil {
		p.opts.Logger.Warn("questions to the backend were given up", "error", err)
	}
}

// Close frees what New bound if the program was never Run. It does nothing after
// Run, which frees everything itself.
func (p *Program) Close() error {
	if p.ran {
		return nil
	}
	p.ran = true
	var err error
	if p.internal != nil {
		err = p.internal.Close()
	}
	if p.grpcListener != nil {
		err = errors.Join(err, p.grpcListener.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return errors.Join(err, p.out.Close(), p.loops.Run(ctx))
}
