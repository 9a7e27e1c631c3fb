package hooks

import (
	"slices"
	"strings"

	"shoal/server/backend"
)

// passing says which headers of clients go on to a backend. Names are lower-case.
type passing struct {
	real     []string // of the conn's request
	emulated []string // of the connect command
}

// neverPassed belong to one HTTP connection, or say what the body is, and would be wrong
// on the next. With accept-encoding set, net/http would not inflate the answer.
var neverPassed = []string{
	"accept-encoding", "connection", "content-length", "content-type", "expect", "host", "keep-alive",
	"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func newPassing(e *Endpoint) passing {
	return passing{real: lower(e.HTTPHeaders), emulated: lower(e.EmulatedHeaders)}
}

func lower(names []string) []string {
	var out []string
	for _, name := range names {
		if name = strings.ToLower(name); !slices.Contains(neverPassed, name) {
			out = append(out, name)
		}
	}
	return out
}

// each calls set for every header to pass on, what outweighs after what it outweighs. An
// emulated header counts only if it is listed as one: the client can write anything
// into it (GHSA-9468-v6mj-fppw).
func (p *passing) each(c *backend.Client, set func(name, value string)) {
	if len(p.emulated) > 0 {
		for name, value := range c.Emulated {
			if name = strings.ToLower(name); slices.Contains(p.emulated, name) {
				set(name, value)
			}
		}
	}
	for _, name := range p.real {
		if value, ok := c.Headers[name]; ok {
			set(name, value)
		}
	}
}

// validHeader says whether net/http would send it (RFC 9110 §5.1, §5.5); one that it
// would not makes the whole request fail, which a client must not be able to do.
func validHeader(name, value string) bool {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !tokenRune(r) }) {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func tokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// validMetadata says whether gRPC would send it (gRPC over HTTP/2, Custom-Metadata);
// the key is lower-case.
func validMetadata(key, value string) bool {
	if key == "" || strings.HasPrefix(key, "grpc-") {
		return false
	}
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	if strings.HasSuffix(key, "-bin") {
		return true
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return true
}
