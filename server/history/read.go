package history

import (
	"slices"
	"sort"

	"shoal/server/channel"
)

// Query picks publications of a stream.
type Query struct {
	// Since is exclusive: with Reverse those before it, else those after it. nil:
	// from the oldest, with Reverse from the newest on. An empty epoch fits every
	// stream. An offset that is not there is no error: from one that is forgotten
	// on come those that are kept; of one that is ahead of the top comes none, in
	// either direction.
	Since   *channel.Position
	Limit   int // < 0: no limit
	Reverse bool
}

// Read appends the publications that are asked for to dst, with Reverse the newest
// first. It is false, with dst as it was, when Since is of another epoch. What is
// appended points into memory that is never changed, and equal infos and tags may
// be shared: it is read-only and may be kept for any time; it keeps a chunk of at
// most 32 KiB, or a single larger publication, from being freed.
func (s *Stream) Read(q Query, dst []channel.Publication) ([]channel.Publication, bool) {
	if q.Since != nil && q.Since.Epoch != "" && q.Since.Epoch != s.epoch {
		return dst, false
	}
	first, last, ok := s.span(q)
	if !ok {
		return dst, true
	}
	n := int(last - first + 1)
	if q.Limit >= 0 && q.Limit < n {
		n = q.Limit
		if q.Reverse {
			first = last - uint64(n) + 1
		}
	}
	if n == 0 {
		return dst, true
	}
	dst = slices.Grow(dst, n)
	at := len(dst)
	dst = dst[:at+n]
	s.fill(dst[at:], first)
	if q.Reverse {
		slices.Reverse(dst[at:])
	}
	return dst, true
}

// span returns the offsets that q asks for without its limit.
func (s *Stream) span(q Query) (first, last uint64, ok bool) {
	first, last = s.top-uint64(s.count)+1, s.top
	switch since := q.Since; {
	case since == nil:
	case q.Reverse:
		if since.Offset <= first || since.Offset-1 > last {
			return 0, 0, false
		}
		last = since.Offset - 1
	default:
		if since.Offset >= last {
			return 0, 0, false
		}
		first = max(first, since.Offset+1)
	}
	return first, last, s.count > 0
}

// fill reads the records from the offset first on, which must be there, into out.
func (s *Stream) fill(out []channel.Publication, first uint64) {
	var r reader
	for i := s.chunkOf(uint32(first)); len(out) > 0; i++ {
		c := s.chunk(i)
		at := int(uint32(first) - c.first)
		n := min(len(out), s.records(i)-at)
		start := c.start(at)
		memory := c.bytes()
		for k := range out[:n] {
			end, flags := c.entry(at + k)
			pub := &out[k]
			*pub = channel.Publication{Position: channel.Position{Offset: first + uint64(k), Epoch: s.epoch}}
			r.read(pub, memory[start:end:end], flags)
			start = end
		}
		out = out[n:]
		first += uint64(n)
	}
}

// chunk returns chunk i, oldest first; the tail is the last.
func (s *Stream) chunk(i int) *chunk {
	if i == int(s.older.n) {
		return &s.tail
	}
	return s.older.at(i)
}

// records returns the number of records in chunk i, forgotten ones included.
func (s *Stream) records(i int) int {
	if i == int(s.older.n) {
		return s.tailLen()
	}
	return int(s.chunk(i+1).first - s.older.at(i).first)
}

// chunkOf returns the chunk that has the record of an offset.
func (s *Stream) chunkOf(offset uint32) int {
	return sort.Search(int(s.older.n), func(i int) bool { return int32(s.chunk(i+1).first-offset) > 0 })
}

// Last returns the data of the last publication, nil when it is not kept. It may be
// kept like what Read returns.
func (s *Stream) Last() []byte {
	if s.count == 0 {
		return nil
	}
	return s.tail.data(s.tailLen() - 1)
}
