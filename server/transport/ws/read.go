package ws

import (
	"errors"
	"unicode/utf8"

	"shoal/codec/deflate"
	"shoal/codec/ws"
	"shoal/loop"
)

// Data reads frames. Implements [loop.Handler].
func (t *Transport) Data(slot uint32, p []byte) {
	c := t.conns.At(slot)
	if c.flags&flagEnded != 0 {
		return
	}
	if c.flags&flagAbandoned != 0 || t.late(c) {
		t.end(slot, ws.CodePolicyViolation, "message took too long", loop.ReasonTimeout)
		return
	}
	t.land.Alive(slot)
	if c.flags&flagBusy != 0 {
		t.hold(slot, c, p)
		return
	}
	t.read(slot, c, p)
	t.began(c)
}

// began notes when what is incomplete began. What waits for a busy session is not late.
func (t *Transport) began(c *conn) {
	if c.flags&flagBusy == 0 && c.tail|c.body != 0 && c.since == 0 {
		c.since = t.l.Now() + 1
	}
}

// late says whether an incomplete message has been trickling in for too long. One
// that stops altogether is the heartbeat's to find.
func (t *Transport) late(c *conn) bool {
	return c.since != 0 && t.cfg.MessageTicks > 0 && t.l.Now()+1-c.since > t.cfg.MessageTicks
}

// read handles what arrived, behind what has been waiting.
func (t *Transport) read(slot uint32, c *conn, p []byte) {
	if c.tail != 0 {
		t.push(c, p)
		t.reread(slot, c)
		return
	}
	if rest := t.frames(slot, c, p); len(rest) > 0 {
		t.hold(slot, c, rest)
	}
}

// frames handles what is whole in p, until the session is busy. It returns the rest:
// an incomplete header or control frame or, of a busy session, anything.
func (t *Transport) frames(slot uint32, c *conn, p []byte) (rest []byte) {
	limits := t.limitsOf(c)
	for c.flags&(flagEnded|flagBusy) == 0 {
		n, ev := c.parser.Next(p, limits)
		p = p[n:]
		switch ev.Kind {
		case ws.Data:
			t.data(slot, c, &ev)
		case ws.Ping:
			t.whole(c)
			t.stats.PingsIn.Add(1)
			if t.controlled(slot, c) {
				t.pong(slot, ev.Payload)
			}
		case ws.Pong:
			t.whole(c)
			t.stats.PongsIn.Add(1)
			asked := c.flags&flagPinged != 0
			c.flags &^= flagPinged
			if asked || t.controlled(slot, c) {
				t.land.Pong(slot)
			}
		case ws.Close:
			t.end(slot, ev.Code, "", loop.ReasonPeer)
		case ws.Fail:
			t.stats.failures[ev.Reason].Add(1)
			t.end(slot, ev.Code, ev.Reason.String(), loop.ReasonProtocol)
		case ws.None:
			if n == 0 {
				return p
			}
		}
	}
	if c.flags&flagEnded != 0 {
		return nil
	}
	return p
}

// controlled counts a control frame that the peer was not asked for. One too many ends
// the conn: false. RFC 6455 §5.5 bounds their length and not their number, and each costs
// more than it carries.
func (t *Transport) controlled(slot uint32, c *conn) bool {
	if t.control == nil || t.control.Take(slot, t.l.Clock()) {
		return true
	}
	t.stats.Floods.Add(1)
	t.land.Flooded(slot)
	if c.flags&flagEnded == 0 {
		t.end(slot, ws.CodePolicyViolation, "too many control frames", loop.ReasonLimit)
	}
	return false
}

func (t *Transport) limitsOf(c *conn) *ws.Limits {
	if c.flags&flagDeflate != 0 {
		return &t.limits[1]
	}
	return &t.limits[0]
}

// whole notes that a frame or message is complete: what comes next begins now. A
// control frame between two fragments does not complete their message.
func (t *Transport) whole(c *conn) {
	if c.body == 0 {
		c.since = 0
	}
}

// data takes a piece of a message: one that is whole goes on as it lies, others
// are collected.
func (t *Transport) data(slot uint32, c *conn, ev *ws.Event) {
	if ev.First && ev.Final {
		t.whole(c)
		t.message(slot, c, ev.Op, ev.Compressed, ev.Payload)
		return
	}
	if c.body == 0 {
		c.body = t.buffers.Borrow(len(ev.Payload) + min(c.parser.Pending(), bodyBytesFirst))
	}
	t.buffers.Grow(c.body, len(ev.Payload))
	b := t.buffers.At(c.body)
	b.B = append(b.B, ev.Payload...)
	if !ev.Final {
		return
	}
	i := c.body
	c.body = 0
	t.whole(c)
	defer t.buffers.Return(i)
	t.message(slot, c, ev.Op, ev.Compressed, b.B)
}

// bodyBytesFirst is what a peer gets on its announcement of a large frame; the rest
// of the memory comes with its bytes.
const bodyBytesFirst = 4 << 10

// message inflates if need be and hands the payload to the landing.
func (t *Transport) message(slot uint32, c *conn, op ws.Op, compressed bool, p []byte) {
	if compressed {
		var ok bool
		if p, ok = t.inflate(slot, op, p); !ok {
			return
		}
	}
	t.stats.MessagesIn.Add(1)
	t.stats.PayloadIn.Add(uint64(len(p)))
	if t.land.Message(slot, op, p) && c.flags&flagEnded == 0 {
		c.flags |= flagBusy
	}
}

// inflate decompresses into a buffer of the loop's. A message that is too
// large, corrupt or no UTF-8 ends the conn (RFC 7692 §6, RFC 6455 §8.1).
func (t *Transport) inflate(slot uint32, op ws.Op, p []byte) ([]byte, bool) {
	out, err := t.codec.Decompress(t.inflated[:0], p, t.cfg.InflatedBytesMax)
	t.inflated = kept(out)
	switch {
	case errors.Is(err, deflate.ErrTooLarge):
		t.stats.failures[ws.ReasonTooBig].Add(1)
		t.end(slot, ws.CodeTooBig, "inflated message too big", loop.ReasonProtocol)
		return nil, false
	case err != nil:
		t.stats.InflateErrors.Add(1)
		t.end(slot, ws.CodeInvalidPayload, "message does not inflate", loop.ReasonProtocol)
		return nil, false
	}
	if op == ws.Text && !utf8.Valid(out) {
		t.stats.failures[ws.ReasonInvalidUTF8].Add(1)
		t.end(slot, ws.CodeInvalidPayload, ws.ReasonInvalidUTF8.String(), loop.ReasonProtocol)
		return nil, false
	}
	return out, true
}

// scratchBytesKept bounds the scratch buffer a loop keeps between messages.
const scratchBytesKept = 64 << 10

// kept is what remains of a scratch buffer between two messages.
func kept(b []byte) []byte {
	if cap(b) > scratchBytesKept {
		return nil
	}
	return b[:0]
}
