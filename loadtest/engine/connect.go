package engine

import (
	"errors"
	"fmt"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/pace"
	"shoal/loadtest/engine/retry"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// Ids of commands: a subscribe has idSubscribe and its place among the peer's subscriptions; others follow, from Engine.idFirst on.
const (
	idConnect   = 1
	idSubscribe = 2
)

// dialBatch is how many connections are begun in one pass, so that answers are read meanwhile.
const dialBatch = 32

// connect is the task that takes every peer to ready for the first time.
func (e *Engine) connect(plan Connect, now int64) task {
	def(&plan.Window, windowDefault)
	return &connecting{e: e, began: now, first: e.count.Dialed, window: pace.Share(plan.Window, e.cfg.Of), rate: plan.Rate, plan: pace.Plan{
		Rate: plan.Rate, To: plan.To, Over: int64(plan.Over), Jitter: plan.Jitter, Index: e.cfg.Index, Of: e.cfg.Of,
	}}
}

type connecting struct {
	e       *Engine
	plan    pace.Plan
	rate    float64 // 0 = by window
	window  int
	began   int64
	first   int // connections dialed before
	stopped bool
}

func (t *connecting) stop(int64) { t.stopped = true }

func (t *connecting) step(now int64) (busy bool) {
	e := t.e
	all := len(e.peers)
	if t.stopped || e.count.Dialed == all && e.under == 0 {
		e.finish(nil)
		return false
	}
	for range dialBatch {
		due, is := t.due(now)
		if e.count.Dialed == all {
			return false
		}
		if !is {
			return t.rate > 0 && e.soon(due, now)
		}
		if err := e.dial(uint32(e.count.Dialed), due); err != nil {
			e.finish(err)
			return false
		}
		e.count.Dialed++
		e.under++
	}
	return true
}

// due is when the next connection is to be begun, and whether that is now.
func (t *connecting) due(now int64) (due int64, is bool) {
	e := t.e
	if t.rate == 0 {
		return now, e.under < t.window
	}
	due = t.began + t.plan.Due(e.count.Dialed-t.first)
	return due, due <= now && e.under < outstandingMax
}

// dial begins a connection of a peer, which was due then.
func (e *Engine) dial(peer uint32, due int64) error {
	p, number := &e.peers[peer], e.number(peer)
	if e.sys != nil {
		e.sys.Small(p.flags&peerStuck != 0)
	}
	slot, err := e.l.Dial(wire.Source(e.cfg.Sources, number), e.cfg.Remote, kindClient)
	if err != nil {
		return fmt.Errorf("connection %d cannot be begun: %w", number+1, err)
	}
	*e.conns.At(slot) = conn{number: peer}
	p.began, p.at, p.place = due, slot+1, placeHere
	if e.sys != nil {
		p.fd = e.sys.Last()
	}
	return nil
}

// enter moves a connection on and gives it time for the next step.
func (e *Engine) enter(slot uint32, c *conn, s step) {
	c.step = s
	e.l.Arm(slot, e.l.Ticks(e.cfg.StepTimeout))
}

// upgraded reads the answer to the handshake at the front of p and returns what follows it. ok is false when more is needed
// or the connection is lost.
func (e *Engine) upgraded(slot uint32, c *conn, p []byte) (rest []byte, ok bool) {
	var r handshake.Response
	n, status := e.wire.Response(&c.stream, e.number(c.number), p, &r)
	switch status {
	case handshake.Done:
	case handshake.NeedMore:
		return nil, false
	case handshake.Refused:
		e.wait = int64(retry.After(p[:n]))
		e.drop(slot, fmt.Errorf("the handshake was refused with HTTP status %d%s", r.Code, firstLine(p[n:])))
		return nil, false
	default:
		e.drop(slot, fmt.Errorf("the answer to the handshake is none of a WebSocket server (%s): %s", status, status.Text()))
		return nil, false
	}
	if e.cfg.BareEcho {
		e.ready(slot, c)
		return p[n:], true
	}
	if err := e.greet(slot, c); err != nil {
		e.drop(slot, err)
		return nil, false
	}
	e.enter(slot, c, stepConnecting)
	return p[n:], true
}

// firstLine is the beginning of a refusal's text, for a message to a person.
func firstLine(body []byte) string {
	n := 0
	for n < len(body) && n < 120 && body[n] >= ' ' && body[n] < 0x7f {
		n++
	}
	if n == 0 {
		return ""
	}
	return ": " + string(body[:n])
}

// greeting is the connect request with a token.
func (e *Engine) greeting(token string) *proto.ConnectRequest {
	return &proto.ConnectRequest{Token: token, Name: "shoal-loadtest"}
}

// greet sends the connect command; with a resume token it names the positions, too.
func (e *Engine) greet(slot uint32, c *conn) error {
	if e.cfg.Secret == "" && !e.cfg.Resume {
		e.wire.Send(slot, e.op, e.hello)
		return nil
	}
	connect := e.greeting(e.cfg.Token)
	if e.cfg.Secret != "" {
		var err error
		if connect.Token, err = e.mint.Token(e.number(c.number)); err != nil {
			return err
		}
	}
	if e.cfg.Resume {
		connect.Resume = "new"
		if token := e.tokens[c.number]; len(token) > 0 {
			connect.Resume = string(token)
			connect.Subs = make(map[string]*proto.SubscribeRequest, e.each)
			for j := range e.each {
				s := e.request(c.number, j)
				connect.Subs[s.Channel] = s
			}
		}
	}
	e.scratch = e.command(e.scratch[:0], &proto.Command{Id: idConnect, Connect: connect})
	e.wire.Send(slot, e.op, e.scratch)
	return nil
}

// request is the subscribe request of one subscription: from its position when it has one.
func (e *Engine) request(peer uint32, j int) *proto.SubscribeRequest {
	r := &proto.SubscribeRequest{Channel: e.layout.Name(e.books.Ref(peer, j))}
	r.Token = e.cfg.Tokens[r.Channel]
	if !e.cfg.Positions {
		return r
	}
	r.Positioned, r.Recoverable = true, true
	r.Offset, r.Epoch, r.Recover = e.books.Position(peer, j)
	return r
}

// command appends an encoded command; what the engine makes can be encoded.
func (e *Engine) command(b []byte, c *proto.Command) []byte {
	b, err := proto.AppendCommand(b, e.cfg.Encoding, c)
	if err != nil {
		panic(fmt.Sprintf("engine: a command cannot be encoded: %v", err))
	}
	return b
}

// connected handles the reply to connect.
func (e *Engine) connected(slot uint32, c *conn, r *proto.Reply) {
	if r.Error != nil {
		e.drop(slot, fmt.Errorf("connect was answered by error %d: %s", r.Error.Code, r.Error.Message))
		return
	}
	if r.Connect == nil || c.step != stepConnecting {
		e.drop(slot, errOutOfTurn)
		return
	}
	c.ping = uint16(min(r.Connect.Ping, 1<<16-1))
	if r.Connect.Pong {
		c.flags |= connPong
	}
	e.keepToken(c.number, r.Connect.Resume)
	if r.Connect.Resumed && e.peers[c.number].flags&peerWas != 0 {
		e.status.Resumed++
	}
	for name, result := range r.Connect.Subs {
		if ref, known := e.layout.Ref(name); known {
			if j := e.layout.Find(e.number(c.number), ref); j >= 0 {
				e.subscribed(slot, c, j, result)
			}
		}
	}
	e.subscribe(slot, c)
}

const commandsBytesMax = 16 << 10 // of commands in one frame; servers accept 64 KiB

// subscribe asks for what is not subscribed yet, all in one frame as the SDKs do.
func (e *Engine) subscribe(slot uint32, c *conn) {
	b := e.scratch[:0]
	for j := range e.each {
		if e.books.Live(c.number, j) {
			continue
		}
		c.waiting++
		if len(b) > 0 {
			b = proto.AppendSep(b, e.cfg.Encoding)
		}
		b = e.command(b, &proto.Command{Id: idSubscribe + uint32(j), Subscribe: e.request(c.number, j)})
		if len(b) > commandsBytesMax {
			e.wire.Send(slot, e.op, b)
			b = b[:0]
		}
	}
	if len(b) > 0 {
		e.wire.Send(slot, e.op, b)
	}
	e.scratch = b[:0]
	if c.waiting == 0 {
		e.ready(slot, c)
		return
	}
	e.enter(slot, c, stepSubscribing)
}

// joined handles the reply to a subscribe.
func (e *Engine) joined(slot uint32, c *conn, r *proto.Reply) {
	j := int(r.Id - idSubscribe)
	switch {
	case r.Error != nil:
		e.drop(slot, fmt.Errorf("subscribe to %q was answered by error %d: %s", e.layout.Name(e.books.Ref(c.number, j)), r.Error.Code, r.Error.Message))
	case r.Subscribe == nil || c.waiting == 0 || e.books.Live(c.number, j):
		e.drop(slot, errOutOfTurn)
	default:
		e.keepToken(c.number, r.Subscribe.Resume)
		e.subscribed(slot, c, j, r.Subscribe)
		if c.waiting--; c.waiting == 0 && c.step == stepSubscribing {
			e.ready(slot, c)
		}
	}
}

var errOutOfTurn = errors.New("the target answered what it was not asked")

// subscribed takes note of a subscription.
func (e *Engine) subscribed(slot uint32, c *conn, j int, r *proto.SubscribeResult) {
	e.books.Joined(c.number, j, r, func(p *proto.Publication, ref layout.Ref) {
		m := e.books.Read(p, ref)
		e.receive(slot, c, &m, true)
	})
}

// keepToken remembers the newest resume token of a peer.
func (e *Engine) keepToken(peer uint32, token string) {
	if e.cfg.Resume && token != "" {
		e.tokens[peer] = append(e.tokens[peer][:0], token...)
	}
}

// ready ends the setting up.
func (e *Engine) ready(slot uint32, c *conn) {
	now := e.now()
	p := &e.peers[c.number]
	c.step = stepReady
	e.count.Ready++
	e.count.ReadyMax = max(e.count.ReadyMax, e.count.Ready)
	if p.flags&peerWas == 0 {
		e.books.Results().Setup.Record(now - p.began)
		p.flags |= peerWas
		e.everOpen++
		e.under--
	}
	if p.flags&peerCut != 0 {
		e.returned(p, now)
	}
	if p.flags&peerLeft != 0 {
		e.replaced(p, now)
	}
	p.attempts = 0
	e.lastGot = now
	e.l.Disarm(slot)
	if c.ping > 0 {
		e.l.Arm(slot, e.patience(c))
	}
	e.wake()
}

// patience is the silence after which a server that announced pings is taken for dead.
func (e *Engine) patience(c *conn) loop.Tick {
	return e.l.Ticks(time.Duration(c.ping)*time.Second + e.cfg.PingGrace)
}

// drop ends a connection for a cause of the engine's.
func (e *Engine) drop(slot uint32, cause error) {
	e.cause = cause
	e.l.Close(slot, loop.ReasonProtocol)
}

// leave ends a connection in good order, after the server did.
func (e *Engine) leave(slot uint32, cause error, code ws.CloseCode) {
	e.cause, e.code = cause, code
	e.wire.End(slot, code, loop.ReasonPeer)
}
