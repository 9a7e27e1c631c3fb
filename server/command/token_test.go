package command

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/server/auth"
	"shoal/server/config"
)

const (
	tokenSecret = "a-secret-of-more-than-32-characters"
	tokenConfig = "client: {token: {hmac_secret_key: " + tokenSecret + "}}\nchannel: {namespaces: [{name: news}]}\n"
)

var tokenNow = time.Unix(1_700_000_000, 0)

// tokenRun runs one command line at a fixed time, with text on standard input.
func tokenRun(t *testing.T, at time.Time, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, config.EnvPrefix) {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	var o, e bytes.Buffer
	code = Run(context.Background(), append([]string{"token"}, args...), Process{In: strings.NewReader(in), Out: &o, Err: &e,
		Clock: func() time.Time { return at }, Version: "test"})
	return code, o.String(), e.String()
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// printed issues a token that must succeed.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := tokenRun(t, tokenNow, "", args...)
	if code != ExitOK || strings.Count(out, "\n") != 1 || strings.Count(out, ".") != 2 {
		t.Fatalf("shoal token %q: code %d\n%s%s", args, code, out, errs)
	}
	return strings.TrimSpace(out)
}

func payloadOf(t *testing.T, tok string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokensAreWhatTheFlagsSay(t *testing.T) {
	cfg := writeFile(t, "c.yaml", "client: {token: {hmac_secret_key: "+tokenSecret+", audience: app, issuer: me, user_id_claim: uid},\n"+
		"  subscription_token: {enabled: true, hmac_secret_key: another-secret-of-32-characters-or-so}}\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--secret", tokenSecret, "-u", "42"}, `{"exp":1700003600,"iat":1700000000,"sub":"42"}`},
		{[]string{"print", "--secret", tokenSecret}, `{"exp":1700003600,"iat":1700000000,"sub":""}`},
		{[]string{"--secret=s", "--expire", "0"}, `{"iat":1700000000,"sub":""}`},
		{[]string{"--secret=s", "--expire=90s", "--user=a\"b", `--info={"x": 1}`, "--meta=[1]", "--aud=a,b", "--iss=i"},
			`{"aud":["a","b"],"exp":1700000090,"iat":1700000000,"info":{"x":1},"iss":"i","meta":[1],"sub":"a\"b"}`},
		{[]string{"--secret=s", "--channel=$news:1", "--aud=a"}, `{"aud":"a","channel":"$news:1","exp":1700003600,"iat":1700000000,"sub":""}`},
		{[]string{"-c", cfg, "-u", "42"}, `{"aud":"app","exp":1700003600,"iat":1700000000,"iss":"me","uid":"42"}`},
		{[]string{"-c", cfg, "-u", "42", "--channel=a"}, `{"channel":"a","exp":1700003600,"iat":1700000000,"sub":"42"}`},
	} {
		if got := payloadOf(t, printed(t, c.args...)); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.args, got, c.want)
		}
	}
	tok := printed(t, "-c", cfg, "-u", "42", "--channel=a")
	if code, out, _ := tokenRun(t, tokenNow, "", "check", tok, "-c", cfg); code != ExitOK {
		t.Errorf("signed with the secret of subscription tokens: %s", out)
	}
}

func TestTokenMistakes(t *testing.T) {
	cfg, jwks := writeFile(t, "c.yaml", tokenConfig), writeFile(t, "j.yaml", "client: {token: {jwks_public_endpoint: \"https://auth.example.com/keys\"}}\n")
	weak, public := writeFile(t, "weak.pem", "x"), writeFile(t, "public.pem", publicPEM(t, signingKeys(t)["rsa"]))
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "nothing to sign with"},
		{[]string{"--secret=s", "--key=k"}, "both given"},
		{[]string{"--secret=s", "--expire=-1s"}, "--expire"},
		{[]string{"--secret=s", "--expire=1ms"}, "--expire"},
		{[]string{"--secret=s", "--expire=soon"}, "expire"},
		{[]string{"--secret=s", "--info={"}, "--info is not JSON"},
		{[]string{"--secret=s", "--meta=x"}, "--meta is not JSON"},
		{[]string{"--secret=s", "--meta={}", "--channel=a"}, "--meta is for connection tokens"},
		{[]string{"--secret=s", "--algorithm=RS256"}, "no algorithm of that key"},
		{[]string{"--secret=s", "--algorithm=none"}, `algorithm "none" is unknown`},
		{[]string{"--key=none.pem"}, "name a file"},
		{[]string{"--key", weak}, "not PEM"},
		{[]string{"--key", public}, "PRIVATE KEY"},
		{[]string{"-c", "none.yaml"}, "there is no file none.yaml"},
		{[]string{"-c", cfg, "--algorithm=ES256"}, "no algorithm of that key"},
		{[]string{"-c", jwks}, "give a private key"},
		{[]string{"check"}, "token"},
		{[]string{"check", "x", "-c", "none.yaml"}, "there is no file none.yaml"},
	} {
		code, out, errs := tokenRun(t, tokenNow, "", c.args...)
		if code != ExitUsage || out != "" || !strings.Contains(errs, c.want) || strings.Contains(errs, tokenSecret) {
			t.Errorf("%q: code %d\nout  %s\nerrs %s\nwant %q", c.args, code, out, errs, c.want)
		}
	}
}

// TestTokensAreCheckedAsTheServerDoes: what is printed, the code a client gets and the exit code.
func TestTokensAreCheckedAsTheServerDoes(t *testing.T) {
	cfg := writeFile(t, "c.yaml", tokenConfig)
	strict := writeFile(t, "s.yaml", "client: {disallow_anonymous_connection_tokens: true, token: {hmac_secret_key: "+tokenSecret+", audience: app, user_id_claim: uid}}\n")
	with := func(args ...string) string { return printed(t, append([]string{"--secret", tokenSecret}, args...)...) }
	user, sub := with("-u", "42", `--info={"x":1}`), with("-u", "42", "--channel=$news:1")
	later := tokenNow.Add(2 * time.Hour)
	for _, c := range []struct {
		name string
		at   time.Time
		args []string
		code int
		want []string
	}{
		{"good", tokenNow, []string{user}, ExitOK, []string{"connection token", `"42"`, "HS256", "2023-11-14 23:13:20 UTC (in 1h0m0s)", `"info":{"x":1}`, `accepted: a client connects as user "42", until`}},
		{"for ever", tokenNow, []string{with("--expire=0")}, ExitOK, []string{"an anonymous client, for ever"}},
		{"expired", later, []string{user}, ExitFailed, []string{"(1h0m0s ago)", "refused: error 109 (token expired), on which clients fetch a new token, because exp was 3600 s ago [expired]"}},
		{"forged", tokenNow, []string{user[:len(user)-2] + "AA"}, ExitFailed, []string{"refused: disconnect 3500 (invalid token), after which clients give up"}},
		{"another secret", tokenNow, []string{printed(t, "--secret=another")}, ExitFailed, []string{"3500", "[signature]"}},
		{"not a token", tokenNow, []string{"x"}, ExitFailed, []string{"not readable (1 bytes)", "3500", "[malformed]"}},
		{"nothing", tokenNow, []string{""}, ExitFailed, []string{"it is empty"}},
		{"none", tokenNow, []string{unsigned(`{"alg":"none"}`, `{"sub":"42"}`)}, ExitFailed, []string{"none that is known", "[algorithm]"}},
		{"subscription", tokenNow, []string{sub}, ExitOK, []string{"subscription token", `accepted: user "42" subscribes to "$news:1"`}},
		{"by another user", tokenNow, []string{sub, "--user=7"}, ExitFailed, []string{"3500", "[user]"}},
		{"of another channel", tokenNow, []string{sub, "--channel=$news:2"}, ExitFailed, []string{"3500", "[channel]"}},
		{"of an unknown namespace", tokenNow, []string{with("--channel=nope:1")}, ExitFailed, []string{"error 102 (unknown channel)"}},
		{"subscription, expired", later, []string{sub}, ExitFailed, []string{"error 109"}},
		{"a connection token to subscribe", tokenNow, []string{user, "--channel=$news:1"}, ExitFailed, []string{"error 103", "[purpose]"}},
		{"audience", tokenNow, []string{user, "-c", strict}, ExitFailed, []string{"3500", "[audience]"}},
		{"anonymous", tokenNow, []string{with("--aud=app"), "-c", strict}, ExitFailed, []string{"3507", "[anonymous]"}},
		{"unknown channel in it", tokenNow, []string{signed(t, `{"sub":"1","channels":["nope:a"]}`)}, ExitFailed, []string{"error 102", `"nope:a"`}},
		{"channels in it", tokenNow, []string{signed(t, `{"sub":"1","channels":["a","news:b"]}`)}, ExitOK, []string{"2 channels"}},
		{"ends before it begins", tokenNow, []string{signed(t, `{"sub":"1","expire_at":5}`)}, ExitFailed, []string{"error 110", "1970-01-01"}},
		{"for one client", tokenNow, []string{signed(t, `{"sub":"1","channel":"a","client":"c"}`)}, ExitOK, []string{`on the connection "c" only`}},
	} {
		args := append([]string{"check"}, c.args...)
		if len(c.args) == 1 || !strings.Contains(strings.Join(c.args, " "), "-c ") {
			args = append(args, "-c", cfg)
		}
		code, out, errs := tokenRun(t, c.at, "", args...)
		for _, part := range c.want {
			if !strings.Contains(out, part) {
				t.Errorf("%s: without %q:\n%s", c.name, part, out)
			}
		}
		if code != c.code || (code == ExitFailed) != strings.Contains(errs, "the token is refused") {
			t.Errorf("%s: code %d, want %d\n%s%s", c.name, code, c.code, out, errs)
		}
		if strings.Contains(out+errs, tokenSecret) {
			t.Errorf("%s: the secret is printed:\n%s%s", c.name, out, errs)
		}
	}
}

func unsigned(header, claims string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
}

func TestTokensComeFromStandardInputToo(t *testing.T) {
	cfg, tok := writeFile(t, "c.yaml", tokenConfig), printed(t, "--secret", tokenSecret)
	if code, out, _ := tokenRun(t, tokenNow, tok+"\n", "check", "-", "-c", cfg); code != ExitOK || !strings.Contains(out, "accepted") {
		t.Errorf("code %d, %s", code, out)
	}
}

// TestTokensDoNotSpeakToTheTerminal: claims are whatever somebody wrote.
func TestTokensDoNotSpeakToTheTerminal(t *testing.T) {
	cfg := writeFile(t, "c.yaml", tokenConfig)
	for _, tok := range []string{
		signed(t, "{\"sub\":\"\u009b2J\u202e\",\"x\":\"\\u001b[2J\"}"), unsigned("{\"alg\":\"HS256\",\"kid\":\"\\u001b[2J\u202e\"}", "{\"sub\":\"\u009b\"}"),
		unsigned(`{}`, `{"x":"`+strings.Repeat("long", 20_000)+`"}`), "\x1b[2J", strings.Repeat("A", 1<<20),
	} {
		_, out, errs := tokenRun(t, tokenNow, "", "check", tok, "-c", cfg)
		for _, r := range out + errs {
			if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
				t.Errorf("%q is printed:\n%.2000q", r, out+errs)
				break
			}
		}
		if len(out) > 3*tokenClaimsShow {
			t.Errorf("%d bytes are printed", len(out))
		}
	}
}

func signingKeys(t *testing.T) map[string]any {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]any{"rsa": r, "ecdsa": e, "ed25519": ed}
}

func privatePEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func publicPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(publicOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func publicOf(key any) any {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case ed25519.PrivateKey:
		return k.Public()
	}
	return nil
}

// TestTokensOfPrivateKeys: printed with the private part, checked with the public one in the configuration.
func TestTokensOfPrivateKeys(t *testing.T) {
	for kind, key := range signingKeys(t) {
		file := writeFile(t, kind+".pem", privatePEM(t, key))
		tok := printed(t, "--key", file, "-u", "42", "--kid", "k")
		if kind == "ed25519" {
			continue // the configuration takes such a key from a key set only
		}
		cfg := writeFile(t, kind+".yaml", "client:\n  token:\n    "+kind+"_public_key: |\n      "+
			strings.ReplaceAll(strings.TrimSpace(publicPEM(t, key)), "\n", "\n      ")+"\n")
		code, out, errs := tokenRun(t, tokenNow, "", "check", tok, "-c", cfg)
		if code != ExitOK || !strings.Contains(out, `accepted: a client connects as user "42"`) || !strings.Contains(out, `key id       "k"`) {
			t.Errorf("%s: code %d\n%s%s", kind, code, out, errs)
		}
		hs := printed(t, "--secret="+publicPEM(t, key))
		if code, out, _ := tokenRun(t, tokenNow, "", "check", hs, "-c", cfg); code != ExitFailed || !strings.Contains(out, "[algorithm]") {
			t.Errorf("%s for a secret: code %d\n%s", kind, code, out)
		}
		// One that the configuration does not take is printed all the same, with a word about it.
		code, out, errs = tokenRun(t, tokenNow, "", "--secret", tokenSecret, "-c", cfg)
		if code != ExitOK || strings.Count(out, ".") != 2 || !strings.Contains(errs, "would refuse it") {
			t.Errorf("%s: code %d\n%s%s", kind, code, out, errs)
		}
	}
}

func TestTokensOfKeySets(t *testing.T) {
	keys := signingKeys(t)
	public := publicOf(keys["rsa"]).(*rsa.PublicKey)
	b64 := base64.RawURLEncoding.EncodeToString
	set := `{"keys":[{"kty":"RSA","kid":"one","use":"sig","n":"` + b64(public.N.Bytes()) + `","e":"` + b64(big.NewInt(int64(public.E)).Bytes()) + `"}]}`
	up := true
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(set))
	}))
	defer s.Close()
	cfg := writeFile(t, "c.yaml", "client: {token: {jwks_public_endpoint: \""+s.URL+"/keys\"}}\n")
	file := writeFile(t, "k.pem", privatePEM(t, keys["rsa"]))
	tok, other := printed(t, "--key", file, "--kid=one", "-u=42", "-c", cfg), printed(t, "--key", file, "--kid=two")
	if code, out, errs := tokenRun(t, tokenNow, "", "check", tok, "-c", cfg); code != ExitOK {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	if code, out, _ := tokenRun(t, tokenNow, "", "check", other, "-c", cfg); code != ExitFailed || !strings.Contains(out, "3500") || !strings.Contains(out, "[key]") {
		t.Errorf("unknown kid: code %d\n%s", code, out)
	}
	up = false
	if code, out, _ := tokenRun(t, tokenNow, "", "check", tok, "-c", cfg); code != ExitFailed || !strings.Contains(out, "3004") || !strings.Contains(out, "come back") {
		t.Errorf("down: code %d\n%s", code, out)
	}
}

func TestTokenConfigurationThatCannotServe(t *testing.T) {
	for text, want := range map[string]string{
		"client: {token: {rsa_public_key: x}}\n":                                                                     "rsa_public_key: it is not PEM",
		"client: {token: {jwks_public_endpoint: \"http://auth.example.com/keys\"}}\n":                                "use https",
		"client: {token: {jwks_public_endpoint: \"https://{{t}}.example.com/keys\", issuer_regex: \"(?P<t>.*)\"}}\n": "fixed list",
	} {
		cfg := writeFile(t, "c.yaml", text)
		code, _, errs := tokenRun(t, tokenNow, "", "check", unsigned(`{}`, `{}`), "-c", cfg)
		if code != ExitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %s", text, code, errs)
		}
	}
	if code, out, _ := tokenRun(t, tokenNow, "", "check", unsigned(`{}`, `{}`)); code != ExitFailed || !strings.Contains(out, "[no-key]") {
		t.Errorf("without a configuration: code %d\n%s", code, out)
	}
}

func TestTokenHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"print", "--help"}, {"check", "--help"}} {
		if code, out, errs := tokenRun(t, tokenNow, "", args...); code != ExitOK || !strings.Contains(out, "token") || errs != "" {
			t.Errorf("%q: code %d, %s%s", args, code, out, errs)
		}
	}
}

// signed makes a token of any claims with the secret of tokenConfig.
func signed(t *testing.T, claims string) string {
	t.Helper()
	s, err := auth.NewSigner("", tokenSecret, "", "")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
