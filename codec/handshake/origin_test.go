package handshake

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestOriginDecisions(t *testing.T) {
	const same = "SAME" // a nil policy
	for _, c := range []struct {
		entries string // separated by spaces
		host    string
		allow   string
		deny    string
	}{
		{same, "app.example.com",
			"https://app.example.com http://app.example.com https://APP.example.com https://app.example.com:443 http://app.example.com:80",
			"https://evil.com https://app.example.com:8443 https://app.example.com.evil.com https://xapp.example.com https://example.com" +
				" https://app.example.com@evil.com https://evil.com/app.example.com https://app.example.com/ https://app.example.com#x" +
				" https://app.example.com?x https://app.example.com: null file:// file://app.example.com app.example.com //app.example.com" +
				" ftp://app.example.com https:app.example.com https:///app.example.com ://app.example.com https://app.example.com\\ https://[app.example.com]"},
		{same, "h:8000", "http://h:8000 https://H:8000", "http://h http://h:80 https://h:443 http://h:8001 http://h:80000 http://h:08000000"},
		{same, "h:443", "https://h https://h:443", "http://h"},
		{same, "[::1]:3000", "http://[::1]:3000", "http://[::1] http://[::2]:3000 http://::1:3000"},
		{same, "bad host", "", "http://bad host http://h"},
		{"https://example.com", "example.com",
			"https://example.com HTTPS://EXAMPLE.COM https://example.com:443",
			"http://example.com https://example.com:80 https://www.example.com https://example.com.evil.org https://example.comx https://xexample.com" +
				" https://user@example.com https://user:pw@example.com https://example.com/ https://example.com/x https://example.com#f null" +
				" https://example.com:443:443 https://example.com:4430 https://example.com.: https://examp1e.com https://evil.com?https://example.com"},
		{"https://example.com:443", "h", "https://example.com https://example.com:443", "https://example.com:8443"},
		{"http://example.com:8080 https://b.example", "h", "http://example.com:8080 https://b.example", "http://example.com https://example.com:8080 http://b.example"},
		{"https://*.example.com", "h",
			"https://a.example.com https://a.b.example.com https://a.example.com:443",
			"https://example.com http://a.example.com https://a.example.com:8443 https://evil.com/a.example.com https://evil.com?.example.com" +
				" https://evil.com#.example.com https://evil.com:80.example.com https://x@.example.com https://a.example.com.evil.com https://aexample.com"},
		{"http://localhost:*", "h", "http://localhost:3000 http://LOCALHOST:1", "http://localhost http://localhost:80 http://localhost:x http://localhost.evil:1 https://localhost:3000"},
		{"http://localhost*", "h", "http://localhost http://localhost:3000 http://localhost.evil", "https://localhost"},
		{"*://app.example.com", "h", "http://app.example.com https://app.example.com capacitor://app.example.com", "https://x.example.com null"},
		{"https://app?.example.com", "h", "https://app1.example.com", "https://app.example.com https://app12.example.com"},
		{"https://*", "h", "https://anything https://x:1", "http://anything null file:// https:// https:///"},
		{"*", "h", "https://anything null file:// nonsense", ""},
		{"null", "h", "null", "NULL file:// https://h http://h"},
		{"file:// capacitor://localhost", "h", "file:// capacitor://localhost", "file:///etc null file://x"},
		{"chrome-extension://abcdef", "h", "chrome-extension://abcdef", "chrome-extension://abcdeg"},
		{"http://[::1]:3000", "h", "http://[::1]:3000", "http://[::1] http://[::2]:3000"},
		{"http://[::1]:*", "h", "http://[::1]:3000", "http://[::1] http://[::2]:3000"},
	} {
		var o *Origins
		if c.entries != same {
			var err error
			if o, err = NewOrigins(strings.Fields(c.entries)); err != nil {
				t.Fatal(err)
			}
			if err := o.Validate(); err != nil {
				t.Error(err)
			}
		}
		for _, want := range []bool{true, false} {
			list := c.deny
			if want {
				list = c.allow
			}
			for _, origin := range strings.Fields(list) {
				if got := o.Allows([]byte(origin), []byte(c.host)); got != want {
					t.Errorf("allowed %s, Host %s, Origin %s: got %v, want %v", c.entries, c.host, origin, got, want)
				}
			}
		}
		if !o.Allows(nil, []byte(c.host)) {
			t.Errorf("allowed %s: a request without Origin is no page and passes", c.entries)
		}
		if o.Any() != (c.entries == "*") {
			t.Errorf("%s: Any is %v", c.entries, o.Any())
		}
		if !o.Any() && o.Allows([]byte{}, []byte(c.host)) {
			t.Errorf("allowed %s: an empty Origin passes", c.entries)
		}
	}
}

func TestOriginEntriesThatCouldNeverMatchAreErrors(t *testing.T) {
	for _, c := range []struct{ entry, say string }{
		{"", "empty"},
		{"example.com", "scheme is missing"},
		{"localhost:3000", "scheme is missing"},
		{"https://example.com/", "write https://example.com"},
		{"https://example.com/app", "write https://example.com"},
		{"https://u@example.com", "it is no origin"},
		{"https://example.com:", "it is no origin"},
		{"https://", "it is no origin"},
		{"https://example.com:99999", "it is no origin"},
		{"https://{a,b}.example.com", "one entry for each"},
		{"https://app-[0-9].example.com", "one entry for each"},
		{"https://app-[0-9]*.example.com", "one entry for each"},
		{"https://[ab]*.example.com", "one entry for each"},
		{"http://[::1][ab]*", "one entry for each"},
		{"https://bücher.example", "xn--"},
		{"https://" + strings.Repeat("x", 600), "608 bytes"},
	} {
		_, err := NewOrigins([]string{"https://ok.example", c.entry})
		if err == nil || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), "allowed origin") {
			t.Errorf("%q: got %v, want something with %q", c.entry, err, c.say)
		}
	}
	if o, err := NewOrigins(nil); o != nil || err != nil {
		t.Errorf("an empty list is the same-host policy; got %v, %v", o, err)
	}
	for _, p := range []string{"https://x:443", "nonsense"} {
		if (&Origins{patterns: []string{p}}).Validate() == nil {
			t.Errorf("Validate passes %q", p)
		}
	}
	if err := (&Config{Origins: &Origins{patterns: []string{"nonsense"}}}).Validate(); err == nil {
		t.Error("Config.Validate passes a bad policy")
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestOverlongOriginIsDenied(t *testing.T) {
	o, _ := NewOrigins([]string{"https://*"})
	if !o.Allows([]byte("https://"+strings.Repeat("a", 504)), nil) || o.Allows([]byte("https://"+strings.Repeat("a", 505)), nil) {
		t.Error("the bound is 512 bytes")
	}
}

func TestPatternsMatchLikeARegularExpression(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draw := func(from string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = from[r.IntN(len(from))]
		}
		return string(b)
	}
	for range 20000 {
		p, s := draw("ab.*?", 8), draw("aB.", 12)
		expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(p))
		want := regexp.MustCompile("^" + expr + "$").MatchString(strings.ToLower(s))
		if got := matchOrigin(p, []byte(s)); got != want {
			t.Fatalf("pattern %q, text %q: got %v, want %v", p, s, got, want)
		}
	}
}
