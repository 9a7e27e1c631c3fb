package poll

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"runtime"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// batchEvents is how many events one wait brings at most. What is ready beside them comes first in the next pass.
const batchEvents = 128

var errWaitFD = errors.New("poll: this version of gnet keeps its epoll descriptor elsewhere: build with the version in go.mod, or change waitFD")

// waitFD is the epoll descriptor of a netpoll.Poller, -1 if there is no such field. netpoll's own Polling does not show when
// it goes to wait and when it comes back, and it has no way to ask for the descriptor: reading the field was chosen over a
// clock read before and after every event (42 ns each), and over an eventfd that marks the end of every pass (300 ns).
func waitFD(np *netpoll.Poller) int {
	if fd := reflect.ValueOf(np).Elem().FieldByName("fd"); fd.IsValid() && fd.CanInt() {
		return int(fd.Int())
	}
	return -1
}

// Run waits as netpoll's Polling does: with patience only after it found nothing, and then the processor was offered to
// other goroutines. It does not wait while Again is asked for.
func (p *epoll) Run(h Handler) error {
	p.handler = h
	if p.batch == nil {
		p.batch = make([]unix.EpollEvent, cmp.Or(p.events, batchEvents))
	}
	for wait := -1; !p.stopped; {
		if p.again {
			wait = 0
		}
		n, err := unix.EpollWait(p.waitFD, p.batch, wait)
		switch {
		case err != nil && err != unix.EINTR:
			return fmt.Errorf("poll: epoll_wait: %w", err)
		case n <= 0 && !p.again:
			wait = -1
			runtime.Gosched()
			continue
		}
		wait = 0
		h.PassBegins()
		for i := 0; i < n && !p.stopped; i++ {
			p.ready(int(p.batch[i].Fd), p.batch[i].Events)
		}
		p.finish(n == len(p.batch))
		h.PassEnds()
		if p.apart {
			runtime.Gosched()
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	}
	return nil
}

// finish ends a pass with Again, if it is asked for. After a full batch more descriptors are ready: the eventfd comes
// behind them, for the kernel's list is first in, first out.
func (p *epoll) finish(full bool) {
	switch {
	case !p.again || p.stopped:
	case !full:
		p.again = false
		p.handler.Again()
	case !p.asked:
		p.asked = kick(p.againFD) == nil // which can fail only when 2^64-2 was reached
	}
}

// ready serves one event.
func (p *epoll) ready(fd int, ev netpoll.IOEvent) {
	switch fd {
	case p.wakeFD:
		p.handler.Woken()
	case p.againFD:
		p.asked = false
		if p.again {
			p.again = false
			p.handler.Again()
		}
	case p.tickFD:
		if expired(fd) {
			p.handler.Tick()
		}
	case p.alarmFD:
		if expired(fd) { // else it was set anew since
			p.handler.Alarm()
		}
	default:
		p.handler.Ready(fd, hints(ev))
	}
}
