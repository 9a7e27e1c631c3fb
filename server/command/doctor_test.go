package command

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/server/config"
	"shoal/tuning"
)

// smallHost is a copy of a host that holds 744 connections and drops what comes all at once.
func smallHost(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/self/limits":                   "Max open files  1000  1000  files\n",
		"proc/sys/fs/nr_open":                "1048576\n",
		"proc/sys/fs/file-nr":                "1\t0\t90000\n",
		"proc/sys/fs/file-max":               "90000\n",
		"proc/sys/fs/epoll/max_user_watches": "90000\n",
		"proc/sys/net/core/somaxconn":        "128\n",
		"proc/sys/net/ipv4/tcp_syncookies":   "0\n",
		"proc/meminfo":                       "MemTotal: 1000000 kB\nMemAvailable: 900000 kB\n",
		"sys/devices/system/cpu/online":      "0\n",
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDoctorFromTheCommandLine(t *testing.T) {
	host := smallHost(t)
	for _, c := range []struct {
		name      string
		args      []string
		code      int
		out, errs string
	}{
		{"too many", []string{"-n", "1000"}, ExitFailed, "descriptors = 1000, needs 1256", "not ready for 1000 connections"},
		{"spread", []string{"-n", "1000", "--processes=2", "--target=both"}, ExitOK, "YES", ""},
		{"warnings", []string{"-n", "500"}, ExitOK, "warns", ""},
		{"warnings, strictly", []string{"-n", "500", "--strict"}, ExitFailed, "warns", "not ready"},
		{"JSON", []string{"-n", "1000", "--json"}, ExitFailed, `"severity": "fails"`, "not ready"},
		{"a million, not asked", nil, ExitFailed, "744 of 1,000,000", ""},
		{"none", []string{"-n", "0"}, ExitUsage, "", "--connections 0"},
		{"no sources", []string{"--sources=-1"}, ExitUsage, "", "--sources -1"},
		{"unknown target", []string{"--target=proxy"}, ExitUsage, "", "proxy"},
		{"no such copy", []string{"--root=/none"}, ExitUsage, "", "--root /none"},
		{"the script", []string{"--print=apply.sh"}, ExitOK, "#!/bin/sh", ""},
		{"the unit", []string{"--print=unit"}, ExitOK, "LimitNOFILE=", ""},
		{"no such file", []string{"--print=x"}, ExitUsage, "", "apply.sh, sysctl"},
	} {
		code, out, errs := shoal(t, append([]string{"doctor", "--root=" + host}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: got code %d\nout  %s\nerrs %s\nwant code %d, %q, %q", c.name, code, out, errs, c.code, c.out, c.errs)
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: colours, and no terminal", c.name)
		}
	}
}

func TestDoctorsJSONIsForPrograms(t *testing.T) {
	_, out, _ := shoal(t, "doctor", "--root="+smallHost(t), "-n", "1000", "--json")
	var r struct {
		OK       bool
		Holds    int
		Ends     string
		Findings []struct{ Severity, Name, Value, Need, Why, Change string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.OK || r.Holds != 744 || r.Ends != "descriptors" || len(r.Findings) == 0 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestDoctorReadsThisHost(t *testing.T) {
	if code, out, errs := shoal(t, "doctor", "-n", "1"); code > ExitFailed || !strings.Contains(out, "shoal doctor: 1 connections") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
}

func TestServeTellsTheWorstOfItsHost(t *testing.T) {
	host := tuning.HostIn(os.DirFS(smallHost(t)))
	logged := func(change func(*config.Config)) string {
		cfg := config.Default()
		change(&cfg)
		var out bytes.Buffer
		warnOfHost(host, cfg, slog.New(slog.NewTextHandler(&out, nil)))
		return out.String()
	}
	text := logged(func(c *config.Config) { c.Client.ConnectionLimit = 700_000 })
	if lines := strings.Count(text, "\n"); lines != hostFindingsMax+1 || !strings.HasPrefix(strings.SplitN(text, "msg=", 2)[1], `"descriptors = 1000, needs 700256`) ||
		!strings.Contains(text, "shoal doctor") {
		t.Errorf("%d lines:\n%s", lines, text)
	}
	if text := logged(func(c *config.Config) { c.Client.ConnectionLimit = 100 }); strings.Contains(text, "descriptors") || !strings.Contains(text, "tcp_syncookies = 0") {
		t.Errorf("for 100 connections:\n%s", text)
	}
	if text := logged(func(c *config.Config) { c.Client.ConnectionLimit, c.Loop.ListenBacklog = 100, 500 }); !strings.Contains(text, "somaxconn = 128, needs 500") {
		t.Errorf("with a backlog of its own:\n%s", text)
	}
	if text := logged(func(c *config.Config) { c.Dev = true }); text != "" {
		t.Errorf("in development:\n%s", text)
	}
}
