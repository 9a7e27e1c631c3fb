package kernel

import (
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	sockstat = "sockets: used 75\nTCP: inuse 7 orphan 0 tw 0 alloc 9 mem 3\nUDP: inuse 0 mem 9\n"
	snmp     = "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: RtoAlgorithm MaxConn OutSegs RetransSegs InErrs\nTcp: 1 -1 900 12 3\n"
	netstat  = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\nTcpExt: 1 22 33 4\nIpExt: InNoRoutes\nIpExt: 0\n"
	meminfo  = "MemTotal:       24684084 kB\nSlab:            1000 kB\nSReclaimable:     900 kB\n"
	slabinfo = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables
TCP                  100    130   2368   13    8 : tunables    0    0    0 : slabdata     10     10      0
filp                 400    420    192   21    1 : tunables    0    0    0 : slabdata     20     20      0
ext4_inode_cache    9999   9999   1128   14    4 : tunables    0    0    0 : slabdata      1      1      0
`
)

func files(pid string, change map[string]string) fstest.MapFS {
	all := map[string]string{
		pid + Sockstat: sockstat, pid + SNMP: snmp, pid + Netstat: netstat, Meminfo: meminfo, Slabinfo: slabinfo,
	}
	maps.Copy(all, change)
	proc := fstest.MapFS{}
	for name, text := range all {
		if text != "" {
			proc[name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	return proc
}

func TestTheHostTellsOfItsSockets(t *testing.T) {
	page := int64(os.Getpagesize())
	for pid, dir := range map[int]string{0: "", 7: "7/"} {
		h := Read(files(dir, nil), pid)
		if h.Sockets != 7 || h.Buffers != 3*page || h.Slab != 1000<<10 || h.Segments != 900 || h.Retransmits != 12 || h.Overflows != 22 || h.Drops != 33 {
			t.Errorf("%d: %+v", pid, h)
		}
		if len(h.Caches) != 2 || h.Caches["TCP"] != 100*8*page/13 || h.Caches["filp"] != 400*page/21 || len(h.Unknown) != 0 {
			t.Errorf("%d: caches %v, unknown %v", pid, h.Caches, h.Unknown)
		}
		if s := ReadSockets(files(dir, nil), pid); s.Sockets != h.Sockets || s.Buffers != h.Buffers || s.Slab != 0 {
			t.Errorf("%d: %+v", pid, s)
		}
	}
}

// forbidden is a file system of which one file may not be read.
type forbidden struct {
	fs.FS
	name string
}

func (f forbidden) Open(name string) (fs.File, error) {
	if name == f.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return f.FS.Open(name)
}

func TestWhatCannotBeReadIsSaidAndTheRestIsThere(t *testing.T) {
	h := Read(forbidden{files("", nil), Slabinfo}, 0)
	if h.Sockets != 7 || h.Slab == 0 || h.Caches != nil || len(h.Unknown) != 1 || h.Unknown[Slabinfo] != "/proc/slabinfo may be read by root only" {
		t.Errorf("%+v", h)
	}
	for file, text := range map[string]string{
		Sockstat: "TCP: inuse seven\n", SNMP: "Tcp: RetransSegs\nTcp: 4\n", Netstat: "", Meminfo: "Slab: many kB\n", Slabinfo: "version 3\n",
	} {
		h := Read(files("", map[string]string{file: text}), 0)
		if len(h.Unknown) != 1 || !strings.HasPrefix(h.Unknown[file], "/proc/"+file+" cannot be read: ") || strings.Contains(h.Unknown[file], "open") {
			t.Errorf("%s: %q", file, h.Unknown)
		}
	}
}

func TestGrowthIsWhatCameToBeSince(t *testing.T) {
	before := Host{
		Sockets: 5, Buffers: 10, Slab: 100, Caches: map[string]int64{"TCP": 7, "filp": 9}, Segments: 1, Retransmits: 2, Overflows: 3, Drops: 4,
		Unknown: map[string]string{Meminfo: "x"},
	}
	after := Host{
		Sockets: 15, Buffers: 30, Slab: 90, Caches: map[string]int64{"TCP": 17, "filp": 9, "dentry": 3}, Segments: 11, Retransmits: 3, Overflows: 5, Drops: 7,
		Unknown: map[string]string{SNMP: "y"},
	}
	g := after.Grown(before)
	if g.Sockets != 10 || g.Buffers != 20 || g.Slab != -10 || g.Segments != 10 || g.Retransmits != 1 || g.Overflows != 2 || g.Drops != 3 {
		t.Errorf("%+v", g)
	}
	if !maps.Equal(g.Caches, map[string]int64{"TCP": 10, "dentry": 3}) || !maps.Equal(g.Unknown, map[string]string{Meminfo: "x", SNMP: "y"}) || len(before.Unknown) != 1 {
		t.Errorf("%v %v %v", g.Caches, g.Unknown, before.Unknown)
	}
}

func TestThisHostCanBeRead(t *testing.T) {
	if _, err := os.Stat("/proc/net/sockstat"); err != nil {
		t.Skip("/proc is Linux's")
	}
	h := Read(os.DirFS("/proc"), 0)
	delete(h.Unknown, Slabinfo) // only root may
	if len(h.Unknown) != 0 || h.Slab == 0 {
		t.Errorf("%+v", h)
	}
}
