package loadtest

import (
	"errors"
	"fmt"
	"io"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine"
	"shoal/loadtest/engine/message"
	"shoal/loop/poll"
)

// Scenario is what is done with the connections.
type Scenario string

// The scenarios.
const (
	Idle   Scenario = "idle"   // hold them, answer pings, count what others publish
	Fanout Scenario = "fanout" // publish to all
	Echo   Scenario = "echo"   // send messages that come back

	Channels Scenario = "channels" // publish to many channels, of which each connection has several
	Slow     Scenario = "slow"     // some stop reading for a while
	Storm    Scenario = "storm"    // all are cut at once and come back
)

// presses says whether a scenario is one that publishes by the API while something happens.
func (s Scenario) presses() bool { return s == Channels || s == Slow || s == Storm }

// Config describes one load test. The zero value of a field means its default.
type Config struct {
	Scenario Scenario // "" = idle
	Target   string   // ws://host:port/path, or host:port; "" = ws://127.0.0.1:8000/connection/websocket
	API      string   // address of the HTTP API; "" = http://host:port/api of the target
	APIKey   string   // for it
	Token    string   // JWT for connect
	Encoding string   // json or protobuf; "" = json
	Channel  string   // that all subscribe to; "" = loadtest

	Connections int           // 0 = 1,000
	ConnectRate float64       // connections a second; 0 = as fast as the target takes them
	Window      int           // connections under way at once when there is no rate; 0 = 256
	Sources     int           // local addresses 127.0.0.x to connect from; 0 = one for every 500 connections to a loopback target, else none
	StepTimeout time.Duration // for each step of opening a connection; 0 = 30 s

	PayloadBytes int           // of a message; 0 = 128
	Duration     time.Duration // idle: how long to hold, 0 = 30 s (with Hold: none); echo, channels: how long to send, 0 = 10 s; slow, storm: before and after, 0 = 3 s
	Settle       time.Duration // pause before and after the traffic, for the server to come to rest; 0 = none
	Grace        time.Duration // how long to wait for missing messages when nothing comes; 0 = 10 s
	Timeout      time.Duration // of the whole; 0 = 10 min more than the times above

	Publications int     // fanout: how many; 0 = 10
	Burst        int     // fanout: made at once; 0 = 1
	PublishRate  float64 // publications a second; fanout: 0 = the next burst when the one before has reached everybody; channels: 0 = 1,000; slow, storm: 0 = 10
	Via          string  // fanout: api or client (connection 0 publishes); "" = api

	EchoPath    string  // echo: path of a bare echo endpoint; "" = publish to an own channel
	Active      int     // echo: connections that send; 0 = all
	MessageRate float64 // echo: messages a second over all; 0 = each connection sends when its last message came back

	Channels      int           // channels, slow, storm: 0 = 1; of several the names are Channel-0, Channel-1 …
	Subscriptions int           // channels, slow, storm: channels of each connection; 0 = all
	Random        bool          // channels, slow, storm: publish to channels drawn at random, not in turn
	Stuck         int           // slow: connections that stop reading; 0 = a third
	Stall         time.Duration // slow: for how long; 0 = 10 s
	Keys          int           // channels, slow, storm: values of the tag «key» of publications, in turn; 0 = no tag
	Resume        bool          // storm: come back with the server's resume token

	// SubscriptionTokens are JWTs for subscribe, by channel; channels, slow, storm: nil = none.
	SubscriptionTokens map[string]string

	Metrics    string        // addresses of the target's metrics, of each process one, with commas; "" = http://host:port/metrics, if it is there
	Expect     string        // figures to reach, as in p99=20ms,rss_growth=64MB; see figures
	Wait       time.Duration // how long to wait for the target to listen, when it does not yet; 0 = not at all
	ServerPIDs []int         // processes to measure, all of the target; none = it is not measured
	BusyPoll   bool          // never sleep; see engine.Config
	Hold       bool          // keep the connections at the end until the control input ends
}

// Surroundings is what a load test needs from its process.
type Surroundings struct {
	Clock    func() time.Time // required
	Run      uint32           // number of this run, different from others at the same time; 0 = 1
	Version  string
	Progress io.Writer // live progress; nil = none. On a terminal one line that rewrites itself
	Terminal bool      // Progress is a terminal
	Events   io.Writer // a JSON object a line for every phase; nil = none
	Control  io.Reader // lines «mark NAME»; its end releases Hold. nil = nothing comes

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)
}

const (
	connectionsDefault  = 1000
	publicationsDefault = 10
	idleDefault         = 30 * time.Second
	echoDefault         = 10 * time.Second
	leadDefault         = 3 * time.Second
	stallDefault        = 10 * time.Second
	channelsRateDefault = 1000
	pressRateDefault    = 10
	timeoutDefault      = 10 * time.Minute
	targetDefault       = "ws://127.0.0.1:8000/connection/websocket"
	perSource           = 500
	graceDefault        = 10 * time.Second
)

func (c Config) withDefaults() Config {
	def(&c.Scenario, Idle)
	def(&c.Target, targetDefault)
	def(&c.Encoding, proto.JSON.String())
	def(&c.Channel, "loadtest")
	def(&c.Connections, connectionsDefault)
	def(&c.PayloadBytes, 128)
	def(&c.Publications, publicationsDefault)
	def(&c.Burst, 1)
	def(&c.Via, "api")
	switch {
	case c.Scenario == Echo:
		def(&c.Duration, echoDefault)
	case c.Scenario == Idle && !c.Hold:
		def(&c.Duration, idleDefault)
	case c.Scenario == Channels:
		def(&c.Duration, echoDefault)
		def(&c.PublishRate, channelsRateDefault)
	case c.Scenario.presses():
		def(&c.Duration, leadDefault)
		def(&c.PublishRate, pressRateDefault)
	}
	if c.Scenario == Slow {
		def(&c.Stuck, (c.Connections+2)/3)
		def(&c.Stall, stallDefault)
	}
	if c.Scenario.presses() {
		def(&c.Channels, 1)
		def(&c.Subscriptions, c.Channels)
		def(&c.Grace, graceDefault)
	}
	def(&c.Timeout, timeoutDefault+2*c.Duration+2*c.Settle+c.Wait+c.Stall)
	return c
}

// def gives *p its default when it is zero.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate says what is wrong with the configuration, in terms of the command's flags.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Scenario == Idle || c.Scenario == Fanout || c.Scenario == Echo || c.Scenario.presses(),
		"--scenario %q is unknown: idle, fanout, echo, channels, slow or storm", c.Scenario)
	press := c.Scenario.presses()
	check(c.Channels <= 1 || press, "--channels is for the scenarios channels, slow and storm")
	check(!press || c.Channels >= 1 && c.Subscriptions >= 1 && c.Subscriptions <= c.Channels,
		"--subscriptions %d: 1 to the number of --channels, %d", c.Subscriptions, c.Channels)
	check(c.Stuck == 0 || c.Scenario == Slow && c.Stuck <= c.Connections, "--stuck %d: for --scenario slow, at most --connections", c.Stuck)
	check(c.Stall == 0 || c.Scenario == Slow, "--stall is for --scenario slow")
	check(c.Keys == 0 || press, "--keys is for the scenarios channels, slow and storm")
	if _, err := parseExpectations(c.Expect); err != nil {
		errs = append(errs, err)
	}
	check(!c.Resume || c.Scenario == Storm, "--resume is for --scenario storm")
	check(c.Encoding == "json" || c.Encoding == "protobuf", "--encoding %q is unknown: json or protobuf", c.Encoding)
	check(c.Via == "api" || c.Via == "client", "--via %q is unknown: api or client", c.Via)
	check(c.Connections > 0, "--connections %d: at least 1", c.Connections)
	check(c.PayloadBytes >= message.PayloadBytesMin && c.PayloadBytes <= message.PayloadBytesMax,
		"--payload %d: %d to %d bytes, since a message carries its number and time", c.PayloadBytes, message.PayloadBytesMin, message.PayloadBytesMax)
	check(c.Publications > 0 && c.Publications <= engine.PublicationsMax, "--publications %d: 1 to %d", c.Publications, engine.PublicationsMax)
	check(c.Sources >= 0 && c.Sources <= sourcesMax, "--sources %d: 0 to %d", c.Sources, sourcesMax)
	check(c.EchoPath == "" || c.Scenario == Echo, "--echo-path is for --scenario echo")
	for name, v := range map[string]float64{
		"rate": c.ConnectRate, "publish-rate": c.PublishRate, "message-rate": c.MessageRate, "window": float64(c.Window),
		"burst": float64(c.Burst), "active": float64(c.Active), "duration": float64(c.Duration),
		"settle": float64(c.Settle), "grace": float64(c.Grace), "timeout": float64(c.Timeout), "step-timeout": float64(c.StepTimeout), "wait": float64(c.Wait),
		"stuck": float64(c.Stuck), "stall": float64(c.Stall), "keys": float64(c.Keys), "channels": float64(c.Channels), "subscriptions": float64(c.Subscriptions),
	} {
		check(v >= 0, "--%s is below zero", name)
	}
	for _, pid := range c.ServerPIDs {
		check(pid > 0, "--server-pid %d is no process id", pid)
	}
	return errors.Join(errs...)
}

// serverPID is a process of the target, 0 when none is known.
func (c *Config) serverPID() int {
	if len(c.ServerPIDs) == 0 {
		return 0
	}
	return c.ServerPIDs[0]
}

const sourcesMax = 60_000

// engineConfig is what the engine is to do. t is the resolved target.
func (c *Config) engineConfig(t target, s *Surroundings) engine.Config {
	e := engine.Config{
		Remote: t.remote, Host: t.host, Path: t.path, Token: c.Token, Channel: c.Channel, API: t.api,
		Connections: c.Connections, Sources: c.sources(t), StepTimeout: c.StepTimeout, PayloadBytes: c.PayloadBytes, Run: max(s.Run, 1),
		BusyPoll: c.BusyPoll, NewPoller: s.NewPoller,
	}
	if c.Encoding == proto.Protobuf.String() {
		e.Encoding = proto.Protobuf
	}
	switch {
	case c.Scenario == Echo && c.EchoPath != "":
		e.Path, e.BareEcho, e.Channel = c.EchoPath, true, ""
	case c.Scenario == Echo:
		e.Own = true
	case c.Scenario.presses():
		e.Channels, e.Subscriptions, e.Positions, e.Resume = c.Channels, c.Subscriptions, c.Scenario != Channels, c.Resume
		e.Tokens, e.Stuck, e.Keys = c.SubscriptionTokens, c.Stuck, c.Keys
	}
	return e
}

// sources is how many local addresses to connect from; 0 leaves the choice to the kernel.
func (c *Config) sources(t target) int {
	switch {
	case !t.remote.Addr().Unmap().Is4() || !t.remote.Addr().IsLoopback():
		return 0
	case c.Sources > 0:
		return c.Sources
	}
	return min((c.Connections+perSource-1)/perSource, sourcesMax)
}
