package engine

import (
	"bytes"
	"fmt"
	"hash/maphash"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// client is the Engine as the handler of its connections.
type client Engine

var (
	_ loop.Handler    = (*client)(nil)
	_ loop.Shutdowner = (*client)(nil)
)

// Open begins the handshake.
func (h *client) Open(slot uint32) {
	e := (*Engine)(h)
	e.request(slot, e.conns.At(slot))
}

// Data reads the answer to the handshake, then frames.
func (h *client) Data(slot uint32, p []byte) {
	e := (*Engine)(h)
	c := e.conns.At(slot)
	c.heard = e.l.Now()
	all, lent := e.wire.Join(&c.stream, p)
	e.bytes(slot, c, all)
	e.wire.Return(lent)
}

// EOF ends a connection that the server left without a close frame.
func (h *client) EOF(slot uint32) {
	e := (*Engine)(h)
	c := e.conns.At(slot)
	if c.step == stepReady {
		e.leave(slot, errEOF, 0)
	} else {
		e.leave(slot, fmt.Errorf("the target closed the connection during %s", c.step), 0)
	}
}

// Timer ends a connection whose server does not answer or has fallen silent.
func (h *client) Timer(slot uint32) {
	e := (*Engine)(h)
	c := e.conns.At(slot)
	if c.step != stepReady {
		e.drop(slot, fmt.Errorf("no answer within %s: %s", e.cfg.StepTimeout, c.step))
		return
	}
	if silent := e.l.Now() - c.heard; silent < e.patience(c) {
		e.l.Arm(slot, e.patience(c)-silent)
		return
	}
	e.drop(slot, fmt.Errorf("silence: the target announced a ping every %d s and sent none", c.ping))
}

// Shutdown says goodbye.
func (h *client) Shutdown(slot uint32) {
	e := (*Engine)(h)
	var code ws.CloseCode
	if e.conns.At(slot).step > stepUpgrading {
		code = ws.CodeNormal
	}
	e.wire.End(slot, code, loop.ReasonShutdown)
}

// Closed keeps the books.
func (h *client) Closed(slot uint32, why loop.Reason, err error) {
	e := (*Engine)(h)
	c := e.conns.At(slot)
	cause := e.cause
	e.cause = nil
	if cause == nil {
		cause = wire.Describe(c.step, why, err)
	}
	e.slots[c.number] = 0
	e.wire.Release(&c.stream)
	if c.step == stepReady {
		e.count.Ready--
	}
	if e.closing {
		return
	}
	e.mourn(c, cause)
	e.wake()
}

// mourn counts a connection that ended before its time.
func (e *Engine) mourn(c *conn, cause error) {
	e.note(cause)
	if c.step != stepReady {
		e.count.Failed++
		if e.everOpen == 0 {
			e.finish(cause) // the others would fare no better
		}
		return
	}
	e.count.Died++
	missing := e.expected(c) - int(c.track.Got)
	e.owed -= missing
	e.count.LostDead += max(missing, 0)
	if e.count.Ready == 0 && e.count.Dialed == e.cfg.Connections {
		e.finish(fmt.Errorf("%w; the last: %w", ErrAllGone, cause))
	}
}

// note counts a cause.
func (e *Engine) note(cause error) {
	if text := cause.Error(); len(e.count.Causes) < causesMax || e.count.Causes[text] > 0 {
		e.count.Causes[text]++
	}
}

// causesMax bounds the different causes that are told apart.
const causesMax = 32

// bytes reads on: p begins where the last complete thing ended.
func (e *Engine) bytes(slot uint32, c *conn, p []byte) {
	if c.step == stepUpgrading {
		var ok bool
		if p, ok = e.upgraded(slot, c, p); !ok {
			return
		}
	}
	for e.slots[c.number] == slot+1 && c.flags&flagClosed == 0 {
		rest, ev, lent := e.wire.Next(&c.stream, p)
		p = rest
		switch ev.Kind {
		case ws.Data:
			e.message(slot, c, ev.Payload)
			e.wire.Return(lent)
		case ws.Ping:
			e.count.PingFrames++
			e.wire.Send(slot, ws.PongOp, ev.Payload)
		case ws.Pong:
		case ws.Close:
			c.flags |= flagClosed
			e.leave(slot, fmt.Errorf("closed by the target: %d %s", ev.Code, ev.Payload), ev.Code)
		case ws.Fail:
			e.drop(slot, fmt.Errorf("the target broke the WebSocket protocol: %s", ev.Reason))
		case ws.None:
			return
		}
	}
}

// message handles a whole one.
func (e *Engine) message(slot uint32, c *conn, p []byte) {
	if e.cfg.BareEcho {
		m := e.read(p)
		e.receive(slot, c, &m)
		return
	}
	// A publication is the same bytes for everybody: it is decoded for the first who gets it and compared for the others.
	guess := &e.cache[(c.track.Top+c.others)%cacheFrames]
	if len(guess.frame) > 0 && bytes.Equal(p, guess.frame) {
		e.receive(slot, c, &guess.message)
		return
	}
	e.decoder.Reset(p, e.cfg.Encoding, proto.Limits{})
	var r proto.Reply
	var last arrival
	replies, publications := 0, 0
	at := (c.track.Top + c.others) % cacheFrames
	for e.slots[c.number] == slot+1 {
		ok, err := e.decoder.Next(&r)
		if err != nil {
			e.drop(slot, fmt.Errorf("the target sent what is no reply of the client protocol: %w", err))
			return
		}
		if !ok {
			break
		}
		replies++
		if r.Push != nil && r.Push.Pub != nil {
			publications++
			last = e.read(r.Push.Pub.Data)
			e.receive(slot, c, &last)
		} else {
			e.reply(slot, c, &r)
		}
	}
	if replies == 1 && publications == 1 && len(p) <= cacheFrameBytesMax && !e.cfg.Own {
		e.cache[at] = cached{frame: append(e.cache[at].frame[:0], p...), message: last}
	}
}

const (
	cacheFrames        = 64 // publications under way at once that are decoded only once
	cacheFrameBytesMax = 64 << 10
)

// cached is a frame that held one publication, and what was in it.
type cached struct {
	frame   []byte
	message arrival
}

// arrival is one message, read.
type arrival struct {
	message.Header
	own     bool // of this run
	stamped bool // the header is there
	err     error
	digest  uint64 // of the payload, for those of others
}

// read looks into a payload.
func (e *Engine) read(p []byte) arrival {
	var m arrival
	m.Header, m.stamped = message.ParseHeader(p)
	if m.own = m.stamped && m.Run == e.cfg.Run; m.own {
		m.err = e.filler.Check(p, m.Header)
	} else {
		m.digest = maphash.Bytes(e.seed, p)
	}
	return m
}

// reply handles what is no publication.
func (e *Engine) reply(slot uint32, c *conn, r *proto.Reply) {
	switch {
	case r.Id == idConnect:
		e.connected(slot, c, r)
	case r.Id == idSubscribe:
		e.subscribed(slot, c, r)
	case r.Id >= idFirst:
		e.answered(slot, c, r)
	case r.Push != nil:
		if u := r.Push.Unsubscribe; u != nil {
			e.drop(slot, fmt.Errorf("unsubscribed by the target: %d %s", u.Code, u.Reason))
		}
	case r.Error != nil:
		e.drop(slot, fmt.Errorf("error %d: %s", r.Error.Code, r.Error.Message))
	default:
		e.count.Pings++
		if c.flags&flagPong != 0 {
			e.count.Pongs++
			e.wire.Send(slot, e.op, e.pong)
		}
	}
}
