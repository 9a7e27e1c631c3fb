package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/codec/proto"
	"shoal/pool/worker"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/node"
)

// What callbacks are asked and answer; see package backend for the fields.
type (
	Client            = backend.Client
	ConnectRequest    = backend.ConnectRequest
	ConnectReply      = backend.ConnectReply
	RefreshRequest    = backend.RefreshRequest
	RefreshReply      = backend.RefreshReply
	SubscribeRequest  = backend.SubscribeRequest
	SubscribeReply    = backend.SubscribeReply
	SubRefreshRequest = backend.SubRefreshRequest
	SubRefreshReply   = backend.SubRefreshReply
	PublishRequest    = backend.PublishRequest
	PublishReply      = backend.PublishReply
	RPCRequest        = backend.RPCRequest
	RPCReply          = backend.RPCReply
	MessageRequest    = backend.SendRequest
	ChannelState      = backend.ChannelStateRequest
	ServerSub         = channel.ServerSub
	// Error as the error of a callback is the reply to the command; codes 400 to 1999
	// are the application's.
	Error = channel.Error
	// Disconnect as the error of a callback ends the session; codes 4000 to 4999 are the
	// application's, and clients come back after those below 4500.
	Disconnect = channel.Disconnect
)

// Callbacks are functions of the program that embeds the server; nil is one that has
// nothing to say, and the configuration decides. A callback comes before the proxy that
// is configured for the same event.
//
// They run on workers and may block; for one session they are called one after the other,
// for several at the same time. ctx ends when the program stops. Requests and what they
// point to are the callee's.
//
// An error that is an *[Error] or a *[Disconnect] refuses what the client wanted; any other
// one, and no reply without an error, is logged, for each callback once in ten seconds at
// most, and the client is told to try again: by error 100, one that connects by disconnect
// 3004.
type Callbacks struct {
	// OnConnecting says who a client is that connects without a token. A reply without
	// User is an anonymous client. Middleware around [Program.Handler] that knows the user
	// can also say so by client.user_id_http_header; this is asked in its stead.
	OnConnecting func(ctx context.Context, r *ConnectRequest) (*ConnectReply, error)
	// OnRefresh says whether a session goes on whose credentials end.
	OnRefresh func(ctx context.Context, r *RefreshRequest) (*RefreshReply, error)
	// OnSubscribe says whether a client may subscribe that has no token for it. It is asked
	// for every channel but the private and user-limited ones, in the namespace's stead.
	OnSubscribe func(ctx context.Context, r *SubscribeRequest) (*SubscribeReply, error)
	// OnSubRefresh says whether a subscription goes on that ends.
	OnSubRefresh func(ctx context.Context, r *SubRefreshRequest) (*SubRefreshReply, error)
	// OnPublish says whether a client may publish, and what.
	OnPublish func(ctx context.Context, r *PublishRequest) (*PublishReply, error)
	// OnRPC answers a client's call, and rpc of the server API (Client.Transport is "api"
	// then). A method it does not know it refuses with [MethodNotFound].
	OnRPC func(ctx context.Context, r *RPCRequest) (*RPCReply, error)
	// OnMessage takes a message that has no answer; only a *Disconnect can refuse it. What
	// the client sends next waits until it returns. A message is dropped, and counted, when
	// too many questions wait for a worker.
	OnMessage func(ctx context.Context, r *MessageRequest) error
	// OnDisconnect is told of every session that had connected and has ended: why.Code is
	// 3000 when the client went. Not in order among sessions, but always, also for those
	// that end with the program; only behind a callback that blocks while a million
	// sessions end is one passed over, which is logged.
	OnDisconnect func(ctx context.Context, c *Client, why Disconnect)
	// OnChannelState is told that a channel got its first member or lost its last one, in
	// order for each channel.
	OnChannelState func(ctx context.Context, r *ChannelState) error

	// Headers names the headers of the request that opened a conn which callbacks want to
	// find in Client.Headers, such as Cookie; case does not matter. They are kept as long
	// as the conn is.
	Headers []string
	// EmulatedHeaders names those of the connect command for Client.Emulated. The client
	// can write anything into them.
	EmulatedHeaders []string
}

// PermissionDenied as the error of a callback refuses with error 103.
func PermissionDenied() error { return channel.ErrPermissionDenied.Err() }

// MethodNotFound as the error of OnRPC refuses with error 104.
func MethodNotFound() error { return channel.ErrMethodNotFound.Err() }

// Unauthorized as the error of OnConnecting disconnects with 3500; the client stays away.
func Unauthorized() error { return channel.DisconnectInvalidToken.Disconnect() }

// any says whether there is a callback that the node asks.
func (c *Callbacks) any() bool {
	return slices.ContainsFunc(backendEvents(), c.has)
}

func backendEvents() []backend.Event {
	events := make([]backend.Event, backend.EventCount)
	for i := range events {
		events[i] = backend.Event(i)
	}
	return events
}

// has says whether there is a callback for the event.
func (c *Callbacks) has(e backend.Event) bool {
	switch e {
	case backend.Connect:
		return c.OnConnecting != nil
	case backend.Refresh:
		return c.OnRefresh != nil
	case backend.Subscribe:
		return c.OnSubscribe != nil
	case backend.SubRefresh:
		return c.OnSubRefresh != nil
	case backend.Publish:
		return c.OnPublish != nil
	case backend.RPC:
		return c.OnRPC != nil
	case backend.Send:
		return c.OnMessage != nil
	case backend.ChannelState:
		return c.OnChannelState != nil
	}
	return false
}

// useCallbacks puts the callbacks before what the configuration named as backend.
func (p *Program) useCallbacks(n *node.Config) {
	c := &p.opts.Embed.Callbacks
	if c.any() {
		p.backend = &callbacks{Callbacks: c, next: p.backend, log: p.opts.Logger, clock: p.opts.Clock}
		n.Backend = p.backend
	}
	if c.OnDisconnect != nil {
		p.partings = newPartings(c.OnDisconnect, p.workerPanicked, p.opts.Logger)
		n.Ended = p.partings.add
	}
	if len(c.Headers) > 0 { // the proxies have taken their lists already
		kept := &p.cfg.Client.Proxy.Connect.HTTPHeaders
		*kept = slices.Concat(*kept, c.Headers)
		n.HeadersKept = true
	}
	n.Session.Send = n.Session.Send || c.OnMessage != nil
	n.Emulated = slices.Clone(n.Emulated)
	for _, name := range c.EmulatedHeaders {
		n.Emulated = append(n.Emulated, strings.ToLower(name))
	}
}

// callbacks are Callbacks as the node asks them. next is asked about other events; nil:
// nobody is.
type callbacks struct {
	*Callbacks
	next     backend.Backend
	log      *slog.Logger
	clock    func() time.Time
	failures backend.Seldom
}

var _ backend.Backend = (*callbacks)(nil)

// Handles implements [backend.Backend].
func (c *callbacks) Handles(e backend.Event, subject string, opts *channel.Options) bool {
	return c.has(e) || c.next != nil && c.next.Handles(e, subject, opts)
}

var errNoReply = errors.New("it returned neither a reply nor an error")

// replied judges what a callback returned. info is what other clients are shown, data is
// for the client alone: what is no JSON would end those that speak it.
func replied[R any](c *callbacks, e backend.Event, client *Client, r *R, err error, payloads func(*R) (info, data []byte), refuse func(channel.Refusal) *R) (*R, error) {
	if err == nil && r != nil {
		info, data := payloads(r)
		if !jsonOrNone(info) {
			err = errors.New("its Info is no JSON, which clients are shown as JSON")
		} else if client.Encoding == proto.JSON.String() && !jsonOrNone(data) {
			err = errors.New("its Data is no JSON, and the client speaks JSON")
		} else {
			return r, nil
		}
	}
	if err == nil {
		err = errNoReply
	}
	if refusal := refusalOf(err); refusal.Refused() {
		return refuse(refusal), nil
	}
	c.failed(e, err)
	return nil, err
}

// failed sometimes logs a failure.
func (c *callbacks) failed(e backend.Event, err error) {
	if due, before := c.failures.Due(e.String(), c.clock()); due {
		c.log.Warn("callback failed", "event", e.String(), "error", err, "unlogged", before)
	}
}

func jsonOrNone(b []byte) bool { return len(b) == 0 || proto.ValidJSON(b) }

// refusalOf is the refusal that an error of a callback stands for, if it does.
func refusalOf(err error) channel.Refusal {
	if e := (*channel.Error)(nil); errors.As(err, &e) && e != nil {
		return channel.Refusal{Err: e}
	}
	if d := (*channel.Disconnect)(nil); errors.As(err, &d) && d != nil {
		return channel.Refusal{Disconnect: d}
	}
	return channel.Refusal{}
}

// Connect implements [backend.Backend], as do the following.
func (c *callbacks) Connect(ctx context.Context, r *ConnectRequest) (*ConnectReply, error) {
	if c.OnConnecting == nil {
		return c.next.Connect(ctx, r)
	}
	reply, err := c.OnConnecting(ctx, r)
	return replied(c, backend.Connect, &r.Client, reply, err,
		func(r *ConnectReply) (info, data []byte) { return r.Info, r.Data },
		func(no channel.Refusal) *ConnectReply { return &ConnectReply{Refusal: no} })
}

// Refresh is asked by the node.
func (c *callbacks) Refresh(ctx context.Context, r *RefreshRequest) (*RefreshReply, error) {
	if c.OnRefresh == nil {
		return c.next.Refresh(ctx, r)
	}
	reply, err := c.OnRefresh(ctx, r)
	return replied(c, backend.Refresh, &r.Client, reply, err,
		func(r *RefreshReply) (info, data []byte) { return r.Info, nil },
		func(no channel.Refusal) *RefreshReply { return &RefreshReply{Refusal: no} })
}

// Subscribe is asked by the node.
func (c *callbacks) Subscribe(ctx context.Context, r *SubscribeRequest) (*SubscribeReply, error) {
	if c.OnSubscribe == nil {
		return c.next.Subscribe(ctx, r)
	}
	reply, err := c.OnSubscribe(ctx, r)
	return replied(c, backend.Subscribe, &r.Client, reply, err,
		func(r *SubscribeReply) (info, data []byte) { return r.Info, r.Data },
		func(no channel.Refusal) *SubscribeReply { return &SubscribeReply{Refusal: no} })
}

// SubRefresh is asked by the node.
func (c *callbacks) SubRefresh(ctx context.Context, r *SubRefreshRequest) (*SubRefreshReply, error) {
	if c.OnSubRefresh == nil {
		return c.next.SubRefresh(ctx, r)
	}
	reply, err := c.OnSubRefresh(ctx, r)
	return replied(c, backend.SubRefresh, &r.Client, reply, err,
		func(r *SubRefreshReply) (info, data []byte) { return r.Info, nil },
		func(no channel.Refusal) *SubRefreshReply { return &SubRefreshReply{Refusal: no} })
}

// Publish is asked by the node.
func (c *callbacks) Publish(ctx context.Context, r *PublishRequest) (*PublishReply, error) {
	if c.OnPublish == nil {
		return c.next.Publish(ctx, r)
	}
	reply, err := c.OnPublish(ctx, r)
	return replied(c, backend.Publish, &r.Client, reply, err,
		func(*PublishReply) (info, data []byte) { return nil, nil },
		func(no channel.Refusal) *PublishReply { return &PublishReply{Refusal: no} })
}

// RPC is asked by the node and the API.
func (c *callbacks) RPC(ctx context.Context, r *RPCRequest) (*RPCReply, error) {
	if c.OnRPC == nil {
		return c.next.RPC(ctx, r)
	}
	reply, err := c.OnRPC(ctx, r)
	return replied(c, backend.RPC, &r.Client, reply, err,
		func(r *RPCReply) (info, data []byte) { return nil, r.Data },
		func(no channel.Refusal) *RPCReply { return &RPCReply{Refusal: no} })
}

// Send is asked by the node.
func (c *callbacks) Send(ctx context.Context, r *MessageRequest) (channel.Refusal, error) {
	if c.OnMessage == nil {
		return c.next.Send(ctx, r)
	}
	err := c.OnMessage(ctx, r)
	refusal := refusalOf(err)
	if refusal.Disconnect != nil {
		err = nil // it is the answer
	}
	if err != nil {
		c.failed(backend.Send, err)
	}
	return channel.Refusal{Disconnect: refusal.Disconnect}, err
}

// ChannelState is told by the node.
func (c *callbacks) ChannelState(ctx context.Context, r *ChannelState) error {
	if c.OnChannelState == nil {
		return c.next.ChannelState(ctx, r)
	}
	err := c.OnChannelState(ctx, r)
	if err != nil {
		c.failed(backend.ChannelState, err)
	}
	return err
}

// partings tells OnDisconnect of sessions that ended, away from the loops.
type partings struct {
	tell    func(ctx context.Context, c *Client, why Disconnect)
	log     *slog.Logger
	workers *worker.Pool // of its own: it outlives the loops, and a callback that blocks harms no other

	mu      sync.Mutex
	waiting []parting
	tellers int  // jobs at work or on their way
	full    bool // some are being passed over
}

type parting struct {
	client Client
	why    Disconnect
}

const (
	partingsMax = 1 << 20 // that wait; about 200 MB
	tellersMax  = 8
)

func newPartings(tell func(context.Context, *Client, Disconnect), panicked func(any, []byte), log *slog.Logger) *partings {
	return &partings{tell: tell, log: log, workers: worker.New(worker.Config{Workers: tellersMax, QueueMax: tellersMax, OnPanic: panicked})}
}

// add is called on loops: it does not wait for anybody.
func (p *partings) add(c Client, why Disconnect) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == partingsMax {
		if !p.full {
			p.full = true
			p.log.Error("OnDisconnect does not keep up: ends of sessions are passed over; let it return sooner", "waiting", partingsMax)
		}
		return
	}
	p.full = false
	p.waiting = append(p.waiting, parting{c, why})
	if p.tellers < tellersMax && p.workers.Submit(context.Background(), teller{p}) == nil {
		p.tellers++ // the queue has a place for every teller; it refuses only when it was closed, with those that are left
	}
}

// next takes what waited longest; ok is false when the teller is to go.
func (p *partings) next() (one parting, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.waiting = nil
		p.tellers--
		return parting{}, false
	}
	one = p.waiting[0]
	p.waiting[0] = parting{}
	p.waiting = p.waiting[1:]
	return one, true
}

// close waits until all were told of, or ctx ends. The loops must have ended; nil has
// nothing to do.
func (p *partings) close(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.workers.Close(ctx)
}

// teller is the job that tells.
type teller struct{ *partings }

// Run implements [worker.Job].
func (t teller) Run(ctx context.Context) {
	told := false
	defer func() {
		if !told { // a callback panicked: another teller goes on
			t.again()
		}
	}()
	for ctx.Err() == nil {
		one, ok := t.next()
		if !ok {
			told = true
			return
		}
		t.tell(ctx, &one.client, one.why)
	}
	told = true // the program ends without them
}

// again replaces a teller that panicked.
func (t teller) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.workers.Submit(context.Background(), t) != nil {
		t.tellers--
	}
}
