package overload

import (
	"strconv"
	"time"

	"shoal/server/channel"
)

// Options has the node leave work undone, level by level, while it has too much of it (Shoal's own).
type Options struct {
	Enabled        bool          `key:"enabled" doc:"Measures how late the loops are, what the garbage collector takes and how full the memory is. From level 1 on new connections are answered 503; from level 2 on joins and leaves are not told, and subscriptions and publications in channels with low_priority, and all that sessions of basic tenants ask for, are refused; at level 3 connections are closed."`
	Interval       time.Duration `key:"interval" doc:"Time between two measurements, 100ms..10s."`
	RiseAfter      time.Duration `key:"rise_after" doc:"How long measurements must have been at a level's thresholds before it begins; one below starts the time anew."`
	FallAfter      time.Duration `key:"fall_after" doc:"How long they must have been below half of the thresholds (19/20 for memory) before the level ends and the next lower one holds."`
	SlowStart      time.Duration `key:"slow_start" doc:"After level 1, a tenth of the new connections is let in at first and all after this time; it doubles with each relapse, up to 16 times. 0 = all at once."`
	Level1         LevelOptions  `key:"level_1"`
	Level2         LevelOptions  `key:"level_2"`
	Level3         LevelOptions  `key:"level_3"`
	ClosePercent   int           `key:"close_percent" doc:"Percent of its connections that a loop closes per second at level 3, 1000 at most: first those with the largest backlogs that their peers do not read (3008), then idle ones (3013). 0 = none."`
	IdleAfter      time.Duration `key:"idle_after" doc:"Time without a command after which level 3 may close a connection, also one that is sent publications; 0 = only those with a backlog are closed."`
	UnhealthyLevel int           `key:"unhealthy_level" doc:"From this level on health is answered 503, so that a balancer sends nobody new; 0 = never."`
}

// LevelOptions says from which values on a level holds.
type LevelOptions struct {
	Lag    time.Duration `key:"lag" doc:"Time that what arrives waits for its loop: 99 of 100 things since the last measurement, and a message to each loop. 0 = does not lead to this level."`
	Stall  time.Duration `key:"stall" doc:"Time for which a loop has not answered. 0 = does not lead to this level."`
	GC     int           `key:"gc" doc:"Percent of the processors' time that the garbage collector takes. 0 = does not lead to this level."`
	Memory int           `key:"memory" doc:"Percent used of the memory of the control group, of the host if half of what is used is this process's, or of gc.memory_limit, whichever is the most. 0 = does not lead to this level."`
}

// DefaultOptions have thresholds that only real trouble reaches. A loop that hangs is helped by
// no higher level.
func DefaultOptions() Options {
	return Options{
		Enabled: true, Interval: time.Second, RiseAfter: 2 * time.Second, FallAfter: 10 * time.Second, SlowStart: 30 * time.Second,
		Level1:       LevelOptions{Lag: 500 * time.Millisecond, Stall: 2 * time.Second, GC: 25, Memory: 90},
		Level2:       LevelOptions{Lag: time.Second, GC: 35, Memory: 94},
		Level3:       LevelOptions{Lag: 2 * time.Second, GC: 50, Memory: 97},
		ClosePercent: 1, IdleAfter: 5 * time.Minute,
	}
}

// Config is that of the machine.
func (o *Options) Config() Config {
	c := Config{RiseAfter: o.RiseAfter, FallAfter: o.FallAfter, SlowStart: o.SlowStart}
	for i, l := range []*LevelOptions{&o.Level1, &o.Level2, &o.Level3} {
		c.Levels[i+1] = Thresholds{Lag: l.Lag.Seconds(), Stall: l.Stall.Seconds(), GC: float64(l.GC) / 100, Memory: float64(l.Memory) / 100}
	}
	return c
}

// Faults checks every value and that no level begins before the one below it.
func (o *Options) Faults() (faults []*channel.Fault) {
	say := func(key, value, why, change string) {
		faults = append(faults, &channel.Fault{Key: "overload." + key, Value: value, Why: why, Change: change})
	}
	between := func(key string, n, most int) {
		if n < 0 || n > most {
			say(key, strconv.Itoa(n), "outside its bounds", "choose 0 to "+strconv.Itoa(most))
		}
	}
	within := func(key string, d, least, most time.Duration) {
		if d < least || d > most {
			say(key, d.String(), "outside its bounds", "choose "+least.String()+" to "+most.String())
		}
	}
	within("interval", o.Interval, 100*time.Millisecond, 10*time.Second)
	within("rise_after", o.RiseAfter, 0, time.Hour)
	within("fall_after", o.FallAfter, 0, time.Hour)
	within("slow_start", o.SlowStart, 0, time.Hour)
	between("close_percent", o.ClosePercent, 100)
	within("idle_after", o.IdleAfter, 0, 24*time.Hour)
	between("unhealthy_level", o.UnhealthyLevel, levels-1)
	c := o.Config()
	for i, l := range []*LevelOptions{&o.Level1, &o.Level2, &o.Level3} {
		key := "level_" + strconv.Itoa(i+1)
		within(key+".lag", l.Lag, 0, time.Minute)
		within(key+".stall", l.Stall, 0, time.Hour)
		between(key+".gc", l.GC, 100)
		between(key+".memory", l.Memory, 100)
		for s := range Signal(signals) {
			if t, lower := c.Levels[i+1][s], max(c.Levels[1][s], c.Levels[i][s]); t > 0 && t < lower {
				say(key+"."+s.String(), s.Format(t), "a lower level begins later, with "+s.Format(lower), "raise it, or write 0 for none")
			}
		}
	}
	return faults
}
