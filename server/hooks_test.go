package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/server/channel"
	"shoal/server/config"
)

// application is a backend behind the server, asked over HTTP.
type application struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	answer map[string]func(q map[string]any, header http.Header) string // by path
	asked  map[string][]map[string]any
	hold   map[string]chan struct{} // a question on the path waits for it
}

func newApplication(t *testing.T) *application {
	t.Helper()
	a := &application{t: t, answer: map[string]func(map[string]any, http.Header) string{}, asked: map[string][]map[string]any{}, hold: map[string]chan struct{}{}}
	s := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

func (a *application) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Error(err)
	}
	var q map[string]any
	if err := json.Unmarshal(body, &q); err != nil {
		a.t.Errorf("%s: asked %q: %v", r.URL.Path, body, err)
	}
	a.mu.Lock()
	a.asked[r.URL.Path] = append(a.asked[r.URL.Path], q)
	f, hold := a.answer[r.URL.Path], a.hold[r.URL.Path]
	a.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if f == nil {
		http.Error(w, "nobody is here", http.StatusNotImplemented)
		return
	}
	fmt.Fprint(w, f(q, r.Header))
}

// on sets the answer of a path.
func (a *application) on(path, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[path] = func(map[string]any, http.Header) string { return answer }
}

// questions are those asked on a path so far.
func (a *application) questions(path string) []map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[path]
}

// asking configures every proxy of the server to ask a; the namespace hooked asks about
// its channels.
func (a *application) asking(c *config.Config) {
	proxy := func(path string) config.Proxy {
		p := config.DefaultProxy()
		p.Endpoint, p.HTTPHeaders, p.EmulatedHeaders, p.IncludeConnectionMeta = a.url+path, []string{"Cookie"}, []string{"X-Device"}, true
		p.Timeout = patience
		return p
	}
	c.Client.AllowAnonymousConnect = false
	c.Client.Token.HMACSecretKey = tokenSecret
	c.Client.Proxy.Connect = config.SwitchedProxy{Enabled: true, Proxy: proxy("/connect")}
	c.Client.Proxy.Refresh = config.SwitchedProxy{Enabled: true, Proxy: proxy("/refresh")}
	c.ChannelProxy = config.ChannelProxies{
		Subscribe: proxy("/subscribe"), Publish: proxy("/publish"), SubRefresh: proxy("/sub_refresh"), State: proxy("/state"),
	}
	c.RPC.Proxy = proxy("/rpc")
	c.RPC.WithoutNamespace.ProxyEnabled = true
	hooked := channel.DefaultOptions()
	hooked.Name = "hooked"
	hooked.SubscribeProxyEnabled, hooked.PublishProxyEnabled = true, true
	hooked.SubRefreshProxyEnabled, hooked.StateProxyEnabled = true, true
	hooked.HistorySize, hooked.HistoryTTL, hooked.ForceRecovery = 10, time.Minute, true
	hooked.Presence = true
	c.Channel.Namespaces = append(c.Channel.Namespaces, hooked)
}

func TestTheBackendDecides(t *testing.T) {
	a := newApplication(t)
	a.on("/connect", `{"result":{"user":"7","info":{"name":"Ann"},"data":{"hello":1},"meta":{"tier":"gold"},"channels":["news"]}}`)
	a.on("/subscribe", `{"result":{"info":{"role":"admin"},"data":{"welcome":true}}}`)
	a.on("/publish", `{"result":{"data":{"text":"censored"}}}`)
	a.on("/rpc", `{"result":{"data":{"sum":3}}}`)
	a.on("/state", `{"result":{}}`)
	r := start(t, tuned(a.asking))
	c := r.openRaw(t, "", "Cookie: session=abc")
	re := c.do(&proto.Command{Connect: &proto.ConnectRequest{
		Data: []byte(`{"from":"page"}`), Name: "test", Version: "1", Headers: map[string]string{"X-Device": "phone", "Cookie": "forged"},
	}})
	if re.Connect == nil || string(re.Connect.Data) != `{"hello":1}` || re.Connect.Subs["news"] == nil || re.Connect.Expires {
		t.Fatalf("connect answered %v", re)
	}
	q := a.questions("/connect")[0]
	if q["transport"] != "websocket" || q["encoding"] != "json" || q["protocol"] != "json" || q["name"] != "test" ||
		q["client"] != re.Connect.Client || fmt.Sprint(q["data"]) != "map[from:page]" {
		t.Errorf("connect asked %v", q)
	}

	sub := c.do(&proto.Command{Subscribe: &proto.SubscribeRequest{Channel: "hooked:a", Data: []byte(`{"why":"x"}`)}}).Subscribe
	if sub == nil || string(sub.Data) != `{"welcome":true}` || !sub.Recoverable || sub.Epoch == "" {
		t.Fatalf("subscribe answered %v", sub)
	}
	if q = a.questions("/subscribe")[0]; q["user"] != "7" || q["channel"] != "hooked:a" || fmt.Sprint(q["meta"]) != "map[tier:gold]" || fmt.Sprint(q["data"]) != "map[why:x]" {
		t.Errorf("subscribe asked %v", q)
	}
	if re := c.do(&proto.Command{Publish: &proto.PublishRequest{Channel: "hooked:a", Data: []byte(`{"text":"bad word"}`)}}); re.Publish == nil {
		t.Fatalf("publish answered %v", re)
	}
	presence := c.do(&proto.Command{Presence: &proto.PresenceRequest{Channel: "hooked:a"}})
	if presence.Error == nil || presence.Error.Code != 103 {
		t.Errorf("presence, which nothing allows, answered %v", presence)
	}
	if re := c.do(&proto.Command{Rpc: &proto.RPCRequest{Method: "add", Data: []byte(`[1,2]`)}}); re.Rpc == nil || string(re.Rpc.Data) != `{"sum":3}` {
		t.Errorf("rpc answered %v", re)
	}
	c.say(`{"id":99,"refresh":{"token":"x"}}`) // the server does it
	c.expectClosed(3501)
}

func TestThePublicationOfAHookIsTheBackends(t *testing.T) {
	a := newApplication(t)
	a.on("/connect", `{"result":{"user":"7"}}`)
	a.on("/subscribe", `{"result":{}}`)
	a.on("/publish", `{"result":{"data":{"text":"censored"}}}`)
	a.on("/state", `{"result":{}}`)
	r := start(t, tuned(a.asking))
	c := r.openRaw(t, "")
	c.connect("")
	c.subscribe("hooked:a")
	c.say(`{"id":90,"publish":{"channel":"hooked:a","data":{"text":"bad word"}}}`)
	if pub := c.pub(); string(pub.Data) != `{"text":"censored"}` || pub.Info.GetUser() != "7" || pub.Offset != 1 {
		t.Errorf("published %v", pub)
	}
	eventually(t, "the backend hears of the channel", func() bool {
		q := a.questions("/state")
		return len(q) == 1 && strings.Contains(fmt.Sprint(q[0]), "occupied")
	})
	c.conn.Close()
	eventually(t, "and that nobody is left", func() bool {
		q := a.questions("/state")
		return len(q) == 2 && strings.Contains(fmt.Sprint(q[1]), "vacated")
	})
}

func TestRefusalsOfTheBackendAreTheClients(t *testing.T) {
	a := newApplication(t)
	r := start(t, tuned(a.asking))
	for name, c := range map[string]struct {
		answer string
		code   int
	}{
		"an error":     {`{"error":{"code":1000,"message":"custom","temporary":true}}`, 1000},
		"a disconnect": {`{"disconnect":{"code":4500,"reason":"banned"}}`, -4500},
		"nothing":      {`{}`, -3501},
		"garbage":      {`<html>`, 100},
	} {
		t.Run(name, func(t *testing.T) {
			a.on("/connect", c.answer)
			conn := r.openRaw(t, "")
			conn.say(`{"id":1,"connect":{}}`)
			if c.code < 0 {
				conn.expectClosed(-c.code)
				return
			}
			if re := conn.replies(1)[0]; re.Error == nil || int(re.Error.Code) != c.code || !re.Error.Temporary {
				t.Errorf("answered %v", re)
			}
		})
	}
}

func TestCommandsBehindASlowBackendStayInOrder(t *testing.T) {
	a := newApplication(t)
	a.on("/rpc", `{"result":{"data":1}}`)
	hold := make(chan struct{})
	a.hold["/rpc"] = hold
	r := start(t, tuned(a.asking))
	c := r.openRaw(t, "")
	c.connect(token(t, claims{"sub": "42"}))
	c.say(`{"id":10,"rpc":{"method":"slow"}}` + "\n" + `{"id":11,"unsubscribe":{"channel":"x"}}`)
	for i := range 20 {
		c.say(fmt.Sprintf(`{"id":%d,"unsubscribe":{"channel":"x"}}`, 12+i))
	}
	other := r.openRaw(t, "")
	other.connect(token(t, claims{"sub": "43"})) // nobody else waits
	eventually(t, "the backend is asked", func() bool { return len(a.questions("/rpc")) == 1 })
	close(hold)
	for i, re := range c.replies(22) {
		if int(re.Id) != 10+i {
			t.Fatalf("reply %d is %v", i, re)
		}
	}
}

func TestTheBackendRenewsWhatEnds(t *testing.T) {
	a := newApplication(t)
	soon := func() int64 { return time.Now().Unix() + 2 }
	a.answer["/connect"] = func(map[string]any, http.Header) string {
		return fmt.Sprintf(`{"result":{"user":"7","expire_at":%d}}`, soon())
	}
	a.answer["/subscribe"] = func(map[string]any, http.Header) string { return fmt.Sprintf(`{"result":{"expire_at":%d}}`, soon()) }
	a.on("/refresh", `{"result":{"expired":false}}`)
	a.on("/sub_refresh", `{"result":{"expired":true}}`)
	a.on("/state", `{"result":{}}`)
	r := start(t, tuned(a.asking))
	c := r.openRaw(t, "")
	c.connect("")
	c.subscribe("hooked:a")
	re := c.replies(1)[0] // the end of the subscription
	if re.Push == nil || re.Push.Unsubscribe == nil || re.Push.Unsubscribe.Code != 2501 || re.Push.Channel != "hooked:a" {
		t.Fatalf("got %v", re)
	}
	eventually(t, "the backend is asked to renew the connection", func() bool { return len(a.questions("/refresh")) == 1 })
	if re := c.do(&proto.Command{Unsubscribe: &proto.UnsubscribeRequest{Channel: "hooked:a"}}); re.Unsubscribe == nil {
		t.Errorf("the renewed connection answered %v", re)
	}
}
