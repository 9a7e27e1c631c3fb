package config

import (
	"net/netip"
	"strconv"
	"time"
)

// Loop sizes the event loops (Shoal's own).
type Loop struct {
	Loops            int           `key:"loops" doc:"Event loops, each with a listener of its own; 0 = one for every processor; at most 64."`
	OwnDescriptors   bool          `key:"own_descriptors" doc:"Gives every loop a table of descriptors of its own, so that the limit on descriptors (ulimit -n) bounds each loop and not the process. With loop.loops = 0 there are as many loops then as loop.connection_limit or client.connection_limit needs. For hosts whose limit cannot be raised; /proc/PID/fd shows none of the connections then, /proc/PID/task/*/fd does."`
	Tick             time.Duration `key:"tick" doc:"Step of the timer wheel: the resolution of every deadline. 20ms..1s, a whole number of them in a second."`
	AcceptBatch      int           `key:"accept_batch" doc:"Connections a loop accepts before it serves others again, 1..4096."`
	ListenBacklog    int           `key:"listen_backlog" doc:"Handshaken connections the kernel may hold for a loop, 0..65535; 0 = all that net.core.somaxconn allows."`
	ConnectionLimit  int           `key:"connection_limit" doc:"Sockets of any kind in this process, beyond which new ones are accepted and closed; 0 = what the descriptor limit allows."`
	NodeBacklogSize  int           `key:"node_backlog_size" doc:"Bytes that may wait for all slow clients together. At seven eighths of it those with the largest backlogs are closed with 3008, until three quarters are left. Bytes shared by several clients count for each."`
	ReadBufferSize   int           `key:"read_buffer_size" doc:"Bytes of the one read buffer each loop has, 4096..1048576."`
	MailboxSize      int           `key:"mailbox_size" doc:"Messages from other goroutines a loop may have waiting; above it the sender gets an error."`
	FlushSlice       int           `key:"flush_slice" doc:"Connections written to before a loop looks at its other work, 1..65536."`
	CloseTimeout     time.Duration `key:"close_timeout" doc:"How long a closed connection may take to read its last bytes and answer the close frame."`
	MemoryTrimPeriod time.Duration `key:"memory_trim_period" doc:"How often emptied chunks of memory go back to the system; 0 = never."`
}

// Admission decides which connections come in (Shoal's own), beside client.connection_limit and the options next to it. A refused
// upgrade is answered 503 with Retry-After, before anything is spent on it.
type Admission struct {
	IPConnectionLimit int      `key:"ip_connection_limit" doc:"Connections one address may have open, an IPv6 one with its /64; an upgrade above it is answered 503. Behind a proxy that ends connections every client has the proxy's address, unless proxy_protocol is enabled. 0 = no limit."`
	IPConnectionRate  int      `key:"ip_connection_rate" doc:"New connections per second one address may open (503 above); 0 = no limit."`
	IPConnectionBurst int      `key:"ip_connection_burst" doc:"Connections an address may open at once before admission.ip_connection_rate holds; 0 = as many as in a second."`
	IPExempt          []string `key:"ip_exempt" doc:"Networks (CIDR) or addresses without limits by address, such as 127.0.0.0/8; empty = none, not even the loopback interface."`
	HandshakeLimit    int      `key:"handshake_limit" doc:"Connections on this node whose connect command has not come or is not answered yet; an upgrade above it is answered 503. 0 = no limit."`
	ConnectRate       int      `key:"connect_rate" doc:"Connect commands per second on this node, a second's worth of them at once; above it the client is disconnected with 3013 and comes back after a pause. Clients with a good resume token come first: others are taken only while more than half of the second's worth is left. 0 = no limit."`
}

// Handshake bounds the HTTP request a connection begins with (Shoal's own).
type Handshake struct {
	Timeout          time.Duration `key:"timeout" doc:"How long a connection may take to send its whole request head."`
	HeaderSizeLimit  int           `key:"header_size_limit" doc:"Bytes of request line and headers (431 above), 1024..65536."`
	HeaderCountLimit int           `key:"header_count_limit" doc:"Headers of a request (431 above), 8..1024."`
}

// Heartbeat extends the ping of client.ping_interval (Shoal's own).
type Heartbeat struct {
	MissesMax     int           `key:"misses_max" doc:"Pings in a row that may stay unanswered before the connection is closed with 3012; 1 = the first miss closes, 3 = the third; 0 = 1, or 3 with heartbeat.dormant; at most 15."`
	Dormant       bool          `key:"dormant" doc:"Adaptive mode: quieter clients are pinged at intervals of their own, and one that missed heartbeat.dormant_misses pings becomes Dormant, gives its buffers back and is watched for heartbeat.dormant_timeout before it is closed."`
	DormantMisses int           `key:"dormant_misses" doc:"Misses that make a client Dormant, 1 to heartbeat.misses_max."`
	DormantTime   time.Duration `key:"dormant_timeout" doc:"How long a Dormant client is watched; any byte from it brings it back."`
	IdleAfter     time.Duration `key:"idle_after" doc:"Adaptive mode: time without a command after which a client is pinged every heartbeat.idle_interval, its answer not awaited."`
	IdleInterval  time.Duration `key:"idle_interval" doc:"Ping interval of an idle client."`
	QuietAfter    time.Duration `key:"quiet_after" doc:"Adaptive mode: time without a command after which a client is pinged every heartbeat.quiet_interval and must answer."`
	QuietInterval time.Duration `key:"quiet_interval" doc:"Ping interval of a client that has been silent for long."`
}

// TCP sets the kernel's own view of dead peers, for every accepted socket (Shoal's own).
type TCP struct {
	KeepAliveIdle     time.Duration `key:"keepalive_idle" doc:"Silence before the first keepalive probe, whole seconds; 0 = keepalive off."`
	KeepAliveInterval time.Duration `key:"keepalive_interval" doc:"Time between probes, whole seconds."`
	KeepAliveCount    int           `key:"keepalive_count" doc:"Unanswered probes after which the kernel closes the connection, 1..127."`
	UserTimeout       time.Duration `key:"user_timeout" doc:"How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT). It also overrules the probe count, so it is at least idle + interval × count; 0 = exactly that sum."`
}

// ProxyProtocol takes the PROXY v1 or v2 header that a load balancer puts in front of a connection (Shoal's own). The
// client's address in it is the one that admission goes by; where it names none, that is the balancer's.
type ProxyProtocol struct {
	Enabled bool     `key:"enabled" doc:"Every connection must begin with a PROXY header and come from a trusted proxy; all others are refused."`
	Trusted []string `key:"trusted" doc:"Networks (CIDR) or addresses of the proxies, at least one."`
}

// GC tunes the garbage collector (Shoal's own).
type GC struct {
	Percent     int `key:"percent" doc:"Heap growth in percent that starts a collection; 0 = GOGC, or as gc.headroom says; -1 = off (needs gc.memory_limit)."`
	Headroom    int `key:"headroom" doc:"Bytes of garbage that may gather before a collection, at most, unless collections come too often; what is given is less where less has to be looked at, and follows the heap by the second. At least 4194304; 0 = gc.percent, or 100 percent. No effect with gc.percent or GOGC."`
	MemoryLimit int `key:"memory_limit" doc:"Bytes the Go runtime tries to stay below; 0 = GOMEMLIMIT, or nine tenths of what the control group or the host has; -1 = none."`
}

// Shutdown bounds the graceful end.
type Shutdown struct {
	Timeout time.Duration `key:"timeout" doc:"How long a shutdown may take before what is left is cut."`
}

// Log configures the program's log.
type Log struct {
	Level  string `key:"level" doc:"none, fatal (as good as none: what is fatal is said on standard error), error, warn, info, debug or trace."`
	Format string `key:"format" doc:"text or json."`
	File   string `key:"file" doc:"File to append to; empty = standard error."`
}

// Endpoint is an HTTP endpoint that can be switched on and moved.
type Endpoint struct {
	Enabled       bool   `key:"enabled" doc:"Serves the endpoint."`
	HandlerPrefix string `key:"handler_prefix" doc:"Path of the endpoint."`
}

// Echo is an endpoint for conformance tools: every data message comes back, through the production reader, writer and
// deflate code (Shoal's own).
type Echo struct {
	Path             string `key:"path" doc:"Path of the echo endpoint, such as /echo; empty = off."`
	MessageSizeLimit int    `key:"message_size_limit" doc:"Largest message in bytes, before and after inflating."`
	Compression      bool   `key:"compression" doc:"Offers permessage-deflate on the echo endpoint."`
}

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
	v.networks("proxy_protocol.trusted", p.Trusted)
}

func (v *validator) networks(key string, list []string) {
	for _, network := range list {
		if _, err := netip.ParsePrefix(network); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(network); err != nil {
			v.refuse(key, strconv.Quote(shorten(network))+" is neither a network nor an address", "write 10.0.0.0/8 or 10.0.0.7")
		}
	}
}

// rateMax is the highest rate per second: beyond it a limit is none.
const rateMax = 1_000_000

func (v *validator) admission(a Admission, c Client) {
	v.between("client.connection_rate_limit", c.ConnectionRateLimit, 0, rateMax)
	v.between("client.user_connection_limit", c.UserConnectionLimit, 0, 1<<31-1)
	v.between("admission.ip_connection_limit", a.IPConnectionLimit, 0, 1<<31-1)
	v.between("admission.ip_connection_rate", a.IPConnectionRate, 0, rateMax)
	v.between("admission.ip_connection_burst", a.IPConnectionBurst, 0, rateMax)
	v.between("admission.handshake_limit", a.HandshakeLimit, 0, 1<<31-1)
	v.between("admission.connect_rate", a.ConnectRate, 0, rateMax)
	v.networks("admission.ip_exempt", a.IPExempt)
	if a.IPConnectionBurst > 0 && a.IPConnectionRate == 0 {
		v.refuse("admission.ip_connection_burst", "without admission.ip_connection_rate there is nothing to exceed", "set the rate, or write 0")
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
	v.atLeast("gc.memory_limit", c.GC.MemoryLimit, -1)
	if h := c.GC.Headroom; h != 0 {
		v.between("gc.headroom", h, 4*mib, 1<<40)
	}
	if c.GC.Percent == -1 && c.GC.MemoryLimit <= 0 {
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
