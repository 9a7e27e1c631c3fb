package sim

import (
	"net/netip"
	"syscall"

	"shoal/loop/poll"
)

// firstFD is the lowest number given out: 0, 1 and 2 are taken in every process.
const firstFD = 3

// busyMax is how often a descriptor may be reported without anything coming of it. EAGAIN faults account for a few
// dozen in a row.
const busyMax = 1000

// noLoop owns the descriptors that no loop has adopted yet.
const noLoop = -1

type fileKind uint8

const (
	fileNone fileKind = iota
	fileReserve
	fileListener
	fileSocket
)

// file is one descriptor.
type file struct {
	kind     fileKind
	loop     int  // whose it is
	uses     int  // how often the number was given out
	quiet    int  // reports since something last came of one
	foreign  bool // something else opened it; several loops may try to adopt it
	link     *link
	listener *listener
}

// listener is a listening socket with its queue.
type listener struct {
	fd      int
	addr    netip.AddrPort
	backlog int
	queue   []*link
}

// open gives out the lowest free descriptor.
func (w *World) open(loop int, f file) (int, error) {
	for fd := firstFD; fd < w.cfg.Descriptors; fd++ {
		if fd == len(w.files) {
			w.files = append(w.files, file{})
		}
		if w.files[fd].kind == fileNone {
			f.loop, f.uses = loop, w.files[fd].uses+1
			w.files[fd] = f
			if f.uses > 1 {
				w.note("reuse", fd, f.uses, nil)
			}
			return fd, nil
		}
	}
	w.note("emfile", -1, 0, nil)
	return -1, syscall.EMFILE
}

// file finds the descriptor for a call by a loop, and refuses what is no business of the loop's.
func (w *World) file(loop, fd int, call string) *file {
	if fd < 0 || fd >= len(w.files) || w.files[fd].kind == fileNone {
		w.Fail("loop %d: %s of descriptor %d, which is not open: a loop must forget a descriptor when it closes it", loop, call, fd)
		return nil
	}
	f := &w.files[fd]
	if f.loop != loop {
		w.Fail("loop %d: %s of descriptor %d, which belongs to loop %d by now", loop, call, fd, f.loop)
		return nil
	}
	return f
}

// socket is file for calls that make sense on a connection only.
func (w *World) socket(loop, fd int, call string) (*file, *link) {
	f := w.file(loop, fd, call)
	if f == nil {
		return nil, nil
	}
	if f.kind != fileSocket {
		w.Fail("loop %d: %s of descriptor %d, which is no connection", loop, call, fd)
		return nil, nil
	}
	return f, f.link
}

// close takes a descriptor back and does to the connection what Linux does.
func (w *World) close(fd int) {
	f := &w.files[fd]
	switch f.kind {
	case fileSocket:
		f.link.closeByLoop()
	case fileListener:
		for _, l := range f.listener.queue {
			l.resetPeer()
		}
		for i, ln := range w.listeners {
			if ln == f.listener {
				w.listeners = append(w.listeners[:i], w.listeners[i+1:]...)
				break
			}
		}
	}
	for _, p := range w.pollers {
		p.forget(fd)
	}
	*f = file{uses: f.uses}
}

// level is what epoll would say about a descriptor, before the interest is applied.
func (f *file) level() poll.Events {
	switch f.kind {
	case fileListener:
		if len(f.listener.queue) > 0 {
			return poll.Readable
		}
	case fileSocket:
		return f.link.level()
	}
	return 0
}
