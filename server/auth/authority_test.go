package auth

import (
	"fmt"
	"testing"

	"shoal/server/channel"
)

func authority(t testing.TB, namespaces ...channel.Options) *Authority {
	t.Helper()
	rules, err := channel.Compile(channel.Config{Namespaces: namespaces})
	if err != nil {
		t.Fatal(err)
	}
	v := mustNew(t, Config{HMACSecretKey: secret})
	return &Authority{Rules: rules, ConnectTokens: v, SubscribeTokens: v}
}

// verdict is a refusal's code, 0 for none.
func verdict(r channel.Refusal) uint32 {
	switch {
	case r.Err != nil && r.Disconnect != nil:
		panic("an error and a disconnect")
	case r.Err != nil:
		return r.Err.Code
	case r.Disconnect != nil:
		return r.Disconnect.Code
	}
	return 0
}

func TestConnect(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(*Authority)
		token string
		want  uint32
	}{
		{"no token", nil, "", 3501},
		{"anonymous allowed", func(a *Authority) { a.AllowAnonymousWithoutToken = true }, "", 0},
		{"insecure", func(a *Authority) { a.Insecure = true }, "", 0},
		{"a token", nil, token(`{"sub":"1"}`), 0},
		{"expired", nil, token(`{"exp":1}`), 109},
		{"not yet", nil, token(`{"nbf":1800000000}`), 109},
		{"forged", nil, token(`{"sub":"1"}`) + "x", 3500},
		{"forged though anonymous would do", func(a *Authority) { a.AllowAnonymousWithoutToken = true }, "x", 3500},
		{"forged though insecure", func(a *Authority) { a.Insecure = true }, "x", 3500},
		{"no verifier", func(a *Authority) { a.ConnectTokens = nil }, token(`{"sub":"1"}`), 3500},
		{"a token without a user", nil, token(`{}`), 0},
		{"which is not accepted", func(a *Authority) { a.DisallowAnonymousWithTokens = true }, token(`{}`), 3507},
	} {
		a := authority(t)
		if c.set != nil {
			c.set(a)
		}
		_, r, err := a.Connect(c.token, clock())
		if got := verdict(r); got != c.want || (err != nil) != (c.want != 0 && c.token != "") {
			t.Errorf("%s: got %d (%v), want %d", c.name, got, err, c.want)
		}
	}
}

func TestRefresh(t *testing.T) {
	a := authority(t)
	for _, c := range []struct {
		user, token string
		want        uint32
	}{
		{"1", token(`{"sub":"1"}`), 0},
		{"1", token(`{"sub":"2"}`), 3500},
		{"1", token(`{}`), 3500},
		{"", token(`{"sub":"1"}`), 3500},
		{"1", token(`{"sub":"1","exp":1}`), 3005},
		{"1", "x", 3500},
		{"1", token(`{"sub":"1","channel":"a"}`), 3500},
	} {
		if _, r, _ := a.Refresh(c.user, c.token, clock()); verdict(r) != c.want {
			t.Errorf("%q with %s: got %d, want %d", c.user, c.token, verdict(r), c.want)
		}
	}
}

func TestSubscribeWithAToken(t *testing.T) {
	a := authority(t)
	for _, c := range []struct {
		claims string
		want   uint32
	}{
		{`{"sub":"1","channel":"$a"}`, 0},
		{`{"sub":"1","channel":"$a","client":"c"}`, 0},
		{`{"sub":"1","channel":"$a","client":"d"}`, 3500},
		{`{"sub":"1","channel":"$b"}`, 3500},
		{`{"sub":"1","channel":"$*"}`, 3500},
		{`{"sub":"2","channel":"$a"}`, 3500},
		{`{"channel":"$a"}`, 3500},
		{`{"sub":"1"}`, 103},
		{`{"sub":1,"channel":"$a"}`, 103},
		{`{"sub":"1","channel":"$a","exp":1}`, 109},
	} {
		opts, bad := a.Rules.Resolve("$a")
		if bad != nil {
			t.Fatal(bad)
		}
		_, r, err := a.Subscribe(opts, "1", "c", "$a", token(c.claims), clock())
		if verdict(r) != c.want || (err != nil) != (c.want != 0) {
			t.Errorf("%s: got %d (%v), want %d", c.claims, verdict(r), err, c.want)
		}
	}
	opts, _ := a.Rules.Resolve("$a")
	if _, r, _ := a.Subscribe(opts, "1", "c", "$a", "", clock()); verdict(r) != 103 {
		t.Errorf("private without a token: %d", verdict(r))
	}
	for _, tok := range []string{token(`{"sub":"1","channel":"$a"}`) + "x", "x"} {
		if _, r, _ := a.Subscribe(opts, "1", "c", "$a", tok, clock()); verdict(r) != 103 {
			t.Errorf("forged: %d", verdict(r))
		}
	}
}

// TestSubscribeRules goes through every combination of the options that matter.
func TestSubscribeRules(t *testing.T) {
	for bits := range 16 {
		client, anonymous, limited, insecure := bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0
		a := authority(t, channel.Options{Name: "ns", AllowSubscribeForClient: client,
			AllowSubscribeForAnonymous: anonymous, AllowUserLimitedChannels: limited})
		a.Insecure = insecure
		for _, c := range []struct {
			name, user string
			want       bool
		}{
			{"ns:a", "1", client || insecure},
			{"ns:a", "", client && anonymous || insecure},
			{"ns:a#1", "1", limited || client || insecure},
			{"ns:a#2", "1", !limited && client || insecure},
			{"ns:a#", "", !limited && client && anonymous || insecure},
			{"$ns:a", "1", false},
			{"$ns:a#1", "1", limited && false},
		} {
			opts, err := a.Rules.Resolve(c.name)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.MaySubscribe(opts, c.user, c.name) == nil; got != c.want {
				t.Errorf("client %t anonymous %t limited %t insecure %t: %q by %q: got %t, want %t",
					client, anonymous, limited, insecure, c.name, c.user, got, c.want)
			}
		}
	}
}

func TestRequestedChannels(t *testing.T) {
	a := authority(t, channel.Options{Name: "open", AllowSubscribeForClient: true},
		channel.Options{Name: "shut"}, channel.Options{Name: "mine", AllowUserLimitedChannels: true},
		channel.Options{Name: "hook", AllowSubscribeForClient: true, SubscribeProxyEnabled: true})
	for _, c := range []struct {
		user, name string
		ok         bool
		code       uint32
	}{
		{"1", "open:a", true, 0},
		{"", "open:a", false, 0},
		{"1", "$open:a", false, 0},
		{"1", "shut:a", false, 0},
		{"1", "mine:#1", true, 0},
		{"2", "mine:#1", false, 0},
		{"1", "hook:a", false, 0}, // only the backend may allow it, and it is not asked here
		{"1", "nope:a", false, 3501},
		{"1", "", false, 0},
		{"1", "grün", false, 0},
	} {
		if ok, r := a.Requested(c.user, c.name); ok != c.ok || verdict(r) != c.code {
			t.Errorf("%q by %q: got %t, %d; want %t, %d", c.name, c.user, ok, verdict(r), c.ok, c.code)
		}
	}
	a.Insecure = true
	for name, want := range map[string]bool{"shut:a": true, "mine:#2": true, "$open:a": false, "hook:a": false, "grün": false} {
		if ok, r := a.Requested("", name); ok != want || r.Refused() {
			t.Errorf("insecure, %q: got %t, %d", name, ok, verdict(r))
		}
	}
}

func TestInsecureConnsDoNotExpire(t *testing.T) {
	a := authority(t)
	a.Insecure = true
	if cred, r, err := a.Connect(token(`{"sub":"1",`+date("exp", 9)+`}`), clock()); err != nil || r.Refused() || cred.ExpireAt != 0 {
		t.Errorf("got %+v, %+v, %v", cred, r, err)
	}
}

func TestPublishRules(t *testing.T) {
	a := authority(t)
	for bits := range 64 {
		bit := func(i int) bool { return bits>>i&1 != 0 }
		opts := &channel.Options{AllowPublishForClient: bit(0), AllowPublishForSubscriber: bit(1), AllowPublishForAnonymous: bit(2)}
		a.Insecure = bit(3)
		anonymous, subscribed := bit(4), bit(5)
		want := a.Insecure || (!anonymous || opts.AllowPublishForAnonymous) &&
			(opts.AllowPublishForClient || opts.AllowPublishForSubscriber && subscribed)
		if got := a.MayPublish(opts, anonymous, subscribed) == nil; got != want {
			t.Errorf("%+v, anonymous %t, subscribed %t: got %t", opts, anonymous, subscribed, got)
		}
	}
}

func TestDecisionsWithoutTokensDoNotAllocate(t *testing.T) {
	a := authority(t, channel.Options{Name: "ns", AllowUserLimitedChannels: true, AllowPublishForClient: true})
	opts, _ := a.Rules.Resolve("ns:a#1,2")
	if n := testing.AllocsPerRun(100, func() {
		a.MaySubscribe(opts, "2", "ns:a#1,2")
		a.MaySubscribe(opts, "3", "ns:a#1,2")
		a.MayPublish(opts, false, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReasonNamesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for r := range ReasonCount {
		seen[Reason(r).String()] = true
	}
	if len(seen) != ReasonCount || seen[""] || Reason(ReasonCount).String() != "unknown" {
		t.Errorf("got %v", seen)
	}
	if err := fmt.Sprint(refuse(ReasonExpired, "x")); err != "token refused (expired): x" {
		t.Errorf("got %q", err)
	}
}
