package tuning

import (
	"fmt"
	"testing"
	"testing/fstest"
)

// tree is a file system of texts.
func tree(files ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fs[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fs
}

const meminfo = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\nHugePages_Total:   0\n"

func TestTheMemoryOfAProcessIsThatOfItsHostAndItsGroups(t *testing.T) {
	for _, c := range []struct {
		name           string
		files          fstest.MapFS
		smallest, want string // and all
	}{
		{"nothing is known", tree(), "{false 0 0}", "[]"},
		{"a host", tree("proc/meminfo", meminfo), "{true 1024000 409600}", "[{true 1024000 409600}]"},
		{"a host that lies", tree("proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 20 kB\n"), "{true 10240 0}", "[{true 10240 0}]"},
		{
			"version 2, in a container",
			tree("proc/meminfo", meminfo, "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "500000\n",
				"sys/fs/cgroup/memory.current", "400000\n", "sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 50000\n"),
			"{false 500000 350000}", "[{true 1024000 409600} {false 500000 350000}]",
		},
		{
			"version 2, a service in a slice: both have limits",
			tree("proc/meminfo", meminfo, "proc/self/cgroup", "0::/system.slice/shoal.service\n",
				"sys/fs/cgroup/system.slice/memory.max", "300000\n", "sys/fs/cgroup/system.slice/memory.current", "299000\n",
				"sys/fs/cgroup/system.slice/shoal.service/memory.max", "200000\n", "sys/fs/cgroup/system.slice/shoal.service/memory.current", "100000\n"),
			"{false 200000 100000}", "[{true 1024000 409600} {false 200000 100000} {false 300000 299000}]",
		},
		{
			"version 2 without a limit", tree("proc/meminfo", meminfo, "proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "max\n"),
			"{true 1024000 409600}", "[{true 1024000 409600}]",
		},
		{
			"version 1, with the host's path in a container",
			tree("proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n",
				"sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n", "sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 1000\n"),
			"{false 4096 4000}", "[{false 4096 4000}]",
		},
		{
			"version 1 without a limit",
			tree("proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), "{false 0 0}", "[]",
		},
		{"odd files", tree("proc/meminfo", "MemTotal: x\n\nMemAvailable:", "proc/self/cgroup", "what\n0::\n", "sys/fs/cgroup/memory.max", ""), "{false 0 0}", "[]"},
	} {
		m := readMemory(c.files)
		smallest, some := m.Smallest()
		if got := fmt.Sprint(smallest); got != c.smallest || some != (len(m) > 0) {
			t.Errorf("%s: the smallest is %s, want %s", c.name, got, c.smallest)
		}
		if got := fmt.Sprint(m); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestThisHostHasMemory(t *testing.T) {
	m := ReadMemory()
	if len(m) == 0 || !m[0].Host || m[0].Part() <= 0 || m[0].Part() > 1 {
		t.Errorf("%+v", m)
	}
}

func BenchmarkReadMemory(b *testing.B) {
	for b.Loop() {
		ReadMemory()
	}
}
