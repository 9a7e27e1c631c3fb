package history

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"shoal/server/channel"
)

const (
	chunkCellBytes = 16
	entryBytes     = 4
)

// chunk is memory that records are appended to. Which of its records count is
// known to the stream.
type chunk struct {
	memory *byte
	size   uint32 // of memory, in bytes
	first  uint32 // offset of the first record, low half
}

var _ = [1]struct{}{}[chunkCellBytes-unsafe.Sizeof(chunk{})]

func newChunk(first uint32, size int) chunk {
	return chunk{memory: unsafe.SliceData(make([]byte, size)), size: uint32(size), first: first}
}

func (c *chunk) bytes() []byte { return unsafe.Slice(c.memory, c.size) }

// entry returns where record i ends and what is in front of its data.
func (c *chunk) entry(i int) (end int, flags uint32) {
	b := c.bytes()
	e := binary.LittleEndian.Uint32(b[len(b)-entryBytes*(i+1):])
	return int(e &^ flagMask), e & flagMask
}

// start returns where record i begins.
func (c *chunk) start(i int) int {
	if i == 0 {
		return 0
	}
	end, _ := c.entry(i - 1)
	return end
}

// free returns the room after n records, their entries included.
func (c *chunk) free(n int) int { return int(c.size) - entryBytes*n - c.start(n) }

// append writes record n, for which there must be room.
func (c *chunk) append(n, bytes int, pub *channel.Publication) {
	b := c.bytes()
	start := c.start(n)
	end := start + bytes
	flags := writeRecord(b[start:end:end], pub)
	binary.LittleEndian.PutUint32(b[len(b)-entryBytes*(n+1):], uint32(end)|flags)
}

// data returns the data of record i.
func (c *chunk) data(i int) []byte {
	end, flags := c.entry(i)
	record := c.bytes()[c.start(i):end:end]
	return record[dataStart(record, flags):]
}

// ring is a queue of chunks.
type ring struct {
	cells   []chunk
	head, n uint32
	bytes   int // heap bytes of the chunks
}

func (r *ring) at(i int) *chunk {
	i += int(r.head)
	if i >= len(r.cells) {
		i -= len(r.cells)
	}
	return &r.cells[i]
}

func (r *ring) push(c chunk) {
	if int(r.n) == len(r.cells) {
		r.resize(int(r.n) + int(r.n)/8 + 1)
	}
	r.n++
	*r.at(int(r.n) - 1) = c
	r.bytes += heapBytes(int(c.size))
}

func (r *ring) pop() {
	c := r.at(0)
	r.bytes -= heapBytes(int(c.size))
	*c = chunk{} // lets go of the memory
	r.n--
	if r.head++; int(r.head) == len(r.cells) {
		r.head = 0
	}
	if len(r.cells) > 16 && int(r.n) < len(r.cells)/4 {
		r.resize(int(r.n) + int(r.n)/4)
	}
}

// resize gives the ring at least n cells; the allocator decides how many exactly.
func (r *ring) resize(n int) {
	cells := slices.Grow([]chunk(nil), n)
	cells = cells[:cap(cells)]
	for i := range int(r.n) {
		cells[i] = *r.at(i)
	}
	r.cells, r.head = cells, 0
}
