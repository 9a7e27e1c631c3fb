package auth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"shoal/server/channel"
)

// Credentials are what a connection token says.
type Credentials struct {
	User     string              // "" anonymous
	Info     []byte              // conn_info; nil for none
	Meta     []byte              // raw JSON for the backend hooks; nil for none
	ExpireAt int64               // Unix seconds at which the conn expires; 0 never
	Subs     []channel.ServerSub // ordered by channel, each once
}

// Grant is what a subscription token says.
type Grant struct {
	User     string
	Channel  string
	Client   string // deprecated claim; "" for any
	Info     []byte // chan_info
	Data     []byte // of the subscribe result
	ExpireAt int64  // Unix seconds; 0 never
	Override *channel.Override
}

// Verifier checks tokens against one configuration. It never changes after New and is
// safe for concurrent use. It must be made with
// [New]; nil refuses every token.
type Verifier struct {
	cfg        Config
	key        []byte // nil: refuses every token
	previous   []byte
	audienceRe *regexp.Regexp
	issuerRe   *regexp.Regexp
	parser     *jwt.Parser // decodes base64url strictly, nothing else
}

// New validates the section and makes its verifier.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if cfg.TokenBytesMax == 0 {
		cfg.TokenBytesMax = tokenBytesMaxDefault
	}
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = hmacAlgorithms
	}
	v := &Verifier{cfg: cfg, parser: jwt.NewParser(jwt.WithStrictDecoding())}
	if cfg.HMACSecretKey != "" {
		v.key = []byte(cfg.HMACSecretKey)
	}
	if cfg.HMACPreviousSecretKey != "" {
		v.previous = []byte(cfg.HMACPreviousSecretKey)
	}
	if cfg.AudienceRegex != "" {
		v.audienceRe = regexp.MustCompile(cfg.AudienceRegex)
	}
	if cfg.IssuerRegex != "" {
		v.issuerRe = regexp.MustCompile(cfg.IssuerRegex)
	}
	return v, nil
}

// Connection verifies a connection token. The result does not alias the token. The
// error is nil or an [*Error].
func (v *Verifier) Connection(token string, now time.Time) (Credentials, *Error) {
	payload, err := v.payload(token, now)
	if err != nil {
		return Credentials{}, err
	}
	var c connectionClaims
	if err := v.claims(payload, &c, &c.registered, now); err != nil {
		return Credentials{}, err
	}
	if !absent(c.Channel) {
		return Credentials{}, refuse(ReasonPurpose, "it has a channel claim: it is a subscription token; issue a connection token, without one")
	}
	cred := Credentials{User: c.user, ExpireAt: c.expireAt(), Meta: raw(c.Meta)}
	var bad *Error
	if cred.Info, bad = payloadOf(c.Info, c.B64Info, "info"); bad != nil {
		return Credentials{}, bad
	}
	if cred.Subs, bad = c.serverSubs(); bad != nil {
		return Credentials{}, bad
	}
	return cred, nil
}

// Subscription verifies a subscription token. Whether it is for this channel, user and
// client is the caller's to compare; [Authority.Subscribe] does. The error is nil or an
// [*Error].
func (v *Verifier) Subscription(token string, now time.Time) (Grant, *Error) {
	payload, err := v.payload(token, now)
	if err != nil {
		return Grant{}, err
	}
	var c subscriptionClaims
	if err := v.claims(payload, &c, &c.registered, now); err != nil {
		return Grant{}, err
	}
	if c.Channel == "" {
		return Grant{}, refuse(ReasonPurpose, "it has no channel claim: it is a connection token; issue a subscription token, with one")
	}
	g := Grant{User: c.user, Channel: c.Channel, Client: c.Client, ExpireAt: c.expireAt(), Override: c.Override.compile()}
	var bad *Error
	if g.Info, bad = payloadOf(c.Info, c.B64Info, "info"); bad != nil {
		return Grant{}, bad
	}
	if g.Data, bad = payloadOf(c.Data, c.B64Data, "data"); bad != nil {
		return Grant{}, bad
	}
	return g, nil
}

// header is what is read of a JOSE header (RFC 7515 §4.1).
type header map[string]json.RawMessage

// payload returns the claims of a token whose signature matches.
func (v *Verifier) payload(token string, now time.Time) ([]byte, *Error) {
	if v == nil || v.key == nil {
		return nil, refuse(ReasonNoKey, "no key is configured; set hmac_secret_key")
	}
	if len(token) > v.cfg.TokenBytesMax {
		return nil, refuse(ReasonOversize, "it has %d bytes, the limit is %d", len(token), v.cfg.TokenBytesMax)
	}
	if strings.ContainsAny(token, "\r\n") { // Go's base64 skips them, RFC 7515 §2 does not know them
		return nil, refuse(ReasonMalformed, "it has line breaks")
	}
	signed, signature, ok := cutLast(token, '.')
	if !ok || strings.Count(signed, ".") != 1 {
		return nil, refuse(ReasonMalformed, "it does not have three parts (RFC 7515 §3.1)")
	}
	head, claims, _ := strings.Cut(signed, ".")
	method, bad := v.method(head)
	if bad != nil {
		return nil, bad
	}
	sig, err := v.parser.DecodeSegment(signature)
	if err != nil {
		return nil, refuse(ReasonMalformed, "the signature is not base64url")
	}
	if method.Verify(signed, sig, v.key) != nil &&
		(!v.cfg.previousValid(now) || method.Verify(signed, sig, v.previous) != nil) {
		return nil, refuse(ReasonSignature, "the signature does not match; sign with the configured secret")
	}
	payload, err := v.parser.DecodeSegment(claims)
	if err != nil {
		return nil, refuse(ReasonMalformed, "the claims are not base64url")
	}
	return payload, nil
}

// method reads the header and returns the algorithm, which is one of the key's.
func (v *Verifier) method(segment string) (*jwt.SigningMethodHMAC, *Error) {
	if len(segment) > headerBytesMax {
		return nil, refuse(ReasonOversize, "the header has %d bytes, the limit is %d", len(segment), headerBytesMax)
	}
	text, err := v.parser.DecodeSegment(segment)
	if err != nil {
		return nil, refuse(ReasonMalformed, "the header is not base64url")
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil || h == nil {
		return nil, refuse(ReasonMalformed, "the header is not a JSON object")
	}
	if _, ok := h["crit"]; ok {
		return nil, refuse(ReasonCritical, "crit names extensions and none is supported (RFC 7515 §4.1.11); issue it without")
	}
	var alg string
	if err := json.Unmarshal(h["alg"], &alg); err != nil || !slices.Contains(v.cfg.Algorithms, alg) {
		return nil, refuse(ReasonAlgorithm, "alg is missing or not one of %v", v.cfg.Algorithms)
	}
	switch alg {
	case "HS256":
		return jwt.SigningMethodHS256, nil
	case "HS384":
		return jwt.SigningMethodHS384, nil
	default:
		return jwt.SigningMethodHS512, nil
	}
}

// cutLast is strings.Cut at the last separator.
func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// absent says whether a claim is missing, null or the empty string.
func absent(m json.RawMessage) bool {
	s := string(m)
	return s == "" || s == "null" || s == `""`
}

// raw returns a claim's JSON, nil when it is missing or null.
func raw(m json.RawMessage) []byte {
	if len(m) == 0 || string(m) == "null" {
		return nil
	}
	return m
}

// payloadOf returns what a pair of claims x and b64x carries; the second wins.
func payloadOf(plain json.RawMessage, b64, name string) ([]byte, *Error) {
	if b64 == "" {
		return raw(plain), nil
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil, refuse(ReasonClaims, "b64%s is not base64 (RFC 4648 §4)", name)
	}
	return b, nil
}
