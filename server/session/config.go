package session

import (
	"fmt"
	"math"
	"time"

	"shoal/server/channel"
)

// Level is the heartbeat of a session that has been idle for a while: no command of it
// was answered for IdleTicks.
type Level struct {
	IdleTicks Tick
	PingTicks Tick // interval while at this level; > 0
	OneWay    bool // the pong is not awaited; the ping only keeps middleboxes and the client content
}

// Config is what all sessions of a node share. Build it from [Default], check it with
// Validate, then do not change it.
type Config struct {
	Rules *channel.Rules // which channels exist; required

	TicksPerSecond   uint32 // 1–60: with more, a year would not fit into a Tick
	StaleTicks       Tick   // time to connect in; > 0
	PingTicks        Tick   // interval of pings; 0: none are sent
	LateTicks        Tick   // how long a ping is put off when the performer is pressed; clients bear 10 s. 0: not at all
	PongTicks        Tick   // time a pong may take, < PingTicks; 0: pongs are not awaited
	ExpireGraceTicks Tick   // between the expiry of credentials and the disconnect

	// Pongs missed in a row until the disconnect with 3012; 0 means 1, at most 15. After a
	// miss that is not the last the next ping goes out at once.
	MissesMax int
	// Misses until the session becomes dormant and is observed for ObservationTicks before
	// the disconnect; 0: never; at most MissesMax.
	DormantMisses    int
	ObservationTicks Tick
	// Levels replace PingTicks for idle sessions; ordered by IdleTicks. None: PingTicks
	// always.
	Levels []Level

	ChannelsMax int // subscriptions of one session; 0 means 65,535, which is the most

	// Send says that somebody takes the messages of send commands; without, they
	// disconnect with 3508.
	Send bool
}

// Default returns the stock configuration: stale after 10 s, ping every 25 s, pong
// within 8 s, 25 s of grace, one miss, 128 channels.
func Default(tick time.Duration, rules *channel.Rules) Config {
	c := Config{Rules: rules, MissesMax: 1, ChannelsMax: 128}
	if tick > 0 {
		c.TicksPerSecond = uint32(time.Second / tick)
	}
	c.StaleTicks = c.Ticks(10 * time.Second)
	c.PingTicks = c.Ticks(25 * time.Second)
	c.PongTicks = c.Ticks(8 * time.Second)
	c.ExpireGraceTicks = c.Ticks(25 * time.Second)
	c.ObservationTicks = c.Ticks(30 * time.Second)
	return c
}

// Attentive adds to c the heartbeat levels for mobile and device fleets: after 60 s
// without a command a one-way ping every 30 s, after 5 minutes one every 10 s whose pong
// is awaited; two misses make the session dormant, 30 s later it is disconnected. Before
// the first level c.PingTicks and c.PongTicks hold.
func (c Config) Attentive() Config {
	c.MissesMax, c.DormantMisses = 3, 2
	c.ObservationTicks = c.Ticks(30 * time.Second)
	c.Levels = []Level{
		{IdleTicks: c.Ticks(time.Minute), PingTicks: c.Ticks(30 * time.Second), OneWay: true},
		{IdleTicks: c.Ticks(5 * time.Minute), PingTicks: c.Ticks(10 * time.Second)},
	}
	return c
}

// Ticks converts a duration, rounding up, so that a positive one is at least a tick.
func (c *Config) Ticks(d time.Duration) Tick {
	if d <= 0 || c.TicksPerSecond == 0 {
		return 0
	}
	seconds, rest := uint64(d/time.Second), uint64(d%time.Second)
	n := seconds*uint64(c.TicksPerSecond) + (rest*uint64(c.TicksPerSecond)+uint64(time.Second)-1)/uint64(time.Second)
	return Tick(min(n, math.MaxInt32))
}

// Validate checks the values and their couplings; the error names the field and says
// what to change.
func (c *Config) Validate() error {
	switch {
	case c.Rules == nil:
		return fmt.Errorf("session: Rules are missing; compile a channel.Config")
	case c.TicksPerSecond == 0 || c.TicksPerSecond > 60:
		return fmt.Errorf("session: TicksPerSecond is %d; choose a tick of 17 ms to 1 s", c.TicksPerSecond)
	case c.StaleTicks == 0:
		return fmt.Errorf("session: StaleTicks is 0; a client must have a deadline to connect, such as 10 s")
	case c.PingTicks == 1:
		return fmt.Errorf("session: PingTicks is 1; a ping interval needs two ticks or more")
	case c.PingTicks > 0 && c.LateTicks >= c.PingTicks:
		return fmt.Errorf("session: LateTicks is %d; a ping that is put off comes before the next, PingTicks is %d", c.LateTicks, c.PingTicks)
	case c.PingTicks > 0 && c.PongTicks >= c.PingTicks:
		return fmt.Errorf("session: a pong may take %d ticks, pings come every %d; make the ping interval longer than the pong timeout",
			c.PongTicks, c.PingTicks)
	case c.PingTicks == 0 && len(c.Levels) > 0:
		return fmt.Errorf("session: Levels need PingTicks > 0")
	case c.MissesMax < 0 || c.MissesMax > 15:
		return fmt.Errorf("session: MissesMax is %d; choose 1 to 15", c.MissesMax)
	case c.DormantMisses < 0 || c.DormantMisses > c.missesMax():
		return fmt.Errorf("session: DormantMisses is %d; choose 0 (never) to MissesMax, %d", c.DormantMisses, c.missesMax())
	case c.DormantMisses > 0 && c.ObservationTicks == 0:
		return fmt.Errorf("session: DormantMisses needs ObservationTicks > 0, such as 30 s")
	case c.ChannelsMax < 0 || c.ChannelsMax > math.MaxUint16:
		return fmt.Errorf("session: ChannelsMax is %d; choose 0 (most) to %d", c.ChannelsMax, math.MaxUint16)
	}
	return c.validateLevels()
}

func (c *Config) validateLevels() error {
	for i, l := range c.Levels {
		switch {
		case i > 0 && l.IdleTicks <= c.Levels[i-1].IdleTicks:
			return fmt.Errorf("session: level %d starts at %d idle ticks, not after level %d; order them", i, l.IdleTicks, i-1)
		case l.PingTicks < 2:
			return fmt.Errorf("session: level %d pings every %d ticks; choose two or more", i, l.PingTicks)
		case !l.OneWay && c.PongTicks >= l.PingTicks:
			return fmt.Errorf("session: level %d pings every %d ticks, a pong may take %d; make the interval longer or the level one-way",
				i, l.PingTicks, c.PongTicks)
		}
	}
	return nil
}

func (c *Config) missesMax() int { return max(c.MissesMax, 1) }

func (c *Config) channelsMax() int {
	if c.ChannelsMax == 0 {
		return math.MaxUint16
	}
	return c.ChannelsMax
}

// heartbeat returns the interval, and whether pongs are awaited, after so long without
// a command.
func (c *Config) heartbeat(idle Tick) (interval Tick, twoWay bool) {
	for i := len(c.Levels) - 1; i >= 0; i-- {
		if l := &c.Levels[i]; idle >= l.IdleTicks {
			return l.PingTicks, c.PongTicks > 0 && !l.OneWay
		}
	}
	return c.PingTicks, c.PongTicks > 0
}

// pingSeconds is what clients are told: the longest interval there is, rounded up. They
// reconnect when nothing came for that long and some slack of their own.
func (c *Config) pingSeconds() uint32 {
	longest := c.PingTicks
	for i := range c.Levels {
		longest = max(longest, c.Levels[i].PingTicks)
	}
	return (uint32(longest) + c.TicksPerSecond - 1) / c.TicksPerSecond
}
