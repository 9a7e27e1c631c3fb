package memory

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"shoal/server/channel"
)

const (
	idempotencyTTL = 5 * time.Minute
	// keyBytes is what a key takes besides itself and the channel's name: entry and index
	// of the name, row, deadline.
	keyBytes   = 90
	scratchMax = 4 << 10
)

// budget is what the idempotency keys of all shards may hold.
type budget struct {
	bytesMax int64
	bytes    atomic.Int64
	evicted  atomic.Uint64 // keys that gave way before their time
}

// keys are the idempotency keys of a shard's channels, with what became of the
// publications. No pointers but to blocks. Every key is in due exactly once.
type keys struct {
	budget  *budget
	results book[result]
	due     deadlines
	scratch []byte
}

// result is the position of a publication.
type result struct {
	until  int64 // Unix milliseconds
	offset uint64
	epoch  [epochBytes]byte // zero: none
}

func newKeys(b *budget) keys { return keys{budget: b, results: newBook[result]()} }

// name returns the book's name of a key: the channel's, its length in front so that
// no two pairs have the same, and the key. It is good until the next call.
func (k *keys) name(name, key string) string {
	if cap(k.scratch) > scratchMax {
		k.scratch = nil
	}
	k.scratch = binary.AppendUvarint(k.scratch[:0], uint64(len(name)))
	k.scratch = append(append(k.scratch, name...), key...)
	return unsafe.String(unsafe.SliceData(k.scratch), len(k.scratch))
}

// find returns the position of the publication that came with the key.
func (k *keys) find(name, key string, now int64) (channel.Position, bool) {
	_, r := k.results.find(k.name(name, key))
	if r == nil || r.until <= now {
		return channel.Position{}, false
	}
	pos := channel.Position{Offset: r.offset}
	if r.epoch[0] != 0 {
		pos.Epoch = string(r.epoch[:])
	}
	return pos, true
}

// add remembers the position for a key that find did not find.
func (k *keys) add(name, key string, pos channel.Position, now int64, ttl time.Duration) {
	if ttl <= 0 {
		ttl = idempotencyTTL
	}
	full := k.name(name, key)
	id, r := k.results.find(full)
	fresh := r == nil
	if fresh {
		id, r = k.results.add(full)
		k.budget.bytes.Add(int64(len(full) + keyBytes))
	}
	// Rounded up: until is after now, so the key is found at least once.
	*r = result{until: now + int64((ttl+time.Millisecond-1)/time.Millisecond), offset: pos.Offset}
	copy(r.epoch[:], pos.Epoch)
	if fresh {
		k.due.push(deadline{r.until, id})
	}
	for k.budget.bytes.Load() > k.budget.bytesMax && k.results.len() > 1 {
		if k.next(math.MaxInt64) {
			k.budget.evicted.Add(1)
		}
	}
}

// expire handles at most n deadlines that have come and returns how many.
func (k *keys) expire(now int64, n int) (done int) {
	for ; done < n && len(k.due.heap) > 0 && k.due.heap[0].at <= now; done++ {
		k.next(now)
	}
	return done
}

// next handles the earliest deadline, which must have come at now: a key that was used
// again since is queued again, another is forgotten.
func (k *keys) next(now int64) (forgotten bool) {
	d, ok := k.due.pop(now)
	if !ok {
		return false
	}
	if r := k.results.row(d.id); r.until > d.at {
		k.due.push(deadline{r.until, d.id})
		return false
	}
	k.budget.bytes.Add(-int64(len(k.results.names.Bytes(d.id)) + keyBytes))
	k.results.drop(d.id)
	return true
}
