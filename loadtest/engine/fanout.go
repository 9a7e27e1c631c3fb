package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"shoal/codec/proto"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/poster"
)

// fanout is the task that publishes to the shared channels.
func (e *Engine) fanout(plan Fanout, now int64) (task, error) {
	def(&plan.Burst, 1)
	def(&plan.Grace, graceDefault)
	switch {
	case e.cfg.Channels == 0:
		return nil, errors.New("engine: a fan-out to shared channels, and there are none")
	case plan.ByAPI && !e.cfg.API.Remote.IsValid():
		return nil, errors.New("engine: a fan-out by the API needs its address")
	}
	e.books.Pour(false)
	e.lastGot = now
	return &fanning{e: e, plan: plan, began: now}, nil
}

type fanning struct {
	e       *Engine
	plan    Fanout
	began   int64
	made    int           // by this member
	by      []poster.Item // by the first connection, in the order of their commands
	stopped bool
	failed  error // the first refusal
}

// fail makes no more publications, and ends with err when those that were made have arrived.
func (t *fanning) fail(err error) {
	t.failed = cmp.Or(t.failed, err)
	t.stopped = true
	t.e.wake()
}

func (t *fanning) stop(int64) { t.stopped = true }

// step makes the bursts that are due, or ends.
func (t *fanning) step(now int64) (busy bool) {
	e := t.e
	_, k, some := e.turn(t.made)
	if some && k < t.plan.Count && !t.stopped {
		due, is := t.due(k, now)
		if !is {
			return t.plan.Rate > 0 && e.soon(due, now)
		}
		t.burst(k/t.plan.Burst, due)
		e.lastGot = now
		return t.plan.Rate > 0
	}
	switch {
	case e.books.Owed() <= 0 && e.pending == 0:
		e.finish(t.failed)
	case now-e.lastGot > int64(t.plan.Grace):
		e.finish(cmp.Or(t.failed, ErrGrace))
	}
	return false
}

// due is when the burst with the k-th publication of all members is to be made, and whether that is now.
func (t *fanning) due(k int, now int64) (due int64, is bool) {
	e := t.e
	if t.plan.Rate == 0 {
		return now, e.books.Owed() <= 0 && e.pending == 0 || now-e.lastGot > int64(t.plan.Grace)
	}
	due = t.began + int64(float64(k/t.plan.Burst*t.plan.Burst)/t.plan.Rate*1e9)
	return due, now >= due
}

// burst makes this member's publications of a burst.
func (t *fanning) burst(number int, due int64) {
	for !t.stopped {
		channel, k, _ := t.e.turn(t.made)
		if k >= t.plan.Count || k/t.plan.Burst != number {
			return
		}
		t.made++
		if t.plan.ByAPI {
			t.e.publishTo(layout.Ref(channel), due)
			t.e.posters.Flush() // each in a request of its own
			continue
		}
		t.publish(layout.Ref(channel), due)
	}
}

// publish has the first connection publish once more to a channel.
func (t *fanning) publish(ref layout.Ref, due int64) {
	e := t.e
	seq := e.books.Publish(ref, due)
	it, p := poster.Item{Ref: uint32(ref), Seq: seq, Due: due}, &e.peers[0]
	if !e.here(p) {
		e.settle(it, errPublisher)
		t.fail(errPublisher)
		return
	}
	e.pending++
	t.by = append(t.by, it)
	data := e.filler.Append(make([]byte, 0, e.cfg.PayloadBytes), message.Header{Run: e.cfg.Run, Conn: ref.Number() + 1, Seq: seq, Sent: due})
	e.send(p.at-1, &proto.Command{
		Id: e.idFirst + uint32(len(t.by)) - 1, Publish: &proto.PublishRequest{Channel: e.layout.Name(ref), Data: data},
	})
}

var errPublisher = errors.New("the connection that publishes has ended")

// send encodes and sends one command.
func (e *Engine) send(slot uint32, c *proto.Command) {
	e.scratch = e.command(e.scratch[:0], c)
	e.wire.Send(slot, e.op, e.scratch)
}

// answered handles the reply to a command that is no subscribe: a publish, or a call.
func (e *Engine) answered(slot uint32, c *conn, r *proto.Reply) {
	if c.step != stepReady {
		e.drop(slot, errOutOfTurn)
		return
	}
	switch t := e.task.(type) { // it may have given up waiting
	case *fanning:
		t.answered(r)
	case *echoing:
		t.answered(slot, c, r)
	}
}

// refusal is what a reply says was wrong; nil for nothing.
func refusal(what string, r *proto.Reply) error {
	if r.Error == nil {
		return nil
	}
	return fmt.Errorf("%s was answered by error %d: %s", what, r.Error.Code, r.Error.Message)
}

// answered handles the reply to a publish command.
func (t *fanning) answered(r *proto.Reply) {
	e, i := t.e, int(r.Id-t.e.idFirst)
	if i >= len(t.by) || t.by[i].Seq == 0 {
		return
	}
	it := t.by[i]
	t.by[i].Seq = 0
	e.pending--
	err := refusal("publish", r)
	e.settle(it, err)
	if err != nil {
		t.fail(err)
	}
}

// abandon gives up the answers a connection that ended owes.
func (t *fanning) abandon() {
	e := t.e
	for _, it := range t.by {
		if it.Seq != 0 {
			e.pending--
			e.settle(it, errPublisher)
		}
	}
	if t.by = slices.Clip(t.by[:0]); !t.plan.ByAPI {
		t.fail(errPublisher)
	}
}
