package seal

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// marksMax bounds the revocations that are remembered, a few megabytes of them.
const marksMax = 1 << 18

// Book is what the loops of a node share about tokens: the key they are sealed with, and
// which of them ended early. The zero value is for a node that gives none. Safe for
// concurrent use once it is open.
type Book struct {
	Sealer *Sealer // nil: there are no tokens
	Window int64   // in microseconds, that a token is good for

	clock   func() time.Time
	started time.Time
	private bool        // nobody else makes tokens that are good here
	given   atomic.Bool // one at least

	sync.RWMutex // guards Marks
	Marks        *Marks
}

// Open makes it seal tokens that are good for a window.
func (b *Book) Open(cfg Config, window time.Duration, clock func() time.Time) error {
	if clock == nil {
		return errors.New("seal: a clock is missing; give it, or no window")
	}
	var err error
	if b.Sealer, err = New(cfg); err != nil {
		return err
	}
	b.Window, b.clock, b.started, b.private = window.Microseconds(), clock, clock(), cfg.Secret == ""
	b.Marks = NewMarks(marksMax, b.Window)
	return nil
}

// Now is in microseconds and never goes back while the process lives, whatever is done to
// the wall clock: else a token could seem younger than what ended it.
func (b *Book) Now() int64 {
	return b.started.UnixMicro() + b.clock().Sub(b.started).Microseconds()
}

// Give notes that a token is given; to be called before the token is as old as it says.
func (b *Book) Give() {
	if !b.given.Load() {
		b.given.Store(true)
	}
}

// Revoke ends the tokens that were made so far, or what they say of a subscription, but
// for those of some lineages.
func (b *Book) Revoke(who Subject, spared ...uint64) {
	if b.Sealer == nil || b.private && !b.given.Load() {
		return
	}
	b.Lock()
	defer b.Unlock()
	b.Marks.Revoke(who, b.Now(), spared...)
}

// Trim forgets marks that count no more.
func (b *Book) Trim() {
	if b.Sealer != nil {
		b.Lock()
		defer b.Unlock()
		b.Marks.Trim(b.Now())
	}
}

// Validate checks the marks.
func (b *Book) Validate() error {
	if b.Sealer == nil {
		return nil
	}
	b.RLock()
	defer b.RUnlock()
	return b.Marks.Validate()
}
