package conform

import (
	"fmt"
	"strings"
)

// sizes: big messages, whole and in many fragments, come back whole. Few, because they cost seconds.
func sizes() (all []Case) {
	const clause = "RFC6455 5.2"
	for _, n := range []int{256 << 10, 1 << 20, 4 << 20, MessageBytesMax} {
		s := strings.Repeat("0123456789abcde\n", n/16)
		all = append(all, one(clause, fmt.Sprintf("text of %d KiB", n>>10), 0, frames{send(fin|opText, s)}, text(s)))
		s = strings.Repeat("\x00\x01\x02\xfd\xfe\xff\x80\x7f", n/8)
		all = append(all, one(clause, fmt.Sprintf("binary of %d KiB", n>>10), 0, frames{send(fin|opBinary, s)}, binary(s)))
	}
	for _, f := range []struct{ total, fragment int }{{64 << 10, 1}, {1 << 20, 64}, {1 << 20, 1 << 10}, {4 << 20, 64 << 10}, {MessageBytesMax, 1 << 20}} {
		const unit = "κόσμε 😀\n"
		s := strings.Repeat(unit, f.total/len(unit)) + strings.Repeat("x", f.total%len(unit))
		var b []byte
		for at := 0; at < len(s); at += f.fragment { // cuts characters, too
			first := byte(opContinuation)
			if at == 0 {
				first = opText
			}
			b = append(b, send(first, s[at:min(at+f.fragment, len(s))])...)
		}
		all = append(all, one("RFC6455 5.4", fmt.Sprintf("text of %d KiB in fragments of %d", f.total>>10, f.fragment), 0, frames{b, send(fin|opContinuation, "")}, text(s)))
	}
	var roundTrips Case
	roundTrips.Clause, roundTrips.Name = clause, "1,000 messages, each after the last came back"
	for i := range 1000 {
		s := strings.Repeat(string(rune('a'+i%26)), i)
		roundTrips.Steps = append(roundTrips.Steps, step(frames{send(fin|opText, s)}, text(s)))
	}
	return append(all, roundTrips)
}

// limits: what is over the message limit is refused when its header says so, §7.4.1, §10.4.
func limits() []Case {
	const clause = "RFC6455 10.4"
	announce := func(first byte, n int) []byte {
		h := header(first, n)
		h[1] |= 0x80
		return h
	}
	fill := strings.Repeat("\x00", MessageBytesMax-1)
	return []Case{
		one(clause, "one byte over, refused by its header", 1009, frames{announce(fin|opText, MessageBytesMax+1)}),
		one(clause, "one byte over in an unfinished message", 1009, frames{announce(opBinary, MessageBytesMax+1)}),
		one(clause, "2^32", 1009, frames{announce(fin|opText, 1<<32)}),
		one(clause, "2^53", 1009, frames{announce(fin|opBinary, 1<<53)}),
		one(clause, "2^63 - 1", 1009, frames{announce(fin|opBinary, 1<<63-1)}),
		one(clause, "2^63 - 1 in a continuation: the sum must not wrap", 1009, frames{send(opText, "ab"), announce(fin|opContinuation, 1<<63-1)}),
		one(clause, "a sum one byte over", 1009, frames{send(opBinary, fill), announce(fin|opContinuation, 2)}),
		one(clause, "a good message before", 1009, frames{send(fin|opText, "good"), announce(fin|opText, 1<<40)}, text("good")),
	}
}
