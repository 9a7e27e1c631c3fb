package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const patience = 20 * time.Second

func wait(t *testing.T, what string, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
		return ""
	}
}

func TestTheChatWorks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, ln, slog.New(slog.DiscardHandler)) }()
	base := "http://" + ln.Addr().String()

	jar, _ := cookiejar.New(nil)
	web := &http.Client{Jar: jar, Timeout: patience}
	if res, err := web.PostForm(base+"/login", url.Values{"name": {"Not A Name"}}); err != nil || res.StatusCode != http.StatusBadRequest {
		t.Fatalf("a wrong name: %v, %v", res, err)
	}
	res, err := web.PostForm(base+"/login", url.Values{"name": {"ann"}})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || !strings.Contains(string(body), "<title>A chat") {
		t.Fatalf("login leads to %s %s", res.Status, body)
	}
	at, _ := url.Parse(base)
	header := http.Header{"Cookie": {jar.Cookies(at)[0].String()}}

	c := centrifuge.NewJsonClient("ws"+strings.TrimPrefix(base, "http")+"/live", centrifuge.Config{Header: header})
	defer c.Close()
	gone := make(chan string, 1)
	c.OnConnecting(func(e centrifuge.ConnectingEvent) {
		if e.Code == 3001 {
			gone <- e.Reason
		}
	})
	sub, err := c.NewSubscription("room:lobby")
	if err != nil {
		t.Fatal(err)
	}
	heard, in := make(chan string, 10), make(chan string, 1)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { in <- "" })
	sub.OnPublication(func(e centrifuge.PublicationEvent) { heard <- string(e.Data) })
	if err := errors.Join(c.Connect(), sub.Subscribe()); err != nil {
		t.Fatal(err)
	}
	wait(t, "subscription", in)
	if _, err := sub.Publish(ctx, []byte(`"good morning"`)); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, "publication", heard); got != `{"from":"ann","text":"good morning"}` {
		t.Errorf("heard %s", got)
	}
	if _, err := sub.Publish(ctx, []byte(`""`)); err == nil {
		t.Error("nothing was said, and published")
	}
	if _, err := web.PostForm(base+"/login", url.Values{"name": {"bob"}}); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, "news of bob", heard); got != `{"from":"server","text":"bob is on the way"}` {
		t.Errorf("heard %s", got)
	}

	stranger := centrifuge.NewJsonClient("ws"+strings.TrimPrefix(base, "http")+"/live", centrifuge.Config{})
	defer stranger.Close()
	refused := make(chan string, 1)
	stranger.OnDisconnected(func(e centrifuge.DisconnectedEvent) { refused <- e.Reason })
	if err := stranger.Connect(); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, "refusal", refused); got != "invalid token" {
		t.Errorf("a stranger is refused with %s", got)
	}

	cancel()
	wait(t, "goodbye", gone)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
