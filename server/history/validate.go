package history

import "fmt"

// Validate checks the stream against itself; it is slow and for tests and debug
// pages.
func (s *Stream) Validate() error {
	if s.epoch == "" {
		return fmt.Errorf("history: the stream is closed")
	}
	if s.count == 0 {
		if s.tail.memory != nil || s.older.n != 0 {
			return fmt.Errorf("history: no publications, but chunks")
		}
		return nil
	}
	if uint64(s.count) > s.top {
		return fmt.Errorf("history: %d publications kept of %d", s.count, s.top)
	}
	if oldest, at := uint32(s.top)-s.count+1, s.chunk(0).first; int32(oldest-at) < 0 || int(oldest-at) >= s.records(0) {
		return fmt.Errorf("history: the oldest of %d publications below %d is not in the first chunk, which has %d from %d on",
			s.count, s.top, s.records(0), at)
	}
	held := 0
	for i := range int(s.older.n) + 1 {
		if err := s.validateChunk(i); err != nil {
			return err
		}
		if i < int(s.older.n) {
			held += heapBytes(int(s.older.at(i).size))
		}
	}
	if held != s.older.bytes {
		return fmt.Errorf("history: %d bytes counted in the older chunks, %d found", s.older.bytes, held)
	}
	for i := int(s.older.n); i < len(s.older.cells); i++ {
		if s.older.at(i).memory != nil {
			return fmt.Errorf("history: a free cell holds a chunk")
		}
	}
	return nil
}

func (s *Stream) validateChunk(i int) error {
	c, n := s.chunk(i), s.records(i)
	if c.memory == nil || n < 1 || n*entryBytes > int(c.size) {
		return fmt.Errorf("history: chunk %d of %d bytes has %d records", i, c.size, n)
	}
	start := 0
	for k := range n {
		end, flags := c.entry(k)
		if end < start || end > int(c.size)-n*entryBytes {
			return fmt.Errorf("history: record %d of chunk %d is from %d to %d of %d bytes", k, i, start, end, c.size)
		}
		if at := dataStart(c.bytes()[start:end], flags); at > end-start {
			return fmt.Errorf("history: record %d of chunk %d has its data at %d of %d bytes", k, i, at, end-start)
		}
		start = end
	}
	return nil
}
