package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"shoal/server/backend"
)

// Failure is the error of a question that got no answer.
type Failure struct {
	Event    backend.Event
	Endpoint string // name of the endpoint
	Kind     Kind
	Err      error
}

// Error implements error.
func (f *Failure) Error() string {
	return fmt.Sprintf("hooks: %s at endpoint %q: %s: %v", f.Event, f.Endpoint, f.Kind, f.Err)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

var (
	errBreaker     = errors.New("the backend failed too often and is left alone for a while")
	errConcurrency = errors.New("max_concurrency questions are being asked; raise it, or make the backend faster")
	errPatience    = fmt.Errorf("there was no answer within the timeout of the proxy: %w", context.DeadlineExceeded)
)

// outcome is how one attempt ended.
type outcome struct {
	kind    Kind
	err     error // nil: the backend answered, maybe with a refusal
	verdict verdict
	again   bool // the backend cannot have acted on it, or says that it did not
}

// caller speaks one protocol with one endpoint. Any goroutine.
type caller interface {
	// call asks once and fills out.
	call(ctx context.Context, e backend.Event, c *backend.Client, r *request, out reply) outcome
	// renew leaves conns that may be dead for new ones.
	renew()
	close()
}

// endpoint is what all events that an [Endpoint] serves share.
type endpoint struct {
	Endpoint
	protocol string
	caller   caller
	active   atomic.Int64
}

func newEndpoint(e Endpoint) (*endpoint, error) {
	ep := &endpoint{Endpoint: e.withDefaults(), protocol: "http"}
	if ep.isHTTP() {
		ep.caller = newHTTPCaller(&ep.Endpoint)
		return ep, nil
	}
	ep.protocol = "grpc"
	var err error
	ep.caller, err = newGRPCCaller(&ep.Endpoint)
	return ep, err
}

// line asks one endpoint about one event.
type line struct {
	event    backend.Event
	name     string
	ep       *endpoint
	breaker  breaker // of its own: an rpc that clients can make fail must not stop connects
	cfg      *Config
	pending  *pending // of channel state
	counters counters
	failures backend.Seldom
}

// repeats says whether the question may be asked twice.
func repeats(e backend.Event) bool {
	switch e {
	case backend.Connect, backend.Refresh, backend.Subscribe, backend.SubRefresh, backend.ChannelState:
		return true
	}
	return false
}

// ask asks a question and gives the answer, whose refusals are not errors; an error is a
// *Failure.
func ask[R settler](ctx context.Context, l *line, c *backend.Client, r *request) (*answer[R], error) {
	out := new(answer[R])
	if err := l.ask(ctx, c, r, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (l *line) ask(ctx context.Context, c *backend.Client, r *request, out reply) error {
	l.counters.calls.Add(1)
	defer l.ep.active.Add(-1)
	if l.ep.active.Add(1) > int64(l.ep.ConcurrencyMax) {
		return l.fail(KindConcurrency, errConcurrency)
	}
	if l.event != backend.ChannelState {
		r.Client, r.Transport, r.Protocol = c.ID, c.Transport, c.Encoding
		r.encode(l.ep.BinaryEncoding)
	}
	if l.ep.IncludeMeta && l.event != backend.Connect {
		r.Meta = c.Meta
	}
	begin := l.cfg.Now()
	bounded, cancel := context.WithTimeoutCause(ctx, l.ep.Timeout, errPatience)
	defer cancel()
	o := l.attempts(bounded, c, r, out)
	if o.kind != KindBreaker {
		l.counters.observe(l.cfg.Now().Sub(begin))
	}
	if o.err == nil {
		return nil
	}
	if ctx.Err() == context.Canceled {
		o.kind = KindCanceled
	}
	return l.fail(o.kind, o.err)
}

// attempts asks until there is an answer or no hope.
func (l *line) attempts(ctx context.Context, c *backend.Client, r *request, out reply) (o outcome) {
	delay := l.ep.RetryDelay
	for n := 0; ; n++ {
		term, ok := l.breaker.ask()
		if !ok && n > 0 {
			return o // what made it open says more
		}
		if !ok {
			return outcome{kind: KindBreaker, err: errBreaker}
		}
		out.reset()
		o = l.attempt(ctx, term, c, r, out)
		if !o.again || n >= l.ep.Retries || !repeats(l.event) {
			return o
		}
		// Full jitter: of many clients that failed together no two come back together.
		if l.cfg.Sleep(ctx, time.Duration(l.cfg.Random()*float64(delay))) != nil {
			return o
		}
		delay *= 2
		l.counters.retries.Add(1)
	}
}

// attempt asks once and tells the breaker, whatever happens.
func (l *line) attempt(ctx context.Context, term uint64, c *backend.Client, r *request, out reply) (o outcome) {
	o.verdict = verdictBad // for a RoundTripper that panics
	defer func() { l.tell(term, o) }()
	o = l.ep.caller.call(ctx, l.event, c, r, out)
	if o.kind == KindTimeout && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errPatience) {
		o.verdict = verdictNone // who asked had less patience than the endpoint is given: others go on asking
	}
	if o.err == nil {
		if kind, err := out.check(); err != nil {
			o = outcome{kind: kind, err: err, verdict: verdictBad}
		}
	}
	return o
}

func (l *line) tell(term uint64, o outcome) {
	state, changed := l.breaker.tell(term, o.verdict)
	if !changed {
		return
	}
	level, text := slog.LevelInfo, "backend answers again: asking it as before"
	if state == Open {
		level, text = slog.LevelWarn, "backend fails: leaving it alone for a while"
		if o.kind == KindTimeout {
			l.ep.caller.renew()
		}
	}
	l.cfg.Logger.Log(context.Background(), level, text, "endpoint", l.name, "event", l.event.String(), "kind", o.kind.String(), "error", o.err)
}

// fail counts a failure and sometimes logs it.
func (l *line) fail(k Kind, err error) error {
	l.counters.errors[k].Add(1)
	f := &Failure{Event: l.event, Endpoint: l.name, Kind: k, Err: err}
	if k == KindCanceled || k == KindBreaker {
		return f // nobody's fault, and said when it opened
	}
	if due, before := l.failures.Due("", l.cfg.Now()); due {
		l.cfg.Logger.Warn("backend was asked in vain", "endpoint", l.name, "event", l.event.String(), "kind", k.String(), "error", err, "unlogged", before)
	}
	return f
}
