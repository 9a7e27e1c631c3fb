package compat_test

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// allowances are the differences that are meant: testdata/allowed.txt, where each has its
// reason. Lines of the reference begin with -, those of Shoal with +.
type allowances struct {
	mu   sync.Mutex
	rows []allowance
}

type allowance struct {
	where  string // "file/script @ step"
	lines  []string
	reason string
	used   bool
}

const allowedFile = "testdata/allowed.txt"

// readAllowances reads the file: paragraphs of the reason as comments, then for each step
// the place and the lines.
func readAllowances(t testing.TB) *allowances {
	t.Helper()
	text, err := os.ReadFile(allowedFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &allowances{}
	reason, fresh := "", false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			if !fresh {
				reason, fresh = "", true
			}
			reason += strings.TrimSpace(line[1:]) + " "
		case strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "+ "):
			if len(a.rows) == 0 {
				t.Fatalf("%s:%d: a line without a place before it", allowedFile, i+1)
			}
			row := &a.rows[len(a.rows)-1]
			row.lines = append(row.lines, line)
		case line != "":
			fresh = false
			if reason == "" {
				t.Fatalf("%s:%d: no reason before it", allowedFile, i+1)
			}
			a.rows = append(a.rows, allowance{where: line, reason: reason})
		}
	}
	return a
}

// has says whether the difference is meant.
func (a *allowances) has(script, step string, lines []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.rows {
		if a.rows[i].where == script+" @ "+step && slices.Equal(a.rows[i].lines, lines) {
			a.rows[i].used = true
			return true
		}
	}
	return false
}

// unused gives the rows that nothing matched.
func (a *allowances) unused() (out []string) {
	for i := range a.rows {
		if !a.rows[i].used {
			out = append(out, a.rows[i].where)
		}
	}
	return out
}
