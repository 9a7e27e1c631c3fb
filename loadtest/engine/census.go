package engine

import (
	"errors"
	"fmt"

	"shoal/loadtest/engine/tally"
)

// census counts all peers; of those who may be told of losses, only what they were not told is lost.
func (e *Engine) census() Census {
	s := Census{Alike: true}
	var o tally.Outcome
	for i := range e.peers {
		p := &e.peers[i]
		lost, unseen, got := e.books.Lost(uint32(i))
		here := e.here(p)
		if here {
			s.Add(e.books.Census(uint32(i), got))
		}
		if p.flags&peerStuck == 0 || e.books.Stalls() == 0 {
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
	r := e.books.Results()
	r.Outcome, r.Receivers = o, e.books.Receivers()
	return s
}

// Validate compares the books with the peers; it is slow and for tests.
func (e *Engine) Validate() error {
	wrong, err := ask(e, (*Engine).validate)
	return errors.Join(wrong, err)
}

func (e *Engine) validate() error {
	errs := []error{e.books.Validate(), e.wire.Validate()}
	ready, under, borrowed := 0, 0, 0
	for i := range e.peers {
		p := &e.peers[i]
		if p.at == 0 {
			continue
		}
		c := e.conns.At(p.at - 1)
		if int(c.number) != i {
			errs = append(errs, fmt.Errorf("engine: the connection of peer %d is of peer %d", i, c.number))
		}
		if e.here(p) {
			ready++
		} else if p.flags&peerWas == 0 {
			under++
		}
		borrowed += c.stream.Held()
	}
	check := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("engine: %d %s are counted, there are %d", got, what, want))
		}
	}
	check("ready connections", e.count.Ready, ready)
	check("connections under way for the first time", e.under, under)
	check("borrowed buffers", e.wire.Borrowed(), borrowed)
	return errors.Join(errs...)
}
