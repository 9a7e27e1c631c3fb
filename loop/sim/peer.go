package sim

import (
	"io"
	"net/netip"
	"syscall"
	"time"
)

// Peer is the far end of one connection, moved by a script. Its calls never block and belong to whoever holds the
// baton. A Peer lives on after its connection, so that a script can ask how it ended.
type Peer struct {
	link    *link
	index   int
	refused error // why there never was a connection
	finSent bool
	Script  any // the script's own
}

// newLink makes both ends of a connection.
func (w *World) newLink(local, remote netip.AddrPort) *link {
	l := &link{world: w, fd: -1, local: local, remote: remote}
	l.in.size = max(1, w.cfg.BufferBytes(w.rng))
	l.out.size = max(1, w.cfg.BufferBytes(w.rng))
	l.peer = &Peer{link: l, index: len(w.peers)}
	w.peers = append(w.peers, l.peer)
	w.links = append(w.links, l)
	return l
}

// Connect opens a connection to a listener of the loops; of several that share the port the seed chooses one. The
// connection is open for the peer as soon as it waits to be accepted; without a listener, or with a full queue,
// Refused says so.
func (w *World) Connect(to netip.AddrPort) *Peer {
	i := len(w.peers)
	// The address tells the peer: 10.1.0.0 upwards, 40,000 ports each.
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 40000 >> 8), byte(i / 40000)}), uint16(1024+i%40000))
	l := w.newLink(to, from)
	var open []*listener
	for _, ln := range w.listeners {
		if ln.addr == to && len(ln.queue) < ln.backlog {
			open = append(open, ln)
		}
	}
	if len(open) == 0 {
		l.peer.refused = syscall.ECONNREFUSED
		l.broken = true
		l.drop()
		return l.peer
	}
	ln := open[w.rng.IntN(len(open))]
	ln.queue = append(ln.queue, l)
	w.note("peer-open", -1, i, nil)
	return l.peer
}

// Foreign opens a connection that no loop accepted or dialled, as another part of the program would, and gives the
// descriptor of its near end: for Group.Attach, or CloseForeign. EMFILE when the table is full.
func (w *World) Foreign() (fd int, p *Peer, err error) {
	i := len(w.peers)
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i / 40000 >> 8), byte(i / 40000)}), uint16(1024+i%40000))
	l := w.newLink(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 80), from)
	if fd, err = w.open(noLoop, file{kind: fileSocket, link: l, foreign: true}); err != nil {
		l.peer.refused, l.broken = err, true
		l.drop()
		return -1, l.peer, err
	}
	l.fd, w.latest = fd, l.peer
	w.note("foreign", fd, i, nil)
	return fd, l.peer, nil
}

// CloseForeign closes a descriptor of Foreign that no loop took.
func (w *World) CloseForeign(fd int) {
	if fd < 0 || fd >= len(w.files) || !w.files[fd].foreign {
		w.Fail("descriptor %d is closed by who opened it, but a loop has closed it before", fd)
		return
	}
	w.note("close", fd, 0, nil)
	w.close(fd)
}

// Serve makes addr a place to Dial: answer is called for every connection attempt and calls Accept or Refuse on the
// Peer, now or later, or never.
func (w *World) Serve(addr netip.AddrPort, answer func(p *Peer)) { w.remotes[addr] = answer }

// Latest is the Peer of the connection that got a descriptor last: inside Open after an accept, or after Dial, the
// one that is meant.
func (w *World) Latest() *Peer { return w.latest }

// Index numbers the peers of a world from 0.
func (p *Peer) Index() int { return p.index }

// Addr is the peer's address as the loop sees it.
func (p *Peer) Addr() netip.AddrPort { return p.link.remote }

// Refused is why there never was a connection, nil otherwise.
func (p *Peer) Refused() error { return p.refused }

// Accept completes a connection that a loop dialled; false when the loop has given it up.
func (p *Peer) Accept() bool {
	if l := p.link; !l.connecting || l.broken {
		return false
	}
	p.link.connecting = false
	return true
}

// Refuse lets a connection that a loop dialled fail with err.
func (p *Peer) Refuse(err syscall.Errno) {
	if l := p.link; l.connecting && !l.broken {
		p.refused = err
		l.reset(err)
	}
}

// Send puts bytes on their way and says how many the loop's buffer took; the rest is to be sent again. The error is
// what a socket gives: ECONNRESET once, then EPIPE.
func (p *Peer) Send(b []byte) (int, error) {
	l := p.link
	if err := p.takeErr(); err != nil {
		return 0, err
	}
	switch {
	case l.broken || p.finSent || l.closedByPeer:
		return 0, syscall.EPIPE
	case l.connecting:
		return 0, nil
	case l.closedByLoop: // nobody is there to read it: a reset comes back
		l.resetPeer()
		return len(b), nil
	}
	n := min(len(b), l.in.free())
	l.in.put(b[:n])
	l.world.note("peer-send", l.fd, n, nil)
	return n, nil
}

// Recv takes bytes that arrived. 0, nil: nothing there yet. io.EOF: the loop ended the stream and everything before
// was read. A reset comes after the bytes that made it.
func (p *Peer) Recv(b []byte) (int, error) {
	l := p.link
	if len(l.out.buf) > 0 {
		n := l.out.take(b)
		l.world.note("peer-recv", l.fd, n, nil)
		return n, nil
	}
	if err := p.takeErr(); err != nil {
		return 0, err
	}
	switch {
	case l.broken:
		return 0, syscall.EPIPE
	case l.out.fin:
		return 0, io.EOF
	}
	return 0, nil
}

func (p *Peer) takeErr() error {
	if p.link.peerErr == 0 {
		return nil
	}
	err := p.link.peerErr
	p.link.peerErr = 0
	return err
}

// Waiting is the number of bytes that arrived and were not received.
func (p *Peer) Waiting() int { return len(p.link.out.buf) }

// ShutdownWrite ends the peer's stream and goes on receiving.
func (p *Peer) ShutdownWrite() {
	if l := p.link; !l.broken && !l.connecting {
		p.finSent = true
		l.in.fin = true
		l.world.note("peer-fin", l.fd, p.index, nil)
	}
}

// Reset ends the connection at once. What was on its way may arrive or not.
func (p *Peer) Reset() {
	p.link.world.note("peer-rst", p.link.fd, p.index, nil)
	p.link.reset(0)
}

// Close ends both directions: with bytes unread that is a reset, as in Linux.
func (p *Peer) Close() {
	l := p.link
	if l.broken || l.closedByPeer {
		return
	}
	if len(l.out.buf) > 0 {
		p.Reset()
		return
	}
	p.finSent, l.in.fin, l.closedByPeer = true, true, true
	l.world.note("peer-close", l.fd, p.index, nil)
	if l.closedByLoop {
		l.drop()
	}
}

// Broken says that a reset or a timeout ended the connection.
func (p *Peer) Broken() bool { return p.link.broken }

// ClosedByLoop says that the loop gave the descriptor back.
func (p *Peer) ClosedByLoop() bool { return p.link.closedByLoop }

// ClosedAt is when the loop gave the descriptor back, in virtual time since the world began; meaningful once
// ClosedByLoop.
func (p *Peer) ClosedAt() time.Duration { return p.link.closedAt }

// Taken is the number of bytes that the kernel took from the loop so far.
func (p *Peer) Taken() int { return p.link.out.staged }

// Accepted says that a loop has, or had, a descriptor for the connection.
func (p *Peer) Accepted() bool { return p.link.fd >= 0 || p.link.closedByLoop }

// SetBuffers changes the sizes of the buffers from and to the loop, as a kernel's tuning does. What is in them stays.
func (p *Peer) SetBuffers(fromLoop, toLoop int) {
	p.link.out.size, p.link.in.size = max(1, fromLoop), max(1, toLoop)
}
