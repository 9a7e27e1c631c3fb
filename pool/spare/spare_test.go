package spare

import "testing"

func TestList(t *testing.T) {
	s := New[int](2)
	a, b, c := s.Get(), s.Get(), s.Get()
	if *a != 0 || a == b || b == c {
		t.Fatal("an empty list gives new values")
	}
	s.Put(a)
	s.Put(b)
	s.Put(c) // one too many
	if s.Get() != a || s.Get() != b {
		t.Error("it does not give back what was put")
	}
	if d := s.Get(); d == a || d == b || d == c {
		t.Error("it keeps more than it may")
	}
	if n := testing.AllocsPerRun(100, func() { s.Put(s.Get()) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
