package compat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/centrifugal/centrifuge-go"
)

// scenario is something stock clients live through.
type scenario struct {
	name    string
	profile string
	play    func(l *life)
}

func scenarios() []scenario {
	return []scenario{
		{"commands", "calm", commandsStory},
		{"errors", "calm", errorsStory},
		{"send is not available", "calm", sendStory},
		{"recovery", "calm", recoveryStory},
		{"recovery by positions asked for", "calm", askedStory},
		{"forced reconnect", "calm", reconnectStory},
		{"forced disconnect", "calm", disconnectStory},
		{"shutdown", "calm", shutdownStory},
		{"connection tokens", "strict", tokenStory},
		{"connection tokens refresh", "quick", refreshStory},
		{"bad connection tokens", "strict", badTokenStory},
		{"subscription tokens", "quick", subTokenStory},
		{"unsubscribed by the server", "calm", unsubscribeStory},
		{"insufficient state", "quick", insufficientStory},
		{"insufficient state of the server's subscription", "quick", insufficientServerStory},
		{"differences", "calm", deltaStory},
		{"cache", "calm", cacheStory},
		{"server side subscriptions", "calm", serverSideStory},
		{"joins and leaves", "calm", joinStory},
		{"pings are answered", "quick", pingStory},
	}
}

// TestStockGo lets the stock centrifuge-go client live through every scenario on both
// servers in both encodings, and compares what it was told.
func TestStockGo(t *testing.T) {
	for _, sc := range scenarios() {
		for encoding, dial := range map[string]func(string, centrifuge.Config) *centrifuge.Client{
			"json": centrifuge.NewJsonClient, "protobuf": centrifuge.NewProtobufClient,
		} {
			t.Run(sc.name+"/"+encoding, func(t *testing.T) {
				t.Parallel()
				var stories [2][]string
				for i, start := range starters() {
					l := newLife(t, start(t, profiles()[sc.profile]), dial)
					sc.play(l)
					stories[i] = l.story()
				}
				if lines := compare(stories[0], stories[1]); lines != nil {
					t.Errorf("the client was told other things:\n%s", strings.Join(lines, "\n"))
				}
				if testing.Verbose() {
					t.Log(strings.Join(stories[0], "\n"))
				}
			})
		}
	}
}

var background = context.Background()

func commandsStory(l *life) {
	a, b := l.connect("a", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42","info":{"name":"Ada"}}`)}), l.connect("b", centrifuge.Config{})
	sub := l.subscribe("a", a, "open:x", centrifuge.SubscriptionConfig{Data: []byte(`{"hello":1}`)})
	l.subscribe("b", b, "open:x", centrifuge.SubscriptionConfig{})
	for i := range 3 {
		_, err := sub.Publish(background, fmt.Appendf(nil, `{"n":%d}`, i))
		must(l.t, err)
		l.wait("b open:x", "publication")
		l.wait("a open:x", "publication")
	}
	l.api("publish", `{"channel":"open:x","data":{"n":3},"tags":{"k":"v"}}`)
	l.wait("a open:x", "publication")
	l.wait("b open:x", "publication")
	for _, o := range [][]centrifuge.HistoryOption{
		nil,
		{centrifuge.WithHistoryLimit(2)},
		{centrifuge.WithHistoryLimit(-1), centrifuge.WithHistoryReverse(true)},
	} {
		h, err := sub.History(background, o...)
		must(l.t, err)
		l.note("a history", "%d: %s", h.Offset, pubsOf(h))
		since := &centrifuge.StreamPosition{Offset: 2, Epoch: h.Epoch}
		h, err = a.History(background, "open:x", centrifuge.WithHistoryLimit(-1), centrifuge.WithHistorySince(since))
		must(l.t, err)
		l.note("a history", "since: %d: %s", h.Offset, pubsOf(h))
	}
	p, err := sub.Presence(background)
	must(l.t, err)
	for _, i := range p.Clients {
		l.note("a presence of user "+i.User, "%s", info(&i))
	}
	stats, err := b.PresenceStats(background, "open:x")
	must(l.t, err)
	l.note("b presence", "%d clients %d users", stats.NumClients, stats.NumUsers)
	r, err := a.RPC(background, "m", []byte(`{"a":1}`))
	must(l.t, err)
	l.note("a rpc", "%s", r.Data)
	must(l.t, sub.Unsubscribe())
	l.wait("a open:x", "unsubscribed 0")
	must(l.t, a.Disconnect())
	l.wait("a", "disconnected 0")
}

func pubsOf(h centrifuge.HistoryResult) string {
	var out []string
	for _, p := range h.Publications {
		out = append(out, publication(p))
	}
	return strings.Join(out, "; ")
}

func errorsStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	for _, channel := range []string{"nosuch:x", "closed:x", "$open:x", "named:UP", "users:x", strings.Repeat("open:x", 50)} {
		must(l.t, l.subscription("a", a, channel, centrifuge.SubscriptionConfig{}).Subscribe())
		l.wait("a "+channel, "unsubscribed")
	}
	say := func(what string, err error) {
		e := &centrifuge.Error{}
		if !errors.As(err, &e) {
			l.t.Fatalf("%s: %v", what, err)
		}
		l.note("a "+what, "error %d %s %v", e.Code, e.Message, e.Temporary)
	}
	_, err := a.Publish(background, "open:x", []byte("{}"))
	say("publish", err)
	_, err = a.History(background, "bare:x")
	say("history", err)
	_, err = a.Presence(background, "open:x")
	say("presence", err)
	_, err = a.PresenceStats(background, "nosuch:x")
	say("presence stats", err)
	_, err = a.RPC(background, "fail", nil)
	say("rpc", err)
}

func sendStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	must(l.t, a.Send(background, []byte(`{}`)))
	l.wait("a", "disconnected 3508")
}

// away publishes while the client is away.
func (l *life) away(name string, channel string, numbers ...int) {
	l.t.Helper()
	l.gate.cut()
	l.wait(name, "connecting")
	for _, n := range numbers {
		l.api("publish", fmt.Sprintf(`{"channel":%q,"data":{"n":%d}}`, channel, n))
	}
	l.gate.mend()
	l.wait(name, "connected")
}

func recoveryStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.subscribe("a", a, "forced:x", centrifuge.SubscriptionConfig{})
	l.api("publish", `{"channel":"forced:x","data":{"n":1}}`)
	l.wait("a forced:x", "publication")
	l.away("a", "forced:x", 2, 3, 4)
	l.wait("a forced:x", `publication {"n":4}`)
	l.away("a", "forced:x")
	l.wait("a forced:x", "subscribed")
	l.away("a", "forced:x", 5, 6, 7, 8, 9, 10, 11)
	l.wait("a forced:x", "subscribed")
	l.api("publish", `{"channel":"forced:x","data":{"n":12}}`)
	l.wait("a forced:x", `publication {"n":12}`)
	l.away("a", "forced:x", 13)
	l.wait("a forced:x", `publication {"n":13}`)
}

func askedStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	sub := l.subscribe("a", a, "asked:x", centrifuge.SubscriptionConfig{Positioned: true, Recoverable: true, JoinLeave: true})
	l.subscribe("a", a, "open:y", centrifuge.SubscriptionConfig{Recoverable: true})
	l.subscribe("a", a, "placed:z", centrifuge.SubscriptionConfig{})
	l.away("a", "asked:x", 1, 2)
	l.wait("a asked:x", `publication {"n":2}`)
	l.wait("a open:y", "subscribed")
	l.wait("a placed:z", "subscribed")
	must(l.t, sub.Unsubscribe())
	l.wait("a asked:x", "unsubscribed")
	l.api("publish", `{"channel":"asked:x","data":{"n":3}}`)
	must(l.t, sub.Subscribe())
	l.wait("a asked:x", `subscribed`)
	l.api("publish", `{"channel":"asked:x","data":{"n":4}}`)
	l.wait("a asked:x", `publication {"n":4}`)
}

func reconnectStory(l *life) {
	a := l.connect("a", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42"}`)})
	l.subscribe("a", a, "forced:x", centrifuge.SubscriptionConfig{})
	for _, d := range []string{`{"code":3011,"reason":"force reconnect"}`, `{"code":4000,"reason":"mine"}`, `{"code":3004,"reason":"internal server error"}`} {
		l.api("publish", `{"channel":"forced:x","data":{"n":1}}`)
		l.wait("a forced:x", "publication")
		l.api("disconnect", `{"user":"42","disconnect":`+d+`}`)
		l.wait("a", "connecting")
		l.wait("a", "connected")
		l.wait("a forced:x", "subscribed")
	}
}

func disconnectStory(l *life) {
	for i, d := range []string{``, `,"disconnect":{"code":4500,"reason":"mine"}`} {
		name := fmt.Sprintf("a%d", i)
		a := l.connect(name, centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42"}`)})
		l.subscribe(name, a, "forced:x", centrifuge.SubscriptionConfig{})
		l.api("disconnect", `{"user":"42"`+d+`}`)
		l.wait(name, "disconnected")
		l.wait(name+" forced:x", "subscribing")
	}
}

func shutdownStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.subscribe("a", a, "open:x", centrifuge.SubscriptionConfig{})
	l.s.stop()
	l.wait("a", "connecting 3001")
	l.wait("a open:x", "subscribing")
}

func tokenStory(l *life) {
	var asked atomic.Int32
	a := l.connect("a", centrifuge.Config{
		Token: signed(l.t, secret, `{"sub":"42","exp":-5}`), // error 109: it asks for another one
		GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			n := int(asked.Add(1))
			l.note("a token", "asked %d", n)
			return signed(l.t, secret, `{"sub":"42","exp":600}`), nil
		},
	})
	l.subscribe("a", a, "users:x", centrifuge.SubscriptionConfig{})
	l.away("a", "users:x", 1)
	l.wait("a users:x", "subscribed")
	b := l.client("b", centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		return "", centrifuge.ErrUnauthorized
	}})
	must(l.t, b.Connect())
	l.wait("b", "disconnected")
}

func refreshStory(l *life) {
	var asked atomic.Int32
	l.connect("a", centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
		n := int(asked.Add(1))
		l.note("a token", "asked %d", n)
		return signed(l.t, secret, map[bool]string{true: `{"sub":"42","exp":2}`, false: `{"sub":"42","exp":600}`}[n == 1]), nil
	}})
	// Who has not refreshed is closed when this one is, and comes back.
	b := l.client("b", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"43","exp":2}`)})
	must(l.t, b.Connect())
	l.wait("b", "connected")
	l.wait("a token", "asked 2")
	l.wait("b", "disconnected")
}

func badTokenStory(l *life) {
	for i, token := range []string{
		"nonsense", signed(l.t, "another secret, another secret, 01", `{"sub":"42"}`), signed(l.t, secret, `{"sub":"42","channel":"open:x"}`),
	} {
		name := fmt.Sprintf("a%d", i)
		must(l.t, l.client(name, centrifuge.Config{Token: token}).Connect())
		l.wait(name, "disconnected")
	}
	must(l.t, l.client("b", centrifuge.Config{}).Connect())
	l.wait("b", "disconnected")
}

func subTokenStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	var asked atomic.Int32
	sub := l.subscribe("a", a, "$open:x", centrifuge.SubscriptionConfig{GetToken: func(e centrifuge.SubscriptionTokenEvent) (string, error) {
		n := int(asked.Add(1))
		l.note("a token", "asked %d for %s", n, e.Channel)
		return signed(l.t, secret, fmt.Sprintf(`{"channel":"$open:x","exp":%d,"info":{"n":%d}}`, map[bool]int{true: 2, false: 600}[n == 1], n)), nil
	}})
	// This one gets no second token in time: it is unsubscribed with 2501 and comes back.
	var late atomic.Bool
	l.subscribe("a", a, "$closed:y", centrifuge.SubscriptionConfig{
		Token: signed(l.t, secret, `{"channel":"$closed:y","exp":2}`),
		GetToken: func(centrifuge.SubscriptionTokenEvent) (string, error) {
			if !late.Swap(true) {
				select {} // for ever: v0.10.11 races with Close, or locks up, when this returns later
			}
			return signed(l.t, secret, `{"channel":"$closed:y","exp":600}`), nil
		},
	})
	l.wait("a token", "asked 2")
	l.wait("a $closed:y", "subscribing 2501")
	l.wait("a $closed:y", "subscribed")
	p, err := sub.Presence(background)
	must(l.t, err)
	for _, i := range p.Clients {
		l.note("a presence", "%s", info(&i))
	}
	b := l.connect("b", centrifuge.Config{})
	wrong := signed(l.t, secret, `{"channel":"open:z"}`)
	must(l.t, l.subscription("b", b, "open:x", centrifuge.SubscriptionConfig{Token: wrong}).Subscribe())
	l.wait("b", "disconnected 3500")
	l.wait("b open:x", "error")
}

func unsubscribeStory(l *life) {
	a := l.connect("a", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42"}`)})
	sub := l.subscribe("a", a, "forced:x", centrifuge.SubscriptionConfig{})
	l.api("unsubscribe", `{"user":"42","channel":"forced:x"}`)
	l.wait("a forced:x", "unsubscribed 2000")
	l.api("publish", `{"channel":"forced:x","data":{"n":1}}`)
	must(l.t, sub.Subscribe())
	l.wait("a forced:x", "publication")
}

// clock waits some seconds, longer than namespace brief remembers a channel, by the end of somebody's credentials.
func (l *life) clock(name string) {
	l.t.Helper()
	k := l.client(name, centrifuge.Config{Token: signed(l.t, secret, `{"sub":"clock","exp":3}`)})
	must(l.t, k.Connect())
	l.wait(name, "disconnected")
	l.forget(name)
}

// insufficientStory: the stream of a channel with a short memory is lost under a client.
func insufficientStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.subscribe("a", a, "brief:x", centrifuge.SubscriptionConfig{})
	l.api("publish", `{"channel":"brief:x","data":{"n":1}}`)
	l.wait("a brief:x", "publication")
	l.clock("clock")
	l.api("publish", `{"channel":"brief:x","data":{"n":2}}`)
	l.wait("a brief:x", "subscribing 2500")
	l.wait("a brief:x", "subscribed")
	l.api("publish", `{"channel":"brief:x","data":{"n":3}}`)
	l.wait("a brief:x", `publication {"n":3}`)
}

func insufficientServerStory(l *life) {
	l.connect("a", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42","channels":["brief:x"]}`)})
	l.wait("a brief:x", "subscribed")
	l.api("publish", `{"channel":"brief:x","data":{"n":1}}`)
	l.wait("a brief:x", "publication")
	l.clock("clock")
	l.api("publish", `{"channel":"brief:x","data":{"n":2}}`)
	l.wait("a", "connecting 3010")
	l.wait("a", "connected")
	l.wait("a brief:x", "subscribed")
}

func deltaStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	for _, space := range []string{"fossil", "fossilrec", "fossilcache"} {
		channel := space + ":x"
		l.subscribe("a", a, channel, centrifuge.SubscriptionConfig{Delta: centrifuge.DeltaTypeFossil})
		for i := range 5 {
			l.api("publish", fmt.Sprintf(`{"channel":%q,"data":{"text":"much of this stays as it is, and some does not","n":%d}}`, channel, i))
			l.wait("a "+channel, "publication")
		}
	}
	l.gate.cut()
	l.wait("a", "connecting")
	for _, space := range []string{"fossil", "fossilrec", "fossilcache"} {
		for i := 5; i < 8; i++ {
			l.api("publish", fmt.Sprintf(`{"channel":"%s:x","data":{"text":"much of this stays as it is, and some does not","n":%d}}`, space, i))
		}
	}
	l.gate.mend()
	l.wait("a", "connected")
	for _, space := range []string{"fossil", "fossilrec", "fossilcache"} {
		l.wait("a "+space+":x", "subscribed")
		for i := 8; i < 11; i++ {
			l.api("publish", fmt.Sprintf(`{"channel":"%s:x","data":{"text":"much of this stays as it is, and some does not","n":%d}}`, space, i))
		}
		l.wait("a "+space+":x", `publication {"text":"much of this stays as it is, and some does not","n":10}`)
	}
}

func cacheStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.subscribe("a", a, "cache:x", centrifuge.SubscriptionConfig{})
	l.away("a", "cache:x", 1, 2, 3)
	l.wait("a cache:x", `publication {"n":3}`)
	l.away("a", "cache:x")
	l.wait("a cache:x", "subscribed")
}

func serverSideStory(l *life) {
	l.connect("a", centrifuge.Config{
		Token: signed(l.t, secret, `{"sub":"42","subs":{"forced:x":{"info":{"role":"host"},"data":{"hello":1}},"joined:y":{}}}`),
	})
	l.wait("a forced:x", "subscribed")
	l.wait("a joined:y", "join")
	l.api("publish", `{"channel":"forced:x","data":{"n":1}}`)
	l.wait("a forced:x", "publication")
	l.away("a", "forced:x", 2, 3)
	l.wait("a forced:x", `publication {"n":3}`)
	l.away("a", "forced:x", 4, 5, 6, 7, 8, 9, 10)
	l.wait("a forced:x", "subscribed")
	l.api("subscribe", `{"user":"42","channel":"open:z","data":{"hi":1}}`)
	l.wait("a open:z", "subscribed")
	l.api("publish", `{"channel":"open:z","data":{"n":1}}`)
	l.wait("a open:z", "publication")
	l.api("unsubscribe", `{"user":"42","channel":"open:z"}`)
	l.wait("a open:z", "unsubscribed")
	// Joins and leaves of one's own coming and going may meet, or not.
	l.forget("a joined:y")
}

func joinStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.subscribe("a", a, "joined:x", centrifuge.SubscriptionConfig{})
	l.wait("a joined:x", "join")
	b := l.connect("b", centrifuge.Config{Token: signed(l.t, secret, `{"sub":"42","info":{"name":"Ada"}}`)})
	sub := l.subscribe("b", b, "joined:x", centrifuge.SubscriptionConfig{})
	l.wait("a joined:x", "join")
	l.wait("b joined:x", "join")
	must(l.t, sub.Unsubscribe())
	l.wait("a joined:x", "leave")
	must(l.t, sub.Subscribe())
	l.wait("a joined:x", "join")
	l.wait("b joined:x", "join")
	b.Close()
	l.wait("a joined:x", "leave")
}

func pingStory(l *life) {
	a := l.connect("a", centrifuge.Config{})
	l.clock("clock")
	_, err := a.RPC(background, "m", []byte("1"))
	must(l.t, err)
}
