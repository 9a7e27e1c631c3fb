package books

import (
	"hash/crc64"

	"shoal/codec/proto"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
)

// echo follows the messages of a peer that come back by no channel. Pointer-free.
type echo struct {
	track   message.Track
	sent    uint32
	refused uint32 // of those, the ones the server did not take
}

// missing is how many messages have not come back.
func (o *echo) missing() int { return int(o.sent) - int(o.refused) - int(o.track.Got) }

// foreign follows the publications of others at a peer. Pointer-free.
type foreign struct {
	digest uint64 // chain of all
	count  uint32
}

// Arrival is one message, read.
type Arrival struct {
	message.Header
	own     bool // of this run
	stamped bool // the header is there
	altered bool
	ref     layout.Ref
	offset  uint64 // 0 = none
	digest  uint64 // of the payload, for those of others
}

// Read looks into a publication to a channel.
func (b *Books) Read(p *proto.Publication, r layout.Ref) Arrival {
	m := b.Look(p.Data)
	m.ref, m.offset = r, p.Offset
	return m
}

// Look reads a payload.
func (b *Books) Look(p []byte) (m Arrival) {
	m.Header, m.stamped = message.ParseHeader(p)
	if m.own = m.stamped && m.Run == b.cfg.Run; m.own {
		m.altered = b.cfg.Filler.Check(p, m.Header) != nil
	} else {
		m.digest = crc64.Checksum(p, crc64.MakeTable(crc64.ECMA)) // the same on all hosts
	}
	return m
}

// Receipt is what the receipt of a message means.
type Receipt struct {
	Counts bool // it is one of this run that had not come before
	Missed bool // the client knows by it of a loss
	Own    bool // it came on the peer's own channel
}

// Receive takes note of one publication at one peer; recovered ones came in the reply to a subscribe, long
// after they were due.
func (b *Books) Receive(peer uint32, m *Arrival, recovered bool, now int64) (is Receipt) {
	j := b.cfg.Layout.Find(b.number(peer), m.ref)
	if j < 0 || m.own && m.Conn != m.ref.Number()+1 {
		b.cfg.Counters.Misrouted++
		return is
	}
	s := &b.of(peer)[j]
	skipped := s.pass(m.offset)
	if !m.own {
		b.others(peer, m, now)
		return is
	}
	if s.flags&subFresh != 0 && m.Seq > 0 {
		b.open(s, m.ref, m.Seq)
	}
	before := s.track.Top
	verdict, counts := b.follow(&s.track, m)
	if !counts {
		return is
	}
	if verdict == message.Ahead {
		is.Missed = b.missed(peer, s, m.ref, m.Seq-before-1, skipped)
	}
	s.flags &^= subLost
	if s.flags&subCounted != 0 {
		b.owe(m.ref, -1)
	}
	if !recovered {
		b.latency(m.Sent, now, b.stuck(peer))
	}
	if b.listed(m.ref) {
		b.ledger.Received(m.ref.Number(), m.Seq, m.Sent, now)
	}
	is.Counts, is.Own = true, m.ref.Own()
	return is
}

// follow has a track take a message, and says whether it is one that counts as received.
func (b *Books) follow(t *message.Track, m *Arrival) (v message.Verdict, counts bool) {
	c := b.cfg.Counters
	if m.altered {
		c.Altered++
	}
	switch v = t.Add(m.Seq); v {
	case message.Invalid:
		c.Altered++
		return v, false
	case message.Duplicate:
		c.Duplicates++
		return v, false
	case message.Ancient:
		c.Late++
		return v, false
	case message.Late:
		c.Late++
	case message.Ahead:
		c.Ahead++
	case message.InOrder:
	}
	c.Received++
	return v, true
}

// others takes note of a publication of somebody else. All peers get the same ones in the same order, so the n-th of every peer is the
// same publication; digests show it when that is not so.
func (b *Books) others(peer uint32, m *Arrival, now int64) {
	if b.foreign == nil {
		b.foreign = make([]foreign, b.cfg.Peers)
	}
	f, c := &b.foreign[peer], b.cfg.Counters
	n, due := int(f.count), int64(0)
	f.count++
	f.digest = (f.digest ^ m.digest) * 0x9e3779b97f4a7c15
	c.Others++
	if m.stamped {
		due = m.Sent
		if c.Published+c.Sent == 0 { // one distribution for one kind of message
			b.latency(due, now, false)
		}
	}
	b.sequel.Received(n, due, now, c.Ready)
}

// latency takes that of one receipt.
func (b *Books) latency(due, now int64, stuck bool) {
	if stuck {
		return
	}
	r, ns := &b.results, now-due
	r.Latency.Record(ns)
	b.windows.Record(now, ns)
	switch {
	case b.cfg.Stuck == 0:
	case b.stalled == 0 || due < b.stalled:
		r.Before.Record(ns)
	case b.roused == 0 || due < b.roused:
		r.During.Record(ns)
	default:
		r.After.Record(ns)
	}
}

func (b *Books) stuck(peer uint32) bool { return int(peer) < b.cfg.Stuck }

// Stalled notes that some stopped reading.
func (b *Books) Stalled(now int64) {
	b.stalled = now
	b.results.Stalls++
}

// Roused notes that they read again.
func (b *Books) Roused(now int64) { b.roused = now }

// Stalls is how often some stopped reading.
func (b *Books) Stalls() int { return b.results.Stalls }

// Send counts a message that a peer sends to itself, on its own channel or, without one, by no channel, and returns its sequence.
func (b *Books) Send(peer uint32, channel bool) (seq uint32) {
	b.cfg.Counters.Sent++
	if channel {
		return b.bill(b.Ref(peer, b.each-1))
	}
	if b.echoes == nil {
		b.echoes = make([]echo, b.cfg.Peers)
	}
	b.owed++
	b.echoes[peer].sent++
	return b.echoes[peer].sent
}

// Refused takes back a message that the server did not take.
func (b *Books) Refused(peer uint32, channel bool) {
	b.cfg.Counters.Refused++
	if channel {
		b.void(b.Ref(peer, b.each-1))
		return
	}
	b.owed--
	b.echoes[peer].refused++
}

// UnderWay is how many messages to itself a peer misses.
func (b *Books) UnderWay(peer uint32, channel bool) int {
	switch {
	case channel:
		return b.missing(&b.of(peer)[b.each-1], b.Ref(peer, b.each-1))
	case b.echoes == nil:
		return 0
	}
	return b.echoes[peer].missing()
}

// Echoed takes note of a message that came back by no channel.
func (b *Books) Echoed(peer uint32, m *Arrival, now int64) (is Receipt) {
	switch {
	case !m.own:
		b.others(peer, m, now)
		return is
	case m.Conn != b.number(peer)+1 || b.echoes == nil:
		b.cfg.Counters.Misrouted++
		return is
	}
	if _, is.Counts = b.follow(&b.echoes[peer].track, m); is.Counts {
		b.owed--
		b.latency(m.Sent, now, b.stuck(peer))
	}
	return is
}
