package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
	"shoal/loop/poll"
)

// Config says what to connect to and how. Fields without a stated zero meaning are required.
type Config struct {
	Remote netip.AddrPort // the server
	Host   string         // its name for the Host header, with the port
	Path   string         // of the endpoint, with the query if any

	// BareEcho: the endpoint speaks no client protocol, it sends back what it gets.
	BareEcho bool
	Encoding proto.Encoding
	Token    string // for connect; empty = none
	Channel  string // to subscribe to; empty = none
	// Own gives every connection a channel of its own: Channel, "-" and its number.
	Own bool
	// API is where publications are posted. Its Remote is invalid when none are.
	API API

	Connections  int
	ConnectRate  float64       // connections begun in a second; 0 = as fast as the server takes them
	Window       int           // with ConnectRate 0: connections under way at once; 0 = 256
	Sources      int           // local addresses from 127.0.0.1 on to connect from, in turn; 0 = the kernel chooses
	StepTimeout  time.Duration // for each step of setting a connection up; 0 = 30 s
	PingGrace    time.Duration // how late a ping of the server may be; 0 = 10 s, as clients of this protocol have it
	PayloadBytes int           // of a message; 0 = 128
	Run          uint32        // number of this run, in every payload; not 0
	// BusyPoll never lets the loop sleep, so that the server does not pay for waking it (an inter-processor interrupt per
	// message on another core, 2–4 µs). It needs a processor of its own.
	BusyPoll bool

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)
}

// API is an HTTP API of the server.
type API struct {
	Remote netip.AddrPort
	Host   string // for the Host header
	Path   string // of the method publish
	Key    string // sent as X-API-Key; empty = none
}

const (
	windowDefault       = 256
	stepTimeoutDefault  = 30 * time.Second
	pingGraceDefault    = 10 * time.Second
	payloadBytesDefault = 128
	// outstandingMax bounds the connections under way at once at a fixed rate.
	outstandingMax = 20_000
)

func (c *Config) defaults() {
	if c.Window == 0 {
		c.Window = windowDefault
	}
	if c.StepTimeout == 0 {
		c.StepTimeout = stepTimeoutDefault
	}
	if c.PingGrace == 0 {
		c.PingGrace = pingGraceDefault
	}
	if c.PayloadBytes == 0 {
		c.PayloadBytes = payloadBytesDefault
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
	check(c.ConnectRate >= 0, "%g connections a second; 0 or more", c.ConnectRate)
	check(c.Window >= 1, "%d connections under way at once; at least 1", c.Window)
	check(c.Sources >= 0 && c.Sources <= wire.SourcesMax, "%d source addresses; at most %d", c.Sources, wire.SourcesMax)
	check(c.StepTimeout >= tickPeriod, "a time limit of %s; at least %s", c.StepTimeout, tickPeriod)
	check(c.PingGrace >= tickPeriod, "a grace for pings of %s; at least %s", c.PingGrace, tickPeriod)
	check(c.Run != 0, "no run number")
	check(!c.Own || c.Channel != "", "own channels need a name to begin with")
	check(!c.BareEcho || c.Channel == "", "an echo endpoint has no channels")
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

// loopConfig is the one loop. Keepalive is the server's business, and the messages to be echoed may pile up.
func (c *Config) loopConfig(panicked func(any, []byte)) loop.Config {
	return loop.Config{
		Loops: 1, TickPeriod: tickPeriod, DialTimeout: c.StepTimeout, KeepAlive: loop.KeepAlive{Idle: -1},
		OnPanic: panicked, NewPoller: c.NewPoller,
	}
}

// tickPeriod is the resolution of time limits.
const tickPeriod = 100 * time.Millisecond
