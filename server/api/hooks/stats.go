package hooks

import (
	"sync/atomic"
	"time"

	"shoal/server/backend"
)

// Kind is why a question got no answer that could be used. Its name is the metric label.
type Kind uint8

// The kinds.
const (
	KindNone        Kind = iota
	KindTimeout          // no answer in time
	KindUnreachable      // no conn, or it broke
	KindStatus           // an HTTP status other than 200 without a transform, or a gRPC status
	KindGarbage          // the answer is not what the event's answer is
	KindTooLarge         // the answer is over ResponseBytesMax
	KindCode             // its error or disconnect code is out of range
	KindRequest          // the question could not be written: the client's data is not JSON
	KindBreaker          // not asked: the breaker is open
	KindConcurrency      // not asked: too many questions are being asked
	KindCanceled         // the asker gave up
	KindPending          // channel state only: too many events wait already
	kindCount
)

// KindCount is the length of an array indexed by Kind.
const KindCount = int(kindCount)

// String returns the metric label.
func (k Kind) String() string {
	if k < kindCount {
		return [...]string{"none", "timeout", "unreachable", "status", "garbage", "too-large", "bad-code", "bad-request",
			"breaker", "concurrency", "canceled", "pending"}[k]
	}
	return "unknown"
}

// BucketCount is how many bounds [Buckets] has.
const BucketCount = 13

// Buckets are the upper bounds of the duration histogram, ascending.
func Buckets() [BucketCount]time.Duration {
	const ms = time.Millisecond
	return [BucketCount]time.Duration{ms, 2500 * time.Microsecond, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms,
		time.Second, 2500 * ms, 5 * time.Second, 10 * time.Second}
}

// Stats are the counts of one event at one endpoint, since the start.
type Stats struct {
	Event    backend.Event
	Endpoint string // "default", or the name among the proxies
	Protocol string // "http" or "grpc"

	Calls    uint64 // questions, asked or not; of channel state: batches of events
	Errors   [KindCount]uint64
	Retries  uint64                  // further attempts
	Duration time.Duration           // of all questions that were asked together
	Buckets  [BucketCount + 1]uint64 // questions that took at most so long, not cumulative; the last one is those that took longer
	Pending  int                     // channel-state events that wait

	Active  int // questions being asked now at the endpoint, which other events may share
	Breaker BreakerState
	Opened  uint64 // times the breaker opened
}

// counters are what a line counts itself.
type counters struct {
	calls, retries atomic.Uint64
	errors         [KindCount]atomic.Uint64
	nanos          atomic.Int64
	buckets        [BucketCount + 1]atomic.Uint64
}

func (c *counters) observe(d time.Duration) {
	c.nanos.Add(int64(d))
	i := 0
	for bounds := Buckets(); i < BucketCount && d > bounds[i]; {
		i++
	}
	c.buckets[i].Add(1)
}

// Stats appends the counts of every event and endpoint, in order of event and name.
// Any goroutine.
func (h *Hooks) Stats(dst []Stats) []Stats {
	for _, l := range h.lines {
		s := Stats{
			Event: l.event, Endpoint: l.name, Protocol: l.ep.protocol, Active: int(l.ep.active.Load()),
			Calls: l.counters.calls.Load(), Retries: l.counters.retries.Load(), Duration: time.Duration(l.counters.nanos.Load()),
		}
		for k := range s.Errors {
			s.Errors[k] = l.counters.errors[k].Load()
		}
		for i := range s.Buckets {
			s.Buckets[i] = l.counters.buckets[i].Load()
		}
		s.Breaker, s.Opened = l.breaker.report()
		if l.pending != nil {
			s.Pending = l.pending.len()
		}
		dst = append(dst, s)
	}
	return dst
}
