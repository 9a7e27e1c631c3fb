package books

import (
	"unsafe"

	"shoal/codec/proto"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
)

const (
	subLive    uint8 = 1 << iota // subscribed
	subPlaced                    // its offset is known
	subLost                      // came back not recovered, or anew: what is skipped next was told
	subCounted                   // counts among the receivers of its channel
	subFresh                     // began while publications were under way: the first that comes says from which on it counts
)

// sub is one subscription of a peer; it outlives connections. Pointer-free.
type sub struct {
	track  message.Track // of publications of this run
	offset uint64        // the last seen, with subPlaced
	told   uint32        // not owed: made before it began, or lost and the server said so
	flags  uint8
}

const (
	subBytes = 32
	ownBytes = 8
)

var (
	_ = [1]struct{}{}[subBytes-unsafe.Sizeof(sub{})]
	_ = [1]struct{}{}[ownBytes-unsafe.Sizeof(own{})]
)

// Live says whether a subscription is.
func (b *Books) Live(peer uint32, j int) bool { return b.of(peer)[j].flags&subLive != 0 }

// Unsubscribed ends a subscription.
func (b *Books) Unsubscribed(peer uint32, j int) { b.of(peer)[j].flags &^= subLive }

// Ended ends all subscriptions of a peer, with its connection.
func (b *Books) Ended(peer uint32) {
	for j := range b.of(peer) {
		b.Unsubscribed(peer, j)
	}
}

// Position is where a subscription is, when it is known.
func (b *Books) Position(peer uint32, j int) (offset uint64, epoch string, known bool) {
	s := &b.of(peer)[j]
	if s.flags&subPlaced == 0 {
		return 0, "", false
	}
	return s.offset, b.epoch(b.Ref(peer, j)), true
}

// Joined takes note of a subscription: of its position, and of what was missed meanwhile. What was recovered is handed on.
func (b *Books) Joined(peer uint32, j int, r *proto.SubscribeResult, recovered func(*proto.Publication, layout.Ref)) {
	s, ref, status := &b.of(peer)[j], b.Ref(peer, j), b.cfg.Status
	was := s.flags&subCounted != 0
	back := was && b.cfg.Positions && s.flags&subPlaced != 0
	if !was {
		b.begin(s, ref)
	}
	s.flags |= subLive
	switch {
	case back && r.Recoverable && r.Recovered && r.Epoch == b.epoch(ref):
		status.Recovered++
		status.RecoveredPublications += len(r.Publications)
	case back && r.Recoverable:
		status.Unrecovered++
		s.flags |= subLost
	case was:
		status.Anew++
		s.flags |= subLost
	case b.cfg.Positions && !r.Recoverable:
		status.Unplaced++
	}
	if b.cfg.Positions && (r.Recoverable || r.Positioned) { // what was recovered moves it on: its offset is that before
		s.offset = r.Offset
		s.flags |= subPlaced
		b.setEpoch(ref, r.Epoch)
	}
	for _, pub := range r.Publications {
		recovered(pub, ref)
	}
}

// begin has a subscription count: from what is published next or, while publications are under way, from the first that comes.
func (b *Books) begin(s *sub, r layout.Ref) {
	s.flags |= subCounted
	if !r.Own() {
		b.channels[r.Number()].receivers++
	}
	s.track, s.told = message.Track{}, uint32(b.made(r))
	switch {
	case b.pouring:
		s.flags |= subFresh
	case b.last(r) > 0:
		s.track.Begin(b.last(r))
	}
}

// open has a subscription that began while publications were under way count from the first that came. Of this member's own it is known
// what was published before it began: what comes later than the next was lost.
func (b *Books) open(s *sub, r layout.Ref, seq uint32) {
	s.flags &^= subFresh
	from := seq - 1
	if b.local(r) {
		from = min(from, s.told)
	}
	s.track.Begin(from)
	b.owe(r, int(s.told)-int(from))
	s.told = from
}

// pass moves the position on to an offset and returns how many were skipped, as far as offsets tell.
func (s *sub) pass(offset uint64) (skipped uint64) {
	if offset == 0 {
		return 0
	}
	if s.flags&subPlaced != 0 && offset > s.offset+1 {
		skipped = offset - s.offset - 1
	}
	if s.flags&subPlaced == 0 || offset > s.offset {
		s.offset = offset
		s.flags |= subPlaced
	}
	return skipped
}

// missed takes note of sequences that were skipped, and says whether the client knows: because it came back without them, or by
// offsets. A channel without offsets cannot show them: those who stopped reading take that as part of its policy, for others it is a
// loss.
func (b *Books) missed(peer uint32, s *sub, r layout.Ref, n uint32, offsets uint64) bool {
	status := b.cfg.Status
	switch {
	case s.flags&subLost != 0:
		b.excuse(s, r, n, &status.Told)
	case s.flags&subPlaced == 0 && b.stuck(peer) && b.results.Stalls > 0:
		b.excuse(s, r, n, &status.Unseen)
	case offsets > 0:
		n = uint32(min(uint64(n), offsets))
		b.excuse(s, r, n, &status.Told)
		status.Skipped += int(n)
	default:
		return false
	}
	return true
}

// excuse takes losses that are explained off what is owed.
func (b *Books) excuse(s *sub, r layout.Ref, n uint32, as *int) {
	if s.flags&subCounted == 0 {
		return
	}
	s.told += n
	b.owe(r, -int(n))
	*as += int(n)
}

// WriteOff takes all that a peer is owed out of the books, and says how much that was.
func (b *Books) WriteOff(peer uint32) (lost int) {
	for j := range b.each {
		s, r := &b.of(peer)[j], b.Ref(peer, j)
		if s.flags&subCounted == 0 {
			continue
		}
		n := b.missing(s, r)
		b.owe(r, -n)
		lost += max(n, 0)
		if !r.Own() {
			b.channels[r.Number()].receivers--
		}
		s.flags &^= subCounted
	}
	if b.echoes != nil {
		n := b.echoes[peer].missing()
		b.owed -= n
		lost += max(n, 0)
		b.echoes[peer] = echo{}
	}
	return lost
}

// Part closes the books of a peer that left: who takes its place is another. What was under way to it nobody was promised.
func (b *Books) Part(peer uint32) {
	b.cfg.Status.Parted += b.WriteOff(peer)
	clear(b.of(peer))
	if b.foreign != nil {
		b.foreign[peer] = foreign{}
	}
}
