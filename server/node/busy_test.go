package node

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/pool/worker"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/session"
)

// A command that waits holds up those behind it, and only those; all are answered in
// order.
func TestCommandsBehindASlowOneAreAnsweredInOrder(t *testing.T) {
	gate := make(chan struct{})
	h := newHouse(t, plan{channels: kinds(), backend: &oracle{rpc: func(r *backend.RPCRequest) (*backend.RPCReply, error) {
		if r.Method == "slow" {
			<-gate
		}
		return &backend.RPCReply{Data: fmt.Appendf(nil, "%q", r.Method)}, nil
	}}})
	g, other := h.guest(), h.guest()
	g.say(`{"id":2,"rpc":{"method":"slow"}}` + "\n" + `{"id":3,"rpc":{"method":"fast"}}` + "\n" + `{"id":4,"subscribe":{"channel":"rec:a"}}` + "\n" +
		`{"id":5,"rpc":{"method":"unknown"}}` + "\n" + `{"id":6,"presence_stats":{"channel":"rec:a"}}` + "\n" + `{"id":7,"unsubscribe":{"channel":"rec:a"}}`)
	other.do("rpc", `"method":"fast"`)
	other.sees(`{"id":2,"rpc":{"data":"fast"}}`)
	close(gate)
	g.sees(`{"id":2,"rpc":{"data":"slow"}}`, `{"id":3,"rpc":{"data":"fast"}}`, `{"id":4,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`,
		`{"id":5,"error":{"code":108,"message":"not available"}}`, `{"id":6,"presence_stats":{"num_clients":1,"num_users":1}}`, `{"id":7,"unsubscribe":{}}`)
}

// The rest of a frame waits too: commands of one message, one of which is slow.
func TestTheRestOfAFrameWaits(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), backend: &oracle{rpc: func(r *backend.RPCRequest) (*backend.RPCReply, error) {
		return &backend.RPCReply{Data: r.Data}, nil
	}}})
	h.guest()
	var frame []byte
	var want []string
	for i := range 20 {
		if i > 0 {
			frame = append(frame, '\n')
		}
		frame = fmt.Appendf(frame, `{"id":%d,"rpc":{"method":"m","data":%d}}`, i+10, i)
		want = append(want, fmt.Sprintf(`{"id":%d,"rpc":{"data":%d}}`, i+10, i))
	}
	g := h.guest()
	id, _ := h.node.ids.Parse(g.id)
	h.on(0, func(s *Shard) {
		slot, _ := s.l.Lookup(id)
		if !s.Message(slot, 0, frame) || len(s.rests) != 1 {
			t.Error("the session does not wait with the rest of its frame")
		}
	})
	g.sees(want...)
}

// A publication costs as much as there are wildcards that it fits. Of many in one frame, or
// in many frames that came together, so many are made that others need not wait for long.
func TestWhoPublishesToManyWildcardsLetsOthersHaveTheLoop(t *testing.T) {
	open := channel.Options{
		AllowWildcard: true, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, AllowPublishForClient: true, AllowPublishForAnonymous: true,
	}
	h := newHouse(t, plan{channels: channel.Config{WithoutNamespace: open}})
	listener := h.guest()
	for stars := range 1 << 5 {
		segments := strings.Split("a.a.a.a.a", ".")
		for i := range segments {
			if stars>>i&1 != 0 {
				segments[i] = "*"
			}
		}
		listener.do("subscribe", fmt.Sprintf(`"channel":%q`, strings.Join(segments, ".")))
		listener.next()
	}
	patterns := int(h.node.Stats().Subscriptions.Load())
	if patterns < 20 || patterns > 32 {
		t.Fatalf("%d subscriptions", patterns)
	}
	const n = 40
	var frames []string
	var want []string
	for i := range n {
		frames = append(frames, fmt.Sprintf(`{"id":%d,"publish":{"channel":"a.a.a.a.a","data":%d}}`, i+10, i))
		want = append(want, fmt.Sprintf(`{"id":%d,"publish":{}}`, i+10))
	}
	published := func() int { return int(h.node.Stats().Published.Load()) }
	most := parcelsMax/patterns + 1
	g := h.guest()
	id, _ := h.node.ids.Parse(g.id)
	h.on(0, func(s *Shard) {
		slot, _ := s.l.Lookup(id)
		if busy := s.Message(slot, 0, []byte(strings.Join(frames, "\n"))); !busy || published() > most || len(s.rests) != 1 {
			t.Errorf("of one frame %d publications were made at once, want %d", published(), most)
		}
	})
	g.sees(want...)
	before := published()
	h.on(0, func(s *Shard) {
		slot, _ := s.l.Lookup(id)
		for i, f := range frames {
			if s.Message(slot, 0, []byte(f)) {
				if i+1 > most || published()-before != i+1 || len(s.rests) != 0 {
					t.Errorf("the session waits after frame %d, want %d", i+1, most)
				}
				return
			}
		}
		t.Error("the session does not wait")
	})
	h.still()
	if got := int(h.node.Stats().Delivered.Load()); got != published()*patterns {
		t.Errorf("%d of %d publications for each of %d subscriptions", got, published(), patterns)
	}
}

func TestAnOutcomeOfAConnThatIsGoneIsNobodys(t *testing.T) {
	gate, asked := make(chan struct{}), make(chan struct{}, 10)
	h := newHouse(t, plan{channels: kinds(), backend: &oracle{
		rpc: func(*backend.RPCRequest) (*backend.RPCReply, error) {
			asked <- struct{}{}
			<-gate
			return &backend.RPCReply{Data: []byte(`"secret"`)}, nil
		},
		subscribe: func(*backend.SubscribeRequest) (*backend.SubscribeReply, error) {
			asked <- struct{}{}
			<-gate
			return &backend.SubscribeReply{}, nil
		}}})
	for _, command := range []string{`{"id":2,"rpc":{"method":"m"}}`, `{"id":2,"subscribe":{"channel":"rec:a"}}`} {
		g := h.guest()
		g.say(command)
		await(t, asked)
		g.conn.Close()
	}
	for h.node.Stats().Sessions.Load() != 0 {
		runtime.Gosched()
	}
	after := h.guest() // in a slot that the outcome was for
	close(gate)
	h.on(0, func(*Shard) {})
	after.do("presence_stats", `"channel":"rec:a"`)
	after.sees(`{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}`)
}

// What was found out for a session that closes meanwhile is not told to another one.
func TestAnAnswerIsTheAskersAlone(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	g := h.guest()
	h.on(0, func(s *Shard) { // as a session leaves it that closed over its answer
		s.reply.answer.presence = map[string]channel.ClientInfo{"somebody": {User: "secret"}}
	})
	g.do("presence_stats", `"channel":"rec:a"`)
	g.sees(`{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}`)
}

func TestErrandsThatNobodyHasTimeForAreRefused(t *testing.T) {
	gate, asked := make(chan struct{}), make(chan struct{}, 10)
	h := newHouse(t, plan{channels: kinds(), workers: worker.Config{Workers: 1, QueueMax: 1}, blocking: true,
		cfg: Config{Session: session.Config{}},
		backend: &oracle{
			rpc: func(*backend.RPCRequest) (*backend.RPCReply, error) {
				asked <- struct{}{}
				<-gate
				return &backend.RPCReply{}, nil
			},
			publish: func(*backend.PublishRequest) (*backend.PublishReply, error) { return &backend.PublishReply{}, nil },
		}})
	a, b, c := h.guest(), h.guest(), h.guest()
	a.do("rpc", `"method":"m"`)
	await(t, asked)
	b.do("rpc", `"method":"m"`)
	for h.node.cfg.Workers.Stats().Queued[worker.Standard] == 0 {
		runtime.Gosched()
	}
	const tooMany = `"error":{"code":111,"message":"too many requests","temporary":true}}`
	for i, command := range []string{`"rpc":{"method":"m"}`, `"subscribe":{"channel":"rec:a"}`, `"publish":{"channel":"rec:a","data":1}`,
		`"history":{"channel":"rec:a","limit":1}`, `"presence":{"channel":"rec:a"}`} {
		c.say(fmt.Sprintf(`{"id":%d,%s}`, 2+i, command))
		c.sees(fmt.Sprintf(`{"id":%d,%s`, 2+i, tooMany))
	}
	if got := h.node.cfg.Workers.Stats().Refused[worker.Standard]; got != 5 {
		t.Errorf("%d errands were refused, want 5", got)
	}
	close(gate)
	a.sees(`{"id":2,"rpc":{}}`)
	b.sees(`{"id":2,"rpc":{}}`)
	c.say(`{"id":9,"subscribe":{"channel":"rec:a"}}`)
	c.sees(`{"id":9,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`)
}

// A backend that panics, or knows nothing, is an error for the one who asked.
func TestABackendThatFails(t *testing.T) {
	for _, panics := range []bool{false, true} {
		fails := func() error {
			if panics {
				panic("on purpose")
			}
			return errors.New("no answer")
		}
		o := &oracle{
			rpc:       func(*backend.RPCRequest) (*backend.RPCReply, error) { return nil, fails() },
			subscribe: func(*backend.SubscribeRequest) (*backend.SubscribeReply, error) { return nil, fails() },
			publish:   func(*backend.PublishRequest) (*backend.PublishReply, error) { return nil, fails() },
			send:      func(*backend.SendRequest) (channel.Refusal, error) { return channel.Refusal{}, fails() },
		}
		h := newHouse(t, plan{channels: kinds(), backend: o})
		g := h.guest()
		const internal = `"error":{"code":100,"message":"internal server error","temporary":true}}`
		for i, command := range []string{`"rpc":{"method":"m"}`, `"subscribe":{"channel":"rec:a"}`, `"publish":{"channel":"rec:a","data":1}`} {
			g.say(fmt.Sprintf(`{"id":%d,%s}`, 2+i, command))
			g.sees(fmt.Sprintf(`{"id":%d,%s`, 2+i, internal))
		}
		h = newHouse(t, plan{channels: kinds(), backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) { return nil, fails() }}})
		who := h.dial()
		who.say(`{"id":1,"connect":{}}`)
		who.sees("closed 3004")
	}
}

func TestTheBackendDecides(t *testing.T) {
	var sent atomic.Pointer[backend.SendRequest]
	var asked atomic.Pointer[backend.ConnectRequest]
	far := time.Now().Add(time.Hour).Unix()
	yes := true
	o := &oracle{
		connect: func(r *backend.ConnectRequest) (*backend.ConnectReply, error) {
			asked.Store(r)
			return &backend.ConnectReply{User: "42", Info: []byte(`{"name":"x"}`), Data: []byte(`{"hello":1}`), Meta: []byte(`{"m":1}`),
				Subs: []channel.ServerSub{{Channel: "told:a", Info: []byte(`1`), Data: []byte(`2`)}, {Channel: "plain", Override: &channel.Override{Presence: &yes}}}}, nil
		},
		subscribe: func(r *backend.SubscribeRequest) (*backend.SubscribeReply, error) {
			switch r.Channel {
			case "rec:no":
				return &backend.SubscribeReply{Refusal: channel.Refusal{Err: &channel.Error{Code: 1234, Message: "mine"}}}, nil
			case "rec:out":
				return &backend.SubscribeReply{Refusal: channel.Refusal{Disconnect: &channel.Disconnect{Code: 4321, Reason: "mine"}}}, nil
			}
			return &backend.SubscribeReply{Data: r.Data, Info: []byte(`{"of":"sub"}`), ExpireAt: far}, nil
		},
		publish: func(r *backend.PublishRequest) (*backend.PublishReply, error) {
			switch string(r.Data) {
			case `"done"`:
				return &backend.PublishReply{Done: true}, nil
			case `"skip"`:
				return &backend.PublishReply{SkipHistory: true}, nil
			}
			return &backend.PublishReply{Data: []byte(`"changed"`)}, nil
		},
		send: func(r *backend.SendRequest) (channel.Refusal, error) {
			sent.Store(r)
			return channel.Refusal{Disconnect: &channel.Disconnect{Code: 4999, Reason: "enough"}}, nil
		},
	}
	h := newHouse(t, plan{channels: kinds(), backend: o, cfg: Config{HeadersKept: true, Session: sending()}})
	g := h.dial()
	g.say(`{"id":1,"connect":{"data":{"d":1},"name":"sdk","version":"1","subs":{"told:a":{}}}}`)
	if got := g.next(); !strings.HasPrefix(got, `{"id":1,"connect":{"client":"UUID","data":{"hello":1},"subs":{`) || !strings.Contains(got, `"plain":{}`) ||
		!strings.Contains(got, `"told:a":{"recoverable":true,"epoch":"E","positioned":true,"data":2}`) {
		t.Fatal(got)
	}
	g.sees(`{"push":{"channel":"told:a","join":{"info":{"user":"42","client":"UUID","conn_info":{"name":"x"},"chan_info":1}}}}`)
	if r := asked.Load(); r.Name != "sdk" || string(r.Data) != `{"d":1}` || r.Headers["cookie"] != "c=1" || len(r.Channels) != 1 || r.Remote == "" || r.Encoding != "json" {
		t.Errorf("asked with %+v", r)
	}
	g.last = 1
	g.do("subscribe", `"channel":"rec:a","data":{"q":1}`)
	if got := g.next(); !strings.Contains(got, `"expires":true`) || !strings.Contains(got, `"data":{"q":1}`) {
		t.Errorf("got %s", got)
	}
	g.do("subscribe", `"channel":"rec:no"`)
	g.sees(`{"id":3,"error":{"code":1234,"message":"mine"}}`)
	for i, data := range []string{`"done"`, `"skip"`, `"any"`} {
		g.do("publish", `"channel":"rec:a","data":`+data)
		lines := []string{g.next()}
		if i > 0 {
			lines = append(lines, g.next())
		}
		const info = `"info":{"user":"42","client":"UUID","conn_info":{"name":"x"},"chan_info":{"of":"sub"}}`
		want := []string{"", `"data":"skip",` + info + `}}}`, `"data":"changed",` + info + `,"offset":1}}}`}[i]
		if all := strings.Join(lines, " "); !strings.Contains(all, want) || !strings.Contains(all, fmt.Sprintf(`{"id":%d,"publish":{}}`, g.last)) {
			t.Errorf("publishing %s: %s", data, all)
		}
	}
	g.say(`{"send":{"data":{"s":1}}}`)
	g.sees("closed 4999")
	if r := sent.Load(); string(r.Data) != `{"s":1}` || r.User != "42" || string(r.Meta) != `{"m":1}` {
		t.Errorf("sent %+v", r)
	}
	out := h.dial()
	out.say(`{"id":1,"connect":{}}`)
	out.next()
	out.next()
	out.say(`{"id":2,"subscribe":{"channel":"rec:out"}}`)
	out.sees("closed 4321")
}

// sending is a session configuration in which somebody takes messages.
func sending() session.Config {
	c := session.Default(100*time.Millisecond, &channel.Rules{})
	c.Send = true
	return c
}

// Server-side subscriptions on a slow broker: nothing comes before the connect reply, and
// nothing is missing behind it.
func TestConnectingWithSubscriptionsOnASlowBroker(t *testing.T) {
	gate := make(chan struct{})
	h := newHouse(t, plan{channels: kinds(), blocking: true, backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
		return &backend.ConnectReply{User: "1", Subs: []channel.ServerSub{{Channel: "told:a"}, {Channel: "rec:b"}, {Channel: "plain"}}}, nil
	}}})
	var come atomic.Int32
	f := func(call, _ string) {
		if call == "read" {
			come.Add(1)
			<-gate
		}
	}
	h.broker.stop.Store(&f)
	g := h.dial()
	g.say(`{"id":1,"connect":{"subs":{"rec:b":{"recover":true}}}}`)
	for come.Load() < 2 {
		runtime.Gosched()
	}
	for i := range 3 {
		for _, name := range []string{"told:a", "rec:b", "plain"} {
			h.pub(name, fmt.Sprint(i))
		}
	}
	if err := h.node.DeliverSignals("told:a", []channel.Signal{{Info: channel.ClientInfo{Client: "other"}}}); err != nil {
		t.Fatal(err)
	}
	h.still()
	close(gate)
	reply := g.next()
	for _, part := range []string{`{"id":1,"connect":{"client":"UUID","subs":{`, `"plain":{}`, `"told:a":{"recoverable":true,"epoch":"E","positioned":true}`,
		`"rec:b":{"recoverable":true,"epoch":"E","recovered":true,"positioned":true,"was_recovering":true}`} {
		if !strings.Contains(reply, part) {
			t.Fatal(reply)
		}
	}
	got := map[string][]string{}
	for range 11 { // and the two joins
		line := g.next()
		for _, name := range []string{"told:a", "rec:b", "plain"} {
			if strings.Contains(line, fmt.Sprintf("%q", name)) {
				got[name] = append(got[name], line)
			}
		}
	}
	for _, name := range []string{"rec:b", "plain"} {
		if len(got[name]) != 3 {
			t.Errorf("%s: %q", name, got[name])
		}
		for i, line := range got[name] {
			if !strings.Contains(line, fmt.Sprintf(`"data":%d`, i)) {
				t.Errorf("%s: %d is %s", name, i, line)
			}
		}
	}
	if len(got["told:a"]) != 5 {
		t.Errorf("told:a: %q", got["told:a"])
	}
}

// The API meets sessions in every state.
func TestTheAPIMeetsSubscriptionsThatAreBeingMade(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true})
	bye := *channel.UnsubscribeServer.Unsubscribe()
	api := func(g *guest, what string) {
		t.Helper()
		var n int
		var e error
		switch what {
		case "unsubscribe":
			if n, err := h.node.Unsubscribe(t.Context(), Target{Client: g.id}, "rec:a", bye); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			return
		case "subscribe":
			if n, err := h.node.Subscribe(t.Context(), Target{Client: g.id}, Subscription{Channel: "rec:a"}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			return
		case "disconnect":
			n, e = h.node.Disconnect(t.Context(), Target{Client: g.id}, *channel.DisconnectForced.Disconnect())
		}
		if n != 1 || e != nil {
			t.Fatal(what, n, e)
		}
	}
	const result = `"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`
	const removed = `{"push":{"channel":"rec:a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}`

	g := h.guest() // a client's, ended by the API before it is made
	come, release := h.broker.hold("read")
	g.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	api(g, "unsubscribe")
	api(g, "subscribe") // it is one already
	close(release)
	g.sees(`{"id":2,`+result, removed)

	come, release = h.broker.hold("read") // the API's, while the client wants and leaves the channel
	api(g, "subscribe")
	await(t, come)
	g.do("subscribe", `"channel":"rec:b"`)
	g.sees(`{"id":3,` + result)
	g.do("unsubscribe", `"channel":"rec:a"`)
	g.sees(`{"id":4,"unsubscribe":{}}`)
	g.do("subscribe", `"channel":"rec:a"`)
	g.sees(`{"id":5,"error":{"code":105,"message":"already subscribed"}}`)
	close(release)
	g.sees(`{"push":{"channel":"rec:a","subscribe":{"recoverable":true,"epoch":"E","positioned":true}}}`)
	h.broker.stop.Store(nil)
	for i, name := range []string{"rec:a", "rec:b"} { // both are counted: both can be left
		g.do("unsubscribe", fmt.Sprintf(`"channel":%q`, name))
		g.sees(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, 6+i))
	}
	if n := h.node.Stats().Subscriptions.Load(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}

	come, release = h.broker.hold("read") // ended by the API itself
	api(g, "subscribe")
	await(t, come)
	api(g, "unsubscribe")
	close(release)
	g.sees(`{"push":{"channel":"rec:a","subscribe":{"recoverable":true,"epoch":"E","positioned":true}}}`, removed)

	come, release = h.broker.hold("read")
	g.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	api(g, "disconnect")
	g.sees("closed 3503")
	close(release)
}

// The API can subscribe with a position; the push is followed by what was missed.
func TestTheAPIRecovers(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		h := newHouse(t, plan{channels: kinds(), blocking: blocking, loops: 2})
		h.pub("rec:a", `1`)
		h.pub("rec:a", `2`)
		g := h.guest()
		since := channel.Position{Offset: 1}
		if n, e := h.node.Subscribe(t.Context(), Target{Client: g.id}, Subscription{Channel: "rec:a", Data: []byte(`{"d":1}`), Info: []byte(`7`), Since: &since}); n != 1 || e != nil {
			t.Fatal(n, e)
		}
		g.sees(`{"push":{"channel":"rec:a","subscribe":{"recoverable":true,"epoch":"E","offset":1,"positioned":true,"data":{"d":1}}}}`,
			`{"push":{"channel":"rec:a","pub":{"data":2,"offset":2}}}`)
		h.pub("rec:a", `3`)
		g.sees(`{"push":{"channel":"rec:a","pub":{"data":3,"offset":3}}}`)
		if _, e := h.node.Subscribe(t.Context(), Target{Client: g.id}, Subscription{Channel: "nowhere:a"}); e == nil || e.Code != 102 {
			t.Error(e)
		}
		h.lost(t, "rec:a", 9)
		g.sees("closed 3010")
	}
}

// The credentials are renewed by the API: before, while and after something else waits.
func TestTheAPIRefreshes(t *testing.T) {
	gate, asked := make(chan struct{}), make(chan struct{}, 1)
	signer, verifier := tokens(t)
	h := newHouse(t, plan{channels: kinds(), cfg: Config{Auth: &auth.Authority{ConnectTokens: verifier, SubscribeTokens: verifier}},
		backend: &oracle{rpc: func(*backend.RPCRequest) (*backend.RPCReply, error) {
			asked <- struct{}{}
			<-gate
			return &backend.RPCReply{}, nil
		}}})
	g := h.dial()
	now := time.Now().Unix()
	g.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, signer(`{"sub":"u","exp":%d,"info":{"a":1}}`, now+3600)))
	if got := g.next(); !strings.Contains(got, `"expires":true,"ttl":3`) {
		t.Fatal(got)
	}
	g.say(`{"id":2,"rpc":{"method":"m"}}`)
	await(t, asked)
	if n, err := h.node.Refresh(t.Context(), Target{User: "u"}, false, 0, []byte(`{"b":2}`)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	g.sees(`{"push":{"refresh":{}}}`)
	close(gate)
	g.sees(`{"id":2,"rpc":{}}`)
	list, err := h.node.Connections(t.Context(), Target{User: "u"}, "", "", 10)
	if err != nil || len(list) != 1 || string(list[0].Info) != `{"b":2}` {
		t.Errorf("%+v %v", list, err)
	}
	g.say(fmt.Sprintf(`{"id":3,"refresh":{"token":%q}}`, signer(`{"sub":"u","exp":%d}`, now+7200)))
	if got := g.next(); !strings.Contains(got, `"id":3,"refresh":{`) || !strings.Contains(got, `"ttl":7`) {
		t.Error(got)
	}
	if n, err := h.node.Refresh(t.Context(), Target{User: "u"}, true, 0, nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	g.sees("closed 3005")
}

// tokens makes connection and subscription tokens for one secret.
func tokens(t *testing.T) (sign func(claims string, args ...any) string, v *auth.Verifier) {
	t.Helper()
	const secret = "a secret of enough bytes for every algorithm there is"
	v, err := auth.New(auth.Config{HMACSecretKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	s, err := auth.NewSigner("", secret, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return func(claims string, args ...any) string {
		token, err := s.Sign(fmt.Appendf(nil, claims, args...))
		if err != nil {
			t.Error(err)
		}
		return token
	}, v
}

// mortal is a house whose subscriptions end.
type mortal struct {
	*house
	sign func(claims string, args ...any) string
}

func newMortal(t *testing.T, o *oracle) *mortal {
	sign, verifier := tokens(t)
	return &mortal{newHouse(t, plan{channels: kinds(), backend: o, cfg: Config{
		ExpiredSubWait: 2 * time.Second, Auth: &auth.Authority{ConnectTokens: verifier, SubscribeTokens: verifier, AllowAnonymousWithoutToken: true}}}), sign}
}

// token is for rec:a and ends in so many seconds.
func (m *mortal) token(in int64) string {
	return m.sign(`{"sub":"","channel":"rec:a","exp":%d,"info":{"i":%d}}`, time.Now().Unix()+in, in)
}

// passes lets seconds pass. The loop's clock is the real one: what is to end is made to
// have an end that has passed.
func (m *mortal) passes(seconds int, ends bool) {
	m.on(0, func(s *Shard) {
		s.extras.Each(func(_ uint32, x *extra) bool {
			if ends && x.expireAt > 0 {
				x.expireAt = 1
			}
			return true
		})
		for range seconds {
			s.Tend(0)
		}
	})
}

const subExpired = `{"push":{"channel":"rec:a","unsubscribe":{"code":2501,"reason":"subscription expired"}}}`

// A subscription ends with its grant, unless the client renews it.
func TestGrantsEnd(t *testing.T) {
	m := newMortal(t, nil)
	g := m.guest()
	g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(100)))
	if got := g.next(); !strings.Contains(got, `"expires":true,"ttl":`) {
		t.Fatal(got)
	}
	g.do("sub_refresh", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(200)))
	if got := g.next(); !strings.Contains(got, `{"id":3,"sub_refresh":{"expires":true,"ttl":`) {
		t.Fatal(got)
	}
	m.passes(190, false)
	who, e := m.node.Presence(t.Context(), "rec:a")
	if e != nil || string(who[g.id].ChanInfo) != `{"i":200}` {
		t.Errorf("%v %v", who, e)
	}
	m.passes(20, true)
	g.sees(subExpired)
}

// The end of a subscription that is still being made waits until it has been.
func TestAGrantMayEndBeforeItsSubscriptionIsMade(t *testing.T) {
	sign, verifier := tokens(t)
	h := newHouse(t, plan{channels: kinds(), blocking: true, cfg: Config{Auth: &auth.Authority{ConnectTokens: verifier, SubscribeTokens: verifier, AllowAnonymousWithoutToken: true}}})
	m := &mortal{h, sign}
	g := h.guest()
	come, release := h.broker.hold("read")
	g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(100)))
	await(t, come)
	m.passes(150, true)
	close(release)
	if got := g.next(); !strings.HasPrefix(got, `{"id":2,"subscribe":{`) {
		t.Fatal(got)
	}
	m.passes(2, true)
	g.sees(subExpired)
}

// The backend renews what the client need not, until it does not any more.
func TestTheBackendRenewsGrants(t *testing.T) {
	var answer atomic.Pointer[backend.SubRefreshReply]
	m := newMortal(t, &oracle{subRefresh: func(*backend.SubRefreshRequest) (*backend.SubRefreshReply, error) { return answer.Load(), nil }})
	g := m.guest()
	far := time.Now().Unix() + 1000
	answer.Store(&backend.SubRefreshReply{ExpireAt: far, Info: []byte(`{"new":1}`)})
	g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(100)))
	if got := g.next(); strings.Contains(got, `"expires"`) {
		t.Fatal(got)
	}
	m.passes(120, true)
	for done := false; !done; runtime.Gosched() {
		m.on(0, func(s *Shard) {
			s.extras.Each(func(_ uint32, x *extra) bool { done = x.expireAt == far; return !done })
		})
	}
	if who, e := m.node.Presence(t.Context(), "rec:a"); e != nil || string(who[g.id].ChanInfo) != `{"new":1}` {
		t.Errorf("%v %v", who, e)
	}
	g.do("sub_refresh", `"channel":"rec:b","token":"x"`)
	g.sees(`{"id":3,"error":{"code":103,"message":"permission denied"}}`)
	answer.Store(&backend.SubRefreshReply{Expired: true})
	m.passes(1100, true)
	g.sees(subExpired)
}

// A subscription or session that the backend renews does not end because nobody has time
// to ask it: it is asked again, and its answer counts.
func TestARenewalThatNobodyHasTimeForIsAskedAgain(t *testing.T) {
	sign, verifier := tokens(t)
	gate, asked := make(chan struct{}), make(chan struct{}, 10)
	var expired atomic.Bool
	o := &oracle{
		rpc: func(*backend.RPCRequest) (*backend.RPCReply, error) {
			asked <- struct{}{}
			<-gate
			return &backend.RPCReply{}, nil
		},
		subRefresh: func(*backend.SubRefreshRequest) (*backend.SubRefreshReply, error) {
			return &backend.SubRefreshReply{Expired: expired.Load(), ExpireAt: time.Now().Unix() + 1000}, nil
		},
		refresh: func(*backend.RefreshRequest) (*backend.RefreshReply, error) {
			return &backend.RefreshReply{ExpireAt: time.Now().Unix() + 2}, nil
		},
	}
	m := &mortal{newHouse(t, plan{channels: kinds(), workers: worker.Config{Workers: 1, QueueMax: 1}, backend: o,
		cfg: Config{Auth: &auth.Authority{ConnectTokens: verifier, SubscribeTokens: verifier, AllowAnonymousWithoutToken: true}}}), sign}
	member, ending := m.guest(), m.dial()
	member.do("subscribe", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(100)))
	member.next()
	ending.do("connect", fmt.Sprintf(`"token":%q`, sign(`{"sub":"42","exp":%d}`, time.Now().Unix()+2)))
	ending.next()
	a, b := m.guest(), m.guest()
	a.do("rpc", `"method":"m"`)
	await(t, asked)
	b.do("rpc", `"method":"m"`)
	for m.node.cfg.Workers.Stats().Queued[worker.Standard] == 0 {
		runtime.Gosched()
	}
	count := &m.node.Stats().RenewalsPostponed
	for count.Load() == 0 { // of the session, whose time is the loop's
		runtime.Gosched()
	}
	m.passes(150, true)
	if n := count.Load(); n < 8 {
		t.Errorf("asked again %d times", n)
	}
	ending.do("unsubscribe", `"channel":"x"`)
	ending.sees(`{"id":2,"unsubscribe":{}}`)
	expired.Store(true)
	close(gate)
	a.next()
	b.next()
	m.passes(10, true)
	member.sees(subExpired)
}

// What the backend says of a membership is not said of the one that followed it.
func TestAnAnswerIsForTheGrantThatEnded(t *testing.T) {
	come, release := make(chan struct{}), make(chan struct{})
	m := newMortal(t, &oracle{subRefresh: func(*backend.SubRefreshRequest) (*backend.SubRefreshReply, error) {
		close(come)
		<-release
		return &backend.SubRefreshReply{Expired: true}, nil
	}})
	g := m.guest()
	g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","token":%q`, m.token(100)))
	g.next()
	m.passes(120, true)
	await(t, come)
	bye := channel.UnsubscribeServer.Unsubscribe()
	if n, e := m.node.Unsubscribe(t.Context(), Target{Client: g.id}, "rec:a", *bye); n != 1 || e != nil {
		t.Fatal(n, e)
	}
	if n, e := m.node.Subscribe(t.Context(), Target{Client: g.id}, Subscription{Channel: "rec:a", ExpireAt: time.Now().Unix() + 1000}); n != 1 || e != nil {
		t.Fatal(n, e)
	}
	close(release)
	g.do("presence_stats", `"channel":"rec:a"`) // answered when the backend has been heard
	for _, want := range []string{`"unsubscribe":{"code":2000`, `"subscribe":{`, `"error":{"code":103`} {
		if got := g.next(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if who, e := m.node.Presence(t.Context(), "rec:a"); e != nil || len(who) != 1 {
		t.Errorf("%d members, %v; want the new one", len(who), e)
	}
}

func TestPersonalChannelsAndSingleConnections(t *testing.T) {
	signer, verifier := tokens(t)
	h := newHouse(t, plan{channels: kinds(func(c *channel.Config) {
		c.Namespaces = append(c.Namespaces, channel.Options{Name: "my", AllowUserLimitedChannels: true, Presence: true})
	}), loops: 2, cfg: Config{SingleConn: true, Auth: &auth.Authority{ConnectTokens: verifier, Personal: true, PersonalNamespace: "my"}}})
	g := h.dial()
	g.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, signer(`{"sub":"42"}`)))
	g.sees(`{"id":1,"connect":{"client":"UUID","subs":{"my:#42":{}},"ping":25,"pong":true}}`)
	h.pub("my:#42", `1`)
	g.sees(`{"push":{"channel":"my:#42","pub":{"data":1}}}`)
	if who, e := h.node.Presence(t.Context(), "my:#42"); e != nil || len(who) != 1 {
		t.Error(who, e)
	}
	again := h.dial()
	again.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, signer(`{"sub":"42"}`)))
	again.sees(`{"id":1,"connect":{"client":"UUID","subs":{"my:#42":{}},"ping":25,"pong":true}}`)
	g.sees("closed 3504")
	anonymous := h.dial()
	anonymous.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, signer(`{"sub":""}`)))
	anonymous.sees(`{"id":1,"connect":{"client":"UUID","ping":25,"pong":true}}`)
}

func TestTheHeaderNamesTheUser(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), cfg: Config{HeadersKept: true, UserHeader: "x-user"}})
	g := h.guest("rec:a")
	who, e := h.node.Presence(t.Context(), "rec:a")
	if e != nil || who[g.id].User != "from-header" {
		t.Errorf("%+v %v", who, e)
	}
}

// What clients may name binds neither the tokens nor the API.
func TestChannelsThatClientsMayNotName(t *testing.T) {
	signer, verifier := tokens(t)
	h := newHouse(t, plan{channels: kinds(func(c *channel.Config) {
		c.Namespaces = append(c.Namespaces, channel.Options{Name: "my", AllowUserLimitedChannels: true, AllowSubscribeForClient: true, ChannelRegex: "^[a-z]+$"})
	}), cfg: Config{Auth: &auth.Authority{ConnectTokens: verifier, Personal: true, PersonalNamespace: "my"}}})
	g := h.dial()
	g.say(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, signer(`{"sub":"Jürgen","channels":["my:42"]}`)))
	if got := g.next(); !strings.Contains(got, `"my:42":{}`) || !strings.Contains(got, `"my:#Jürgen":{}`) {
		t.Errorf("connect answered %s", got)
	}
	h.pub("my:#Jürgen", `1`)
	g.sees(`{"push":{"channel":"my:#Jürgen","pub":{"data":1}}}`)
	g.do("subscribe", `"channel":"my:43"`)
	g.sees(`{"id":1,"error":{"code":107,"message":"bad request"}}`)
	if n, e := h.node.Subscribe(t.Context(), Target{User: "Jürgen"}, Subscription{Channel: "my:43"}); n != 1 || e != nil {
		t.Error(n, e)
	}
	g.sees(`{"push":{"channel":"my:43","subscribe":{}}}`)
	g.do("unsubscribe", `"channel":"my:43"`)
	g.sees(`{"id":2,"unsubscribe":{}}`)
}
