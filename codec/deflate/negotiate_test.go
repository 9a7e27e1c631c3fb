package deflate

import (
	"strings"
	"testing"

	"shoal/codec/ws/conform"
)

const answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

func TestNegotiateByClause(t *testing.T) {
	for _, c := range []struct{ clause, name, offer, want string }{
		{"7", "nothing but the name", "permessage-deflate", answer},
		{"6455 9.1", "names ignore case", "Permessage-DEFLATE; Client_Max_Window_Bits", answer},
		{"6455 9.1", "space everywhere", " permessage-deflate ;\tclient_max_window_bits\t=  15 ; server_no_context_takeover ", answer},
		{"6455 9.1", "empty elements of the list", ", ,permessage-deflate,,", answer},
		{"6455 9.1", "quoted value", `permessage-deflate; server_max_window_bits="10"`, answer + "; server_max_window_bits=10"},
		{"6455 9.1", "other extensions are skipped", "x-webkit-deflate-frame, foo; bar=baz, permessage-deflate", answer},
		{"6455 9.1", "only other extensions", "permessage-bzip2, permessage-deflate2, x-permessage-deflate", ""},
		{"6455 9.1", "absent", "", ""},

		{"7.1", "unknown parameter", "permessage-deflate; foo", ""},
		{"7.1", "unknown parameter, then a plain offer", "permessage-deflate; foo=1, permessage-deflate", answer},
		{"7.1", "parameter twice", "permessage-deflate; client_max_window_bits; client_max_window_bits", ""},
		{"7.1", "parameter twice, other case", "permessage-deflate; server_no_context_takeover; SERVER_NO_CONTEXT_TAKEOVER", ""},
		{"7.1", "parameter twice, with different values", "permessage-deflate; server_max_window_bits=10; server_max_window_bits=11", ""},
		{"7.1", "the first acceptable one wins", "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=9, permessage-deflate", answer + "; server_max_window_bits=9"},

		{"7.1.1.1", "server_no_context_takeover", "permessage-deflate; server_no_context_takeover", answer},
		{"7.1.1.1", "with a value", "permessage-deflate; server_no_context_takeover=1", ""},
		{"7.1.1.1", "with a quoted value", `permessage-deflate; server_no_context_takeover="true"`, ""},
		{"7.1.1.2", "client_no_context_takeover", "permessage-deflate; client_no_context_takeover", answer},
		{"7.1.1.2", "with a value", "permessage-deflate; client_no_context_takeover=1", ""},

		{"7.1.2.1", "server_max_window_bits 8", "permessage-deflate; server_max_window_bits=8", answer + "; server_max_window_bits=8"},
		{"7.1.2.1", "server_max_window_bits 15", "permessage-deflate; server_max_window_bits=15", answer + "; server_max_window_bits=15"},
		{"7.1.2.1", "no value", "permessage-deflate; server_max_window_bits", ""},
		{"7.1.2.1", "7", "permessage-deflate; server_max_window_bits=7", ""},
		{"7.1.2.1", "16", "permessage-deflate; server_max_window_bits=16", ""},
		{"7.1.2.1", "leading zero", "permessage-deflate; server_max_window_bits=08", ""},
		{"7.1.2.1", "sign", "permessage-deflate; server_max_window_bits=+9", ""},
		{"7.1.2.1", "word", "permessage-deflate; server_max_window_bits=abc", ""},
		{"7.1.2.1", "wraps to 10 in 8 bits", "permessage-deflate; server_max_window_bits=266", ""},

		{"7.1.2.2", "client_max_window_bits without value", "permessage-deflate; client_max_window_bits", answer},
		{"7.1.2.2", "client_max_window_bits 8", "permessage-deflate; client_max_window_bits=8", answer},
		{"7.1.2.2", "7", "permessage-deflate; client_max_window_bits=7", ""},
		{"7.1.2.2", "16", "permessage-deflate; client_max_window_bits=16", ""},
		{"7.1.2.2", "1000000", "permessage-deflate; client_max_window_bits=1000000", ""},

		{"7.1.3", "Chrome", "permessage-deflate; client_max_window_bits", answer},
		{"7.1.3", "with a fallback", "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits", answer + "; server_max_window_bits=10"},
	} {
		p, got, ok := Negotiate([]byte(c.offer), Config{})
		if string(got) != c.want || ok != (c.want != "") || !ok && (p != Params{} || got != nil) {
			t.Errorf("§%s %s: %q gives %q, %t; want %q", c.clause, c.name, c.offer, got, ok, c.want)
		}
	}
}

func TestHeadersThatBreakTheGrammarAreRefusedWhole(t *testing.T) { // RFC 6455 §9.1
	for _, h := range []string{
		"", " ", ",", ";", "=", "permessage-deflate;", "permessage-deflate; ;", "permessage-deflate; =10",
		"permessage-deflate; server_max_window_bits=", `permessage-deflate; server_max_window_bits="`,
		`permessage-deflate; server_max_window_bits="10`, `permessage-deflate; server_max_window_bits=""`,
		`permessage-deflate; server_max_window_bits="1 0"`, "permessage-deflate; a=b=c", "permessage-deflate server_max_window_bits=10",
		"permessage-deflate; a b", "perm\x00essage-deflate", "permessage-deflate\r\nX: y", "permessage-deflate, foo;", "permessage-deflate/1",
		"permessage-deflate; \x80", `"permessage-deflate"`, "permessage-deflate, =",
	} {
		if err := CheckSyntax([]byte(h)); err != ErrSyntax {
			t.Errorf("%q: %v", h, err)
		}
		if _, got, ok := Negotiate([]byte(h), Config{}); ok {
			t.Errorf("%q was accepted with %q", h, got)
		}
	}
	for _, h := range []string{"a", "a;b", "a;b=c", `a;b="c"`, "a,b", " a ; b = c , d ", ",a,,b,", "a; b; c=1, a"} {
		if err := CheckSyntax([]byte(h)); err != nil {
			t.Errorf("%q: %v", h, err)
		}
	}
}

func TestNegotiateObeysConfig(t *testing.T) {
	offer := "permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=12"
	if _, _, ok := Negotiate([]byte(offer), Config{Disabled: true}); ok {
		t.Error("accepted though disabled")
	}
	p, got, ok := Negotiate([]byte(offer), Config{WindowBitsMin: 10})
	if !ok || p.ServerBits != 12 || string(got) != answer+"; server_max_window_bits=12" {
		t.Errorf("at least 10 bits: %+v, %q, %t", p, got, ok)
	}
	if _, _, ok := Negotiate([]byte(offer), Config{WindowBitsMin: 13}); ok {
		t.Error("at least 13 bits: accepted")
	}
}

func TestSharedBytesFitAWindow(t *testing.T) {
	p, _, _ := Negotiate([]byte("permessage-deflate; server_max_window_bits=9"), Config{})
	if !p.Fits(512) || p.Fits(513) {
		t.Error("a 9-bit window holds 512 bytes")
	}
	p, _, _ = Negotiate([]byte("permessage-deflate"), Config{})
	if !p.Fits(1 << 30) {
		t.Error("the full window takes whatever the compressor makes")
	}
}

// naiveNegotiate is the same decision by splitting strings, for headers without quotes.
func naiveNegotiate(h string) (want string) {
	for ext := range strings.SplitSeq(h, ",") {
		parts := strings.Split(ext, ";")
		if !strings.EqualFold(trim(parts[0]), "permessage-deflate") {
			continue
		}
		seen, out, ok := map[string]bool{}, answer, true
		for _, part := range parts[1:] {
			name, value, has := strings.Cut(part, "=")
			name, value = strings.ToLower(trim(name)), trim(value)
			valid := strings.Contains(" 8 9 10 11 12 13 14 15 ", " "+value+" ") && value != "" && !strings.Contains(value, " ")
			switch name {
			case "server_no_context_takeover", "client_no_context_takeover":
				valid = !has
			case "client_max_window_bits":
				valid = valid || !has
			case "server_max_window_bits":
				out += "; server_max_window_bits=" + value
			default:
				valid = false
			}
			ok = ok && valid && !seen[name]
			seen[name] = true
		}
		if ok {
			return out
		}
	}
	return ""
}

func trim(s string) string { return strings.Trim(s, " \t") }

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=8, permessage-deflate",
		"permessage-deflate; server_max_window_bits=\"10\"; foo", "a;b=c,permessage-deflate;server_no_context_takeover", ",;=\"", "permessage-deflate; x=\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, h []byte) {
		p, got, ok := Negotiate(h, Config{})
		if ok != (got != nil) || ok && (p.ServerBits < 8 || p.ServerBits > 15) {
			t.Fatalf("%q: %+v, %q, %t", h, p, got, ok)
		}
		if CheckSyntax(h) != nil {
			if ok {
				t.Fatalf("%q breaks the grammar and was accepted", h)
			}
			return
		}
		if want := naiveNegotiate(string(h)); !strings.Contains(string(h), `"`) && string(got) != want {
			t.Fatalf("%q: %q, want %q", h, got, want)
		}
		if ok { // what is answered, offered again, gives the same
			if _, again, _ := Negotiate(got, Config{}); string(again) != string(got) {
				t.Fatalf("%q gives %q, which gives %q", h, got, again)
			}
		}
	})
}

func FuzzInflate(f *testing.F) {
	for name, p := range samples() {
		for _, level := range []int{0, 1, 9, -2} {
			if z := stdCompress(f, p[:min(len(p), 600)], level); name != "" {
				f.Add(z, 600)
			}
		}
	}
	f.Add(unhex(f, "f348cdc9c907000213 0000"), 100)
	f.Add(unhex(f, "000400fbff"), 100)
	shared := newInflater()
	f.Fuzz(func(t *testing.T, z []byte, limit int) {
		checkAgainstReference(t, z)
		// A used inflater, a small limit and bytes in front change nothing but what the limit says.
		whole, wholeErr := inflate(z, 1<<20)
		limit &= 0xFFF
		got, err := shared.inflate([]byte("head"), z, limit)
		switch {
		case string(got[:4]) != "head":
			t.Fatalf("%x: what was in front is %q", z, got[:4])
		case err == nil && (wholeErr != nil || string(got[4:]) != string(whole) || len(got)-4 > limit):
			t.Fatalf("%x: limit %d: %d bytes; fresh: %d, %v", z, limit, len(got)-4, len(whole), wholeErr)
		case err == ErrCorrupt && wholeErr != ErrCorrupt, err == ErrTooLarge && wholeErr == nil && len(whole) <= limit:
			t.Fatalf("%x: limit %d: %v; fresh: %d, %v", z, limit, err, len(whole), wholeErr)
		}
	})
}

// FuzzRoundTrip: whatever is compressed, for whatever window, inflates to itself.
func FuzzRoundTrip(f *testing.F) {
	for _, p := range samples() {
		f.Add(p[:min(len(p), 3000)], uint8(9))
	}
	c, err := New(CodecConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte, bits uint8) {
		bits = 8 + bits&7
		z, err := c.CompressWindow(nil, p, bits)
		if err != nil {
			t.Fatal(err)
		}
		got, farthest, err := conform.Inflate(z)
		if err != nil || string(got) != string(p) || farthest > 1<<bits {
			t.Fatalf("%d bits: %d of %d bytes, distance %d, %v", bits, len(got), len(p), farthest, err)
		}
		if got, err := c.Decompress(nil, z, len(p)); err != nil || string(got) != string(p) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(p), err)
		}
	})
}
