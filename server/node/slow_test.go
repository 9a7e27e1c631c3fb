package node

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"shoal/codec/delta"
	"shoal/server/channel"
)

// shed is a house whose namespaces are called like their policies.
func shed(t *testing.T) *house {
	named := func(name, policy string, f func(o *channel.Options)) channel.Options {
		o := channel.Options{Name: name, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, SlowPolicy: policy, AllowWildcard: true}
		f(&o)
		return o
	}
	history := func(o *channel.Options) { o.HistorySize, o.HistoryTTL = 1000, time.Hour }
	plain := func(*channel.Options) {}
	return newHouse(t, plan{backlog: 64 << 20, channels: channel.Config{Namespaces: []channel.Options{
		named("oldest", "drop_oldest", history), named("newest", "drop_newest", history), named("latest", "latest", history),
		named("conflate", "conflate", func(o *channel.Options) { o.ConflateTag = "k" }), named("bare", "drop_oldest", plain),
		named("recoverable", "drop_oldest", func(o *channel.Options) { history(o); o.ForceRecovery = true }),
		named("watched", "latest", func(o *channel.Options) { history(o); o.ForceRecovery = true }),
		named("delta", "latest", func(o *channel.Options) {
			history(o)
			o.DeltaPublish, o.AllowedDeltaTypes = true, []string{"fossil"}
		}),
		named("deltas", "drop_oldest", func(o *channel.Options) {
			history(o)
			o.DeltaPublish, o.AllowedDeltaTypes = true, []string{"fossil"}
		}),
		named("waiting", "", plain),
	}}})
}

// lazy is a member that does not read until told to.
func (h *house) lazy(name, params string) *guest {
	g := h.guest()
	if err := g.conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		h.t.Fatal(err)
	}
	g.do("subscribe", fmt.Sprintf(`"channel":%q%s`, name, params))
	g.next()
	return g
}

// burden publishes 16 KiB each, numbered, with a key of five, until more than so many
// were dropped, three at a time. It returns how many it published.
func (h *house) burden(name string, drops uint64) int {
	h.t.Helper()
	before := h.dropped()
	for i := range 5000 {
		if h.dropped() > before+drops {
			return i
		}
		h.pub(name, numbered(i), func(p *channel.Publication, _ *PublishOptions) { p.Tags = map[string]string{"k": fmt.Sprint(i % 5)} })
		if i%3 == 2 {
			h.still()
		}
	}
	h.t.Fatal("nothing was dropped")
	return 0
}

func numbered(i int) string {
	return fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 16<<10))
}

func (h *house) dropped() (n uint64) {
	for _, d := range []channel.Drop{channel.DropOldest, channel.DropNewest, channel.DropSuperseded} {
		n += h.node.Stats().Dropped[d].Load()
	}
	return n
}

// reads returns the numbers of what waits, up to the publication "end".
func (g *guest) reads() (got []int) {
	g.t.Helper()
	base := ""
	for {
		var line struct {
			Push struct {
				Pub struct {
					Data  json.RawMessage
					Delta bool
				}
			}
		}
		text := g.line()
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			g.t.Fatal(err)
		}
		data := string(line.Push.Pub.Data)
		if strings.HasPrefix(data, `"`) && data != `"end"` { // as text: one that reads differences
			var s string
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				g.t.Fatal(err)
			}
			if line.Push.Pub.Delta {
				whole, err := delta.Apply(nil, []byte(base), []byte(s), 1<<20)
				if err != nil {
					g.t.Fatalf("a difference from something else after %v: %v", got, err)
				}
				s = string(whole)
			}
			base, data = s, s
		}
		if data == `"end"` {
			return got
		}
		var pub struct{ N *int }
		if err := json.Unmarshal([]byte(data), &pub); err != nil || pub.N == nil {
			g.t.Fatalf("got %.200s: %v", text, err)
		}
		got = append(got, *pub.N)
	}
}

// rising checks that got has no number twice and none out of order.
func rising(t *testing.T, got []int) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Fatalf("%d follows %d", got[i], got[i-1])
		}
	}
}

// end waits until the member has taken everything and then publishes the last one.
func (h *house) end(name string, g *guest) []int {
	h.t.Helper()
	done := make(chan []int)
	go func() {
		var got []int
		defer func() { done <- got }()
		got = g.reads()
	}()
	for blocked := true; blocked; {
		time.Sleep(time.Millisecond)
		h.on(0, func(s *Shard) {
			id, _ := h.node.ids.Parse(g.id)
			slot, ok := s.l.Lookup(id)
			blocked = ok && s.l.Backlog(slot) > 0
		})
	}
	h.pub(name, `"end"`)
	return <-done
}

func TestWhatASlowMemberMisses(t *testing.T) {
	for _, c := range []struct {
		name, params string
		check        func(t *testing.T, got []int, published int)
	}{
		{"oldest:a", "", func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != n-1 {
				t.Errorf("the last is %d of %d", last, n)
			}
		}},
		{"newest:a", "", func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != len(got)-1 {
				t.Errorf("the first %d end with %d", len(got), last)
			}
		}},
		{"latest:a", "", func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != n-1 {
				t.Errorf("the last is %d of %d", last, n)
			}
		}},
		{"watched:a", `,"recover":true`, func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != n-1 {
				t.Errorf("the last is %d of %d", last, n)
			}
		}},
		{"conflate:a", "", func(t *testing.T, got []int, n int) {
			for i := range 5 {
				if got[len(got)-1-i] != n-1-i {
					t.Errorf("the last of each key are %v of %d", got[len(got)-5:], n)
				}
			}
		}},
		{"delta:a", `,"delta":"fossil"`, func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != n-1 {
				t.Errorf("the last is %d of %d", last, n)
			}
		}},
		{"deltas:a", `,"delta":"fossil"`, func(t *testing.T, got []int, n int) {
			if last := got[len(got)-1]; last != n-1 {
				t.Errorf("the last is %d of %d", last, n)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := shed(t)
			g := h.lazy(c.name, c.params)
			n := h.burden(c.name, 20)
			h.on(0, func(s *Shard) {
				id, _ := h.node.ids.Parse(g.id)
				slot, _ := s.l.Lookup(id)
				if waits := s.l.Backlog(slot); waits > 128<<10 {
					t.Errorf("%d bytes wait", waits)
				}
			})
			got := h.end(c.name, g)
			rising(t, got)
			if len(got) == 0 || len(got)+int(h.dropped()) != n {
				t.Fatalf("%d arrived and %d were counted as dropped, of %d", len(got), h.dropped(), n)
			}
			c.check(t, got, n)
		})
	}
}

// TestASlowMemberRecovers: where the client can, it is told to, rather than left with a gap.
func TestASlowMemberRecovers(t *testing.T) {
	h := shed(t)
	g := h.lazy("recoverable:a", "")
	n := h.burden("recoverable:a", 0)
	h.pub("recoverable:a", `"unseen"`)
	for i := range n {
		line := g.line()
		if strings.Contains(line, `"unsubscribe":{"code":2500`) {
			if i < 2 {
				t.Fatalf("after %d of %d", i, n)
			}
			g.do("subscribe", fmt.Sprintf(`"channel":"recoverable:a","recover":true,"offset":%d,"epoch":%q`, i, g.epoch))
			got := g.line()
			if !strings.Contains(got, `"recovered":true`) || strings.Count(got, `"offset":`) != n-i+2 || !strings.Contains(got, `"unseen"`) {
				t.Fatalf("recovered %.200s…, %d publications, want %d", got, strings.Count(got, `"offset":`)-1, n-i+1)
			}
			return
		}
		if !strings.Contains(line, fmt.Sprintf(`"offset":%d`, i+1)) {
			t.Fatalf("publication %d is %.100s", i, line)
		}
	}
	t.Error("it was never told")
}

// TestASlowMemberOfOtherChannelsToo: a policy drops what is its channel's, and nothing else.
func TestASlowMemberOfOtherChannelsToo(t *testing.T) {
	h := shed(t)
	g := h.lazy("latest:a", "")
	g.do("subscribe", `"channel":"waiting:a"`)
	g.next()
	n := h.burden("latest:a", 3)
	for range 50 {
		h.pub("waiting:a", `{"n":-1}`)
		h.pub("latest:a", fmt.Sprintf(`{"n":%d}`, n))
		n++
		h.still()
	}
	got := h.end("latest:a", g)
	others := 0
	for _, i := range got {
		if i < 0 {
			others++
		}
	}
	if others != 50 || got[len(got)-1] != n-1 || len(got)-others+int(h.dropped()) != n {
		t.Errorf("%d of 50 of the other channel, the last %d of %d", others, got[len(got)-1], n)
	}
}

// TestASlowMemberOfAWildcard: channels under one wildcard do not take each other's place.
func TestASlowMemberOfAWildcard(t *testing.T) {
	h := shed(t)
	g := h.lazy("latest:*", "")
	h.burden("latest:a", 3)
	for _, name := range []string{"latest:b", "latest:c", "latest:b"} {
		h.pub(name, `{"n":7}`)
		h.still()
	}
	before := h.node.Stats().Dropped[channel.DropSuperseded].Load()
	h.pub("latest:c", `{"n":8}`)
	h.still()
	if n := h.node.Stats().Dropped[channel.DropSuperseded].Load(); n != before+1 {
		t.Errorf("%d were dropped for one", n-before)
	}
	got := h.end("latest:d", g)
	if tail := got[len(got)-2:]; tail[0] != 7 || tail[1] != 8 {
		t.Errorf("at the end there are %v", tail)
	}
}
