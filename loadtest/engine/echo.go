package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
)

// Echoing is a plan of messages that come back to the connection that sent them: from a bare echo endpoint, or as publications
// to the connection's own channel.
type Echoing struct {
	Duration time.Duration // messages are sent that long
	Active   int           // connections that send; 0 = all
	// Rate is messages a second, over all connections in turn. 0 = every connection sends its next message when the one
	// before came back.
	Rate  float64
	Grace time.Duration // how long to wait for what is missing when nothing more comes; 0 = 10 s
}

// Validate says what is wrong with the plan.
func (p Echoing) Validate() error {
	if p.Duration <= 0 || p.Active < 0 || p.Rate < 0 || p.Grace < 0 {
		return errors.New("engine: an echo needs a duration, and no number below zero")
	}
	return nil
}

// Echo sends and receives for the plan's duration, then waits for what is under way. Done follows, with ErrGrace when
// something did not come back.
func (e *Engine) Echo(p Echoing) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if p.Grace == 0 {
		p.Grace = graceDefault
	}
	return e.post(func(e *Engine) {
		active := len(e.slots)
		if p.Active > 0 {
			active = min(active, p.Active)
		}
		now := e.now()
		e.lastGot = now
		e.begin(&echoing{e: e, plan: p, active: active, began: now, until: now + int64(p.Duration)})
	})
}

type echoing struct {
	e      *Engine
	plan   Echoing
	active int // connections that send: the first ones
	began  int64
	until  int64
	failed error // the server takes no messages
	slots  int   // messages that had their turn, those of ended connections included
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
		case e.owed <= 0:
			e.finish(t.failed)
		case now-max(e.lastGot, t.until) > int64(t.plan.Grace):
			e.finish(cmp.Or(t.failed, ErrGrace))
		}
		return false
	}
	allowed := t.active // the first message of each
	if t.plan.Rate > 0 {
		allowed = 1 + int(float64(now-t.began)/1e9*t.plan.Rate)
	}
	for n := 0; n < echoBatch && t.slots < allowed; n++ {
		if !t.turn(now) {
			return false
		}
	}
	return t.slots < allowed || t.plan.Rate > 0 && t.due()-now < nearly
}

// due is when the next message is to be sent at the plan's rate.
func (t *echoing) due() int64 { return t.began + int64(float64(t.slots)/t.plan.Rate*1e9) }

// over says whether no more is to be sent.
func (t *echoing) over(now int64) bool { return now >= t.until }

// turn sends the next message in turn; false when its connection has too many on their way.
func (t *echoing) turn(now int64) bool {
	e := t.e
	at := e.slots[t.slots%t.active]
	if at == 0 {
		t.slots++
		return true
	}
	c := e.conns.At(at - 1)
	if c.sent-c.track.Got >= inFlight {
		return false
	}
	due := now
	if t.plan.Rate > 0 {
		due = t.due()
	}
	t.slots++
	t.send(at-1, c, due)
	return true
}

// send sends one message on one connection.
func (t *echoing) send(slot uint32, c *conn, due int64) {
	e := t.e
	c.sent++
	e.count.Sent++
	e.owed++
	h := message.Header{Run: e.cfg.Run, Conn: c.number + 1, Seq: c.sent, Sent: due}
	if e.cfg.BareEcho {
		e.scratch = e.filler.Append(e.scratch[:0], h)
		e.wire.Send(slot, e.op, e.scratch)
		return
	}
	data := e.filler.Append(make([]byte, 0, e.cfg.PayloadBytes), h)
	e.command(slot, &proto.Command{Id: idFirst + c.sent - 1, Publish: &proto.PublishRequest{Channel: e.channel(c.number), Data: data}})
}

// returned sends the next message after one came back.
func (t *echoing) returned(slot uint32, c *conn, now int64) {
	if t.plan.Rate == 0 && !t.over(now) {
		t.send(slot, c, now)
	}
}

// refused notes that the server did not take a message. When it never took one, the task ends: it would not take others.
func (t *echoing) refused(slot uint32, c *conn, err error) {
	e := t.e
	e.count.Refused++
	c.refused++
	e.owed--
	e.note(err)
	if e.count.Received == 0 && t.failed == nil {
		t.failed = fmt.Errorf("connection %d: %w", c.number+1, err)
		t.stop(e.now())
	}
	t.returned(slot, c, e.now())
	e.wake()
}
