package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/loadtest/engine/layout"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/poster"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
	"shoal/loop/poll"
)

// API is an HTTP API of the server, to publish by.
type API = poster.API

// Config says what to connect to and how. Fields without a stated zero meaning are required. It can be written as JSON, but for
// NewPoller.
type Config struct {
	Remote netip.AddrPort // the server
	Host   string         // its name for the Host header, with the port
	Path   string         // of the endpoint, with the query if any

	// BareEcho: the endpoint speaks no client protocol, it sends back what it gets.
	BareEcho bool
	Encoding proto.Encoding
	Token    string            // for connect; empty = none
	Secret   string            // to sign tokens with: each connection comes with one, of user-<number>; empty = Token
	Tokens   map[string]string // for subscribe, by channel; nil = none
	API      API               // where publications are posted; its Remote is invalid when none are
	Also     []API             // of further servers behind Remote, each a node of its own: where they are posted, too

	Channel       string // the beginning of all names; empty = nothing is subscribed
	Channels      int    // shared channels: of one the name is Channel, of several "-" and the number follow; 0 = 1, none with Own
	Subscriptions int    // shared channels of each connection; 0 = all
	Own           bool   // each connection has a channel of its own: Channel, "-u" and its number
	Positions     bool   // ask for positions, and come back with recover
	Resume        bool   // ask for resume tokens, and come back with them; a means of Shoal's own
	Stuck         int    // connections, the first ones, that Stall stops; they have small receive buffers

	// Members share a test: each has some of its connections, and publishes to some of its channels.
	Connections int
	First       int // number of the first connection among those of all members
	All         int // connections of all members; 0 = First and Connections
	Index       int // of this member
	Of          int // members; 0 = 1. Shared channel c is published to by member c modulo Of, own ones by the member whose they are

	Sources      int           // local addresses from 127.0.0.1 on to connect from, in turn; 0 = the kernel chooses
	StepTimeout  time.Duration // for each step of setting a connection up; 0 = 30 s
	PingGrace    time.Duration // how late a ping of the server may be; 0 = 10 s, as clients of this protocol have it
	PayloadBytes int           // of a message; 0 = 128
	Keys         int           // values of the tag «key» of publications, in turn for each channel; 0 = no tag
	Posters      int           // connections to the API; 0 = 4, at most one for a channel
	Run          uint32        // number of this run, in every payload; not 0
	ClockOffset  time.Duration // added to the clock of this host, so that members on several agree
	// BusyPoll never lets the loop sleep, so that the server does not pay for waking it (an inter-processor interrupt per
	// message on another core, 2–4 µs). It needs a processor of its own.
	BusyPoll bool

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error) `json:"-"`
}

const (
	windowDefault       = 256
	stepTimeoutDefault  = 30 * time.Second
	pingGraceDefault    = 10 * time.Second
	payloadBytesDefault = 128
	postersDefault      = 4
	// outstandingMax bounds the connections under way at once at a fixed rate.
	outstandingMax = 20_000
	channelsMax    = 1 << 20
	subscribedMax  = 1 << 26 // subscriptions over all
	// tickPeriod is the resolution of time limits.
	tickPeriod = 100 * time.Millisecond
)

func (c *Config) defaults() {
	if c.Channel != "" && !c.Own {
		def(&c.Channels, 1)
	}
	def(&c.Subscriptions, c.Channels)
	def(&c.All, c.First+c.Connections)
	def(&c.Of, 1)
	def(&c.StepTimeout, stepTimeoutDefault)
	def(&c.PingGrace, pingGraceDefault)
	def(&c.PayloadBytes, payloadBytesDefault)
	def(&c.Posters, postersDefault)
	if !c.Own {
		c.Posters = min(c.Posters, max(c.Channels, 1))
	}
}

// def gives *p its default when it is zero.
func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	c.defaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("engine: "+format, args...))
		}
	}
	check(c.Remote.IsValid(), "no server address")
	check(c.Connections >= 1, "%d connections; at least 1", c.Connections)
	check(c.First >= 0 && c.First+c.Connections <= c.All && c.All <= layout.ConnectionsMax,
		"connections %d to %d of %d; at most %d in all", c.First, c.First+c.Connections, c.All, layout.ConnectionsMax)
	check(c.Index >= 0 && c.Index < c.Of, "member %d of %d", c.Index, c.Of)
	check(c.Channel != "" || c.Channels == 0 && !c.Own, "channels need a name to begin with")
	check(!c.BareEcho || c.Channel == "", "an echo endpoint has no channels")
	check(c.Channels >= 0 && c.Channels <= channelsMax, "%d channels; 0 to %d", c.Channels, channelsMax)
	check(c.Subscriptions >= min(c.Channels, 1) && c.Subscriptions <= c.Channels, "%d subscriptions to %d channels", c.Subscriptions, c.Channels)
	check(c.Connections*c.Subscriptions <= subscribedMax, "%d subscriptions in all; at most %d", c.Connections*c.Subscriptions, subscribedMax)
	check(c.Stuck >= 0 && c.Stuck <= c.Connections, "%d of %d connections stuck", c.Stuck, c.Connections)
	check(c.Token == "" || c.Secret == "", "a token and a secret to make others; give one of them")
	check(c.Sources >= 0 && c.Sources <= wire.SourcesMax, "%d source addresses; at most %d", c.Sources, wire.SourcesMax)
	check(c.StepTimeout >= tickPeriod, "a time limit of %s; at least %s", c.StepTimeout, tickPeriod)
	check(c.PingGrace >= tickPeriod, "a grace for pings of %s; at least %s", c.PingGrace, tickPeriod)
	check(c.Keys >= 0, "%d keys; 0 or more", c.Keys)
	check(c.Posters >= 1, "%d connections to the API; at least 1", c.Posters)
	check(c.Run != 0, "no run number")
	if _, err := message.NewFiller(c.PayloadBytes); err != nil {
		errs = append(errs, fmt.Errorf("engine: %w", err))
	}
	offer := c.offer()
	offer.Key = handshake.NewKey([16]byte{})
	if err := offer.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("engine: %w", err))
	}
	return errors.Join(errs...)
}

// offer is the handshake of every connection, but for its key.
func (c *Config) offer() handshake.Offer {
	o := handshake.Offer{Host: c.Host, Target: c.Path}
	if c.Encoding == proto.Protobuf && !c.BareEcho {
		o.Subprotocol = handshake.Protobuf
	}
	return o
}

// layout is who is subscribed to what.
func (c *Config) layout() *layout.Layout {
	return layout.New(layout.Config{Channel: c.Channel, Channels: c.Channels, Subscriptions: c.Subscriptions, Own: c.Own})
}

// share is this member's part of a number of connections, so that the parts of all add up to it.
func (c *Config) share(n int) int {
	n = min(n, c.All)
	return n*(c.First+c.Connections)/c.All - n*c.First/c.All
}

// loopConfig is the one loop. Keepalive is the server's business, and requests to the API may pile up.
func (c *Config) loopConfig(panicked func(any, []byte), narrow func(poll.Sys) poll.Sys) loop.Config {
	l := loop.Config{
		Loops: 1, TickPeriod: tickPeriod, DialTimeout: c.StepTimeout, KeepAlive: loop.KeepAlive{Idle: -1}, OnPanic: panicked,
		BacklogBytesMax: 64 << 20, NewPoller: c.NewPoller,
	}
	if c.Stuck == 0 {
		return l
	}
	made := c.NewPoller
	if made == nil {
		made = func(int) (poll.Poller, poll.Sys, error) { return poll.Open() }
	}
	l.NewPoller = func(i int) (poll.Poller, poll.Sys, error) {
		p, sys, err := made(i)
		if err != nil {
			return nil, nil, err
		}
		return p, narrow(sys), nil
	}
	return l
}
