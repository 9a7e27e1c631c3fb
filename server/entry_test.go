package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/entry"
	"shoal/server/node/seal"
)

// knock sends an upgrade, behind a PROXY header if one is given, and returns the status.
func (r *rig) knock(t *testing.T, proxy string) (*raw, *http.Response) {
	t.Helper()
	c := r.dialRaw(t)
	c.write([]byte(proxy + upgrade(wsPath)))
	return c, c.response()
}

// refusedEntry checks a refusal for want of room: what it says, and that the server keeps
// nothing of the connection though the client keeps its end.
func (r *rig) refusedEntry(t *testing.T, proxy, reason string) {
	t.Helper()
	before := r.p.door.Refusals(statusNamed(t, reason))
	c, res := r.knock(t, proxy)
	body, _ := io.ReadAll(res.Body)
	after, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if res.StatusCode != 503 || err != nil || after < 1 || after > 10 || strings.Count(string(body), "\n") != 1 {
		t.Fatalf("answered %s, Retry-After %q, %q", res.Status, res.Header.Get("Retry-After"), body)
	}
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("bytes follow the refusal")
	}
	if n := r.p.door.Refusals(statusNamed(t, reason)); n != before+1 {
		t.Errorf("refused for %s: %d, want %d", reason, n, before+1)
	}
}

// connectsRefused is how many connect commands were refused for a reason.
func (r *rig) connectsRefused(want entry.Reason) (count uint64) {
	r.p.entry.Stats().EachRefusal(func(why entry.Reason, n uint64) {
		if why == want {
			count = n
		}
	})
	return count
}

func TestAnAddressHasSoManyConnections(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.Admission.IPConnectionLimit = 3
		c.Loop.CloseTimeout = 10 * time.Minute // a refusal does not wait for the peer
	}))
	var open []*raw
	for range 3 {
		c := r.openRaw(t, "")
		c.connect("")
		open = append(open, c)
	}
	for range 5 {
		r.refusedEntry(t, "", "ip-connections")
	}
	eventually(t, "nothing is kept of those refused", func() bool { return r.p.loops.Stats().Descriptors == 3 })
	for range 3 { // whoever goes makes room, however
		c := open[0]
		open = open[1:]
		c.conn.Close()
		eventually(t, "there is room", func() bool { return r.p.node.Stats().Sessions.Load() == 2 })
		c = r.openRaw(t, "")
		c.connect("")
		open = append(open, c)
	}
	r.refusedEntry(t, "", "ip-connections")
	if status, _ := r.call("publish", publishX); status != 200 {
		t.Errorf("the API answered %d", status)
	}
	if n := r.metrics(t)["shoal_addresses"]; n != 1 {
		t.Errorf("%v addresses, want 1", n)
	}
}

func TestLoopbackIsExemptOnlyIfConfigured(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.Admission.IPConnectionLimit, c.Admission.IPConnectionRate = 1, 1
		c.Admission.IPExempt = []string{"127.0.0.0/8", "::1"}
	}))
	for range 20 {
		r.openRaw(t, "").connect("")
	}
}

func TestTheClientsAddressIsTheOneThatTheProxyNames(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		c.Admission.IPConnectionLimit = 2
		c.ProxyProtocol.Enabled, c.ProxyProtocol.Trusted = true, []string{"127.0.0.0/8"}
		c.HTTPServer.InternalPort = freePort(t)
	}))
	named := func(address string) string {
		return fmt.Sprintf("PROXY TCP%d %s %s 4711 8000\r\n", 4+2*min(strings.Count(address, ":"), 1), address, map[bool]string{false: "127.0.0.1", true: "::1"}[strings.Contains(address, ":")])
	}
	for _, addresses := range [][2]string{{"1.2.3.4", "1.2.3.4"}, {"1.2.3.5", "1.2.3.5"}, {"2001:db8:0:1::1", "2001:db8:0:1:8000::9"}, {"2001:db8:0:2::1", "2001:db8:0:2::1"}} {
		for _, address := range addresses {
			if _, res := r.knock(t, named(address)); res.StatusCode != 101 {
				t.Fatalf("%s: answered %s", address, res.Status)
			}
		}
		r.refusedEntry(t, named(addresses[0]), "ip-connections")
	}
	for range 2 { // one that names no client is the proxy's own
		r.knock(t, "PROXY UNKNOWN\r\n")
	}
	r.refusedEntry(t, "PROXY UNKNOWN\r\n", "ip-connections")
}

func TestNewConnectionsPerSecondAreLimited(t *testing.T) {
	for _, c := range []struct {
		reason string
		change func(*config.Config)
	}{
		{"connection-rate", func(c *config.Config) { c.Client.ConnectionRateLimit = 1 }},
		{"ip-connection-rate", func(c *config.Config) { c.Admission.IPConnectionRate, c.Admission.IPConnectionBurst = 1, 3 }},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r := start(t, tuned(c.change))
			r.openRaw(t, "").connect("")
			status := statusNamed(t, c.reason)
			eventually(t, "one is too many", func() bool {
				peer, res := r.knock(t, "")
				peer.conn.Close()
				return res.StatusCode == 503 && r.p.door.Refusals(status) > 0
			})
			eventually(t, "one later is not", func() bool {
				_, res := r.knock(t, "")
				return res.StatusCode == 101
			})
		})
	}
}

func TestHandshakesUnderWayAreLimited(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Admission.HandshakeLimit = 2 }))
	first, second := r.openRaw(t, ""), r.openRaw(t, "")
	r.refusedEntry(t, "", "handshakes")
	if n := r.metrics(t)["shoal_handshakes"]; n != 2 {
		t.Errorf("%v handshakes, want 2", n)
	}
	first.connect("")
	third := r.openRaw(t, "")
	r.refusedEntry(t, "", "handshakes")
	second.conn.Close()
	eventually(t, "it is gone", func() bool { return r.p.entry.Pending() == 1 })
	r.openRaw(t, "").connect("")
	third.connect("")
}

func TestAUserHasSoManyConnections(t *testing.T) {
	r := start(t, tuned(withTokens, recovering, func(c *config.Config) { c.Client.UserConnectionLimit = 2 }))
	of := func(user string) string { return token(t, claims{"sub": user}) }
	first, resume := r.asking(t, "", "42", "news")
	r.openRaw(t, "?format=protobuf").connect(of("42"))
	for _, query := range []string{"", "?format=protobuf"} {
		c := r.openRaw(t, query)
		c.message(connectCommand(c, &proto.ConnectRequest{Token: of("42")}))
		c.expectClosed(3504)
		c = r.openRaw(t, query)
		c.message(connectCommand(c, &proto.ConnectRequest{Resume: resume}))
		c.expectClosed(3504)
	}
	if n := r.connectsRefused(entry.UserConns); n != 4 {
		t.Errorf("%d were refused, want 4", n)
	}
	r.openRaw(t, "").connect(of("43"))
	first.hangUp()
	c := r.openRaw(t, "") // and the refusals have not spoiled the token
	if again := c.connectWith(&proto.ConnectRequest{Resume: resume}); !again.Resumed {
		t.Errorf("connect answered %v", again)
	}
	c = r.openRaw(t, "")
	c.message(connectCommand(c, &proto.ConnectRequest{Token: of("42")}))
	c.expectClosed(3504)
}

// connectCommand is a connect command in the encoding of a client.
func connectCommand(c *raw, r *proto.ConnectRequest) []byte {
	c.t.Helper()
	c.id++
	b, err := proto.AppendCommand(nil, c.enc, &proto.Command{Id: c.id, Connect: r})
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func TestWhoComesBackComesFirst(t *testing.T) {
	r := start(t, tuned(withTokens, recovering, func(c *config.Config) { c.Admission.ConnectRate = 4 }))
	c, resume := r.asking(t, "", "42", "news")
	c.hangUp()
	eventually(t, "others are too many", func() bool {
		c := r.openRaw(t, "")
		defer c.conn.Close()
		c.message(connectCommand(c, &proto.ConnectRequest{Token: token(t, claims{"sub": "43"})}))
		reply := c.replies(1)[0]
		if reply.Connect != nil {
			return false
		}
		if e := reply.GetError(); e.GetCode() != uint32(channel.ErrTooManyRequests) || !e.GetTemporary() {
			t.Fatalf("connect answered %v", reply)
		}
		c.expectClosed(3013)
		return true
	})
	// Others leave at least one of four.
	if again := r.openRaw(t, "").connectWith(&proto.ConnectRequest{Resume: resume}); !again.Resumed {
		t.Errorf("connect answered %v", again)
	}
	if r.connectsRefused(entry.ConnectRate) == 0 || r.resumes(seal.None) != 1 {
		t.Error("the refusals were not counted")
	}
	r.grown(t, `shoal_connects_refused_total{reason="connect-rate"}`, map[string]float64{})
}

// A stock SDK takes the error and the code behind it for what they are: it comes back by itself until it is let in.
func TestStockClientsComeBackUntilTheyAreLetIn(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(func(c *config.Config) { c.Admission.ConnectRate = 2 }))
		const clients = 6
		in := make(chan struct{}, clients)
		var refused atomic.Int32
		for range clients {
			c := dial(r.ws(), centrifuge.Config{MinReconnectDelay: 50 * time.Millisecond, MaxReconnectDelay: 500 * time.Millisecond})
			c.OnConnected(func(centrifuge.ConnectedEvent) { in <- struct{}{} })
			c.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
				if e.Code >= 3000 {
					refused.Add(1)
				}
			})
			t.Cleanup(c.Close)
			if err := c.Connect(); err != nil {
				t.Fatal(err)
			}
		}
		for range clients {
			wait(t, "a client is let in", in)
		}
		if r.connectsRefused(entry.ConnectRate) == 0 {
			t.Error("nobody was refused: the test shows nothing")
		}
		if n := refused.Load(); n != 0 {
			t.Errorf("%d clients gave up", n)
		}
	})
}

func TestAMountedEndpointHasTheSameLimits(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Admission.IPConnectionLimit = 2 }))
	h := hosted(t, r)
	open := func() (*raw, int) {
		c := h.dial(t)
		c.write([]byte(upgrade("/live")))
		return c, c.response().StatusCode
	}
	first, _ := open()
	if _, code := open(); code != 101 {
		t.Fatalf("the second: %d", code)
	}
	if _, code := open(); code != 503 {
		t.Errorf("the third: %d", code)
	}
	first.conn.Close()
	eventually(t, "there is room", func() bool { return r.p.node.Stats().Sessions.Load() == 1 })
	if _, code := open(); code != 101 {
		t.Errorf("after one left: %d", code)
	}
}

// Whatever way connections end, what was counted is given back: start's settled looks.
func TestNothingStaysCounted(t *testing.T) {
	r := start(t, tuned(withTokens, func(c *config.Config) {
		c.Admission.IPConnectionLimit, c.Client.UserConnectionLimit, c.Admission.HandshakeLimit = 1000, 1000, 1000
	}))
	for i := range 60 {
		c := r.openRaw(t, []string{"", "?format=protobuf"}[i%2])
		switch i % 6 {
		case 0: // nothing more
		case 1:
			c.conn.Close()
		case 2:
			c.connect(token(t, claims{"sub": "42"}))
		case 3:
			c.connect(token(t, claims{"sub": "42"}))
			c.conn.Close()
		case 4:
			c.say("this is no command")
		case 5:
			c.message(connectCommand(c, &proto.ConnectRequest{Token: "no token"}))
		}
	}
	watch := r.openRaw(t, "")
	watch.connect(token(t, claims{"sub": "43"}))
	if _, body := r.call("disconnect", `{"user":"42"}`); !strings.Contains(body, "result") {
		t.Errorf("disconnect answered %s", body)
	}
	eventually(t, "all are gone but the silent and the watcher", func() bool { return r.p.node.Stats().Sessions.Load() <= 21 })
}

func TestFullAcceptQueuesAreSeen(t *testing.T) {
	r := start(t, quick)
	m := r.metrics(t)
	for _, name := range []string{"shoal_listen_overflows_total", "shoal_listen_drops_total"} {
		if _, ok := m[name]; !ok {
			t.Errorf("%s is not there", name)
		}
	}
	overflows := m["shoal_listen_overflows_total"] // whatever the machine has seen so far
	since := len(r.logs.since(0))
	r.p.overflows.Store(0) // as if all of it had happened since the last look
	r.p.watchAcceptQueue(acceptQueueSeconds - 1)
	r.p.watchAcceptQueue(acceptQueueSeconds)
	if lines := r.logs.since(since); (len(lines) == 1) != (overflows > 0) || overflows > 0 && !strings.Contains(lines[0], "net.core.somaxconn") {
		t.Errorf("logged %q after %v overflows", lines, overflows)
	}
	r.p.overflows.Store(1 << 40) // a machine that was started anew in the meantime
	r.p.watchAcceptQueue(acceptQueueSeconds)
	if lines := r.logs.since(since); len(lines) > 1 {
		t.Errorf("logged %q", lines)
	}
}

func statusNamed(t *testing.T, name string) handshake.Status {
	t.Helper()
	for _, s := range handshake.Statuses() {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("no status is called %s", name)
	return 0
}
