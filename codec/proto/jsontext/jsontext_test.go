package jsontext

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonSeeds = []string{"", " ", "null", "nul", "nulll", "true", "tru", "false", "fals", "0", "-0", "-", "01", "1.", ".5", "1.5", "1e", "1e+", "1E-7", "1e5.0",
	"+1", "0x1", "NaN", `""`, `"`, `"a`, `"\"`, `"\""`, `"\u00e9"`, `"\u00g9"`, `"\u12"`, `"\a"`, `"\ud800"`, "\"\x1f\"", "\"\x7f\"", "\"\xff\"", "\"\xed\xa0\x80\"",
	"\"\u2028\"", "[]", "[", "]", "[,]", "[1,]", "[1 2]", "[1,2]", "[[[]]]", "[}", "{]", "{}", "{", "}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`,
	`{"a":1,"b":[{"c":{}}]}`, `{1:2}`, `{"a":1}}`, "[1]x", " [ 1 , { \"a\" : \"b\" } ] \n", "\ufeff{}", `"01234567\"9"`, `"0123456789abcdef`}

// oldValid is the naive way: the standard library, plus what it does not look at.
func oldValid(p []byte) bool { return json.Valid(p) && utf8.Valid(p) }

// FuzzValid: alike with the standard library on anything that is not too deep.
func FuzzValid(f *testing.F) {
	for _, seed := range jsonSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if bytes.Count(p, []byte("["))+bytes.Count(p, []byte("{")) > DepthMax {
			return
		}
		if got, want := Valid(p), oldValid(p); got != want {
			t.Errorf("Valid(%q) = %v", p, got)
		}
	})
}

// TestValidAtEveryCut: every prefix and every damaged byte of a good document.
func TestValidAtEveryCut(t *testing.T) {
	whole := []byte(`{"a":[1,-2.5e+3,true,false,null,"x\u00e9\n😀 plain text over eight bytes"],"b":{"c":{}}, "d" : [ ] }`)
	for i := range whole {
		if Valid(whole[:i]) {
			t.Errorf("cut at %d is valid: %s", i, whole[:i])
		}
		for _, c := range []byte{0, '"', '\\', '{', '}', '[', ']', ',', ':', '0', '9', '.', '-', 'e', 'u', 0x80, 0xff} {
			p := bytes.Clone(whole)
			p[i] = c
			if got, want := Valid(p), oldValid(p); got != want {
				t.Errorf("Valid(%q) = %v", p, got)
			}
		}
	}
}

func TestValidStopsAtItsDepth(t *testing.T) {
	for _, c := range []struct {
		depth int
		want  bool
	}{{1, true}, {63, true}, {64, true}, {65, true}, {DepthMax, true}, {DepthMax + 1, false}, {10_000_000, false}} {
		lists := strings.Repeat("[", c.depth) + strings.Repeat("]", c.depth)
		if got := Valid([]byte(lists)); got != c.want {
			t.Errorf("%d lists: %v", c.depth, got)
		}
		if c.depth > 10_000 {
			continue
		}
		mixed := strings.Repeat(`[{"a":`, c.depth/2) + "1" + strings.Repeat("}]", c.depth/2)
		if got := Valid([]byte(mixed)); got != c.want && c.depth != DepthMax+1 {
			t.Errorf("%d lists and objects: %v", c.depth, got)
		}
	}
}

// TestEscapedStringsAreReadAsTheStandardLibraryDoes covers escapes that the encoder never writes.
func TestEscapedStringsAreReadAsTheStandardLibraryDoes(t *testing.T) {
	pieces := []string{`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u00E9`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\uD83D\u0041`,
		`\ud83d\n`, `\ud83dx`, `\ud83d\ud83d\ude00`, `\uffff`, "plain", "é", "😀", `u0041`}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		text := `"`
		for range rng.IntN(6) {
			text += pieces[rng.IntN(len(pieces))]
		}
		text += `"`
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if got := unquoted(t, []byte(text)); got != want {
			t.Fatalf("%s: got %q want %q", text, got, want)
		}
	}
}

func unquoted(t *testing.T, text []byte) string {
	t.Helper()
	end, plain, f := String(text, 1)
	if f != 0 || end != len(text) {
		t.Fatalf("String(%s) = %d, %d", text, end, f)
	}
	got := AppendUnescaped(nil, text[1:end-1])
	if plain && !bytes.Equal(got, text[1:end-1]) {
		t.Fatalf("%s is plain, and unescaped %q", text, got)
	}
	return string(got)
}

// FuzzQuoted: quoted text is read back by the standard library and by us, what is no UTF-8 replaced as it replaces it.
func FuzzQuoted(f *testing.F) {
	for _, s := range append(jsonSeeds, "\u2028", "<&>", "日本語", "01234567\xed\xa0\x80", "\x00\x1f\x7f\t") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := AppendQuoted([]byte("kept"), s)[4:]
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil || want != string([]rune(s)) {
			t.Fatalf("%q is quoted as %s, read as %q (%v)", s, quoted, want, err)
		}
		if got := unquoted(t, quoted); got != want || !Valid(quoted) || bytes.ContainsAny(quoted, "\n<>&") {
			t.Fatalf("%s: got %q want %q", quoted, got, want)
		}
	})
}

// TestPlainRunsEndAtEveryPosition: the eight-bytes-at-a-time loops agree with one byte at a time.
func TestPlainRunsEndAtEveryPosition(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			p := []byte(strings.Repeat("x", 20))
			p[at] = byte(c)
			wantPlain, wantCopied := 20, 20
			if c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
				wantPlain, wantCopied = at, at
			} else if c == '<' || c == '>' || c == '&' {
				wantCopied = at
			}
			if got := plainRun(p, 0); got != wantPlain {
				t.Errorf("plainRun(%q) = %d", p, got)
			}
			if got := copiedRun(p, 0); got != wantCopied {
				t.Errorf("copiedRun(%q) = %d", p, got)
			}
		}
	}
}

func TestScanningAllocatesNothing(t *testing.T) {
	text, buf := []byte(`{"a":[1,{"b":"\u00e9"}],"c":"plain text"}`), make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if !Valid(text) {
			t.Fatal("invalid")
		}
		AppendUnescaped(AppendQuoted(buf, "a\"<b>\n"), []byte(`\u00e9`))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkValid(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"ascii-1k", `{"input":"` + strings.Repeat("hello world ", 85) + `"}`},
		{"cyrillic-1k", `{"input":"` + strings.Repeat("привет мир ", 50) + `"}`},
		{"numbers-1k", `[` + strings.Repeat("12.5,", 200) + `0]`},
		{"objects-1k", `[` + strings.Repeat(`{"id":1,"a":true},`, 56) + `{}]`},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := []byte(c.text)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if !Valid(p) {
					b.Fatal(c.text)
				}
			}
		})
	}
}
