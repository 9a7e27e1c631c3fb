package retry

import (
	"bytes"
	"container/heap"
	"strconv"
	"time"

	"shoal/codec/ws"
)

// The backoff of centrifuge-js: full jitter over an exponential span, on top of the shortest delay.
const (
	backoffMin    = 500 * time.Millisecond
	backoffMax    = 20 * time.Second
	backoffFactor = 2
	afterMax      = time.Hour // what a server may ask for by Retry-After
)

// Backoff is the delay before attempt number n, from 0; random is any number.
func Backoff(n int, random uint64) time.Duration {
	span := backoffMin
	for range n {
		if span = span * backoffFactor; span >= backoffMax {
			span = backoffMax
			break
		}
	}
	return min(backoffMin+time.Duration(random%uint64(span+1)), backoffMax)
}

// After reads Retry-After in seconds (RFC 9110 §10.2.3) from the head of a response; 0 when there is none.
func After(head []byte) time.Duration {
	for line := range bytes.Lines(head) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if !bytes.EqualFold(name, []byte("Retry-After")) {
			continue
		}
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31); err == nil {
			return min(time.Duration(n)*time.Second, afterMax)
		}
	}
	return 0
}

// Terminal says whether a client that is closed with this code stays away.
func Terminal(code ws.CloseCode) bool {
	return code >= 3500 && code < 4000 || code >= 4500 && code < 5000
}

// Sleepers are clients in their backoff. The zero value has none.
type Sleepers struct{ heap sleepers }

// Push adds one that wakes then.
func (s *Sleepers) Push(due int64, number uint32) { heap.Push(&s.heap, sleeper{due, number}) }

// Len is how many there are.
func (s *Sleepers) Len() int { return len(s.heap) }

// Next is when the next one wakes; there must be one.
func (s *Sleepers) Next() int64 { return s.heap[0].due }

// Pop takes the next one to wake.
func (s *Sleepers) Pop() (number uint32) { return heap.Pop(&s.heap).(sleeper).number }

// Longest is how long the last one still sleeps.
func (s *Sleepers) Longest(now int64) (longest int64) {
	for _, one := range s.heap {
		longest = max(longest, one.due-now)
	}
	return longest
}

type sleeper struct {
	due    int64
	number uint32
}

// sleepers is a heap, the next to wake first.
type sleepers []sleeper

func (s sleepers) Len() int           { return len(s) }
func (s sleepers) Less(i, k int) bool { return s[i].due < s[k].due }
func (s sleepers) Swap(i, k int)      { s[i], s[k] = s[k], s[i] }

// Push implements heap.Interface.
func (s *sleepers) Push(x any) { *s = append(*s, x.(sleeper)) }

// Pop implements heap.Interface.
func (s *sleepers) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}
