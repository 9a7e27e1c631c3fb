package crowd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// Ids of commands: a subscribe has idSubscribe and its place among the peer's subscriptions.
const (
	idConnect   = 1
	idSubscribe = 2
)

// dialBatch is how many connections are begun in one pass, so that answers are read meanwhile.
const dialBatch = 32

// Connect takes every peer to ready for the first time. Done follows when none is under way any more: with nil though some may
// have failed, with an error when the first failed or this host lacks something.
func (e *Crowd) Connect() error {
	return e.post(func(e *Crowd) { e.begin(&connecting{e: e, began: e.now()}) })
}

type connecting struct {
	e       *Crowd
	began   int64
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
	allowed := e.count.Dialed + e.cfg.Window - e.under
	if rate := e.cfg.ConnectRate; rate > 0 {
		allowed = min(1+int(float64(now-t.began)/1e9*rate), e.count.Dialed+outstandingMax-e.under)
	}
	allowed = min(allowed, all)
	for n := 0; n < dialBatch && e.count.Dialed < allowed; n++ {
		number := uint32(e.count.Dialed)
		if err := e.dial(number, now); err != nil {
			e.finish(err)
			return false
		}
		e.count.Dialed++
		e.under++
	}
	return e.count.Dialed < allowed
}

// dial begins a connection of a peer.
func (e *Crowd) dial(number uint32, now int64) error {
	p := &e.peers[number]
	e.sys.small = p.flags&peerStuck != 0
	slot, err := e.l.Dial(wire.Source(e.cfg.Sources, number), e.cfg.Remote, kindClient)
	if err != nil {
		return fmt.Errorf("connection %d cannot be begun: %w", number+1, err)
	}
	*e.conns.At(slot) = conn{number: number}
	p.began, p.at, p.place, p.fd = now, slot+1, placeHere, e.sys.last
	return nil
}

// enter moves a connection on and gives it time for the next step.
func (e *Crowd) enter(slot uint32, c *conn, s step) {
	c.step = s
	e.l.Arm(slot, e.l.Ticks(e.cfg.StepTimeout))
}

// upgraded reads the answer to the handshake at the front of p and returns what follows it. ok is false when more is needed
// or the connection is lost.
func (e *Crowd) upgraded(slot uint32, c *conn, p []byte) (rest []byte, ok bool) {
	var r handshake.Response
	n, status := e.wire.Response(&c.stream, c.number, p, &r)
	switch status {
	case handshake.Done:
	case handshake.NeedMore:
		return nil, false
	case handshake.Refused:
		e.wait = int64(retryAfter(p[:n]))
		e.drop(slot, fmt.Errorf("the handshake was refused with HTTP status %d", r.Code))
		return nil, false
	default:
		e.drop(slot, fmt.Errorf("the answer to the handshake is none of a WebSocket server (%s): %s", status, status.Text()))
		return nil, false
	}
	e.hello(slot, c)
	e.enter(slot, c, stepConnecting)
	return p[n:], true
}

// hello sends the connect command; with a resume token it names the positions, too.
func (e *Crowd) hello(slot uint32, c *conn) {
	connect := proto.ConnectRequest{Token: e.cfg.Token, Name: "shoal-loadtest"}
	if e.cfg.Resume {
		connect.Resume = "new"
		if token := e.tokens[c.number]; len(token) > 0 && e.peers[c.number].flags&peerWas != 0 {
			connect.Resume = string(token)
			connect.Subs = make(map[string]*proto.SubscribeRequest, e.cfg.Subscriptions)
			for j := range e.cfg.Subscriptions {
				s := e.request(c.number, j)
				connect.Subs[s.Channel] = s
			}
		}
	}
	e.scratch = e.command(e.scratch[:0], &proto.Command{Id: idConnect, Connect: &connect})
	e.wire.Send(slot, e.op, e.scratch)
}

// request is the subscribe request of one subscription: from its position when it has one.
func (e *Crowd) request(number uint32, j int) *proto.SubscribeRequest {
	ch := e.layout.channel(number, j)
	r := &proto.SubscribeRequest{Channel: e.cfg.name(int(ch))}
	r.Token = e.cfg.Tokens[r.Channel]
	if !e.cfg.Positions {
		return r
	}
	r.Positioned, r.Recoverable = true, true
	if s := &e.subsOf(number)[j]; s.flags&subPlaced != 0 {
		r.Recover, r.Offset, r.Epoch = true, s.offset, e.channels[ch].epoch
	}
	return r
}

// command appends an encoded command; what the crowd makes can be encoded.
func (e *Crowd) command(b []byte, c *proto.Command) []byte {
	b, err := proto.AppendCommand(b, e.cfg.Encoding, c)
	if err != nil {
		panic(fmt.Sprintf("crowd: a command cannot be encoded: %v", err))
	}
	return b
}

// connected handles the reply to connect.
func (e *Crowd) connected(slot uint32, c *conn, r *proto.Reply) {
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
		e.results.Resumed++
	}
	for name, result := range r.Connect.Subs {
		if j := e.find(c.number, name); j >= 0 {
			e.subscribed(c, j, result)
		}
	}
	e.subscribe(slot, c)
}

const commandsBytesMax = 16 << 10 // of commands in one frame; servers accept 64 KiB

// subscribe asks for what is not subscribed yet, all in one frame as the SDKs do.
func (e *Crowd) subscribe(slot uint32, c *conn) {
	b := e.scratch[:0]
	for j, s := range e.subsOf(c.number) {
		if s.flags&subLive != 0 {
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

// answered handles the reply to a subscribe.
func (e *Crowd) answered(slot uint32, c *conn, r *proto.Reply) {
	j := int(r.Id - idSubscribe)
	switch {
	case r.Error != nil:
		name := e.cfg.name(int(e.layout.channel(c.number, min(j, e.cfg.Subscriptions-1))))
		e.drop(slot, fmt.Errorf("subscribe to %q was answered by error %d: %s", name, r.Error.Code, r.Error.Message))
	case j >= e.cfg.Subscriptions || r.Subscribe == nil || e.subsOf(c.number)[j].flags&subLive != 0:
		e.drop(slot, errOutOfTurn)
	default:
		e.keepToken(c.number, r.Subscribe.Resume)
		e.subscribed(c, j, r.Subscribe)
		if c.waiting--; c.waiting == 0 && c.step == stepSubscribing {
			e.ready(slot, c)
		}
	}
}

var errOutOfTurn = errors.New("the target answered what it was not asked")

// subscribed takes note of a subscription: of its position, and of what was missed meanwhile.
func (e *Crowd) subscribed(c *conn, j int, r *proto.SubscribeResult) {
	s := &e.subsOf(c.number)[j]
	at := e.layout.channel(c.number, j)
	ch := &e.channels[at]
	was := s.flags&subCounted != 0
	back := was && e.cfg.Positions && s.flags&subPlaced != 0
	if !was && s.track.Top == 0 && ch.published == 0 {
		s.flags |= subCounted
		ch.receivers++
	}
	s.flags |= subLive
	switch {
	case back && r.Recoverable && r.Recovered && r.Epoch == ch.epoch:
		e.results.Recovered++
		e.results.RecoveredPublications += len(r.Publications)
	case back && r.Recoverable:
		e.results.Unrecovered++
		s.flags |= subLost
	case was:
		e.results.Anew++
		s.flags |= subLost
	case e.cfg.Positions && !r.Recoverable:
		e.results.Unplaced++
	}
	if e.cfg.Positions && (r.Recoverable || r.Positioned) { // what was recovered moves it on: its offset is that before
		s.offset = r.Offset
		s.flags |= subPlaced
		if ch.epoch != r.Epoch {
			ch.epoch = strings.Clone(r.Epoch) // it lies in the message
		}
	}
	for _, pub := range r.Publications {
		m := e.read(pub, at)
		e.receive(c, &m, true)
	}
}

// keepToken remembers the newest resume token of a peer.
func (e *Crowd) keepToken(number uint32, token string) {
	if e.cfg.Resume && token != "" {
		e.tokens[number] = append(e.tokens[number][:0], token...)
	}
}

// ready ends the setting up.
func (e *Crowd) ready(slot uint32, c *conn) {
	now := e.now()
	p := &e.peers[c.number]
	c.step = stepReady
	e.count.Ready++
	e.count.ReadyMax = max(e.count.ReadyMax, e.count.Ready)
	if p.flags&peerWas == 0 {
		e.results.Setup.record(now - p.began)
		p.flags |= peerWas
		e.everOpen++
		e.under--
	}
	if p.flags&peerCut != 0 {
		e.returned(p, now)
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
func (e *Crowd) patience(c *conn) loop.Tick {
	return e.l.Ticks(time.Duration(c.ping)*time.Second + pingGrace)
}

// drop ends a connection for a cause of the crowd's.
func (e *Crowd) drop(slot uint32, cause error) {
	e.cause = cause
	e.l.Close(slot, loop.ReasonProtocol)
}

// leave ends a connection in good order, after the server did.
func (e *Crowd) leave(slot uint32, cause error, code ws.CloseCode) {
	e.cause, e.code = cause, code
	e.wire.End(slot, code, loop.ReasonPeer)
}
