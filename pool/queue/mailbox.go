package queue

import (
	"fmt"
	"sync"
)

// Error is the type of this package's errors, which are constants.
type Error string

// Error returns the text.
func (e Error) Error() string { return string(e) }

const (
	// ErrFull says that the mailbox holds as many messages as it may: the owner
	// does not keep up. The message was not taken.
	ErrFull = Error("queue: mailbox is full: its owner does not keep up; send less or raise its limit")
	// ErrClosed says that the owner has ended. The message was not taken.
	ErrClosed = Error("queue: mailbox is closed")
)

const (
	// keepMessages is the capacity that is never shrunk.
	keepMessages = 64
	// drainsPerReview is how many drains pass between two looks at whether the
	// buffers are too big: long enough that a load that comes in waves of a few
	// turns keeps its buffers.
	drainsPerReview = 64
)

// Mailbox is a bounded queue from any goroutine to one owner. It must be made
// by [NewMailbox]. Put, Len and Close may be called by any goroutine, Drain and
// Trim by the owner only.
type Mailbox[T any] struct {
	max int

	mu     sync.Mutex
	in     []T // guarded by mu
	closed bool

	// Owned by the drainer.
	drains int // since the last review
	peak   int // most messages in one drain since then
}

// NewMailbox returns an empty mailbox of at most max messages; it allocates as
// messages come. It panics when max is less than 1: there is no unbounded one.
func NewMailbox[T any](max int) *Mailbox[T] {
	if max < 1 {
		panic(fmt.Sprintf("queue: mailbox limit %d; it must be at least 1", max))
	}
	return &Mailbox[T]{max: max}
}

// Put adds v at the end. wake is true when the mailbox was empty: the owner may
// be asleep and the caller is the one to wake it. On ErrFull and ErrClosed v was
// not taken and wake is false.
func (m *Mailbox[T]) Put(v T) (wake bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, ErrClosed
	}
	if len(m.in) >= m.max {
		return false, ErrFull
	}
	m.in = append(m.in, v)
	return len(m.in) == 1, nil
}

// Drain takes all messages, oldest first; it returns an empty slice when there
// are none. dst is the slice returned by the Drain before, or nil the first time:
// its elements are forgotten and its memory takes the next messages, so the
// caller must not use it any more. Only the owner may call it.
//
//	var batch []Message
//	for awake {
//		batch = mailbox.Drain(batch)
//		for _, m := range batch { … }
//	}
func (m *Mailbox[T]) Drain(dst []T) []T {
	clear(dst)
	dst = m.review(dst[:0])
	m.mu.Lock()
	if len(m.in) == 0 && cap(m.in) >= cap(dst) {
		// Nothing came: keep the bigger buffer for the messages to come.
		m.mu.Unlock()
		m.drains++
		return dst
	}
	out := m.in
	m.in = dst
	m.mu.Unlock()
	m.drains++
	m.peak = max(m.peak, len(out))
	return out
}

// review shrinks dst, an empty buffer, when over the last drains no batch filled
// a quarter of it. Both buffers pass here in turn.
func (m *Mailbox[T]) review(dst []T) []T {
	if m.drains < drainsPerReview {
		return dst
	}
	if want := max(2*m.peak, keepMessages); cap(dst) > 2*want {
		dst = make([]T, 0, want)
		return dst // the peak stands until the other buffer was seen too
	}
	m.drains, m.peak = 0, 0
	return dst
}

// Trim drops the buffer that waits for messages when it is empty, and returns
// the number of messages there was room for. The owner drops its own buffer by
// passing nil to the next Drain.
func (m *Mailbox[T]) Trim() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.in) > 0 {
		return 0
	}
	n := cap(m.in)
	m.in = nil
	return n
}

// Len returns how many messages wait.
func (m *Mailbox[T]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.in)
}

// Close makes every later Put fail with ErrClosed. Messages already taken are
// still there for Drain. Closing twice is the same as once.
func (m *Mailbox[T]) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// Validate checks the mailbox against its limit.
func (m *Mailbox[T]) Validate() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.in) > m.max {
		return fmt.Errorf("queue: mailbox holds %d messages, its limit is %d", len(m.in), m.max)
	}
	return nil
}
