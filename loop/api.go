package loop

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"shoal/pool/queue"
	"shoal/pool/shared"
)

// Errors of Post.
var (
	ErrMailboxFull = errors.New("loop: mailbox full: the loop does not keep up with what is posted to it")
	ErrClosed      = errors.New("loop: the loop has ended")
)

var errDialTimeout = errors.New("loop: no answer within the dial timeout")

// Post delivers m on the loop's goroutine, in the order of posting. Any goroutine. ErrMailboxFull is backpressure:
// m was not taken, and the caller should slow down. Messages taken are delivered even when the loop ends.
func (l *Loop) Post(m Message) error {
	wake, err := l.mailbox.Put(m)
	switch {
	case err == nil:
		if wake {
			return l.poller.Wake()
		}
		return nil
	case errors.Is(err, queue.ErrFull):
		l.mailboxFull.Add(1)
		return ErrMailboxFull
	default:
		return ErrClosed
	}
}

// Crowded says whether less than an eighth of the mailbox is free: a message for several loops had better not be posted
// to some of them when another may refuse it. Any goroutine.
func (l *Loop) Crowded() bool { return l.mailbox.Len() > l.cfg.MailboxMax-l.cfg.MailboxMax/8 }

// Ended is closed when all loops of the group have ended. Works that were left are dropped then. Any goroutine.
func (l *Loop) Ended() <-chan struct{} { return l.group.ended }

// Index is the loop's number in its group. Any goroutine.
func (l *Loop) Index() int { return l.number }

// Clock is the time at the first question in the present callback.
func (l *Loop) Clock() time.Time {
	l.sample()
	return l.clock
}

// Now is the tick of Clock.
func (l *Loop) Now() Tick {
	l.sample()
	return l.now
}

func (l *Loop) sample() {
	if l.sampled {
		return
	}
	l.sampled = true
	l.clock = l.poller.Now()
	l.now = Tick(l.clock.Sub(l.epoch) / l.cfg.TickPeriod)
}

// Ticks is d in ticks, rounded up. Any goroutine.
func (l *Loop) Ticks(d time.Duration) Tick {
	return Tick((d + l.cfg.TickPeriod - 1) / l.cfg.TickPeriod)
}

// ID is the conn's name for other goroutines.
func (l *Loop) ID(slot uint32) ConnID {
	return ConnID(uint64(l.number)<<56 | uint64(l.conns.Generation(slot))<<32 | uint64(slot))
}

// Lookup is the slot of id; ok is false when that conn is closing or gone, or belongs to another loop.
func (l *Loop) Lookup(id ConnID) (slot uint32, ok bool) {
	slot = id.Slot()
	if id.Loop() != l.number || !l.conns.Live(slot, id.Generation()) {
		return 0, false
	}
	s := l.conns.At(slot).state
	return slot, s == stateOpen || s == stateConnecting
}

// Conns is the number of open conns.
func (l *Loop) Conns() int { return l.open }

// Each calls f for every open conn until it returns false. f may close conns.
func (l *Loop) Each(f func(slot uint32, kind Kind) bool) {
	l.conns.Each(func(slot uint32, c *conn) bool {
		return c.state != stateOpen || f(slot, c.kind)
	})
}

// HoldsChunk says whether a chunk of slots (of slab.ChunkSlots) may have a conn. A column over the slots needs no memory
// for the others: this is what to give to its Trim.
func (l *Loop) HoldsChunk(chunk int) bool { return l.conns.Held(chunk) }

// Hold enters b in the loop's table and takes over the caller's reference to it. The Ref is for Send, any number of
// times, until Unhold.
func (l *Loop) Hold(b *shared.Bytes) shared.Ref { return l.table.Hold(b) }

// HoldAs is Hold with a label, by which Thin knows the bytes.
func (l *Loop) HoldAs(b *shared.Bytes, label shared.Label) shared.Ref {
	return l.table.HoldAs(b, label)
}

// Size is the number of bytes of r.
func (l *Loop) Size(r shared.Ref) int { return l.table.Size(r) }

// Unhold ends what Hold began. Conns to which the Ref was sent keep the bytes until they are written.
func (l *Loop) Unhold(r shared.Ref) { l.table.Release(r) }

// Backlog is the number of bytes queued and not yet given to the kernel; corked bytes are not counted.
func (l *Loop) Backlog(slot uint32) int { return int(l.conns.At(slot).backlogBytes) }

// Unwritten is the number of conns that wait to be written, at most slice of them per pass. A Work that sends goes on
// until it is at slice. With more, what is sent to the same conn in the meantime goes out by the same write, and what
// is sent to others waits longer. More than enough wait, it says, while room is made in the node's backlog.
func (l *Loop) Unwritten() (n, slice int) {
	if l.relieving() {
		return math.MaxInt32, l.cfg.FlushSlice
	}
	return len(l.dirty) - l.dirtyAt, l.cfg.FlushSlice
}

// Blocked says whether the conn waits until its peer has read: the kernel takes no more for it.
func (l *Loop) Blocked(slot uint32) bool { return l.conns.At(slot).has(flagBlocked) }

// Thin removes from the conn's backlog what was sent with the label, the oldest first, as long as more than keep bytes
// of any kind are queued; a label without a key stands for all keys of its group. What is partly written stays. It
// returns how many entries it removed.
func (l *Loop) Thin(slot uint32, label shared.Label, keep int) int {
	c := l.conns.At(slot)
	begun := c.head > 0 || c.has(flagBegun)
	return l.nodes.Cull(&c.backlog, func(r *shared.Ref) bool {
		if begun { // the first
			begun = false
			return false
		}
		if int(c.backlogBytes) <= keep {
			return false
		}
		if of := l.table.Label(*r); of.Group != label.Group || label.Key != 0 && of.Key != label.Key {
			return false
		}
		n := l.table.Size(*r)
		c.backlogBytes -= uint32(n)
		l.backlog -= int64(n)
		l.table.Release(*r)
		return true
	})
}

// Arm sets the conn's timer to fire after that many ticks, at least 1, and replaces what was set.
func (l *Loop) Arm(slot uint32, after Tick) {
	if l.conns.At(slot).state == stateOpen {
		l.wheel.Set(slot, l.Now()+max(after, 1))
	}
}

// Disarm stops the conn's timer.
func (l *Loop) Disarm(slot uint32) {
	if l.conns.At(slot).state == stateOpen {
		l.wheel.Cancel(slot)
	}
}

// Adopt moves an open conn to another row of the handler table: it keeps slot, timer and backlog, and what happens
// next happens to the new handler. Open is not called; leftover bytes of the present Data are the caller's to pass on.
func (l *Loop) Adopt(slot uint32, kind Kind) {
	if int(kind) >= len(l.handlers) || l.handlers[kind] == nil {
		panic(fmt.Sprintf("loop: adopt by kind %d, which has no handler", kind))
	}
	l.conns.At(slot).kind = kind
}

// Pause stops reading from an open conn until Resume, so that the kernel pushes back on the peer. The peer's closing
// goes unnoticed meanwhile, a reset does not.
func (l *Loop) Pause(slot uint32) {
	if c := l.conns.At(slot); c.state == stateOpen && !c.has(flagPaused) {
		c.flags |= flagPaused
		l.watch(slot, c)
	}
}

// Resume reads again.
func (l *Loop) Resume(slot uint32) {
	if c := l.conns.At(slot); c.state == stateOpen && c.has(flagPaused) {
		c.flags &^= flagPaused
		l.watch(slot, c)
	}
}

// Work runs w a slice per pass, in turn with other works, from the next pass on.
func (l *Loop) Work(w Work) {
	l.works = append(l.works, w)
	l.askAgain()
}

// WorkAfter is Work once that time has passed, or when the loop begins to stop.
func (l *Loop) WorkAfter(w Work, after time.Duration) {
	if l.stopping != 0 || after <= 0 {
		l.Work(w)
		return
	}
	at := l.Clock().Add(after)
	i := len(l.delayed)
	for i > 0 && l.delayed[i-1].at.After(at) {
		i--
	}
	if l.delayed = slices.Insert(l.delayed, i, delayed{at, w}); i == 0 {
		l.setAlarm()
	}
}

// Peer is the other end's address, asked of the kernel.
func (l *Loop) Peer(slot uint32) (netip.AddrPort, error) {
	return l.sys.Peer(int(l.conns.At(slot).fd))
}

// Local is this end's address, asked of the kernel.
func (l *Loop) Local(slot uint32) (netip.AddrPort, error) {
	return l.sys.Local(int(l.conns.At(slot).fd))
}
