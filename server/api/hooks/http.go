package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"shoal/server/backend"
)

const (
	idleTimeout       = 90 * time.Second
	headerBytesMax    = 64 << 10
	drainBytesMax     = 4 << 10 // of a refused answer, so that its conn can be used again
	pingAfter         = 15 * time.Second
	pingTimeout       = 5 * time.Second
	bodyBytesExpected = 512
)

// httpCaller posts JSON.
type httpCaller struct {
	url        string
	client     *http.Client
	static     http.Header
	pass       passing
	transforms []Transform
	bytesMax   int
	own        *http.Transport // nil: given by configuration
}

func newHTTPCaller(e *Endpoint) *httpCaller {
	c := &httpCaller{url: e.URL, static: http.Header{}, pass: newPassing(e), transforms: e.Transforms, bytesMax: e.ResponseBytesMax}
	for k, v := range e.StaticHeaders {
		c.static.Set(k, v)
	}
	trip := e.RoundTripper
	if trip == nil {
		c.own = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: e.Timeout, KeepAlive: pingAfter}).DialContext,
			TLSClientConfig:        e.TLS,
			TLSHandshakeTimeout:    max(e.Timeout, pingTimeout),
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			MaxIdleConnsPerHost:    e.ConcurrencyMax,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: headerBytesMax,
		}
		trip = c.own
	}
	// A followed redirect would take what a client sent and static_headers to whoever it names, or
	// ask there by a GET without a body; only the endpoint of the configuration lets anybody in.
	c.client = &http.Client{Transport: trip, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c
}

// renew does nothing: an HTTP/1 conn ends with the request that timed out on it, and an
// HTTP/2 conn is pinged.
func (c *httpCaller) renew() {}

func (c *httpCaller) close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

func (c *httpCaller) header(from *backend.Client) http.Header {
	h := c.static.Clone()
	c.pass.each(from, func(name, value string) {
		if validHeader(name, value) {
			h.Set(name, value)
		}
	})
	h.Set("Content-Type", "application/json")
	return h
}

func (c *httpCaller) call(ctx context.Context, _ backend.Event, from *backend.Client, r *request, out reply) outcome {
	body, err := json.Marshal(r)
	if err != nil {
		return outcome{kind: KindRequest, err: fmt.Errorf("data or meta is not JSON; set binary_encoding for clients that send something else: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return outcome{kind: KindRequest, err: err}
	}
	req.Header = c.header(from)
	resp, err := c.client.Do(req)
	if err != nil {
		return broken(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, drainBytesMax)
		return c.status(resp.StatusCode, out)
	}
	text, o := c.read(ctx, resp.Body)
	if o.err != nil {
		return o
	}
	if err := json.Unmarshal(text, out); err != nil {
		return outcome{kind: KindGarbage, err: fmt.Errorf("the body is not the JSON of an answer: %w", err), verdict: verdictBad}
	}
	return outcome{verdict: verdictGood}
}

// read reads the body, at most bytesMax of it.
func (c *httpCaller) read(ctx context.Context, body io.Reader) ([]byte, outcome) {
	buf := bytes.NewBuffer(make([]byte, 0, bodyBytesExpected))
	n, err := buf.ReadFrom(io.LimitReader(body, int64(c.bytesMax)+1))
	switch {
	case err != nil:
		return nil, broken(ctx, err)
	case n > int64(c.bytesMax):
		return nil, outcome{kind: KindTooLarge, err: fmt.Errorf("the body has more than %d bytes", c.bytesMax), verdict: verdictGood}
	}
	return buf.Bytes(), outcome{}
}

// status is the outcome of a status other than 200. Below 500 the backend works: it
// means the question, and a client must not be able to open the breaker with it.
func (c *httpCaller) status(code int, out reply) outcome {
	o := outcome{verdict: verdictGood}
	switch code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		o.again = true
	}
	if code >= http.StatusInternalServerError {
		o.verdict = verdictBad
	}
	for i := range c.transforms {
		if c.transforms[i].Status == code {
			out.transformed(&c.transforms[i])
			return o
		}
	}
	o.kind, o.err = KindStatus, fmt.Errorf("HTTP status %d where 200 is an answer; answer 200, or map it in status_to_code_transforms", code)
	if code/100 == 3 {
		o.err = fmt.Errorf("HTTP status %d: a redirect is not followed; set the endpoint to the address that answers 200, or map it in status_to_code_transforms", code)
	}
	return o
}

// broken is the outcome of an error of the network.
func broken(ctx context.Context, err error) outcome {
	// The text of a *url.Error has the URL, whose query may hold a secret.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	var timeout net.Error
	switch {
	case ctx.Err() == context.Canceled:
		return outcome{kind: KindCanceled, err: err}
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return outcome{kind: KindTimeout, err: err, verdict: verdictBad}
	}
	return outcome{kind: KindUnreachable, err: err, verdict: verdictBad, again: true}
}
