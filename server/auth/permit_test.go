package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"shoal/server/channel"
)

func TestPresenceAndHistoryRules(t *testing.T) {
	a := authority(t)
	code := func(e *channel.Error) uint32 { return verdict(channel.Refusal{Err: e}) }
	for bits := range 128 {
		bit := func(i int) bool { return bits>>i&1 != 0 }
		kept, client, subscriber, anonymousToo, anonymous, subscribed := bit(0), bit(1), bit(2), bit(3), bit(4), bit(5)
		a.Insecure = bit(6)
		opts := &channel.Options{Presence: kept, AllowPresenceForClient: client, AllowPresenceForSubscriber: subscriber, AllowPresenceForAnonymous: anonymousToo,
			AllowHistoryForClient: client, AllowHistoryForSubscriber: subscriber, AllowHistoryForAnonymous: anonymousToo}
		if kept {
			opts.HistorySize, opts.HistoryTTL = 1, 1
		}
		want := uint32(103)
		switch {
		case !kept:
			want = 108
		case a.Insecure, (!anonymous || anonymousToo) && (client || subscriber && subscribed):
			want = 0
		}
		if got := code(a.MayPresence(opts, anonymous, subscribed)); got != want {
			t.Errorf("presence, %+v, anonymous %t, subscribed %t, insecure %t: %d, want %d", opts, anonymous, subscribed, a.Insecure, got, want)
		}
		if got := code(a.MayHistory(opts, anonymous, subscribed)); got != want {
			t.Errorf("history, %+v, anonymous %t, subscribed %t, insecure %t: %d, want %d", opts, anonymous, subscribed, a.Insecure, got, want)
		}
	}
	if got := code(a.MayHistory(&channel.Options{HistorySize: 5}, false, true)); got != 108 {
		t.Errorf("history that lives for no time: %d", got)
	}
}

func TestPersonalChannels(t *testing.T) {
	a := authority(t, channel.Options{Name: "me", AllowUserLimitedChannels: true}, channel.Options{Name: "few", ChannelRegex: `^#[0-9]+$`})
	long := strings.Repeat("x", 300)
	for _, c := range []struct{ namespace, user, want string }{
		{"", "42", "#42"}, {"me", "42", "me:#42"}, {"me", "", ""}, {"", "", ""},
		{"me", "a,b", ""}, {"me", "a#b", ""}, {"me", "#", ""}, {"me", ",", ""}, // would be a channel of others
		{"me", long, "me:#" + long}, {"me", long + long + long + long, ""}, {"me", "grün", "me:#grün"}, {"few", "42", "few:#42"}, {"few", "x", "few:#x"}, {"none", "42", ""},
	} {
		a.Personal, a.PersonalNamespace = true, c.namespace
		name, ok := a.PersonalChannel(c.user)
		if name != c.want || ok != (c.want != "") {
			t.Errorf("%.20q in %q: got %.20q, %t", c.user, c.namespace, name, ok)
		}
		if a.Personal = false; ok {
			if name, ok := a.PersonalChannel(c.user); ok {
				t.Errorf("switched off: %q", name)
			}
		}
	}
}

func TestNeedsBackend(t *testing.T) {
	a := authority(t, channel.Options{Name: "ns", AllowUserLimitedChannels: true}, channel.Options{Name: "all"})
	for name, want := range map[string]bool{"ns:a": true, "ns:#1": false, "all:#1": true, "$all:a": false, "a": true} {
		opts, err := a.Rules.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.NeedsBackend(opts, name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestSubRefresh(t *testing.T) {
	a := authority(t)
	opts, _ := a.Rules.Resolve("$a")
	for _, c := range []struct {
		token string
		want  uint32
	}{
		{token(`{"sub":"1","channel":"$a",` + date("exp", 60) + `,"info":{"x":1}}`), 0},
		{token(`{"sub":"1","channel":"$a","client":"c"}`), 0},
		{"", 107},
		{"x", 3500},
		{token(`{"sub":"1","channel":"$a"}`) + "x", 3500},
		{token(`{"sub":"1"}`), 3500},
		{token(`{"sub":"1","channel":"$a","exp":1}`), 3006},
		{token(`{"sub":"1","channel":"$b"}`), 3500},
		{token(`{"sub":"2","channel":"$a"}`), 3500},
		{token(`{"sub":"1","channel":"$a","client":"d"}`), 3500},
	} {
		g, r, err := a.SubRefresh(opts, "1", "c", "$a", c.token, clock())
		if verdict(r) != c.want || (err != nil) != (c.want != 0 && c.token != "") {
			t.Errorf("%s: got %d (%v), want %d", c.token, verdict(r), err, c.want)
		}
		if c.want != 0 && (g.User != "" || g.Channel != "" || g.ExpireAt != 0) {
			t.Errorf("%s is refused and grants %+v", c.token, g)
		}
	}
	g, _, _ := a.SubRefresh(opts, "1", "c", "$a", token(`{"sub":"1","channel":"$a",`+date("exp", 60)+`,"info":{"x":1}}`), clock())
	if g.ExpireAt != now+60 || string(g.Info) != `{"x":1}` {
		t.Errorf("got %+v", g)
	}
}

// TestTokensThatCannotBeJudgedAreNotRefusedForGood: clients come back when the key set cannot be had.
func TestTokensThatCannotBeJudgedAreNotRefusedForGood(t *testing.T) {
	a := authority(t)
	v := mustNew(t, Config{JWKSPublicEndpoint: endpointURL, Fetch: func(context.Context, string) ([]byte, error) { return nil, errors.New("down") }})
	a.ConnectTokens, a.SubscribeTokens = v, v
	tok := issue(t, "rsa", "", "1", `{"sub":"1","channel":"$a"}`)
	opts, _ := a.Rules.Resolve("$a")
	_, connect, err := a.Connect(tok, clock())
	_, refresh, _ := a.Refresh("1", tok, clock())
	_, subscribe, _ := a.Subscribe(opts, "1", "c", "$a", tok, clock())
	_, again, _ := a.SubRefresh(opts, "1", "c", "$a", tok, clock())
	if verdict(connect) != 3004 || verdict(refresh) != 100 || verdict(subscribe) != 100 || verdict(again) != 100 || !err.Temporary() {
		t.Errorf("got %d, %d, %d, %d: %v", verdict(connect), verdict(refresh), verdict(subscribe), verdict(again), err)
	}
	if connect.Disconnect.Terminal() || !refresh.Err.Temporary {
		t.Error("clients would give up")
	}
}

func TestPermitsDoNotAllocate(t *testing.T) {
	a := authority(t, channel.Options{Name: "ns", Presence: true, HistorySize: 1, HistoryTTL: 1, AllowPresenceForClient: true})
	opts, _ := a.Rules.Resolve("ns:a")
	if n := testing.AllocsPerRun(100, func() {
		a.MayPresence(opts, false, false)
		a.MayHistory(opts, false, true)
		a.NeedsBackend(opts, "ns:a")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
