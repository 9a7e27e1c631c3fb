package page

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/loadtest"
	"shoal/loadtest/fleet"
	"shoal/loadtest/observe"
	"shoal/loadtest/observe/kernel"
	"shoal/loadtest/report"
	"shoal/loadtest/timeline"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.txt anew; read the diff")

// full is a report with everything in it.
func full() *loadtest.Report {
	q := &loadtest.Quantiles{Count: 300_000, Min: 20, Mean: 300, P50: 250, P90: 900, P99: 1500, P999: 25_000, Max: 30_000}
	value := func(v float64) *float64 { return &v }
	r := &loadtest.Report{
		OK: true, Version: "v1", Scenario: loadtest.Fanout, Target: "ws://h:8000/connection/websocket", Encoding: "json", Channel: "news", Payload: 128,
		Started: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), Seconds: 40,
		Connections: loadtest.Connections{Asked: 15_000, Ready: 15_000, AtEnd: 15_000, Seconds: 3, PerSecond: 4990, AskedRate: 5000, Setup: q},
		Heartbeat:   loadtest.Heartbeat{Pings: 30_000, Pongs: 30_000},
		Delivery: &loadtest.Delivery{Published: 20, Answered: 20, PerSecond: 220_463, Latency: q, Answer: q, First: q, Last: q,
			Verified: loadtest.Verified{Expected: 300_000, Received: 300_000}},
		Timeline:     &loadtest.Timeline{},
		Expectations: []loadtest.Expectation{{Name: "p99", Limit: 20_000, Value: value(1500), Met: true}, {Name: "rss_growth", Limit: 64e6}, {Name: "of later", Limit: 3, Value: value(2), Met: true}},
		Causes:       map[string]int{"connection refused": 3, "closed by the target": 3, "reset": 9},
	}
	for i := range 400 {
		at := float64(i+1) / 10
		s := timeline.Sample{Seconds: at, Ready: min(i*500, 15_000), RSS: 30e6 + int64(i)*1e4, SelfRSS: 26e6, Buffers: int64(i%7) * 1e5, Sockets: 30_000, CPU: 0.2, SelfCPU: 0.5}
		if i < 30 {
			s.Connects = 5000
		}
		if i > 300 {
			s.Deliveries = 220_000
		}
		if i%10 == 0 {
			s.Lag = 1000 + float64(i)
		}
		r.Timeline.Samples = append(r.Timeline.Samples, s)
	}
	for i := range 9 {
		r.Timeline.Windows = append(r.Timeline.Windows, loadtest.Window{Seconds: float64(30 + i), Count: 3, P50: 200, P99: 1500 + float64(i)*100, Max: 30_000})
	}
	for _, name := range []string{"each receipt", "setting up"} {
		r.Timeline.Distributions = append(r.Timeline.Distributions, timeline.Distribution{Name: name, Count: 1000, Points: []timeline.Point{
			{Percent: 0, Micros: 20}, {Percent: 50, Micros: 250}, {Percent: 90, Micros: 900}, {Percent: 99, Micros: 1500}, {Percent: 99.9, Micros: 25_000}, {Percent: 100, Micros: 30_000}}})
	}
	process := func(ms, mb int64) *observe.Process {
		return &observe.Process{PID: 42, CPU: time.Duration(ms) * time.Millisecond, RSS: mb << 20}
	}
	r.Marks = []loadtest.Mark{
		{Name: "start", Server: process(100, 20), Servers: []observe.Process{{PID: 42}, {PID: 43}}, Self: process(10, 20), Host: &kernel.Host{}},
		{Name: "connected", Seconds: 3, Ready: 15_000, Server: process(900, 25), Self: process(900, 25)},
		{Name: "idle", Seconds: 30, Ready: 15_000, Heartbeats: 30_000, Server: process(1100, 25), Self: process(900, 25)},
		{Name: "traffic", Seconds: 39, Ready: 15_000, Received: 300_000, Heartbeats: 30_000, Self: process(900, 25)},
	}
	add := func(name, unit string, v float64, parts ...observe.Part) {
		r.Figures = append(r.Figures, observe.Figure{Name: name, What: "what " + name + " is", Unit: unit, Value: value(v), Over: "15,000 of it", Parts: parts})
	}
	add(observe.FigureConnect, "µs", 53)
	add(observe.FigureDelivery, "µs", 4.48)
	add(observe.FigureHeartbeat, "µs", 6.67)
	add(observe.FigureRSS, "B", 337)
	add(observe.FigureHeap, "B", 276)
	add(observe.FigureKernel, "B", 8616, observe.Part{Name: "slab", Value: 8546}, observe.Part{Name: "buffers", Value: 70})
	add(observe.FigureSelfRSS, "B", 356)
	add("slab_per_socket", "B", 4273, observe.Part{Name: "TCP", Value: 2519}, observe.Part{Name: "filp", Value: 194})
	add("gc_stops", "stops", 1234)
	r.Figures = append(r.Figures, observe.Figure{Name: "lag_longest", What: "the longest pass", Unit: "µs", Missing: "the target tells no metrics"})
	return r
}

// mixed is the report of a plan with several phases, carried by two hosts.
func mixed() *loadtest.Report {
	r := full()
	r.Scenario, r.Plan, r.Delivery, r.Latency = "mixed", "peak", nil, full().Delivery.Latency
	r.Connections.AskedRate, r.Connections.AskedTo = 1000, 9000
	r.Connections.Steps = []report.Step{{From: 0, Seconds: 1, Asked: 1000, Reached: 990}, {From: 1, Seconds: 1, Asked: 9000, Reached: 8500}, {From: 2, Seconds: 1, Asked: 9000, Reached: 8500}}
	r.Phases = []report.Phase{
		{Name: "all", Scenario: loadtest.Fanout, From: 30, Seconds: 5, Ready: 15_000, PerSecond: 3000, Verified: report.Verified{Expected: 15_000, Received: 15_000}, Latency: r.Latency, Last: r.Latency, Cost: &report.PhaseCost{Percent: 40}},
		{Name: "cut", Scenario: loadtest.Storm, From: 35, Seconds: 4, Ready: 14_999, Verified: report.Verified{Expected: 10, Received: 9, Lost: 1}, Failures: []string{"messages lost: 1"}, Storm: &report.Storming{Cut: 7, Back: 7, Recovered: 6, Unrecovered: 1, Own: r.Latency},
			Steps: []report.Step{{Seconds: 1, Asked: 10, Reached: 10}, {From: 1, Seconds: 1, Asked: 20, Reached: 19}}},
		{Name: "stream", Scenario: loadtest.Channels, Beside: "cut", From: 35, Seconds: 4, Verified: report.Verified{Expected: 10, Received: 10}, Slow: &report.Slow{Stalled: 5, Whole: 5}},
	}
	r.Members = []fleet.MemberStatus{{Name: "h1", Engines: 2, Connections: 8000, Ready: 8000, RSS: 3e6}, {Name: "h2", Engines: 2, Connections: 7000, Died: 7000, Gone: "it was killed"}}
	return r
}

const attack = `</script></style><script>alert(1)</script><img src=x onerror=alert(1)>"'&{{.}}`

// hostile is a report of which every text wants to be something else, and which failed.
func hostile() *loadtest.Report {
	r := full()
	r.OK, r.Version, r.Target, r.Encoding, r.Channel, r.Scenario = false, attack, attack, attack, attack, attack
	for range 20 {
		r.Failures = append(r.Failures, attack)
	}
	r.Delivery.Lost, r.Delivery.Received = 7, 299_993
	r.Causes = map[string]int{attack: 1}
	r.Expectations[2].Name = attack
	for i := range r.Marks {
		r.Marks[i].Name += attack
	}
	for i := range r.Figures {
		r.Figures[i].What, r.Figures[i].Over, r.Figures[i].Missing = attack, attack, attack
		for k := range r.Figures[i].Parts {
			r.Figures[i].Parts[k].Name = attack
		}
	}
	for i := range r.Timeline.Distributions {
		r.Timeline.Distributions[i].Name = attack
	}
	return r
}

func draw(t *testing.T, in ...Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, in...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	unread = regexp.MustCompile(`(?s)<style>.*?</style>|<script.*?</script>|<svg.*?</svg>`)
	blocks = regexp.MustCompile(`</(tr|li|h1|h2|h3|p|caption|div|figcaption|summary|dt|dd)>`)
	tags   = regexp.MustCompile(`<[^>]*>`)
	spaces = regexp.MustCompile(`[ \t]+`)
)

// text is what a reader sees who sees no drawings.
func text(page string) string {
	page = unread.ReplaceAllString(page, "")
	page = blocks.ReplaceAllString(page, "\n")
	page = strings.ReplaceAll(page, "</th>", " | ")
	page = strings.ReplaceAll(page, "</td>", " | ")
	var lines []string
	for line := range strings.Lines(html.UnescapeString(tags.ReplaceAllString(page, ""))) {
		if line = strings.TrimSpace(spaces.ReplaceAllString(line, " ")); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestPagesReadAsTheyShould(t *testing.T) {
	many := full()
	many.Connections.Asked, many.Connections.Ready = 1_000_000, 1_000_000
	for i := range many.Figures {
		if v := many.Figures[i].Value; v != nil {
			*v *= 1.1
		}
	}
	failed := full()
	failed.OK, failed.Failures, failed.Delivery.Lost, failed.Delivery.Received, failed.Connections.Died = false, []string{"messages lost: 7"}, 7, 299_993, 3
	interrupted := &loadtest.Report{OK: true, Interrupted: true, Scenario: loadtest.Idle, Seconds: 3, Connections: loadtest.Connections{Asked: 10, Ready: 4}}
	for name, in := range map[string][]Input{"report": {{"a", full()}}, "failed": {{"a", failed}}, "mixed": {{"a", mixed()}}, "interrupted": {{"a", interrupted}}, "comparison": {{"a", full()}, {"b", many}}} {
		got := text(draw(t, in...))
		path := "testdata/" + name + ".txt"
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s (-rewrite):\n%s", name, path, got)
		}
	}
}

func TestTextsStayTexts(t *testing.T) {
	for name, in := range map[string][]Input{"report": {{attack, hostile()}}, "comparison": {{attack, hostile()}, {attack, hostile()}}} {
		page := draw(t, in...)
		for _, bad := range []string{"<script>alert", "<img", "onerror=alert(1)>", "{{.}}\"<"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: %s came through", name, bad)
			}
		}
		if n := strings.Count(page, "<script"); n != strings.Count(page, "</script>") || strings.Count(page, "</style>") != 1 {
			t.Errorf("%s: scripts or styles were broken out of", name)
		}
		if !strings.Contains(page, "&lt;img src=x onerror=alert(1)&gt;") {
			t.Errorf("%s: the text is not there as text", name)
		}
	}
	if page := draw(t, Input{Report: hostile()}); strings.Count(page, "<li>&lt;") != failuresMax || !strings.Contains(page, "and 8 more") {
		t.Errorf("%d failures are listed", strings.Count(page, "<li>&lt;"))
	}
}

func TestPagesNeedNothingElseAndAreSmall(t *testing.T) {
	long := full()
	for i := range 20_000 {
		long.Timeline.Windows = append(long.Timeline.Windows, loadtest.Window{Seconds: float64(40 + i), Count: 3, P50: 200, P99: 1500, Max: 30_000})
		long.Timeline.Samples = append(long.Timeline.Samples, timeline.Sample{Seconds: float64(41 + i), Ready: 3 + i%2, RSS: int64(1e6 + i), SelfRSS: int64(1e6 + i), Buffers: int64(i + 1), CPU: 1, SelfCPU: 1, Lag: 1, Connects: 2, Deliveries: 3})
	}
	for name, in := range map[string][]Input{"report": {{"", full()}}, "comparison": {{"a", full()}, {"b", full()}}, "long": {{"", long}}} {
		page := draw(t, in...)
		if len(page) > 500_000 {
			t.Errorf("%s has %d bytes", name, len(page))
		}
		for _, bad := range []string{"src=", "<link", "@import", "url(", "fetch(", "XMLHttp", "NaN", "Inf\""} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: %s is in it", name, bad)
			}
		}
		for _, address := range regexp.MustCompile(`https?://[^"' <]*`).FindAllString(page, -1) {
			if address != "http://www.w3.org/2000/svg" {
				t.Errorf("%s: it names %s", name, address)
			}
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if ids[m[1]] {
				t.Errorf("%s: two have the id %s", name, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			for _, id := range strings.Fields(m[1]) {
				if !ids[id] {
					t.Errorf("%s: nothing has the id %s", name, id)
				}
			}
		}
		if name == "comparison" && strings.Count(page, `class="e"`) != 4 {
			t.Errorf("%d limits are drawn, want one for heartbeats and one for deliveries, in two sizes", strings.Count(page, `class="e"`))
		}
		drawings, figures := strings.Count(page, `role="img"`), strings.Count(page, "<figure")
		if drawings != 2*figures || figures < 5 || strings.Count(page, "<desc") != drawings || strings.Count(page, "Data as a table") != figures {
			t.Errorf("%s: %d drawings in %d figures, %d of them described", name, drawings, figures, strings.Count(page, "<desc"))
		}
	}
}

func TestWhatAReportLacksIsLeftOut(t *testing.T) {
	headings := func(r *loadtest.Report) (all []string) {
		for _, m := range regexp.MustCompile(`<h[23][^>]*>([^<]*)</h`).FindAllStringSubmatch(draw(t, Input{Report: r}), -1) {
			all = append(all, m[1])
		}
		return all
	}
	everything := headings(full())
	for name, c := range map[string]struct {
		change func(*loadtest.Report)
		gone   []string
	}{
		"timeline":      {func(r *loadtest.Report) { r.Timeline = nil }, []string{"Connections over time", "Connects a second", "Messages received a second", "Latency over time", "Distribution (CDF)", "Memory over time", "Processors kept busy", "Longest pass of the target&#39;s loops"}},
		"windows":       {func(r *loadtest.Report) { r.Timeline.Windows = nil }, []string{"Latency over time"}},
		"figures":       {func(r *loadtest.Report) { r.Figures = nil }, []string{"Memory per connection, bytes", "Kernel memory per socket, bytes", "Processor time of the target, µs"}},
		"expectations":  {func(r *loadtest.Report) { r.Expectations = nil }, []string{"Expectations"}},
		"causes":        {func(r *loadtest.Report) { r.Causes = nil }, []string{"Causes"}},
		"distributions": {func(r *loadtest.Report) { r.Timeline.Distributions = nil }, []string{"Distribution (CDF)"}},
	} {
		r := full()
		c.change(r)
		left := headings(r)
		var gone []string
		for _, h := range everything {
			if !slices.Contains(left, h) {
				gone = append(gone, h)
			}
		}
		if fmt.Sprint(gone) != fmt.Sprint(c.gone) {
			t.Errorf("without %s these are gone: %q, want %q", name, gone, c.gone)
		}
	}
	if bare := headings(&loadtest.Report{Scenario: loadtest.Idle}); fmt.Sprint(bare) != "[What was tested Connections]" {
		t.Errorf("an empty report has %q", bare)
	}
}

func TestReportsAreReadOrRefused(t *testing.T) {
	var stored bytes.Buffer
	if err := full().WriteJSON(&stored); err != nil {
		t.Fatal(err)
	}
	in, err := Read("x", &stored)
	if err != nil || in.Name != "x" || draw(t, in) != draw(t, Input{Report: full()}) {
		t.Errorf("a stored report makes another page: %v", err)
	}
	for text, want := range map[string]string{"": "EOF", "[]": "cannot unmarshal", "{}": "names no scenario"} {
		if _, err := Read("bad.json", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "bad.json is no report") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Write(&stored); err == nil {
		t.Error("no report was drawn")
	}
}

func TestThinnedCurvesKeepTheirPeakAndTheirEnds(t *testing.T) {
	c := curve{name: "x"}
	for i := range 1000 {
		c.x, c.y = append(c.x, float64(i)), append(c.y, float64(i%10))
	}
	c.y[501] = 99
	out := thin(c, 50)
	if len(out.x) != 50 || !slices.IsSorted(out.x) || slices.Max(out.y) != 99 || out.x[49] != 999 {
		t.Errorf("%v %v", out.x, out.y)
	}
	if same := thin(out, 50); len(same.x) != 50 || &same.x[0] != &out.x[0] {
		t.Error("a short curve is changed")
	}
}
