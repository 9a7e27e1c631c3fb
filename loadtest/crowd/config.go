package crowd

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/loadtest/engine"
	"shoal/loadtest/engine/message"
	"shoal/loadtest/engine/wire"
	"shoal/loop"
	"shoal/loop/poll"
)

// Config says what to connect to and how. Fields without a stated zero meaning are required.
type Config struct {
	Remote   netip.AddrPort // the server
	Host     string         // its name for the Host header, with the port
	Path     string         // of the endpoint, with the query if any
	Encoding proto.Encoding
	Token    string            // for connect; empty = none
	API      engine.API        // where publications are posted
	Tokens   map[string]string // for subscribe, by channel; nil = none

	Channel       string // name of the channel; of several "-" and the number follow
	Channels      int    // 0 = 1
	Subscriptions int    // channels of each connection; 0 = all
	Positions     bool   // ask for positions, and come back with recover
	Resume        bool   // ask for resume tokens, and come back with them; a means of Shoal's own
	Stuck         int    // connections, the first ones, that Stall stops; they have small receive buffers

	Connections  int
	ConnectRate  float64       // connections begun in a second; 0 = as fast as the server takes them
	Window       int           // with ConnectRate 0: connections under way at once; 0 = 256
	Sources      int           // local addresses from 127.0.0.1 on to connect from, in turn; 0 = the kernel chooses
	StepTimeout  time.Duration // for each step of setting a connection up; 0 = 30 s
	PayloadBytes int           // of a publication; 0 = 128
	Keys         int           // values of the tag «key» of publications, in turn for each channel; 0 = no tag
	Posters      int           // connections to the API; 0 = 4, at most one for a channel
	Run          uint32        // number of this run, in every payload; not 0
	BusyPoll     bool          // never sleep; see engine.Config

	// NewPoller replaces the kernel in tests; see loop.Config. nil = the real one.
	NewPoller func(i int) (poll.Poller, poll.Sys, error)
}

const (
	windowDefault       = 256
	stepTimeoutDefault  = 30 * time.Second
	payloadBytesDefault = 128
	postersDefault      = 4
	// pingGrace is how late a ping of the server may be, as clients of this protocol have it.
	pingGrace = 10 * time.Second
	// outstandingMax bounds the connections under way at once at a fixed rate.
	outstandingMax = 20_000
	channelsMax    = 1 << 20
	subscribedMax  = 1 << 26 // subscriptions over all
	// tickPeriod is the resolution of time limits.
	tickPeriod = 100 * time.Millisecond
)

func (c *Config) defaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Channels, 1)
	def(&c.Subscriptions, c.Channels)
	def(&c.Window, windowDefault)
	def(&c.PayloadBytes, payloadBytesDefault)
	def(&c.Posters, postersDefault)
	c.Posters = min(c.Posters, max(c.Channels, 1))
	if c.StepTimeout == 0 {
		c.StepTimeout = stepTimeoutDefault
	}
}

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	c.defaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("crowd: "+format, args...))
		}
	}
	check(c.Remote.IsValid(), "no server address")
	check(c.API.Remote.IsValid(), "no address of the API")
	check(c.Channel != "", "no channel")
	check(c.Connections >= 1, "%d connections; at least 1", c.Connections)
	check(c.Channels >= 1 && c.Channels <= channelsMax, "%d channels; 1 to %d", c.Channels, channelsMax)
	check(c.Subscriptions >= 1 && c.Subscriptions <= c.Channels, "%d subscriptions to %d channels", c.Subscriptions, c.Channels)
	check(c.Connections*c.Subscriptions <= subscribedMax, "%d subscriptions in all; at most %d", c.Connections*c.Subscriptions, subscribedMax)
	check(c.Stuck >= 0 && c.Stuck <= c.Connections, "%d of %d connections stuck", c.Stuck, c.Connections)
	check(c.ConnectRate >= 0, "%g connections a second; 0 or more", c.ConnectRate)
	check(c.Window >= 1, "%d connections under way at once; at least 1", c.Window)
	check(c.Sources >= 0 && c.Sources <= wire.SourcesMax, "%d source addresses; at most %d", c.Sources, wire.SourcesMax)
	check(c.StepTimeout >= tickPeriod, "a time limit of %s; at least %s", c.StepTimeout, tickPeriod)
	check(c.Keys >= 0, "%d keys; 0 or more", c.Keys)
	check(c.Posters >= 1, "%d connections to the API; at least 1", c.Posters)
	check(c.Run != 0, "no run number")
	if _, err := message.NewFiller(c.PayloadBytes); err != nil {
		errs = append(errs, fmt.Errorf("crowd: %w", err))
	}
	offer := c.offer()
	offer.Key = handshake.NewKey([16]byte{})
	if err := offer.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("crowd: %w", err))
	}
	return errors.Join(errs...)
}

// offer is the handshake of every connection, but for its key.
func (c *Config) offer() handshake.Offer {
	o := handshake.Offer{Host: c.Host, Target: c.Path}
	if c.Encoding == proto.Protobuf {
		o.Subprotocol = handshake.Protobuf
	}
	return o
}

// name is the name of a channel.
func (c *Config) name(channel int) string {
	if c.Channels == 1 {
		return c.Channel
	}
	return c.Channel + "-" + strconv.Itoa(channel)
}

// loopConfig is the one loop. Keepalive is the server's business, and requests to the API may pile up.
func (c *Config) loopConfig(panicked func(any, []byte), narrow func(poll.Sys) poll.Sys) loop.Config {
	made := c.NewPoller
	if made == nil {
		made = func(int) (poll.Poller, poll.Sys, error) { return poll.Open() }
	}
	return loop.Config{
		Loops: 1, TickPeriod: tickPeriod, DialTimeout: c.StepTimeout, KeepAlive: loop.KeepAlive{Idle: -1}, OnPanic: panicked,
		BacklogBytesMax: 64 << 20,
		NewPoller: func(i int) (poll.Poller, poll.Sys, error) {
			p, sys, err := made(i)
			if err != nil {
				return nil, nil, err
			}
			return p, narrow(sys), nil
		},
	}
}
