package tuning

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A story is a host, file by file, and what is said of it: testdata/*.txt. After an opening paragraph come sections; the head
// «-- proc/… --» is a file, «-- $ doctor … --» or «-- $ apply.sh … --» a command whose output follows, in order: what apply.sh
// changes, the next command sees.
type story struct {
	opening  string
	sections []section
}

type section struct{ head, body string }

func parseStory(text string) (s story) {
	for line := range strings.Lines(text) {
		head, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-- ")
		if head, ok2 := strings.CutSuffix(head, " --"); ok && ok2 {
			s.sections = append(s.sections, section{head: head})
		} else if n := len(s.sections); n == 0 {
			s.opening += line
		} else {
			s.sections[n-1].body += line
		}
	}
	return s
}

func (s story) String() string {
	var b strings.Builder
	b.WriteString(s.opening)
	for _, p := range s.sections {
		b.WriteString("-- " + p.head + " --\n" + p.body)
	}
	return b.String()
}

// host writes the files of a story below a new folder.
func (s story) host(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, p := range s.sections {
		if strings.HasPrefix(p.head, "$") {
			continue
		}
		path := filepath.Join(root, filepath.FromSlash(p.head))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(p.body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func readStory(t *testing.T, path string) story {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseStory(string(text))
}

func storyPaths(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d stories: %v", len(paths), err)
	}
	return paths
}

func TestStories(t *testing.T) {
	for _, path := range storyPaths(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			s := readStory(t, path)
			told := s.String()
			root := s.host(t)
			for i := range s.sections {
				if line, ok := strings.CutPrefix(s.sections[i].head, "$ "); ok {
					s.sections[i].body = tell(t, root, strings.Fields(line))
				}
			}
			if now := s.String(); now != told && *rewrite {
				if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if now != told {
				t.Errorf("%s tells something else now (-rewrite, and read the diff):\n%s", path, now)
			}
		})
	}
}

// tell runs one command of a story and gives what it wrote, and its exit code when that is not 0.
func tell(t *testing.T, root string, line []string) string {
	t.Helper()
	if line[0] == "apply.sh" {
		out, code := runScript(t, root, line[1:]...)
		return strings.ReplaceAll(out, root, "") + exited(code)
	}
	w, asJSON := wantOf(t, line[1:])
	r := Diagnose(HostIn(os.DirFS(root)), w)
	var b bytes.Buffer
	write := func() error { return r.WriteText(&b, false) }
	if asJSON {
		write = func() error { return r.WriteJSON(&b) }
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if r.Failed(false) {
		return b.String() + exited(1)
	}
	return b.String()
}

func exited(code int) string {
	if code == 0 {
		return ""
	}
	return "[exit code " + strconv.Itoa(code) + "]\n"
}

// wantOf reads the flags of a story's doctor.
func wantOf(t *testing.T, flags []string) (w Want, asJSON bool) {
	t.Helper()
	w.Conns = 1_000_000
	for len(flags) > 0 {
		var err error
		switch flags[0] {
		case "--json":
			asJSON, flags = true, flags[1:]
			continue
		case "--target":
			w.Target, err = ParseTarget(flags[1])
		case "--connections":
			w.Conns, err = strconv.Atoi(flags[1])
		case "--processes":
			w.Processes, err = strconv.Atoi(flags[1])
		default:
			t.Fatalf("a story's doctor knows no %s", flags[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		flags = flags[2:]
	}
	return w, asJSON
}

// runScript runs apply.sh on the tree below root.
func runScript(t *testing.T, root string, args ...string) (out string, code int) {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh to run apply.sh")
	}
	if _, err := exec.LookPath("awk"); err != nil {
		t.Skip("there is no awk, which apply.sh needs")
	}
	text, err := exec.Command(shell, append([]string{"apply.sh", "--root", root}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(text), code
}

// snapshot is a tree's files and what is in them.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
