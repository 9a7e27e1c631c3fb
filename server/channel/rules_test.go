package channel

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustCompile(t testing.TB, c Config) *Rules {
	t.Helper()
	r, err := Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample has namespaces out of order, one with a pattern.
func sample() Config {
	return Config{
		WithoutNamespace: Options{AllowPublishForClient: true},
		Namespaces: []Options{
			{Name: "news", AllowSubscribeForClient: true},
			{Name: "chat", HistorySize: 10, HistoryTTL: time.Minute, HistoryMetaTTL: time.Hour,
				PublicationDataFormat: "binary", SubscribeProxyName: "mine"},
			{Name: "id", ChannelRegex: `^[0-9]+$`},
			{Name: "a.b_c-1"},
		},
	}
}

func TestResolve(t *testing.T) {
	r := mustCompile(t, sample())
	for _, c := range []struct {
		name string
		ns   string
		code uint32
	}{
		{"", "", 107},
		{"x", "", 0},
		{"$x", "", 0},
		{"x#1,2", "", 0},
		{strings.Repeat("x", 255), "", 0},
		{strings.Repeat("x", 1024), "", 0},
		{strings.Repeat("x", 1025), "", 107},
		{"news:", "news", 0},
		{"news:a", "news", 0},
		{"news:a:b", "news", 0},
		{"$news:a", "news", 0},
		{"$$news:a", "", 102}, // only one prefix is one
		{"chat:x#42", "chat", 0},
		{"a.b_c-1:x", "a.b_c-1", 0},
		{"nope:a", "", 102},
		{"new:a", "", 102},
		{"newss:a", "", 102},
		{"News:a", "", 102},
		{":a", "", 0},
		{":", "", 0},
		{"$", "", 0},
		{"$:news:a", "", 0},
		{"id:123", "id", 0},
		{"$id:123", "id", 0},
		{"id:12a", "", 107},
		{"id:", "", 107},
		{"id:１２", "", 107}, // full-width digits
		{"grün", "", 107},
		{"news:\xff", "", 107},
		{"news:\x00", "news", 0}, // odd, but ASCII
	} {
		o, err := r.ResolveForClient(c.name)
		switch {
		case c.code == 0 && err != nil:
			t.Errorf("%q: got %v, want namespace %q", c.name, err, c.ns)
		case c.code == 0 && o.Name != c.ns:
			t.Errorf("%q: got namespace %q, want %q", c.name, o.Name, c.ns)
		case c.code != 0 && (err == nil || err.Code != c.code || o != nil):
			t.Errorf("%q: got %v and %v, want error %d", c.name, o, err, c.code)
		}
	}
}

func TestOptionsInheritWhatTheyDoNotSay(t *testing.T) {
	c := sample()
	c.PublicationDataFormat = "json"
	r := mustCompile(t, c)
	seen := 0
	r.Each(func(name string, o *Options) {
		seen++
		ttl, format, proxy := 720*time.Hour, "json", ProxyDefault
		if name == "chat" {
			ttl, format, proxy = time.Hour, "binary", "mine"
		}
		if o.HistoryMetaTTL != ttl || o.PublicationDataFormat != format || o.SubscribeProxyName != proxy ||
			o.PublishProxyName != ProxyDefault || o.SubRefreshProxyName != ProxyDefault || o.StateProxyName != ProxyDefault {
			t.Errorf("%q: got %+v, want %v, %q, %q", name, o, ttl, format, proxy)
		}
	})
	if seen != 5 {
		t.Errorf("got %d option sets, want 5", seen)
	}
}

func TestUserLimitedChannels(t *testing.T) {
	r := mustCompile(t, Config{})
	for _, c := range []struct {
		name, user string
		want       bool
	}{
		{"d#42", "42", true},
		{"d#42,43", "43", true},
		{"d#42,43,44", "43", true},
		{"d#42", "4", false},
		{"d#42", "2", false},
		{"d#42", "42,", false},
		{"d#42,43", "42,43", false},
		{"d", "d", false},
		{"d#", "", false},
		{"d#,", "", false},
		{"d#1#2", "1", false}, // the last boundary counts
		{"d#1#2", "2", true},
	} {
		if got := r.UserListed(c.name, c.user); got != c.want {
			t.Errorf("%q has %q: got %t, want %t", c.name, c.user, got, c.want)
		}
	}
	if r.UserLimited("d") || !r.UserLimited("d#1") || r.Private("d") || !r.Private("$d") {
		t.Error("marks in names are not seen")
	}
}

func TestOtherMarks(t *testing.T) {
	r := mustCompile(t, Config{PrivatePrefix: "priv/", NamespaceBoundary: "::", UserBoundary: "@@", UserSeparator: "+",
		MaxLength: 20, Namespaces: []Options{{Name: "ns"}}})
	if o, err := r.Resolve("priv/ns::a"); err != nil || o.Name != "ns" {
		t.Errorf("got %v, %v", o, err)
	}
	if _, err := r.Resolve("ns:a"); err != nil {
		t.Errorf("a single colon is no boundary here: %v", err)
	}
	if !r.Private("priv/x") || r.Private("$x") || !r.UserListed("a@@1+2", "2") {
		t.Error("marks are not those configured")
	}
	if r.Fits(strings.Repeat("x", 21)) || !r.Fits(strings.Repeat("x", 20)) {
		t.Error("limit is not the one configured")
	}
}

// naive resolves as the documentation says, without care for speed.
func naive(c Config, name string) (string, uint32) {
	if name == "" || len(name) > 1024 {
		return "", 107
	}
	rest := strings.TrimPrefix(name, "$")
	ns := ""
	if parts := strings.SplitN(rest, ":", 2); len(parts) == 2 {
		ns = parts[0]
	}
	if ns != "" && !slices.ContainsFunc(c.Namespaces, func(o Options) bool { return o.Name == ns }) {
		return "", 102
	}
	for _, r := range []byte(name) {
		if r > 127 {
			return "", 107
		}
	}
	return ns, 0
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"", "x", "$x", "news:a", "$news:a:b", ":", "$:", "nope:x", "\xff", "news:a#1,2"} {
		f.Add(s, "1")
	}
	cfg := Config{Namespaces: []Options{{Name: "news"}, {Name: "chat"}, {Name: "aa"}}}
	r, err := Compile(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, user string) {
		ns, code := naive(cfg, name)
		o, got := r.ResolveForClient(name)
		switch {
		case got == nil && (code != 0 || o.Name != ns):
			t.Fatalf("%q: got namespace %q, want %q, error %d", name, o.Name, ns, code)
		case got != nil && got.Code != code:
			t.Fatalf("%q: got error %d, want %d", name, got.Code, code)
		}
		if r.UserListed(name, user) && (user == "" || !strings.Contains(name, user)) {
			t.Fatalf("%q does not list %q", name, user)
		}
	})
}

func TestResolveDoesNotAllocate(t *testing.T) {
	r := mustCompile(t, sample())
	names := []string{"x", "news:a", "$chat:b", "nope:x", strings.Repeat("y", 300)}
	if n := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			r.ResolveForClient(name)
			r.UserListed(name, "7")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolve(b *testing.B) {
	r := mustCompile(b, sample())
	for b.Loop() {
		r.Resolve("news:market:eurusd")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/resolve")
}

func TestOverrideAsItIsWritten(t *testing.T) {
	yes, no := true, false
	for text, want := range map[string]*Override{
		`null`: nil, `{}`: {}, `{"presence":null,"other":1}`: {}, `{"presence":{"value":true},"join_leave":{}}`: {Presence: &yes, JoinLeave: &no},
		`{"force_push_join_leave":{"value":true},"force_positioning":{"value":false},"force_recovery":{"value":true}}`: {ForcePushJoinLeave: &yes, ForcePositioning: &no, ForceRecovery: &yes},
	} {
		var got *Override
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{`[]`, `1`, `"x"`, `{"presence":true}`, `{"presence":{"value":1}}`} {
		var got *Override
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
