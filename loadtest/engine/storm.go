package engine

import (
	"fmt"

	"shoal/codec/ws"
	"shoal/loadtest/engine/pace"
	"shoal/loadtest/engine/retry"
	"shoal/loop"
)

// storm is the task that cuts connections and waits for them.
func (e *Engine) storm(plan Storm, now int64) task {
	def(&plan.Share, 1)
	def(&plan.Grace, graceDefault)
	e.lastGot, e.storming, e.away = now, true, int64(plan.Away)
	for i := range e.peers {
		p := &e.peers[i]
		n := float64(e.number(uint32(i)))
		if !e.here(p) || int64((n+1)*plan.Share) == int64(n*plan.Share) { // evenly among all
			continue
		}
		p.flags |= peerCut
		p.cut, p.slept, p.attempts = now, 0, 0
		e.status.Cut++
		e.l.Close(p.at-1, loop.ReasonServer)
	}
	return &returning{e: e, grace: int64(plan.Grace), last: now}
}

type returning struct {
	e     *Engine
	grace int64
	back  int
	last  int64 // when somebody came back
}

func (t *returning) stop(int64) { t.e.finish(nil) }

func (t *returning) step(now int64) (busy bool) {
	e := t.e
	if e.status.Back != t.back {
		t.back, t.last = e.status.Back, now
	}
	switch {
	case e.status.Back+e.status.Gone+e.count.Died >= e.status.Cut:
		e.finish(nil)
	case now-t.last > t.grace+e.sleepers.Longest(now):
		e.finish(ErrAway)
	}
	return false
}

// returned takes note of a peer that is back: its own time is what went by beyond the backoff it slept.
func (e *Engine) returned(p *peer, now int64) {
	p.flags &^= peerCut
	e.status.Back++
	e.books.Results().Return.Record(now - p.cut - p.slept)
	e.books.Results().Absent.Record(now - p.cut)
}

// churn is the task that has connections replaced.
func (e *Engine) churn(plan Churn, now int64) task {
	def(&plan.Grace, graceDefault)
	return &churning{
		e: e, plan: pace.Plan{Rate: plan.Rate, Index: e.cfg.Index, Of: e.cfg.Of}, grace: int64(plan.Grace), began: now,
		until: now + int64(plan.Duration), stride: pace.Stride(len(e.peers)), last: now,
	}
}

type churning struct {
	e        *Engine
	plan     pace.Plan
	grace    int64
	began    int64
	until    int64
	stride   int
	turns    int // connections that had their turn
	replaced int
	last     int64 // when one was replaced
}

// churnBatch is how many connections are ended in one pass, so that answers are read meanwhile.
const churnBatch = 32

func (t *churning) stop(now int64) { t.until = min(t.until, now) }

func (t *churning) step(now int64) (busy bool) {
	e := t.e
	if e.status.Replaced != t.replaced {
		t.replaced, t.last = e.status.Replaced, now
	}
	for range churnBatch {
		due := t.began + t.plan.Due(t.turns)
		if due >= t.until || now >= t.until && due > now {
			break
		}
		if due > now {
			return e.soon(due, now)
		}
		t.end(&e.peers[t.turns*t.stride%len(e.peers)], due)
		t.turns++
	}
	switch {
	case t.began+t.plan.Due(t.turns) < min(t.until, now):
		return true
	case now < t.until:
		return e.soon(min(t.began+t.plan.Due(t.turns), t.until), now)
	case e.status.Replaced+e.count.Died >= e.status.Left:
		e.finish(nil)
	case now-max(t.last, t.until) > t.grace+e.sleepers.Longest(now):
		e.finish(ErrAway)
	}
	return false
}

// end has a peer leave in good order; one that is not there has had its turn.
func (t *churning) end(p *peer, due int64) {
	e := t.e
	if !e.here(p) || p.flags&peerStalled != 0 {
		return
	}
	p.flags |= peerLeft
	p.cut, p.slept, p.attempts = due, 0, 0
	e.status.Left++
	e.wire.End(p.at-1, ws.CodeNormal, loop.ReasonServer)
}

// replaced takes note of a peer that took the place of one that left.
func (e *Engine) replaced(p *peer, now int64) {
	p.flags &^= peerLeft
	e.status.Replaced++
	e.books.Results().Replace.Record(now - p.cut)
}

// left decides what becomes of a peer whose connection has ended.
func (e *Engine) left(c *conn, cause error) {
	p := &e.peers[c.number]
	p.at = 0
	e.books.Ended(c.number)
	was := c.step == stepReady
	if t, ok := e.task.(*fanning); ok && c.number == 0 && !t.plan.ByAPI {
		t.abandon()
	}
	if was {
		e.count.Ready--
	}
	switch {
	case e.closing:
		p.place = placeGone
	case p.flags&peerWas == 0:
		e.count.Note(cause)
		e.count.Failed++
		e.under--
		p.place = placeGone
		if _, first := e.task.(*connecting); first && e.everOpen == 0 {
			e.finish(cause) // the others would fare no better
		}
	case was && p.flags&peerLeft != 0: // our own doing
		e.part(c.number)
		e.rest(c.number, 0)
	case p.flags&peerLeft != 0 && !retry.Terminal(e.code):
		e.count.Note(cause)
		e.status.Again++
		e.sleep(c.number)
	case was && e.storming && p.flags&peerCut != 0: // our own doing
		e.rest(c.number, e.away+e.delay(p))
	case p.flags&peerStuck != 0 && (e.stalled || e.books.Stalls() > 0):
		e.endedStuck(p, c.number, was, cause)
	case e.storming && !retry.Terminal(e.code):
		e.count.Note(cause)
		e.status.Again++
		e.sleep(c.number)
	default:
		e.count.Note(cause)
		e.count.Died++
		e.bury(p, c.number, cause, &e.count.LostDead)
	}
}

// endedStuck has a peer that did not read come back once it is awake: from its position, or anew when it has none.
func (e *Engine) endedStuck(p *peer, number uint32, was bool, cause error) {
	if was {
		p.flags |= peerEnded
		label := "without a close frame"
		if e.code != 0 {
			label = cause.Error()
		}
		e.status.Ended++
		e.books.Results().Codes[label]++
	} else {
		e.count.Note(cause)
	}
	p.flags &^= peerStalled
	switch {
	case retry.Terminal(e.code):
		e.status.Gone++
		e.bury(p, number, cause, &e.status.LostGone)
	case e.stalled:
		p.place = placeAway
	default:
		e.sleep(number)
	}
}

// bury takes a peer that stays away out of the books; what it was owed is lost.
func (e *Engine) bury(p *peer, number uint32, cause error, lost *int) {
	p.place = placeGone
	*lost += e.books.WriteOff(number)
	if e.count.Ready == 0 && e.sleepers.Len() == 0 && e.count.Dialed == e.cfg.Connections && !e.storming {
		e.finish(fmt.Errorf("%w; the last: %w", ErrAllGone, cause))
	}
}

// part closes the books of a peer that left: who takes its place is another.
func (e *Engine) part(number uint32) {
	e.books.Part(number)
	if e.tokens != nil {
		e.tokens[number] = nil
	}
}

// delay is that of the backoff before a peer's next attempt, or as long as the server asked.
func (e *Engine) delay(p *peer) int64 {
	d := max(int64(retry.Backoff(int(p.attempts), e.wire.Draw())), e.wait)
	p.attempts = min(p.attempts+1, 31)
	return d
}

// sleep sends a peer away for its backoff.
func (e *Engine) sleep(number uint32) { e.rest(number, e.delay(&e.peers[number])) }

// rest sends a peer away for a time.
func (e *Engine) rest(number uint32, delay int64) {
	p := &e.peers[number]
	p.slept += delay
	p.place = placeAway
	e.sleepers.Push(e.now()+delay, number)
}

// redial wakes those whose time has come.
func (e *Engine) redial(now int64) (busy bool) {
	for n := 0; e.sleepers.Len() > 0 && e.sleepers.Next() <= now; n++ {
		if n == dialBatch {
			return true
		}
		number := e.sleepers.Pop()
		e.lastGot = now
		if err := e.dial(number, now); err != nil {
			e.count.Note(err)
			e.sleep(number)
			return false
		}
	}
	return e.sleepers.Len() > 0 && e.soon(e.sleepers.Next(), now)
}

// stall has the stuck peers stop reading: no recv until rouse, and a receive buffer that does not grow, so that what is sent to them
// piles up at the server. Those who are ended meanwhile do not notice before.
func (e *Engine) stall(now int64) {
	e.stalled = true
	e.books.Stalled(now)
	for i := range e.peers[:e.cfg.Stuck] {
		p := &e.peers[i]
		if !e.here(p) {
			continue
		}
		p.flags |= peerStalled
		e.status.Stalled++
		e.l.Pause(p.at - 1)
		e.l.Disarm(p.at - 1)
	}
}

// rouse has them read again, and those who were ended come back.
func (e *Engine) rouse(now int64) {
	e.stalled = false
	e.books.Roused(now)
	for i := range e.peers[:e.cfg.Stuck] {
		p := &e.peers[i]
		switch {
		case p.place == placeAway:
			e.sleep(uint32(i))
		case p.flags&peerStalled != 0 && p.at != 0:
			c := e.conns.At(p.at - 1)
			c.heard = e.l.Now()
			e.sys.Widen(int(p.fd))
			e.l.Resume(p.at - 1)
			if c.ping > 0 {
				e.l.Arm(p.at-1, e.patience(c))
			}
		}
		p.flags &^= peerStalled
	}
	e.lastGot = now
}
