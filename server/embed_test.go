package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/handshake"
	"shoal/pool/worker"
	"shoal/server/api"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/config"
)

// host is somebody's net/http server that has a program inside it.
type host struct {
	*rig
	mux  *http.ServeMux
	http *httptest.Server
}

// mounted starts a program without a port of its own, inside a server with other routes.
func mounted(t *testing.T, change func(*config.Config), embed Embed) *host {
	t.Helper()
	embed.NoListener = true
	r := start(t, tuned(func(c *config.Config) {
		c.Loop.CloseTimeout = 100 * time.Millisecond // raw clients do not close their end
		if change != nil {
			change(c)
		}
	}), func(o *Options) { o.Embed = embed })
	h := hosted(t, r)
	if r.p.Addr().IsValid() {
		t.Errorf("it listens on %v", r.p.Addr())
	}
	return h
}

// hosted puts a running program inside a server.
func hosted(t *testing.T, r *rig) *host {
	t.Helper()
	h := &host{rig: r, mux: http.NewServeMux()}
	h.mux.Handle("/live", r.p.Handler())
	h.mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	h.http = httptest.NewServer(h.mux)
	t.Cleanup(h.http.Close)
	return h
}

// use mounts the endpoint behind middleware.
func (h *host) use(path string, middleware func(next http.Handler) http.Handler) {
	h.mux.Handle(path, middleware(h.p.Handler()))
}

func (h *host) live() string { return "ws" + strings.TrimPrefix(h.http.URL, "http") + "/live" }

// dial opens a TCP connection to the host.
func (h *host) dial(t *testing.T) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &raw{t: t, r: h.rig, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

func TestStockClientOverTheMountedHandler(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		h := mounted(t, nil, Embed{})
		endpoints, err := h.p.Endpoints()
		if err != nil {
			t.Fatal(err)
		}
		h.mux.Handle("/shoal/", http.StripPrefix("/shoal", endpoints))
		c := dial(h.live(), centrifuge.Config{})
		connected(t, c)
		sub, pubs := subscribed(t, c, "news")
		if err := h.p.Publish(t.Context(), "news", []byte(`{"from":"go"}`)); err != nil {
			t.Fatal(err)
		}
		if got := string(wait(t, "publication", pubs).Data); got != `{"from":"go"}` {
			t.Errorf("got %s", got)
		}
		if _, err := sub.Publish(t.Context(), []byte(`{"from":"client"}`)); err != nil {
			t.Fatal(err)
		}
		if got := string(wait(t, "publication", pubs).Data); got != `{"from":"client"}` {
			t.Errorf("got %s", got)
		}
		h.base = h.http.URL + "/shoal"
		if status, body := h.call("publish", `{"channel":"news","data":{"from":"api"}}`); status != 200 || body != `{"result":{}}` {
			t.Errorf("the API answered %d %s", status, body)
		}
		if got := string(wait(t, "publication", pubs).Data); got != `{"from":"api"}` {
			t.Errorf("got %s", got)
		}
		for path, want := range map[string]string{"/hello": "hello", "/shoal/health": "{}"} {
			req, _ := http.NewRequest(http.MethodGet, h.http.URL+path, nil)
			if status, body := do(t, req); status != 200 || body != want {
				t.Errorf("%s answered %d %q", path, status, body)
			}
		}
	})
}

func TestTheGoAPIRefusesWithErrors(t *testing.T) {
	h := mounted(t, nil, Embed{})
	err := h.p.Publish(t.Context(), "unknown:x", []byte(`{}`))
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code != 102 {
		t.Errorf("an unknown namespace gives %v, want error 102", err)
	}
	c := h.dial(t)
	c.upgradeTo("/live")
	c.connect("")
	c.subscribe("news")
	calls := h.p.API()
	stats, e := calls.Info(t.Context(), api.InfoRequest{})
	if e != nil || stats.Nodes[0].NumClients != 1 {
		t.Errorf("info: %+v, %v", stats, e)
	}
	if _, e := calls.Broadcast(t.Context(), api.BroadcastRequest{Channels: []string{"news", "other"}, Data: []byte(`{"n":1}`)}); e != nil {
		t.Error(e)
	}
	if got := string(c.pub().Data); got != `{"n":1}` {
		t.Errorf("got %s", got)
	}
}

// answer is what a refused request gets, as far as it may depend on the mounting.
func answer(c *raw) string {
	res := c.response()
	body, _ := io.ReadAll(res.Body)
	var lines []string
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Version", "Allow", "Retry-After", "Content-Type", "X-Content-Type-Options"} {
		if v := res.Header.Values(name); len(v) > 0 {
			if n, err := strconv.Atoi(v[0]); name == "Retry-After" && err == nil && n >= 1 && n <= 10 {
				v = []string{"soon"} // another number each time
			}
			lines = append(lines, name+": "+strings.Join(v, ", "))
		}
	}
	if res.Close { // net/http takes this header away
		lines = append(lines, "closes")
	}
	_, err := c.in.ReadByte()
	return fmt.Sprintf("%d %s | %s | then %v", res.StatusCode, strings.TrimSpace(string(body)), strings.Join(lines, " | "), err)
}

func TestWrongRequestsAreRefusedAsAtTheFrontDoor(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.Client.AllowedOrigins = []string{"https://example.org"}
		c.Client.ConnectionLimit = 1
		c.Handshake.HeaderCountLimit = 20
	}))
	h := hosted(t, r)
	without := func(line string) string { return strings.Replace(upgrade("/@"), line+"\r\n", "", 1) }
	with := func(lines ...string) string { return upgrade("/@", lines...) }
	cases := map[string]string{
		"no upgrade":      without("Upgrade: websocket"),
		"no connection":   without("Connection: Upgrade"),
		"no version":      without("Sec-WebSocket-Version: 13"),
		"no key":          without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
		"post":            strings.Replace(with("Content-Length: 0"), "GET", "POST", 1),
		"old version":     strings.Replace(with(), "Version: 13", "Version: 8", 1),
		"two versions":    with("Sec-WebSocket-Version: 13"),
		"two keys":        with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
		"bad key":         strings.Replace(with(), "bm9uY2U", "!!", 1) + "",
		"short key":       strings.Replace(with(), "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 1),
		"body":            with("Content-Length: 3") + "abc",
		"chunks":          with("Transfer-Encoding: chunked") + "0\r\n\r\n",
		"foreign origin":  with("Origin: https://evil.example"),
		"two origins":     with("Origin: https://example.org", "Origin: https://example.org"),
		"two tokens":      with("Authorization: Bearer a", "Authorization: Bearer b"),
		"subprotocol":     with("Sec-WebSocket-Protocol: a, a"),
		"extension":       with("Sec-WebSocket-Extensions: ;;"),
		"many headers":    with(strings.Split(strings.Repeat("X-A: b,", 20), ",")[:20]...),
		"bad target":      strings.Replace(with(), "/@", "/@?%zz=\x80", 1),
		"HTTP/1.0":        strings.Replace(with(), "HTTP/1.1", "HTTP/1.0", 1),
		"frames follow":   without("Upgrade: websocket") + string(maskedText(`{"id":1,"connect":{}}`)),
		"allowed, full":   with("Origin: https://example.org"),
		"several at once": strings.Replace(with("Upgrade: h2c"), "Version: 13", "Version: 12", 1),
	}
	delete(cases, "bad key")
	full := h.dial(t)
	full.upgradeTo("/live")
	full.connect("")
	for name, request := range cases {
		native, inside := r.dialRaw(t), h.dial(t)
		native.write([]byte(strings.Replace(request, "/@", wsPath, 1)))
		inside.write([]byte(strings.Replace(request, "/@", "/live", 1)))
		a, b := answer(native), answer(inside)
		if strings.HasPrefix(a, "200") || strings.HasPrefix(a, "101") {
			t.Errorf("%s: %s", name, a)
		}
		a, b = wording(a), wording(b)
		if a != b {
			t.Errorf("%s:\nfront door: %s\n   mounted: %s", name, a, b)
		}
	}
	if n := r.p.door.Refusals(handshake.OriginDenied); n != 2 {
		t.Errorf("%d foreign origins are counted, want 2", n)
	}
}

// wording leaves away how a connection ends, which depends on what was not read.
func wording(a string) string {
	a, _, _ = strings.Cut(a, " | then")
	return strings.ReplaceAll(a, "Connection: close", "closes")
}

func TestFramesRightBehindTheUpgradeAreRead(t *testing.T) {
	h := mounted(t, nil, Embed{})
	for _, size := range []int{0, 100, 4000, 5000, 30_000} { // net/http buffers 4,096 bytes
		c := h.dial(t)
		c.write(append([]byte(upgrade("/live")), maskedText(fmt.Sprintf(`{"id":1,"connect":{"name":"%s"}}`, strings.Repeat("n", size)))...))
		c.write(maskedText(`{"id":2,"subscribe":{"channel":"news"}}`))
		if res := c.response(); res.StatusCode != 101 {
			t.Fatalf("%d bytes behind: %s", size, res.Status)
		}
		if size > 16_000 { // longer than names may be, but it is the session that says so
			continue
		}
		replies := c.replies(2)
		if replies[0].Connect == nil || replies[1].Subscribe == nil {
			t.Errorf("%d bytes behind: %v", size, replies)
		}
	}
}

func TestHostedConnsCostNoMoreThanNativeOnes(t *testing.T) {
	const n = 1000
	r := start(t, tuned(func(c *config.Config) { c.Loop.MemoryTrimPeriod = 0 }))
	h := hosted(t, r)
	open := func(addr, path string) (heap, goroutines float64, stop func()) {
		var conns []net.Conn
		_ = heapBytes()
		before, routines, files := heapBytes(), runtime.NumGoroutine(), openDescriptors(t)
		commands := append(maskedText(`{"id":1,"connect":{}}`), maskedText(`{"id":2,"subscribe":{"channel":"news"}}`)...)
		connected := r.p.node.Stats().Subscriptions.Load()
		buf := make([]byte, 4096)
		for range n {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write(append([]byte(upgrade(path)), commands...))
			if k, err := conn.Read(buf); err != nil || !bytes.HasPrefix(buf[:k], []byte("HTTP/1.1 101")) {
				t.Fatalf("%s answered %q, %v", path, buf[:k], err)
			}
		}
		eventually(t, "all are subscribed", func() bool { return r.p.node.Stats().Subscriptions.Load() == connected+n })
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= routines+20 })
		eventually(t, "a conn has one descriptor at each end", func() bool { return openDescriptors(t) <= files+2*n+20 })
		heap = float64(int64(heapBytes())-int64(before)) / n
		goroutines = float64(runtime.NumGoroutine() - routines)
		return heap, goroutines, func() {
			for _, conn := range conns {
				conn.Close()
			}
			eventually(t, "all have gone", func() bool { return r.p.node.Stats().Subscriptions.Load() == connected })
			eventually(t, "no descriptor is left", func() bool { return openDescriptors(t) <= files+20 })
		}
	}
	_, _, warm := open(r.p.Addr().String(), wsPath) // slabs and tables have their size then
	warm()
	native, nativeRoutines, stop := open(r.p.Addr().String(), wsPath)
	stop()
	inside, insideRoutines, stop := open(h.http.Listener.Addr().String(), "/live")
	stop()
	t.Logf("heap per conn, both ends: native %.0f B, hosted %.0f B; goroutines: native %+.0f, hosted %+.0f", native, inside, nativeRoutines, insideRoutines)
	if inside > native+256 {
		t.Errorf("a hosted conn holds %.0f B of heap, a native one %.0f B", inside, native)
	}
}

func openDescriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc:", err)
	}
	return len(all)
}

// opaque is a wrapper that lets nobody look behind it, but hijack.
type opaque struct{ w http.ResponseWriter }

func (o opaque) Header() http.Header         { return o.w.Header() }
func (o opaque) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o opaque) WriteHeader(code int)        { o.w.WriteHeader(code) }
func (o opaque) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(o.w).Hijack()
}

// mute is a wrapper that cannot be hijacked.
type mute struct{ w http.ResponseWriter }

func (o mute) Header() http.Header         { return o.w.Header() }
func (o mute) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o mute) WriteHeader(code int)        { o.w.WriteHeader(code) }

// unwrapping is a wrapper as frameworks have them.
type unwrapping struct{ http.ResponseWriter }

func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// framework remembers that something was written, and writes later.
type framework struct {
	unwrapping
	wrote bool
}

func (f *framework) Written() bool { return f.wrote }

func TestMiddlewareThatWroteIsToldAndBreaksNoUpgrade(t *testing.T) {
	h := mounted(t, nil, Embed{})
	cases := map[string]struct {
		middleware func(w http.ResponseWriter, r *http.Request, next http.Handler)
		want       string // beginning of all that the client gets
	}{
		"header": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.WriteHeader(202)
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 202"},
		"body": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			fmt.Fprint(w, "hi")
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 200"},
		"flushed": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 200"},
		"wrapped": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.WriteHeader(200)
			next.ServeHTTP(unwrapping{w}, r)
		}, "HTTP/1.1 200"},
		"hidden": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.WriteHeader(203)
			next.ServeHTTP(opaque{w}, r)
		}, "HTTP/1.1 203"},
		"told by a framework": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&framework{unwrapping{w}, true}, r)
		}, "HTTP/1.1 200"},
		"not to be hijacked": {func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(mute{w}, r) }, "HTTP/1.1 501"},
		"timeout": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			http.TimeoutHandler(next, time.Minute, "").ServeHTTP(w, r)
		}, "HTTP/1.1 501"},
		"a header smuggled in": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header.Set("X-A", "b\r\nSec-WebSocket-Version: 13")
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 400"},
		"a name smuggled in": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			r.Header["X: y\r\nZ"] = []string{"b"}
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 400"},
		"headers only": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			w.Header().Set("X-A", "b")
			next.ServeHTTP(w, r)
		}, "HTTP/1.1 101"},
		"a framework that waits": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&framework{unwrapping{w}, false}, r)
		}, "HTTP/1.1 101"},
		"hidden, but honest": {func(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(opaque{w}, r) }, "HTTP/1.1 101"},
	}
	for name, one := range cases {
		path := "/" + strings.NewReplacer(" ", "-", ",", "").Replace(name)
		h.use(path, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { one.middleware(w, r, next) })
		})
		logged := len(h.logs.since(0))
		c := h.dial(t)
		c.write([]byte(upgrade(path)))
		head := make([]byte, len(one.want))
		if _, err := io.ReadFull(c.in, head); err != nil || string(head) != one.want {
			t.Errorf("%s: the client got %q, %v, want %s", name, head, err, one.want)
			continue
		}
		if one.want == "HTTP/1.1 101" {
			continue
		}
		c.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // a kept connection does not end
		rest, _ := io.ReadAll(c.in)
		if bytes.Contains(rest, []byte("101 Switching")) {
			t.Errorf("%s: a broken upgrade: %q", name, rest)
		}
		if one.want != "HTTP/1.1 400" && len(h.logs.since(logged)) == 0 {
			t.Errorf("%s: nothing was logged", name)
		}
	}
}

func TestTLSAndHTTP2AreAnsweredWithAdvice(t *testing.T) {
	h := mounted(t, nil, Embed{})
	s := httptest.NewUnstartedServer(h.mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	for _, c := range []struct {
		protocols []string
		status    int
		advice    string
	}{{[]string{"http/1.1"}, 501, "a proxy that ends TLS"}, {[]string{"h2"}, 505, "Switch HTTP/2 off"}} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: c.protocols}, ForceAttemptHTTP2: c.protocols[0] == "h2"}
		req, _ := http.NewRequest(http.MethodGet, s.URL+"/live", nil)
		if c.status == 501 {
			req.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		transport.CloseIdleConnections()
		if res.StatusCode != c.status || !strings.Contains(string(body), c.advice) {
			t.Errorf("%v: %s %s", c.protocols, res.Status, body)
		}
	}
}

// limited counts the conns that are not closed, as netutil.LimitListener does.
type limited struct {
	net.Listener
	open atomic.Int64
	hide bool
}

type limitedConn struct {
	*net.TCPConn
	of *limited
}

func (c limitedConn) Close() error { c.of.open.Add(-1); return c.TCPConn.Close() }

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	if l.hide {
		return struct{ net.Conn }{c}, nil
	}
	return limitedConn{c.(*net.TCPConn), l}, nil
}

func TestWrappedConnsAreTakenIfTheyLetTheirDescriptorBeSeen(t *testing.T) {
	h := mounted(t, nil, Embed{})
	for _, hide := range []bool{false, true} {
		s := httptest.NewUnstartedServer(h.mux)
		ln := &limited{Listener: s.Listener, hide: hide}
		s.Listener = ln
		s.Start()
		c := (&host{rig: h.rig, http: s}).dial(t)
		c.write([]byte(upgrade("/live")))
		res := c.response()
		if want := map[bool]int{false: 101, true: 500}[hide]; res.StatusCode != want {
			t.Errorf("hidden %t: answered %s, want %d", hide, res.Status, want)
		}
		if !hide {
			eventually(t, "the wrapper's Close is called", func() bool { return ln.open.Load() == 0 })
			c.connect("")
		}
		s.Close()
		c.conn.Close()
	}
}

func TestShutdownOfTheHostAndOfTheProgramInEitherOrder(t *testing.T) {
	for _, hostFirst := range []bool{true, false} {
		h := mounted(t, nil, Embed{})
		c := h.dial(t)
		c.upgradeTo("/live")
		c.connect("")
		c.subscribe("news")
		if hostFirst {
			if err := h.http.Config.Shutdown(t.Context()); err != nil {
				t.Errorf("the host's shutdown: %v", err)
			}
			if err := h.p.Publish(t.Context(), "news", []byte(`{}`)); err != nil {
				t.Error(err)
			}
			c.pub() // the session lives on
		}
		h.stop()
		c.expectClosed(3001)
		if !hostFirst {
			late := h.dial(t)
			late.write([]byte(upgrade("/live")))
			if res := late.response(); res.StatusCode != 503 {
				t.Errorf("after the end: %s", res.Status)
			}
		}
	}
}

func TestUpgradesBeforeRunWaitAndAreClosedIfItNeverComes(t *testing.T) {
	files := openDescriptors(t)
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(cfg, Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test", Embed: Embed{NoListener: true}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(p.Handler())
	c := (&host{rig: &rig{t: t, p: p}, http: s}).dial(t)
	c.write([]byte(upgrade("/")))
	eventually(t, "the connection is at the loop", func() bool { return p.loops.Stats().MailboxDepth > 0 })
	ended := make(chan struct{})
	go func() { // it may have been served for a moment
		_, _ = io.Copy(io.Discard, c.in)
		c.conn.Close()
		close(ended)
	}()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	wait(t, "end of the connection", ended)
	s.Close()
	eventually(t, "no descriptor is left", func() bool { return openDescriptors(t) <= files })
}

func TestUserOfTheHostsSessionByHeader(t *testing.T) {
	h := mounted(t, func(c *config.Config) {
		c.Client.AllowAnonymousConnect = false
		c.Client.Insecure = false
		c.Client.UserIDHTTPHeader = "X-Host-User"
	}, Embed{})
	h.use("/members", func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("X-Host-User") // what clients claim
			if cookie, err := r.Cookie("session"); err == nil && cookie.Value == "s3cret" {
				r.Header.Set("X-Host-User", "alice")
			}
			next.ServeHTTP(w, r)
		})
	})
	c := h.dial(t)
	c.upgradeTo("/members", "Cookie: session=s3cret")
	c.connect("")
	conns, e := h.p.API().Connections(t.Context(), api.ConnectionsRequest{})
	if e != nil || len(conns.Connections) != 1 {
		t.Fatalf("%+v, %v", conns, e)
	}
	for _, conn := range conns.Connections {
		if conn.User != "alice" {
			t.Errorf("connected as %q", conn.User)
		}
	}
	forger := h.dial(t)
	forger.upgradeTo("/members", "X-Host-User: alice")
	forger.say(`{"id":1,"connect":{}}`)
	forger.expectClosed(3501)
}

// scripted are callbacks that write down what they are asked.
type scripted struct {
	mu  sync.Mutex
	log []string
}

func (s *scripted) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *scripted) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

func (s *scripted) callbacks() Callbacks {
	return Callbacks{
		Headers: []string{"Cookie"},
		OnConnecting: func(_ context.Context, r *ConnectRequest) (*ConnectReply, error) {
			s.note("connect %s %s", r.Headers["cookie"], r.Data)
			switch r.Headers["cookie"] {
			case "":
				return nil, Unauthorized()
			case "silent":
				return nil, nil
			case "broken":
				return &ConnectReply{User: "x", Data: []byte("no JSON")}, nil
			case "down":
				return nil, errors.New("the database is away")
			}
			return &ConnectReply{User: r.Headers["cookie"], Data: []byte(`{"hi":1}`), Subs: []ServerSub{{Channel: "all"}}}, nil
		},
		OnSubscribe: func(_ context.Context, r *SubscribeRequest) (*SubscribeReply, error) {
			s.note("subscribe %s %s", r.User, r.Channel)
			if r.Channel == "secret" {
				return nil, PermissionDenied()
			}
			return &SubscribeReply{Data: []byte(`{"topic":"` + r.Channel + `"}`)}, nil
		},
		OnPublish: func(_ context.Context, r *PublishRequest) (*PublishReply, error) {
			s.note("publish %s %s %s", r.User, r.Channel, r.Data)
			if string(r.Data) == `"swear"` {
				return nil, &Disconnect{Code: 4501, Reason: "mind your language"}
			}
			return &PublishReply{Data: []byte(`{"by":"` + r.User + `"}`)}, nil
		},
		OnRPC: func(_ context.Context, r *RPCRequest) (*RPCReply, error) {
			s.note("rpc %s %s %s", r.User, r.Method, r.Data)
			switch r.Method {
			case "sum":
				return &RPCReply{Data: []byte(`3`)}, nil
			case "own":
				return nil, fmt.Errorf("wrapped: %w", &Error{Code: 1000, Message: "no more stock"})
			case "panic":
				panic("in a callback")
			}
			return nil, MethodNotFound()
		},
		OnMessage: func(_ context.Context, r *MessageRequest) error {
			s.note("message %s %s", r.User, r.Data)
			return nil
		},
		OnDisconnect: func(_ context.Context, c *Client, why Disconnect) {
			s.note("disconnect %s %d", c.User, why.Code)
		},
	}
}

func TestCallbacksAreAskedAndAnswer(t *testing.T) {
	s := &scripted{}
	h := mounted(t, func(c *config.Config) { c.Client.Insecure = false }, Embed{Callbacks: s.callbacks()})
	ann := h.dial(t)
	ann.upgradeTo("/live", "Cookie: ann")
	ann.say(`{"id":1,"connect":{"data":{"a":1}}}`)
	if r := ann.replies(1)[0]; string(r.Connect.GetData()) != `{"hi":1}` || r.Connect.Subs["all"] == nil {
		t.Errorf("connect: %v", r)
	}
	ann.say(`{"id":2,"subscribe":{"channel":"room"}}`)
	if r := ann.replies(1)[0]; string(r.Subscribe.GetData()) != `{"topic":"room"}` {
		t.Errorf("subscribe: %v", r)
	}
	for i, one := range []struct {
		command string
		code    uint32
		data    string
	}{
		{`"subscribe":{"channel":"secret"}`, 103, ""}, {`"rpc":{"method":"sum","data":[1,2]}`, 0, "3"},
		{`"rpc":{"method":"own"}`, 1000, ""}, {`"rpc":{"method":"other"}`, 104, ""}, {`"rpc":{"method":"panic"}`, 100, ""},
	} {
		ann.say(fmt.Sprintf(`{"id":%d,%s}`, 10+i, one.command))
		r := ann.replies(1)[0]
		if r.Error.GetCode() != one.code || string(r.Rpc.GetData()) != one.data {
			t.Errorf("%s: %v", one.command, r)
		}
	}
	ann.say(`{"send":{"data":"psst"}}`)
	ann.say(`{"id":20,"publish":{"channel":"room","data":{}}}`)
	for _, r := range ann.replies(2) {
		if r.Push != nil && string(r.Push.Pub.GetData()) != `{"by":"ann"}` {
			t.Errorf("publication: %v", r)
		}
	}
	ann.say(`{"id":21,"publish":{"channel":"room","data":"swear"}}`)
	ann.expectClosed(4501)
	for cookie, want := range map[string]int{"": 3500, "silent": 3004, "broken": 3004, "down": 3004} {
		c := h.dial(t)
		var lines []string
		if cookie != "" {
			lines = append(lines, "Cookie: "+cookie)
		}
		c.upgradeTo("/live", lines...)
		c.say(`{"id":1,"connect":{}}`)
		c.expectClosed(want)
	}
	if result, e := h.p.API().RPC(t.Context(), api.RPCRequest{Method: "sum"}); e != nil || string(result.Data) != "3" {
		t.Errorf("rpc of the API: %s, %v", result.Data, e)
	}
	bob := h.dial(t)
	bob.upgradeTo("/live", "Cookie: bob")
	bob.say(`{"id":1,"connect":{}}`)
	bob.replies(1)
	bob.conn.Close()
	eventually(t, "bob's end is told", func() bool { return strings.Contains(s.all(), "disconnect bob 3000") })
	last := h.dial(t)
	last.upgradeTo("/live", "Cookie: last")
	last.say(`{"id":1,"connect":{}}`)
	last.replies(1)
	h.stop() // Run returns when the last end was told
	want := []string{`connect ann {"a":1}`, "subscribe ann room", "subscribe ann secret", "rpc ann sum [1,2]", `message ann "psst"`,
		`publish ann room {}`, "disconnect ann 4501", "disconnect last 3001", "rpc  sum"}
	for _, line := range want {
		if strings.Count(s.all(), line) != 1 {
			t.Errorf("%q was not told once:\n%s", line, s.all())
		}
	}
	if n := strings.Count(s.all(), "disconnect "); n != 3 {
		t.Errorf("%d ends were told, want those of the three that had connected:\n%s", n, s.all())
	}
}

// other is a backend that is asked about everything that callbacks leave to it.
type other struct {
	backend.Backend
	asked []string
}

func (o *other) Handles(backend.Event, string, *channel.Options) bool { return true }
func (o *other) RPC(context.Context, *RPCRequest) (*RPCReply, error) {
	o.asked = append(o.asked, "rpc")
	return &RPCReply{}, nil
}
func (o *other) Publish(context.Context, *PublishRequest) (*PublishReply, error) {
	o.asked = append(o.asked, "publish")
	return &PublishReply{}, nil
}

func TestCallbacksComeBeforeTheProxies(t *testing.T) {
	next := &other{}
	c := &callbacks{Callbacks: &Callbacks{OnRPC: func(context.Context, *RPCRequest) (*RPCReply, error) { return &RPCReply{Data: []byte("1")}, nil }}, next: next, log: slog.New(slog.DiscardHandler)}
	if r, err := c.RPC(t.Context(), &RPCRequest{}); err != nil || string(r.Data) != "1" {
		t.Errorf("rpc: %v, %v", r, err)
	}
	if _, err := c.Publish(t.Context(), &PublishRequest{}); err != nil || fmt.Sprint(next.asked) != "[publish]" {
		t.Errorf("publish: %v, asked %v", err, next.asked)
	}
	alone := &callbacks{Callbacks: c.Callbacks, log: c.log}
	for e := range backend.Event(backend.EventCount) {
		if got, want := alone.Handles(e, "", nil), e == backend.RPC; got != want || !c.Handles(e, "", nil) {
			t.Errorf("%s: handled alone %t, want %t", e, got, want)
		}
	}
}

// A client that makes a callback fail does not write the log as fast as it can send.
func TestFailuresOfCallbacksAreLoggedSeldom(t *testing.T) {
	logs, now, no := &logLines{}, time.Unix(1e9, 0), errors.New("bad input")
	c := &callbacks{log: logs.logger(), clock: func() time.Time { return now }, Callbacks: &Callbacks{
		OnRPC:          func(context.Context, *RPCRequest) (*RPCReply, error) { return nil, no },
		OnMessage:      func(context.Context, *MessageRequest) error { return no },
		OnChannelState: func(context.Context, *ChannelState) error { return no },
	}}
	for range 100 {
		_, err := c.RPC(t.Context(), &RPCRequest{})
		_, err2 := c.Send(t.Context(), &MessageRequest{})
		if err3 := c.ChannelState(t.Context(), &ChannelState{}); err == nil || err2 == nil || err3 == nil {
			t.Fatal(err, err2, err3)
		}
	}
	now = now.Add(backend.SeldomInterval)
	_, _ = c.RPC(t.Context(), &RPCRequest{})
	got := strings.Join(logs.since(0), "\n")
	for _, want := range []string{"event=rpc", "event=send", "event=channel_state", "unlogged=99"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the log:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "callback failed"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, got)
	}
}

func TestEndsAreToldWhateverTheCallbackDoes(t *testing.T) {
	const n = 10_000
	var told atomic.Int64
	logs := &logLines{}
	p := newPartings(func(_ context.Context, c *Client, _ Disconnect) {
		if told.Add(1)%100 == 0 {
			panic("in OnDisconnect")
		}
		if c.User == "exit" {
			runtime.Goexit()
		}
	}, nil, logs.logger())
	var loops sync.WaitGroup
	for i := range 4 {
		loops.Go(func() {
			for j := range n / 4 {
				user := ""
				if j == 7 && i == 0 {
					user = "exit"
				}
				p.add(Client{User: user}, Disconnect{Code: 3000})
			}
		})
	}
	loops.Wait()
	eventually(t, "all are told", func() bool { return told.Load() == n })
	if err := p.close(t.Context()); err != nil {
		t.Error(err)
	}
	if p.tellers != 0 || len(p.waiting) != 0 {
		t.Errorf("%d tellers, %d waiting after the end", p.tellers, len(p.waiting))
	}
	p.add(Client{}, Disconnect{}) // does not panic, and nobody is told
	if told.Load() != n {
		t.Error("told after the end")
	}
	var nobody *partings
	if err := nobody.close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseGivesUpOnACallbackThatBlocks(t *testing.T) {
	blocked := make(chan struct{})
	p := newPartings(func(ctx context.Context, _ *Client, _ Disconnect) { close(blocked); <-ctx.Done() }, nil, slog.New(slog.DiscardHandler))
	p.add(Client{}, Disconnect{})
	wait(t, "callback", blocked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
}

func TestOverflowOfEndsIsBoundedAndLogged(t *testing.T) {
	logs := &logLines{}
	hold := make(chan struct{})
	var told atomic.Int64
	p := newPartings(func(context.Context, *Client, Disconnect) { <-hold; told.Add(1) }, nil, logs.logger())
	p.waiting = make([]parting, partingsMax)
	p.add(Client{}, Disconnect{})
	p.add(Client{}, Disconnect{})
	if len(p.waiting) != partingsMax || len(logs.since(0)) != 1 {
		t.Errorf("%d wait, %d lines were logged", len(p.waiting), len(logs.since(0)))
	}
	p.waiting = nil
	close(hold)
	p.add(Client{}, Disconnect{})
	eventually(t, "one is told", func() bool { return told.Load() == 1 })
	if err := p.close(t.Context()); err != nil {
		t.Error(err)
	}
}

var _ worker.Job = teller{}

func BenchmarkUpgradeOfAHostedConn(b *testing.B) {
	cfg, _, err := config.Load(config.LoadOptions{Environ: []string{}, Flags: map[string]any{"dev": true, "log.level": "error"}})
	if err != nil {
		b.Fatal(err)
	}
	p, err := New(cfg, Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test", Embed: Embed{NoListener: true}})
	if err != nil {
		b.Fatal(err)
	}
	m := p.Handler().(*mount)
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(upgrade("/live", "Origin: http://localhost", "User-Agent: x", "Cookie: a=b"))))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, status := m.admit(req); status != handshake.Done {
			b.Fatal(status)
		}
	}
	if err := p.Close(); err != nil {
		b.Fatal(err)
	}
}
