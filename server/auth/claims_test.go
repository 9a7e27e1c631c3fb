package auth

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"testing"
)

func hmacHash() hash.Hash { return sha256.New() }

// naive is what the claims are to encoding/json.
type naive struct {
	Sub      *string         `json:"sub"`
	Iss      *string         `json:"iss"`
	Exp      *json.Number    `json:"exp"`
	Nbf      *json.Number    `json:"nbf"`
	Iat      *json.Number    `json:"iat"`
	ExpireAt *json.Number    `json:"expire_at"`
	B64Info  *string         `json:"b64info"`
	Info     json.RawMessage `json:"info"`
	Meta     json.RawMessage `json:"meta"`
}

// FuzzClaimsAgainstTheStandardLibrary: one pass over the claims reads what reflection
// does, except that texts must be UTF-8, depth is bounded and of equal names the last
// one counts, null or not.
func FuzzClaimsAgainstTheStandardLibrary(f *testing.F) {
	for _, s := range []string{`{}`, ` { "sub" : "1" , "exp":1800000000}`, `{"SUB":"a"}`, `{"info":{"a":[1,2]},"meta":"x","b64info":"AA=="}`,
		`{"s\u0075b":"\u0041"}`, `{"exp":1.5e9,"iat":-0}`, `{"ſub":"1"}`, `{"iss":1}`, `{"nbf":null}`, `[]`, `{"exp":"1"}`, `{"a":1,}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, bad := readClaims([]byte(text), connectionClaims, "", "")
		var want naive
		err := json.Unmarshal([]byte(text), &want)
		if bad == nil && err != nil && !strings.Contains(text, "e") && !strings.Contains(text, "E") { // json.Number takes texts of numbers, and exponents without end
			t.Fatalf("%q: read, and the standard library says %v", text, err)
		}
		if bad != nil || err != nil {
			return
		}
		if names := namesIn(text); len(names) != len(slices.Compact(names)) {
			return // twice the same
		}
		if want.Sub != nil && c.user != *want.Sub || want.Sub == nil && c.user != "" {
			t.Fatalf("%q: user %q", text, c.user)
		}
		if string(c.json(claimMeta)) != string(rawOf(want.Meta)) || string(c.json(claimInfo)) != string(rawOf(want.Info)) {
			t.Fatalf("%q: info %s, meta %s", text, c.json(claimInfo), c.json(claimMeta))
		}
		for name, number := range map[claim]*json.Number{claimExp: want.Exp, claimNbf: want.Nbf, claimIat: want.Iat, claimExpireAt: want.ExpireAt} {
			got, present, _ := c.date(name)
			if present != (number != nil) {
				t.Fatalf("%q: %s present %t", text, claimNames[name], present)
			}
			if present {
				if f, err := number.Float64(); err == nil && got != int64(max(-numericDateMax, min(f, numericDateMax))) {
					t.Fatalf("%q: %s is %d", text, claimNames[name], got)
				}
			}
		}
	})
}

// namesIn lists the names of an object's members in lower case, sorted.
func namesIn(text string) (names []string) {
	m := object([]byte(text))
	for m.next() {
		if c, ok := claimOf(m.key); ok {
			names = append(names, claimNames[c])
		}
	}
	slices.Sort(names)
	return names
}

// TestMembersAtEveryCut: the walk takes exactly what is an object for encoding/json.
func TestMembersAtEveryCut(t *testing.T) {
	whole := ` {"a":[1,{"b":null}] , "c\"d":"e", "":{} } `
	check := func(text string) {
		m, n := object([]byte(text)), 0
		for m.next() {
			n++
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); (err == nil && want != nil) != !m.bad || err == nil && n != len(want) {
			t.Errorf("%q: bad %t after %d members, the standard library says %v", text, m.bad, n, err)
		}
	}
	for i := range whole {
		check(whole[:i])
		for _, c := range []byte(`"{}[]:, 1x`) {
			changed := []byte(whole)
			changed[i] = c
			check(string(changed))
		}
	}
	for _, text := range []string{whole, "{}", "{ }", "{,}", `{"a":1,,"b":2}`, "", "null", "[]", `"a"`, "{}{}", "{}x", `{"a":1 "b":2}`, `{"a"}`, `{"a":}`} {
		check(text)
	}
}

func TestUserIDClaimsThatAreOtherClaimsToo(t *testing.T) {
	for _, c := range []struct{ claim, claims, want string }{
		{"sub", `{"sub":"7"}`, "7"},
		{"sub", `{"sub":7}`, ""}, // as a registered claim it must be a string
		{"jti", `{"jti":"7","sub":"x"}`, "7"},
		{"iss", `{"iss":"me"}`, "me"},
		{"UID", `{"uid":"1","UID":"2"}`, "2"},
		{"uid", `{"uid":"1","uid":"2"}`, "2"},
		{"uid", `{"uid":"\u0034\""}`, `4"`},
		{"uid", `{"uid":-1.50}`, "-1.50"},
	} {
		cred, err := mustNew(t, Config{HMACSecretKey: secret, UserIDClaim: c.claim}).Connection(token(c.claims), clock())
		if (err == nil) != (c.want != "") || cred.User != c.want {
			t.Errorf("%s of %s: got %q, %v", c.claim, c.claims, cred.User, err)
		}
		g, err := mustNew(t, Config{HMACSecretKey: secret, UserIDClaim: c.claim}).Subscription(token(`{"channel":"a",`+c.claims[1:]), clock())
		if (err == nil) != (c.want != "") || g.User != c.want {
			t.Errorf("%s of %s, to subscribe: got %q, %v", c.claim, c.claims, g.User, err)
		}
	}
}

func TestHeadersThatAreLong(t *testing.T) {
	p := pairs()
	v := mustNew(t, Config{HMACSecretKey: secret, RSAPublicKey: p["rsa"].public})
	for _, n := range []int{0, 100, 400, 500, 1000, 2500} {
		header := fmt.Sprintf(`{"x":%q,"alg":"HS256","kid":%q}`, strings.Repeat("x", n), strings.Repeat("k", n/20))
		tok := sign(header, `{"sub":"1"}`, secret, sha256.New)
		if cred, err := v.Connection(tok, clock()); err != nil || cred.User != "1" {
			t.Errorf("%d: %v", n, err)
		}
		if slow := v.Slow(tok); slow != (len(header) > headerBytesMin) {
			t.Errorf("%d: slow %t", n, slow)
		}
	}
}

func TestSlowJudgesAnything(t *testing.T) {
	p := pairs()
	hmacOnly, both := mustNew(t, Config{HMACSecretKey: secret}), mustNew(t, Config{HMACSecretKey: secret, RSAPublicKey: p["rsa"].public})
	rs := issue(t, "rsa", "", "", `{}`)
	for tok, want := range map[string]bool{rs: true, rs[:strings.IndexByte(rs, '.')]: true, token(`{}`): false, "": false, ".": false, "..": false, "x": false,
		issue(t, "256", "", "", `{}`): false, strings.Repeat("A", 5000): false, strings.Repeat("A", 70_000): false,
		rs + strings.Repeat("A", 70_000): false, b64(`{"alg":"none"}`) + "..": false} {
		if got := both.Slow(tok); got != want {
			t.Errorf("%.60q: slow %t", tok, got)
		}
		if hmacOnly.Slow(tok) || (*Verifier)(nil).Slow(tok) {
			t.Errorf("%.60q: slow without a slow key", tok)
		}
	}
	a := &Authority{ConnectTokens: both, SubscribeTokens: hmacOnly}
	if !a.SlowConnect(rs) || a.SlowSubscribe(rs) || a.SlowConnect(token(`{}`)) {
		t.Error("connecting is slow, subscribing is not")
	}
	hs := token(`{"sub":"42"}`)
	if n := testing.AllocsPerRun(100, func() { both.Slow(rs); both.Slow(hs); hmacOnly.Slow(hs) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// poolsKeep says whether a sync.Pool gives back what was put in; under the race detector it loses some at random.
func poolsKeep() bool {
	var p sync.Pool
	for range 100 {
		x := new(int)
		if p.Put(x); p.Get() != any(x) {
			return false
		}
	}
	return true
}

func TestVerifyingAllocatesLittle(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret, Audience: "a", Issuer: "i"})
	limit := 2.0 // the payload and the user
	if !poolsKeep() {
		limit = 8
	}
	for _, claims := range []string{
		`{"sub":"42","exp":1800000000,"iss":"i","aud":"a"}`,
		`{"sub":"42","iss":"i","aud":"a","info":{"name":"x"},"meta":{"k":[1,2,3]},"other":"` + strings.Repeat("x", 2000) + `"}`,
	} {
		tok := token(claims)
		if n := testing.AllocsPerRun(200, func() {
			if _, err := v.Connection(tok, clock()); err != nil {
				t.Fatal(err)
			}
		}); n > limit {
			t.Errorf("%.60s: %v allocations, at most %v", claims, n, limit)
		}
	}
}

func TestVerifiersAreForAllWorkersAtOnce(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret, HMACPreviousSecretKey: "old", RSAPublicKey: pairs()["rsa"].public})
	a := &Authority{ConnectTokens: v}
	toks := []string{token(`{"sub":"1","info":1}`), sign(hs256Header, `{"sub":"1","info":1}`, "old", sha256.New), issue(t, "rsa", "", "", `{"sub":"1","info":1}`)}
	done := make(chan string, 8)
	for n := range cap(done) {
		go func() {
			bad := ""
			for i := range 300 {
				cred, r, err := a.Connect(toks[(n+i)%len(toks)], clock())
				if err != nil || r.Refused() || cred.User != "1" || string(cred.Info) != "1" {
					bad = fmt.Sprint(cred, r, err)
				}
				if _, r, _ := a.Connect(toks[i%len(toks)]+"x", clock()); !r.Refused() {
					bad = "a forged token passed"
				}
			}
			done <- bad
		}()
	}
	for range cap(done) {
		if bad := <-done; bad != "" {
			t.Error(bad)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	p := pairs()
	const claims = `{"sub":"42","exp":1800000000,"iat":1699999999,"info":{"name":"x"}}`
	for _, c := range []struct {
		name string
		cfg  Config
		tok  string
	}{
		{"HS256", Config{HMACSecretKey: secret}, token(claims)},
		{"RS256", Config{RSAPublicKey: p["rsa"].public}, issue(b, "rsa", "RS256", "", claims)},
		{"PS256", Config{RSAPublicKey: p["rsa"].public}, issue(b, "rsa", "PS256", "", claims)},
		{"ES256", Config{ECDSAPublicKey: p["256"].public}, issue(b, "256", "ES256", "", claims)},
		{"ES512", Config{ECDSAPublicKey: p["521"].public}, issue(b, "521", "ES512", "", claims)},
		{"EdDSA", Config{Ed25519PublicKey: p["ed"].public}, issue(b, "ed", "EdDSA", "", claims)},
		{"RS256-keyset", Config{JWKSPublicEndpoint: endpointURL, Fetch: func() *issuer {
			i := &issuer{}
			i.put(endpointURL, setOf(jwkOf(b, "1", p["rsa"].private.Public(), nil)))
			return i
		}().fetch}, issue(b, "rsa", "RS256", "1", claims)},
		{"slow-or-not", Config{}, ""},
	} {
		v := mustNew(b, c.cfg)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			if c.tok == "" {
				v, tok := mustNew(b, Config{HMACSecretKey: secret, RSAPublicKey: p["rsa"].public}), token(claims)
				for b.Loop() {
					v.Slow(tok)
				}
			} else {
				for b.Loop() {
					if _, err := v.Connection(c.tok, clock()); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/token")
		})
	}
}
