package node

import (
	"context"

	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/session"
)

// supplant ends the sessions that the user of a session that connected just now had
// before, where a user may have only one. Of two that connect at the same time the one
// that was later in the order of connects stays.
func (s *Shard) supplant(slot uint32, ses *session.Session) {
	if !s.node.cfg.SingleConn || !s.isOpen(ses) {
		return
	}
	name, ok := s.node.cfg.Auth.PersonalChannel(s.user(ses)) // where all of them are members
	if !ok {
		return
	}
	born := s.node.births.Add(1)
	s.details.At(slot).born = born
	ask := func(ctx context.Context) {
		if err := s.node.endOlder(ctx, name, born); err != nil {
			s.node.cfg.Logger.Warn("former sessions of a user were not ended", "error", err)
		}
	}
	if e := s.later(slot, ask, func(uint32, *session.Session) {}); e != nil {
		s.node.cfg.Logger.Warn("former sessions of a user were not ended", "error", e)
	}
}

// endOlder ends the members of a channel that connected before the one born at that
// place, with 3504.
func (n *Node) endOlder(ctx context.Context, name string, born uint64) error {
	cursors := make([]hub.Cursor, len(n.shards))
	return n.ask(ctx, func(s *Shard, from uint32) (uint32, bool) {
		cursor := &cursors[s.l.Index()]
		if from == 0 {
			var ok bool
			if *cursor, ok = s.hub.Begin(bytesOf(name)); !ok {
				return 0, false
			}
		}
		members := s.hub.Next(cursor, nil, actSlice)
		for _, m := range members {
			if d := s.details.Peek(m.Slot); d != nil && d.born != 0 && d.born < born {
				s.endOne(m.Slot)
			}
		}
		if len(members) < actSlice {
			s.hub.End(cursor)
			return 0, false
		}
		return from + 1, true
	})
}

func (s *Shard) endOne(slot uint32) {
	defer s.l.Caught(slot)
	s.disconnect(slot, channel.DisconnectConnectionLimit.Disconnect())
}
