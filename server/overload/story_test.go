package overload

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden stories anew; then read the diff")

// TestStories plays testdata/*.txt: lines that begin with "> " are what is measured from then on, once a second until the
// time given; what the machine makes of it is written below. Other lines tell the story.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := tell(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the story goes otherwise (-rewrite writes it anew):\n%s", got)
			}
		})
	}
}

// tell plays a story and writes it anew.
func tell(t *testing.T, text string) string {
	var out strings.Builder
	m, second := machine(t, sane()), 0
	epoch := time.Unix(1_700_000_000, 0)
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "   ") {
			continue // what was written before
		}
		fmt.Fprintln(&out, line)
		spec, command := strings.CutPrefix(line, "> ")
		if !command {
			continue
		}
		until, s := measure(t, spec)
		for ; second <= until; second++ {
			now := epoch.Add(time.Duration(second) * time.Second)
			if tr, changed := m.Step(now, s); changed {
				fmt.Fprintf(&out, "   %4ds  %s\n", second, tr)
				if tr.To == Calm {
					fmt.Fprintf(&out, "          slow start of %s\n", m.Opening())
				}
			}
		}
		now := epoch.Add(time.Duration(second-1) * time.Second)
		fmt.Fprintf(&out, "   %4ds  at level %s, %.0f%% of the new connections come in\n", second-1, m.Level(), 100*m.Share(now))
	}
	return out.String()
}

// measure reads "until 12s lag 600ms memory 91%".
func measure(t *testing.T, spec string) (until int, s Sample) {
	words := strings.Fields(spec)
	if len(words)%2 != 0 {
		t.Fatalf("%q: want pairs of a name and a value", spec)
	}
	for i := 0; i < len(words); i += 2 {
		value := 0.0
		if percent, ok := strings.CutSuffix(words[i+1], "%"); ok {
			if _, err := fmt.Sscan(percent, &value); err != nil {
				t.Fatal(err)
			}
			value /= 100
		} else {
			d, err := time.ParseDuration(words[i+1])
			if err != nil {
				t.Fatal(err)
			}
			value = d.Seconds()
		}
		known := words[i] == "until"
		if until = max(until, 0); known {
			until = int(value)
		}
		for sig := range Signal(signals) {
			if words[i] == sig.String() {
				s[sig], known = value, true
			}
		}
		if !known {
			t.Fatalf("%q: no such signal: %s", spec, words[i])
		}
	}
	return until, s
}
