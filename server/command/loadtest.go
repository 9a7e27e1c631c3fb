package command

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"shoal/loadtest"
	"shoal/loadtest/page"
)

// loadtestCommand is the command line of a load test: its fields become a loadtest.Config.
type loadtestCommand struct {
	Scenario string `default:"idle" enum:"idle,fanout,echo,channels,slow,storm" help:"idle holds connections, fanout publishes to all of them, echo sends messages that come back, channels publishes to many channels, slow has some stop reading, storm cuts all at once."`
	Target   string `aliases:"url" default:"ws://127.0.0.1:8000/connection/websocket" placeholder:"URL" help:"WebSocket address of the server (${default})."`
	API      string `name:"api" placeholder:"URL" help:"Its HTTP API, to publish by (default: /api on the target's host and port)."`
	APIKey   string `name:"api-key" env:"SHOAL_HTTP_API_KEY" placeholder:"KEY" help:"Key of the HTTP API."`
	Token    string `placeholder:"JWT" help:"Token every connection connects with (default: none)."`
	Encoding string `default:"json" enum:"json,protobuf" help:"json or protobuf."`
	Channel  string `default:"loadtest" help:"Channel all subscribe to; echo adds -u and the number of the connection."`

	Connections int           `short:"n" aliases:"conns" default:"1000" help:"Connections to hold (${default})."`
	Rate        float64       `placeholder:"N" help:"Connections begun in a second (default: as fast as the server takes them)."`
	Window      int           `default:"256" help:"Without a rate: connections under way at once (${default})."`
	Sources     int           `placeholder:"N" help:"Source addresses 127.0.0.x to use (default: one for every 500 connections to a loopback target)."`
	StepTimeout time.Duration `default:"30s" help:"For each step of opening a connection."`
	Payload     int           `default:"128" help:"Bytes of a message (${default})."`
	Duration    time.Duration `placeholder:"TIME" help:"idle: how long to hold (30s, with --hold none); echo, channels: how long to send (10s); slow, storm: how long before and after (3s)."`
	Settle      time.Duration `placeholder:"TIME" help:"Pause before and after the traffic, so that memory at rest is measured."`
	Grace       time.Duration `default:"10s" help:"How long to wait for missing messages when nothing more comes."`
	Timeout     time.Duration `placeholder:"TIME" help:"Limit for the whole test (default: 10m more than what it is told to take)."`

	Wait time.Duration `placeholder:"TIME" help:"Wait that long for the server to listen, when it does not yet."`

	Publications int     `default:"10" help:"fanout: publications to make (${default})."`
	Burst        int     `default:"1" help:"fanout: publications made at once."`
	PublishRate  float64 `placeholder:"N" help:"Publications a second (fanout: the next when the one before has reached everybody; channels: 1000 over all; slow, storm: 10)."`
	Via          string  `default:"api" enum:"api,client" help:"fanout: publish by the HTTP api or by one of the connections, client."`
	EchoPath     string  `placeholder:"PATH" help:"echo: path of a bare echo endpoint (default: publish to an own channel)."`
	Active       int     `placeholder:"N" help:"echo: connections that send (default: all)."`
	MessageRate  float64 `placeholder:"N" help:"echo: messages a second over all (default: each sends when its last one came back)."`

	Channels      int           `placeholder:"N" help:"channels, slow, storm: number of channels (1)."`
	Subscriptions int           `placeholder:"N" help:"channels, slow, storm: channels of each connection (default: all)."`
	Random        bool          `help:"channels, slow, storm: publish to channels drawn at random, not in turn."`
	Keys          int           `placeholder:"N" help:"channels, slow, storm: publications have a tag key with one of N values in turn, for slow_policy conflate (default: none)."`
	Stuck         int           `placeholder:"N" help:"slow: connections that stop reading (default: a third)."`
	Stall         time.Duration `placeholder:"TIME" help:"slow: for how long (10s)."`
	Resume        bool          `help:"storm: come back by the server's resume tokens."`
	Tokens        string        `name:"subscription-tokens" placeholder:"FILE" help:"channels, slow, storm: tokens to subscribe with, a line «CHANNEL JWT» for each channel (default: none)."`

	Metrics   string `placeholder:"URL,…" help:"The server's metrics, of each of its processes, read before and after the traffic (default: /metrics on the target's host and port, if they are there)."`
	Expect    string `placeholder:"FIGURE=LIMIT,…" help:"Fail unless these figures are reached: p99, lag, gc, cpu, back (20ms), p99_ratio (2), rss_growth (64MB), rate (75000)."`
	ServerPID []int  `name:"server-pid" placeholder:"PID,…" help:"Measure this process of the server, or these together: processor time and memory per connection, message and heartbeat."`
	BusyPoll  bool   `help:"Never sleep, so that the server does not pay for waking this process. Needs a processor of its own."`
	Hold      bool   `help:"Keep the connections at the end until standard input closes or a signal comes; takes lines «mark NAME»."`
	Events    bool   `help:"Print a JSON line for every phase to standard output (the table then goes to standard error)."`
	JSON      string `name:"json" placeholder:"FILE" help:"Write the report as JSON; - is standard output (the table then goes to standard error)."`
	HTML      string `name:"html" placeholder:"FILE" help:"Write the report as a page with charts, one file that needs no network; «shoal report» makes it of a report in JSON."`
	Quiet     bool   `short:"q" help:"No live progress."`
}

// Help is the text below the flags.
func (loadtestCommand) Help() string {
	return "The exit code is 0 only when every connection held and every message arrived exactly once, in order and unaltered. " +
		"Ctrl-C ends the test early with the report so far. «shoal serve --dev» is a target that needs no flags but --api-key dev."
}

// config is what the flags say.
func (c *loadtestCommand) config() loadtest.Config {
	return loadtest.Config{
		Scenario: loadtest.Scenario(c.Scenario), Target: c.Target, API: c.API, APIKey: c.APIKey, Token: c.Token, Encoding: c.Encoding,
		Channel: c.Channel, Connections: c.Connections, ConnectRate: c.Rate, Window: c.Window, Sources: c.Sources,
		StepTimeout: c.StepTimeout, PayloadBytes: c.Payload, Duration: c.Duration, Settle: c.Settle, Grace: c.Grace, Timeout: c.Timeout, Wait: c.Wait,
		Publications: c.Publications, Burst: c.Burst, PublishRate: c.PublishRate, Via: c.Via, EchoPath: c.EchoPath, Active: c.Active,
		MessageRate: c.MessageRate, ServerPIDs: c.ServerPID, BusyPoll: c.BusyPoll, Hold: c.Hold,
		Channels: c.Channels, Subscriptions: c.Subscriptions, Random: c.Random, Metrics: c.Metrics, Stuck: c.Stuck, Stall: c.Stall, Keys: c.Keys, Resume: c.Resume, Expect: c.Expect,
	}
}

// Run carries out the load test and writes its report.
func (c *loadtestCommand) Run(ctx context.Context, to Process) error {
	cfg := c.config()
	var err error
	if cfg.SubscriptionTokens, err = readTokens(c.Tokens); err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return usageError{err}
	}
	var number [4]byte
	_, _ = rand.Read(number[:]) // never fails: crypto/rand ends the process first
	s := loadtest.Surroundings{Clock: to.Clock, Run: binary.BigEndian.Uint32(number[:]), Version: to.versionText()}
	if !c.Quiet {
		s.Progress, s.Terminal = to.Err, isTerminal(to.Err)
	}
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
