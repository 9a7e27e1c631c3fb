package loop

import (
	"syscall"
	"time"

	"shoal/pool/shared"
)

const (
	// corkMax is what is corked at most before it is written anyway.
	corkMax = 256 << 10
	// backlogGrain is how far a loop's backlog may drift from what the group knows of it, less where the limit is small.
	backlogGrain = 64 << 10
	// flushTimeMax is after how long a pass writes to no further conns. It looks at the clock every flushLook conns or
	// flushLookBytes, which costs 5 ns a write.
	flushTimeMax   = time.Millisecond
	flushLook      = 8
	flushLookBytes = 128 << 10
	// passBytesMax is after how many bytes written a pass writes to no further conns that were blocked: thousands whose
	// peers begin to read at the same time take turns with everybody else.
	passBytesMax = 2 << 20
	// flushBytesMax is what one conn may be written per pass before others get their turn.
	flushBytesMax = 256 << 10
	// messageBytesMax keeps conn.backlogBytes from overflowing: a message plus Config.BacklogBytesMax at most.
	messageBytesMax = 1 << 30
	// dirtyGrain is how much of the dirty list is read before the rest moves up.
	dirtyGrain = 4096
)

// Begin lends the buffer of corked replies for a conn: append to it and give it to Commit before anything else is
// done with the loop. All that is corked for one conn in one callback is written by one write when the callback
// ends, and what the kernel does not take is queued. Bytes corked for a conn that is not open are dropped.
func (l *Loop) Begin(slot uint32) []byte {
	if len(l.cork) > 0 && l.corkSlot != slot {
		l.uncork()
	}
	return l.cork
}

// Commit gives back what Begin lent, with replies appended.
func (l *Loop) Commit(slot uint32, b []byte) {
	l.cork, l.corkSlot = b, slot
	if len(b) > corkMax {
		l.uncork()
	}
}

// uncork writes the corked replies.
func (l *Loop) uncork() {
	for len(l.cork) > 0 { // a Closed on the way may cork for another conn
		b, slot := l.cork, l.corkSlot
		l.cork = b[:0]
		if c := l.conns.At(slot); c.state == stateOpen {
			alone := c.backlog.Empty()
			l.writeOrQueue(slot, c, b)
			if c.state != stateOpen || !l.over(c, 0) {
				continue
			}
			if !alone || c.has(flagNodeLimit) || l.overNode(c, 0) { // one alone is taken, but not past the node's limit
				l.drop(slot, ReasonSlow, nil)
			}
		}
	}
}

// writeOrQueue writes b behind what is queued already; what the kernel does not take is copied and queued.
func (l *Loop) writeOrQueue(slot uint32, c *conn, b []byte) {
	if c.backlog.Empty() {
		n, err := l.sys.Write(int(c.fd), b)
		l.counters.Writes++
		l.counters.BytesOut += uint64(n)
		if err != nil && err != syscall.EAGAIN {
			l.broken(slot, ReasonWrite, err)
			return
		}
		if b = b[n:]; len(b) == 0 {
			return
		}
		if n > 0 {
			c.flags |= flagBegun
		}
		l.queue(c, l.table.Hold(l.copied(b)), len(b))
		l.block(slot, c)
		return
	}
	l.queue(c, l.table.Hold(l.copied(b)), len(b))
	l.mark(slot, c)
}

func (l *Loop) copied(b []byte) *shared.Bytes {
	s := l.cfg.Shared.New(len(b))
	s.Buf = append(s.Buf[:0], b...)
	return s
}

// queue appends to the backlog; the list takes over the caller's count of r.
func (l *Loop) queue(c *conn, r shared.Ref, n int) {
	l.nodes.Push(&c.backlog, r)
	c.backlogBytes += uint32(n)
	l.backlog += int64(n)
}

// mark puts a conn with a backlog on the dirty list, unless it waits for writability.
func (l *Loop) mark(slot uint32, c *conn) {
	if c.flags&(flagDirty|flagBlocked) == 0 {
		c.flags |= flagDirty
		l.dirty = append(l.dirty, slot)
		l.askAgain()
	}
}

// Send queues the bytes of r, behind everything corked or sent before, to be written at the end of the turn. The
// caller keeps its own hold of r.
func (l *Loop) Send(slot uint32, r shared.Ref) SendResult {
	c := l.conns.At(slot)
	if c.state != stateOpen {
		return Gone
	}
	if len(l.cork) > 0 && l.corkSlot == slot {
		if l.uncork(); c.state != stateOpen {
			return Gone
		}
	}
	n := l.table.Size(r)
	if n == 0 {
		return Sent
	}
	if n > messageBytesMax || !c.backlog.Empty() && l.over(c, n) {
		return OverLimit
	}
	l.table.Retain(r)
	l.queue(c, r, n)
	l.mark(slot, c)
	return Sent
}

// over says whether n more bytes would lift the conn or the node over its limit. The node's limit is for those who
// do not read: a conn that is not blocked has nothing to do with it.
func (l *Loop) over(c *conn, n int) bool {
	c.flags &^= flagNodeLimit
	if more := int(c.backlogBytes) + n; more > l.cfg.BacklogBytesMax && more-l.large(c) > l.cfg.BacklogBytesMax {
		return true
	}
	if l.overNode(c, n) {
		c.flags |= flagNodeLimit
		return true
	}
	return false
}

const (
	largePart = 4  // a message of more than this part of the conn's limit is large
	largeMax  = 2  // large messages do not count
	largeLook = 32 // of the first entries of a backlog
)

// large is what is left of the first large messages of a backlog: the one that is being written, and another one near
// the front. They are what a peer has asked for and cannot be made smaller, such as what it recovers; it is not cut for
// them, and what follows has the limit to itself.
func (l *Loop) large(c *conn) (bytes int) {
	looked, found, written := 0, 0, int(c.head)
	l.nodes.Each(&c.backlog, func(r *shared.Ref) bool {
		if n := l.table.Size(*r); n > l.cfg.BacklogBytesMax/largePart {
			bytes += n - written
			found++
		}
		looked, written = looked+1, 0
		return found < largeMax && looked < largeLook
	})
	return bytes
}

// overNode is over for the node's limit alone.
func (l *Loop) overNode(c *conn, n int) bool {
	return c.has(flagBlocked) && l.group.backlog.Load()+l.backlog-l.backlogPublished+int64(n) > l.cfg.NodeBacklogBytesMax
}

// publishBacklog tells the group, and has the largest backlogs cut when it is too much.
func (l *Loop) publishBacklog() {
	sum := l.group.backlog.Add(l.backlog - l.backlogPublished)
	l.backlogPublished = l.backlog
	if l.stopping == 0 && l.group.relief.Begin(sum, int64(l.Now())) {
		l.group.wake()
	}
}

// flushDirty writes to at most FlushSlice dirty conns, and to fewer when that takes long: because they are sent much, or
// because the kernel delivers on our time what others send.
func (l *Loop) flushDirty() {
	var begin time.Time
	look := l.counters.BytesOut + flushLookBytes
	for n := 0; l.dirtyAt < len(l.dirty) && n < l.cfg.FlushSlice; l.dirtyAt++ {
		slot := l.dirty[l.dirtyAt]
		// A conn that was closed has lost its flag, and so has its slot's next owner, until it is marked itself.
		c := l.conns.At(slot)
		if !c.has(flagDirty) {
			continue
		}
		if n%flushLook == 0 || l.counters.BytesOut >= look {
			now := l.poller.Now()
			if begin.IsZero() {
				begin = now
			}
			if now.Sub(begin) >= flushTimeMax {
				break
			}
			look = l.counters.BytesOut + flushLookBytes
		}
		c.flags &^= flagDirty
		l.flush(slot, c)
		n++
	}
	if l.dirtyAt == len(l.dirty) || l.dirtyAt >= dirtyGrain {
		n := copy(l.dirty, l.dirty[l.dirtyAt:])
		l.dirty, l.dirtyAt = l.dirty[:n], 0
	}
}

// flush writes the backlog until it is empty or the kernel takes no more.
func (l *Loop) flush(slot uint32, c *conn) {
	for budget := flushBytesMax; !c.backlog.Empty(); {
		if budget <= 0 { // a peer that reads as fast as we write: others first
			l.mark(slot, c) // unless blocked: then the poller brings us back
			return
		}
		n, err := l.writeFront(c)
		budget -= n
		l.counters.BytesOut += uint64(n)
		if err != nil && err != syscall.EAGAIN {
			l.broken(slot, ReasonWrite, err)
			return
		}
		if !l.advance(c, n) {
			l.block(slot, c)
			return
		}
	}
	if c.has(flagBlocked) {
		c.flags &^= flagBlocked
		if !l.watch(slot, c) {
			return
		}
	}
	if c.state == stateFlushing {
		l.linger(slot, c)
	}
}

// writeFront writes the first entry, or the first IovMax.
func (l *Loop) writeFront(c *conn) (int, error) {
	if c.backlog.Head == c.backlog.Tail {
		l.counters.Writes++
		return l.sys.Write(int(c.fd), l.table.Bytes(*l.nodes.Front(&c.backlog))[c.head:])
	}
	k := 0
	l.nodes.Each(&c.backlog, func(r *shared.Ref) bool {
		l.iov[k] = l.table.Bytes(*r)
		k++
		return k < len(l.iov)
	})
	l.iov[0] = l.iov[0][c.head:]
	l.counters.Writevs++
	n, err := l.sys.Writev(int(c.fd), l.iov[:k])
	clear(l.iov[:k])
	return n, err
}

// advance removes n written bytes from the front. It returns false when they end inside an entry: the kernel is full
// (a full Writev of IovMax entries ends at an entry's end).
func (l *Loop) advance(c *conn, n int) (whole bool) {
	c.backlogBytes -= uint32(n)
	l.backlog -= int64(n)
	if n == 0 {
		return false
	}
	for n > 0 {
		r := *l.nodes.Front(&c.backlog)
		rest := l.table.Size(r) - int(c.head)
		if n < rest {
			c.head += uint32(n)
			return false
		}
		n -= rest
		c.head = 0
		c.flags &^= flagBegun
		l.nodes.Pop(&c.backlog)
		l.table.Release(r)
	}
	return true
}

// block waits for writability.
func (l *Loop) block(slot uint32, c *conn) {
	if !c.has(flagBlocked) {
		c.flags |= flagBlocked
		l.watch(slot, c)
	}
}

// watch tells the poller what is wanted now. It returns false when that failed and the conn is closed.
func (l *Loop) watch(slot uint32, c *conn) bool {
	want := c.wanted()
	if want == c.watched() {
		return true
	}
	if err := l.poller.Mod(int(c.fd), want); err != nil {
		l.drop(slot, ReasonRead, err)
		return false
	}
	c.setWatched(want)
	return true
}

// broken closes a conn after a failed read or write; why is for errors that have no reason of their own.
func (l *Loop) broken(slot uint32, why Reason, err error) {
	switch err {
	case syscall.ECONNRESET, syscall.EPIPE:
		l.drop(slot, ReasonReset, err)
	case syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH: // keepalive, TCP_USER_TIMEOUT
		l.drop(slot, ReasonTimeout, err)
	default:
		l.drop(slot, why, err)
	}
}
