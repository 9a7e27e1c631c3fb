package narrow

import (
	"net/netip"

	"shoal/loop/poll"
)

const (
	// smallBytes is the receive buffer of a stuck peer. The kernel has offered a window of 64 KiB by then: with less it would have
	// to drop what it offered to take, and the server would see a dead network instead of a receiver that does not read.
	smallBytes = 64 << 10
	wideBytes  = 256 << 10 // when it reads again, so that it catches up sooner
)

// Sys is the kernel, but that sockets may have small receive buffers. The options can only be set once a socket is connected.
type Sys struct {
	poll.Sys
	small  bool // the next one
	last   int32
	waited map[int]struct{}
}

// Whole is n as its loop is to see it: where the kernel's descriptors are the loop's own, n's are.
func (n *Sys) Whole() poll.Sys {
	if b, apart := n.Sys.(poll.Border); apart {
		return struct {
			*Sys
			poll.Border
		}{n, b}
	}
	return n
}

// Small says whether the next connection is to have one.
func (n *Sys) Small(on bool) { n.small = on }

// Last is the descriptor of the last connection.
func (n *Sys) Last() int32 { return n.last }

// Connect implements poll.Sys.
func (n *Sys) Connect(local, remote netip.AddrPort) (int, error) {
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
func (n *Sys) ConnectErr(fd int) error {
	err := n.Sys.ConnectErr(fd)
	if _, waited := n.waited[fd]; waited && err == nil {
		delete(n.waited, fd)
		_ = n.Adopt(fd, poll.Options{ReceiveBytes: smallBytes}) // a buffer that stays larger only delays the pressure
	}
	return err
}

// Close implements poll.Sys.
func (n *Sys) Close(fd int) error {
	delete(n.waited, fd)
	return n.Sys.Close(fd)
}

// Widen has one that reads again catch up sooner.
func (n *Sys) Widen(fd int) {
	_ = n.Adopt(fd, poll.Options{ReceiveBytes: wideBytes}) // it reads anyway, only slower
}
