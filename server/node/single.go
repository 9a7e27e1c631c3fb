package node

import (
	"errors"
	"fmt"
	"strings"

	"shoal/loop"
	"shoal/pool/slab"
	"shoal/server/channel"
	"shoal/server/session"
)

// latest is the session on a loop that a user connected last, where a user may have only
// one; those before it are being ended. A session's user never changes.
type latest struct {
	born uint64 // its place in the order of connects; 0: the user has none
	slot uint32
	_    uint32
}

// supplanting ends, with 3504, the sessions that a user had before one that connected.
type supplanting struct {
	node   *Node
	user   string
	born   uint64
	former loop.ConnID // the user's last one on the same loop
	had    bool        // there is a former one
	next   int         // the loop to be told next
}

// supplant ends the sessions that the user of a session that connected just now had
// before, where a user may have only one. Of two that connect at the same time the one
// that was later in the order of connects stays.
func (s *Shard) supplant(slot uint32, ses *session.Session) {
	if !s.node.cfg.SingleConn || !s.isOpen(ses) || ses.User == 0 {
		return
	}
	last := s.latest.At(ses.User)
	w := &supplanting{node: s.node, user: strings.Clone(s.user(ses)), born: s.node.births.Add(1)}
	if last.born != 0 {
		w.former, w.had = s.l.ID(last.slot), true
	}
	if *last = (latest{born: w.born, slot: slot}); w.Slice(s.l) {
		s.l.Work(w)
	}
}

// Slice implements [loop.Work]: it tells all loops, those with a full mailbox later.
func (w *supplanting) Slice(*loop.Loop) (more bool) {
	for ; w.next < len(w.node.shards); w.next++ {
		if errors.Is(w.node.shards[w.next].l.Post(w), loop.ErrMailboxFull) {
			return true
		}
	}
	return false
}

// Deliver implements [loop.Message].
func (w *supplanting) Deliver(l *loop.Loop) {
	s := w.node.shards[l.Index()]
	if slot, open := l.Lookup(w.former); w.had && open {
		s.endOne(slot)
	}
	if user, here := s.users.LookupString(w.user); here {
		if last := s.latest.Peek(user); last != nil && last.born != 0 && last.born < w.born {
			s.endOne(last.slot)
		}
	}
}

func (s *Shard) endOne(slot uint32) {
	defer s.l.Caught(slot)
	s.disconnect(slot, channel.DisconnectConnectionLimit.Disconnect())
}

// retire forgets a session that ends, should it be its user's last.
func (s *Shard) retire(slot uint32, ses *session.Session) {
	if last := s.latest.Peek(ses.User); last != nil && last.slot == slot {
		*last = latest{}
	}
}

// holdsLatest says whether a chunk of the column of last sessions is in use.
func (s *Shard) holdsLatest(chunk int) bool {
	first := uint32(chunk) * slab.ChunkSlots
	for user := first; user < first+slab.ChunkSlots; user++ {
		if s.latest.Peek(user).born != 0 {
			return true
		}
	}
	return false
}

func (s *Shard) validateLatest() (err error) {
	s.users.Each(func(user uint32, _ []byte, _ int) bool {
		if last := s.latest.Peek(user); last != nil && last.born != 0 {
			if ses := s.sessions.Peek(last.slot); ses == nil || ses.User != user {
				err = fmt.Errorf("slot %d is the last session of user %d, but not the user's", last.slot, user)
			}
		}
		return err == nil
	})
	return err
}
