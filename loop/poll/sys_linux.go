package poll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/socket"
	"golang.org/x/sys/unix"
)

// kernel performs the calls of one loop. The calls on the hot path go through the raw system call: all descriptors
// are non-blocking, so Go's scheduler need not be told (0.7–0.9 µs of 7 µs per write); the loop yields by itself.
type kernel struct {
	iov [IovMax]unix.Iovec // filled and cleared by Writev
	msg unix.Msghdr
}

func errnoErr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e // below 256: no allocation
}

func rawRead(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// kick adds one to an eventfd.
func kick(fd int) error {
	one := uint64(1)
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
		if e != unix.EINTR {
			return errnoErr(e)
		}
	}
}

func (k *kernel) Read(fd int, p []byte) (int, error) { return rawRead(fd, p) }

// Write is send(2) rather than write(2): MSG_NOSIGNAL spares the process a SIGPIPE per broken connection.
func (k *kernel) Write(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// Writev is sendmsg(2), for the same reason.
func (k *kernel) Writev(fd int, iov [][]byte) (int, error) {
	n := 0
	for _, b := range iov {
		if len(b) == 0 || n == IovMax {
			continue
		}
		k.iov[n].Base = &b[0]
		k.iov[n].SetLen(len(b))
		n++
	}
	if n == 0 {
		return 0, nil
	}
	k.msg.Iov = &k.iov[0]
	k.msg.SetIovlen(n)
	defer clear(k.iov[:n]) // or the array would keep the bytes alive
	for {
		w, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&k.msg)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if e == 0 {
			return int(w), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func (k *kernel) Accept(lfd int) (int, error) {
	for {
		// No address is asked for: whoever wants it asks Peer.
		fd, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(lfd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == 0 {
			return int(fd), nil
		}
		if e != unix.EINTR {
			return -1, e
		}
	}
}

func (k *kernel) Close(fd int) error {
	_, _, e := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errnoErr(e)
}

func (k *kernel) ShutdownWrite(fd int) error {
	_, _, e := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return errnoErr(e)
}

func (k *kernel) Yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

func (k *kernel) Reserve() (int, error) {
	return unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func (k *kernel) ConnectErr(fd int) error {
	e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 {
		return syscall.Errno(e)
	}
	var sa unix.RawSockaddrAny
	n := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&n)))
	return errnoErr(errno) // ENOTCONN in SYN_SENT and in CLOSE
}

func (k *kernel) Listen(addr string, backlog int, opts Options) (int, netip.AddrPort, error) {
	fd, _, err := socket.TCPSocket("tcp", addr, true, listenOptions(opts), nil)
	if errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
		fd, _, err = socket.TCPSocket("tcp4", addr, true, listenOptions(opts), nil)
	}
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	if backlog > 0 {
		// gnet listened with the system's maximum; listening again only changes the number.
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	var bound netip.AddrPort
	if err == nil {
		bound, err = k.Local(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, err
	}
	return fd, bound, nil
}

func listenOptions(o Options) []socket.Option[int] {
	opts := append(socketOptions(o), socket.Option[int]{SetSockOpt: socket.SetReuseAddr, Opt: 1})
	if o.SharePort {
		opts = append(opts, socket.Option[int]{SetSockOpt: socket.SetReuseport, Opt: 1})
	}
	return opts
}

// socketOptions are those of connections, which accepted ones inherit from their listener.
func socketOptions(o Options) []socket.Option[int] {
	opts := []socket.Option[int]{{SetSockOpt: socket.SetNoDelay, Opt: 1}}
	add := func(set func(fd, v int) error, v int) {
		if v > 0 {
			opts = append(opts, socket.Option[int]{SetSockOpt: set, Opt: v})
		}
	}
	add(func(fd, idle int) error {
		return socket.SetKeepAlive(fd, true, idle, seconds(o.KeepAliveInterval, 15), max(o.KeepAliveCount, 1))
	}, seconds(o.KeepAliveIdle, 0))
	add(tcpOption(unix.TCP_USER_TIMEOUT), int(o.UserTimeout.Milliseconds()))
	add(tcpOption(unix.TCP_NOTSENT_LOWAT), o.UnsentBytes)
	add(socket.SetRecvBuffer, o.ReceiveBytes)
	add(socket.SetSendBuffer, o.SendBytes)
	return opts
}

func tcpOption(option int) func(fd, v int) error {
	return func(fd, v int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, v))
	}
}

func (k *kernel) Adopt(fd int, opts Options) error {
	if p, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || p != unix.IPPROTO_TCP {
		return ErrNoSocket // a file, a pipe, a Unix or a datagram socket
	}
	if _, err := k.Peer(fd); err != nil {
		return fmt.Errorf("%w (%w)", ErrNoSocket, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	unix.CloseOnExec(fd)
	for _, o := range socketOptions(opts) {
		if err := o.SetSockOpt(fd, o.Opt); err != nil {
			return err
		}
	}
	return nil
}

// Take duplicates the descriptor of a conn of package net: the copy is the caller's, and c may be closed without
// harming the connection. Unlike its File it leaves the socket non-blocking.
func Take(c net.Conn) (fd int, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%w (it is a %T)", ErrNoSocket, c)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("%w (%w)", ErrNoSocket, err)
	}
	var dup error
	if err = rc.Control(func(own uintptr) { fd, dup = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, fmt.Errorf("%w (%w)", ErrNoSocket, err)
	}
	if dup != nil {
		return -1, os.NewSyscallError("fcntl", dup)
	}
	return fd, nil
}

func seconds(d time.Duration, zero int) int {
	if d <= 0 {
		return zero
	}
	return max(1, int(d/time.Second))
}

func (k *kernel) Connect(local, remote netip.AddrPort) (int, error) {
	sa, family := sockaddr(remote)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && local.IsValid() {
		err = bindLocal(fd, family, local)
	}
	if err == nil {
		if err = unix.Connect(fd, sa); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindLocal binds to an address; with port 0 the port is chosen at connect, by the whole 4-tuple, so that one
// address serves 28,000 connections to every remote address rather than in total (IP_BIND_ADDRESS_NO_PORT).
func bindLocal(fd, family int, local netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if local.Port() == 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
	}
	sa, f := sockaddr(local)
	if f != family {
		return fmt.Errorf("poll: local address %v and remote address are of different families", local)
	}
	return unix.Bind(fd, sa)
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}, unix.AF_INET6
}

func (k *kernel) Peer(fd int) (netip.AddrPort, error)  { return addrPort(unix.Getpeername(fd)) }
func (k *kernel) Local(fd int) (netip.AddrPort, error) { return addrPort(unix.Getsockname(fd)) }

func addrPort(sa unix.Sockaddr, err error) (netip.AddrPort, error) {
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("poll: socket address of an unknown family (%T)", sa)
}
