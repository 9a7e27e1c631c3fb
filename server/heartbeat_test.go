package server

import (
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/config"
)

// heartbeats pings as often as the configuration lets us.
func heartbeats(c *config.Config) {
	c.Client.PingInterval, c.Client.PongTimeout = 1200*time.Millisecond, time.Second
	c.Client.StaleCloseDelay = 200 * time.Millisecond
}

// pinged reads until a ping comes: the empty reply, or a ping frame. It answers
// nothing; false means that the connection was closed, with code.
func (c *raw) pinged() (ok bool, code int) {
	c.t.Helper()
	for {
		op, _, payload, err := c.next()
		switch {
		case err != nil:
			c.t.Fatalf("neither ping nor close frame: %v", err)
		case op == ws.PingOp:
			return true, 0
		case op == ws.CloseOp:
			return false, int(payload[0])<<8 | int(payload[1])
		case op == ws.Text || op == ws.Binary:
			if rs := c.decode(payload); len(rs) == 1 && isPing(rs[0]) {
				return true, 0
			}
		}
	}
}

func (c *raw) pong() { c.message(proto.AppendPong(nil, c.enc)) }

func TestSilentClientIsEndedWith3012(t *testing.T) {
	for _, query := range []string{"", "?format=protobuf", "?cf_ws_frame_ping_pong=true"} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			r := start(t, tuned(heartbeats))
			before := r.metrics(t)
			c := r.openRaw(t, query)
			c.connect("")
			if ok, code := c.pinged(); !ok {
				t.Fatalf("closed with %d before any ping", code)
			}
			if ok, code := c.pinged(); ok || code != 3012 {
				t.Errorf("another ping %t, closed with %d, want 3012", ok, code)
			}
			r.grown(t, `shoal_disconnects_total{code="3012"}`, before)
			r.grown(t, "shoal_pongs_missed_total", before)
			r.grown(t, `shoal_conns_closed_total{reason="timeout"}`, before)
		})
	}
}

func TestAnswersKeepTheConnection(t *testing.T) {
	answers := map[string]func(c *raw){
		"pong":          (*raw).pong,
		"another frame": func(c *raw) { c.frame(ws.PingOp, true, false, nil) },
		"half a frame":  func(c *raw) { c.write([]byte{0x89}); c.write([]byte{0x80, 1, 2, 3, 4}) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, tuned(heartbeats))
			c := r.openRaw(t, map[string]string{"pong": "?format=protobuf"}[name])
			if res := c.connect(""); !res.Pong || res.Ping != 2 {
				t.Errorf("connect result says ping %d s, pong %t; want 2 and true", res.Ping, res.Pong)
			}
			for range 3 {
				if ok, code := c.pinged(); !ok {
					t.Fatalf("closed with %d", code)
				}
				answer(c)
			}
			c.subscribe("still-here")
		})
	}
}

func TestNativePingsAreAnsweredByPongFrames(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(heartbeats))
	c := r.openRaw(t, "?cf_ws_frame_ping_pong=true")
	if res := c.connect(""); res.Pong || res.Ping != 0 {
		t.Errorf("connect result asks for protocol pongs: ping %d, pong %t", res.Ping, res.Pong)
	}
	for range 3 {
		op, _, payload, err := c.next()
		if err != nil || op != ws.PingOp {
			t.Fatalf("got %s %q %v, want a ping frame", op, payload, err)
		}
		c.frame(ws.PongOp, true, false, payload)
	}
	c.subscribe("still-here")
}

func TestWhoDoesNotConnectIsStale(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(heartbeats))
	before := r.metrics(t)
	r.openRaw(t, "").expectClosed(3502)
	c := r.openRaw(t, "")
	for range 3 { // control frames do not make a client of it
		c.frame(ws.PingOp, true, false, nil)
	}
	c.expectClosed(3502)
	half := r.openRaw(t, "")
	half.write([]byte{0x81, 0xfe, 0x10})
	half.expectClosed(3502)
	r.grown(t, `shoal_disconnects_total{code="3502"}`, before)
}

func TestThreeMissesByConfiguration(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(heartbeats, func(c *config.Config) { c.Heartbeat.MissesMax = 3 }))
	c := r.openRaw(t, "")
	c.connect("")
	pings := 0
	for {
		ok, code := c.pinged()
		if ok {
			pings++
			continue
		}
		if code != 3012 || pings != 3 {
			t.Errorf("closed with %d after %d pings, want 3012 after 3", code, pings)
		}
		break
	}
	// A miss is forgiven by any sign of life.
	d := r.openRaw(t, "")
	d.connect("")
	for i := range 4 {
		if ok, code := d.pinged(); !ok {
			t.Fatalf("closed with %d after %d pings, every second one answered", code, i)
		}
		if i%2 == 1 {
			d.pong()
		}
	}
	d.subscribe("still-here")
}

func dormant(c *config.Config) {
	heartbeats(c)
	c.Heartbeat.Dormant = true
	c.Heartbeat.DormantMisses, c.Heartbeat.MissesMax = 1, 3
	c.Heartbeat.DormantTime = 15 * time.Second
}

func TestDormantClientIsStillServedAndWakes(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(dormant))
	gauge := func() float64 { return r.metrics(t)["shoal_sessions_dormant"] }
	c := r.openRaw(t, "")
	c.connect("")
	c.subscribe("news")
	c.write([]byte{0x89, 0x83, 1, 2}) // half a ping frame: a buffer is borrowed until dormancy
	eventually(t, "dormant", func() bool { return gauge() == 1 })
	if status, body := r.call("publish", `{"channel":"news","data":{"to":"the sleeper"}}`); status != 200 || body != `{"result":{}}` {
		t.Fatalf("publish answered %d %s", status, body)
	}
	for {
		if rs := c.decode(c.data()); !isPing(rs[0]) {
			if got := string(rs[0].Push.Pub.Data); got != `{"to":"the sleeper"}` {
				t.Errorf("got %s", got)
			}
			break
		}
	}
	c.write([]byte{3, 4, 5, 6, 7}) // the rest of a frame that was given up
	c.expectClosed(1008)

	d := r.openRaw(t, "")
	d.connect("")
	eventually(t, "dormant", func() bool { return gauge() == 1 })
	d.pong()
	eventually(t, "awake", func() bool { return gauge() == 0 })
	d.subscribe("news")
}

func TestDormantClientIsEndedWith3012(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(dormant, func(c *config.Config) { c.Heartbeat.DormantTime = time.Second }))
	c := r.openRaw(t, "")
	c.connect("")
	c.expectClosed(3012)
	eventually(t, "no sleeper", func() bool { return r.metrics(t)["shoal_sessions_dormant"] == 0 })
}

func TestBusyClientIsPingedLessThanAnIdleOne(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(heartbeats))
	idle, busy := r.openRaw(t, ""), r.openRaw(t, "")
	idle.connect("")
	busy.connect("")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 {
			if ok, _ := idle.pinged(); !ok {
				return
			}
			idle.pong()
		}
	}()
	pings, commands := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(30 * time.Millisecond):
		}
		busy.say(`{"id":5,"unsubscribe":{"channel":"x"}}`)
		for answered := false; !answered; {
			for _, reply := range busy.decode(busy.data()) {
				if isPing(reply) {
					pings++
					busy.pong()
				} else {
					answered = true
					commands++
				}
			}
		}
	}
	if pings >= 4 {
		t.Errorf("%d pings to a client that got %d replies, 4 to the idle one", pings, commands)
	}
}

func TestExpiredCredentialsEndWith3005(t *testing.T) {
	t.Parallel()
	r := start(t, tuned(withTokens, func(c *config.Config) { c.Client.ExpiredCloseDelay = 0 }))
	c := r.openRaw(t, "")
	res := c.connect(token(t, claims{"sub": "u", "exp": time.Now().Add(time.Second).Unix() + 1}))
	if !res.Expires || res.Ttl == 0 {
		t.Errorf("connect result does not tell that the token expires: %v", res)
	}
	c.expectClosed(3005)
}
