package loop

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestEachBlockedNamesThoseThatWaitForTheirPeers goes over them in pieces of one slot, of some and of all.
func TestEachBlockedNamesThoseThatWaitForTheirPeers(t *testing.T) {
	slots := make(chan uint32, 10)
	r := start(t, Config{BacklogBytesMax: 1 << 30}, script{open: func(_ *Loop, slot uint32) { slots <- slot }})
	want := map[uint32]int{}
	r.dial()
	receive(t, slots, "open")
	for range 3 {
		r.dial()
		slot := receive(t, slots, "open")
		for done := false; !done; {
			r.on(0, func(l *Loop) {
				_ = send(l, slot, strings.Repeat("s", 1<<20))
				if done = l.Blocked(slot); done {
					want[slot] = l.Backlog(slot)
				}
			})
		}
	}
	r.on(0, func(l *Loop) {
		for slot := range want {
			want[slot] = l.Backlog(slot)
		}
		for _, n := range []int{1, 64, 1 << 20} {
			got := map[uint32]int{}
			calls := 0
			for from := uint32(0); calls == 0 || from != 0; calls++ {
				from = l.EachBlocked(from, n, func(slot uint32, backlog int) bool {
					got[slot] += backlog
					return n > 1
				})
			}
			if !maps.Equal(got, want) || n == 1 && calls < len(want) {
				t.Errorf("%d at a time: %v after %d calls, want %v", n, got, calls, want)
			}
		}
		for _, slot := range slices.Collect(maps.Keys(want)) {
			l.Close(slot, ReasonServer)
		}
		l.EachBlocked(0, 1<<20, func(slot uint32, _ int) bool {
			t.Errorf("slot %d is closed", slot)
			return true
		})
	})
}
