package command

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"shoal/loadtest"
	"shoal/loadtest/engine"
	"shoal/loadtest/page"
	"shoal/loadtest/plan"
)

// loadtestCommand is the command line of a load test: its fields become a loadtest.Config.
type loadtestCommand struct {
	Scenario  string `placeholder:"NAME" help:"idle holds connections (default), fanout publishes to all of them, channels to many channels, users to one after the other, echo sends messages that come back, rpc calls, churn replaces connections all the time, storm cuts all at once, slow has some stop reading, recover keeps some away for a while, mixed is a --plan."`
	Plan      string `placeholder:"FILE" help:"A plan of phases in YAML; --print-plan writes one to start from."`
	Preset    string `placeholder:"NAME" help:"A plan made for --connections: baseline (few, every scenario shortly), load (a usual day), peak (a fifth more, ramps, churn and a storm)."`
	PrintPlan bool   `help:"Print the plan that --preset, --plan or the other flags make, and end."`

	Target   string `aliases:"url" placeholder:"URL" help:"WebSocket address of the server (default: ws://127.0.0.1:8000/connection/websocket)."`
	API      string `name:"api" placeholder:"URL,…" help:"Its HTTP API, to publish by (default: /api on the target's host and port). Of several servers behind one port each has to be named: they do not know of each other."`
	APIKey   string `name:"api-key" env:"SHOAL_HTTP_API_KEY" placeholder:"KEY" help:"Key of the HTTP API."`
	Token    string `placeholder:"JWT" help:"Token every connection connects with (default: none)."`
	Secret   string `placeholder:"SECRET" help:"The server's HMAC secret: every connection comes with a token of its own, of user-<number> (default: none)."`
	Encoding string `placeholder:"NAME" help:"json (default) or protobuf."`
	Channel  string `placeholder:"NAME" help:"Beginning of the names of all channels (default: loadtest)."`

	Connections int           `short:"n" aliases:"conns" placeholder:"N" help:"Connections to hold (default: 1000, or what the plan says)."`
	Rate        float64       `placeholder:"N" help:"Connections begun in a second (default: as fast as the server takes them)."`
	RampTo      float64       `placeholder:"N" help:"The rate rises, or falls, to this one (default: it stays)."`
	RampOver    time.Duration `placeholder:"TIME" help:"In that time (default: until the last connection)."`
	Jitter      float64       `placeholder:"SHARE" help:"Moves each connection at random by up to so many mean gaps, 0 to 1."`
	Window      int           `placeholder:"N" help:"Without a rate: connections under way at once (default: 256)."`
	Sources     int           `placeholder:"N" help:"Source addresses 127.0.0.x to use (default: one for every 500 connections to a loopback target)."`
	StepTimeout time.Duration `default:"30s" help:"For each step of opening a connection."`
	Payload     int           `placeholder:"N" help:"Bytes of a message (default: 128)."`
	Duration    time.Duration `placeholder:"TIME" help:"How long: idle 30s (with --hold none), channels, users, echo, rpc, churn 10s; storm, slow, recover: before and after, 3s."`
	Settle      time.Duration `placeholder:"TIME" help:"Pause before and after the traffic, so that memory at rest is measured."`
	Grace       time.Duration `placeholder:"TIME" help:"How long to wait for missing messages when nothing more comes (default: 10s)."`
	Timeout     time.Duration `placeholder:"TIME" help:"Limit for the whole test (default: 10m more than what it is told to take)."`

	Wait time.Duration `placeholder:"TIME" help:"Wait that long for the server to listen, when it does not yet."`

	Publications int     `placeholder:"N" help:"fanout, channels, users: publications to make (fanout: 10; else as many as --duration allows)."`
	Burst        int     `placeholder:"N" help:"fanout: publications made at once (default: 1)."`
	PublishRate  float64 `placeholder:"N" help:"Publications a second (fanout: the next when the one before has reached everybody; channels, users: 1000 over all; storm, slow, recover: 10)."`
	PublishTo    float64 `placeholder:"N" help:"channels, users: the rate rises, or falls, to this one in --steps."`
	Steps        int     `placeholder:"N" help:"channels, users: how many (default: 10)."`
	Via          string  `placeholder:"NAME" help:"fanout: publish by the HTTP api (default) or by one of the connections, client."`
	EchoPath     string  `placeholder:"PATH" help:"echo: path of a bare echo endpoint (default: publish to an own channel)."`
	Active       int     `placeholder:"N" help:"echo, rpc: connections that send (default: all)."`
	MessageRate  float64 `placeholder:"N" help:"echo, rpc: messages a second over all (default: each sends when its last one came back)."`
	Method       string  `placeholder:"NAME" help:"rpc: what is called (default: loadtest). The server has to answer with the data of the call."`
	ChurnRate    float64 `placeholder:"N" help:"churn: connections a second that end and are replaced (default: 100)."`

	Channels      int           `placeholder:"N" help:"Number of channels (default: 1)."`
	Subscriptions int           `placeholder:"N" help:"Channels of each connection (default: all)."`
	Own           bool          `help:"Each connection has a channel of its own besides; users and echo need no flag for it."`
	Random        bool          `help:"Publish to channels, or users, drawn at random, not in turn."`
	Keys          int           `placeholder:"N" help:"Publications have a tag key with one of N values in turn, for slow_policy conflate (default: none)."`
	Share         float64       `placeholder:"SHARE" help:"storm, recover: part of the connections that is cut, 0 to 1 (storm: all; recover: 0.1)."`
	Away          time.Duration `placeholder:"TIME" help:"recover: how long they are away at least (5s)."`
	Stuck         int           `placeholder:"N" help:"slow: connections that stop reading (default: a third)."`
	Stall         time.Duration `placeholder:"TIME" help:"slow: for how long (10s)."`
	Resume        bool          `help:"storm, slow, recover: come back by the server's resume tokens."`
	Tokens        string        `name:"subscription-tokens" placeholder:"FILE" help:"Tokens to subscribe with, a line «CHANNEL JWT» for each channel (default: none)."`

	Metrics   string `placeholder:"URL,…" help:"The server's metrics, of each of its processes one (default: /metrics on the target's host and port, if they are there)."`
	Expect    string `placeholder:"FIGURE=LIMIT,…" help:"Fail unless these figures are reached: p50, p99, p999, broadcast, back, lag, gc, cpu, connect_time (20ms), loss, duplicates, reorder (0), rss, loadtest_rss, rss_growth, rss_per_conn, heap_per_conn, kernel_per_conn (64MB), rate, connect_rate (75000, at least), pace (0.95, at least), p99_ratio (2). Of one phase: phase.NAME.FIGURE."`
	ServerPID []int  `name:"server-pid" placeholder:"PID,…" help:"Measure these processes, all of the server: their CPU and memory per connection and message."`
	BusyPoll  bool   `help:"Never sleep, so that the server does not pay for waking this process. Needs a processor of its own."`
	Hold      bool   `help:"Keep the connections at the end until standard input closes or a signal comes; takes lines «mark NAME»."`
	Events    bool   `help:"Print a JSON line for every phase to standard output (the table then goes to standard error)."`
	JSON      string `name:"json" placeholder:"FILE" help:"Write the report as JSON; - is standard output (the table then goes to standard error)."`
	HTML      string `name:"html" placeholder:"FILE" help:"Write the report as a page with charts, one file that needs no network; «shoal report» makes it of a report in JSON."`
	Quiet     bool   `short:"q" help:"No live progress."`

	membersFlags `embed:"" group:"Several processes and hosts"`
}

// Help is the text below the flags.
func (loadtestCommand) Help() string {
	return "The exit code is 0 only when every connection held and every message arrived exactly once, in order and unaltered. " +
		"Ctrl-C ends the test early with the report so far. «shoal serve --dev» is a target that needs no flags but --api-key dev."
}

// config is what the flags say.
func (c *loadtestCommand) config() (loadtest.Config, error) {
	cfg := loadtest.Config{
		Scenario: loadtest.Scenario(c.Scenario), Target: c.Target, API: c.API, APIKey: c.APIKey, Token: c.Token, Secret: c.Secret,
		Encoding: c.Encoding, Channel: c.Channel, Connections: c.Connections, ConnectRate: c.Rate, ConnectTo: c.RampTo, ConnectOver: c.RampOver,
		Jitter: c.Jitter, Window: c.Window, Sources: c.Sources, StepTimeout: c.StepTimeout, PayloadBytes: c.Payload, Duration: c.Duration,
		Settle: c.Settle, Grace: c.Grace, Timeout: c.Timeout, Wait: c.Wait,
		Publications: c.Publications, Burst: c.Burst, PublishRate: c.PublishRate, PublishTo: c.PublishTo, Steps: c.Steps, Via: c.Via,
		EchoPath: c.EchoPath, Active: c.Active, MessageRate: c.MessageRate, Method: c.Method, ChurnRate: c.ChurnRate,
		Channels: c.Channels, Subscriptions: c.Subscriptions, Own: c.Own, Random: c.Random, Keys: c.Keys, Share: c.Share, Away: c.Away,
		Stuck: c.Stuck, Stall: c.Stall, Resume: c.Resume,
		Metrics: c.Metrics, Expect: c.Expect, ServerPIDs: c.ServerPID, BusyPoll: c.BusyPoll, Hold: c.Hold,
	}
	var err error
	if cfg.Plan, err = c.plan(); err != nil {
		return cfg, err
	}
	if c.Preset != "" {
		cfg.Connections = 0 // it has made its own number of them
	}
	if cfg.SubscriptionTokens, err = readTokens(c.Tokens); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// plan is that of a file or a preset; nil when it is for the other flags to say.
func (c *loadtestCommand) plan() (*plan.Plan, error) {
	switch {
	case c.Plan != "" && c.Preset != "":
		return nil, errors.New("--plan and --preset are two plans; leave one of them out")
	case c.Preset != "":
		p, err := plan.Preset(c.Preset, c.Connections)
		if err != nil {
			return nil, fmt.Errorf("--preset: %w", err)
		}
		return &p, nil
	case c.Plan == "":
		return nil, nil
	}
	text, err := os.ReadFile(c.Plan)
	if err != nil {
		return nil, fmt.Errorf("--plan: %w; name a file that can be read", err)
	}
	p, err := plan.Read(c.Plan, text)
	return &p, err
}

// Run carries out the load test and writes its report.
func (c *loadtestCommand) Run(ctx context.Context, to Process) error {
	if c.serves() {
		return c.serve(ctx, to, c.Wait)
	}
	cfg, err := c.config()
	if err != nil {
		return usageError{err}
	}
	if c.PrintPlan {
		return printPlan(&cfg, to.Out)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(loadtestGC)
	}
	var number [4]byte
	_, _ = rand.Read(number[:]) // never fails: crypto/rand ends the process first
	s := loadtest.Surroundings{Clock: to.Clock, Run: binary.BigEndian.Uint32(number[:]), Version: to.versionText()}
	if !c.Quiet {
		s.Progress, s.Terminal = to.Err, isTerminal(to.Err)
	}
	s.NewDriver = func(ctx context.Context, cfg engine.Config) (engine.Driver, error) {
		return c.open(ctx, to, s.Progress, cfg)
	}
	s.Spread = c.Listen != ""
	if c.Hold {
		s.Control = to.In
	}
	table := to.Out
	if c.Events {
		s.Events, table = to.Out, to.Err
	}
	if c.JSON == "-" {
		table = to.Err
	}
	report, err := loadtest.Run(ctx, cfg, s)
	if report == nil {
		return err
	}
	return errors.Join(err, report.WriteTable(table), c.writeJSON(report, to.Out), c.writeHTML(report))
}

// loadtestGC keeps a load test small beside its connections, which are most of its heap and without pointers: it is cheap to look
// through, and next to no garbage is made.
const loadtestGC = 20

// printPlan writes what would be done.
func printPlan(cfg *loadtest.Config, out io.Writer) error {
	p, err := cfg.AsPlan()
	if err != nil {
		return err
	}
	text, err := p.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// writeHTML writes the page where --html says.
func (c *loadtestCommand) writeHTML(report *loadtest.Report) error {
	if c.HTML == "" {
		return nil
	}
	f, err := os.Create(c.HTML)
	if err != nil {
		return fmt.Errorf("--html: %w; name a file that can be written", err)
	}
	return errors.Join(page.Write(f, page.Input{Report: report}), f.Close())
}

// readTokens reads a file of channels and their tokens.
func readTokens(name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--subscription-tokens: %w; name a file that can be read", err)
	}
	tokens := map[string]string{}
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, fmt.Errorf("--subscription-tokens: line %d of %s has %d words; write a channel, a space and its token", i+1, name, len(fields))
		}
		tokens[fields[0]] = fields[1]
	}
	return tokens, nil
}

// writeJSON writes the report where --json says.
func (c *loadtestCommand) writeJSON(report *loadtest.Report, out io.Writer) error {
	switch c.JSON {
	case "":
		return nil
	case "-":
		return report.WriteJSON(out)
	}
	f, err := os.Create(c.JSON)
	if err != nil {
		return fmt.Errorf("--json: %w; name a file that can be written", err)
	}
	return errors.Join(report.WriteJSON(f), f.Close())
}

// isTerminal says whether a person watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
