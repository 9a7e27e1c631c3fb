package conform

import (
	"fmt"
	"strings"
)

// closing handshake, §5.5.1, §7.1.
func closing() []Case {
	const clause = "RFC6455 5.5.1"
	bye := send(fin|opClose, closeBody(1000, ""))
	return []Case{
		one(clause, "close 1000", 1000, frames{bye}),
		one(clause, "close without body", CloseEmpty, frames{send(fin|opClose, "")}),
		one(clause, "a body of one byte", 1002, frames{send(fin|opClose, "\x03")}),
		one(clause, "a reason", 1000, frames{send(fin|opClose, closeBody(1000, "going home"))}),
		one(clause, "a reason beyond ASCII", 1000, frames{send(fin|opClose, closeBody(1000, "schön 😀"))}),
		one(clause, "the longest reason", 1000, frames{send(fin|opClose, closeBody(1000, strings.Repeat("r", 123)))}),
		one(clause, "a reason that is no UTF-8", 1007, frames{send(fin|opClose, closeBody(1000, "a\xff"))}),
		one(clause, "a reason with a surrogate", 1007, frames{send(fin|opClose, closeBody(1000, "κόσμε\xed\xa0\x80edited"))}),
		one(clause, "a reason cut in a character", 1007, frames{send(fin|opClose, closeBody(1000, strings.Repeat("r", 121)+"\xe2\x82"))}),
		one(clause, "a message before close", 1000, frames{send(fin|opText, "last"), bye}, text("last")),
		one(clause, "a second close is discarded", 1000, frames{bye, send(fin|opClose, closeBody(1001, ""))}),
		one(clause, "a ping after close is discarded", 1000, frames{bye, send(fin|opPing, "")}),
		one(clause, "a message after close is discarded", 1000, frames{bye, send(fin|opText, "late")}),
		one(clause, "nonsense after close is discarded", 1000, frames{bye, {0xFF, 0xFF, 0xFF}}),
		one(clause, "256 KiB of message after close are discarded", 1000, frames{bye, send(fin|opBinary, strings.Repeat("z", 256<<10))}),
		one(clause, "a message left unfinished by close", 1000, frames{send(opText, "never"), send(fin|opPing, "p"), bye}, pong("p")),
	}
}

// closeCodes, §7.4 and the IANA registry.
func closeCodes() (all []Case) {
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, one("RFC6455 7.4", fmt.Sprintf("code %d", code), code, frames{send(fin|opClose, closeBody(code, ""))}))
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535} {
		all = append(all, one("RFC6455 7.4", fmt.Sprintf("code %d", code), 1002, frames{send(fin|opClose, closeBody(code, ""))}),
			one("RFC6455 7.4", fmt.Sprintf("code %d with a reason", code), 1002, frames{send(fin|opClose, closeBody(code, "why"))}))
	}
	return all
}

// good texts, every boundary of RFC 3629.
var good = []string{
	"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "😀😁", "\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\uffff",
	"\U00010000", "\U0001fffe", "\U0001ffff", "\U000fffff", "\U00100000", "\U0010ffff", "\ufeffbyte order mark",
}

// bad texts and how many bytes of each can still be the beginning of a good one.
var bad = []struct {
	text string
	good int
}{
	{"\x80", 0}, {"\xbf", 0}, {"\x80\xbf", 0}, {"a\x80b", 1}, {"\xc0\x80", 0}, {"\xc1\xbf", 0}, {"\xc2", 1}, {"\xc2a", 1}, {"\xdf\xc0", 1},
	{"\xe0\x80\x80", 1}, {"\xe0\x9f\xbf", 1}, {"\xe1\x80", 2}, {"\xe2\x82a", 2}, {"\xe2\xe2\x82\xac", 1}, {"\xed\xa0\x80", 1}, {"\xed\xad\xbf", 1},
	{"\xed\xae\x80", 1}, {"\xed\xbf\xbf", 1}, {"\xed\xa0\x80\xed\xb0\x80", 1}, {"\xf0\x80\x80\x80", 1}, {"\xf0\x8f\xbf\xbf", 1}, {"\xf0\x9f\x98", 3},
	{"\xf0\x9f\x98a", 3}, {"\xf4\x90\x80\x80", 1}, {"\xf5\x80\x80\x80", 0}, {"\xf7\xbf\xbf\xbf", 0}, {"\xf8\x88\x80\x80\x80", 0}, {"\xfb\xbf\xbf\xbf\xbf", 0},
	{"\xfc\x84\x80\x80\x80\x80", 0}, {"\xfd\xbf\xbf\xbf\xbf\xbf", 0}, {"\xfe", 0}, {"\xff", 0}, {"κόσμε\xed\xa0\x80edited", 11}, {"κόσμε\xf4\x90\x80\x80", 11},
}

func utf8Valid() (all []Case) {
	const clause = "RFC6455 8.1"
	for _, s := range good {
		bytewise := frames{send(opText, s[:1])}
		for i := 1; i < len(s); i++ {
			bytewise = append(bytewise, send(opContinuation, s[i:i+1]))
		}
		all = append(all,
			one(clause, fmt.Sprintf("%+q", s), 0, frames{send(fin|opText, s)}, text(s)),
			one(clause, fmt.Sprintf("%+q, a fragment for every byte", s), 0, append(bytewise, send(fin|opContinuation, "")), text(s)))
	}
	return append(all, one(clause, "a ping inside a character", 0, frames{send(opText, "\xf0\x9f"), send(fin|opPing, "\xff"), send(fin|opContinuation, "\x98\x80")}, pong("\xff"), text("😀")))
}

func utf8Invalid() (all []Case) {
	const clause = "RFC6455 8.1"
	for _, s := range bad {
		half := len(s.text) / 2
		all = append(all,
			one(clause, fmt.Sprintf("invalid %+q", s.text), 1007, frames{send(fin|opText, s.text)}),
			one(clause, fmt.Sprintf("invalid %+q in two fragments", s.text), 1007, frames{send(opText, s.text[:half]), send(fin|opContinuation, s.text[half:])}),
			one(clause, fmt.Sprintf("%+q is fine as binary", s.text), 0, frames{send(fin|opBinary, s.text)}, binary(s.text)))
	}
	return append(all, one(clause, "a good text before a bad one", 1007, frames{send(fin|opText, "good"), send(fin|opText, "\xff"), send(fin|opPing, "")}, text("good")))
}

// utf8FailFast: the connection fails at the byte that cannot be, though message, frame and fragment go on (§8.1 asks for
// failing; at once is what "strict" means here).
func utf8FailFast() (all []Case) {
	const clause = "RFC6455 8.1"
	for _, s := range bad {
		if s.good == len(s.text) {
			continue // bad only because it ends
		}
		upTo := s.text[:s.good+1]
		endless := send(fin|opText, upTo+strings.Repeat("x", 1000))
		endless = endless[:len(endless)-1000]
		all = append(all,
			one(clause, fmt.Sprintf("%+q fails inside a frame", upTo), 1007, frames{endless}),
			one(clause, fmt.Sprintf("%+q fails inside a message", upTo), 1007, frames{send(opText, upTo)}),
			Case{Clause: clause, Name: fmt.Sprintf("%+q fails at its last byte", upTo), Close: 1007, Steps: []Step{
				step(frames{send(opText, upTo[:s.good]), send(fin|opPing, "still fine")}, pong("still fine")),
				step(frames{send(opContinuation, upTo[s.good:])}),
			}})
	}
	return all
}
