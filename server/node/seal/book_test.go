package seal

import (
	"testing"
	"time"
)

func TestABookThatIsClosedRemembersNothing(t *testing.T) {
	var b Book
	b.Revoke(Subject{User: "42"})
	b.Trim()
	if err := b.Validate(); err != nil || b.Sealer != nil {
		t.Error(err)
	}
	if err := b.Open(Config{}, time.Minute, nil); err == nil {
		t.Error("it opens without a clock")
	}
	if err := b.Open(Config{Secret: "short"}, time.Minute, time.Now); err == nil {
		t.Error("it opens with a short secret")
	}
}

// Before a token was given there is none to be ended, unless others share the secret.
func TestABookMarksWhatMayBeOut(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		gives        bool
		marks        int
	}{
		{"nothing is out", "", false, 0},
		{"a token is", "", true, 1},
		{"somebody else's may be", "a secret of many bytes", false, 1},
	} {
		var b Book
		if err := b.Open(Config{Secret: c.secret}, time.Minute, time.Now); err != nil {
			t.Fatal(err)
		}
		if c.gives {
			b.Give()
		}
		b.Revoke(Subject{User: "42"})
		if n := b.Marks.Len(); n != c.marks {
			t.Errorf("%s: %d marks", c.name, n)
		}
		b.Trim()
		if err := b.Validate(); err != nil {
			t.Error(err)
		}
	}
}

func TestABooksTimeIsInMicroseconds(t *testing.T) {
	wall := time.Unix(1_000_000, 0)
	var b Book
	if err := b.Open(Config{}, time.Minute, func() time.Time { return wall }); err != nil {
		t.Fatal(err)
	}
	before := b.Now()
	if wall = wall.Add(time.Second); b.Now() != before+1e6 {
		t.Errorf("a second is %d µs", b.Now()-before)
	}
}
