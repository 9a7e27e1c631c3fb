package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"shoal/codec/proto"
	"shoal/loadtest/engine"
	"shoal/loadtest/plan"
	"shoal/loadtest/report"
	"shoal/loop/poll"
)

// Scenario is what is done with the connections.
type Scenario = plan.Scenario

// The scenarios. Mixed is a plan of several.
const (
	Idle     = plan.Idle
	Fanout   = plan.Fanout
	Channels = plan.Channels
	Users    = plan.Users
	Echo     = plan.Echo
	RPC      = plan.RPC
	Churn    = plan.Churn
	Storm    = plan.Storm
	Slow     = plan.Slow
	Recover  = plan.Recover

	Mixed = report.Mixed
)

// What a test found out.
type (
	Report      = report.Report
	Connections = report.Connections
	Delivery    = report.Delivery
	Expectation = report.Expectation
	Heartbeat   = report.Heartbeat
	Mark        = report.Mark
	Quantiles   = report.Quantiles
	Timeline    = report.Timeline
	Verified    = report.Verified
	Window      = report.Window
)

// Config describes one load test: where to, and a plan, or a scenario from whose options a plan is made. The zero value of a field
// means its default; those of a scenario are package plan's.
type Config struct {
	Plan     *plan.Plan // nil = made of Scenario and the fields below that are marked with *, which must be zero otherwise
	Scenario Scenario   // * "" = idle, or with a Plan mixed
	Target   string     // ws://host:port/path, or host:port; "" = ws://127.0.0.1:8000/connection/websocket
	API      string     // address of the HTTP API, of several servers behind Target each, with commas; "" = http://host:port/api of the target
	APIKey   string     // for it
	Token    string     // JWT for connect; with a Plan, "" = its token
	Secret   string     // HMAC secret to make each connection's token with; with a Plan, "" = its secret
	Encoding string     // json or protobuf; "" = json, or the Plan's
	Channel  string     // that all subscribe to; "" = loadtest, or the Plan's

	Connections int           // 0 = 1,000, or the Plan's
	ConnectRate float64       // * connections a second; 0 = as fast as the target takes them
	ConnectTo   float64       // * the rate the last ones are opened at; 0 = ConnectRate
	ConnectOver time.Duration // * how long the rate rises; 0 = until the last one
	Jitter      float64       // * how far each is moved at random, in mean gaps: 0 to 1
	Window      int           // * connections under way at once when there is no rate; 0 = 256
	Sources     int           // local addresses 127.0.0.x to connect from; 0 = one for every 500 connections to a loopback target, else none
	StepTimeout time.Duration // for each step of opening a connection; 0 = 30 s

	PayloadBytes int           // * of a message; 0 = 128
	Duration     time.Duration // * of the phase; see plan.Phase. idle: with Hold 0 = none
	Settle       time.Duration // * pause before and after the traffic, for the server to come to rest; 0 = none
	Grace        time.Duration // * how long to wait for missing messages when nothing comes; 0 = 10 s
	Timeout      time.Duration // of the whole; 0 = 10 min more than the times above

	Publications int     // * fanout, channels, users: how many; fanout: 0 = 10
	Burst        int     // * fanout: made at once; 0 = 1
	PublishRate  float64 // * publications a second; fanout: 0 = the next burst when the one before has reached everybody
	PublishTo    float64 // * channels, users: the rate at the end; 0 = PublishRate
	Steps        int     // * channels, users: steps to get there; 0 = 10
	Via          string  // * fanout: api or client (connection 0 publishes); "" = api

	EchoPath    string  // * echo: path of a bare echo endpoint; "" = publish to an own channel
	Active      int     // * echo, rpc: connections that send; 0 = all
	MessageRate float64 // * echo, rpc: messages a second over all; 0 = each connection sends when its last message came back
	Method      string  // * rpc: what is called; "" = loadtest
	ChurnRate   float64 // * churn: connections a second that are replaced; 0 = 100

	Channels      int           // * 0 = 1, users and echo: none; of several the names are Channel-0, Channel-1 …
	Subscriptions int           // * channels of each connection; 0 = all
	Own           bool          // * each connection has a channel of its own besides; users and echo have it anyway
	Random        bool          // * publish to channels, or users, drawn at random, not in turn
	Share         float64       // * storm, recover: of the connections that are cut; 0 = all, recover: a tenth
	Away          time.Duration // * recover: how long they are away at least; 0 = 5 s
	Stuck         int           // * slow: connections that stop reading; 0 = a third
	Stall         time.Duration // * slow: for how long; 0 = 10 s
	Keys          int           // * values of the tag «key» of publications, in turn; 0 = no tag
	Resume        bool          // * storm, slow, recover: come back with the server's resume token

	// SubscriptionTokens are JWTs for subscribe, by channel; nil = none.
	SubscriptionTokens map[string]string

	Metrics    string        // addresses of the target's metrics, of each process one, with commas; "" = http://host:port/metrics, if it is there
	Expect     string        // figures to reach, as in p99=20ms,loss=0,phase.news.rate=5000; see plan.Figures
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
	Progress io.Writer // live progress; nil = none. On a terminal a few lines that rewrite themselves
	Terminal bool      // Progress is a terminal
	Events   io.Writer // a JSON object a line for every phase; nil = none
	Control  io.Reader // lines «mark NAME»; its end releases Hold. nil = nothing comes

	// NewDriver makes what carries out the orders, which has to see for itself that there is enough for them; nil = one engine.
	NewDriver func(context.Context, engine.Config) (engine.Driver, error)
	// Spread says that other hosts have a part of the connections, so that this one need not bear both ends of all.
	Spread bool

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)
}

// driver makes what carries out the orders of a test.
func (s *Surroundings) driver(ctx context.Context, c engine.Config) (engine.Driver, error) {
	if s.NewDriver != nil {
		return s.NewDriver(ctx, c)
	}
	return engine.New(c)
}

const (
	timeoutDefault = 10 * time.Minute
	targetDefault  = "ws://127.0.0.1:8000/connection/websocket"
	perSource      = 500
	sourcesMax     = 60_000
)

// Validate says what is wrong with the configuration, in terms of the command's flags.
func (c Config) Validate() error {
	_, err := c.plan()
	return errors.Join(err, c.validateRest())
}

// validateRest checks what is not the plan's.
func (c *Config) validateRest() error {
	var errs []error
	for _, f := range []struct {
		flag  string
		value float64
		most  float64
	}{
		{"sources", float64(c.Sources), sourcesMax},
		{"timeout", c.Timeout.Seconds(), 1e9},
		{"step-timeout", c.StepTimeout.Seconds(), 1e6},
		{"wait", c.Wait.Seconds(), 1e6},
	} {
		if f.value < 0 || f.value > f.most {
			errs = append(errs, fmt.Errorf("--%s: %g is out of range; write something from 0 to %g", f.flag, f.value, f.most))
		}
	}
	for _, pid := range c.ServerPIDs {
		if pid <= 0 {
			errs = append(errs, fmt.Errorf("--server-pid %d is no process id; give that of a server on this host", pid))
		}
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

// timeout is the limit of the whole.
func (c *Config) timeout(p *plan.Plan) time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return timeoutDefault + p.Takes() + c.Wait
}

// engineConfig is what the engine is to do. t is the resolved target.
func (c *Config) engineConfig(p *plan.Plan, t target, s *Surroundings) engine.Config {
	conns := &p.Connections
	e := engine.Config{
		Remote: t.remote, Host: t.host, Path: t.path, Token: conns.Token, Secret: conns.Secret, Tokens: c.SubscriptionTokens,
		Channel: conns.Channel, Channels: conns.Channels, Subscriptions: conns.Subscriptions, Own: conns.Own, Resume: conns.Resume,
		Connections: conns.Count, Sources: sources(c.Sources, conns.Count, t), StepTimeout: c.StepTimeout,
		PayloadBytes: p.Payload, Keys: p.Keys, Run: max(s.Run, 1), BusyPoll: c.BusyPoll, NewPoller: s.NewPoller,
	}
	if conns.Encoding == proto.Protobuf.String() {
		e.Encoding = proto.Protobuf
	}
	if len(t.apis) > 0 {
		e.API, e.Also = t.apis[0], t.apis[1:]
	}
	for f := range p.All() {
		e.Positions = e.Positions || f.Scenario.Returns()
		e.Stuck = max(e.Stuck, f.Stuck)
	}
	if conns.EchoPath != "" {
		e.Path, e.BareEcho, e.Channel, e.Channels, e.Subscriptions = conns.EchoPath, true, "", 0, 0
	}
	return e
}

// sources is how many local addresses to connect from; 0 leaves the choice to the kernel.
func sources(asked, connections int, t target) int {
	switch {
	case !t.remote.Addr().Unmap().Is4() || !t.remote.Addr().IsLoopback():
		return 0
	case asked > 0:
		return asked
	}
	return min((connections+perSource-1)/perSource, sourcesMax)
}
