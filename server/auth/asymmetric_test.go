package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"
)

// key is a pair made once for all tests.
type pair struct {
	private           crypto.Signer
	public, secretPEM string
}

func makePair(private crypto.Signer, err error) pair {
	if err != nil {
		panic(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pair{private, publicText(private.Public()), block("PRIVATE KEY", secret)}
}

func publicText(key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return block("PUBLIC KEY", der)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

var pairs = sync.OnceValue(func() map[string]pair {
	ec := func(c elliptic.Curve) pair { return makePair(ecdsa.GenerateKey(c, rand.Reader)) }
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[string]pair{
		"rsa": makePair(rsa.GenerateKey(rand.Reader, 2048)), "rsa2": makePair(rsa.GenerateKey(rand.Reader, 2048)),
		"weak": makePair(rsa.GenerateKey(rand.Reader, 1024)),
		"224":  ec(elliptic.P224()), "256": ec(elliptic.P256()), "384": ec(elliptic.P384()), "521": ec(elliptic.P521()),
		"ed": makePair(ed, err),
	}
})

// issue signs claims with a pair.
func issue(t testing.TB, name, algorithm, keyID, claims string) string {
	t.Helper()
	s, err := NewSigner(algorithm, "", pairs()[name].secretPEM, keyID)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestAllAlgorithmsAndNoOthersPass(t *testing.T) {
	tokens := map[string]string{"HS256": token(`{"sub":"1"}`)}
	for alg, name := range map[string]string{"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "256", "ES384": "384", "ES512": "521", "EdDSA": "ed"} {
		tokens[alg] = issue(t, name, alg, "", `{"sub":"1"}`)
	}
	for _, c := range []struct {
		cfg    Config
		accept string
	}{
		{Config{HMACSecretKey: secret}, "HS256"},
		{Config{RSAPublicKey: pairs()["rsa"].public}, "RS256 RS384 RS512 PS256 PS384 PS512"},
		{Config{RSAPublicKey: pairs()["rsa2"].public}, ""},
		{Config{RSAPublicKey: pairs()["rsa"].public, Algorithms: []string{"RS384"}}, "RS384"},
		{Config{ECDSAPublicKey: pairs()["256"].public}, "ES256"},
		{Config{ECDSAPublicKey: pairs()["384"].public}, "ES384"},
		{Config{ECDSAPublicKey: pairs()["521"].public}, "ES512"},
		{Config{Ed25519PublicKey: pairs()["ed"].public}, "EdDSA"},
		{Config{HMACSecretKey: secret, RSAPublicKey: pairs()["rsa"].public, ECDSAPublicKey: pairs()["256"].public, Ed25519PublicKey: pairs()["ed"].public},
			"HS256 RS256 RS384 RS512 PS256 PS384 PS512 ES256 EdDSA"},
	} {
		v := mustNew(t, c.cfg)
		for alg, tok := range tokens {
			cred, err := v.Connection(tok, clock())
			want := strings.Contains(c.accept, alg)
			if (err == nil) != want || want && cred.User != "1" {
				t.Errorf("%s where %q are good: %v", alg, c.accept, err)
			}
			known := strings.Contains(c.accept, alg) || c.accept == "" && alg[1] == 'S' && alg[0] != 'H' && alg[0] != 'E'
			if slow := v.Slow(tok); slow != (known && alg != "HS256") {
				t.Errorf("%s where %q are good: slow %t", alg, c.accept, slow)
			}
		}
	}
}

// TestAlgorithmConfusion: a header that lies about the algorithm never has a key taken
// for what it is not.
func TestAlgorithmConfusion(t *testing.T) {
	p := pairs()
	all := Config{RSAPublicKey: p["rsa"].public, ECDSAPublicKey: p["256"].public, Ed25519PublicKey: p["ed"].public}
	v := mustNew(t, all)
	der, _ := pem.Decode([]byte(p["rsa"].public))
	for _, public := range []string{p["rsa"].public, strings.TrimSpace(p["rsa"].public), string(der.Bytes), p["256"].public, p["ed"].public,
		string(p["ed"].private.Public().(ed25519.PublicKey))} {
		if _, err := v.Connection(sign(hs256Header, `{"sub":"1"}`, public, sha256.New), clock()); err == nil || err.Reason != ReasonAlgorithm {
			t.Errorf("HS256 with a public key for a secret: %v", err)
		}
		all.HMACSecretKey = secret
		if _, err := mustNew(t, all).Connection(sign(hs256Header, `{"sub":"1"}`, public, sha256.New), clock()); err == nil || err.Reason != ReasonSignature {
			t.Errorf("and with another secret set: %v", err)
		}
	}
	for alg, name := range map[string]string{"RS256": "rsa", "PS256": "rsa", "ES256": "256", "EdDSA": "ed"} {
		_, rest, _ := strings.Cut(issue(t, name, alg, "", `{"sub":"1"}`), ".")
		for _, header := range []string{`{"alg":"none"}`, `{"alg":"HS256"}`, `{"alg":"RS256"}`, `{"alg":"PS256"}`, `{"alg":"RS512"}`, `{"alg":"ES256"}`, `{"alg":"ES384"}`,
			`{"alg":"EdDSA"}`, `{"alg":"Ed25519"}`, `{"alg":"` + alg + `"}`, `{"alg":"` + alg + `","kid":"` + alg + `"}`} {
			if cred, err := v.Connection(b64(header)+"."+rest, clock()); err == nil {
				t.Errorf("signed as %s, said to be %s: accepted as %s", alg, header, show(cred))
			}
		}
	}
}

func TestSignaturesOfECDSAHaveOneLengthAndNoZeros(t *testing.T) {
	p := pairs()["256"]
	v := mustNew(t, Config{ECDSAPublicKey: p.public})
	signed := b64(`{"alg":"ES256"}`) + "." + b64(`{"sub":"1"}`)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.private.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	fixed := func(r, s *big.Int) string {
		return string(r.FillBytes(make([]byte, 32))) + string(s.FillBytes(make([]byte, 32)))
	}
	der, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	zero, good := new(big.Int), fixed(r, s)
	for name, c := range map[string]struct {
		signature string
		ok        bool
	}{
		"as it is":          {good, true},
		"the other form":    {fixed(r, new(big.Int).Sub(n, s)), true}, // not a forgery: the same key, the same text
		"DER":               {string(der), false},
		"one byte less":     {good[:63], false},
		"one byte more":     {good + "\x00", false},
		"padded":            {"\x00" + good[:32] + "\x00" + good[32:], false},
		"half":              {good[:32], false},
		"nothing":           {"", false},
		"zeros":             {fixed(zero, zero), false},
		"r zero":            {fixed(zero, s), false},
		"s zero":            {fixed(r, zero), false},
		"the group's order": {fixed(n, n), false},
		"swapped":           {fixed(s, r), false},
		"very long":         {strings.Repeat(good, 700), false},
	} {
		_, err := v.Connection(signed+"."+b64(c.signature), clock())
		if (err == nil) != c.ok || err != nil && err.Reason != ReasonSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForgedAsymmetricTokens runs what the HMAC verifier refuses through one for RSA.
func TestForgedAsymmetricTokens(t *testing.T) {
	v := mustNew(t, Config{RSAPublicKey: pairs()["rsa"].public})
	for name, c := range forged() {
		if cred, err := v.Connection(c.token, clock()); err == nil {
			t.Errorf("%s: accepted as %s", name, show(cred))
		}
	}
	good := issue(t, "rsa", "RS256", "", `{"sub":"1"}`)
	for i := 0; i < len(good); i += 7 {
		bad := []byte(good)
		if bad[i] ^= 1; bad[i] == '.' || good[i] == '.' {
			continue
		}
		if cred, err := v.Connection(string(bad), clock()); err == nil {
			t.Errorf("with byte %d changed: accepted as %s", i, show(cred))
		}
	}
}

func TestPublicKeysInPEM(t *testing.T) {
	p := pairs()
	rsaKey := p["rsa"].private.(*rsa.PrivateKey)
	with := func(e int) string { return publicText(&rsa.PublicKey{N: rsaKey.N, E: e}) }
	certificate, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"},
		NotAfter: time.Unix(1, 0)}, &x509.Certificate{}, rsaKey.Public(), rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8200, 1), E: 65537}
	for name, c := range map[string]struct{ text, want string }{ // "" is good
		"PKIX":               {p["rsa"].public, ""},
		"PKCS #1":            {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), ""},
		"certificate":        {block("CERTIFICATE", certificate), ""},
		"white space":        {"\n  \n" + p["rsa"].public + "\n\n", ""},
		"one line":           {strings.ReplaceAll(p["rsa"].public, "\n", `\n`), ""},
		"1,024 bits":         {p["weak"].public, "1024 bits"},
		"8,201 bits":         {publicText(huge), "8201 bits"},
		"exponent 1":         {with(1), "exponent"},
		"exponent 2":         {with(2), "exponent"},
		"an elliptic curve":  {p["256"].public, "another kind"},
		"Ed25519":            {p["ed"].public, "another kind"},
		"private":            {p["rsa"].secretPEM, "private key"},
		"two keys":           {p["rsa"].public + p["rsa2"].public, "one key"},
		"cut":                {p["rsa"].public[:200], "not PEM"},
		"no key in it":       {block("PUBLIC KEY", []byte("x")), "cannot be read"},
		"no key in it (1)":   {block("RSA PUBLIC KEY", []byte("x")), "cannot be read"},
		"no certificate":     {block("CERTIFICATE", []byte("x")), "cannot be read"},
		"something else":     {block("X509 CRL", []byte("x")), "X509 CRL"},
		"only the parameter": {block("EC PARAMETERS", []byte("x")), "not PEM"},
	} {
		v, err := New(Config{RSAPublicKey: c.text})
		if c.want == "" && (err != nil || v == nil) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "rsa_public_key")) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "MII") {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
	for _, c := range []Config{{ECDSAPublicKey: p["224"].public}, {ECDSAPublicKey: p["rsa"].public}, {Ed25519PublicKey: p["521"].public}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v: accepted", c)
		}
	}
}

func TestSigners(t *testing.T) {
	p := pairs()
	rsaKey, ecKey := p["rsa"].private.(*rsa.PrivateKey), p["384"].private.(*ecdsa.PrivateKey)
	sec1, _ := x509.MarshalECPrivateKey(ecKey)
	for _, c := range []struct{ algorithm, secret, private, want string }{
		{"", secret, "", "HS256"}, {"HS512", secret, "", "HS512"},
		{"", "", p["rsa"].secretPEM, "RS256"}, {"PS512", "", p["rsa"].secretPEM, "PS512"},
		{"", "", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "RS256"},
		{"", "", block("EC PARAMETERS", []byte{1}) + block("EC PRIVATE KEY", sec1), "ES384"},
		{"", "", p["521"].secretPEM, "ES512"}, {"", "", p["ed"].secretPEM, "EdDSA"},
		{"", "", "", ""}, {"", secret, p["rsa"].secretPEM, ""}, {"RS256", secret, "", ""}, {"HS256", "", p["rsa"].secretPEM, ""},
		{"ES256", "", p["384"].secretPEM, ""}, {"none", secret, "", ""}, {"", "", p["rsa"].public, ""}, {"", "", "x", ""},
		{"", "", p["weak"].secretPEM, ""}, {"", "", block("PRIVATE KEY", []byte("x")), ""}, {"", "", p["224"].secretPEM, ""},
	} {
		s, err := NewSigner(c.algorithm, c.secret, c.private, "k")
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%q with %.40q: accepted as %s", c.algorithm, c.private, s.Algorithm())
		case c.want == "":
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "MII") {
				t.Errorf("the error quotes the key: %v", err)
			}
		case err != nil || s.Algorithm() != c.want:
			t.Errorf("%q with %.40q: %v", c.algorithm, c.private, err)
		default:
			tok, err := s.Sign([]byte(`{"sub":"1"}`))
			if err != nil {
				t.Fatal(err)
			}
			if view, bad := Inspect(tok); bad != nil || view.Algorithm != c.want || view.KeyID != "k" || string(view.Claims) != `{"sub":"1"}` {
				t.Errorf("got %+v, %v", view, bad)
			}
		}
	}
}

func TestInspectBelievesNothing(t *testing.T) {
	for _, tok := range []string{"", "x", "a.b.c", b64(`{}`) + "." + b64(`x`) + ".", b64(`{}`) + ".%.", b64(`{}`) + "\n." + b64(`{}`) + "."} {
		if view, err := Inspect(tok); err == nil {
			t.Errorf("%q: %+v", tok, view)
		}
	}
	if view, err := Inspect(b64(`{"alg":"none"}`) + "." + b64(`{"sub":"1"}`) + "."); err != nil || view.Algorithm != "" || string(view.Header) != `{"alg":"none"}` {
		t.Errorf("got %+v, %v", view, err)
	}
}
