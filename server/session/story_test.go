package session

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/codec/proto"
	"shoal/server/channel"
)

var rewrite = flag.Bool("rewrite", false, "write the golden stories anew")

// epoch is the wall clock at tick 0 of a story.
const epoch = 1_700_000_000

// world is a performer that writes down what it is asked to do.
type world struct {
	t       testing.TB
	cfg     Config
	s       Session
	now     Tick
	rand    uint32
	armed   Tick // 0 not armed
	members map[string]bool
	renewed map[string]bool      // memberships that the server refreshes
	admits  map[proto.Method]int // commands that may still be performed; a method not in it has no limit
	errors  int                  // that are tolerated; < 0 any
	effects []Effect
	out     strings.Builder
	closed  bool
}

// Subscribed implements View.
func (w *world) Subscribed(name string) bool { return w.members[name] }

// ServerRefreshed implements View.
func (w *world) ServerRefreshed(name string) bool { return w.renewed[name] }

// Admits implements View.
func (w *world) Admits(method proto.Method) bool {
	n, limited := w.admits[method]
	if limited && n > 0 {
		w.admits[method]--
	}
	return !limited || n > 0
}

// Tolerates implements View.
func (w *world) Tolerates() bool {
	w.errors--
	return w.errors != -1
}

func newWorld(t testing.TB) *world {
	rules, err := channel.Compile(channel.Config{Namespaces: []channel.Options{{Name: "news"}, {Name: "chat"}}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cfg: Default(100*time.Millisecond, rules), members: map[string]bool{}, renewed: map[string]bool{},
		admits: map[proto.Method]int{}, errors: -1}
	return w
}

// step steps one input, performs what concerns the world itself and writes the rest down.
func (w *world) step(in Input) {
	in.Now, in.View, in.Rand, in.Unix = w.now, w, w.rand, epoch+int64(w.now/Tick(w.cfg.TicksPerSecond))
	switch {
	case in.Kind == KindSubscribed && in.Refusal.Refused():
		delete(w.members, in.Channel)
	case in.Kind == KindSubscribed && in.ServerRefresh:
		w.renewed[in.Channel] = true
	case in.Kind == KindAdded:
		w.members[in.Channel] = true
	}
	before := w.s.State()
	w.effects = w.s.Step(&w.cfg, &in, w.effects[:0])
	for _, e := range w.effects {
		w.perform(e)
	}
	if after := w.s.State(); after != before {
		fmt.Fprintf(&w.out, "  %5d [%s → %s]\n", w.now, before, after)
	}
	if err := w.s.Validate(&w.cfg); err != nil {
		w.t.Errorf("after %s at %d: %v", in.Kind, w.now, err)
	}
}

func (w *world) perform(e Effect) {
	if w.closed {
		w.t.Errorf("%s after the disconnect", e.Kind)
	}
	switch e.Kind {
	case EffectArm:
		w.armed = w.now + e.After
		return // not worth a line: the pings and disconnects that it leads to are
	case EffectDisconnect:
		w.closed, w.armed = true, 0
	case EffectSubscribe:
		w.members[e.Channel] = true
	case EffectUnsubscribe:
		delete(w.members, e.Channel)
	case EffectUnsubscribeAll:
		clear(w.members)
	}
	fmt.Fprintf(&w.out, "  %5d %s\n", w.now, describe(e))
}

// describe writes an effect with the fields it has.
func describe(e Effect) string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	add := func(show bool, format string, a any) {
		if show {
			fmt.Fprintf(&b, " "+format, a)
		}
	}
	add(e.ID != 0, "id=%d", e.ID)
	add(e.Channel != "", "channel=%s", e.Channel)
	add(e.Options != nil && e.Options.Name != "", "namespace=%s", name(e.Options))
	add(e.Sub != nil, "%s", "by-token")
	add(e.Expires, "ttl=%d", e.TTL)
	add(e.Ping != 0, "ping=%d", e.Ping)
	add(e.Pong, "%s", "pong")
	add(e.Err != nil, "%v", e.Err)
	add(e.Disconnect != nil, "%v", e.Disconnect)
	if e.Unsubscribe != nil {
		add(true, "%v", fmt.Sprintf("%d: %s", e.Unsubscribe.Code, e.Unsubscribe.Reason))
	}
	return b.String()
}

func name(o *channel.Options) string {
	if o == nil {
		return ""
	}
	return o.Name
}

// run moves the clock to a tick and fires the timer whenever it is due on the way.
func (w *world) run(until Tick) {
	for w.armed != 0 && w.armed <= until {
		w.now, w.armed = w.armed, 0
		w.step(Input{Kind: KindTimer})
	}
	w.now = until
}

// line performs one line of a story: a tick, a word, arguments.
func (w *world) line(text string) error {
	at, rest, _ := strings.Cut(text, " ")
	tick, err := strconv.Atoi(at)
	if err != nil {
		return err
	}
	w.run(Tick(tick))
	word, args, _ := strings.Cut(rest, " ")
	if word == "command" {
		return w.commands(args)
	}
	in, err := parseInput(word, strings.Fields(args))
	if err == nil && word != "wait" {
		w.step(in)
	}
	return err
}

// commands decodes a frame and steps its commands as the performer's rules say.
func (w *world) commands(frame string) error {
	var d proto.Decoder
	d.Reset([]byte(strings.ReplaceAll(frame, " ⏎ ", "\n")), proto.JSON, proto.Limits{})
	w.step(Input{Kind: KindBytes})
	for {
		var cmd proto.Command
		ok, err := d.Next(&cmd)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		w.step(Input{Kind: KindCommand, Command: &cmd})
	}
}

// kinds by their names.
func kinds() map[string]Kind {
	m := map[string]Kind{"wait": 0}
	for k := Kind(0); k < kindCount; k++ {
		m[k.String()] = k
	}
	return m
}

func parseInput(word string, args []string) (Input, error) {
	kind, ok := kinds()[word]
	if !ok {
		return Input{}, fmt.Errorf("unknown input %q", word)
	}
	in := Input{Kind: kind}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch key {
		case "native":
			in.Native = true
		case "id":
			in.ID = uint32(n)
		case "channel":
			in.Channel = value
		case "error":
			in.Refusal = channel.RefuseError(channel.ErrorCode(n))
		case "disconnect":
			in.Refusal = channel.RefuseDisconnect(channel.DisconnectCode(n))
		case "code":
			in.Disconnect = channel.DisconnectCode(n).Disconnect()
		case "expire":
			in.ExpireAt = epoch + n
		case "expired":
			in.Expired = true
		case "by-server":
			in.ServerRefresh = true
		case "unsubscribe":
			in.Unsubscribe = channel.UnsubscribeCode(n).Unsubscribe()
		case "subs":
			for _, s := range strings.Split(value, ",") {
				in.Subs = append(in.Subs, channel.ServerSub{Channel: s})
			}
		default:
			return in, fmt.Errorf("unknown argument %q", a)
		}
	}
	return in, nil
}

// set changes the configuration of a story: "set misses=3 attentive".
func (w *world) set(args []string) error {
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "attentive":
			w.cfg = w.cfg.Attentive()
		case "misses":
			w.cfg.MissesMax = n
		case "channels":
			w.cfg.ChannelsMax = n
		case "ping":
			w.cfg.PingTicks = Tick(n)
		case "pong":
			w.cfg.PongTicks = Tick(n)
		case "rand":
			w.rand = uint32(n)
		case "send":
			w.cfg.Send = true
		case "errors":
			w.errors = n
		case "publishes":
			w.admits[proto.MethodPublish] = n
		case "sends":
			w.admits[proto.MethodSend] = n
		case "subscribes":
			w.admits[proto.MethodSubscribe] = n
		default:
			return fmt.Errorf("unknown setting %q", a)
		}
	}
	return w.cfg.Validate()
}

// tell runs a story and returns it with the effects as they are now. Lines with ">" are
// inputs, with "set" configuration, indented ones effects; "---" starts a new session.
func tell(t *testing.T, text string) string {
	w := newWorld(t)
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		b.WriteString(line + "\n")
		var err error
		switch {
		case line == "---":
			w = newWorld(t)
		case strings.HasPrefix(line, "set "):
			err = w.set(strings.Fields(line)[1:])
		case strings.HasPrefix(line, "> "):
			err = w.line(line[2:])
		}
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		b.WriteString(w.out.String())
		w.out.Reset()
	}
	return b.String()
}

func TestStories(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := tell(t, string(want))
			if *rewrite {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("the story goes differently; run go test -rewrite and read the diff\ngot:\n%s", got)
			}
		})
	}
}
