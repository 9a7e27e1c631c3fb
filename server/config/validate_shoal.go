package config

import (
	"net/netip"
	"strconv"
	"time"
)

func (v *validator) loop(c Loop) {
	v.between("loop.loops", c.Loops, 0, LoopsMax)
	v.within("loop.tick", c.Tick, 20*time.Millisecond, time.Second)
	if c.Tick > 0 && time.Second%c.Tick != 0 {
		v.refuse("loop.tick", "a second is no whole number of them", "choose 20ms, 50ms, 100ms, 200ms, 250ms, 500ms or 1s")
	}
	v.between("loop.accept_batch", c.AcceptBatch, 1, 4096)
	v.between("loop.listen_backlog", c.ListenBacklog, 0, 65535)
	v.between("loop.connection_limit", c.ConnectionLimit, 0, 1<<31-1)
	v.between("loop.node_backlog_size", c.NodeBacklogSize, mib, 1<<50)
	v.between("loop.read_buffer_size", c.ReadBufferSize, 4*kib, mib)
	v.between("loop.mailbox_size", c.MailboxSize, 64, countMax)
	v.between("loop.flush_slice", c.FlushSlice, 1, 65536)
	v.within("loop.close_timeout", c.CloseTimeout, 100*time.Millisecond, 10*time.Minute)
	v.within("loop.memory_trim_period", c.MemoryTrimPeriod, 0, day)
}

func (v *validator) heartbeat(h Heartbeat, c Client) {
	v.between("heartbeat.misses_max", h.MissesMax, 0, 15)
	v.between("heartbeat.dormant_misses", h.DormantMisses, 1, 15)
	v.within("heartbeat.dormant_timeout", h.DormantTime, time.Second, day)
	v.within("heartbeat.idle_after", h.IdleAfter, time.Second, day)
	v.within("heartbeat.idle_interval", h.IdleInterval, time.Second, day)
	v.within("heartbeat.quiet_after", h.QuietAfter, time.Second, day)
	v.within("heartbeat.quiet_interval", h.QuietInterval, time.Second, day)
	if !h.Dormant {
		return
	}
	if h.QuietAfter <= h.IdleAfter {
		v.refuse("heartbeat.quiet_after", "not longer than heartbeat.idle_after ("+formatDuration(h.IdleAfter)+")",
			"lengthen it, or shorten heartbeat.idle_after")
	}
	if h.DormantMisses > h.Misses() {
		v.refuse("heartbeat.dormant_misses", "more than heartbeat.misses_max ("+strconv.Itoa(h.Misses())+
			"), so the connection would be closed first", "lower it, or raise heartbeat.misses_max")
	}
	if h.QuietInterval <= c.PongTimeout {
		v.refuse("heartbeat.quiet_interval", "not longer than client.pong_timeout ("+formatDuration(c.PongTimeout)+
			"), so a ping would go out while one is unanswered", "lengthen it, or shorten client.pong_timeout")
	}
}

func (v *validator) kernel(t TCP, p ProxyProtocol) {
	v.wholeSeconds("tcp.keepalive_idle", t.KeepAliveIdle, 0)
	v.wholeSeconds("tcp.keepalive_interval", t.KeepAliveInterval, time.Second)
	v.between("tcp.keepalive_count", t.KeepAliveCount, 1, 127)
	v.within("tcp.user_timeout", t.UserTimeout, 0, day)
	if t.KeepAliveIdle > 0 && t.UserTimeout > 0 && t.UserTimeout < t.KeepAliveTotal() {
		v.refuse("tcp.user_timeout", "shorter than idle + interval × count ("+formatDuration(t.KeepAliveTotal())+
			"), so the kernel would give up before the last probe", "lengthen it, shorten the keepalive, or write 0 for exactly that sum")
	}
	if p.Enabled && len(p.Trusted) == 0 {
		v.refuse("proxy_protocol.enabled", "no proxy is trusted, so no connection could be served",
			"list the proxies in proxy_protocol.trusted, such as [\"10.0.0.0/8\"]")
	}
	for _, network := range p.Trusted {
		if _, err := netip.ParsePrefix(network); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(network); err != nil {
			v.refuse("proxy_protocol.trusted", strconv.Quote(shorten(network))+" is neither a network nor an address",
				"write 10.0.0.0/8 or 10.0.0.7")
		}
	}
}

// wholeSeconds refuses what TCP_KEEPIDLE and TCP_KEEPINTVL cannot express (1..32767 s, tcp(7)).
func (v *validator) wholeSeconds(key string, d, low time.Duration) {
	v.within(key, d, low, 32767*time.Second)
	if d%time.Second != 0 {
		v.refuse(key, "the kernel counts whole seconds", "write whole seconds, such as 15s")
	}
}

func (v *validator) rest(c Config) {
	v.within("shutdown.timeout", c.Shutdown.Timeout, 0, day)
	v.between("gc.percent", c.GC.Percent, -1, 10_000)
	v.atLeast("gc.memory_limit", c.GC.MemoryLimit, 0)
	if c.GC.Percent == -1 && c.GC.MemoryLimit == 0 {
		v.refuse("gc.percent", "without a collector and without a limit memory only grows", "set gc.memory_limit")
	}
	switch c.Log.Level {
	case "none", "trace", "debug", "info", "warn", "error", "fatal":
	default:
		v.refuse("log.level", "no such level", "write none, fatal, error, warn, info, debug or trace")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		v.refuse("log.format", "no such format", "write text or json")
	}
	if c.Engine.Type != "memory" {
		v.refuse("engine.type", "not supported yet", "write memory")
	}
	if len(c.Node.Name) > 255 {
		v.refuse("node.name", "longer than 255 bytes", "shorten it")
	}
}
