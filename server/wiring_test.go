package server

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/node/route"
)

func TestAMachineOfManyProcessorsIsServed(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(route.LoopsMax + 1))
	cfg := config.Default()
	cfg.HTTPServer.Address, cfg.HTTPServer.Port = "127.0.0.1", 0
	p, err := New(cfg, Options{Version: "test", Clock: time.Now, Logger: slog.New(slog.DiscardHandler), UID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.loops.Loops(); got != route.LoopsMax {
		t.Errorf("%d loops, want the %d a node can have", got, route.LoopsMax)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheAPIMayLiveAtTheRoot(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) { c.Dev, c.HTTPAPI.HandlerPrefix = false, "/" }))
	if status, body := r.request(t, "POST", "/info", `{}`, "X-API-Key: "+r.key); status != 200 {
		t.Errorf("answered %d %s", status, body)
	}
}

func TestAnAddressMayHaveBrackets(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6")
	} else {
		l.Close()
	}
	r := start(t, func(c *config.Config) { c.HTTPServer.Address = "[::1]" })
	if got := r.p.Addr().Addr().String(); got != "::1" {
		t.Errorf("listens on %s", got)
	}
}

func TestANodeWithoutANameIsCalledByHostAndPort(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	r := start(t, nil)
	want := fmt.Sprintf(`"name":"%s_%d"`, host, r.p.Addr().Port())
	if _, body := r.call("info", `{}`); !strings.Contains(body, want) {
		t.Errorf("info is %s, want %s in it", body, want)
	}
	r = start(t, func(c *config.Config) { c.Node.Name = "reef" })
	if _, body := r.call("info", `{}`); !strings.Contains(body, `"name":"reef"`) {
		t.Errorf("info is %s", body)
	}
}

// A client that would not understand the reply to its command is told so by its end:
// after an error it would take itself for no member, and be one.
func TestAReplyThatJSONCannotCarryEndsTheSession(t *testing.T) {
	r := start(t, tuned(withTokens, func(c *config.Config) { c.Client.SubscriptionToken.Enabled = false }))
	c := r.openRaw(t, "")
	c.connect(token(t, claims{"sub": "42"}))
	odd := token(t, claims{"sub": "42", "channel": "odd", "b64data": base64.StdEncoding.EncodeToString([]byte{0xff})})
	c.say(`{"id":7,"unsubscribe":{"channel":"none"}}` + "\n" + fmt.Sprintf(`{"id":8,"subscribe":{"channel":"odd","token":%q}}`, odd) + "\n" +
		`{"id":9,"unsubscribe":{"channel":"none"}}`)
	if got, want := strings.TrimSpace(string(c.data())), `{"id":7,"unsubscribe":{}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.expectClosed(int(channel.DisconnectInappropriate))
}

func TestSeveralServersShareAPort(t *testing.T) {
	shared := func(port int) func(*config.Config) {
		return tuned(func(c *config.Config) { c.HTTPServer.Port, c.HTTPServer.SharePort = port, true })
	}
	first := start(t, shared(0))
	second := start(t, shared(int(first.p.Addr().Port())))
	if first.p.Addr() != second.p.Addr() {
		t.Fatalf("they listen on %s and %s", first.p.Addr(), second.p.Addr())
	}
	var clients []*raw
	for range 64 { // the kernel deals them out by a hash: that one server gets none has a chance of 2⁻⁶³
		c := first.openRaw(t, "")
		c.connect("")
		c.subscribe("news")
		clients = append(clients, c)
	}
	eventually(t, "each server has a part of them", func() bool {
		a, b := first.p.loops.Stats().Conns, second.p.loops.Stats().Conns
		return a > 0 && b > 0 && a+b == int64(len(clients))
	})
	for _, r := range []*rig{first, second} { // each is a node of its own
		if _, e := r.p.node.Publish(t.Context(), "news", &channel.Publication{Data: []byte(`{"x":1}`)}, node.PublishOptions{}); e != nil {
			t.Fatal(e)
		}
	}
	for _, c := range clients {
		c.pub()
		c.conn.Close()
	}
	second.stop()
	c := first.openRaw(t, "")
	c.connect("")
	c.conn.Close()
}

func TestAPortIsSharedOnlyByThoseWhoWantThat(t *testing.T) {
	first := start(t, tuned(func(c *config.Config) { c.HTTPServer.SharePort = true }))
	cfg := first.p.cfg
	cfg.HTTPServer.Port, cfg.HTTPServer.SharePort = int(first.p.Addr().Port()), false
	if p, err := New(cfg, Options{Version: "test", Clock: time.Now, Logger: first.logs.logger(), UID: "second"}); err == nil {
		_ = p.Close()
		t.Error("a server that wants a port of its own took one that is in use")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("refused with %v", err)
	}
}
