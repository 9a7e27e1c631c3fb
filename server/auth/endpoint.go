package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

// groupTextsMax is how many texts a group in an endpoint may stand for.
const groupTextsMax = 1000

// endpoint is where a key set is fetched from. In {{name}} it has what the group of that
// name in issuer_regex or audience_regex matched in the token. That is read before the
// signature is verified, so by itself it would let whoever writes a token choose whose
// keys verify it; hence the safety check: a group must stand for a fixed list of texts.
type endpoint struct {
	pieces []string // text, name, text, name, …, text
	fixed  string   // the URL, when nothing is to be put in
	narrow bool     // safety check off: what is put in may only be part of a name
}

// parseEndpoint reads jwks_public_endpoint.
func parseEndpoint(c *Config) (*endpoint, error) {
	pieces, err := cutTemplate(c.JWKSPublicEndpoint)
	if err != nil {
		return nil, err
	}
	groups, err := namedGroups(c.IssuerRegex, c.AudienceRegex)
	if err != nil {
		return nil, err
	}
	e := &endpoint{pieces: pieces, narrow: c.InsecureSkipJWKSEndpointSafetyCheck}
	sample := strings.Builder{}
	for i, piece := range pieces {
		if i%2 == 0 {
			sample.WriteString(piece)
			continue
		}
		sample.WriteString("x")
		trees := groups[piece]
		if len(trees) == 0 {
			return nil, fmt.Errorf("{{%s}} stands for nothing; name a group (?P<%s>…) in issuer_regex or audience_regex", piece, piece)
		}
		for _, tree := range trees {
			if texts(tree) > groupTextsMax && !e.narrow {
				return nil, fmt.Errorf("the group %s matches more than a fixed list of at most %d texts, so a token could name the server its key "+
					"comes from; write them out, as in (?P<%s>one|two)", piece, groupTextsMax, piece)
			}
		}
	}
	u, err := parseURL(sample.String())
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !e.narrow && !loopback(u.Hostname()) {
		return nil, errors.New("it is http, and whoever is on the way could put in keys; use https, or set insecure_skip_jwks_endpoint_safety_check")
	}
	if len(pieces) == 1 {
		e.fixed = pieces[0]
	}
	return e, nil
}

// url is the endpoint for a token; groups are what its claims matched.
func (e *endpoint) url(groups map[string]string) (string, *Error) {
	if e.fixed != "" {
		return e.fixed, nil
	}
	text := strings.Builder{}
	for i, piece := range e.pieces {
		if i%2 == 1 {
			name := piece
			if piece = groups[name]; piece == "" || strings.ContainsFunc(piece, e.foreign) {
				return "", refuse(ReasonKey, "the group %s, which jwks_public_endpoint has in it, matches nothing or what is no part of a URL", name)
			}
		}
		text.WriteString(piece)
	}
	if _, err := parseURL(text.String()); err != nil {
		return "", refuse(ReasonKey, "what its claims put into jwks_public_endpoint makes no URL: %v", err)
	}
	return text.String(), nil
}

// foreign says whether a rune may not be put into a URL: nothing that ends its host,
// port, path or query or is escaped in it, and without the safety check not even what
// ends a name.
func (e *endpoint) foreign(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._~", r):
		return false
	case r == '/' || r == ':':
		return e.narrow
	}
	return true
}

// parseURL refuses what no key set is fetched from. Errors do not quote it.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, errors.New("it is not an http or https URL; write one, such as https://auth.example.com/.well-known/jwks.json")
	case u.Path != "" && strings.TrimSuffix(u.Path, "/") != strings.TrimSuffix(path.Clean(u.Path), "/"):
		return nil, errors.New("its path has empty, . or .. parts; write it without")
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// cutTemplate cuts a text at {{name}}: text and name by turns, beginning and ending
// with text.
func cutTemplate(text string) ([]string, error) {
	var pieces []string
	for {
		before, rest, ok := strings.Cut(text, "{{")
		if pieces = append(pieces, before); !ok {
			break
		}
		name, after, ok := strings.Cut(rest, "}}")
		if !ok || name == "" {
			return nil, errors.New("it has {{ without a name and }}; write {{group}}")
		}
		pieces, text = append(pieces, name), after
	}
	if strings.Contains(strings.Join(pieces, ""), "}}") {
		return nil, errors.New("it has }} without {{; write {{group}}")
	}
	return pieces, nil
}

// namedGroups lists what the named groups of the expressions match.
func namedGroups(expressions ...string) (map[string][]*syntax.Regexp, error) {
	groups := map[string][]*syntax.Regexp{}
	var walk func(*syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		if re.Op == syntax.OpCapture && re.Name != "" {
			groups[re.Name] = append(groups[re.Name], re.Sub[0])
		}
		for _, sub := range re.Sub {
			walk(sub)
		}
	}
	for _, expression := range expressions {
		re, err := syntax.Parse(expression, syntax.Perl)
		if err != nil {
			return nil, err
		}
		walk(re)
	}
	return groups, nil
}

// texts is how many different texts an expression can match, at most groupTextsMax+1,
// which stands for any number above.
func texts(re *syntax.Regexp) int {
	const many = groupTextsMax + 1
	n := 1
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
	case syntax.OpNoMatch:
		n = 0
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 {
				n = min(n*spellings(r), many)
			}
		}
	case syntax.OpCharClass:
		n = 0
		for i := 0; i < len(re.Rune); i += 2 {
			n = min(n+int(re.Rune[i+1]-re.Rune[i])+1, many)
		}
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			n = min(n*texts(sub), many)
		}
	case syntax.OpAlternate:
		n = 0
		for _, sub := range re.Sub {
			n = min(n+texts(sub), many)
		}
	case syntax.OpQuest:
		n = min(1+texts(re.Sub[0]), many)
	default: // any character, or any number of times
		n = many
	}
	return n
}

// spellings is how many runes match r when case does not count.
func spellings(r rune) int {
	n := 1
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		n++
	}
	return n
}

// matchesGroups says whether the text matches, and adds what the named groups matched
// unless groups is nil.
func matchesGroups(re *regexp.Regexp, text string, groups map[string]string) bool {
	if groups == nil {
		return re.MatchString(text)
	}
	match := re.FindStringSubmatch(text)
	for i, name := range re.SubexpNames() {
		if i < len(match) && name != "" {
			groups[name] = match[i]
		}
	}
	return match != nil
}
