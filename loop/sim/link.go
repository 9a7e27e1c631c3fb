package sim

import (
	"net/netip"
	"slices"
	"syscall"
	"time"

	"shoal/loop/poll"
)

// link is one TCP connection: the loop's descriptor at one end, a Peer at the other.
type link struct {
	world         *World
	peer          *Peer
	fd            int            // -1 while it waits to be accepted and after the loop closed it
	local, remote netip.AddrPort // seen from the loop

	in, out pipe // to the loop, from the loop

	connecting   bool // Connect was called, the outcome is not known
	broken       bool // a reset or a timeout ended it: nothing moves any more
	closedByPeer bool // nobody is left at the other end to read
	closedByLoop bool
	eofRead      bool          // the loop has seen the end of stream
	err          syscall.Errno // pending on the loop's end, given out once
	peerErr      syscall.Errno // pending on the peer's end
	closedAt     time.Duration
}

// pipe is one direction with its bounded buffer.
type pipe struct {
	buf    []byte
	size   int
	fin    bool // end of stream behind buf
	staged int  // bytes that ever went in
}

func (p *pipe) free() int { return max(0, p.size-len(p.buf)) }

func (p *pipe) put(b []byte) {
	p.buf = append(p.buf, b...)
	p.staged += len(b)
}

func (p *pipe) take(b []byte) int {
	n := copy(b, p.buf)
	p.buf = p.buf[:copy(p.buf, p.buf[n:])]
	return n
}

// level is what epoll says about the loop's end (tcp_poll in Linux).
func (l *link) level() (ev poll.Events) {
	if l.connecting {
		return 0
	}
	if len(l.in.buf) > 0 || l.in.fin || l.broken {
		ev |= poll.Readable
	}
	// Linux wakes a writer when a third of the buffer is free (sk_stream_is_writeable).
	if l.broken || l.out.fin || l.out.free() > 0 && 2*l.out.free() >= len(l.out.buf) {
		ev |= poll.Writable
	}
	if l.err != 0 || l.broken || l.in.fin && l.out.fin {
		ev |= poll.Error
	}
	return ev
}

// read is Read of the loop's end: data comes before the error, the error before the end of stream.
func (l *link) read(p []byte) (int, error) {
	if len(l.in.buf) > 0 && !l.connecting {
		return l.in.take(p), nil
	}
	if err := l.takeErr(); err != nil {
		return 0, err
	}
	if l.broken || l.in.fin {
		return 0, nil
	}
	return 0, syscall.EAGAIN
}

// takeErr gives the pending error out once.
func (l *link) takeErr() error {
	if l.err == 0 {
		return nil
	}
	err := l.err
	l.err = 0
	return err
}

// writable is nil when bytes can be put into out.
func (l *link) writable() error {
	if err := l.takeErr(); err != nil {
		return err
	}
	switch {
	case l.broken || l.out.fin:
		return syscall.EPIPE
	case l.connecting || l.out.free() == 0:
		return syscall.EAGAIN
	}
	return nil
}

// written ends a write of the loop: a peer that is gone answers with a reset.
func (l *link) written() {
	if l.closedByPeer {
		l.reset(0)
	}
}

// connectErr is SO_ERROR and then getpeername.
func (l *link) connectErr() error {
	if err := l.takeErr(); err != nil {
		return err
	}
	if !l.connected() {
		return syscall.ENOTCONN
	}
	return nil
}

// connected: Linux forgets the peer when a reset came or both ends have finished.
func (l *link) connected() bool { return !l.connecting && !l.broken && !(l.in.fin && l.out.fin) }

// shutdownWrite puts the end of stream behind what is buffered.
func (l *link) shutdownWrite() error {
	if !l.connected() {
		return syscall.ENOTCONN
	}
	l.out.fin = true
	return nil
}

// closeByLoop: with input unread Linux sends a reset at once and what is on its way may never arrive; otherwise
// everything buffered is delivered, then the end of stream.
func (l *link) closeByLoop() {
	switch {
	case l.connecting:
		l.broken = true
	case len(l.in.buf) > 0:
		l.resetPeer()
	default:
		l.out.fin = true
	}
	l.closedByLoop, l.closedAt, l.fd = true, l.world.now, -1
	l.drop()
}

// resetPeer ends the connection with a reset to the peer: it loses an unknown part of what it has not read.
func (l *link) resetPeer() {
	if l.broken {
		return
	}
	l.broken = true
	if l.peerErr == 0 {
		l.peerErr = syscall.ECONNRESET
	}
	l.cut(&l.out)
	l.drop()
}

// reset ends the connection from outside or from the peer: the loop's end gets err, 0 = what a reset means to it
// (EPIPE after an end of stream, ECONNRESET otherwise).
func (l *link) reset(err syscall.Errno) {
	if l.broken {
		return
	}
	if err == 0 {
		if err = syscall.ECONNRESET; l.in.fin {
			err = syscall.EPIPE
		}
	}
	l.broken, l.connecting = true, false
	if !l.closedByLoop {
		l.err = err
	}
	if l.peerErr == 0 {
		l.peerErr = syscall.ECONNRESET
	}
	l.cut(&l.in)
	l.cut(&l.out)
	l.drop()
}

// cut loses a tail of random length: bytes that were on their way.
func (l *link) cut(p *pipe) {
	if len(p.buf) > 0 {
		p.buf = p.buf[:l.world.rng.IntN(len(p.buf)+1)]
	}
}

// drop takes the link off the list of those that may still break.
func (l *link) drop() {
	if i := slices.Index(l.world.links, l); i >= 0 {
		l.world.links = slices.Delete(l.world.links, i, i+1)
	}
}
