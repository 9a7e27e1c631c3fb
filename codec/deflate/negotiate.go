package deflate

import "strconv"

// Name is the extension token, RFC 7692 §7.
const Name = "permessage-deflate"

// WindowBitsMax is the base-2 logarithm of DEFLATE's largest window, and what a peer that says nothing has.
const WindowBitsMax = 15

const windowBitsMin = 8

// Config says which offers to accept. The zero value accepts every valid one.
type Config struct {
	// Disabled declines everything.
	Disabled bool
	// WindowBitsMin declines an offer whose server_max_window_bits is smaller: a small window compresses badly and cannot
	// share the bytes compressed for everybody. 0 means 8, the smallest there is (§7.1.2.1).
	WindowBitsMin int
}

// Params is an accepted offer. Neither side takes over context, always.
type Params struct {
	// ServerBits is the base-2 logarithm of the window this side may use for compressing, 8 to 15. The other direction
	// needs no number: the inflater's window is the message.
	ServerBits uint8
	// answerBits: the offer had server_max_window_bits, so the answer must (§7.1.2.1).
	answerBits bool
}

// Fits reports whether what [Codec.Compress] made of a message of n bytes may be sent under p: it uses the full window, but
// no distance in a message of n bytes reaches farther than n. The zero Params, no deflate at all, fits nothing.
func (p Params) Fits(n int) bool {
	return p.ServerBits == WindowBitsMax || p.ServerBits >= windowBitsMin && n <= 1<<p.ServerBits
}

// AppendResponse appends the value of the Sec-WebSocket-Extensions header that accepts p. It never has
// client_max_window_bits: this side does not care (§7.1.2.2), and it may not be sent to a client that did not offer it.
func (p Params) AppendResponse(dst []byte) []byte {
	dst = append(dst, Name+"; server_no_context_takeover; client_no_context_takeover"...)
	if p.answerBits {
		dst = strconv.AppendUint(append(dst, "; server_max_window_bits="...), uint64(p.ServerBits), 10)
	}
	return dst
}

// Negotiate reads the value of a Sec-WebSocket-Extensions header (several headers are joined with ", ", RFC 6455 §9.1) and
// accepts the first permessage-deflate offer that is valid and that cfg allows (§5.1, §7.1). An offer with an unknown
// parameter, an invalid value or a parameter twice is declined and the next one looked at (§7.1); other extensions are
// skipped. responseExt is the value of the response header; it is nil, and ok false, when nothing was accepted or header
// breaks the grammar (see [CheckSyntax]).
func Negotiate(header []byte, cfg Config) (p Params, responseExt []byte, ok bool) {
	if cfg.Disabled || len(header) == 0 || CheckSyntax(header) != nil {
		return Params{}, nil, false
	}
	s := scanner{b: header}
	for !s.end() {
		if p, ok = s.offer(&cfg); ok {
			return p, p.AppendResponse(nil), true
		}
	}
	return Params{}, nil, false
}

// offer reads one extension of a list whose grammar was checked.
func (s *scanner) offer(cfg *Config) (p Params, ok bool) {
	p.ServerBits = WindowBitsMax
	ok = equalFold(s.token(), Name)
	var seen params
	for s.next(';') {
		var value []byte
		name := s.token()
		has := s.next('=')
		if has {
			value = s.value()
		}
		if !ok {
			continue
		}
		which := paramOf(name)
		if which == 0 || seen&which != 0 || !p.take(which, value, has) {
			ok = false // §7.1: unknown, twice, or invalid
		}
		seen |= which
	}
	s.separators()
	if int(p.ServerBits) < cfg.WindowBitsMin {
		ok = false
	}
	return p, ok
}

type params uint8

const (
	serverNoContextTakeover params = 1 << iota
	clientNoContextTakeover
	serverMaxWindowBits
	clientMaxWindowBits
)

// paramOf returns 0 for a parameter RFC 7692 does not define.
func paramOf(name []byte) params {
	switch {
	case equalFold(name, "server_no_context_takeover"):
		return serverNoContextTakeover
	case equalFold(name, "client_no_context_takeover"):
		return clientNoContextTakeover
	case equalFold(name, "server_max_window_bits"):
		return serverMaxWindowBits
	case equalFold(name, "client_max_window_bits"):
		return clientMaxWindowBits
	}
	return 0
}

// take checks a parameter's value and keeps what matters of it.
func (p *Params) take(which params, value []byte, has bool) bool {
	switch which {
	case serverNoContextTakeover, clientNoContextTakeover: // §7.1.1: no value
		return !has
	case clientMaxWindowBits: // §7.1.2.2: a value or none
		if !has {
			return true
		}
		_, ok := windowBits(value)
		return ok
	}
	bits, ok := windowBits(value) // §7.1.2.1: a value
	p.ServerBits, p.answerBits = bits, true
	return ok && has
}

// windowBits reads "8" to "15", without leading zeros (§7.1.2).
func windowBits(v []byte) (uint8, bool) {
	switch {
	case len(v) == 1 && (v[0] == '8' || v[0] == '9'):
		return v[0] - '0', true
	case len(v) == 2 && v[0] == '1' && v[1] >= '0' && v[1] <= '5':
		return 10 + v[1] - '0', true
	}
	return 0, false
}
