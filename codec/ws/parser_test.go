package ws

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// conn plays the caller: it keeps what the parser did not consume and presents it again.
type conn struct {
	t       testing.TB
	p       Parser
	lim     Limits
	tail    []byte
	message []byte
	name    string
	out     trace
	ended   bool
}

// feed presents one piece and checks every promise of Next.
func (c *conn) feed(piece []byte) {
	c.t.Helper()
	b := append(append([]byte(nil), c.tail...), piece...)
	for {
		before := bytes.Clone(b)
		n, ev := c.p.Next(b, &c.lim)
		if err := c.p.Validate(); err != nil {
			c.t.Fatal(err)
		}
		if n < 0 || n > len(b) || !bytes.Equal(b[n:], before[n:]) {
			c.t.Fatalf("Next consumed %d of %d bytes, or changed what it left", n, len(b))
		}
		if n == 0 && ev.Kind == None {
			break
		}
		if n == 0 {
			c.t.Fatalf("an event without input: %+v", ev)
		}
		c.event(b[:n], ev)
		b = b[n:]
	}
	if c.tail = b; len(b) > 130 {
		c.t.Fatalf("%d bytes were left over", len(b))
	}
	if c.ended && len(b) > 0 {
		c.t.Fatal("input after the end was not consumed")
	}
}

func (c *conn) event(consumed []byte, ev Event) {
	c.t.Helper()
	if c.ended && ev.Kind != None {
		c.t.Fatalf("an event after the end: %+v", ev)
	}
	if len(ev.Payload) > 0 && unsafe.SliceData(ev.Payload) != &consumed[len(consumed)-len(ev.Payload)] {
		c.t.Fatal("the payload does not alias the input")
	}
	switch ev.Kind {
	case Data:
		c.data(ev)
	case Ping, Pong:
		c.out = append(c.out, fmt.Sprintf("%s %x", ev.Kind, ev.Payload))
	case Close:
		c.out, c.ended = append(c.out, fmt.Sprintf("close %d %x", ev.Code, ev.Payload)), true
	case Fail:
		c.out, c.ended = append(c.out, fmt.Sprintf("fail %d %s", ev.Code, ev.Reason)), true
	}
}

func (c *conn) data(ev Event) {
	c.t.Helper()
	name := ev.Op.String()
	if ev.Compressed {
		name += " deflate"
	}
	if ev.First {
		if c.name != "" {
			c.t.Fatal("a message began inside another")
		}
		c.name = name
	}
	if c.name != name {
		c.t.Fatalf("a piece of %q in a message that is %q", name, c.name)
	}
	c.message = append(c.message, ev.Payload...)
	if c.p.Pending() > max(c.lim.MessageBytesMax, MessageBytesMaxDefault)-len(c.message) {
		c.t.Fatalf("%d bytes pending behind %d", c.p.Pending(), len(c.message))
	}
	if ev.Final {
		c.out = append(c.out, fmt.Sprintf("%s %x", name, c.message))
		c.name, c.message = "", nil
	}
	if ev.Final != c.p.Between() {
		c.t.Fatalf("Final is %t, Between %t", ev.Final, c.p.Between())
	}
}

func (c *conn) end() trace {
	if len(c.message) > 0 && !c.ended {
		c.out = append(c.out, fmt.Sprintf("partial %s %x", c.name, c.message))
	}
	return c.out
}

// parse feeds b cut into pieces by next, which is told what is left.
func parse(t testing.TB, b []byte, lim Limits, next func(left int) int) trace {
	t.Helper()
	c := &conn{t: t, lim: lim}
	for len(b) > 0 {
		n := min(max(next(len(b)), 1), len(b))
		c.feed(b[:n])
		b = b[n:]
	}
	return c.end()
}

func whole(left int) int { return left }
func bytewise(int) int   { return 1 }
func randomly(r *rand.Rand) func(int) int {
	return func(left int) int { return 1 + r.IntN(1+min(left, 1<<r.IntN(14))) }
}

// same checks that b gives want whole, byte by byte, cut once at every place, and at random.
func same(t *testing.T, b []byte, lim Limits, want trace) {
	t.Helper()
	cuts := map[string]func(int) int{"whole": whole, "byte by byte": bytewise, "at random": randomly(rand.New(rand.NewPCG(5, 6)))}
	for at := 1; at < len(b) && len(b) < 600; at++ {
		cuts[fmt.Sprintf("at %d", at)] = func(left int) int {
			if left == len(b) {
				return at
			}
			return left
		}
	}
	for how, next := range cuts {
		if got := parse(t, b, lim, next); !slices.Equal(got, want) {
			t.Errorf("%s: got  %.300q\nwant %.300q", how, got, want)
		}
	}
	if got := referenceTrace(b, lim); !slices.Equal(got, want) {
		t.Errorf("reference: got  %.300q\nwant %.300q", got, want)
	}
}

// frame builds a masked frame from its first byte; the length takes its shortest form.
func frame(first byte, payload string) []byte {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := AppendMaskedFrame(nil, Binary, true, false, key, []byte(payload))
	b[0] = first
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestParserIsSmallAndHasNoPointers(t *testing.T) {
	if n := unsafe.Sizeof(Parser{}); n > 40 {
		t.Errorf("a parser is %d bytes, house.md allows 40", n)
	}
	for i := range reflect.TypeFor[Parser]().NumField() {
		switch f := reflect.TypeFor[Parser]().Field(i); f.Type.Kind() {
		case reflect.Uint64, reflect.Uint32, reflect.Uint8:
		case reflect.Struct:
			if f.Type != reflect.TypeFor[UTF8]() {
				t.Errorf("field %s is a %s", f.Name, f.Type)
			}
		default:
			t.Errorf("field %s is a %s", f.Name, f.Type)
		}
	}
}

func TestSixtyFiveThousandFragmentsAreOneMessage(t *testing.T) {
	var b, want []byte
	for i := range 65536 {
		op, fin := byte(0), byte(0)
		if i == 0 {
			op = 1
		}
		if i == 65535 {
			fin = 0x80
		}
		b = append(b, frame(fin|op, "a")...)
		want = append(want, 'a')
	}
	got := parse(t, b, Limits{MessageBytesMax: 65536}, func(int) int { return 4096 })
	if len(got) != 1 || got[0] != fmt.Sprintf("text %x", want) {
		t.Errorf("%d lines", len(got))
	}
}

func TestParserDoesNotAllocate(t *testing.T) {
	input := cat(frame(0x81, "hällo"), frame(0x01, "a"), frame(0x89, "ping"), frame(0x80, strings.Repeat("b", 300)), frame(0x82, ""))
	b := make([]byte, len(input))
	lim := Limits{}
	events := 0
	if n := testing.AllocsPerRun(100, func() {
		copy(b, input)
		var p Parser
		for rest := b; len(rest) > 0; {
			n, ev := p.Next(rest, &lim)
			rest = rest[n:]
			if ev.Kind != None {
				events++
			}
		}
	}); n != 0 || events != 101*5 {
		t.Errorf("%v allocations, %d events", n, events)
	}
}

// FuzzParser: however the input is cut, the parser says what the naive reference says of the whole.
func FuzzParser(f *testing.F) {
	for i, c := range clauses() {
		f.Add(c.in, uint64(i), c.lim.Client, c.lim.Deflate, uint16(c.lim.MessageBytesMax))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64, client, deflate bool, limit uint16) {
		lim := Limits{MessageBytesMax: int(limit), Client: client, Deflate: deflate}
		want := referenceTrace(b, lim)
		for how, next := range map[string]func(int) int{
			"whole": whole, "byte by byte": bytewise, "at random": randomly(rand.New(rand.NewPCG(seed, 1))),
		} {
			if got := parse(t, b, lim, next); !slices.Equal(got, want) {
				t.Fatalf("%s: got  %.300q\nwant %.300q", how, got, want)
			}
		}
	})
}

// TestRandomFramesChoppedAtRandom builds streams that are mostly right, so that long ones are reached too.
func TestRandomFramesChoppedAtRandom(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		lim := Limits{MessageBytesMax: 200_000, Deflate: seed%2 == 0, Client: seed%3 == 0}
		b := randomStream(r, lim)
		want := referenceTrace(b, lim)
		for range 2 {
			if got := parse(t, b, lim, randomly(r)); !slices.Equal(got, want) {
				t.Fatalf("seed %d: got  %.300q\nwant %.300q", seed, got, want)
			}
		}
	}
}

func randomStream(r *rand.Rand, lim Limits) (b []byte) {
	open := false
	for range 30 {
		op, fin := []Op{Text, Binary, PingOp, PongOp}[r.IntN(4)], r.IntN(3) > 0
		if open && op < 8 {
			op = Continuation
		}
		n := []int{0, 1, r.IntN(126), r.IntN(300), 65530 + r.IntN(12)}[r.IntN(5)]
		if op.Control() {
			n, fin = r.IntN(126), true
		} else {
			open = !fin
		}
		payload := []byte(strings.Repeat("aß€😀", n/4+1))[:n]
		if r.IntN(2) == 0 {
			payload = bytes.Repeat([]byte("x"), n)
		}
		rsv1 := lim.Deflate && (op == Text || op == Binary) && r.IntN(2) == 0
		if lim.Client {
			b = AppendFrame(b, op, fin, rsv1, payload)
		} else {
			key := [4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}
			b = AppendMaskedFrame(b, op, fin, rsv1, key, payload)
		}
		if r.IntN(200) == 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	}
	return b
}

func BenchmarkParser(b *testing.B) {
	for _, size := range []int{16, 125, 1024, 16 << 10, 64 << 10} {
		for _, op := range []Op{Text, Binary} {
			b.Run(fmt.Sprintf("%s/bytes=%d", op, size), func(b *testing.B) {
				var input []byte
				frames := max(1, (64<<10)/size)
				for range frames {
					input = AppendMasked(input, op, [4]byte{1, 2, 3, 4}, bytes.Repeat([]byte("x"), size))
				}
				buf := make([]byte, len(input))
				lim := Limits{}
				var p Parser
				b.SetBytes(int64(len(input)))
				b.ReportAllocs()
				for b.Loop() {
					copy(buf, input)
					for rest := buf; len(rest) > 0; {
						n, ev := p.Next(rest, &lim)
						if ev.Kind != Data || !ev.Final {
							b.Fatal(ev)
						}
						rest = rest[n:]
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/frame")
			})
		}
	}
}
