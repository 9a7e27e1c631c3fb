package sim_test

import (
	"io"
	"syscall"
	"time"

	"shoal/loop/sim"
)

// client is the script of one peer: it sends requests in random chops, reads now and then, and ends somehow.
type client struct {
	o  *oracle
	st *story
	p  *sim.Peer
	t  *track // nil until a loop opened the conn

	left     int    // requests still to make
	out      []byte // made and not sent
	sent     []byte // given to the kernel
	got      int    // bytes received that are in t.want
	lastAt   int    // bytes received of t.last; -1 = none
	finished bool   // sends nothing more
	ended    bool   // received the end of stream, or an error
	done     bool
	stall    time.Duration // reads nothing until then
	pace     time.Duration // between steps, at most
	greedy   int           // bytes received at once, at most
	quitAt   time.Duration // closed both directions then; 0 = not, or under faults
	again    func()        // called when it is done
	ending   int           // how it ends: 0 idle, 1 half-close, 2 close, 3 reset
}

func (st *story) newClient(p *sim.Peer) *client {
	rng := st.rng
	c := &client{
		o: st.o, st: st, p: p, left: rng.IntN(1 + st.requests), lastAt: -1, ending: rng.IntN(4),
		pace: time.Duration(1+rng.IntN(60)) * time.Millisecond, greedy: 1 + rng.IntN(1<<rng.UintN(16)),
	}
	if st.calm {
		p.SetBuffers(1<<16, 1<<16)
	}
	st.o.clients[p] = c
	st.clients = append(st.clients, c)
	return c
}

// start lets the script take its steps.
func (c *client) start() {
	at := c.st.onGrid(c.st.w.Elapsed() + time.Duration(c.st.rng.Int64N(int64(c.pace))))
	c.st.w.After(at-c.st.w.Elapsed(), func() {
		if c.step(); !c.done {
			c.start()
		} else if c.again != nil {
			c.again()
		}
	})
}

func (c *client) step() {
	if c.p.Refused() != nil {
		c.done = true
		return
	}
	rng := c.st.rng
	if !c.st.calm && !c.finished && rng.IntN(3) > 0 {
		c.request()
	}
	if len(c.out) > 0 && !c.finished {
		c.send()
	}
	if c.stall <= c.st.w.Elapsed() || c.st.calm {
		for range 1 + rng.IntN(3) {
			c.receive()
		}
		if !c.st.calm && rng.IntN(40) == 0 {
			c.stall = c.st.w.Elapsed() + time.Duration(rng.IntN(5000))*time.Millisecond
		}
	}
	if !c.done && !c.ended && c.left == 0 && rng.IntN(10) == 0 {
		c.end()
	}
}

// request makes the next one.
func (c *client) request() {
	if c.left == 0 || len(c.out) > 4096 {
		return
	}
	c.left--
	st := c.st
	op := st.ops[st.rng.IntN(len(st.ops))]
	c.out = append(c.out, frame(op, st.noise(st.rng.IntN(1<<st.rng.UintN(13))))...)
}

func (c *client) send() {
	n := 1 + c.st.rng.IntN(len(c.out))
	if c.st.rng.IntN(3) == 0 {
		n = 1 + c.st.rng.IntN(min(len(c.out), 5))
	}
	if c.st.calm {
		n = len(c.out)
	}
	n, err := c.p.Send(c.out[:n])
	if err != nil {
		c.finished = true // whoever reads will learn why
		return
	}
	c.sent = append(c.sent, c.out[:n]...)
	c.out = c.out[n:]
}

func (c *client) receive() {
	if c.done || c.ended {
		return
	}
	buf := c.st.buf[:1+c.st.rng.IntN(c.greedy)]
	if c.st.calm {
		buf = c.st.buf
	}
	switch n, err := c.p.Recv(buf); {
	case n > 0:
		c.o.received(c, buf[:n])
	case err == io.EOF:
		c.ended = true
		c.o.ended(c)
		if c.st.rng.IntN(10) > 0 { // the others leave the loop waiting
			c.quit()
		}
	case err != nil:
		if err != syscall.ECONNRESET && err != syscall.EPIPE {
			c.o.fail("peer %d: receive: %v", c.p.Index(), err)
		}
		c.ended = true
		c.quit()
	}
}

func (c *client) quit() {
	c.finished, c.done = true, true
	if c.st.calm && c.quitAt == 0 {
		c.quitAt = c.st.w.Elapsed()
	}
	c.p.Close()
}

// end does what the client's plan says when nothing is left to ask.
func (c *client) end() {
	if c.finished {
		return
	}
	switch c.ending {
	case 1:
		c.finished = true
		c.p.ShutdownWrite()
	case 2:
		c.quit()
	case 3:
		c.finished, c.done = true, true
		c.p.Reset()
	}
}
