package ws

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

func TestAppendedFramesAreThoseOfRFC(t *testing.T) { // §5.7
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	hello := []byte("Hello")
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"text", AppendFrame(nil, Text, true, false, hello), unhex("81 05 48 65 6c 6c 6f")},
		{"masked text", AppendMasked(nil, Text, key, hello), unhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")},
		{"first fragment", AppendFrame(nil, Text, false, false, hello[:3]), unhex("01 03 48 65 6c")},
		{"last fragment", AppendFrame(nil, Continuation, true, false, hello[3:]), unhex("80 02 6c 6f")},
		{"ping", AppendFrame(nil, PingOp, true, false, hello), unhex("89 05 48 65 6c 6c 6f")},
		{"masked pong", AppendMasked(nil, PongOp, key, hello), unhex("8a 85 37 fa 21 3d 7f 9f 4d 51 58")},
		{"compressed", AppendFrame(nil, Text, true, true, []byte{0}), unhex("c1 01 00")},
		{"256 bytes", AppendHeader(nil, Binary, true, false, 256), unhex("82 7e 01 00")},
		{"64 KiB", AppendHeader(nil, Binary, true, false, 65536), unhex("82 7f 00 00 00 00 00 01 00 00")},
		{"behind what is there", AppendHeader([]byte("x"), Text, true, false, 0), unhex("78 81 00")},
		{"close", AppendClose(nil, CodeNormal, "bye"), unhex("88 05 03 e8 62 79 65")},
		{"close without body", AppendClose(nil, CodeNoStatus, "bye"), unhex("88 00")},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %x, want %x", c.name, c.got, c.want)
		}
	}
	if string(hello) != "Hello" {
		t.Error("masking changed the caller's payload")
	}
}

// gobwas/ws writes the same bytes; every length class, every flag.
func TestAppendedFramesAgreeWithGobwas(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for _, n := range []int{0, 1, 3, 7, 8, 15, 16, 17, 31, 125, 126, 127, 1000, 65535, 65536, 70000} {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
		for _, op := range []Op{Continuation, Text, Binary, CloseOp, PingOp, PongOp} {
			if op.Control() && n > 125 {
				continue
			}
			fin, rsv1 := op.Control() || n%2 == 0, !op.Control() && n%3 == 0
			key := [4]byte{1, 2, 3, byte(n)}
			want := func(masked bool) []byte {
				f := ws.NewFrame(ws.OpCode(op), fin, bytes.Clone(payload))
				f.Header.Rsv = ws.Rsv(rsv1, false, false)
				if masked {
					f = ws.MaskFrameInPlaceWith(f, key)
				}
				return ws.MustCompileFrame(f)
			}
			if got := AppendFrame(nil, op, fin, rsv1, payload); !bytes.Equal(got, want(false)) {
				t.Errorf("%s of %d: %.20x", op, n, got)
			}
			if got := AppendMaskedFrame(nil, op, fin, rsv1, key, payload); !bytes.Equal(got, want(true)) {
				t.Errorf("masked %s of %d: %.20x", op, n, got)
			}
		}
	}
}

func TestMaskInPlaceFromAnyOffset(t *testing.T) { // §5.3: transformed-octet-i = original-octet-i XOR key[i MOD 4]
	key := [4]byte{0xa1, 0x02, 0xf3, 0x44}
	for n := range 100 {
		for offset := range 9 {
			p := bytes.Repeat([]byte{0x55}, n)
			MaskInPlace(p, key, offset)
			for i, c := range p {
				if c != 0x55^key[(i+offset)%4] {
					t.Fatalf("%d bytes from %d: byte %d is %02x", n, offset, i, c)
				}
			}
		}
	}
}

func TestCloseReasonIsCutBetweenCharacters(t *testing.T) {
	for _, unit := range []string{"r", "ß", "€", "😀", "a😀"} {
		for n := range 200 {
			reason := strings.Repeat("x", n%5) + strings.Repeat(unit, n)
			b := AppendClose(nil, CodeTooBig, reason)
			sent := string(b[4:])
			if len(b) != 2+int(b[1]) || b[1] > 125 || !utf8.ValidString(sent) || !strings.HasPrefix(reason, sent) {
				t.Fatalf("%d × %q: %x", n, unit, b)
			}
			if len(reason) > 123 && len(sent) <= 123-len(unit) && len(sent) < 120 {
				t.Fatalf("%d × %q: only %d bytes sent", n, unit, len(sent))
			}
			p := Parser{}
			if _, ev := p.Next(b, &Limits{Client: true}); ev.Kind != Close || ev.Code != CodeTooBig || string(ev.Payload) != sent {
				t.Fatalf("%d × %q: read as %+v", n, unit, ev)
			}
		}
	}
}

func TestAppendRefusesWhatRFCForbids(t *testing.T) {
	long := make([]byte, 126)
	for name, f := range map[string]func(){
		"a reserved opcode":        func() { AppendFrame(nil, 3, true, false, nil) },
		"an opcode of five bits":   func() { AppendFrame(nil, 16, true, false, nil) },
		"a long control frame":     func() { AppendFrame(nil, PingOp, true, false, long) },
		"a fragmented ping":        func() { AppendFrame(nil, PingOp, false, false, nil) },
		"a compressed pong":        func() { AppendFrame(nil, PongOp, true, true, nil) },
		"a negative length":        func() { AppendHeader(nil, Text, true, false, -1) },
		"close code 1006":          func() { AppendClose(nil, CodeAbnormal, "") },
		"close code 0":             func() { AppendClose(nil, 0, "") },
		"a reason that is no text": func() { AppendClose(nil, CodeNormal, "\xff") },
	} {
		func() {
			defer func() {
				if s, _ := recover().(string); !strings.HasPrefix(s, "ws: ") {
					t.Errorf("%s: no panic that says why: %q", name, s)
				}
			}()
			f()
		}()
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf, payload := make([]byte, 0, 1000), make([]byte, 500)
	if n := testing.AllocsPerRun(100, func() {
		AppendFrame(buf, Text, true, false, payload)
		AppendMasked(buf, Text, [4]byte{1, 2, 3, 4}, payload)
		AppendClose(buf, CodeGoingAway, "the server restarts")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The names are metric labels and log lines: a golden table.
func TestTableOfReasonsAndCodes(t *testing.T) {
	var got strings.Builder
	for r := ReasonNone; r < reasonEnd; r++ {
		fmt.Fprintf(&got, "%d %s\n", r.Code(), r)
	}
	const want = `0 none
1002 reserved-opcode
1002 reserved-bits
1002 control-fragmented
1002 continuation-first
1002 message-interleaved
1002 mask-missing
1002 mask-unexpected
1002 control-too-long
1002 length-not-minimal
1002 length-top-bit
1009 too-big
1007 invalid-utf8
1002 close-length
1002 close-code
1007 close-reason-utf8
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	for c := CloseCode(1000); c <= 1015; c++ {
		if named := c.String() != fmt.Sprint(int(c)); named != (c != 1004) {
			t.Errorf("%d is %q", int(c), c)
		}
	}
	for c := range 65536 {
		want := c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
		if CloseCode(c).OnWire() != want {
			t.Errorf("%d on the wire: %t", c, !want)
		}
	}
	for o := range Op(16) {
		if ws.OpCode(o).IsReserved() != o.Reserved() || ws.OpCode(o).IsControl() != o.Control() || (o.String() == "reserved") != o.Reserved() {
			t.Errorf("opcode %d: %s, control %t, reserved %t", o, o, o.Control(), o.Reserved())
		}
	}
	for k := None; k <= Fail; k++ {
		if k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, n := range []int{16, 125, 1024} {
		b.Run(fmt.Sprintf("bytes=%d", n), func(b *testing.B) {
			p, buf := make([]byte, n), make([]byte, 0, n+HeaderBytesMax)
			b.ReportAllocs()
			for b.Loop() {
				AppendFrame(buf, Text, true, false, p)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/frame")
		})
	}
}
