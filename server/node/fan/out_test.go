package fan

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"shoal/loop"
	"shoal/pool/shared"
	"shoal/server/channel"
	"shoal/server/hub"
	"shoal/server/node/track"
	"shoal/server/node/wire"
)

// rig is the fan-out of a loop that does not run: the test has it take its slices. Slots
// stand for members; what they get is written down.
type rig struct {
	l        *loop.Loop
	hub      *hub.Hub
	out      *Out
	pool     *shared.Pool
	inflight *Inflight

	treat map[string]Treatment
	got   []string // "slot data" in the order of sending
	extra int      // what a member costs beyond itself
	bad   string   // data over which Send panics
	sent  int
	lost  [channel.DropCount]int
}

type nobody struct{}

func (nobody) Open(uint32)                       {}
func (nobody) Data(uint32, []byte)               {}
func (nobody) EOF(uint32)                        {}
func (nobody) Timer(uint32)                      {}
func (nobody) Closed(uint32, loop.Reason, error) {}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{hub: hub.New(), pool: shared.NewPool(shared.Config{Poison: true}), inflight: NewInflight(1 << 20), treat: map[string]Treatment{}}
	g, err := loop.New(loop.Config{Loops: 1, Shared: r.pool}, func(l *loop.Loop) []loop.Handler {
		r.l = l
		return []loop.Handler{nobody{}}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.out = New(r.l, r.hub, track.New(), r.pool, r)
	t.Cleanup(func() {
		if err := r.out.Validate(); err != nil {
			t.Error(err)
		}
		if n, _ := r.pool.InUse(); n != 0 || r.inflight.Bytes() != 0 {
			t.Errorf("%d bytes objects in use, %d B in flight", n, r.inflight.Bytes())
		}
		if err := g.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) Treat(name []byte) Treatment { return r.treat[string(name)] }

func (r *rig) Send(m hub.Member, j *Job) (sent, cost int) {
	for i := range j.Run {
		data := string(j.Run[i].Forms.Bytes[wire.Plain][0].Bytes())
		if data == r.bad {
			panic("over " + data)
		}
		r.got = append(r.got, fmt.Sprintf("%d %s", m.Slot, data))
	}
	return len(j.Run), r.extra
}

func (r *rig) Sent(n int) { r.sent += n }

func (r *rig) Lost(d channel.Drop, n int) { r.lost[d] += n }

// members makes n members of a channel, from slot on.
func (r *rig) members(name string, slot, n uint32) {
	for i := range n {
		var list hub.List
		r.hub.Subscribe(slot+i, &list, []byte(name), 0)
	}
}

// push enqueues one of data for the channel.
func (r *rig) push(name, data string) {
	b := r.pool.New(len(data))
	b.Buf = append(b.Buf, data...)
	p := Parcel{}
	p.Forms.Bytes[wire.Plain][0] = b
	r.out.enqueue(r.inflight.push(r.out, name, &p))
	p.Forms.Release()
}

// drain has the loop's slices done until nothing is left.
func (r *rig) drain() {
	for r.out.Slice(r.l) {
	}
}

func TestAChannelsPushesReachItsMembersInRounds(t *testing.T) {
	r := newRig(t)
	r.members("a", 1, 2)
	for i := range 3 {
		r.push("a", fmt.Sprint("a", i))
	}
	r.push("b", "nobody")
	r.drain()
	want := []string{"1 a0", "1 a1", "1 a2", "2 a0", "2 a1", "2 a2"}
	if !slices.Equal(r.got, want) || r.sent != 6 || r.lost[channel.DropUnsubscribed] != 1 {
		t.Errorf("got %q, %d sent, %d for nobody", r.got, r.sent, r.lost[channel.DropUnsubscribed])
	}
}

// With many members in both, the pushes of one channel do not wait for all of the other's.
func TestJobsTakeTurns(t *testing.T) {
	r := newRig(t)
	r.members("large", 0, 1000)
	r.members("small", 5000, 10)
	r.push("large", "l")
	r.push("small", "s")
	r.drain()
	if i := slices.Index(r.got, "5009 s"); i != turnMembers+9 {
		t.Errorf("the small channel's last member is served in place %d of %d", i, len(r.got))
	}
}

// Others give way to a fan-out that has lasted, not to one that has begun, and no longer when it has ended.
func TestAFanoutThatLastsIsPressed(t *testing.T) {
	r := newRig(t)
	r.members("large", 0, 3*sliceMembers)
	for range 2 {
		r.push("large", "l")
		if !r.out.Slice(r.l) || r.out.Pressed() {
			t.Fatal("pressed from the start, or served in one slice")
		}
		r.out.since -= r.l.Ticks(pressedTime) // as long ago
		if !r.out.Pressed() {
			t.Error("not pressed after its time")
		}
		r.drain()
		if r.out.Pressed() {
			t.Error("pressed when nothing is left")
		}
	}
}

// share is the part of the first n sendings that went to slots of a hundred thousand each.
func (r *rig) share(n int) (of [3]int) {
	for _, g := range r.got[:n] {
		var slot int
		_, _ = fmt.Sscan(g, &slot)
		of[slot/100_000]++
	}
	return of
}

// While several lanes have something to do each gets its weight, whatever the number of
// its channels and members; with the others idle it gets all.
func TestLanesShareTheLoopByWeight(t *testing.T) {
	r := newRig(t)
	for lane, channels := range []int{1, 3, 40} {
		for c := range channels {
			name := fmt.Sprintf("%d-%d", lane, c)
			r.treat[name] = Treatment{Lane: uint16(lane * 7), Weight: []int{8, 4, 1}[lane]}
			r.members(name, uint32(lane*100_000+c*2000), 1000)
			r.push(name, name)
		}
	}
	r.drain()
	got := r.share(13 * 120) // the heaviest has not come to its end
	for lane, want := range []int{960, 480, 120} {
		if d := got[lane] - want; d < -8*turnMembers || d > 8*turnMembers {
			t.Errorf("lane %d was served %d members while all were busy, want about %d", lane, got[lane], want)
		}
	}
	if len(r.got) != 44_000 {
		t.Errorf("%d were served in all", len(r.got))
	}
}

// A lane whose members cost much to decide about pays for it.
func TestALaneIsChargedForWhatItsMembersCost(t *testing.T) {
	r := newRig(t)
	r.treat["dear"], r.treat["cheap"] = Treatment{Lane: 1}, Treatment{Lane: 2}
	r.members("dear", 0, 1000)
	r.members("cheap", 100_000, 1000)
	r.push("dear", "d")
	r.push("cheap", "c")
	r.extra = 50 // of one of them
	shard := &dear{r}
	r.out.shard = shard
	r.drain()
	if got := r.share(1000 + 2*turnMembers); got[0] > 4*turnMembers {
		t.Errorf("the dear channel has served %d members when the cheap one was done", got[0])
	}
}

// dear has only the channel "dear" cost anything.
type dear struct{ *rig }

func (d *dear) Send(m hub.Member, j *Job) (sent, cost int) {
	if sent, cost = d.rig.Send(m, j); m.Slot >= 100_000 {
		cost = 0
	}
	return sent, cost
}

// A panic over one channel's round loses what that channel had on its way, and nothing
// else.
func TestAPanicEndsOneJob(t *testing.T) {
	r := newRig(t)
	r.members("a", 1, 1)
	r.members("b", 2, 1)
	r.push("a", "bad")
	r.push("a", "after")
	r.push("b", "b")
	r.bad = "bad"
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the loop")
			}
		}()
		r.drain()
	}()
	r.drain()
	r.push("a", "a2")
	r.drain()
	if !slices.Equal(r.got, []string{"2 b", "1 a2"}) || r.lost[channel.DropPanic] != 2 {
		t.Errorf("got %q, %d lost", r.got, r.lost[channel.DropPanic])
	}
}

// Whatever comes when, in whichever lane: all members get all of it, in order, and
// nothing is left.
func TestAnyPlayOfPushesIsServed(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r, rng := newRig(t), rand.New(rand.NewPCG(seed, 1))
			sent := map[string]int{}
			for c := range 10 {
				name := fmt.Sprint(c)
				r.treat[name] = Treatment{Lane: uint16(rng.IntN(4)), Weight: rng.IntN(9), Full: 4, Delay: time.Duration(rng.IntN(2)) * time.Hour}
				r.members(name, uint32(c*1000), uint32(1+rng.IntN(200)))
			}
			for range 300 {
				if rng.IntN(4) == 0 {
					r.out.Slice(r.l)
					if err := r.out.Validate(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				name := fmt.Sprint(rng.IntN(10))
				r.push(name, fmt.Sprint(sent[name]))
				sent[name]++
			}
			for r.out.Jobs() > 0 {
				for _, j := range r.out.jobs {
					j.Slice(r.l) // its delay is over
				}
				r.drain()
			}
			next := map[string]int{}
			for _, g := range r.got {
				var slot, n int
				_, _ = fmt.Sscan(g, &slot, &n)
				if k := fmt.Sprint(slot); n != next[k] {
					t.Fatalf("slot %d got %d, want %d", slot, n, next[k])
				} else {
					next[k]++
				}
			}
			for slot, n := range next {
				var s int
				_, _ = fmt.Sscan(slot, &s)
				if n != sent[fmt.Sprint(s/1000)] {
					t.Errorf("slot %s got %d of %d", slot, n, sent[fmt.Sprint(s/1000)])
				}
			}
		})
	}
}

func TestAFanoutAllocatesNothing(t *testing.T) {
	r := newRig(t)
	r.members("a", 1, 100)
	r.out.shard = quiet{}
	b := r.pool.New(4)
	b.Buf = append(b.Buf, "data"...)
	p := Parcel{}
	p.Forms.Bytes[wire.Plain][0] = b
	defer p.Forms.Release()
	if n := testing.AllocsPerRun(100, func() {
		r.out.enqueue(r.inflight.push(r.out, "a", &p))
		r.drain()
	}); n != 0 {
		t.Errorf("a push allocates %v times", n)
	}
}

type quiet struct{}

func (quiet) Treat([]byte) Treatment           { return Treatment{} }
func (quiet) Send(hub.Member, *Job) (int, int) { return 1, 0 }
func (quiet) Sent(int)                         {}
func (quiet) Lost(channel.Drop, int)           {}
