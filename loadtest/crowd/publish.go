package crowd

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"shoal/codec/ws"
	"shoal/loadtest/engine"
	"shoal/loadtest/engine/message"
)

// Publishing is a stream of publications over all channels.
type Publishing struct {
	Rate   float64 // publications a second, over all channels; above 0
	Random bool    // each to a channel drawn at random, not in turn
}

// Publish begins to publish by the API, whatever else happens, until Drain or Stop.
func (e *Crowd) Publish(p Publishing) error {
	if p.Rate <= 0 {
		return fmt.Errorf("crowd: %g publications a second; more than 0", p.Rate)
	}
	return e.post(func(e *Crowd) {
		e.flow = &flow{e: e, plan: p, began: e.now()}
		e.wake()
	})
}

// flow is the stream under way.
type flow struct {
	e     *Crowd
	plan  Publishing
	began int64
	made  int
}

const (
	// nearly is how long before something is due the loop stays awake for it: ticks are too coarse to be punctual, and latency
	// counts from the time it was due. Twice the pause between two ticks.
	nearly = int64(10 * time.Millisecond)
	// publishBatch is how many publications one pass makes at most, so that arrivals are read meanwhile.
	publishBatch = 512
	// unansweredMax bounds the publications the API has not confirmed; further ones wait, and their latency counts the wait.
	unansweredMax = 10_000
)

// due is when the next publication is to be made.
func (f *flow) due() int64 { return f.began + int64(float64(f.made)/f.plan.Rate*1e9) }

func (f *flow) step(now int64) (busy bool) {
	e := f.e
	for n := 0; n < publishBatch && f.due() <= now && e.unanswered() < unansweredMax; n++ {
		channel := uint32(f.made % len(e.channels))
		if f.plan.Random {
			channel = uint32(e.wire.Draw() % uint64(len(e.channels)))
		}
		due := f.due()
		f.made++
		e.publishTo(channel, due)
	}
	for _, p := range e.posters {
		if err := p.flush(); err != nil {
			e.refused(err)
			return false
		}
	}
	return e.flow != nil && f.due()-now < nearly
}

func (e *Crowd) unanswered() int { return e.count.Published - e.count.Answered - e.count.Refused }

// publishTo has its poster take the next publication of a channel; one poster has all of a channel, so they stay in order.
func (e *Crowd) publishTo(at uint32, due int64) {
	ch := &e.channels[at]
	ch.published++
	e.count.Published++
	e.owed += int(ch.receivers)
	p := e.posters[int(at)%len(e.posters)]
	e.scratch = e.filler.Append(e.scratch[:0], message.Header{Run: e.cfg.Run, Conn: at + 1, Seq: ch.published, Sent: due})
	p.add(e.quoted[at], e.scratch, e.key(ch.published), due)
}

// key is the value of the tag of a channel's n-th publication, -1 for none.
func (e *Crowd) key(n uint32) int {
	if e.cfg.Keys == 0 {
		return -1
	}
	return int(n) % e.cfg.Keys
}

// refused ends the stream: further publications would fare no better.
func (e *Crowd) refused(err error) {
	e.note(err)
	e.flow = nil
	e.results.refusal = cmp.Or(e.results.refusal, err)
	e.wake()
}

// Drain ends the stream and waits until everybody is back and has received what is owed. Done follows: with engine.ErrGrace when
// something is missing and nothing came, nor anybody back, for the time of grace.
func (e *Crowd) Drain(grace time.Duration) error {
	if grace <= 0 {
		return errors.New("crowd: no time of grace")
	}
	return e.post(func(e *Crowd) {
		e.flow, e.lastGot = nil, e.now()
		e.begin(&draining{e: e, grace: int64(grace)})
	})
}

// quietTime is the silence after which nothing is taken to be under way to those who were told that something was lost.
const quietTime = int64(time.Second)

type draining struct {
	e      *Crowd
	grace  int64
	probed bool
}

func (t *draining) stop(int64) { t.e.finish(engine.ErrGrace) }

func (t *draining) step(now int64) (busy bool) {
	e := t.e
	failed := e.results.refusal
	quiet := e.unanswered() == 0 && e.count.Ready == e.everOpen-e.results.Gone-e.count.Died // and all are back
	if quiet && e.owed > 0 && now-e.lastGot > quietTime {
		e.forgive()
		if !t.probed {
			t.probed = true
			e.probe()
		}
	}
	switch {
	case quiet && e.owed <= 0:
		e.finish(failed)
	case now-e.lastGot > t.grace+e.asleep(now):
		e.forgive()
		if e.owed > 0 || e.unanswered() > 0 {
			failed = cmp.Or(failed, engine.ErrGrace)
		}
		e.finish(failed)
	}
	return false
}

// forgive takes off what is missing since a subscribe that did not recover: the client knows, but nothing came since to show how many.
func (e *Crowd) forgive() {
	for i := range e.subs {
		s := &e.subs[i]
		if s.flags&subLost != 0 && s.flags&subCounted != 0 {
			number := i / e.cfg.Subscriptions
			ch := e.layout.channel(uint32(number), i%e.cfg.Subscriptions)
			if n := e.missing(s, ch); n > 0 {
				e.tell(s, uint32(n), &e.results.Told)
			}
		}
	}
}

// probe pings those to whom something is missing: a connection whose other end is gone without a word is found out by that, where
// the heartbeat would take half a minute.
func (e *Crowd) probe() {
	for i := range e.subs {
		s, number := &e.subs[i], uint32(i/e.cfg.Subscriptions)
		p := &e.peers[number]
		if p.at == 0 || s.flags&subCounted == 0 || e.missing(s, e.layout.channel(number, i%e.cfg.Subscriptions)) <= 0 {
			continue
		}
		if e.conns.At(p.at-1).step == stepReady {
			e.wire.Send(p.at-1, ws.PingOp, nil)
		}
	}
}

// missing is what a subscription should have received and has not, what was told excluded.
func (e *Crowd) missing(s *sub, channel uint32) int {
	return int(e.channels[channel].published) - int(s.track.Got) - int(s.told)
}
