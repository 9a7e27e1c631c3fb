package engine

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// Ids of commands; those of publications follow.
const (
	idConnect   = 1
	idSubscribe = 2
	idFirst     = 3
)

// dialBatch is how many connections are begun in one pass, so that answers are read meanwhile.
const dialBatch = 32

// Connect opens all connections and takes each to ready. Done follows when none is under way any more: with nil though some
// may have failed, with an error when the first failed or this host lacks something.
func (e *Engine) Connect() error {
	return e.post(func(e *Engine) { e.begin(&connecting{e: e, began: e.now()}) })
}

type connecting struct {
	e       *Engine
	began   int64
	stopped bool
}

func (t *connecting) stop(int64) { t.stopped = true }

func (t *connecting) step(now int64) (busy bool) {
	e := t.e
	under := e.count.Dialed - e.count.Failed - e.everOpen
	if t.stopped {
		e.finish(nil)
		return false
	}
	if e.count.Dialed == e.cfg.Connections {
		if under == 0 {
			e.finish(nil)
		}
		return false
	}
	allowed := e.count.Dialed + e.cfg.Window - under
	if rate := e.cfg.ConnectRate; rate > 0 {
		allowed = min(1+int(float64(now-t.began)/1e9*rate), e.count.Dialed+outstandingMax-under)
	}
	allowed = min(allowed, e.cfg.Connections)
	for n := 0; n < dialBatch && e.count.Dialed < allowed; n++ {
		if err := e.dial(now); err != nil {
			e.finish(err)
			return false
		}
	}
	return e.count.Dialed < allowed
}

// dial begins the next connection.
func (e *Engine) dial(now int64) error {
	number := uint32(e.count.Dialed)
	slot, err := e.l.Dial(wire.Source(e.cfg.Sources, number), e.cfg.Remote, kindClient)
	if err != nil {
		return fmt.Errorf("connection %d cannot be begun: %w", number+1, err)
	}
	e.count.Dialed++
	*e.conns.At(slot) = conn{number: number, began: now}
	e.slots[number] = slot + 1
	return nil
}

// request sends the opening handshake.
func (e *Engine) request(slot uint32, c *conn) {
	e.wire.Request(slot, c.number)
	e.enter(slot, c, stepUpgrading)
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
	n, status := e.wire.Response(&c.stream, c.number, p, &r)
	switch status {
	case handshake.Done:
	case handshake.NeedMore:
		return nil, false
	case handshake.Refused:
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
	e.wire.Send(slot, e.op, e.hello)
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
		c.flags |= flagPong
	}
	if e.cfg.Channel == "" {
		e.ready(slot, c)
		return
	}
	command := proto.Command{Id: idSubscribe, Subscribe: &proto.SubscribeRequest{Channel: e.channel(c.number)}}
	e.command(slot, &command)
	e.enter(slot, c, stepSubscribing)
}

// subscribed handles the reply to subscribe.
func (e *Engine) subscribed(slot uint32, c *conn, r *proto.Reply) {
	switch {
	case r.Error != nil:
		e.drop(slot, fmt.Errorf("subscribe to %q was answered by error %d: %s", e.channel(c.number), r.Error.Code, r.Error.Message))
	case c.step != stepSubscribing:
		e.drop(slot, errOutOfTurn)
	default:
		e.ready(slot, c)
	}
}

var errOutOfTurn = errors.New("the target answered what it was not asked")

// channel is the channel of a connection.
func (e *Engine) channel(number uint32) string {
	if !e.cfg.Own {
		return e.cfg.Channel
	}
	return e.cfg.Channel + "-" + strconv.Itoa(int(number))
}

// command encodes and sends one command; what the engine makes can be encoded.
func (e *Engine) command(slot uint32, c *proto.Command) {
	b, err := proto.AppendCommand(e.scratch[:0], e.cfg.Encoding, c)
	if err != nil {
		panic(fmt.Sprintf("engine: a command cannot be encoded: %v", err))
	}
	e.scratch = b
	e.wire.Send(slot, e.op, b)
}

// ready ends the setting up.
func (e *Engine) ready(slot uint32, c *conn) {
	now := e.now()
	record(e.hist.Setup, now-c.began)
	c.step = stepReady
	e.count.Ready++
	e.count.ReadyMax = max(e.count.ReadyMax, e.count.Ready)
	e.everOpen++
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
	e.cause = cause
	e.wire.End(slot, code, loop.ReasonPeer)
}
