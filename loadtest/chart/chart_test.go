package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"shoal/loadtest/units"
)

// docs is where the curves are.
const docs = "../../server/docs/pressure"

var (
	from    = flag.String("from", "", "make the tables of the documentation anew from the reports in this folder, and draw them")
	rewrite = flag.Bool("rewrite", false, "draw the curves of the documentation anew from their tables")
)

func TestCurvesOfTheDocumentationAreDrawnFromTheirTables(t *testing.T) {
	if *from != "" {
		tabulate(t, *from)
	}
	for _, f := range Figures() {
		table, err := os.ReadFile(filepath.Join(docs, f.Name+".csv"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := ParseCSV(table)
		if err != nil {
			t.Fatal(err)
		}
		drawn, file := Draw(f, rows), filepath.Join(docs, f.Name+".svg")
		if *rewrite || *from != "" {
			if err := os.WriteFile(file, drawn, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := os.ReadFile(file); err != nil || !bytes.Equal(there, drawn) {
			t.Errorf("%s is not what its table says (%v); draw it anew: go test ./loadtest/chart -rewrite", file, err)
		}
		wellFormed(t, f.Name, drawn)
	}
}

// tabulate makes the tables from reports.
func tabulate(t *testing.T, folder string) {
	t.Helper()
	reports, err := Reports(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Tables(reports)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(docs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, rows := range tables {
		text, err := AppendCSV(rows)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(docs, name+".csv"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func wellFormed(t *testing.T, name string, svg []byte) {
	t.Helper()
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
		t.Errorf("%s: a number is none", name)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
	}
}

func TestTablesComeBackAsTheyWereWritten(t *testing.T) {
	rows := []Row{{"a", "b, c", 0.5, 1234}, {"a", "", -3, 0.00012}, {"ü", `"`, 1e6, 0}}
	text, err := AppendCSV(rows)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCSV(text)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(rows) {
		t.Errorf("%v %v, want %v", got, err, rows)
	}
	for _, bad := range []string{"", "panel,series,x\n", "panel,series,x,y\na,b,one,2\n", "panel,series,x,y\na,b,1\n", "a,b,1,2\n"} {
		if rows, err := ParseCSV([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, rows)
		}
	}
}

const (
	point1 = `{"ok":true,"pressure":{"latency":{"p99_us":%d}},"server_cost":{"message_cpu_us":%d},"target_metrics":{"writes":{"writes_per_delivery":0.5}}}`
	slow1  = `{"ok":true,"marks":[{"name":"before","seconds":2}],"pressure":{
		"samples":[{"seconds":1.9,"rss_bytes":1000000},{"seconds":2.1,"rss_bytes":2000000},{"seconds":2.2,"rss_bytes":5000000},{"seconds":2.6,"rss_bytes":3000000}],
		"windows":[{"seconds":3,"p99_us":4000}]}}`
	storm1 = `{"ok":true,"marks":[{"name":"cut","seconds":1}],"pressure":{"storm":{"cut":4,"own_time":{"p99_us":%d}},
		"samples":[{"seconds":0.9,"ready":4},{"seconds":1.01,"ready":4},{"seconds":1.1,"ready":0},{"seconds":1.5,"ready":1},{"seconds":2,"ready":4},{"seconds":3,"ready":4}]}}`
)

func TestReportsBecomeTables(t *testing.T) {
	file := func(text string, args ...any) *fstest.MapFile {
		return &fstest.MapFile{Data: fmt.Appendf(nil, text, args...)}
	}
	reports, err := Reports(fstest.MapFS{
		"batch_delay____0__2.json": file(point1, 3000, 7), "batch_delay____0__1.json": file(point1, 9000, 5), "batch_delay____0__3.json": file(point1, 1000, 6),
		"batch_delay____10__1.json":    file(point1, 500, 1),
		"batch_delay____5__1.json":     file(point1, 400, 2),
		"slow__drop_oldest__0__1.json": file(slow1),
		"slow__disconnect__0__1.json":  file(slow1),
		"storm__anew__0__1.json":       file(storm1, 9),
		"storm__anew__0__2.json":       file(strings.ReplaceAll(storm1, `"cut":4`, `"cut":8`), 7),
		"burst____20__1.json":          file(`{"ok":true,"delivery":{"deliveries_per_second":2500000},"server_cost":{"message_cpu_us":0.4}}`),
		"notes.txt":                    file("no report"),
	})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := Tables(reports)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]Row{
		delay: {
			{"cpu", "", 0, 6}, {"p99", "", 0, 3}, {"writes", "", 0, 0.5}, {"cpu", "", 5, 2}, {"p99", "", 5, 0.4}, {"writes", "", 5, 0.5},
			{"cpu", "", 10, 1}, {"p99", "", 10, 0.5}, {"writes", "", 10, 0.5},
		},
		burst: {{"cpu", "", 20, 0.4}, {"rate", "", 20, 2.5}},
		memory: {
			{"rss", "disconnect", 0, 5}, {"rss", "disconnect", 0.5, 3}, {"rss", "drop oldest", 0, 5}, {"rss", "drop oldest", 0.5, 3},
		},
		waits: {{"p99", "disconnect", 1, 4}, {"p99", "drop oldest", 1, 4}},
		storm: {{"back", "anew", 0, 0}, {"back", "anew", 0.1, 0}, {"back", "anew", 0.5, 25}, {"back", "anew", 1, 100}},
	} {
		if got := tables[name]; len(got) != len(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		} else {
			for i := range got {
				if got[i].Panel != want[i].Panel || got[i].Series != want[i].Series || units.Number(got[i].X) != units.Number(want[i].X) || units.Number(got[i].Y) != units.Number(want[i].Y) {
					t.Errorf("%s: %v, want %v", name, got[i], want[i])
				}
			}
		}
	}
}

func TestReportsThatCannotBeAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"its name":  {"storm.json", "{}", "is not named"},
		"a number":  {"storm__a__b__1.json", "{}", "no number"},
		"no report": {"storm__a__0__1.json", "}", "storm__a__0__1.json"},
		"a figure":  {"other__a__0__1.json", `{"ok":true}`, `no figure "other"`},
		"a failure": {"storm__a__0__1.json", `{"ok":false,"failures":["lost: 3"]}`, "lost: 3"},
	} {
		reports, err := Reports(fstest.MapFS{c.file: &fstest.MapFile{Data: []byte(c.text)}})
		if err == nil {
			_, err = Tables(reports)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

func TestDrawingsShowEveryPointWithinTheirAxes(t *testing.T) {
	f := Figure{Name: "x", Title: "a < b & c", Panels: []Panel{
		{Name: "left", X: "x", Y: "y", Each: true, Dots: true},
		{Name: "right", X: "x", Y: "y", Log: true, To: 5, Between: "here"},
		{Name: "empty", X: "x", Y: "nothing of this"},
	}}
	rows := []Row{{"left", "one", 0, 3}, {"left", "one", 50, 17}, {"right", "one", -1, 0.02}, {"right", "one", 9, 300}, {"right", "two", 2, 5}, {"right", "two", 3, 0}}
	svg := Draw(f, rows)
	wellFormed(t, "x", svg)
	text := string(svg)
	for _, part := range []string{"a &lt; b &amp; c", ">here<", ">one<", ">two<", ">0.01<", ">1000<", ">50<", ">20<"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %s in\n%s", part, text)
		}
	}
	if strings.Contains(text, "nothing of this") {
		t.Error("a panel without points is drawn")
	}
	if n := strings.Count(text, "<circle"); n != 2 {
		t.Errorf("%d dots", n)
	}
	for i, p := range f.Panels {
		at := float64(i) * width / 2
		a := newAxes(p, rows, box{at + left, at + width/2 - right, height - bottom, top})
		for _, r := range a.rows {
			if x, y := a.x(r.X), a.y(r.Y); x < a.x0 || x > a.x1 || y < a.y1 || y > a.y0 {
				t.Errorf("%v at %g, %g is outside", r, x, y)
			}
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	for span, want := range map[float64]float64{0: 1, 1: 0.2, 4.4: 1, 9: 2, 12: 2.5, 60: 20, 130: 50, 0.003: 0.001} {
		if got := tick(span); units.Number(got) != units.Number(want) {
			t.Errorf("%g: %g, want %g", span, got, want)
		}
	}
}
