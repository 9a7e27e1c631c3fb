package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"shoal/codec/handshake"
	"shoal/loop"
	"shoal/server/api"
	"shoal/server/entry"
	"shoal/server/transport/door"
)

// Embed is what a program that has a [Program] inside it may want.
type Embed struct {
	Callbacks Callbacks
	// NoListener leaves the front door out: clients come by [Program.Handler], the API is
	// [Program.API] or [Program.Endpoints]. http_server.port then has no meaning; ports that
	// are configured besides it, internal and gRPC, are opened.
	NoListener bool
}

// Handler takes WebSocket upgrades in any mux or framework over net/http and hands their
// connections to the loops: nothing of net/http remains with an open one, no goroutine and
// no buffer. Requests are checked and refused as on the program's own port; they are not
// matched with websocket.handler_prefix, since the mux has done that. What middleware
// changed in the request's headers counts.
//
// The connection must be HTTP/1.1 over plain TCP: HTTP/2 is answered 505, TLS in this
// process 501. Middleware must not have written anything: such a request keeps that
// response, is not upgraded, and an error is logged. Server.ConnState sees StateHijacked;
// Server.Shutdown does not wait for open sessions, which [Program.Run] ends with code 3001
// when its context ends. Before Run, upgrades wait for it; afterwards they are answered 503.
//
// The handler may be mounted several times and used from any goroutine.
func (p *Program) Handler() http.Handler {
	l := p.rows[0].l
	door, err := p.doorConfig(l)
	ws, alsoErr := p.webSocketConfig(l)
	if err = errors.Join(err, alsoErr); err != nil {
		panic(err) // New has made one of each
	}
	return &mount{p: p, limits: door.Limits, rules: ws.Handshake}
}

// API is the server API for the program itself: the methods, requests and errors of the
// HTTP API without its encoding. Data is what clients get, for JSON clients JSON. Any
// goroutine; before Run serves and after it has ended everything fails with error 100.
func (p *Program) API() *api.Calls {
	return &api.Calls{
		Service: service{p}, BatchMax: p.cfg.HTTPAPI.BatchLimit, BroadcastMax: p.cfg.HTTPAPI.BroadcastLimit,
		Workers: p.workers, Spread: p.broker.Blocking(),
	}
}

// Publish publishes data in a channel; [Program.API] has the options. A failure is an
// *[Error].
func (p *Program) Publish(ctx context.Context, channel string, data []byte) error {
	if _, e := p.API().Publish(ctx, api.PublishRequest{Channel: channel, Data: data}); e != nil {
		return e
	}
	return nil
}

// Endpoints serves, as configured, what the front door has besides the transports: API,
// health, metrics, debug pages. It is for a program without a front door; mind that it has
// the internal ones unless http_server.internal_port gives them a port of their own.
func (p *Program) Endpoints() (http.Handler, error) {
	h, err := p.handlers()
	return h.public, err
}

// mount is the WebSocket endpoint inside net/http.
type mount struct {
	p      *Program
	limits handshake.Limits
	rules  handshake.Config
}

// The answers that the front door has no need of.
const (
	textHTTP2 = "WebSocket is served on HTTP/1.1 here. Switch HTTP/2 off for this server (http.Server.Protocols), or use Shoal's own port."
	textTLS   = "WebSocket is served on plain TCP here, and this server does TLS itself. Put a proxy that ends TLS in front, or use Shoal's own port."
	textTaken = "The server's middleware does not let go of the connection (http.Hijacker). Mount the WebSocket endpoint outside of it."
)

const logWritten = "WebSocket upgrade refused: middleware wrote a response before the handler was called; mount Program.Handler outside of it"

// ServeHTTP implements [http.Handler].
func (m *mount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.ProtoMajor > 1:
		refuse(w, http.StatusHTTPVersionNotSupported, textHTTP2)
		return
	case r.TLS != nil:
		refuse(w, http.StatusNotImplemented, textTLS)
		return
	case written(w):
		m.p.opts.Logger.Error(logWritten, "path", r.URL.Path)
		return // with that response
	}
	a, status := m.admit(r)
	if status.Failed() {
		m.p.door.Count(status)
		refuseStatus(w, status)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		m.p.opts.Logger.Error("WebSocket upgrade refused: middleware wraps the ResponseWriter and has neither Hijack nor Unwrap", "error", err)
		refuse(w, http.StatusNotImplemented, textTaken)
		return
	}
	if buffered.Writer.Buffered() > 0 { // not net/http's, which sends it
		m.p.opts.Logger.Error(logWritten, "path", r.URL.Path)
		_ = errors.Join(buffered.Flush(), conn.Close()) // the client gets what there is
		return
	}
	if n := buffered.Reader.Buffered(); n > 0 { // frames right behind the request
		early, _ := buffered.Peek(n)
		a.rest = bytes.Clone(early)
	}
	if err := m.p.loops.AttachConn(conn, kindDoor, a.arrived); err != nil {
		m.refuseConn(conn, err)
	}
}

// admit judges a request as a loop would.
func (m *mount) admit(r *http.Request) (*visit, handshake.Status) {
	head, ok := appendHead(nil, r)
	if !ok {
		return nil, handshake.ControlByte
	}
	a := &visit{p: m.p}
	var parser handshake.Parser
	_, status := parser.Parse(head, m.limits, &a.req)
	if status == handshake.NeedMore { // cannot be: appendHead ends the head
		status = handshake.Internal
	}
	if status == handshake.Done {
		status = handshake.CheckUpgrade(&a.req, &m.rules)
	}
	if status == handshake.Done {
		status = m.p.entry.Full() // more is asked on the loop
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.req.Remote = from.Addr()
	}
	return a, status
}

// appendHead writes the head of a request as it would have arrived; ok is false when
// middleware put something into it that no head can have.
func appendHead(dst []byte, r *http.Request) (_ []byte, ok bool) {
	dst = append(append(append(dst, r.Method...), ' '), r.URL.RequestURI()...)
	dst = append(strconv.AppendInt(append(dst, " HTTP/1."...), int64(r.ProtoMinor), 10), "\r\n"...)
	ok = true
	line := func(name, value string) {
		ok = ok && !strings.ContainsAny(name, "\r\n:") && !strings.ContainsAny(value, "\r\n")
		dst = append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
	}
	if r.Host != "" {
		line("Host", r.Host)
	}
	for _, coding := range r.TransferEncoding {
		line("Transfer-Encoding", coding)
	}
	for name, values := range r.Header {
		for _, value := range values {
			line(name, value)
		}
	}
	return append(dst, "\r\n"...), ok
}

// visit is an upgrade on its way to a loop.
type visit struct {
	p    *Program
	req  handshake.Request
	rest []byte // what the client sent behind the request
}

// arrived runs on the loop: it does what the front door does with a whole head.
func (v *visit) arrived(l *loop.Loop, slot uint32) {
	r := v.p.rows[l.Index()]
	l.Disarm(slot)
	if status := r.ws.Upgrade(slot, &v.req, v.rest); status.Failed() {
		v.p.door.Count(status)
		door.Refuse(l, slot, status)
	}
}

// refuseConn answers on a conn that the loops did not take.
func (m *mount) refuseConn(conn net.Conn, err error) {
	status := handshake.Overloaded
	switch {
	case errors.Is(err, loop.ErrClosed):
		status = handshake.ShuttingDown
	case errors.Is(err, loop.ErrMailboxFull), errors.Is(err, loop.ErrConnsMax):
	default:
		status = handshake.Internal
		m.p.opts.Logger.Error("WebSocket upgrade refused: the connection cannot be given to a loop", "conn", fmt.Sprintf("%T", conn), "error", err)
	}
	m.p.door.Count(status)
	_ = conn.SetWriteDeadline(m.p.opts.Clock().Add(refusalTime))
	_, _ = conn.Write(handshake.AppendRefusalRetry(nil, status, entry.RetrySeconds())) // nobody is left to tell of an error
	_ = conn.Close()
}

// refusalTime is how long a client may take to receive a refusal, which fits any buffer.
const refusalTime = time.Second

// refuseStatus answers like [handshake.AppendRefusal].
func refuseStatus(w http.ResponseWriter, s handshake.Status) {
	h := w.Header()
	switch s.Code() {
	case http.StatusUpgradeRequired:
		h["Connection"] = []string{"close", "Upgrade"}
		h.Set("Upgrade", "websocket")
		h["Sec-WebSocket-Version"] = []string{"13"}
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodGet)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(entry.RetrySeconds()))
	}
	refuse(w, s.Code(), s.Text())
}

// refuse answers with a sentence and has the connection closed, so that nothing sent
// behind a failed upgrade is understood as anything.
func refuse(w http.ResponseWriter, code int, text string) {
	if h := w.Header(); len(h["Connection"]) == 0 && code != http.StatusHTTPVersionNotSupported {
		h.Set("Connection", "close") // HTTP/2 has no such header
	}
	http.Error(w, text, code)
}

// written says whether a response was begun. net/http tells nobody, and lets a begun
// response be hijacked: its bytes would stand before the 101. So its own flag is looked at
// through the wrappers of middleware, and what frameworks' writers tell.
func written(w http.ResponseWriter) bool {
	for range wrappersMax {
		if f, ok := w.(interface{ Written() bool }); ok && f.Written() { // gin and others
			return true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = u.Unwrap()
	}
	return wroteHeader(reflect.ValueOf(w), wrappersMax)
}

// wrappersMax is how many writers one behind the other are looked at.
const wrappersMax = 16

// wroteHeader looks for the flag of net/http's response in a writer, and in those it wraps
// in a field.
func wroteHeader(v reflect.Value, deep int) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || deep == 0 {
		return false
	}
	writer := reflect.TypeFor[http.ResponseWriter]()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Name == "wroteHeader" && f.Type.Kind() == reflect.Bool:
			if v.Field(i).Bool() {
				return true
			}
		case f.Type.Implements(writer):
			if wroteHeader(v.Field(i), deep-1) {
				return true
			}
		}
	}
	return false
}
