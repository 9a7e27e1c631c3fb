package observe

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Accepts are the kernel's counters of connections that found an accept queue full.
type Accepts struct {
	Known            bool
	Overflows, Drops int64
}

// ReadAccepts reads /proc/net/netstat: of the server's process when it is known, since containers have their own.
func ReadAccepts(proc fs.FS, pid int) (a Accepts) {
	name := "net/netstat"
	if pid > 0 {
		name = path.Join(strconv.Itoa(pid), name)
	}
	text, err := fs.ReadFile(proc, name)
	if err != nil {
		return a
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, v := range f[:min(len(f), len(names))] {
			n, _ := strconv.ParseInt(v, 10, 64)
			switch names[i] {
			case "ListenOverflows":
				a.Overflows, a.Known = n, true
			case "ListenDrops":
				a.Drops = n
			}
		}
	}
	return a
}

// ResidentBytes is the resident memory of a process, 0 when it cannot be read.
func ResidentBytes(proc fs.FS, pid int) (rss int64) {
	if pid == 0 {
		return 0
	}
	if status, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "status")); err == nil {
		fields(string(status), map[string]*int64{"VmRSS": &rss})
	}
	return rss
}

// TCPBytes is what the kernel keeps in the buffers of TCP sockets: of all of the network namespace of a process, in and out, and where
// both ends are on this host of both. 0 when it is not known.
func TCPBytes(proc fs.FS, pid int) int64 {
	name := "net/sockstat"
	if pid > 0 {
		name = path.Join(strconv.Itoa(pid), name)
	}
	text, err := fs.ReadFile(proc, name)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(f); i += 2 {
			if f[i] == "mem" {
				pages, _ := strconv.ParseInt(f[i+1], 10, 64)
				return pages * int64(os.Getpagesize())
			}
		}
	}
	return 0
}
