package auth

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestKeyRotation(t *testing.T) {
	old := sign(hs256Header, `{"sub":"1"}`, "old", sha256.New)
	for name, c := range map[string]struct {
		cfg Config
		at  int64
		ok  bool
	}{
		"previous key":             {Config{HMACSecretKey: secret, HMACPreviousSecretKey: "old"}, now, true},
		"still valid":              {Config{HMACSecretKey: secret, HMACPreviousSecretKey: "old", HMACPreviousSecretKeyValidUntil: now + 1}, now, true},
		"to the last second":       {Config{HMACSecretKey: secret, HMACPreviousSecretKey: "old", HMACPreviousSecretKeyValidUntil: now}, now, true},
		"not any more":             {Config{HMACSecretKey: secret, HMACPreviousSecretKey: "old", HMACPreviousSecretKeyValidUntil: now - 1}, now, false},
		"without the previous key": {Config{HMACSecretKey: secret}, now, false},
	} {
		if _, err := mustNew(t, c.cfg).Connection(old, time.Unix(c.at, 0)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeeway(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret, LeewaySeconds: 10})
	for claims, want := range map[string]Reason{
		`{` + date("exp", -9) + `}`:  ReasonNone,
		`{` + date("exp", -10) + `}`: ReasonExpired,
		`{` + date("nbf", 10) + `}`:  ReasonNone,
		`{` + date("nbf", 11) + `}`:  ReasonNotYet,
	} {
		got := ReasonNone
		if _, err := v.Connection(token(claims), clock()); err != nil {
			got = err.Reason
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", claims, got, want)
		}
	}
}

func TestAudienceAndIssuer(t *testing.T) {
	plain := Config{HMACSecretKey: secret, Audience: "shoal", Issuer: "me"}
	regex := Config{HMACSecretKey: secret, AudienceRegex: "^sh(oal|ip)$", IssuerRegex: "^m[ey]$"}
	for _, c := range []struct {
		cfg    Config
		claims string
		want   Reason
	}{
		{plain, `{"aud":"shoal","iss":"me"}`, ReasonNone},
		{plain, `{"aud":["x","shoal"],"iss":"me"}`, ReasonNone},
		{plain, `{"aud":["x"],"iss":"me"}`, ReasonAudience},
		{plain, `{"aud":[],"iss":"me"}`, ReasonAudience},
		{plain, `{"aud":null,"iss":"me"}`, ReasonAudience},
		{plain, `{"iss":"me"}`, ReasonAudience},
		{plain, `{"aud":"Shoal","iss":"me"}`, ReasonAudience},
		{plain, `{"aud":"shoal"}`, ReasonIssuer},
		{plain, `{"aud":"shoal","iss":"you"}`, ReasonIssuer},
		{regex, `{"aud":["x","ship"],"iss":"my"}`, ReasonNone},
		{regex, `{"aud":"shop","iss":"my"}`, ReasonAudience},
		{regex, `{"iss":"my"}`, ReasonAudience},
		{regex, `{"aud":"ship","iss":"xmy"}`, ReasonIssuer},
		{regex, `{"aud":"ship"}`, ReasonIssuer},
	} {
		got := ReasonNone
		if _, err := mustNew(t, c.cfg).Connection(token(c.claims), clock()); err != nil {
			got = err.Reason
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.claims, got, c.want)
		}
	}
}

func TestUserIDClaim(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret, UserIDClaim: "uid"})
	for claims, want := range map[string]string{
		`{"uid":"7","sub":"x"}`: "7",
		`{"uid":12345678901}`:   "12345678901",
		`{"sub":"x"}`:           "",
		`{"uid":null}`:          "",
	} {
		if cred, err := v.Connection(token(claims), clock()); err != nil || cred.User != want {
			t.Errorf("%s: got %q, %v", claims, cred.User, err)
		}
	}
	for _, claims := range []string{`{"uid":{}}`, `{"uid":[1]}`, `{"uid":true}`} {
		if _, err := v.Connection(token(claims), clock()); err == nil || err.Reason != ReasonClaims {
			t.Errorf("%s: %v", claims, err)
		}
	}
}

func TestAConnectionTokenNamesItsTenant(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret, TenantClaim: "org"})
	for claims, want := range map[string]string{
		`{"org":"acme"}`: "acme", `{"sub":"x"}`: "", `{"org":null}`: "", `{"org":""}`: "", `{"Org":"acme"}`: "", `{"org":"a","org":"b"}`: "b", `{"org":"\u0061"}`: "a",
	} {
		if cred, err := v.Connection(token(claims), clock()); err != nil || cred.Tenant != want {
			t.Errorf("%s: got %q, %v", claims, cred.Tenant, err)
		}
	}
	for _, claims := range []string{`{"org":{}}`, `{"org":["acme"]}`, `{"org":7}`} {
		if _, err := v.Connection(token(claims), clock()); err == nil || err.Reason != ReasonClaims {
			t.Errorf("%s: %v", claims, err)
		}
		if _, err := v.Subscription(token(`{"channel":"a",`+claims[1:]), clock()); err != nil {
			t.Errorf("the claim counts in a subscription token: %v", err)
		}
	}
	if cred, err := mustNew(t, Config{HMACSecretKey: secret}).Connection(token(`{"":"a","org":7,"tenant":"a"}`), clock()); err != nil || cred.Tenant != "" {
		t.Errorf("without a claim: %q, %v", cred.Tenant, err)
	}
}

func TestTokenConfigErrorsNameTheKey(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{HMACPreviousSecretKey: "x"}, "hmac_secret_key"},
		{Config{HMACPreviousSecretKeyValidUntil: -1}, "valid_until"},
		{Config{Audience: "a", AudienceRegex: "b"}, "audience"},
		{Config{Issuer: "a", IssuerRegex: "b"}, "issuer"},
		{Config{LeewaySeconds: 61}, "leeway_seconds"},
		{Config{LeewaySeconds: -1}, "leeway_seconds"},
		{Config{TokenBytesMax: -1}, "token_bytes_max"},
		{Config{Algorithms: []string{"none"}}, "algorithms"},
		{Config{Algorithms: []string{"RS256"}}, "algorithms"},
		{Config{HMACSecretKey: secret, Algorithms: []string{"HS256", "ES256"}}, "algorithms has ES256 and there is no key"},
		{Config{HMACSecretKey: secret, Algorithms: []string{"hs256"}}, "algorithms"},
		{Config{HMACSecretKey: publicPEM}, "hmac_secret_key is a public key"},
		{Config{HMACSecretKey: secret, HMACPreviousSecretKey: "-----BEGIN CERTIFICATE-----"}, "hmac_previous_secret_key is a public key"},
		{Config{RSAPublicKey: "x"}, "rsa_public_key: it is not PEM"},
		{Config{RSAPublicKey: publicPEM}, "rsa_public_key: it is not PEM"},
		{Config{ECDSAPublicKey: "x"}, "ecdsa_public_key"},
		{Config{Ed25519PublicKey: "x"}, "ed25519_public_key"},
		{Config{JWKSPublicEndpoint: "x"}, "jwks_public_endpoint"},
		{Config{AudienceRegex: "("}, "audience_regex"},
		{Config{IssuerRegex: "("}, "issuer_regex"},
		{Config{UserIDClaim: "a.b"}, "user_id_claim"},
	} {
		if v, err := New(c.cfg); err == nil || v != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want an error with %q", err, c.want)
		}
	}
}

// oracle says whether golang-jwt accepts the token, claims aside, with one key for each kind of algorithm.
func oracle(tok string) bool {
	keys := func(t *jwt.Token) (any, error) {
		switch alg := t.Method.Alg(); {
		case alg[0] == 'H':
			return []byte(secret), nil
		case alg == "EdDSA":
			return pairs()["ed"].private.Public(), nil
		case alg[0] == 'E':
			return pairs()["256"].private.Public(), nil
		}
		return pairs()["rsa"].private.Public(), nil
	}
	methods := []string{"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "EdDSA"}
	_, err := jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithoutClaimsValidation(), jwt.WithJSONNumber(), jwt.WithStrictDecoding()).Parse(tok, keys)
	return err == nil
}

// FuzzConnection changes tokens of all kinds: what passes also passes with golang-jwt.
func FuzzConnection(f *testing.F) {
	for _, c := range forged() {
		if len(c.token) < 2000 {
			f.Add(c.token)
		}
	}
	f.Add(token(`{"sub":"42","channels":["a"],"info":{}}`))
	for alg, name := range map[string]string{"RS256": "rsa", "PS384": "rsa", "ES256": "256", "EdDSA": "ed"} {
		f.Add(issue(f, name, alg, "k", `{"sub":"42"}`)) // of keys that the next run does not have: their shape counts
	}
	p := pairs()
	v := mustNew(f, Config{HMACSecretKey: secret})
	all := mustNew(f, Config{HMACSecretKey: secret, RSAPublicKey: p["rsa"].public, ECDSAPublicKey: p["256"].public, Ed25519PublicKey: p["ed"].public})
	f.Fuzz(func(t *testing.T, tok string) {
		_, err := v.Connection(tok, clock())
		_, errAll := all.Connection(tok, clock())
		if errAll == nil && !oracle(tok) {
			t.Fatalf("accepted %q, golang-jwt does not", tok)
		}
		if err == nil && errAll != nil {
			t.Fatalf("%q: more keys refuse it: %v", tok, errAll)
		}
		if _, bad := all.Subscription(tok, clock()); errAll == nil && bad == nil {
			t.Fatalf("%q is a connection and a subscription token", tok)
		}
		if _, bad := Inspect(tok); errAll == nil && bad != nil {
			t.Fatalf("%q is accepted and cannot be inspected: %v", tok, bad)
		}
		if err == nil && all.Slow(tok) && len(tok) < headerBytesMin {
			t.Fatalf("%q is a short HMAC token and slow", tok)
		}
	})
}

func FuzzClaims(f *testing.F) {
	for _, s := range []string{`{}`, `{"sub":"1","exp":1800000000}`, `{"exp":1e400}`, `{"subs":{"a":{"info":[]}}}`,
		`{"aud":["a"]}`, `{"aud":null}`, `{"channel":"a","sub":"b"}`, `{"expire_at":-1,"b64info":"AA=="}`, `[`, ``, `null`} {
		f.Add(s)
	}
	v := mustNew(f, Config{HMACSecretKey: secret})
	f.Fuzz(func(t *testing.T, claims string) {
		tok := token(claims)
		cred, err := v.Connection(tok, clock())
		if err == nil {
			checkCredentials(t, claims, cred)
			if !oracle(tok) {
				t.Fatalf("accepted %q, golang-jwt does not", claims)
			}
		} else if err.Reason == ReasonSignature || err.Reason == ReasonAlgorithm {
			t.Fatalf("%q: %v", claims, err)
		}
		if g, bad := v.Subscription(tok, clock()); bad == nil && (g.Channel == "" || err == nil) {
			t.Fatalf("%q: a grant for channel %q, connection error %v", claims, g.Channel, err)
		}
	})
}

func checkCredentials(t *testing.T, claims string, cred Credentials) {
	t.Helper()
	if cred.ExpireAt < 0 || cred.ExpireAt > numericDateMax {
		t.Fatalf("%q: expires at %d", claims, cred.ExpireAt)
	}
	for i := 1; i < len(cred.Subs); i++ {
		if cred.Subs[i].Channel <= cred.Subs[i-1].Channel {
			t.Fatalf("%q: subscriptions are not ordered and single: %v", claims, cred.Subs)
		}
	}
}
