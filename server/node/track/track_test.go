package track

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// naive follows each member by itself.
type naive struct {
	members map[int]Place
}

// TestOneRecordSaysForAllMembersWhatEachWouldSay drives random streams with losses,
// repetitions and new epochs and compares the verdict with that of every member.
func TestOneRecordSaysForAllMembersWhatEachWouldSay(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { drive(t, rand.New(rand.NewPCG(seed, 7))) })
	}
}

func drive(t *testing.T, r *rand.Rand) {
	const ch = 5
	tr, n := New(), naive{members: map[int]Place{}}
	top := Place{Offset: 1, Epoch: 1} // of the stream, all delivered
	next := 0
	for step := range 3000 {
		switch r.IntN(6) {
		case 0: // a member that has read up to the top
			if tr.Join(ch, top) && len(n.members) == 0 {
				t.Fatalf("step %d: the first member is behind", step)
			}
			n.members[next] = top
			next++
		case 1:
			for id := range n.members {
				delete(n.members, id)
				tr.Leave(ch)
				break
			}
		default:
			p := Place{Offset: top.Offset + 1, Epoch: top.Epoch}
			switch r.IntN(20) {
			case 0:
				p.Offset += uint64(r.IntN(3)) + 1 // lost
			case 1:
				p.Offset -= uint64(r.IntN(int(min(p.Offset, 3)))) // repeated
			case 2:
				p = Place{Offset: uint64(r.IntN(3)) + 1, Epoch: top.Epoch + 1}
			}
			got := tr.Advance(ch, p)
			for id, at := range n.members {
				want := Next
				switch {
				case p.Epoch != at.Epoch || p.Offset > at.Offset+1:
					want = Gap
				case p.Offset <= at.Offset:
					want = Stale
				}
				if got != want {
					t.Fatalf("step %d: %+v after %+v is %d, want %d", step, p, at, got, want)
				}
				if want != Stale {
					n.members[id] = p
				}
			}
			if len(n.members) == 0 && got != Free {
				t.Fatalf("step %d: verdict %d without members", step, got)
			}
			if got == Gap { // they start anew
				for id := range n.members {
					delete(n.members, id)
					tr.Leave(ch)
				}
			}
			if p.Epoch != top.Epoch || p.Offset > top.Offset {
				top = p
			}
		}
		if err := tr.Validate(func(uint32) int { return len(n.members) }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMemberThatReadAheadOfItsChannelIsBehind(t *testing.T) {
	tr := New()
	if tr.Join(1, Place{3, 9}) {
		t.Error("the first member decides where the channel is")
	}
	if tr.Join(1, Place{3, 9}) || !tr.Join(1, Place{5, 9}) || !tr.Join(1, Place{3, 8}) {
		t.Error("a member at another place is not told from one at the same")
	}
	if at, ok := tr.At(1); !ok || at != (Place{3, 9}) {
		t.Errorf("the channel is at %+v", at)
	}
	if v := tr.Advance(1, Place{}); v != Free {
		t.Errorf("a publication without a place is %d", v)
	}
}

func TestWhatIsStillMissingAtTheNextCheckIsLost(t *testing.T) {
	tr := New()
	tr.Join(1, Place{3, 9})
	if tr.Check(1, Place{5, 9}) {
		t.Error("lost at the first sight: it may be on the way")
	}
	tr.Advance(1, Place{4, 9})
	if !tr.Check(1, Place{6, 9}) {
		t.Error("offset 5 was the top at the check before and has not come")
	}
	if tr.Check(1, Place{6, 9}) {
		t.Error("lost twice")
	}
	if !tr.Check(1, Place{6, 8}) {
		t.Error("another epoch is no loss")
	}
	if tr.Check(2, Place{6, 8}) {
		t.Error("a channel nobody is positioned in lost something")
	}
}

func TestTrimKeepsWhatIsUsed(t *testing.T) {
	tr := New()
	for ch := range uint32(20_000) {
		tr.Join(ch, Place{1, 1})
	}
	full := tr.HeldBytes()
	for ch := uint32(1); ch < 20_000; ch++ {
		tr.Leave(ch)
	}
	tr.Trim()
	if got := tr.HeldBytes(); got > full/4 || tr.Len() != 1 {
		t.Errorf("%d bytes held of %d, %d channels", got, full, tr.Len())
	}
	seen := 0
	for at, more := uint32(0), true; more; {
		at, more = tr.Each(at, 100, func(uint32) { seen++ })
	}
	if seen != 1 || tr.Advance(0, Place{2, 1}) != Next {
		t.Errorf("%d channels seen", seen)
	}
	if n := testing.AllocsPerRun(100, func() { tr.Join(0, Place{2, 1}); tr.Advance(0, Place{2, 1}); tr.Leave(0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Who joined below the place of the channel is looked after at the second check.
func TestLaggardsAreToldOfOnce(t *testing.T) {
	tr := New()
	tr.Join(1, Place{5, 1})
	tr.Join(1, Place{9, 1}) // ahead
	for range 3 {
		if tr.Laggards(1) || tr.Laggards(7) {
			t.Fatal("nobody is below")
		}
	}
	for _, p := range []Place{{4, 1}, {9, 2}} {
		tr.Join(1, p)
		if got := []bool{tr.Laggards(1), tr.Laggards(1), tr.Laggards(1)}; got[0] || !got[1] || got[2] {
			t.Fatalf("below at %v: %v", p, got)
		}
	}
}

// A channel that fell behind stays where it is: its members must not follow from the top
// before they were told.
func TestACheckMovesNothing(t *testing.T) {
	tr := New()
	tr.Join(1, Place{5, 1})
	if !tr.Check(1, Place{0, 2}) {
		t.Fatal("another epoch was not seen")
	}
	if at, _ := tr.At(1); at != (Place{5, 1}) {
		t.Fatalf("moved to %v", at)
	}
	if got := tr.Advance(1, Place{1, 2}); got != Gap {
		t.Fatalf("the first of the other epoch is %v", got)
	}
}
