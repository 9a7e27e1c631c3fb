package ws

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/proto"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/buffer"
)

const patience = 20 * time.Second

// journal is a landing that writes down what it is told, and does what a message says.
type journal struct {
	mu    sync.Mutex
	t     *Transport
	lines []string
	hook  func(slot uint32, payload string)
	busy  func(slot uint32, payload string) bool // does the session wait after this message?
	flood uint32                                 // close code for a flood; 0: left to the transport
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was written down and forgets it; "alive" is left out.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.lines
	j.lines = nil
	return out
}

func (j *journal) Open(_ uint32, enc proto.Encoding, nativePing, deflated bool) {
	j.note("open %s native=%t deflated=%t", enc, nativePing, deflated)
}
func (j *journal) Alive(uint32) {}
func (j *journal) Headers(_ uint32, pairs [][2][]byte) {
	for _, h := range pairs {
		j.note("header %s: %s", h[0], h[1])
	}
}
func (j *journal) Message(slot uint32, op ws.Op, payload []byte) bool {
	j.note("%s %d %.40q", op, len(payload), payload)
	if j.hook != nil {
		j.hook(slot, string(payload))
	}
	return j.busy != nil && j.busy(slot, string(payload))
}
func (j *journal) Pong(uint32)  { j.note("pong") }
func (j *journal) Timer(uint32) {}
func (j *journal) Shutdown(slot uint32) {
	j.t.Close(slot, 3001, "shutdown", loop.ReasonShutdown)
}
func (j *journal) Cut(slot uint32) {
	j.note("cut")
	j.t.Close(slot, 3008, "slow", loop.ReasonSlow)
}
func (j *journal) Flooded(slot uint32) {
	j.note("flooded")
	if j.flood != 0 {
		j.t.Close(slot, j.flood, "flood", loop.ReasonLimit)
	}
}
func (j *journal) Closed(_ uint32, why loop.Reason) { j.note("closed %s", why) }

// gate reads one whole request and upgrades; what fails is answered.
type gate struct {
	l *loop.Loop
	t *Transport
}

func (g *gate) Open(uint32) {}
func (g *gate) Data(slot uint32, p []byte) {
	var parser handshake.Parser
	var req handshake.Request
	n, status := parser.Parse(p, handshake.Limits{}, &req)
	if status == handshake.Done {
		status = g.t.Upgrade(slot, &req, p[n:])
	}
	if status != handshake.Done {
		g.l.CloseAfter(slot, handshake.AppendRefusal(nil, status), loop.ReasonProtocol)
	}
}
func (g *gate) EOF(slot uint32)                   { g.l.Close(slot, loop.ReasonPeer) }
func (g *gate) Timer(uint32)                      {}
func (g *gate) Closed(uint32, loop.Reason, error) {}

type rig struct {
	t       *testing.T
	l       *loop.Loop
	tr      *Transport
	journal *journal
	buffers *buffer.Pool
	addr    string
	panics  uint64 // that the test means to happen
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, journal: &journal{}, buffers: buffer.New(buffer.Config{})}
	cfg.Kind = 1
	group, err := loop.New(loop.Config{Loops: 1, TickPeriod: 20 * time.Millisecond}, func(l *loop.Loop) []loop.Handler {
		tr, err := New(l, r.journal, buffer.NewTable(r.buffers), codec, cfg)
		if err != nil {
			t.Error(err)
			return nil
		}
		r.l, r.tr, r.journal.t = l, tr, tr
		return []loop.Handler{&gate{l, tr}, tr}
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := group.Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addr.String()
	ended := make(chan error, 1)
	go func() { ended <- group.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(group.Shutdown(ctx), <-ended); err != nil {
			t.Error(err)
		}
		if n := group.Stats().Panics; n != r.panics {
			t.Errorf("%d panics", n)
		}
		if n, _ := r.buffers.InUse(); n != 0 {
			t.Errorf("%d buffers are still borrowed", n)
		}
	})
	return r
}

// on runs f on the loop and waits for it.
func (r *rig) on(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if err := r.l.Post(visit{func() { defer close(done); f() }}); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		r.t.Fatal("the loop does not answer")
	}
}

// hook sets what the landing does with a message.
func (r *rig) hook(f func(slot uint32, payload string)) { r.on(func() { r.journal.hook = f }) }

type visit struct{ f func() }

func (v visit) Deliver(*loop.Loop) { v.f() }

// peer is the client's end.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	res  *http.Response
}

func (r *rig) dial(target string, lines ...string) *peer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	p := &peer{t: r.t, conn: conn, in: bufio.NewReader(conn)}
	p.write([]byte("GET " + target + " HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, "", ""), "\r\n")))
	if p.res, err = http.ReadResponse(p.in, nil); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (p *peer) write(b []byte) { _, _ = p.conn.Write(b) }

var mask = [4]byte{9, 8, 7, 6}

func (p *peer) send(op ws.Op, payload string) {
	p.write(ws.AppendMasked(nil, op, mask, []byte(payload)))
}

// frame reads a short frame: first byte and payload.
func (p *peer) frame() (byte, string) {
	p.t.Helper()
	var h [4]byte
	if _, err := io.ReadFull(p.in, h[:2]); err != nil {
		p.t.Fatalf("no frame: %v", err)
	}
	n := int(h[1])
	if n == 126 {
		if _, err := io.ReadFull(p.in, h[2:]); err != nil {
			p.t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(h[2:]))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.in, b); err != nil {
		p.t.Fatal(err)
	}
	return h[0], string(b)
}

// closed reads the close frame and the end.
func (p *peer) closed() (int, string) {
	p.t.Helper()
	for {
		first, payload := p.frame()
		if first != 0x88 {
			continue
		}
		if _, err := p.in.ReadByte(); err == nil {
			p.t.Fatal("bytes follow the close frame")
		}
		if len(payload) < 2 {
			return 1005, ""
		}
		return int(binary.BigEndian.Uint16([]byte(payload))), payload[2:]
	}
}

// settle waits until the conn is gone, and returns the journal.
func (r *rig) settle() []string {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		open := 0
		r.on(func() { open = r.l.Conns() })
		if open == 0 {
			return r.journal.take()
		}
	}
	r.t.Fatal("the connection does not end")
	return nil
}
