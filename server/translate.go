package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/msgpack"
	"shoal/codec/proto"
	codecws "shoal/codec/ws"
	"shoal/loop"
	"shoal/server/auth"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/entry"
	"shoal/server/node"
	"shoal/server/node/route"
	"shoal/server/node/seal"
	"shoal/server/node/wire"
	"shoal/server/rate"
	"shoal/server/session"
	"shoal/server/tenant"
	"shoal/server/transport/door"
	"shoal/server/transport/ws"
	"shoal/server/watch"
	"shoal/tuning"
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
		OwnDescriptors:      c.Loop.OwnDescriptors,
		SharePort:           c.HTTPServer.SharePort,
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

var _ = [1]struct{}{}[config.LoopsMax-route.LoopsMax] // the same number on one floor

// loopCount is the number of loops: one for every processor unless configured, at
// most what a node can have.
func (p *Program) loopCount() int {
	return p.cfg.LoopCount(runtime.GOMAXPROCS(0), func(conns uint64) uint64 {
		host := tuning.ReadHost()
		return host.TablesFor(conns)
	})
}

func (p *Program) nodeConfig() (node.Config, error) {
	rules, authority, err := p.decisions()
	if err != nil {
		return node.Config{}, err
	}
	if p.rates, err = rateLimits(&p.cfg.Client); err != nil {
		return node.Config{}, err
	}
	if p.tenants, err = tenant.New(p.cfg.Tenants, tenant.Host{Rules: rules, Epoch: p.started, Logger: p.opts.Logger, AskedMax: askedMax(&p.cfg), Spares: func() bool { return p.overload.Refuses(true) }}); err != nil {
		return node.Config{}, err
	}
	return node.Config{
		Version: p.opts.Version,
		Session: sessionConfig(&p.cfg, rules), Auth: authority, Forms: p.forms(),
		Random: p.opts.Random, Logger: p.opts.Logger, Bytes: p.bytes,
		Commands:        proto.Limits{MessageBytesMax: p.cfg.WebSocket.InflatedLimit()},
		WaitingBytesMax: p.cfg.WebSocket.MessageSizeLimit,
		Workers:         p.workers, Backend: p.backend, Clock: p.opts.Clock, Entry: p.entry, Rates: p.rates, Tenants: p.tenants, Overload: p.overload,
		Emulated:         p.emulatedHeaders(),
		RecoveryBytesMax: recoveryShare(p.cfg.Client.RecoveryBacklogLimit, p.loopCount()),
		HistoryMax:       p.cfg.Client.HistoryMaxPublicationLimit, RecoveryMax: p.cfg.Client.RecoveryMaxPublicationLimit,
		ExpiredSubWait: p.cfg.Client.ExpiredSubCloseDelay, ServerTime: p.cfg.Client.ConnectIncludeServerTime,
		UserHeader: strings.ToLower(p.cfg.Client.UserIDHTTPHeader), HeadersKept: len(p.cfg.KeptHeaders()) > 0,
		SingleConn: p.cfg.Client.PersonalChannel.Enabled && p.cfg.Client.PersonalChannel.SingleConnection,
		Resume: node.ResumeConfig{
			Window: p.cfg.Client.Resume.Window, Clock: p.opts.Clock, UserClaim: p.cfg.Client.Token.UserIDClaim,
			Keys: seal.Config{Secret: p.cfg.Client.Resume.SecretKey, Previous: p.cfg.Client.Resume.PreviousSecretKey},
		},
	}, nil
}

// recoveryShare is a loop's part of client.recovery_backlog_limit.
func recoveryShare(limit, loops int) int64 {
	limit = cmp.Or(limit, config.Default().Client.RecoveryBacklogLimit)
	return int64(max(limit/loops, 1))
}

// rateLimits are the limits of commands and errors that each session has.
func rateLimits(c *config.Client) (*rate.Commands, error) {
	rules := make([]rate.Rule, len(c.RateLimits))
	for i, l := range c.RateLimits {
		kinds, err := rate.KindsOf(l.Commands)
		if err != nil {
			return nil, fmt.Errorf("client.rate_limits[%d].commands: %w", i, err)
		}
		rules[i] = rate.Rule{Kinds: kinds, Limit: rate.Limit{Count: l.Limit, Interval: l.Interval, Burst: l.Burst}}
	}
	return rate.NewCommands(rules, rate.Limit{Count: c.ErrorLimit.Limit, Interval: c.ErrorLimit.Interval})
}

// decisions makes what decides about clients: rules, hooks, tokens.
func (p *Program) decisions() (*channel.Rules, *auth.Authority, error) {
	rules, err := channel.Compile(p.cfg.Channel)
	if err != nil {
		return nil, nil, err
	}
	if err := p.openHooks(rules); err != nil {
		return nil, nil, err
	}
	authority, err := NewAuthority(&p.cfg, rules, func(section, warning string) { p.opts.Logger.Warn(warning, "section", section) })
	return rules, authority, err
}

// Check says of a configuration what [New] would: what is wrong, as an error, and to the
// logger what has no effect or is weak. It binds no port and asks nobody; the files of
// keys and certificates are read.
func Check(cfg config.Config, clock func() time.Time, logger *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p := &Program{cfg: cfg, opts: Options{Clock: clock, Logger: logger}}
	_, _, err := p.decisions()
	return errors.Join(err, p.closeHooks(context.Background())) // nothing was asked: it does not wait
}

// NewAuthority makes the decisions about tokens and channels of a server with this
// configuration; warn, which may be nil, is told what of it has no effect or is weak.
func NewAuthority(cfg *config.Config, rules *channel.Rules, warn func(section, warning string)) (*auth.Authority, error) {
	c := &cfg.Client
	a := &auth.Authority{
		Rules: rules, Insecure: c.Insecure,
		AllowAnonymousWithoutToken:  c.AllowAnonymousConnect,
		DisallowAnonymousWithTokens: c.DisallowAnonymousConnectionToken,
		Personal:                    c.PersonalChannel.Enabled, PersonalNamespace: c.PersonalChannel.Namespace,
	}
	var err error
	if a.ConnectTokens, err = newVerifier("client.token", &c.Token, cfg.Tenants.Named(), warn); err != nil {
		return nil, err
	}
	a.SubscribeTokens = a.ConnectTokens
	if c.SubscriptionToken.Enabled {
		a.SubscribeTokens, err = newVerifier("client.subscription_token", &c.SubscriptionToken.Token, "", warn)
	}
	return a, err
}

// newVerifier makes what checks the tokens of a section, of which a claim names the tenant.
func newVerifier(section string, c *config.Token, tenantClaim string, warn func(section, warning string)) (*auth.Verifier, error) {
	cfg := tokenConfig(c)
	cfg.TenantClaim = tenantClaim
	v, err := auth.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", section, err)
	}
	if warn != nil {
		for _, warning := range cfg.Warnings() {
			warn(section, warning)
		}
	}
	return v, nil
}

func tokenConfig(c *config.Token) auth.Config {
	return auth.Config{
		HMACSecretKey: c.HMACSecretKey, HMACPreviousSecretKey: c.HMACPreviousSecretKey,
		HMACPreviousSecretKeyValidUntil: c.HMACPreviousSecretKeyValidUntil,
		Audience:                        c.Audience, AudienceRegex: c.AudienceRegex,
		Fetch:        NewKeyFetcher(),
		RSAPublicKey: c.RSAPublicKey, ECDSAPublicKey: c.ECDSAPublicKey, Ed25519PublicKey: c.Ed25519PublicKey,
		JWKSPublicEndpoint: c.JWKSPublicEndpoint, InsecureSkipJWKSEndpointSafetyCheck: c.InsecureSkipJWKSSafetyCheck,
		Issuer: c.Issuer, IssuerRegex: c.IssuerRegex, UserIDClaim: c.UserIDClaim,
	}
}

// pingLate is how long a ping may give way to publications: half of what SDKs bear by default.
const pingLate = 5 * time.Second

func sessionConfig(c *config.Config, rules *channel.Rules) session.Config {
	s := session.Default(c.Loop.Tick, rules)
	ticks := func(d time.Duration) session.Tick { return s.Ticks(d) }
	s.StaleTicks = ticks(c.Client.StaleCloseDelay)
	s.PingTicks = ticks(c.Client.PingInterval)
	s.PongTicks = ticks(c.Client.PongTimeout)
	s.LateTicks = ticks(min(pingLate, c.Client.PingInterval/5))
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
func (p *Program) forms() []wire.Form {
	var forms []wire.Form
	for _, enc := range [...]proto.Encoding{proto.JSON, proto.Protobuf, proto.MessagePack} {
		forms = append(forms, wire.Form{Encoding: enc, Frame: p.framer(enc, nil)})
		if p.cfg.WebSocket.Compression {
			forms = append(forms, wire.Form{Encoding: enc, Deflated: true, Frame: p.framer(enc, p.codec)})
		}
	}
	return forms
}

// framer frames payloads of an encoding; with a codec it compresses those that are
// worth it.
func (p *Program) framer(enc proto.Encoding, codec *deflate.Codec) func(dst, scratch, payload []byte) ([]byte, []byte) {
	op, min := codecws.Binary, p.cfg.WebSocket.CompressionMinSize
	if enc == proto.JSON {
		op = codecws.Text
	}
	frame := func(dst, scratch, payload []byte) ([]byte, []byte) {
		if codec == nil || len(payload) < min {
			return ws.AppendPublication(dst, op, payload), scratch
		}
		return ws.AppendDeflated(dst, scratch, codec, op, payload)
	}
	if enc != proto.MessagePack {
		return frame
	}
	return func(dst, scratch, payload []byte) ([]byte, []byte) {
		packed, err := msgpack.AppendReplies(nil, payload)
		if err != nil {
			return dst[:0], scratch
		}
		return frame(dst, scratch, packed)
	}
}

func (p *Program) webSocketConfig(l *loop.Loop) (ws.Config, error) {
	origins, err := handshake.NewOrigins(p.cfg.Client.AllowedOrigins)
	if err != nil {
		return ws.Config{}, fmt.Errorf("client.allowed_origins: %w", err)
	}
	c := ws.Config{
		Kind: kindWebSocket, Subprotocols: true, KeepHeaders: p.cfg.KeptHeaders(),
		MessageBytesMax:  p.cfg.WebSocket.MessageSizeLimit,
		InflatedBytesMax: p.cfg.WebSocket.InflatedLimit(),
		DeflateBytesMin:  p.cfg.WebSocket.CompressionMinSize,
		MessageTicks:     l.Ticks(p.cfg.WebSocket.MessageTimeout),
		ControlFrames:    rate.Limit{Count: p.cfg.WebSocket.ControlFrameLimit, Interval: config.ControlFrameInterval},
		Handshake:        handshake.Config{Origins: origins},
	}
	if p.cfg.WebSocket.Compression {
		c.Deflate = &deflate.Config{}
	}
	return c, nil
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
	var err error
	c.Trusted, err = prefixes("proxy_protocol.trusted", p.cfg.ProxyProtocol.Trusted)
	return c, err
}

// entryConfig says who may come in.
func (p *Program) entryConfig() (entry.Config, error) {
	c, a := &p.cfg.Client, &p.cfg.Admission
	exempt, err := prefixes("admission.ip_exempt", a.IPExempt)
	return entry.Config{
		ConnsMax: c.ConnectionLimit, ConnRate: c.ConnectionRateLimit, UserConns: c.UserConnectionLimit,
		AddressConns: a.IPConnectionLimit, AddressRate: a.IPConnectionRate, AddressBurst: a.IPConnectionBurst, Exempt: exempt,
		HandshakesMax: a.HandshakeLimit, ConnectRate: a.ConnectRate, Epoch: p.started, Overload: p.overload,
		Sessions: func() (open, connected int64) {
			s := p.node.Stats()
			return s.Sessions.Load(), s.Connected.Load()
		},
	}, err
}

// watchConfig says what is measured and what follows from it.
func (p *Program) watchConfig() watch.Config {
	return watch.Config{
		Loops: p.loops, Clock: p.opts.Clock, Logger: p.opts.Logger,
		Board: p.overload, Levels: p.cfg.Overload.Config(), Evict: p.evict, Sample: p.opts.Sample,
		SetGCPercent: p.opts.SetGCPercent, Headroom: int64(p.cfg.GC.Headroom), Ledger: p.ledger,
	}
}

// prefixes reads the networks and addresses of an option.
func prefixes(key string, texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		one, err := prefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", key, text, err)
		}
		out = append(out, one)
	}
	return out, nil
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
