package backend

import (
	"testing"
	"time"
)

func TestFailuresAreLoggedSeldom(t *testing.T) {
	var s Seldom
	begin := time.Unix(1e9, 0)
	for i, c := range []struct {
		kind     string
		after    time.Duration
		due      bool
		unlogged int
	}{
		{"a", 0, true, 0},
		{"a", 0, false, 0},
		{"a", SeldomInterval - 1, false, 0},
		{"b", SeldomInterval - 1, true, 0},
		{"a", SeldomInterval, true, 2},
		{"a", SeldomInterval + 1, false, 0},
		{"b", 2 * SeldomInterval, true, 0},
		{"a", -time.Hour, true, 1}, // the clock was set back
		{"a", -time.Hour + 1, false, 0},
	} {
		if due, unlogged := s.Due(c.kind, begin.Add(c.after)); due != c.due || unlogged != c.unlogged {
			t.Errorf("%d: %s after %v: %v, %d unlogged; want %v, %d", i, c.kind, c.after, due, unlogged, c.due, c.unlogged)
		}
	}
}
