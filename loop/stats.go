package loop

import (
	"time"

	"shoal/loop/lag"
)

// Lag says how long passes took: from the poller's return until it was asked again. What arrives during a pass waits for
// its end at least.
type Lag = lag.Lag

// Counters only grow; a loop's own belong to its goroutine and are published once per tick.
type Counters struct {
	Accepted           uint64              // connections accepted and given a slot
	Dialed             uint64              // connections begun by Dial
	Refused            uint64              // accepted and closed at once: ConnsMax, no descriptors
	AcceptErrors       uint64              // connections lost between the kernel's queue and accept
	DescriptorEpisodes uint64              // times the descriptors ran out (EMFILE, ENFILE)
	Closed             [reasonCount]uint64 // conns by Reason
	BytesIn            uint64
	BytesOut           uint64
	Reads              uint64 // that brought bytes
	Writes             uint64
	Writevs            uint64
	ShedBytes          uint64 // queued bytes dropped by closing slow conns
	Turns              uint64 // callbacks of the poller
	LateTicks          uint64 // hold-ups of more than lateTicks ticks
	LateTicksMax       uint64 // the longest, in ticks
	Panics             uint64 // recovered in handlers, messages and works
	Lag                Lag

	Gauges
}

// Gauges go up and down; they are as of the last publish.
type Gauges struct {
	Conns        int64 // open
	Descriptors  int64 // conns with a descriptor: open, connecting and closing
	BacklogBytes int64 // queued, per receiver
	HeldBytes    int64 // kept alive by backlogs, each run of bytes once per loop
	SlotBytes    int64 // memory of slots, queue nodes and the table of shared bytes
}

// Stats are the counters of all loops, at most one tick old. The fields are those of the program's metrics.
type Stats struct {
	Counters
	MailboxFull  uint64 // messages refused by Post
	Reliefs      uint64 // times the backlog came near its limit and the largest were cut
	IndexBytes   int64  // memory of the descriptor index
	MailboxDepth int64  // messages that wait now
}

// publish makes the counters visible to other goroutines.
func (l *Loop) publish() {
	l.counters.Gauges = Gauges{
		Conns: int64(l.open), Descriptors: int64(l.conns.Len() - len(l.dead)), BacklogBytes: l.backlog,
		HeldBytes: l.table.HeldBytes(),
		SlotBytes: int64(l.conns.Bytes() + l.nodes.Bytes() + 16*l.table.Len() + 4*cap(l.dirty)),
	}
	l.mu.Lock()
	l.published = l.counters
	l.mu.Unlock()
}

// Stats sums the loops. Any goroutine.
func (g *Group) Stats() Stats {
	var s Stats
	for _, l := range g.loops {
		l.mu.Lock()
		s.add(&l.published)
		l.mu.Unlock()
		s.MailboxFull += l.mailboxFull.Load()
		s.MailboxDepth += int64(l.mailbox.Len())
		if l.apart() {
			s.IndexBytes += int64(l.index.Bytes())
		}
	}
	s.Reliefs = g.relief.Rounds()
	s.IndexBytes += int64(g.index.Bytes())
	return s
}

// Stalled is how long the longest pass has been going on that is under way at this moment, in any loop; 0 if none is. A
// loop that hangs is seen by it, while it counts in Lag only when it goes on. Any goroutine.
func (g *Group) Stalled(now time.Time) (longest time.Duration) {
	for _, l := range g.loops {
		if began := l.pass.Load(); began != 0 {
			longest = max(longest, now.Sub(l.epoch)-time.Duration(began-1))
		}
	}
	return longest
}

func (c *Counters) add(o *Counters) {
	for i := range c.Closed {
		c.Closed[i] += o.Closed[i]
	}
	c.Accepted += o.Accepted
	c.Dialed += o.Dialed
	c.Refused += o.Refused
	c.AcceptErrors += o.AcceptErrors
	c.DescriptorEpisodes += o.DescriptorEpisodes
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
	c.Reads += o.Reads
	c.Writes += o.Writes
	c.Writevs += o.Writevs
	c.ShedBytes += o.ShedBytes
	c.Turns += o.Turns
	c.LateTicks += o.LateTicks
	c.LateTicksMax = max(c.LateTicksMax, o.LateTicksMax)
	c.Panics += o.Panics
	c.Lag.Add(&o.Lag)
	c.Conns += o.Conns
	c.Descriptors += o.Descriptors
	c.BacklogBytes += o.BacklogBytes
	c.HeldBytes += o.HeldBytes
	c.SlotBytes += o.SlotBytes
}

const (
	choreTicks = 50       // between housekeepings
	keepBytes  = 64 << 10 // scratch memory worth keeping
)

// housekeep gives memory back that a burst left behind.
func (l *Loop) housekeep() {
	l.chores = choreTicks
	l.nodes.Trim()
	l.table.Trim()
	if len(l.cork) == 0 && cap(l.cork) > keepBytes {
		l.cork = nil
	}
	if len(l.dirty) == 0 { // else it may name slots of a chunk to be dropped
		l.conns.Trim()
		if cap(l.dirty) > keepBytes/4 {
			l.dirty = nil
		}
	}
	if l.inboxAt == len(l.inbox) && cap(l.inbox) > keepBytes/16 {
		l.inbox, l.inboxAt = nil, 0
	}
	l.mailbox.Trim()
	if cap(l.dead) > keepBytes/4 {
		l.dead = append([]uint32(nil), l.dead...)
	}
}
