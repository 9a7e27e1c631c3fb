package ws

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/loop/sim"
	"shoal/pool/buffer"
)

// office is a landing that answers every line of every message with its number, length
// and sum, at once or, when patience says so, after a while by a posted outcome. As the
// node does it keeps the rest of a message and asks for more when it has done all of it.
type office struct {
	s        *stage
	patience func(slot uint32, n int) time.Duration // 0 at once
	desks    map[uint32]*desk
	waits    int
}

// desk is what the office has of a conn.
type desk struct {
	count  int
	op     ws.Op
	lines  []string // to be answered
	answer string   // that waits
}

func (o *office) Open(slot uint32, _ proto.Encoding, _, _ bool) { o.desks[slot] = &desk{} }
func (o *office) Headers(uint32, [][2][]byte)                   {}
func (o *office) Alive(uint32)                                  {}
func (o *office) Pong(slot uint32)                              { o.s.tr.Frame(slot, ws.Text, []byte("pong seen")) }
func (o *office) Timer(uint32)                                  {}
func (o *office) Flooded(uint32)                                {}
func (o *office) Cut(slot uint32)                               { o.s.tr.Close(slot, 3008, "slow", loop.ReasonSlow) }
func (o *office) Shutdown(slot uint32)                          { o.s.tr.Close(slot, 3001, "shutdown", loop.ReasonShutdown) }
func (o *office) Closed(slot uint32, _ loop.Reason)             { delete(o.desks, slot) }

func (o *office) Message(slot uint32, op ws.Op, payload []byte) bool {
	d := o.desks[slot]
	if d.answer != "" || len(d.lines) > 0 {
		o.s.t.Errorf("a message for a busy session")
	}
	d.op, d.lines = op, strings.Split(string(payload), "\n")
	return o.work(slot, d)
}

// work answers lines until one has to wait.
func (o *office) work(slot uint32, d *desk) (busy bool) {
	for len(d.lines) > 0 {
		line := d.lines[0]
		d.lines = d.lines[1:]
		answer := fmt.Sprintf("%d: %s %d %08x", d.count, d.op, len(line), crc32.ChecksumIEEE([]byte(line)))
		wait := o.patience(slot, d.count)
		d.count++
		if wait > 0 {
			d.answer = answer
			o.waits++
			id := o.s.l.ID(slot)
			o.s.w.After(wait, func() {
				if err := o.s.l.Post(outcome{o, id}); err != nil {
					o.s.t.Error(err)
				}
			})
			return true
		}
		o.s.tr.Frame(slot, d.op, []byte(answer))
	}
	return false
}

// outcome is the end of a wait.
type outcome struct {
	o  *office
	id loop.ConnID
}

func (m outcome) Deliver(l *loop.Loop) {
	slot, ok := l.Lookup(m.id)
	d := m.o.desks[slot]
	if !ok || d == nil || d.answer == "" {
		return
	}
	m.o.s.tr.Frame(slot, d.op, []byte(d.answer))
	d.answer = ""
	if !m.o.work(slot, d) {
		m.o.s.tr.Resume(slot)
	}
}

// stage is a simulated kernel with one loop and a transport.
type stage struct {
	t       *testing.T
	w       *sim.World
	l       *loop.Loop
	tr      *Transport
	office  *office
	group   *loop.Group
	buffers *buffer.Pool
	peakIn  int64 // most bytes borrowed after any pass
	actors  []*actor
	connect func(a *actor)
}

func newStage(t *testing.T, seed uint64, faults sim.Faults, cfg Config) *stage {
	t.Helper()
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, buffers: buffer.New(buffer.Config{})}
	s.office = &office{s: s, desks: map[uint32]*desk{}, patience: func(uint32, int) time.Duration { return 0 }}
	s.w = sim.New(sim.Config{Seed: seed, Descriptors: 4096, Faults: faults, AfterPass: func(int) error {
		_, n := s.buffers.InUse()
		s.peakIn = max(s.peakIn, n)
		return s.tr.Validate()
	}})
	cfg.Kind, cfg.Deflate, cfg.DeflateBytesMin = 1, &deflate.Config{}, 1<<20
	s.group, err = loop.New(loop.Config{Loops: 1, NewPoller: s.w.Loop}, func(l *loop.Loop) []loop.Handler {
		tr, err := New(l, s.office, buffer.NewTable(s.buffers), codec, cfg)
		if err != nil {
			t.Error(err)
			return nil
		}
		s.l, s.tr = l, tr
		return []loop.Handler{&porch{gate{l, tr}, map[uint32][]byte{}}, tr}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.group.Listen(":0", 0)
	if err != nil {
		t.Fatal(err)
	}
	s.connect = func(a *actor) {
		a.p = s.w.Connect(addr)
		a.p.SetBuffers(1<<20, 1<<17)
	}
	return s
}

// play runs the world until the given time and looks at what is left.
func (s *stage) play(until time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	s.w.After(until, func() {
		for _, a := range s.actors {
			a.receive()
			a.gone = a.p.ClosedByLoop()
		}
		s.w.Outside(1, cancel)
	})
	if err := s.group.Run(ctx); err != nil {
		s.t.Fatal(err)
	}
	if n, _ := s.buffers.InUse(); n != 0 {
		s.t.Errorf("%d buffers are still borrowed", n)
	}
	if n := s.group.Stats().Panics; n != 0 {
		s.t.Errorf("%d panics", n)
	}
}

// porch is a gate for heads that come in pieces.
type porch struct {
	gate
	head map[uint32][]byte
}

func (p *porch) Open(slot uint32) { delete(p.head, slot) }
func (p *porch) Data(slot uint32, b []byte) {
	p.head[slot] = append(p.head[slot], b...)
	if head := p.head[slot]; bytes.Contains(head, []byte("\r\n\r\n")) {
		delete(p.head, slot)
		p.gate.Data(slot, head)
	}
}

const opening = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

// actor is a peer that upgrades and then sends pieces.
type actor struct {
	s    *stage
	p    *sim.Peer
	got  []byte
	gone bool // the loop closed the conn before the play was over
	half bool // ends its stream after the last piece
}

// actor brings one on the stage. The first piece goes with the request when glued.
func (s *stage) actor(pieces [][]byte, glued, half bool) *actor {
	a := &actor{s: s, half: half}
	s.actors = append(s.actors, a)
	s.w.After(0, func() { s.connect(a) })
	head := []byte(opening)
	if glued && len(pieces) > 0 {
		head, pieces = append(head, pieces[0]...), pieces[1:]
	}
	s.w.After(time.Millisecond, func() { a.send(head) })
	for i, piece := range pieces {
		s.w.After(time.Duration(10+5*i)*time.Millisecond, func() { a.send(piece) })
	}
	if half {
		s.w.After(time.Duration(10+5*len(pieces))*time.Millisecond, func() { a.p.ShutdownWrite() })
	}
	return a
}

func (a *actor) send(b []byte) {
	n, err := a.p.Send(b)
	if err == nil && n < len(b) {
		a.s.t.Fatalf("the stage's buffers are too small: %d of %d bytes", n, len(b))
	}
}

func (a *actor) receive() {
	b := make([]byte, 1<<16)
	for {
		n, err := a.p.Recv(b)
		a.got = append(a.got, b[:n]...)
		if n == 0 || err != nil {
			return
		}
	}
}

// everything is a stream with all that a client may send; short, so that it can be cut
// at every byte.
func everything(t *testing.T, goodbye bool) []byte {
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	squeezed, err := codec.Compress(nil, []byte(strings.Repeat("squeeze ", 30)))
	if err != nil {
		t.Fatal(err)
	}
	frame := func(op ws.Op, fin, rsv1 bool, p string) []byte {
		return ws.AppendMaskedFrame(nil, op, fin, rsv1, mask, []byte(p))
	}
	stream := slices.Concat(
		frame(ws.Text, true, false, "first"), frame(ws.Text, true, false, "{}"), frame(ws.Text, true, false, ""),
		frame(ws.PingOp, true, false, "p1"), frame(ws.Text, true, false, "after a ping"),
		frame(ws.Text, false, false, "be"), frame(ws.PingOp, true, false, "p2"), frame(ws.Continuation, false, false, ""),
		frame(ws.PongOp, true, false, ""), frame(ws.Continuation, true, false, "gun é"),
		frame(ws.Binary, true, false, strings.Repeat("\x00\xff", 80)),
		frame(ws.Text, true, true, string(squeezed)),
		frame(ws.Binary, false, true, string(squeezed[:7])), frame(ws.Continuation, true, false, string(squeezed[7:])),
		frame(ws.Text, true, false, "several\n\nin one\nframe"), frame(ws.Text, false, false, "and\nin"), frame(ws.Continuation, true, false, " two\n"),
		frame(ws.Text, true, false, "x"), frame(ws.Text, true, false, "y"), frame(ws.Text, true, false, "z"),
	)
	if goodbye {
		stream = append(stream, frame(ws.CloseOp, true, false, "\x03\xe8bye")...)
	}
	return stream
}

// undisturbed is what the peer gets when nothing waits and nothing is cut.
func undisturbed(t *testing.T, stream []byte, half bool) []byte {
	s := newStage(t, 1, sim.Faults{}, Config{})
	a := s.actor([][]byte{stream}, false, half)
	s.play(10 * time.Second)
	if n := bytes.Count(a.got, []byte(": ")); n < 18 {
		t.Fatalf("the undisturbed run has only %d answers:\n%q", n, a.got)
	}
	return a.got
}

// Wherever the stream is cut in two and whichever messages wait, the peer gets the same
// bytes.
func TestBusySessionsAnswerTheSameCutAtEveryByte(t *testing.T) {
	for _, half := range []bool{false, true} {
		stream := everything(t, !half)
		want := undisturbed(t, stream, half)
		for name, patience := range map[string]func(slot uint32, n int) time.Duration{
			"all":    func(uint32, int) time.Duration { return 3 * time.Millisecond },
			"second": func(_ uint32, n int) time.Duration { return time.Duration(n%2) * 40 * time.Millisecond },
			"first":  waitFor(0, 300*time.Millisecond),
		} {
			s := newStage(t, 7, sim.Faults{}, Config{})
			s.office.patience = patience
			for cut := range stream {
				s.actor([][]byte{stream[:cut], stream[cut:]}, cut%2 == 0, half)
			}
			s.play(30 * time.Second)
			for cut, a := range s.actors {
				if !bytes.Equal(a.got, want) || !a.gone {
					t.Fatalf("%s wait, cut at %d, half-closed %t: gone %t, got\n%q\nwant\n%q", name, cut, half, a.gone, a.got, want)
				}
			}
			if s.office.waits < len(stream) {
				t.Errorf("%s: only %d waits", name, s.office.waits)
			}
		}
	}
}

// The same under a kernel that reads and writes as little as it may, in any pieces.
func TestBusySessionsAnswerTheSameUnderFaults(t *testing.T) {
	streams := [2][]byte{everything(t, true), everything(t, false)}
	want := [2][]byte{undisturbed(t, streams[0], false), undisturbed(t, streams[1], true)}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 9))
		faults := sim.RandomFaults(rng)
		faults.Break, faults.AcceptAborted, faults.AcceptENFILE, faults.AddFails, faults.ClockJump = 0, 0, 0, 0, 0
		halves := int(seed & 1)
		if halves == 1 { // at the end of the peer's stream a backlog is lost, busy or not
			faults.ShortWrite, faults.Again = 0, 0
		}
		s := newStage(t, seed, faults, Config{})
		s.office.patience = func(uint32, int) time.Duration {
			return time.Duration(rng.IntN(2)*rng.IntN(60)) * time.Millisecond
		}
		for i := range 30 {
			var pieces [][]byte
			half := i & halves
			for rest := streams[half]; len(rest) > 0; {
				n := min(len(rest), 1+rng.IntN(1+rng.IntN(200)))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			s.actor(pieces, rng.IntN(2) == 0, half == 1)
		}
		s.play(60 * time.Second)
		for i, a := range s.actors {
			if !bytes.Equal(a.got, want[i&halves]) || !a.gone {
				t.Fatalf("seed %d, peer %d: gone %t, got\n%q\nwant\n%q", seed, i, a.gone, a.got, want[i&halves])
			}
		}
	}
}

// Peers that break at any moment leave nothing behind; the stage looks.
func TestBusyConnsBreakAtAnyMoment(t *testing.T) {
	stream := everything(t, true)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 10))
		faults := sim.RandomFaults(rng)
		faults.Break = 0.05 * rng.Float64()
		s := newStage(t, seed, faults, Config{MessageTicks: loop.Tick(rng.IntN(3))})
		s.office.patience = func(uint32, int) time.Duration {
			return time.Duration(rng.IntN(2)*rng.IntN(400)) * time.Millisecond
		}
		for range 30 {
			cut := rng.IntN(len(stream))
			a := s.actor([][]byte{stream[:cut], stream[cut:]}, rng.IntN(2) == 0, false)
			at := time.Duration(1+rng.IntN(800)) * time.Millisecond
			s.w.After(at, [...]func(){
				func() { a.p.Reset() }, func() { a.p.Close() }, func() { a.p.ShutdownWrite() }, func() {},
			}[rng.IntN(4)])
		}
		s.w.After(400*time.Millisecond, func() { // the server lets go of some by itself
			var slots []uint32
			s.l.Each(func(slot uint32, _ loop.Kind) bool { slots = append(slots, slot); return true })
			for _, slot := range slots {
				switch rng.IntN(4) {
				case 0:
					s.tr.Close(slot, 3503, "go", loop.ReasonServer)
				case 1:
					s.tr.Release(slot)
				case 2:
					s.tr.Shutdown(slot)
				}
			}
		})
		s.play(60 * time.Second)
	}
}
