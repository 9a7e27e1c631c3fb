package conform

import (
	"bytes"
	"compress/flate"
	"fmt"
	"strings"
)

const (
	plainOffer = "permessage-deflate; client_max_window_bits"
	accepted   = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
)

// negotiation, RFC 7692 §5, §7.1; the grammar is RFC 6455 §9.1. In every case a message must come back afterwards.
func negotiation() (all []Case) {
	add := func(clause, name, offer, accept string) {
		c := one("RFC"+clause, name, 0, frames{send(fin|opText, "echo")}, text("echo"))
		c.Offer, c.Accept = offer, accept
		all = append(all, c)
	}
	add("7692 7", "the name alone", "permessage-deflate", accepted)
	add("7692 7.1.3", "what browsers offer", plainOffer, accepted)
	add("7692 7.1.1.1", "server_no_context_takeover", "permessage-deflate; server_no_context_takeover", accepted)
	add("7692 7.1.1.2", "client_no_context_takeover", "permessage-deflate; client_no_context_takeover", accepted)
	for bits := 8; bits <= 15; bits++ {
		answer := fmt.Sprintf("%s; server_max_window_bits=%d", accepted, bits)
		add("7692 7.1.2.1", fmt.Sprintf("server_max_window_bits=%d", bits), fmt.Sprintf("permessage-deflate; server_max_window_bits=%d", bits), answer)
		add("7692 7.1.2.2", fmt.Sprintf("client_max_window_bits=%d", bits), fmt.Sprintf("permessage-deflate; client_max_window_bits=%d", bits), accepted)
	}
	add("7692 7.1.2.1", "a quoted value", `permessage-deflate; server_max_window_bits="12"`, accepted+"; server_max_window_bits=12")
	add("7692 7.1.3", "everything at once", "permessage-deflate; client_max_window_bits=10; server_max_window_bits=10; client_no_context_takeover; server_no_context_takeover", accepted+"; server_max_window_bits=10")
	add("6455 9.1", "space and tabs, upper case", "\t Permessage-Deflate ;\tClient_Max_Window_Bits ", accepted)
	add("6455 9.1", "other extensions around it", "x-webkit-deflate-frame, foo; bar=1, permessage-deflate, mux", accepted)

	for _, bad := range []string{
		"unknown", "unknown=1", "server_no_context_takeover=1", `server_no_context_takeover="true"`, "client_no_context_takeover=0", "server_max_window_bits",
		"server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=08", "server_max_window_bits=+9", "server_max_window_bits=9.0",
		"server_max_window_bits=abc", "server_max_window_bits=-1", "server_max_window_bits=266", "client_max_window_bits=7", "client_max_window_bits=16",
		"client_max_window_bits=0", "client_max_window_bits=010", "client_max_window_bits=4294967304", "client_max_window_bits; client_max_window_bits",
		"server_max_window_bits=10; server_max_window_bits=10", "server_no_context_takeover; Server_No_Context_Takeover",
		"client_max_window_bits=9; client_max_window_bits",
	} {
		add("7692 7.1", "declined: "+bad, "permessage-deflate; "+bad, "")
		add("7692 5.1", "the next offer is taken after: "+bad, "permessage-deflate; "+bad+", permessage-deflate; server_max_window_bits=9", accepted+"; server_max_window_bits=9")
	}
	add("7692 5", "another extension only", "permessage-bzip2, x-permessage-deflate, permessage-deflate2", "")
	for _, broken := range []string{
		"permessage-deflate;", "permessage-deflate; =10", "permessage-deflate; server_max_window_bits=", `permessage-deflate; server_max_window_bits="10`,
		`permessage-deflate; server_max_window_bits=""`, "permessage-deflate server_max_window_bits=10", "permessage-deflate; a=b=c", ";", `"permessage-deflate"`,
	} {
		add("6455 9.1", "broken grammar: "+broken, broken, "")
		all[len(all)-1].Refuse = true
	}
	return all
}

// deflated compresses one message as an independent client does, RFC 7692 §7.2.1.
func deflated(s string, level int) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		panic(err)
	}
	w.Write([]byte(s))
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// withDeflate makes cases of frames under the plain offer.
func withDeflate(clause, name string, closeCode int, f frames, want ...Frame) Case {
	c := one("RFC7692 "+clause, name, closeCode, f, want...)
	c.Offer, c.Accept = plainOffer, accepted
	return c
}

// compressed messages, RFC 7692 §6, §7.2.
func compressed() []Case {
	hello := text("Hello")
	hello1, hello2 := "\xf2\x48\xcd", "\xc9\xc9\x07\x00"
	all := []Case{
		withDeflate("7.2.3.1", "one fixed block", 0, frames{send(fin|rsv1|opText, hello1+hello2)}, hello),
		withDeflate("7.2.3.1", "in two fragments", 0, frames{send(rsv1|opText, hello1), send(fin|opContinuation, hello2)}, hello),
		withDeflate("7.2.3.2", "twice, without taking over context", 0, frames{send(fin|rsv1|opText, hello1+hello2), send(fin|rsv1|opText, hello1+hello2)}, hello, hello),
		withDeflate("7.2.3.3", "a stored block", 0, frames{send(fin|rsv1|opText, "\x00\x05\x00\xfa\xffHello\x00")}, hello),
		withDeflate("7.2.3.4", "BFINAL set", 0, frames{send(fin|rsv1|opText, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, hello),
		withDeflate("7.2.3.5", "two blocks", 0, frames{send(fin|rsv1|opText, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}, hello),
		withDeflate("7.2.1", "a block that refers to one before a final block", 0, frames{send(fin|rsv1|opText, "\xf3\x48\xcd\xc9\xc9\x07\x00\x02\x13\x00\x00")}, text("HelloHello")),
		withDeflate("7.2.3.6", "an empty message", 0, frames{send(fin|rsv1|opText, "\x00")}, text("")),
		withDeflate("7.2.3.6", "an empty message as a fixed block", 0, frames{send(fin|rsv1|opBinary, "\x02\x00")}, binary("")),
		withDeflate("6", "an uncompressed message", 0, frames{send(fin|opText, "Hello")}, hello),
		withDeflate("6", "uncompressed and compressed by turns", 0, frames{send(fin|opText, "a"), send(fin|rsv1|opText, hello1+hello2), send(fin|opBinary, "b"), send(fin|rsv1|opText, "\x00")}, text("a"), hello, binary("b"), text("")),
		withDeflate("6.1", "a fragment for every byte, empty ones too, pings between", 0, frames{
			send(rsv1|opText, ""), send(opContinuation, "\xf2"), send(fin|opPing, "1"), send(opContinuation, "\x48"), send(opContinuation, ""), send(opContinuation, "\xcd\xc9"),
			send(fin|opPing, "2"), send(opContinuation, "\xc9\x07\x00"), send(fin|opContinuation, ""),
		}, pong("1"), pong("2"), hello),
		withDeflate("6.1", "a character split over two fragments", 0, frames{send(rsv1|opText, deflated("😀", 0)[:7]), send(fin|opContinuation, deflated("😀", 0)[7:])}, text("😀")),
	}
	var noise strings.Builder
	for i, x := 0, uint32(1); i < 64<<10; i++ {
		x = x*1664525 + 1013904223
		noise.WriteByte(byte(x >> 24))
	}
	shapes := map[string]string{"text": strings.Repeat(`{"channel":"news","data":{"x":1}} `, 2000), "noise": noise.String(), "zeros": strings.Repeat("\x00", 1<<20)}
	for _, shape := range []string{"text", "noise", "zeros"} {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			all = append(all, withDeflate("7.2.1", fmt.Sprintf("%s at level %d", shape, level), 0, frames{send(fin|rsv1|opBinary, deflated(shapes[shape], level))}, binary(shapes[shape])))
		}
	}
	for bits := 8; bits <= 15; bits++ { // what comes back must not refer farther than that; Runner looks
		s := strings.Repeat(noise.String()[:3<<bits/2], 3)
		c := withDeflate("7.1.2.1", fmt.Sprintf("the server keeps to a window of 2^%d", bits), 0, frames{send(fin|rsv1|opBinary, deflated(s, 6))}, binary(s))
		c.Offer += fmt.Sprintf("; server_max_window_bits=%d", bits)
		c.Accept += fmt.Sprintf("; server_max_window_bits=%d", bits)
		all = append(all, c)
	}
	return all
}

// compressedBroken: what must not be, RFC 7692 §6.1, §7.2.2; data that does not inflate is 1007 of RFC 6455 §7.4.1.
func compressedBroken() []Case {
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	all := []Case{
		one("RFC7692 6", "RSV1 though nothing was negotiated", 1002, frames{send(fin|rsv1|opText, hello)}),
		withDeflate("6.1", "RSV1 on a continuation", 1002, frames{send(rsv1|opText, hello[:3]), send(fin|rsv1|opContinuation, hello[3:])}),
		withDeflate("6.1", "RSV1 on the continuation of an uncompressed message", 1002, frames{send(opText, "a"), send(fin|rsv1|opContinuation, "b")}),
		withDeflate("6.1", "RSV1 on a ping", 1002, frames{send(fin|rsv1|opPing, "")}),
		withDeflate("6.1", "RSV1 on a pong", 1002, frames{send(fin|rsv1|opPong, "")}),
		withDeflate("6.1", "RSV1 on a close", 1002, frames{send(fin|rsv1|opClose, closeBody(1000, ""))}),
		withDeflate("6.1", "RSV1 on a ping inside a compressed message", 1002, frames{send(rsv1|opText, hello[:3]), send(fin|rsv1|opPing, ""), send(fin|opContinuation, hello[3:])}),
		withDeflate("6", "RSV2", 1002, frames{send(fin|0x20|opText, "a")}),
		withDeflate("6", "RSV1 and RSV3", 1002, frames{send(fin|rsv1|0x10|opText, hello)}),
		withDeflate("7.2.2", "no payload at all", 1007, frames{send(fin|rsv1|opText, "")}),
		withDeflate("7.2.2", "noise", 1007, frames{send(fin|rsv1|opText, "\xff\xff\xff\xff")}),
		withDeflate("7.2.2", "cut short", 1007, frames{send(fin|rsv1|opText, hello[:4])}),
		withDeflate("7.2.2", "the tail was not removed", 1007, frames{send(fin|rsv1|opText, hello+"\x00\x00\xff\xff")}),
		withDeflate("7.2.2", "a stored block that would swallow the tail", 1007, frames{send(fin|rsv1|opBinary, "\x00\x04\x00\xfb\xff")}),
		withDeflate("7.1.1.2", "context of the message before, though taking it over was refused", 1007, frames{send(fin|rsv1|opText, hello), send(fin|rsv1|opText, "\xf2\x00\x11\x00\x00")}, text("Hello")),
		withDeflate("7.2.2", "a good message before", 1007, frames{send(fin|rsv1|opText, hello), send(fin|rsv1|opText, "\x06")}, text("Hello")),
		withDeflate("7.2.2", "text that inflates to no UTF-8", 1007, frames{send(fin|rsv1|opText, deflated("abc\xff", 1))}),
		withDeflate("7.2.2", "text that inflates to half a character", 1007, frames{send(fin|rsv1|opText, deflated("\xf0\x9f\x98", 1))}),
		withDeflate("7.2.2", "the same as binary", 0, frames{send(fin|rsv1|opBinary, deflated("abc\xff", 1))}, binary("abc\xff")),
		withDeflate("8", "a bomb: 1.1 MiB that are 176 MiB", 1009, frames{send(fin|rsv1|opBinary, bomb(176<<20))}),
	}
	fragmented := bomb(176 << 20)
	var f frames
	for at := 0; at < len(fragmented); at += 64 << 10 {
		first := byte(opContinuation)
		if at == 0 {
			first = rsv1 | opText
		}
		f = append(f, send(first, fragmented[at:min(at+64<<10, len(fragmented))]))
	}
	return append(all, withDeflate("8", "the same bomb in fragments", 1009, append(f, send(fin|opContinuation, ""))))
}

// bomb is a fixed block of n zero bytes and some: a literal, then the longest match at distance 1 over and over, 13 bits
// for 258 bytes.
func bomb(n int) string {
	var b []byte
	acc, nacc := uint32(0), 0
	put := func(code uint32, bits int) { // bits in the order of the stream, the first one lowest
		acc |= code << nacc
		for nacc += bits; nacc >= 8; nacc -= 8 {
			b = append(b, byte(acc))
			acc >>= 8
		}
	}
	put(0b010, 3)      // not final, fixed code
	put(0b00001100, 8) // literal 0 is 00110000, first bit lowest
	for range n / 258 {
		put(0b10100011, 8) // length 258 is 11000101
		put(0, 5)          // distance 1
	}
	put(0, 7) // end of block
	put(0, 3) // not final, stored: the sync flush whose lengths are cut off
	if nacc > 0 {
		put(0, 8-nacc)
	}
	return string(b)
}
