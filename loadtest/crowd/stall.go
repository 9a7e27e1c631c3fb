package crowd

import (
	"net/netip"

	"shoal/loop/poll"
)

// Stall has the stuck peers stop reading: no recv until Rouse, and a receive buffer that does not grow, so that what is sent to them piles up at
// the server. Those who are ended meanwhile do not notice before Rouse.
func (e *Crowd) Stall() error {
	return e.post(func(e *Crowd) {
		e.stalled = true
		e.results.Stalls++
		e.results.stall(e.now())
		for i := range e.peers[:e.cfg.Stuck] {
			p := &e.peers[i]
			if p.at == 0 || e.conns.At(p.at-1).step != stepReady {
				continue
			}
			p.flags |= peerStalled
			e.results.Stalled++
			e.l.Pause(p.at - 1)
			e.l.Disarm(p.at - 1)
		}
	})
}

// Rouse has them read again, and those who were ended come back.
func (e *Crowd) Rouse() error {
	return e.post(func(e *Crowd) {
		e.stalled = false
		e.results.rouse(e.now())
		for i := range e.peers[:e.cfg.Stuck] {
			p := &e.peers[i]
			switch {
			case p.place == placeAway:
				e.sleep(uint32(i))
			case p.flags&peerStalled != 0 && p.at != 0:
				c := e.conns.At(p.at - 1)
				c.heard = e.l.Now()
				e.sys.widen(int(p.fd))
				e.l.Resume(p.at - 1)
				if c.ping > 0 {
					e.l.Arm(p.at-1, e.patience(c))
				}
			}
			p.flags &^= peerStalled
		}
		e.lastGot = e.now()
		e.wake()
	})
}

const (
	// smallBytes is the receive buffer of a stuck peer. The kernel has offered a window of 64 KiB by then: with less it would have
	// to drop what it offered to take, and the server would see a dead network instead of a receiver that does not read.
	smallBytes = 64 << 10
	wideBytes  = 256 << 10 // when it reads again, so that it catches up sooner
)

// narrow is the kernel, but that sockets may have small receive buffers. The options can only be set once a socket is connected.
type narrow struct {
	poll.Sys
	small  bool // the next one
	last   int32
	waited map[int]struct{}
}

// Connect implements poll.Sys.
func (n *narrow) Connect(local, remote netip.AddrPort) (int, error) {
	fd, err := n.Sys.Connect(local, remote)
	n.last = int32(fd)
	if err == nil && n.small {
		if n.waited == nil {
			n.waited = map[int]struct{}{}
		}
		n.waited[fd] = struct{}{}
	}
	n.small = false
	return fd, err
}

// ConnectErr implements poll.Sys.
func (n *narrow) ConnectErr(fd int) error {
	err := n.Sys.ConnectErr(fd)
	if _, waited := n.waited[fd]; waited && err == nil {
		delete(n.waited, fd)
		_ = n.Adopt(fd, poll.Options{ReceiveBytes: smallBytes}) // a buffer that stays larger only delays the pressure
	}
	return err
}

// Close implements poll.Sys.
func (n *narrow) Close(fd int) error {
	delete(n.waited, fd)
	return n.Sys.Close(fd)
}

func (n *narrow) widen(fd int) {
	_ = n.Adopt(fd, poll.Options{ReceiveBytes: wideBytes}) // it reads anyway, only slower
}
