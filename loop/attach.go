package loop

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"shoal/loop/poll"
)

// Errors of Attach, besides ErrMailboxFull and ErrClosed.
var (
	ErrConnsMax = errors.New("loop: the limit of connections (ConnsMax) is reached")
	// ErrNoSocket: what was given is no connected TCP socket, or hides it.
	ErrNoSocket = poll.ErrNoSocket
)

// Attach takes in a connected TCP socket that something else opened, the opposite of Detach. The loops take turns; the
// socket gets their options and limits, and Open of its kind is called as if it had been accepted, then first, which
// may be nil, with the same slot unless Open closed the conn. A panic in first closes the conn.
//
// Any goroutine, before or after Run began. On an error nothing was done and fd is still the caller's; after nil it is
// the group's and is closed exactly once, whatever happens: where a limit or the end of the group forbids the conn
// only at the loop, fd is closed, the conn counts as refused and neither Open nor first is called.
func (g *Group) Attach(fd int, kind Kind, first func(l *Loop, slot uint32)) error {
	if err := g.checkKind(kind); err != nil {
		return err
	}
	if g.stopping.Load() != 0 {
		return ErrClosed
	}
	if most := g.cfg.ConnsMax; most > 0 && g.conns.Load() >= int64(most) {
		return ErrConnsMax // the loop decides, but there nobody can answer any more
	}
	begin := int(g.turn.Add(1) % uint32(len(g.loops)))
	var full error
	for i := range g.loops {
		l := g.loops[(begin+i)%len(g.loops)]
		if err := l.sys.Adopt(fd, g.cfg.socketOptions()); err != nil {
			return fmt.Errorf("loop: attach descriptor %d: %w", fd, err)
		}
		parcel, err := l.border.In(fd)
		if err != nil {
			return fmt.Errorf("loop: attach: %w", err)
		}
		if err = l.take(&arrival{parcel: parcel, kind: kind, first: first}); err == nil {
			l.left(fd)
			return nil
		}
		if l.border.Revoke(parcel); !errors.Is(err, ErrMailboxFull) {
			return err
		}
		full = err
	}
	return full
}

// AttachConn is Attach for a conn of package net. After nil c was closed, and the connection lives on at the loop; on an
// error c is as it was. What c has read already is the caller's to pass on. A wrapper of a *net.TCPConn is taken when it
// has the method SyscallConn; what it adds to reading and writing is lost, and its Close is called now.
func (g *Group) AttachConn(c net.Conn, kind Kind, first func(l *Loop, slot uint32)) error {
	fd, err := poll.Take(c)
	if err != nil {
		return err
	}
	if err := g.Attach(fd, kind, first); err != nil {
		_ = g.loops[0].sys.Close(fd)
		return err
	}
	_ = c.Close() // a descriptor less; the connection is not touched
	return nil
}

// arrival is a descriptor on its way to a loop.
type arrival struct {
	parcel  poll.Parcel
	kind    Kind
	first   func(l *Loop, slot uint32)
	decided atomic.Bool // whose it is: the loop's when Deliver was first, the caller's when take gave up
}

// take posts an arrival. After an error it is the caller's.
func (l *Loop) take(a *arrival) error {
	err := l.Post(a)
	if err != nil && !a.decided.CompareAndSwap(false, true) {
		return nil // Wake failed, because the loop had ended; before, it delivered
	}
	return err
}

// Deliver implements Message.
func (a *arrival) Deliver(l *Loop) {
	if !a.decided.CompareAndSwap(false, true) {
		return
	}
	fd, err := l.border.Receive(a.parcel)
	if err == nil && l.stopping != 0 {
		_, err = l.sys.Close(fd), ErrClosed
	}
	if err != nil {
		l.counters.Refused++
		return
	}
	slot, ok := l.admit(fd, a.kind)
	if ok && a.first != nil && l.conns.At(slot).state == stateOpen {
		l.callFirst(slot, a.first)
		l.uncork()
	}
}

// apart says whether the loop's descriptors are its own. Its table, with all that is in it, ends with the loop.
func (l *Loop) apart() bool { return l.index != &l.group.index }

// left closes what stays behind of a descriptor that crossed the border, on the side it came from.
func (l *Loop) left(fd int) {
	if l.apart() {
		_ = l.sys.Close(fd)
	}
}

// Parting is the descriptor of a conn that left its loop by Detach. It is to be fetched once, or it stays open.
type Parting struct {
	border poll.Border
	parcel poll.Parcel
}

// FD returns the descriptor, non-blocking, and makes it the caller's. Any goroutine but a loop's that has descriptors of its own
// (Config.OwnDescriptors).
func (p Parting) FD() (int, error) { return p.border.Fetch(p.parcel) }
