package engine

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"shoal/codec/ws"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/pace"
	"shoal/loadtest/engine/poster"
	"shoal/loop"
)

// flow is a stream of publications under way.
type flow struct {
	e      *Engine
	plan   pace.Plan
	to     string
	random bool
	count  int // 0 = no end
	began  int64
	made   int
	stride int // from one own channel to the next
}

const (
	// publishBatch is how many publications one pass makes at most, so that arrivals are read meanwhile.
	publishBatch = 512
	// unansweredMax bounds the publications the API has not confirmed; further ones wait, and their latency counts the wait.
	unansweredMax = 10_000
	// spinTime is how long before something is due the loop stays awake for it: to be woken takes that long. Of several members
	// none does, since they share processors.
	spinTime = int64(200 * time.Microsecond)
)

// pour begins a flow.
func (e *Engine) pour(plan Flow, now int64) error {
	def(&plan.To, Shared)
	switch {
	case !e.cfg.API.Remote.IsValid():
		return errors.New("engine: a flow needs the address of the API")
	case plan.To == Own && !e.cfg.Own:
		return errors.New("engine: a flow to own channels, and the connections have none")
	case plan.To == Shared && e.cfg.Channels == 0:
		return errors.New("engine: a flow to shared channels, and there are none")
	}
	if _, echoing := e.task.(*echoing); echoing && plan.To == Own {
		return errBoth
	}
	e.books.Pour(true)
	e.refusal = nil
	e.flow = &flow{
		e: e, to: plan.To, random: plan.Random, count: plan.Count, began: now, stride: pace.Stride(len(e.peers)),
		plan: pace.Plan{Rate: plan.Rate, Index: e.cfg.Index, Of: e.cfg.Of},
	}
	return nil
}

var errBoth = errors.New("engine: an echo and a flow to the same own channels would get in each other's way; drain one before the other")

// next is the channel of the next publication and its number among those of all members; false when this member has none.
func (f *flow) next() (ref layout.Ref, k int, some bool) {
	e := f.e
	if f.to == Own {
		at := f.made * f.stride % len(e.peers)
		if f.random {
			at = int(e.wire.Draw() % uint64(len(e.peers)))
		}
		return layout.Own(e.number(uint32(at))), f.plan.Turn(f.made), true
	}
	channel, k, some := e.turn(f.made)
	if some && f.random {
		channel, _, _ = e.turn(int(e.wire.Draw() % uint64(e.mine())))
	}
	return layout.Ref(channel), k, some
}

// mine is how many shared channels this member publishes to.
func (e *Engine) mine() int { return (e.cfg.Channels - e.cfg.Index + e.cfg.Of - 1) / e.cfg.Of }

// turn is this member's n-th publication when all shared channels take turns: the channel, and its number among those of all
// members. False when this member publishes to none.
func (e *Engine) turn(n int) (channel uint32, k int, some bool) {
	mine := e.mine()
	if mine <= 0 {
		return 0, 0, false
	}
	at := n%mine*e.cfg.Of + e.cfg.Index
	return uint32(at), n/mine*e.cfg.Channels + at, true
}

func (f *flow) step(now int64) (busy bool) {
	e := f.e
	due, ended := int64(0), false
	for range publishBatch {
		ref, k, some := f.next()
		if ended = !some || f.count > 0 && k >= f.count; ended {
			break
		}
		if due = f.began + f.plan.At(k); due > now || e.pending >= unansweredMax {
			break
		}
		f.made++
		e.publishTo(ref, due)
	}
	e.posters.Flush()
	if ended && e.flow == f {
		e.flow = nil
		return false
	}
	return e.flow == f && e.pending < unansweredMax && e.soon(due, now)
}

// soon has the loop look again when something is due, and says whether it is to stay awake for that.
func (e *Engine) soon(due, now int64) (busy bool) {
	if due-now < spinTime && e.cfg.Of == 1 || due <= now {
		return true
	}
	if e.alarm <= now || due < e.alarm {
		e.alarm = due
		e.l.WorkAfter((*alarm)(e), time.Duration(due-now))
	}
	return false
}

// alarm is the Engine as the loop's work at a time.
type alarm Engine

// Slice implements loop.Work.
func (a *alarm) Slice(*loop.Loop) (more bool) {
	e := (*Engine)(a)
	if !e.closing {
		e.wake()
	}
	return false
}

// publishTo has the API publish once more to a channel. One connection has all of a channel, so they stay in order.
func (e *Engine) publishTo(ref layout.Ref, due int64) {
	seq := e.books.Publish(ref, due)
	e.pending++
	e.scratch = e.filler.Append(e.scratch[:0], message.Header{Run: e.cfg.Run, Conn: ref.Number() + 1, Seq: seq, Sent: due})
	turn, quoted := int(ref.Number()), []byte(nil)
	if ref.Own() {
		quoted = e.quote(ref)
	} else {
		turn, quoted = turn/e.cfg.Of, e.quoted[ref.Number()]
	}
	e.posters.Add(turn, quoted, e.scratch, e.key(seq), poster.Item{Ref: uint32(ref), Seq: seq, Due: due})
}

// key is the value of the tag of a channel's n-th publication, -1 for none.
func (e *Engine) key(n uint32) int {
	if e.cfg.Keys == 0 {
		return -1
	}
	return int(n) % e.cfg.Keys
}

// confirmed notes the server's answer to a publication.
func (e *Engine) confirmed(it poster.Item, err error) {
	e.pending--
	e.settle(it, err)
	if err == nil {
		return
	}
	if t, ok := e.task.(*fanning); ok {
		t.fail(err)
		return
	}
	// further ones would fare no better
	e.count.Note(err)
	e.flow = nil
	e.refusal = cmp.Or(e.refusal, err)
}

// settle keeps the books of an answer.
func (e *Engine) settle(it poster.Item, err error) {
	e.books.Answered(layout.Ref(it.Ref), it.Seq, it.Due, e.now(), err)
	e.wake()
}

// drain is the task that ends the flow and waits for what is owed.
func (e *Engine) drain(plan Drain, now int64) (task, error) {
	def(&plan.Grace, graceDefault)
	if plan.Published != nil && len(plan.Published) != e.cfg.Channels {
		return nil, fmt.Errorf("engine: what was published to %d channels, and there are %d", len(plan.Published), e.cfg.Channels)
	}
	e.flow, e.lastGot = nil, now
	if plan.Published != nil {
		e.books.Learn(plan.Published)
	}
	return &draining{e: e, grace: int64(plan.Grace), known: plan.Published != nil}, nil
}

// quietTime is the silence after which nothing is taken to be under way to those who were told that something was lost.
const quietTime = int64(time.Second)

type draining struct {
	e      *Engine
	grace  int64
	known  bool // what others published, too
	probed bool
}

func (t *draining) stop(int64) { t.finish(ErrGrace) }

func (t *draining) finish(err error) {
	e := t.e
	e.books.Rule()
	e.finish(err)
}

func (t *draining) step(now int64) (busy bool) {
	e := t.e
	failed := e.refusal
	quiet := e.pending == 0 && e.count.Ready == e.everOpen-e.status.Gone-e.count.Died // and all are back
	if quiet && t.owed() && now-e.lastGot > quietTime {
		e.books.Forgive()
		if !t.probed {
			t.probed = true
			e.probe()
		}
	}
	switch {
	case quiet && !t.owed():
		t.finish(failed)
	case now-e.lastGot > t.grace+e.sleepers.Longest(now):
		e.books.Forgive()
		if t.owed() || e.pending > 0 {
			failed = cmp.Or(failed, ErrGrace)
		}
		t.finish(failed)
	}
	return false
}

// owed says whether something is.
func (t *draining) owed() bool {
	return t.e.books.Owed() > 0 || t.known && t.e.books.OwedElsewise() > 0
}

// probe pings those to whom something is missing: a connection whose other end is gone without a word is found out by that, where
// the heartbeat would take half a minute.
func (e *Engine) probe() {
	e.books.Short(func(peer uint32) {
		if p := &e.peers[peer]; e.here(p) {
			e.wire.Send(p.at-1, ws.PingOp, nil)
		}
	})
}

// quote is the name of an own channel as JSON.
func (e *Engine) quote(ref layout.Ref) []byte {
	e.name = strconv.AppendUint(append(e.name[:0], e.ownQuoted...), uint64(ref.Number()), 10)
	e.name = append(e.name, '"')
	return e.name
}
