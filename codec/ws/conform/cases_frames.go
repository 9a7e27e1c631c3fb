package conform

import (
	"fmt"
	"strings"
)

// framing: messages of both kinds and all length forms come back as they went, §5.2, §5.6.
func framing() (all []Case) {
	for _, n := range []int{0, 1, 2, 16, 124, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536, 65537} {
		s := strings.Repeat("*", n)
		all = append(all,
			one("RFC6455 5.2", fmt.Sprintf("text of %d bytes", n), 0, frames{send(fin|opText, s)}, text(s)),
			one("RFC6455 5.2", fmt.Sprintf("binary of %d bytes", n), 0, frames{send(fin|opBinary, strings.Repeat("\xfe", n))}, binary(strings.Repeat("\xfe", n))))
	}
	var many frames
	var back []Frame
	for i := range 100 {
		s := fmt.Sprintf("message %d", i)
		many, back = append(many, send(fin|opText, s)), append(back, text(s))
	}
	return append(all, one("RFC6455 5.2", "100 messages in one segment", 0, many, back...))
}

// masking: a client masks every frame, §5.1; the key may change and may be zero, §5.3.
func masking() []Case {
	unmasked := func(first byte, s string) []byte { return append(header(first, len(s)), s...) }
	keyed := func(first byte, key [4]byte, s string) []byte {
		b := append(header(first, len(s)), key[:]...)
		b[1] |= 0x80
		for i := range len(s) {
			b = append(b, s[i]^key[i%4])
		}
		return b
	}
	return []Case{
		one("RFC6455 5.1", "an unmasked text", 1002, frames{unmasked(fin|opText, "hello")}),
		one("RFC6455 5.1", "an unmasked empty text", 1002, frames{unmasked(fin|opText, "")}),
		one("RFC6455 5.1", "an unmasked binary of 126 bytes", 1002, frames{unmasked(fin|opBinary, strings.Repeat("x", 126))}),
		one("RFC6455 5.1", "an unmasked ping", 1002, frames{unmasked(fin|opPing, "")}),
		one("RFC6455 5.1", "an unmasked close", 1002, frames{unmasked(fin|opClose, closeBody(1000, ""))}),
		one("RFC6455 5.1", "an unmasked frame after a masked one", 1002, frames{send(fin|opText, "a"), unmasked(fin|opText, "b")}, text("a")),
		one("RFC6455 5.1", "an unmasked continuation", 1002, frames{send(opText, "a"), unmasked(fin|opContinuation, "b")}),
		one("RFC6455 5.1", "known by the second byte alone", 1002, frames{{fin | opText, 0x05}}),
		one("RFC6455 5.3", "the key is zero", 0, frames{keyed(fin|opText, [4]byte{}, "hello")}, text("hello")),
		one("RFC6455 5.3", "the key is all ones", 0, frames{keyed(fin|opBinary, [4]byte{255, 255, 255, 255}, "\x00\xff hello")}, binary("\x00\xff hello")),
		one("RFC6455 5.3", "a key of its own for every fragment", 0, frames{
			keyed(opText, [4]byte{1, 2, 3, 4}, "hel"), keyed(fin|opPing, [4]byte{9, 9, 9, 9}, "p"), keyed(opContinuation, [4]byte{8, 7, 6, 5}, "lo wo"),
			keyed(fin|opContinuation, [4]byte{0, 1, 0, 1}, "rld"),
		}, pong("p"), text("hello world")),
	}
}

// reservedBits must be 0 unless an extension gives them a meaning, §5.2.
func reservedBits() (all []Case) {
	for bits := byte(1); bits <= 7; bits++ {
		for _, op := range []byte{opText, opBinary, opClose, opPing, opPong} {
			all = append(all, one("RFC6455 5.2", fmt.Sprintf("reserved bits %03b on opcode %x", bits, op), 1002, frames{send(fin|bits<<4|op, ""), send(fin|opPing, "")}))
		}
		all = append(all,
			one("RFC6455 5.2", fmt.Sprintf("reserved bits %03b after a good message", bits), 1002, frames{send(fin|opText, "good"), send(fin|bits<<4|opText, "bad"), send(fin|opPing, "")}, text("good")),
			one("RFC6455 5.2", fmt.Sprintf("reserved bits %03b on a continuation", bits), 1002, frames{send(opText, "a"), send(fin|bits<<4|opContinuation, "b")}),
			one("RFC6455 5.2", fmt.Sprintf("reserved bits %03b, known by the first byte alone", bits), 1002, frames{{fin | bits<<4 | opText}}))
	}
	return all
}

// opcodes 3–7 and 11–15 are reserved and fail the connection, §5.2.
func opcodes() (all []Case) {
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all = append(all,
			one("RFC6455 5.2", fmt.Sprintf("opcode %d, empty", op), 1002, frames{send(fin|op, "")}),
			one("RFC6455 5.2", fmt.Sprintf("opcode %d with payload", op), 1002, frames{send(fin|op, "reserved")}),
			one("RFC6455 5.2", fmt.Sprintf("opcode %d between messages", op), 1002, frames{send(fin|opText, "good"), send(fin|op, "x"), send(fin|opPing, "")}, text("good")),
			one("RFC6455 5.2", fmt.Sprintf("opcode %d inside a message", op), 1002, frames{send(opText, "a"), send(fin|op, "x"), send(fin|opContinuation, "b")}),
			one("RFC6455 5.2", fmt.Sprintf("opcode %d, known by the first byte alone", op), 1002, frames{{fin | op}}))
	}
	return all
}

// lengths must take their shortest form and leave the top bit alone, §5.2.
func lengths() []Case {
	raw := func(b ...byte) frames { return frames{b, {1, 2, 3, 4}} }
	l64 := func(first byte, n uint64) frames {
		b := []byte{first, 0xFF}
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(n>>shift))
		}
		return raw(b...)
	}
	return []Case{
		one("RFC6455 5.2", "0 in 16 bits", 1002, raw(fin|opText, 0xFE, 0, 0)),
		one("RFC6455 5.2", "125 in 16 bits", 1002, raw(fin|opBinary, 0xFE, 0, 125)),
		one("RFC6455 5.2", "0 in 64 bits", 1002, l64(fin|opText, 0)),
		one("RFC6455 5.2", "125 in 64 bits", 1002, l64(fin|opBinary, 125)),
		one("RFC6455 5.2", "126 in 64 bits", 1002, l64(fin|opBinary, 126)),
		one("RFC6455 5.2", "65535 in 64 bits", 1002, l64(fin|opText, 65535)),
		one("RFC6455 5.2", "125 in 16 bits on a continuation", 1002, append(frames{send(opText, "a")}, raw(fin|opContinuation, 0xFE, 0, 125)...)),
		one("RFC6455 5.2", "2^63", 1002, l64(fin|opText, 1<<63)),
		one("RFC6455 5.2", "2^63 + 5", 1002, l64(fin|opText, 1<<63+5)),
		one("RFC6455 5.2", "2^64 - 1", 1002, l64(fin|opBinary, 1<<64-1)),
		one("RFC6455 5.2", "2^63 on a continuation", 1002, append(frames{send(opText, "a")}, l64(fin|opContinuation, 1<<63)...)),
		one("RFC6455 5.2", "the top bit is known by the third byte alone", 1002, frames{{fin | opText, 0xFF, 0x80}}),
		one("RFC6455 5.2", "2^63 on a ping", 1002, l64(fin|opPing, 1<<63)),
	}
}

// fragmentation, §5.4.
func fragmentation() []Case {
	const clause = "RFC6455 5.4"
	a, b, c := send(opText, "fragment1"), send(opContinuation, "fragment2"), send(fin|opContinuation, "fragment3")
	all := text("fragment1fragment2fragment3")
	var tiny, empty frames
	for i := range 1000 {
		first := byte(opContinuation)
		if i == 0 {
			first = opText
		}
		tiny, empty = append(tiny, send(first, "a")), append(empty, send(first, ""))
	}
	cases := []Case{
		one(clause, "three fragments", 0, frames{a, b, c}, all),
		one(clause, "three binary fragments", 0, frames{send(opBinary, "\xff"), send(opContinuation, "\x00"), send(fin|opContinuation, "\xfe")}, binary("\xff\x00\xfe")),
		one(clause, "all fragments empty", 0, frames{send(opText, ""), send(opContinuation, ""), send(fin|opContinuation, "")}, text("")),
		one(clause, "only the middle one not", 0, frames{send(opText, ""), send(opContinuation, "middle"), send(fin|opContinuation, "")}, text("middle")),
		one(clause, "a ping between, answered at once", 0, frames{a, send(fin|opPing, "now"), b, c}, pong("now"), all),
		one(clause, "pings between all fragments", 0, frames{a, send(fin|opPing, "1"), b, send(fin|opPing, "2"), send(fin|opPing, "3"), c}, pong("1"), pong("2"), pong("3"), all),
		one(clause, "a pong between", 0, frames{a, send(fin|opPong, "x"), b, c}, all),
		one(clause, "1,001 fragments of one byte", 0, append(tiny, send(fin|opContinuation, "z")), text(strings.Repeat("a", 1000)+"z")),
		one(clause, "1,001 empty fragments", 0, append(empty, send(fin|opContinuation, "")), text("")),
		one(clause, "two fragmented messages", 0, frames{a, c, send(opBinary, "x"), send(fin|opContinuation, "y")}, text("fragment1fragment3"), binary("xy")),
		one(clause, "a continuation with nothing to continue", 1002, frames{c}),
		one(clause, "an unfinished one", 1002, frames{b, c}),
		one(clause, "a continuation after a whole message", 1002, frames{send(fin|opText, "whole"), c}, text("whole")),
		one(clause, "a continuation after a fragmented message", 1002, frames{a, c, b}, text("fragment1fragment3")),
		one(clause, "a continuation after a ping", 1002, frames{send(fin|opPing, "p"), c}, pong("p")),
		one(clause, "known by the first byte alone", 1002, frames{{fin | opContinuation}}),
		one(clause, "a text inside a text", 1002, frames{a, send(fin|opText, "other")}),
		one(clause, "a binary inside a text", 1002, frames{a, b, send(fin|opBinary, "other")}),
		one(clause, "an unfinished text inside a text", 1002, frames{a, send(opText, "other"), c}),
		one(clause, "a text inside a text, behind a ping", 1002, frames{a, send(fin|opPing, ""), send(fin|opText, "other")}, pong("")),
		one(clause, "a close inside a message", 1000, frames{a, send(fin|opClose, closeBody(1000, ""))}),
	}
	between := Case{Clause: clause, Name: "a ping is answered before the message is whole", Steps: []Step{
		step(frames{a, send(fin|opPing, "p")}, pong("p")), step(frames{b, send(fin|opPing, "q")}, pong("q")), step(frames{c}, all),
	}}
	return append(cases, between)
}

// controls, §5.5, §5.5.2, §5.5.3.
func controls() (all []Case) {
	long := strings.Repeat("p", 125)
	for op, name := range []string{opPing: "ping", opPong: "pong"} {
		if name == "" {
			continue
		}
		op := byte(op)
		answer := func(s string) []Frame {
			if op == opPong {
				return nil
			}
			return []Frame{pong(s)}
		}
		for _, s := range []string{"", "hello", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", long} {
			all = append(all, one("RFC6455 5.5", fmt.Sprintf("%s of %d bytes", name, len(s)), 0, frames{send(fin|op, s)}, answer(s)...))
		}
		all = append(all,
			one("RFC6455 5.5", name+" of 126 bytes", 1002, frames{send(fin|op, long+"p")}),
			one("RFC6455 5.5", name+" of 65536 bytes", 1002, frames{send(fin|op, strings.Repeat("p", 65536))[:14]}),
			one("RFC6455 5.5", name+" too long, known by the second byte", 1002, frames{{fin | op, 0xFE}}),
			one("RFC6455 5.5", name+" of 5 bytes, its length in 16 bits", 1002, frames{{fin | op, 0xFE, 0, 5, 0, 0, 0, 0}, []byte("hello")}),
			one("RFC6455 5.5", name+" fragmented", 1002, frames{send(op, "a"), send(fin|opContinuation, "b")}),
			one("RFC6455 5.5", name+" fragmented inside a message", 1002, frames{send(opText, "a"), send(op, "b"), send(fin|opContinuation, "c")}))
	}
	var pings frames
	var pongs []Frame
	for i := range 50 {
		s := fmt.Sprintf("ping %d", i)
		pings, pongs = append(pings, send(fin|opPing, s)), append(pongs, pong(s))
	}
	return append(all,
		one("RFC6455 5.5.2", "50 pings, every one answered in order", 0, pings, pongs...),
		one("RFC6455 5.5.3", "an unasked pong, then a ping", 0, frames{send(fin|opPong, "unasked"), send(fin|opPing, "p")}, pong("p")),
		one("RFC6455 5.5", "a close of 126 bytes", 1002, frames{send(fin|opClose, closeBody(1000, long[:124]))}),
		one("RFC6455 5.5", "a close fragmented", 1002, frames{send(opClose, closeBody(1000, ""))}))
}
