package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

func TestNodeOfAQueuedMessageIsEightBytes(t *testing.T) {
	if n := unsafe.Sizeof(node[uint32]{}); n != 8 {
		t.Errorf("node of a uint32 is %d B, want 8", n)
	}
	if n := unsafe.Sizeof(List{}); n != 8 {
		t.Errorf("List is %d B, want 8", n)
	}
}

func TestListsShareNodesAndKeepTheirOrder(t *testing.T) {
	s := NewNodes[string]()
	var a, b List
	for _, v := range []string{"a1", "b1", "a2", "b2", "a3"} {
		if v[0] == 'a' {
			s.Push(&a, v)
		} else {
			s.Push(&b, v)
		}
	}
	if err := s.Validate(&a, &b); err != nil {
		t.Fatal(err)
	}
	if got := contents(s, &a); got != "[a1 a2 a3]" {
		t.Errorf("a = %s", got)
	}
	*s.Front(&b) += "!"
	for _, want := range []string{"b1!", "b2", ""} {
		if v, ok := s.Pop(&b); v != want || ok != (want != "") {
			t.Errorf("popped %q %v, want %q", v, ok, want)
		}
	}
	if !b.Empty() || b != (List{}) || s.Front(&b) != nil || a.Empty() {
		t.Error("a popped-out list is not the zero list")
	}
	var cleared []string
	s.Clear(&a, func(v string) { cleared = append(cleared, v) })
	if fmt.Sprint(cleared) != "[a1 a2 a3]" || s.Len() != 0 {
		t.Errorf("cleared %v, %d left", cleared, s.Len())
	}
	s.Clear(&a, nil)
	if err := s.Validate(&a, &b); err != nil {
		t.Fatal(err)
	}
}

func TestFreedNodeIsReusedFirst(t *testing.T) {
	s := NewNodes[uint32]()
	var a, b List
	for v := range uint32(10) {
		s.Push(&a, v)
	}
	hot := a.Head
	s.Pop(&a)
	s.Push(&b, 1)
	if b.Head != hot {
		t.Errorf("node %d, want the one just freed, %d", b.Head, hot)
	}
}

func TestBacklogMemoryIsGivenBack(t *testing.T) {
	s := NewNodes[uint32]()
	var slow, keep List
	for v := range uint32(10 * chunkNodes) {
		s.Push(&slow, v)
	}
	s.Push(&keep, 7)
	full := s.Bytes()
	if n := s.Trim(); n != 0 {
		t.Errorf("Trim released %d B of nodes in use", n)
	}
	s.Clear(&slow, nil)
	n := s.Trim()
	if s.Bytes() != full-n || s.held != 1 {
		t.Errorf("%d of %d B left in %d chunks, want one chunk", s.Bytes(), full, s.held)
	}
	if err := s.Validate(&slow, &keep); err != nil {
		t.Fatal(err)
	}
	for v := range uint32(3 * chunkNodes) {
		s.Push(&slow, v)
	}
	if err := s.Validate(&slow, &keep); err != nil {
		t.Fatal(err)
	}
	s.Clear(&slow, nil)
	s.Clear(&keep, nil)
	if s.Trim(); s.Bytes() != 0 {
		t.Errorf("an empty storage holds %d B after Trim", s.Bytes())
	}
}

func TestNodesValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(s *Nodes[uint32], l *List){
		"lost count":      func(s *Nodes[uint32], l *List) { s.length++ },
		"chunk count":     func(s *Nodes[uint32], l *List) { s.used[0]-- },
		"lost tail":       func(s *Nodes[uint32], l *List) { l.Tail = l.Head },
		"ring":            func(s *Nodes[uint32], l *List) { s.at(l.Tail - 1).next = l.Head },
		"free and used":   func(s *Nodes[uint32], l *List) { s.free = l.Head },
		"no memory":       func(s *Nodes[uint32], l *List) { l.Head = 1 << 20 },
		"forgotten nodes": func(s *Nodes[uint32], l *List) { *l = List{} },
		"dropped chunk":   func(s *Nodes[uint32], l *List) { s.chunks[0] = nil },
		"counters lost":   func(s *Nodes[uint32], l *List) { s.used = nil },
	} {
		s := NewNodes[uint32]()
		var l List
		for v := range uint32(4) {
			s.Push(&l, v)
		}
		s.Pop(&l)
		damage(s, &l)
		if s.Validate(&l) == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

// drive performs the operations that bytes spell on lists and on slices.
func drive(t *testing.T, ops []byte) {
	var s Nodes[uint32]
	var lists [7]List
	var want [7][]uint32
	total, serial := 0, uint32(0)
	for n := 0; len(ops) >= 2 && n < 200; n++ {
		op, k, arg := ops[0]&7, int(ops[0]>>3)%len(lists), int(ops[1])
		ops = ops[2:]
		l := &lists[k]
		switch op {
		case 0, 1, 2:
			for range 1 + arg*arg/48 {
				serial++
				s.Push(l, serial)
				want[k] = append(want[k], serial)
				total++
			}
		case 3, 4:
			for range 1 + arg*arg/48 {
				v, ok := s.Pop(l)
				if ok != (len(want[k]) > 0) || ok && v != want[k][0] {
					t.Fatalf("list %d popped %d %v, want the first of %d", k, v, ok, len(want[k]))
				}
				if ok {
					want[k] = want[k][1:]
					total--
				}
			}
		case 5:
			var got []uint32
			s.Clear(l, func(v uint32) { got = append(got, v) })
			if !slices.Equal(got, want[k]) {
				t.Fatalf("list %d cleared %d elements, want %d", k, len(got), len(want[k]))
			}
			total -= len(got)
			want[k] = nil
		case 6:
			if before, n := s.Bytes(), s.Trim(); s.Bytes() != before-n {
				t.Fatalf("Trim returned %d, bytes went %d → %d", n, before, s.Bytes())
			}
		case 7:
			if arg&1 == 0 { // every so-manieth goes
				nth, i := uint32(1+arg/2%5), 0
				gone := func(v uint32) bool { return v%nth == 0 }
				culled := s.Cull(l, func(v *uint32) bool {
					if *v != want[k][i] {
						t.Fatalf("list %d: element %d is %d, want %d", k, i, *v, want[k][i])
					}
					i++
					return gone(*v)
				})
				total -= culled
				if want[k] = slices.DeleteFunc(want[k], gone); i-culled != len(want[k]) {
					t.Fatalf("list %d: %d of %d culled, want %d left", k, culled, i, len(want[k]))
				}
				break
			}
			if p := s.Front(l); (p != nil) != (len(want[k]) > 0) || p != nil && *p != want[k][0] {
				t.Fatalf("list %d has the wrong front", k)
			}
		}
		if s.Len() != total {
			t.Fatalf("len %d, want %d", s.Len(), total)
		}
	}
	compare(t, &s, &lists, &want)
}

// compare checks that the lists hold exactly what they should.
func compare(t *testing.T, s *Nodes[uint32], lists *[7]List, want *[7][]uint32) {
	all := make([]*List, len(lists))
	for k := range lists {
		all[k] = &lists[k]
		i := 0
		s.Each(&lists[k], func(v *uint32) bool {
			if i >= len(want[k]) || *v != want[k][i] {
				t.Fatalf("list %d has %d at %d", k, *v, i)
			}
			i++
			return true
		})
		if i != len(want[k]) {
			t.Fatalf("list %d has %d elements, want %d", k, i, len(want[k]))
		}
	}
	if err := s.Validate(all...); err != nil {
		t.Fatal(err)
	}
}

func TestNodesAgainstSlices(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		ops := make([]byte, 400)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { drive(t, ops) })
	}
}

func FuzzNodes(f *testing.F) {
	f.Add([]byte{0, 255, 8, 255, 5, 0, 6, 0, 1, 3})
	f.Fuzz(drive)
}

func contents(s *Nodes[string], l *List) string {
	var all []string
	s.Each(l, func(v *string) bool { all = append(all, *v); return true })
	return fmt.Sprint(all)
}
