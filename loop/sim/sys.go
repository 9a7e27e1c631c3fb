package sim

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"

	"shoal/loop/poll"
)

// sys is the system calls of one loop.
type sys struct {
	world *World
	loop  int
}

var _ poll.Sys = (*sys)(nil)

// Listen takes "host:port" with a numeric host; an empty host is 10.0.0.1. Port 0 gives out ports from 40000 up.
func (s *sys) Listen(addr string, backlog int, opts poll.Options) (int, netip.AddrPort, error) {
	w := s.world
	bound, err := listenAddr(addr)
	if err != nil {
		return -1, bound, err
	}
	if bound.Port() == 0 {
		bound = netip.AddrPortFrom(bound.Addr(), w.port())
	}
	for _, ln := range w.listeners {
		if ln.addr == bound && !opts.SharePort {
			return -1, netip.AddrPort{}, fmt.Errorf("bind: %w", syscall.EADDRINUSE)
		}
	}
	if backlog <= 0 {
		backlog = 4096 // net.core.somaxconn
	}
	ln := &listener{addr: bound, backlog: backlog}
	if ln.fd, err = w.open(s.loop, file{kind: fileListener, listener: ln}); err != nil {
		return -1, netip.AddrPort{}, err
	}
	w.listeners = append(w.listeners, ln)
	w.note("listen", ln.fd, int(bound.Port()), nil)
	return ln.fd, bound, nil
}

func listenAddr(addr string) (netip.AddrPort, error) {
	if len(addr) > 0 && addr[0] == ':' {
		addr = "10.0.0.1" + addr
	}
	bound, err := netip.ParseAddrPort(addr)
	if err != nil {
		return bound, fmt.Errorf("sim: listen %s: %w: the simulated kernel knows numeric addresses only", strconv.Quote(addr), err)
	}
	return bound, nil
}

// port is an unused port number.
func (w *World) port() uint16 {
	w.nextPort++
	return w.nextPort
}

func (s *sys) Accept(lfd int) (int, error) {
	w := s.world
	f := w.file(s.loop, lfd, "Accept")
	if f == nil {
		return -1, syscall.EBADF
	}
	if f.kind != fileListener {
		w.Fail("loop %d: Accept of descriptor %d, which is no listener", s.loop, lfd)
		return -1, syscall.EINVAL
	}
	ln := f.listener
	if len(ln.queue) == 0 || w.chance(w.cfg.Faults.Again) {
		return -1, syscall.EAGAIN
	}
	if w.chance(w.cfg.Faults.AcceptENFILE) {
		w.note("enfile", lfd, 0, nil)
		return -1, syscall.ENFILE
	}
	l := ln.queue[0]
	if w.chance(w.cfg.Faults.AcceptAborted) {
		ln.queue = ln.queue[1:]
		f.quiet = 0
		l.resetPeer()
		w.note("aborted", lfd, l.peer.index, nil)
		return -1, syscall.ECONNABORTED
	}
	fd, err := w.open(s.loop, file{kind: fileSocket, link: l})
	if err != nil {
		return -1, err
	}
	w.files[lfd].quiet = 0 // open may have moved the table
	ln.queue = ln.queue[1:]
	l.fd, w.latest = fd, l.peer
	w.note("accept", fd, l.peer.index, nil)
	return fd, nil
}

func (s *sys) Connect(local, remote netip.AddrPort) (int, error) {
	w := s.world
	if w.chance(w.cfg.Faults.ConnectFails) {
		w.note("connect", -1, 0, syscall.EADDRNOTAVAIL)
		return -1, syscall.EADDRNOTAVAIL
	}
	if !local.IsValid() {
		local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 0)
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), w.port())
	}
	l := w.newLink(local, remote)
	l.connecting = true
	fd, err := w.open(s.loop, file{kind: fileSocket, link: l})
	if err != nil {
		l.drop()
		return -1, err
	}
	l.fd, w.latest = fd, l.peer
	w.note("connect", fd, l.peer.index, nil)
	if serve := w.remotes[remote]; serve != nil {
		serve(l.peer)
	} else {
		l.peer.Refuse(syscall.ECONNREFUSED)
	}
	return fd, nil
}

// Adopt makes a descriptor of Foreign the loop's.
func (s *sys) Adopt(fd int, _ poll.Options) error {
	w := s.world
	if fd < 0 || fd >= len(w.files) || w.files[fd].kind != fileSocket {
		return poll.ErrNoSocket
	}
	f := &w.files[fd]
	if !f.foreign {
		w.Fail("loop %d: Adopt of descriptor %d, which belongs to loop %d already", s.loop, fd, f.loop)
		return poll.ErrNoSocket
	}
	if !f.link.connected() {
		return poll.ErrNoSocket
	}
	f.loop = s.loop
	w.note("adopt", fd, f.link.peer.index, nil)
	return nil
}

func (s *sys) ConnectErr(fd int) error {
	f, l := s.world.socket(s.loop, fd, "ConnectErr")
	if f == nil {
		return syscall.EBADF
	}
	err := l.connectErr()
	s.world.note("connecterr", fd, 0, err)
	return err
}

func (s *sys) Read(fd int, p []byte) (int, error) {
	w := s.world
	f, l := w.socket(s.loop, fd, "Read")
	if f == nil {
		return 0, syscall.EBADF
	}
	if w.chance(w.cfg.Faults.Again) {
		w.note("read-again", fd, 0, nil)
		return 0, syscall.EAGAIN
	}
	if len(p) > 1 && w.chance(w.cfg.Faults.ShortRead) {
		p = p[:1+w.rng.IntN(len(p)-1)]
		if w.rng.UintN(3) > 0 {
			p = p[:1+w.rng.IntN(min(len(p), 16))]
		}
	}
	n, err := l.read(p)
	if n > 0 || err != nil && err != syscall.EAGAIN || err == nil && !l.eofRead {
		f.quiet = 0
	}
	l.eofRead = n == 0 && err == nil // reading it again and again is a busy loop
	w.note("read", fd, n, err)
	return n, err
}

func (s *sys) Write(fd int, p []byte) (int, error) {
	w := s.world
	f, l := w.socket(s.loop, fd, "Write")
	if f == nil {
		return 0, syscall.EBADF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := w.room(l, len(p))
	if n > 0 {
		l.out.put(p[:n])
		l.written()
	}
	if err != syscall.EAGAIN {
		f.quiet = 0
	}
	w.note("write", fd, n, err)
	return n, err
}

func (s *sys) Writev(fd int, iov [][]byte) (int, error) {
	w := s.world
	f, l := w.socket(s.loop, fd, "Writev")
	if f == nil {
		return 0, syscall.EBADF
	}
	total := 0
	for i, b := range iov {
		if i < poll.IovMax { // the real call looks no further either
			total += len(b)
		}
	}
	if total == 0 {
		return 0, nil
	}
	n, err := w.room(l, total)
	left := n
	for _, b := range iov {
		part := min(left, len(b))
		l.out.put(b[:part])
		left -= part
	}
	if n > 0 {
		l.written()
	}
	if err != syscall.EAGAIN {
		f.quiet = 0
	}
	w.note("writev", fd, n, err)
	return n, err
}

// room is how many of n > 0 bytes the connection takes now, faults included.
func (w *World) room(l *link, n int) (int, error) {
	if w.chance(w.cfg.Faults.Again) {
		return 0, syscall.EAGAIN
	}
	if err := l.writable(); err != nil {
		return 0, err
	}
	n = min(n, l.out.free())
	if n > 1 && w.chance(w.cfg.Faults.ShortWrite) {
		n = 1 + w.rng.IntN(n-1)
	}
	return n, nil
}

func (s *sys) ShutdownWrite(fd int) error {
	f, l := s.world.socket(s.loop, fd, "ShutdownWrite")
	if f == nil {
		return syscall.EBADF
	}
	f.quiet = 0
	err := l.shutdownWrite()
	s.world.note("shutdown", fd, 0, err)
	return err
}

func (s *sys) Close(fd int) error {
	if s.world.file(s.loop, fd, "Close") == nil {
		return syscall.EBADF
	}
	s.world.note("close", fd, 0, nil)
	s.world.close(fd)
	return nil
}

func (s *sys) Reserve() (int, error) {
	fd, err := s.world.open(s.loop, file{kind: fileReserve})
	s.world.note("reserve", fd, 0, err)
	return fd, err
}

func (s *sys) Peer(fd int) (netip.AddrPort, error) {
	f, l := s.world.socket(s.loop, fd, "Peer")
	switch {
	case f == nil:
		return netip.AddrPort{}, syscall.EBADF
	case !l.connected():
		return netip.AddrPort{}, syscall.ENOTCONN
	}
	return l.remote, nil
}

func (s *sys) Local(fd int) (netip.AddrPort, error) {
	f := s.world.file(s.loop, fd, "Local")
	switch {
	case f == nil:
		return netip.AddrPort{}, syscall.EBADF
	case f.kind == fileListener:
		return f.listener.addr, nil
	case f.kind == fileSocket:
		return f.link.local, nil
	}
	return netip.AddrPort{}, syscall.ENOTSOCK
}

func (s *sys) Yield() {}
