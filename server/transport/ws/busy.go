package ws

import (
	"fmt"
	"math/bits"

	"shoal/loop"
)

// A conn whose session is busy is not parsed. What has arrived and what still arrives
// once waits in its borrowed buffer, then reading is paused and the kernel pushes back
// on the peer: so much as one read of the loop waits at most. A client that sends nothing
// before it has its answer, as most do, costs neither a buffer nor a system call.

// Resume goes on after the outcome that a message waited for: it parses what was kept
// and, unless the session is busy again, reads. For a conn that is not busy it does
// nothing. A panic of the landing closes the conn alone.
func (t *Transport) Resume(slot uint32) {
	c := t.conns.At(slot)
	if c.flags&(flagBusy|flagEnded) != flagBusy {
		return
	}
	defer t.l.Caught(slot)
	c.flags &^= flagBusy
	if c.tail != 0 {
		t.reread(slot, c)
	}
	t.began(c)
	switch {
	case c.flags&(flagBusy|flagEnded) != 0:
	case c.flags&flagHalfClosed != 0:
		t.l.CloseAfter(slot, nil, loop.ReasonPeer) // behind the answer
	case c.flags&flagPaused != 0:
		c.flags &^= flagPaused
		t.l.Resume(slot)
	}
}

// push puts bytes behind those that wait.
func (t *Transport) push(c *conn, p []byte) {
	if c.tail == 0 {
		c.tail = t.buffers.Borrow(len(p))
	}
	t.buffers.Grow(c.tail, len(p))
	b := t.buffers.At(c.tail)
	b.B = append(b.B, p...)
}

// hold keeps bytes for later.
func (t *Transport) hold(slot uint32, c *conn, p []byte) {
	t.push(c, p)
	t.pause(slot, c)
}

// pause stops reading when bytes wait for a busy session.
func (t *Transport) pause(slot uint32, c *conn) {
	if c.flags&(flagBusy|flagPaused) == flagBusy {
		c.flags |= flagPaused
		t.l.Pause(slot)
	}
}

// reread handles what waits. Meanwhile the conn does not have the buffer: closing must
// not take the bytes from under the landing, and a panic must not keep it.
func (t *Transport) reread(slot uint32, c *conn) {
	i := c.tail
	c.tail = 0
	var rest []byte
	defer func() { t.putBack(slot, c, i, rest) }()
	rest = t.frames(slot, c, t.buffers.At(i).B)
}

// putBack keeps the rest of a buffer where it is, unless a smaller buffer does: one move
// for each halving, so that many small messages of which each has to wait do not cost a
// copy of all the others each.
func (t *Transport) putBack(slot uint32, c *conn, i uint32, rest []byte) {
	b := t.buffers.At(i)
	if len(rest) == 0 || bits.Len(uint(len(rest))) < bits.Len(uint(len(b.B))) {
		if len(rest) > 0 {
			t.hold(slot, c, rest)
		}
		t.buffers.Return(i)
		return
	}
	b.B = rest
	c.tail = i
	t.pause(slot, c)
}

// Validate checks the loop's WebSocket conns. It is slow and for tests.
func (t *Transport) Validate() error {
	var err error
	borrowed := 0
	t.l.Each(func(slot uint32, kind loop.Kind) bool {
		if kind == t.cfg.Kind {
			c := t.conns.At(slot)
			for _, i := range [...]uint32{c.tail, c.body} {
				if i != 0 {
					borrowed++
				}
			}
			err = c.validate(t)
		}
		return err == nil
	})
	if err == nil && borrowed > t.buffers.Len() {
		err = fmt.Errorf("ws transport: conns hold %d buffers, %d are borrowed", borrowed, t.buffers.Len())
	}
	return err
}

func (c *conn) validate(t *Transport) error {
	has := func(f flags) bool { return c.flags&f != 0 }
	switch {
	case has(flagEnded) && c.tail|c.body != 0:
		return fmt.Errorf("ws transport: an ended conn holds buffers %d and %d", c.tail, c.body)
	case has(flagPaused|flagHalfClosed) && !has(flagBusy):
		return fmt.Errorf("ws transport: flags %#x: paused, but not busy", c.flags)
	case has(flagBusy) && (c.since != 0 || c.body != 0):
		return fmt.Errorf("ws transport: busy inside a message")
	case has(flagBusy) && c.tail != 0 && !has(flagPaused):
		return fmt.Errorf("ws transport: input waits, but reading goes on")
	case c.tail != 0 && len(t.buffers.At(c.tail).B) == 0:
		return fmt.Errorf("ws transport: an empty buffer is kept")
	}
	return nil
}
