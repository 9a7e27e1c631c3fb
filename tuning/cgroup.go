package tuning

import (
	"path"
	"slices"
	"strings"
)

// group is the control group with the least memory left; ok is false when none has a limit.
func (h *Host) group() (r Room, ok bool) {
	for _, each := range h.Rooms {
		if !each.Host && (!ok || each.free() < r.free()) {
			r, ok = each, true
		}
	}
	return r, ok
}

func (r Room) free() uint64 { return r.Limit - min(r.Used, r.Limit) }

// pids is the tightest limit of threads and processes of the control groups this process is in; 0 = none.
func (r *reader) pids() (least uint64) {
	for line := range strings.Lines(r.text("proc/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount := ""
		switch {
		case f[0] == "0" && f[1] == "":
			mount = "sys/fs/cgroup"
		case slices.Contains(strings.Split(f[1], ","), "pids"):
			mount = "sys/fs/cgroup/pids"
		default:
			continue
		}
		for at := path.Clean("/" + f[2]); ; at = path.Dir(at) {
			if n, ok := r.number(path.Join(mount, at, "pids.max")); ok && (least == 0 || n < least) {
				least = n
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}
