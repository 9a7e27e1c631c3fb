package recovery

import (
	"fmt"
	"sync/atomic"
	"time"

	"shoal/loop"
	"shoal/pool/queue"
	"shoal/server/channel"
)

// Limits of a gate beside its share of bytes.
const (
	passBytes     = 256 << 10            // made per pass of the loop, the last recovery in full: some 0.5 ms
	passTurns     = 64                   // of those who waited, per pass: small ones take some 5 µs
	lookMax       = 256                  // recoveries looked at in one go
	pause         = 2 * time.Millisecond // until the next look, while there is no room
	waitMax       = 3 * time.Second      // for a turn: SDKs give up on a command after 5 s
	stuckAfter    = time.Second          // without a byte taken a recovery does not count any more
	slowAfter     = 10 * time.Second     // nor after that time
	envelopeBytes = 64                   // of a publication in a reply, about
	typical       = 64 << 10             // bytes of a recovery, before one was seen
	favour        = 4                    // of so many turns one is for those without a resume token
)

// Loop is what a gate needs of its loop; [loop.Loop] has it.
type Loop interface {
	ID(slot uint32) loop.ConnID
	Lookup(id loop.ConnID) (slot uint32, ok bool)
	Backlog(slot uint32) int
	Clock() time.Time
	Work(w loop.Work)
	WorkAfter(w loop.Work, after time.Duration)
	Caught(slot uint32)
}

// Stats counts what all gates of a node do. Any goroutine may read.
type Stats struct {
	Waiting   atomic.Int64  // recoveries that wait for their turn now
	Bytes     atomic.Int64  // made and not with the kernel yet, as far as is known
	Postponed atomic.Uint64 // recoveries that had to wait
	Refused   atomic.Uint64 // those that waited too long
}

// Gate lets the recoveries of one loop through as long as what was made for them and waits
// for their peers stays below the share; one at least is always under way. The others wait,
// and have their turns as backlogs drain: in the order they came, but those of sessions that
// came back by a resume token before the rest.
//
// A recovery counts until the kernel has its bytes. One whose peer takes nothing for a
// second, or not all in ten, counts no longer: others shall not wait for it, and it is a slow
// conn like any other, which the limits of backlogs hold for.
//
// A gate belongs to its loop. Use [New].
type Gate struct {
	l     Loop
	share int64
	stats *Stats

	waiting [2]queue.FIFO[waiter] // with a resume token; without
	turns   int                   // given so far
	under   []recovery            // let through and not known to be with the kernel, in any order
	at      int                   // of under: the next to be looked at
	bytes   int64                 // of under
	typical int64                 // bytes of a recovery
	made    int                   // bytes in this pass of the loop
	working bool                  // a slice is to come
}

// waiter is a recovery that waits. turn is called once, on the loop, with ok false when it
// waited too long; not at all when the conn has gone.
type waiter struct {
	id    loop.ConnID
	since int64
	turn  func(slot uint32, ok bool)
}

// recovery is one that was let through. Times are Unix nanoseconds.
type recovery struct {
	id    loop.ConnID
	bytes int64 // that count
	began int64
	moved int64 // when the peer last took some
	made  bool  // else it is being read, and bytes are a guess
}

// New returns the gate of a loop, for so many bytes; at least one.
func New(l Loop, share int64, stats *Stats) *Gate {
	return &Gate{l: l, share: share, stats: stats, typical: typical}
}

// Waiting is the number of recoveries that wait.
func (g *Gate) Waiting() int { return g.waiting[0].Len() + g.waiting[1].Len() }

// Enter lets a recovery of a conn through, to be made in the present callback or after an
// answer of the broker, and to be given to Done. When it says false the recovery must Wait.
func (g *Gate) Enter(slot uint32) bool {
	if g.Waiting() > 0 || g.made >= passBytes {
		return false
	}
	now, last := g.now(), len(g.under)-1
	again := last >= 0 && g.under[last].id == g.l.ID(slot)
	if last >= 0 && !again { // written since
		g.look(last, now)
	}
	if !g.room() {
		if g.survey(now); !g.room() {
			return false
		}
	}
	if !again {
		g.enter(slot, now)
	}
	return true
}

// Wait has a recovery wait for its turn; what turn uses must not alias a command.
func (g *Gate) Wait(slot uint32, resumed bool, turn func(slot uint32, ok bool)) {
	line := &g.waiting[1]
	if resumed {
		line = &g.waiting[0]
	}
	line.Push(waiter{id: g.l.ID(slot), since: g.now(), turn: turn})
	g.stats.Waiting.Add(1)
	g.stats.Postponed.Add(1)
	g.work()
}

// Done notes what a recovery of a conn gives it; nil for nothing. A conn may recover several
// times by what was let through once, and what was not asked for at all counts as well.
func (g *Gate) Done(slot uint32, pubs []channel.Publication) {
	bytes := Bytes(pubs) + len(pubs)*envelopeBytes
	n, id := int64(bytes), g.l.ID(slot)
	g.made += bytes
	g.typical += (n - g.typical) / 8
	i := len(g.under) - 1
	for i >= 0 && g.under[i].id != id {
		i--
	}
	if i < 0 {
		if n == 0 {
			return
		}
		g.enter(slot, g.now())
		i = len(g.under) - 1
	}
	r := &g.under[i]
	if r.made {
		n += r.bytes
	}
	r.made = true
	g.count(i, n)
	if g.made >= passBytes {
		g.work() // which begins the next pass
	}
}

func (g *Gate) now() int64 { return g.l.Clock().UnixNano() }

func (g *Gate) room() bool { return g.bytes < g.share }

func (g *Gate) work() {
	if !g.working {
		g.working = true
		g.l.Work(g)
	}
}

// enter counts a recovery as what one has typically.
func (g *Gate) enter(slot uint32, now int64) {
	g.under = append(g.under, recovery{id: g.l.ID(slot), began: now, moved: now})
	g.count(len(g.under)-1, g.typical)
}

// count has a recovery count as n bytes; with none it is over.
func (g *Gate) count(i int, n int64) {
	if d := n - g.under[i].bytes; d != 0 {
		g.bytes += d
		g.stats.Bytes.Add(d)
	}
	if g.under[i].bytes = n; n > 0 {
		return
	}
	last := len(g.under) - 1
	g.under[i] = g.under[last]
	g.under = g.under[:last]
}

// look finds out what of a recovery still counts. What others sent to the conn is taken for
// it while there is as much.
func (g *Gate) look(i int, now int64) {
	r := &g.under[i]
	slot, here := g.l.Lookup(r.id)
	left := r.bytes
	switch {
	case !here || now-r.began >= int64(slowAfter), !r.made && now-r.began >= int64(waitMax):
		left = 0
	case !r.made:
	default:
		left = min(left, int64(g.l.Backlog(slot)))
		if left < r.bytes {
			r.moved = now
		} else if now-r.moved >= int64(stuckAfter) {
			left = 0
		}
	}
	g.count(i, left)
}

// survey looks at some recoveries, all in turn.
func (g *Gate) survey(now int64) {
	for range min(len(g.under), lookMax) {
		if g.at >= len(g.under) {
			g.at = 0
		}
		before := len(g.under)
		if g.look(g.at, now); len(g.under) == before {
			g.at++
		}
	}
}

// Slice implements [loop.Work]: it begins a pass, and gives turns.
func (g *Gate) Slice(*loop.Loop) (more bool) {
	now := g.now()
	g.made = 0
	g.survey(now)
	n := 0
	for ; n < passTurns && g.Waiting() > 0 && g.made < passBytes && g.room(); n++ {
		g.give(g.next(), now, true)
	}
	for line := range g.waiting {
		for q := &g.waiting[line]; n < passTurns && q.Len() > 0 && now-q.First().since >= int64(waitMax); n++ {
			g.stats.Refused.Add(1)
			g.give(q.Pop(), now, false)
		}
	}
	switch {
	case g.Waiting() == 0:
		g.working = false
		return false
	case n == passTurns || g.made >= passBytes:
		return true
	}
	g.l.WorkAfter(g, pause)
	return false
}

// next takes who is next; somebody waits.
func (g *Gate) next() waiter {
	first, second := &g.waiting[0], &g.waiting[1]
	if g.turns++; g.turns%favour == 0 {
		first, second = second, first
	}
	if first.Len() == 0 {
		first = second
	}
	return first.Pop()
}

// give gives a turn, or takes away the hope for one. A panic is this conn's alone.
func (g *Gate) give(w waiter, now int64, ok bool) {
	g.stats.Waiting.Add(-1)
	slot, here := g.l.Lookup(w.id)
	if !here {
		return
	}
	defer g.l.Caught(slot)
	if ok {
		g.enter(slot, now)
	}
	w.turn(slot, ok)
}

// Tend finds out what of the recoveries still counts, though nobody asks. To be called
// about once a second.
func (g *Gate) Tend() { g.survey(g.now()) }

// Trim gives back what a crowd left.
func (g *Gate) Trim() {
	if g.Waiting() == 0 {
		g.waiting = [2]queue.FIFO[waiter]{}
	}
	if len(g.under) == 0 {
		g.under = nil
	}
}

// Validate checks the sums.
func (g *Gate) Validate() error {
	bytes := int64(0)
	for i := range g.under {
		if g.under[i].bytes <= 0 {
			return fmt.Errorf("recovery: %s counts with %d bytes", g.under[i].id, g.under[i].bytes)
		}
		bytes += g.under[i].bytes
	}
	if bytes != g.bytes {
		return fmt.Errorf("recovery: %d bytes under way, %d are counted", bytes, g.bytes)
	}
	if g.Waiting() > 0 && !g.working {
		return fmt.Errorf("recovery: %d wait, and nobody gives turns", g.Waiting())
	}
	return nil
}
