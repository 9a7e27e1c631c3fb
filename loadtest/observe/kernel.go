package observe

import (
	"io/fs"
	"path"
	"strconv"

	"shoal/loadtest/observe/kernel"
)

// Accepts are the kernel's counters of connections that found an accept queue full.
type Accepts struct {
	Known            bool
	Overflows, Drops int64
}

// ReadAccepts reads /proc/net/netstat: of the server's process when it is known, since containers have their own.
func ReadAccepts(proc fs.FS, pid int) Accepts {
	h := kernel.Read(proc, pid)
	return Accepts{h.Unknown[kernel.Netstat] == "", h.Overflows, h.Drops}
}

// ResidentBytes is the resident memory of processes, 0 when it cannot be read.
func ResidentBytes(proc fs.FS, pids []int) (sum int64) {
	for _, pid := range pids {
		var rss int64
		if status, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "status")); err == nil {
			fields(string(status), map[string]*int64{"VmRSS": &rss})
		}
		sum += rss
	}
	return sum
}

// TCPBytes is what the kernel keeps in the buffers of TCP sockets: of all of the network namespace of a process, in and out, and where
// both ends are on this host of both. 0 when it is not known.
func TCPBytes(proc fs.FS, pid int) int64 { return kernel.ReadSockets(proc, pid).Buffers }
