package tuning

import (
	"bytes"
	"encoding/json"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// roomy is a host on which nothing is in the way of a million connections.
func roomy() Host {
	h := Host{
		Descriptors: 1 << 21, FilesUsed: 1000, Memory: 64 << 30, Available: 60 << 30, Kernel: "6.12.9", Processors: 4, Clock: "tsc",
		HugePages: "madvise", Cards: []Card{{"eth0", "ena", 4, false}}, Sysctls: map[string][]uint64{},
	}
	for _, s := range settings() {
		h.Sysctls[s.Name], _ = parseNumbers(s.want(Want{Conns: 1_000_000, Target: Both}, h.pages(), nil))
	}
	return h
}

func TestCheckNamesWhatIsInTheWay(t *testing.T) {
	sysctl := func(name string, value ...uint64) func(*Host) {
		return func(h *Host) { h.Sysctls[name] = value }
	}
	million := Want{Conns: 1_000_000}
	for _, c := range []struct {
		name   string
		change func(*Host)
		want   Want
		find   []string // severity and name, worst first
	}{
		{"a roomy host", func(*Host) {}, million, nil},
		{"a roomy host for both ends", func(*Host) {}, Want{Conns: 1_000_000, Target: Both}, nil},
		{"an unknown host", func(h *Host) { *h = Host{} }, million, nil},
		{"the usual limit, connections unknown", func(h *Host) { h.Descriptors = 1024 }, Want{}, []string{"fails descriptors"}},
		{"enough for a small server", func(h *Host) { h.Descriptors = 1024 }, Want{Conns: 500}, nil},
		{"exactly enough", func(h *Host) { h.Descriptors = 1256 }, Want{Conns: 1000}, nil},
		{"one too few", func(h *Host) { h.Descriptors = 1255 }, Want{Conns: 1000}, []string{"fails descriptors"}},
		{"enough for each of two processes", func(h *Host) { h.Descriptors = 756 }, Want{Conns: 1000, Processes: 2}, nil},
		{"fewer than the spare", func(h *Host) { h.Descriptors = 10 }, Want{Conns: 1}, []string{"fails descriptors"}},
		{"a million on a stock kernel of old", func(h *Host) {
			h.Descriptors, h.Sysctls = 20_000, map[string][]uint64{
				"fs.nr_open": {20_000}, "fs.file-max": {100_000}, "net.core.somaxconn": {128}, "net.ipv4.tcp_max_syn_backlog": {256}}
		}, million, []string{"fails descriptors", "fails fs.nr_open", "fails fs.file-max", "warns net.core.somaxconn", "note net.ipv4.tcp_max_syn_backlog"}},
		{"a longer queue than there is", sysctl("net.core.somaxconn", 4096), Want{Conns: 1000, ListenBacklog: 5000}, []string{"warns net.core.somaxconn"}},
		{"a longer queue than there is, and too short as well", sysctl("net.core.somaxconn", 128), Want{Conns: 1_000_000, ListenBacklog: 5000}, []string{"warns net.core.somaxconn"}},
		{"memory, one byte short", func(h *Host) { h.Available = 3200<<20 + 4_600_000 - 1; h.Memory = 64_000 << 20 }, Want{Conns: 1000}, []string{"fails memory"}},
		{"memory, just enough", func(h *Host) { h.Available = 3200<<20 + 4_600_000; h.Memory = 64_000 << 20 }, Want{Conns: 1000}, nil},
		{"memory for one end only", func(h *Host) { h.Available = 3200<<20 + 4_600_000; h.Memory = 64_000 << 20 }, Want{Conns: 1000, Target: Both}, []string{"fails memory"}},
		{"memory of the group", func(h *Host) { h.Rooms = Memory{{true, 64 << 30, 0}, {false, 1 << 30, 1 << 29}, {false, 1 << 35, 0}} }, million, []string{"fails cgroup memory"}},
		{"threads of the group", func(h *Host) { h.PIDs = 63 }, million, []string{"warns cgroup pids"}},
		{"ports of a load test", func(*Host) {}, Want{Conns: 55_297, Target: LoadTest}, []string{"fails source ports"}},
		{"ports of a load test with two addresses", func(*Host) {}, Want{Conns: 2 * 55_296, Sources: 2, Target: LoadTest}, nil},
		{"ports are the load test's", func(*Host) {}, Want{Conns: 55_297}, nil},
		{"ports over loopback", func(*Host) {}, Want{Conns: 55_297, Target: Both}, nil},
		{"a firewall's table", func(h *Host) { h.Tracked = 5; h.Sysctls["net.netfilter.nf_conntrack_max"] = []uint64{1_000_000} }, million, []string{"fails net.netfilter.nf_conntrack_max"}},
		{"a firewall that tracks nothing", sysctl("net.netfilter.nf_conntrack_max", 1000), million, []string{"note net.netfilter.nf_conntrack_max"}},
		{"cookies off", sysctl("net.ipv4.tcp_syncookies", 0), million, []string{"warns net.ipv4.tcp_syncookies"}},
		{"a page for each, not there", sysctl("net.ipv4.tcp_mem", 1, 2, 3), million, []string{"warns net.ipv4.tcp_mem"}},
		{"buffers for file transfers", sysctl("net.ipv4.tcp_wmem", 4096, 16384, 1<<26), million, []string{"note net.ipv4.tcp_wmem"}},
		{"reuse on loopback only, for a load test", sysctl("net.ipv4.tcp_tw_reuse", 2), Want{Conns: 1000, Target: LoadTest}, []string{"note net.ipv4.tcp_tw_reuse"}},
		{"reuse on loopback only, for a server", sysctl("net.ipv4.tcp_tw_reuse", 2), Want{Conns: 1000}, nil},
		{"a slow clock", func(h *Host) { h.Clock = "hpet" }, million, []string{"warns clocksource"}},
		{"an old kernel", func(h *Host) { h.Kernel = "5.3.18-x" }, million, []string{"note kernel"}},
		{"a very old kernel", func(h *Host) { h.Kernel = "3.8.0" }, million, []string{"fails kernel"}},
		{"a kernel with a name of its own", func(h *Host) { h.Kernel = "custom" }, million, nil},
		{"huge pages for all", func(h *Host) { h.HugePages = "always" }, million, []string{"note transparent_hugepage"}},
		{"one queue", func(h *Host) { h.Cards[0].Queues = 1 }, million, []string{"note queues of eth0"}},
		{"one queue, spread by software", func(h *Host) { h.Cards[0].Queues, h.Cards[0].Spread = 1, true }, million, nil},
		{"traces", func(h *Host) { h.Lost, h.Accepts.Overflows = 1, 1 }, million, []string{"note dropped packets", "note dropped connections"}},
		{"traces, and the queue still as it was", func(h *Host) { h.Lost, h.Sysctls["net.core.netdev_max_backlog"] = 1, []uint64{1000} }, million, []string{"warns dropped packets", "note net.core.netdev_max_backlog"}},
		{"unreadable", func(h *Host) { h.Unreadable, h.Clock = []string{"/proc/x"}, "hpet" }, million, []string{"warns clocksource", "unknown files that cannot be read"}},
	} {
		h := roomy()
		c.change(&h)
		found := []string{}
		for _, f := range Check(h, c.want) {
			found = append(found, f.Severity.String()+" "+f.Name)
			if f.Why == "" || f.Change == "" || f.Value == "" || !strings.Contains(f.String(), f.Change) {
				t.Errorf("%s: finding %+v does not say what, why and what to change", c.name, f)
			}
		}
		if !slices.Equal(found, c.find) && len(found)+len(c.find) > 0 {
			t.Errorf("%s: found %q, want %q", c.name, found, c.find)
		}
	}
}

func TestTheTightestLimitIsWhatTheHostHolds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Host)
		want   Want
		holds  uint64
		ends   string
	}{
		{"descriptors", func(h *Host) { h.Descriptors = 20_000 }, Want{Conns: 5}, 19_744, "descriptors"},
		{"descriptors of ten processes", func(h *Host) { h.Descriptors = 20_000 }, Want{Conns: 5, Processes: 10}, 197_440, "descriptors"},
		{"memory of one end", func(h *Host) { h.Memory, h.Available = 1000<<20, 50<<20+46_000 }, Want{Conns: 5}, 10, "memory"},
		{"memory of two", func(h *Host) { h.Memory, h.Available = 1000<<20, 50<<20+46_000 }, Want{Conns: 5, Target: Both}, 5, "memory"},
		{"no memory left but the reserve", func(h *Host) { h.Memory, h.Available = 1000<<20, 1<<20 }, Want{Conns: 5}, 0, "memory"},
		{"files", func(h *Host) { h.Sysctls["fs.file-max"] = []uint64{1500} }, Want{Conns: 5}, 500, "fs.file-max"},
		{"files of both ends", func(h *Host) { h.Sysctls["fs.file-max"] = []uint64{1500} }, Want{Conns: 5, Target: Both}, 250, "fs.file-max"},
		{"more files open than allowed", func(h *Host) { h.Sysctls["fs.file-max"] = []uint64{15} }, Want{Conns: 5}, 0, "fs.file-max"},
		{"watches", func(h *Host) { h.Sysctls["fs.epoll.max_user_watches"] = []uint64{99} }, Want{Conns: 5, Target: Both}, 49, "fs.epoll.max_user_watches"},
		{"tracked", func(h *Host) { h.Tracked, h.Sysctls["net.netfilter.nf_conntrack_max"] = 10, []uint64{100} }, Want{Conns: 5}, 90, "conntrack"},
		{"ports", func(*Host) {}, Want{Conns: 5, Target: LoadTest, Sources: 2}, 110_592, "source ports"},
		{"a page each is no end", func(h *Host) { h.Sysctls["net.ipv4.tcp_mem"] = []uint64{1, 2, 3} }, Want{Conns: 5}, 2_004_992, "fs.epoll.max_user_watches"},
		{"nothing known", func(h *Host) { *h = Host{} }, Want{Conns: 5}, 0, ""},
	} {
		h := roomy()
		c.change(&h)
		if r := Diagnose(h, c.want); r.Holds != c.holds || r.Ends != c.ends || r.Ends == "" && r.OK {
			t.Errorf("%s: holds %d, %q ends, OK %v; want %d, %q", c.name, r.Holds, r.Ends, r.OK, c.holds, c.ends)
		}
	}
}

// TestSumsDoNotOverflow: whatever a host says and somebody asks for, there is an answer.
func TestSumsDoNotOverflow(t *testing.T) {
	h := roomy()
	h.Descriptors, h.FilesUsed, h.Tracked = math.MaxInt64, math.MaxUint64, math.MaxUint64
	for name, now := range h.Sysctls {
		for i := range now {
			h.Sysctls[name][i] = math.MaxUint64
		}
	}
	for _, target := range []Target{Serve, LoadTest, Both} {
		r := Diagnose(h, Want{Conns: 100_000_000, Processes: 1, Target: target})
		var b bytes.Buffer
		if err := r.WriteText(&b, true); err != nil || r.Holds > math.MaxInt64 {
			t.Errorf("%v: %v holds %d", target, err, r.Holds)
		}
	}
}

func TestColoursAreForTerminalsAndChangeNoLetter(t *testing.T) {
	h := roomy()
	h.Descriptors, h.Clock = 100, "hpet"
	r := Diagnose(h, Want{Conns: 1_000_000})
	var plain, coloured bytes.Buffer
	if r.WriteText(&plain, false) != nil || r.WriteText(&coloured, true) != nil {
		t.Fatal("a buffer fails")
	}
	text := coloured.String()
	for _, code := range []string{red, yellow, green, dim, "0"} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	if text != plain.String() || text == coloured.String() || strings.Contains(plain.String(), "\x1b") {
		t.Errorf("plain:\n%s\ncoloured:\n%s", plain.String(), coloured.String())
	}
	for line := range strings.Lines(plain.String()) {
		if n := len([]rune(line)) - 1; n > columns && !strings.Contains(line, "/sys/") { // commands stay whole
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestJSONHasListsAndWords(t *testing.T) {
	var b bytes.Buffer
	good, bad := Diagnose(roomy(), Want{Conns: 1}), Diagnose(Host{Clock: "hpet"}, Want{Conns: 1})
	if err := good.WriteJSON(&b); err != nil || !strings.Contains(b.String(), `"findings": []`) {
		t.Errorf("%v %s", err, b.String())
	}
	b.Reset()
	var out struct {
		OK       bool
		Findings []map[string]string
	}
	if err := bad.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || out.OK || len(out.Findings) != 1 || out.Findings[0]["severity"] != "warns" {
		t.Errorf("%v %s", err, b.String())
	}
}

func TestStrictCountsWarningsAndWhatIsUnknown(t *testing.T) {
	for _, c := range []struct {
		change       func(*Host)
		failed, hard bool // strictly, and otherwise
	}{
		{func(*Host) {}, false, false},
		{func(h *Host) { h.HugePages = "always" }, false, false},
		{func(h *Host) { h.Unreadable = []string{"/x"} }, true, false},
		{func(h *Host) { h.Clock = "hpet" }, true, false},
		{func(h *Host) { h.Descriptors = 1 }, true, true},
	} {
		h := roomy()
		c.change(&h)
		r := Diagnose(h, Want{Conns: 1000})
		if r.Failed(true) != c.failed || r.Failed(false) != c.hard || r.OK == c.hard {
			t.Errorf("%+v: strictly %v, else %v, OK %v", r.Findings, r.Failed(true), r.Failed(false), r.OK)
		}
	}
}

func TestThisHostIsRead(t *testing.T) {
	h := ReadHost()
	if known := h.Descriptors > 0 && h.Memory > 0 && h.Sysctls["fs.file-max"] != nil; known != (runtime.GOOS == "linux") {
		t.Errorf("on %s ReadHost gives %+v", runtime.GOOS, h)
	}
}

func TestOddFilesAreNamedAndNotBelieved(t *testing.T) {
	h := HostIn(fstest.MapFS{
		"proc/sys/net/core/somaxconn":   {Data: []byte("4096\n")},
		"proc/sys/fs/nr_open":           {Data: []byte("many\n")},
		"proc/sys/net/ipv4/tcp_mem":     {Data: []byte("1 2\n")},
		"proc/meminfo":                  {Data: []byte("MemTotal: 8 kB\nMemAvailable: x kB\n")},
		"proc/self/limits":              {Data: []byte("Max open files  5\n")},
		"sys/devices/system/cpu/online": {Data: []byte("3-1\n")},
	})
	want := []string{"/proc/sys/fs/nr_open", "/proc/sys/net/ipv4/tcp_mem", "/proc/self/limits", "/proc/sys/fs/file-nr", "/proc/meminfo", "/sys/devices/system/cpu/online"}
	if !slices.Equal(h.Unreadable, want) || len(h.Sysctls) != 1 || h.Sysctls["net.core.somaxconn"][0] != 4096 || h.Memory != 8192 || h.Available != 0 {
		t.Errorf("got %+v\nwant unreadable %q", h, want)
	}
}

func TestSmallFilesOfTheKernelAreUnderstood(t *testing.T) {
	for text, want := range map[string]uint64{"0": 1, "0-3\n": 4, "0-3,6": 5, "": 0, "x": 0, "3-": 0, "0-99999999": 0, "-1": 0} {
		if n, ok := listLength(text); ok != (want > 0) || ok && n != want {
			t.Errorf("processors %q: %d %v, want %d", text, n, ok, want)
		}
	}
	for text, want := range map[string]uint64{
		"Max open files            1024                 20000                files\n":             20_000,
		"Max processes 1 2 p\nMax open files            1024                 unlimited   files\n": math.MaxInt64,
		"": 0, "Max open files": 0,
	} {
		if n, ok := descriptorLimit(text); ok != (want > 0) || ok && n != want {
			t.Errorf("limits %q: %d %v, want %d", text, n, ok, want)
		}
	}
	for text, want := range map[string]string{"always [madvise] never": "madvise", "[always] madvise": "always", "none": "", "[": ""} {
		if got := bracketed(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := lostPackets("0d22 0009346e 9\n0923 00000001\n\nx\nz z\n"); got != 0x9346f {
		t.Errorf("lost packets: %d", got)
	}
}

func TestThreadsAreCountedByTheTightestGroup(t *testing.T) {
	for _, c := range []struct {
		name string
		root fstest.MapFS
		want uint64
	}{
		{"none", tree(), 0},
		{"version 2, the tighter one above", tree("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/pids.max", "100\n", "sys/fs/cgroup/a/pids.max", "70\n"), 70},
		{"version 2, the tighter one below", tree("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/pids.max", "10\n", "sys/fs/cgroup/a/pids.max", "70\n"), 10},
		{"version 2 without a limit", tree("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/pids.max", "max\n"), 0},
		{"version 1", tree("proc/self/cgroup", "9:name=systemd:/\n3:pids,x:/d\n", "sys/fs/cgroup/pids/d/pids.max", "77\n"), 77},
		{"a container that sees its host's path", tree("proc/self/cgroup", "3:pids:/../../docker/x\n", "sys/fs/cgroup/pids/pids.max", "77\n"), 77},
		{"odd", tree("proc/self/cgroup", "::\n0\n", "sys/fs/cgroup/pids.max", "7\n"), 0},
	} {
		r := reader{root: c.root}
		if got := r.pids(); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestASealedProcIsAContainersOnlyInAContainer(t *testing.T) {
	const fixed, open = "proc /proc/sys proc ro,nosuid 0 0\n", "proc /proc proc rw 0 0\n"
	for _, c := range []struct {
		name, mounts, mark string
		want               bool
	}{
		{"a host", "/dev/vda / ext4 rw 0 0\n" + open, "", false},
		{"docker", "overlay / overlay rw 0 0\n" + fixed, "", true},
		{"docker with a file system of another kind", "/dev/x / ext4 rw 0 0\n" + fixed, ".dockerenv", true},
		{"podman", "x / fuse rw 0 0\n" + fixed, "run/.containerenv", true},
		{"privileged", "overlay / overlay rw 0 0\n" + open, ".dockerenv", false},
		{"a unit with ProtectKernelTunables", "/dev/vda / ext4 ro 0 0\n" + fixed, "", false},
	} {
		root := fstest.MapFS{"proc/self/mounts": {Data: []byte(c.mounts)}}
		if c.mark != "" {
			root[c.mark] = &fstest.MapFile{}
		}
		r := reader{root: root}
		if got := r.sealed(); got != c.want {
			t.Errorf("%s: sealed %v, want %v", c.name, got, c.want)
		}
	}
}
