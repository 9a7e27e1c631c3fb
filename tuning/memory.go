package tuning

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Room is memory that the process shares with others: that of a control group, or of the host.
type Room struct {
	Host  bool   // of the host; else of a control group
	Limit uint64 // bytes, never 0
	Used  uint64 // bytes, without what the kernel could give up at once; may exceed Limit
}

// Part is the used part of the limit.
func (r Room) Part() float64 { return float64(r.Used) / float64(r.Limit) }

// Memory is all rooms the process is in: when one of them is full, the kernel ends processes.
type Memory []Room

// Smallest is the room with the lowest limit; ok is false when none is known.
func (m Memory) Smallest() (r Room, ok bool) {
	for i, each := range m {
		if i == 0 || each.Limit < r.Limit {
			r = each
		}
	}
	return r, len(m) > 0
}

// ReadMemory asks the kernel this runs on.
func ReadMemory() Memory { return readMemory(os.DirFS("/")) }

// readMemory reads /proc and /sys, given as the root of a file system. What is missing or odd is left out.
func readMemory(root fs.FS) (m Memory) {
	if host := fieldsOf(root, "proc/meminfo"); host["MemTotal:"] > 0 && host["MemAvailable:"] > 0 {
		total := host["MemTotal:"] * 1024 // "kB" are KiB
		m = append(m, Room{true, total, total - min(host["MemAvailable:"]*1024, total)})
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(groups)) { // number:controllers:path, cgroups(7)
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) < 3:
		case parts[0] == "0" && parts[1] == "":
			m = append(m, roomsOf(root, "sys/fs/cgroup", parts[2], version2)...)
		case strings.Contains(","+parts[1]+",", ",memory,"):
			m = append(m, roomsOf(root, "sys/fs/cgroup/memory", parts[2], version1)...)
		}
	}
	return m
}

// version is how the files of a control group are called.
type version struct{ limit, used, inactive string }

// Version 1 and 2 of control groups: Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
var (
	version1 = version{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
	version2 = version{"memory.max", "memory.current", "inactive_file"}
)

// roomsOf are the limits of a control group and of those it is in. In a container its path may be that of the host,
// which is not there: the root of what is mounted is then its own.
func roomsOf(root fs.FS, mount, group string, v version) (m Memory) {
	for at := path.Clean("/" + group); ; at = path.Dir(at) {
		dir := mount + strings.TrimSuffix(at, "/")
		// Without a limit version 2 has the word max and version 1 a number near 2⁶³.
		if limit := numberIn(root, dir+"/"+v.limit); limit > 0 && limit < 1<<60 {
			used := numberIn(root, dir+"/"+v.used)
			used -= min(fieldsOf(root, dir+"/memory.stat")[v.inactive], used)
			m = append(m, Room{false, limit, used})
		}
		if at == "/" {
			return m
		}
	}
}

// numberIn reads a file that is one number, 0 if it is not.
func numberIn(root fs.FS, name string) uint64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// fieldsOf reads a file of lines that are a name, a number and possibly a unit.
func fieldsOf(root fs.FS, name string) map[string]uint64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	all := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				all[f[0]] = n
			}
		}
	}
	return all
}
