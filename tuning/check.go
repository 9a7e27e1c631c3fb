package tuning

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Host is what limits a server. A zero field is not known and is not judged.
type Host struct {
	Descriptors uint64 // RLIMIT_NOFILE of this process, after Go raised it to the hard limit
	FilesMax    uint64 // fs.file-max: descriptors of the whole system
	PerProcess  uint64 // fs.nr_open: the most RLIMIT_NOFILE can be set to
	SoMaxConn   uint64 // net.core.somaxconn
	SynBacklog  uint64 // net.ipv4.tcp_max_syn_backlog
}

// Want is what a server needs.
type Want struct {
	Conns         int // connections it is meant to hold; 0 = unknown
	ListenBacklog int // accept queue it will ask for; 0 = as much as there is
}

const (
	// spareDescriptors is what the process itself holds beside its connections: listeners, pollers, log, HTTP requests.
	spareDescriptors = 256
	// fewDescriptors is a limit with which nobody means to run a server of many connections.
	fewDescriptors = 65_536
	// fewQueued is an accept queue that overflows when clients reconnect together.
	fewQueued = 1024
)

// Finding is one limit that is too low.
type Finding struct {
	Name   string // of the limit, as the host calls it
	Value  uint64
	Why    string
	Change string // what to do, ready to paste
}

// String is the line to print.
func (f Finding) String() string {
	return fmt.Sprintf("%s = %d: %s; %s", f.Name, f.Value, f.Why, f.Change)
}

// Check lists what h allows too little of for w, worst first. An empty list means that nothing known stands in the way.
func Check(h Host, w Want) []Finding {
	var found []Finding
	need := uint64(fewDescriptors)
	why := fmt.Sprintf("the server can hold at most %d connections", spared(h.Descriptors))
	if w.Conns > 0 {
		need = uint64(w.Conns) + spareDescriptors
		why += fmt.Sprintf(", not %d", w.Conns)
	}
	if low(h.Descriptors, need) {
		found = append(found, Finding{"RLIMIT_NOFILE", h.Descriptors, why,
			fmt.Sprintf("start it under «ulimit -n %d», or with LimitNOFILE=%d in the systemd unit", need, need)})
	}
	if low(h.PerProcess, need) {
		found = append(found, sysctl("fs.nr_open", h.PerProcess, need, "RLIMIT_NOFILE cannot be raised above it"))
	}
	if low(h.FilesMax, need) {
		found = append(found, sysctl("fs.file-max", h.FilesMax, need, "the whole system may hold no more descriptors"))
	}
	queue := max(uint64(w.ListenBacklog), fewQueued)
	if low(h.SoMaxConn, queue) {
		found = append(found, sysctl("net.core.somaxconn", h.SoMaxConn, queue,
			"the kernel drops new connections when more than that wait, as after a restart"))
	}
	if low(h.SynBacklog, queue) {
		found = append(found, sysctl("net.ipv4.tcp_max_syn_backlog", h.SynBacklog, queue,
			"the kernel drops new connections when more than that are half open"))
	}
	return found
}

func low(value, need uint64) bool { return value != 0 && value < need }

func spared(descriptors uint64) uint64 {
	if descriptors < spareDescriptors {
		return 0
	}
	return descriptors - spareDescriptors
}

func sysctl(name string, value, need uint64, why string) Finding {
	return Finding{name, value, why, fmt.Sprintf("sysctl -w %s=%d", name, need)}
}

// readSysctls fills in what /proc/sys, given as a file system, says. A file that is missing or odd leaves its field zero.
func (h *Host) readSysctls(proc fs.FS) {
	for name, field := range map[string]*uint64{
		"fs/file-max":                  &h.FilesMax,
		"fs/nr_open":                   &h.PerProcess,
		"net/core/somaxconn":           &h.SoMaxConn,
		"net/ipv4/tcp_max_syn_backlog": &h.SynBacklog,
	} {
		text, err := fs.ReadFile(proc, name)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			*field = n
		}
	}
}
