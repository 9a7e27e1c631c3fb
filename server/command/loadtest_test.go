package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/loadtest"
	"shoal/loadtest/plan"
)

func TestLoadTestFromTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		name      string
		args      []string
		code      int
		out, errs string
	}{
		{"help", []string{"help", "loadtest"}, ExitOK, "--server-pid", ""},
		{"unknown scenario", []string{"loadtest", "--scenario=party"}, ExitUsage, "", "party"},
		{"small payload", []string{"loadtest", "--payload=3"}, ExitUsage, "", "--payload: a message of 3 bytes"},
		{"nobody there", []string{"loadtest", "--target=127.0.0.1:1", "-n", "3"}, ExitFailed, "FAILED", "start the server"},
		{"too many", []string{"loadtest", "-n", "40000000"}, ExitFailed, "", "40000000 connections are more than"},
		{"JSON to standard output", []string{"loadtest", "--target=127.0.0.1:1", "-q", "--json=-"}, ExitFailed, `"ok": false`, "FAILED"},
		{"a preset", []string{"loadtest", "--preset=peak", "-n", "5000", "--print-plan"}, ExitOK, "count: 6000", ""},
		{"flags as a plan", []string{"loadtest", "--scenario=users", "-n", "5", "--print-plan"}, ExitOK, "scenario: users", ""},
		{"no such preset", []string{"loadtest", "--preset=pek"}, ExitUsage, "", "did you mean peak?"},
		{"two plans", []string{"loadtest", "--preset=peak", "--plan=x"}, ExitUsage, "", "leave one of them out"},
		{"no plan there", []string{"loadtest", "--plan=/none/x"}, ExitUsage, "", "--plan: "},
		{"no such figure", []string{"loadtest", "--expect=los=0"}, ExitUsage, "", "did you mean loss?"},
		{"events", []string{"loadtest", "--target=127.0.0.1:1", "-q", "--events"}, ExitFailed, `"event":"start"`, "FAILED"},
		{"JSON nowhere", []string{"loadtest", "--target=127.0.0.1:1", "-q", "--json=/none/x"}, ExitFailed, "FAILED", "--json"},
	} {
		code, out, errs := shoal(t, c.args...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: shoal %q\n got code %d\nout  %s\nerrs %s\nwant code %d, %q, %q", c.name, c.args, code, out, errs, c.code, c.out, c.errs)
		}
	}
}

func TestLoadTestReadsSubscriptionTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for text, want := range map[string]int{"a x.y.z\nb u.v.w\n": 2, "a x.y.z": 1, "a\n": -1, "": -1, "a b c\n": -1} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readTokens(path)
		if (err != nil) != (want < 0) || want > 0 && (len(got) != want || got["a"] != "x.y.z") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got, err := readTokens(""); got != nil || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	if code, _, errs := shoal(t, "loadtest", "--subscription-tokens=/none/x"); code != ExitUsage || !strings.Contains(errs, "--subscription-tokens") {
		t.Errorf("code %d, %s", code, errs)
	}
}

func TestLoadTestReadsAPlan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.yaml")
	for _, c := range []struct {
		text      string
		code      int
		out, errs string
	}{
		{"phases: [{scenario: idle}, {scenario: users}]", ExitOK, "scenario: users", ""},
		{"phases:\n  - scenario: idl\n", ExitUsage, "", "plan.yaml:2:15: phases[0].scenario: there is no scenario \"idl\"; did you mean idle?"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, errs := shoal(t, "loadtest", "--plan", path, "--print-plan")
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%q: code %d\nout  %s\nerrs %s", c.text, code, out, errs)
		}
	}
}

// The help names every figure, since nothing else on the command line does.
func TestLoadTestHelpNamesEveryFigure(t *testing.T) {
	_, out, _ := shoal(t, "help", "loadtest")
	text := strings.Join(strings.Fields(out), " ")
	for _, f := range plan.Figures() {
		if !strings.Contains(text, f.Name+",") && !strings.Contains(text, f.Name+" (") {
			t.Errorf("no %s in the help", f.Name)
		}
	}
	for _, s := range plan.Scenarios() {
		if !strings.Contains(text, string(s)+" ") {
			t.Errorf("no scenario %s in the help", s)
		}
	}
}

func TestLoadTestReportIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	if code, _, errs := shoal(t, "loadtest", "--target=127.0.0.1:1", "-q", "-n", "2", "--json="+path); code != ExitFailed {
		t.Fatalf("code %d, %s", code, errs)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r loadtest.Report
	if err := json.Unmarshal(text, &r); err != nil || r.OK || r.Connections.Asked != 2 || r.Connections.Failed != 2 {
		t.Errorf("%v\n%s", err, text)
	}
}
