package loop

import (
	"fmt"
	"runtime/debug"
)

// The calls into handlers. A panic in one closes the conn it served, alone, and is counted; the deferred call costs
// about 2 ns.

func (l *Loop) handler(slot uint32) Handler { return l.handlers[l.conns.At(slot).kind] }

func (l *Loop) callOpen(slot uint32) {
	defer l.Caught(slot)
	l.handler(slot).Open(slot)
}

func (l *Loop) callFirst(slot uint32, first func(l *Loop, slot uint32)) {
	defer l.Caught(slot)
	first(l, slot)
}

func (l *Loop) callData(slot uint32, p []byte) {
	defer l.Caught(slot)
	l.handler(slot).Data(slot, p)
}

func (l *Loop) callEOF(slot uint32) {
	defer l.Caught(slot)
	l.handler(slot).EOF(slot)
}

func (l *Loop) callTimer(slot uint32) {
	defer l.Caught(slot)
	l.handler(slot).Timer(slot)
}

func (l *Loop) callClosed(slot uint32, why Reason, err error) {
	defer l.Caught(slot)
	l.handler(slot).Closed(slot, why, err)
}

func (l *Loop) callShutdown(slot uint32, h Shutdowner) {
	defer l.Caught(slot)
	h.Shutdown(slot)
}

func (l *Loop) callCut(slot uint32, h Cutter) {
	defer l.Caught(slot)
	h.Cut(slot)
}

// handOver delivers one message.
func (l *Loop) handOver(m Message) {
	defer l.caughtMessage(m)
	m.Deliver(l)
}

// runSlice runs one slice; a work that panics is dropped.
func (l *Loop) runSlice(w Work) (more bool) {
	defer l.caughtWork(w)
	return w.Slice(l)
}

// Caught, deferred, ends the panic of what was done for one conn: it closes that conn and counts. Handlers are guarded
// so by the loop; a Work or a Message that serves many conns defers it for each.
func (l *Loop) Caught(slot uint32) {
	if v := recover(); v != nil {
		l.panicked(v, "conn", l.ID(slot).String())
		l.drop(slot, ReasonPanic, fmt.Errorf("loop: handler panicked: %v", v))
	}
}

func (l *Loop) caughtMessage(m Message) {
	v := recover()
	if v == nil {
		return
	}
	l.panicked(v, "message", fmt.Sprintf("%T", m))
	if of, ok := m.(interface{ Conn() ConnID }); ok {
		if slot, ok := l.Lookup(of.Conn()); ok {
			l.drop(slot, ReasonPanic, fmt.Errorf("loop: message %T panicked: %v", m, v))
		}
	}
}

func (l *Loop) caughtWork(w Work) {
	if v := recover(); v != nil {
		l.panicked(v, "work", fmt.Sprintf("%T", w))
	}
}

// panicked counts and logs. What was committed stays corked: it is whole, and may be for another conn; what is
// corked for a conn that is closed is dropped by uncork.
func (l *Loop) panicked(v any, what, name string) {
	stack := debug.Stack()
	l.counters.Panics++
	l.cfg.Logger.Error("panic recovered", "loop", l.number, what, name, "panic", fmt.Sprint(v), "stack", string(stack))
	if l.cfg.OnPanic != nil {
		l.cfg.OnPanic(v, stack)
	}
}
