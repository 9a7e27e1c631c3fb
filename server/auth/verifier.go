package auth

import (
	"crypto/sha512"
	"fmt"
	"regexp"
	"slices"
	"time"

	"shoal/server/channel"
)

// Credentials are what a connection token says. Info and Meta share the memory of all its
// claims: who keeps one for long copies it.
type Credentials struct {
	User     string              // "" anonymous
	Tenant   string              // "" none is named
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

// Verifier checks tokens against one configuration. It does not change after New but for
// the key sets it fetches, and is safe for concurrent use. It must be made with [New];
// nil refuses every token.
type Verifier struct {
	cfg        Config
	accepted   [algorithmCount]bool
	secret     *secretKey // nil: none
	previous   *secretKey
	public     []publicKey
	sets       *keySets // nil: none; otherwise the keys above are not used
	audienceRe *regexp.Regexp
	issuerRe   *regexp.Regexp
}

// New validates the section and makes its verifier.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if cfg.TokenBytesMax == 0 {
		cfg.TokenBytesMax = tokenBytesMaxDefault
	}
	v := &Verifier{cfg: cfg, accepted: cfg.able()}
	if len(cfg.Algorithms) > 0 {
		for a := range v.accepted {
			v.accepted[a] = v.accepted[a] && slices.Contains(cfg.Algorithms, algorithmNames[a])
		}
	}
	if cfg.JWKSPublicEndpoint == "" {
		v.secret, v.previous = newSecretKey(cfg.HMACSecretKey), newSecretKey(cfg.HMACPreviousSecretKey)
		v.public, _ = cfg.staticKeys()
	} else {
		e, _ := parseEndpoint(&cfg)
		if cfg.Fetch == nil {
			panic("auth: Config.Fetch is nil and JWKSPublicEndpoint is not") // our bug
		}
		v.sets = &keySets{endpoint: e, fetch: cfg.Fetch, sets: map[string]*keySet{}}
	}
	if cfg.AudienceRegex != "" {
		v.audienceRe = regexp.MustCompile(cfg.AudienceRegex)
	}
	if cfg.IssuerRegex != "" {
		v.issuerRe = regexp.MustCompile(cfg.IssuerRegex)
	}
	return v, nil
}

// Slow says whether verifying the token takes longer than a loop can spare: it has an
// asymmetric signature, or waits for a key set. Only the header is looked at; false for
// whatever is refused at once. It does not allocate.
func (v *Verifier) Slow(token string) bool {
	if v == nil || len(token) > v.cfg.TokenBytesMax {
		return false
	}
	if v.sets == nil && len(v.public) == 0 {
		return false
	}
	segment := token
	for i := range min(len(token), headerCharsMax+1) {
		if token[i] == '.' {
			segment = token[:i]
			break
		}
	}
	var text [headerBytesMin]byte
	if base64url.DecodedLen(len(segment)) > len(text) {
		return len(segment) <= headerCharsMax // not looked at here
	}
	h, bad := readHeader(segment, text[:])
	return bad == nil && v.accepted[h.alg] && h.alg.family() != familyHMAC
}

// Connection verifies a connection token. The result does not alias the token. The
// error is nil or an [*Error]. It may block when [Verifier.Slow] says so.
func (v *Verifier) Connection(token string, now time.Time) (Credentials, *Error) {
	c, err := v.verified(token, connectionClaims, now)
	if err != nil {
		return Credentials{}, err
	}
	if !absent(c.raw[claimChannel]) {
		return Credentials{}, refuse(ReasonPurpose, "it has a channel claim: it is a subscription token; issue a connection token, without one")
	}
	if err := v.time(&c, now); err != nil {
		return Credentials{}, err
	}
	cred := Credentials{User: c.user, ExpireAt: c.expireAt(), Meta: c.json(claimMeta)}
	if cred.Tenant, err = c.tenantName(v.cfg.TenantClaim); err != nil {
		return Credentials{}, err
	}
	if cred.Info, err = c.payload(claimInfo, claimB64Info); err != nil {
		return Credentials{}, err
	}
	if cred.Subs, err = c.serverSubs(); err != nil {
		return Credentials{}, err
	}
	return cred, nil
}

// Subscription verifies a subscription token. Whether it is for this channel, user and
// client is the caller's to compare; [Authority.Subscribe] does. The error is nil or an
// [*Error]. It may block when [Verifier.Slow] says so.
func (v *Verifier) Subscription(token string, now time.Time) (Grant, *Error) {
	c, err := v.verified(token, subscriptionClaims, now)
	if err != nil {
		return Grant{}, err
	}
	if err := v.time(&c, now); err != nil {
		return Grant{}, err
	}
	g := Grant{User: c.user, Channel: string(c.text(claimChannel)), Client: string(c.text(claimClient)), ExpireAt: c.expireAt()}
	if g.Channel == "" {
		return Grant{}, refuse(ReasonPurpose, "it has no channel claim: it is a connection token; issue a subscription token, with one")
	}
	if g.Override, err = c.override(); err != nil {
		return Grant{}, err
	}
	if g.Info, err = c.payload(claimInfo, claimB64Info); err != nil {
		return Grant{}, err
	}
	if g.Data, err = c.payload(claimData, claimB64Data); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// verified returns the claims of a token whose signature matches, which is for us and
// from whom we trust.
func (v *Verifier) verified(token string, kind *claimKind, now time.Time) (claims, *Error) {
	if v == nil || v.accepted == [algorithmCount]bool{} {
		return claims{}, refuse(ReasonNoKey, "no key is configured; set hmac_secret_key, rsa_public_key, ecdsa_public_key or jwks_public_endpoint")
	}
	if len(token) > v.cfg.TokenBytesMax {
		return claims{}, refuse(ReasonOversize, "it has %d bytes, the limit is %d", len(token), v.cfg.TokenBytesMax)
	}
	parts, err := cut(token)
	if err != nil {
		return claims{}, err
	}
	var text [headerBytesMin]byte
	h, err := readHeader(parts.header, text[:])
	if err != nil {
		return claims{}, err
	}
	if !v.accepted[h.alg] {
		return claims{}, refuse(ReasonAlgorithm, "alg is missing or not one of %v", v.names())
	}
	if err := v.authentic(&parts, h, now); err != nil {
		return claims{}, err
	}
	payload, err := decodePayload(parts.payload)
	if err != nil {
		return claims{}, err
	}
	c, err := readClaims(payload, kind, v.cfg.UserIDClaim, v.cfg.TenantClaim)
	if err != nil {
		return claims{}, err
	}
	return c, v.parties(&c)
}

// authentic checks the signature.
func (v *Verifier) authentic(parts *compact, h header, now time.Time) *Error {
	if h.alg.family() == familyHMAC {
		return v.authenticHMAC(parts, h.alg, now)
	}
	signature, err := base64url.DecodeString(parts.signature)
	if err != nil {
		return refuse(ReasonMalformed, "the signature is not base64url")
	}
	keys := v.public
	if v.sets != nil {
		var bad *Error
		if keys, bad = v.fetched(parts, h, now); bad != nil {
			return bad
		}
	}
	for i := range keys {
		if keys[i].verify(h.alg, parts.signed, signature) {
			return nil
		}
	}
	return refuse(ReasonSignature, "the signature does not match; sign with the private part of the public key, and with an algorithm of that key")
}

// authenticHMAC does it without allocating.
func (v *Verifier) authenticHMAC(parts *compact, a algorithm, now time.Time) *Error {
	const room = 3 * sha512.Size / 2 // a longer one cannot match
	var signature [room]byte
	text := parts.signature
	if len(text) > base64url.EncodedLen(room) {
		return refuse(ReasonSignature, "the signature is longer than one of %v", a)
	}
	n, err := base64url.Decode(signature[:], bytesOf(text))
	if err != nil {
		return refuse(ReasonMalformed, "the signature is not base64url")
	}
	if v.secret.verify(a, parts.signed, signature[:n]) || v.cfg.previousValid(now) && v.previous.verify(a, parts.signed, signature[:n]) {
		return nil
	}
	return refuse(ReasonSignature, "the signature does not match; sign with the configured secret")
}

// fetched returns the keys that the token's kid names in the key set that its claims
// name, if the endpoint has groups in it. These are not verified yet: all they decide
// is which of the operator's key sets the token must agree with.
func (v *Verifier) fetched(parts *compact, h header, now time.Time) ([]publicKey, *Error) {
	if len(h.keyID) == 0 {
		return nil, refuse(ReasonKey, "its header has no kid to choose a key of the key set by; issue it with one")
	}
	var groups map[string]string
	if v.sets.endpoint.fixed == "" {
		payload, err := decodePayload(parts.payload)
		if err != nil {
			return nil, err
		}
		c, err := readClaims(payload, registeredClaims, "", "")
		if err != nil {
			return nil, err
		}
		groups = map[string]string{}
		if err := v.matches(&c, groups); err != nil {
			return nil, err
		}
	}
	url, err := v.sets.endpoint.url(groups)
	if err != nil {
		return nil, err
	}
	return v.sets.find(url, string(h.keyID), now)
}

// names lists the algorithms that are accepted.
func (v *Verifier) names() (names []string) {
	for a, ok := range v.accepted {
		if ok {
			names = append(names, algorithmNames[a])
		}
	}
	return names
}

func decodePayload(segment string) ([]byte, *Error) {
	payload := make([]byte, base64url.DecodedLen(len(segment)))
	if _, err := base64url.Decode(payload, bytesOf(segment)); err != nil {
		return nil, refuse(ReasonMalformed, "the claims are not base64url")
	}
	return payload, nil
}
