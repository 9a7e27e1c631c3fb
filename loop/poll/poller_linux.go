package poll

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// Open returns the real poller and the real system calls for one loop.
func Open() (Poller, Sys, error) {
	np, err := netpoll.OpenPoller()
	if err != nil {
		return nil, nil, fmt.Errorf("poll: open epoll: %w", err)
	}
	p := &epoll{np: np, waitFD: waitFD(np), wakeFD: -1, againFD: -1, tickFD: -1, alarmFD: -1}
	if err := p.open(); err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, &kernel{}, nil
}

// epoll is gnet's poller plus four descriptors of our own. gnet's Trigger is not used for waking: it allocates a
// task and a queue node per call and has no bound; an eventfd write costs one system call and nothing else.
type epoll struct {
	np     *netpoll.Poller
	waitFD int // its epoll descriptor

	mu      sync.Mutex // of Wake against Close: the number of a closed eventfd may be somebody's connection
	wakeFD  int        // eventfd, edge-triggered, never read: every write is one edge
	againFD int        // eventfd, the same; written when Again has to wait for more descriptors than a pass serves
	tickFD  int        // timerfd
	alarmFD int        // timerfd, for one shot

	handler Handler
	again   bool // Again was asked for and not served
	asked   bool // againFD was written since its last event
	stopped bool

	batch  []unix.EpollEvent
	events int     // that one wait brings at most; 0 = batchEvents
	apart  bool    // many loops share a processor: others get it after every pass, not when the runtime takes it away (10 ms)
	lanes  []*lane // of a border, closed with the poller
}

func (p *epoll) open() (err error) {
	if p.waitFD < 0 {
		return errWaitFD
	}
	const flags = unix.EFD_NONBLOCK | unix.EFD_CLOEXEC
	if p.wakeFD, err = unix.Eventfd(0, flags); err != nil {
		return fmt.Errorf("poll: eventfd: %w", err)
	}
	if p.againFD, err = unix.Eventfd(0, flags); err != nil {
		return fmt.Errorf("poll: eventfd: %w", err)
	}
	for _, fd := range [...]*int{&p.tickFD, &p.alarmFD} {
		if *fd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
			return fmt.Errorf("poll: timerfd: %w", err)
		}
	}
	for _, fd := range [...]int{p.wakeFD, p.againFD} {
		if err = p.np.AddRead(&netpoll.PollAttachment{FD: fd}, true); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
	}
	for _, fd := range [...]int{p.tickFD, p.alarmFD} {
		if err = p.np.AddRead(&netpoll.PollAttachment{FD: fd}, false); err != nil {
			return fmt.Errorf("poll: %w", err)
		}
	}
	return nil
}

func (p *epoll) Add(fd int, want Interest) error {
	pa := netpoll.PollAttachment{FD: fd}
	switch want {
	case Read:
		return p.np.AddRead(&pa, false)
	case Read | Write:
		return p.np.AddReadWrite(&pa, false)
	case Write:
		return p.np.AddWrite(&pa, false)
	default:
		// Errors are reported whatever is asked for, but gnet cannot ask for nothing: an edge-triggered interest
		// in writing reports once when set, and then only when something changes.
		return p.np.AddWrite(&pa, true)
	}
}

func (p *epoll) Mod(fd int, want Interest) error {
	pa := netpoll.PollAttachment{FD: fd}
	switch want {
	case Read:
		return p.np.ModRead(&pa, false)
	case Read | Write:
		return p.np.ModReadWrite(&pa, false)
	default: // gnet has no ModWrite; these changes are rare (half-closed or paused conns)
		if err := p.np.Delete(fd); err != nil {
			return err
		}
		return p.Add(fd, want)
	}
}

func (p *epoll) Del(fd int) error { return p.np.Delete(fd) }

func (p *epoll) Wake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wakeFD < 0 {
		return errors.New("poll: the poller is closed")
	}
	return kick(p.wakeFD)
}

func (p *epoll) SetAgain(on bool) { p.again = on }

func (p *epoll) SetTick(period time.Duration) error {
	ts := unix.NsecToTimespec(period.Nanoseconds())
	spec := unix.ItimerSpec{Interval: ts, Value: ts}
	if err := unix.TimerfdSettime(p.tickFD, 0, &spec, nil); err != nil {
		return fmt.Errorf("poll: set a tick of %v: %w", period, err)
	}
	return nil
}

func (p *epoll) SetAlarm(after time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(after.Nanoseconds(), 1))} // 0 would stop it
	if err := unix.TimerfdSettime(p.alarmFD, 0, &spec, nil); err != nil {
		return fmt.Errorf("poll: set an alarm after %v: %w", after, err)
	}
	return nil
}

// expired reads a timerfd: whether it has fired since it was read or set.
func expired(fd int) bool {
	var expirations [8]byte
	n, _ := rawRead(fd, expirations[:])
	return n == len(expirations)
}

func hints(ev netpoll.IOEvent) Events {
	var e Events
	if ev&(netpoll.ReadEvents|unix.EPOLLRDHUP) != 0 {
		e |= Readable
	}
	if ev&netpoll.WriteEvents != 0 {
		e |= Writable
	}
	if ev&netpoll.ErrEvents != 0 {
		e |= Error
	}
	return e
}

func (p *epoll) Stop() { p.stopped = true }

func (p *epoll) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, fd := range [...]*int{&p.wakeFD, &p.againFD, &p.tickFD, &p.alarmFD} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
	for _, l := range p.lanes {
		l.close()
	}
	p.lanes = nil
	return p.np.Close()
}

func (p *epoll) Now() time.Time { return time.Now() }
