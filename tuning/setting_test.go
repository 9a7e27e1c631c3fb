package tuning

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestNumbersGrowByTheirFormula(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name  string
		n     number
		want  Want
		pages uint64
		value uint64
	}{
		{"a constant", number{floor: 7}, Want{Conns: 9}, 0, 7},
		{"each a thousandth, rounded up", number{basis: byConns, per1000: 31}, Want{Conns: 1001}, 0, 32},
		{"plus, rounded", number{basis: byConns, per1000: 1000, plus: 256, round: 1024}, Want{Conns: 1000}, 0, 2048},
		{"round already", number{basis: byConns, per1000: 1000, plus: 24, round: 1024}, Want{Conns: 1000}, 0, 1024},
		{"not below the floor", number{basis: byConns, per1000: 1, floor: 50}, Want{Conns: 1000}, 0, 50},
		{"not above the ceiling", number{basis: byConns, per1000: 1000, ceiling: 50}, Want{Conns: 1000}, 0, 50},
		{"a process's part, rounded up", number{basis: byProcess, per1000: 1000}, Want{Conns: 1001, Processes: 10}, 0, 101},
		{"both ends", number{basis: byEnds, per1000: 1000}, Want{Conns: 1000, Target: Both}, 0, 2000},
		{"a load test has one end", number{basis: byEnds, per1000: 1000}, Want{Conns: 1000, Target: LoadTest}, 0, 1000},
		{"a part of the memory", number{basis: byConns, per1000: 1000, memory: 25}, Want{Conns: 1_000_000}, gib / 4096, gib / 4096 / 4},
		{"memory not known", number{basis: byConns, per1000: 1000, memory: 25}, Want{Conns: 1_000_000}, 0, 1_000_000},
		{"connections not known", number{basis: byConns, per1000: 1000, plus: spareDescriptors}, Want{}, 0, 65_536},
	} {
		if got := c.n.value(c.want, c.pages); got != c.value {
			t.Errorf("%s: got %d, want %d", c.name, got, c.value)
		}
	}
}

func TestWhatIsGoodStays(t *testing.T) {
	s := setting{Numbers: []number{{bound: least, floor: 10}, {bound: most, floor: 10}, {bound: start, floor: 10}, {bound: same, floor: 10}, {bound: leave, floor: 10}}}
	for _, c := range []struct {
		now       []uint64
		want      string
		low, hard bool
	}{
		{[]uint64{10, 10, 10, 10, 10}, "10 10 10 10 10", false, false},
		{[]uint64{11, 9, 9, 10, 77}, "11 9 9 10 77", false, false},
		{[]uint64{9, 10, 10, 10, 1}, "10 10 10 10 1", true, true},
		{[]uint64{10, 11, 10, 10, 1}, "10 10 10 10 1", true, true},
		{[]uint64{10, 10, 11, 10, 1}, "10 10 10 10 1", true, true},
		{[]uint64{10, 10, 10, 11, 1}, "10 10 10 10 1", true, true},
		{nil, "10 10 10 10 10", false, false}, // not known
	} {
		low, hard := s.judge(Want{Conns: 1}, 0, c.now)
		if got := s.want(Want{Conns: 1}, 0, c.now); got != c.want || low != c.low || hard != c.hard {
			t.Errorf("%v: got %s, low %v, severe %v; want %s, %v, %v", c.now, got, low, hard, c.want, c.low, c.hard)
		}
	}
	tight := setting{Numbers: []number{{bound: least, basis: byConns, per1000: 1000, round: 1000}}}
	for now, severe := range map[uint64]bool{1499: true, 1500: false, 1999: false} {
		if low, hard := tight.judge(Want{Conns: 1500}, 0, []uint64{now}); !low || hard != severe {
			t.Errorf("%d for 1500: low %v, severe %v, want severe %v", now, low, hard, severe)
		}
	}
}

// TestScriptAndDoctorNeverDisagree draws hosts and wishes: apply.sh --check says of each setting what the table says, --apply
// leaves nothing for the table to change, and --rollback leaves the host as it was.
func TestScriptAndDoctorNeverDisagree(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		w := Want{Conns: 1 + random.IntN(1<<random.IntN(24)), Processes: 1 + random.IntN(3), Target: Target(1 + random.IntN(3))}
		root := drawnHost(t, random)
		args := []string{"--connections=" + strconv.Itoa(w.Conns), "--processes", strconv.Itoa(w.Processes), "--target=" + w.Target.String()}
		before := snapshot(t, root)
		out, _ := runScript(t, root, append(args, "--check", "--lower")...)
		h := HostIn(os.DirFS(root))
		for _, s := range settings() {
			now, there := h.Sysctls[s.Name]
			low, _ := s.judge(w, h.pages(), now)
			said := lineOf(out, s.Name)
			want := s.Name + " " + joined(now)
			if low {
				want += ", needs " + s.want(w, h.pages(), now)
			}
			if s.concerns(w.Target) && there && said != want || !s.concerns(w.Target) && said != "" {
				t.Errorf("seed %d, %+v: apply.sh says %q, the table %q", seed, w, said, want)
			}
		}
		out, code := runScript(t, root, append(args, "--apply", "--lower")...)
		h = HostIn(os.DirFS(root))
		for _, s := range settings() {
			if low, _ := s.judge(w, h.pages(), h.Sysctls[s.Name]); low && s.concerns(w.Target) || code != 0 {
				t.Errorf("seed %d, %+v: after --apply (code %d) %s is %v:\n%s", seed, w, code, s.Name, h.Sysctls[s.Name], out)
			}
		}
		once := snapshot(t, root)
		if out, code = runScript(t, root, append(args, "--apply", "--lower")...); code != 0 || !sameFiles(once, snapshot(t, root)) || !strings.Contains(out, "nothing to change") {
			t.Errorf("seed %d: --apply changes something the second time, code %d:\n%s", seed, code, out)
		}
		if out, code = runScript(t, root, "--rollback"); code != 0 || !sameFiles(before, snapshot(t, root)) {
			t.Errorf("seed %d: --rollback, code %d, does not leave what was there:\n%s", seed, code, out)
		}
	}
}

// lineOf is what apply.sh says of a setting, with single spaces, without its mark.
func lineOf(out, name string) string {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == name {
			return strings.Join(f[1:], " ")
		}
	}
	return ""
}

// drawnHost has every setting at some value, now and then none.
func drawnHost(t *testing.T, random *rand.Rand) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/meminfo", "MemTotal:    "+strconv.Itoa(100_000+random.IntN(1<<26))+" kB\n")
	write("proc/sys/kernel/osrelease", "6.1\n")
	write("proc/self/smaps", "00400000-00401000 r--p 00000000 fe:00 1 /x\nSize: 4 kB\nKernelPageSize:       "+[]string{"4", "16", "64"}[random.IntN(3)]+" kB\n")
	for _, s := range settings() {
		if random.IntN(8) == 0 {
			continue
		}
		var parts []string
		for range s.Numbers {
			parts = append(parts, strconv.FormatUint(random.Uint64N(1<<random.IntN(40)), 10))
		}
		if s.Name == "fs.file-max" && random.IntN(2) == 0 {
			parts[0] = []string{"9223372036854775807", "18446744073709551615"}[random.IntN(2)]
		}
		write("proc/sys/"+strings.ReplaceAll(s.Name, ".", "/"), strings.Join(parts, "\t")+"\n")
	}
	return root
}

// sameFiles compares snapshots; how a sysctl's numbers are set apart does not matter.
func sameFiles(a, b map[string]string) bool {
	for name, text := range a {
		other, there := b[name]
		if !there || strings.Join(strings.Fields(text), " ") != strings.Join(strings.Fields(other), " ") {
			return false
		}
	}
	return len(a) == len(b)
}
