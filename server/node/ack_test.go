package node

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/server/backend"
	"shoal/server/broker"
	"shoal/server/channel"
	"shoal/server/node/cursor"
	"shoal/server/session"
)

// ackPlan has acknowledged channels and a backend that says that everybody is 42.
func ackPlan(size int) plan {
	o := channel.Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, HistorySize: size, HistoryTTL: time.Minute, Acknowledge: true}
	return plan{channels: channel.Config{WithoutNamespace: o}, backend: &oracle{connect: func(*backend.ConnectRequest) (*backend.ConnectReply, error) {
		return &backend.ConnectReply{User: "42"}, nil
	}}}
}

// gotAck is a subscribe result, an answer to an ack, or an error.
type gotAck struct {
	Subscribe *struct {
		Epoch          string
		Offset         uint64
		Recovered      bool
		Was_recovering bool
		Publications   []struct{ Offset uint64 }
	}
	Rpc   *struct{ Data struct{ Offset uint64 } }
	Error *struct{ Code int }
	Push  *struct{ Pub *struct{ Offset uint64 } }
}

func (g *guest) ack() (got gotAck) {
	g.t.Helper()
	for got.Subscribe == nil && got.Rpc == nil && got.Error == nil { // past publications
		if err := json.Unmarshal([]byte(g.line()), &got); err != nil {
			g.t.Fatal(err)
		}
	}
	return got
}

// TestNothingUnacknowledgedIsMissed drives random publications, acknowledgements,
// departures and returns of one user with two devices, with and without positions of
// their own. A model knows the cursor: whatever a subscription gets begins right behind
// the further of cursor and own position, has no gap and reaches the top; or it says that
// history had not all of it, and the model agrees.
func TestNothingUnacknowledgedIsMissed(t *testing.T) {
	for seed := range uint64(12) {
		blocking := seed%3 == 0
		t.Run(fmt.Sprintf("seed %d, blocking %v", seed, blocking), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			const size = 8
			p := ackPlan(size)
			p.blocking, p.loops = blocking, 2
			h := newHouse(t, p)
			connect := func() *guest { return h.guest() }
			devices := [2]*guest{connect(), connect()}
			var subscribedTo [2]bool
			top, cursor, started, epoch := uint64(0), uint64(0), false, ""
			subscribe := func(i int) {
				from, asks, more := cursor, started, ""
				if epoch != "" && rng.IntN(3) == 0 {
					own := rng.Uint64N(top + 1)
					if asks = true; own > from || !started {
						from = own
					}
					more = fmt.Sprintf(`,"recoverable":true,"recover":true,"offset":%d,"epoch":%q`, own, epoch)
				}
				devices[i].do("subscribe", `"channel":"a"`+more)
				got := devices[i].ack().Subscribe
				if got == nil {
					t.Fatal("not subscribed")
				}
				epoch = got.Epoch
				kept := top - min(top, size) // what history has begins behind it
				if want := asks && from >= kept; got.Recovered != want || asks != got.Was_recovering {
					t.Fatalf("from %d, top %d: %+v", from, top, got)
				}
				if got.Recovered {
					at := from
					for _, p := range got.Publications {
						if at++; p.Offset != at {
							t.Fatalf("from %d: %+v", from, got)
						}
					}
					if at != top || got.Offset != from {
						t.Fatalf("from %d to %d, top %d, result %d", from, at, top, got.Offset)
					}
				} else if len(got.Publications) > 0 || got.Offset != top {
					t.Fatalf("top %d: %+v", top, got)
				}
				switch {
				case !got.Recovered:
					cursor = top
				case !started:
					cursor = from
				}
				started, subscribedTo[i] = true, true
			}
			for range 150 {
				i := rng.IntN(2)
				switch rng.IntN(6) {
				case 0, 1:
					for range rng.IntN(4) {
						h.pub("a", "{}")
						top++
					}
					h.still()
				case 2:
					if !subscribedTo[i] {
						subscribe(i)
					}
				case 3, 4:
					if subscribedTo[i] {
						to := rng.Uint64N(top + 1)
						devices[i].do("rpc", fmt.Sprintf(`"method":"shoal.ack","data":{"epoch":%q,"offset":%d,"channel":"a"}`, epoch, to))
						cursor = max(cursor, to)
						if got := devices[i].ack(); got.Rpc == nil || got.Rpc.Data.Offset != cursor {
							t.Fatalf("ack of %d with the cursor at %d: %+v", to, cursor, got)
						}
					}
				case 5:
					if rng.IntN(2) == 0 && subscribedTo[i] {
						devices[i].do("unsubscribe", `"channel":"a"`)
					} else {
						devices[i].conn.Close()
						devices[i] = connect()
					}
					subscribedTo[i] = false
				}
			}
			if count, evicted, held := h.node.Cursors(); count > 1 || evicted > 0 || held == 0 {
				t.Errorf("%d cursors, %d evicted, %d B", count, evicted, held)
			}
		})
	}
}

// TestANewEpochStartsTheCursorAnew: a broker that forgot the stream.
func TestANewEpochStartsTheCursorAnew(t *testing.T) {
	p := ackPlan(10)
	p.channels.WithoutNamespace.HistoryMetaTTL, p.channels.WithoutNamespace.HistoryTTL = 2*time.Hour, time.Hour
	h := newHouse(t, p)
	g := h.guest("a")
	for range 3 {
		h.pub("a", "{}")
	}
	g.conn.Close()
	h.clock.Store(3 * 3600)
	h.broker.Expire(1 << 20)
	h.pub("a", "{}")
	g = h.guest()
	g.do("subscribe", `"channel":"a"`)
	if got := g.ack().Subscribe; got.Recovered || !got.Was_recovering || got.Offset != 1 {
		t.Errorf("in the new epoch: %+v", got)
	}
	if n := h.node.stats.RedeliveryLost.Load(); n != 1 {
		t.Errorf("%d redeliveries lost", n)
	}
	g.conn.Close()
	h.pub("a", "{}")
	g = h.guest()
	g.do("subscribe", `"channel":"a"`)
	if got := g.ack().Subscribe; !got.Recovered || len(got.Publications) != 1 {
		t.Errorf("afterwards: %+v", got)
	}
}

// TestSubscriptionsOfTheAPIAreDeliveredAgain: their push has no room, so what was missed
// follows it.
func TestSubscriptionsOfTheAPIAreDeliveredAgain(t *testing.T) {
	h := newHouse(t, ackPlan(10))
	g := h.guest("a")
	g.conn.Close()
	h.pub("a", `"one"`)
	g = h.guest()
	if n, e := h.node.Subscribe(t.Context(), Target{User: "42"}, Subscription{Channel: "a"}); e != nil || n == 0 {
		t.Fatal(n, e)
	}
	if got := g.next(); !strings.HasPrefix(got, `{"push":{"channel":"a","subscribe":`) {
		t.Errorf("got %s", got)
	}
	g.sees(`{"push":{"channel":"a","pub":{"data":"one","offset":1}}}`)
}

// TestAnErrorOfTheHistoryLeavesTheCursor: the subscription fails, and the next one gets
// everything.
func TestAnErrorOfTheHistoryLeavesTheCursor(t *testing.T) {
	h := newHouse(t, ackPlan(10))
	h.guest("a").conn.Close()
	h.pub("a", "{}")
	err := broker.ErrNotRunning
	h.broker.fail.Store(&err)
	g := h.guest()
	g.do("subscribe", `"channel":"a"`)
	if got := g.ack(); got.Error == nil || got.Error.Code != 100 {
		t.Fatalf("got %+v", got)
	}
	h.broker.fail.Store(nil)
	g.do("subscribe", `"channel":"a"`)
	if got := g.ack().Subscribe; got == nil || !got.Recovered || len(got.Publications) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAcknowledgingAllocatesNothing(t *testing.T) {
	h := newHouse(t, ackPlan(10))
	g := h.guest("a")
	h.pub("a", "{}")
	g.line()
	data := fmt.Appendf(nil, `{"channel":"a","offset":1,"epoch":%q}`, g.epoch)
	h.on(0, func(s *Shard) {
		ses, r := s.sessions.At(0), &proto.RPCRequest{Method: methodAck, Data: data}
		s.queue = make([]session.Input, 0, 4)
		allocs := testing.AllocsPerRun(100, func() {
			s.queue = s.queue[:0]
			if !s.ownRPC(0, ses, 1, r) || s.queue[0].Refusal.Refused() {
				t.Error("refused")
			}
		})
		if s.queue, s.reply.answer = s.queue[:0], (answer{}); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	})
}

// One user who subscribes to whatever it can think of takes nobody else's place.
func TestNobodyTakesTheCursorsOfOthers(t *testing.T) {
	p := ackPlan(10)
	p.cfg.CursorsMax = 1024
	h := newHouse(t, p)
	const others = 300
	now := time.Now().Unix()
	for i := range others {
		h.node.cursors.Move("inbox", fmt.Sprint("alice-", i), cursor.Place{Offset: 7, Epoch: 9}, 3600, now-10)
	}
	mallory := h.guest()
	for i := range 2000 {
		mallory.do("subscribe", fmt.Sprintf(`"channel":"junk-%d"`, i))
		mallory.do("unsubscribe", fmt.Sprintf(`"channel":"junk-%d"`, i))
		mallory.next()
		mallory.next()
	}
	for i := range others {
		if _, ok := h.node.cursors.Get("inbox", fmt.Sprint("alice-", i), now); !ok {
			t.Errorf("alice-%d has lost her cursor", i)
		}
	}
	if count, evicted, _ := h.node.Cursors(); count != others+16 || evicted != 2000-16 {
		t.Errorf("%d cursors, %d evicted", count, evicted)
	}
}
