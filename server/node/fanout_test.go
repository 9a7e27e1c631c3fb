package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/loop"
	"shoal/server/channel"
	"shoal/server/node/fan"
)

func (r *rig) publish(name, data string) {
	r.t.Helper()
	if _, e := r.node.Publish(context.Background(), name, &channel.Publication{Data: []byte(data)}, PublishOptions{}); e != nil {
		r.t.Fatal(e)
	}
}

func TestPublicationsReachMembersOnAllLoopsInOrder(t *testing.T) {
	r := newRig(t, 3)
	var all []*client
	for range 30 {
		all = append(all, r.client("news"))
	}
	other := r.client("other")
	for i := range 100 {
		r.publish("news", fmt.Sprint(i))
	}
	r.publish("other", `"o"`)
	for k, c := range all {
		for i := range 100 {
			if got := c.pub(); got != fmt.Sprint(i) {
				t.Fatalf("client %d got %s in place %d", k, got, i)
			}
		}
	}
	if got := other.pub(); got != `"o"` {
		t.Errorf("the other channel's member got %s", got)
	}
	if got := r.node.Stats().Delivered.Load(); got != 3001 {
		t.Errorf("%d deliveries were counted, want 3001", got)
	}
	if got := r.node.Stats().Published.Load(); got != 101 {
		t.Errorf("%d publications were counted, want 101", got)
	}
}

// perSlice is the loops' default of conns written per pass.
const perSlice = 128

// roundMax is what one round of a job delivers at most.
const roundMax = 32

// A slice of a large channel does not keep a small one waiting.
func TestChannelsTakeTurns(t *testing.T) {
	r := newRig(t, 1)
	const members = 3*perSlice + 10
	var large []*client
	for range members {
		large = append(large, r.client("large"))
	}
	small := r.client("small")
	r.on(0, func(s *Shard) {
		for i := range 5 {
			r.publish("large", fmt.Sprint(i))
		}
		r.publish("small", `"quick"`)
		s.l.Post(visit{func() {
			smallID, _ := s.hub.ID([]byte("small"))
			largeID, _ := s.hub.ID([]byte("large"))
			if s.fan.Job(smallID) == nil || s.fan.Job(largeID) == nil {
				t.Error("the fan-outs have not begun together")
			}
			for range 2 { // one slice each
				s.fan.Slice(s.l)
			}
			if s.fan.Job(smallID) != nil {
				t.Error("the small channel still waits after two slices")
			}
			if s.fan.Job(largeID) == nil {
				t.Error("the large channel is done after two slices")
			}
		}})
	})
	if got := small.pub(); got != `"quick"` {
		t.Errorf("got %s", got)
	}
	for _, c := range large {
		for i := range 5 {
			if got := c.pub(); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
		}
	}
}

// What arrives before a round begins goes out together in it.
func TestPublicationsOfABusyChannelAreMerged(t *testing.T) {
	r := newRig(t, 1)
	const members, publications = 4 * perSlice, roundMax + 10
	var all []*client
	for range members {
		all = append(all, r.client("busy"))
	}
	r.on(0, func(s *Shard) {
		for i := range publications {
			r.publish("busy", fmt.Sprint(i))
		}
		s.l.Post(visit{func() {
			id, _ := s.hub.ID([]byte("busy"))
			j := s.fan.Job(id)
			if j == nil || len(j.Run) != 0 || j.Waiting() != publications {
				t.Errorf("before its first turn the job is %+v", j)
				return
			}
			s.fan.Slice(s.l)
			if len(j.Run) != roundMax {
				t.Errorf("the first round has %d publications, want %d", len(j.Run), roundMax)
			}
			var look visit
			look.f = func() {
				if j.Waiting() == publications-roundMax {
					s.l.Post(look)
				} else if len(j.Run) != publications-roundMax {
					t.Errorf("the second round has %d publications, want %d", len(j.Run), publications-roundMax)
				}
			}
			s.l.Post(look)
		}})
	})
	for _, c := range all {
		for i := range publications {
			if got := c.pub(); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
		}
	}
}

// Members that leave, join and vanish in the middle of a fan-out disturb nobody.
func TestFanoutUnderChurn(t *testing.T) {
	r := newRig(t, 2)
	var steady []*client
	for range 40 {
		steady = append(steady, r.client("news"))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := r.client("elsewhere", "news")
				c.say(`{"id":3,"unsubscribe":{"channel":"news"}}`)
				c.conn.Close()
			}
		})
	}
	const n = 300
	for i := range n {
		r.publish("news", fmt.Sprint(i))
		for _, c := range steady[:1] { // in step with one, so that nobody is slow
			if got := c.pub(); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
		}
	}
	close(stop)
	wg.Wait()
	for _, c := range steady[1:] {
		for i := range n {
			if got := c.pub(); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
		}
	}
}

func TestDrainWaitsForFanouts(t *testing.T) {
	r := newRig(t, 2)
	var all []*client
	for range 300 {
		all = append(all, r.client("news"))
	}
	for i := range 50 {
		r.publish("news", fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.node.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if got := r.node.Stats().Delivered.Load(); got != 300*50 || r.node.InflightBytes() != 0 {
		t.Errorf("after Drain %d deliveries were made, want %d; %d bytes are in flight", got, 300*50, r.node.InflightBytes())
	}
	for _, c := range all {
		c.pub()
	}
}

func TestPublishIsRefusedWhenTooMuchIsInFlight(t *testing.T) {
	r := newRig(t, 1)
	c := r.client("news")
	r.node.inflight = fan.NewInflight(1000)
	hold, held := make(chan struct{}), make(chan struct{})
	if err := r.loops.Loop(0).Post(visit{func() { close(held); <-hold }}); err != nil {
		t.Fatal(err)
	}
	<-held
	accepted := 0
	for ; ; accepted++ {
		if _, e := r.node.Publish(context.Background(), "news", &channel.Publication{Data: []byte(`"0123456789"`)}, PublishOptions{}); e != nil {
			if e.Code != uint32(channel.ErrTooManyRequests) {
				t.Errorf("refused with %v", e)
			}
			break
		}
	}
	close(hold)
	for range accepted {
		c.pub()
	}
	if accepted == 0 || r.node.Stats().Dropped[channel.DropNodeBacklog].Load() == 0 || r.node.Stats().PublishFailed.Load() != 1 {
		t.Errorf("%d were accepted, %d counted as dropped", accepted, r.node.Stats().Dropped[channel.DropNodeBacklog].Load())
	}
	r.publish("news", `1`)
	c.pub()
}

func TestSubscribersAreCountedOverAllLoops(t *testing.T) {
	r := newRig(t, 3)
	for range 10 {
		r.client("a", "b")
	}
	for range 5 {
		r.client("b", "private")
	}
	got, err := r.node.Subscribers(t.Context(), func(name string) bool { return name != "private" })
	if err != nil || len(got) != 2 || got["a"] != 10 || got["b"] != 15 {
		t.Errorf("got %v %v", got, err)
	}
}

func TestDisconnectFindsItsTargets(t *testing.T) {
	r := newRig(t, 2)
	var all []*client
	for range 20 {
		all = append(all, r.client("x"))
	}
	var ids []string
	for i := range 2 {
		r.on(i, func(s *Shard) {
			s.l.Each(func(slot uint32, _ loop.Kind) bool {
				ids = append(ids, string(s.node.ids.Append(nil, new([16]byte), s.l.ID(slot))))
				return true
			})
		})
	}
	d := *channel.DisconnectForced.Disconnect()
	if n, err := r.node.Disconnect(t.Context(), Target{Client: ids[3]}, d); n != 1 || err != nil {
		t.Errorf("by client: %d %v", n, err)
	}
	if n, err := r.node.Disconnect(t.Context(), Target{Client: ids[3]}, d); n != 0 || err != nil {
		t.Errorf("again: %d %v", n, err)
	}
	if n, err := r.node.Disconnect(t.Context(), Target{User: "nobody"}, d); n != 0 || err != nil {
		t.Errorf("by user: %d %v", n, err)
	}
	if n, err := r.node.Disconnect(t.Context(), Target{Spare: ids[10:]}, d); n != 9 || err != nil {
		t.Errorf("all but ten: %d %v", n, err)
	}
	r.publish("x", "1") // what those who are left get next
	closed := 0
	for _, c := range all {
		if c.line() == "closed 3503" {
			closed++
		}
	}
	if closed != 10 {
		t.Errorf("%d clients were closed, want 10", closed)
	}
}

func TestQuestionsEndWithTheirContext(t *testing.T) {
	r := newRig(t, 2)
	hold, held := make(chan struct{}), make(chan struct{})
	if err := r.loops.Loop(1).Post(visit{func() { close(held); <-hold }}); err != nil {
		t.Fatal(err)
	}
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.node.Subscribers(ctx, func(string) bool { return true }); err == nil {
		t.Error("a loop that hangs has answered")
	}
	close(hold)
	r.on(1, func(*Shard) {})
}

func TestFormsAreChecked(t *testing.T) {
	r := newRig(t, 1)
	cfg := r.node.cfg
	cfg.Forms = nil
	if _, err := New(cfg, r.node.broker); err == nil {
		t.Error("a node without wire forms was made")
	}
	cfg.Forms = slices.Repeat(r.node.cfg.Forms, 10)
	if _, err := New(cfg, r.node.broker); err == nil {
		t.Error("a node with too many wire forms was made")
	}
}

// With a delay, publications wait for more: until it is over, or there are enough. Those
// who subscribe meanwhile get none of them twice.
func TestPublicationsWaitForMore(t *testing.T) {
	options := func(name string, delay time.Duration) channel.Options {
		return channel.Options{Name: name, AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true, BatchMaxDelay: delay, BatchMaxSize: 3,
			HistorySize: 10, HistoryTTL: time.Hour, ForceRecovery: true}
	}
	h := newHouse(t, plan{channels: channel.Config{Namespaces: []channel.Options{options("long", time.Second), options("short", 2*time.Millisecond)}}})
	rounds := func(name string) (waits bool, run, next int) {
		h.on(0, func(s *Shard) {
			if id, ok := s.hub.ID([]byte(name)); ok && s.fan.Job(id) != nil {
				j := s.fan.Job(id)
				waits, run, next = !s.fan.Busy(), len(j.Run), j.Waiting()
			}
		})
		return waits, run, next
	}
	g := h.guest("long:a")
	for time.Now().Nanosecond() > 3e8 { // all of them wait for the next full second
		time.Sleep(time.Millisecond)
	}
	h.pub("long:a", `1`)
	h.pub("long:a", `2`)
	if waits, _, next := rounds("long:a"); !waits || next != 2 {
		t.Errorf("waits %t with %d", waits, next)
	}
	late := h.guest()
	late.do("subscribe", `"channel":"long:a"`)
	late.sees(`{"id":2,"subscribe":{"recoverable":true,"epoch":"E","offset":2,"positioned":true}}`)
	h.pub("long:a", `3`) // enough
	for i := range 3 {
		g.sees(fmt.Sprintf(`{"push":{"channel":"long:a","pub":{"data":%d,"offset":%d}}}`, i+1, i+1))
	}
	late.sees(`{"push":{"channel":"long:a","pub":{"data":3,"offset":3}}}`)
	h.still()
	h.pub("long:a", `4`)
	if waits, _, next := rounds("long:a"); !waits || next != 1 {
		t.Errorf("waits %t with %d", waits, next)
	}
	g.sees(`{"push":{"channel":"long:a","pub":{"data":4,"offset":4}}}`) // when the second is over

	s := h.guest("short:a")
	for i := range 50 {
		h.pub("short:a", fmt.Sprint(i))
	}
	for i := range 50 {
		s.sees(fmt.Sprintf(`{"push":{"channel":"short:a","pub":{"data":%d,"offset":%d}}}`, i, i+1))
	}
	h.pub("short:a", `"last"`)
	s.conn.Close() // nobody is left for it
	h.still()
}
