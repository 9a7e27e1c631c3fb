package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; then read the diff")

func full() Sources {
	return Sources{
		Version: "v1.2.3",
		Loop: func() LoopSnapshot {
			return LoopSnapshot{
				Loops: 2, Conns: 7, Accepted: 10, Closed: []Labeled{{"peer-closed", 2}, {"slow", 1}}, ReadBytes: 1 << 53, Panics: 0,
				Lag:     Histogram{Bounds: []float64{0.00005, 0.001, 10}, Counts: []uint64{5, 1 << 53, 1<<53 + 2}, Count: 1<<53 + 4, Sum: 77.25},
				TickLag: 1500 * time.Microsecond, BacklogBytes: 4096, EmfileEpisodes: 1,
			}
		},
		WebSocket: func() WebSocketSnapshot {
			return WebSocketSnapshot{Open: 3, Opened: 5, MessagesIn: 11, MessagesOut: 12, Floods: 1, Failed: []Labeled{{"reserved-bits", 1}}}
		},
		Node: func() NodeSnapshot {
			return NodeSnapshot{
				Sessions: 3, Handshakes: 1, ConnectsRefused: []Labeled{{"connect-rate", 6}}, Addresses: 2, Drops: []Labeled{{"slow", 4}}, Disconnects: []Labeled{{"3012", 2}}, Errors: []Labeled{{"105", 1}},
				Commands: []Labeled{{"connect", 5}}, Hooks: []HookSnapshot{{Name: "rpc/default", Calls: 7, Retries: 1, Time: 1500 * time.Millisecond, Errors: []Labeled{{"timeout", 2}}, Open: true}},
				Resumes: []Labeled{{"accepted", 3}}, ResumeTokens: 4, Redeliveries: []Labeled{{"redelivered", 2}}, Cursors: 9,
				Recoveries: []Labeled{{"recovered", 5}}, RecoveredPublications: 17, RecoveriesWaiting: 4, RecoveryBacklog: 5555, RecoveriesPostponed: 66, RecoveriesRefused: 7, Insufficient: 2, Unsubscribed: 3,
				CommandsRefused: []Labeled{{"publish", 6}}, Tokens: []Labeled{{"expired", 1}},
				Tenants: []TenantSnapshot{{Name: "default", Connections: 1}, {
					Name: "acme", Connections: 2, Channels: 3, Subscriptions: 4, Messages: 5, Bytes: 6, Asked: 7, Waiting: 8, Backlog: 9,
					Refused: []Labeled{{"connections", 10}, {"bytes", 11}},
				}},
				APIRequests: []Labeled{{"publish", 9}}, APIErrors: []Labeled{{"107", 1}},
			}
		},
		Memory: func() MemorySnapshot {
			return MemorySnapshot{SharedBytes: 99, GCPercent: 25, MemoryLimit: 1 << 30, HeapLive: 7 << 20}
		},
		Overload: func() OverloadSnapshot {
			return OverloadSnapshot{
				Level: 1, Share: 0.25, Signals: []Value{{"lag", 0.75}}, Transitions: []Labeled{{"0,1,lag", 2}, {"1,0,recovered", 1}},
				Closed: []Labeled{{"idle", 3}}, SignalsOmitted: 4,
			}
		},
	}
}

// golden compares with a file in testdata; -rewrite writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; dashboards depend on names, so rename only on purpose (-rewrite):\ngot\n%s\nwant\n%s", path, got, want)
	}
}

func TestNamesAreTheGoldenOnes(t *testing.T) {
	var out bytes.Buffer
	if err := WriteNames(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "names.txt", out.Bytes())
}

func TestScrapeIsTheGoldenOne(t *testing.T) {
	var out bytes.Buffer
	New(full()).writeServer(&out)
	golden(t, "scrape.txt", out.Bytes())
}

func TestNamesFollowTheHouseRules(t *testing.T) {
	valid := regexp.MustCompile(`^(websocket|shoal)_[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	for _, f := range families() {
		total := strings.HasSuffix(f.name, "_total")
		switch {
		case !valid.MatchString(f.name):
			t.Errorf("%s: begin with websocket_ or shoal_ and use lower-case words", f.name)
		case seen[f.name]:
			t.Errorf("%s stands twice in the table", f.name)
		case f.kind == counter && !total:
			t.Errorf("%s: a counter ends in _total", f.name)
		case f.kind == gauge && total && f.name != "websocket_connections_total": // the name the brief gives it
			t.Errorf("%s: only a counter ends in _total", f.name)
		case !strings.HasSuffix(f.help, "."):
			t.Errorf("%s: help %q is no sentence", f.name, f.help)
		}
		seen[f.name] = true
	}
}

func TestEveryFamilyIsWrittenByAFullServer(t *testing.T) {
	src := full()
	ws := src.WebSocket
	src.WebSocket = func() WebSocketSnapshot {
		s := ws()
		s.Refused = []Labeled{{"no-key", 1}}
		return s
	}
	var out bytes.Buffer
	New(src).writeServer(&out)
	for _, f := range families() {
		if !regexp.MustCompile(`(?m)^` + f.name + `(_bucket)?[ {]`).Match(out.Bytes()) {
			t.Errorf("%s is never written", f.name)
		}
		if !strings.Contains(out.String(), "# TYPE "+f.name+" "+f.kind.String()+"\n") {
			t.Errorf("%s has no TYPE line", f.name)
		}
	}
}

func TestMissingSourcesLeaveTheirMetricsOut(t *testing.T) {
	var out bytes.Buffer
	if err := New(Sources{Version: "v0"}).WritePrometheus(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{`shoal_build_info{version="v0"} 1`, "go_goroutines ", "process_resident_memory_bytes ", "go_memstats_heap_inuse_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, absent := range []string{"shoal_conns", "websocket_", "shoal_buffers"} {
		if strings.Contains(text, absent) {
			t.Errorf("%q appears without a source", absent)
		}
	}
}

func TestHostileLabelsAreQuotedAndBounded(t *testing.T) {
	var out bytes.Buffer
	r := New(Sources{Node: func() NodeSnapshot {
		labels := []Labeled{{"a\"b\\c\nd{}=", 1}}
		for i := range 10_000 {
			labels = append(labels, Labeled{fmt.Sprint(i), 1})
		}
		return NodeSnapshot{Drops: labels}
	}})
	for range 2 {
		out.Reset()
		r.writeServer(&out)
	}
	if n := strings.Count(out.String(), "\nshoal_drops_total{"); n != labelsMax {
		t.Errorf("%d series of shoal_drops_total, want at most %d", n, labelsMax)
	}
	if !strings.Contains(out.String(), `shoal_drops_total{reason="a\"b\\c\nd{}="} 1`) {
		t.Error("the odd label is not quoted")
	}
}

func TestScrapesAtOnceDoNotMix(t *testing.T) {
	r := New(full())
	done := make(chan error)
	for range 4 {
		go func() { done <- r.WritePrometheus(&bytes.Buffer{}) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkScrape(b *testing.B) {
	r := New(full())
	var out bytes.Buffer
	for b.Loop() {
		out.Reset()
		r.writeServer(&out)
	}
	b.ReportMetric(float64(out.Len()), "B/scrape")
}
