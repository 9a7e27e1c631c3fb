package tenant

import (
	"sync/atomic"
	"time"

	"shoal/loop/relief"
	"shoal/server/rate"
)

// Limit is what of a tenant is limited. The names are metric labels.
type Limit uint8

// The limits, and what else is refused because of tenants.
const (
	Connections Limit = iota
	Channels
	Subscriptions
	Messages
	Bytes
	Hooks
	Backlog
	Foreign  // a channel of another tenant
	Overload // basic tenants are not served while there is too much to do
	Unknown  // a token or a backend names a tenant that there is not; counted with the default one
	limitCount
)

// LimitCount is the length of an array indexed by Limit.
const LimitCount = int(limitCount)

// String is the metric label.
func (l Limit) String() string {
	if l < limitCount {
		return [...]string{"connections", "channels", "subscriptions", "messages", "bytes", "hooks", "backlog", "foreign", "overload", "unknown"}[l]
	}
	return "none"
}

// tenant is what is kept of one. It is on cache lines of its own, as far as that matters:
// all loops write to it.
type tenant struct {
	// Immutable.
	name    string
	class   *class
	limits  Limits
	timeout time.Duration

	conns, channels, subs gauge
	messages, bytes       rate.Shared
	taken, takenBytes     atomic.Uint64
	refused               [limitCount]atomic.Uint64
	backlog               atomic.Int64  // bytes, as of the last look
	relief                relief.Relief // with a limit of them
	queued                queued
	_                     [64]byte
}

func newTenant(name string, l *Limits) *tenant {
	c, _ := classOf(l.Class)
	t := &tenant{name: name, class: c, limits: *l, timeout: l.HookTimeout}
	if t.timeout == 0 {
		t.timeout = c.timeout
	}
	t.queued.max = l.HookLimit
	if t.queued.max == 0 {
		t.queued.max = c.hooks
	}
	t.conns.max, t.channels.max, t.subs.max = int64(l.ConnectionLimit), int64(l.ChannelLimit), int64(l.SubscriptionLimit)
	t.messages.Pace = pace(l.MessageRateLimit, l.MessageRateBurst)
	t.bytes.Pace = pace(l.ByteRateLimit, l.ByteRateBurst)
	return t
}

func pace(perSecond, burst int) rate.Pace {
	if burst == 0 {
		burst = perSecond
	}
	return rate.PaceOf(perSecond, burst)
}

// gauge counts what there is now, and bounds it.
type gauge struct {
	n   atomic.Int64
	max int64 // 0: no limit
}

// enter counts one more, false when there may not be one.
func (g *gauge) enter() bool {
	if g.max == 0 {
		g.n.Add(1)
		return true
	}
	for {
		n := g.n.Load()
		if n >= g.max {
			return false
		}
		if g.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *gauge) leave() { g.n.Add(-1) }

// refuse counts a refusal; it is false, for the caller to return.
func (t *tenant) refuse(l Limit) bool {
	t.refused[l].Add(1)
	return false
}

// admit takes a message of so many bytes, or refuses it; then it costs nothing.
func (t *tenant) admit(now int64, bytes int) bool {
	switch {
	case !t.messages.Take(now, 1, rate.Whole):
		return t.refuse(Messages)
	case bytes > 0 && !t.bytes.Take(now, bytes, rate.Whole):
		t.messages.Return(1)
		return t.refuse(Bytes)
	}
	t.taken.Add(1)
	t.takenBytes.Add(uint64(bytes))
	return true
}
