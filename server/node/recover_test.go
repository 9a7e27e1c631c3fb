package node

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/fan"
)

// kinds are the namespaces of the houses.
func kinds(f ...func(c *channel.Config)) channel.Config {
	with := func(name string, f func(o *channel.Options)) channel.Options {
		o := channel.Options{Name: name, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, HistorySize: 100, HistoryTTL: time.Hour}
		f(&o)
		return o
	}
	c := channel.Config{
		WithoutNamespace: channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, Presence: true, JoinLeave: true},
		Namespaces: []channel.Options{
			with("rec", func(o *channel.Options) { o.ForceRecovery, o.JoinLeave, o.Presence = true, true, true }),
			with("told", func(o *channel.Options) {
				o.ForceRecovery, o.JoinLeave, o.ForcePushJoinLeave, o.Presence = true, true, true, true
			}),
			with("tags", func(o *channel.Options) { o.ForceRecovery, o.AllowTagsFilter = true, true }),
			with("delta", func(o *channel.Options) {
				o.ForceRecovery, o.DeltaPublish, o.AllowedDeltaTypes, o.AllowWildcard = true, true, []string{"fossil"}, true
			}),
			with("loose", func(o *channel.Options) {
				o.DeltaPublish, o.AllowedDeltaTypes = true, []string{"fossil"}
			}),
			with("cache", func(o *channel.Options) {
				o.ForceRecovery, o.ForceRecoveryMode, o.AllowTagsFilter = true, "cache", true
			}),
			with("auto", func(o *channel.Options) {
				o.ForceRecovery, o.ForceRecoveryMode, o.AutoCacheRecover = true, "cache", true
			}),
			with("bare", func(o *channel.Options) { o.HistorySize, o.HistoryTTL = 0, 0 }),
			with("wild", func(o *channel.Options) { o.ForcePositioning, o.AllowWildcard = true, true }),
		},
	}
	for _, each := range f {
		each(&c)
	}
	return c
}

func tagged(v string) func(*channel.Publication, *PublishOptions) {
	return func(p *channel.Publication, _ *PublishOptions) { p.Tags = map[string]string{"t": v} }
}

func skipping(_ *channel.Publication, o *PublishOptions) { o.SkipHistory = true }

func TestRecoveryGivesWhatWasMissed(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), cfg: Config{RecoveryMax: 5}})
	g := h.guest("rec:a")
	h.pub("rec:a", `1`)
	g.sees(`{"push":{"channel":"rec:a","pub":{"data":1,"offset":1}}}`)
	epoch := g.epoch
	g.do("unsubscribe", `"channel":"rec:a"`)
	g.sees(`{"id":3,"unsubscribe":{}}`)
	h.pub("rec:a", `2`)
	h.pub("rec:a", `3`)
	g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","recover":true,"offset":1,"epoch":%q`, epoch))
	g.sees(`{"id":4,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":2,"offset":2},{"data":3,"offset":3}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}`)
	h.pub("rec:a", `4`)
	g.sees(`{"push":{"channel":"rec:a","pub":{"data":4,"offset":4}}}`)
	again := func(since uint64, epoch, want string) {
		t.Helper()
		g.do("unsubscribe", `"channel":"rec:a"`)
		g.sees(fmt.Sprintf(`{"id":%d,"unsubscribe":{}}`, g.last))
		g.do("subscribe", fmt.Sprintf(`"channel":"rec:a","recover":true,"offset":%d,"epoch":%q`, since, epoch))
		g.sees(fmt.Sprintf(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"E",%s"positioned":true,"was_recovering":true}}`, g.last, want))
	}
	again(4, epoch, `"recovered":true,"offset":4,`)
	again(4, "", `"recovered":true,"offset":4,`)
	again(4, "otherone", `"offset":4,`)
	again(9, epoch, `"offset":4,`)
	for i := range 6 {
		h.pub("rec:a", fmt.Sprint(10+i))
		g.next()
	}
	again(4, epoch, `"offset":10,`) // more than RecoveryMax
	if e := h.node.RemoveHistory(t.Context(), "rec:a"); e != nil {
		t.Fatal(e)
	}
	again(9, epoch, `"offset":10,`)
	again(10, epoch, `"recovered":true,"offset":10,`)
	if got := h.node.Stats(); got.Recovered.Load() != 4 || got.Unrecovered.Load() != 4 || got.RecoveredPublications.Load() != 2 {
		t.Errorf("%d recovered with %d publications, %d not", got.Recovered.Load(), got.RecoveredPublications.Load(), got.Unrecovered.Load())
	}
}

// A subscription that is refused for its position leaves nobody else without theirs.
func TestARejectedRecoveryTouchesNobody(t *testing.T) {
	for _, blocking := range []bool{false, true} {
		t.Run(fmt.Sprint(blocking), func(t *testing.T) {
			h := newHouse(t, plan{channels: kinds(), blocking: blocking})
			stays, other := h.guest("told:a"), h.guest()
			stays.sees(`{"push":{"channel":"told:a","join":{"info":{"user":"","client":"UUID"}}}}`)
			for range 3 {
				other.do("subscribe", `"channel":"told:a","recover":true,"offset":7,"epoch":"otherone","flag":2`)
				other.sees(fmt.Sprintf(`{"id":%d,"error":{"code":112,"message":"unrecoverable position"}}`, other.last))
			}
			h.pub("told:a", `1`)
			stays.sees(`{"push":{"channel":"told:a","pub":{"data":1,"offset":1}}}`) // and no leave of who never joined
			h.on(0, func(s *Shard) {
				if err := s.validate(); err != nil {
					t.Error(err)
				}
			})
			// A gap is still seen.
			h.lost(t, "told:a", 3)
			stays.sees(`{"push":{"channel":"told:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
		})
	}
}

// lost delivers a publication as if those before it had been lost.
func (h *house) lost(t *testing.T, name string, offset uint64) {
	t.Helper()
	_, top, err := h.broker.Broker.History(t.Context(), name, historyTop, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.node.Deliver(name, &channel.Publication{Position: channel.Position{Offset: offset, Epoch: top.Epoch}, Data: []byte(`"late"`)}); err != nil {
		t.Fatal(err)
	}
}

func TestTheCacheModeGivesTheLatest(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	g := h.guest()
	ask := func(params, want string) {
		t.Helper()
		g.do("subscribe", `"channel":"cache:a"`+params)
		g.sees(fmt.Sprintf(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"E",%s}}`, g.last, want))
		g.do("unsubscribe", `"channel":"cache:a"`)
		g.next()
	}
	ask(`,"recover":true`, `"positioned":true,"was_recovering":true`) // nothing there yet
	epoch := fmt.Sprintf(`,"epoch":%q`, g.epoch)
	h.pub("cache:a", `1`, tagged("a"))
	h.pub("cache:a", `2`, tagged("b"))
	h.pub("cache:a", `3`, tagged("b"))
	ask(`,"recover":true,"offset":1`+epoch, `"publications":[{"data":3,"offset":3,"tags":{"t":"b"}}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true`)
	ask(`,"recover":true,"offset":3`+epoch, `"recovered":true,"offset":3,"positioned":true,"was_recovering":true`)
	ask(`,"recover":true,"offset":1`+epoch+`,"tf":{"key":"t","cmp":"eq","val":"a"}`,
		`"publications":[{"data":1,"offset":1,"tags":{"t":"a"}}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true`)
	// What it takes nothing of is behind it: its place is the top.
	ask(`,"recover":true,"offset":1`+epoch+`,"tf":{"key":"t","cmp":"eq","val":"c"}`, `"recovered":true,"offset":3,"positioned":true,"was_recovering":true`)
	ask(``, `"offset":3,"positioned":true`)
	if e := h.node.RemoveHistory(t.Context(), "cache:a"); e != nil {
		t.Fatal(e)
	}
	ask(`,"recover":true,"offset":1`+epoch, `"offset":3,"positioned":true,"was_recovering":true`)
	h.pub("auto:a", `"latest"`)
	g.do("subscribe", `"channel":"auto:a"`)
	g.sees(fmt.Sprintf(`{"id":%d,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":"latest","offset":1}],"recovered":true,"positioned":true}}`, g.last))
}

func TestATagsFilterHoldsForRecoveryAndAfter(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	g := h.guest()
	const tf = `,"tf":{"key":"t","cmp":"eq","val":"a"}`
	g.do("subscribe", `"channel":"tags:a"`+tf)
	g.next()
	epoch := g.epoch
	for i, tag := range []string{"a", "b", "b", "a"} {
		h.pub("tags:a", fmt.Sprint(i), tagged(tag))
	}
	h.pub("tags:a", `4`)
	g.sees(`{"push":{"channel":"tags:a","pub":{"data":0,"offset":1,"tags":{"t":"a"}}}}`,
		`{"push":{"channel":"tags:a","pub":{"data":3,"offset":4,"tags":{"t":"a"}}}}`)
	g.do("unsubscribe", `"channel":"tags:a"`)
	g.next()
	g.do("subscribe", `"channel":"tags:a","recover":true,"offset":1,"epoch":"`+epoch+`"`+tf)
	g.sees(`{"id":4,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":3,"offset":4,"tags":{"t":"a"}}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}`)
	h.pub("tags:a", `5`, tagged("b"))
	h.pub("tags:a", `6`, tagged("a"))
	g.sees(`{"push":{"channel":"tags:a","pub":{"data":6,"offset":7,"tags":{"t":"a"}}}}`)
	g.do("subscribe", `"channel":"rec:a"`+tf) // not allowed there
	g.sees(`{"id":5,"error":{"code":107,"message":"bad request"}}`)
	g.do("subscribe", `"channel":"tags:b","tf":{"key":"t","cmp":"eq"}`)
	g.sees(`{"id":6,"error":{"code":107,"message":"bad request"}}`)
}

// base is a payload long enough for differences to be worth it.
func base(n int) string { return fmt.Sprintf(`{"n":%d,"pad":%q}`, n, strings.Repeat("shoal ", 20)) }

// reader follows a delta subscription by what a stock SDK does.
type reader struct {
	g *guest
	f following
}

func (r *reader) reads(want ...string) {
	r.g.t.Helper()
	for _, w := range want {
		line := r.g.line()
		p, err := pushed(line)
		if err != nil {
			r.g.t.Fatalf("%v: %s", err, line)
		}
		data, err := r.f.payload(p)
		if err != nil || string(data) != w {
			r.g.t.Fatalf("got %s %v\nwant %s\nfrom %s", data, err, w, line)
		}
	}
}

func TestDifferencesBuildOnWhatTheClientHas(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	for _, name := range []string{"delta:a", "loose:a"} {
		g, other := h.guest(), h.guest(name)
		g.do("subscribe", fmt.Sprintf(`"channel":%q,"delta":"fossil"`, name))
		if got := g.next(); !strings.Contains(got, `"delta":true`) {
			t.Fatal(got)
		}
		r := &reader{g, following{delta: true}}
		h.pub(name, base(1))
		h.pub(name, base(2))
		h.pub(name, base(3), skipping) // what follows builds on 2
		h.pub(name, base(4))
		h.pub(name, base(5), func(p *channel.Publication, _ *PublishOptions) { p.Exclude = g.id })
		h.pub(name, base(6)) // builds on 5
		h.pub(name, base(7))
		h.pub(name, `"`+strings.Repeat("é", 40)+`"`)
		h.pub(name, `"`+strings.Repeat("é", 20)+"è"+strings.Repeat("é", 19)+`"`)
		r.reads(base(1), base(2), base(3), base(4), base(6), base(7), `"`+strings.Repeat("é", 40)+`"`, `"`+strings.Repeat("é", 20)+"è"+strings.Repeat("é", 19)+`"`)
		for range 9 {
			if line := other.line(); strings.Contains(line, `"delta"`) {
				t.Errorf("%s: who did not ask got a difference: %s", name, line)
			}
		}
	}
}

func TestRecoveredPublicationsAreDifferencesToo(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	h.pub("delta:a", base(1))
	h.pub("delta:a", base(2))
	h.pub("delta:a", `"`+strings.Repeat("é", 40)+`"`)
	h.pub("delta:a", `"`+strings.Repeat("é", 20)+"è"+strings.Repeat("é", 19)+`"`)
	g := h.guest()
	g.do("subscribe", `"channel":"delta:a","delta":"fossil","recover":true`)
	line := g.line()
	got, err := subscribed(line)
	if err != nil || !got.Recovered || !got.Delta || len(got.Publications) != 4 || !got.Publications[1].Delta {
		t.Fatalf("%v %s", err, line)
	}
	r := &reader{g, following{delta: true}}
	for i := range got.Publications {
		data, err := r.f.payload(&got.Publications[i])
		if err != nil || i < 2 && string(data) != base(i+1) {
			t.Fatalf("%d: %s %v", i, data, err)
		}
	}
	h.pub("delta:a", base(5))
	h.pub("delta:a", base(6))
	r.reads(base(5), base(6))
}

// What comes between the join and the result is told once, in its place, and differences
// build on nothing older.
func TestAWaitingSubscriptionGetsAllOnce(t *testing.T) {
	for _, c := range []struct {
		call      string // that is held
		recovered int    // publications in the result
		pushed    []int  // behind it
	}{{"history", 3, []int{3}}, {"read", 1, []int{2, 3, 4}}} {
		t.Run(c.call, func(t *testing.T) {
			h := newHouse(t, plan{channels: kinds(), blocking: true})
			h.pub("delta:a", base(1))
			g := h.guest()
			come, release := h.broker.hold(c.call)
			g.do("subscribe", `"channel":"delta:a","delta":"fossil","recover":true`)
			await(t, come)
			h.pub("delta:a", base(2))
			h.pub("delta:a", base(3), skipping)
			h.pub("delta:a", base(4))
			h.still()
			close(release)
			line := g.line()
			got, err := subscribed(line)
			if err != nil || !got.Recovered || len(got.Publications) != c.recovered {
				t.Fatalf("%v %s", err, line)
			}
			r := &reader{g, following{delta: true}}
			for i := range got.Publications {
				if _, err := r.f.payload(&got.Publications[i]); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range c.pushed {
				r.reads(base(n))
			}
			h.pub("delta:a", base(5))
			h.pub("delta:a", base(6))
			r.reads(base(5), base(6))
		})
	}
}

func TestPositionsAreCheckedAgainstTheBroker(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), loops: 2})
	// A member that read ahead of its channel is not behind for ever.
	for _, ahead := range []bool{false, true} {
		name := fmt.Sprintf("rec:%v", ahead)
		first := h.guest(name)
		members := []*guest{first}
		if ahead {
			h.mute(t, name, 1) // 1 is lost, then somebody comes and has read it
			members = append(members, h.guest(name), h.guest(name), h.guest(name))
		}
		h.mute(t, name, 1)
		for range 2 {
			if err := h.node.CheckPositions(context.WithValue(t.Context(), atOnce{}, true)); err != nil {
				t.Fatal(err)
			}
		}
		for i, g := range members {
			if got := g.next(); got != fmt.Sprintf(`{"push":{"channel":%q,"unsubscribe":{"code":2500,"reason":"insufficient state"}}}`, name) {
				t.Errorf("%s: member %d got %s", name, i, got)
			}
		}
	}
}

// A member whose place was read before that of others is told of what it missed, although
// its channel is where the broker is.
func TestAMemberBelowItsChannelIsNotForgotten(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true})
	slow, quick := h.guest(), h.guest()
	come, release := h.broker.hold("read")
	slow.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	h.mute(t, "rec:a", 1) // is lost on its way
	quick.do("subscribe", `"channel":"rec:a"`)
	quick.sees(`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","offset":1,"positioned":true}}`)
	close(release)
	slow.sees(`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`)
	for range 2 {
		if err := h.node.CheckPositions(context.WithValue(t.Context(), atOnce{}, true)); err != nil {
			t.Fatal(err)
		}
	}
	slow.sees(`{"push":{"channel":"rec:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
	h.pub("rec:a", `2`)
	quick.sees(`{"push":{"channel":"rec:a","pub":{"data":2,"offset":2}}}`)
}

// What comes while the broker reads is kept up to a limit, of bytes as of publications. Who is
// beyond it hears of its gap, and its subscription goes on by recovery.
func TestMoreThanIsKept(t *testing.T) {
	for _, c := range []struct {
		name, data string
		n          int
	}{
		{"bytes", `"` + strings.Repeat("x", waitBytesMax/8) + `"`, 9},
		{"publications", `0`, waitCountMax + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, plan{channels: kinds(), blocking: true})
			g := h.guest()
			come, release := h.broker.hold("read")
			g.do("subscribe", `"channel":"rec:a"`)
			await(t, come)
			for range c.n {
				h.pub("rec:a", c.data)
			}
			h.still()
			h.on(0, func(s *Shard) {
				for _, w := range s.waits {
					if !w.over || w.bytes > waitBytesMax || len(w.kept) > waitCountMax {
						t.Errorf("kept %d bytes in %d publications", w.bytes, len(w.kept))
					}
				}
			})
			close(release)
			g.sees(`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`)
			g.sees(`{"push":{"channel":"rec:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
		})
	}
}

// A slow broker's answer belongs to the attempt that asked: the one before was ended.
func TestEachAttemptHasItsOwnAnswer(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true})
	g := h.guest()
	subscribe := func() {
		if n, e := h.node.Subscribe(t.Context(), Target{Client: g.id}, Subscription{Channel: "rec:a"}); n != 1 || e != nil {
			t.Fatal(n, e)
		}
	}
	come, release := h.broker.hold("read")
	subscribe()
	await(t, come)
	id, _ := h.node.ids.Parse(g.id)
	h.on(0, func(s *Shard) { // ended by what is no command of the client, which cannot
		slot, _ := s.l.Lookup(id)
		ses := s.sessions.At(slot)
		s.leave(slot, ses, s.hub.First(hub.List(ses.Subs)))
	})
	h.mute(t, "rec:a", 2)
	again, free := h.broker.hold("read")
	subscribe()
	await(t, again)
	close(release) // the first answer: offset 0
	h.on(0, func(*Shard) {})
	g.do("presence_stats", `"channel":"rec:b"`) // nothing came of it
	g.sees(`{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}`)
	close(free)
	g.sees(`{"push":{"channel":"rec:a","subscribe":{"recoverable":true,"epoch":"E","offset":2,"positioned":true}}}`)
}

// mute publishes n times so that the broker has it and nobody gets it.
func (h *house) mute(t *testing.T, name string, n int) {
	t.Helper()
	h.broker.Start(deaf{})
	for range n {
		h.pub(name, `"mute"`)
	}
	h.broker.Start(h.node)
}

type deaf struct{}

func (deaf) Deliver(string, *channel.Publication) error    { return nil }
func (deaf) DeliverSignals(string, []channel.Signal) error { return nil }

// A subscription that is made while a round of its channel's fan-out is under way gets
// nothing of it twice, whether others follow the stream or not.
func TestASubscriptionThatIsMadeInTheMiddleOfARound(t *testing.T) {
	for _, name := range []string{"wild:a", "plainly:a"} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, plan{blocking: true, channels: kinds(func(c *channel.Config) {
				c.Namespaces = append(c.Namespaces, channel.Options{Name: "plainly", AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true,
					HistorySize: 10, HistoryTTL: time.Hour, AllowPositioning: true})
			})})
			var others []*guest
			for range 4 * perSlice {
				others = append(others, h.guest(name))
			}
			late := h.guest()
			come, release := h.broker.hold("history")
			late.do("subscribe", fmt.Sprintf(`"channel":%q,"positioned":true`, name))
			await(t, come)
			h.on(0, func(s *Shard) {
				h.pub(name, `1`)
				s.l.Post(visit{func() {
					s.fan.Slice(s.l) // the first members have it
					close(release)
					for h.loops.Stats().MailboxDepth == 0 { // the late one has its place now, which is behind it
						runtime.Gosched()
					}
				}})
			})
			for _, g := range others {
				g.sees(fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":1,"offset":1}}}`, name))
			}
			h.pub(name, `2`)
			late.sees(`{"id":2,"subscribe":{"epoch":"E","offset":1,"positioned":true}}`, fmt.Sprintf(`{"push":{"channel":%q,"pub":{"data":2,"offset":2}}}`, name))
		})
	}
}

func TestWildcardMembersGetOffsetsOfNobody(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), loops: 2})
	g, both := h.guest("wild:*"), h.guest("wild:*", "wild:a")
	h.pub("wild:a", `1`)
	h.pub("wild:b", `2`, func(p *channel.Publication, _ *PublishOptions) { p.Exclude = both.id })
	g.sees(`{"push":{"channel":"wild:*","pub":{"data":1,"channel":"wild:a"}}}`, `{"push":{"channel":"wild:*","pub":{"data":2,"channel":"wild:b"}}}`)
	lines := []string{both.next(), both.next()}
	if !strings.Contains(lines[0]+lines[1], `{"channel":"wild:a","pub":{"data":1,"offset":1}}`) {
		t.Errorf("who is in both got %q", lines)
	}
	h.pub("wild:a", `3`)
	if got := both.next() + both.next(); strings.Contains(got, `"data":2`) {
		t.Errorf("who is excluded got %s", got)
	}
	if _, e := h.node.Publish(t.Context(), "wild:*", &channel.Publication{Data: []byte(`1`)}, PublishOptions{}); e == nil {
		t.Error("a publication to a pattern was taken")
	}
}

// Whatever wildcards clients think of, one publication is encoded for few of them.
func TestAPublicationCostsFewWildcards(t *testing.T) {
	h := newHouse(t, plan{channels: kinds()})
	g, taken := h.guest(), 0
	for stars := range 1 << 8 {
		segments := strings.Split("a.a.a.a.a.a.a.a", ".")
		for i := range segments {
			if stars>>i&1 != 0 {
				segments[i] = "*"
			}
		}
		g.do("subscribe", fmt.Sprintf(`"channel":"wild:%s"`, strings.Join(segments, ".")))
		if line := g.next(); strings.Contains(line, `"subscribe"`) {
			taken++
		} else if !strings.Contains(line, `"code":107`) {
			t.Fatal(line)
		}
	}
	h.pub("wild:a.a.a.a.a.a.a.a", `1`)
	h.still()
	if got := h.node.Stats().Delivered.Load(); taken != 93 || got != 93 { // 3 stars at most, the channel itself included
		t.Errorf("%d subscriptions, %d publications delivered, want 93", taken, got)
	}
}

// A wildcard that cannot be served does not make the broker give an offset away twice.
func TestAPublicationIsTakenOrNot(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), loops: 2})
	a, b := h.guest("wild:a"), h.guest()
	// Which loop serves whom is not ours to choose: let b be on the other one.
	for h.loopOf(a) == h.loopOf(b) {
		b = h.guest()
	}
	b.do("subscribe", `"channel":"wild:*"`)
	b.next()
	h.node.inflight = fan.NewInflight(-1)
	if _, e := h.node.Publish(t.Context(), "wild:a", &channel.Publication{Data: []byte(`0`)}, PublishOptions{}); e == nil {
		t.Fatal("taken by nobody, and no error")
	}
	h.node.inflight = fan.NewInflight(1 << 20)
	h.on(h.loopOf(b), func(s *Shard) { // its mailbox is full, the other's not
		n := 0
		for ; !s.l.Crowded(); n++ {
			if err := s.l.Post(visit{func() {}}); err != nil {
				t.Fatal(err)
			}
		}
		h.pub("wild:a", `1`)
	})
	a.sees(`{"push":{"channel":"wild:a","pub":{"data":1,"offset":1}}}`)
	h.pub("wild:a", `2`)
	a.sees(`{"push":{"channel":"wild:a","pub":{"data":2,"offset":2}}}`)
	b.sees(`{"push":{"channel":"wild:*","pub":{"data":2,"channel":"wild:a"}}}`)
	if h.node.Stats().Dropped[channel.DropMailboxFull].Load() == 0 {
		t.Error("the loss was not counted")
	}
}

func (h *house) loopOf(g *guest) int {
	id, ok := h.node.ids.Parse(g.id)
	if !ok {
		h.t.Fatalf("%s is no client id", g.id)
	}
	return id.Loop()
}

// What is kept for a waiting subscription counts against its backlog like anything else.
func TestKeptPublicationsCanBeTooMuch(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true, backlog: 40_000})
	g := h.guest()
	come, release := h.broker.hold("read")
	g.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	big := `"` + strings.Repeat("x", 9_000) + `"`
	for range 20 {
		h.pub("rec:a", big)
	}
	h.still()
	close(release)
	offset := 0
	for {
		line := g.line()
		if line == "closed 3008" {
			return
		}
		if strings.Contains(line, `"pub"`) {
			p, err := pushed(line)
			if err != nil {
				t.Fatal(err)
			}
			if offset++; int(p.Offset) != offset {
				t.Fatalf("offset %d after %d", p.Offset, offset-1)
			}
			if offset == 20 {
				return // the kernel took it all
			}
		}
	}
}

// Over a megabyte kept, the client subscribes again.
func TestAWaitThatIsTooLongEndsWithInsufficientState(t *testing.T) {
	h := newHouse(t, plan{channels: kinds(), blocking: true})
	g := h.guest()
	come, release := h.broker.hold("read")
	g.do("subscribe", `"channel":"rec:a"`)
	await(t, come)
	for range 3 {
		h.pub("rec:a", `"`+strings.Repeat("x", 400_000)+`"`)
	}
	h.still()
	close(release)
	g.sees(`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","positioned":true}}`,
		`{"push":{"channel":"rec:a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`)
}
