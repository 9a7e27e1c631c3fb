package auth

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"shoal/server/channel"
)

// claim is a claim that is read; jti is not: no use is made of it.
type claim uint8

const (
	claimSub claim = iota
	claimIss
	claimAud
	claimExp
	claimNbf
	claimIat
	claimExpireAt
	claimChannel
	claimClient
	claimInfo
	claimB64Info
	claimData
	claimB64Data
	claimMeta
	claimChannels
	claimSubs
	claimOverride
	claimCount
)

// claimNames is never written.
var claimNames = [claimCount]string{"sub", "iss", "aud", "exp", "nbf", "iat", "expire_at", "channel", "client",
	"info", "b64info", "data", "b64data", "meta", "channels", "subs", "override"}

// claimOf knows a claim by its name, in any case, as the reference implementation does.
func claimOf(name []byte) (claim, bool) {
	for c, known := range claimNames {
		if known == string(name) {
			return claim(c), true
		}
	}
	for c, known := range claimNames {
		if strings.EqualFold(known, string(name)) {
			return claim(c), true
		}
	}
	return 0, false
}

// claimKind says what type each claim must have in a kind of token; others may have any.
type claimKind struct{ texts, dates []claim }

// The kinds are never written.
var (
	registeredClaims   = &claimKind{[]claim{claimSub, claimIss}, []claim{claimExp, claimNbf, claimIat, claimExpireAt}}
	connectionClaims   = &claimKind{append(registeredClaims.texts, claimB64Info), registeredClaims.dates}
	subscriptionClaims = &claimKind{append(registeredClaims.texts, claimB64Info, claimB64Data, claimChannel, claimClient), registeredClaims.dates}
)

// claims are those of one token.
type claims struct {
	raw    [claimCount][]byte // as written; nil: absent. They alias the payload
	tenant []byte             // the same of the claim that names the tenant
	user   string
}

// numericDateMax is the year 9999; a later date, most often milliseconds by mistake, is
// taken for it, so that no arithmetic overflows.
const numericDateMax = 253_402_300_799

// readClaims decodes a payload, of which a claim that comes twice counts in its last
// form (RFC 7519 §4), and checks types. The user is named by sub or by userClaim, the
// tenant by tenantClaim.
func readClaims(payload []byte, kind *claimKind, userClaim, tenantClaim string) (claims, *Error) {
	var c claims
	var user []byte
	m := object(payload)
	for m.next() {
		if known, ok := claimOf(m.key); ok {
			c.raw[known] = m.value
		}
		if userClaim != "" && string(m.key) == userClaim {
			user = m.value
		}
		if tenantClaim != "" && string(m.key) == tenantClaim {
			c.tenant = m.value
		}
	}
	if m.bad {
		return claims{}, refuse(ReasonClaims, "the claims are not a JSON object")
	}
	for _, name := range kind.texts {
		if value := c.raw[name]; value != nil && value[0] != '"' && !isNull(value) {
			return claims{}, refuse(ReasonClaims, "%s is not a string", claimNames[name])
		}
	}
	for _, name := range kind.dates {
		if _, _, ok := c.date(name); !ok {
			return claims{}, refuse(ReasonClaims, "%s is not a date: a number of seconds (RFC 7519 §2), not in quotes", claimNames[name])
		}
	}
	if _, ok := c.audience(); !ok {
		return claims{}, refuse(ReasonClaims, "aud is neither a string nor a list of strings")
	}
	if userClaim == "" {
		c.user = string(c.text(claimSub))
		return c, nil
	}
	var ok bool
	if c.user, ok = userOf(user); !ok {
		return claims{}, refuse(ReasonClaims, "%s, which names the user, is neither a string nor a number", userClaim)
	}
	return c, nil
}

// userOf is a user id: a string, or a number as written.
func userOf(value []byte) (string, bool) {
	if content, ok := unquote(value); ok {
		return string(content), true
	}
	if len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9') {
		return string(value), true
	}
	return "", value == nil || isNull(value)
}

// tenantName is the tenant that the claim of that name says, empty when it is absent or null.
func (c *claims) tenantName(claim string) (string, *Error) {
	if c.tenant == nil || isNull(c.tenant) {
		return "", nil
	}
	name, ok := unquote(c.tenant)
	if !ok {
		return "", refuse(ReasonClaims, "%s, which names the tenant, is not a string", claim)
	}
	return string(name), nil
}

// text is a claim that is a string; nil when it is absent or null. It aliases the payload
// unless there are escapes.
func (c *claims) text(name claim) []byte {
	content, _ := unquote(c.raw[name])
	return content
}

// date is a claim that is a NumericDate (RFC 7519 §2), in whole seconds, the fraction
// cut off.
func (c *claims) date(name claim) (seconds int64, present, ok bool) {
	value := c.raw[name]
	if value == nil || isNull(value) {
		return 0, false, true
	}
	if len(value) <= 11 { // the usual form
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return n, true, true
		}
	}
	f, err := strconv.ParseFloat(string(value), 64) // a JSON number, or a text that it refuses
	if err != nil {
		return 0, false, false
	}
	return int64(max(-numericDateMax, min(f, numericDateMax))), true, true
}

// audience takes one string or a list of them (RFC 7519 §4.1.3).
func (c *claims) audience() (audience, bool) {
	value := c.raw[claimAud]
	if value == nil || isNull(value) {
		return audience{}, true
	}
	if value[0] == '[' {
		var list []string
		ok := json.Unmarshal(value, &list) == nil
		return audience{list: list}, ok
	}
	one, ok := unquote(value)
	return audience{one: one, single: true}, ok
}

// audience is the claim aud.
type audience struct {
	one    []byte
	single bool
	list   []string
}

// has says whether one of the audience passes.
func (a *audience) has(pass func(string) bool) bool {
	if a.single {
		return pass(string(a.one))
	}
	return slices.ContainsFunc(a.list, pass)
}

// parties checks whom the token is from and for.
func (v *Verifier) parties(c *claims) *Error {
	if want := v.cfg.Audience; want != "" {
		if aud, _ := c.audience(); string(aud.one) != want && !slices.Contains(aud.list, want) {
			return refuse(ReasonAudience, "aud has not what audience asks for")
		}
	}
	if v.cfg.Issuer != "" && string(c.text(claimIss)) != v.cfg.Issuer {
		return refuse(ReasonIssuer, "iss is not what issuer asks for")
	}
	return v.matches(c, nil)
}

// matches checks the same by the expressions and adds, unless groups is nil, what their
// groups matched.
func (v *Verifier) matches(c *claims, groups map[string]string) *Error {
	if v.issuerRe != nil && !matchesGroups(v.issuerRe, string(c.text(claimIss)), groups) {
		return refuse(ReasonIssuer, "iss does not match issuer_regex")
	}
	if v.audienceRe != nil {
		aud, _ := c.audience()
		if !aud.has(func(one string) bool { return matchesGroups(v.audienceRe, one, groups) }) {
			return refuse(ReasonAudience, "nothing in aud matches audience_regex")
		}
	}
	return nil
}

// time checks exp and nbf.
func (v *Verifier) time(c *claims, now time.Time) *Error {
	leeway := int64(v.cfg.LeewaySeconds)
	if exp, present, _ := c.date(claimExp); present && now.Unix() >= exp+leeway {
		return refuse(ReasonExpired, "exp was %d s ago", now.Unix()-exp)
	}
	if nbf, present, _ := c.date(claimNbf); present && now.Unix() < nbf-leeway {
		return refuse(ReasonNotYet, "nbf is in %d s; are the clocks in step?", nbf-now.Unix())
	}
	return nil
}

// expireAt is when what the token grants ends: expire_at if there is one, and then 0 or
// less means never, otherwise exp.
func (c *claims) expireAt() int64 {
	if at, present, _ := c.date(claimExpireAt); present {
		return max(at, 0)
	}
	exp, _, _ := c.date(claimExp)
	return max(exp, 0)
}

// absent says whether a claim is missing, null or the empty string.
func absent(value []byte) bool { return value == nil || isNull(value) || string(value) == `""` }

// json is a claim as written, nil when it is missing or null.
func (c *claims) json(name claim) []byte {
	if isNull(c.raw[name]) {
		return nil
	}
	return c.raw[name]
}

// payload is what a pair of claims x and b64x carries; the second wins.
func (c *claims) payload(plain, b64 claim) ([]byte, *Error) {
	return payloadOf(c.json(plain), string(c.text(b64)), claimNames[b64])
}

func payloadOf(plain []byte, b64, name string) ([]byte, *Error) {
	if b64 == "" {
		return plain, nil
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil, refuse(ReasonClaims, "%s is not base64 (RFC 4648 §4)", name)
	}
	return b, nil
}

func (c *claims) override() (*channel.Override, *Error) {
	if c.raw[claimOverride] == nil {
		return nil, nil
	}
	var o *channel.Override
	if json.Unmarshal(c.raw[claimOverride], &o) != nil {
		return nil, refuse(ReasonClaims, `override is not an object of options, each {"value": true} or {"value": false}`)
	}
	return o, nil
}

// subClaim is one entry of the claim subs.
type subClaim struct {
	Info     json.RawMessage   `json:"info"`
	B64Info  string            `json:"b64info"`
	Data     json.RawMessage   `json:"data"`
	B64Data  string            `json:"b64data"`
	Override *channel.Override `json:"override"`
}

// serverSubs merges the claims subs and channels; channels counts only without subs.
func (c *claims) serverSubs() ([]channel.ServerSub, *Error) {
	if c.raw[claimChannels] == nil && c.raw[claimSubs] == nil {
		return nil, nil // before anything is allocated for decoding
	}
	var names []string
	var named map[string]subClaim
	if raw := c.raw[claimChannels]; raw != nil && json.Unmarshal(raw, &names) != nil {
		return nil, refuse(ReasonClaims, "channels is not a list of strings")
	}
	if raw := c.raw[claimSubs]; raw != nil && json.Unmarshal(raw, &named) != nil {
		return nil, refuse(ReasonClaims, "subs is not an object of channels, or what it says of one has a wrong type")
	}
	var subs []channel.ServerSub
	if len(named) == 0 {
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			subs = append(subs, channel.ServerSub{Channel: name})
		}
		return subs, nil
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		claim := named[name]
		sub := channel.ServerSub{Channel: name, Override: claim.Override}
		var bad *Error
		if sub.Info, bad = payloadOf(rawOf(claim.Info), claim.B64Info, "b64info"); bad != nil {
			return nil, bad
		}
		if sub.Data, bad = payloadOf(rawOf(claim.Data), claim.B64Data, "b64data"); bad != nil {
			return nil, bad
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

func rawOf(m json.RawMessage) []byte {
	if isNull(m) {
		return nil
	}
	return m
}
