package seal

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

func newSealer(t testing.TB, cfg Config) *Sealer {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	oldSecret = "a secret of the year before"
	newSecret = "a secret of this year"
)

func TestWhatIsSealedIsOpened(t *testing.T) {
	s := newSealer(t, Config{})
	var out, in Scratch
	for _, n := range []int{0, 1, 2, 3, 100, 1000, PlainBytesMax} {
		plain := bytes.Repeat([]byte{byte(n)}, n)
		text := s.Seal([]byte("kept"), &out, plain)
		if !bytes.HasPrefix(text, []byte("kept")) || len(text)-4 > TextBytesMax || len(text)-4 < TextBytesMin {
			t.Fatalf("%d bytes: a token of %d", n, len(text)-4)
		}
		got, why := s.Open(&in, string(text[4:]))
		if why != None || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %s, %q", n, why, got)
		}
	}
}

func TestEachTokenIsAnother(t *testing.T) {
	s, seen := newSealer(t, Config{}), map[string]bool{}
	var scratch Scratch
	for range 1000 {
		text := string(s.Seal(nil, &scratch, []byte("the same")))
		if seen[text] {
			t.Fatal("a token came twice")
		}
		seen[text] = true
	}
}

// TestProcessesWithASecret: each seals under a key of its own, each opens what the others
// sealed, and rotation keeps the previous secret good for opening only.
func TestProcessesWithASecret(t *testing.T) {
	old, same := newSealer(t, Config{Secret: oldSecret}), newSealer(t, Config{Secret: oldSecret})
	rotated := newSealer(t, Config{Secret: newSecret, Previous: oldSecret})
	later := newSealer(t, Config{Secret: newSecret})
	random := newSealer(t, Config{})
	for _, c := range []struct {
		name     string
		from, to *Sealer
		want     Reason
	}{
		{"itself", old, old, None}, {"the same secret", old, same, None}, {"and back", same, old, None},
		{"rotated", old, rotated, None}, {"new one at the old process", rotated, old, Foreign},
		{"new one", rotated, later, None}, {"old one, rotated away", old, later, Foreign},
		{"a random secret", random, old, Foreign}, {"at a random secret", old, random, Foreign},
	} {
		var out, in Scratch
		for range 3 {
			text := string(c.from.Seal(nil, &out, []byte("content")))
			plain, why := c.to.Open(&in, text)
			if why != c.want || why == None && string(plain) != "content" {
				t.Errorf("%s: %s, %q; want %s", c.name, why, plain, c.want)
			}
		}
	}
	if bytes.Equal(old.salt[:], same.salt[:]) {
		t.Error("two processes with one salt")
	}
}

// TestSecretsWithTheSameKeyID: one byte does not tell all secrets apart; both are tried.
func TestSecretsWithTheSameKeyID(t *testing.T) {
	old := newSealer(t, Config{Secret: oldSecret})
	for i := range 10_000 {
		s := newSealer(t, Config{Secret: fmt.Sprintf("another secret %d", i), Previous: oldSecret})
		if s.secrets[0].id != s.secrets[1].id {
			continue
		}
		var scratch Scratch
		for range 2 {
			for _, from := range []*Sealer{old, s} {
				text := string(from.Seal(nil, &scratch, []byte("content")))
				if plain, why := s.Open(&scratch, text); why != None || string(plain) != "content" {
					t.Errorf("%s, %q", why, plain)
				}
			}
		}
		return
	}
	t.Fatal("no two secrets with the same id")
}

func TestSecretsAreJudged(t *testing.T) {
	for _, cfg := range []Config{{Secret: "short"}, {Secret: newSecret, Previous: "short"}, {Previous: oldSecret}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// TestDamagedTokensAreRefused flips every bit and cuts at every place.
func TestDamagedTokensAreRefused(t *testing.T) {
	s := newSealer(t, Config{Secret: newSecret, Previous: oldSecret})
	var scratch Scratch
	text := string(s.Seal(nil, &scratch, []byte("who and what")))
	refused := func(damaged string) {
		t.Helper()
		if plain, why := s.Open(&scratch, damaged); why == None {
			t.Fatalf("%q opened as %q", damaged, plain)
		}
	}
	for i := range text {
		for bit := range 8 {
			b := []byte(text)
			b[i] ^= 1 << bit
			refused(string(b))
		}
		refused(text[:i])
		refused(text[:i] + "\n" + text[i:])
		refused(text[:i] + "=" + text[i:])
		refused(text[:i] + "A" + text[i:])
	}
	refused(text + text)
	if _, why := s.Open(&scratch, strings.Repeat("A", TextBytesMax+1)); why != Oversize {
		t.Errorf("a long one: %s", why)
	}
	if _, why := s.Open(&scratch, text); why != None {
		t.Errorf("the good one: %s", why)
	}
	if len(s.derived) != 0 {
		t.Errorf("%d keys are kept for nobody", len(s.derived))
	}
}

func TestKeysOfManyProcessesAreBounded(t *testing.T) {
	s := newSealer(t, Config{Secret: newSecret})
	var scratch Scratch
	for range 3 * derivedMax {
		text := string(newSealer(t, Config{Secret: newSecret}).Seal(nil, &scratch, nil))
		if _, why := s.Open(&scratch, text); why != None {
			t.Fatal(why)
		}
	}
	if n := len(s.derived); n == 0 || n > derivedMax {
		t.Errorf("%d keys kept", n)
	}
}

func TestManyGoroutinesShareASealer(t *testing.T) {
	a, b := newSealer(t, Config{Secret: newSecret}), newSealer(t, Config{Secret: newSecret})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			var scratch Scratch
			for n := range 200 {
				want := fmt.Sprint(i, n)
				for _, to := range []*Sealer{a, b} {
					if got, why := to.Open(&scratch, string(a.Seal(nil, &scratch, []byte(want)))); why != None || string(got) != want {
						t.Errorf("%s: %q", why, got)
					}
				}
			}
		})
	}
	wg.Wait()
}

func randomContent(rng *rand.Rand) (Head, []Sub) {
	number := func() int64 { return int64(rng.Uint64()>>(rng.Uint64()%64)) * int64(1-2*rng.IntN(2)) }
	text := func() []byte {
		b := make([]byte, rng.IntN(40)*rng.IntN(2))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return slices.Clip(append([]byte(nil), b...))
	}
	h := Head{
		Lineage: rng.Uint64(), IssuedAt: number(), Window: number(), ExpireAt: number(),
		Renewed: rng.IntN(2) == 0, Forwarded: rng.IntN(2) == 0, User: string(text()), Info: text(), Meta: text(),
		Tenanted: rng.IntN(2) == 0,
	}
	if h.Tenanted {
		h.Tenant = string(text())
	}
	var subs []Sub
	for range rng.IntN(4) {
		subs = append(subs, Sub{Channel: append(text(), 'c'), Flags: uint16(rng.Uint32()) & flagsKnown, ExpireAt: number(), Info: text(), Filter: text()})
	}
	return h, subs
}

func readAll(plain []byte) (h Head, subs []Sub, err error) {
	h, rest, err := Read(plain)
	for more := err == nil; more; {
		var s Sub
		if rest, more, err = Next(rest, &s); more {
			subs = append(subs, s)
		}
	}
	return h, subs, err
}

// FuzzContent: what is written is read, and what is read of anything else does no harm.
func FuzzContent(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed, []byte{byte(seed), 0, 0xff})
	}
	f.Add(uint64(math.MaxUint64), bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, seed uint64, any []byte) {
		h, subs := randomContent(rand.New(rand.NewPCG(seed, 1)))
		plain := AppendHead(nil, &h)
		for i := range subs {
			plain = AppendSub(plain, &subs[i])
		}
		gotHead, gotSubs, err := readAll(plain)
		if err != nil || !reflect.DeepEqual(gotHead, h) || !reflect.DeepEqual(gotSubs, subs) {
			t.Fatalf("%v\n got %+v %+v\nwant %+v %+v", err, gotHead, gotSubs, h, subs)
		}
		for _, text := range [][]byte{any, append(plain, any...), plain[:len(plain)*int(seed%8)/8]} {
			_, _, _ = readAll(text)
		}
	})
}

func TestUnknownContentIsAnError(t *testing.T) {
	head := AppendHead(nil, &Head{User: "42"})
	for name, plain := range map[string][]byte{
		"nothing":              {},
		"unknown head":         append([]byte{headKnown + 1}, head[1:]...),
		"head cut":             head[:len(head)-1],
		"head without tenant":  append([]byte{headTenanted}, head[1:]...),
		"sub without a name":   AppendSub(slices.Clone(head), &Sub{}),
		"sub of unknown flags": AppendSub(slices.Clone(head), &Sub{Channel: []byte("c"), Flags: flagsKnown + 1}),
		"sub cut":              AppendSub(slices.Clone(head), &Sub{Channel: []byte("c"), Info: []byte("i")})[:len(head)+6],
		"a length of 2⁶³":      append(slices.Clone(head[:12]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
	} {
		if _, _, err := readAll(plain); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReasonsHaveLabels(t *testing.T) {
	seen := map[string]bool{}
	for r := range ReasonCount {
		if label := r.String(); seen[label] || label == "unknown" || label == "" {
			t.Errorf("reason %d is called %q", r, label)
		}
		seen[r.String()] = true
	}
	if ReasonCount.String() != "unknown" {
		t.Errorf("the end is called %q", ReasonCount)
	}
}

// full is the content of a session with n subscriptions.
func full(n int) []byte {
	plain := AppendHead(nil, &Head{Lineage: 1, IssuedAt: 1.7e15, Window: 3e8, ExpireAt: 1.7e9, User: "user-0000042", Info: []byte(`{"name":"A"}`)})
	for i := range n {
		plain = AppendSub(plain, &Sub{Channel: fmt.Appendf(nil, "chat:room-%06d", i), Flags: Positioned | Recoverable})
	}
	return plain
}

func TestSealingAndOpeningAllocateNothing(t *testing.T) {
	s, plain := newSealer(t, Config{}), full(16)
	var scratch Scratch
	dst := s.Seal(nil, &scratch, plain)
	text := string(dst)
	if n := testing.AllocsPerRun(100, func() { dst = s.Seal(dst[:0], &scratch, plain) }); n != 0 {
		t.Errorf("%v allocations to seal", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, why := s.Open(&scratch, text); why != None {
			t.Fatal(why)
		}
	}); n != 0 {
		t.Errorf("%v allocations to open", n)
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{1, 8, 128} {
		s, plain := newSealer(b, Config{}), full(n)
		var scratch Scratch
		text := string(s.Seal(nil, &scratch, plain))
		b.Run(fmt.Sprint("seal/subs=", n), func(b *testing.B) {
			var dst []byte
			for b.Loop() {
				dst = s.Seal(dst[:0], &scratch, plain)
			}
			b.ReportMetric(float64(len(text)), "B/token")
		})
		b.Run(fmt.Sprint("open/subs=", n), func(b *testing.B) {
			for b.Loop() {
				p, why := s.Open(&scratch, text)
				if _, _, err := Read(p); why != None || err != nil {
					b.Fatal(why, err)
				}
			}
		})
	}
}
