package loop

import (
	"syscall"

	"shoal/loop/poll"
	"shoal/pool/shared"
)

// Close ends a conn at once: what is corked or queued is lost. Closed is called before Close returns. Closing what
// is closed already does nothing; a conn that still flushes after CloseAfter is cut short.
func (l *Loop) Close(slot uint32, why Reason) { l.drop(slot, why, nil) }

// CloseAfter ends a conn in good order: everything corked and queued is written, then last, then the end of stream;
// input is discarded until the peer's end of stream or Config.CloseWait, then the descriptor is closed. last is
// copied where needed. Closed is called before CloseAfter returns.
//
// With ReasonSlow (or ReasonNodeBacklog) a backlog is dropped, and what is corked behind it, but for the rest of an
// entry that was begun: the peer does not read it in time anyway, and the memory is wanted back.
func (l *Loop) CloseAfter(slot uint32, last []byte, why Reason) {
	c := l.conns.At(slot)
	if c.state != stateOpen {
		if c.state == stateConnecting {
			l.drop(slot, why, nil)
		}
		return
	}
	if why == ReasonSlow || why == ReasonNodeBacklog {
		l.shed(slot, c)
	}
	if len(l.cork) > 0 && l.corkSlot == slot {
		last = append(l.cork, last...)
		l.cork = last[:0]
	}
	if len(last) > 0 {
		if l.writeOrQueue(slot, c, last); c.state != stateOpen {
			return // the write failed and closed the conn
		}
	}
	l.tell(slot, c, why, nil)
	if c.state != stateFlushing {
		return
	}
	l.wheel.Set(slot, l.Now()+l.Ticks(l.cfg.CloseWait))
	if c.backlog.Empty() {
		l.linger(slot, c)
	} else {
		l.mark(slot, c)
		l.watch(slot, c) // a paused conn reads again, to see the peer go
	}
}

// CloseNow ends a conn with as much of last, behind what is corked, as the kernel takes at once, and waits for nothing:
// the slot and the descriptor are free when the callback ends. It is for refusals of which there are many, where CloseAfter
// would keep each for as long as its peer likes, up to Config.CloseWait. A peer that sent more than was read may be reset
// before it has read last.
func (l *Loop) CloseNow(slot uint32, last []byte, why Reason) {
	if c := l.conns.At(slot); c.state == stateOpen {
		if len(l.cork) > 0 && l.corkSlot == slot {
			last = append(l.cork, last...)
			l.cork = last[:0]
		}
		if len(last) > 0 {
			l.writeOrQueue(slot, c, last)
		}
	}
	l.drop(slot, why, nil) // nothing, if the write failed and closed it
}

// Detach takes an open conn out of the loop: Closed(ReasonDetached) is called and the descriptor, unwatched, is whose the
// Parting is. Corked replies are written before; a backlog is lost, so detach when Backlog is 0. ok is false when the conn is
// not open, or was closed because its descriptor cannot be handed over.
func (l *Loop) Detach(slot uint32) (p Parting, ok bool) {
	c := l.conns.At(slot)
	if len(l.cork) > 0 && l.corkSlot == slot {
		l.uncork()
	}
	if c.state != stateOpen {
		return Parting{}, false
	}
	fd := int(c.fd)
	err := l.poller.Del(fd)
	if err == nil {
		p.border = l.border
		p.parcel, err = l.border.Out(fd)
	}
	if err != nil {
		l.drop(slot, ReasonRead, err)
		return Parting{}, false
	}
	l.left(fd)
	l.index.Clear(fd)
	c.fd = -1
	l.tell(slot, c, ReasonDetached, nil)
	l.destroy(slot, c)
	return p, true
}

// drop ends a conn at once, in whatever state it is.
func (l *Loop) drop(slot uint32, why Reason, err error) {
	c := l.conns.At(slot)
	if c.state == stateOpen || c.state == stateConnecting {
		l.tell(slot, c, why, err)
	}
	l.destroy(slot, c)
}

// tell leaves connecting or open: the handler hears Closed, once.
func (l *Loop) tell(slot uint32, c *conn, why Reason, err error) {
	if why == ReasonSlow && c.has(flagNodeLimit) {
		why = ReasonNodeBacklog
	}
	if c.state == stateOpen {
		l.open--
	}
	c.state = stateFlushing
	l.wheel.Cancel(slot)
	l.counters.Closed[why]++
	l.callClosed(slot, why, err)
}

// linger sends the end of stream and waits for the peer's.
func (l *Loop) linger(slot uint32, c *conn) {
	if c.has(flagEOF) || l.sys.ShutdownWrite(int(c.fd)) != nil {
		l.destroy(slot, c)
		return
	}
	c.state = stateLingering
	l.watch(slot, c)
}

// destroy gives everything back but the slot itself, which reap frees at the end of the callback. The descriptor may
// be given out again at once; events that are under way for it are recognized (reactor.Ready) or harmless (package
// poll: hints).
func (l *Loop) destroy(slot uint32, c *conn) {
	if c.state == stateDead || c.state == stateFree {
		return
	}
	c.state = stateDead
	c.flags &^= flagDirty
	l.wheel.Cancel(slot)
	l.clearBacklog(c)
	if c.fd >= 0 {
		l.index.Clear(int(c.fd))
		_ = l.sys.Close(int(c.fd))
		c.fd = -1
	}
	l.group.conns.Add(-1)
	l.dead = append(l.dead, slot)
}

// reap frees the slots that were closed in this callback.
func (l *Loop) reap() {
	for _, slot := range l.dead {
		l.conns.At(slot).state = stateFree
		l.conns.Free(slot)
	}
	l.dead = l.dead[:0]
}

func (l *Loop) clearBacklog(c *conn) {
	for {
		r, ok := l.nodes.Pop(&c.backlog)
		if !ok {
			break
		}
		l.table.Release(r)
	}
	l.backlog -= int64(c.backlogBytes)
	c.backlogBytes, c.head = 0, 0
	c.flags &^= flagBegun
}

// shed drops the backlog except an entry that was begun, and what is corked behind it.
func (l *Loop) shed(slot uint32, c *conn) {
	if c.backlog.Empty() {
		return
	}
	if l.corkSlot == slot {
		l.counters.ShedBytes += uint64(len(l.cork))
		l.cork = l.cork[:0]
	}
	var begun shared.Ref
	head := c.head
	if head > 0 || c.has(flagBegun) {
		begun, _ = l.nodes.Pop(&c.backlog)
		c.backlogBytes -= uint32(l.table.Size(begun)) - head
		l.backlog -= int64(l.table.Size(begun)) - int64(head)
	}
	l.counters.ShedBytes += uint64(c.backlogBytes)
	l.clearBacklog(c)
	if begun != 0 {
		l.queue(c, begun, l.table.Size(begun)-int(head))
		c.head = head
		c.flags |= flagBegun
	}
}

// serve reacts to hints for one conn.
func (l *Loop) serve(slot uint32, c *conn, ev poll.Events) {
	if c.state == stateConnecting {
		l.connected(slot, c)
		return
	}
	if c.has(flagBlocked) && (ev&poll.Error != 0 || ev&poll.Writable != 0 && l.counters.BytesOut-l.passOut < passBytesMax) {
		l.flush(slot, c) // else it comes again in the next pass
	}
	if ev&(poll.Readable|poll.Error) == 0 {
		return
	}
	switch {
	case c.state == stateDead:
	case c.has(flagEOF) || c.state == stateOpen && c.has(flagPaused):
		// Not to be read; only the end of everything is of interest.
		if ev&poll.Error != 0 {
			if err := l.sys.ConnectErr(int(c.fd)); err != nil {
				l.drop(slot, ReasonReset, err)
			}
		}
	case c.state == stateOpen:
		l.receive(slot, c)
	default:
		l.discard(slot, c)
	}
}

// receive reads once: level-triggered, the rest comes next turn, after the others.
func (l *Loop) receive(slot uint32, c *conn) {
	n, err := l.sys.Read(int(c.fd), l.buf)
	switch {
	case n > 0:
		l.counters.Reads++
		l.counters.BytesIn += uint64(n)
		l.callData(slot, l.buf[:n])
	case err == nil:
		c.flags |= flagEOF
		l.callEOF(slot)
		if l.uncork(); c.state == stateOpen {
			l.watch(slot, c)
		}
	case err != syscall.EAGAIN:
		l.broken(slot, ReasonRead, err)
	}
}

// discard reads what a closing conn is still sent.
func (l *Loop) discard(slot uint32, c *conn) {
	n, err := l.sys.Read(int(c.fd), l.buf)
	switch {
	case n > 0 || err == syscall.EAGAIN:
	case err != nil || c.state == stateLingering:
		l.destroy(slot, c)
	default:
		c.flags |= flagEOF
		l.watch(slot, c)
	}
}
