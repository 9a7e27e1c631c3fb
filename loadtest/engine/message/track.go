package message

import "fmt"

// Track follows the sequence one connection receives: which comes next, and which of the last 64 came. The zero value
// expects 1. It is the anti-replay window of RFC 4303 §3.4.3 used for bookkeeping.
type Track struct {
	seen uint64 // bit i: sequence Top-i came
	Top  uint32 // highest sequence that came
	Got  uint32 // distinct messages
}

// Verdict is what one arrival means.
type Verdict uint8

const (
	InOrder   Verdict = iota // the one expected
	Ahead                    // later than expected: those between are missing so far
	Late                     // one that was missing: after a later one
	Duplicate                // it came before
	Ancient                  // more than 64 behind: duplicate or late, nobody can tell; counted as late, not as received
	Invalid                  // sequence 0
)

// WindowSeqs is how far back a Track can tell a late arrival from one that came before.
const WindowSeqs = 64

// Add takes note of an arrival.
func (t *Track) Add(seq uint32) Verdict {
	switch {
	case seq == 0:
		return Invalid
	case seq > t.Top:
		v := Ahead
		if seq == t.Top+1 {
			v = InOrder
		}
		t.seen = t.seen<<min(seq-t.Top, WindowSeqs) | 1
		t.Top = seq
		t.Got++
		return v
	case t.Top-seq >= WindowSeqs:
		return Ancient
	case t.seen>>(t.Top-seq)&1 == 1:
		return Duplicate
	default:
		t.seen |= 1 << (t.Top - seq)
		t.Got++
		return Late
	}
}

// Begin has the track expect what comes after seq. What came before is a duplicate, or ancient.
func (t *Track) Begin(seq uint32) { *t = Track{seen: ^uint64(0), Top: seq} }

// Validate reports a Track that cannot be.
func (t *Track) Validate() error {
	if t.Got > t.Top || t.Got > 0 && t.seen&1 == 0 {
		return fmt.Errorf("message: %d received up to sequence %d, window %x", t.Got, t.Top, t.seen)
	}
	return nil
}
