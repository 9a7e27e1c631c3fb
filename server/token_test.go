package server

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"shoal/codec/proto"
	"shoal/server/config"
)

const (
	tokenSecret        = "connect-secret-connect-secret-0123"
	subscriptionSecret = "subscription-secret-0123456789-abc"
)

type claims = jwt.MapClaims

// withTokens lets nobody in without one.
func withTokens(c *config.Config) {
	c.Client.AllowAnonymousConnect = false
	c.Client.Token.HMACSecretKey = tokenSecret
	c.Client.SubscriptionToken.Enabled = true
	c.Client.SubscriptionToken.HMACSecretKey = subscriptionSecret
}

func token(t *testing.T, c claims) string {
	t.Helper()
	return signed(t, jwt.SigningMethodHS256, tokenSecret, c)
}

func signed(t *testing.T, method jwt.SigningMethod, secret string, c claims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, c).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// part encodes a part of a token.
func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func forgeries(t *testing.T) map[string]string {
	good := token(t, claims{"sub": "42"})
	parts := strings.Split(good, ".")
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims{"sub": "42"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"another secret":      signed(t, jwt.SigningMethodHS256, "another", claims{"sub": "42"}),
		"subscription secret": signed(t, jwt.SigningMethodHS256, subscriptionSecret, claims{"sub": "42"}),
		"subscription token":  token(t, claims{"sub": "42", "channel": "news"}),
		"alg none":            none,
		"alg None":            part(`{"alg":"None","typ":"JWT"}`) + "." + parts[1] + ".",
		"alg nOnE":            part(`{"alg":"nOnE"}`) + "." + parts[1] + "." + parts[2],
		"alg RS256":           part(`{"alg":"RS256"}`) + "." + parts[1] + "." + parts[2],
		"no alg":              part(`{"typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"empty signature":     parts[0] + "." + parts[1] + ".",
		"signature cut":       good[:len(good)-4],
		"signature longer":    good + "AAAA",
		"other claims":        parts[0] + "." + part(`{"sub":"1"}`) + "." + parts[2],
		"two parts":           parts[0] + "." + parts[1],
		"four parts":          good + ".x",
		"claims no object":    part(`{"alg":"HS256"}`) + "." + part(`[]`) + "." + parts[2],
		"no base64":           "!!!." + parts[1] + "." + parts[2],
		"random":              "random",
		"sub a number":        signed(t, jwt.SigningMethodHS256, tokenSecret, claims{"sub": 42}),
		"exp a text":          signed(t, jwt.SigningMethodHS256, tokenSecret, claims{"sub": "42", "exp": "soon"}),
		"unknown crit":        part(`{"alg":"HS256","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2],
		"white space before":  " " + good,
		"line break inside":   good[:20] + "\n" + good[20:],
		"jwk in the header":   part(`{"alg":"HS256","jwk":{"kty":"oct","k":"YQ"}}`) + "." + parts[1] + "." + parts[2],
		"signed by its kid":   part(`{"alg":"HS256","kid":"../../dev/null"}`) + "." + parts[1] + "." + parts[2],
	}
}

func TestForgedTokensEndWith3500(t *testing.T) {
	r := start(t, tuned(withTokens))
	watch := r.openRaw(t, "")
	watch.connect(token(t, claims{"sub": "watch"}))
	watch.subscribe("news")
	for name, forged := range forgeries(t) {
		t.Run(name, func(t *testing.T) {
			lines := len(r.logs.since(0))
			c := r.openRaw(t, "")
			b, err := proto.AppendCommand(nil, proto.JSON, &proto.Command{Id: 1, Connect: &proto.ConnectRequest{Token: forged}})
			if err != nil {
				t.Fatal(err)
			}
			c.say(string(b))
			c.expectClosed(3500)
			r.quiet(t, lines)
			for _, line := range r.logs.since(0) {
				if strings.Contains(line, forged) {
					t.Errorf("the log quotes the token: %s", line)
				}
			}
		})
	}
	m := r.metrics(t)
	for _, reason := range []string{"signature", "algorithm", "malformed", "purpose"} {
		if m[`shoal_tokens_verified_total{result="`+reason+`"}`] == 0 {
			t.Errorf("no token was counted as refused for %s", reason)
		}
	}
	if status, _ := r.call("publish", `{"channel":"news","data":1}`); status != 200 || string(watch.pub().Data) != "1" {
		t.Error("the client with a good token missed a publication")
	}
}

func TestNoTokenIsABadRequest(t *testing.T) {
	r := start(t, tuned(withTokens))
	c := r.openRaw(t, "")
	c.say(`{"id":1,"connect":{}}`)
	c.expectClosed(3501)
}

func TestExpiredTokenIsAnErrorAndThenTheConnectionIsUnusable(t *testing.T) {
	r := start(t, tuned(withTokens, func(c *config.Config) { c.Client.StaleCloseDelay = 300 * time.Millisecond }))
	old := token(t, claims{"sub": "42", "exp": time.Now().Add(-time.Hour).Unix()})
	c := r.openRaw(t, "")
	if reply := c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: old}}); reply.Error == nil || reply.Error.Code != 109 {
		t.Errorf("answered %v, want error 109", reply)
	}
	c.say(`{"id":2,"connect":{}}`)
	c.expectClosed(3501)

	c = r.openRaw(t, "")
	c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: old}})
	c.expectClosed(3502)
}

func TestStockClientWithTokens(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(withTokens))
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			c := dial(r.ws(), centrifuge.Config{Token: signed(t, method, tokenSecret, claims{"sub": "42", "exp": time.Now().Add(time.Hour).Unix()})})
			connected(t, c)
			_, pubs := subscribed(t, c, "news")
			r.call("publish", `{"channel":"news","data":{"x":1}}`)
			if got := string(wait(t, "publication", pubs).Data); got != `{"x":1}` {
				t.Errorf("got %s", got)
			}
			c.Close()
		}
		c := dial(r.ws(), centrifuge.Config{Token: signed(t, jwt.SigningMethodHS256, "wrong", claims{"sub": "42"})})
		ended := make(chan centrifuge.DisconnectedEvent, 1)
		c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { ended <- e })
		t.Cleanup(c.Close)
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		if e := wait(t, "disconnected", ended); e.Code != 3500 {
			t.Errorf("disconnected with %d %s, want 3500", e.Code, e.Reason)
		}
	})
}

// A stock client answers error 109 by asking for a fresh token.
func TestStockClientRenewsAnExpiredToken(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(withTokens))
		asked := make(chan struct{}, 10)
		c := dial(r.ws(), centrifuge.Config{
			Token: token(t, claims{"sub": "42", "exp": time.Now().Add(-time.Minute).Unix()}),
			GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
				asked <- struct{}{}
				return token(t, claims{"sub": "42", "exp": time.Now().Add(time.Hour).Unix()}), nil
			},
		})
		connected(t, c)
		wait(t, "the client asks for a token", asked)
	})
}

// It renews the token of a live connection before it expires.
func TestStockClientRefreshes(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		t.Parallel()
		r := start(t, tuned(withTokens))
		fresh := func() string { return token(t, claims{"sub": "42", "exp": time.Now().Add(3 * time.Second).Unix()}) }
		asked := make(chan struct{}, 10)
		c := dial(r.ws(), centrifuge.Config{Token: fresh(), GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			asked <- struct{}{}
			return fresh(), nil
		}})
		connected(t, c)
		ended := make(chan centrifuge.DisconnectedEvent, 1)
		c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { ended <- e })
		wait(t, "first refresh", asked)
		wait(t, "second refresh", asked)
		eventually(t, "refresh commands are counted", func() bool { return r.metrics(t)[`shoal_commands_total{method="refresh"}`] >= 1 })
		select {
		case e := <-ended:
			t.Errorf("disconnected with %d %s", e.Code, e.Reason)
		default:
		}
	})
}

func TestRefreshWithAnotherUsersTokenEndsTheConnection(t *testing.T) {
	r := start(t, tuned(withTokens))
	exp := time.Now().Add(time.Hour).Unix()
	c := r.openRaw(t, "")
	c.connect(token(t, claims{"sub": "42", "exp": exp}))
	if reply := c.do(&proto.Command{Refresh: &proto.RefreshRequest{Token: token(t, claims{"sub": "42", "exp": exp})}}); reply.Refresh == nil || !reply.Refresh.Expires {
		t.Errorf("refresh answered %v", reply)
	}
	c.message([]byte(`{"id":77,"refresh":{"token":"` + token(t, claims{"sub": "43", "exp": exp}) + `"}}`))
	c.expectClosed(3500)
}

func TestSubscriptionTokens(t *testing.T) {
	r := start(t, tuned(withTokens))
	sub := func(secret string, c claims) string { return signed(t, jwt.SigningMethodHS256, secret, c) }
	hour := time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		token string
		err   uint32
		code  int
	}{
		"good":                 {sub(subscriptionSecret, claims{"sub": "42", "channel": "$private"}), 0, 0},
		"good until":           {sub(subscriptionSecret, claims{"sub": "42", "channel": "$private", "exp": hour}), 0, 0},
		"none":                 {"", 103, 0},
		"expired":              {sub(subscriptionSecret, claims{"sub": "42", "channel": "$private", "exp": 1}), 109, 0},
		"another secret":       {sub("wrong", claims{"sub": "42", "channel": "$private"}), 103, 0},
		"of a connection":      {sub(tokenSecret, claims{"sub": "42"}), 103, 0},
		"another channel":      {sub(subscriptionSecret, claims{"sub": "42", "channel": "$other"}), 0, 3500},
		"a pattern of channel": {sub(subscriptionSecret, claims{"sub": "42", "channel": "$*"}), 0, 3500},
		"another user":         {sub(subscriptionSecret, claims{"sub": "43", "channel": "$private"}), 0, 3500},
		"no user":              {sub(subscriptionSecret, claims{"channel": "$private"}), 0, 3500},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.openRaw(t, "")
			conn.connect(token(t, claims{"sub": "42"}))
			cmd := &proto.Command{Subscribe: &proto.SubscribeRequest{Channel: "$private", Token: c.token}}
			if c.code != 0 {
				cmd.Id = 50
				b, err := proto.AppendCommand(nil, conn.enc, cmd)
				if err != nil {
					t.Fatal(err)
				}
				conn.message(b)
				conn.expectClosed(c.code)
				return
			}
			reply := conn.do(cmd)
			if c.err != 0 && (reply.Error == nil || reply.Error.Code != c.err) || c.err == 0 && reply.Subscribe == nil {
				t.Errorf("answered %v, want error %d", reply, c.err)
			}
		})
	}
}

// Channels in a connection token become subscriptions of their own.
func TestTokenSubscribesToItsChannels(t *testing.T) {
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		r := start(t, tuned(withTokens))
		c := dial(r.ws(), centrifuge.Config{Token: token(t, claims{"sub": "42", "channels": []string{"mine", "$ours"}})})
		pubs := make(chan centrifuge.ServerPublicationEvent, 10)
		c.OnPublication(func(e centrifuge.ServerPublicationEvent) { pubs <- e })
		connected(t, c)
		for _, name := range []string{"mine", "$ours"} {
			if status, body := r.call("publish", `{"channel":"`+name+`","data":{"in":"`+name+`"}}`); status != 200 || body != `{"result":{}}` {
				t.Fatalf("publish answered %d %s", status, body)
			}
			if e := wait(t, "publication", pubs); e.Channel != name || string(e.Data) != `{"in":"`+name+`"}` {
				t.Errorf("got %s in %s, want it in %s", e.Data, e.Channel, name)
			}
		}
	})
}

func TestStockSubscriptionTokenFlow(t *testing.T) {
	r := start(t, tuned(withTokens))
	c := centrifuge.NewJsonClient(r.ws(), centrifuge.Config{Token: token(t, claims{"sub": "42"})})
	connected(t, c)
	sub, err := c.NewSubscription("$room", centrifuge.SubscriptionConfig{GetToken: func(e centrifuge.SubscriptionTokenEvent) (string, error) {
		if e.Channel != "$room" {
			return "", errors.New("asked for another channel")
		}
		return signed(t, jwt.SigningMethodHS256, subscriptionSecret, claims{"sub": "42", "channel": e.Channel}), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 1)
	sub.OnSubscribed(func(centrifuge.SubscribedEvent) { done <- struct{}{} })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	wait(t, "subscribed", done)
}

// The claims that the configuration names are those that count.
func TestTokenClaimsAreThoseConfigured(t *testing.T) {
	r := start(t, tuned(func(c *config.Config) {
		withTokens(c)
		c.Client.Token.AudienceRegex, c.Client.Token.IssuerRegex, c.Client.Token.UserIDClaim = "^app-[0-9]+$", "^https://", "uid"
	}))
	good := claims{"uid": "42", "aud": []string{"other", "app-7"}, "iss": "https://id"}
	connected(t, centrifuge.NewJsonClient(r.ws(), centrifuge.Config{Token: token(t, good)}))
	if got := r.p.node.Stats().Users.Load(); got != 1 {
		t.Errorf("%d users, want the one that uid names", got)
	}
	for _, bad := range []claims{
		{"uid": "42", "aud": "app-x", "iss": "https://id"},
		{"uid": "42", "aud": "app-7", "iss": "http://id"},
	} {
		c := centrifuge.NewJsonClient(r.ws(), centrifuge.Config{Token: token(t, bad)})
		ended := make(chan centrifuge.DisconnectedEvent, 1)
		c.OnDisconnected(func(e centrifuge.DisconnectedEvent) { ended <- e })
		if err := c.Connect(); err != nil {
			t.Fatal(err)
		}
		if e := wait(t, "disconnected", ended); e.Code != 3500 {
			t.Errorf("%v: ended with %d %s, want 3500", bad, e.Code, e.Reason)
		}
		c.Close()
	}
}
