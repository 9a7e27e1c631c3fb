package compat_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"
)

// script is one of testdata/*.txt; testdata/README.md tells the format.
type script struct {
	name     string // file/name
	encoding string // "" both
	profile  string
	noPong   bool
	steps    []step
}

// step is a line of a script.
type step struct {
	line int
	text string
}

// record is what a step gave on one server.
type record struct {
	step
	lines []string
}

// scripts reads all of testdata.
func scripts(t testing.TB) []*script {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata has no scripts: %v", err)
	}
	var out []*script
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(filepath.Base(file), ".txt")
		if file == allowedFile {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.TrimSpace(line)
			switch {
			case line == "" || strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "== "):
				out = append(out, headOf(t, base, line[3:]))
			case len(out) == 0:
				t.Fatalf("%s:%d: a step before the first ==", file, i+1)
			default:
				s := out[len(out)-1]
				s.steps = append(s.steps, step{i + 1, line})
			}
		}
	}
	return out
}

// headOf reads "name words [json|protobuf] [quick|strict|…] [no-pong]" with the options
// in brackets behind the name.
func headOf(t testing.TB, base, text string) *script {
	t.Helper()
	s := &script{profile: "calm"}
	name, options, _ := strings.Cut(text, "[")
	s.name = base + "/" + strings.ReplaceAll(strings.TrimSpace(name), " ", "-")
	for _, o := range strings.Fields(strings.TrimSuffix(options, "]")) {
		switch o {
		case "json", "protobuf":
			s.encoding = o
		case "no-pong":
			s.noPong = true
		default:
			if _, ok := profiles()[o]; !ok {
				t.Fatalf("%s: unknown option %q", s.name, o)
			}
			s.profile = o
		}
	}
	return s
}

// player plays one script on one server.
type player struct {
	t       testing.TB
	s       *target
	enc     protocol.Type
	noPong  bool
	wires   []*wire
	vars    map[string]string // $name in a step
	names   map[string]string // value to label, for what differs from run to run
	last    map[string]string // conn and channel to the data that the next difference builds on
	deltas  map[string]bool   // conn and channel where differences were agreed upon
	records []record
}

func play(t testing.TB, sc *script, s *target, enc protocol.Type) []record {
	t.Helper()
	p := &player{t: t, s: s, enc: enc, noPong: sc.noPong, vars: map[string]string{}, names: map[string]string{}, last: map[string]string{}, deltas: map[string]bool{}}
	for _, st := range sc.steps {
		p.records = append(p.records, record{step: st})
		p.perform(st)
	}
	p.records = append(p.records, record{step: step{0, "(end)"}})
	for _, w := range p.wires {
		p.leftovers(w)
	}
	return p.records
}

var stepPattern = regexp.MustCompile(`^([a-z]+)(>|!|<)\s?(.*)$`)

var varPattern = regexp.MustCompile(`\$[A-Za-z]\w*`)

// say writes down what the current step gave.
func (p *player) say(format string, args ...any) {
	r := &p.records[len(p.records)-1]
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// perform performs a step.
func (p *player) perform(st step) {
	p.t.Helper()
	verb, rest, _ := strings.Cut(st.text, " ")
	if verb == "token" {
		p.token(strings.TrimSpace(rest))
		return
	}
	text := varPattern.ReplaceAllStringFunc(st.text, func(name string) string {
		if v, ok := p.vars[name[1:]]; ok {
			return v
		}
		if name != "$open" && name != "$closed" && name != "$nosuch" { // private channels
			p.t.Fatalf("line %d: nobody set %s (known: %v)", st.line, name, p.vars)
		}
		return name
	})
	verb, rest, _ = strings.Cut(text, " ")
	switch m := stepPattern.FindStringSubmatch(text); {
	case verb == "api":
		method, body, _ := strings.Cut(rest, " ")
		p.say("%s", p.api(method, body))
	case verb == "until":
		p.until(rest)
	case verb == "leave":
		w := p.wire(rest)
		w.leave()
		w.take("the close", func(*message) bool { return false })
		p.say("%s left", rest)
	case m == nil:
		p.t.Fatalf("line %d: no such step: %s", st.line, st.text)
	case m[2] == ">":
		p.command(p.wire(m[1]), m[3])
	case m[2] == "!":
		p.bytes(p.wire(m[1]), m[3])
	default:
		p.await(st, p.wire(m[1]), m[3])
	}
}

// token reads "name {claims}" or "name! {claims}", which signs with a wrong secret.
// Times are seconds from now.
func (p *player) token(text string) {
	name, body, _ := strings.Cut(text, " ")
	key := secret
	if cut, bad := strings.CutSuffix(name, "!"); bad {
		name, key = cut, "another secret, another secret, 01"
	}
	p.vars[name] = signed(p.t, key, strings.NewReplacer(p.pairs()...).Replace(body))
}

func (p *player) pairs() (out []string) {
	for name, value := range p.vars {
		out = append(out, "$"+name, value)
	}
	return out
}

// signed makes a token of claims in JSON whose times are seconds from now.
func signed(t testing.TB, key, body string) string {
	t.Helper()
	var c jwt.MapClaims
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatalf("token %s: %v", body, err)
	}
	for _, k := range []string{"exp", "nbf", "iat", "expire_at"} {
		if n, ok := c[k].(float64); ok && n != 0 {
			c[k] = time.Now().Unix() + int64(n)
		}
	}
	out, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wire finds the connection of that name, or opens it.
func (p *player) wire(name string) *wire {
	p.t.Helper()
	if i := slices.IndexFunc(p.wires, func(w *wire) bool { return w.name == name }); i >= 0 {
		return p.wires[i]
	}
	w := dial(p.t, p.s, name, p.enc, !p.noPong)
	p.wires = append(p.wires, w)
	return w
}

// command sends commands in a frame and writes down the replies, or the end.
func (p *player) command(w *wire, text string) {
	p.t.Helper()
	commands := strings.Split(text, " ;; ")
	for _, c := range w.send(commands) {
		m, ok := w.take(fmt.Sprintf("the reply to %d", c.id), isReply(c.id))
		if !ok {
			p.ended(w)
			return
		}
		p.say("%s %d: %s", w.name, c.id, p.normal(w, m.reply, c.channel))
	}
}

// ended writes down how a connection ended.
func (p *player) ended(w *wire) { p.say("%s closed: %s", w.name, w.closed) }

// bytes sends a frame of that text, or of those bytes after "hex ".
func (p *player) bytes(w *wire, text string) {
	p.t.Helper()
	frame := []byte(strings.ReplaceAll(text, `\n`, "\n"))
	if digits, ok := strings.CutPrefix(text, "hex "); ok {
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			p.t.Fatal(err)
		}
		frame = b
	}
	w.raw(frame)
}

// await waits for pushes, a ping, a reply or the end.
func (p *player) await(st step, w *wire, what string) {
	p.t.Helper()
	var n uint32
	if what == "close" {
		if m, ok := w.take("the close", func(*message) bool { return false }); ok {
			p.t.Fatalf("line %d: %v", st.line, m)
		}
		p.ended(w)
		return
	}
	if what == "ping" {
		if _, ok := w.take("a ping", func(m *message) bool { return m.ping }); ok {
			p.say("%s ping", w.name)
			return
		}
		p.ended(w)
		return
	}
	if _, err := fmt.Sscanf(what, "reply %d", &n); err == nil {
		if m, ok := w.take(what, isReply(n)); ok {
			p.say("%s %d: %s", w.name, n, p.normal(w, m.reply, ""))
			return
		}
		p.ended(w)
		return
	}
	if _, err := fmt.Sscanf(what, "%d", &n); err != nil {
		p.t.Fatalf("line %d: %q: a number of pushes, ping, close or reply N", st.line, what)
	}
	p.pushes(st, w, int(n))
}

// pushes waits for so many pushes.
func (p *player) pushes(st step, w *wire, n int) {
	p.t.Helper()
	var lines []string
	for i := range n {
		m, ok := w.take(fmt.Sprintf("push %d of %d (line %d)", i+1, n, st.line), isPush)
		if !ok {
			lines = append(lines, fmt.Sprintf("%s closed: %s", w.name, w.closed))
			break
		}
		lines = append(lines, p.pushLine(w, m.reply))
	}
	p.sayByChannel(lines)
}

// sortKey is what a push line begins with: connection and channel.
func sortKey(line string) string { return strings.SplitN(line, "←", 2)[0] }

func (p *player) pushLine(w *wire, tree map[string]any) string {
	push, _ := tree["push"].(map[string]any)
	name, _ := push["channel"].(string)
	delete(push, "channel")
	if len(push) == 0 && len(tree) > 0 {
		return fmt.Sprintf("%s %s← %s", w.name, name, p.normal(w, tree, name))
	}
	return fmt.Sprintf("%s %s← %s", w.name, name, p.normal(w, push, name))
}

// leftovers writes down what nobody asked for. Commands make sure that it is there: the
// first may be answered in the pass of the loop that has a publication still in its
// mailbox, the second one comes in a later pass.
func (p *player) leftovers(w *wire) {
	for id := uint32(4000000000); w.closed == "" && id < 4000000002; id++ {
		w.send([]string{fmt.Sprintf(`{"id":%d,"presence":{"channel":"nosuch:x"}}`, id)})
		if _, ok := w.take("the last reply", isReply(id)); !ok {
			p.ended(w)
		}
	}
	var lines []string
	for _, m := range w.queue {
		switch {
		case m.ping:
		case m.id == 0:
			lines = append(lines, p.pushLine(w, m.reply))
		default:
			lines = append(lines, fmt.Sprintf("%s %d: %s", w.name, m.id, p.normal(w, m.reply, "")))
		}
	}
	p.sayByChannel(lines)
	w.conn.Close()
}

// sayByChannel writes down pushes: those of one channel in their order, the channels in
// order of their names.
func (p *player) sayByChannel(lines []string) {
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, line := range lines {
		p.say("%s", line)
	}
}

// api calls the server API and returns the answer.
func (p *player) api(method, body string) string {
	p.t.Helper()
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(string(p.s.call(p.t, method, body))))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		p.t.Fatal(err)
	}
	var q struct {
		Channel  string   `json:"channel"`
		Channels []string `json:"channels"`
	}
	if err := json.Unmarshal([]byte(body), &q); err != nil {
		p.t.Fatalf("%s: %v", body, err)
	}
	answers := []any{tree}
	if r, ok := tree["result"].(map[string]any); ok && r["responses"] != nil {
		answers = r["responses"].([]any)
		for i := range answers {
			answers[i] = p.labelled("", q.Channels[i], answers[i])
		}
	}
	for _, a := range answers {
		if e, ok := a.(map[string]any)["error"].(map[string]any); ok {
			text, _ := e["message"].(string)
			e["message"], _, _ = strings.Cut(text, ": ") // Shoal says behind it what to change
		}
	}
	return p.normal(nil, tree, q.Channel)
}

// until repeats "method {body} => text" until the answer has the text in it.
func (p *player) until(rest string) {
	p.t.Helper()
	call, want, _ := strings.Cut(rest, " => ")
	method, body, _ := strings.Cut(call, " ")
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if got = p.api(method, body); strings.Contains(got, want) {
			p.say("has %s", want)
			return
		}
	}
	p.t.Fatalf("%s: api %s %s: never %s, at last %s", p.s.name, method, body, want, got)
}
