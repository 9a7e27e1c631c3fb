package ws

import (
	"bytes"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/loop"
)

// Upgrade answers a request for a conn that the front door still owns. When the
// request keeps every rule the 101 response is queued, the conn becomes this
// transport's, rest, the bytes that arrived behind the request, is read as frames,
// and Done is returned. Otherwise nothing was done, and the failure is the door's
// to answer. req and rest are valid during the call.
func (t *Transport) Upgrade(slot uint32, req *handshake.Request, rest []byte) handshake.Status {
	if s := t.check(slot, req); s.Failed() {
		return s
	}
	c := t.conns.At(slot)
	*c = conn{}
	if t.control != nil {
		t.control.Forget(slot)
	}
	enc, nativePing := proto.JSON, false
	sub := handshake.NoSubprotocol
	if t.cfg.Subprotocols {
		sub = handshake.ChooseSubprotocol(req)
		enc = encoding(sub, req.Query)
		nativePing = has(req.Query, "cf_ws_frame_ping_pong=true")
	}
	extension := t.negotiate(c, req)

	t.l.Commit(slot, handshake.AppendResponse(t.l.Begin(slot), req.Key, sub, extension))
	t.l.Adopt(slot, t.cfg.Kind)
	t.stats.Opened.Add(1)
	t.keepHeaders(slot, req)
	t.land.Open(slot, enc, nativePing, c.bits == deflate.WindowBitsMax)
	if len(rest) > 0 {
		t.Data(slot, rest)
	}
	return handshake.Done
}

// keepHeaders hands the landing the headers it wants.
func (t *Transport) keepHeaders(slot uint32, req *handshake.Request) {
	if len(t.keep) == 0 {
		return
	}
	t.headers = t.headers[:0]
	req.Each(func(name, value []byte) bool {
		for _, k := range t.keep {
			if foldEqual(name, k) {
				t.headers = append(t.headers, [2][]byte{k, value})
				break
			}
		}
		return true
	})
	if len(t.headers) > 0 {
		t.land.Headers(slot, t.headers)
	}
	clear(t.headers) // they alias the request
}

// foldEqual compares a header's name with one in lower case.
func foldEqual(name, lower []byte) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// check applies the rules of the handshake, then those of the node.
func (t *Transport) check(slot uint32, req *handshake.Request) handshake.Status {
	s := handshake.CheckUpgrade(req, &t.cfg.Handshake)
	if !s.Failed() && t.cfg.Admission != nil {
		s = t.cfg.Admission.Admit(slot, req)
	}
	return s
}

// negotiate returns the extension to answer, nil for none.
func (t *Transport) negotiate(c *conn, req *handshake.Request) []byte {
	if t.cfg.Deflate == nil || req.Extensions.Len() == 0 {
		return nil
	}
	p, extension, ok := deflate.Negotiate(req.Extensions.Join(t.scratch[:0]), *t.cfg.Deflate)
	if !ok {
		return nil
	}
	c.flags |= flagDeflate
	c.bits = p.ServerBits
	return extension
}

// encoding is settled by the subprotocol, or by a URL parameter where the client
// cannot send one. JSON is the default.
func encoding(sub handshake.Subprotocol, query []byte) proto.Encoding {
	switch sub {
	case handshake.JSON:
		return proto.JSON
	case handshake.Protobuf:
		return proto.Protobuf
	case handshake.MessagePack:
		return proto.MessagePack
	}
	switch {
	case has(query, "format=protobuf"), has(query, "cf_protocol=protobuf"):
		return proto.Protobuf
	case has(query, "format=msgpack"):
		return proto.MessagePack
	}
	return proto.JSON
}

// has reports whether one of the query's parameters is exactly param.
func has(query []byte, param string) bool {
	for len(query) > 0 {
		var one []byte
		one, query, _ = bytes.Cut(query, []byte{'&'})
		if string(one) == param {
			return true
		}
	}
	return false
}

// Open implements [loop.Handler]; conns come by Upgrade, never by accept.
func (t *Transport) Open(uint32) {}

// EOF implements [loop.Handler]: a peer that stops sending without a close frame
// is gone, but the answer it waits for is still sent.
func (t *Transport) EOF(slot uint32) {
	if c := t.conns.At(slot); c.flags&flagBusy != 0 {
		c.flags |= flagHalfClosed
		return
	}
	t.l.Close(slot, loop.ReasonPeer)
}

// Timer implements [loop.Handler].
func (t *Transport) Timer(slot uint32) { t.land.Timer(slot) }

// Shutdown is called for every conn when the server stops.
func (t *Transport) Shutdown(slot uint32) {
	if t.conns.At(slot).flags&flagEnded == 0 {
		t.land.Shutdown(slot)
	}
}

// Cut implements [loop.Cutter].
func (t *Transport) Cut(slot uint32) {
	if t.conns.At(slot).flags&flagEnded == 0 {
		t.land.Cut(slot)
	}
}

// Closed implements [loop.Handler]: it gives back what the conn borrowed.
func (t *Transport) Closed(slot uint32, why loop.Reason, _ error) {
	c := t.conns.At(slot)
	c.flags = flagEnded
	t.release(c)
	if t.cfg.Admission != nil {
		t.cfg.Admission.Left(slot)
	}
	t.land.Closed(slot, why)
}

// Release gives back what is borrowed for a conn that has been silent for long. If
// a frame or message was partial, its rest can no longer be understood: should it
// ever come, the conn ends. What waits for a busy session is not partial and stays.
func (t *Transport) Release(slot uint32) {
	c := t.conns.At(slot)
	if c.flags&flagBusy == 0 && c.tail|c.body != 0 {
		c.flags |= flagAbandoned
		t.release(c)
	}
}

// release returns the conn's borrowed buffers.
func (t *Transport) release(c *conn) {
	for _, i := range [...]*uint32{&c.tail, &c.body} {
		if *i != 0 {
			t.buffers.Return(*i)
			*i = 0
		}
	}
}

// Trim gives memory back that a burst of conns left.
func (t *Transport) Trim() {
	t.scratch, t.inflated, t.headers = nil, nil, nil
	t.conns.Trim(t.l.HoldsChunk)
	if t.control != nil {
		t.control.Trim(t.l.HoldsChunk)
	}
}
