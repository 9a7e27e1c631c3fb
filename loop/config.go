package loop

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"shoal/loop/poll"
	"shoal/pool/shared"
)

// LoopsMax is the largest number of loops in a group: ConnID has 8 bits for it.
const LoopsMax = 256

// Config configures a Group. The zero value is good for a server that has the machine to itself.
type Config struct {
	// Loops is the number of event loops, at most LoopsMax. 0 = the number of processors. Let GOMAXPROCS be one
	// more: a busy loop then does not starve Go's own network poller.
	Loops int
	// TickPeriod is the length of one tick of the timer wheel, the resolution of all timers, at least 1 ms. 0 = 100 ms.
	TickPeriod time.Duration
	// ReadBufferBytes is the size of a loop's one read buffer, the most that Data gets at once. 0 = 64 KiB.
	ReadBufferBytes int
	// BacklogBytesMax bounds the bytes queued to one conn that the kernel did not take; Send answers OverLimit above
	// it. Of the first messages two that are larger than a quarter of it do not count, and a message is taken whatever its
	// size when nothing else is queued. At most 1 GiB. 0 = 1 MiB.
	BacklogBytesMax int
	// NodeBacklogBytesMax bounds the sum over all conns, each receiver's bytes counted though they are shared. At seven
	// eighths of it the largest backlogs of blocked conns are cut (Cutter), of all loops, until three quarters are left.
	// Above it, should it come to that, Send answers OverLimit for conns that are blocked. 0 = 256 MiB.
	NodeBacklogBytesMax int64
	// ConnsMax bounds the conns of the group; further ones are accepted and closed at once. 0 = no bound but the
	// descriptor limit.
	ConnsMax int
	// AcceptBatch is the most connections accepted per listener and turn. 0 = 64.
	AcceptBatch int
	// ListenBacklog is the length of the kernel's accept queue. 0 = the system's maximum (net.core.somaxconn).
	ListenBacklog int
	// OwnDescriptors gives every loop a table of descriptors of its own, so that a limit on descriptors bounds each loop, not the process
	// (poll.Tables). On a loop's goroutine, and so by Logger, only the standard streams and files opened before Run can be used then: a later
	// descriptor of the process is another one there. Attach and Listen are not for loops' goroutines. With NewPoller it is that which decides.
	OwnDescriptors bool
	// SharePort lets several processes listen on one port (rolling restarts). Without it Listen fails when the port
	// is taken, although the loops of the group share it among themselves.
	SharePort bool
	// KeepAlive probes connections that are silent in both directions. Zero fields = 300 s, 15 s, 3.
	KeepAlive KeepAlive
	// UserTimeout ends a connection whose sent data stays unacknowledged that long (TCP_USER_TIMEOUT). The kernel also
	// ends a connection by it at the second unanswered keepalive probe that comes later than this, so a value below
	// Idle + Interval·Count makes KeepAlive.Count meaningless. 0 = exactly that sum; -1 = off.
	UserTimeout time.Duration
	// UnsentBytesMax bounds what the kernel takes per conn beyond what the peer's window lets it send
	// (TCP_NOTSENT_LOWAT). The kernel keeps a copy per receiver, up to 4 MB for a peer that does not read; what it does
	// not take waits as an index to shared bytes and counts against BacklogBytesMax. 0 = 128 KiB; -1 = the system's.
	UnsentBytesMax int
	// CloseWait bounds how long CloseAfter waits for the peer to take the last bytes and to close. 0 = 5 s.
	CloseWait time.Duration
	// DialTimeout bounds Dial. 0 = 10 s.
	DialTimeout time.Duration
	// FlushSlice is the most conns written per pass; between passes others get the loop and the processor. 128
	// small writes take 0.2 to 0.5 ms; after a millisecond the pass ends anyway. 0 = 128.
	FlushSlice int
	// MailboxMax bounds the messages posted to one loop and not yet delivered. 0 = 65,536.
	MailboxMax int
	// Logger takes the few lines a loop writes. nil = none.
	Logger *slog.Logger
	// OnPanic is told of every recovered panic, on the loop's goroutine, after it was counted and logged. May be nil.
	OnPanic func(value any, stack []byte)
	// Shared makes the copies of what was corked or given to CloseAfter and not taken by the kernel. nil = an own one.
	Shared *shared.Pool
	// NewPoller makes the poller and the system calls of loop i. nil = the real ones.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)
}

// KeepAlive are the parameters of TCP keepalive.
type KeepAlive struct {
	Idle     time.Duration // silence before the first probe; -1 = no keepalive
	Interval time.Duration // between probes
	Count    int           // unanswered probes that end the connection
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	limit := func(name string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("loop: %s is %d; it must lie between %d and %d", name, v, low, high))
		}
	}
	d := c.withDefaults()
	limit("Loops", int64(d.Loops), 1, LoopsMax)
	limit("TickPeriod", int64(d.TickPeriod), int64(time.Millisecond), int64(10*time.Second))
	limit("ReadBufferBytes", int64(d.ReadBufferBytes), 512, 16<<20)
	limit("BacklogBytesMax", int64(d.BacklogBytesMax), 1, 1<<30)
	limit("NodeBacklogBytesMax", d.NodeBacklogBytesMax, 1, 1<<50)
	limit("ConnsMax", int64(d.ConnsMax), 0, 1<<31)
	limit("AcceptBatch", int64(d.AcceptBatch), 1, 1<<16)
	limit("ListenBacklog", int64(d.ListenBacklog), 0, 1<<16-1)
	limit("KeepAlive.Count", int64(d.KeepAlive.Count), 1, 127)
	limit("KeepAlive.Interval", int64(d.KeepAlive.Interval), int64(time.Second), int64(32767*time.Second))
	limit("CloseWait", int64(d.CloseWait), int64(d.TickPeriod), int64(time.Hour))
	limit("DialTimeout", int64(d.DialTimeout), int64(d.TickPeriod), int64(time.Hour))
	limit("FlushSlice", int64(d.FlushSlice), 1, 1<<20)
	limit("MailboxMax", int64(d.MailboxMax), 1, 1<<30)
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	def(&c.Loops, runtime.NumCPU())
	def(&c.TickPeriod, 100*time.Millisecond)
	def(&c.ReadBufferBytes, 64<<10)
	def(&c.BacklogBytesMax, 1<<20)
	def(&c.NodeBacklogBytesMax, 256<<20)
	def(&c.AcceptBatch, 64)
	def(&c.KeepAlive.Idle, 300*time.Second)
	def(&c.KeepAlive.Interval, 15*time.Second)
	def(&c.KeepAlive.Count, 3)
	if c.KeepAlive.Idle > 0 {
		def(&c.UserTimeout, c.KeepAlive.Idle+time.Duration(c.KeepAlive.Count)*c.KeepAlive.Interval)
	}
	def(&c.UnsentBytesMax, 128<<10)
	def(&c.CloseWait, 5*time.Second)
	def(&c.DialTimeout, 10*time.Second)
	def(&c.FlushSlice, 128)
	def(&c.MailboxMax, 1<<16)
	def(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Shared == nil {
		c.Shared = shared.NewPool(shared.Config{})
	}
	if open := poll.Open; c.NewPoller == nil {
		if c.OwnDescriptors {
			crowd := c.Loops / runtime.GOMAXPROCS(0)
			open = (&poll.Tables{Crowd: crowd}).Open
			c.AcceptBatch = max(c.AcceptBatch/max(crowd, 1), min(c.AcceptBatch, sliceMin))
			c.FlushSlice = max(c.FlushSlice/max(crowd, 1), min(c.FlushSlice, sliceMin))
		}
		c.NewPoller = func(int) (poll.Poller, poll.Sys, error) { return open() }
	}
	return c
}

// sliceMin is the least a pass does of one kind, however many loops share a processor: it pays for the change of threads.
const sliceMin = 32

// def gives *p its default when it is zero.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (c *Config) socketOptions() poll.Options {
	return poll.Options{
		KeepAliveIdle:     max(c.KeepAlive.Idle, 0),
		KeepAliveInterval: c.KeepAlive.Interval,
		KeepAliveCount:    c.KeepAlive.Count,
		UserTimeout:       max(c.UserTimeout, 0),
		UnsentBytes:       max(c.UnsentBytesMax, 0),
	}
}
