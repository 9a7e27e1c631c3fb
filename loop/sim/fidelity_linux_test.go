package sim_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"shoal/loop/poll"
	"shoal/loop/sim"
)

// far is the other end of a connection, real or simulated.
type far interface {
	send(b string)
	recv() string // everything that has come, and how it ended
	fin()
	rst()
}

// ground is where a transcript is played: the kernel, or a world.
type ground struct {
	sys  poll.Sys
	open func() (fd int, peer far) // an accepted connection
	dead netip.AddrPort            // nobody listens there
}

// transcript is what a loop can observe in a short story.
type transcript struct {
	g     *ground
	fd    int
	lines []string
}

func (x *transcript) note(what string, n int, err error) {
	if errno, ok := err.(syscall.Errno); ok {
		x.lines = append(x.lines, fmt.Sprintf("%s %d E%d", what, n, int(errno)))
		return
	}
	x.lines = append(x.lines, fmt.Sprintf("%s %d %v", what, n, err))
}

func (x *transcript) read(size int) {
	n, err := x.g.sys.Read(x.fd, make([]byte, size))
	x.note("read", n, err)
}

func (x *transcript) write(b string) {
	n, err := x.g.sys.Write(x.fd, []byte(b))
	x.note("write", n, err)
}

func (x *transcript) shut() { x.note("shutdown", 0, x.g.sys.ShutdownWrite(x.fd)) }

func (x *transcript) state() {
	x.note("connect-error", 0, x.g.sys.ConnectErr(x.fd))
	_, err := x.g.sys.Peer(x.fd)
	x.note("peer", 0, err)
}

func (x *transcript) saw(s string) { x.lines = append(x.lines, "peer saw "+s) }

// stories are played on both grounds and must read the same.
var stories = map[string]func(x *transcript, p far){
	"nothing there": func(x *transcript, p far) { x.read(9); x.state() },
	"data, then the end of stream": func(x *transcript, p far) {
		p.send("abc")
		p.fin()
		x.read(2)
		x.read(9)
		x.read(9)
		x.read(9)
		x.state()
		x.write("still there?")
	},
	"data, then a reset": func(x *transcript, p far) {
		p.send("abc")
		x.read(9)
		p.rst()
		x.read(9)
		x.read(9)
		x.write("x")
		x.state()
	},
	"reset noticed by a write": func(x *transcript, p far) {
		p.rst()
		x.write("x")
		x.write("x")
		x.read(9)
		x.state()
	},
	"reset noticed by asking": func(x *transcript, p far) {
		p.rst()
		x.state()
		x.read(9)
		x.shut()
	},
	"both ends of stream, ours first": func(x *transcript, p far) {
		x.write("bye")
		x.shut()
		x.saw(p.recv())
		x.write("more")
		p.fin()
		x.read(9)
		x.state()
		x.shut()
	},
	"both ends of stream, theirs first": func(x *transcript, p far) {
		p.fin()
		x.read(9)
		x.shut()
		x.saw(p.recv())
		x.state()
	},
	"reset after the end of stream": func(x *transcript, p far) {
		p.fin()
		x.read(9)
		p.rst()
		x.write("x")
		x.write("x")
		x.read(9)
	},
	"closed with everything read": func(x *transcript, p far) {
		p.send("abc")
		x.read(9)
		x.write("bye")
		_ = x.g.sys.Close(x.fd)
		x.fd = -1
		x.saw(p.recv())
	},
	"closed with input unread": func(x *transcript, p far) {
		p.send("abc")
		_ = x.g.sys.Close(x.fd)
		x.fd = -1
		x.saw(p.recv())
	},
}

func playOn(g *ground, name string) []string {
	fd, p := g.open()
	x := &transcript{g: g, fd: fd}
	stories[name](x, p)
	if x.fd >= 0 {
		_ = g.sys.Close(x.fd)
	}
	return x.lines
}

// refused is the story of a Dial to nobody.
func refused(g *ground) []string {
	x := &transcript{g: g}
	fd, err := g.sys.Connect(netip.AddrPort{}, g.dead)
	if err != nil {
		return []string{"connect-error 0 E111", "connect-error 0 E107"} // some kernels know at once
	}
	x.note("connect-error", 0, g.sys.ConnectErr(fd))
	x.note("connect-error", 0, g.sys.ConnectErr(fd))
	_ = g.sys.Close(fd)
	return x.lines
}

// TestWorldAnswersAsLinuxDoes plays the same short stories on the kernel of this machine and on a world.
func TestWorldAnswersAsLinuxDoes(t *testing.T) {
	kernel := realGround(t)
	world := simGround(t)
	for name := range stories {
		if got, want := playOn(world, name), playOn(kernel, name); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s:\nworld: %s\nLinux: %s", name, strings.Join(got, ", "), strings.Join(want, ", "))
		}
	}
	if got, want := refused(world), refused(kernel); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("dial of nobody:\nworld: %v\nLinux: %v", got, want)
	}
}

func simGround(t *testing.T) *ground {
	w := sim.New(sim.Config{BufferBytes: func(*rand.Rand) int { return 1 << 16 }})
	_, s, err := w.Loop(0)
	if err != nil {
		t.Fatal(err)
	}
	lfd, addr, err := s.Listen(":0", 16, poll.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &ground{
		sys: s, dead: netip.MustParseAddrPort("10.9.9.9:9"),
		open: func() (int, far) {
			p := w.Connect(addr)
			fd, err := s.Accept(lfd)
			if err != nil {
				t.Fatal(err)
			}
			return fd, simFar{p}
		},
	}
}

type simFar struct{ p *sim.Peer }

func (f simFar) send(b string) { _, _ = f.p.Send([]byte(b)) }
func (f simFar) fin()          { f.p.ShutdownWrite() }
func (f simFar) rst()          { f.p.Reset() }
func (f simFar) recv() string {
	var all []byte
	buf := make([]byte, 64)
	for {
		n, err := f.p.Recv(buf)
		if all = append(all, buf[:n]...); err != nil {
			return ending(all, err)
		}
	}
}

func ending(all []byte, err error) string {
	end := "end of stream"
	if strings.Contains(err.Error(), "reset") {
		end = "reset"
	}
	return fmt.Sprintf("%q, %s", all, end)
}

// realGround uses loopback: what one end does is known at the other when the call returns.
func realGround(t *testing.T) *ground {
	p, s, err := poll.Open()
	if err != nil {
		t.Skipf("no real poller here: %v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	lfd, addr, err := s.Listen("127.0.0.1:0", 16, poll.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(lfd) })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := free.Addr().(*net.TCPAddr).AddrPort()
	_ = free.Close()
	return &ground{
		sys: s, dead: dead,
		open: func() (int, far) {
			c, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			fd, err := s.Accept(lfd)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return fd, realFar{c.(*net.TCPConn)}
		},
	}
}

type realFar struct{ c *net.TCPConn }

func (f realFar) send(b string) { _, _ = f.c.Write([]byte(b)) }
func (f realFar) fin()          { _ = f.c.CloseWrite() }
func (f realFar) rst()          { _ = f.c.SetLinger(0); _ = f.c.Close() }
func (f realFar) recv() string {
	var all []byte
	buf := make([]byte, 64)
	for {
		n, err := f.c.Read(buf)
		if all = append(all, buf[:n]...); err != nil {
			return ending(all, err)
		}
	}
}
