package engine

import (
	"errors"

	"shoal/loadtest/engine/message"
)

// Errors of tasks.
var (
	// ErrAllGone: no connection is left.
	ErrAllGone = errors.New("all connections have ended")
	// ErrGrace: messages are owed, and nothing more came.
	ErrGrace = errors.New("messages are missing and nothing more comes")

	errEOF = errors.New("the target ended the connection without a close frame")
)

// receive takes note of one message on one connection.
func (e *Engine) receive(slot uint32, c *conn, m *arrival) {
	now := e.now()
	if !m.own {
		e.foreign(c, m, now)
		return
	}
	if m.err != nil {
		e.count.Altered++
	}
	if m.Conn != 0 && m.Conn != c.number+1 {
		e.count.Misrouted++
		return
	}
	switch c.track.Add(m.Seq) {
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
	case message.InOrder:
	}
	e.count.Received++
	e.owed--
	e.lastGot = now
	record(e.hist.Latency, now-m.Sent)
	if m.Conn == 0 {
		if i := int(m.Seq) - 1; i < len(e.records) {
			e.records[i].receipt(now)
		}
	} else if t, ok := e.task.(*echoing); ok {
		t.returned(slot, c, now)
	}
	if e.owed <= 0 {
		e.wake()
	}
}

// receipt adds one connection to those that received a publication.
func (p *Publication) receipt(now int64) {
	if p.Receipts == 0 {
		p.First = now
	}
	p.Last = now
	p.Receipts++
}

// foreign takes note of a publication of somebody else. All connections get the same ones in the same order, so the n-th of
// every connection is the same publication; digests show it when that is not so.
func (e *Engine) foreign(c *conn, m *arrival, now int64) {
	i := int(c.others)
	c.others++
	c.digest = (c.digest ^ m.digest) * 0x9e3779b97f4a7c15
	e.count.Others++
	if m.stamped && e.count.Published+e.count.Sent == 0 { // one distribution for one kind of message
		record(e.hist.Latency, now-m.Sent)
	}
	if i >= publicationsMax {
		return
	}
	if i == len(e.others) {
		e.others = append(e.others, Publication{Sequence: i + 1, Due: m.Sent})
	}
	e.others[i].receipt(now)
	for e.whole < len(e.others) && e.others[e.whole].Receipts >= e.count.Ready {
		e.whole++
	}
}

// silence is how long nothing came.
func (e *Engine) silence(now int64) int64 { return now - e.lastGot }
