package node

import (
	"time"

	"shoal/loop"
	"shoal/server/channel"
	"shoal/server/session"
)

// spares says that what a session asks for in a channel with these options is left undone
// now, because the channel has to wait for others.
func (s *Shard) spares(opts *channel.Options) bool {
	return s.node.cfg.Overload.Refuses(opts.LowPriority)
}

// CloseCostly begins to close so many percent of the loop's conns, see [evict.Evictor.Begin]; idle is
// how long no command has come from those that are idle, 0 = none are. On the loop.
func (s *Shard) CloseCostly(percent int, idle time.Duration) {
	s.evict.Begin(percent, s.l.Ticks(idle))
}

// costs implements [evict.Sessions].
type costs struct{ *Shard }

// Slots implements [evict.Sessions].
func (c costs) Slots() uint32 { return c.slots }

// Look implements [evict.Sessions].
func (c costs) Look(slot uint32) (silent loop.Tick, backlog int, ok bool) {
	ses := c.sessions.Peek(slot)
	if ses == nil || !c.isOpen(ses) || !connected(ses.State()) {
		return 0, 0, false
	}
	if c.l.Blocked(slot) {
		backlog = c.l.Backlog(slot)
	}
	return loop.Tick(ses.Silent(session.Tick(c.l.Now()))), backlog, true
}

// End implements [evict.Sessions].
func (c costs) End(slot uint32, why *channel.Disconnect) {
	defer c.l.Caught(slot)
	c.disconnect(slot, why)
}
