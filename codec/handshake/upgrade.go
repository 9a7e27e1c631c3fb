package handshake

import (
	"bytes"
	"fmt"
)

// Config is what an endpoint asks of an upgrade beyond RFC 6455. The zero value asks that a page comes from the same host.
type Config struct {
	Origins *Origins // which pages may connect; nil: those of the same host. A request without Origin is no page and passes
}

// Validate reports a Config that cannot be used.
func (c *Config) Validate() error {
	if c.Origins == nil {
		return nil
	}
	return c.Origins.Validate()
}

// protocolsMax bounds the subprotocols a client may offer; the check for duplicates is quadratic.
const protocolsMax = 16

// CheckUpgrade applies the rules of RFC 6455 §4.2.1 to a parsed request and returns Done or the first rule broken, which
// AppendRefusal answers. It allocates nothing and keeps nothing; cfg may be shared by goroutines.
func CheckUpgrade(req *Request, cfg *Config) Status {
	if req.Minor < 1 {
		return HTTP10
	}
	if string(req.Method) != "GET" {
		return MethodNotGET
	}
	if status := checkHost(req); status != Done {
		return status
	}
	if !req.Upgrade {
		return NoUpgrade
	}
	if !req.connection {
		return NoConnection
	}
	if status := checkVersionAndKey(req); status != Done {
		return status
	}
	if status := checkNoBody(req); status != Done {
		return status
	}
	switch {
	case req.twice&fieldOrigin != 0:
		return TwoOrigins
	case !cfg.Origins.Allows(req.Origin, req.Host):
		return OriginDenied
	case req.twice&fieldAuthorization != 0:
		return TwoAuthorizations
	case !validProtocols(&req.Protocols):
		return BadSubprotocol
	case !validExtensions(&req.Extensions):
		return BadExtensions
	}
	return Done
}

func checkHost(req *Request) Status {
	if req.twice&fieldHost != 0 {
		return TwoHosts
	}
	if len(req.Host) == 0 {
		return NoHost
	}
	if _, _, ok := splitHost(req.Host); !ok {
		return BadHost
	}
	if req.Authority != nil && !equalFoldBytes(req.Authority, req.Host) {
		return HostMismatch
	}
	return Done
}

func checkVersionAndKey(req *Request) Status {
	switch {
	case req.twice&fieldVersion != 0:
		return TwoVersions
	case req.Version == nil:
		return NoVersion
	case string(req.Version) != "13":
		return WrongVersion
	case req.twice&fieldKey != 0:
		return TwoKeys
	case req.Key == nil:
		return NoKey
	case !validKey(req.Key):
		return BadKey
	}
	return Done
}

// checkNoBody refuses a body: its bytes would be read as frames here and as a body by a proxy.
func checkNoBody(req *Request) Status {
	switch {
	case req.transfer:
		return TransferOnUpgrade
	case req.ContentLength == nil:
		return Done
	case req.twice&fieldContentLength != 0 || len(req.ContentLength) == 0 || !all(req.ContentLength, isDigit):
		return BadContentLength
	case len(bytes.Trim(req.ContentLength, "0")) > 0:
		return BodyOnUpgrade
	case len(req.ContentLength) > 1: // 00: zero for us, perhaps not for a proxy
		return BadContentLength
	}
	return Done
}

// validKey checks that k is the base64 of 16 bytes (§4.2.1 item 5): 22 digits and two paddings. The last digit's four spare bits
// may be anything: RFC 4648 §3.5 leaves it to the decoder, and clients exist that draw all 22 digits at random.
func validKey(k []byte) bool {
	return len(k) == 24 && k[22] == '=' && k[23] == '=' && all(k[:22], isBase64)
}

func isBase64(c byte) bool {
	return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'z' || c == '+' || c == '/'
}

func equalFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// validProtocols checks Sec-WebSocket-Protocol (§4.1 item 10): one token or more, each at most once. Empty elements are none (1#token,
// RFC 9110 §5.6.1.2).
func validProtocols(l *Lines) bool {
	if l.n == 0 {
		return true
	}
	if l.more {
		return false
	}
	var seen [protocolsMax][]byte
	n := 0
	for _, list := range l.line[:l.n] {
		for more := true; more; {
			var p []byte
			p, list = cutElement(list)
			more = list != nil
			if len(p) == 0 {
				continue
			}
			if n == protocolsMax || !isAllToken(p) {
				return false
			}
			for _, q := range seen[:n] {
				if bytes.Equal(p, q) {
					return false
				}
			}
			seen[n] = p
			n++
		}
	}
	return n > 0
}

// validExtensions checks the grammar of Sec-WebSocket-Extensions (§9.1): extension *( ";" param ), with param = token [ "=" token or quoted
// token ]. A list that breaks it fails the connection; what an offer of an extension means is the extension's to judge.
func validExtensions(l *Lines) bool {
	if l.n == 0 {
		return true
	}
	if l.more {
		return false
	}
	total := 0
	for _, list := range l.line[:l.n] {
		n, ok := countExtensions(list)
		if !ok {
			return false
		}
		total += n
	}
	return total > 0
}

// countExtensions counts the extensions of a list; ok is false when it breaks the grammar. Empty elements are none (1#extension,
// RFC 9110 §5.6.1.2).
func countExtensions(s []byte) (n int, ok bool) {
	for {
		for s = trimOWS(s); len(s) > 0 && s[0] == ','; {
			s = trimOWS(s[1:])
		}
		if len(s) == 0 {
			return n, true
		}
		if s, ok = skipToken(s); !ok {
			return 0, false
		}
		for len(s) > 0 && s[0] == ';' {
			if s, ok = skipParam(trimOWS(s[1:])); !ok {
				return 0, false
			}
		}
		if len(s) > 0 && s[0] != ',' {
			return 0, false
		}
		n++
	}
}

// skipToken skips a token and the white space after it.
func skipToken(s []byte) (rest []byte, ok bool) {
	i := 0
	for i < len(s) && isToken(s[i]) {
		i++
	}
	return trimOWS(s[i:]), i > 0
}

func skipParam(s []byte) (rest []byte, ok bool) {
	if s, ok = skipToken(s); !ok || len(s) == 0 || s[0] != '=' {
		return s, ok
	}
	s = trimOWS(s[1:])
	if len(s) == 0 || s[0] != '"' {
		return skipToken(s)
	}
	n := 0 // characters of the token in quotes, §9.1: after unescaping it must be one
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return trimOWS(s[i+1:]), n > 0
		case c == '\\' && i+1 < len(s) && isToken(s[i+1]):
			i++
			n++
		case isToken(c):
			n++
		default:
			return nil, false
		}
	}
	return nil, false
}

// String describes req for a log line of a refused handshake: method and path only, quoted, cut to 64 bytes each, since queries hold tokens.
func (r *Request) String() string {
	return fmt.Sprintf("%.64q %.64q", r.Method, r.Path)
}
