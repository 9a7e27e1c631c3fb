package history

import (
	"fmt"
	"strings"
	"time"
	"unsafe"

	"shoal/server/channel"
)

// Limits come with each publication; those of the last one rule the stream.
type Limits struct {
	Size    int           // publications kept; at least 1
	TTL     time.Duration // all are forgotten so long after the last one; at least 1 ms
	MetaTTL time.Duration // offset and epoch are forgotten so long after the last use; 0 never

	// The version of what the publications tell about; see [Stream.Outdated]. 0: none.
	Version      uint64
	VersionEpoch string
}

// Stream is the history of one channel. The zero value is closed: call [Stream.Open]
// first. It must not be copied and is not safe for concurrent use, but what Read
// returned may be read by anybody at any time.
//
// Times are Unix milliseconds. A caller who lets time pass calls Expire before
// anything else.
type Stream struct {
	epoch    string
	top      uint64 // offset of the last publication; 0: there was none
	count    uint32 // publications kept: the offsets top-count+1 … top
	average  average
	tail     chunk // has the newest publication; none while count is 0
	older    ring  // the chunks before it, oldest first
	version  *version
	forgetAt int64 // when the publications are forgotten
	endAt    int64 // when the stream is; 0 never
}

// version is that of the last publication.
type version struct {
	number uint64
	epoch  string
}

const sizeMax = 1<<31 - 1 // a greater Limits.Size means this

// Open begins a stream without publications; what s had before is forgotten. The
// first publication gets offset 1. metaTTL is as in Limits.
func (s *Stream) Open(now int64, epoch string, metaTTL time.Duration) {
	*s = Stream{epoch: epoch}
	s.Touch(now, metaTTL)
}

// Touch says that the stream is used: it lives for metaTTL from now on, 0 for ever.
func (s *Stream) Touch(now int64, metaTTL time.Duration) {
	s.endAt = 0
	if metaTTL > 0 {
		s.endAt = now + millis(metaTTL)
	}
}

// Expire forgets the publications if their time has come. It returns false when
// that of the stream itself has: then it has to be opened anew or dropped.
func (s *Stream) Expire(now int64) (alive bool) {
	if s.endAt != 0 && s.endAt <= now {
		s.Remove()
		return false
	}
	if s.count != 0 && s.forgetAt <= now {
		s.Remove()
	}
	return true
}

// Deadline returns when Expire will have something to do; 0 never.
func (s *Stream) Deadline() int64 {
	if s.count != 0 && (s.endAt == 0 || s.forgetAt < s.endAt) {
		return s.forgetAt
	}
	return s.endAt
}

// Top returns the position of the last publication, kept or not; offset 0 when
// there was none.
func (s *Stream) Top() channel.Position { return channel.Position{Offset: s.top, Epoch: s.epoch} }

// Len returns the number of publications kept.
func (s *Stream) Len() int { return int(s.count) }

// Outdated says whether something newer was published than this version of it:
// whether the last publication had a version as high or higher, of the same
// epoch. An empty epoch stands for any; version 0 is never outdated.
func (s *Stream) Outdated(number uint64, epoch string) bool {
	v := s.version
	return number > 0 && v != nil && number <= v.number && (epoch == "" || epoch == v.epoch)
}

// Append copies a publication into the stream and returns its position, the one
// after Top. Of pub it keeps Data, Info, Tags and Time. It panics when they do
// not fit, see [Fits], or the stream is closed.
func (s *Stream) Append(now int64, pub *channel.Publication, o Limits) channel.Position {
	bytes := recordBytes(pub)
	if s.epoch == "" || o.Size < 1 || bytes > recordMax {
		panic(fmt.Sprintf("history: append of %d bytes (at most %d) to stream %q with size limit %d", bytes, recordMax, s.epoch, o.Size))
	}
	size := uint32(min(o.Size, sizeMax))
	keep := min(s.count+1, size)
	s.makeRoom(bytes, keep, size)
	s.tail.append(int(uint32(s.top+1)-s.tail.first), bytes, pub)
	s.top++
	s.count = keep
	s.dropOld()
	s.setVersion(o.Version, o.VersionEpoch)
	s.forgetAt = now + millis(o.TTL)
	s.Touch(now, o.MetaTTL)
	return s.Top()
}

// Fits says whether a publication is small enough to be kept: its data, info and
// tags, with some bytes for each text in them, in less than 512 MiB.
func Fits(pub *channel.Publication) bool { return recordBytes(pub) <= recordMax }

// makeRoom sees to it that the tail has room for a record of so many bytes. keep
// is how many publications there will be with it, size how many there may be.
func (s *Stream) makeRoom(bytes int, keep, size uint32) {
	next := s.average.add(bytes + entryBytes)
	if s.tail.memory != nil {
		if s.tail.free(s.tailLen()) >= bytes+entryBytes {
			return
		}
		if keep > 1 {
			s.older.push(s.tail)
		}
	}
	// A stream that fills is expected to become twice as long as it is.
	expected := min(size, 2*keep-1)
	s.tail = newChunk(uint32(s.top+1), chunkBytes(bytes+entryBytes, next, int(expected)))
}

// dropOld lets go of the chunks all of whose records are forgotten.
func (s *Stream) dropOld() {
	oldest := uint32(s.top) - s.count + 1
	for s.older.n > 0 {
		after := s.tail.first
		if s.older.n > 1 {
			after = s.older.at(1).first
		}
		if int32(after-oldest) > 0 {
			break
		}
		s.older.pop()
	}
}

// tailLen is the number of records in the tail, forgotten ones included.
func (s *Stream) tailLen() int { return int(uint32(s.top) + 1 - s.tail.first) }

func (s *Stream) setVersion(number uint64, epoch string) {
	if s.version == nil {
		if number == 0 {
			return
		}
		s.version = &version{}
	}
	s.version.number = number
	if s.version.epoch != epoch {
		s.version.epoch = strings.Clone(epoch)
	}
}

// Remove forgets the publications; offset, epoch and version go on.
func (s *Stream) Remove() {
	s.tail, s.older, s.count = chunk{}, ring{}, 0
}

// HeldBytes returns the heap bytes that the stream holds besides itself.
func (s *Stream) HeldBytes() int {
	n := s.older.bytes + len(s.older.cells)*chunkCellBytes
	if s.tail.memory != nil {
		n += heapBytes(int(s.tail.size))
	}
	if s.version != nil {
		n += int(unsafe.Sizeof(version{})) + len(s.version.epoch)
	}
	return n
}

// millis rounds up, so that a time to live above 0 is one.
func millis(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }
