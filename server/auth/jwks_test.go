package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// jwkOf writes a public key as a JWK, with further members that win.
func jwkOf(t testing.TB, keyID string, public crypto.PublicKey, more map[string]any) string {
	t.Helper()
	b64u := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"kid": keyID, "use": "sig"}
	switch k := public.(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64u(k.N.Bytes()), b64u(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		size := len(point) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", k.Curve.Params().Name, b64u(point[1:1+size]), b64u(point[1+size:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64u(k)
	}
	for name, value := range more {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// issuer is an endpoint with whatever key sets it is told to have.
type issuer struct {
	mu    sync.Mutex
	sets  map[string]string // by URL; absent: the fetch fails
	asked []string
}

func (i *issuer) put(url, set string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sets == nil {
		i.sets = map[string]string{}
	}
	i.sets[url] = set
}

func (i *issuer) fetch(_ context.Context, url string) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, url)
	if set, ok := i.sets[url]; ok {
		return []byte(set), nil
	}
	return nil, errors.New("it is down")
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

const endpointURL = "https://auth.example.com/keys"

func jwksVerifier(t testing.TB, i *issuer) *Verifier {
	return mustNew(t, Config{JWKSPublicEndpoint: endpointURL, Fetch: i.fetch})
}

func reasonOf(err *Error) Reason {
	if err == nil {
		return ReasonNone
	}
	return err.Reason
}

func TestKeySetsVerifyAllKinds(t *testing.T) {
	p, i := pairs(), &issuer{}
	public := func(name string) crypto.PublicKey { return p[name].private.Public() }
	i.put(endpointURL, setOf(
		jwkOf(t, "rsa", public("rsa"), nil), jwkOf(t, "only384", public("rsa"), map[string]any{"alg": "RS384"}),
		jwkOf(t, "p256", public("256"), map[string]any{"alg": "ES256"}), jwkOf(t, "p384", public("384"), nil), jwkOf(t, "p521", public("521"), nil),
		jwkOf(t, "ed", public("ed"), map[string]any{"alg": "Ed25519", "use": nil}),
		jwkOf(t, "enc", public("rsa"), map[string]any{"use": "enc"}), jwkOf(t, "sign", public("rsa"), map[string]any{"key_ops": []string{"sign"}}),
		jwkOf(t, "ops", public("rsa"), map[string]any{"key_ops": []string{"verify"}}), jwkOf(t, "leaked", public("rsa"), map[string]any{"d": "AQAB"}),
		jwkOf(t, "weak", public("weak"), nil), jwkOf(t, "lying", public("rsa"), map[string]any{"alg": "ES256"}),
		jwkOf(t, "hs", public("rsa"), map[string]any{"alg": "HS256"}), `{"kty":"oct","kid":"oct","k":"`+b64(secret)+`"}`,
		jwkOf(t, "same", public("256"), nil), jwkOf(t, "same", public("rsa2"), nil), `7`, `{"kty":7}`,
		`{"kty":"EC","kid":"off","crv":"P-256","x":"AQ","y":"AQ"}`))
	v := jwksVerifier(t, i)
	for _, c := range []struct {
		pair, alg, keyID string
		want             Reason
	}{
		{"rsa", "RS256", "rsa", ReasonNone}, {"rsa", "PS384", "rsa", ReasonNone}, {"rsa", "RS384", "only384", ReasonNone},
		{"rsa", "RS256", "only384", ReasonSignature}, {"256", "ES256", "p256", ReasonNone}, {"384", "ES384", "p384", ReasonNone},
		{"521", "ES512", "p521", ReasonNone}, {"ed", "EdDSA", "ed", ReasonNone}, {"256", "ES256", "p384", ReasonSignature},
		{"rsa", "RS256", "enc", ReasonKey}, {"rsa", "RS256", "sign", ReasonKey}, {"rsa", "RS256", "ops", ReasonNone},
		{"rsa", "RS256", "leaked", ReasonKey}, {"rsa", "RS256", "lying", ReasonKey}, {"rsa", "RS256", "hs", ReasonKey},
		{"rsa", "RS256", "weak", ReasonKey}, {"256", "ES256", "off", ReasonKey}, {"rsa", "RS256", "oct", ReasonKey},
		{"256", "ES256", "same", ReasonNone}, {"rsa2", "RS256", "same", ReasonNone}, {"rsa", "RS256", "same", ReasonSignature},
		{"rsa", "RS256", "", ReasonKey}, {"rsa2", "RS256", "rsa", ReasonSignature},
	} {
		tok := issue(t, c.pair, c.alg, c.keyID, `{"sub":"1"}`)
		if _, err := v.Connection(tok, clock()); reasonOf(err) != c.want {
			t.Errorf("%s by %s for kid %q: got %v, want %s", c.alg, c.pair, c.keyID, err, c.want)
		}
		if !v.Slow(tok) {
			t.Errorf("%s: not slow", c.alg)
		}
	}
	if _, err := v.Connection(token(`{"sub":"1"}`), clock()); reasonOf(err) != ReasonAlgorithm || v.Slow(token(`{}`)) {
		t.Errorf("HS256 with a key set: %v", err)
	}
	if hs := sign(`{"alg":"HS256","kid":"oct"}`, `{"sub":"1"}`, secret, hmacHash); reasonOf(second(v.Connection(hs, clock()))) != ReasonAlgorithm {
		t.Error("a symmetric key of the set counts")
	}
	if i.count() != 1 {
		t.Errorf("%d fetches", i.count())
	}
}

func second(_ Credentials, err *Error) *Error { return err }

func TestKeyRotationInKeySets(t *testing.T) {
	p, i := pairs(), &issuer{}
	v := jwksVerifier(t, i)
	one, two := issue(t, "rsa", "", "1", `{"sub":"1"}`), issue(t, "256", "", "2", `{"sub":"1"}`)
	first, both := jwkOf(t, "1", p["rsa"].private.Public(), nil), jwkOf(t, "2", p["256"].private.Public(), nil)
	at := time.Unix(now, 0)
	step := func(name string, after time.Duration, tok string, want Reason, fetches int) {
		t.Helper()
		at = at.Add(after)
		_, err := v.Connection(tok, at)
		if reasonOf(err) != want || i.count() != fetches {
			t.Errorf("%s: got %v after %d fetches, want %s after %d", name, err, i.count(), want, fetches)
		}
	}
	step("the endpoint is down", 0, one, ReasonKeySet, 1)
	i.put(endpointURL, setOf(first))
	step("it is not asked again at once", time.Second, one, ReasonKeySet, 1)
	step("but a little later", 4*time.Second, one, ReasonNone, 2)
	step("and then no more", 59*time.Minute, one, ReasonNone, 2)
	step("a new kid is asked for", 0, two, ReasonKey, 3)
	i.put(endpointURL, setOf(first, both))
	step("not twice in five seconds: come back", 4*time.Second, two, ReasonKeySet, 3)
	step("and is there after a rotation", time.Second, two, ReasonNone, 4)
	step("an hour later the set is fetched anew", time.Hour, one, ReasonNone, 5)
	i.put(endpointURL, setOf(both))
	step("a key taken back is known until then", 59*time.Minute, one, ReasonNone, 5)
	step("and refused from then on", time.Minute, one, ReasonKey, 6)
	delete(i.sets, endpointURL)
	step("down again, the old keys serve", time.Hour, two, ReasonNone, 7)
	step("without asking each time", time.Second, two, ReasonNone, 7)
	step("asked now and then", time.Minute, two, ReasonNone, 8)
	i.put(endpointURL, `{"keys":[]}`)
	step("nor do broken sets replace them", time.Minute, two, ReasonNone, 9)
	step("for a day", 22*time.Hour, two, ReasonNone, 10)
	step("and no longer", time.Hour, two, ReasonKeySet, 11)
	i.put(endpointURL, setOf(both))
	step("back again", time.Minute, two, ReasonNone, 12)
	step("a clock set back", -48*time.Hour, two, ReasonNone, 12)
	step("does not end refreshing", 0, one, ReasonKey, 13)
}

func TestKeySetsAreFetchedOnceForAll(t *testing.T) {
	const callers = 32
	set := setOf(jwkOf(t, "1", pairs()["rsa"].private.Public(), nil))
	var fetches, started atomic.Int32
	release := make(chan struct{})
	v := mustNew(t, Config{JWKSPublicEndpoint: endpointURL, Fetch: func(context.Context, string) ([]byte, error) {
		fetches.Add(1)
		<-release
		return []byte(set), nil
	}})
	good, unknown := issue(t, "rsa", "", "1", `{"sub":"1"}`), issue(t, "rsa", "", "2", `{"sub":"1"}`)
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			tok, want := good, ReasonNone
			if n%2 == 1 {
				tok, want = unknown, ReasonKey
			}
			if started.Add(1) == callers {
				close(release)
			}
			if _, err := v.Connection(tok, clock()); reasonOf(err) != want && reasonOf(err) != ReasonKeySet {
				t.Errorf("caller %d: got %v, want %s", n, err, want)
			} else if want == ReasonNone && err != nil {
				t.Errorf("caller %d: %v", n, err)
			}
		})
	}
	all.Wait()
	if fetches.Load() != 1 {
		t.Errorf("%d fetches", fetches.Load())
	}
}

func TestAPanicInAFetchLeavesNobodyWaiting(t *testing.T) {
	calm := false
	set := setOf(jwkOf(t, "1", pairs()["rsa"].private.Public(), nil))
	v := mustNew(t, Config{JWKSPublicEndpoint: endpointURL, Fetch: func(context.Context, string) ([]byte, error) {
		if !calm {
			panic("fetch")
		}
		return []byte(set), nil
	}})
	tok := issue(t, "rsa", "", "1", `{"sub":"1"}`)
	func() {
		defer func() { _ = recover() }()
		_, _ = v.Connection(tok, clock())
		t.Error("the panic was swallowed")
	}()
	calm = true
	if _, err := v.Connection(tok, clock()); reasonOf(err) != ReasonKeySet {
		t.Errorf("at once: %v", err)
	}
	if _, err := v.Connection(tok, clock().Add(keySetPause)); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"kty":"RSA"},`, keySetKeysMax+1), ",")
	for text, want := range map[string]string{
		``: "not a key set", `null`: "not a key set", `[]`: "not a key set", `{}`: "not a key set", `{"keys":null}`: "not a key set",
		`{"keys":{}}`: "not a key set", `{"keys":[]}{}`: "not a key set", `<html>`: "not a key set", `{"keys":[`: "not a key set",
		`{"keys":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`: "not a key set",
		`{"keys":[]}`:                                            "it is empty",
		`{"keys":[1]}`:                                           "wrong types",
		`{"keys":[null]}`:                                        "kty",
		`{"keys":[{"kty":"RSA","n":1}]}`:                         "wrong types",
		`{"keys":[{"kty":"rsa"}]}`:                               "kty",
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`:           "1 bits",
		`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAAAAA"}]}`:        "e is above",
		`{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}`:            "base64url",
		`{"keys":[{"kty":"RSA"}]}`:                               "0 bits",
		`{"keys":[{"kty":"EC","crv":"P-224"}]}`:                  "crv",
		`{"keys":[{"kty":"EC","crv":"secp256k1"}]}`:              "crv",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`:    "no point",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"?","y":"AQ"}]}`: "base64url",
		`{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 99) + `","y":"AQ"}]}`: "not a number of its curve",
		`{"keys":[{"kty":"OKP","crv":"Ed448","x":"AA"}]}`:                                      "crv",
		`{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}`:                                     "crv",
		`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`:                                    "1 bytes",
		setOf(jwkOf(t, "", pairs()["256"].private.Public(), nil)):                              "no kid",
		`{"keys":[` + many + `]}`:                                                              "257 keys",
		`{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`:                                 "more than 1048576 bytes",
	} {
		i := &issuer{}
		i.put(endpointURL, text)
		_, err := jwksVerifier(t, i).Connection(issue(t, "rsa", "", "1", `{}`), clock())
		if reasonOf(err) != ReasonKeySet || !strings.Contains(err.Detail, want) || !strings.Contains(err.Detail, "jwks_public_endpoint") {
			t.Errorf("%.80s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add(setOf(jwkOf(f, "1", pairs()["rsa"].private.Public(), nil), jwkOf(f, "2", pairs()["256"].private.Public(), nil), jwkOf(f, "3", pairs()["ed"].private.Public(), nil)))
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		keys, _, err := parseKeySet([]byte(text))
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%q: %d keys, %v", text, len(keys), err)
		}
		for kid, list := range keys {
			for _, k := range list {
				if kid == "" || k.family == familyHMAC || k.family == 0 || k.verify(rs256, "a", nil) || k.verify(es256, "a", make([]byte, 64)) {
					t.Fatalf("%q: key %q of family %d", text, kid, k.family)
				}
			}
		}
	})
}

// TestTenantsHaveKeysOfTheirOwn: the same kid in two tenants' sets is two keys.
func TestTenantsHaveKeysOfTheirOwn(t *testing.T) {
	p, i := pairs(), &issuer{}
	v := mustNew(t, Config{JWKSPublicEndpoint: "https://{{tenant}}.example.com/{{kind}}/keys", Fetch: i.fetch,
		IssuerRegex: `^https://(?P<tenant>acme|globex)\.example\.com$`, AudienceRegex: `^app-(?P<kind>web|mobile)$`})
	i.put("https://acme.example.com/web/keys", setOf(jwkOf(t, "1", p["rsa"].private.Public(), nil)))
	i.put("https://globex.example.com/web/keys", setOf(jwkOf(t, "1", p["rsa2"].private.Public(), nil)))
	claims := func(tenant, audience string) string {
		return fmt.Sprintf(`{"sub":"1","iss":"https://%s.example.com","aud":%s}`, tenant, audience)
	}
	for _, c := range []struct {
		pair, claims string
		want         Reason
	}{
		{"rsa", claims("acme", `"app-web"`), ReasonNone},
		{"rsa2", claims("globex", `["x","app-web"]`), ReasonNone},
		{"rsa", claims("globex", `"app-web"`), ReasonSignature},
		{"rsa2", claims("acme", `"app-web"`), ReasonSignature},
		{"rsa", claims("acme", `"app-mobile"`), ReasonKeySet}, // that set is not there
		{"rsa", claims("evil", `"app-web"`), ReasonIssuer},
		{"rsa", claims("acme", `"app-tv"`), ReasonAudience},
		{"rsa", claims("acme", `[]`), ReasonAudience},
		{"rsa", `{"sub":"1"}`, ReasonIssuer},
		{"rsa", `[]`, ReasonClaims},
		{"rsa", `{"iss":1}`, ReasonClaims},
	} {
		if _, err := v.Connection(issue(t, c.pair, "", "1", c.claims), clock()); reasonOf(err) != c.want {
			t.Errorf("%s with %s: got %v, want %s", c.pair, c.claims, err, c.want)
		}
	}
	for _, url := range i.asked {
		if strings.Contains(url, "evil") || strings.Contains(url, "{{") {
			t.Errorf("asked %s", url)
		}
	}
}

// TestInventedTenantsDoNotFillTheMemory: with the safety check off claims choose the URL.
func TestInventedTenantsDoNotFillTheMemory(t *testing.T) {
	i := &issuer{}
	v := mustNew(t, Config{JWKSPublicEndpoint: "https://{{tenant}}.example.com/keys", Fetch: i.fetch, IssuerRegex: `^(?P<tenant>.*)$`,
		InsecureSkipJWKSEndpointSafetyCheck: true})
	_, rest, _ := strings.Cut(issue(t, "ed", "", "1", `{}`), ".")
	_, signature, _ := strings.Cut(rest, ".")
	for n := range 3 * keySetsMax {
		tok := b64(`{"alg":"EdDSA","kid":"1"}`) + "." + b64(fmt.Sprintf(`{"iss":"t%d"}`, n)) + "." + signature
		if _, err := v.Connection(tok, clock().Add(time.Duration(n)*fetchEvery)); reasonOf(err) != ReasonKeySet {
			t.Fatal(err)
		}
	}
	if len(v.sets.sets) != keySetsMax || v.sets.sets[fmt.Sprintf("https://t%d.example.com/keys", 3*keySetsMax-1)] == nil {
		t.Errorf("%d key sets held", len(v.sets.sets))
	}
	asked := i.count()
	for _, name := range []string{"", "evil.com/x", "evil.com:1", "a@evil.com", "a?", "a#", "a%2e", "..", "a b", "a\\b", "grün", "a\x00"} {
		text, _ := json.Marshal(map[string]string{"iss": name})
		tok := b64(`{"alg":"EdDSA","kid":"1"}`) + "." + b64(string(text)) + "." + signature
		if _, err := v.Connection(tok, clock()); err == nil || err.Reason != ReasonKey && name != ".." {
			t.Errorf("%q: %v", name, err)
		}
	}
	if n := i.count(); n > asked+1 { // ".." makes a strange host, and no other path
		t.Errorf("%d of them were asked for: %q", n-asked, i.asked[asked:])
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		endpoint, issuer, audience string
		skip                       bool
		want                       string // "" is good
	}{
		{endpoint: endpointURL},
		{endpoint: "https://user:hush@auth.example.com:8443/a/b.json?x=1"},
		{endpoint: "https://auth.example.com"},
		{endpoint: "http://localhost:8080/keys"},
		{endpoint: "http://127.0.0.1/keys"},
		{endpoint: "http://[::1]/keys"},
		{endpoint: "http://auth.example.com/keys", want: "use https"},
		{endpoint: "http://localhost.example.com/keys", want: "use https"},
		{endpoint: "http://keycloak/keys", skip: true},
		{endpoint: "ftp://auth.example.com/keys", want: "http or https"},
		{endpoint: "file:///etc/passwd", want: "http or https"},
		{endpoint: "auth.example.com/keys", want: "http or https"},
		{endpoint: "https://", want: "http or https"},
		{endpoint: "https://a/b/../c", want: ".. parts"},
		{endpoint: "https://a//b", want: ".. parts"},
		{endpoint: "https://a/b/", want: ""},
		{endpoint: "https://{{t}}/keys", want: "stands for nothing"},
		{endpoint: "https://{{t}}/keys", issuer: `^(?P<x>a)$`, want: "stands for nothing"},
		{endpoint: "https://{{t}}/keys", issuer: `^(a)$`, want: "stands for nothing"},
		{endpoint: "https://{{}}/keys", want: "without a name"},
		{endpoint: "https://{{t/keys", want: "without a name"},
		{endpoint: "https://t}}/keys", want: "without {{"},
		{endpoint: "https://{{t}}/keys", issuer: `^(?P<t>a\.example\.com|b\.example\.com)$`},
		{endpoint: "https://{{t}}/keys", audience: `^(?P<t>test1|test2|test34?)$`},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>[ab]|c(d|e))$`},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?i)(?P<t>acme)$`},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>.+)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>[a-z]*)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>[a-z]{3})$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>[a-z][a-z][a-z])$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>\W)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>a|.)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>a|b)$`, audience: `^(?P<t>.*)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>(?i)abcdefghijk)$`, want: "fixed list"},
		{endpoint: "https://a/{{t}}/keys", issuer: `^(?P<t>.+)$`, skip: true},
		{endpoint: "https://a/keys", issuer: `^(?P<t>.+)$`},
	} {
		cfg := Config{JWKSPublicEndpoint: c.endpoint, IssuerRegex: c.issuer, AudienceRegex: c.audience, InsecureSkipJWKSEndpointSafetyCheck: c.skip}
		err := cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: got %v, want %q", c, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error quotes the URL: %v", err)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{HMACSecretKey: strings.Repeat("x", 32)}, ""},
		{Config{HMACSecretKey: "hush"}, "4 bytes"},
		{Config{JWKSPublicEndpoint: endpointURL}, ""},
		{Config{JWKSPublicEndpoint: endpointURL, HMACSecretKey: "hush"}, "do not count"},
		{Config{JWKSPublicEndpoint: endpointURL, InsecureSkipJWKSEndpointSafetyCheck: true}, ""},
		{Config{JWKSPublicEndpoint: "http://a/", InsecureSkipJWKSEndpointSafetyCheck: true}, "http"},
	} {
		got := strings.Join(c.cfg.Warnings(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "hush") {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A flood of invented tenants has no more fetches made than the bucket holds, and none of
// the tenants that are there lose their keys to it.
func TestInventedTenantsTakeNothingFromOthers(t *testing.T) {
	p, i, now := pairs(), &issuer{}, clock()
	url := func(n int) string { return fmt.Sprintf("https://t%d.example.com/keys", n) }
	const good, invented = 20, 4 * keySetsMax
	for n := range good {
		i.put(url(n), setOf(jwkOf(t, "1", p["ed"].private.Public(), nil)))
	}
	s := &keySets{sets: map[string]*keySet{}, fetch: i.fetch}
	mustHave := func(now time.Time) {
		t.Helper()
		for n := range good {
			if _, err := s.find(url(n), "1", now); err != nil {
				t.Fatalf("tenant %d: %v", n, err)
			}
		}
	}
	mustHave(now)
	now = now.Add(keySetPause)
	i.asked = nil
	for range 3 {
		for n := range invented {
			if _, err := s.find(url(good+n), "1", now); reasonOf(err) != ReasonKeySet {
				t.Fatal(err)
			}
		}
	}
	if got := i.count(); got != fetchesAtOnce {
		t.Errorf("%d fetches at once, want %d", got, fetchesAtOnce)
	}
	mustHave(now)
	now = now.Add(10 * fetchEvery)
	for n := range invented {
		s.find(url(good+n), "other", now)
	}
	if got := i.count() - fetchesAtOnce; got != 10 {
		t.Errorf("%d fetches in the time for 10", got)
	}
	if len(s.sets) > keySetsMax {
		t.Errorf("%d key sets are held", len(s.sets))
	}
	mustHave(now)
	mustHave(now.Add(2 * keySetFresh)) // there is room for fetches again
	now = now.Add(-keySetStale)        // the clock is set back
	if s.find(url(good), "1", now); s.sets[url(good)].tried != now {
		t.Error("a clock that was set back keeps key sets from being fetched")
	}
}
