package report

import (
	"strings"
	"testing"
	"time"

	"shoal/loadtest/fleet"
)

func TestAThousandMembersAreNotListed(t *testing.T) {
	all := make([]fleet.MemberStatus, 1000)
	for i := range all {
		all[i] = fleet.MemberStatus{Name: "worker", Connections: 1000, Engines: 1, RSS: 1 << 20}
	}
	all[1].Clock = fleet.Offset{Ahead: -3 * time.Millisecond, Uncertainty: 40 * time.Microsecond}
	all[500].Gone = "killed"
	tab := &table{}
	tab.members(all)
	got := tab.b.String()
	for _, part := range []string{"worker: 1,000 connections, event loops: 1, 1048.6 KB RSS", "its clock 3ms ± 40µs ahead", "; gone: killed", "1,000 in all"} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if n := strings.Count(got, "\n"); n != rowsMax+2 {
		t.Errorf("%d lines", n)
	}
}
