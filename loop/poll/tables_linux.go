package poll

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Tables opens pollers for loops that have a table of descriptors each (unshare(2) with CLONE_FILES, which needs no privilege): a process may
// then hold as many connections as its loops together, whatever its limit. The zero value is ready.
//
// What a loop's goroutine and other goroutines both use was opened before the tables parted and has the same number in all: the wake-up
// descriptors of the group, what the loop waits on, both ends of its border, and what Go's own poller waits on, since the collector may look at
// that on any thread. Threads that the runtime starts never inherit a loop's table: it has others start them when a thread is locked.
type Tables struct {
	// Crowd is how many of the loops share a processor; above 1 their passes are that much shorter, down to a point.
	Crowd int

	mu    sync.Mutex
	gos   []int // descriptors of Go's poller
	wakes []int // of all loops
}

// Open returns the poller and the system calls of one more loop; the Sys is a [Border]. All are to be opened before the first of them runs.
func (t *Tables) Open() (Poller, Sys, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gos == nil {
		gos, err := goPoller()
		if err != nil {
			return nil, nil, err
		}
		t.gos = gos
	}
	p, _, err := Open()
	if err != nil {
		return nil, nil, err
	}
	s := &apart{of: t, p: p.(*epoll)}
	for _, l := range [...]*lane{&s.in, &s.out} {
		if err := l.open(); err != nil {
			return nil, nil, errors.Join(err, p.Close())
		}
		s.p.lanes = append(s.p.lanes, l)
	}
	s.p.apart, s.p.events = true, max(batchEvents/max(t.Crowd, 1), batchEventsMin)
	t.wakes = append(t.wakes, s.p.wakeFD)
	return p, s, nil
}

// batchEventsMin keeps passes worth a change of threads (5–10 µs).
const batchEventsMin = 64

// goPoller finds the descriptors of Go's poller: the epoll instance that watches a pipe made for the purpose, and the eventfd it is woken by.
func goPoller() ([]int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("poll: a pipe: %w", err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	mark := 0
	rc, err := r.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) { mark = int(fd) })
	}
	if err != nil {
		return nil, fmt.Errorf("poll: a pipe: %w", err)
	}
	open, err := openDescriptors()
	if err != nil {
		return nil, err
	}
	for _, fd := range open {
		if kindOf(fd) != "anon_inode:[eventpoll]" {
			continue
		}
		watched := watchedBy(fd)
		if !slices.Contains(watched, mark) {
			continue
		}
		keep := []int{fd}
		for _, w := range watched {
			if strings.HasPrefix(kindOf(w), "anon_inode:[eventfd") {
				keep = append(keep, w)
			}
		}
		return keep, nil
	}
	return nil, errors.New("poll: the descriptors of Go's poller are not to be found: let the loops share the process's table (loop.own_descriptors)")
}

// openDescriptors are those of the calling thread's table.
func openDescriptors() ([]int, error) {
	entries, err := os.ReadDir("/proc/thread-self/fd")
	if err != nil {
		return nil, fmt.Errorf("poll: loops with descriptors of their own need /proc: %w", err)
	}
	var all []int
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, fd)
		}
	}
	return all, nil
}

// kindOf says what a descriptor is, as /proc has it.
func kindOf(fd int) string {
	kind, err := os.Readlink("/proc/thread-self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "" // closed since
	}
	return kind
}

// watchedBy are the descriptors an epoll instance watches (proc_pid_fdinfo(5)).
func watchedBy(epfd int) (all []int) {
	info, err := os.ReadFile("/proc/thread-self/fdinfo/" + strconv.Itoa(epfd))
	if err != nil {
		return nil
	}
	for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[0] == "tfd:" {
			if fd, err := strconv.Atoi(fields[1]); err == nil {
				all = append(all, fd)
			}
		}
	}
	return all
}

// apart performs the calls of a loop whose descriptors are its own.
type apart struct {
	kernel
	of      *Tables
	p       *epoll
	in, out lane
}

var _ Border = (*apart)(nil)

// Enter implements Border. The main thread stays where it is, for its table is what /proc shows as the process's: the caller
// gets another thread by calling from another goroutine while this one is locked.
func (s *apart) Enter() error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		return ErrMainThread
	}
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return fmt.Errorf("poll: a table of descriptors for one loop: unshare: %w; a sandbox may forbid it: "+
			"let the loops share the process's table (loop.own_descriptors), and raise the limit", err)
	}
	s.of.mu.Lock()
	keep := append(slices.Concat(s.of.gos, s.of.wakes), 0, 1, 2,
		s.p.waitFD, s.p.againFD, s.p.tickFD, s.p.alarmFD, s.in.to, s.out.from)
	s.of.mu.Unlock()
	open, err := openDescriptors()
	if err != nil {
		return err
	}
	for _, fd := range open {
		if !slices.Contains(keep, fd) && !isFile(fd) {
			_ = unix.Close(fd) // one of them is that of the directory read, which is closed already
		}
	}
	return nil
}

// isFile says whether a descriptor is that of a regular file, such as a log: those that are open when the loop begins may be written
// from it, too.
func isFile(fd int) bool {
	var s unix.Stat_t
	return unix.Fstat(fd, &s) == nil && s.Mode&unix.S_IFMT == unix.S_IFREG
}

// ErrMainThread says that Enter was called on the process's main thread.
var ErrMainThread = errors.New("poll: the main thread keeps the process's descriptors")

func (s *apart) In(fd int) (Parcel, error)          { return s.in.send(fd) }
func (s *apart) Receive(p Parcel) (int, error)      { return s.in.receive(p) }
func (s *apart) Out(fd int) (Parcel, error)         { return s.out.send(fd) }
func (s *apart) Fetch(p Parcel) (fd int, err error) { return s.out.receive(p) }
func (s *apart) Revoke(p Parcel)                    { s.in.revoke(p) }
