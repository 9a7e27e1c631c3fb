package server

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/proto"
	codecws "shoal/codec/ws"
	"shoal/loop"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/session"
	"shoal/server/transport/door"
	"shoal/server/transport/ws"
)

// This file translates the configuration, whose keys are the users', into that of
// each floor.

func (p *Program) loopConfig() loop.Config {
	c := &p.cfg
	idle := c.TCP.KeepAliveIdle
	if idle == 0 {
		idle = -1
	}
	return loop.Config{
		Loops:               p.loopCount(),
		TickPeriod:          c.Loop.Tick,
		ReadBufferBytes:     c.Loop.ReadBufferSize,
		BacklogBytesMax:     c.Client.QueueMaxSize,
		NodeBacklogBytesMax: int64(c.Loop.NodeBacklogSize),
		ConnsMax:            c.Loop.ConnectionLimit,
		AcceptBatch:         c.Loop.AcceptBatch,
		ListenBacklog:       c.Loop.ListenBacklog,
		KeepAlive:           loop.KeepAlive{Idle: idle, Interval: c.TCP.KeepAliveInterval, Count: c.TCP.KeepAliveCount},
		UserTimeout:         c.TCP.UserTimeout,
		CloseWait:           c.Loop.CloseTimeout,
		FlushSlice:          c.Loop.FlushSlice,
		MailboxMax:          c.Loop.MailboxSize,
		Logger:              p.opts.Logger,
		Shared:              p.bytes,
		NewPoller:           p.opts.NewPoller,
	}
}

var _ = [1]struct{}{}[config.LoopsMax-node.LoopsMax] // the same number on one floor

// loopCount is the number of loops: one for every processor unless configured, at
// most what a node can have.
func (p *Program) loopCount() int {
	if n := p.cfg.Loop.Loops; n > 0 {
		return n
	}
	return min(runtime.GOMAXPROCS(0), node.LoopsMax)
}

func (p *Program) nodeConfig() (node.Config, error) {
	rules, err := channel.Compile(channelConfig(&p.cfg.Channel))
	if err != nil {
		return node.Config{}, err
	}
	authority, err := authority(&p.cfg.Client, rules)
	if err != nil {
		return node.Config{}, err
	}
	return node.Config{
		Version: p.opts.Version,
		Session: sessionConfig(&p.cfg, rules), Auth: authority, Forms: p.forms(),
		Random: p.opts.Random, Logger: p.opts.Logger, Bytes: p.bytes,
		Commands: proto.Limits{MessageBytesMax: p.cfg.WebSocket.InflatedLimit()},
	}, nil
}

func channelConfig(c *config.Channel) channel.Config {
	out := channel.Config{
		WithoutNamespace: channelOptions("", &c.WithoutNamespace),
		MaxLength:        c.MaxLength, PrivatePrefix: c.PrivatePrefix, NamespaceBoundary: c.NamespaceBoundary,
		UserBoundary: c.UserBoundary, UserSeparator: c.UserSeparator,
	}
	for i := range c.Namespaces {
		out.Namespaces = append(out.Namespaces, channelOptions(c.Namespaces[i].Name, &c.Namespaces[i].ChannelOptions))
	}
	return out
}

func channelOptions(name string, o *config.ChannelOptions) channel.Options {
	return channel.Options{
		Name:                       name,
		AllowSubscribeForClient:    o.AllowSubscribeForClient,
		AllowSubscribeForAnonymous: o.AllowSubscribeForAnonymous,
		AllowPublishForClient:      o.AllowPublishForClient,
		AllowPublishForSubscriber:  o.AllowPublishForSubscriber,
		AllowPublishForAnonymous:   o.AllowPublishForAnonymous,
		AllowUserLimitedChannels:   o.AllowUserLimitedChannels,
		ChannelRegex:               o.ChannelRegex,
	}
}

func authority(c *config.Client, rules *channel.Rules) (*auth.Authority, error) {
	a := &auth.Authority{
		Rules: rules, Insecure: c.Insecure,
		AllowAnonymousWithoutToken:  c.AllowAnonymousConnect,
		DisallowAnonymousWithTokens: c.DisallowAnonymousConnectionToken,
	}
	var err error
	if a.ConnectTokens, err = auth.New(tokenConfig(&c.Token)); err != nil {
		return nil, fmt.Errorf("client.token: %w", err)
	}
	a.SubscribeTokens = a.ConnectTokens
	if c.SubscriptionToken.Enabled {
		if a.SubscribeTokens, err = auth.New(tokenConfig(&c.SubscriptionToken.Token)); err != nil {
			return nil, fmt.Errorf("client.subscription_token: %w", err)
		}
	}
	return a, nil
}

func tokenConfig(c *config.Token) auth.Config {
	return auth.Config{
		HMACSecretKey: c.HMACSecretKey, HMACPreviousSecretKey: c.HMACPreviousSecretKey,
		HMACPreviousSecretKeyValidUntil: c.HMACPreviousSecretKeyValidUntil,
		Audience:                        c.Audience, AudienceRegex: c.AudienceRegex,
		Issuer: c.Issuer, IssuerRegex: c.IssuerRegex, UserIDClaim: c.UserIDClaim,
	}
}

func sessionConfig(c *config.Config, rules *channel.Rules) session.Config {
	s := session.Default(c.Loop.Tick, rules)
	ticks := func(d time.Duration) session.Tick { return s.Ticks(d) }
	s.StaleTicks = ticks(c.Client.StaleCloseDelay)
	s.PingTicks = ticks(c.Client.PingInterval)
	s.PongTicks = ticks(c.Client.PongTimeout)
	s.ExpireGraceTicks = ticks(c.Client.ExpiredCloseDelay)
	s.ChannelsMax = c.Client.ChannelLimit
	s.MissesMax = c.Heartbeat.Misses()
	if c.Heartbeat.Dormant {
		s.DormantMisses = c.Heartbeat.DormantMisses
		s.ObservationTicks = ticks(c.Heartbeat.DormantTime)
		s.Levels = []session.Level{
			{IdleTicks: ticks(c.Heartbeat.IdleAfter), PingTicks: ticks(c.Heartbeat.IdleInterval), OneWay: true},
			{IdleTicks: ticks(c.Heartbeat.QuietAfter), PingTicks: ticks(c.Heartbeat.QuietInterval)},
		}
	}
	return s
}

// forms are the ways in which publications reach WebSocket sessions.
func (p *Program) forms() []node.Form {
	var forms []node.Form
	for _, enc := range [...]proto.Encoding{proto.JSON, proto.Protobuf} {
		op := codecws.Text
		if enc == proto.Protobuf {
			op = codecws.Binary
		}
		forms = append(forms, node.Form{Encoding: enc, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
			return ws.AppendPublication(dst, op, payload), scratch
		}})
		if p.cfg.WebSocket.Compression {
			min := p.cfg.WebSocket.CompressionMinSize
			forms = append(forms, node.Form{Encoding: enc, Deflated: true, Frame: func(dst, scratch, payload []byte) ([]byte, []byte) {
				if len(payload) < min {
					return ws.AppendPublication(dst, op, payload), scratch
				}
				return ws.AppendDeflated(dst, scratch, p.codec, op, payload)
			}})
		}
	}
	return forms
}

func (p *Program) webSocketConfig(l *loop.Loop) (ws.Config, error) {
	origins, err := handshake.NewOrigins(p.cfg.Client.AllowedOrigins)
	if err != nil {
		return ws.Config{}, fmt.Errorf("client.allowed_origins: %w", err)
	}
	c := ws.Config{
		Kind: kindWebSocket, Subprotocols: true, Admit: p.admit,
		MessageBytesMax:  p.cfg.WebSocket.MessageSizeLimit,
		InflatedBytesMax: p.cfg.WebSocket.InflatedLimit(),
		DeflateBytesMin:  p.cfg.WebSocket.CompressionMinSize,
		MessageTicks:     l.Ticks(p.cfg.WebSocket.MessageTimeout),
		Handshake:        handshake.Config{Origins: origins},
	}
	if p.cfg.WebSocket.Compression {
		c.Deflate = &deflate.Config{}
	}
	return c, nil
}

// admit refuses an upgrade when the node is full.
func (p *Program) admit() handshake.Status {
	if limit := p.cfg.Client.ConnectionLimit; limit > 0 && p.node.Stats().Sessions.Load() >= int64(limit) {
		return handshake.Overloaded
	}
	return handshake.Done
}

func (p *Program) echoConfig() ws.Config {
	c := ws.Config{Kind: kindEcho, MessageBytesMax: p.cfg.Echo.MessageSizeLimit, InflatedBytesMax: p.cfg.Echo.MessageSizeLimit}
	if p.cfg.Echo.Compression {
		c.Deflate = &deflate.Config{}
	}
	return c
}

func (p *Program) doorConfig(l *loop.Loop) (door.Config, error) {
	c := door.Config{
		Limits:    handshake.Limits{HeadBytesMax: p.cfg.Handshake.HeaderSizeLimit, HeadersMax: p.cfg.Handshake.HeaderCountLimit},
		HeadTicks: l.Ticks(p.cfg.Handshake.Timeout),
		Proxy:     p.cfg.ProxyProtocol.Enabled,
		Out:       p.out,
	}
	for _, text := range p.cfg.ProxyProtocol.Trusted {
		prefix, err := prefix(text)
		if err != nil {
			return door.Config{}, fmt.Errorf("proxy_protocol.trusted: %q: %w", text, err)
		}
		c.Trusted = append(c.Trusted, prefix)
	}
	return c, nil
}

// prefix reads a network or a single address.
func prefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
