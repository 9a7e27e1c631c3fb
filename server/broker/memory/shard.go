package memory

import (
	"cmp"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/history"
)

// shard is what one lock guards.
type shard struct {
	mu      sync.Mutex
	streams book[row]
	due     deadlines // of streams
	epoch   string    // for new streams; empty: to be drawn
	keys    keys
	pub     channel.Publication // the one that is being delivered
	held    holding
	_       [64]byte // no cache line with the next one
}

// row is the history of one channel.
type row struct {
	history.Stream
	queued int64 // when due has it; 0: not at all
}

// holding sums up what the streams of a shard hold.
type holding struct{ publications, bytes int }

func (s *shard) init(b *budget) {
	s.streams, s.keys = newBook[row](), newKeys(b)
}

// deliver hands a copy of pub with its position and predecessor to the node.
func (s *shard) deliver(to *target, name string, pub *channel.Publication, pos channel.Position, prev []byte) error {
	s.pub = *pub // here, because what an interface is given escapes
	s.pub.Position, s.pub.Prev = pos, prev
	err := to.Deliver(name, &s.pub)
	s.pub = channel.Publication{}
	return err
}

// keep delivers a publication at the stream's next offset, and appends it when the
// node took it. Nobody can ask for the history between the two.
func (s *shard) keep(to *target, now int64, name string, pub *channel.Publication, o *broker.PublishOptions) (broker.Result, error) {
	if !history.Fits(pub) {
		return broker.Result{}, channel.ErrLimitExceeded.Err()
	}
	id, r := s.use(name, now, o.HistoryMetaTTL)
	defer s.settle(id, r)
	pos := r.Top()
	if r.Outdated(o.Version, o.VersionEpoch) {
		return broker.Result{Position: pos, Suppressed: true}, nil
	}
	pos.Offset++
	var prev []byte
	if o.Previous {
		prev = r.Last()
	}
	if err := s.deliver(to, name, pub, pos, prev); err != nil {
		return broker.Result{}, err
	}
	r.Append(now, pub, history.Limits{
		Size: o.HistorySize, TTL: o.HistoryTTL, MetaTTL: o.HistoryMetaTTL,
		Version: o.Version, VersionEpoch: o.VersionEpoch,
	})
	return broker.Result{Position: pos}, nil
}

// use returns the stream of a channel, opened if there is none, and lets it live for
// metaTTL from now on. Settle must follow.
func (s *shard) use(name string, now int64, metaTTL time.Duration) (id uint32, r *row) {
	id, r = s.streams.find(name)
	if r == nil {
		id, r = s.streams.add(name)
		r.Open(now, s.newEpoch(), metaTTL)
		return id, r
	}
	s.unsettle(r)
	if !r.Expire(now) {
		s.epoch = ""
		r.Open(now, s.newEpoch(), metaTTL)
	} else {
		r.Touch(now, metaTTL)
	}
	return id, r
}

// remove forgets the publications of a channel. That the stream may be over is
// left to who uses it or to expire.
func (s *shard) remove(name string) {
	if id, r := s.streams.find(name); r != nil {
		s.unsettle(r)
		r.Remove()
		s.settle(id, r)
	}
}

// unsettle takes a stream out of the sums, before it is changed.
func (s *shard) unsettle(r *row) {
	s.held.publications -= r.Len()
	s.held.bytes -= r.HeldBytes()
}

// settle takes it in again, and sees to it that it comes up when it is due. A
// deadline that was put off is queued anew when the old one comes up.
func (s *shard) settle(id uint32, r *row) {
	s.held.publications += r.Len()
	s.held.bytes += r.HeldBytes()
	if at := r.Deadline(); at != 0 && (r.queued == 0 || at < r.queued) {
		r.queued = at
		s.due.push(deadline{at, id})
		s.tidyDue()
	}
}

// expire handles at most n deadlines that have come and returns how many.
func (s *shard) expire(now int64, n int) (done int) {
	for ; done < n; done++ {
		d, ok := s.due.pop(now)
		if !ok {
			break
		}
		r := s.streams.row(d.id)
		if r == nil || r.queued != d.at {
			continue // of a stream that is gone, or a later deadline that an earlier one overtook
		}
		s.unsettle(r)
		r.queued = 0
		if r.Expire(now) {
			s.settle(d.id, r)
		} else {
			s.streams.drop(d.id)
			s.epoch = ""
		}
	}
	return done
}

const epochBytes = 8

// newEpoch returns the epoch of the streams that are opened now. It differs from that
// of every stream of the shard that has ended, which is all that is asked of it.
func (s *shard) newEpoch() string {
	if s.epoch == "" {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		var b [epochBytes]byte
		_, _ = rand.Read(b[:]) // it never fails
		for i := range b {
			b[i] = letters[int(b[i])%len(letters)]
		}
		s.epoch = string(b[:])
	}
	return s.epoch
}

// tidyDue throws out the deadlines of streams that were dropped before they were due,
// once they are the greater part.
func (s *shard) tidyDue() {
	if len(s.due.heap) <= 2*s.streams.len()+1024 {
		return
	}
	s.due.heap = slices.DeleteFunc(s.due.heap, func(d deadline) bool {
		r := s.streams.row(d.id)
		return r == nil || r.queued != d.at
	})
	slices.SortFunc(s.due.heap, func(a, b deadline) int { return cmp.Compare(a.at, b.at) }) // a sorted list is a heap
}
