package node

import (
	"runtime"
	"testing"

	"shoal/loop"
	"shoal/server/auth"
	"shoal/server/backend"
	"shoal/server/channel"
)

// soleUsers is a plan in which a user may have one session, and everybody is user.
func soleUsers(user string) plan {
	return plan{
		channels: channel.Config{WithoutNamespace: channel.Options{AllowSubscribeForClient: true, AllowUserLimitedChannels: true}},
		cfg:      Config{SingleConn: true, Auth: &auth.Authority{Personal: true}},
		backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
			return &backend.ConnectReply{User: user}, nil
		}},
	}
}

// A backend may give all clients the same subscriptions: the personal channel of one is
// not written behind them.
func TestSubscriptionsOfABackendAreNotWrittenTo(t *testing.T) {
	common := append(make([]channel.ServerSub, 0, 8), channel.ServerSub{Channel: "news"})
	p := soleUsers("42")
	p.backend.connect = func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
		return &backend.ConnectReply{User: "42", Subs: common}, nil
	}
	h := newHouse(t, p)
	h.guest()
	if behind := common[:2][1].Channel; behind != "" {
		t.Errorf("%q stands behind the backend's subscriptions", behind)
	}
}

// A former session is found by its user, whatever it subscribes to and whatever the user
// is called.
func TestAUserHasOneSession(t *testing.T) {
	stay := func(*house, *guest) {}
	for _, c := range []struct {
		name, user string
		before     func(h *house, g *guest) // the next one comes
	}{
		{"plainly", "42", stay},
		{"having left its channel", "42", func(_ *house, g *guest) {
			g.do("unsubscribe", `"channel":"#42"`)
			g.sees(`{"id":2,"unsubscribe":{}}`)
		}},
		{"unsubscribed from everything", "42", func(h *house, g *guest) {
			if n, e := h.node.Unsubscribe(t.Context(), Target{Client: g.id}, "", *channel.UnsubscribeServer.Unsubscribe()); n != 1 || e != nil {
				t.Fatal(n, e)
			}
			g.next()
		}},
		{"beyond ASCII", "zoë", stay},
		{"with the sign of a namespace", "tenant:42", stay},
		{"with that of a list", "a,b", stay},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := soleUsers(c.user)
			p.loops = 2
			h := newHouse(t, p)
			same, other := 0, 0
			last := h.guest()
			for same == 0 || other == 0 { // on one loop, and on two
				c.before(h, last)
				g := h.guest()
				last.sees("closed 3504")
				if h.idOf(last).Loop() == h.idOf(g).Loop() {
					same++
				} else {
					other++
				}
				last = g
			}
			last.do("unsubscribe", `"channel":"x"`)
			last.sees(`{"id":2,"unsubscribe":{}}`)
		})
	}
}

func (h *house) idOf(g *guest) loop.ConnID {
	h.t.Helper()
	id, ok := h.node.ids.Parse(g.id)
	if !ok {
		h.t.Fatalf("client id %q", g.id)
	}
	return id
}

// Users come and go, and what is kept of them goes too.
func TestOfUsersThatAreGoneNothingIsKept(t *testing.T) {
	p := soleUsers("")
	names := make(chan string, 10)
	p.backend.connect = func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
		return &backend.ConnectReply{User: <-names}, nil
	}
	h := newHouse(t, p)
	for range 3 {
		var all []*guest
		for _, user := range []string{"a", "b", "", "c", ""} { // the anonymous are many
			names <- user
			all = append(all, h.guest())
		}
		names <- "b"
		again := h.guest()
		all[1].sees("closed 3504")
		for _, g := range append(all, again) {
			g.conn.Close()
		}
		for h.node.Stats().Sessions.Load() != 0 {
			runtime.Gosched()
		}
		h.on(0, func(s *Shard) {
			s.Trim()
			if n := s.latest.Bytes(); n != 0 {
				t.Errorf("%d bytes are held of users that are gone", n)
			}
		})
	}
}

// What a full mailbox does not take is told later.
func TestFormerSessionsEndThoughALoopIsBehind(t *testing.T) {
	h := newHouse(t, soleUsers("42"))
	g := h.guest()
	h.on(0, func(s *Shard) {
		for full := false; !full; {
			full = s.l.Post(visit{func() {}}) != nil
		}
		w := &supplanting{node: h.node, user: "42", born: 100}
		if !w.Slice(s.l) {
			t.Error("a full mailbox took it")
		}
		s.l.Work(w)
	})
	g.sees("closed 3504")
}
