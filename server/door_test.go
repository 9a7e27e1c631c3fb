package server

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"shoal/server/config"
)

func post(path, key, body string, lines ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: %d\r\n%s\r\n%s",
		path, key, len(body), strings.Join(append(lines, ""), "\r\n"), body)
}

const publishX = `{"channel":"x","data":1}`

func (c *raw) expectStatus(want int) *http.Response {
	c.t.Helper()
	res := c.response()
	if res.StatusCode != want {
		c.t.Errorf("answered %s, want %d", res.Status, want)
	}
	return res
}

// Requests that are no upgrade leave the loop, however their bytes arrive.
func TestOrdinaryRequestsAreHandedOver(t *testing.T) {
	r := start(t, quick)
	before := r.metrics(t)
	request := post("/api/publish", r.key, publishX)
	for _, chop := range []int{0, 1, 2, 3, 17, len(request) - len(publishX), len(request) - 1} {
		c := r.dialRaw(t)
		c.chopped([]byte(request), chop)
		c.expectStatus(200)
	}
	c := r.dialRaw(t)
	for i := range 3 { // the same connection again, with a break at another place
		c.write([]byte(request[:40*i+10]))
		c.write([]byte(request[40*i+10:]))
		c.expectStatus(200)
	}
	r.grown(t, "shoal_requests_handed_over_total", before)
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	r := start(t, quick)
	for _, chop := range []int{0, 1, 100} {
		c := r.dialRaw(t)
		all := post("/api/publish", r.key, publishX) + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n" +
			post("/api/publish", "wrong", publishX) + "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		c.chopped([]byte(all), chop)
		for _, want := range []int{200, 200, 401, 404} {
			c.expectStatus(want)
		}
		if _, err := c.in.ReadByte(); err == nil {
			t.Error("bytes follow the last answer")
		}
	}
}

func TestLargeAndChunkedBodiesArriveWhole(t *testing.T) {
	r := start(t, quick)
	c := r.openRaw(t, "?format=protobuf")
	c.connect("")
	c.subscribe("x")
	data := `"` + strings.Repeat("0123456789", 30_000) + `"`
	body := `{"channel":"x","data":` + data + `}`
	for name, request := range map[string]string{
		"length": post("/api/publish", r.key, body),
		"chunks": fmt.Sprintf("POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			r.key, 1000, body[:1000], len(body)-1000, body[1000:]),
	} {
		h := r.dialRaw(t)
		h.chopped([]byte(request), 8111)
		h.expectStatus(200)
		if got := string(c.pub().Data); got != data {
			t.Errorf("%s: %d bytes came, want %d", name, len(got), len(data))
		}
	}
	h := r.dialRaw(t)
	request := post("/api/publish", r.key, publishX, "Expect: 100-continue")
	at := strings.Index(request, "\r\n\r\n") + 4
	h.write([]byte(request[:at]))
	h.expectStatus(100)
	h.write([]byte(request[at:]))
	h.expectStatus(200)
}

func TestUpgradeElsewhereIsNotFound(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Dev = false }))
	for _, path := range []string{"/", "/connection", "/connection/websocket/", "/connection/websockets", "/echo"} {
		c := r.dialRaw(t)
		c.write([]byte(upgrade(path)))
		c.expectStatus(404)
	}
	c := r.dialRaw(t)
	c.write([]byte("GET " + wsPath + " HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	if res := c.expectStatus(426); res.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("426 without Sec-WebSocket-Version: %v", res.Header)
	}
}

// A refused upgrade ends the connection, so that a second request hidden behind it is
// never read.
func TestNothingIsReadBehindARefusedUpgrade(t *testing.T) {
	r := start(t, quick)
	smuggled := post("/api/publish", r.key, publishX)
	before := r.metrics(t)
	for _, head := range []string{
		without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 777"),
		upgrade(wsPath, fmt.Sprintf("Content-Length: %d", len(smuggled))),
		without("Host"),
	} {
		c := r.dialRaw(t)
		c.write([]byte(head + smuggled))
		if res := c.response(); res.StatusCode/100 != 4 {
			t.Errorf("answered %s", res.Status)
		}
		if _, err := c.in.ReadByte(); err == nil {
			t.Error("bytes follow the refusal")
		}
	}
	if m := r.metrics(t); m[`shoal_api_requests_total{method="publish"}`] != before[`shoal_api_requests_total{method="publish"}`] {
		t.Error("the request behind a refused upgrade was served")
	}
}

func TestFramesBehindTheUpgradeAreRead(t *testing.T) {
	r := start(t, quick)
	for _, chop := range []int{0, 1, 190, 200} {
		c := r.dialRaw(t)
		b := append([]byte(upgrade(wsPath)), maskedText(`{"id":1,"connect":{}}`)...)
		c.chopped(append(b, maskedText(`{"id":2,"subscribe":{"channel":"x"}}`)...), chop)
		c.expectStatus(101)
		if got := c.replies(2); got[0].Connect == nil || got[1].Subscribe == nil {
			t.Errorf("chop %d: answered %v", chop, got)
		}
	}
}

func TestBackstageEndpoints(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprintf("internal port %t", apart), func(t *testing.T) {
			r := start(t, tuned(func(c *config.Config) {
				if apart {
					c.HTTPServer.InternalPort = freePort(t)
				}
			}))
			backstage := r.base
			if apart {
				backstage = "http://" + r.p.InternalAddr().String()
			}
			status := func(base, path string) int {
				req, err := http.NewRequest(http.MethodGet, base+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := do(t, req)
				return got
			}
			for _, path := range []string{"/metrics", "/health", "/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/vars"} {
				if got := status(backstage, path); got != 200 {
					t.Errorf("%s answered %d", path, got)
				}
				if got := status(r.base, path); apart && got == 200 && strings.HasPrefix(path, "/debug") {
					t.Errorf("%s is open on the public port", path)
				}
			}
			if apart {
				for _, path := range []string{"/metrics", "/health"} {
					if got := status(r.base, path); got != 404 {
						t.Errorf("%s on the public port answered %d, want 404", path, got)
					}
				}
				if got, _ := r.request(t, http.MethodPost, "/api/publish", publishX, "X-API-Key: "+r.key); got == 200 {
					t.Error("the API is open on the public port")
				}
				r.base = backstage
			}
			if got, _ := r.request(t, http.MethodPost, "/api/publish", publishX, "X-API-Key: "+r.key); got != 200 {
				t.Errorf("the API answered %d", got)
			}
			r.openRaw(t, "").connect("")
		})
	}
}

func TestExternalAPIIsOnBothPorts(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.HTTPServer.InternalPort, c.HTTPAPI.External = freePort(t), true }))
	for _, base := range []string{r.base, "http://" + r.p.InternalAddr().String()} {
		r.base = base
		if got, _ := r.request(t, http.MethodPost, "/api/publish", publishX, "X-API-Key: "+r.key); got != 200 {
			t.Errorf("%s: answered %d", base, got)
		}
	}
}

func TestEverythingIsOffByDefault(t *testing.T) {
	r := start(t, func(c *config.Config) {
		*c = config.Default()
		c.HTTPServer.Address, c.HTTPServer.Port = "127.0.0.1", 0
	})
	for _, path := range []string{"/", "/metrics", "/health", "/debug/pprof/", "/debug/vars", "/api/publish", "/echo"} {
		if got, _ := r.request(t, http.MethodGet, path, ""); got != 404 {
			t.Errorf("%s answered %d, want 404", path, got)
		}
	}
	c := r.openRaw(t, "")
	c.say(`{"id":1,"connect":{}}`)
	c.expectClosed(3501)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func proxyV2Header() string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x7f\x00\x00\x01")
	b = binary.BigEndian.AppendUint16(b, 4711)
	return string(binary.BigEndian.AppendUint16(b, 8000))
}

func TestProxyProtocol(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.ProxyProtocol.Enabled, c.ProxyProtocol.Trusted = true, []string{"127.0.0.0/8"}
		c.HTTPServer.InternalPort = freePort(t)
	}))
	public := r.base
	r.base = "http://" + r.p.InternalAddr().String() // no balancer in front of that
	before := r.metrics(t)
	for name, header := range map[string]string{
		"v1":         "PROXY TCP4 1.2.3.4 127.0.0.1 4711 8000\r\n",
		"v1 IPv6":    "PROXY TCP6 2001:db8::1 ::1 4711 8000\r\n",
		"v1 unknown": "PROXY UNKNOWN\r\n",
		"v2":         proxyV2Header(),
		"v2 local":   "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
	} {
		for _, chop := range []int{0, 1, 13} {
			c := r.dialRaw(t)
			c.chopped([]byte(header+upgrade(wsPath)), chop)
			if res := c.response(); res.StatusCode != 101 {
				t.Errorf("%s, chop %d: upgrade answered %s", name, chop, res.Status)
				continue
			}
			c.connect("")
			h := r.dialRaw(t)
			h.chopped([]byte(header+"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"), chop)
			h.expectStatus(404)
		}
	}
	for name, c := range map[string]struct{ bytes, reason string }{
		"none":         {upgrade(wsPath), "not-proxy"},
		"bad address":  {"PROXY TCP4 1.2.3 127.0.0.1 4711 8000\r\n" + upgrade(wsPath), "bad-proxy-addr"},
		"endless line": {"PROXY TCP4 " + strings.Repeat("1", 200), "bad-proxy-line"},
		"lying length": {"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02\x01\x02" + upgrade(wsPath), "bad-proxy-len"},
	} {
		conn := r.dialRaw(t)
		conn.write([]byte(c.bytes))
		if _, err := conn.in.ReadByte(); err == nil {
			t.Errorf("%s: was answered", name)
		}
		r.grown(t, fmt.Sprintf(`websocket_handshakes_refused_total{reason=%q}`, c.reason), before)
	}
	_ = public
}

func TestProxyHeaderFromAnUntrustedPeerIsRefused(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.ProxyProtocol.Enabled, c.ProxyProtocol.Trusted = true, []string{"10.0.0.0/8"}
	}))
	c := r.dialRaw(t)
	c.write([]byte("PROXY TCP4 1.2.3.4 127.0.0.1 4711 8000\r\n" + upgrade(wsPath)))
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("it was answered")
	}
}

func TestConnectionLimitAnswers503(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Client.ConnectionLimit = 3 }))
	var open []*raw
	for range 3 {
		c := r.openRaw(t, "")
		c.connect("")
		open = append(open, c)
	}
	before := r.metrics(t)
	c := r.dialRaw(t)
	c.write([]byte(upgrade(wsPath)))
	c.expectStatus(503)
	r.grown(t, `websocket_handshakes_refused_total{reason="overloaded"}`, before)
	open[0].conn.Close()
	eventually(t, "there is room again", func() bool { return r.p.node.Stats().Sessions.Load() == 2 })
	r.openRaw(t, "").connect("")
}

// A slow body is the HTTP server's affair; it holds no loop.
func TestSlowBodyHarmsNobody(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Loop.Loops = 1 }))
	watch := r.control(t, "")
	request := post("/api/publish", r.key, publishX)
	var slow []*raw
	for range 20 {
		c := r.dialRaw(t)
		c.write([]byte(request[:len(request)-5]))
		slow = append(slow, c)
	}
	watch.check(t)
	for _, c := range slow {
		c.conn.SetDeadline(time.Now().Add(patience))
		c.write([]byte(request[len(request)-5:]))
		c.expectStatus(200)
	}
}
