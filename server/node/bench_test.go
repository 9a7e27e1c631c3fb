package node

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/session"
)

// inLoop runs f on the loop of a guest whose replies go nowhere.
func (h *house) inLoop(g *guest, f func(s *Shard, slot uint32)) {
	id, _ := h.node.ids.Parse(g.id)
	h.silent.Store(true)
	done := make(chan struct{})
	_ = h.loops.Loop(id.Loop()).Post(visit{func() {
		defer close(done)
		s := h.node.shards[id.Loop()]
		slot, _ := s.l.Lookup(id)
		f(s, slot)
		if st := s.sessions.At(slot).State(); st != session.StateActive {
			h.t.Errorf("in the end the session is %s", st)
		}
	}})
	<-done
	h.silent.Store(false)
}

// stored is a house with 100 publications of 128 bytes in each namespace, and the
// commands to recover them all and leave again.
func stored(t testing.TB) (h *house, g *guest, commands func(name, params string) []byte) {
	h = newHouse(t, plan{channels: kinds()})
	for _, name := range []string{"rec:a", "tags:a", "delta:a"} {
		for i := range 100 {
			h.pub(name, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, 100+i, strings.Repeat("x", 128-18)))
		}
	}
	return h, h.guest(), func(name, params string) []byte {
		return fmt.Appendf(nil, "{\"id\":2,\"subscribe\":{\"channel\":%q%s}}\n{\"id\":3,\"unsubscribe\":{\"channel\":%q}}", name, params, name)
	}
}

// Subscribing inline, with and without recovery, allocates nothing that grows with what
// is recovered.
func TestSubscribingAllocatesLittle(t *testing.T) {
	h, g, commands := stored(t)
	for _, c := range []struct {
		what, name, params string
		most               float64
	}{
		{"no history", "bare:a", "", 5},
		{"a position", "wild:a", "", 6}, // the stream goes with the last subscriber and comes back
		{"recovery of 100", "tags:a", `,"recover":true`, 5},
		{"filtered recovery of 100", "tags:a", `,"recover":true,"tf":{"key":"t","cmp":"nex"}`, 12},
	} {
		m := commands(c.name, c.params)
		var got float64
		h.inLoop(g, func(s *Shard, slot uint32) {
			got = testing.AllocsPerRun(200, func() {
				s.Message(slot, ws.Text, m)
				s.recoveries.Slice(s.l) // the next pass
			})
		})
		t.Logf("%s: %v allocations", c.what, got)
		if got > c.most {
			t.Errorf("subscribing with %s allocates %v times, want at most %v", c.what, got, c.most)
		}
	}
	name, user := []byte("rec:a"), []byte("u")
	if got := testing.AllocsPerRun(1000, func() {
		h.node.presence.join(name, user)
		h.node.presence.leave(name, user)
	}); got != 0 {
		t.Errorf("coming and going of presence allocates %v times", got)
	}
}

// BenchmarkSubscribe is a subscribe command and the unsubscribe behind it on their loop,
// from the bytes of the message to those of the replies.
func BenchmarkSubscribe(b *testing.B) {
	for _, c := range []struct{ what, name, params string }{
		{"bare", "bare:a", ""}, {"presence-and-signals", "plain", ""}, {"position", "wild:a", ""},
		{"recover-0", "tags:none", `,"recover":true`}, {"recover-100", "tags:a", `,"recover":true`},
		{"recover-100-filtered", "tags:a", `,"recover":true,"tf":{"key":"t","cmp":"nex"}`},
		{"recover-100-delta", "delta:a", `,"recover":true,"delta":"fossil"`},
	} {
		b.Run(c.what, func(b *testing.B) {
			h, g, commands := stored(b)
			m := commands(c.name, c.params)
			b.ReportAllocs()
			h.inLoop(g, func(s *Shard, slot uint32) {
				for b.Loop() {
					s.Message(slot, ws.Text, m)
					s.recoveries.Slice(s.l)
				}
			})
		})
	}
}

// BenchmarkRecoveryParts is where the time of recover-100 goes.
func BenchmarkRecoveryParts(b *testing.B) {
	h, _, _ := stored(b)
	var pubs []channel.Publication
	read := func() {
		pubs, _, _ = h.broker.Broker.History(context.Background(), "tags:a", broker.HistoryQuery{Since: &channel.Position{}, Limit: -1}, pubs[:0])
	}
	b.Run("history", func(b *testing.B) {
		for b.Loop() {
			read()
		}
	})
	read()
	var r replies
	b.Run("values", func(b *testing.B) {
		for b.Loop() {
			r.subscribe.Reset()
			r.publications(&r.subscribe, pubs)
		}
	})
	for _, enc := range []proto.Encoding{proto.JSON, proto.Protobuf} {
		b.Run("encode-"+enc.String(), func(b *testing.B) {
			r.subscribe.Reset()
			r.publications(&r.subscribe, pubs)
			r.reply.Id, r.reply.Subscribe = 1, &r.subscribe
			var out []byte
			for b.Loop() {
				out, _ = proto.AppendReplyWith(out[:0], enc, &r.reply, proto.Text)
			}
			b.ReportMetric(float64(len(out)), "B/reply")
		})
	}
}

func BenchmarkPresence(b *testing.B) {
	h := newHouse(b, plan{channels: kinds()})
	b.ReportAllocs()
	name, user := []byte("rec:a"), []byte("user")
	for b.Loop() {
		h.node.presence.join(name, user)
		h.node.presence.leave(name, user)
	}
}

// BenchmarkPublish is a publication with history to 100 members, from the API to the
// kernel.
func BenchmarkPublish(b *testing.B) {
	const members = 100
	for _, name := range []string{"bare:a", "wild:a", "delta:a"} {
		b.Run(strings.TrimSuffix(name, ":a"), func(b *testing.B) {
			h := newHouse(b, plan{channels: kinds()})
			for range members {
				g := h.guest()
				g.do("subscribe", fmt.Sprintf(`"channel":%q,"delta":"fossil"`, name))
				g.next()
				go func() { _, _ = io.Copy(io.Discard, g.conn) }()
			}
			data := []byte(fmt.Sprintf(`{"pad":%q}`, strings.Repeat("x", 118)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, e := h.node.Publish(context.Background(), name, &channel.Publication{Data: data}, PublishOptions{}); e != nil {
					b.Fatal(e)
				}
				if n++; n%16 == 0 { // as fast as they are taken
					h.still()
				}
			}
			h.still()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*members), "ns/delivery")
		})
	}
}
