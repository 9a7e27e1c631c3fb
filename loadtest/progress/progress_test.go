package progress

import (
	"strings"
	"testing"
	"time"
)

func TestATerminalIsRewrittenAndElseLinesAreWritten(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		terminal bool
		want     string
	}{
		{true, "    1.0 s  a\n           B 0 of 2 connections\r\x1b[1A\x1b[J    2.0 s  c\n           B 0 of 2 connections\r\x1b[1A\x1b[J" +
			"   3.0 s  d: 0 of 2 connections\n    4.0 s  e\n           B 0 of 2 connections\r\x1b[1A\x1b[J"},
		{false, "   2.0 s  c: 0 of 2 connections\n   3.0 s  d: 0 of 2 connections\n"},
	} {
		var out strings.Builder
		v := New(&out, c.terminal)
		state := func(seconds int, doing string) State {
			return State{Elapsed: time.Duration(seconds) * time.Second, Doing: doing, Done: -1, Asked: 2}
		}
		show := func(after time.Duration, seconds int, doing string) {
			v.Update(now.Add(after), func() State { return state(seconds, doing) })
		}
		show(0, 1, "a")
		show(time.Millisecond, 9, "b") // too soon
		show(3*time.Second, 2, "c")
		v.Done(func() State { return state(3, "d") })
		show(3*time.Second, 4, "e")
		v.End()
		v.End()
		if got := strings.ReplaceAll(out.String(), bar(0), "B"); got != c.want {
			t.Errorf("terminal %v:\n%q, want\n%q", c.terminal, got, c.want)
		}
	}
}

func TestNobodyIsShownNothing(t *testing.T) {
	v := New(nil, true)
	v.Update(time.Unix(1, 0), func() State { panic("nobody looks") })
	v.Done(func() State { panic("nobody looks") })
	v.End()
}

func TestABlockHasBarsRatesAndTroubles(t *testing.T) {
	s := State{
		Elapsed: 75 * time.Second, Doing: "publishing", Phase: "news", Number: 2, Phases: 5, Done: 0.5, Left: 90 * time.Second,
		Ready: 750, Asked: 1000, Connects: 99.7, Publications: 50, Deliveries: 74_885, P99: 2100,
		Counts:   []Count{{12_000, "received"}, {0, "away"}, {3, "back"}},
		Troubles: []Count{{2, "failed"}, {0, "died"}},
	}
	want := `   75.0 s  publishing, phase 2 of 5: news, 90 s left
           ▕████████████            ▏  50 %
           ▕██████████████████      ▏ 750 of 1,000 connections, 100/s
           50/s published, 74,885/s received, p99 2.10 ms
           12,000 received, 3 back
           2 failed`
	if got := strings.Join(s.block(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := s.line(); got != "  75.0 s  news, publishing: 750 of 1,000 connections, 2 failed, 12,000 received, 3 back, p99 2.10 ms" {
		t.Error(got)
	}
	s.Phase = strings.Repeat("ä", 100)
	for _, line := range s.block() {
		if n := len([]rune(line)); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestBarsNumbersAndTimesAreWritten(t *testing.T) {
	for share, want := range map[float64]string{-1: "▕                        ▏", 0: "▕                        ▏", 1: "▕████████████████████████▏", 7: "▕████████████████████████▏", 0.5 / 24: "▕▌                       ▏"} {
		if got := bar(share); got != want {
			t.Errorf("%g: %s, want %s", share, got, want)
		}
	}
	for d, want := range map[time.Duration]string{45 * time.Second: "45 s", 3 * time.Minute: "3 min", 125 * time.Minute: "2 h 5 min"} {
		if got := span(d); got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}
