package clientid

import (
	"regexp"
	"strings"
	"testing"

	"shoal/loop"
)

func idText(ids *IDs, id loop.ConnID) string {
	return string(ids.Append(nil, new([16]byte), id))
}

func TestClientIDsComeBack(t *testing.T) {
	key := [24]byte{1, 2, 3}
	ids, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for i := range 1000 {
		id := loop.ConnID(uint64(i)<<40 | uint64(i)*7919)
		text := idText(ids, id)
		if !form.MatchString(text) || seen[text] {
			t.Fatalf("conn %v is called %s", id, text)
		}
		seen[text] = true
		if got, ok := ids.Parse(text); !ok || got != id {
			t.Fatalf("%s parses to %v %t, want %v", text, got, ok, id)
		}
	}
	// The key decides: another node, or the same after a restart, knows none of them.
	key[20]++
	other, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	for text := range seen {
		if _, ok := other.Parse(text); ok {
			t.Fatalf("%s is known to another node", text)
		}
	}
}

func TestInventedClientIDsAreNobodys(t *testing.T) {
	ids, err := New([24]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	good := idText(ids, 12345)
	for i := range good {
		for _, c := range []byte("0f-x") {
			if bad := good[:i] + string(c) + good[i+1:]; bad != good {
				if _, ok := ids.Parse(bad); ok {
					t.Errorf("%s is accepted", bad)
				}
			}
		}
	}
	for _, bad := range []string{"", "x", good[:35], good + "0", strings.Repeat("-", 36), strings.Repeat("0", 36), "00000000-0000-0000-0000-000000000000"} {
		if _, ok := ids.Parse(bad); ok {
			t.Errorf("%q is accepted", bad)
		}
	}
	var dst [Bytes]byte
	block := new([16]byte)
	if n := testing.AllocsPerRun(100, func() { ids.Append(dst[:0], block, 7) }); n != 0 {
		t.Errorf("%v allocations per id", n)
	}
}

func FuzzClientID(f *testing.F) {
	ids, err := New([24]byte{9})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(idText(ids, 1))
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := ids.Parse(text); ok && idText(ids, id) != strings.ToLower(text) {
			t.Errorf("%q and %q are the same conn", text, idText(ids, id))
		}
	})
}
