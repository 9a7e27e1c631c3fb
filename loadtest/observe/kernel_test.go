package observe

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheAcceptQueuesCountersAreFound(t *testing.T) {
	const text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\nTcpExt: 1 22 33 4\nIpExt: InNoRoutes\nIpExt: 0\n"
	proc := fstest.MapFS{"net/netstat": {Data: []byte(text)}, "7/net/netstat": {Data: []byte(strings.ReplaceAll(text, "22", "44"))}}
	if a := ReadAccepts(proc, 0); a != (Accepts{true, 22, 33}) {
		t.Errorf("%+v", a)
	}
	if a := ReadAccepts(proc, 7); a != (Accepts{true, 44, 33}) {
		t.Errorf("%+v", a)
	}
	if a := ReadAccepts(proc, 8); a.Known {
		t.Errorf("%+v", a)
	}
}

func TestTheKernelsMemoryIsFound(t *testing.T) {
	const text = "sockets: used 75\nTCP: inuse 7 orphan 0 tw 0 alloc 9 mem 3\nUDP: inuse 0 mem 9\n"
	proc := fstest.MapFS{"net/sockstat": {Data: []byte(text)}, "7/net/sockstat": {Data: []byte(strings.ReplaceAll(text, "mem 3", "mem 5"))}}
	page := int64(os.Getpagesize())
	for pid, want := range map[int]int64{0: 3 * page, 7: 5 * page, 8: 0} {
		if got := TCPBytes(proc, pid); got != want {
			t.Errorf("%d: %d bytes, want %d", pid, got, want)
		}
	}
}
