package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
	"shoal/server/node"
	"shoal/server/node/seal"
	"shoal/server/tenant"
)

// tenanted is a server for two tenants, acme with limits and blue without, whose tokens say
// which.
func tenanted(limits tenant.Limits) func(*config.Config) {
	return tuned(withTokens, func(c *config.Config) {
		open := plainChannels()
		open.AllowPublishForClient, open.Presence, open.AllowPresenceForClient = true, true, true
		open.HistorySize, open.HistoryTTL, open.AllowHistoryForClient = 10, time.Minute, true
		c.Channel.WithoutNamespace = open
		for _, name := range []string{"acme", "blue"} {
			ns := open
			ns.Name = name
			c.Channel.Namespaces = append(c.Channel.Namespaces, ns)
		}
		c.Tenants.List = []tenant.Options{
			{Name: "acme", ChannelPrefixes: []string{"acme:"}, Limits: limits}, {Name: "blue", ChannelPrefixes: []string{"blue:"}},
		}
	})
}

// member is a connected client of a tenant, empty for none.
func (r *rig) member(t *testing.T, of string) *raw {
	t.Helper()
	c := r.openRaw(t, "")
	c.connect(memberToken(t, of))
	return c
}

func memberToken(t *testing.T, of string) string {
	c := claims{"sub": "42"}
	if of != "" {
		c["tenant"] = of
	}
	return token(t, c)
}

// codes lists what every command about a channel is answered with.
func (c *raw) codes(name string) (codes []uint32) {
	for _, cmd := range []*proto.Command{
		{Subscribe: &proto.SubscribeRequest{Channel: name}}, {Publish: &proto.PublishRequest{Channel: name, Data: []byte("1")}},
		{History: &proto.HistoryRequest{Channel: name}}, {Presence: &proto.PresenceRequest{Channel: name}},
		{PresenceStats: &proto.PresenceStatsRequest{Channel: name}}, {Unsubscribe: &proto.UnsubscribeRequest{Channel: name}},
	} {
		codes = append(codes, code(c.do(cmd)))
	}
	return codes
}

func TestATenantsChannelsAreItsOwn(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{}))
	free, barred := "[0 0 0 0 0 0]", "[103 103 103 103 103 0]"
	for of, want := range map[string]map[string]string{
		"acme": {"acme:x": free, "blue:x": barred, "news": free},
		"blue": {"acme:x": barred, "blue:x": free, "news": free},
		"":     {"acme:x": barred, "blue:x": barred, "news": free},
	} {
		c := r.member(t, of)
		for name, codes := range want {
			if got := fmt.Sprint(c.codes(name)); got != codes {
				t.Errorf("%q in %s: %s, want %s", of, name, got, codes)
			}
		}
	}
	if n := r.metrics(t)[`shoal_tenant_refused_total{tenant="blue",limit="foreign"}`]; n != 5 {
		t.Errorf("%v refusals are counted for blue", n)
	}
	subscription := signed(t, jwt.SigningMethodHS256, subscriptionSecret, claims{"sub": "42", "channel": "blue:x"})
	if re := r.member(t, "acme").do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: "blue:x", Token: subscription}}); code(re) != 103 {
		t.Errorf("with a subscription token: %v", re)
	}
	t.Run("a name that is no tenant's", func(t *testing.T) {
		c := r.openRaw(t, "")
		c.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, memberToken(t, "red")))
		c.expectClosed(3507)
		if n := r.metrics(t)[`shoal_tenant_refused_total{tenant="default",limit="unknown"}`]; n != 1 {
			t.Errorf("%v are counted", n)
		}
	})
	t.Run("a token with another's channel", func(t *testing.T) {
		c := r.openRaw(t, "")
		c.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token(t, claims{"tenant": "acme", "channels": []string{"acme:x", "blue:x"}})))
		c.expectClosed(3507)
	})
	t.Run("a connect command with another's channel", func(t *testing.T) {
		c := r.openRaw(t, "")
		re := c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: memberToken(t, "acme"), Subs: map[string]*proto.SubscribeRequest{"blue:x": {}, "acme:x": {}}}})
		if re.Connect == nil || re.Connect.Subs["blue:x"] != nil || re.Connect.Subs["acme:x"] == nil {
			t.Errorf("answered %v", re)
		}
	})
	t.Run("the API", func(t *testing.T) {
		c := r.openRaw(t, "")
		c.connect(token(t, claims{"sub": "guest", "tenant": "acme"}))
		if _, body := r.call("subscribe", `{"user":"guest","channel":"blue:x"}`); strings.Contains(body, "error") {
			t.Errorf("subscribe answered %s", body)
		}
		if _, body := r.call("publish", `{"channel":"blue:x","data":7}`); strings.Contains(body, "error") {
			t.Errorf("publish answered %s", body)
		}
		if got := string(c.pub().Data); got != "7" {
			t.Errorf("%s came", got)
		}
	})
}

// Each limit is acme's: where it is over one, blue and everybody else notice nothing.
func TestATenantOverALimitIsNobodyElsesConcern(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{
		ConnectionLimit: 3, ChannelLimit: 2, SubscriptionLimit: 4, MessageRateLimit: 1, MessageRateBurst: 10, ByteRateLimit: 1, ByteRateBurst: 2000,
	}))
	var acme, blue, others []*raw
	for range 3 {
		acme, blue, others = append(acme, r.member(t, "acme")), append(blue, r.member(t, "blue")), append(others, r.member(t, ""))
	}
	before := r.metrics(t)
	want := map[string]float64{}
	refused := func(limit string, n float64) {
		want[fmt.Sprintf(`shoal_tenant_refused_total{tenant="acme",limit=%q}`, limit)] = n
	}
	sub := func(c *raw, name string) uint32 {
		return code(c.do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: name}}))
	}

	for range 2 {
		c := r.openRaw(t, "")
		if re := c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: memberToken(t, "acme")}}); code(re) != 111 || !re.Error.Temporary {
			t.Errorf("a connection too many was answered %v", re)
		}
		c.expectClosed(3013)
	}
	refused("connections", 2)
	r.member(t, "blue")

	for i, step := range []struct {
		c    *raw
		name string
		want uint32
	}{
		{acme[0], "acme:a", 0}, {acme[0], "acme:b", 0}, {acme[0], "acme:c", 106}, {acme[1], "acme:a", 0}, {acme[1], "news", 0},
		{acme[2], "acme:a", 106}, {blue[0], "blue:a", 0}, {blue[0], "blue:b", 0}, {blue[0], "blue:c", 0}, {others[0], "c", 0},
	} {
		if got := sub(step.c, step.name); got != step.want {
			t.Errorf("subscribe %d, to %s: %d, want %d", i, step.name, got, step.want)
		}
	}
	refused("channels", 1)
	refused("subscriptions", 1)
	acme[0].do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: "acme:b"}})
	if got := sub(acme[0], "acme:c"); got != 0 {
		t.Errorf("what was given up is not there for others: %d", got)
	}

	big := []byte(`"` + strings.Repeat("x", 1498) + `"`)
	say := func(c *raw, name string, data []byte) uint32 {
		return code(c.do(&proto.Command{Publish: &proto.PublishRequest{Channel: name, Data: data}}))
	}
	publishAPI := func(name string, data []byte) bool {
		_, body := r.call("publish", fmt.Sprintf(`{"channel":%q,"data":%s}`, name, data))
		return strings.Contains(body, `"code":111`)
	}
	if got := []uint32{say(acme[0], "acme:a", big), say(acme[1], "acme:a", big)}; got[0] != 0 || got[1] != 111 {
		t.Errorf("bytes: %v", got)
	}
	if !publishAPI("acme:a", big) || publishAPI("blue:a", big) {
		t.Error("the API's bytes do not count with the channel's tenant")
	}
	refused("bytes", 2)
	over, begin := 0, time.Now()
	for i := range 20 {
		if say(acme[i%3], "acme:a", []byte("1")) == 111 {
			over++
		}
		if got := []uint32{say(blue[i%3], "blue:a", big), say(others[i%3], "news", big)}; got[0] != 0 || got[1] != 0 {
			t.Fatalf("blue and others: %v", got)
		}
	}
	if back := int(time.Since(begin)/time.Second) + 2; over > 11 || over < 11-back { // of ten, one was spent before
		t.Errorf("%d of 20 messages were over the limit", over)
	}
	for i := 0; !publishAPI("acme:a", []byte("1")); i++ {
		if i == 100 {
			t.Fatal("the API's messages do not count")
		}
	}
	now := r.metrics(t)
	for name, n := range want {
		if got := now[name] - before[name]; got != n {
			t.Errorf("%s grew by %v, want %v", name, got, n)
		}
	}
	for name, n := range map[string]float64{
		`shoal_tenant_connections{tenant="acme"}`: 3, `shoal_tenant_connections{tenant="blue"}`: 4, `shoal_tenant_connections{tenant="default"}`: 3,
		`shoal_tenant_channels{tenant="acme"}`: 2, `shoal_tenant_channels{tenant="blue"}`: 3, `shoal_tenant_channels{tenant="default"}`: 2,
		`shoal_tenant_subscriptions{tenant="acme"}`: 4, `shoal_tenant_subscriptions{tenant="blue"}`: 3, `shoal_tenant_subscriptions{tenant="default"}`: 1,
		`shoal_tenant_messages_total{tenant="blue"}`: 21, `shoal_tenant_bytes_total{tenant="blue"}`: 21 * 1500,
	} {
		if now[name] != n {
			t.Errorf("%s is %v, want %v", name, now[name], n)
		}
	}
	acme[2].conn.Close()
	eventually(t, "there is room", func() bool { return r.metrics(t)[`shoal_tenant_connections{tenant="acme"}`] == 2 })
	r.member(t, "acme")
}

// Who connects with a subscription for which there is no room comes back later too.
func TestAConnectWithASubscriptionTooManyIsToComeBackLater(t *testing.T) {
	for name, limits := range map[string]tenant.Limits{"channels": {ChannelLimit: 1}, "subscriptions": {SubscriptionLimit: 1}} {
		r := start(t, tenanted(limits))
		first := r.member(t, "acme")
		first.subscribe("acme:a")
		with := token(t, claims{"sub": "42", "tenant": "acme", "channels": []string{"acme:b"}})
		c := r.openRaw(t, "")
		if re := c.do(&proto.Command{Connect: &proto.ConnectRequest{Token: with}}); code(re) != 111 {
			t.Errorf("%s: answered %v", name, re)
		}
		c.expectClosed(3013)
		first.do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: "acme:a"}})
		if got := r.openRaw(t, "").connect(with); got.Subs["acme:b"] == nil {
			t.Errorf("%s: there is room and it has %v", name, got.Subs)
		}
	}
}

// A stock client of a tenant that is full comes back by itself and gets in when there is room.
func TestAStockClientComesBackToATenantThatWasFull(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{ConnectionLimit: 1}))
	first := r.member(t, "acme")
	client := centrifuge.NewJsonClient(r.ws(), centrifuge.Config{Token: memberToken(t, "acme"), MinReconnectDelay: 20 * time.Millisecond, MaxReconnectDelay: 50 * time.Millisecond})
	defer client.Close()
	connected := make(chan struct{}, 10)
	client.OnConnected(func(centrifuge.ConnectedEvent) { connected <- struct{}{} })
	if err := client.Connect(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is refused twice", func() bool {
		return r.metrics(t)[`shoal_tenant_refused_total{tenant="acme",limit="connections"}`] >= 2
	})
	first.conn.Close()
	wait(t, "it is in", connected)
}

// What a wildcard covers ends where another tenant's channels begin.
func TestAWildcardDoesNotReachIntoATenant(t *testing.T) {
	r := start(t, tuned(withTokens, func(c *config.Config) {
		c.Channel.WithoutNamespace.AllowWildcard = true
		c.Tenants.List = []tenant.Options{{Name: "acme", ChannelPrefixes: []string{"shop.acme."}}}
	}))
	wide, acme := r.member(t, ""), r.member(t, "acme")
	wide.subscribe("shop.**")
	acme.subscribe("shop.acme.*")
	for i, name := range []string{"shop.acme.x", "shop.blue.x"} {
		if _, body := r.call("publish", fmt.Sprintf(`{"channel":%q,"data":%d}`, name, i)); strings.Contains(body, "error") {
			t.Fatal(body)
		}
	}
	if w, a := string(wide.pub().Data), string(acme.pub().Data); w != "1" || a != "0" {
		t.Errorf("the wide wildcard got %s first, the tenant's own %s", w, a)
	}
}

func TestAResumedSessionIsOfItsTenant(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{ConnectionLimit: 1}))
	c := r.openRaw(t, "")
	c.connectWith(&proto.ConnectRequest{Token: memberToken(t, "acme"), Resume: "new"})
	c.subscribed(&proto.SubscribeRequest{Channel: "acme:x"})
	if _, body := r.call("subscribe", `{"user":"42","channel":"blue:x"}`); strings.Contains(body, "error") {
		t.Fatal(body)
	}
	newest := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "shoal.resume"}})
	if newest.Rpc == nil {
		t.Fatalf("shoal.resume answered %v", newest)
	}
	resume := strings.Trim(fmt.Sprint(object(t, string(newest.Rpc.Data))["resume"]), `"`)
	full := r.openRaw(t, "")
	full.say(fmt.Sprintf(`{"id":1,"connect":{"resume":%q}}`, resume))
	full.expectClosed(3013)
	c.conn.Close()
	eventually(t, "there is room", func() bool { return r.metrics(t)[`shoal_tenant_connections{tenant="acme"}`] == 0 })
	again := r.openRaw(t, "")
	got := again.connectWith(&proto.ConnectRequest{Resume: resume, Subs: map[string]*proto.SubscribeRequest{"acme:x": {}, "blue:x": {}}})
	if !got.Resumed || got.Subs["acme:x"] == nil || got.Subs["blue:x"] == nil {
		t.Fatalf("resumed %v", got)
	}
	if codes := fmt.Sprint(again.codes("acme:y"), again.codes("blue:y")); codes != "[0 0 0 0 0 0] [103 103 103 103 103 0]" {
		t.Errorf("it may %s", codes)
	}
	again.conn.Close()
	eventually(t, "there is room", func() bool { return r.metrics(t)[`shoal_tenant_connections{tenant="acme"}`] == 0 })
	before := r.resumes(seal.Unfit) // the user has changed sides meanwhile
	moved := r.openRaw(t, "")
	if got := moved.connectWith(&proto.ConnectRequest{Token: memberToken(t, "blue"), Resume: resume}); got.Resumed || r.resumes(seal.Unfit) != before+1 {
		t.Errorf("resumed %v", got)
	}
	if got := fmt.Sprint(moved.codes("blue:y")); got != "[0 0 0 0 0 0]" {
		t.Errorf("it may %s", got)
	}
}

// A resume token from before there were tenants, or of one that is no more, counts for nothing.
func TestAResumeTokenOfAnotherConfigurationCountsForNothing(t *testing.T) {
	secret := func(c *config.Config) { c.Client.Resume.SecretKey = "0123456789abcdef0123" }
	give := func(r *rig, of string) string {
		c := r.openRaw(t, "")
		return c.connectWith(&proto.ConnectRequest{Token: memberToken(t, of), Resume: "new"}).Resume
	}
	before := give(start(t, tuned(withTokens, secret)), "")
	gone := give(start(t, tuned(withTokens, secret, func(c *config.Config) { c.Tenants.List = []tenant.Options{{Name: "red"}} })), "red")
	r := start(t, tuned(tenanted(tenant.Limits{}), secret))
	own, blue := give(r, ""), give(r, "blue")
	for name, c := range map[string]struct {
		resume  string
		resumes bool
	}{"before": {before, false}, "gone": {gone, false}, "own": {own, true}, "blue": {blue, true}} {
		got := r.openRaw(t, "").do(&proto.Command{Connect: &proto.ConnectRequest{Resume: c.resume, Token: memberToken(t, map[string]string{"blue": "blue"}[name])}})
		if got.Connect.GetResumed() != c.resumes {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A new token of another tenant has the client come back with it.
func TestATokenOfAnotherTenantBringsTheClientBack(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{}))
	c := r.openRaw(t, "")
	soon := time.Now().Add(time.Hour).Unix()
	c.connect(token(t, claims{"sub": "42", "tenant": "acme", "exp": soon}))
	if re := c.do(&proto.Command{Refresh: &proto.RefreshRequest{Token: token(t, claims{"sub": "42", "tenant": "acme", "exp": soon + 1})}}); re.Refresh == nil {
		t.Fatalf("refresh answered %v", re)
	}
	c.say(fmt.Sprintf(`{"id":9,"refresh":{"token":%q}}`, token(t, claims{"sub": "42", "tenant": "blue", "exp": soon})))
	c.expectClosed(3010)
}

// The connect proxy names the tenant in meta, which its protocol has already.
func TestAConnectProxyNamesTheTenant(t *testing.T) {
	a := newApplication(t)
	a.on("/connect", `{"result":{"user":"7","meta":{"tenant":"acme","tier":"gold"}}}`)
	r := start(t, tuned(tenanted(tenant.Limits{}), func(c *config.Config) {
		p := config.DefaultProxy()
		p.Endpoint = a.url + "/connect"
		c.Client.Proxy.Connect = config.SwitchedProxy{Enabled: true, Proxy: p}
	}))
	c := r.openRaw(t, "")
	c.connect("")
	if got := fmt.Sprint(c.codes("acme:x"), c.codes("blue:x")); got != "[0 0 0 0 0 0] [103 103 103 103 103 0]" {
		t.Errorf("it may %s", got)
	}
	a.on("/connect", `{"result":{"user":"7","meta":{"tenant":"red"}}}`)
	c = r.openRaw(t, "")
	c.say(`{"id":1,"connect":{}}`)
	c.expectClosed(3507)
}

// A basic tenant whose backend hangs asks as much as it may and waits; a premium one is
// answered as ever.
func TestASlowTenantsQuestionsDoNotHoldUpOthers(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	r := start(t, tuned(withTokens, func(c *config.Config) {
		c.Tenants.List = []tenant.Options{
			{Name: "cheap", Limits: tenant.Limits{Class: "basic", HookLimit: 3, HookTimeout: patience}},
			{Name: "dear", Limits: tenant.Limits{Class: "premium", HookTimeout: patience}},
		}
	}), func(o *Options) {
		o.Embed.Callbacks.OnRPC = func(ctx context.Context, r *RPCRequest) (*RPCReply, error) {
			if want := map[string]string{"hang": "cheap", "m": "dear"}[r.Method]; r.Tenant != want {
				t.Errorf("%s is asked by %q", r.Method, r.Tenant)
			}
			if r.Method == "hang" {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return &RPCReply{Data: []byte("1")}, nil
		}
	})
	var cheap []*raw
	for range 3 + 4*3 + 2 { // asked, waiting, too many
		cheap = append(cheap, r.member(t, "cheap"))
	}
	for i, c := range cheap {
		c.say(`{"id":7,"rpc":{"method":"hang"}}`)
		if i < 15 {
			eventually(t, "it is asked, or waits", func() bool {
				m := r.metrics(t)
				return int(m[`shoal_tenant_hooks{tenant="cheap"}`]+m[`shoal_tenant_hooks_waiting{tenant="cheap"}`]) == i+1
			})
		}
	}
	for _, c := range cheap[15:] {
		if re := c.replies(1)[0]; code(re) != 111 {
			t.Errorf("one too many was answered %v", re)
		}
	}
	dear := r.member(t, "dear")
	for range 50 {
		if re := dear.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "m"}}); re.Rpc == nil {
			t.Fatalf("the premium tenant was answered %v", re)
		}
	}
	m := r.metrics(t)
	for name, want := range map[string]float64{
		`shoal_tenant_hooks{tenant="cheap"}`: 3, `shoal_tenant_hooks_waiting{tenant="cheap"}`: 12, `shoal_tenant_refused_total{tenant="cheap",limit="hooks"}`: 2,
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	once.Do(func() { close(release) })
	for i, c := range cheap[:15] {
		if re := c.replies(1)[0]; re.Rpc == nil {
			t.Errorf("question %d was answered %v", i, re)
		}
	}
}

// A question takes no longer than the class says, though the proxy has more patience.
func TestAQuestionIsGivenUpInTheTimeOfTheClass(t *testing.T) {
	a := newApplication(t)
	a.hold["/rpc"] = make(chan struct{})
	defer close(a.hold["/rpc"])
	r := start(t, tuned(withTokens, func(c *config.Config) {
		p := config.DefaultProxy()
		p.Endpoint, p.Timeout = a.url+"/rpc", 10*time.Minute
		c.RPC.Proxy, c.RPC.WithoutNamespace.ProxyEnabled = p, true
		c.Tenants.List = []tenant.Options{{Name: "dear", Limits: tenant.Limits{Class: "premium"}}}
	}))
	if re := r.member(t, "dear").do(&proto.Command{Rpc: &proto.RPCRequest{Method: "m"}}); code(re) != 100 {
		t.Errorf("answered %v", re)
	}
}

// Whatever clients do under limits that they meet all the time, in the end what is counted is
// nothing; the rig looks.
func TestWhatTenantsHaveIsGivenBack(t *testing.T) {
	r := start(t, tenanted(tenant.Limits{ConnectionLimit: 4, ChannelLimit: 3, SubscriptionLimit: 6, MessageRateLimit: 200, ByteRateLimit: 2000}))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for range 12 {
				c := r.openRaw(t, "")
				re := c.do(&proto.Command{Connect: &proto.ConnectRequest{
					Token: memberToken(t, []string{"acme", "acme", "blue", ""}[rng.IntN(4)]), Resume: "new",
					Subs: map[string]*proto.SubscribeRequest{"acme:s": {}, "news": {}},
				}})
				if re.Connect == nil {
					c.conn.Close()
					continue
				}
				for range rng.IntN(30) {
					name := []string{"acme:", "blue:", ""}[rng.IntN(3)] + string("abcdef"[rng.IntN(6)])
					c.do([]*proto.Command{
						{Subscribe: &proto.SubscribeRequest{Channel: name}}, {Unsubscribe: &proto.UnsubscribeRequest{Channel: name}},
						{Publish: &proto.PublishRequest{Channel: name, Data: []byte("1")}}, {Subscribe: &proto.SubscribeRequest{Channel: name}},
						{Rpc: &proto.RPCRequest{Method: "m", Data: []byte("1")}}, {Presence: &proto.PresenceRequest{Channel: name}},
					}[rng.IntN(6)])
				}
				c.conn.Close()
			}
		})
	}
	all.Wait()
	eventually(t, "all are gone", func() bool { return r.p.node.Stats().Sessions.Load() == 0 })
	r.p.tenants.Each(func(s tenant.Stats) {
		if s.Connections+s.Channels+s.Subscriptions+s.Asked+s.Waiting != 0 {
			t.Errorf("left: %+v", s)
		}
		if s.Name == "acme" {
			t.Log(s.Refused)
		}
	})
}

// What waits for the slow clients of a tenant is bounded: its largest backlogs go, as many as
// have to, and nobody else's, though they are larger.
func TestATenantsBacklogIsBoundedAndOthersKeepTheirs(t *testing.T) {
	const limit = 4 << 20
	r := start(t, tuned(tenanted(tenant.Limits{BacklogLimit: limit}), patientClose, func(c *config.Config) {
		c.Client.QueueMaxSize, c.Tenants.List[1].BacklogLimit = 64<<20, 64<<20
	}))
	stall := func(of, name string, n int) (out []*raw) {
		for range n {
			c := r.dialRaw(t)
			if err := c.conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
				t.Fatal(err)
			}
			c.upgradeTo(wsPath)
			c.connect(memberToken(t, of))
			c.subscribe(name)
			out = append(out, c)
		}
		return out
	}
	waiting := func(name string) (bytes, most int) { // for those in a channel, and for one of them
		t.Helper()
		conns, err := r.p.node.Connections(t.Context(), node.Target{}, name, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range conns {
			bytes, most = bytes+c.Backlog, max(most, c.Backlog)
		}
		return bytes, most
	}
	data := []byte(`"` + strings.Repeat("x", 32<<10) + `"`)
	flood := func(name string, until int) {
		t.Helper()
		for i := 0; ; i++ {
			if bytes, _ := waiting(name); bytes > until {
				return
			}
			if _, e := r.p.node.Publish(t.Context(), name, &channel.Publication{Data: data}, node.PublishOptions{}); e != nil || i == 5000 {
				t.Fatal(e, i)
			}
		}
	}
	reader, small, blue := r.member(t, "acme"), stall("acme", "acme:small", 1)[0], stall("blue", "blue:flood", 2)
	stall("acme", "acme:flood", 6)
	flood("acme:small", 0)
	flood("blue:flood", 4*limit)
	flood("acme:flood", limit)
	_, each := waiting("acme:flood")
	of := func(metric string) float64 { return r.metrics(t)[metric] }
	eventually(t, "acme's largest go", func() bool {
		bytes, _ := waiting("acme:flood")
		return bytes <= limit && of(`shoal_tenant_backlog_bytes{tenant="acme"}`) <= limit && of(`shoal_tenant_refused_total{tenant="acme",limit="backlog"}`) > 0
	})
	cut, bytes := r.disconnected(3008), 0
	if bytes, _ = waiting("acme:flood"); float64(cut) != of(`shoal_tenant_refused_total{tenant="acme",limit="backlog"}`) || cut > 3 || bytes < limit/2 {
		t.Errorf("%d of 6 with %d bytes each were cut, %d bytes are left", cut, each, bytes)
	}
	if bytes, _ := waiting("acme:small"); bytes == 0 {
		t.Error("the smallest was cut")
	}
	if bytes, _ := waiting("blue:flood"); bytes < 4*limit || of(`shoal_tenant_backlog_bytes{tenant="blue"}`) < 4*limit {
		t.Errorf("blue has %d bytes left", bytes)
	}
	if got := fmt.Sprint(reader.codes("acme:x")); got != "[0 0 0 0 0 0]" {
		t.Errorf("who reads may %s", got)
	}
	for _, c := range append(blue, small) {
		c.conn.Close()
	}
	eventually(t, "nothing waits for blue any more", func() bool { return of(`shoal_tenant_backlog_bytes{tenant="blue"}`) == 0 })
}
