package channel

import (
	"math/bits"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWildcardSyntax(t *testing.T) {
	for name, want := range map[string]pattern{
		"": literal, "a": literal, "a.b": literal, "a*": literal, "*a": literal, "a.b*.c": literal, "***": literal, "a.***": literal,
		"*": wildcard, "**": wildcard, "a.*": wildcard, "*.a": wildcard, "a/*/b": wildcard, "news:*": wildcard, "a.**": wildcard,
		"*.**": wildcard, "*.*": wildcard, ".*": wildcard, "*.": wildcard,
		"a.b.c.d.e.f.g.*": wildcard, "a.b.c.d.e.f.g.**": wildcard, "*.*.*.a": wildcard, "*.*.*.**": wildcard,
		"a.b.c.d.e.f.g.h.*": excessive, "a.b.c.d.e.f.g.h.**": excessive, "*.*.*.*": excessive, "*.*.*.*.**": excessive,
		"a.b.c.d.e.f.g.h.i.j": literal, "a.b.c.d.e.f.g.h.**.j": misplaced,
		"**.a": misplaced, "a.**.*": misplaced, "**.": misplaced, "**.**": misplaced, "*.**.b": misplaced,
	} {
		if got := readPattern(name); got != want || Wildcard(name) != (want == wildcard) {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
}

func TestMatchIsPerSegment(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a", true}, {"*", "", false}, {"*", "a.b", false}, {"*", "*", true}, {"*", ".", false},
		{"**", "a", true}, {"**", "a.b/c:d", true}, {"**", "", false}, {"**", "a..b", true},
		{"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.", false}, {"a.*", "a.b.c", false}, {"a.*", "b.b", false},
		{"a.*", "a/b", false}, {"a/*", "a/b", true}, {"a:*", "a:b", true}, {"a:*", "a.b", false},
		{"a.**", "a.b", true}, {"a.**", "a.b.c", true}, {"a.**", "a", false}, {"a.**", "a.", false}, {"a.**", "ab", false},
		{"*.b", "a.b", true}, {"*.b", ".b", false}, {"*.b", "b", false}, {"*.b", "a.b.b", false},
		{"*.b.*", "a.b.c", true}, {"*.b.*", "a.c.b", false}, {"*.*", "a.b", true}, {"*.*", "a/b", false},
		{"*.**", "a.b.c", true}, {"*.**", "a", false},
		{"a*", "ab", false}, {"a*", "a*", true}, {"a.b", "a.b", true}, {"a.b", "a.bc", false},
		{"**.b", "a.b", false}, {"**.b", "**.b", true},
		{"news:*", "news:a", true}, {"news:*", "newss:a", false}, {"news:*", "news:", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("%q, %q: got %t", c.pattern, c.name, got)
		}
	}
}

func wildRules(t testing.TB) *Rules {
	return mustCompile(t, Config{
		WithoutNamespace: Options{AllowWildcard: true},
		Namespaces: []Options{
			{Name: "news", AllowWildcard: true, AllowSubscribeForClient: true, Presence: true, ChannelRegex: `^[a-z.]+$`,
				HistorySize: 10, HistoryTTL: time.Minute, ForceRecovery: true, ForcePositioning: true, DeltaPublish: true,
				AllowedDeltaTypes: []string{"fossil"}, ForceRecoveryMode: "cache", AutoCacheRecover: true},
			{Name: "plain", AllowSubscribeForClient: true},
			{Name: "a.b", AllowWildcard: true},
		},
	})
}

// TestAChannelFitsFewWildcards: nobody can think of more of them for one channel, however
// many segments it has.
func TestAChannelFitsFewWildcards(t *testing.T) {
	most := 0
	for depth := 1; depth <= 12; depth++ {
		name, fitting := strings.Repeat("a.", depth-1)+"a", 0
		for mask := range 1 << depth { // a star for each bit
			segments := make([]string, depth)
			for i := range segments {
				segments[i] = [2]string{"a", "*"}[mask>>i&1]
			}
			patterns := []string{strings.Join(segments, ".")}
			for end := bits.Len(uint(mask)); end < depth; end++ { // the stars are in front of **
				patterns = append(patterns, strings.Join(append(slices.Clone(segments[:end]), "**"), "."))
			}
			for _, p := range patterns {
				if Wildcard(p) && Match(p, name) {
					fitting++
				}
			}
		}
		most = max(most, fitting)
	}
	if most != 254 {
		t.Errorf("a channel fits %d wildcards, want 254", most)
	}
}

func TestResolveOfWildcards(t *testing.T) {
	r := wildRules(t)
	for _, c := range []struct {
		name string
		code uint32 // of ResolveForClient
		wild bool
	}{
		{"news:*", 0, true},
		{"news:a.*.c", 0, true},
		{"$news:*", 0, true},
		{"news:**.a", 107, false},
		{"news:*.b.*.d.*.f.g.**", 0, true},
		{"news:*.b.*.d.*.*", 107, false},
		{"news:a.b.c.d.e.f.g.h.**", 107, false},
		{"plain:*.*.*.*", 0, false},
		{"news:a", 0, false},
		{"news:a*", 107, false}, // an ordinary name, which the expression does not allow
		{"news:*#42", 107, false},
		{"news:*.x#42", 107, false},
		{"plain:*", 0, false}, // as in the reference: a channel called *
		{"plain:**.x", 0, false},
		{"*", 0, true},
		{"a.**", 0, true},
		{"*#1", 0, false},
		{"*.a#1,2", 0, false},
		{"*:a", 102, false},
		{"*:*", 102, false},
		{"new*:a", 102, false},
		{strings.Repeat("*.", 200) + "*", 107, false},
	} {
		_, err := r.ResolveForClient(c.name)
		if c.code != 0 {
			if err == nil || err.Code != c.code {
				t.Errorf("%q: got %v, want error %d", c.name, err, c.code)
			}
			continue
		}
		if err != nil || r.Wildcard(c.name) != c.wild {
			t.Errorf("%q: got %v, wildcard %t", c.name, err, !c.wild)
			continue
		}
		_, err = r.ResolveStream(c.name)
		if (err != nil) != c.wild || err != nil && err.Code != 107 {
			t.Errorf("%q: publishing gives %v", c.name, err)
		}
	}
	if _, err := r.ResolveStream("nope:x"); err == nil || err.Code != 102 {
		t.Errorf("unknown namespace: %v", err)
	}
}

func TestWildcardsHaveNoStream(t *testing.T) {
	r := wildRules(t)
	o, _ := r.ResolveForClient("news:*")
	if !o.AllowSubscribeForClient || !o.Presence || o.Name != "news" || o.History() || o.ForceRecovery || o.ForcePositioning ||
		o.AllowedDeltaTypes != nil || o.DeltaPublish || o.AutoCacheRecover || o.Caching() {
		t.Errorf("options of news:* are %+v", o)
	}
	if o, _ := r.ResolveForClient("news:a"); !o.History() || !o.ForceRecovery || !o.DeltaPublish || !o.Caching() {
		t.Errorf("options of news:a are %+v", o)
	}
}

func TestStarsOpenNothingThatHasRulesOfItsOwn(t *testing.T) {
	r := wildRules(t)
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"news:*", "news:a", true},
		{"news:**", "news:a.b.c", true},
		{"news:a.*", "news:a.b", true},
		{"news:*", "$news:a", false}, // private
		{"$news:*", "$news:a", true}, // a subscription token was needed for the pattern
		{"$news:*", "news:a", false},
		{"news:*", "news:dialog#1,2", false}, // user-limited
		{"news:**", "news:a.b#1", false},
		{"news:*", "plain:a", false},
		{"plain:*", "plain:a", false}, // the option is off there
		{"*", "a", true},
		{"*", "$a", false},
		{"*", "#1", false},
		{"**", "news:a", false}, // another namespace
		{"**", "a.b:c", false},
		{"a.**", "a.b:c", false},
		{"a.b:*", "a.b:c", true},
		{"*", ":a", false},
		{":*", ":a", true},
		{":*", "a", false},
		{"**", "nope:a", false},
		{"nope:**", "nope:a", false},
		{"news:a", "news:a", false}, // no wildcard
	} {
		if got := r.Match(c.pattern, c.name); got != c.want {
			t.Errorf("%q, %q: got %t", c.pattern, c.name, got)
		}
	}
}

func TestWildcardsDoNotAllocate(t *testing.T) {
	r := wildRules(t)
	if n := testing.AllocsPerRun(100, func() {
		r.ResolveForClient("news:eu.*.goals")
		r.Wildcard("news:eu.*.goals")
		r.ResolveStream("news:eu.*.goals")
		r.Match("news:eu.*.goals", "news:eu.football.goals")
		r.Match("news:**", "news:eu.football.goals")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// slowMatch is Match by a regular expression.
func slowMatch(pattern, name string) bool {
	var re strings.Builder
	re.WriteString(`(?s)\A`)
	for {
		first, next := segment(pattern)
		last := next > len(pattern)
		switch {
		case first == "**" && last:
			re.WriteString(`.+`)
		case first == "*":
			re.WriteString(`[^./:]+`)
		default:
			re.WriteString(regexp.QuoteMeta(first))
		}
		if last {
			break
		}
		re.WriteString(regexp.QuoteMeta(pattern[next-1 : next]))
		pattern = pattern[next:]
	}
	return regexp.MustCompile(re.String() + `\z`).MatchString(name)
}

func FuzzMatch(f *testing.F) {
	for _, p := range []string{"*", "**", "a.*", "a.**", "*.b/**", "**.a", "a*", "news:*", "*:*", ".", ""} {
		for _, n := range []string{"", "a", "a.b", "a/b", "news:a.b", ":", "..", "*", "$a", "a#1"} {
			f.Add(p, n)
		}
	}
	r := wildRules(f)
	f.Fuzz(func(t *testing.T, pattern, name string) {
		ascii := func(s string) bool { return strings.IndexFunc(s, func(c rune) bool { return c >= 0x80 }) < 0 }
		if ascii(pattern) && ascii(name) && Match(pattern, name) != slowMatch(pattern, name) {
			t.Fatalf("%q, %q: got %t", pattern, name, Match(pattern, name))
		}
		if !r.Match(pattern, name) {
			return
		}
		if r.UserLimited(name) || r.Private(name) != r.Private(pattern) {
			t.Fatalf("%q covers %q", pattern, name)
		}
		a, errA := r.ResolveForClient(pattern)
		b, errB := r.ResolveForClient(name)
		if errA == nil && errB == nil && a.Name != b.Name {
			t.Fatalf("%q covers %q across namespaces", pattern, name)
		}
	})
}

func BenchmarkWildcardMatch(b *testing.B) {
	r := wildRules(b)
	for b.Loop() {
		r.Match("news:eu.*.goals", "news:eu.football.goals")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/pattern")
}
