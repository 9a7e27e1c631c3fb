package ws

import (
	"shoal/codec/deflate"
	"shoal/codec/ws"
	"shoal/loop"
)

// Frame sends one message to the conn, compressed when that was negotiated and
// pays. It goes out with everything else that is queued in this callback.
func (t *Transport) Frame(slot uint32, op ws.Op, payload []byte) {
	c := t.conns.At(slot)
	if c.flags&flagEnded != 0 {
		return
	}
	t.stats.MessagesOut.Add(1)
	t.stats.PayloadOut.Add(uint64(len(payload)))
	dst := t.l.Begin(slot)
	if c.flags&flagDeflate != 0 && len(payload) >= t.cfg.DeflateBytesMin {
		dst = t.appendDeflated(dst, c.bits, op, payload)
	} else {
		dst = ws.AppendFrame(dst, op, true, false, payload)
	}
	t.l.Commit(slot, dst)
}

// appendDeflated appends a compressed frame, or a plain one when compression
// fails or does not pay.
func (t *Transport) appendDeflated(dst []byte, bits uint8, op ws.Op, payload []byte) []byte {
	out, err := t.codec.CompressWindow(t.scratch[:0], payload, bits)
	if err != nil || len(out) >= len(payload) {
		t.stats.Uncompressed.Add(1)
		t.scratch = kept(out)
		return ws.AppendFrame(dst, op, true, false, payload)
	}
	t.stats.Compressed.Add(1)
	dst = ws.AppendFrame(dst, op, true, true, out)
	t.scratch = kept(out)
	return dst
}

// Ping sends an empty ping frame.
func (t *Transport) Ping(slot uint32) {
	c := t.conns.At(slot)
	if c.flags&flagEnded != 0 {
		return
	}
	c.flags |= flagPinged
	t.l.Commit(slot, ws.AppendFrame(t.l.Begin(slot), ws.PingOp, true, false, nil))
}

func (t *Transport) pong(slot uint32, payload []byte) {
	t.l.Commit(slot, ws.AppendFrame(t.l.Begin(slot), ws.PongOp, true, false, payload))
}

// Close ends the conn with a close frame. Code 3000 closes without one, as the
// protocol has it.
func (t *Transport) Close(slot uint32, code uint32, reason string, why loop.Reason) {
	c := t.conns.At(slot)
	if c.flags&flagEnded != 0 {
		return
	}
	if code == closeWithoutFrame {
		c.flags |= flagEnded
		t.l.Close(slot, why)
		return
	}
	t.end(slot, ws.CloseCode(code), reason, why)
}

const closeWithoutFrame = 3000

// end flushes what is queued, then a close frame, then closes (RFC 6455 §7.1).
func (t *Transport) end(slot uint32, code ws.CloseCode, reason string, why loop.Reason) {
	t.conns.At(slot).flags |= flagEnded
	t.l.CloseAfter(slot, ws.AppendClose(t.goodbye[:0], code, reason), why)
}

// AppendPublication frames a publication once for all its receivers.
func AppendPublication(dst []byte, op ws.Op, payload []byte) []byte {
	return ws.AppendFrame(dst, op, true, false, payload)
}

// AppendDeflated is [AppendPublication] for receivers that opened as deflated.
// When compression fails or does not pay the frame is a plain one. scratch is
// overwritten and returned for the next call.
func AppendDeflated(dst, scratch []byte, codec *deflate.Codec, op ws.Op, payload []byte) (frame, scratchOut []byte) {
	out, err := codec.Compress(scratch[:0], payload)
	if err != nil || len(out) >= len(payload) {
		return ws.AppendFrame(dst, op, true, false, payload), out
	}
	return ws.AppendFrame(dst, op, true, true, out), out
}
