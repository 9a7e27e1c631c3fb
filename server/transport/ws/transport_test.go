package ws

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/codec/deflate"
	"shoal/codec/handshake"
	"shoal/codec/ws"
	"shoal/loop"
	"shoal/pool/slab"
)

func TestOpeningSettlesEncodingAndPings(t *testing.T) {
	r := newRig(t, Config{Subprotocols: true, Deflate: &deflate.Config{}})
	for _, c := range []struct{ target, header, want, protocol string }{
		{"/", "", "open json native=false deflated=false", ""},
		{"/?format=protobuf", "", "open protobuf native=false deflated=false", ""},
		{"/?a=b&cf_protocol=protobuf", "", "open protobuf native=false deflated=false", ""},
		{"/?format=msgpack", "", "open msgpack native=false deflated=false", ""},
		{"/?format=msgpack", "Sec-WebSocket-Protocol: centrifuge-protobuf", "open protobuf native=false deflated=false", "centrifuge-protobuf"},
		{"/", "Sec-WebSocket-Protocol: shoal-msgpack", "open msgpack native=false deflated=false", "shoal-msgpack"},
		{"/?format=protobuf", "Sec-WebSocket-Protocol: x, shoal-msgpack, centrifuge-json", "open msgpack native=false deflated=false", "shoal-msgpack"},
		{"/?format=protobufs&xformat=protobuf", "", "open json native=false deflated=false", ""},
		{"/?cf_ws_frame_ping_pong=true", "", "open json native=true deflated=false", ""},
		{"/?cf_ws_frame_ping_pong=false", "", "open json native=false deflated=false", ""},
		{"/", "Sec-WebSocket-Protocol: centrifuge-protobuf", "open protobuf native=false deflated=false", "centrifuge-protobuf"},
		{"/?format=protobuf", "Sec-WebSocket-Protocol: centrifuge-json", "open json native=false deflated=false", "centrifuge-json"},
		{"/", "Sec-WebSocket-Protocol: unknown", "open json native=false deflated=false", ""},
		{"/", "Sec-WebSocket-Extensions: permessage-deflate", "open json native=false deflated=true", ""},
		{"/", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10", "open json native=false deflated=false", ""},
	} {
		var lines []string
		if c.header != "" {
			lines = []string{c.header}
		}
		p := r.dial(c.target, lines...)
		p.conn.Close()
		got := r.settle()
		if got[0] != c.want || p.res.Header.Get("Sec-WebSocket-Protocol") != c.protocol {
			t.Errorf("%s %s: %s, protocol %q; want %s, %q", c.target, c.header, got[0], p.res.Header.Get("Sec-WebSocket-Protocol"), c.want, c.protocol)
		}
	}
}

func TestHeadersAreKeptWhenAsked(t *testing.T) {
	r := newRig(t, Config{KeepHeaders: []string{"x-request-id", "cookie", "x-none"}})
	for _, c := range []struct{ lines, want []string }{
		{[]string{"X-Other: 1", "X-Request-Idx: 2"}, nil},
		{[]string{"X-REQUEST-id:  7 ", "X-Other: 1", "Cookie: a=b", "cookie: c=d", "X-None:"},
			[]string{"header x-request-id: 7", "header cookie: a=b", "header cookie: c=d", "header x-none: "}},
	} {
		p := r.dial("/", c.lines...)
		p.conn.Close()
		got := r.settle()
		if want := append(c.want, "open json native=false deflated=false", "closed peer-closed"); !slices.Equal(got, want) {
			t.Errorf("%q: the landing was told %q, want %q", c.lines, got, want)
		}
	}
	r.on(func() {
		for _, h := range r.tr.headers[:cap(r.tr.headers)] {
			if h[1] != nil {
				t.Error("the transport still refers to a request")
			}
		}
	})
}

func TestKeepingHeadersDoesNotAllocate(t *testing.T) {
	tr := &Transport{land: &Echo{}, keep: [][]byte{[]byte("cookie"), []byte("x-request-id")}}
	var parser handshake.Parser
	var req handshake.Request
	if _, s := parser.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\nCookie: a\r\nX-Request-Id: 9\r\nX-More: 1\r\n\r\n"), handshake.Limits{}, &req); s != handshake.Done {
		t.Fatal(s)
	}
	if n := testing.AllocsPerRun(100, func() { tr.keepHeaders(1, &req) }); n != 0 || cap(tr.headers) < 2 {
		t.Errorf("%v allocations, room for %d headers", n, cap(tr.headers))
	}
}

func TestKeepHeadersMustBeNames(t *testing.T) {
	for _, name := range []string{"", "Cookie", "a b", "a:", "a\r\n", "é"} {
		if _, err := New(nil, nil, nil, nil, Config{KeepHeaders: []string{"ok-1", name}}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

// However the bytes are cut, the landing is told the same.
func TestAnyChoppingGivesTheSameMessages(t *testing.T) {
	r := newRig(t, Config{Deflate: &deflate.Config{}})
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	squeezed, err := codec.Compress(nil, []byte(strings.Repeat("squeeze ", 300)))
	if err != nil {
		t.Fatal(err)
	}
	frame := func(op ws.Op, fin, rsv1 bool, p string) []byte {
		return ws.AppendMaskedFrame(nil, op, fin, rsv1, mask, []byte(p))
	}
	stream := slices.Concat(
		frame(ws.Text, true, false, "whole"), frame(ws.Text, true, false, ""),
		frame(ws.Text, false, false, "be"), frame(ws.PingOp, true, false, "p"), frame(ws.Continuation, false, false, ""),
		frame(ws.PongOp, true, false, ""), frame(ws.Continuation, true, false, "gun é"),
		frame(ws.Binary, true, false, strings.Repeat("\x00\xff", 40_00)),
		frame(ws.Text, true, true, string(squeezed)),
		frame(ws.Binary, false, true, string(squeezed[:7])), frame(ws.Continuation, true, false, string(squeezed[7:])),
		frame(ws.CloseOp, true, false, "\x03\xe8bye"),
	)
	want := []string{
		"open json native=false deflated=true", `text 5 "whole"`, `text 0 ""`, "pong", `text 8 "begun é"`,
		`binary 8000 ` + fmt.Sprintf("%.40q", strings.Repeat("\x00\xff", 4000)),
		`text 2400 ` + fmt.Sprintf("%.40q", strings.Repeat("squeeze ", 300)), `binary 2400 ` + fmt.Sprintf("%.40q", strings.Repeat("squeeze ", 300)),
		"closed peer-closed",
	}
	for _, chop := range []int{len(stream), 1, 2, 3, 5, 13, 100, 997} {
		p := r.dial("/", "Sec-WebSocket-Extensions: permessage-deflate")
		for piece := range slices.Chunk(stream, chop) {
			p.write(piece)
			if chop == 1 || chop == 13 { // each piece a Data of its own
				r.on(func() {})
			}
		}
		if first, payload := p.frame(); first != 0x8a || payload != "p" {
			t.Errorf("chop %d: the ping was answered by %#x %q", chop, first, payload)
		}
		if code, _ := p.closed(); code != 1000 {
			t.Errorf("chop %d: closed with %d", chop, code)
		}
		p.conn.Close()
		if got := r.settle(); !slices.Equal(got, want) {
			t.Errorf("chop %d: the landing was told\n%s\nwant\n%s", chop, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestNothingIsBorrowedBetweenMessages(t *testing.T) {
	r := newRig(t, Config{})
	p := r.dial("/")
	borrowed := func() (n int) {
		r.on(func() { n = r.tr.buffers.Len() })
		return n
	}
	wait := func(want int) {
		t.Helper()
		for end := time.Now().Add(patience); borrowed() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d buffers are borrowed, want %d", borrowed(), want)
			}
		}
	}
	whole := ws.AppendMasked(nil, ws.Text, mask, []byte("hello"))
	p.write(whole[:1])
	wait(1)
	p.write(whole[1:8])
	wait(1)
	p.write(whole[8:])
	wait(0)
	p.write(ws.AppendMaskedFrame(nil, ws.Text, false, false, mask, []byte("first ")))
	wait(1)
	p.write(ws.AppendMaskedFrame(nil, ws.Continuation, true, false, mask, []byte("second")))
	wait(0)
	p.write([]byte{0x89})
	wait(1)
	p.conn.Close()
	r.settle()
	wait(0)
}

// A message that panics gives back what it was collected in; newRig looks.
func TestAPanicKeepsNoBuffer(t *testing.T) {
	r := newRig(t, Config{})
	r.panics = 2
	r.hook(func(uint32, string) { panic("on purpose") })
	inPieces, fragmented := r.dial("/"), r.dial("/")
	whole := ws.AppendMasked(nil, ws.Text, mask, []byte("hello"))
	inPieces.write(whole[:1])
	fragmented.write(ws.AppendMaskedFrame(nil, ws.Text, false, false, mask, []byte("first ")))
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		borrowed := 0
		if r.on(func() { borrowed = r.tr.buffers.Len() }); borrowed == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d buffers are borrowed, want 2", borrowed)
		}
	}
	inPieces.write(whole[1:])
	fragmented.write(ws.AppendMaskedFrame(nil, ws.Continuation, true, false, mask, []byte("second")))
	for _, p := range []*peer{inPieces, fragmented} {
		if _, err := p.in.ReadByte(); err == nil {
			t.Error("the conn that panicked lives")
		}
	}
}

func TestReleaseGivesUpAPartialMessage(t *testing.T) {
	r := newRig(t, Config{})
	p := r.dial("/")
	whole := r.dial("/")
	p.write(ws.AppendMaskedFrame(nil, ws.Text, false, false, mask, []byte("half")))
	var slots []uint32
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := 0
		r.on(func() { n = r.tr.buffers.Len() })
		if n == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no buffer is borrowed")
		}
	}
	r.on(func() {
		r.l.Each(func(slot uint32, _ loop.Kind) bool { slots = append(slots, slot); return true })
		for _, slot := range slots {
			r.tr.Release(slot)
		}
		if n := r.tr.buffers.Len(); n != 0 {
			t.Errorf("%d buffers are borrowed after Release", n)
		}
	})
	whole.send(ws.Text, "unharmed")
	whole.send(ws.CloseOp, "\x03\xe8")
	if code, _ := whole.closed(); code != 1000 {
		t.Errorf("a conn with nothing partial was closed with %d", code)
	}
	p.write([]byte{0x80})
	if code, reason := p.closed(); code != 1008 || reason == "" {
		t.Errorf("closed with %d %q, want 1008", code, reason)
	}
	p.conn.Close()
	whole.conn.Close()
	if got := r.settle(); !slices.Contains(got, `text 8 "unharmed"`) || !slices.Contains(got, "closed timeout") {
		t.Errorf("the landing was told %q", got)
	}
}

func TestClosingIsFinal(t *testing.T) {
	r := newRig(t, Config{Deflate: &deflate.Config{}})
	r.hook(func(slot uint32, payload string) {
		switch payload {
		case "close":
			r.tr.Frame(slot, ws.Text, []byte("last words"))
			r.tr.Close(slot, 3503, "go", loop.ReasonServer)
			r.tr.Close(slot, 3504, "again", loop.ReasonServer)
			r.tr.Frame(slot, ws.Text, []byte("too late"))
			r.tr.Ping(slot)
			r.tr.Release(slot)
		case "cut":
			r.tr.Close(slot, 3000, "", loop.ReasonServer)
		}
	})
	p := r.dial("/")
	p.write(slices.Concat(ws.AppendMasked(nil, ws.Text, mask, []byte("close")), ws.AppendMasked(nil, ws.Text, mask, []byte("ignored"))))
	if _, payload := p.frame(); payload != "last words" {
		t.Errorf("got %q", payload)
	}
	if code, reason := p.closed(); code != 3503 || reason != "go" {
		t.Errorf("closed with %d %q", code, reason)
	}
	p.conn.Close()
	if got := r.settle(); !slices.Equal(got, []string{"open json native=false deflated=false", `text 5 "close"`, "closed server"}) {
		t.Errorf("the landing was told %q", got)
	}
	p = r.dial("/")
	p.send(ws.Text, "cut")
	if _, err := p.in.ReadByte(); err == nil {
		t.Error("code 3000 sent something")
	}
	p.conn.Close()
	r.settle()
}

// turnstile lets so many in at once.
type turnstile struct{ room, left int }

func (s *turnstile) Admit(uint32, *handshake.Request) handshake.Status {
	if s.room == 0 {
		return handshake.Overloaded
	}
	s.room--
	return handshake.Done
}

func (s *turnstile) Left(uint32) {
	s.room++
	s.left++
}

func TestAdmissionMayRefuseAndIsToldWhoLeft(t *testing.T) {
	s := &turnstile{room: 1}
	r := newRig(t, Config{Admission: s})
	first := r.dial("/")
	for range 2 {
		if p := r.dial("/"); p.res.StatusCode != 503 {
			t.Errorf("answered %s", p.res.Status)
		}
	}
	if n := r.tr.Stats().Opened.Load(); n != 1 {
		t.Errorf("%d were opened", n)
	}
	first.conn.Close()
	r.settle()
	if p := r.dial("/"); p.res.StatusCode != 101 {
		t.Errorf("answered %s when there was room again", p.res.Status)
	}
	r.on(func() {
		if s.left != 1 {
			t.Errorf("%d left, want the one that was let in", s.left)
		}
	})
}

func TestCompressionOfReplies(t *testing.T) {
	r := newRig(t, Config{Deflate: &deflate.Config{}, DeflateBytesMin: 300})
	r.hook(func(slot uint32, payload string) { r.tr.Frame(slot, ws.Text, []byte(payload)) })
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 400)
	seed := uint32(7)
	for i := range noise {
		seed = seed*1664525 + 1013904223
		noise[i] = byte(seed >> 24)
	}
	plain, squeezed := r.dial("/"), r.dial("/", "Sec-WebSocket-Extensions: permessage-deflate")
	for _, c := range []struct {
		op         ws.Op
		payload    string
		compressed bool
	}{
		{ws.Text, strings.Repeat("a", 299), false}, {ws.Text, strings.Repeat("a", 300), true},
		{ws.Text, strings.Repeat("abc ", 5000), true}, {ws.Binary, string(noise), false},
	} {
		for _, p := range []*peer{plain, squeezed} {
			p.send(c.op, c.payload)
			first, payload := p.frame()
			if got := first&0x40 != 0; got != (c.compressed && p == squeezed) {
				t.Errorf("%d bytes of %s: compressed %t", len(c.payload), c.op, got)
			}
			if first&0x40 != 0 {
				out, err := codec.Decompress(nil, []byte(payload), 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				payload = string(out)
			}
			if payload != c.payload {
				t.Errorf("%d bytes came back as %d", len(c.payload), len(payload))
			}
		}
	}
	if s := r.tr.Stats(); s.Compressed.Load() != 2 || s.Uncompressed.Load() != 1 || s.MessagesIn.Load() != 8 || s.MessagesOut.Load() != 8 {
		t.Errorf("counted: %d compressed, %d not, %d in, %d out", s.Compressed.Load(), s.Uncompressed.Load(), s.MessagesIn.Load(), s.MessagesOut.Load())
	}
	plain.conn.Close()
	squeezed.conn.Close()
}

func TestInflatedMessagesAreBounded(t *testing.T) {
	r := newRig(t, Config{Deflate: &deflate.Config{}, MessageBytesMax: 1000, InflatedBytesMax: 5000})
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for n, code := range map[int]int{5000: 1000, 5001: 1009, 100_000: 1009} {
		out, err := codec.Compress(nil, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		p := r.dial("/", "Sec-WebSocket-Extensions: permessage-deflate")
		p.write(ws.AppendMaskedFrame(nil, ws.Binary, true, true, mask, out))
		p.send(ws.CloseOp, "\x03\xe8")
		if got, _ := p.closed(); got != code {
			t.Errorf("%d inflated bytes: closed with %d, want %d", n, got, code)
		}
		p.conn.Close()
	}
	r.on(func() {
		if cap(r.tr.scratch) > scratchBytesKept {
			t.Errorf("%d bytes of scratch are kept", cap(r.tr.scratch))
		}
	})
}

func TestShutdownClosesOpenConns(t *testing.T) {
	r := newRig(t, Config{})
	p := r.dial("/")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if code, _ := p.closed(); code != 3001 {
			t.Errorf("closed with %d", code)
		}
		p.conn.Close()
	}()
	r.on(func() {
		r.l.Each(func(slot uint32, _ loop.Kind) bool { r.tr.Shutdown(slot); r.tr.Shutdown(slot); return true })
	})
	<-done
}

func TestEchoGivesBackWhatItGets(t *testing.T) {
	r := newRig(t, Config{})
	echo := &Echo{}
	r.on(func() { echo.Use(r.tr) })
	r.hook(func(slot uint32, payload string) { echo.Message(slot, ws.Binary, []byte(payload)) })
	p := r.dial("/")
	p.send(ws.Binary, "\x00\x01")
	if first, payload := p.frame(); first != 0x82 || payload != "\x00\x01" {
		t.Errorf("got %#x %q", first, payload)
	}
	r.on(func() { r.l.Each(func(slot uint32, _ loop.Kind) bool { echo.Shutdown(slot); return true }) })
	if code, _ := p.closed(); code != 1001 {
		t.Errorf("closed with %d, want 1001", code)
	}
	p.conn.Close()
}

func TestTrimKeepsWhatIsOpen(t *testing.T) {
	r := newRig(t, Config{})
	p := r.dial("/")
	r.on(func() {
		one := r.tr.conns.Bytes()
		r.tr.conns.At(9 * slab.ChunkSlots) // as a burst leaves it
		if r.tr.Trim(); r.tr.conns.Bytes() >= 2*one {
			t.Errorf("%d bytes for one conn, %d before the burst", r.tr.conns.Bytes(), one)
		}
	})
	p.send(ws.Text, "still here")
	p.send(ws.CloseOp, "\x03\xe8")
	if code, _ := p.closed(); code != 1000 {
		t.Errorf("closed with %d", code)
	}
	p.conn.Close()
	if got := r.settle(); !slices.Contains(got, `text 10 "still here"`) {
		t.Errorf("the landing was told %q", got)
	}
}

func TestPublicationsAreFramedOnceForAll(t *testing.T) {
	codec, err := deflate.New(deflate.CodecConfig{})
	if err != nil {
		t.Fatal(err)
	}
	long := []byte(strings.Repeat("publication ", 100))
	if got, want := AppendPublication(nil, ws.Text, long), ws.AppendFrame(nil, ws.Text, true, false, long); !slices.Equal(got, want) {
		t.Error("AppendPublication is no plain frame")
	}
	frame, scratch := AppendDeflated([]byte("before"), nil, codec, ws.Binary, long)
	if string(frame[:6]) != "before" || frame[6] != 0xc2 || len(frame) > 200 || len(scratch) == 0 {
		t.Errorf("AppendDeflated made %d bytes, first %#x", len(frame), frame[6])
	}
	if frame, _ = AppendDeflated(nil, scratch, codec, ws.Text, []byte("x")); string(frame) != "\x81\x01x" {
		t.Errorf("what does not pay is framed as %q", frame)
	}
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = AppendPublication(dst[:0], ws.Text, long) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func TestNewDemandsACodecForDeflate(t *testing.T) {
	if _, err := New(nil, nil, nil, nil, Config{Deflate: &deflate.Config{}}); err == nil {
		t.Error("a transport with permessage-deflate and no codec was made")
	}
}
