package door

import (
	"net/http"
	"net/netip"
	"sync/atomic"

	"shoal/codec/handshake"
	"shoal/loop"
	"shoal/pool/buffer"
	"shoal/server/entry"
)

// Upgrader is a transport that takes conns from the door. It answers Done when
// the conn is its own, otherwise the failure that the door is to send.
type Upgrader interface {
	Upgrade(slot uint32, req *handshake.Request, rest []byte) handshake.Status
}

// Config is fixed for the life of a door.
type Config struct {
	Limits    handshake.Limits
	HeadTicks loop.Tick      // the head must have arrived by then; 0 = 100 ticks
	Proxy     bool           // every conn begins with a PROXY protocol header
	Trusted   []netip.Prefix // who may send one; empty = everybody who can connect
	Out       *Listener      // where other requests go; nil = they are answered 404
}

const headTicksDefault = 100

// Stats counts what the doors of a node did. Any goroutine may read.
type Stats struct {
	HandedOver atomic.Uint64
	refusals   [128]atomic.Uint64 // by handshake.Status
}

// Refusals is the number of requests refused with status s.
func (s *Stats) Refusals(status handshake.Status) uint64 { return s.refusals[status].Load() }

// Count adds a refusal by somebody else in the door's place.
func (s *Stats) Count(status handshake.Status) { s.refusals[status].Add(1) }

// Door is the first row of a loop's handler table. Use [New]. Loop-owned.
type Door struct {
	cfg     Config
	l       *loop.Loop
	buffers *buffer.Table
	routes  map[string]Upgrader
	partial map[uint32]*partial
	req     handshake.Request
	stats   *Stats
}

// partial is a request of which a part has arrived.
type partial struct {
	parser handshake.Parser
	buf    uint32 // borrowed
}

// New returns the door of loop l. stats may be shared by all doors of a node.
func New(l *loop.Loop, buffers *buffer.Table, cfg Config, stats *Stats) *Door {
	if cfg.HeadTicks == 0 {
		cfg.HeadTicks = headTicksDefault
	}
	return &Door{cfg: cfg, l: l, buffers: buffers, stats: stats, routes: map[string]Upgrader{}, partial: map[uint32]*partial{}}
}

// Route makes upgrades on path go to u. Before the loop runs.
func (d *Door) Route(path string, u Upgrader) { d.routes[path] = u }

// Open implements [loop.Handler]: the clock runs from accept on.
func (d *Door) Open(slot uint32) { d.l.Arm(slot, d.cfg.HeadTicks) }

// Data reads the request's head. Implements [loop.Handler].
func (d *Door) Data(slot uint32, p []byte) {
	if len(d.partial) > 0 {
		if w, ok := d.partial[slot]; ok {
			d.more(slot, w, p)
			return
		}
	}
	var fresh partial
	if d.read(slot, &fresh, p) == handshake.NeedMore {
		w := fresh
		w.buf = d.buffers.Borrow(len(p))
		b := d.buffers.At(w.buf)
		b.B = append(b.B, p...)
		d.partial[slot] = &w
	}
}

// more goes on with a request that arrived in part.
func (d *Door) more(slot uint32, w *partial, p []byte) {
	d.buffers.Grow(w.buf, len(p))
	b := d.buffers.At(w.buf)
	b.B = append(b.B, p...)
	whole := b.B
	delete(d.partial, slot) // what follows may close, detach or adopt the conn
	if d.read(slot, w, whole) == handshake.NeedMore {
		d.partial[slot] = w
		return
	}
	d.buffers.Return(w.buf)
}

// read takes what has arrived since the beginning of the conn and acts on a whole
// head. NeedMore: nothing was done.
func (d *Door) read(slot uint32, w *partial, p []byte) handshake.Status {
	skip := 0
	var client netip.Addr
	if d.cfg.Proxy {
		n, src, status := d.proxy(slot, p)
		if status != handshake.Done {
			return d.failed(slot, status)
		}
		skip, client = n, src
	}
	head := p[skip:]
	n, status := w.parser.Parse(head, d.cfg.Limits, &d.req)
	if status != handshake.Done {
		return d.failed(slot, status)
	}
	d.req.Remote = client
	if u, ok := d.routes[string(d.req.Path)]; ok {
		d.l.Disarm(slot)
		return d.failed(slot, u.Upgrade(slot, &d.req, head[n:]))
	}
	if d.cfg.Out == nil {
		return d.failed(slot, handshake.NotFound)
	}
	d.handOver(slot, head)
	return handshake.Done
}

// failed answers a refusal; other outcomes pass.
func (d *Door) failed(slot uint32, status handshake.Status) handshake.Status {
	if status.Failed() {
		d.stats.refusals[status].Add(1)
		Refuse(d.l, slot, status)
	}
	return status
}

// Refuse answers a failed request and ends its conn. Where there is no room the conn keeps
// its slot no longer than the answer takes.
func Refuse(l *loop.Loop, slot uint32, status handshake.Status) {
	if status.Code() == http.StatusServiceUnavailable {
		l.CloseNow(slot, handshake.AppendRefusalRetry(nil, status, entry.RetrySeconds()), loop.ReasonLimit)
		return
	}
	l.CloseAfter(slot, handshake.AppendRefusal(nil, status), loop.ReasonProtocol)
}

// proxy reads the PROXY header that a balancer puts in front of everything. Without a
// client's address in it, the client is zero.
func (d *Door) proxy(slot uint32, p []byte) (n int, client netip.Addr, status handshake.Status) {
	if len(d.cfg.Trusted) > 0 && !d.trusted(slot) {
		return 0, client, handshake.NotProxy
	}
	n, src, _, status := handshake.ParseProxy(p)
	return n, src.Addr(), status
}

func (d *Door) trusted(slot uint32) bool {
	peer, err := d.l.Peer(slot)
	if err != nil {
		return false
	}
	for _, prefix := range d.cfg.Trusted {
		if prefix.Contains(peer.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// Trim gives memory back that a burst of partial requests left.
func (d *Door) Trim() {
	if len(d.partial) == 0 {
		d.partial = map[uint32]*partial{}
	}
}

// EOF implements [loop.Handler].
func (d *Door) EOF(slot uint32) { d.l.Close(slot, loop.ReasonPeer) }

// Timer implements [loop.Handler]: the head took too long.
func (d *Door) Timer(slot uint32) {
	d.stats.refusals[handshake.SlowHead].Add(1)
	d.l.CloseAfter(slot, handshake.AppendRefusal(nil, handshake.SlowHead), loop.ReasonTimeout)
}

// Shutdown is called for every conn when the server stops.
func (d *Door) Shutdown(slot uint32) {
	d.l.CloseAfter(slot, handshake.AppendRefusal(nil, handshake.ShuttingDown), loop.ReasonShutdown)
}

// Closed implements [loop.Handler].
func (d *Door) Closed(slot uint32, _ loop.Reason, _ error) {
	if w, ok := d.partial[slot]; ok {
		delete(d.partial, slot)
		d.buffers.Return(w.buf)
	}
}
