package presence

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
)

func TestClientsAndDistinctUsersAreCounted(t *testing.T) {
	c := NewCounts()
	news, chat := []byte("news"), []byte("chat")
	for i, step := range []struct {
		leave          bool
		channel, user  string
		clients        int // what the call says
		stats, inUsers int // of news afterwards
	}{
		{false, "news", "ann", 1, 1, 1},
		{false, "news", "ann", 2, 2, 1},
		{false, "news", "", 3, 3, 2},
		{false, "news", "", 4, 4, 2},
		{false, "chat", "ann", 1, 4, 2},
		{true, "news", "ann", 3, 3, 2},
		{true, "news", "ann", 2, 2, 1},
		{true, "news", "", 1, 1, 1},
		{true, "news", "", 0, 0, 0},
	} {
		call := c.Join
		if step.leave {
			call = c.Leave
		}
		if got := call([]byte(step.channel), []byte(step.user)); got != step.clients {
			t.Errorf("step %d: %d clients, want %d", i, got, step.clients)
		}
		if clients, users := c.Stats(news); clients != step.stats || users != step.inUsers {
			t.Errorf("step %d: stats %d of %d, want %d of %d", i, clients, users, step.stats, step.inUsers)
		}
		check(t, c)
	}
	if clients, users := c.Stats(chat); clients != 1 || users != 1 || c.Channels() != 1 || c.Clients() != 1 {
		t.Errorf("chat %d of %d; %d channels, %d clients", clients, users, c.Channels(), c.Clients())
	}
}

func TestLeaveWithoutJoinPanicsAndChangesNothing(t *testing.T) {
	c := NewCounts()
	c.Join([]byte("news"), []byte("ann"))
	for _, who := range [][2]string{{"news", "bob"}, {"news", ""}, {"chat", "ann"}, {"", ""}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q left %q without a panic", who[1], who[0])
				}
			}()
			c.Leave([]byte(who[0]), []byte(who[1]))
		}()
		check(t, c)
	}
	if clients, users := c.Stats([]byte("news")); clients != 1 || users != 1 {
		t.Errorf("news has %d clients of %d users", clients, users)
	}
	func() {
		defer func() { _ = recover() }()
		NewCounts().Leave([]byte("news"), nil)
		t.Error("left an empty Counts without a panic")
	}()
}

// drive performs what ops spell on counts and on naive maps: any order of joins and
// leaves of some names, with Trim in between.
func drive(t *testing.T, ops []byte) {
	c := NewCounts()
	naive := map[string]map[string]int{}
	for i := 0; i+2 < len(ops); i += 3 {
		name, user := fmt.Sprint("channel", ops[i+1]%7), fmt.Sprint("user", ops[i+2])
		if ops[i+2] == 0 {
			user = ""
		}
		members := naive[name]
		if members == nil {
			members = map[string]int{}
			naive[name] = members
		}
		got := 0
		switch {
		case ops[i] == 255:
			c.Trim()
			continue
		case ops[i]%2 == 0:
			members[user]++
			got = c.Join([]byte(name), []byte(user))
		case members[user] > 0:
			if members[user]--; members[user] == 0 {
				delete(members, user)
			}
			got = c.Leave([]byte(name), []byte(user))
		default:
			continue
		}
		clients := 0
		for _, n := range members {
			clients += n
		}
		gotClients, gotUsers := c.Stats([]byte(name))
		if got != clients || gotClients != clients || gotUsers != len(members) {
			t.Fatalf("op %d: %q has %d (%d of %d), want %d of %d", i/3, name, got, gotClients, gotUsers, clients, len(members))
		}
	}
	check(t, c)
	seen := 0
	c.Each(func(name []byte, clients, users int) bool {
		seen++
		if users != len(naive[string(name)]) || users == 0 {
			t.Errorf("Each: %q has %d users, want %d", name, users, len(naive[string(name)]))
		}
		return true
	})
	if seen != c.Channels() {
		t.Errorf("Each met %d channels of %d", seen, c.Channels())
	}
}

func TestAgainstMaps(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 9000)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		drive(t, ops)
	}
}

func FuzzCounts(f *testing.F) {
	f.Add([]byte{0, 1, 1, 2, 1, 1, 1, 1, 1, 255, 0, 0, 1, 1, 1})
	f.Fuzz(drive)
}

// TestPairsAgainstAMap fills, empties and trims so that segments split, merge, and the
// directory grows and shrinks.
func TestPairsAgainstAMap(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		p := pairs{seed: rnd.Uint64()}
		type key struct {
			group uint32
			key   uint64
		}
		naive := map[key]uint32{}
		keys := []key{}
		for _, target := range []int{3000, 40, 20_000, 900, 901, 0, 5000} {
			for len(keys) < target {
				k := key{rnd.Uint32N(5), rnd.Uint64N(1 << 20)}
				if naive[k] != 0 {
					continue
				}
				naive[k] = 1 + rnd.Uint32N(1000)
				keys = append(keys, k)
				p.insert(k.group, k.key, naive[k])
			}
			for len(keys) > target {
				i := rnd.IntN(len(keys))
				k := keys[i]
				keys[i] = keys[len(keys)-1]
				keys = keys[:len(keys)-1]
				p.remove(k.group, k.key)
				delete(naive, k)
			}
			for range 2 { // before and after trim
				seen := 0
				err := p.validate(func(c *cell) error {
					seen++
					if naive[key{c.group, c.key}] != c.value {
						return fmt.Errorf("pair (%d, %d) has value %d", c.group, c.key, c.value)
					}
					return nil
				})
				if err != nil || seen != len(naive) {
					t.Fatalf("seed %d, %d pairs: %d seen: %v", seed, target, seen, err)
				}
				if p.get(9, 1<<40) != nil {
					t.Fatal("a pair that never was is found")
				}
				before := p.heldBytes()
				if freed := p.trim(); before-p.heldBytes() != freed {
					t.Fatalf("trim says %d B, gave back %d", freed, before-p.heldBytes())
				}
			}
			if most := 512 + len(naive)*24; p.heldBytes() > most {
				t.Errorf("seed %d: %d pairs hold %d B after trim, want %d at most", seed, len(naive), p.heldBytes(), most)
			}
		}
	}
}

func TestCellsHoldNothingToScan(t *testing.T) {
	for _, typ := range []reflect.Type{reflect.TypeFor[cell](), reflect.TypeFor[pending](), reflect.TypeFor[collected]()} {
		for i := range typ.NumField() {
			switch k := typ.Field(i).Type.Kind(); k {
			case reflect.Uint32, reflect.Uint64, reflect.Bool:
			default:
				t.Errorf("%v.%s is a %v", typ, typ.Field(i).Name, k)
			}
		}
	}
}

// A changed key is not among them: it is a hash, and any value could be one.
func TestValidateSeesDamage(t *testing.T) {
	for name, damage := range map[string]func(c *Counts){
		"users":          func(c *Counts) { c.users[1]++ },
		"total":          func(c *Counts) { c.total-- },
		"value":          func(c *Counts) { firstCell(c).value++ },
		"group":          func(c *Counts) { firstCell(c).group ^= 3 },
		"lost":           func(c *Counts) { *firstCell(c) = cell{} },
		"segment's used": func(c *Counts) { c.pairs.dir[0].used++ },
		"pairs' used":    func(c *Counts) { c.pairs.used++ },
		"depth":          func(c *Counts) { c.pairs.dir[0].depth = 3 },
		"directory":      func(c *Counts) { c.pairs.depth = 1 },
		"reference":      func(c *Counts) { c.names.Retain(1) },
	} {
		c := NewCounts()
		c.Join([]byte("a"), []byte("x"))
		c.Join([]byte("b"), []byte("y"))
		damage(c)
		if c.Validate() == nil {
			t.Errorf("%s: Validate saw nothing", name)
		}
	}
}

func firstCell(c *Counts) *cell {
	for i := range c.pairs.dir[0].cells {
		if c := &c.pairs.dir[0].cells[i]; c.value != 0 {
			return c
		}
	}
	panic("no cell")
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	c := NewCounts()
	for i := range 10_000 {
		c.Join([]byte("big"), fmt.Append(nil, "user", i))
	}
	big, small, user := []byte("big"), []byte("comes and goes"), []byte("somebody else")
	turn := func() {
		c.Join(big, user)
		c.Join(small, user)
		if clients, users := c.Stats(big); clients != 10_001 || users != 10_001 {
			t.Fatal(clients, users)
		}
		c.Leave(small, user)
		c.Leave(big, user)
	}
	turn()
	if got := testing.AllocsPerRun(1000, turn); got != 0 {
		t.Errorf("%v allocations a turn, want 0", got)
	}
}

// TestBytesPerMember is the budget: members whose users are unique in a channel, at sizes
// all over the growth steps.
func TestBytesPerMember(t *testing.T) {
	c := NewCounts()
	name, user := []byte("big"), []byte(nil)
	worst := 0.0
	for i := 1; i <= 300_000; i++ {
		user = fmt.Append(user[:0], "user", i)
		c.Join(name, user)
		if i >= 10_000 && i%5000 == 0 {
			worst = max(worst, float64(c.HeldBytes())/float64(i))
		}
	}
	if worst > 24 {
		t.Errorf("%.1f B per member at worst, want 24", worst)
	}
	t.Logf("%.1f B per member at worst, %.1f at 300,000", worst, float64(c.HeldBytes())/300_000)
	for i := 1; i <= 300_000; i++ {
		user = fmt.Append(user[:0], "user", i)
		c.Leave(name, user)
	}
	check(t, c)
	held := c.HeldBytes()
	if freed := c.Trim(); freed != held || c.HeldBytes() != 0 {
		t.Errorf("Trim gave %d of %d B back, %d left", freed, held, c.HeldBytes())
	}
	check(t, c)
}

func TestMemoryComesBackWithOneMemberLeft(t *testing.T) {
	c := NewCounts()
	c.Join([]byte("keep"), []byte("me"))
	for i := range 50_000 {
		c.Join(fmt.Append(nil, "channel", i%5000), fmt.Append(nil, "user", i))
	}
	full := c.HeldBytes()
	for i := range 50_000 {
		c.Leave(fmt.Append(nil, "channel", i%5000), fmt.Append(nil, "user", i))
	}
	c.Trim()
	if c.HeldBytes() > full/20 {
		t.Errorf("%d of %d B left", c.HeldBytes(), full)
	}
	if clients, users := c.Stats([]byte("keep")); clients != 1 || users != 1 {
		t.Errorf("keep has %d of %d", clients, users)
	}
	check(t, c)
}

func TestHeldBytesAgreesWithTheHeap(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := NewCounts()
	var user []byte
	name := []byte("big")
	for i := range 200_000 {
		user = fmt.Append(user[:0], "user", i)
		c.Join(name, user)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc) - float64(before.HeapAlloc)
	if ratio := float64(c.HeldBytes()) / heap; ratio < 0.9 || ratio > 1.1 {
		t.Errorf("says %d B, the heap grew by %.0f", c.HeldBytes(), heap)
	}
	runtime.KeepAlive(c)
}

// What a Join moves at most bounds how long it may take.
func TestNoJoinMovesMoreThanASegment(t *testing.T) {
	p := pairs{seed: 1}
	for i := range uint64(200_000) {
		hash := p.hash(1, i)
		was := len(p.dir)
		p.insert(1, i, 1)
		if s := p.segmentOf(hash); len(s.cells) > cellsMost {
			t.Fatalf("a segment of %d cells after %d pairs", len(s.cells), i)
		}
		if len(p.dir) > was && len(p.dir) > 8*(1+int(i)/room(cellsMost)) {
			t.Fatalf("a directory of %d for %d pairs", len(p.dir), i)
		}
	}
}

func check(t *testing.T, v interface{ Validate() error }) {
	t.Helper()
	if err := v.Validate(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkJoinLeave is a member more and less among many.
func BenchmarkJoinLeave(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint("members=", n), func(b *testing.B) {
			c := NewCounts()
			name := []byte("big")
			users := make([][]byte, n)
			for i := range users {
				users[i] = fmt.Appendf(nil, "user:%09d", i)
				c.Join(name, users[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i += 4099 {
				c.Leave(name, users[i%n])
				c.Join(name, users[i%n])
			}
			b.ReportMetric(float64(c.HeldBytes())/float64(n), "B/member")
			if clients, users := c.Stats(name); clients != n || users != n {
				b.Errorf("%d clients of %d users survived, want %d", clients, users, n)
			}
		})
	}
}

// BenchmarkStats is a presence_stats call on a channel of a million.
func BenchmarkStats(b *testing.B) {
	c := NewCounts()
	name := []byte("big")
	for i := range 1_000_000 {
		c.Join(name, fmt.Append(nil, i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if clients, _ := c.Stats(name); clients != 1_000_000 {
			b.Fatal(clients)
		}
	}
}
