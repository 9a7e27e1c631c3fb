package tuning

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/server/config"
)

var rewrite = flag.Bool("rewrite", false, "write the generated files and testdata/*.txt anew; read the diff")

func TestFilesSayWhatTheTableSays(t *testing.T) {
	for _, f := range []struct{ path, from, to, want string }{
		{"sysctl.d/90-shoal.conf", "", "", sysctlText()},
		{"limits.d/90-shoal.conf", "", "", limitsText()},
		{"apply.sh", "# >>> settings\n", "# <<< settings\n", scriptTable()},
		{"README.md", "<!-- settings -->\n", "<!-- end of settings -->\n", "\n" + readmeTable() + "\n"},
	} {
		text, err := os.ReadFile(f.path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(text), f.from)
		got, after, ok2 := strings.Cut(rest, f.to)
		if f.to == "" {
			got, after, ok2 = string(text), "", true
		}
		if !ok || !ok2 {
			t.Errorf("%s has no %q … %q", f.path, f.from, f.to)
			continue
		}
		if got == f.want {
			continue
		}
		if !*rewrite {
			t.Errorf("%s differs from the table in settings.go; go test ./tuning -rewrite", f.path)
			continue
		}
		if err := os.WriteFile(f.path, []byte(before+f.from+f.want+f.to+after), 0o755&fileMode(t, f.path)); err != nil {
			t.Fatal(err)
		}
	}
}

func fileMode(t *testing.T, path string) os.FileMode {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// directive is a line of the unit.
func directive(t *testing.T, name string) string {
	for line := range strings.Lines(File("unit")) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("the unit has no %s", name)
	return ""
}

func TestTheUnitFitsServerAndTable(t *testing.T) {
	open := settings()[0]
	if got, want := directive(t, "LimitNOFILE"), open.want(fileWant(), 0, nil); open.Name != "fs.nr_open" || got != want {
		t.Errorf("LimitNOFILE=%s, the table has %s for %s", got, want, open.Name)
	}
	stop, err := strconv.Atoi(directive(t, "TimeoutStopSec"))
	if graceful := config.Default().Shutdown.Timeout; err != nil || time.Duration(stop)*time.Second < graceful+10*time.Second {
		t.Errorf("systemd kills after %d s (%v), while shutdown.timeout is %v and cutting what is left takes some seconds more", stop, err, graceful)
	}
}

func TestFilesComeWithTheBinary(t *testing.T) {
	for name, path := range map[string]string{
		"apply.sh": "apply.sh", "sysctl": "sysctl.d/90-shoal.conf", "limits": "limits.d/90-shoal.conf", "unit": "systemd/shoal.service",
	} {
		want, err := os.ReadFile(filepath.FromSlash(path))
		if err != nil || !bytes.Equal([]byte(File(name)), want) {
			t.Errorf("%s is not %s: %v", name, path, err)
		}
	}
	if File("secrets") != "" {
		t.Error("a file that is none has a text")
	}
}

// TestEverySettingIsExplained keeps the table whole: nobody should set what nobody explains.
func TestEverySettingIsExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings() {
		if s.Why == "" || s.Cost == "" || s.NotWhen == "" || s.Unit == "" || s.For == 0 || len(s.Numbers) == 0 || seen[s.Name] {
			t.Errorf("%s is not whole, or there twice: %+v", s.Name, s)
		}
		seen[s.Name] = true
		for _, text := range []string{s.Why, s.Cost, s.NotWhen} {
			if strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s: %q is no clause", s.Name, text)
			}
		}
	}
}
