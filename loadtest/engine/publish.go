package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
)

// Publishing is a plan of publications to the channel of all connections.
type Publishing struct {
	Count int // publications in all
	Burst int // publications made at once; 0 = 1
	// Rate is publications a second; bursts are spaced accordingly, whether or not earlier ones have arrived. 0 = the next
	// burst is made when everybody has received the one before.
	Rate float64
	// ByAPI posts them to the server's HTTP API; otherwise connection 0 publishes them.
	ByAPI bool
	// Grace is how long to wait for what is missing when nothing more comes. 0 = 10 s.
	Grace time.Duration
}

const graceDefault = 10 * time.Second

// PublicationsMax bounds the publications of a plan.
const PublicationsMax = 1_000_000

// Validate says what is wrong with the plan.
func (p Publishing) Validate() error {
	switch {
	case p.Count < 1 || p.Count > PublicationsMax:
		return fmt.Errorf("engine: %d publications; 1 to %d", p.Count, PublicationsMax)
	case p.Burst < 0 || p.Rate < 0 || p.Grace < 0:
		return errors.New("engine: a burst, a rate or a grace below zero")
	}
	return nil
}

// Publish makes the publications and waits until all ready connections have received all of them. Done follows: with ErrGrace
// when some are missing, with another error when the server refused one.
func (e *Engine) Publish(p Publishing) error {
	if err := p.Validate(); err != nil {
		return err
	}
	p.Burst = max(p.Burst, 1)
	if p.Grace == 0 {
		p.Grace = graceDefault
	}
	return e.post(func(e *Engine) {
		e.records = make([]Publication, 0, p.Count)
		e.begin(&publishing{e: e, plan: p, began: e.now()})
	})
}

type publishing struct {
	e       *Engine
	plan    Publishing
	began   int64
	stopped bool
	failed  error // the first refusal
}

// fail makes no more publications, and ends with err when those that were made have arrived.
func (t *publishing) fail(err error) {
	if t.failed == nil {
		t.failed = err
	}
	t.stopped = true
	t.e.wake()
}

func (t *publishing) stop(int64) { t.stopped = true }

// step makes the bursts that are due, or ends.
func (t *publishing) step(now int64) (busy bool) {
	e := t.e
	made := len(e.records)
	if made < t.plan.Count && !t.stopped {
		due, is := t.due(made, now)
		if !is {
			return t.plan.Rate > 0 && due-now < nearly
		}
		for n := min(t.plan.Burst, t.plan.Count-made); n > 0; n-- {
			if err := t.publish(due); err != nil {
				e.unpublish()
				t.fail(err)
				return false
			}
		}
		e.lastGot = now
		return t.plan.Rate > 0
	}
	switch {
	case e.owed <= 0 && e.count.Answered+e.count.Refused == made:
		e.finish(t.failed)
	case e.silence(now) > int64(t.plan.Grace):
		e.finish(cmp.Or(t.failed, ErrGrace))
	}
	return false
}

// nearly is how long before something is due the loop stays awake for it, in nanoseconds: ticks are too coarse to be punctual,
// and latency counts from the time it was due. Twice the pause between two ticks.
const nearly = int64(10 * time.Millisecond)

// due is when the next burst is to be made, and whether that is now.
func (t *publishing) due(made int, now int64) (due int64, is bool) {
	if t.plan.Rate == 0 {
		is = t.e.owed <= 0 && t.e.count.Answered == made || t.e.silence(now) > int64(t.plan.Grace)
		return now, is
	}
	due = t.began + int64(float64(made)/t.plan.Rate*1e9)
	return due, now >= due
}

// publish sends one publication.
func (t *publishing) publish(due int64) error {
	e := t.e
	seq := uint32(len(e.records) + 1)
	e.records = append(e.records, Publication{Sequence: int(seq), Due: due})
	e.count.Published++
	e.owed += e.count.Ready
	data := e.filler.Append(make([]byte, 0, e.cfg.PayloadBytes), message.Header{Run: e.cfg.Run, Seq: seq, Sent: due})
	if t.plan.ByAPI {
		return e.api.publish(e.cfg.Channel, data)
	}
	if len(e.slots) == 0 || e.slots[0] == 0 {
		return errors.New("the connection that publishes has ended")
	}
	e.command(e.slots[0]-1, &proto.Command{Id: idFirst + seq - 1, Publish: &proto.PublishRequest{Channel: e.cfg.Channel, Data: data}})
	return nil
}

// answered handles the reply to a publish command.
func (e *Engine) answered(slot uint32, c *conn, r *proto.Reply) {
	var err error
	if r.Error != nil {
		err = fmt.Errorf("publish was answered by error %d: %s", r.Error.Code, r.Error.Message)
	}
	switch t := e.task.(type) {
	case *publishing:
		t.confirm(int(r.Id-idFirst), err)
	case *echoing:
		if err != nil {
			t.refused(slot, c, err)
		} else {
			e.count.Answered++
		}
	}
}

// unpublish takes back the account of a publication that nobody will receive.
func (e *Engine) unpublish() {
	e.count.Refused++
	e.count.Published--
	e.owed -= e.count.Ready
}

// confirm notes the server's answer to a publication; i counts from 0. After a refusal no more are made: they would fare no
// better.
func (t *publishing) confirm(i int, err error) {
	e := t.e
	if i < 0 || i >= len(e.records) || e.records[i].Answered != 0 {
		return
	}
	now := e.now()
	e.records[i].Answered = now
	if err != nil {
		if e.records[i].Receipts == 0 { // else it was published, whatever the answer
			e.unpublish()
		} else {
			e.count.Answered++
		}
		t.fail(err)
		return
	}
	e.count.Answered++
	record(e.hist.Answer, now-e.records[i].Due)
	e.wake()
}
