package report

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"shoal/loadtest/observe"
	"shoal/loadtest/plan"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.txt anew; read the diff")

// sample is a report with everything in it.
func sample() *Report {
	q := &Quantiles{Count: 3, Min: 1, Mean: 2, P50: 2, P90: 900, P99: 1500, P999: 2_500_000, Max: 3_000_000}
	process := func(ms, mb int64) *observe.Process {
		return &observe.Process{CPU: time.Duration(ms) * time.Millisecond, RSS: mb << 20, RSSAnon: mb << 19}
	}
	r := &Report{
		Scenario: plan.Fanout, Target: "ws://h/c", Encoding: "json", Channel: "news", Payload: 128, Seconds: 12.34,
		Connections: Connections{Asked: 10_000, Ready: 9_999, AtEnd: 9_998, Failed: 1, Died: 1, Seconds: 0.5, PerSecond: 19_998, AskedRate: 20_000, Setup: q},
		Heartbeat:   Heartbeat{Pings: 10, Pongs: 10},
		Delivery: &Delivery{Published: 20, Answered: 19, Refused: 1, PerSecond: 123_456.7, Latency: q, Answer: q, First: q, Last: q,
			Verified: Verified{Expected: 100, Received: 90, Lost: 8, LostDead: 2, Duplicates: 3, Reordered: 4, Altered: 5, Misrouted: 6, Short: 7}},
		Others: &Others{Received: 12, Min: 1, Max: 2, Latency: q},
		Marks: []Mark{
			{Name: MarkStart, Server: process(100, 10), Self: process(10, 10)},
			{Name: MarkConnected, Seconds: 1, Server: process(500, 14), Self: process(90, 13)},
			{Name: MarkIdle, Seconds: 3, Server: process(520, 14), Self: process(90, 13)},
			{Name: MarkTraffic, Seconds: 4, Received: 99_990, Server: process(1220, 15), Self: process(990, 13)},
			{Name: MarkAfter, Seconds: 5, Server: process(1220, 15), Self: process(990, 13)},
		},
		Causes: map[string]int{"closed by the target: 3001 shutdown": 1, "the connection cannot be opened: connection refused": 1},
	}
	r.Cost = r.cost(42)
	r.Judge()
	return r
}

func TestTablesReadAsTheyShould(t *testing.T) {
	good := sample()
	good.Connections.Failed, good.Connections.Died, good.Causes, good.Failures = 0, 0, nil, nil
	good.Delivery.Refused, good.Delivery.Verified, good.Others.Alike = 0, Verified{Expected: 100, Received: 100}, true
	good.Judge()
	interrupted := sample()
	*interrupted = *good
	interrupted.Interrupted, interrupted.Delivery, interrupted.Others, interrupted.Cost = true, nil, nil, nil
	interrupted.Echo = &Echo{Sent: 10, Verified: Verified{Expected: 10, Received: 10}, PerSecond: 5, AskedRate: 6, Latency: sample().Delivery.Latency}
	for name, r := range map[string]*Report{"failed": sample(), "good": good, "interrupted": interrupted} {
		golden(t, name, r)
	}
}

// golden compares the table with the one in testdata.
func golden(t *testing.T, name string, r *Report) {
	t.Helper()
	var got strings.Builder
	if err := r.WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	path := "testdata/" + name + ".txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("%s differs from %s (-rewrite):\n%s", name, path, got.String())
	}
}

func TestCostsAreDifferencesBetweenMarks(t *testing.T) {
	c := sample().Cost
	near := func(got, want float64) bool { return got > want*0.999 && got < want*1.001 }
	if !near(c.ConnectUS, 400_000/9999.0) || !near(c.RSSIdle, 4<<20/9999.0) || !near(c.RSSAnonAfter, 5<<19/9999.0) ||
		!near(c.MessageUS, 700_000/99_990.0) || !near(c.IdlePercent, 1) || !near(c.LoadtestRSSBytes, 3<<20/9999.0) || !near(c.LoadtestUS, 900_000/99_990.0) {
		t.Errorf("%+v", c)
	}
	r := sample()
	r.Marks = r.Marks[:1]
	if r.cost(1) != nil {
		t.Error("a cost without marks")
	}
}

func TestEveryFaultFailsTheReport(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"failed": func(r *Report) { r.Connections.Failed = 1 }, "died": func(r *Report) { r.Connections.Died = 1 },
		"lost": func(r *Report) { r.Delivery.Lost = 1 }, "lost with connections": func(r *Report) { r.Echo.LostDead = 1 },
		"duplicates": func(r *Report) { r.Echo.Duplicates = 1 }, "reordered": func(r *Report) { r.Delivery.Reordered = 1 },
		"altered": func(r *Report) { r.Delivery.Altered = 1 }, "misrouted": func(r *Report) { r.Echo.Misrouted = 1 },
		"refused": func(r *Report) { r.Delivery.Refused = 1 }, "others": func(r *Report) { r.Others.Alike = false },
		"stopped": func(r *Report) { r.Failures = []string{"x"} },
	} {
		r := &Report{Delivery: &Delivery{}, Echo: &Echo{}, Others: &Others{Alike: true}}
		if r.Judge(); !r.OK {
			t.Fatal("a report without faults fails")
		}
		change(r)
		if r.Judge(); r.OK || len(r.Failures) != 1 {
			t.Errorf("%s: %+v", name, r.Failures)
		}
	}
}

func TestReportsKeepTheirJSONNames(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ok", "failures", "connections", "connect_seconds", "setup", "p99_9_us", "delivery", "lost", "duplicates", "reordered",
		"first_receipt", "last_receipt", "marks", "rss_anon_bytes", "cpu_ns", "server_cost", "rss_idle_bytes", "connect_cpu_us", "message_cpu_us", "causes"} {
		if !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("no %s in the JSON report", name)
		}
	}
}
