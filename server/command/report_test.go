package command

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReportsBecomePages(t *testing.T) {
	dir := t.TempDir()
	stored, drawn := filepath.Join(dir, "few.json"), filepath.Join(dir, "few.html")
	if code, _, errs := shoal(t, "loadtest", "--target=127.0.0.1:1", "-q", "-n", "2", "--json="+stored, "--html="+drawn); code != ExitFailed {
		t.Fatalf("code %d, %s", code, errs)
	}
	at, err := os.ReadFile(drawn)
	if err != nil || !strings.Contains(string(at), "2 connections, idle") || !strings.Contains(string(at), "Failed") {
		t.Fatalf("%v\n%s", err, at)
	}
	again := filepath.Join(dir, "again.html")
	for _, c := range []struct {
		name      string
		args      []string
		code      int
		out, errs string
	}{
		{"one", []string{"report", stored}, ExitOK, "<h1>2 connections, idle</h1>", ""},
		{"two", []string{"report", stored, stored}, ExitOK, "<h1>Load tests beside each other</h1>", ""},
		{"into a file", []string{"report", stored, "-o", again}, ExitOK, "", ""},
		{"none", []string{"report"}, ExitUsage, "", "report.json"},
		{"missing", []string{"report", filepath.Join(dir, "none.json")}, ExitUsage, "", "name a file that «shoal loadtest --json FILE» has written"},
		{"another file", []string{"report", drawn}, ExitUsage, "", "is no report of a load test"},
		{"nowhere", []string{"report", stored, "-o", "/none/x"}, ExitUsage, "", "--out"},
		{"page nowhere", []string{"loadtest", "--target=127.0.0.1:1", "-q", "--html=/none/x"}, ExitFailed, "FAILED", "--html"},
		{"no process", []string{"loadtest", "--server-pid=1,0"}, ExitUsage, "", "--server-pid 0"},
	} {
		code, out, errs := shoal(t, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: shoal %q\n got code %d\nout  %.300s\nerrs %s\nwant code %d, %q, %q", c.name, c.args, code, out, errs, c.code, c.out, c.errs)
		}
	}
	if text, err := os.ReadFile(again); err != nil || !bytes.Equal(text, at) {
		t.Errorf("the page of the stored report is another one (%v)", err)
	}
	text, err := os.ReadFile(stored)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := Run(context.Background(), []string{"report", "-"}, Process{In: bytes.NewReader(text), Out: &out, Err: &out, Clock: time.Now, Version: "test"}); code != ExitOK || out.String() != string(at) {
		t.Errorf("from standard input: code %d, %.300s", code, out.String())
	}
}
