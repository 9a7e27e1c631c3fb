package sim

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"shoal/loop/poll"
)

// poller is the readiness of one loop.
type poller struct {
	world   *World
	index   int
	watched []watch // by descriptor
	handler poll.Handler
	batch   []report // reused by pass

	period  time.Duration // 0 = no ticks
	onTime  time.Duration // when the next tick should come
	tickAt  time.Duration // when it will
	alarmAt time.Duration
	alarmed bool // alarmAt counts
	again   bool
	cut     bool  // the present pass does not report all that is ready
	owed    []int // descriptors that were ready when Again was asked for and were not reported yet
	owing   bool  // owed was taken
	stopped bool
	closed  bool

	ticks   int
	inPass  bool        // has events of a snapshot to deliver
	wakes   int         // guarded by world.mu
	running bool        // inside Run; guarded by world.mu
	woken   atomic.Bool // Wake was called, from anywhere
}

var _ poll.Poller = (*poller)(nil)

type watch struct {
	on   bool
	want poll.Interest
}

// report is one line of what epoll_wait returned.
type report struct {
	fd     int // reportTick, reportWake and reportRing are no descriptors
	uses   int // of the descriptor's number, then
	events poll.Events
	real   bool // has a cause
}

const (
	reportTick = -1
	reportWake = -2
	reportRing = -3
)

func (p *poller) Add(fd int, want poll.Interest) error {
	w := p.world
	if w.file(p.index, fd, "Add") == nil {
		return syscall.EBADF
	}
	for fd >= len(p.watched) {
		p.watched = append(p.watched, watch{})
	}
	if p.watched[fd].on {
		w.Fail("loop %d: Add of descriptor %d, which it watches already", p.index, fd)
		return syscall.EEXIST
	}
	if w.files[fd].kind == fileSocket && w.chance(w.cfg.Faults.AddFails) {
		w.note("add", fd, int(want), syscall.ENOSPC)
		return syscall.ENOSPC
	}
	p.watched[fd] = watch{on: true, want: want}
	w.note("add", fd, int(want), nil)
	return nil
}

func (p *poller) Mod(fd int, want poll.Interest) error {
	w := p.world
	f := w.file(p.index, fd, "Mod")
	if f == nil {
		return syscall.EBADF
	}
	if fd >= len(p.watched) || !p.watched[fd].on {
		w.Fail("loop %d: Mod of descriptor %d, which it does not watch", p.index, fd)
		return syscall.ENOENT
	}
	if p.watched[fd].want != want {
		f.quiet = 0
	}
	p.watched[fd].want = want
	w.note("mod", fd, int(want), nil)
	return nil
}

func (p *poller) Del(fd int) error {
	w := p.world
	if w.file(p.index, fd, "Del") == nil {
		return syscall.EBADF
	}
	if fd >= len(p.watched) || !p.watched[fd].on {
		w.Fail("loop %d: Del of descriptor %d, which it does not watch", p.index, fd)
		return syscall.ENOENT
	}
	p.forget(fd)
	w.note("del", fd, 0, nil)
	return nil
}

func (p *poller) forget(fd int) {
	if fd < len(p.watched) {
		p.watched[fd] = watch{}
	}
}

func (p *poller) Wake() error {
	p.woken.Store(true)
	w := p.world
	w.mu.Lock()
	p.wakes++
	w.changed.Broadcast()
	w.mu.Unlock()
	return nil
}

func (p *poller) SetAgain(on bool) {
	if p.again = on; !on {
		p.owing = false
	}
}

func (p *poller) SetTick(period time.Duration) error {
	p.period = period
	p.onTime = p.world.now + period
	p.tickAt = p.onTime
	return nil
}

func (p *poller) SetAlarm(after time.Duration) error {
	p.alarmed, p.alarmAt = true, p.world.now+after
	if f := &p.world.cfg.Faults; p.world.chance(f.LateTick) {
		p.alarmAt += time.Duration(p.world.rng.Int64N(int64(5 * time.Millisecond)))
	}
	return nil
}

func (p *poller) Stop() { p.stopped = true }

func (p *poller) Close() error {
	if p.closed {
		p.world.Fail("loop %d: its poller is closed twice", p.index)
	}
	p.closed = true
	return nil
}

func (p *poller) Now() time.Time { return epoch.Add(p.world.now) }

// Run delivers until Stop, or until the world comes to an end: then it returns what the world found wrong.
func (p *poller) Run(h poll.Handler) error {
	p.handler = h
	w := p.world
	if p.running || p.stopped || p.closed {
		return fmt.Errorf("sim: Run of loop %d, which ran already", p.index)
	}
	defer func() {
		if v := recover(); v != nil { // the loop broke, not a handler: the process ends, but the seed shall be known
			fmt.Fprintf(os.Stderr, "sim: seed %d: loop %d panics in pass %d: %v\n", w.cfg.Seed, p.index, w.passes, v)
			panic(v)
		}
	}()
	w.join(p)
	for !p.stopped && w.Err() == nil {
		p.pass()
		if !p.stopped {
			w.handOn(p)
		}
	}
	w.leave(p)
	return w.Err()
}

// hasWork says whether a pass would find anything.
func (p *poller) hasWork() bool {
	w := p.world
	if p.inPass || p.again || p.woken.Load() || p.period > 0 && p.tickAt <= w.now || p.alarmed && p.alarmAt <= w.now {
		return true
	}
	for fd := range p.watched {
		if p.watched[fd].on && p.ready(fd) != 0 {
			return true
		}
	}
	return false
}

// ready is the level of a watched descriptor under its interest; errors need no interest.
func (p *poller) ready(fd int) poll.Events {
	mask := poll.Error
	if p.watched[fd].want&poll.Read != 0 {
		mask |= poll.Readable
	}
	if p.watched[fd].want&poll.Write != 0 {
		mask |= poll.Writable
	}
	return p.world.files[fd].level() & mask
}

// pass is one epoll_wait and what follows.
func (p *poller) pass() {
	w := p.world
	if w.passes++; w.passes > w.cfg.StepsMax {
		w.Fail("the world did not end in %d passes", w.cfg.StepsMax)
		return
	}
	p.collect()
	again := p.again // asked for before this pass
	p.inPass = true
	p.handler.PassBegins()
	for i, r := range p.batch {
		if i > 0 && w.chance(w.cfg.Faults.Preempt) {
			w.handOn(p)
		}
		if p.stopped || w.Err() != nil {
			break
		}
		p.deliver(r)
	}
	p.inPass = false
	if p.again && (again || !p.cut) && !p.stopped && len(p.owed) == 0 {
		p.again, p.owing = false, false
		w.note("again", -1, 0, nil)
		p.handler.Again()
	}
	p.handler.PassEnds()
	if w.cfg.AfterPass != nil {
		if err := w.cfg.AfterPass(p.index); err != nil {
			w.Fail("loop %d: %w", p.index, err)
		}
	}
}

// collect takes the snapshot.
func (p *poller) collect() {
	w, f := p.world, &p.world.cfg.Faults
	p.batch = p.batch[:0]
	for fd := range p.watched {
		if !p.watched[fd].on {
			continue
		}
		ev := p.ready(fd)
		real := ev != 0
		if real && w.chance(f.Missed) {
			continue
		}
		if w.chance(f.Spurious) {
			ev |= 1 << w.rng.UintN(3)
		}
		if ev != 0 {
			p.batch = append(p.batch, report{fd, w.files[fd].uses, ev, real})
		}
	}
	if !f.InOrder {
		p.shuffle()
	}
	p.truncate(f.BatchMax)
	if p.woken.Swap(false) {
		p.batch = append(p.batch, report{fd: reportWake})
	}
	if p.period > 0 && p.tickAt <= w.now {
		p.collectTick(f)
	}
	if p.alarmed && p.alarmAt <= w.now {
		p.batch = append(p.batch, report{fd: reportRing})
	}
	if !f.InOrder {
		p.shuffle()
	}
}

// truncate keeps at most n reports (0 = all). What was ready before Again was asked for comes first: epoll's list is
// first in, first out, and Again's own descriptor stands in it.
func (p *poller) truncate(n int) {
	if n > 0 && len(p.batch) > n {
		p.shuffle() // nobody starves
	}
	if p.again && !p.owing {
		p.owing, p.owed = true, p.owed[:0]
		for _, r := range p.batch {
			p.owed = append(p.owed, r.fd)
		}
	}
	if p.cut = n > 0 && len(p.batch) > n; !p.cut {
		p.owed = p.owed[:0]
		return
	}
	rank := func(r report) int {
		if slices.Contains(p.owed, r.fd) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(p.batch, func(a, b report) int { return cmp.Compare(rank(a), rank(b)) })
	rest := p.batch[n:]
	p.owed = slices.DeleteFunc(p.owed, func(fd int) bool {
		return !slices.ContainsFunc(rest, func(r report) bool { return r.fd == fd })
	})
	p.batch = p.batch[:n]
}

func (p *poller) shuffle() {
	p.world.rng.Shuffle(len(p.batch), func(i, j int) { p.batch[i], p.batch[j] = p.batch[j], p.batch[i] })
}

// collectTick reports a tick, or loses it, and decides when the next one comes. Ticks missed are merged, as a timerfd
// does.
func (p *poller) collectTick(f *Faults) {
	w := p.world
	if w.chance(f.LostTick) {
		w.note("tick-lost", -1, 0, nil)
	} else {
		p.batch = append(p.batch, report{fd: reportTick})
	}
	for p.onTime <= w.now {
		p.onTime += p.period
	}
	p.tickAt = p.onTime
	switch {
	case w.chance(f.LateTick):
		p.tickAt += time.Duration(w.rng.Int64N(int64(5 * p.period)))
	case w.chance(f.EarlyTick):
		p.tickAt -= time.Duration(w.rng.Int64N(int64(p.period/2) + 1))
	}
}

// deliver calls the handler for one line of the snapshot, whatever became of the descriptor since.
func (p *poller) deliver(r report) {
	w := p.world
	switch r.fd {
	case reportTick:
		p.ticks++
		w.note("tick", -1, 0, nil)
		p.handler.Tick()
		return
	case reportRing:
		if !p.alarmed || p.alarmAt > w.now { // set anew since
			return
		}
		p.alarmed = false
		w.note("alarm", -1, 0, nil)
		p.handler.Alarm()
		return
	case reportWake:
		w.note("woken", -1, 0, nil)
		p.handler.Woken()
		return
	}
	f := &w.files[r.fd]
	switch {
	case f.uses != r.uses:
		w.note("stale-reused", r.fd, int(r.events), nil)
	case !p.watched[r.fd].on:
		w.note("stale", r.fd, int(r.events), nil)
	case r.real:
		if f.quiet++; f.quiet > busyMax {
			w.Fail("loop %d: busy loop: descriptor %d was reported %d times (now %v, interest %d) and nothing came of it",
				p.index, r.fd, f.quiet, r.events, p.watched[r.fd].want)
			return
		}
	}
	w.note("ready", r.fd, int(r.events), nil)
	p.handler.Ready(r.fd, r.events)
}
