package loop

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"shoal/loop/index"
	"shoal/loop/poll"
	"shoal/loop/wheel"
	"shoal/pool/queue"
	"shoal/pool/shared"
	"shoal/pool/slab"
)

// Handler is what conns of one kind do. There is one per kind and loop, and it is called on the loop's goroutine
// only. Inside a callback any conn of the loop may be closed, the present one included.
type Handler interface {
	// Open: the conn was accepted, or Dial succeeded.
	Open(slot uint32)
	// Data brings bytes. p is a part of the loop's read buffer: it may be modified, and is valid until Data returns.
	Data(slot uint32, p []byte)
	// EOF: the peer sends nothing more (it may still receive). The handler usually calls CloseAfter or Close.
	EOF(slot uint32)
	// Timer: the conn's one timer fired and is disarmed.
	Timer(slot uint32)
	// Closed is called exactly once per conn for which Open was called or Dial returned nil, when closing starts.
	// Nothing follows. It may run inside another method of the handler, which called Close. err is the cause, if
	// there is one beyond the reason.
	Closed(slot uint32, why Reason, err error)
}

// Shutdowner is a Handler that wants to say goodbye: on Group.Shutdown it is called once for every open conn and
// shall close it, usually by CloseAfter, now or a little later. Conns of other handlers are closed for them.
type Shutdowner interface {
	Shutdown(slot uint32)
}

// Message is something for a loop to do, delivered once on its goroutine. A Message may have a method
// Conn() ConnID: should Deliver panic, that conn is closed.
type Message interface {
	Deliver(l *Loop)
}

// Work is a long task cut into slices. Slice runs once per pass while it returns true, before conns are written; when
// Unwritten says that enough of them wait, it shall only return. A work that panics is dropped, and so are those that
// are left when the loop ends.
type Work interface {
	Slice(l *Loop) (more bool)
}

// messagesPerPass bounds how many messages are delivered before other descriptors are served.
const messagesPerPass = 256

// Loop is one event loop. What other goroutines may call says so: Post, Index, Ticks and Ended.
type Loop struct {
	// Immutable after New.
	group    *Group
	number   int
	cfg      *Config
	poller   poll.Poller
	sys      poll.Sys
	border   poll.Border
	index    *index.Index // of the descriptors of its table
	handlers []Handler
	epoch    time.Time

	// Any goroutine.
	mailbox     *queue.Mailbox[Message]
	mailboxFull atomic.Uint64
	mu          sync.Mutex
	joining     []listener   // by Listen; the loop attaches them
	published   Counters     // as of the last publish
	pass        atomic.Int64 // when the pass under way began, in nanoseconds since epoch and one more; 0 = none is

	// Owned by the loop's goroutine.
	conns *slab.Slab[conn]
	wheel *wheel.Wheel
	nodes *queue.Nodes[shared.Ref]
	table *shared.Table
	buf   []byte // the one read buffer
	fire  func(slot uint32)

	passBegan time.Time
	passOut   uint64    // counters.BytesOut then
	clock     time.Time // valid while sampled
	sampled   bool
	fresh     bool // sampled by PassBegins, for the first callback
	now       Tick

	cork     []byte // replies for corkSlot; empty outside callbacks
	corkSlot uint32
	iov      [poll.IovMax][]byte

	dirty     []uint32 // slots to flush, from dirtyAt on; stale ones have lost their flag
	dirtyAt   int
	dead      []uint32 // to free when the callback returns
	works     []Work
	delayed   []delayed // sorted
	inbox     []Message // drained, from inboxAt on not delivered
	inboxAt   int
	more      bool  // the mailbox may hold messages nobody will wake us for
	again     bool  // a pass was asked for
	late      uint8 // the wheel is to be advanced at the end of the second pass from here, or the first
	listeners []listener
	reserve   int // descriptor given up on EMFILE; -1 = none
	stopping  stopPhase
	chores    int // ticks to the next housekeeping

	open             int   // conns in stateOpen
	backlog          int64 // bytes queued on this loop
	backlogPublished int64 // of which the group knows
	relief           reliever
	counters         Counters
}

type listener struct {
	fd      int // until the loop has joined it, one of the process's
	parcel  poll.Parcel
	kind    Kind
	bound   netip.AddrPort
	retry   int  // ticks until it is watched again; 0 = watched
	starved bool // inside an episode of missing descriptors
}

func newLoop(g *Group, i int) (*Loop, error) {
	p, sys, err := g.cfg.NewPoller(i)
	if err != nil {
		return nil, err
	}
	l := &Loop{
		group: g, number: i, cfg: &g.cfg, poller: p, sys: sys, epoch: p.Now(),
		mailbox: queue.NewMailbox[Message](g.cfg.MailboxMax),
		conns:   slab.New[conn](), nodes: queue.NewNodes[shared.Ref](), table: shared.NewTable(),
		buf: make([]byte, g.cfg.ReadBufferBytes), reserve: -1, chores: choreTicks,
	}
	l.wheel = wheel.New(0, links{l.conns})
	l.fire = l.fired
	apart := false
	if l.border, apart = poll.BorderOf(sys); apart {
		l.index = new(index.Index) // and the reserve is opened there, too
		return l, nil
	}
	l.index = &g.index
	l.keepReserve()
	return l, nil
}

// keepReserve opens the reserve, in the loop's table.
func (l *Loop) keepReserve() {
	if fd, err := l.sys.Reserve(); err == nil {
		l.reserve = fd
	}
}

// links leads the wheel to the timers in the slots.
type links struct{ conns *slab.Slab[conn] }

func (s links) Links(slot uint32) *wheel.Links { return &s.conns.At(slot).links }

// run serves until the poller is stopped.
func (l *Loop) run() error {
	err := l.border.Enter()
	if errors.Is(err, poll.ErrMainThread) { // which this goroutine holds now
		again := make(chan error)
		go func() { again <- l.run() }()
		return <-again
	}
	if err == nil {
		err = l.poller.SetTick(l.cfg.TickPeriod)
	}
	if err == nil {
		if l.apart() {
			l.keepReserve()
		}
		err = l.poller.Run((*reactor)(l))
	}
	l.finish()
	return err
}

// reactor is the Loop as the poller sees it, so that these methods are not part of Loop's API.
type reactor Loop

// PassBegins notes the time, which is the first callback's too.
func (r *reactor) PassBegins() {
	l := (*Loop)(r)
	l.sampled = false
	l.sample()
	l.fresh, l.passBegan, l.passOut = true, l.clock, l.counters.BytesOut
	l.pass.Store(int64(l.passBegan.Sub(l.epoch)) + 1)
}

// PassEnds counts the pass by how long it took.
func (r *reactor) PassEnds() {
	l := (*Loop)(r)
	l.pass.Store(0)
	l.counters.Lag.Note(l.poller.Now().Sub(l.passBegan))
}

// Ready serves one descriptor.
func (r *reactor) Ready(fd int, ev poll.Events) {
	l := (*Loop)(r)
	l.begin()
	switch entry := l.index.Get(fd); {
	case entry == 0: // closed since
	case entry&listenerBit != 0:
		l.accept(int(entry&^listenerBit), fd)
	default:
		slot := entry - 1
		if !l.conns.Held(int(slot / slab.ChunkSlots)) {
			break // stale, and the number belongs to another loop now
		}
		if c := l.conns.At(slot); c.fd == int32(fd) {
			l.serve(slot, c, ev)
		}
	}
	l.end()
}

// Woken delivers messages and looks at what Listen and Shutdown left.
func (r *reactor) Woken() {
	l := (*Loop)(r)
	l.begin()
	l.join()
	if phase := stopPhase(l.group.stopping.Load()); phase > l.stopping {
		l.stop(phase)
	}
	l.relieve()
	l.deliver()
	l.end()
}

// Tick moves time on. When the process was held up for longer than a tick (a stopped process, a busy machine), bytes
// that arrived in the meantime shall count before deadlines do: the wheel is advanced after the next pass, which serves the
// descriptors that are ready now.
func (r *reactor) Tick() {
	l := (*Loop)(r)
	l.begin()
	if lag := int32(l.Now() - l.wheel.Now()); lag > lateTicks {
		l.counters.LateTicks++
		l.counters.LateTicksMax = max(l.counters.LateTicksMax, uint64(lag))
		l.late = 2
		l.askAgain()
	} else if l.late == 0 {
		l.wheel.Advance(l.Now(), l.fire)
	}
	l.retryListeners()
	if l.chores--; l.chores <= 0 {
		l.housekeep()
	}
	l.publish()
	l.end()
}

// lateTicks is how many ticks at once are no sign of a hold-up.
const lateTicks = 3

// Alarm begins the works whose time has come.
func (r *reactor) Alarm() {
	l := (*Loop)(r)
	l.begin()
	n := 0
	for ; n < len(l.delayed) && !l.delayed[n].at.After(l.Clock()); n++ {
		l.Work(l.delayed[n].w)
	}
	l.delayed = append(l.delayed[:0], l.delayed[n:]...)
	clear(l.delayed[len(l.delayed) : len(l.delayed)+n])
	l.setAlarm()
	l.end()
}

// Again is one pass: a slice of work, a slice of flushing.
func (r *reactor) Again() {
	l := (*Loop)(r)
	l.begin()
	l.again = true // asked for once, at the end
	if l.late > 0 {
		if l.late--; l.late == 0 {
			l.wheel.Advance(l.Now(), l.fire)
		}
	}
	if l.more {
		l.deliver()
	}
	if len(l.works) > 0 {
		l.slice()
	}
	l.flushDirty()
	l.again = false
	if len(l.works) > 0 || len(l.dirty) > 0 || l.more || l.late > 0 {
		l.askAgain()
		l.end()
		if l.apart() { // its poller does
			return
		}
		// Raw system calls are no preemption points of Go's scheduler, and the kernel gives a busy thread its whole
		// slice: let the API's goroutines, and other threads of this processor, run.
		runtime.Gosched()
		l.sys.Yield()
		return
	}
	l.end()
}

// delayed is a work of WorkAfter.
type delayed struct {
	at time.Time
	w  Work
}

// setAlarm has the first delayed work begun in time.
func (l *Loop) setAlarm() {
	if len(l.delayed) == 0 {
		return
	}
	if err := l.poller.SetAlarm(l.delayed[0].at.Sub(l.Clock())); err != nil {
		l.cfg.Logger.Error("works begin without their delay", "loop", l.number, "error", err)
		l.hasten()
	}
}

// hasten begins all works that are delayed.
func (l *Loop) hasten() {
	for _, d := range l.delayed {
		l.Work(d.w)
	}
	l.delayed = nil
}

// askAgain asks for a pass.
func (l *Loop) askAgain() {
	if !l.again {
		l.again = true
		l.poller.SetAgain(true)
	}
}

// begin opens a callback: the clock is stale.
func (l *Loop) begin() {
	l.sampled, l.fresh = l.fresh, false
	l.counters.Turns++
}

// end closes a callback: corked replies are written, slots of closed conns are freed.
func (l *Loop) end() {
	l.uncork()
	if len(l.dead) > 0 {
		l.reap()
	}
	if d := l.backlog - l.backlogPublished; d > l.group.grain || d < -l.group.grain || (d != 0 && l.backlog == 0) {
		l.publishBacklog()
	}
	if l.stopping != 0 && l.conns.Len() == 0 && len(l.works) == 0 {
		l.poller.Stop()
	}
}

// deliver hands out messages, at most messagesPerPass.
func (l *Loop) deliver() {
	for range messagesPerPass {
		if l.inboxAt == len(l.inbox) {
			l.inbox, l.inboxAt = l.mailbox.Drain(l.inbox), 0
			if len(l.inbox) == 0 {
				l.more = false
				return
			}
		}
		m := l.inbox[l.inboxAt]
		l.inbox[l.inboxAt] = nil
		l.inboxAt++
		l.handOver(m)
		l.uncork()
	}
	l.more = true
	l.askAgain()
}

// slice runs one slice of the oldest work and puts it behind the others.
func (l *Loop) slice() {
	w := l.works[0]
	copy(l.works, l.works[1:])
	l.works[len(l.works)-1] = nil
	l.works = l.works[:len(l.works)-1]
	if l.runSlice(w) {
		l.works = append(l.works, w)
	}
	l.uncork()
}

// fired serves the timer of one slot.
func (l *Loop) fired(slot uint32) {
	switch c := l.conns.At(slot); c.state {
	case stateOpen:
		l.callTimer(slot)
		l.uncork()
	case stateConnecting:
		l.drop(slot, ReasonDial, errDialTimeout)
	default: // the peer took too long to take the last bytes or to close
		l.destroy(slot, c)
	}
}
