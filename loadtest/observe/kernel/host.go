package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"strconv"
	"strings"
)

// Files of /proc that a Host is read from; those of net are of one network namespace.
const (
	Sockstat = "net/sockstat"
	SNMP     = "net/snmp"
	Netstat  = "net/netstat"
	Slabinfo = "slabinfo"
	Meminfo  = "meminfo"
)

// Host is what the kernel tells at one moment. Counters are since it started. What is of the network is of one network namespace:
// where both ends of a connection are on this host, of both.
type Host struct {
	Sockets     int64             `json:"tcp_sockets"`                 // in use, listening ones included
	Buffers     int64             `json:"tcp_buffers_bytes"`           // what is queued in sockets, whole pages
	Caches      map[string]int64  `json:"slab_caches_bytes,omitempty"` // what the objects of sockets take, by cache
	Slab        int64             `json:"slab_bytes"`                  // of all caches, whoever has them
	Segments    int64             `json:"tcp_segments_out"`            // sent, without those sent again
	Retransmits int64             `json:"tcp_segments_retransmitted"`
	Overflows   int64             `json:"listen_overflows"`
	Drops       int64             `json:"listen_drops"`
	Unknown     map[string]string `json:"unknown,omitempty"` // by file, why it could not be read: what is above of it is 0
}

// Read reads /proc. pid is a process of the network namespace that is meant; 0 = that of the reader.
func Read(proc fs.FS, pid int) (h Host) {
	process := ""
	if pid > 0 {
		process = strconv.Itoa(pid)
	}
	h.sockets(proc, process)
	h.read(proc, "", Slabinfo, func(text string) (err error) {
		h.Caches, err = caches(text, int64(os.Getpagesize()))
		return err
	})
	h.read(proc, "", Meminfo, func(text string) error {
		return take(pairs(text, "Slab:"), map[string]*int64{"": &h.Slab})
	})
	h.Slab *= 1024
	h.read(proc, process, SNMP, func(text string) error {
		return take(columns(text, "Tcp:"), map[string]*int64{"OutSegs": &h.Segments, "RetransSegs": &h.Retransmits})
	})
	h.read(proc, process, Netstat, func(text string) error {
		return take(columns(text, "TcpExt:"), map[string]*int64{"ListenOverflows": &h.Overflows, "ListenDrops": &h.Drops})
	})
	return h
}

// ReadSockets reads only what costs next to nothing: Sockets and Buffers.
func ReadSockets(proc fs.FS, pid int) (h Host) {
	process := ""
	if pid > 0 {
		process = strconv.Itoa(pid)
	}
	h.sockets(proc, process)
	return h
}

func (h *Host) sockets(proc fs.FS, process string) {
	h.read(proc, process, Sockstat, func(text string) error {
		return take(pairs(text, "TCP:"), map[string]*int64{"inuse": &h.Sockets, "mem": &h.Buffers})
	})
	h.Buffers *= int64(os.Getpagesize())
}

var errForm = errors.New("it is not in its known form")

// read reads one file, of a process or ("") of the reader, and notes why that did not work.
func (h *Host) read(proc fs.FS, process, file string, parse func(string) error) {
	name := path.Join(process, file)
	text, err := fs.ReadFile(proc, name)
	if err == nil {
		err = parse(string(text))
	}
	if err == nil {
		return
	}
	if h.Unknown == nil {
		h.Unknown = map[string]string{}
	}
	if errors.Is(err, fs.ErrPermission) {
		h.Unknown[file] = "/proc/" + name + " may be read by root only"
		return
	}
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err // its path is named already
	}
	h.Unknown[file] = fmt.Sprintf("/proc/%s cannot be read: %v", name, err)
}

// take takes values by their names.
func take(values map[string]int64, into map[string]*int64) error {
	for name, at := range into {
		v, ok := values[name]
		if !ok {
			return errForm
		}
		*at = v
	}
	return nil
}

// pairs reads the line «first: key 1 other 2»; a line of a single value, «first: 1 kB», has it as "".
func pairs(text, first string) map[string]int64 {
	all := map[string]int64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != first {
			continue
		}
		if v, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			all[""] = v
			break
		}
		for i := 1; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseInt(f[i+1], 10, 64); err == nil {
				all[f[i]] = v
			}
		}
	}
	return all
}

// columns reads two lines that begin alike, one of names and one of values.
func columns(text, first string) map[string]int64 {
	all := map[string]int64{}
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != first {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, text := range f[:min(len(f), len(names))] {
			if v, err := strconv.ParseInt(text, 10, 64); err == nil {
				all[names[i]] = v
			}
		}
	}
	return all
}

// Grown is what came to be since before. A file that either could not be read is unknown.
func (h Host) Grown(before Host) Host {
	g := Host{
		Sockets: h.Sockets - before.Sockets, Buffers: h.Buffers - before.Buffers, Slab: h.Slab - before.Slab, Caches: map[string]int64{},
		Segments: h.Segments - before.Segments, Retransmits: h.Retransmits - before.Retransmits,
		Overflows: h.Overflows - before.Overflows, Drops: h.Drops - before.Drops, Unknown: maps.Clone(before.Unknown),
	}
	for name, bytes := range h.Caches {
		if bytes -= before.Caches[name]; bytes > 0 {
			g.Caches[name] = bytes
		}
	}
	if g.Unknown == nil {
		g.Unknown = map[string]string{}
	}
	maps.Copy(g.Unknown, h.Unknown)
	return g
}
