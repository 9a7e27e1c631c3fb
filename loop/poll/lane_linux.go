package poll

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// lane carries descriptors from one table to another: a pair of Unix sockets (unix(7), SCM_RIGHTS). Any goroutine of the one side sends, and
// whoever of the other side has a Parcel receives it, in any order.
type lane struct {
	from, to int // the two ends

	sending sync.Mutex
	last    Parcel

	receiving sync.Mutex
	arrived   map[Parcel]int      // and not asked for yet; -1 = there was no number left for it
	revoked   map[Parcel]struct{} // and not arrived yet
}

func (l *lane) open() error {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("poll: a pair of Unix sockets: %w", err)
	}
	l.from, l.to = ends[0], ends[1]
	l.arrived, l.revoked = map[Parcel]int{}, map[Parcel]struct{}{}
	return nil
}

const parcelBytes = 8

// send puts a copy of a descriptor on its way. EAGAIN when too many are.
func (l *lane) send(fd int) (Parcel, error) {
	l.sending.Lock()
	defer l.sending.Unlock()
	p := l.last + 1
	if err := unix.Sendmsg(l.from, binary.LittleEndian.AppendUint64(nil, uint64(p)), unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL); err != nil {
		return 0, fmt.Errorf("poll: descriptor %d cannot be handed over: %w", fd, err)
	}
	l.last = p
	return p, nil
}

// receive takes a parcel in. It was sent before, so it is there, behind others perhaps.
func (l *lane) receive(p Parcel) (fd int, err error) {
	l.receiving.Lock()
	defer l.receiving.Unlock()
	for gone := range l.revoked { // after another's receive had taken it in: only this side can close it
		if fd, here := l.arrived[gone]; here {
			delete(l.arrived, gone)
			l.drop(gone, fd)
		}
	}
	for {
		if fd, ok := l.arrived[p]; ok {
			delete(l.arrived, p)
			if fd < 0 {
				return -1, unix.EMFILE
			}
			return fd, nil
		}
		if err := l.next(); err != nil {
			return -1, err
		}
	}
}

// next takes in the parcel that comes next, whosever it is.
func (l *lane) next() error {
	var name [parcelBytes]byte
	rights := make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := unix.Recvmsg(l.to, name[:], rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("poll: a descriptor that was handed over cannot be received: %w", err)
	}
	fd := -1
	if messages, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
		}
	}
	if n != parcelBytes {
		return fmt.Errorf("poll: %d bytes instead of a parcel", n)
	}
	p := Parcel(binary.LittleEndian.Uint64(name[:]))
	if _, gone := l.revoked[p]; gone {
		l.drop(p, fd)
		return nil
	}
	l.arrived[p] = fd // -1: the table was full, and the kernel dropped it (MSG_CTRUNC)
	return nil
}

// drop closes what came of a revoked parcel.
func (l *lane) drop(p Parcel, fd int) {
	delete(l.revoked, p)
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// revoke has a parcel closed when it arrives, or at the next receive when it has. 0 is none: it was not sent.
func (l *lane) revoke(p Parcel) {
	if p == 0 {
		return
	}
	l.receiving.Lock()
	defer l.receiving.Unlock()
	l.revoked[p] = struct{}{}
}

// close closes both ends; what is on its way goes with them.
func (l *lane) close() {
	_ = unix.Close(l.from)
	_ = unix.Close(l.to)
}
