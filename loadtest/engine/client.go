package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loadtest/engine/books"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
)

// client is the Engine as the handler of its peers' connections.
type client Engine

var (
	_ loop.Handler    = (*client)(nil)
	_ loop.Shutdowner = (*client)(nil)
)

// Open begins the handshake.
func (h *client) Open(slot uint32) {
	e := (*Engine)(h)
	c := e.conns.At(slot)
	e.wire.Request(slot, e.number(c.number))
	e.enter(slot, c, stepUpgrading)
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

var errEOF = errors.New("the target ended the connection without a close frame")

// EOF ends a connection that the server left without a close frame.
func (h *client) EOF(slot uint32) {
	e := (*Engine)(h)
	if c := e.conns.At(slot); c.step == stepReady {
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
	if cause == nil {
		cause = wire.Describe(c.step, why, err)
	}
	e.wire.Release(&c.stream)
	e.left(c, cause)
	e.cause, e.code, e.wait = nil, 0, 0
	e.wake()
}

// bytes reads on: p begins where the last complete thing ended.
func (e *Engine) bytes(slot uint32, c *conn, p []byte) {
	if c.step == stepUpgrading {
		var ok bool
		if p, ok = e.upgraded(slot, c, p); !ok {
			return
		}
	}
	for e.peers[c.number].at == slot+1 && c.flags&connClosed == 0 {
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
			c.flags |= connClosed
			e.leave(slot, fmt.Errorf("closed by the target: %d %s", ev.Code, ev.Payload), ev.Code)
		case ws.Fail:
			e.drop(slot, fmt.Errorf("the target broke the WebSocket protocol: %s", ev.Reason))
		case ws.None:
			return
		}
	}
}

const (
	cacheSlots         = 2048 // publications that are decoded only once while they are under way
	cacheFrameBytesMax = 64 << 10
)

// cached is a reply that held a publication to a shared channel, and what was in it.
type cached struct {
	reply []byte
	m     books.Arrival
}

// message handles a whole one, reply by reply. A publication is the same bytes for everybody: it is decoded for the first who
// gets it and compared for the others.
func (e *Engine) message(slot uint32, c *conn, p []byte) {
	if e.cfg.BareEcho {
		e.echoed(slot, c, p)
		return
	}
	if e.cache == nil {
		e.cache = make([]cached, cacheSlots)
	}
	for len(p) > 0 && e.peers[c.number].at == slot+1 {
		one := p[:e.first(p)]
		p = p[len(one):]
		guess := &e.cache[e.recent] // the one before came to somebody else, most likely
		known := bytes.Equal(one, guess.reply)
		if !known {
			e.recent = maphash.Bytes(e.seed, one) % cacheSlots
			guess = &e.cache[e.recent]
			known = bytes.Equal(one, guess.reply)
		}
		if known {
			e.receive(slot, c, &guess.m, false)
			continue
		}
		e.replies(slot, c, one, guess)
	}
}

// first is the length of the first reply of a message, what separates it from the next included.
func (e *Engine) first(p []byte) int {
	if e.cfg.Encoding == proto.Protobuf {
		size, n := binary.Uvarint(p)
		if n <= 0 || size > uint64(len(p)-n) {
			return len(p) // the decoder will say what is wrong
		}
		return n + int(size)
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return i + 1
	}
	return len(p)
}

// receive takes note of one publication.
func (e *Engine) receive(slot uint32, c *conn, m *books.Arrival, recovered bool) {
	now := e.now()
	is := e.books.Receive(c.number, m, recovered, now)
	if is.Missed {
		e.peers[c.number].flags |= peerMissed
	}
	if !is.Counts {
		return
	}
	e.lastGot = now
	if t, ok := e.task.(*echoing); ok && is.Own {
		t.returned(slot, c, now)
	}
	if e.books.Owed() <= 0 {
		e.wake()
	}
}

// replies decodes, which is one reply if the target keeps to the protocol.
func (e *Engine) replies(slot uint32, c *conn, p []byte, into *cached) {
	e.decoder.Reset(p, e.cfg.Encoding, proto.Limits{})
	var r proto.Reply
	for n := 0; e.peers[c.number].at == slot+1; n++ {
		ok, err := e.decoder.Next(&r)
		if err != nil {
			e.drop(slot, fmt.Errorf("the target sent what is no reply of the client protocol: %w", err))
			return
		}
		if !ok {
			return
		}
		if r.Push == nil || r.Push.Pub == nil {
			e.reply(slot, c, &r)
			continue
		}
		ref, known := e.layout.Ref(r.Push.Channel)
		if !known {
			e.count.Misrouted++
			continue
		}
		m := e.books.Read(r.Push.Pub, ref)
		e.receive(slot, c, &m, false)
		if n == 0 && len(p) <= cacheFrameBytesMax && !ref.Own() {
			*into = cached{append(into.reply[:0], p...), m}
		}
	}
}

// reply handles what is no publication.
func (e *Engine) reply(slot uint32, c *conn, r *proto.Reply) {
	switch {
	case r.Id == idConnect:
		e.connected(slot, c, r)
	case r.Id >= e.idFirst:
		e.answered(slot, c, r)
	case r.Id >= idSubscribe:
		e.joined(slot, c, r)
	case r.Push != nil:
		if u := r.Push.Unsubscribe; u != nil {
			e.unsubscribed(slot, c, r.Push.Channel, u)
		}
	case r.Error != nil:
		e.drop(slot, fmt.Errorf("error %d: %s", r.Error.Code, r.Error.Message))
	default:
		e.count.Pings++
		if c.flags&connPong != 0 {
			e.count.Pongs++
			e.wire.Send(slot, e.op, e.pong)
		}
	}
}

// resubscribeFrom is the first code of an unsubscribe after which a client subscribes again: 2500, insufficient state.
const resubscribeFrom = 2500

// unsubscribed subscribes again from the position, where the code asks for it.
func (e *Engine) unsubscribed(slot uint32, c *conn, name string, u *proto.Unsubscribe) {
	j := -1
	if ref, known := e.layout.Ref(name); known {
		j = e.layout.Find(e.number(c.number), ref)
	}
	if j < 0 || u.Code < resubscribeFrom || !e.cfg.Positions {
		e.drop(slot, fmt.Errorf("unsubscribed by the target: %d %s", u.Code, u.Reason))
		return
	}
	e.status.Unsubscribed++
	e.peers[c.number].flags |= peerMissed
	e.books.Unsubscribed(c.number, j)
	c.waiting++
	e.send(slot, &proto.Command{Id: idSubscribe + uint32(j), Subscribe: e.request(c.number, j)})
}
