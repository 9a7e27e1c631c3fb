package books

import (
	"errors"
	"fmt"

	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/tally"
)

// Whole is how many publications of others all peers have received.
func (b *Books) Whole() int { return b.sequel.Whole() }

// Results are those of messages; the others can be put there, too.
func (b *Books) Results() *tally.Results { return &b.results }

// Tell is a copy of the results.
func (b *Books) Tell() tally.Results {
	r := b.results
	r.Windows, r.Own, r.Others = b.windows.All(), b.ledger.Lines(), b.sequel.Lines()
	return r.Clone()
}

// Census is that of one peer that is here and got so much.
func (b *Books) Census(peer uint32, got int) tally.Census {
	c := tally.Census{Ready: 1, GotMin: got, GotMax: got, Alike: true}
	if b.foreign != nil {
		f := &b.foreign[peer]
		c.OthersMin, c.OthersMax, c.Digest = int(f.count), int(f.count), f.digest
	}
	return c
}

// Lost is what a peer should have received and has not, apart what offsets could not show, and what it got.
func (b *Books) Lost(peer uint32) (lost, unseen, got int) {
	for j := range b.each {
		s := &b.of(peer)[j]
		got += int(s.track.Got)
		if s.flags&subCounted == 0 {
			continue
		}
		if n := max(b.missing(s, b.Ref(peer, j)), 0); s.flags&subPlaced != 0 {
			lost += n
		} else {
			unseen += n
		}
	}
	if b.echoes != nil {
		o := &b.echoes[peer]
		got += int(o.track.Got)
		lost += max(o.missing(), 0)
	}
	return lost, unseen, got
}

// Receivers are the subscribers of each shared channel that count.
func (b *Books) Receivers() []int {
	out := make([]int, len(b.channels))
	for i, ch := range b.channels {
		out[i] = int(ch.receivers)
	}
	return out
}

// Validate compares the sums with what they are of; it is slow and for tests.
func (b *Books) Validate() error {
	var errs []error
	owed, elsewise, receivers := 0, 0, make([]int, len(b.channels))
	for i := range b.cfg.Peers {
		for j := range b.each {
			s, r := &b.of(uint32(i))[j], b.Ref(uint32(i), j)
			errs = append(errs, s.track.Validate())
			switch {
			case s.flags&subCounted == 0:
				continue
			case b.local(r):
				owed += b.missing(s, r)
			default:
				elsewise += b.missing(s, r)
			}
			if !r.Own() {
				receivers[r.Number()]++
			}
		}
		if b.echoes != nil {
			errs = append(errs, b.echoes[i].track.Validate())
			owed += b.echoes[i].missing()
		}
	}
	check := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("books: %d %s are counted, there are %d", got, what, want))
		}
	}
	for i, n := range b.Receivers() {
		check(fmt.Sprintf("receivers of channel %d", layout.Ref(i)), n, receivers[i])
	}
	check("messages under way", b.owed, owed)
	check("messages of other members under way", b.elsewise, elsewise)
	return errors.Join(errs...)
}
