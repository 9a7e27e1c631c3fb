package hub

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func audience(h *Hub, ch string) []uint32 {
	c, ok := h.Begin([]byte(ch))
	if !ok {
		return nil
	}
	defer h.End(&c)
	return slots(h.Next(&c, nil, 1<<30))
}

func slots(ms []Member) []uint32 {
	out := make([]uint32, 0, len(ms))
	for _, m := range ms {
		out = append(out, m.Slot)
	}
	return out
}

// leave ends a membership by name.
func leave(h *Hub, list *List, name []byte) (last, ok bool) {
	sub := h.Find(*list, name)
	if sub == 0 {
		return false, false
	}
	last = h.Alone(sub)
	h.Leave(list, sub)
	return last, true
}

// leaveAll ends all memberships and returns the channels that have no member left.
func leaveAll(h *Hub, list *List) (gone []string) {
	for *list != 0 {
		sub := h.First(*list)
		if h.Alone(sub) {
			gone = append(gone, string(h.Name(sub)))
		}
		h.Leave(list, sub)
	}
	return gone
}

func mustValidate(t *testing.T, h *Hub) {
	t.Helper()
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestSubscribeTellsTheFirstMemberOfEachForm(t *testing.T) {
	h := New()
	var a, b, c List
	for _, step := range []struct {
		slot      uint32
		list      *List
		form      Form
		first, ok bool
	}{
		{1, &a, 0, true, true},
		{1, &a, 0, false, false}, // a member already
		{2, &b, 0, false, true},
		{3, &c, 1, true, true},
	} {
		sub, first := h.Subscribe(step.slot, step.list, []byte("news"), step.form)
		ok := sub != 0
		if first != step.first || ok != step.ok {
			t.Fatalf("slot %d form %d: first %v ok %v, want %v %v", step.slot, step.form, first, ok, step.first, step.ok)
		}
	}
	if got := audience(h, "news"); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Fatalf("audience %v, want in order of joining", got)
	}
	mustValidate(t, h)
}

func TestTheLastMemberTakesTheChannelAway(t *testing.T) {
	h := New()
	var a, b List
	h.Subscribe(1, &a, []byte("x"), 0)
	h.Subscribe(2, &b, []byte("x"), 0)
	if last, ok := leave(h, &a, []byte("x")); last || !ok {
		t.Fatalf("first departure: last %v ok %v", last, ok)
	}
	if last, ok := leave(h, &a, []byte("x")); last || ok {
		t.Fatalf("departure of a stranger: last %v ok %v", last, ok)
	}
	if last, ok := leave(h, &b, []byte("x")); !last || !ok {
		t.Fatalf("last departure: last %v ok %v", last, ok)
	}
	if h.Channels() != 0 || h.Subscriptions() != 0 {
		t.Fatalf("%d channels, %d subscriptions left", h.Channels(), h.Subscriptions())
	}
	mustValidate(t, h)
}

func TestUnsubscribeAllNamesTheChannelsThatBecomeEmpty(t *testing.T) {
	h := New()
	var a, b List
	for _, ch := range []string{"one", "two", "three"} {
		h.Subscribe(1, &a, []byte(ch), 0)
	}
	h.Subscribe(2, &b, []byte("two"), 0)
	gone := leaveAll(h, &a)
	slices.Sort(gone)
	if !slices.Equal(gone, []string{"one", "three"}) || a != 0 {
		t.Fatalf("gone %v, list %d", gone, a)
	}
	mustValidate(t, h)
}

func TestAFanOutReachesThoseWhoWereThereWhenItBegan(t *testing.T) {
	h := New()
	lists := make([]List, 10)
	for i := range lists {
		h.Subscribe(uint32(i), &lists[i], []byte("news"), 0)
	}
	c, _ := h.Begin([]byte("news"))
	got := slots(h.Next(&c, nil, 3)) // 0 1 2
	leave(h, &lists[1], []byte("news"))
	leave(h, &lists[5], []byte("news"))
	var late List
	h.Subscribe(99, &late, []byte("news"), 0)
	got = append(got, slots(h.Next(&c, nil, 100))...)
	if want := []uint32{0, 1, 2, 3, 4, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Fatalf("reached %v, want %v", got, want)
	}
	mustValidate(t, h)
	h.End(&c)
	mustValidate(t, h)
	if got, want := audience(h, "news"), []uint32{0, 2, 3, 4, 6, 7, 8, 9, 99}; !slices.Equal(got, want) {
		t.Fatalf("audience after %v, want %v", got, want)
	}
}

func TestAChannelThatEmptiesUnderACursorIsForgottenAtItsEnd(t *testing.T) {
	h := New()
	var a List
	h.Subscribe(1, &a, []byte("x"), 0)
	c, _ := h.Begin([]byte("x"))
	if last, _ := leave(h, &a, []byte("x")); !last {
		t.Fatal("not told that the channel is empty")
	}
	mustValidate(t, h)
	if sub, first := h.Subscribe(1, &a, []byte("x"), 0); !first || sub == 0 {
		t.Fatal("coming back is not a first subscription")
	}
	leave(h, &a, []byte("x"))
	h.End(&c)
	mustValidate(t, h)
	if h.names.Len() != 0 {
		t.Fatalf("%d names kept", h.names.Len())
	}
}

// model is the naive hub: a slice per channel.
type model map[string][]uint32

func (m model) check(t *testing.T, h *Hub) {
	t.Helper()
	mustValidate(t, h)
	for ch, want := range m {
		got := audience(h, ch)
		slices.Sort(got)
		want = slices.Sorted(slices.Values(want))
		if !slices.Equal(got, want) {
			t.Fatalf("channel %s: members %v, want %v", ch, got, want)
		}
		if h.Subscribers([]byte(ch)) != len(want) {
			t.Fatalf("channel %s: %d subscribers, want %d", ch, h.Subscribers([]byte(ch)), len(want))
		}
	}
}

func TestRandomJoinsAndDeparturesMatchTheNaiveHub(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func runModel(t *testing.T, r *rand.Rand) {
	h, m := New(), model{}
	lists := make([]List, 300)
	var open []Cursor
	for step := range 6000 {
		slot, ch := uint32(r.IntN(len(lists))), fmt.Sprintf("c%d", r.IntN(7))
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4:
			sub, _ := h.Subscribe(slot, &lists[slot], []byte(ch), Form(r.IntN(3)))
			if ok := sub != 0; ok == slices.Contains(m[ch], slot) {
				t.Fatalf("step %d: subscribe of %d to %s answered %v", step, slot, ch, ok)
			} else if ok {
				m[ch] = append(m[ch], slot)
			}
		case 5, 6:
			i := slices.Index(m[ch], slot)
			if _, ok := leave(h, &lists[slot], []byte(ch)); ok != (i >= 0) {
				t.Fatalf("step %d: unsubscribe of %d from %s answered %v", step, slot, ch, ok)
			} else if ok {
				m[ch] = slices.Delete(m[ch], i, i+1)
			}
		case 7:
			leaveAll(h, &lists[slot])
			for ch := range m {
				m[ch] = slices.DeleteFunc(m[ch], func(s uint32) bool { return s == slot })
			}
		case 8:
			if c, ok := h.Begin([]byte(ch)); ok {
				open = append(open, c)
			}
		case 9:
			if n := len(open); n > 0 {
				h.Next(&open[n-1], nil, 10)
				h.End(&open[n-1])
				open = open[:n-1]
			}
		}
		if step%100 == 0 {
			m.check(t, h)
		}
	}
	for i := range open {
		h.End(&open[i])
	}
	for i := range lists {
		leaveAll(h, &lists[i])
	}
	mustValidate(t, h)
	if h.Subscriptions() != 0 || h.Channels() != 0 || h.names.Len() != 0 {
		t.Fatalf("left: %d subscriptions, %d channels, %d names", h.Subscriptions(), h.Channels(), h.names.Len())
	}
}

func TestALongListGrowsAndShrinks(t *testing.T) {
	h := New()
	lists := make([]List, 3*blockMax)
	for i := range lists {
		h.Subscribe(uint32(i), &lists[i], []byte("all"), 0)
	}
	mustValidate(t, h)
	if got := len(audience(h, "all")); got != len(lists) {
		t.Fatalf("%d members, want %d", got, len(lists))
	}
	for i := range lists {
		leave(h, &lists[i], []byte("all"))
	}
	mustValidate(t, h)
	if held := h.lists.heldBytes(); held > 1<<16 {
		t.Fatalf("%d bytes of lists held by an empty hub", held)
	}
}

func TestAMembershipKeepsWhatTheNodeWrites(t *testing.T) {
	h := New()
	var a, b List
	sub, _ := h.Subscribe(7, &a, []byte("x"), 2)
	h.Subscribe(8, &b, []byte("x"), 1)
	h.Subscribe(7, &a, []byte("y"), 2)
	*h.At(sub) = Membership{Extra: 5, Flags: 3, Form: 2}
	c, _ := h.Begin([]byte("x"))
	members := h.Next(&c, nil, 10)
	h.End(&c)
	if want := (Member{Slot: 7, Sub: sub, Flags: 3, Form: 2}); members[0] != want || members[1].Flags != 0 {
		t.Fatalf("members %+v, want the first %+v", members, want)
	}
	if h.Find(a, []byte("x")) != sub || h.At(sub).Extra != 5 || h.Slot(sub) != 7 || string(h.Name(sub)) != "x" {
		t.Fatal("the membership is not found as it was written")
	}
	var names []string
	h.EachOf(a, func(sub Sub) bool {
		names = append(names, string(h.Name(sub)))
		h.Leave(&a, sub)
		return true
	})
	if !slices.Equal(names, []string{"y", "x"}) || a != 0 || h.Find(a, []byte("x")) != 0 {
		t.Fatalf("walked %v, list %d", names, a)
	}
	again, _ := h.Subscribe(7, &a, []byte("x"), 2)
	if m := *h.At(again); m != (Membership{Form: 2}) {
		t.Fatalf("a new membership begins as %+v", m)
	}
	mustValidate(t, h)
}

func TestTheHotPathsDoNotAllocate(t *testing.T) {
	h := New()
	lists := make([]List, 1000)
	name := []byte("news")
	for i := range lists {
		h.Subscribe(uint32(i), &lists[i], name, 0)
	}
	buf := make([]Member, 0, 128)
	if n := testing.AllocsPerRun(100, func() {
		c, _ := h.Begin(name)
		for {
			if buf = h.Next(&c, buf[:0], 128); len(buf) == 0 {
				break
			}
		}
		h.End(&c)
	}); n != 0 {
		t.Errorf("a fan-out allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		leave(h, &lists[500], name)
		h.Subscribe(500, &lists[500], name, 0)
	}); n != 0 {
		t.Errorf("leaving and joining allocates %v times", n)
	}
}

func BenchmarkFanout(b *testing.B) {
	h := New()
	lists := make([]List, 15000)
	name := []byte("news")
	for i := range lists {
		h.Subscribe(uint32(i), &lists[i], name, 0)
	}
	buf := make([]Member, 0, 128)
	reached := 0
	for b.Loop() {
		c, _ := h.Begin(name)
		for {
			if buf = h.Next(&c, buf[:0], 128); len(buf) == 0 {
				break
			}
			reached += len(buf)
		}
		h.End(&c)
	}
	if reached != b.N*len(lists) {
		b.Fatalf("reached %d, want %d", reached, b.N*len(lists))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(reached), "ns/recipient")
}

func BenchmarkBytesPerSubscription(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		h := New()
		lists := make([]List, n)
		for i := range lists {
			h.Subscribe(uint32(i), &lists[i], []byte("all"), 0)
		}
		if h.Subscriptions() != n {
			b.Fatalf("%d subscriptions", h.Subscriptions())
		}
		b.ReportMetric(float64(h.HeldBytes())/n, "B/subscription")
	}
}

func TestChannelsAreSeenInPiecesWhateverHappensBetween(t *testing.T) {
	h, list := New(), List(0)
	const n = 1000
	for i := range n {
		h.Subscribe(1, &list, fmt.Appendf(nil, "c%d", i), 0)
	}
	seen := map[string]int{}
	at, more, calls := uint32(0), true, 0
	for ; more; calls++ {
		at, more = h.Each(at, 64, func(name []byte, members int) { seen[string(name)] += members })
		leave(h, &list, []byte("c999"))
		h.Trim()
	}
	for i := range n - 1 {
		if seen[fmt.Sprint("c", i)] != 1 {
			t.Fatalf("channel c%d was seen %d times", i, seen[fmt.Sprint("c", i)])
		}
	}
	if seen["c999"] != 0 || calls < n/64 {
		t.Errorf("a channel without members was seen %d times; %d calls", seen["c999"], calls)
	}
	mustValidate(t, h)
}

func TestTrimGivesBackWhatChannelsOfABurstHeld(t *testing.T) {
	h, stays, burst := New(), List(0), List(0)
	h.Subscribe(1, &stays, []byte("stays"), 0)
	for i := range 20_000 {
		h.Subscribe(2, &burst, fmt.Appendf(nil, "a channel of its own %d", i), 0)
	}
	full := h.HeldBytes()
	c, _ := h.Begin([]byte("a channel of its own 19999"))
	leaveAll(h, &burst)
	h.Trim()
	mustValidate(t, h)
	h.End(&c) // the record of an open cursor was kept
	h.Trim()
	mustValidate(t, h)
	if got := h.HeldBytes(); got > full/4 {
		t.Errorf("%d bytes are held for one channel, %d for the burst", got, full)
	}
	if h.Subscribers([]byte("stays")) != 1 {
		t.Error("the channel that stays lost its member")
	}
}
