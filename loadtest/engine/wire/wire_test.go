package wire

import (
	"net/netip"
	"testing"
	"unsafe"
)

func TestSourcesGoRound(t *testing.T) {
	seen := map[netip.Addr]int{}
	for i := range uint32(600) {
		a := Source(300, i)
		if a.Port() != 0 || !a.Addr().IsLoopback() || a.Addr() == netip.MustParseAddr("127.0.0.0") {
			t.Fatalf("source %d is %v", i, a)
		}
		seen[a.Addr()]++
	}
	if len(seen) != 300 {
		t.Errorf("%d addresses, want 300", len(seen))
	}
}

func TestAStreamIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Stream{}); n != 32 {
		t.Errorf("a stream takes %d B, its comment says 32", n)
	}
}
