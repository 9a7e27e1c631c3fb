package engine

import (
	"cmp"
	"errors"
	"fmt"

	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/pace"
)

// echo is the task that has connections send messages that come back.
func (e *Engine) echo(plan Echo, now int64) (task, error) {
	def(&plan.Grace, graceDefault)
	def(&plan.Active, e.cfg.All)
	switch {
	case plan.Via == ViaPublish && !e.cfg.Own:
		return nil, errors.New("engine: an echo by publishing, and the connections have no channels of their own")
	case (plan.Via == ViaBare) != e.cfg.BareEcho:
		return nil, fmt.Errorf("engine: an echo by %s, and bare echo is %t for the endpoint", plan.Via, e.cfg.BareEcho)
	case plan.Via == ViaPublish && e.flow != nil && e.flow.to == Own:
		return nil, errBoth
	}
	e.lastGot = now
	return &echoing{
		e: e, plan: plan, channel: plan.Via == ViaPublish, active: e.cfg.share(plan.Active), began: now, until: now + int64(plan.Duration),
		pace: pace.Plan{Rate: plan.Rate, Index: e.cfg.Index, Of: e.cfg.Of},
	}, nil
}

type echoing struct {
	e       *Engine
	plan    Echo
	channel bool // they come back by own channels
	pace    pace.Plan
	active  int // connections that send: the first ones
	began   int64
	until   int64
	failed  error // the server takes no messages
	turns   int   // messages that had their turn, those of ended connections included
}

const (
	echoBatch = 64  // messages sent in one pass, so that answers are read meanwhile
	inFlight  = 256 // messages one connection may have on their way; further ones wait, and their latency counts the wait
)

func (t *echoing) stop(now int64) { t.until = min(t.until, now) }

func (t *echoing) step(now int64) (busy bool) {
	e := t.e
	if t.over(now) {
		switch {
		case e.books.Owed() <= 0:
			e.finish(t.failed)
		case now-max(e.lastGot, t.until) > int64(t.plan.Grace):
			e.finish(cmp.Or(t.failed, ErrGrace))
		}
		return false
	}
	for range echoBatch {
		due, is := t.due(now)
		if !is {
			return t.plan.Rate > 0 && t.active > 0 && e.soon(due, now)
		}
		if !t.turn(due) {
			return false
		}
	}
	return true
}

// due is when the next message is to be sent in turn, and whether that is now. Without a rate it is the first one of each connection.
func (t *echoing) due(now int64) (due int64, is bool) {
	if t.plan.Rate == 0 || t.active == 0 {
		return now, t.turns < t.active
	}
	due = t.began + t.pace.Due(t.turns)
	return due, due <= now
}

// over says whether no more is to be sent.
func (t *echoing) over(now int64) bool { return now >= t.until }

// turn sends the next message in turn; false when its connection has too many on their way.
func (t *echoing) turn(due int64) bool {
	e, peer := t.e, uint32(t.turns%t.active)
	p := &e.peers[peer]
	if !e.here(p) {
		t.turns++
		return true
	}
	if e.books.UnderWay(peer, t.channel) >= inFlight {
		return false
	}
	t.turns++
	t.send(p.at-1, peer, due)
	return true
}

// send sends one message on one connection.
func (t *echoing) send(slot, peer uint32, due int64) {
	e, h := t.e, message.Header{Run: t.e.cfg.Run, Conn: t.e.number(peer) + 1, Sent: due}
	h.Seq = e.books.Send(peer, t.channel)
	if t.plan.Via == ViaBare {
		e.scratch = e.filler.Append(e.scratch[:0], h)
		e.wire.Send(slot, e.op, e.scratch)
		return
	}
	data := e.filler.Append(make([]byte, 0, e.cfg.PayloadBytes), h)
	c := proto.Command{Id: e.idFirst + h.Seq - 1}
	if t.plan.Via == ViaRPC {
		c.Rpc = &proto.RPCRequest{Method: t.plan.Method, Data: data}
	} else {
		c.Publish = &proto.PublishRequest{Channel: e.layout.Name(e.books.Ref(peer, e.each-1)), Data: data}
	}
	e.send(slot, &c)
}

// returned sends the next message after one came back.
func (t *echoing) returned(slot uint32, c *conn, now int64) {
	if t.plan.Rate == 0 && !t.over(now) && int(c.number) < t.active && t.e.peers[c.number].at == slot+1 {
		t.send(slot, c.number, now)
	}
	if t.e.books.Owed() <= 0 {
		t.e.wake()
	}
}

// answered handles the reply to a message: a call is answered by its data, a publish by a word.
func (t *echoing) answered(slot uint32, c *conn, r *proto.Reply) {
	e := t.e
	switch err := refusal(t.plan.Via, r); {
	case err != nil:
		t.refused(slot, c, err)
	case t.plan.Via == ViaRPC && r.Rpc == nil:
		e.drop(slot, errOutOfTurn)
	case t.plan.Via == ViaRPC:
		e.count.Answered++
		e.echoed(slot, c, r.Rpc.Data)
	default:
		e.count.Answered++
	}
}

// refused notes that the server did not take a message. When it never took one, the task ends: it would not take others.
func (t *echoing) refused(slot uint32, c *conn, err error) {
	e := t.e
	e.books.Refused(c.number, t.channel)
	e.count.Note(err)
	if e.count.Received == 0 && t.failed == nil {
		t.failed = fmt.Errorf("connection %d: %w", e.number(c.number)+1, err)
		t.stop(e.now())
	}
	t.returned(slot, c, e.now())
	e.wake()
}

// echoed takes note of a message that came back, by no channel.
func (e *Engine) echoed(slot uint32, c *conn, data []byte) {
	now := e.now()
	m := e.books.Look(data)
	if !e.books.Echoed(c.number, &m, now).Counts {
		return
	}
	e.lastGot = now
	if t, ok := e.task.(*echoing); ok {
		t.returned(slot, c, now)
	}
}
