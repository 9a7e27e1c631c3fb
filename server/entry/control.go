package entry

import (
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"shoal/codec/handshake"
	"shoal/server/channel"
	"shoal/server/overload"
	"shoal/server/rate"
)

// Config holds the limits of a node. 0 is no limit, everywhere.
type Config struct {
	ConnsMax      int // connections held
	HandshakesMax int // connections without a successful connect
	ConnRate      int // new connections per second
	AddressConns  int // connections held for one address
	AddressRate   int // new connections per second from one address
	AddressBurst  int // of them at once; 0 = AddressRate
	ConnectRate   int // connect commands per second
	UserConns     int // connections of one user
	AddressesMax  int // addresses remembered; 0 = 1,048,576
	Exempt        []netip.Prefix
	Epoch         time.Time // the beginning of time; all times given later are after it
	Sessions      func() (open, connected int64)
	Overload      *overload.Board // while the node has too much to do it lets in none or some; nil: all
}

const addressesDefault = 1 << 20

// Reason says why a connect command was refused. The names are metric labels.
type Reason uint8

// The reasons for which connect commands are refused.
const (
	ConnectRate Reason = iota // 3013: the SDKs come back, after a longer pause each time
	UserConns                 // 3504: they stay away
	reasonCount = iota
)

// String is the metric label.
func (r Reason) String() string { return [reasonCount]string{"connect-rate", "user-connections"}[r] }

// Stats counts what a control did. Any goroutine may read.
type Stats struct {
	Untracked atomic.Uint64 // connections let in uncounted, because no more addresses can be remembered
	refused   [reasonCount]atomic.Uint64
}

// EachRefusal calls f with every reason and how many connect commands were refused for it.
func (s *Stats) EachRefusal(f func(why Reason, n uint64)) {
	for why := range s.refused {
		f(Reason(why), s.refused[why].Load())
	}
}

// Control holds the limits of a node. Use [New]; nil lets everything in.
type Control struct {
	cfg       Config
	stats     Stats
	conns     rate.Shared
	connects  rate.Shared
	addresses addresses
	users     users
}

// New returns the control of a node.
func New(cfg Config) (*Control, error) {
	if cfg.Sessions == nil {
		return nil, errors.New("entry: Sessions is missing; give the node's counters")
	}
	if cfg.AddressesMax == 0 {
		cfg.AddressesMax = addressesDefault
	}
	if cfg.AddressBurst == 0 {
		cfg.AddressBurst = cfg.AddressRate
	}
	c := &Control{cfg: cfg}
	c.conns.Pace, c.connects.Pace = rate.PaceOf(cfg.ConnRate, cfg.ConnRate), rate.PaceOf(cfg.ConnectRate, cfg.ConnectRate)
	c.addresses = addresses{
		openMax: uint32(cfg.AddressConns), pace: rate.PaceOf(cfg.AddressRate, cfg.AddressBurst),
		shardMax: max(cfg.AddressesMax/addressShards, 1), seed: rand.Uint64() | 1,
	}
	c.users = users{max: uint32(cfg.UserConns), seed: maphash.MakeSeed()}
	return c, nil
}

// Stats are the control's counters.
func (c *Control) Stats() *Stats { return &c.stats }

// Addresses is the number of addresses remembered.
func (c *Control) Addresses() int { return c.addresses.count() }

// Pending is the number of connections without a successful connect.
func (c *Control) Pending() int64 {
	open, connected := c.cfg.Sessions()
	return max(open-connected, 0)
}

// Full refuses when the node holds what it may. It takes from no rate and may be asked for
// nothing.
func (c *Control) Full() handshake.Status {
	if c.cfg.ConnsMax == 0 && c.cfg.HandshakesMax == 0 {
		return handshake.Done
	}
	open, connected := c.cfg.Sessions()
	switch {
	case c.cfg.ConnsMax > 0 && open >= int64(c.cfg.ConnsMax):
		return handshake.Overloaded
	case c.cfg.HandshakesMax > 0 && open-connected >= int64(c.cfg.HandshakesMax):
		return handshake.TooManyHandshakes
	}
	return handshake.Done
}

// arrive decides about a connection. With Done, key is what to give to leave when it has
// closed, 0 nothing.
func (c *Control) arrive(now time.Time, from func() netip.Addr) (key uint64, status handshake.Status) {
	if !c.cfg.Overload.Admits() {
		return 0, handshake.Overburdened
	}
	if status := c.Full(); status.Failed() {
		return 0, status
	}
	at := c.since(now)
	if c.addresses.on() {
		if addr := from(); addr.IsValid() && !c.exempt(addr) {
			of := keyOf(addr)
			tracked, status := c.addresses.arrive(of, at)
			switch {
			case status.Failed():
				return 0, status
			case !tracked:
				c.stats.Untracked.Add(1)
			case c.addresses.openMax > 0:
				key = of
			}
		}
	}
	if !c.conns.Take(at, 1, rate.Whole) {
		if key != 0 {
			c.addresses.leave(key)
		}
		return 0, handshake.TooFast
	}
	return key, handshake.Done
}

func (c *Control) exempt(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // which no prefix has
	for _, prefix := range c.cfg.Exempt {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// since is a time as the buckets count it.
func (c *Control) since(now time.Time) int64 { return int64(max(now.Sub(c.cfg.Epoch), 0)) }

// Connect takes a connect command, or refuses it: with error 111, which is temporary and
// answers the command, and then 3013, after which clients come back. Sessions that come back may use
// the whole bucket, others only while more than half of it is left.
func (c *Control) Connect(now time.Time, comesBack bool) channel.Refusal {
	if c == nil {
		return channel.Refusal{}
	}
	part := rate.Half
	if comesBack {
		part = rate.Whole
	}
	if !c.connects.Take(c.since(now), 1, part) {
		c.stats.refused[ConnectRate].Add(1)
		return channel.RefuseForNow()
	}
	return channel.Refusal{}
}

// Enter counts a connection of a user, or refuses it with 3504; what is refused already
// stays so. What is not refused is to be given to Leave in the end.
func (c *Control) Enter(user string, refusal channel.Refusal) channel.Refusal {
	if c == nil || refusal.Refused() || c.users.enter(user) {
		return refusal
	}
	c.stats.refused[UserConns].Add(1)
	return channel.RefuseDisconnect(channel.DisconnectConnectionLimit)
}

// Leave counts a connection of a user off.
func (c *Control) Leave(user string) {
	if c != nil {
		c.users.leave(user)
	}
}

// Sweep forgets addresses that nothing has to be remembered of. To be called about once a
// second, on any goroutine; all are looked at in eight calls.
func (c *Control) Sweep(now time.Time) { c.addresses.sweep(c.since(now)) }

// retrySecondsMax is the longest time that a refused client is asked to stay away.
const retrySecondsMax = 10

// RetrySeconds is a time for Retry-After, another one each time, so that those refused
// together do not come back together.
func RetrySeconds() int { return 1 + rand.IntN(retrySecondsMax) }
