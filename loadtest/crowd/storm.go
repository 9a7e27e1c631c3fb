package crowd

import (
	"bytes"
	"container/heap"
	"errors"
	"strconv"
	"time"

	"shoal/codec/ws"
	"shoal/loadtest/engine"
	"shoal/loop"
)

// The backoff of centrifuge-js: full jitter over an exponential span, on top of the shortest delay.
const (
	backoffMin    = 500 * time.Millisecond
	backoffMax    = 20 * time.Second
	backoffFactor = 2
	retryMax      = time.Hour // what a server may ask for by Retry-After
)

// backoff is the delay before attempt number n, from 0; random is any number.
func backoff(n int, random uint64) time.Duration {
	span := backoffMin
	for range n {
		if span = span * backoffFactor; span >= backoffMax {
			span = backoffMax
			break
		}
	}
	return min(backoffMin+time.Duration(random%uint64(span+1)), backoffMax)
}

// retryAfter reads Retry-After in seconds (RFC 9110 §10.2.3) from the head of a response; 0 when there is none.
func retryAfter(head []byte) time.Duration {
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(name, []byte("Retry-After")) {
			continue
		}
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31); err == nil {
			return min(time.Duration(n)*time.Second, retryMax)
		}
	}
	return 0
}

// terminal says whether a client that is closed with this code stays away.
func terminal(code ws.CloseCode) bool {
	return code >= 3500 && code < 4000 || code >= 4500 && code < 5000
}

// ErrAway: peers did not come back.
var ErrAway = errors.New("connections did not come back")

// Storm cuts everybody at once; each comes back after its backoff. Done follows when all are back, with ErrAway when none came for
// the time of grace and nobody sleeps any more.
func (e *Crowd) Storm(grace time.Duration) error {
	if grace <= 0 {
		return errors.New("crowd: no time of grace")
	}
	return e.post(func(e *Crowd) {
		now := e.now()
		e.lastGot, e.storming = now, true
		for i := range e.peers {
			p := &e.peers[i]
			if p.at == 0 || e.conns.At(p.at-1).step != stepReady {
				continue
			}
			p.flags |= peerCut
			p.cut, p.slept, p.attempts = now, 0, 0
			e.results.Cut++
			e.l.Close(p.at-1, loop.ReasonServer)
		}
		e.begin(&returning{e: e, grace: int64(grace), last: now})
	})
}

type returning struct {
	e     *Crowd
	grace int64
	back  int
	last  int64 // when somebody came back
}

func (t *returning) stop(int64) { t.e.finish(nil) }

func (t *returning) step(now int64) (busy bool) {
	e := t.e
	if e.results.Back != t.back {
		t.back, t.last = e.results.Back, now
	}
	switch {
	case e.results.Back+e.results.Gone+e.count.Died >= e.results.Cut:
		e.finish(nil)
	case now-t.last > t.grace+e.asleep(now):
		e.finish(ErrAway)
	}
	return false
}

// returned takes note of a peer that is back: its own time is what went by beyond the backoff it slept.
func (e *Crowd) returned(p *peer, now int64) {
	p.flags &^= peerCut
	e.results.Back++
	e.results.Return.record(now - p.cut - p.slept)
	e.results.Absent.record(now - p.cut)
}

// ended decides what becomes of a peer whose connection has ended.
func (e *Crowd) ended(c *conn, cause error) {
	p := &e.peers[c.number]
	p.at = 0
	for i := range e.subsOf(c.number) {
		e.subsOf(c.number)[i].flags &^= subLive
	}
	was := c.step == stepReady
	if was {
		e.count.Ready--
	}
	switch {
	case e.closing:
		p.place = placeGone
	case p.flags&peerWas == 0:
		e.note(cause)
		e.count.Failed++
		e.under--
		p.place = placeGone
		if e.everOpen == 0 {
			e.finish(cause) // the others would fare no better
		}
	case was && e.storming && p.flags&peerCut != 0: // our own doing
		e.sleep(c.number)
	case p.flags&peerStuck != 0 && (e.stalled || e.results.Stalls > 0):
		e.endedStuck(p, c.number, was, cause)
	case e.storming && !terminal(e.code):
		e.note(cause)
		e.results.Again++
		e.sleep(c.number)
	default:
		e.note(cause)
		e.count.Died++
		e.bury(p, c.number, &e.count.LostDead)
	}
}

// endedStuck has a peer that did not read come back once it is awake: from its position, or anew when it has none.
func (e *Crowd) endedStuck(p *peer, number uint32, was bool, cause error) {
	if was {
		p.flags |= peerEnded
		label := "without a close frame"
		if e.code != 0 {
			label = cause.Error()
		}
		e.results.Ended++
		e.results.Codes[label]++
	} else {
		e.note(cause)
	}
	p.flags &^= peerStalled
	switch {
	case terminal(e.code):
		e.results.Gone++
		e.bury(p, number, &e.results.LostGone)
	case e.stalled:
		p.place = placeAway
	default:
		e.sleep(number)
	}
}

// bury takes a peer that stays away out of the books; what it was owed is lost.
func (e *Crowd) bury(p *peer, number uint32, lost *int) {
	p.place = placeGone
	for j := range e.cfg.Subscriptions {
		s := &e.subsOf(number)[j]
		if s.flags&subCounted == 0 {
			continue
		}
		at := e.layout.channel(number, j)
		missing := e.missing(s, at)
		e.owed -= missing
		*lost += max(missing, 0)
		e.channels[at].receivers--
		s.flags &^= subCounted
	}
	if e.count.Ready == 0 && len(e.sleepers) == 0 && e.count.Dialed == e.cfg.Connections && !e.storming {
		e.finish(engine.ErrAllGone)
	}
}

// note counts a cause.
func (e *Crowd) note(cause error) {
	const causesMax = 32
	if text := cause.Error(); len(e.count.Causes) < causesMax || e.count.Causes[text] > 0 {
		e.count.Causes[text]++
	}
}

// sleep sends a peer away for its backoff, or for as long as the server asked.
func (e *Crowd) sleep(number uint32) {
	p := &e.peers[number]
	delay := max(int64(backoff(int(p.attempts), e.wire.Draw())), e.wait)
	p.attempts = min(p.attempts+1, 31)
	p.slept += delay
	p.place = placeAway
	heap.Push(&e.sleepers, sleeper{e.now() + delay, number})
}

// asleep is how long the last sleeper still sleeps.
func (e *Crowd) asleep(now int64) (longest int64) {
	for _, s := range e.sleepers {
		longest = max(longest, s.due-now)
	}
	return longest
}

// redial wakes those whose time has come.
func (e *Crowd) redial(now int64) (busy bool) {
	for n := 0; len(e.sleepers) > 0 && e.sleepers[0].due <= now; n++ {
		if n == dialBatch {
			return true
		}
		s := heap.Pop(&e.sleepers).(sleeper)
		e.lastGot = now
		if err := e.dial(s.number, now); err != nil {
			e.note(err)
			e.sleep(s.number)
			return false
		}
	}
	return len(e.sleepers) > 0 && e.sleepers[0].due-now < nearly
}

// sleeper is a peer in its backoff.
type sleeper struct {
	due    int64
	number uint32
}

// sleepers is a heap, the next to wake first.
type sleepers []sleeper

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, k int) bool { return s[i].due < s[k].due }
func (s sleepers) Swap(i, k int)      { s[i], s[k] = s[k], s[i] }

// Push implements heap.Interface.
func (s *sleepers) Push(x any) { *s = append(*s, x.(sleeper)) }

// Pop implements heap.Interface.
func (s *sleepers) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}
