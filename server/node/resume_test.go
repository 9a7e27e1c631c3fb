package node

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/codec/msgpack"
	"shoal/codec/proto"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/seal"
	"shoal/server/session"
)

// kept is what most tests here want of channels.
func keptChannels() channel.Config {
	o := channel.Options{AllowSubscribeForClient: true, HistorySize: 50, HistoryTTL: time.Minute, ForceRecovery: true, AllowedDeltaTypes: []string{"fossil"}}
	strict := channel.Options{Name: "strict", HistorySize: 50, HistoryTTL: time.Minute, AllowTagsFilter: true, JoinLeave: true, Presence: true}
	return channel.Config{WithoutNamespace: o, Namespaces: []channel.Options{strict}}
}

// resuming is a plan with tokens, and a backend that says that everybody is 42.
func resumingPlan() (plan, *atomic.Int32) {
	asked := new(atomic.Int32)
	return plan{
		channels: keptChannels(), cfg: Config{Resume: ResumeConfig{Window: time.Minute, Clock: time.Now}, Auth: &auth.Authority{}},
		backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
			asked.Add(1)
			return &backend.ConnectReply{User: "42", Info: []byte(`{"i":1}`), Meta: []byte(`{"m":1}`)}, nil
		}},
	}, asked
}

// sealed makes a token of anything.
func (h *house) sealed(plain []byte) string {
	var scratch seal.Scratch
	return string(h.node.tokens.Sealer.Seal(nil, &scratch, plain))
}

func (h *house) head(change func(*seal.Head)) []byte {
	head := seal.Head{Lineage: 7, IssuedAt: h.node.tokens.Now(), Window: 60e6, User: "42"}
	if change != nil {
		change(&head)
	}
	return seal.AppendHead(nil, &head)
}

type gotConnect struct {
	Connect struct {
		Client, Resume string
		Resumed        bool
		Subs           map[string]gotRestored
		Expires        bool
		TTL            int
	}
	Error struct{ Code int }
}

type gotRestored struct {
	Expires, Recovered, Positioned, Recoverable, Delta bool
	WasRecovering                                      bool `json:"was_recovering"`
	TTL                                                int
	Offset                                             uint64
	Publications                                       []struct{ Offset uint64 }
}

// resumes connects with a token and channels, in JSON of a connect command's subs.
func (g *guest) resumes(token, subs string) gotConnect {
	g.t.Helper()
	g.do("connect", fmt.Sprintf(`"resume":%q,"subs":{%s}`, token, subs))
	var got gotConnect
	if err := json.Unmarshal([]byte(g.line()), &got); err != nil {
		g.t.Fatal(err)
	}
	return got
}

func names(m map[string]gotRestored) (out []string) {
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func TestTokensAreJudged(t *testing.T) {
	p, asked := resumingPlan()
	p.cfg.UserHeader, p.cfg.HeadersKept = "x-user", true
	h := newHouse(t, p)
	now := func() int64 { return time.Now().Unix() }
	for _, c := range []struct {
		name  string
		plain []byte
		why   seal.Reason
	}{
		{"credentials ended", h.head(func(s *seal.Head) { s.ExpireAt = now() - 1 }), seal.Credentials},
		{"credentials end now", h.head(func(s *seal.Head) { s.ExpireAt = now() }), seal.Credentials},
		{"window over", h.head(func(s *seal.Head) { s.IssuedAt -= 61e6 }), seal.Expired},
		{"its own window over", h.head(func(s *seal.Head) { s.IssuedAt, s.Window = s.IssuedAt-2e6, 1e6 }), seal.Expired},
		{"a longer window than here", h.head(func(s *seal.Head) { s.IssuedAt, s.Window = s.IssuedAt-61e6, 3600e6 }), seal.Expired},
		{"renewed by a backend that is not there", h.head(func(s *seal.Head) { s.Renewed = true }), seal.Unfit},
		{"a proxy names another user", h.head(nil), seal.Unfit},
		{"a proxy named it", h.head(func(s *seal.Head) { s.Forwarded = true }), seal.Unfit},
		{"no content", nil, seal.Malformed},
		{"another content", []byte{0xff, 1, 2, 3}, seal.Malformed},
		{"a subscription cut", seal.AppendSub(h.head(func(s *seal.Head) { s.User = "from-header" }), &seal.Sub{Channel: []byte("a"), Filter: []byte("f")})[:40], seal.Malformed},
		{"good", h.head(func(s *seal.Head) { s.User, s.Forwarded = "from-header", true }), seal.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, backend := h.node.stats.Resumes[c.why].Load(), asked.Load()
			got := h.dial().resumes(h.sealed(c.plain), "")
			if got.Connect.Client == "" || got.Connect.Resumed != (c.why == seal.None) || got.Connect.Resume == "" {
				t.Errorf("got %+v", got)
			}
			if n := h.node.stats.Resumes[c.why].Load() - before; n != 1 {
				t.Errorf("%s counted %d times", c.why, n)
			}
			if n := asked.Load() - backend; n != 0 && c.why == seal.None || n != 1 && c.why != seal.None {
				t.Errorf("the backend was asked %d times", n)
			}
		})
	}
}

// TestSubscriptionsComeBackAsTheyWere: by a token made by hand, with subscriptions that no
// client may have by itself.
func TestSubscriptionsComeBackAsTheyWere(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		t.Run(fmt.Sprint("blocking ", blocking), func(t *testing.T) {
			p, _ := resumingPlan()
			p.blocking = blocking
			rules, err := channel.Compile(p.channels)
			if err != nil {
				t.Fatal(err)
			}
			p.cfg.Session = session.Default(100*time.Millisecond, rules)
			p.cfg.Session.ChannelsMax = 5
			h := newHouse(t, p)
			later := time.Now().Unix() + 1000
			plain := h.head(func(s *seal.Head) { s.ExpireAt = later })
			const positioned = seal.Positioned | seal.Recoverable
			for _, s := range []seal.Sub{
				{Channel: []byte("mine"), Flags: positioned | seal.Delta, ExpireAt: later, Info: []byte(`{"c":1}`)},
				{Channel: []byte("strict:server"), Flags: seal.ServerSide | seal.Tells | seal.Present, ExpireAt: later},
				{Channel: []byte("strict:filter"), Flags: positioned | seal.Signals, Filter: []byte{1}},
				{Channel: []byte("strict:no-delta"), Flags: positioned | seal.Delta},
				{Channel: []byte("not wanted"), Flags: positioned},
				{Channel: []byte("ended"), ExpireAt: later - 2000},
				{Channel: []byte("nowhere:ns")},
				{Channel: []byte("filter"), Filter: []byte{1}},
				{Channel: []byte("fifth")},
				{Channel: []byte("sixth")},
			} {
				plain = seal.AppendSub(plain, &s)
			}
			g := h.dial()
			var subs []string
			for _, name := range []string{"mine", "strict:server", "strict:filter", "strict:no-delta", "ended", "nowhere:ns", "filter", "fifth", "sixth", "invented"} {
				subs = append(subs, fmt.Sprintf(`%q:{}`, name))
			}
			got := g.resumes(h.sealed(plain), strings.Join(subs, ",")).Connect
			if want := []string{"fifth", "mine", "strict:filter", "strict:no-delta", "strict:server"}; !got.Resumed || !slices.Equal(names(got.Subs), want) {
				t.Fatalf("got %+v\nwant %v", got, want)
			}
			if mine := got.Subs["mine"]; !mine.Expires || mine.TTL < 990 || !mine.Delta || !mine.Recoverable {
				t.Errorf("mine: %+v", mine)
			}
			if server := got.Subs["strict:server"]; server.Expires || server.Positioned {
				t.Errorf("the server's: %+v", server)
			}
			if !got.Expires || got.TTL < 990 {
				t.Errorf("the credentials: %+v", got)
			}
			want := map[string]uint16{
				"mine": flagPositioned | flagRecoverable | flagDelta, "strict:server": flagServerSide | flagTells | flagTold | flagPresent,
				"strict:filter": flagPositioned | flagRecoverable | flagSignals | flagFiltered, "strict:no-delta": flagPositioned | flagRecoverable, "fifth": 0,
			}
			h.on(0, func(s *Shard) {
				ses := s.sessions.At(0)
				s.hub.EachOf(hub.List(ses.Subs), func(sub hub.Sub) bool {
					name, flags := string(s.hub.Name(sub)), s.hub.At(sub).Flags&^flagBehind
					if flags != want[name] {
						t.Errorf("%s has flags %b, want %b", name, flags, want[name])
					}
					return true
				})
				if r := s.resumption(0); r == nil || r.expireAt != later || r.lineage != 7 {
					t.Errorf("kept %+v", r)
				}
			})
			g.do("subscribe", `"channel":"one more"`)
			g.sees(`{"id":2,"error":{"code":106,"message":"limit exceeded"}}`)
			g.do("unsubscribe", `"channel":"strict:server"`)
			g.next()
		})
	}
}

// TestTokensOfResumedSessions: each form of session gets tokens with its positions'
// channels, and the chain can go on for as long as there is a window.
// Sessions that come back one after the other share memory, and nothing else.
func TestWhatOneSessionHadTheNextHasNot(t *testing.T) {
	p, _ := resumingPlan()
	h := newHouse(t, p)
	h.pub("ch-0-2", `"missed"`)
	for round := range 30 {
		var want []string
		plain, subs := h.head(nil), `"never":{}`
		for i := range round * 7 % 90 {
			name := fmt.Sprintf("ch-%d-%d", round%3, i)
			plain = seal.AppendSub(plain, &seal.Sub{Channel: []byte(name), Flags: seal.Positioned | seal.Recoverable})
			if i%5 > 0 {
				subs += fmt.Sprintf(",%q:{\"recover\":%v}", name, i%2 == 0)
				want = append(want, name)
			}
		}
		slices.Sort(want)
		token := h.sealed(plain)
		switch round % 4 {
		case 1: // one whose token is no good
			token = token[:len(token)-4] + "AAAA"
			want = nil
		case 2: // one that goes before it is answered
			h.guest().conn.Close()
		}
		g := h.dial()
		got := g.resumes(token, subs)
		if got.Connect.Resumed != (round%4 != 1) || !slices.Equal(names(got.Connect.Subs), want) {
			t.Fatalf("round %d: resumed %v with %v, want %v", round, got.Connect.Resumed, names(got.Connect.Subs), want)
		}
		for i, name := range want {
			if sub := got.Connect.Subs[name]; !sub.Positioned || !sub.Recoverable || sub.Expires || (len(sub.Publications) > 0) != (name == "ch-0-2") || sub.WasRecovering != strings.ContainsAny(name[len(name)-1:], "02468") {
				t.Fatalf("round %d, subscription %d %s: %+v", round, i, name, sub)
			}
		}
	}
}

func TestTokensOfResumedSessions(t *testing.T) {
	p, asked := resumingPlan()
	h := newHouse(t, p)
	g := h.dial()
	g.resumes("new", "")
	g.do("subscribe", `"channel":"a"`)
	var sub struct {
		Subscribe struct{ Resume, Epoch string }
	}
	if err := json.Unmarshal([]byte(g.line()), &sub); err != nil || sub.Subscribe.Resume == "" {
		t.Fatalf("%v: %+v", err, sub)
	}
	token := sub.Subscribe.Resume
	for i := range 5 {
		g.conn.Close()
		h.pub("a", "{}")
		g = h.dial()
		got := g.resumes(token, fmt.Sprintf(`"a":{"recover":true,"offset":%d,"epoch":%q}`, i, sub.Subscribe.Epoch)).Connect
		if a := got.Subs["a"]; !got.Resumed || !a.Recovered || len(a.Publications) != 1 || a.Publications[0].Offset != uint64(i+1) {
			t.Fatalf("%d: %+v", i, got)
		}
		token = got.Resume
	}
	if asked.Load() != 1 {
		t.Errorf("the backend was asked %d times", asked.Load())
	}
	// The same by Protobuf and MessagePack is the codec's matter; that they carry it is not.
	for _, enc := range []proto.Encoding{proto.Protobuf, proto.MessagePack} {
		if got := h.resumedIn(enc, token); !got {
			t.Errorf("%s: not resumed", enc)
		}
	}
}

// resumedIn resumes in another encoding.
func (h *house) resumedIn(enc proto.Encoding, token string) bool {
	h.t.Helper()
	h.speak.Store(int32(enc))
	defer h.speak.Store(int32(proto.JSON))
	g := h.dial()
	g.say(hexCommand(h.t, enc, &proto.Command{Id: 1, Connect: &proto.ConnectRequest{Resume: token, Subs: map[string]*proto.SubscribeRequest{"a": {}}}}))
	r := hexReply(h.t, enc, g.line())
	return r.GetConnect().GetResumed() && r.Connect.Resume != "" && r.Connect.Subs["a"] != nil
}

// TestARevocationMeetsATokenOnItsWay: a subscription that is removed while it is made is
// in no token, and one that was removed is in no older one.
func TestARevocationMeetsATokenOnItsWay(t *testing.T) {
	p, _ := resumingPlan()
	h := newHouse(t, p)
	g := h.dial()
	g.resumes("new", "")
	g.do("subscribe", `"channel":"a"`)
	g.line()
	g.do("rpc", `"method":"shoal.resume"`)
	var rpc struct {
		Rpc struct {
			Data struct {
				Resume string
				Window int
			}
		}
	}
	if err := json.Unmarshal([]byte(g.line()), &rpc); err != nil || rpc.Rpc.Data.Window != 60 {
		t.Fatalf("%v: %+v", err, rpc)
	}
	token := rpc.Rpc.Data.Resume
	back := func() []string { return names(h.dial().resumes(token, `"a":{}`).Connect.Subs) }
	if got := back(); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("came back with %v", got)
	}
	u := channel.UnsubscribeInsufficientState.Unsubscribe()
	h.on(0, func(s *Shard) { s.removed(0, "a", u) })
	if got := back(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a loss of state ended it: %v", got)
	}
	if _, e := h.node.Unsubscribe(t.Context(), Target{Client: g.clientOf(h)}, "a", *channel.UnsubscribeServer.Unsubscribe()); e != nil {
		t.Fatal(e)
	}
	if got := back(); len(got) > 0 {
		t.Errorf("came back with %v", got)
	}
}

// clientOf finds the client id of the first session.
func (g *guest) clientOf(h *house) (id string) {
	h.on(0, func(s *Shard) { id = strings.Clone(s.clientID(0)) })
	return id
}

func TestARenewalThatIsRefusedEndsTheUsersTokens(t *testing.T) {
	p, _ := resumingPlan()
	var end atomic.Bool
	p.backend.refresh = func(*backend.RefreshRequest) (*backend.RefreshReply, error) {
		return &backend.RefreshReply{Expired: end.Load(), ExpireAt: time.Now().Unix() + 100}, nil
	}
	connect := p.backend.connect
	p.backend.connect = func(r *backend.ConnectRequest) (*backend.ConnectReply, error) {
		reply, err := connect(r)
		reply.ExpireAt = time.Now().Unix() + 1000
		return reply, err
	}
	h := newHouse(t, p)
	a, b := h.dial(), h.dial()
	ta, tb := a.resumes("new", "").Connect.Resume, b.resumes("new", "").Connect.Resume
	renew := func() {
		told := make(chan struct{})
		h.on(0, func(s *Shard) {
			s.regranted(0, s.sessions.At(0), &backend.RefreshReply{Expired: end.Load(), ExpireAt: 5e9})
			close(told)
		})
		await(t, told)
	}
	renew()
	if !h.dial().resumes(ta, "").Connect.Resumed || !h.dial().resumes(tb, "").Connect.Resumed {
		t.Fatal("a renewal ended tokens")
	}
	end.Store(true)
	renew()
	if h.dial().resumes(ta, "").Connect.Resumed || h.dial().resumes(tb, "").Connect.Resumed {
		t.Error("tokens of a user whose credentials the backend ended are good")
	}
}

// TestThePersonalChannelComesBackUnasked: all sessions of a user have it.
func TestThePersonalChannelComesBackUnasked(t *testing.T) {
	p, _ := resumingPlan()
	p.channels.WithoutNamespace.AllowUserLimitedChannels = true
	p.cfg.Auth.Personal, p.cfg.SingleConn = true, true
	h := newHouse(t, p)
	first := h.dial()
	token := first.resumes("new", "").Connect.Resume
	second := h.dial()
	got := second.resumes(token, "").Connect
	if !got.Resumed || !slices.Equal(names(got.Subs), []string{"#42"}) {
		t.Fatalf("got %+v", got)
	}
	if line := first.line(); line != "closed 3504" {
		t.Errorf("the former session got %s", line)
	}
	if third := h.dial().resumes(token, ""); third.Connect.Resumed {
		t.Error("a session whose place was taken takes it again by its token")
	}
	if h.dial().resumes(h.sealed(h.head(nil)), "").Connect.Resumed {
		t.Error("a token without the personal channel is good")
	}
}

// What the API does to one of a user's sessions, or to all but some, ends the tokens of
// those that it is done to.
func TestTheAPIEndsTheTokensOfItsTarget(t *testing.T) {
	for _, c := range []struct {
		name          string
		who           func(phone, laptop string) Target
		phone, laptop bool // may come back
	}{
		{"the user", func(string, string) Target { return Target{User: "42"} }, false, false},
		{"a session", func(phone, _ string) Target { return Target{Client: phone} }, false, true},
		{"a session of the user", func(phone, _ string) Target { return Target{User: "42", Client: phone} }, false, true},
		{"the user but for a session", func(_, laptop string) Target { return Target{User: "42", Spare: []string{laptop, "x"}} }, false, true},
		{"nobody", func(phone, laptop string) Target { return Target{User: "42", Spare: []string{phone, laptop}} }, true, true},
	} {
		for what, do := range map[string]func(h *house, who Target) (int, error){
			"disconnect": func(h *house, who Target) (int, error) {
				return h.node.Disconnect(t.Context(), who, *channel.DisconnectForced.Disconnect())
			},
			"refresh": func(h *house, who Target) (int, error) { return h.node.Refresh(t.Context(), who, false, 0, nil) },
		} {
			t.Run(what+" "+c.name, func(t *testing.T) {
				p, _ := resumingPlan()
				p.loops = 2
				h := newHouse(t, p)
				phone, laptop := h.dial(), h.dial()
				a, b := phone.resumes("new", "").Connect, laptop.resumes("new", "").Connect
				if _, err := do(h, c.who(a.Client, b.Client)); err != nil {
					t.Fatal(err)
				}
				phone.conn.Close()
				laptop.conn.Close()
				if got := h.dial().resumes(a.Resume, "").Connect.Resumed; got != c.phone {
					t.Errorf("the phone's token is good: %v", got)
				}
				if got := h.dial().resumes(b.Resume, "").Connect.Resumed; got != c.laptop {
					t.Errorf("the laptop's token is good: %v", got)
				}
			})
		}
	}
}

// Decisions about a session end its tokens. What its client does wrong does not: marks are
// bounded, and above the bound everybody's tokens end.
func TestWhatASessionIsClosedForRulesItsTokens(t *testing.T) {
	sign, verifier := tokens(t)
	bad := channel.RefuseDisconnect(channel.DisconnectBadRequest)
	p, _ := resumingPlan()
	p.channels = kinds()
	p.cfg.Auth.ConnectTokens, p.cfg.Auth.SubscribeTokens = verifier, verifier
	p.backend.rpc = func(*backend.RPCRequest) (*backend.RPCReply, error) { return &backend.RPCReply{Refusal: bad}, nil }
	p.backend.publish = func(*backend.PublishRequest) (*backend.PublishReply, error) {
		return &backend.PublishReply{Refusal: bad}, nil
	}
	p.backend.subscribe = func(*backend.SubscribeRequest) (*backend.SubscribeReply, error) {
		return &backend.SubscribeReply{Refusal: bad}, nil
	}
	ends := func(d channel.Disconnect) func(h *house, g *guest, id string) {
		return func(h *house, _ *guest, id string) {
			if n, err := h.node.Disconnect(t.Context(), Target{Client: id}, d); n != 1 || err != nil {
				t.Error(n, err)
			}
		}
	}
	says := func(what, params string) func(*house, *guest, string) {
		return func(_ *house, g *guest, _ string) { g.do(what, params) }
	}
	for _, c := range []struct {
		name string
		end  func(h *house, g *guest, id string)
		code int
		good bool // is its token afterwards
	}{
		{"a second connect", says("connect", ""), 3501, true},
		{"no command", func(_ *house, g *guest, _ string) { g.say("{") }, 3501, true},
		{"a token of somebody else", says("refresh", `"token":"`+sign(`{"sub":"7"}`)+`"`), 3500, true},
		{"an old token", says("refresh", `"token":"`+sign(`{"sub":"42","exp":1}`)+`"`), 3005, true},
		{"a token for another channel", says("subscribe", `"channel":"rec:a","token":"`+sign(`{"sub":"42","channel":"rec:b"}`)+`"`), 3500, true},
		{"a reader of JSON", func(h *house, _ *guest, _ string) {
			h.on(0, func(s *Shard) { s.drop(0, channel.DropNotJSON, channel.DisconnectInappropriate) })
		}, 3506, true},
		{"a subscription that ended", func(h *house, _ *guest, _ string) {
			h.on(0, func(s *Shard) { s.disconnect(0, channel.DisconnectSubExpired.Disconnect()) })
		}, 3006, false},
		{"the backend at an rpc", says("rpc", `"method":"m"`), 3501, false},
		{"a message that nobody takes", func(_ *house, g *guest, _ string) { g.say(`{"send":{"data":1}}`) }, 3508, true},
		{"the backend at a subscription", says("subscribe", `"channel":"rec:a"`), 3501, false},
		{"the backend at a publication", says("publish", `"channel":"rec:a","data":1`), 3501, false},
		{"the API", ends(*channel.DisconnectBadRequest.Disconnect()), 3501, false},
		{"the API, for the client to come back", ends(channel.Disconnect{Code: 4000, Reason: "x"}), 4000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, p)
			g := h.dial()
			got := g.resumes("new", "").Connect
			c.end(h, g, got.Client)
			g.sees(fmt.Sprint("closed ", c.code))
			if again := h.dial().resumes(got.Resume, "").Connect.Resumed; again != c.good {
				t.Errorf("its token is good: %v", again)
			}
		})
	}
}

// Many sessions may run out at once: their tokens end by what they say, not by marks.
func TestCredentialsThatRunOutLeaveNoMark(t *testing.T) {
	sign, verifier := tokens(t)
	p, _ := resumingPlan()
	p.backend = nil
	p.cfg.Auth.ConnectTokens = verifier
	h := newHouse(t, p)
	h.on(0, func(s *Shard) { s.node.cfg.Session.ExpireGraceTicks = 1 })
	g := h.dial()
	g.do("connect", fmt.Sprintf(`"token":%q,"resume":"new"`, sign(fmt.Sprintf(`{"sub":"42","exp":%d}`, time.Now().Unix()+2))))
	var got gotConnect
	if err := json.Unmarshal([]byte(g.line()), &got); err != nil || got.Connect.Resume == "" {
		t.Fatal(err, got)
	}
	g.sees("closed 3005")
	if n := h.node.tokens.Marks.Len(); n != 0 {
		t.Errorf("%d marks", n)
	}
	before := h.node.stats.Resumes[seal.Credentials].Load()
	g = h.dial()
	g.do("connect", fmt.Sprintf(`"resume":%q`, got.Connect.Resume))
	g.line()
	if n := h.node.stats.Resumes[seal.Credentials].Load() - before; n != 1 {
		t.Errorf("its token was refused %d times because its credentials are over, want 1", n)
	}
}

func TestOtherUserIsSeenWithoutVerifying(t *testing.T) {
	const header = "eyJhbGciOiJIUzI1NiJ9."
	for _, c := range []struct {
		token, claim string
		want         bool
	}{
		{header + "eyJzdWIiOiI0MiJ9.x", "sub", false},               // {"sub":"42"}
		{header + "eyJzdWIiOiI3In0.x", "sub", true},                 // {"sub":"7"}
		{header + "e30.x", "sub", true},                             // {}
		{header + "eyJ1aWQiOiI0MiIsInN1YiI6IjcifQ.x", "uid", false}, // {"uid":"42","sub":"7"}
		{header + "eyJzdWIiOjQyfQ.x", "sub", false},                 // a number: not readable, so not judged
		{"opaque", "sub", false}, {"", "sub", false}, {"a.b.c", "sub", false}, {"..", "sub", false}, {header + "W10.x", "sub", false},
	} {
		if got := otherName(c.token, c.claim, "42"); got != c.want {
			t.Errorf("%q: %v", c.token, got)
		}
	}
}

// FuzzReadAck: any text is read or refused as the standard library would, and does no harm.
func FuzzReadAck(f *testing.F) {
	for _, text := range []string{`{"channel":"a","offset":1,"epoch":"e"}`, `{}`, ` { "offset" : 18446744073709551615 , "channel" : "\u0061\n" } `, `{"channel":"a","x":[{}]}`, `[`, `{"channel":"a"},`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, ok := readAck(text)
		var want map[string]any
		if err := json.Unmarshal(text, &want); ok && err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if name, is := want["channel"].(string); ok && (!is || name != string(a.channel)) && !strings.Contains(string(text), `\u`) {
			t.Fatalf("%q: channel %q, want %q", text, a.channel, name)
		}
	})
}

// hexCommand is a command as a hex session sends it.
func hexCommand(t testing.TB, enc proto.Encoding, cmd *proto.Command) string {
	t.Helper()
	b, err := proto.AppendCommand(nil, enc, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if enc == proto.MessagePack {
		if b, err = proto.AppendCommand(nil, proto.Protobuf, cmd); err == nil {
			b, err = msgpack.PackCommands(nil, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(b)
}

// hexReply reads the first reply of a line.
func hexReply(t testing.TB, enc proto.Encoding, line string) *proto.Reply {
	t.Helper()
	b, err := hex.DecodeString(line)
	if err == nil && enc == proto.MessagePack {
		b, err = msgpack.UnpackReplies(nil, b, proto.Limits{})
	}
	if err != nil {
		t.Fatal(err)
	}
	var d proto.ReplyDecoder
	d.Reset(b, proto.Protobuf, proto.Limits{})
	r := new(proto.Reply)
	if ok, err := d.Next(r); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return r
}
