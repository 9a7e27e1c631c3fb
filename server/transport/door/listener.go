package door

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"shoal/codec/handshake"
	"shoal/loop"
	"shoal/server/entry"
)

// Listener is the net.Listener of the net/http server behind the door: it
// "accepts" the conns that left the loops. Safe for concurrent use.
type Listener struct {
	addr  atomic.Pointer[net.Addr]
	conns chan handed
	max   int64
	done  chan struct{}
	once  sync.Once

	waiting atomic.Int64 // conns handed over and not accepted yet
	open    atomic.Int64 // conns handed over and not closed yet
}

// NewListener returns a listener that holds up to waitingMax conns which the
// server has not accepted yet, and openMax in all; further ones are refused with
// 503.
func NewListener(waitingMax, openMax int) *Listener {
	l := &Listener{conns: make(chan handed, waitingMax), max: int64(openMax), done: make(chan struct{})}
	l.Bound(&net.TCPAddr{})
	return l
}

// Bound sets what Addr answers, once the front door is bound.
func (l *Listener) Bound(addr net.Addr) { l.addr.Store(&addr) }

// Accept waits for a conn that left its loop.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		select {
		case h := <-l.conns:
			if c, err := l.adopt(h); err == nil {
				return c, nil
			}
		case <-l.done:
			return nil, net.ErrClosed
		}
	}
}

// Close ends Accept; conns that nobody accepted are closed.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case h := <-l.conns:
			c, err := l.adopt(h)
			if err == nil {
				err = c.Close()
			}
			if err != nil {
				return fmt.Errorf("closing a conn nobody accepted: %w", err)
			}
		default:
			return nil
		}
	}
}

// Addr is the front door's address.
func (l *Listener) Addr() net.Addr { return *l.addr.Load() }

// handed is a conn on its way: the descriptor that left the loop, and the bytes already read.
type handed struct {
	parting loop.Parting
	head    []byte
	stats   *Stats
}

// admit makes room for one more conn; false when there is none, or when nobody accepts any more.
func (l *Listener) admit() bool {
	select {
	case <-l.done:
		return false
	default:
	}
	if l.open.Add(1) > l.max {
		l.open.Add(-1)
		return false
	}
	if l.waiting.Add(1) > int64(cap(l.conns)) {
		l.waiting.Add(-1)
		l.open.Add(-1)
		return false
	}
	return true
}

// handOver takes the conn off the loop and gives it, with the bytes already read,
// to the net/http server.
func (d *Door) handOver(slot uint32, read []byte) {
	if !d.cfg.Out.admit() {
		d.stats.refusals[handshake.Overloaded].Add(1) // its body may not be read yet: the conn has to linger, or a reset ends the answer
		d.l.CloseAfter(slot, handshake.AppendRefusalRetry(nil, handshake.Overloaded, entry.RetrySeconds()), loop.ReasonLimit)
		return
	}
	h := handed{head: bytes.Clone(read), stats: d.stats}
	var ok bool
	if h.parting, ok = d.l.Detach(slot); !ok {
		d.stats.refusals[handshake.Internal].Add(1)
		d.cfg.Out.waiting.Add(-1)
		d.cfg.Out.open.Add(-1)
		return
	}
	d.cfg.Out.conns <- h // there is room
	d.stats.HandedOver.Add(1)
}

// adopt makes a net.Conn of a conn that waited.
func (l *Listener) adopt(h handed) (net.Conn, error) {
	l.waiting.Add(-1)
	c, err := fetch(h.parting)
	if err != nil {
		l.open.Add(-1)
		h.stats.refusals[handshake.Internal].Add(1)
		return nil, err
	}
	return &replayed{Conn: c, head: h.head, of: l}, nil
}

// fetch makes a net.Conn of a descriptor that left a loop.
func fetch(p loop.Parting) (net.Conn, error) {
	fd, err := p.FD()
	if err != nil {
		return nil, fmt.Errorf("front door: %w", err)
	}
	f := os.NewFile(uintptr(fd), "conn")
	c, err := net.FileConn(f) // duplicates the descriptor
	return c, errors.Join(err, f.Close())
}

// replayed is a conn whose first bytes were read on the loop.
type replayed struct {
	net.Conn
	head   []byte
	of     *Listener
	closed atomic.Bool // and no longer among the listener's open conns
}

// Close closes the conn and makes room for another.
func (c *replayed) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.of.open.Add(-1)
	}
	return c.Conn.Close()
}

// Read gives the bytes read on the loop first.
func (c *replayed) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	if c.head = c.head[n:]; len(c.head) == 0 {
		c.head = nil
	}
	return n, nil
}

var _ loop.Handler = (*Door)(nil)
