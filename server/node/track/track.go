package track

import (
	"fmt"
	"hash/maphash"

	"shoal/pool/slab"
)

// Place is a position in a stream, without the text of its epoch.
type Place struct {
	Offset uint64
	Epoch  uint64 // of [Epoch]
}

// Epoch is the number that stands for the text of an epoch: equal texts have equal
// numbers under one seed, and different ones the same with the odds of 2⁻⁶⁴.
func Epoch(seed maphash.Seed, text string) uint64 { return maphash.String(seed, text) }

// Verdict is what a publication means to the members at the channel's place.
type Verdict uint8

// The verdicts.
const (
	Free  Verdict = iota // it has no place, or nobody is positioned: for all
	Next                 // it is the next one: for all
	Stale                // positioned members have had it
	Gap                  // one before it is missing: positioned members cannot go on
)

// stream is one channel with positioned members.
type stream struct {
	at      Place
	seen    uint64 // the top at the check before; 0 none
	members uint32
	low     uint32 // members joined below at: 1 and the checks since; 0 none did
}

// Tracks are the streams of one loop, by the hub's channel numbers. Use [New].
// Loop-owned.
type Tracks struct {
	streams *slab.Column[stream]
	end     uint32 // channel numbers with members are below
	count   int
}

// New returns empty tracks.
func New() *Tracks {
	return &Tracks{streams: slab.NewColumn[stream]()}
}

// Join adds a positioned member that has read the stream up to p. behind says that the
// channel is not there yet: the member must be spared what comes up to p.
func (t *Tracks) Join(ch uint32, p Place) (behind bool) {
	s := t.streams.At(ch)
	if s.members == 0 {
		*s = stream{at: p}
		t.count++
		t.end = max(t.end, ch+1)
	}
	s.members++
	if p.Epoch != s.at.Epoch || p.Offset < s.at.Offset {
		s.low = 1
	}
	return s.at != p
}

// Laggards is to be called with every Check. It says, once and at the second call since,
// that members joined below the place of the channel, who may miss what others have.
func (t *Tracks) Laggards(ch uint32) bool {
	s := t.streams.Peek(ch)
	if s == nil || s.members == 0 || s.low == 0 {
		return false
	}
	if s.low++; s.low <= 2 {
		return false
	}
	s.low = 0
	return true
}

// Leave takes a positioned member away.
func (t *Tracks) Leave(ch uint32) {
	s := t.streams.At(ch)
	if s.members--; s.members == 0 {
		*s = stream{}
		t.count--
	}
}

// Advance moves the channel to a publication that is about to be handed out.
func (t *Tracks) Advance(ch uint32, p Place) Verdict {
	s := t.streams.Peek(ch)
	switch {
	case s == nil || s.members == 0 || p.Offset == 0:
		return Free
	case p.Epoch != s.at.Epoch || p.Offset > s.at.Offset+1:
		s.at, s.seen = p, 0
		return Gap
	case p.Offset <= s.at.Offset:
		return Stale
	}
	s.at = p
	return Next
}

// At is where the channel stands; ok is false when nobody is positioned in it.
func (t *Tracks) At(ch uint32) (p Place, ok bool) {
	s := t.streams.Peek(ch)
	if s == nil || s.members == 0 {
		return Place{}, false
	}
	return s.at, true
}

// Check compares the channel with the top of its stream. lost says that it fell
// behind: what was the top at the check before has still not come, or the epoch is
// another.
func (t *Tracks) Check(ch uint32, top Place) (lost bool) {
	s := t.streams.Peek(ch)
	if s == nil || s.members == 0 {
		return false
	}
	if top.Epoch != s.at.Epoch || s.seen > s.at.Offset {
		s.seen = 0 // at stays: who is still to hear of it must not follow from the top
		return true
	}
	s.seen = top.Offset
	return false
}

// Each looks at up to n channel numbers from a place on, 0 at first, and calls f for
// those with positioned members. It returns the place to go on from; more is false at
// the end. f may call Check.
func (t *Tracks) Each(from uint32, n int, f func(ch uint32)) (next uint32, more bool) {
	for ; n > 0 && from < t.end; n-- {
		if s := t.streams.Peek(from); s != nil && s.members > 0 {
			f(from)
		}
		from++
	}
	return from, from < t.end
}

// Len is the number of channels with positioned members.
func (t *Tracks) Len() int { return t.count }

// HeldBytes is the memory held.
func (t *Tracks) HeldBytes() int { return t.streams.Bytes() }

// Trim gives memory back that no channel needs; bytes released.
func (t *Tracks) Trim() int {
	if t.count == 0 {
		t.end = 0
	}
	return t.streams.Trim(func(chunk int) bool {
		for ch := uint32(chunk) * slab.ChunkSlots; ch < uint32(chunk+1)*slab.ChunkSlots; ch++ {
			if t.streams.Peek(ch).members > 0 {
				return true
			}
		}
		return false
	})
}

// Validate compares the counts with what members says each channel has of positioned
// members; ok is false for channels without a number. Slow.
func (t *Tracks) Validate(members func(ch uint32) int) error {
	count := 0
	for ch := range t.end {
		s := t.streams.Peek(ch)
		if s == nil || s.members == 0 {
			continue
		}
		count++
		if got := members(ch); got != int(s.members) {
			return fmt.Errorf("track: channel %d has %d positioned members, counted %d", ch, got, s.members)
		}
	}
	if count != t.count {
		return fmt.Errorf("track: %d channels found, %d counted", count, t.count)
	}
	return t.streams.Validate()
}
