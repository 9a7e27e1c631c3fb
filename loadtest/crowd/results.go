package crowd

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"shoal/loadtest/engine"
)

// Status is where the peers are and what became of them, beside engine.Counters.
type Status struct {
	Away         int // not connected, in their backoff
	Stalled      int // stopped reading
	Ended        int // of those, ended by the server
	Gone         int // of those, told to stay away
	LostGone     int // publications owed to those
	Cut          int // by Storm
	Back         int // since then
	Resumed      int // connections that came back by their resume token
	Again        int // ended or refused again on their way back
	Unsubscribed int // subscriptions the server ended that began anew
	Unplaced     int // subscriptions that were to have a position and have none

	Recovered             int // subscriptions that came back whole
	RecoveredPublications int
	Unrecovered           int // that came back, and the server said that something was lost
	Anew                  int // that came back where nothing can be recovered
	Told                  int // publications lost of which the client knows
	Skipped               int // of those, left out of the offsets of a connection that held
	Unseen                int // publications lost by those who stopped reading, on channels without offsets: the client cannot know
}

// Outcome is what became of the stuck peers, as of the last census.
type Outcome struct {
	Whole  int // received everything on one connection
	Ended  int // were ended by the server
	Missed int // were told of losses while connected
	Away   int // are not back
	Silent int // publications they lost without being told
	Unseen int // the last ones they lost on channels without offsets; see Status for those before
}

// Histogram is a distribution in nanoseconds.
type Histogram struct{ *hdrhistogram.Histogram }

const histogramMax = int64(10 * time.Minute)

func newHistogram() Histogram {
	return Histogram{hdrhistogram.New(int64(time.Microsecond), histogramMax, 3)}
}

// record takes a value; those out of range become the nearest one within.
func (h Histogram) record(ns int64) { _ = h.RecordValue(min(max(ns, 0), histogramMax)) }

// Results are what is known at the end.
type Results struct {
	Status
	Outcome Outcome
	Stalls  int
	Codes   map[string]int // how the server ended stuck peers

	ReceiversMin, ReceiversMax int // of a channel, when Connect had ended and at the last census

	Setup   Histogram // from dialing to ready, the first time
	Latency Histogram // from due to receipt, of peers that are not stuck
	Before  Histogram // of those, of publications due before Stall
	During  Histogram // between Stall and Rouse
	After   Histogram // after Rouse
	Answer  Histogram // from due to the API's confirmation
	Return  Histogram // from the cut to ready, without the backoff slept
	Absent  Histogram // from the cut to ready

	Windows []Window // of Latency

	windows         windows
	refusal         error // the first of the API
	stalled, roused int64
}

func newResults() Results {
	h := newHistogram
	return Results{
		Codes: map[string]int{}, Setup: h(), Latency: h(), Before: h(), During: h(), After: h(), Answer: h(), Return: h(), Absent: h(),
		windows: windows{now: h()},
	}
}

func (r *Results) stall(now int64) { r.stalled = now }
func (r *Results) rouse(now int64) { r.roused = now }

// latency takes that of one receipt.
func (r *Results) latency(due, now int64, stuck bool) {
	if stuck {
		return
	}
	ns := now - due
	r.Latency.record(ns)
	r.windows.record(now, ns)
	switch {
	case r.stalled == 0 || due < r.stalled:
		r.Before.record(ns)
	case r.roused == 0 || due < r.roused:
		r.During.record(ns)
	default:
		r.After.record(ns)
	}
}

// Results are the distributions and what became of everybody. Call it after Run has returned.
func (e *Crowd) Results() Results {
	e.results.windows.cut()
	e.results.Windows = e.results.windows.all
	return e.results
}

// census counts all peers; of those who may be told of losses, only what they were not told is lost.
func (e *Crowd) census() engine.Census {
	s := engine.Census{Alike: true}
	var o Outcome
	for i := range e.peers {
		p := &e.peers[i]
		here := p.at != 0 && e.conns.At(p.at-1).step == stepReady
		if here {
			s.Ready++
		}
		lost, unseen := 0, 0
		for j, sub := range e.subsOf(uint32(i)) {
			if sub.flags&subCounted == 0 {
				continue
			}
			if n := max(e.missing(&sub, e.layout.channel(uint32(i), j)), 0); sub.flags&subPlaced != 0 {
				lost += n
			} else {
				unseen += n
			}
		}
		if p.flags&peerStuck == 0 || e.results.Stalls == 0 {
			s.Lost += lost + unseen
			if lost+unseen > 0 {
				s.Short++
			}
			continue
		}
		o.Silent += lost
		o.Unseen += unseen
		switch {
		case p.flags&peerEnded != 0:
			o.Ended++
			if !here && p.place != placeGone {
				o.Away++
			}
		case p.flags&peerMissed != 0:
			o.Missed++
		case lost+unseen == 0:
			o.Whole++
		}
	}
	e.results.Outcome = o
	for i, ch := range e.channels {
		n := int(ch.receivers)
		if i == 0 {
			e.results.ReceiversMin = n
		}
		e.results.ReceiversMin, e.results.ReceiversMax = min(e.results.ReceiversMin, n), max(e.results.ReceiversMax, n)
	}
	return s
}

// Validate compares the books with the peers; it is slow and for tests. Any goroutine; it waits for the loop.
func (e *Crowd) Validate() error {
	answer := make(chan error, 1)
	if err := e.post(func(e *Crowd) { answer <- e.validate() }); err != nil {
		return err
	}
	return <-answer
}

func (e *Crowd) validate() error {
	var errs []error
	ready, owed, borrowed, receivers := 0, 0, 0, make([]uint32, len(e.channels))
	for i := range e.peers {
		p := &e.peers[i]
		if p.at != 0 {
			c := e.conns.At(p.at - 1)
			if int(c.number) != i {
				errs = append(errs, fmt.Errorf("crowd: the connection of peer %d is of peer %d", i, c.number))
			}
			if c.step == stepReady {
				ready++
			}
			borrowed += c.stream.Held()
		}
		for j, s := range e.subsOf(uint32(i)) {
			errs = append(errs, s.track.Validate())
			if s.flags&subCounted != 0 {
				at := e.layout.channel(uint32(i), j)
				receivers[at]++
				owed += e.missing(&s, at)
			}
		}
	}
	check := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("crowd: %d %s are counted, there are %d", got, what, want))
		}
	}
	for i := range e.channels {
		check(fmt.Sprintf("receivers of channel %d", i), int(e.channels[i].receivers), int(receivers[i]))
	}
	check("ready connections", e.count.Ready, ready)
	check("publications under way", e.owed, owed)
	check("borrowed buffers", e.wire.Borrowed(), borrowed)
	return errors.Join(append(errs, e.wire.Validate())...)
}
