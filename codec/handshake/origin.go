package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// originBytesMax bounds an Origin header; a host name has at most 253 bytes (RFC 1035 §3.1).
const originBytesMax = 512

// Origins says which pages may connect (RFC 6455 §10.2), after the Origin header that browsers send and pages cannot forge. Immutable
// after NewOrigins and safe for concurrent use. A nil *Origins allows pages of the same host.
type Origins struct {
	any      bool     // the pattern "*" was given
	patterns []string // lower case; default ports removed
}

// NewOrigins compiles a list of allowed origins, as client.allowed_origins has it. An entry is an origin, scheme://host[:port], which must then
// match in all three parts, case aside, where a default port (80 of http and ws, 443 of https and wss) equals none; or
// a pattern, in which * stands for any characters and ? for one, as in https://*.example.com or http://localhost:*; or * alone, which allows
// every page there is; or null or file://, which browsers send for pages without a host. An empty list gives nil: same host only.
// The error names the entry and what to change.
func NewOrigins(entries []string) (*Origins, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	o := &Origins{patterns: make([]string, 0, len(entries))}
	for _, e := range entries {
		if e == "*" {
			o.any = true
			continue
		}
		p, err := compileOrigin(e)
		if err != nil {
			return nil, fmt.Errorf("handshake: allowed origin %q: %w", e, err)
		}
		o.patterns = append(o.patterns, p)
	}
	return o, nil
}

func compileOrigin(entry string) (string, error) {
	p := strings.ToLower(entry)
	switch {
	case p == "":
		return "", errors.New("it is empty; remove it")
	case len(p) > originBytesMax:
		return "", fmt.Errorf("it has %d bytes; %d is the longest", len(p), originBytesMax)
	case strings.ContainsAny(p, `{}\!`) || hasClass(p): // as Centrifugo's patterns may have
		return "", errors.New("only * and ? are understood in patterns; write one entry for each alternative")
	case strings.ContainsFunc(p, func(r rune) bool { return r >= 0x80 }):
		return "", errors.New("browsers send host names in ASCII; write the host as xn--…")
	case strings.ContainsAny(p, "*?"):
		return p, nil
	}
	c, ok := canonicalOrigin([]byte(p))
	if ok {
		return string(c), nil
	}
	if scheme, rest, found := strings.Cut(p, "://"); found && strings.Contains(rest, "/") {
		host, _, _ := strings.Cut(rest, "/")
		return "", fmt.Errorf("an origin has no path; write %s://%s", scheme, host)
	} else if !found {
		return "", errors.New("the scheme is missing; write scheme://host or scheme://host:port")
	}
	return "", errors.New("it is no origin; write scheme://host or scheme://host:port")
}

// hasClass reports whether p has a bracket that is not one of an IPv6 address after the scheme: http://[::1]:*.
func hasClass(p string) bool {
	before, rest, found := strings.Cut(p, "[")
	if !found {
		return false
	}
	address, rest, _ := strings.Cut(rest, "]")
	return !strings.HasSuffix(before, "://") || !strings.Contains(address, ":") || strings.Contains(rest, "[")
}

// Allows decides about a request with these headers. origin nil means there was no Origin header: no browser, and so no page that
// could abuse a user's credentials; it passes. host is only looked at when o is nil.
func (o *Origins) Allows(origin, host []byte) bool {
	if origin == nil {
		return true
	}
	if o == nil {
		return sameHost(origin, host)
	}
	if o.any {
		return true
	}
	c, ok := canonicalOrigin(origin)
	if !ok {
		return false
	}
	for _, p := range o.patterns {
		if matchOrigin(p, c) {
			return true
		}
	}
	return false
}

// Any reports whether every page may connect, which deserves a warning at start.
func (o *Origins) Any() bool { return o != nil && o.any }

// Validate reports an entry that could never match.
func (o *Origins) Validate() error {
	for _, p := range o.patterns {
		if c, err := compileOrigin(p); err != nil {
			return fmt.Errorf("handshake: allowed origin %q: %w", p, err)
		} else if c != p {
			return fmt.Errorf("handshake: allowed origin %q is stored as %q", c, p)
		}
	}
	return nil
}

// splitOrigin reads a serialized origin (RFC 6454 §6.2): scheme "://" host [ ":" port ], nothing before, nothing after.
func splitOrigin(s []byte) (scheme, host, port []byte, ok bool) {
	i := bytes.Index(s, []byte("://"))
	if i <= 0 || len(s) > originBytesMax || !isScheme(s[:i]) {
		return nil, nil, nil, false
	}
	host, port, ok = splitHost(s[i+3:])
	if s[len(s)-1] == ':' { // a port was announced
		ok = false
	}
	return s[:i], host, port, ok
}

// canonicalOrigin returns s without a default port, for comparison; false when s is no origin.
func canonicalOrigin(s []byte) (c []byte, ok bool) {
	if string(s) == "null" || string(s) == "file://" {
		return s, true
	}
	scheme, _, port, ok := splitOrigin(s)
	if ok && port != nil && number(port) == defaultPort(scheme) {
		return s[:len(s)-len(port)-1], true
	}
	return s, ok
}

// isScheme follows RFC 3986 §3.1.
func isScheme(s []byte) bool {
	for i, c := range s {
		letter := 'a' <= lower(c) && lower(c) <= 'z'
		if !letter && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return true
}

func defaultPort(scheme []byte) int {
	switch {
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return 443
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return 80
	}
	return -1
}

// sameHost compares the origin's host and port with the Host header. The scheme cannot be compared: behind a TLS proxy nobody here
// knows the page's. It does fill in the port where Host has none.
func sameHost(origin, host []byte) bool {
	scheme, oHost, oPort, ok := splitOrigin(origin)
	if !ok || defaultPort(scheme) < 0 {
		return false
	}
	hHost, hPort, ok := splitHost(host)
	return ok && equalFoldBytes(oHost, hHost) && portOr(oPort, scheme) == portOr(hPort, scheme)
}

func portOr(port, scheme []byte) int {
	if len(port) == 0 {
		return defaultPort(scheme)
	}
	return number(port)
}

// matchOrigin matches c, case aside, with a lower-case pattern: * any run, ? any one. One star to go back to is enough: an earlier
// star can absorb nothing that a later one cannot. So it takes at most len(p)*len(c) steps.
func matchOrigin(p string, c []byte) bool {
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(c) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == lower(c[j])):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
