package plan

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/errors.txt anew; read the diff")

const answered = "→ "

func TestWhatIsWrongIsSaidWithItsPlaceAndWhatToWrite(t *testing.T) {
	const file = "testdata/errors.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	intro, rest, _ := strings.Cut(string(text), "\n=== ")
	got := strings.Builder{}
	got.WriteString(intro)
	for story := range strings.SplitSeq(rest, "\n=== ") {
		title, body, _ := strings.Cut(story, "\n")
		yaml, _, _ := strings.Cut(body, "\n"+answered)
		yaml = strings.TrimSuffix(yaml, "\n") + "\n"
		_, err := Read("plan.yaml", []byte(yaml))
		if err == nil {
			t.Errorf("%s: nothing is wrong with it", title)
			continue
		}
		got.WriteString("\n=== " + title + "\n" + yaml)
		for line := range strings.SplitSeq(err.Error(), "\n") {
			got.WriteString(answered + line + "\n")
			if !strings.HasPrefix(line, "plan.yaml") || !strings.Contains(line, ";") && !strings.Contains(line, "did you mean") {
				t.Errorf("%s: %q does not say where, or what to do", title, line)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got.String() != string(text) {
		t.Errorf("differs from %s (-rewrite):\n%s", file, got.String())
	}
}

func TestManyProblemsAreNotAllTold(t *testing.T) {
	_, err := Read("p", []byte("phases:\n"+strings.Repeat("  - scenario: nothing\n", 50)))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != problemsMax+1 || lines[problemsMax] != "p: and 30 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if _, err := Read("p", make([]byte, fileBytesMax+1)); err == nil || !strings.Contains(err.Error(), "right file") {
		t.Error(err)
	}
}

func TestAPlanIsReadWithAllItsKeys(t *testing.T) {
	text := `
name: all of it
connections: {count: 1_000, rate: 100.5, to: 1e3, over: 5s, jitter: 0.5, encoding: protobuf, secret: s, resume: true,
  channel: news, channels: 10, subscriptions: 2, own: true}
payload: 256
keys: 8
settle: 1s
grace: 5s
expect: p99=20ms,loss=0
phases:
  - {scenario: idle, name: soak, duration: 1h30m}
  - {scenario: fanout, count: 5, burst: 2, rate: 10, via: client, settle: 3s, expect: broadcast=1s}
  - scenario: channels
    rate: 100
    to: 200
    steps: 3
    duration: 6s
    random: true
    meanwhile:
      - {scenario: churn, rate: 5}
      - {scenario: slow, stuck: 7, stall: 2s}
      - {scenario: rpc, method: m, active: 3}
  - {scenario: recover, share: 0.5, away: 4s}
`
	p, err := Read("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{
		Name: "all of it", Payload: 256, Keys: 8, Settle: time.Second, Grace: 5 * time.Second, Expect: "p99=20ms,loss=0",
		Connections: Connections{
			Count: 1000, Rate: 100.5, To: 1000, Over: 5 * time.Second, Jitter: 0.5, Encoding: "protobuf", Secret: "s", Resume: true,
			Channel: "news", Channels: 10, Subscriptions: 2, Own: true,
		},
		Phases: []Phase{
			{Name: "soak", Scenario: Idle, Duration: 90 * time.Minute, Settle: time.Second},
			{Name: "fanout", Scenario: Fanout, Count: 5, Burst: 2, Rate: 10, Via: "client", Settle: 3 * time.Second, Expect: "broadcast=1s"},
			{
				Name: "channels", Scenario: Channels, Rate: 100, To: 200, Steps: 3, Duration: 6 * time.Second, Random: true, Settle: time.Second,
				Meanwhile: []Phase{
					{Name: "churn", Scenario: Churn, Rate: 5, Duration: trafficDefault},
					{Name: "slow", Scenario: Slow, Stuck: 7, Stall: 2 * time.Second, Duration: leadDefault},
					{Name: "rpc", Scenario: RPC, Method: "m", Active: 3, Duration: trafficDefault},
				},
			},
			{Name: "recover", Scenario: Recover, Share: 0.5, Away: 4 * time.Second, Duration: leadDefault, Rate: pressDefault, Settle: time.Second},
		},
	}
	if p.Phases[0].Settle != 0 || p.Phases[3].Duration != 0 {
		t.Errorf("defaults are among what was written: %+v", p)
	}
	if p = p.WithDefaults(); !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	wanted := []string{"p99", "loss", "phase.fanout.broadcast"}
	for i, e := range p.Expectations() {
		if e.String() != wanted[i] {
			t.Errorf("expectation %d is %s, want %s", i, e, wanted[i])
		}
	}
}

func TestAPlanThatIsWrittenIsReadAsTheSame(t *testing.T) {
	plans := []Plan{{Name: "yes", Phases: []Phase{{Scenario: Idle, Duration: 90 * time.Second}, {Scenario: Fanout, Rate: 0.25, Expect: "p99=1ms"}}}}
	for _, name := range Presets() {
		p, err := Preset(name, 5000)
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p, p.WithDefaults())
	}
	for _, p := range plans {
		text, err := p.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(p.Name, text)
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%v\n%s\ngot  %+v\nwant %+v", err, text, again, p)
		}
	}
	secret := Plan{Connections: Connections{Token: "a.b.c"}, Phases: []Phase{{Scenario: Idle}}}
	if text, err := secret.YAML(); err != nil || strings.Contains(string(text), "a.b.c") || strings.Contains(string(text), "connections") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestEveryFieldHasAKey(t *testing.T) {
	p, f := Plan{}, Phase{}
	for _, c := range []struct {
		of     any
		fields []field
	}{{p, p.fields()}, {p.Connections, p.Connections.fields()}, {f, f.fields()}} {
		if n := reflect.TypeOf(c.of).NumField(); n != len(c.fields) {
			t.Errorf("%T has %d fields and %d keys", c.of, n, len(c.fields))
		}
		for _, one := range c.fields {
			if !one.zero() {
				t.Errorf("%s of %T is not recognised as left out", one.key, c.of)
			}
		}
	}
	for _, s := range Scenarios() {
		for _, key := range s.Options() {
			if !strings.Contains(strings.Join(keysOf(f.fields()), " "), key) {
				t.Errorf("%s has an option %s, which is no key", s, key)
			}
		}
	}
}

// FuzzRead: no text makes Read panic; a plan that is read is valid, and is read the same again from what YAML makes of it.
func FuzzRead(f *testing.F) {
	stories, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		f.Fatal(err)
	}
	for story := range strings.SplitSeq(string(stories), "\n=== ") {
		_, body, _ := strings.Cut(story, "\n")
		f.Add(body)
	}
	for _, name := range Presets() {
		p, _ := Preset(name, 10_000)
		text, _ := p.YAML()
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Read("f", []byte(text))
		if err != nil {
			return
		}
		if problems := new(Problems); errors.As(p.WithDefaults().Validate(), problems) {
			t.Fatalf("%q is read and not valid: %v", text, *problems)
		}
		p.Connections.Token, p.Connections.Secret = "", ""
		written, err := p.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Read("f", written); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%q is written as\n%s\nand read as %+v, %v, want %+v", text, written, again, err, p)
		}
	})
}
