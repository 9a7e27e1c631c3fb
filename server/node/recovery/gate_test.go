package recovery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/loop"
	"shoal/server/channel"
)

// kernel is a loop whose peers read when the test says so.
type kernel struct {
	t        *testing.T
	now      time.Time
	backlogs map[uint32]int // of conns that are here
	works    int            // begun and not run
	later    time.Duration  // until the next one that waits; 0 none
	panics   int
}

func (k *kernel) ID(slot uint32) loop.ConnID { return loop.ConnID(1<<32 | uint64(slot)) }

func (k *kernel) Lookup(id loop.ConnID) (uint32, bool) {
	_, here := k.backlogs[id.Slot()]
	return id.Slot(), here
}

func (k *kernel) Backlog(slot uint32) int { return k.backlogs[slot] }
func (k *kernel) Clock() time.Time        { return k.now }
func (k *kernel) Work(loop.Work)          { k.works++ }

func (k *kernel) WorkAfter(_ loop.Work, after time.Duration) {
	if k.later != 0 {
		k.t.Error("two slices wait for their time")
	}
	k.later = after
}

func (k *kernel) Caught(uint32) {
	if recover() != nil {
		k.panics++
	}
}

// crowd is a gate and conns that recover.
type crowd struct {
	*kernel
	gate  *Gate
	stats Stats
	size  int // bytes of a recovery
	told  []string
}

func newCrowd(t *testing.T, share int64, size int) *crowd {
	c := &crowd{kernel: &kernel{t: t, now: time.Unix(1000, 0), backlogs: map[uint32]int{}}, size: size}
	c.gate = New(c.kernel, share, &c.stats)
	t.Cleanup(func() { c.valid() })
	return c
}

func (c *crowd) valid() {
	c.t.Helper()
	if err := c.gate.Validate(); err != nil {
		c.t.Fatal(err)
	}
}

// pubs are publications of so many bytes with their envelopes.
func pubs(bytes int) []channel.Publication {
	return []channel.Publication{{Data: []byte(strings.Repeat("x", bytes-envelopeBytes))}}
}

// make is a recovery: the peer has read nothing of it.
func (c *crowd) make(slot uint32) {
	c.told = append(c.told, fmt.Sprint(slot))
	c.gate.Done(slot, pubs(c.size))
	c.backlogs[slot] += c.size
}

// come has conns that recover come.
func (c *crowd) come(resumed bool, slots ...uint32) {
	for _, slot := range slots {
		c.backlogs[slot] += 0
		if c.gate.Enter(slot) {
			c.make(slot)
			continue
		}
		c.gate.Wait(slot, resumed, func(slot uint32, ok bool) {
			if !ok {
				c.told = append(c.told, fmt.Sprint("no ", slot))
				return
			}
			c.make(slot)
		})
	}
	c.valid()
}

// pass is one pass of the loop, or several as long as the gate asks for them at once.
func (c *crowd) pass(after time.Duration) {
	c.t.Helper()
	c.now = c.now.Add(after)
	if c.works == 0 && c.later == 0 {
		return
	}
	c.works, c.later = 0, 0
	for c.gate.Slice(nil) {
		c.valid()
	}
	c.valid()
}

func (c *crowd) saw(want ...string) {
	c.t.Helper()
	if !slices.Equal(c.told, want) {
		c.t.Errorf("recoveries: %q, want %q", c.told, want)
	}
	c.told = nil
}

func TestRecoveriesWaitInOrderForBacklogsToDrain(t *testing.T) {
	c := newCrowd(t, 1000, 600)
	c.come(false, 1, 2, 3, 4, 5)
	c.pass(0)
	c.saw("1", "2") // 1,200 bytes: the last one may pass the share
	if c.stats.Waiting.Load() != 3 || c.stats.Bytes.Load() != 1200 || c.stats.Postponed.Load() != 3 {
		t.Errorf("%d wait for %d bytes, %d were postponed", c.stats.Waiting.Load(), c.stats.Bytes.Load(), c.stats.Postponed.Load())
	}
	c.backlogs[2] = 500 // 1,100
	c.pass(pause)
	c.saw()
	c.backlogs[1] = 100 // 600
	c.pass(pause)
	c.saw("3")
	c.come(false, 6) // behind those that wait, though there is room
	c.backlogs[1], c.backlogs[2], c.backlogs[3] = 0, 0, 0
	c.come(false, 7)
	c.saw()
	c.pass(pause)
	c.saw("4", "5")
	c.backlogs[4], c.backlogs[5] = 0, 0
	c.pass(pause)
	c.saw("6", "7")
	if c.works != 0 || c.later != 0 {
		t.Error("nobody waits, and slices go on")
	}
}

func TestOneRecoveryIsAlwaysLetThrough(t *testing.T) {
	c := newCrowd(t, 1, 4<<20)
	c.come(false, 1, 2, 3)
	c.saw("1")
	c.pass(0)
	c.saw()
	c.backlogs[1] = 0
	c.pass(pause)
	c.saw("2")
	delete(c.backlogs, 2) // gone with its bytes
	c.pass(pause)
	c.saw("3")
}

func TestAPeerThatDoesNotReadHoldsNobodyUpForLong(t *testing.T) {
	c := newCrowd(t, 1000, 1000)
	c.come(false, 1, 2)
	c.pass(stuckAfter / 2)
	c.saw("1")
	c.pass(stuckAfter)
	c.saw("2")
	c.told = nil

	// One that takes a byte now and then does so for ten seconds.
	c = newCrowd(t, 100, 1000)
	c.come(false, 1)
	c.told = nil
	waited := time.Duration(0)
	for ; len(c.told) == 0 && waited < time.Minute; waited += stuckAfter / 2 {
		c.backlogs[1]--
		c.come(false, 100+uint32(waited/time.Millisecond))
		c.pass(stuckAfter / 2)
		c.told = slices.DeleteFunc(c.told, func(s string) bool { return strings.HasPrefix(s, "no") })
	}
	if waited < slowAfter-time.Second || waited > slowAfter+time.Second {
		t.Errorf("the next had its turn after %s, want %s", waited, slowAfter)
	}
}

func TestWhoWaitsTooLongIsRefused(t *testing.T) {
	c := newCrowd(t, 1, 1000)
	c.come(false, 1)
	c.come(true, 2)
	c.come(false, 3)
	c.backlogs[1] = 900
	c.now = c.now.Add(waitMax - stuckAfter/2)
	c.come(false, 4)
	c.gate.look(0, c.gate.now()) // the peer takes some: it counts on
	c.told = nil
	c.pass(stuckAfter / 2)
	c.saw("no 2", "no 3")
	if c.stats.Refused.Load() != 2 || c.stats.Waiting.Load() != 1 {
		t.Errorf("%d refused, %d wait", c.stats.Refused.Load(), c.stats.Waiting.Load())
	}
}

func TestWhoHasAResumeTokenComesFirst(t *testing.T) {
	c := newCrowd(t, 1, 1000)
	c.come(false, 1, 2, 3)
	c.come(true, 11, 12, 13, 14, 15)
	for range 12 {
		for slot := range uint32(20) {
			c.backlogs[slot] = 0
		}
		c.pass(pause)
	}
	c.saw("1", "11", "12", "13", "2", "14", "15", "3") // but not always
}

func TestAPassMakesSoMuchAndNoMore(t *testing.T) {
	c := newCrowd(t, 1<<40, passBytes/4)
	slots := make([]uint32, 100)
	for i := range slots {
		slots[i] = uint32(i + 1)
	}
	c.come(false, slots...)
	if len(c.told) != 4 {
		t.Errorf("%d were made at once, want 4", len(c.told))
	}
	for passes := 1; len(c.told) < 100; passes++ {
		before := len(c.told)
		if more := c.gate.Slice(nil); len(c.told)-before != 4 || more != (len(c.told) < 100) {
			t.Fatalf("pass %d made %d, and asks for more: %v", passes, len(c.told)-before, more)
		}
	}
	// Small ones are bounded by their number.
	c = newCrowd(t, 1<<40, envelopeBytes)
	c.gate.made = passBytes
	c.come(false, slots...)
	if c.gate.Slice(nil); len(c.told) != passTurns {
		t.Errorf("%d small ones in a pass, want %d", len(c.told), passTurns)
	}
}

func TestThePassEndsAlsoWhenNobodyWaits(t *testing.T) {
	c := newCrowd(t, 1<<40, passBytes)
	c.come(false, 1)
	c.pass(0)
	c.come(false, 2)
	c.saw("1", "2")
}

func TestAReadUnderWayCountsAsWhatIsTypical(t *testing.T) {
	c := newCrowd(t, 3*typical, 0)
	for slot := uint32(1); slot <= 4; slot++ { // a broker that has to be waited for
		c.backlogs[slot] = 0
		if ok := c.gate.Enter(slot); ok != (slot < 4) {
			t.Errorf("recovery %d let through: %v", slot, ok)
		}
	}
	c.gate.Done(1, nil) // it came to nothing
	if c.gate.Done(2, pubs(100)); !c.gate.Enter(4) {
		t.Error("what was read did not make room")
	}
	c.now = c.now.Add(waitMax) // whoever never said
	for i := len(c.gate.under) - 1; i >= 0; i-- {
		c.gate.look(i, c.gate.now())
	}
	if c.gate.bytes != 0 {
		t.Errorf("%d bytes count", c.gate.bytes)
	}
}

func TestWhatTheKernelTookAtOnceIsForgotten(t *testing.T) {
	c := newCrowd(t, 1<<40, 1000)
	for slot := uint32(1); slot <= 9; slot++ {
		c.come(false, slot)
		c.backlogs[slot] = 0
	}
	if n := len(c.gate.under); n != 1 {
		t.Errorf("%d count, want the last", n)
	}
	if c.gate.Tend(); len(c.gate.under) != 0 {
		t.Error("the last one is never looked at")
	}
}

func TestSeveralRecoveriesOfAConnCountTogether(t *testing.T) {
	c := newCrowd(t, 1000, 300)
	c.come(false, 1, 1, 1)
	if n := len(c.gate.under); n != 1 || c.gate.bytes != 900 {
		t.Errorf("%d entries of %d bytes", n, c.gate.bytes)
	}
	c.gate.Done(2, pubs(300)) // nobody asked: the server made it recover
	c.backlogs[2] = 300
	c.come(false, 3)
	c.saw("1", "1", "1")
}

func TestAConnThatIsGoneHasNoTurnAndAPanicIsItsOwn(t *testing.T) {
	c := newCrowd(t, 1, 1000)
	c.come(false, 1, 2)
	c.gate.Wait(3, false, func(uint32, bool) { panic("ours") })
	c.backlogs[3] = 0
	c.come(false, 4)
	delete(c.backlogs, 2)
	c.backlogs[1] = 0
	c.pass(pause)
	c.backlogs[3] = 0
	c.pass(waitMax) // its guess is over
	c.saw("1", "4")
	if c.panics != 1 || c.stats.Waiting.Load() != 0 {
		t.Errorf("%d panics, %d wait", c.panics, c.stats.Waiting.Load())
	}
	if c.gate.Trim(); c.gate.Waiting() != 0 {
		t.Error("trimmed, and somebody waits")
	}
}

// Whatever comes and goes: what counts stays below the share and the last recovery, is
// nothing in the end, and everybody who stays is told something.
func TestABoundHoldsWhateverComes(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		share := int64(1 + rng.IntN(1<<20))
		c := newCrowd(t, share, 0)
		largest, come, left := 0, 0, 0
		for step := range uint32(600) {
			c.size = envelopeBytes + rng.IntN(1<<uint(8+rng.IntN(12)))
			largest = max(largest, c.size)
			switch d := rng.IntN(10); {
			case d < 5:
				c.come(rng.IntN(3) == 0, step)
				come++
			case d < 8:
				for slot, n := range c.backlogs {
					if rng.IntN(4) > 0 {
						c.backlogs[slot] = n / (1 + rng.IntN(3))
					}
				}
			case d < 9 && rng.IntN(8) == 0:
				for slot := range c.backlogs {
					delete(c.backlogs, slot)
					left++
					break
				}
			}
			if c.works, c.later = 0, 0; c.gate.Slice(nil) {
				c.works = 1
			}
			c.valid()
			if c.gate.bytes > share+int64(largest) {
				t.Fatalf("seed %d: %d bytes count, the share is %d and the largest %d", seed, c.gate.bytes, share, largest)
			}
			c.now = c.now.Add(time.Duration(rng.IntN(100)) * time.Millisecond)
		}
		for range 10_000 {
			for slot := range c.backlogs {
				c.backlogs[slot] = 0
			}
			c.now = c.now.Add(100 * time.Millisecond)
			c.later = 0
			c.gate.Slice(nil)
			if c.gate.survey(c.gate.now()); c.gate.Waiting() == 0 && c.gate.bytes == 0 {
				break
			}
		}
		if c.gate.bytes != 0 || c.stats.Bytes.Load() != 0 || c.stats.Waiting.Load() != 0 {
			t.Fatalf("seed %d: in the end %d bytes count and %d wait", seed, c.gate.bytes, c.stats.Waiting.Load())
		}
		if len(c.told) < come-left {
			t.Fatalf("seed %d: %d were told, %d came and %d left", seed, len(c.told), come, left)
		}
	}
}

func TestTheGateAllocatesNothingForThoseWhoNeedNotWait(t *testing.T) {
	c := newCrowd(t, 1<<40, 0)
	c.backlogs[1], c.backlogs[2] = 0, 0
	got := testing.AllocsPerRun(1000, func() {
		for slot := uint32(1); slot <= 2; slot++ {
			if !c.gate.Enter(slot) {
				t.Fatal("not let through")
			}
			c.gate.Done(slot, nil)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}
