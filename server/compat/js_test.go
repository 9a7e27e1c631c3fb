package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStockJavaScript lets the stock centrifuge package of npm live through js/scenario.mjs
// on both servers in both encodings, and compares what it was told.
func TestStockJavaScript(t *testing.T) {
	t.Parallel()
	dir := installed(t)
	for _, encoding := range []string{"json", "protobuf"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			var logs [2][]string
			var wg sync.WaitGroup
			for i, start := range starters() {
				s := start(t, profiles()["quick"])
				wg.Go(func() { logs[i] = live(t, dir, s, encoding) })
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			if lines := compare(logs[0], logs[1]); lines != nil {
				t.Errorf("the client was told other things:\n%s", strings.Join(lines, "\n"))
			}
			t.Logf("%d events", len(logs[0]))
		})
	}
}

// installed puts the packages of js/package-lock.json into a temporary folder.
func installed(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: the JavaScript client is not tried (install Node.js 20 or newer)", program)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "scenario.mjs"} {
		text, err := os.ReadFile(filepath.Join("js", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v (it needs the npm registry, or its packages in the npm cache)\n%s", err, out)
	}
	return dir
}

// live runs the scenario on one server and returns its events, by whom.
func live(t *testing.T, dir string, s *target, encoding string) []string {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "scenario.mjs")
	node.Dir = dir
	node.Env = append(os.Environ(), "COMPAT_WS="+s.ws, "COMPAT_API="+s.base, "COMPAT_KEY="+apiKey, "COMPAT_SECRET="+secret, "COMPAT_ENCODING="+encoding)
	var stderr bytes.Buffer
	node.Stderr = &stderr
	out, err := node.Output()
	if err != nil {
		t.Errorf("%s: node: %v\n%s\n%s", s.name, err, stderr.String(), tail(string(out), 10))
		return nil
	}
	return byWhom(t, string(out))
}

// byWhom sorts events by whose they are, each with its number: what different clients see
// at the same time has no order.
func byWhom(t *testing.T, out string) []string {
	counts := map[string]int{}
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(out)) {
		var event struct {
			Who string `json:"who"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %03d %s", event.Who, counts[event.Who], strings.TrimSpace(line)))
		counts[event.Who]++
	}
	slices.Sort(lines)
	return lines
}

// tail is the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
