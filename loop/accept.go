package loop

import (
	"errors"
	"net/netip"
	"syscall"

	"shoal/loop/poll"
)

// retryTicks is how long a listener is left alone after an error that would only repeat.
const retryTicks = 5

// accept takes a batch of connections.
func (l *Loop) accept(number, lfd int) {
	if number >= len(l.listeners) || l.listeners[number].fd != lfd {
		return // stale: another loop's listener
	}
	ln := &l.listeners[number]
	for range l.cfg.AcceptBatch {
		fd, err := l.sys.Accept(lfd)
		switch {
		case err == nil:
			ln.starved = false
			l.admit(fd, ln.kind)
		case err == syscall.EAGAIN:
			return
		case err == syscall.EMFILE || err == syscall.ENFILE:
			if !l.refuse(number, err) {
				return
			}
		case err == syscall.ENOBUFS || err == syscall.ENOMEM || err == syscall.EBADF || err == syscall.EINVAL:
			l.cfg.Logger.Warn("accept failed; the listener rests", "loop", l.number, "addr", ln.bound, "err", err)
			l.rest(number)
			return
		default: // ECONNABORTED, EPROTO, EPERM, …: this one connection is lost (accept(2))
			l.counters.AcceptErrors++
		}
	}
}

// admit makes a conn of an accepted or attached descriptor; ok is false when it was closed instead.
func (l *Loop) admit(fd int, kind Kind) (slot uint32, ok bool) {
	slot, _, err := l.enter(fd, kind, stateOpen)
	if err != nil {
		l.counters.Refused++
		return 0, false
	}
	l.counters.Accepted++
	l.open++
	l.callOpen(slot)
	l.uncork()
	return slot, true
}

var errDescriptors = errors.New("loop: descriptor number beyond the index")

// enter gives a descriptor a slot and has it watched. On error the descriptor is closed.
func (l *Loop) enter(fd int, kind Kind, s state) (slot uint32, c *conn, err error) {
	if n := l.group.conns.Add(1); l.cfg.ConnsMax > 0 && n > int64(l.cfg.ConnsMax) {
		err = ErrConnsMax
	} else {
		slot, c = l.conns.Alloc()
		*c = conn{fd: int32(fd), kind: kind, state: s}
		if !l.index.Set(fd, slot+1) {
			err = errDescriptors
		} else if err = l.poller.Add(fd, c.wanted()); err == nil {
			c.setWatched(c.wanted())
			return slot, c, nil
		}
		l.index.Clear(fd)
		c.fd, c.state = -1, stateFree
		l.conns.Free(slot)
	}
	l.group.conns.Add(-1)
	_ = l.sys.Close(fd)
	return 0, nil, err
}

// refuse answers a full descriptor table: it gives up the reserve to take one waiting connection and close it, which
// tells the peer at once and keeps the level-triggered listener from spinning. It returns false when the listener has
// to rest because even that did not work.
func (l *Loop) refuse(number int, cause error) bool {
	ln := &l.listeners[number]
	if !ln.starved {
		ln.starved = true
		l.counters.DescriptorEpisodes++
		l.cfg.Logger.Warn("out of descriptors: new connections are closed at once; raise the limit (ulimit -n)",
			"loop", l.number, "addr", ln.bound, "err", cause)
	}
	if l.reserve >= 0 {
		_ = l.sys.Close(l.reserve)
		l.reserve = -1
		fd, err := l.sys.Accept(ln.fd)
		if err == nil {
			_ = l.sys.Close(fd)
			l.counters.Refused++
		}
		if r, rerr := l.sys.Reserve(); rerr == nil {
			l.reserve = r
			return err == nil
		}
	}
	l.rest(number)
	return false
}

// rest stops watching a listener for retryTicks.
func (l *Loop) rest(number int) {
	ln := &l.listeners[number]
	if err := l.poller.Del(ln.fd); err == nil {
		ln.retry = retryTicks
	}
}

// retryListeners watches rested listeners again.
func (l *Loop) retryListeners() {
	for i := range l.listeners {
		ln := &l.listeners[i]
		if ln.retry == 0 {
			continue
		}
		if ln.retry--; ln.retry > 0 {
			continue
		}
		if l.reserve < 0 {
			if fd, err := l.sys.Reserve(); err == nil {
				l.reserve = fd
			}
		}
		if err := l.poller.Add(ln.fd, poll.Read); err != nil {
			ln.retry = retryTicks
		}
	}
}

// join watches the listeners that Listen made for this loop.
func (l *Loop) join() {
	l.mu.Lock()
	joining := l.joining
	l.joining = nil
	l.mu.Unlock()
	for _, ln := range joining {
		fd, err := l.border.Receive(ln.parcel)
		if err != nil {
			l.cfg.Logger.Error("listener lost", "loop", l.number, "addr", ln.bound, "err", err)
			continue
		}
		if ln.fd = fd; l.stopping != 0 {
			_ = l.sys.Close(ln.fd)
			continue
		}
		l.listeners = append(l.listeners, ln)
		number := len(l.listeners) - 1
		l.index.Set(ln.fd, listenerBit|uint32(number))
		if err := l.poller.Add(ln.fd, poll.Read); err != nil {
			l.cfg.Logger.Warn("listener cannot be watched yet", "loop", l.number, "addr", ln.bound, "err", err)
			l.listeners[number].retry = retryTicks
		}
	}
}

// unlisten closes the loop's listeners.
func (l *Loop) unlisten() {
	l.join()
	for _, ln := range l.listeners {
		l.index.Clear(ln.fd)
		_ = l.sys.Close(ln.fd)
	}
	l.listeners = nil
}

// Dial opens a connection from local (zero = any address; port 0 = any port) to remote. On success Open follows, on
// failure Closed with ReasonDial. When Dial itself returns an error, neither does.
func (l *Loop) Dial(local, remote netip.AddrPort, kind Kind) (slot uint32, err error) {
	if err := l.group.checkKind(kind); err != nil {
		return 0, err
	}
	if l.stopping != 0 {
		return 0, ErrClosed
	}
	fd, err := l.sys.Connect(local, remote)
	if err != nil {
		return 0, err
	}
	slot, _, err = l.enter(fd, kind, stateConnecting)
	if err != nil {
		return 0, err
	}
	l.counters.Dialed++
	l.wheel.Set(slot, l.Now()+l.Ticks(l.cfg.DialTimeout))
	return slot, nil
}

// connected looks at the outcome of a Dial.
func (l *Loop) connected(slot uint32, c *conn) {
	switch err := l.sys.ConnectErr(int(c.fd)); err {
	case nil:
		c.state = stateOpen
		l.open++
		l.wheel.Cancel(slot)
		if l.watch(slot, c) {
			l.callOpen(slot)
		}
	case syscall.ENOTCONN: // a stale event
	default:
		l.drop(slot, ReasonDial, err)
	}
}
