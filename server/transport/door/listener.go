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
	conns chan net.Conn
	open  atomic.Int64 // conns handed over and not closed yet
	max   int64
	done  chan struct{}
	once  sync.Once
}

// NewListener returns a listener that holds up to waitingMax conns which the
// server has not accepted yet, and openMax in all; further ones are refused with
// 503.
func NewListener(waitingMax, openMax int) *Listener {
	l := &Listener{conns: make(chan net.Conn, waitingMax), max: int64(openMax), done: make(chan struct{})}
	l.Bound(&net.TCPAddr{})
	return l
}

// Bound sets what Addr answers, once the front door is bound.
func (l *Listener) Bound(addr net.Addr) { l.addr.Store(&addr) }

// Accept waits for a conn that left its loop.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; conns that nobody accepted are closed.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.conns:
			if err := c.Close(); err != nil {
				return fmt.Errorf("closing a conn nobody accepted: %w", err)
			}
		default:
			return nil
		}
	}
}

// Addr is the front door's address.
func (l *Listener) Addr() net.Addr { return *l.addr.Load() }

// full reports whether a conn would have to be refused.
func (l *Listener) full() bool {
	select {
	case <-l.done:
		return true
	default:
		return len(l.conns) == cap(l.conns) || l.open.Load() >= l.max
	}
}

// push gives a conn to the server; false when it is full or closed.
func (l *Listener) push(c *replayed) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	l.open.Add(1) // before: whoever accepts it may close it at once
	c.counted.Store(true)
	select {
	case l.conns <- c:
		return true
	default:
		return false // the caller closes it, which uncounts it
	}
}

// handOver takes the conn off the loop and gives it, with the bytes already read,
// to the net/http server.
func (d *Door) handOver(slot uint32, read []byte) {
	if d.cfg.Out.full() {
		d.stats.refusals[handshake.Overloaded].Add(1) // its body may not be read yet: the conn has to linger, or a reset ends the answer
		d.l.CloseAfter(slot, handshake.AppendRefusalRetry(nil, handshake.Overloaded, entry.RetrySeconds()), loop.ReasonLimit)
		return
	}
	head := bytes.Clone(read)
	c, err := adopt(d.l.Detach(slot))
	if err != nil {
		d.stats.refusals[handshake.Internal].Add(1)
		return
	}
	out := &replayed{Conn: c, head: head, of: d.cfg.Out}
	if !d.cfg.Out.push(out) {
		d.stats.refusals[handshake.Overloaded].Add(1)
		_, _ = out.Write(handshake.AppendRefusalRetry(nil, handshake.Overloaded, entry.RetrySeconds())) // fits the empty send buffer; nobody is left to tell of an error
		_ = out.Close()
		return
	}
	d.stats.HandedOver.Add(1)
}

// adopt makes a net.Conn of a descriptor it then owns.
func adopt(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "conn")
	if f == nil {
		return nil, errors.New("front door: the loop gave away an invalid descriptor")
	}
	c, err := net.FileConn(f) // duplicates the descriptor
	return c, errors.Join(err, f.Close())
}

// replayed is a conn whose first bytes were read on the loop.
type replayed struct {
	net.Conn
	head    []byte
	of      *Listener
	counted atomic.Bool // among the listener's open conns
}

// Close closes the conn and makes room for another.
func (c *replayed) Close() error {
	if c.counted.CompareAndSwap(true, false) {
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
