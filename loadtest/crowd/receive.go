package crowd

import (
	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
)

// arrival is one publication, read.
type arrival struct {
	message.Header
	own     bool // of this run
	altered bool
	channel uint32
	offset  uint64 // 0 = none
}

// read looks into a publication of a channel.
func (e *Crowd) read(p *proto.Publication, channel uint32) arrival {
	m := arrival{channel: channel, offset: p.Offset}
	var ok bool
	m.Header, ok = message.ParseHeader(p.Data)
	if m.own = ok && m.Run == e.cfg.Run; m.own {
		m.altered = e.filler.Check(p.Data, m.Header) != nil
	}
	return m
}

// find is which of a peer's subscriptions is to the channel of a name, -1 for none.
func (e *Crowd) find(number uint32, name string) int {
	at, ok := e.byName[name]
	if !ok {
		return -1
	}
	return e.layout.find(number, at)
}

// receive takes note of one publication at one peer; recovered ones came in the reply to a subscribe, long after they were due.
func (e *Crowd) receive(c *conn, m *arrival, recovered bool) {
	j := e.layout.find(c.number, m.channel)
	if j < 0 || m.own && m.Conn != m.channel+1 {
		e.count.Misrouted++
		return
	}
	s := &e.subsOf(c.number)[j]
	skipped := s.pass(m.offset)
	if !m.own {
		e.count.Others++
		return
	}
	if m.altered {
		e.count.Altered++
	}
	before := s.track.Top
	switch s.track.Add(m.Seq) {
	case message.Invalid:
		e.count.Altered++
		return
	case message.Duplicate:
		e.count.Duplicates++
		return
	case message.Ancient:
		e.count.Late++
		return
	case message.Late:
		e.count.Late++
	case message.Ahead:
		e.count.Ahead++
		e.missed(c, s, m.Seq-before-1, skipped)
	case message.InOrder:
	}
	s.flags &^= subLost
	now := e.now()
	e.count.Received++
	e.lastGot = now
	if s.flags&subCounted != 0 {
		e.owed--
	}
	if !recovered {
		e.results.latency(m.Sent, now, e.peers[c.number].flags&peerStuck != 0)
	}
	if e.owed <= 0 {
		e.wake()
	}
}

// pass moves the position on to an offset and returns how many were skipped, as far as offsets tell.
func (s *sub) pass(offset uint64) (skipped uint64) {
	if offset == 0 {
		return 0
	}
	if s.flags&subPlaced != 0 && offset > s.offset+1 {
		skipped = offset - s.offset - 1
	}
	if s.flags&subPlaced == 0 || offset > s.offset {
		s.offset = offset
		s.flags |= subPlaced
	}
	return skipped
}

// missed takes note of sequences that were skipped: of which the client knows because it came back without them, or by offsets. A
// channel without offsets cannot show them: those who stopped reading take that as part of its policy, for others it is a loss.
func (e *Crowd) missed(c *conn, s *sub, n uint32, offsets uint64) {
	p := &e.peers[c.number]
	switch {
	case s.flags&subLost != 0:
		p.flags |= peerMissed
		e.tell(s, n, &e.results.Told)
	case s.flags&subPlaced == 0 && p.flags&peerStuck != 0 && e.results.Stalls > 0:
		p.flags |= peerMissed
		e.tell(s, n, &e.results.Unseen)
	case offsets > 0:
		p.flags |= peerMissed
		n = uint32(min(uint64(n), offsets))
		e.tell(s, n, &e.results.Told)
		e.results.Skipped += int(n)
	}
}

// tell takes losses that are explained off what is owed.
func (e *Crowd) tell(s *sub, n uint32, as *int) {
	if s.flags&subCounted == 0 {
		return
	}
	s.told += n
	e.owed -= int(n)
	*as += int(n)
}
