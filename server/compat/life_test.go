package compat_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// life is what stock clients live through on one server, written down.
type life struct {
	t    *testing.T
	s    *target
	gate *gate
	dial func(string, centrifuge.Config) *centrifuge.Client

	mu     sync.Mutex
	more   chan struct{}       // closed and made anew when an event comes
	events map[string][]string // by whom: "client" or "client channel"
	seen   map[string]int
	ids    map[string]string // client ids, and what they are called
}

func newLife(t *testing.T, s *target, dial func(string, centrifuge.Config) *centrifuge.Client) *life {
	return &life{
		t: t, s: s, gate: newGate(t, s), dial: dial, more: make(chan struct{}),
		events: map[string][]string{}, seen: map[string]int{}, ids: map[string]string{},
	}
}

// note writes down an event.
func (l *life) note(who, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events[who] = append(l.events[who], l.named(fmt.Sprintf(format, args...)))
	close(l.more)
	l.more = make(chan struct{})
}

// named is a text with names for client ids; l.mu is held.
func (l *life) named(text string) string {
	for id, name := range l.ids {
		text = strings.ReplaceAll(text, id, name)
	}
	return text
}

// wait waits for the next event of who that begins with what.
func (l *life) wait(who, what string) {
	l.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		l.mu.Lock()
		from := l.seen[who]
		i := slices.IndexFunc(l.events[who][from:], func(e string) bool { return strings.HasPrefix(e, what) })
		if i >= 0 {
			l.seen[who] = from + i + 1
			l.mu.Unlock()
			return
		}
		more, all := l.more, fmt.Sprint(l.events)
		l.mu.Unlock()
		select {
		case <-more:
		case <-timeout.C:
			l.t.Fatalf("%s: %s: no %q came; all: %s", l.s.name, who, what, all)
		}
	}
}

// api calls the server API.
func (l *life) api(method, body string) {
	l.t.Helper()
	if out := string(l.s.call(l.t, method, body)); strings.Contains(out, `"error"`) {
		l.t.Fatalf("%s: api %s %s: %s", l.s.name, method, body, out)
	}
}

// client makes a stock client; it comes back quickly.
func (l *life) client(name string, c centrifuge.Config) *centrifuge.Client {
	c.MinReconnectDelay, c.MaxReconnectDelay, c.Name = 20*time.Millisecond, 100*time.Millisecond, "compat"
	k := l.dial(l.gate.ws, c)
	l.t.Cleanup(k.Close)
	k.OnConnecting(func(e centrifuge.ConnectingEvent) { l.note(name, "connecting %d %s", e.Code, e.Reason) })
	k.OnConnected(func(e centrifuge.ConnectedEvent) {
		l.mu.Lock()
		l.ids[e.ClientID] = "<" + name + ">"
		l.mu.Unlock()
		l.note(name, "connected as %s version %q data %q", e.ClientID, e.Version, e.Data)
	})
	k.OnDisconnected(func(e centrifuge.DisconnectedEvent) { l.note(name, "disconnected %d %s", e.Code, e.Reason) })
	k.OnError(func(e centrifuge.ErrorEvent) {
		if !errors.As(e.Error, &centrifuge.TransportError{}) { // how often it tried is a matter of time
			l.note(name, "error %v", e.Error)
		}
	})
	k.OnMessage(func(e centrifuge.MessageEvent) { l.note(name, "message %s", e.Data) })
	k.OnPublication(func(e centrifuge.ServerPublicationEvent) {
		l.note(name+" "+e.Channel, "%s", publication(e.Publication))
	})
	k.OnSubscribing(func(e centrifuge.ServerSubscribingEvent) { l.note(name+" "+e.Channel, "subscribing") })
	k.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		l.note(name+" "+e.Channel, "subscribed was_recovering %v recovered %v recoverable %v positioned %v at %s data %q",
			e.WasRecovering, e.Recovered, e.Recoverable, e.Positioned, place(e.StreamPosition), e.Data)
	})
	k.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) { l.note(name+" "+e.Channel, "unsubscribed") })
	k.OnJoin(func(e centrifuge.ServerJoinEvent) { l.note(name+" "+e.Channel, "join %s", info(&e.ClientInfo)) })
	k.OnLeave(func(e centrifuge.ServerLeaveEvent) { l.note(name+" "+e.Channel, "leave %s", info(&e.ClientInfo)) })
	return k
}

// connect makes a stock client and waits until it is connected.
func (l *life) connect(name string, c centrifuge.Config) *centrifuge.Client {
	l.t.Helper()
	k := l.client(name, c)
	must(l.t, k.Connect())
	l.wait(name, "connected")
	return k
}

// subscription makes a subscription; it comes back quickly.
func (l *life) subscription(name string, k *centrifuge.Client, channel string, c centrifuge.SubscriptionConfig) *centrifuge.Subscription {
	l.t.Helper()
	c.MinResubscribeDelay, c.MaxResubscribeDelay = 20*time.Millisecond, 100*time.Millisecond
	sub, err := k.NewSubscription(channel, c)
	must(l.t, err)
	who := name + " " + channel
	sub.OnSubscribing(func(e centrifuge.SubscribingEvent) { l.note(who, "subscribing %d %s", e.Code, e.Reason) })
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		l.note(who, "subscribed was_recovering %v recovered %v recoverable %v positioned %v at %s data %q",
			e.WasRecovering, e.Recovered, e.Recoverable, e.Positioned, place(e.StreamPosition), e.Data)
	})
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { l.note(who, "unsubscribed %d %s", e.Code, e.Reason) })
	sub.OnError(func(e centrifuge.SubscriptionErrorEvent) { l.note(who, "error %v", e.Error) })
	sub.OnPublication(func(e centrifuge.PublicationEvent) { l.note(who, "%s", publication(e.Publication)) })
	sub.OnJoin(func(e centrifuge.JoinEvent) { l.note(who, "join %s", info(&e.ClientInfo)) })
	sub.OnLeave(func(e centrifuge.LeaveEvent) { l.note(who, "leave %s", info(&e.ClientInfo)) })
	return sub
}

// subscribe makes a subscription and waits until it is there.
func (l *life) subscribe(name string, k *centrifuge.Client, channel string, c centrifuge.SubscriptionConfig) *centrifuge.Subscription {
	l.t.Helper()
	sub := l.subscription(name, k, channel, c)
	must(l.t, sub.Subscribe())
	l.wait(name+" "+channel, "subscribed")
	return sub
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func publication(p centrifuge.Publication) string {
	return fmt.Sprintf("publication %s at %d tags %v of %s", p.Data, p.Offset, p.Tags, info(p.Info))
}

func info(i *centrifuge.ClientInfo) string {
	if i == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s user %q info %q %q", i.Client, i.User, i.ConnInfo, i.ChanInfo)
}

func place(p *centrifuge.StreamPosition) string {
	if p == nil {
		return "nowhere"
	}
	return fmt.Sprint(p.Offset)
}

// forget leaves out what cannot be compared.
func (l *life) forget(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.events, who)
	delete(l.seen, who)
}

// story is all events, by whom.
func (l *life) story() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for who, events := range l.events {
		for i, e := range events {
			out = append(out, fmt.Sprintf("%s %03d %s", who, i, e))
		}
	}
	slices.Sort(out)
	return out
}
