package cursor

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

func mustValidate(t *testing.T, table *Table) {
	t.Helper()
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestACursorOnlyMovesForward(t *testing.T) {
	table := New(10, 10)
	for _, c := range []struct{ to, want Place }{
		{Place{5, 1}, Place{5, 1}}, {Place{7, 1}, Place{7, 1}}, {Place{6, 1}, Place{7, 1}}, {Place{7, 1}, Place{7, 1}},
		{Place{2, 9}, Place{2, 9}}, {Place{1, 9}, Place{2, 9}},
	} {
		if got := table.Move("news", "42", c.to, 60, 100); got != c.want {
			t.Errorf("to %v: at %v, want %v", c.to, got, c.want)
		}
	}
	if _, ok := table.Get("news", "7", 100); ok {
		t.Error("another user has it")
	}
	if _, ok := table.Get("new", "s42", 100); ok {
		t.Error("names run together")
	}
	mustValidate(t, table)
}

func TestACursorEndsAfterItsLastUse(t *testing.T) {
	table := New(10, 10)
	table.Move("news", "42", Place{5, 1}, 60, 100)
	if _, ok := table.Get("news", "42", 159); !ok {
		t.Fatal("ended early")
	}
	if _, ok := table.Get("news", "42", 218); !ok { // 59 seconds after that
		t.Fatal("a look is no use")
	}
	if _, ok := table.Get("news", "42", 278); ok || table.Len() != 0 {
		t.Error("it did not end")
	}
	table.Move("news", "42", Place{5, 1}, 60, 100)
	if got := table.Move("news", "42", Place{3, 1}, 60, 200); got != (Place{3, 1}) {
		t.Errorf("one that ended held the new one back: %v", got)
	}
	table.Move("for ever", "42", Place{1, 1}, 0, 1)
	if _, ok := table.Get("for ever", "42", 1<<31); !ok {
		t.Error("without a time to live it ended")
	}
	mustValidate(t, table)
}

// model is a cursor as simply as can be.
type model struct {
	at     Place
	usedAt int64
	ttl    int64
}

// TestTableAgainstAModel drives a table and a map alike. While there is room they agree in
// everything; a full table only lacks some.
func TestTableAgainstAModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		max := 1000
		if seed%2 == 1 {
			max = 25
		}
		ofUser := max
		if seed%4 == 3 {
			ofUser = 3
		}
		table, all, now := New(max, ofUser), map[[2]string]*model{}, int64(1)
		for range 4000 {
			now += int64(rng.IntN(3))
			key := [2]string{strings.Repeat("c", rng.IntN(8)*rng.IntN(60)) + "n", fmt.Sprint("user", rng.IntN(20))}
			m := all[key]
			if m != nil && m.ttl > 0 && now-m.usedAt >= m.ttl {
				delete(all, key)
				m = nil
			}
			switch rng.IntN(4) {
			case 0, 1:
				to, ttl := Place{uint64(rng.IntN(50)), uint64(rng.IntN(2))}, rng.IntN(80)
				if m == nil {
					m = &model{at: to}
					all[key] = m
				}
				if m.at.Epoch != to.Epoch || m.at.Offset < to.Offset {
					m.at = to
				}
				m.usedAt, m.ttl = now, int64(ttl)
				if got := table.Move(key[0], key[1], to, uint32(ttl), now); max > 100 && got != m.at {
					t.Fatalf("seed %d: moved to %v, want %v", seed, got, m.at)
				}
			case 2:
				got, ok := table.Get(key[0], key[1], now)
				if max > 100 && ok != (m != nil) || ok && m == nil || max > 100 && ok && got != m.at {
					t.Fatalf("seed %d: got %v %v, want %v", seed, got, ok, m)
				}
				if m != nil {
					m.usedAt = now
				}
			case 3:
				table.Expire(rng.IntN(10), now)
				if rng.IntN(50) == 0 {
					table.Trim()
				}
			}
			if table.Len() > max {
				t.Fatalf("%d cursors, at most %d", table.Len(), max)
			}
		}
		mustValidate(t, table)
		if max > 100 && table.Evicted() > 0 {
			t.Errorf("%d went although there was room", table.Evicted())
		}
		for table.Expire(100, now+1000) > 0 {
		}
		for key, m := range all {
			if _, ok := table.Get(key[0], key[1], now+1000); ok != (m.ttl == 0) && max > 100 {
				t.Fatalf("seed %d: in the end %v is there: %v, ttl %d", seed, key, ok, m.ttl)
			}
		}
	}
}

func TestTheOneUnusedForLongestOfAFewMakesRoom(t *testing.T) {
	const n = 100
	table := New(n, n)
	for i := range n {
		table.Move("news", fmt.Sprint(i), Place{1, 1}, 0, int64(100+i))
	}
	for i := range n {
		table.Move("news", fmt.Sprint("new", i), Place{1, 1}, 0, 1000)
	}
	if table.Len() != n || table.Evicted() != n {
		t.Errorf("%d cursors, %d went", table.Len(), table.Evicted())
	}
	fresh := 0
	for i := range n {
		if _, ok := table.Get("news", fmt.Sprint("new", i), 1000); ok {
			fresh++
		}
	}
	if fresh < n*9/10 {
		t.Errorf("only %d of %d new ones are there", fresh, n)
	}
	mustValidate(t, table)
}

// Who has as many as a user may have pays for the next one, with the one they used least
// lately; however many they begin, nobody else loses any.
func TestWhoHasMostPaysForTheirNext(t *testing.T) {
	const others, own = 500, 8
	table := New(others+own, own)
	for i := range others {
		table.Move("inbox", fmt.Sprint("alice-", i), Place{7, 9}, 0, 100)
	}
	for i := range 10_000 {
		table.Move(fmt.Sprint("junk-", i), "mallory", Place{1, 1}, 0, 200)
		table.Get("junk-0", "mallory", 200) // in use
	}
	for i := range others {
		if _, ok := table.Get("inbox", fmt.Sprint("alice-", i), 300); !ok {
			t.Fatalf("alice-%d has lost her cursor to another user", i)
		}
	}
	for _, name := range []string{"junk-0", "junk-9999", "junk-9993"} {
		if _, ok := table.Get(name, "mallory", 300); !ok {
			t.Errorf("%s has made room for one that was used longer ago", name)
		}
	}
	if table.Len() != others+own || table.Evicted() != 10_000-own {
		t.Errorf("%d cursors, %d went", table.Len(), table.Evicted())
	}
	mustValidate(t, table)
}

// A user has no more than a 64th of a set, however small it is.
func TestASetKeepsRoomForOthers(t *testing.T) {
	for _, c := range []struct{ max, ofUser, want int }{{1024, 256, 16}, {1 << 16, 256, 256}, {1, 256, 1}, {100, 1, 1}} {
		set := NewSet(c.max, c.ofUser)
		for i := range 2000 {
			set.Move(fmt.Sprint("junk-", i), "mallory", Place{1, 1}, 0, 100)
		}
		n := 0
		set.Each(func(table *Table) { n += table.Len() })
		if err := set.Validate(); n != c.want || err != nil {
			t.Errorf("of %d cursors one user has %d, want %d; %v", c.max, n, c.want, err)
		}
	}
}

func TestMemoryComesBack(t *testing.T) {
	table := New(100_000, 100_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 100_000 {
		table.Move("chat:room-1", fmt.Sprintf("user-%07d", i), Place{1, 1}, 60, 100)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap, held := float64(after.HeapAlloc)-float64(before.HeapAlloc), float64(table.HeldBytes())
	t.Logf("%.0f B per cursor", held/100_000)
	if held/heap < 0.9 || held/heap > 1.1 {
		t.Errorf("says %.0f B, the heap grew by %.0f", held, heap)
	}
	if n := table.Expire(1<<30, 160); n != 100_000 {
		t.Errorf("%d ended", n)
	}
	table.Trim()
	if n := table.HeldBytes(); n > 4096 {
		t.Errorf("%d B are held for nothing", n)
	}
	mustValidate(t, table)
}

func TestMovingAllocatesNothing(t *testing.T) {
	table, offset := New(10, 10), uint64(0)
	move := func() {
		offset++
		table.Move("chat:room-1", "42", Place{offset, 1}, 60, 100)
		if _, ok := table.Get("chat:room-1", "42", 100); !ok {
			t.Fatal("gone")
		}
	}
	move()
	if n := testing.AllocsPerRun(1000, move); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMove(b *testing.B) {
	table := New(1<<20, 1<<20)
	users := make([]string, 100_000)
	for i := range users {
		users[i] = fmt.Sprintf("user-%07d", i)
		table.Move("chat:room-1", users[i], Place{1, 1}, 60, 100)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i += 4099 {
		table.Move("chat:room-1", users[i%len(users)], Place{uint64(i), 1}, 60, 100)
	}
	b.ReportMetric(float64(table.HeldBytes())/float64(table.Len()), "B/cursor")
}
