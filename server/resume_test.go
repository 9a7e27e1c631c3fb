package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/node/seal"
)

// recovering gives every channel history and recovery.
func recovering(c *config.Config) {
	o := &c.Channel.WithoutNamespace
	o.HistorySize, o.HistoryTTL, o.ForceRecovery = 100, time.Minute, true
	o.Presence, o.AllowPresenceForSubscriber = true, true
}

func (r *rig) publish(t *testing.T, name string, n int) channel.Position {
	t.Helper()
	p, e := r.p.node.Publish(t.Context(), name, &channel.Publication{Data: fmt.Appendf(nil, `{"n":%d}`, n)}, node.PublishOptions{})
	if e != nil {
		t.Fatal(e)
	}
	return p
}

// connectWith sends a connect command and wants its result.
func (c *raw) connectWith(req *proto.ConnectRequest) *proto.ConnectResult {
	c.t.Helper()
	r := c.do(&proto.Command{Connect: req})
	if r.Connect == nil {
		c.t.Fatalf("connect answered %v", r)
	}
	return r.Connect
}

func (c *raw) subscribed(req *proto.SubscribeRequest) *proto.SubscribeResult {
	c.t.Helper()
	r := c.do(&proto.Command{Subscribe: req})
	if r.Subscribe == nil {
		c.t.Fatalf("subscribe answered %v", r)
	}
	return r.Subscribe
}

// hangUp ends the connection as a lost network does.
func (c *raw) hangUp() {
	c.t.Helper()
	before := c.r.p.node.Stats().Sessions.Load()
	c.conn.Close()
	eventually(c.t, "the session ends", func() bool { return c.r.p.node.Stats().Sessions.Load() < before })
}

func (r *rig) resumes(why seal.Reason) uint64 { return r.p.node.Stats().Resumes[why].Load() }

func offsets(pubs []*proto.Publication) (out []uint64) {
	for _, p := range pubs {
		out = append(out, p.Offset)
	}
	return out
}

// asking is a session of a user that wants tokens and is subscribed to channels.
func (r *rig) asking(t *testing.T, query, user string, names ...string) (c *raw, resume string) {
	t.Helper()
	c = r.openRaw(t, query)
	resume = c.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": user}), Resume: "new"}).Resume
	for _, name := range names {
		resume = c.subscribed(&proto.SubscribeRequest{Channel: name}).Resume
	}
	if resume == "" {
		t.Fatal("no token was given")
	}
	return c, resume
}

func TestASessionComesBackInOneCommand(t *testing.T) {
	r := start(t, tuned(withTokens, recovering))
	for _, query := range []string{"", "?format=protobuf"} {
		t.Run("format "+query, func(t *testing.T) {
			name := "news" + strings.TrimPrefix(query, "?format=")
			c := r.openRaw(t, query)
			first := c.connectWith(&proto.ConnectRequest{Resume: "new",
				Token: token(t, claims{"sub": "42", "info": map[string]any{"n": 1}, "meta": map[string]any{"m": 2}, "channels": []string{"from-token"}})})
			if first.Resume == "" || first.Resumed {
				t.Fatalf("connect answered %v", first)
			}
			sub := c.subscribed(&proto.SubscribeRequest{Channel: name})
			if sub.Resume == "" || sub.Resume == first.Resume {
				t.Fatalf("subscribe answered %v", sub)
			}
			c.subscribed(&proto.SubscribeRequest{Channel: "other"})
			at := r.publish(t, name, 1)
			c.hangUp()
			r.publish(t, name, 2)
			r.publish(t, name, 3)

			accepted, tokens := r.resumes(seal.None), r.p.node.Stats().Tokens[0].Load()
			c = r.openRaw(t, query)
			again := c.connectWith(&proto.ConnectRequest{Resume: sub.Resume, Token: "is not looked at", Subs: map[string]*proto.SubscribeRequest{
				name: {Recover: true, Offset: at.Offset, Epoch: at.Epoch}, "from-token": {}, "invented": {}, "other": {},
			}})
			names := slices.Sorted(maps.Keys(again.Subs))
			if !again.Resumed || again.Resume == "" || !slices.Equal(names, []string{"from-token", name}) {
				t.Fatalf("resumed %v, token %q, subscriptions %v", again.Resumed, again.Resume, names)
			}
			got := again.Subs[name]
			if !got.Recovered || !got.WasRecovering || !slices.Equal(offsets(got.Publications), []uint64{at.Offset + 1, at.Offset + 2}) {
				t.Errorf("recovered %v", got)
			}
			if r.resumes(seal.None) != accepted+1 || r.p.node.Stats().Tokens[0].Load() != tokens {
				t.Error("the connection token was looked at, or the resume token not counted")
			}
			if at = r.publish(t, name, 4); c.pub().Offset != at.Offset {
				t.Error("the next publication did not come")
			}
			p := c.do(&proto.Command{Presence: &proto.PresenceRequest{Channel: name}}).Presence
			if info := p.GetPresence()[again.Client]; info.GetUser() != "42" || string(info.GetConnInfo()) != `{"n":1}` {
				t.Errorf("present as %v", info)
			}
			// It is the client's own again: it may leave and come back by itself.
			if e := c.do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: name}}); e.Unsubscribe == nil {
				t.Errorf("unsubscribe answered %v", e)
			}
			if c.subscribed(&proto.SubscribeRequest{Channel: name}).Resume == "" {
				t.Error("a resumed session gets no newer tokens")
			}
			c.hangUp()
		})
	}
}

// TestATokenThatIsNoGoodIsAsNone: the connect command goes the ordinary way, and the
// reason is counted.
func TestATokenThatIsNoGoodIsAsNone(t *testing.T) {
	r := start(t, tuned(withTokens, recovering))
	other := start(t, tuned(withTokens, recovering))
	_, resume := r.asking(t, "", "42", "news")
	_, foreign := other.asking(t, "", "42", "news")
	flipped := []byte(resume)
	if at := len(flipped) / 2; flipped[at] == 'A' {
		flipped[at] = 'B'
	} else {
		flipped[at] = 'A'
	}
	for _, c := range []struct {
		name, resume string
		why          seal.Reason
	}{
		{"a digit is another", string(flipped), seal.Foreign},
		{"cut short", resume[:len(resume)-8], seal.Foreign},
		{"longer", resume + "AAAA", seal.Foreign},
		{"of another process", foreign, seal.Foreign},
		{"no base64url", strings.Repeat("!", len(resume)), seal.Malformed},
		{"of another version", "_" + resume[1:], seal.Malformed},
		{"a line break inside", resume[:20] + "\n" + resume[20:], seal.Malformed},
		{"too long", strings.Repeat("A", seal.TextBytesMax+1), seal.Oversize},
		{"a connection token", token(t, claims{"sub": "42"}), seal.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := r.resumes(c.why)
			conn := r.openRaw(t, "")
			got := conn.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "7"}), Resume: c.resume})
			if got.Resumed || got.Resume == "" || r.resumes(c.why) != before+1 {
				t.Errorf("resumed %v, a new token %v, %s counted %d times", got.Resumed, got.Resume != "", c.why, r.resumes(c.why)-before)
			}
			conn.subscribe("news")
			conn.hangUp()
			conn = r.openRaw(t, "")
			conn.say(`{"id":1,"connect":{"resume":` + fmt.Sprintf("%q", c.resume) + `}}`)
			conn.expectClosed(3501) // as anybody without a token
		})
	}
	t.Run("another user's", func(t *testing.T) {
		before := r.resumes(seal.Unfit)
		got := r.openRaw(t, "").connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "7"}), Resume: resume})
		if got.Resumed || r.resumes(seal.Unfit) != before+1 {
			t.Error("a client that has changed users came back as the former one")
		}
	})
	t.Run("every byte counts", func(t *testing.T) {
		for i := range 40 {
			at := i * (len(resume) - 1) / 40
			bad := []byte(resume)
			if bad[at] = 'A'; resume[at] == 'A' {
				bad[at] = 'B'
			}
			conn := r.openRaw(t, "")
			if got := conn.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42"}), Resume: string(bad)}); got.Resumed {
				t.Errorf("byte %d does not count", at)
			}
			conn.hangUp()
		}
	})
}

func TestTheAPIEndsTokens(t *testing.T) {
	r := start(t, tuned(withTokens, recovering, func(c *config.Config) { c.Client.AllowAnonymousConnect = true }))
	back := func(t *testing.T, resume string) *proto.ConnectResult {
		t.Helper()
		conn := r.openRaw(t, "")
		defer conn.hangUp()
		return conn.connectWith(&proto.ConnectRequest{Resume: resume, Subs: map[string]*proto.SubscribeRequest{"news": {}, "more": {}}})
	}
	t.Run("disconnect of a session that is here", func(t *testing.T) {
		c, resume := r.asking(t, "", "a", "news")
		_, bystander := r.asking(t, "", "b", "news")
		if !back(t, resume).Resumed {
			t.Fatal("it does not resume in the first place")
		}
		r.call("disconnect", `{"user":"a"}`)
		c.expectClosed(3503)
		if back(t, resume).Resumed {
			t.Error("it came back")
		}
		if !back(t, bystander).Resumed {
			t.Error("another user's token ended too")
		}
		if _, fresh := r.asking(t, "", "a", "news"); !back(t, fresh).Resumed {
			t.Error("a later token of the user is not good")
		}
	})
	t.Run("disconnect of a user who is away", func(t *testing.T) {
		c, resume := r.asking(t, "", "c", "news")
		c.hangUp()
		r.call("disconnect", `{"user":"c"}`)
		if back(t, resume).Resumed {
			t.Error("it came back")
		}
	})
	t.Run("unsubscribe", func(t *testing.T) {
		for _, away := range []bool{false, true} {
			user := fmt.Sprint("d", away)
			c, resume := r.asking(t, "", user, "news", "more")
			if away {
				c.hangUp()
			}
			r.call("unsubscribe", fmt.Sprintf(`{"user":%q,"channel":"news"}`, user))
			got := back(t, resume)
			if names := slices.Sorted(maps.Keys(got.Subs)); !got.Resumed || !slices.Equal(names, []string{"more"}) {
				t.Errorf("away %v: resumed %v with %v", away, got.Resumed, names)
			}
		}
	})
	t.Run("anonymous, by client id", func(t *testing.T) {
		open := func() (*raw, *proto.ConnectResult) {
			c := r.openRaw(t, "")
			return c, c.connectWith(&proto.ConnectRequest{Resume: "new"})
		}
		first, one := open()
		second, two := open()
		if n, err := r.p.node.Disconnect(t.Context(), node.Target{Client: one.Client}, *channel.DisconnectForceReconnect.Disconnect()); n != 1 || err != nil {
			t.Fatalf("%d ended, %v", n, err)
		}
		first.expectClosed(3011)
		second.hangUp()
		if back(t, one.Resume).Resumed {
			t.Error("it came back")
		}
		if !back(t, two.Resume).Resumed {
			t.Error("another anonymous session's token ended too")
		}
	})
	t.Run("older tokens of the same line", func(t *testing.T) {
		c, resume := r.asking(t, "", "e", "news")
		c.hangUp()
		c = r.openRaw(t, "")
		newer := c.connectWith(&proto.ConnectRequest{Resume: resume})
		if _, err := r.p.node.Disconnect(t.Context(), node.Target{Client: newer.Client}, *channel.DisconnectForced.Disconnect()); err != nil {
			t.Fatal(err)
		}
		c.expectClosed(3503)
		if back(t, resume).Resumed || back(t, newer.Resume).Resumed {
			t.Error("it came back")
		}
	})
	t.Run("refused credentials do not: what it had is still good", func(t *testing.T) {
		c, resume := r.asking(t, "", "f", "news")
		c.say(`{"id":9,"refresh":{"token":"a.b.c"}}`)
		c.expectClosed(3500)
		if !back(t, resume).Resumed {
			t.Error("it did not come back")
		}
	})
	t.Run("a shutdown or a lost line does not", func(t *testing.T) {
		c, resume := r.asking(t, "", "g", "news")
		c.hangUp()
		if !back(t, resume).Resumed {
			t.Error("it did not come back")
		}
	})
}

func TestTokensEndWithTheWindow(t *testing.T) {
	var ahead atomic.Int64
	clock := func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}
	r := start(t, tuned(withTokens, recovering), clock)
	c, resume := r.asking(t, "", "42", "news")
	at := r.publish(t, "news", 1)
	c.hangUp()
	r.publish(t, "news", 2)
	subs := map[string]*proto.SubscribeRequest{"news": {Recover: true, Offset: at.Offset, Epoch: at.Epoch}}
	for _, step := range []struct {
		ahead   time.Duration
		resumes bool
	}{{0, true}, {4 * time.Minute, true}, {5*time.Minute + time.Second, false}} {
		ahead.Store(int64(step.ahead))
		c := r.openRaw(t, "")
		got := c.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42"}), Resume: resume, Subs: subs})
		if got.Resumed != step.resumes {
			t.Errorf("after %s: resumed %v", step.ahead, got.Resumed)
		}
		if step.ahead == 0 && !slices.Equal(offsets(got.Subs["news"].GetPublications()), []uint64{at.Offset + 1}) {
			t.Errorf("recovered %v", got.Subs["news"])
		}
		// A newer token is asked for while the session goes on.
		if rpc := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.resume"}}).Rpc; !strings.Contains(string(rpc.GetData()), `"window":300`) {
			t.Errorf("shoal.resume answered %s", rpc.GetData())
		}
		c.hangUp()
	}
	if r.resumes(seal.Expired) != 1 {
		t.Errorf("%d counted as expired", r.resumes(seal.Expired))
	}
}

// TestTokensOutliveTheProcessWithASecret: another process with the secret, or with it as
// the previous one, takes them; one that has forgotten it does not.
func TestTokensOutliveTheProcessWithASecret(t *testing.T) {
	secrets := func(present, previous string) func(*config.Config) {
		return tuned(withTokens, recovering, func(c *config.Config) {
			c.Client.Resume.SecretKey, c.Client.Resume.PreviousSecretKey = present, previous
		})
	}
	const old, present = "a secret of the year before", "a secret of this year"
	_, resume := start(t, secrets(old, "")).asking(t, "", "42", "news")
	for _, c := range []struct {
		name              string
		present, previous string
		resumes           bool
	}{{"same", old, "", true}, {"rotated", present, old, true}, {"rotated away", present, "", false}, {"random", "", "", false}} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, secrets(c.present, c.previous))
			for range 2 {
				conn := r.openRaw(t, "")
				got := conn.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42"}), Resume: resume, Subs: map[string]*proto.SubscribeRequest{"news": {}}})
				if got.Resumed != c.resumes || c.resumes && len(got.Subs) != 1 {
					t.Errorf("resumed %v with %v", got.Resumed, got.Subs)
				}
			}
		})
	}
}

func TestAllSubscriptionsOfAFullSessionComeBack(t *testing.T) {
	r := start(t, tuned(withTokens, recovering))
	var names []string
	subs := map[string]*proto.SubscribeRequest{}
	for i := range 128 {
		names = append(names, fmt.Sprintf("channel-number-%03d", i))
		subs[names[i]] = &proto.SubscribeRequest{Recover: true}
	}
	c, resume := r.asking(t, "", "42", names...)
	c.hangUp()
	c = r.openRaw(t, "")
	got := c.connectWith(&proto.ConnectRequest{Resume: resume, Subs: subs})
	if !got.Resumed || len(got.Subs) != 128 || len(resume) > seal.TextBytesMax {
		t.Fatalf("%d subscriptions came back by a token of %d bytes", len(got.Subs), len(resume))
	}
	t.Logf("a token of 128 channels has %d bytes", len(resume))
	if e := c.do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: "one more"}}); e.Error.GetCode() != 106 {
		t.Errorf("above the channel limit: %v", e)
	}
	c.hangUp()

	// What does not fit into a token is not given one, and nothing else changes.
	c = r.openRaw(t, "")
	c.connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42"}), Resume: "new"})
	last := ""
	for i := range 64 {
		last = c.subscribed(&proto.SubscribeRequest{Channel: fmt.Sprintf("%s%02d", strings.Repeat("x", 250), i)}).Resume
	}
	if last != "" {
		t.Errorf("a token of %d bytes was given", len(last))
	}
	if e := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.resume"}}); e.Error.GetCode() != 106 {
		t.Errorf("shoal.resume answered %v", e)
	}
}

// TestStockClientsNoticeNothing: without asking there are no tokens and no new fields.
func TestStockClientsNoticeNothing(t *testing.T) {
	r := start(t, tuned(withTokens, recovering))
	encodings(t, func(t *testing.T, dial func(string, centrifuge.Config) *centrifuge.Client) {
		given := r.p.node.Stats().ResumeTokens.Load()
		client := dial(r.ws(), centrifuge.Config{Token: token(t, claims{"sub": "42"})})
		defer client.Close()
		if err := client.Connect(); err != nil {
			t.Fatal(err)
		}
		sub, err := client.NewSubscription("news")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		sub.OnSubscribed(func(centrifuge.SubscribedEvent) { close(done) })
		if err := sub.Subscribe(); err != nil {
			t.Fatal(err)
		}
		wait(t, "subscribed", done)
		if _, err := client.RPC(t.Context(), "shoal.resume", nil); err == nil {
			t.Error("a session that did not ask for tokens got one")
		}
		if n := r.p.node.Stats().ResumeTokens.Load(); n != given {
			t.Errorf("%d tokens were given", n-given)
		}
	})
	c := r.openRaw(t, "")
	c.say(`{"id":1,"connect":{"token":"` + token(t, claims{"sub": "42"}) + `"}}` + "\n" + `{"id":2,"subscribe":{"channel":"news"}}`)
	if got := string(c.data()); strings.Contains(got, "resume") {
		t.Errorf("answered %s", got)
	}
	off := start(t, tuned(withTokens, func(c *config.Config) { c.Client.Resume.Window = 0 }))
	got := off.openRaw(t, "").connectWith(&proto.ConnectRequest{Token: token(t, claims{"sub": "42"}), Resume: "new"})
	if got.Resume != "" || got.Resumed {
		t.Errorf("switched off: %v", got)
	}
}
