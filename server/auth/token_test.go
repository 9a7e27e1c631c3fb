package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"
)

const (
	secret = "a secret that is long enough"
	now    = 1_700_000_000
)

func clock() time.Time { return time.Unix(now, 0) }

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign makes a token of any header and claims, right or wrong, with HMAC.
func sign(header, claims, key string, h func() hash.Hash) string {
	signed := b64(header) + "." + b64(claims)
	mac := hmac.New(h, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

const hs256Header = `{"alg":"HS256","typ":"JWT"}`

// token makes a well-signed token of the claims.
func token(claims string) string { return sign(hs256Header, claims, secret, sha256.New) }

func mustNew(t testing.TB, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ago and ahead are claims of a date so many seconds away.
func date(claim string, seconds int) string { return fmt.Sprintf(`%q:%d`, claim, now+seconds) }

func TestConnectionTokens(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret})
	for _, c := range []struct {
		claims string
		want   string // of show
	}{
		{`{"sub":"42"}`, "user=42"},
		{`{}`, "user="},
		{`{"sub":""}`, "user="},
		{`{"sub":null}`, "user="},
		{` {"sub":"42"} `, "user=42"},
		{`{"sub":"42",` + date("exp", 1) + `}`, "user=42 expire=1"},
		{`{"sub":"42",` + date("exp", 1) + `,"expire_at":0}`, "user=42"},
		{`{"sub":"42",` + date("exp", 1) + `,"expire_at":-5}`, "user=42"},
		{`{"sub":"42",` + date("exp", 1) + `,` + date("expire_at", 100) + `}`, "user=42 expire=100"},
		{`{"sub":"42",` + date("expire_at", 100) + `}`, "user=42 expire=100"},
		{`{"sub":"42",` + date("expire_at", -100) + `}`, "user=42 expire=-100"}, // the session says 110
		{`{"sub":"42","exp":1700000000.9}`, ""},
		{`{"sub":"42","exp":1.7000000015e9}`, "user=42 expire=1"},
		{`{"sub":"42","exp":99999999999999}`, fmt.Sprintf("user=42 expire=%d", numericDateMax-now)},
		{`{"sub":"42","exp":null,"nbf":null}`, "user=42"},
		{`{"sub":"42",` + date("nbf", 0) + `,` + date("iat", 500) + `,"jti":7}`, "user=42"},
		{`{"sub":"42","info":{"name":"x"}}`, `user=42 info={"name":"x"}`},
		{`{"sub":"42","info":null}`, "user=42"},
		{`{"sub":"42","info":1,"b64info":"AP8="}`, "user=42 info=\x00\xff"},
		{`{"sub":"42","meta":{"k":1}}`, `user=42 meta={"k":1}`},
		{`{"sub":"42","channels":["b","a","b"]}`, "user=42 subs=a,b"},
		{`{"sub":"42","channels":["c"],"subs":{"b":{},"a":{"info":1,"data":2,"override":{"presence":{"value":true}}}}}`,
			"user=42 subs=a(1)(2)+presence,b"},
		{`{"sub":"42","subs":{"a":{"b64info":"AA==","b64data":"AQ=="}}}`, "user=42 subs=a(\x00)(\x01)"},
		{`{"sub":"42","channel":null}`, "user=42"},
		{`{"sub":"42","channel":""}`, "user=42"},
		{`{"sub":"42","other":[[[]]],"sub2":1}`, "user=42"},
		{`{"sub":"1","sub":"2"}`, "user=2"},
		{`{"sub":"\u0034\ud83d\ude00"}`, "user=4😀"},
	} {
		cred, err := v.Connection(token(c.claims), clock())
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: accepted", c.claims)
		case c.want != "" && err != nil:
			t.Errorf("%s: %v", c.claims, err)
		case c.want != "" && show(cred) != c.want:
			t.Errorf("%s: got %q, want %q", c.claims, show(cred), c.want)
		}
	}
}

// show writes credentials with what they have; dates as seconds from now.
func show(c Credentials) string {
	s := "user=" + c.User
	if c.ExpireAt != 0 {
		s += fmt.Sprintf(" expire=%d", c.ExpireAt-now)
	}
	if c.Info != nil {
		s += " info=" + string(c.Info)
	}
	if c.Meta != nil {
		s += " meta=" + string(c.Meta)
	}
	var subs []string
	for _, sub := range c.Subs {
		one := sub.Channel
		if sub.Info != nil {
			one += "(" + string(sub.Info) + ")"
		}
		if sub.Data != nil {
			one += "(" + string(sub.Data) + ")"
		}
		if o := sub.Override; o != nil && o.Presence != nil && *o.Presence {
			one += "+presence"
		}
		subs = append(subs, one)
	}
	if subs != nil {
		s += " subs=" + strings.Join(subs, ",")
	}
	return s
}

func TestAllHMACAlgorithms(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret})
	narrow := mustNew(t, Config{HMACSecretKey: secret, Algorithms: []string{"HS512"}})
	for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		tok := sign(`{"alg":"`+alg+`"}`, `{"sub":"1"}`, secret, h)
		if _, err := v.Connection(tok, clock()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if _, err := narrow.Connection(tok, clock()); (err == nil) != (alg == "HS512") {
			t.Errorf("%s where only HS512 is allowed: %v", alg, err)
		}
	}
}

const publicPEM = "-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n"

// forged are tokens of which none may pass.
func forged() map[string]struct {
	token string
	want  Reason
} {
	type row = struct {
		token string
		want  Reason
	}
	good := token(`{"sub":"42"}`)
	head, rest, _ := strings.Cut(good, ".")
	body, sig, _ := strings.Cut(rest, ".")
	with := func(header string) string { return sign(header, `{"sub":"42"}`, secret, sha256.New) }
	return map[string]row{
		"alg none, no signature":           {b64(`{"alg":"none"}`) + "." + body + ".", ReasonAlgorithm},
		"alg None":                         {b64(`{"alg":"None"}`) + "." + body + ".", ReasonAlgorithm},
		"alg nOnE with the signature":      {b64(`{"alg":"nOnE"}`) + "." + body + "." + sig, ReasonAlgorithm},
		"alg none, well signed":            {with(`{"alg":"none"}`), ReasonAlgorithm},
		"alg missing":                      {with(`{"typ":"JWT"}`), ReasonAlgorithm},
		"alg null":                         {with(`{"alg":null}`), ReasonAlgorithm},
		"alg a number":                     {with(`{"alg":256}`), ReasonAlgorithm},
		"alg a list":                       {with(`{"alg":["HS256"]}`), ReasonAlgorithm},
		"alg empty":                        {with(`{"alg":""}`), ReasonAlgorithm},
		"alg in lower case":                {with(`{"alg":"hs256Header"}`), ReasonAlgorithm},
		"alg under another case":           {with(`{"ALG":"HS256"}`), ReasonAlgorithm},
		"alg with a space":                 {with(`{"alg":"HS256 "}`), ReasonAlgorithm},
		"RS256 signed with HMAC":           {with(`{"alg":"RS256"}`), ReasonAlgorithm},
		"HS256 signed with a public key":   {sign(hs256Header, `{"sub":"42"}`, publicPEM, sha256.New), ReasonSignature},
		"ES256 signed with HMAC":           {with(`{"alg":"ES256"}`), ReasonAlgorithm},
		"EdDSA signed with HMAC":           {with(`{"alg":"EdDSA"}`), ReasonAlgorithm},
		"HS512 in the header, HS256 made":  {with(`{"alg":"HS512"}`), ReasonSignature},
		"the last alg counts":              {with(`{"alg":"HS256","alg":"none"}`), ReasonAlgorithm},
		"crit":                             {with(`{"alg":"HS256","crit":["exp"],"exp":1}`), ReasonCritical},
		"crit empty":                       {with(`{"alg":"HS256","crit":[]}`), ReasonCritical},
		"crit b64":                         {with(`{"alg":"HS256","crit":["b64"],"b64":false}`), ReasonCritical},
		"own key in jwk":                   {sign(`{"alg":"HS256","jwk":{"kty":"oct","k":"`+b64("evil")+`"}}`, `{"sub":"42"}`, "evil", sha256.New), ReasonSignature},
		"own key behind jku":               {sign(`{"alg":"HS256","jku":"http://evil/k"}`, `{"sub":"42"}`, "evil", sha256.New), ReasonSignature},
		"kid as a path":                    {sign(`{"alg":"HS256","kid":"../../../dev/null"}`, `{"sub":"42"}`, "", sha256.New), ReasonSignature},
		"empty key":                        {sign(hs256Header, `{"sub":"42"}`, "", sha256.New), ReasonSignature},
		"another key":                      {sign(hs256Header, `{"sub":"42"}`, secret+"x", sha256.New), ReasonSignature},
		"header a list":                    {with(`["HS256"]`), ReasonMalformed},
		"header null":                      {with(`null`), ReasonMalformed},
		"header no JSON":                   {with(`alg: HS256`), ReasonMalformed},
		"header with padding":              {head + "=." + body + "." + sig, ReasonMalformed},
		"header too long":                  {with(`{"alg":"HS256","x":"` + strings.Repeat("x", 5000) + `"}`), ReasonOversize},
		"no signature":                     {head + "." + body + ".", ReasonSignature},
		"signature cut":                    {good[:len(good)-4], ReasonMalformed},
		"signature with a changed bit":     {head + "." + body + "." + flip(sig), ReasonSignature},
		"signature with stray bits":        {head + "." + body + "." + stray(sig), ReasonMalformed},
		"signature with a line feed":       {good + "\n", ReasonMalformed},
		"signature in standard base64":     {head + "." + body + ".++//", ReasonMalformed},
		"claims of another token":          {head + "." + b64(`{"sub":"1"}`) + "." + sig, ReasonSignature},
		"empty":                            {"", ReasonMalformed},
		"one dot":                          {"a.b", ReasonMalformed},
		"two dots":                         {"..", ReasonMalformed},
		"three dots":                       {good + ".x", ReasonMalformed},
		"only dots":                        {strings.Repeat(".", 60_000), ReasonMalformed},
		"one megabyte":                     {token(`{"sub":"` + strings.Repeat("x", 1<<20) + `"}`), ReasonOversize},
		"NUL bytes":                        {"\x00.\x00.\x00", ReasonMalformed},
		"claims a list":                    {token(`["sub"]`), ReasonClaims},
		"claims null":                      {token(`null`), ReasonClaims},
		"claims a string":                  {token(`"sub"`), ReasonClaims},
		"claims empty":                     {token(``), ReasonClaims},
		"claims with a tail":               {token(`{"sub":"42"}{}`), ReasonClaims},
		"claims cut":                       {token(`{"sub":"42"`), ReasonClaims},
		"claims nested without end":        {token(`{"x":` + strings.Repeat("[", 20_000) + `}`), ReasonClaims},
		"sub a number":                     {token(`{"sub":42}`), ReasonClaims},
		"sub an object":                    {token(`{"sub":{}}`), ReasonClaims},
		"exp a string":                     {token(`{"exp":"1800000000"}`), ReasonClaims},
		"exp true":                         {token(`{"exp":true}`), ReasonClaims},
		"exp over all numbers":             {token(`{"exp":1e999}`), ReasonClaims},
		"nbf a list":                       {token(`{"nbf":[]}`), ReasonClaims},
		"iat a string":                     {token(`{"iat":"now"}`), ReasonClaims},
		"expire_at a string":               {token(`{"expire_at":"0"}`), ReasonClaims},
		"aud a number":                     {token(`{"aud":1}`), ReasonClaims},
		"aud a list of numbers":            {token(`{"aud":[1]}`), ReasonClaims},
		"iss a list":                       {token(`{"iss":[]}`), ReasonClaims},
		"channels a string":                {token(`{"channels":"a"}`), ReasonClaims},
		"channels of numbers":              {token(`{"channels":[1]}`), ReasonClaims},
		"subs a list":                      {token(`{"subs":["a"]}`), ReasonClaims},
		"subs with a bad override":         {token(`{"subs":{"a":{"override":{"presence":true}}}}`), ReasonClaims},
		"subs with bad base64 info":        {token(`{"subs":{"a":{"b64info":"?"}}}`), ReasonClaims},
		"subs with bad base64 data":        {token(`{"subs":{"a":{"b64data":"?"}}}`), ReasonClaims},
		"b64info no base64":                {token(`{"b64info":"%%"}`), ReasonClaims},
		"b64info an object":                {token(`{"b64info":{}}`), ReasonClaims},
		"expired":                          {token(`{` + date("exp", -1) + `}`), ReasonExpired},
		"expires now":                      {token(`{` + date("exp", 0) + `}`), ReasonExpired},
		"expired long ago":                 {token(`{"exp":-1e300}`), ReasonExpired},
		"exp 0":                            {token(`{"exp":0}`), ReasonExpired},
		"expired, for subscribing":         {token(`{"sub":"42","channel":"news","exp":1}`), ReasonPurpose},
		"kid a number":                     {with(`{"alg":"HS256","kid":1}`), ReasonMalformed},
		"kid too long":                     {with(`{"alg":"HS256","kid":"` + strings.Repeat("k", 257) + `"}`), ReasonOversize},
		"alg in escapes, overruled":        {with(`{"alg":"HS256","\u0061lg":"none"}`), ReasonAlgorithm},
		"signature too long":               {good + strings.Repeat("A", 88), ReasonSignature},
		"header with a tail":               {with(`{"alg":"HS256"}{}`), ReasonMalformed},
		"header with a comma too much":     {with(`{"alg":"HS256",}`), ReasonMalformed},
		"header not UTF-8":                 {with("{\"alg\":\"HS256\",\"x\":\"\xff\"}"), ReasonMalformed},
		"claims not UTF-8":                 {token("{\"sub\":\"\xff\"}"), ReasonClaims},
		"claims with a comma too much":     {token(`{"sub":"42",}`), ReasonClaims},
		"not yet":                          {token(`{` + date("nbf", 1) + `}`), ReasonNotYet},
		"a subscription token":             {token(`{"sub":"42","channel":"news"}`), ReasonPurpose},
		"channel claim of another type":    {token(`{"sub":"42","channel":{}}`), ReasonPurpose},
		"channel claim under another case": {token(`{"sub":"42","Channel":"news"}`), ReasonPurpose},
	}
}

// flip changes the first character of a signature.
func flip(sig string) string {
	if sig[0] == 'A' {
		return "B" + sig[1:]
	}
	return "A" + sig[1:]
}

// stray sets bits behind the last byte: the same signature for a lenient decoder.
func stray(sig string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, sig[len(sig)-1])
	return sig[:len(sig)-1] + string(alphabet[i|1])
}

func TestForgedConnectionTokensAreRefused(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret})
	for name, c := range forged() {
		cred, err := v.Connection(c.token, clock())
		if err == nil {
			t.Errorf("%s: accepted as %s", name, show(cred))
		} else if err.Reason != c.want {
			t.Errorf("%s: got %v, want reason %s", name, err, c.want)
		}
	}
}

func TestErrorsNeverQuoteTheToken(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret})
	for name, c := range forged() {
		_, err := v.Connection(c.token, clock())
		for part := range strings.SplitSeq(c.token, ".") {
			if len(part) > 8 && strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s shows the key", name)
		}
	}
}

func TestWithoutAKeyNothingPasses(t *testing.T) {
	for name, v := range map[string]*Verifier{"none": nil, "empty": mustNew(t, Config{})} {
		for _, tok := range []string{"", token(`{"sub":"1"}`), sign(hs256Header, `{}`, "", sha256.New)} {
			if _, err := v.Connection(tok, clock()); err == nil || err.Reason != ReasonNoKey {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := v.Subscription(tok, clock()); err == nil || err.Reason != ReasonNoKey {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestSubscriptionTokens(t *testing.T) {
	v := mustNew(t, Config{HMACSecretKey: secret})
	g, err := v.Subscription(token(`{"sub":"42","channel":"$a","client":"c","info":1,"b64data":"Ag==",`+
		date("exp", 9)+`,"override":{"join_leave":{"value":false}}}`), clock())
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %s %s %s %q %d %t", g.User, g.Channel, g.Client, g.Info, g.Data, g.ExpireAt-now,
		g.Override.JoinLeave != nil && !*g.Override.JoinLeave && g.Override.Presence == nil)
	if want := `42 $a c 1 "\x02" 9 true`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for claims, want := range map[string]Reason{
		`{"sub":"42"}`:                              ReasonPurpose,
		`{"sub":"42","channel":""}`:                 ReasonPurpose,
		`{"sub":"42","channel":null}`:               ReasonPurpose,
		`{"sub":"42","channel":["a"]}`:              ReasonClaims,
		`{"sub":42,"channel":"a"}`:                  ReasonClaims,
		`{"channel":"a","client":1}`:                ReasonClaims,
		`{"channel":"a","override":[]}`:             ReasonClaims,
		`{"channel":"a","b64info":"?"}`:             ReasonClaims,
		`{"channel":"a","b64data":"?"}`:             ReasonClaims,
		`{"channel":"a",` + date("exp", 0) + `}`:    ReasonExpired,
		`{"channel":"a",` + date("nbf", 500) + `}`:  ReasonNotYet,
		`{"channel":"a","channels":["b"],"exp":{}}`: ReasonClaims,
	} {
		if _, err := v.Subscription(token(claims), clock()); err == nil || err.Reason != want {
			t.Errorf("%s: got %v, want reason %s", claims, err, want)
		}
	}
}
