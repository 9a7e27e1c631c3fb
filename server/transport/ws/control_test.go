package ws

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/slab"
	"shoal/server/rate"
)

// few allows n control frames, and no more while the test runs.
func few(n int) Config {
	return Config{ControlFrames: rate.Limit{Count: 1, Interval: 24 * time.Hour / time.Duration(n), Burst: n}}
}

func controls(op ws.Op, n int) []byte {
	return bytes.Repeat(ws.AppendMaskedFrame(nil, op, true, false, mask, []byte("p")), n)
}

func TestAFloodOfControlFramesEndsTheConn(t *testing.T) {
	r := newRig(t, few(30))
	for _, c := range []struct {
		name         string
		pings, pongs int
		flood        uint32 // what the landing closes with; 0: it does nothing
		code         int
	}{
		{"pings", 31, 0, 3509, 3509},
		{"pongs", 0, 31, 3509, 3509},
		{"both", 10, 21, 3509, 3509},
		{"a landing that does nothing", 31, 0, 0, 1008},
		{"as many as there may be", 15, 15, 3509, 1000},
	} {
		r.on(func() { r.journal.flood = c.flood })
		before := r.tr.Stats().Floods.Load()
		p := r.dial("/")
		p.write(slices.Concat(controls(ws.PongOp, c.pongs), controls(ws.PingOp, c.pings), ws.AppendMasked(nil, ws.Text, mask, []byte("behind")),
			ws.AppendMasked(nil, ws.CloseOp, mask, []byte("\x03\xe8"))))
		answered := 0
		for {
			first, payload := p.frame()
			if first == 0x8a {
				answered++
				continue
			}
			if code := int(payload[0])<<8 | int(payload[1]); first != 0x88 || code != c.code {
				t.Errorf("%s: frame %#x, code %d, want %d", c.name, first, code, c.code)
			}
			break
		}
		p.conn.Close()
		flooded := c.code != 1000
		if want := min(c.pings, max(30-c.pongs, 0)); answered != want {
			t.Errorf("%s: %d pings were answered, want %d", c.name, answered, want)
		}
		got := r.settle()
		if slices.Contains(got, "flooded") != flooded || slices.Contains(got, `text 6 "behind"`) == flooded {
			t.Errorf("%s: the landing was told %q", c.name, got)
		}
		if n := r.tr.Stats().Floods.Load() - before; n != map[bool]uint64{true: 1}[flooded] {
			t.Errorf("%s: %d floods were counted", c.name, n)
		}
	}
}

// A client that is pinged by frames answers for as long as it is asked.
func TestAPongThatWasAskedForIsNone(t *testing.T) {
	r := newRig(t, few(3))
	p := r.dial("/")
	for i := range 20 {
		r.on(func() { r.l.Each(func(slot uint32, _ loop.Kind) bool { r.tr.Ping(slot); return true }) })
		if first, _ := p.frame(); first != 0x89 {
			t.Fatalf("frame %#x, want ping %d", first, i)
		}
		p.write(controls(ws.PongOp, 1))
		for end := time.Now().Add(patience); r.tr.Stats().PongsIn.Load() <= uint64(i); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("pong %d was not read", i)
			}
		}
	}
	p.write(controls(ws.PongOp, 4)) // one ping is answered once
	if code, reason := p.closed(); code != 1008 || reason == "" {
		t.Errorf("closed with %d %q", code, reason)
	}
	p.conn.Close()
	pongs := 0
	for _, line := range r.settle() {
		if line == "pong" {
			pongs++
		}
	}
	if pongs != 23 {
		t.Errorf("the landing was told of %d pongs, want the 20 asked for and 3", pongs)
	}
}

// One conn after the other has the same slot, and none the pings of another.
func TestEachConnHasControlFramesOfItsOwn(t *testing.T) {
	r := newRig(t, few(5))
	for i := range 20 {
		p := r.dial("/")
		p.write(controls(ws.PingOp, 5))
		p.send(ws.CloseOp, "\x03\xe8")
		if code, _ := p.closed(); code != 1000 {
			t.Fatalf("conn %d was closed with %d", i, code)
		}
		p.conn.Close()
		r.settle()
	}
	r.on(func() {
		r.tr.control.Take(9*slab.ChunkSlots, time.Now()) // as a burst leaves it
		burst := r.tr.control.Bytes()
		if r.tr.Trim(); r.tr.control.Bytes() > burst-4*slab.ChunkSlots {
			t.Errorf("%d bytes after a burst, %d in it", r.tr.control.Bytes(), burst)
		}
	})
}

func TestControlFramesAreNotLimitedUnlessAsked(t *testing.T) {
	r := newRig(t, Config{})
	p := r.dial("/")
	for range 10 {
		p.write(controls(ws.PingOp, 100))
		for i := range 100 {
			if first, payload := p.frame(); first != 0x8a || payload != "p" {
				t.Fatalf("ping %d was answered by %#x %q", i, first, payload)
			}
		}
	}
	if _, err := New(nil, nil, nil, nil, Config{ControlFrames: rate.Limit{Count: 3}}); err == nil {
		t.Error("so many control frames in no time were taken for a limit")
	}
}
