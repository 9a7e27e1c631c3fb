package seal

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestMarksEndOlderTokensOfTheirSubject(t *testing.T) {
	m := NewMarks(100, 1000)
	user, other, line := Subject{User: "42"}, Subject{User: "7"}, Subject{Lineage: 42}
	news, more, all := Subject{User: "42", Channel: "news"}, Subject{User: "42", Channel: "more"}, Subject{User: "42", All: true}
	m.Revoke(user, 10)
	m.Revoke(news, 20)
	for _, c := range []struct {
		who    Subject
		issued int64
		want   bool
	}{
		{user, 9, true}, {user, 10, true}, {user, 11, false}, {other, 1, false}, {line, 1, false},
		{news, 20, true}, {news, 21, false}, {more, 20, false}, {all, 20, false}, {Subject{User: "42", Lineage: 9}, 10, true},
	} {
		if got := m.Revoked(c.who, c.issued); got != c.want {
			t.Errorf("%+v of %d: revoked %v", c.who, c.issued, got)
		}
	}
	m.Revoke(user, 5) // late, and no news
	if !m.Revoked(user, 10) {
		t.Error("a mark went back")
	}
}

func TestSubjectsAreTooManyToBeMixedUp(t *testing.T) {
	m := NewMarks(2, 1000)
	seen := map[uint64]Subject{}
	for _, s := range []Subject{
		{User: "a"}, {User: "a", All: true}, {User: "a", Channel: "b"}, {User: "ab"}, {User: "a", Channel: "bc"}, {User: "ab", Channel: "c"},
		{Lineage: 1}, {Lineage: 2}, {Lineage: 1, Channel: "a"}, {Lineage: 1, All: true}, {User: "\x01\x00\x00\x00\x00\x00\x00\x00"},
	} {
		if other, is := seen[m.number(&s)]; is {
			t.Errorf("%+v and %+v share a mark", s, other)
		}
		seen[m.number(&s)] = s
	}
}

// TestMarksAgainstAModel: random revocations and questions; what was revoked within the
// window is, what is said to be revoked was or had to make room, and the bound holds.
func TestMarksAgainstAModel(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		const window = 100
		m, model, now, floor := NewMarks(20, window), map[Subject]int64{}, int64(1000), int64(0)
		for range 2000 {
			now += int64(rng.IntN(5))
			who := Subject{User: fmt.Sprint(rng.IntN(30))}
			if rng.IntN(2) == 0 {
				before := m.floor
				m.Revoke(who, now)
				model[who] = now
				if floor = m.floor; floor != before && floor != now {
					t.Fatalf("floor %d at %d", floor, now)
				}
			}
			if rng.IntN(20) == 0 {
				m.Trim(now)
			}
			issued := now - int64(rng.IntN(window))
			got, at := m.Revoked(who, issued), model[who]
			if want := at >= issued && at > 0; want && !got {
				t.Fatalf("seed %d: %v revoked at %d, a token of %d is good at %d", seed, who, at, issued, now)
			}
			if got && at < issued && issued > floor {
				t.Fatalf("seed %d: %v revoked at %d, a token of %d is not good at %d", seed, who, at, issued, now)
			}
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A mark that spares a lineage leaves of its tokens what the marks before it left.
func TestASparedLineageKeepsItsTokens(t *testing.T) {
	m := NewMarks(100, 1000)
	of := func(lineage uint64) Subject { return Subject{User: "42", Lineage: lineage} }
	step := func(what string, want map[uint64]int64) { // tokens of these times are the last that have ended
		t.Helper()
		for lineage, last := range want {
			if last > 0 && !m.Revoked(of(lineage), last) || m.Revoked(of(lineage), last+1) {
				t.Errorf("%s: the tokens of %d made until %d should have ended, and no others", what, lineage, last)
			}
		}
	}
	m.Revoke(Subject{User: "42"}, 10, 1, 2)
	step("two are spared", map[uint64]int64{1: 0, 2: 0, 3: 10})
	m.Revoke(Subject{User: "42"}, 20, 2, 3)
	step("another two", map[uint64]int64{1: 20, 2: 0, 3: 10, 4: 20})
	m.Revoke(Subject{User: "42"}, 20, 3)
	step("at the same time", map[uint64]int64{1: 21, 2: 21, 3: 10})
	m.Revoke(Subject{User: "42"}, 21)
	step("nobody, at the same time", map[uint64]int64{1: 22, 3: 22})
	m.Revoke(Subject{User: "42"}, 900, 3)
	m.Trim(1100)
	m.Revoke(Subject{User: "42"}, 1200, 3)
	step("in the next window", map[uint64]int64{1: 1200, 3: 22})
	m.Revoke(Subject{User: "42"}, 1300, make([]uint64, 50)...)
	step("too many", map[uint64]int64{1: 1300, 3: 1300})
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
}

func TestMarksAreForgottenAfterTheWindow(t *testing.T) {
	m := NewMarks(1000, 100)
	for i := range 100 {
		m.Revoke(Subject{Lineage: uint64(i)}, 1000)
	}
	if m.Len() != 100 || m.HeldBytes() == 0 || m.Empty() {
		t.Fatalf("%d marks", m.Len())
	}
	m.Trim(1100)
	if m.Len() != 100 {
		t.Errorf("%d marks left in the second window", m.Len())
	}
	m.Trim(1200)
	if !m.Empty() || m.Revoked(Subject{Lineage: 1}, 1000) {
		t.Errorf("%d marks left", m.Len())
	}
}

func TestTooManyMarksEndEverything(t *testing.T) {
	m := NewMarks(10, 1_000_000)
	for i := range 5 {
		m.Revoke(Subject{Lineage: uint64(i)}, int64(100+i))
	}
	if m.Revoked(Subject{Lineage: 99}, 100) {
		t.Fatal("too early")
	}
	m.Revoke(Subject{Lineage: 5}, 105)
	for _, c := range []struct {
		issued int64
		want   bool
	}{{104, true}, {105, true}, {106, false}} {
		if m.Revoked(Subject{Lineage: 99}, c.issued) != c.want {
			t.Errorf("a token of %d: want %v", c.issued, c.want)
		}
	}
}
