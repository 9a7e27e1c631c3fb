package sim

import (
	"container/heap"
	"time"
)

// appointment is one call of After.
type appointment struct {
	at  time.Duration
	seq uint64
	do  func()
}

// schedule is a heap of appointments by time, then by order of After.
type schedule []appointment

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].seq < s[j].seq
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(appointment)) }
func (s *schedule) Pop() any {
	old := *s
	x := old[len(old)-1]
	old[len(old)-1].do = nil
	*s = old[:len(old)-1]
	return x
}

// After calls do when d of virtual time has passed, between two passes of the loops.
func (w *World) After(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.after, appointment{at: w.now + max(d, 0), seq: w.seq, do: do})
}

// Pending is the number of appointments still to come.
func (w *World) Pending() int { return len(w.after) }

// runDue keeps the appointments whose time has come.
func (w *World) runDue() {
	for len(w.after) > 0 && w.after[0].at <= w.now {
		heap.Pop(&w.after).(appointment).do()
	}
}

// nextStop is when something is going to happen by itself: an appointment, a tick or an alarm of a loop that runs.
func (w *World) nextStop() (at time.Duration, ok bool) {
	if len(w.after) > 0 {
		at, ok = w.after[0].at, true
	}
	for _, p := range w.pollers {
		if p.running && p.period > 0 && (!ok || p.tickAt < at) {
			at, ok = p.tickAt, true
		}
		if p.running && p.alarmed && (!ok || p.alarmAt < at) {
			at, ok = p.alarmAt, true
		}
	}
	return at, ok
}

// join waits until every loop of the world runs and p has the baton.
func (w *World) join(p *poller) {
	w.mu.Lock()
	p.running = true
	if w.joined++; w.joined == len(w.pollers) {
		w.holder = 0
		w.changed.Broadcast()
	}
	w.wait(p)
	w.mu.Unlock()
}

// wait blocks until p has the baton. mu is held.
func (w *World) wait(p *poller) {
	for w.holder != p.index && w.err == nil {
		w.changed.Wait()
	}
}

// handOn gives the baton to the loop that runs next and waits until it comes back.
func (w *World) handOn(p *poller) {
	next := w.choose()
	w.mu.Lock()
	if next != p.index && w.err == nil {
		w.holder = next
		w.changed.Broadcast()
		w.wait(p)
	}
	w.mu.Unlock()
}

// leave gives the baton away for good.
func (w *World) leave(p *poller) {
	w.mu.Lock()
	p.running = false
	w.mu.Unlock()
	if next := w.choose(); next >= 0 {
		w.mu.Lock()
		w.holder = next
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

// choose lets the world go on until a loop has something to do and names that loop; -1 when none runs any more.
func (w *World) choose() int {
	for {
		w.breakSomething()
		w.runDue()
		var ready []int
		running := false
		for _, p := range w.pollers {
			if p.running {
				running = true
				if p.hasWork() {
					ready = append(ready, p.index)
				}
			}
		}
		switch {
		case !running || w.Err() != nil:
			return w.anyRunning()
		case len(ready) > 0:
			// Work takes time, sometimes a lot.
			w.now += time.Duration(w.rng.Uint32N(200)) * time.Microsecond
			if w.chance(w.cfg.Faults.ClockJump) {
				w.now += time.Duration(w.rng.Int64N(int64(30 * time.Second)))
			}
			return ready[w.rng.IntN(len(ready))]
		}
		if at, ok := w.nextStop(); ok {
			w.now = max(w.now, at)
			continue
		}
		w.awaitWake()
	}
}

func (w *World) anyRunning() int {
	for _, p := range w.pollers {
		if p.running {
			return p.index
		}
	}
	return -1
}

// awaitWake blocks, in real time, until a goroutine outside the world wakes a loop: nothing else can happen any more.
func (w *World) awaitWake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil {
		for _, p := range w.pollers {
			if p.running && p.woken.Load() {
				return
			}
		}
		w.changed.Wait()
	}
}
