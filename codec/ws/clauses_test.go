package ws

import (
	"fmt"
	"strings"
	"testing"
)

// clause is one sentence of RFC 6455 (or 7692) as bytes in and events out.
type clause struct {
	id, name string
	in       []byte
	lim      Limits
	want     trace
}

func fail(r Reason) trace { return trace{fmt.Sprintf("fail %d %s", r.Code(), r)} }
func text(s string) string {
	return fmt.Sprintf("text %x", s)
}

func TestParserByClause(t *testing.T) {
	for _, c := range clauses() {
		t.Run(c.id+" "+c.name, func(t *testing.T) { same(t, c.in, c.lim, c.want) })
	}
}

func clauses() []clause {
	var all []clause
	for _, part := range [][]clause{
		examples(), masking(), reserved(), lengths(), fragments(), controls(), closes(), texts(), compression(), sizes(),
	} {
		all = append(all, part...)
	}
	return all
}

// examples are those of §5.7.
func examples() []clause {
	fromServer := Limits{Client: true}
	return []clause{
		{"5.7", "unmasked text", unhex("81 05 48 65 6c 6c 6f"), fromServer, trace{text("Hello")}},
		{"5.7", "masked text", unhex("81 85 37 fa 21 3d 7f 9f 4d 51 58"), Limits{}, trace{text("Hello")}},
		{"5.7", "fragmented unmasked text", unhex("01 03 48 65 6c 80 02 6c 6f"), fromServer, trace{text("Hello")}},
		{"5.7", "unmasked ping", unhex("89 05 48 65 6c 6c 6f"), fromServer, trace{"ping 48656c6c6f"}},
		{"5.7", "masked pong", unhex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"), Limits{}, trace{"pong 48656c6c6f"}},
		{"5.7", "256 bytes", append(unhex("82 7e 01 00"), strings.Repeat("z", 256)...), fromServer, trace{"binary " + strings.Repeat("7a", 256)}},
		{"5.7", "64 KiB", append(unhex("82 7f 00 00 00 00 00 01 00 00"), strings.Repeat("z", 65536)...), fromServer, trace{"binary " + strings.Repeat("7a", 65536)}},
	}
}

func masking() []clause {
	zero := unhex("82 83 00 00 00 00 61 62 63")
	return []clause{
		{"5.1", "a client does not mask", unhex("81 05 48 65 6c 6c 6f"), Limits{}, fail(ReasonMaskMissing)},
		{"5.1", "a client does not mask an empty frame", unhex("81 00"), Limits{}, fail(ReasonMaskMissing)},
		{"5.1", "a client does not mask a control frame", unhex("89 00"), Limits{}, fail(ReasonMaskMissing)},
		{"5.1", "a client stops masking", cat(frame(0x81, "a"), unhex("81 01 61")), Limits{}, trace{text("a"), fail(ReasonMaskMissing)[0]}},
		{"5.1", "a server masks", frame(0x81, "a"), Limits{Client: true}, fail(ReasonMaskUnexpected)},
		{"5.3", "the key is zero", zero, Limits{}, trace{"binary 616263"}},
		{"5.3", "keys differ from frame to frame", cat(frame(0x02, "abc"), unhex("80 83 01 02 03 04 60 60 60")), Limits{}, trace{"binary 616263616263"}},
		{"5.3", "a ping between the pieces has a key of its own", cat(frame(0x02, "abcde"), unhex("89 81 ff ff ff ff 9e"), frame(0x80, "fgh")), Limits{}, trace{"ping 61", "binary 6162636465666768"}},
	}
}

func reserved() (all []clause) {
	for _, lim := range []Limits{{}, {Deflate: true}} {
		for _, rsv := range []byte{0x20, 0x10, 0x30, 0x60, 0x50, 0x70} {
			for _, op := range []byte{0x1, 0x2, 0x8, 0x9, 0xA} {
				all = append(all, clause{"5.2", fmt.Sprintf("RSV %02x on opcode %x, deflate %t", rsv, op, lim.Deflate), frame(0x80|rsv|op, "x"), lim, fail(ReasonReservedBits)})
			}
		}
		for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
			for _, first := range []byte{0x80, 0x00, 0xF0} {
				all = append(all, clause{"5.2", fmt.Sprintf("opcode %x, first byte %02x, deflate %t", op, first|op, lim.Deflate), frame(first|op, "x"), lim, fail(ReasonReservedOpcode)})
			}
			all = append(all, clause{"5.2", fmt.Sprintf("opcode %x inside a message", op), cat(frame(0x01, "a"), frame(0x80|op, "")), lim, fail(ReasonReservedOpcode)})
		}
	}
	for _, op := range []byte{0x1, 0x2, 0x8, 0x9, 0xA} {
		all = append(all, clause{"5.2", fmt.Sprintf("RSV1 on opcode %x, nothing negotiated", op), frame(0xC0|op, ""), Limits{}, fail(ReasonReservedBits)})
	}
	return all
}

func lengths() []clause {
	big := Limits{MessageBytesMax: 1 << 62}
	all := []clause{
		{"5.2", "0 in 16 bits", unhex("82 fe 00 00 00 00 00 00"), Limits{}, fail(ReasonLengthNotMinimal)},
		{"5.2", "125 in 16 bits", unhex("82 fe 00 7d 00 00 00 00"), Limits{}, fail(ReasonLengthNotMinimal)},
		{"5.2", "0 in 64 bits", unhex("82 ff 00 00 00 00 00 00 00 00"), Limits{}, fail(ReasonLengthNotMinimal)},
		{"5.2", "65535 in 64 bits", unhex("82 ff 00 00 00 00 00 00 ff ff"), Limits{}, fail(ReasonLengthNotMinimal)},
		{"5.2", "2^63", unhex("82 ff 80 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"), big, fail(ReasonLengthTopBit)},
		{"5.2", "2^64-1", unhex("82 ff ff ff ff ff ff ff ff ff"), big, fail(ReasonLengthTopBit)},
		{"5.2", "the top bit alone", unhex("82 ff 80"), big, fail(ReasonLengthTopBit)},
		{"5.2", "2^63-1", unhex("82 ff 7f ff ff ff ff ff ff ff"), big, fail(ReasonTooBig)},
		{"5.2", "2^62, the limit", unhex("82 ff 40 00 00 00 00 00 00 00 00 00 00 00 61"), big, trace{"partial binary 61"}},
		{"5.2", "2^62 and again, the sum is over", cat(frame(0x02, "a"), unhex("80 ff 40 00 00 00 00 00 00 00")), big, fail(ReasonTooBig)},
	}
	for _, n := range []int{0, 1, 2, 3, 4, 5, 15, 16, 17, 124, 125, 126, 127, 128, 255, 256, 65535, 65536} {
		all = append(all, clause{"5.2", fmt.Sprintf("%d bytes", n), frame(0x82, strings.Repeat("l", n)), Limits{}, trace{"binary " + strings.Repeat("6c", n)}})
	}
	return all
}

func fragments() []clause {
	a, b := frame(0x01, "a"), frame(0x80, "b")
	return []clause{
		{"5.4", "two fragments", cat(a, b), Limits{}, trace{text("ab")}},
		{"5.4", "three, the middle empty", cat(a, frame(0x00, ""), b), Limits{}, trace{text("ab")}},
		{"5.4", "all empty", cat(frame(0x01, ""), frame(0x00, ""), frame(0x80, "")), Limits{}, trace{text("")}},
		{"5.4", "empty ends only", cat(frame(0x02, ""), frame(0x00, "m"), frame(0x80, "")), Limits{}, trace{"binary 6d"}},
		{"5.4", "controls between", cat(a, frame(0x89, "1"), frame(0x00, "-"), frame(0x8A, "2"), frame(0x89, ""), b), Limits{}, trace{"ping 31", "pong 32", "ping ", text("a-b")}},
		{"5.4", "close between", cat(a, frame(0x88, "\x03\xe8"), b), Limits{}, trace{"close 1000 "}},
		{"5.4", "continuation first", b, Limits{}, fail(ReasonContinuationFirst)},
		{"5.4", "unfinished continuation first", frame(0x00, "b"), Limits{}, fail(ReasonContinuationFirst)},
		{"5.4", "continuation after a whole message", cat(frame(0x81, "a"), b), Limits{}, trace{text("a"), fail(ReasonContinuationFirst)[0]}},
		{"5.4", "continuation after a fragmented message", cat(a, b, b), Limits{}, trace{text("ab"), fail(ReasonContinuationFirst)[0]}},
		{"5.4", "continuation after a ping", cat(frame(0x89, ""), b), Limits{}, trace{"ping ", fail(ReasonContinuationFirst)[0]}},
		{"5.4", "a message inside a message", cat(a, frame(0x81, "c")), Limits{}, fail(ReasonMessageInterleaved)},
		{"5.4", "binary inside text, not final", cat(a, frame(0x02, "c")), Limits{}, fail(ReasonMessageInterleaved)},
		{"5.4", "a message inside a message, after a ping", cat(a, frame(0x89, ""), frame(0x01, "c")), Limits{}, trace{"ping ", fail(ReasonMessageInterleaved)[0]}},
		{"5.4", "two messages", cat(a, b, frame(0x82, "c"), a, b), Limits{}, trace{text("ab"), "binary 63", text("ab")}},
		{"5.4", "a message that is not finished", cat(a, frame(0x00, "b")), Limits{}, trace{"partial " + text("ab")}},
	}
}

func controls() (all []clause) {
	long := strings.Repeat("p", 125)
	for op, name := range map[byte]string{0x9: "ping", 0xA: "pong"} {
		all = append(all,
			clause{"5.5", name + " without payload", frame(0x80|op, ""), Limits{}, trace{name + " "}},
			clause{"5.5", name + " with binary payload", frame(0x80|op, "\x00\xff\xfe"), Limits{}, trace{name + " 00fffe"}},
			clause{"5.5", name + " of 125", frame(0x80|op, long), Limits{}, trace{name + " " + strings.Repeat("70", 125)}},
			clause{"5.5", name + " of 126", frame(0x80|op, long+"p"), Limits{}, fail(ReasonControlTooLong)},
			clause{"5.5", name + " of 5 in 16 bits", append([]byte{0x80 | op}, unhex("fe 00 05 00 00 00 00 61 61 61 61 61")...), Limits{}, fail(ReasonControlTooLong)},
			clause{"5.5", name + " of 65536", append([]byte{0x80 | op}, unhex("ff 00 00 00 00 00 01 00 00")...), Limits{}, fail(ReasonControlTooLong)},
			clause{"5.5", name + " fragmented", frame(op, "x"), Limits{}, fail(ReasonControlFragmented)},
			clause{"5.5", name + " with a continuation", cat(frame(op, "x"), frame(0x80, "y")), Limits{}, fail(ReasonControlFragmented)},
			clause{"5.5", name + " is not counted to a message", cat(frame(0x01, "abc"), frame(0x80|op, long), frame(0x80, "d")), Limits{MessageBytesMax: 4}, trace{name + " " + strings.Repeat("70", 125), text("abcd")}},
			clause{"5.5", name + " not whole", frame(0x80|op, "abc")[:8], Limits{}, nil},
		)
	}
	return append(all,
		clause{"5.5", "close of 126", frame(0x88, "\x03\xe8"+long[:124]), Limits{}, fail(ReasonControlTooLong)},
		clause{"5.5", "close fragmented", frame(0x08, "\x03\xe8"), Limits{}, fail(ReasonControlFragmented)},
		clause{"5.5.2", "ten pings in one segment", cat(frame(0x89, "0"), frame(0x89, "1"), frame(0x89, "2"), frame(0x89, "3")), Limits{}, trace{"ping 30", "ping 31", "ping 32", "ping 33"}},
	)
}

func closes() []clause {
	code := func(c int) string { return string([]byte{byte(c >> 8), byte(c)}) }
	all := []clause{
		{"5.5.1", "no body", frame(0x88, ""), Limits{}, trace{"close 1005 "}},
		{"5.5.1", "one byte", frame(0x88, "\x03"), Limits{}, fail(ReasonCloseLength)},
		{"5.5.1", "code and reason", frame(0x88, code(1000)+"bye"), Limits{}, trace{"close 1000 627965"}},
		{"5.5.1", "a reason of 123", frame(0x88, code(1000)+strings.Repeat("r", 123)), Limits{}, trace{"close 1000 " + strings.Repeat("72", 123)}},
		{"5.5.1", "a reason beyond ASCII", frame(0x88, code(3000)+"schön 😀"), Limits{}, trace{"close 3000 736368c3b66e20f09f9880"}},
		{"5.5.1", "a reason that is no UTF-8", frame(0x88, code(1000)+"a\xff"), Limits{}, fail(ReasonCloseReasonUTF8)},
		{"5.5.1", "a reason cut in a character", frame(0x88, code(1000)+"\xe2\x82"), Limits{}, fail(ReasonCloseReasonUTF8)},
		{"5.5.1", "a bad code is found before a bad reason", frame(0x88, code(1005)+"\xff"), Limits{}, fail(ReasonCloseCode)},
		{"5.5.1", "data after close is discarded", cat(frame(0x88, code(1000)), frame(0x81, "x"), unhex("ff ff ff")), Limits{}, trace{"close 1000 "}},
		{"5.5.1", "a second close is discarded", cat(frame(0x88, ""), frame(0x88, code(1000))), Limits{}, trace{"close 1005 "}},
		{"7.1.7", "nothing is parsed after a failure", cat(frame(0x83, ""), frame(0x81, "x")), Limits{}, fail(ReasonReservedOpcode)},
	}
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, clause{"7.4", fmt.Sprintf("code %d", c), frame(0x88, code(c)), Limits{}, trace{fmt.Sprintf("close %d ", c)}})
	}
	for _, c := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 65535} {
		all = append(all, clause{"7.4", fmt.Sprintf("code %d", c), frame(0x88, code(c)), Limits{}, fail(ReasonCloseCode)})
	}
	return all
}

func texts() (all []clause) {
	for name, s := range map[string]string{
		"two, three and four bytes": "κόσμε ß € 😀", "U+0000": "\x00", "U+007F": "\x7f", "U+0080": "\u0080", "U+07FF": "\u07ff", "U+0800": "\u0800",
		"U+D7FF": "\ud7ff", "U+E000": "\ue000", "U+FFFD": "\ufffd", "U+FFFE": "\ufffe", "U+FFFF": "\uffff", "U+10000": "\U00010000",
		"U+1FFFE": "\U0001fffe", "U+10FFFF": "\U0010ffff", "a byte order mark": "\ufeffx",
	} {
		all = append(all,
			clause{"8.1", name, frame(0x81, s), Limits{}, trace{text(s)}},
			clause{"5.6", name + " split over two fragments", cat(frame(0x01, s[:len(s)/2]), frame(0x80, s[len(s)/2:])), Limits{}, trace{text(s)}},
		)
	}
	for name, s := range map[string]string{
		"a lone continuation byte": "\x80", "two of them": "a\x80\xbf", "FE": "\xfe", "FF": "\xff", "C0 80, overlong": "\xc0\x80", "C1 BF": "\xc1\xbf",
		"E0 80 80, overlong": "\xe0\x80\x80", "E0 9F BF, overlong": "\xe0\x9f\xbf", "F0 80 80 80, overlong": "\xf0\x80\x80\x80", "F0 8F BF BF, overlong": "\xf0\x8f\xbf\xbf",
		"F8, five bytes": "\xf8\x88\x80\x80\x80", "FC, six bytes": "\xfc\x84\x80\x80\x80\x80", "D800, a surrogate": "\xed\xa0\x80", "DFFF, a surrogate": "\xed\xbf\xbf",
		"a surrogate pair": "\xed\xa0\xbd\xed\xb8\x80", "U+110000": "\xf4\x90\x80\x80", "F5": "\xf5\x80\x80\x80", "a sequence broken off": "\xe2\x82a", "a sequence restarted": "\xe2\xe2\x82\xac",
		"good, then bad": "κόσμε\xed\xa0\x80edited",
	} {
		all = append(all,
			clause{"8.1", name, frame(0x81, s), Limits{}, fail(ReasonInvalidUTF8)},
			clause{"8.1", name + " in a fragment, before the message ends", frame(0x01, s), Limits{}, fail(ReasonInvalidUTF8)},
			clause{"5.6", name + " in binary is nobody's business", frame(0x82, s), Limits{}, trace{fmt.Sprintf("binary %x", s)}},
		)
	}
	for _, s := range []string{"\xc3", "\xe2", "\xe2\x82", "\xf0\x9f", "\xf0\x9f\x98", "abc\xf0\x9f\x98"} {
		all = append(all,
			clause{"8.1", fmt.Sprintf("ends within a character %x", s), frame(0x81, s), Limits{}, fail(ReasonInvalidUTF8)},
			clause{"8.1", fmt.Sprintf("ends within a character %x, empty last fragment", s), cat(frame(0x01, s), frame(0x80, "")), Limits{}, fail(ReasonInvalidUTF8)},
			clause{"8.1", fmt.Sprintf("may still go on %x", s), frame(0x01, s), Limits{}, trace{"partial " + text(s)}},
			clause{"8.1", fmt.Sprintf("a ping in a character %x", s), cat(frame(0x01, "\xf0"), frame(0x89, "\xff"), frame(0x80, "\x9f\x98\x80")), Limits{}, trace{"ping ff", text("😀")}},
		)
	}
	unfinished := frame(0x81, strings.Repeat("x", 40)+"\xf4\x90"+strings.Repeat("x", 40))
	return append(all,
		clause{"8.1", "found at the first bad byte", unfinished[:6+42], Limits{}, fail(ReasonInvalidUTF8)},
		clause{"8.1", "and not before it", unfinished[:6+41], Limits{}, trace{"partial " + text(strings.Repeat("x", 40)+"\xf4")}},
		clause{"8.1", "the next text starts afresh", cat(frame(0x81, "é"), frame(0x82, "\xc3"), frame(0x81, "é")), Limits{}, trace{text("é"), "binary c3", text("é")}},
	)
}

func compression() []clause {
	on := Limits{Deflate: true}
	return []clause{
		{"7692 6.1", "RSV1 on text", frame(0xC1, "\xf2\x48"), on, trace{"text deflate f248"}},
		{"7692 6.1", "RSV1 on binary", frame(0xC2, "\x00"), on, trace{"binary deflate 00"}},
		{"7692 6", "a message may stay uncompressed", frame(0x81, "a"), on, trace{text("a")}},
		{"7692 6", "and is checked then", frame(0x81, "\xff"), on, fail(ReasonInvalidUTF8)},
		{"7692 6.1", "fragments carry it on the first only", cat(frame(0x41, "\xf2"), frame(0x00, "\x48"), frame(0x89, "p"), frame(0x80, "\x00")), on, trace{"ping 70", "text deflate f24800"}},
		{"7692 6.1", "RSV1 on a continuation", cat(frame(0x41, "\xf2"), frame(0xC0, "\x48")), on, fail(ReasonReservedBits)},
		{"7692 6.1", "RSV1 on a continuation of an uncompressed message", cat(frame(0x01, "a"), frame(0xC0, "b")), on, fail(ReasonReservedBits)},
		{"7692 6.1", "RSV1 on ping", frame(0xC9, ""), on, fail(ReasonReservedBits)},
		{"7692 6.1", "RSV1 on pong", frame(0xCA, ""), on, fail(ReasonReservedBits)},
		{"7692 6.1", "RSV1 on close", frame(0xC8, "\x03\xe8"), on, fail(ReasonReservedBits)},
		{"7692 6", "the next message decides anew", cat(frame(0xC1, "\xff"), frame(0x81, "a"), frame(0xC2, "b")), on, trace{"text deflate ff", text("a"), "binary deflate 62"}},
	}
}

func sizes() []clause {
	lim := Limits{MessageBytesMax: 1000}
	k := strings.Repeat("k", 1000)
	return []clause{
		{"10.4", "at the limit", frame(0x82, k), lim, trace{"binary " + strings.Repeat("6b", 1000)}},
		{"10.4", "one over, by its header alone", frame(0x82, k+"k")[:4], lim, fail(ReasonTooBig)},
		{"10.4", "one over", frame(0x82, k+"k"), lim, fail(ReasonTooBig)},
		{"10.4", "fragments at the limit", cat(frame(0x01, k[:999]), frame(0x80, "k")), lim, trace{"text " + strings.Repeat("6b", 1000)}},
		{"10.4", "fragments one over", cat(frame(0x01, k[:999]), frame(0x80, "kk")[:2]), lim, fail(ReasonTooBig)},
		{"10.4", "an empty fragment at the limit", cat(frame(0x02, k), frame(0x80, "")), lim, trace{"binary " + strings.Repeat("6b", 1000)}},
		{"10.4", "the next message counts anew", cat(frame(0x82, k), frame(0x82, k)), lim, trace{"binary " + strings.Repeat("6b", 1000), "binary " + strings.Repeat("6b", 1000)}},
		{"10.4", "the zero limit is 64 KiB", unhex("82 ff 00 00 00 00 00 01 00 01"), Limits{}, fail(ReasonTooBig)},
		{"10.4", "4 GiB", unhex("82 ff 00 00 00 01 00 00 00 00"), lim, fail(ReasonTooBig)},
		{"10.4", "2^53", unhex("82 ff 00 20 00 00 00 00 00 00"), lim, fail(ReasonTooBig)},
	}
}
