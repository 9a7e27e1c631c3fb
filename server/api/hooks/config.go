package hooks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"shoal/server/channel"
)

// Config says who is asked about what. The names in comments are those of Centrifugo's
// configuration, which error messages use too.
type Config struct {
	Connect *Endpoint // client.proxy.connect; nil: nobody
	Refresh *Endpoint // client.proxy.refresh; nil: nobody

	// The endpoints called "default", for namespaces that ask and name no other. nil:
	// there is none, and no namespace may mean it.
	Subscribe  *Endpoint // channel.proxy.subscribe
	Publish    *Endpoint // channel.proxy.publish
	SubRefresh *Endpoint // channel.proxy.sub_refresh
	State      *Endpoint // channel.proxy.state
	RPC        *Endpoint // rpc.proxy

	Named []Named // proxies; each serves every event of channels and RPC that names it

	RPCWithoutNamespace  RPCOptions     // rpc.without_namespace
	RPCNamespaces        []RPCNamespace // rpc.namespaces
	RPCNamespaceBoundary string         // rpc.namespace_boundary; empty = ":"

	// Rules say which endpoint a channel names. Required.
	Rules *channel.Rules

	// StatePendingMax bounds the channel-state events that wait for one endpoint; more
	// are refused with [ErrPending]. 0 = 100,000.
	StatePendingMax int

	Now    func() time.Time                                 // required
	Random func() float64                                   // required; uniform in [0, 1), for any goroutine
	Sleep  func(ctx context.Context, d time.Duration) error // required; waits for d, or less and then gives the context's error
	Logger *slog.Logger                                     // required; told of breakers that open and close, and of failures at most every 10 s for each endpoint and event
}

// Named is an endpoint that namespaces refer to by name.
type Named struct {
	Name string // two or more of a–z A–Z 0–9 - _ . and not "default"
	Endpoint
}

// RPCOptions rule the methods of a namespace.
type RPCOptions struct {
	ProxyEnabled bool
	ProxyName    string // empty = "default"
}

// RPCNamespace has the methods whose names begin with its own and the boundary.
type RPCNamespace struct {
	Name string
	RPCOptions
}

// Endpoint is a backend and how it is asked.
type Endpoint struct {
	// URL is http://, https://, grpc://host:port, or another target of gRPC (host:port,
	// dns:///host:port, unix:///path). Required.
	URL     string
	Timeout time.Duration // of a question, repetitions included; 0 = 1 s

	HTTPHeaders     []string // of the conn's request, passed on
	EmulatedHeaders []string // of the connect command, passed on where HTTPHeaders gave none; clients can forge them
	BinaryEncoding  bool     // data travels as base64
	IncludeMeta     bool     // client meta is sent, except in connect

	StaticHeaders map[string]string // HTTP; headers passed on win
	Transforms    []Transform       // HTTP
	RoundTripper  http.RoundTripper // HTTP; nil: a transport of its own

	StaticMetadata   map[string]string // gRPC; headers passed on win
	CredentialsKey   string            // gRPC; empty: no credentials
	CredentialsValue string
	Compression      bool // gRPC; questions are sent with gzip

	// TLS is for https and gRPC. nil: Go's own for https, none for gRPC.
	TLS *tls.Config

	ResponseBytesMax int // of an answer, after inflating; 0 = 4 MiB
	ConcurrencyMax   int // questions at once; more fail at once; 0 = 256

	// Retries is how often a question that may be asked twice (all but publish and rpc) is
	// repeated when it did not reach the backend or got 502, 503 or 504. 0: never.
	Retries    int
	RetryDelay time.Duration // longest first wait, doubled for each further one; 0 = 50 ms

	BreakerFailures int           // in a row, that open the breaker; 0: there is none
	BreakerCooldown time.Duration // first one at most; 0 = 5 s
}

// Transform says what an HTTP status means for a client. Exactly one code is set.
type Transform struct {
	Status     int
	Error      channel.Error
	Disconnect channel.Disconnect
}

const (
	timeoutDefault       = time.Second
	responseBytesDefault = 4 << 20
	concurrencyDefault   = 256
	retryDelayDefault    = 50 * time.Millisecond
	retriesMax           = 10
	cooldownDefault      = 5 * time.Second
	pendingDefault       = 100_000
	reasonBytesMax       = 123 // RFC 6455 §5.5: a close frame has room for no more
)

func (c Config) withDefaults() Config {
	if c.RPCNamespaceBoundary == "" {
		c.RPCNamespaceBoundary = ":"
	}
	if c.StatePendingMax == 0 {
		c.StatePendingMax = pendingDefault
	}
	return c
}

func (e Endpoint) withDefaults() Endpoint {
	if e.Timeout == 0 {
		e.Timeout = timeoutDefault
	}
	if e.ResponseBytesMax == 0 {
		e.ResponseBytesMax = responseBytesDefault
	}
	if e.ConcurrencyMax == 0 {
		e.ConcurrencyMax = concurrencyDefault
	}
	if e.RetryDelay == 0 {
		e.RetryDelay = retryDelayDefault
	}
	if e.BreakerCooldown == 0 {
		e.BreakerCooldown = cooldownDefault
	}
	return e
}

// isHTTP says which of the two protocols the endpoint speaks; else it is gRPC.
func (e *Endpoint) isHTTP() bool {
	return strings.HasPrefix(e.URL, "http://") || strings.HasPrefix(e.URL, "https://")
}

// target is what gRPC dials.
func (e *Endpoint) target() string { return strings.TrimPrefix(e.URL, "grpc://") }

// Validate checks everything but the names that namespaces of channels give, which New
// checks too. Each error names the key and says what to change.
func (c *Config) Validate() error {
	var errs []error
	for _, own := range []struct {
		key string
		e   *Endpoint
	}{
		{"client.proxy.connect", c.Connect}, {"client.proxy.refresh", c.Refresh}, {"channel.proxy.subscribe", c.Subscribe},
		{"channel.proxy.publish", c.Publish}, {"channel.proxy.sub_refresh", c.SubRefresh}, {"channel.proxy.state", c.State},
		{"rpc.proxy", c.RPC},
	} {
		if own.e != nil {
			errs = append(errs, own.e.validate(own.key))
		}
	}
	seen := map[string]bool{channel.ProxyDefault: true}
	for i := range c.Named {
		n := &c.Named[i]
		key := fmt.Sprintf("proxies[%d] (%s)", i, n.Name)
		switch {
		case !validName(n.Name):
			errs = append(errs, fmt.Errorf("proxies[%d].name: %q is no name; use two or more of a–z A–Z 0–9 - _ .", i, n.Name))
		case n.Name == channel.ProxyDefault:
			errs = append(errs, fmt.Errorf("%s: the name belongs to the proxies of channel.proxy and rpc.proxy; choose another", key))
		case seen[n.Name]:
			errs = append(errs, fmt.Errorf("%s: the name is defined twice; remove one", key))
		}
		seen[n.Name] = true
		errs = append(errs, n.validate(key))
	}
	if c.StatePendingMax < 0 {
		errs = append(errs, fmt.Errorf("StatePendingMax is %d; give the events that may wait, or 0 for %d", c.StatePendingMax, pendingDefault))
	}
	if c.Rules == nil || c.Now == nil || c.Random == nil || c.Sleep == nil || c.Logger == nil {
		errs = append(errs, errors.New("hooks: Rules, Now, Random, Sleep and Logger are required; set all five"))
	}
	return errors.Join(errs...)
}

func validName(s string) bool {
	ok, _ := regexp.MatchString(`^[-a-zA-Z0-9_.]{2,}$`, s)
	return ok
}

func (e *Endpoint) validate(key string) error {
	var errs []error
	say := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %s", key, name, fmt.Sprintf(format, args...)))
	}
	if err := e.validURL(); err != nil {
		say("endpoint", "%v", err)
	}
	for _, bound := range []struct {
		name string
		v    int64
	}{
		{"timeout", int64(e.Timeout)}, {"max_concurrency", int64(e.ConcurrencyMax)}, {"retry_delay", int64(e.RetryDelay)},
		{"breaker_failures", int64(e.BreakerFailures)}, {"breaker_delay", int64(e.BreakerCooldown)},
		{"ResponseBytesMax", int64(e.ResponseBytesMax)},
	} {
		if bound.v < 0 {
			say(bound.name, "it is negative; give a positive value, or leave it out for the default")
		}
	}
	if e.Retries < 0 || e.Retries > retriesMax {
		say("retries", "it is %d; use 0 to %d", e.Retries, retriesMax)
	}
	for k, v := range e.StaticHeaders {
		if !validHeader(k, v) {
			say("http.static_headers", "%q cannot be sent; use the characters of HTTP for the name and no control characters in the value", k)
		}
	}
	for k, v := range e.StaticMetadata {
		if !validMetadata(strings.ToLower(k), v) {
			say("grpc.static_metadata", "%q cannot be sent; use a–z 0–9 - _ . for the key, not beginning with grpc-, and printable ASCII for the value", k)
		}
	}
	if e.CredentialsKey != "" && !validMetadata(strings.ToLower(e.CredentialsKey), e.CredentialsValue) {
		say("grpc.credentials_key", "it cannot be sent; use a–z 0–9 - _ . for the key, not beginning with grpc-, and printable ASCII for the value")
	}
	for i := range e.Transforms {
		if err := e.Transforms[i].validate(); err != nil {
			say(fmt.Sprintf("http.status_to_code_transforms[%d]", i), "%v", err)
		}
	}
	return errors.Join(errs...)
}

func (e *Endpoint) validURL() error {
	const help = "write http://…, https://… or grpc://host:port"
	if e.URL == "" {
		return errors.New("it is empty, so nobody can be asked; " + help)
	}
	scheme, rest, found := strings.Cut(e.URL, "://")
	switch {
	case e.isHTTP():
		// The text of the error has the whole URL, which may hold a password.
		if u, err := url.Parse(e.URL); err != nil || u.Hostname() == "" {
			return errors.New("it is no URL with a host; " + help)
		}
	case found && scheme == "grpc":
		if rest == "" || strings.ContainsAny(rest, "/?#@") {
			return errors.New("grpc:// takes a host and a port and nothing behind; " + help)
		}
	case found && scheme != "dns" && scheme != "unix" && scheme != "passthrough":
		return fmt.Errorf("scheme %q is not known; %s", scheme, help)
	}
	return nil
}

func (t *Transform) validate() error {
	e, d := t.Error, t.Disconnect
	switch {
	case t.Status < 100 || t.Status > 599:
		return fmt.Errorf("status_code is %d; give an HTTP status", t.Status)
	case t.Status == http.StatusOK:
		return errors.New("status_code is 200, whose body is read; give another status")
	case (e.Code > 0) == (d.Code > 0):
		return errors.New("exactly one of to_error.code and to_disconnect.code must be set")
	case e.Code > 0 && !validErrorCode(e.Code):
		return fmt.Errorf("to_error.code is %d; use 400–1999 for errors of the application, or one of the protocol from 100", e.Code)
	case d.Code > 0 && !validDisconnectCode(d.Code):
		return fmt.Errorf("to_disconnect.code is %d; use 4000–4999 for disconnects of the application, or one of the protocol from 3000", d.Code)
	case len(e.Message) > reasonBytesMax || len(d.Reason) > reasonBytesMax || !ascii(e.Message) || !ascii(d.Reason):
		return fmt.Errorf("message and reason take at most %d ASCII characters", reasonBytesMax)
	}
	return nil
}

func validErrorCode(code uint32) bool      { return code >= 100 && code <= 1999 }
func validDisconnectCode(code uint32) bool { return code >= 3000 && code <= 4999 }

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
